//! What the gate answers when it is asked, and what it says of events.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use swf_filter_common::abi::{Count, Event, NONE_U32};
use swf_filter_common::reason::Reason;
use swf_filter_core::admission::{Way, zone};
use swf_filter_core::compile::{Generation, Zone, difference};
use tokio::sync::watch;

use super::{Gate, MOST_DIFFERENCES, View, lock, reported};
use crate::config::Config;
use crate::control::api::{
    DiffReport, EventInfo, EventReport, Explanation, PolicyInfo, PolicyReport, ReasonCount,
    RuleCount, Status,
};
use crate::control::server::Audience;
use crate::daemon::{headers, listing};
use crate::dataplane::interfaces::names;
use crate::dataplane::{Active, Counters};
use crate::files;
use crate::state::{RuleKey, keys};
use crate::verdicts::by_documents;

impl Gate {
    /// Follows which policy is in force.
    pub(in crate::daemon) fn follow(&self) -> watch::Receiver<Option<PolicyInfo>> {
        self.policy.subscribe()
    }

    /// The policy in force, as it was read.
    pub(in crate::daemon) fn policy(&self) -> Result<PolicyReport> {
        let view = self.view();
        let (Some(info), Some((_, sources))) = (view.policy_info(), &view.sources) else {
            bail!("no policy is in force that this daemon has read");
        };
        let sources = Arc::clone(sources);
        drop(view);
        Ok(PolicyReport { info, sources })
    }

    /// What each rule has counted in the generation in force, in the order of rules.
    pub(super) fn live(&self, view: &View) -> Result<Vec<(RuleKey, Count)>> {
        view.active.map_or_else(
            || Ok(Vec::new()),
            |active| self.counts(active.slot, &view.generation),
        )
    }

    /// What each rule of a generation has counted in its slot.
    pub(super) fn counts(
        &self,
        slot: u8,
        generation: &Generation,
    ) -> Result<Vec<(RuleKey, Count)>> {
        let counts = self.counters.of_rules(slot, generation)?;
        Ok(keys(generation).into_iter().zip(counts).collect())
    }

