//! What became of requests, by action, and how long they took.
//!
//! A request is counted once, with its record. Only actions that were read are names here, so that no client adds one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use prometheus_client::metrics::histogram::Histogram;

use super::audit::{Record, Verdict};
use super::status::ActionCount;
use crate::observe::requests::Times;

/// Verdicts, in the order in which they are counted.
const VERDICTS: [Verdict; 4] = [
    Verdict::Allowed,
    Verdict::Denied,
    Verdict::Failed,
    Verdict::Refused,
];

/// What is counted of a request that got no further than to be read in part.
const UNKNOWN: &str = "unknown";

/// Actions at most: SWF's and those of STS are fewer.
const MOST: usize = 128;

/// What became of requests.
#[derive(Debug, Default)]
pub(super) struct Counters {
    actions: RwLock<BTreeMap<Box<str>, [AtomicU64; VERDICTS.len()]>>,
    times: Times,
}

impl Counters {
    /// Counts a request.
    pub(super) fn request(&self, record: &Record) {
        let action = record.action.as_deref().unwrap_or(UNKNOWN);
        if !self.count(action, record.verdict) {
            self.insert(action);
            self.count(action, record.verdict);
        }
        let (all, upstream) = if is_poll(action) {
            (&self.times.polls, &self.times.upstream_polls)
        } else {
            (&self.times.calls, &self.times.upstream_calls)
        };
        observe(all, record.microseconds);
        if let Some(microseconds) = record.upstream_microseconds {
            observe(upstream, microseconds);
        }
    }

    /// How many requests had a verdict.
    pub(super) fn requests(&self, verdict: Verdict) -> u64 {
        let of_verdict = |one: &ActionCount| (one.verdict == verdict).then_some(one.requests);
        self.actions().iter().filter_map(of_verdict).sum()
    }

    /// How many requests there were, by action and verdict.
    pub(super) fn actions(&self) -> Vec<ActionCount> {
        let actions = self.actions.read().unwrap_or_else(PoisonError::into_inner);
        let counts = actions.iter().flat_map(|(action, counts)| {
            let counts = VERDICTS.into_iter().zip(counts);
            counts.map(|(verdict, count)| ActionCount {
                action: action.to_string(),
                verdict,
                requests: count.load(Ordering::Relaxed),
            })
        });
        counts.collect()
    }

    /// How long they took.
    pub(super) fn times(&self) -> Times {
        self.times.clone()
    }

    fn count(&self, action: &str, verdict: Verdict) -> bool {
        let actions = self.actions.read().unwrap_or_else(PoisonError::into_inner);
        let counts = actions.get(action);
        let count = counts.and_then(|counts| counts.get(verdict as usize));
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        count.is_some()
    }

    fn insert(&self, action: &str) {
        let mut actions = self.actions.write().unwrap_or_else(PoisonError::into_inner);
        if actions.len() < MOST {
            actions.entry(action.into()).or_default();
        }
    }
}

fn is_poll(action: &str) -> bool {
    matches!(
        action,
        "swf:PollForActivityTask" | "swf:PollForDecisionTask"
    )
}

#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 microseconds are three centuries"
)]
fn observe(histogram: &Histogram, microseconds: u64) {
    histogram.observe(microseconds as f64 / 1_000_000.0);
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use jiff::Timestamp;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn record(action: Option<&str>, verdict: Verdict) -> Record {
        let peer = SocketAddr::from(([192, 0, 2, 1], 4000));
        let mut record = Record::new(Timestamp::UNIX_EPOCH, 1, ["l", "h"], peer, verdict, "x");
        record.action = action.map(Into::into);
        record
    }

    #[test]
    fn each_request_is_counted_once_under_its_action_and_verdict() {
        let counters = Counters::default();
        counters.request(&record(Some("swf:ListDomains"), Verdict::Allowed));
        counters.request(&record(Some("swf:ListDomains"), Verdict::Denied));
        counters.request(&record(None, Verdict::Refused));
        counters.request(&record(None, Verdict::Refused));
        let there: Vec<_> = counters
            .actions()
            .into_iter()
            .filter(|one| one.requests > 0)
            .map(|one| (one.action, one.verdict, one.requests))
            .collect();
        let list = "swf:ListDomains".to_owned();
        assert_eq!(
            there,
            [
                (list.clone(), Verdict::Allowed, 1),
                (list, Verdict::Denied, 1),
                (UNKNOWN.to_owned(), Verdict::Refused, 2),
            ]
        );
        let verdicts = VERDICTS.map(|verdict| counters.requests(verdict));
        assert_eq!(verdicts, [1, 1, 0, 2]);
    }

    #[test]
    fn polls_are_timed_apart() {
        let counters = Counters::default();
        let mut poll = record(Some("swf:PollForDecisionTask"), Verdict::Allowed);
        (poll.microseconds, poll.upstream_microseconds) = (60_000_000, Some(59_000_000));
        counters.request(&poll);
        counters.request(&record(Some("swf:ListDomains"), Verdict::Denied));
        let Times {
            calls,
            polls,
            upstream_calls,
            upstream_polls,
        } = counters.times();
        let mut registry = Registry::default();
        registry.register("calls", "", calls);
        registry.register("polls", "", polls);
        registry.register("upstream_calls", "", upstream_calls);
        registry.register("upstream_polls", "", upstream_polls);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "calls_count 1",
            "polls_count 1",
            "polls_sum 60.0",
            "upstream_calls_count 0",
            "upstream_polls_sum 59.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn there_are_never_more_actions_than_have_room() {
        let counters = Counters::default();
        for number in 0..10 * MOST {
            counters.request(&record(Some(&format!("swf:{number}")), Verdict::Denied));
        }
        assert_eq!(counters.actions().len(), MOST * VERDICTS.len());
    }
}
