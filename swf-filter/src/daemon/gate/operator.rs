//! Whether a change would cut off the operator who makes it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, bail};
use swf_filter_core::compile::Generation;
use swf_filter_core::policy::Policy;

use super::Gate;
use crate::config::Config;
use crate::control::api::Operator;
use crate::dataplane::Interface;
use crate::dataplane::interfaces::masters;
use crate::explain::{Explainer, Question};
use crate::verdicts::by_documents;

impl Gate {
    /// Refuses a generation that would drop what the operator is connected by.
    pub(super) fn ensure_not_cut(
        &self,
        generation: &Generation,
        config: &Config,
        operator: Option<&Operator>,
    ) -> Result<()> {
        let Some(operator) = operator else {
            return Ok(());
        };
        let known = self.view().known.clone();
        let Some(cut) = cut(generation, config, &known, operator) else {
            return Ok(());
        };
        bail!(
            "{cut}; `--force` does it all the same, and with `swf-filter try --force` what is in force now comes back by itself"
        )
    }
}

/// Why the operator's packets would be dropped, if they would.
pub(super) fn cut(
    generation: &Generation,
    config: &Config,
    known: &[Interface],
    operator: &Operator,
) -> Option<String> {
    // Documents decide nothing about a packet that is not in the tables.
    let policy = Policy::default();
    let mut explainer = Explainer::new(&policy, generation);
    ways(config, known, operator).into_iter().find_map(|name| {
        let masters = masters(known, &name);
        let verdict = explainer.verdict(Question {
            from: operator.from,
            to: operator.to,
            interface: Some(&name),
            masters: &masters,
            vlan: None,
            request: None,
        });
        let verdict = verdict.ok().filter(|verdict| verdict.reason.drops())?;
        let rule = generation.rule(verdict.rule);
        let words = rule.and_then(|rule| by_documents(verdict.reason, generation, rule));
        let rule = rule.map(|rule| {
            let text = crate::report::visible(&rule.text);
            format!(", by {} {text} at {}", rule.list.name(), rule.origin)
        });
        Some(format!(
            "this would drop your own connection from {} to {} on {name}: {}{}",
            operator.from,
            plain(operator.to),
            words.as_deref().unwrap_or(verdict.reason.name()),
            rule.unwrap_or_default()
        ))
    })
}

/// The interfaces that the operator's packets may come in on: the one that has the address, or if that is none with a filter (a VLAN
/// of one, an address of no interface), any that has.
fn ways(config: &Config, known: &[Interface], operator: &Operator) -> Vec<Arc<str>> {
    let filtered: Vec<Arc<str>> = known
        .iter()
        .filter(|interface| config.names(&interface.name))
        .map(|interface| Arc::clone(&interface.name))
        .collect();
    let own = operator.interface.as_deref();
    match filtered.iter().find(|name| Some(&***name) == own) {
        Some(name) => vec![Arc::clone(name)],
        None => filtered,
    }
}

fn plain(to: SocketAddr) -> String {
    format!("{} port {}", to.ip(), to.port())
}
