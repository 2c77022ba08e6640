//! The last hour, as far as the daemon knows it, and what of it a change would turn.
//!
//! The kernel counts packets by rule, and sends a sample of those that it drops. So this knows how many packets a rule decided, and
//! not from whom; and whom some drops were from, and not how many. It says so, and does not guess.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;
use swf_filter_core::compile::{Generation, HostDifference, difference, turns};
use swf_filter_core::policy::Policy;
use tracing::warn;

use super::{Gate, MOST_DIFFERENCES, View, lock, operator};
use crate::config::Config;
use crate::control::api::{
    Bounds, DiffReport, EventReport, Operator, PreviewReport, Sample, Traffic, TurnCount,
};
use crate::dataplane::Interface;
use crate::dataplane::interfaces::masters;
use crate::explain::{Explainer, Question};
use crate::files;
use crate::sources::Sources;
use crate::state::{RuleKey, keys};

/// How far back it goes.
const HOUR: Duration = Duration::from_hours(1);
/// Rules of a policy at most, for which this is kept: each is looked at every minute.
const MOST_RULES: usize = 100_000;
/// Rules at most that a minute has counts of: the busiest.
const MOST_BUSY: usize = 10_000;
/// Events that are kept at most.
const MOST_EVENTS: usize = 10_000;
/// Sources that are named at most.
const MOST_NAMED: usize = 8;

/// What is known of the last hour.
#[derive(Default)]
pub(super) struct Hour {
    /// When it was first looked at counters.
    began: Option<Instant>,
    /// What rules had counted at the last look.
    totals: HashMap<RuleKey, u64>,
    minutes: VecDeque<Minute>,
    events: VecDeque<Seen>,
}

/// What rules counted in some time.
struct Minute {
    end: Instant,
    packets: Vec<(RuleKey, u64)>,
    /// Whether there were more rules with packets.
    is_cut: bool,
}

/// A packet that was dropped, or would have been without audit mode.
#[derive(Clone)]
struct Seen {
    at: Instant,
    dropped: bool,
    interface: String,
    vlan: Option<u16>,
    from: IpAddr,
    to: SocketAddr,
}

impl Hour {
    /// Takes note of what rules have counted so far: in all, and since the last flip.
    fn look(&mut self, now: Instant, counts: Vec<(RuleKey, u64, u64)>) {
        let is_first = self.began.is_none();
        self.began.get_or_insert(now);
        let mut packets = self.since(&counts);
        let is_cut = packets.len() > MOST_BUSY;
        packets.sort_unstable_by_key(|(_, packets)| std::cmp::Reverse(*packets));
        packets.truncate(MOST_BUSY);
        if !is_first {
            self.minutes.push_back(Minute {
                end: now,
                packets,
                is_cut,
            });
        }
        self.totals = counts
            .into_iter()
            .map(|(key, total, _)| (key, total))
            .collect();
        let is_old = |at: &Instant| now.saturating_duration_since(*at) > HOUR;
        while self
            .minutes
            .front()
            .is_some_and(|minute| is_old(&minute.end))
        {
            self.minutes.pop_front();
        }
        while self.events.front().is_some_and(|seen| is_old(&seen.at)) {
            self.events.pop_front();
        }
    }

    /// What rules counted since the last look. One that is new counts from the flip that brought it.
    fn since(&self, counts: &[(RuleKey, u64, u64)]) -> Vec<(RuleKey, u64)> {
        let counted = |(key, total, live): &(RuleKey, u64, u64)| {
            let before = self.totals.get(key);
            let packets =
                before.map_or(*live, |before| total.checked_sub(*before).unwrap_or(*live));
            (packets > 0).then(|| (key.clone(), packets))
        };
        counts.iter().filter_map(counted).collect()
    }

    fn forget_counts(&mut self) {
        self.began = None;
        self.totals = HashMap::new();
        self.minutes.clear();
    }

    /// What each rule counted in the last hour, with whether that is all, and since when it is known.
    fn counted(
        &self,
        now: Instant,
        counts: &[(RuleKey, u64, u64)],
    ) -> Option<(HashMap<RuleKey, u64>, bool, Duration)> {
        let known = now.saturating_duration_since(self.began?).min(HOUR);
        let mut sums: HashMap<RuleKey, u64> = self.since(counts).into_iter().collect();
        let young = |minute: &&Minute| now.saturating_duration_since(minute.end) <= HOUR;
        let mut is_whole = true;
        for minute in self.minutes.iter().filter(young) {
            is_whole &= !minute.is_cut;
            for (key, packets) in &minute.packets {
                *sums.entry(key.clone()).or_default() += packets;
            }
        }
        Some((sums, is_whole, known))
    }
}