    pub(in crate::daemon) fn status(&self, audience: Audience) -> Result<Status> {
        let reasons = self.counters.reasons()?;
        let reported_now = reported(&self.counters)?;
        let lost = self.lost_history();
        let programs = lock(&self.programs);
        let view = self.view();
        let interfaces = listing::list(&view.config, &view.known, &view.notes, |interface| {
            programs.is_attached(interface)
        });
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            generation: view.info(),
            policy: view.policy_info().map(|info| info.policy),
            interfaces,
            reasons: reasons
                .into_iter()
                .map(|(reason, count)| ReasonCount {
                    reason: reason.name().to_owned(),
                    drops: reason.drops(),
                    packets: count.packets,
                    bytes: count.bytes,
                })
                .collect(),
            events: EventInfo {
                received: view.received,
                lost: reported_now
                    .saturating_sub(view.reported_before)
                    .saturating_sub(view.received),
            },
            reloads: self.reloads.info(),
            put_back: view.upkeep.info(),
            warnings: self
                .warnings(&view, audience)
                .into_iter()
                .chain(lost)
                .collect(),
            trial: self.trial(),
            held: self.held(),
        })
    }

    /// What is wrong with what is in force, if anything is, for everybody to hear.
    pub(in crate::daemon) fn warning(&self) -> Option<String> {
        self.view().told(Audience::Others).into_iter().next()
    }

    /// Packets and bytes of each rule.
    pub(in crate::daemon) fn rules(&self) -> Result<Vec<RuleCount>> {
        let view = self.view();
        let generation = view.in_force()?;
        let live = self.live(&view)?;
        let counts = (0..)
            .zip(generation.rules.iter().zip(live))
            .map(|(number, (rule, (key, live)))| {
                let before = view.ledger.get(&key);
                RuleCount {
                    number,
                    host: key.host,
                    list: rule.list,
                    rule: Arc::clone(&rule.text),
                    origin: rule.origin.clone(),
                    packets: before.packets + live.packets,
                    bytes: before.bytes + live.bytes,
                }
            })
            .collect();
        Ok(counts)
    }

    /// What the kernel enforces, with the names of its rules, if it enforces anything.
    pub(in crate::daemon) fn known_in_force(&self) -> Result<Option<(Active, Arc<Generation>)>> {
        let view = self.view();
        let generation = Arc::clone(view.in_force()?);
        Ok(view.active.map(|active| (active, generation)))
    }

    /// What rules counted in earlier generations.
    pub(in crate::daemon) fn counted_before(&self, rules: &[RuleKey]) -> Vec<Count> {
        let view = self.view();
        rules.iter().map(|rule| view.ledger.get(rule)).collect()
    }

    pub(in crate::daemon) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What a reload would change.
    pub(in crate::daemon) fn diff(&self) -> Result<DiffReport> {
        let config = Config::load(&self.path)?;
        let loaded = files::load(&config.paths.policy, &config.always_allow)?;
        let after = loaded.compile()?;
        let before = Arc::clone(self.view().in_force()?);
        let (difference, cut) = difference(&before, &after, MOST_DIFFERENCES);
        Ok(DiffReport { difference, cut })
    }

    /// Runs the loaded program on a frame.
    pub(in crate::daemon) fn explain(
        &self,
        frame: &[u8],
        interface: Option<&str>,
    ) -> Result<Explanation> {
        // Between a flip and the view's word of it, a rule's number would get another generation's name.
        let _no_flip = lock(&self.publisher);
        let mut programs = lock(&self.programs);
        let view = self.view();
        let number = match interface {
            None => 0,
            Some(name) => {
                view.known
                    .iter()
                    .find(|interface| *interface.name == *name)
                    .with_context(|| format!("there is no interface `{name}`"))?
                    .index
            }
        };
        let probed = programs.probe(frame, number)?;
        let reason = probed
            .explained
            .reason()
            .context("the program gives a reason that this version does not know")?;
        ensure!(
            probed.dropped == reason.drops(),
            "the attached program and its explanation differ: reason `{}`, dropped: {}",
            reason.name(),
            probed.dropped
        );
        let rule = probed
            .explained
            .rule()
            .and_then(|number| view.generation.rule(number));
        Ok(Explanation {
            interface: interface.map(str::to_owned),
            dropped: probed.dropped,
            reason: reason.name().to_owned(),
            words: rule.and_then(|rule| by_documents(reason, &view.generation, rule)),
            host: rule
                .and_then(|rule| view.generation.host_of(rule))
                .map(|host| Arc::clone(&host.name)),
            zone: None,
            rule: rule.map(|rule| Arc::clone(&rule.text)),
            list: rule.map(|rule| rule.list),
            origin: rule.map(|rule| rule.origin.clone()),
            prefix: None,
            set_line: None,
            request: None,
            trial: self.trial(),
            held: self.held(),
        })
    }

    /// Puts words to an event.
    pub(in crate::daemon) fn describe(&self, event: &Event) -> EventReport {
        let mut view = self.view();
        view.received += 1;
        let generation = match (&view.previous, view.active) {
            (_, Some(active)) if active.number == event.generation => {
                Some(Arc::clone(&view.generation))
            }
            (Some((number, previous)), _) if *number == event.generation => {
                Some(Arc::clone(previous))
            }
            _ => None,
        };
        let interfaces = names(&view.known, event.interface);
        drop(view);
        let interface = interfaces
            .first()
            .map_or_else(|| format!("#{}", event.interface), ToString::to_string);
        let reason = Reason::from_number(event.reason);
        let rule = generation
            .as_ref()
            .filter(|_| event.rule != NONE_U32)
            .and_then(|generation| generation.rule(event.rule));
        let host = generation
            .as_ref()
            .zip(rule)
            .and_then(|(generation, rule)| generation.host_of(rule));
        let length = usize::try_from(event.length).unwrap_or(usize::MAX);
        let seen = headers::read(event.head.get(..length).unwrap_or(&event.head));
        // The kernel does not say, since it looks for a zone only where that decides.
        let way = Way {
            interfaces,
            vlan: seen.vlan,
        };
        let zone = generation
            .as_ref()
            .filter(|_| rule.is_some() && !way.interfaces.is_empty())
            .and_then(|generation| generation.zones.get(zone(generation, &way)));
        let words = || by_documents(reason?, generation.as_ref()?, rule?);
        let report = EventReport {
            time: format!("{:.3}", Timestamp::now()),
            generation: event.generation,
            reason: reason.map_or("unknown", Reason::name).to_owned(),
            dropped: reason.is_some_and(Reason::drops),
            host: host.map(|host| Arc::clone(&host.name)),
            zone: zone.map(Zone::name),
            interface,
            vlan: way.vlan,
            source: seen.source,
            source_port: seen.source_port,
            destination: seen.destination,
            destination_port: seen.destination_port,
            protocol: seen.protocol,
            length: event.length,
            rule: rule.map(|rule| Arc::clone(&rule.text)),
            origin: rule.map(|rule| rule.origin.clone()),
            words: words(),
        };
        self.see(&report);
        report
    }
}
