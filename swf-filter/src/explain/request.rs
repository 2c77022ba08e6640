//! What the request gate does with a made-up request, worked out from the files alone.

use std::net::IpAddr;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use swf_filter_core::compile::Zone;
use swf_filter_core::iam::authorize::{Decider, Decision};
use swf_filter_core::judge::{Judge, Ruled, Ruling, Shown, UNKNOWN_NETWORK, network};
use swf_filter_core::policy::{Fault, Policy, Vpc};
use swf_filter_core::swf::{Action, TokenCache, made_up_call};

use crate::control::api::{DecisionExplanation, RequestExplanation, StatementInfo};

/// A request to ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The ARN of who makes it.
    pub principal: &'a str,
    /// The action.
    pub action: Action,
    /// The domain, by its name or its ARN.
    pub resource: Option<&'a str>,
    /// The VPC endpoint that it comes through.
    pub endpoint: Option<&'a str>,
    /// What it sends: JSON. Tells the domain and SWF's condition keys.
    pub body: Option<&'a [u8]>,
    /// When it is made, if that is to count.
    pub at: Option<Timestamp>,
    /// Condition keys and their values.
    pub context: &'a [(String, String)],
}

/// Works out what the request gate of a host, given by its index, does with a request from a zone.
pub(super) fn explain(
    policy: &Policy,
    judge: &Judge,
    host: usize,
    zone: &Zone,
    from: IpAddr,
    request: Request<'_>,
) -> Result<RequestExplanation> {
    let caller = judge.caller(request.principal)?;
    let action = request.action;
    let mut tokens = TokenCache::new(1);
    let call = made_up_call(action, request.resource, request.body, &mut tokens)
        .map_err(|fault| with_help(&fault))?;
    let members = policy.vpcs.iter().filter(|vpc| zone.vpcs.contains(&vpc.id));
    let members: Vec<&Vpc> = members.collect();
    let mut explanation = RequestExplanation {
        allowed: false,
        reason: "not-judged".to_owned(),
        words: String::new(),
        principal: caller.to_string(),
        action: action.to_string(),
        resource: String::new(),
        statements: Vec::new(),
        decisions: Vec::new(),
    };
    let Some(network) = network(&members, zone.public, from, request.endpoint) else {
        // The listener refuses it, too.
        UNKNOWN_NETWORK.clone_into(&mut explanation.reason);
        explanation.words = format!(
            "it cannot be told which VPC a request from {from} comes from; the VPC endpoint may tell it"
        );
        return Ok(explanation);
    };
    // Of the rest of a request, which only `context` can tell, nothing is made up.
    let shown = Shown {
        at: request.at,
        referers: Vec::new(),
        session: None,
        tls: None,
        user_agents: Vec::new(),
    };
    let mut context = judge.context(host, &caller, network, shown);
    if action.is_decision() {
        context = context.of_decision();
    }
    for (key, _) in request.context {
        context.remove(key);
    }
    for (key, value) in request.context {
        context.add(key.as_str(), value.as_str());
    }
    let domain_of = |token: &str| tokens.domain(token).map(Into::into);
    match judge.call(host, &caller, &call, domain_of, &context, None) {
        Ok(ruling) => fill(&mut explanation, ruling),
        Err(refused) => explanation.words = refused.to_string(),
    }
    Ok(explanation)
}

fn fill(explanation: &mut RequestExplanation, ruling: Ruling) {
    let (inside, decisive) = match ruling.refused() {
        Some((inside, decision)) => (inside, decision),
        None => (None, &ruling.operation),
    };
    explanation.allowed = ruling.is_allowed();
    decisive.reason.name().clone_into(&mut explanation.reason);
    explanation.words = match inside {
        Some(Ruled {
            position, action, ..
        }) => format!("decisions[{position}] is {action}, and {}", decisive.reason),
        None => decisive.reason.to_string(),
    };
    explanation.statements = statements(decisive).collect();
    explanation.decisions = ruling.decisions.iter().map(decision).collect();
    explanation.resource = ruling.resource;
}

fn with_help(fault: &Fault) -> anyhow::Error {
    match fault.help() {
        Some(help) => anyhow!("{fault}; {help}"),
        None => anyhow!("{fault}"),
    }
}

/// What becomes of a decision in a call.
pub(crate) fn decision(ruled: &Ruled) -> DecisionExplanation {
    DecisionExplanation {
        position: ruled.position,
        action: ruled.action.to_string(),
        allowed: ruled.decision.is_allowed(),
        reason: ruled.decision.reason.name().to_owned(),
        words: ruled.decision.reason.to_string(),
        statements: statements(&ruled.decision).collect(),
    }
}

/// The statements that decided.
pub(crate) fn statements(decision: &Decision) -> impl ExactSizeIterator<Item = StatementInfo> {
    decision.statements.iter().map(statement)
}

fn statement(decider: &Decider) -> StatementInfo {
    StatementInfo {
        side: decider.side.name().into(),
        effect: decider.effect.name().into(),
        sid: decider.sid.clone(),
        origin: decider.origin.clone(),
    }
}