impl Gate {
    /// Looks at the counters of rules. To be called every minute.
    pub(in crate::daemon) fn look_at_rules(&self) {
        let view = self.view();
        let counts = self.totals(&view);
        drop(view);
        let mut hour = lock(&self.hour);
        match counts {
            Ok(Some(counts)) => hour.look(Instant::now(), counts),
            Ok(None) => hour.forget_counts(),
            Err(error) => warn!("{error:#}"),
        }
    }

    /// What each rule has counted over all generations, and in the one in force; nothing if there are too many.
    fn totals(&self, view: &View) -> Result<Option<Vec<(RuleKey, u64, u64)>>> {
        let known = view.in_force().ok();
        if known.is_none_or(|generation| generation.rules.len() > MOST_RULES) {
            return Ok(None);
        }
        let counts = self.live(view)?.into_iter().map(|(key, live)| {
            let total = view.ledger.get(&key).packets + live.packets;
            (key, total, live.packets)
        });
        Ok(Some(counts.collect()))
    }

    /// Keeps an event for a while.
    pub(super) fn see(&self, event: &EventReport) {
        let (Some(from), Some(address), Some(port)) =
            (event.source, event.destination, event.destination_port)
        else {
            return;
        };
        let mut hour = lock(&self.hour);
        if hour.events.len() >= MOST_EVENTS {
            hour.events.pop_front();
        }
        hour.events.push_back(Seen {
            at: Instant::now(),
            dropped: event.dropped,
            interface: event.interface.clone(),
            vlan: event.vlan,
            from,
            to: SocketAddr::new(address, port),
        });
    }

    /// What a text, or the files, would change, and what that would have meant for the last hour.
    pub(in crate::daemon) fn preview(
        &self,
        sources: Option<Sources>,
        operator: Option<&Operator>,
    ) -> Result<PreviewReport> {
        let (loaded, config) = if let Some(sources) = sources {
            self.load(sources)?
        } else {
            let config = Config::load(&self.path)?;
            let loaded = files::load(&config.paths.policy, &config.always_allow)?;
            (loaded, config)
        };
        let after = loaded.compile()?;
        let (before, known, counts) = {
            let view = self.view();
            let before = view.in_force()?.clone();
            (before, view.known.clone(), self.totals(&view)?)
        };
        let (difference, cut) = difference(&before, &after, MOST_DIFFERENCES);
        let mut traffic = self.traffic(&before, &after, &known, counts.as_deref());
        traffic.notes.extend(uncounted(&difference.hosts));
        Ok(PreviewReport {
            difference: DiffReport { difference, cut },
            traffic,
            cuts_off: operator
                .and_then(|operator| operator::cut(&after, &config, &known, operator)),
            doubts: loaded.doubts,
        })
    }

    fn traffic(
        &self,
        before: &Generation,
        after: &Generation,
        known: &[Interface],
        counts: Option<&[(RuleKey, u64, u64)]>,
    ) -> Traffic {
        let now = Instant::now();
        let (counted, events) = {
            let hour = lock(&self.hour);
            let counted = counts.and_then(|counts| hour.counted(now, counts));
            (counted, Vec::from(hour.events.clone()))
        };
        let mut traffic = Traffic {
            sample: sample(after, known, events),
            ..Traffic::default()
        };
        let keys = keys(before);
        let packets_of = |number: u32| {
            let (sums, ..) = counted.as_ref()?;
            let key = keys.get(usize::try_from(number).ok()?)?;
            Some(sums.get(key).copied().unwrap_or_default())
        };
        traffic.turns = turns(before, after)
            .into_iter()
            .map(|turn| TurnCount {
                packets: packets_of(turn.number),
                turn,
            })
            .collect();
        match &counted {
            None => traffic.notes.push(format!(
                "packets are not known: counts of rules are kept from a minute after the start, for policies of {MOST_RULES} rules at most"
            )),
            Some((_, is_whole, known)) => {
                traffic.seconds = known.as_secs();
                traffic.would_drop = Some(bounds(&traffic.turns, true));
                traffic.would_pass = Some(bounds(&traffic.turns, false));
                if !is_whole {
                    traffic.notes.push(format!(
                        "only the {MOST_BUSY} busiest rules of each minute were counted"
                    ));
                }
            }
        }
        if traffic.turns.iter().any(|turn| !turn.turn.whole) {
            let words = "packets are counted by rule, not by source: of a rule that only partly changes its verdict, at most that many are meant";
            traffic.notes.push(words.to_owned());
        }
        if traffic.sample.events > 0 {
            let words = "packets seen one by one are a sample of those that were dropped, or would have been; of those that passed there is none";
            traffic.notes.push(words.to_owned());
        }
        traffic
    }
}

fn bounds(turns: &[TurnCount], drops: bool) -> Bounds {
    let mut bounds = Bounds::default();
    for TurnCount { turn, packets } in turns.iter().filter(|one| one.turn.drops == drops) {
        let packets = packets.unwrap_or_default();
        bounds.at_most += packets;
        if turn.whole {
            bounds.at_least += packets;
        }
    }
    bounds
}

