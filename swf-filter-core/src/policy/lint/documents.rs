//! Doubts about policy documents.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::Policy;
use super::{Findings, Lint};
use crate::compile::documents::summary;
use crate::iam::context::is_withheld;
use crate::iam::key::{Presence, is_of_roles};
use crate::iam::{Context, Document, Effect, Kind, Statement};
use crate::swf::Action;

pub(super) fn lint(policy: &Policy, findings: &mut Findings<'_>) {
    let mut known: HashSet<*const Document> = HashSet::new();
    for document in documents(policy) {
        // One file may be attached to many.
        if known.insert(Arc::as_ptr(document)) {
            for statement in &document.statements {
                lint_statement(document.kind, statement, findings);
            }
        }
    }
    for host in &policy.hosts {
        let Some(summary) = summary(policy, host) else {
            continue;
        };
        let name = || Arc::clone(&host.name);
        let closed = host.trusted_proxies.is_empty() && policy.always_allow.is_empty();
        match (summary.open, summary.restricted) {
            // With a list of its own, the packet gate does not rest on documents alone.
            _ if !host.allow.is_empty() => {}
            _ if !summary.reachable && closed => {
                findings.add(Lint::Unreachable { name: name() }, &host.origin, None);
            }
            (Some(open), Some(restricted)) => {
                let lint = Lint::OpenAtPacket {
                    host: name(),
                    statement: match &open.sid {
                        Some(sid) => format!("`{sid}`"),
                        None => "a statement".to_owned(),
                    },
                };
                findings.add(lint, &open.origin, Some(&restricted.origin));
            }
            _ => {}
        }
    }
}

fn documents(policy: &Policy) -> impl Iterator<Item = &Arc<Document>> {
    let principals = &policy.principals;
    let identities = principals.users.iter().chain(&principals.roles);
    let own = identities.flat_map(|identity| {
        let attached = identity.policies.iter().chain(&identity.boundary);
        attached.chain(&identity.trust)
    });
    let hosts = policy
        .hosts
        .iter()
        .filter_map(|host| host.documents.as_ref());
    hosts.flat_map(|documents| &documents.policies).chain(own)
}

fn lint_statement(kind: Kind, statement: &Statement, findings: &mut Findings<'_>) {
    let actions = &statement.actions;
    // Roles are assumed by what those who ask and the roles have, never by the documents of a host.
    let is_of_roles_too = kind != Kind::Resource && !actions.sts.is_empty();
    let is_of_swf = kind != Kind::Trust && !actions.set.is_empty();
    if !is_of_swf && !is_of_roles_too {
        findings.add(Lint::OtherServices, &statement.origin, None);
        return;
    }
    let decides = is_of_swf && actions.set.iter().any(Action::is_decision);
    for condition in &statement.conditions {
        let key = condition.key.name();
        let holds = condition.holds_for(std::iter::empty(), &Context::default());
        if is_of_roles_too && is_of_roles(key) {
            continue;
        }
        if condition.key.presence() == Presence::Never {
            let key = Arc::clone(condition.key.text());
            let lint = Lint::NeverPresent { key, holds };
            findings.add(lint, &statement.origin, None);
        } else if is_withheld(key) && decides && !holds && statement.effect == Effect::Allow {
            let key = Arc::clone(condition.key.text());
            findings.add(Lint::Withheld { key }, &statement.origin, None);
        }
    }
}
