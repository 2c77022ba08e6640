//! Holds a policy against what its `[[expect]]` blocks say has to come out.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use swf_filter_core::compile::Generation;
use swf_filter_core::iam;
use swf_filter_core::judge::UNKNOWN_NETWORK;
use swf_filter_core::policy::{
    Effect, Expectation, Host, Origin, Place, Policy, Ports, Problems, Severity, SourceFile,
    SourceIndex, Vpc,
};
use swf_filter_core::prefix::Address;

use crate::control::api::Explanation;
use crate::explain::{Explainer, Question, Request};
use crate::report::{Finding, Report};

/// The expectations that are not met.
#[must_use]
pub fn unmet(policy: &Policy, generation: &Generation, files: &[SourceFile]) -> Report {
    let mut explainer = Explainer::new(policy, generation);
    let mut unmet = Unmet {
        findings: Vec::new(),
        more: 0,
        files,
    };
    for expectation in &policy.expectations {
        if let Err(error) = examine(policy, expectation, &mut explainer, &mut unmet) {
            unmet.add(format!("{error:#}"), "this", &expectation.origin, None);
        }
    }
    Report::of(unmet.findings, unmet.more, files)
}

/// Adds what is not met. An error if it cannot be told.
fn examine(
    policy: &Policy,
    expectation: &Expectation,
    explainer: &mut Explainer<'_>,
    unmet: &mut Unmet<'_>,
) -> Result<()> {
    let host = policy.hosts.get(expectation.host);
    let host = host.context("the host is not there")?;
    let vpc = expectation.vpc.and_then(|vpc| policy.vpcs.get(vpc));
    let request = expectation.request.as_ref().map(|(request, _)| Request {
        principal: &request.principal,
        action: request.action,
        resource: request.resource.as_deref(),
        endpoint: expectation.endpoint.as_deref(),
        body: request.body.as_deref().map(str::as_bytes),
        // What is met today has to be met at the next boot.
        at: None,
        context: &request.context,
    });
    let question = question(host, vpc, expectation.from)?;
    if let Some(expected) = &expectation.packet {
        // In audit mode it is the policy that is tried, not whether it is in force.
        let verdict = explainer.strict_effect(question)?;
        if verdict != expected.verdict {
            let explanation = explainer.explain(question)?;
            let message = format!(
                "a packet from {} to host `{}` is {}",
                expectation.from,
                host.name,
                packet_words(verdict, &explanation)
            );
            unmet.add(
                message,
                "expected here",
                &expected.origin,
                explanation.origin.as_ref(),
            );
        }
    }
    if let Some((_, expected)) = &expectation.request {
        let question = Question {
            request,
            ..question
        };
        let explanation = explainer.explain(question)?.request;
        let explanation = explanation.context("there was no request")?;
        // What is asked about may come through an endpoint that the question leaves out: that is no answer.
        ensure!(
            explanation.reason != UNKNOWN_NETWORK,
            "{}",
            explanation.words
        );
        let verdict = if explanation.allowed {
            iam::Effect::Allow
        } else {
            iam::Effect::Deny
        };
        if verdict != expected.verdict {
            let verdict = match verdict {
                iam::Effect::Allow => "allowed".to_owned(),
                iam::Effect::Deny => format!("denied: {}", explanation.words),
            };
            let message = format!(
                "{} of {} from {} is {verdict}",
                explanation.action, explanation.principal, expectation.from
            );
            let statement = explanation.statements.first();
            unmet.add(
                message,
                "expected here",
                &expected.origin,
                statement.map(|statement| &statement.origin),
            );
        }
    }
    Ok(())
}

fn packet_words(verdict: Effect, explanation: &Explanation) -> String {
    let verdict = match verdict {
        Effect::Pass => "passed",
        Effect::Drop => "dropped",
    };
    match &explanation.rule {
        Some(rule) if explanation.words.is_none() => {
            format!("{verdict}: {}, `{rule}`", explanation.reason)
        }
        _ => format!("{verdict}: {}", explanation.why()),
    }
}

/// The first packet of a connection to a host.
fn question<'a>(host: &Host, vpc: Option<&'a Vpc>, from: IpAddr) -> Result<Question<'a>> {
    let address = match from {
        IpAddr::V4(_) => host.addresses.v4.first().map(|one| one.first().to_ip()),
        IpAddr::V6(_) => host.addresses.v6.first().map(|one| one.first().to_ip()),
    };
    let family = if from.is_ipv4() { "IPv4" } else { "IPv6" };
    let address =
        address.with_context(|| format!("host `{}` has no {family} address", host.name))?;
    let port = match &host.ports {
        Ports::All => HTTPS,
        Ports::Ranges(ranges) => ranges.first().map_or(HTTPS, |(first, _)| *first),
    };
    Ok(Question {
        from,
        to: SocketAddr::new(address, port),
        interface: vpc
            .and_then(|vpc| vpc.interfaces.first())
            .map(|name| &**name),
        masters: &[],
        vlan: vpc.and_then(|vpc| vpc.vlans.first()).copied(),
        request: None,
    })
}

const HTTPS: u16 = 443;

/// What was found so far.
struct Unmet<'a> {
    findings: Vec<Finding>,
    more: usize,
    files: &'a [SourceFile],
}

impl Unmet<'_> {
    fn add(&mut self, message: String, label: &'static str, at: &Origin, decider: Option<&Origin>) {
        let room = self.findings.len() < Problems::KEPT;
        let Some(at) = room.then(|| self.place(at)).flatten() else {
            self.more += 1;
            return;
        };
        let decider = decider.and_then(|origin| self.place(origin));
        self.findings.push(Finding {
            severity: Severity::Error,
            message,
            help: None,
            at: (label, at),
            other: decider.map(|place| ("decided here", place)),
        });
    }

    /// None for what does not stand in a policy file or document.
    fn place(&self, origin: &Origin) -> Option<Place> {
        let file = self.files.iter().find(|file| file.name == origin.file)?;
        Some(SourceIndex::new(file).find(origin))
    }
}
