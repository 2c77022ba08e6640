//! What the daemon shows of itself to metrics and page: nothing is counted here but how readings of the policy went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};
use jiff::Timestamp;
use swf_filter_common::abi::Count;
use swf_filter_core::compile::image::counters_of_a_cpu;
use tokio::sync::broadcast;

use super::Daemon;
use super::gate::Gate;
use crate::control::api::{ReloadInfo, ReloadOutcome, ReloadReport, RuleCount};
use crate::observe::Observe;
use crate::observe::gate::{FirstRules, Seen, metrics};
use crate::observe::server::Observed;
use crate::state::first_keys;

/// How often counters are read again because the policy has changed meanwhile.
const TRIES: usize = 8;

/// How readings of the policy went.
#[derive(Debug, Default)]
pub(super) struct Reloads(Mutex<ReloadInfo>);

impl Reloads {
    /// Takes note of one.
    pub(super) fn count(&self, outcome: Result<ReloadReport>) -> Result<ReloadReport> {
        let mut info = self.lock();
        info.at = Some(format!("{:.3}", Timestamp::now()));
        let (last, count) = match &outcome {
            Err(_) => (ReloadOutcome::Failed, &mut info.failed),
            Ok(report) if report.changed => (ReloadOutcome::Changed, &mut info.changed),
            Ok(_) => (ReloadOutcome::Unchanged, &mut info.unchanged),
        };
        *count += 1;
        info.last = Some(last);
        if let Ok(report) = &outcome {
            info.milliseconds = Some(report.milliseconds);
        }
        drop(info);
        outcome
    }

    pub(super) fn info(&self) -> ReloadInfo {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, ReloadInfo> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// What the first `most` rules counted, and what all others did. With very many rules this takes seconds, in which nothing
    /// else waits: each counter of each CPU is a call of the kernel.
    pub(super) fn first_rules(&self, most: usize) -> Result<FirstRules> {
        for _ in 0..TRIES {
            let Some((active, generation)) = self.known_in_force()? else {
                return Ok(FirstRules::default());
            };
            let keys = first_keys(&generation, most);
            let before = self.counted_before(&keys);
            let counters = self
                .counters()
                .rules(active.slot, counters_of_a_cpu(&generation));
            let live = |number| {
                counters
                    .as_ref()
                    .map_or_else(Count::default, |counters| counters.get(number))
            };
            let rows = (0..).zip(generation.rules.iter().zip(keys).zip(before));
            let first: Vec<RuleCount> = rows
                .map(|(number, ((rule, key), before))| {
                    let live = live(number);
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
            let others = (0..).zip(generation.rules.iter().skip(most));
            let offset = u32::try_from(most).unwrap_or(u32::MAX);
            let rest = others.fold(None, |rest: Option<Count>, (number, _): (u32, _)| {
                let live = live(offset.saturating_add(number));
                let rest = rest.unwrap_or_default();
                Some(Count {
                    packets: rest.packets + live.packets,
                    bytes: rest.bytes + live.bytes,
                })
            });
            // The slot of a generation that is no longer in force is emptied, perhaps while it was read.
            if self
                .known_in_force()?
                .is_some_and(|(now, _)| now.number == active.number)
            {
                return Ok(FirstRules { first, rest });
            }
        }
        bail!("the policy changes faster than its rules can be counted");
    }
}

/// What observers see of the daemon.
pub(super) struct Sight {
    daemon: Arc<Daemon>,
    /// Rules that have series of their own.
    rules: usize,
    /// The highest number of events lost that was told: counters never go back, though events under way may still come.
    lost: AtomicU64,
}

impl Sight {
    pub(super) fn new(daemon: Arc<Daemon>, settings: &Observe) -> Self {
        Self {
            daemon,
            rules: usize::try_from(settings.rules).unwrap_or(usize::MAX),
            lost: AtomicU64::new(0),
        }
    }
}

impl Observed for Sight {
    fn metrics(&self) -> Result<String> {
        let mut status = self.daemon.gate.status()?;
        let lost = status.events.lost;
        status.events.lost = self.lost.fetch_max(lost, Ordering::Relaxed).max(lost);
        // A generation that an earlier daemon pinned may have no names for its rules; all else is still told.
        let rules = self.daemon.gate.first_rules(self.rules).unwrap_or_default();
        Ok(metrics(Seen { status, rules })?)
    }

    fn events(&self) -> Option<broadcast::Receiver<Arc<str>>> {
        Some(self.daemon.events.subscribe())
    }
}
