//! What the request gate does with a made-up request, worked out from the files alone.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use swf_filter_core::compile::Zone;
use swf_filter_core::iam::Context;
use swf_filter_core::iam::authorize::Decider;
use swf_filter_core::judge::{Judge, network};
use swf_filter_core::policy::{Policy, Vpc};
use swf_filter_core::swf::Action;

use crate::control::api::{RequestExplanation, StatementInfo};

/// A request to ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The ARN of who makes it.
    pub principal: &'a str,
    /// The action, with or without `swf:`.
    pub action: &'a str,
    /// The domain, by its name or its ARN.
    pub resource: Option<&'a str>,
    /// The VPC endpoint that it comes through.
    pub endpoint: Option<&'a str>,
    /// Condition keys and their values.
    pub context: &'a [(String, String)],
}

/// Works out what the request gate of a host, given by its index, does with a request from a zone.
pub(super) fn explain(
    policy: &Policy,
    host: usize,
    zone: &Zone,
    from: IpAddr,
    request: Request<'_>,
) -> Result<RequestExplanation> {
    let judge = Judge::new(policy);
    let caller = judge.caller(request.principal)?;
    let action = action(request.action)?;
    let resource = match (request.resource, action) {
        (Some(arn), _) if arn.starts_with("arn:") => arn.to_owned(),
        (Some(domain), _) => judge.domain(host, &caller, domain).unwrap_or_default(),
        (None, Action::ListDomains) => judge.domain(host, &caller, "*").unwrap_or_default(),
        (None, _) => bail!("say which domain it is about: `--resource NAME`"),
    };
    let members = policy.vpcs.iter().filter(|vpc| zone.vpcs.contains(&vpc.id));
    let members: Vec<&Vpc> = members.collect();
    let network = network(&members, zone.public, from, request.endpoint).with_context(|| {
        format!(
            "it cannot be told which VPC a request from {from} comes from; `--vpce` may tell it"
        )
    })?;
    let mut context: Context = judge.context(host, &caller, network);
    for (key, _) in request.context {
        context.remove(key);
    }
    for (key, value) in request.context {
        context.add(key, value.as_str());
    }
    let decision = judge.decide(host, &caller, action, &resource, &context, None);
    let (allowed, reason, words, statements) = match decision {
        Ok(decision) => (
            decision.is_allowed(),
            decision.reason.name(),
            decision.reason.to_string(),
            decision.statements.iter().map(statement).collect(),
        ),
        Err(refused) => (false, "not-judged", refused.to_string(), Vec::new()),
    };
    Ok(RequestExplanation {
        allowed,
        reason: reason.to_owned(),
        words,
        principal: caller.to_string(),
        action: action.to_string(),
        resource,
        statements,
    })
}

fn action(text: &str) -> Result<Action> {
    let name = match text.split_once(':') {
        Some((service, name)) if service.eq_ignore_ascii_case("swf") => name,
        _ => text,
    };
    Action::from_name(name).with_context(|| format!("SWF has no action `{text}`"))
}

fn statement(decider: &Decider) -> StatementInfo {
    StatementInfo {
        side: decider.side.name().to_owned(),
        effect: decider.effect.name().to_owned(),
        sid: decider.sid.clone(),
        origin: decider.origin.clone(),
    }
}
