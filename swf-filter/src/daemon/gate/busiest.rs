//! Which rules and hosts count most right now: what has changed since the last time that somebody asked.
//!
//! The answer is bounded, however many rules there are. Owners share one earlier reading and all others another, so that nothing is kept for
//! anyone, nobody else shortens the time that an owner's answer is of, and the counters are read a few times a second at most, whoever asks how
//! often.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use swf_filter_common::abi::Count;
use swf_filter_core::compile::{Generation, Rule};

use super::{Gate, lock, milliseconds};
use crate::control::api::{Busiest, HostChange, RuleChange, RuleVerdict};
use crate::control::server::Audience;
use crate::verdicts::verdicts;

/// A reading that is younger is good enough.
const RECENT: Duration = Duration::from_millis(200);

/// The counters as they were read last, and what had changed by then.
pub(super) struct Reading {
    at: Instant,
    number: u64,
    generation: Arc<Generation>,
    /// Of each rule, what it does to packets.
    verdicts: Arc<[RuleVerdict]>,
    counts: Vec<Count>,
    /// Of each rule, since the reading before. None if that was of another generation.
    changes: Option<(Duration, Vec<Count>)>,
}

/// The last readings for owners, and for others.
#[derive(Default)]
pub(super) struct Readings {
    others: Mutex<Option<Reading>>,
    owners: Mutex<Option<Reading>>,
}

impl Readings {
    fn of(&self, audience: Audience) -> &Mutex<Option<Reading>> {
        match audience {
            Audience::Others => &self.others,
            Audience::Owners => &self.owners,
        }
    }
}

impl Gate {
    /// What has changed since the last time that any of an audience asked, of as many hosts and rules as are asked for.
    pub(in crate::daemon) fn busiest(&self, most: usize, audience: Audience) -> Result<Busiest> {
        let mut last = lock(self.readings.of(audience));
        let number = self.view().active.map_or(0, |active| active.number);
        let is_recent =
            |reading: &&Reading| reading.number == number && reading.at.elapsed() < RECENT;
        if let Some(reading) = last.as_ref().filter(is_recent) {
            return Ok(reading.report(most));
        }
        let reading = self.read(last.take())?;
        let report = reading.report(most);
        *last = Some(reading);
        Ok(report)
    }

    fn read(&self, last: Option<Reading>) -> Result<Reading> {
        let (active, generation) = {
            let view = self.view();
            let generation = Arc::clone(view.in_force()?);
            (view.active, generation)
        };
        let number = active.map_or(0, |active| active.number);
        let counts = match active {
            Some(active) => self.counters.of_rules(active.slot, &generation)?,
            None => vec![Count::default(); generation.rules.len()],
        };
        let at = Instant::now();
        // The slot of a generation is emptied only after the view has the next one.
        ensure!(
            self.view().active.map_or(0, |active| active.number) == number,
            "the policy changes right now; ask again"
        );
        let last = last.filter(|last| last.number == number);
        let verdicts = match &last {
            Some(last) => Arc::clone(&last.verdicts),
            None => verdicts(&generation),
        };
        Ok(Reading {
            at,
            number,
            generation,
            verdicts,
            changes: last.map(|last| (at.duration_since(last.at), changes(&last.counts, &counts))),
            counts,
        })
    }
}

fn changes(before: &[Count], after: &[Count]) -> Vec<Count> {
    let pairs = before.iter().zip(after);
    pairs
        .map(|(before, after)| Count {
            packets: after.packets.saturating_sub(before.packets),
            bytes: after.bytes.saturating_sub(before.bytes),
        })
        .collect()
}

impl Reading {
    fn report(&self, most: usize) -> Busiest {
        let generation = &self.generation;
        let (time, changes) = match &self.changes {
            Some((time, changes)) => (*time, changes.as_slice()),
            None => (Duration::ZERO, [].as_slice()),
        };
        let judged = generation.rules.iter().zip(&*self.verdicts);
        let mut hosts: Vec<HostChange> = generation
            .hosts
            .iter()
            .map(|host| HostChange::new(Arc::clone(&host.name)))
            .collect();
        let mut rules = Vec::new();
        for (number, ((rule, verdict), change)) in (0..).zip(judged.zip(changes)) {
            if change.packets == 0 {
                continue;
            }
            if let Some(host) = hosts.get_mut(usize::from(rule.host)) {
                host.add(*verdict, change.packets);
            }
            rules.push((number, rule, *verdict, *change));
        }
        rules.sort_by_key(|(number, _, _, change)| (Reverse(change.packets), *number));
        let rules = rules.into_iter().take(most);
        // Sorting is stable: hosts that are as busy stay in the order of the policy.
        hosts.sort_by_key(|host| Reverse(host.packets()));
        hosts.truncate(most);
        Busiest {
            generation: self.number,
            milliseconds: milliseconds(time),
            host_count: generation.hosts.len(),
            rule_count: generation.rules.len(),
            hosts,
            rules: rules
                .map(|(number, rule, verdict, change)| self.rule(number, rule, verdict, change))
                .collect(),
        }
    }

    fn rule(&self, number: u32, rule: &Rule, verdict: RuleVerdict, change: Count) -> RuleChange {
        let host = self.generation.hosts.get(usize::from(rule.host));
        RuleChange {
            number,
            host: host.map(|host| Arc::clone(&host.name)).unwrap_or_default(),
            list: rule.list,
            rule: Arc::clone(&rule.text),
            origin: rule.origin.clone(),
            verdict,
            packets: change.packets,
            bytes: change.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_never_go_below_zero() {
        let count = |packets| Count {
            packets,
            bytes: packets,
        };
        let changed = changes(&[count(5), count(7)], &[count(9), count(0)]);
        let packets: Vec<u64> = changed.iter().map(|count| count.packets).collect();
        assert_eq!(packets, [4, 0]);
    }
}