/// What would become of packets that were seen.
fn sample(after: &Generation, known: &[Interface], mut events: Vec<Seen>) -> Sample {
    let mut sample = Sample {
        events: events.len(),
        ..Sample::default()
    };
    // Each interface has an image of its own, of which the explainer keeps the last.
    events.sort_by(|a, b| a.interface.cmp(&b.interface));
    let policy = Policy::default();
    let mut explainer = Explainer::new(&policy, after);
    let mut named = HashSet::new();
    for seen in events {
        let masters = masters(known, &seen.interface);
        let verdict = explainer.verdict(Question {
            from: seen.from,
            to: seen.to,
            interface: Some(&seen.interface),
            masters: &masters,
            vlan: seen.vlan,
            request: None,
        });
        let Ok(verdict) = verdict else { continue };
        match (seen.dropped, verdict.reason.drops()) {
            (true, false) => sample.would_pass += 1,
            (false, true) => sample.would_drop += 1,
            _ => continue,
        }
        if named.len() < MOST_NAMED && named.insert(seen.from) {
            sample.sources.push(seen.from);
        }
    }
    sample
}

/// What a change means that no counter tells.
fn uncounted(hosts: &[HostDifference]) -> Option<String> {
    let is_uncounted = |host: &HostDifference| match host {
        HostDifference::Added { .. } => true,
        HostDifference::Removed { .. } => false,
        HostDifference::Changed { settings, .. } => settings
            .iter()
            .any(|setting| setting.starts_with("addresses") || setting.starts_with("ports")),
    };
    hosts.iter().any(is_uncounted).then(|| {
        "what went to addresses and ports that are judged from now on, or no more, is not counted by rule, and so not here".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use swf_filter_core::compile::List;

    use super::*;

    fn key(text: &str) -> RuleKey {
        RuleKey {
            host: "a".into(),
            list: List::Allow,
            text: Arc::from(text),
            nth: 0,
        }
    }

    fn minutes(number: u64) -> Duration {
        Duration::from_mins(number)
    }

    #[test]
    fn an_hour_is_what_was_counted_in_it_and_no_more() {
        let start = Instant::now();
        let mut hour = Hour::default();
        let at = |minute| start + minutes(minute);
        let sum = |hour: &Hour, minute, total| {
            let counts = [(key("one"), total, total)];
            let (sums, whole, known) = hour.counted(at(minute), &counts)?;
            Some((
                sums.get(&key("one")).copied().unwrap_or_default(),
                whole,
                known,
            ))
        };
        assert_eq!(sum(&hour, 0, 5), None, "before the first look");
        // What was counted before the first look may be of any age.
        hour.look(at(0), vec![(key("one"), 1_000, 1_000)]);
        assert_eq!(sum(&hour, 0, 1_000), Some((0, true, Duration::ZERO)));
        for minute in 1..=90 {
            hour.look(at(minute), vec![(key("one"), 1_000 + minute * 10, minute)]);
        }
        let (packets, whole, known) = sum(&hour, 90, 1_900 + 3).unwrap();
        assert_eq!((packets, whole, known), (61 * 10 + 3, true, HOUR));
        assert!(hour.minutes.len() <= 61);
    }

    #[test]
    fn a_rule_that_comes_counts_from_then_and_one_that_goes_back_does_not_go_below_zero() {
        let start = Instant::now();
        let mut hour = Hour::default();
        hour.look(start, vec![(key("one"), 10, 10)]);
        let later = start + minutes(1);
        // It was in the policy long ago: only what it counts now is of this hour.
        hour.look(later, vec![(key("one"), 4, 4), (key("two"), 500, 7)]);
        let (sums, ..) = hour.counted(later, &[]).unwrap();
        assert_eq!((sums[&key("one")], sums[&key("two")]), (4, 7));
    }

    #[test]
    fn only_the_busiest_of_very_many_are_kept() {
        let start = Instant::now();
        let mut hour = Hour::default();
        let counts = |packets: u64| {
            (0..=MOST_BUSY as u64)
                .map(|number| (key(&number.to_string()), packets * number, 0))
                .collect::<Vec<_>>()
        };
        hour.look(start, counts(1));
        hour.look(start + minutes(1), counts(2));
        let (sums, is_whole, _) = hour.counted(start + minutes(1), &counts(2)).unwrap();
        assert_eq!((sums.len(), is_whole), (MOST_BUSY, true));
        hour.look(start + minutes(2), counts(1));
        let more: Vec<_> = counts(1)
            .into_iter()
            .map(|(key, total, _)| (key, total + 1, 0))
            .collect();
        hour.look(start + minutes(3), more.clone());
        let (_, is_whole, _) = hour.counted(start + minutes(3), &more).unwrap();
        assert!(!is_whole);
    }
}
