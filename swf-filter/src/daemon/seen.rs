//! What the daemon shows of itself to metrics and page: nothing is counted here but how readings of the policy went.

use std::cmp::Reverse;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::Method;
use jiff::Timestamp;
use swf_filter_common::abi::Count;
use swf_filter_core::compile::Generation;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::time::timeout;

use super::Daemon;
use super::gate::Gate;
use crate::control::api::{ReloadInfo, ReloadOutcome, ReloadReport, RuleCount, RuleVerdict};
use crate::control::client::ask;
use crate::control::server::Audience;
use crate::listener::status::ListenerStatus;
use crate::observe::Observe;
use crate::observe::gate::{FirstRules, Seen, metrics};
use crate::observe::map::{self, Map};
use crate::observe::page::{self, HostCount, PageRule, Snapshot};
use crate::observe::server::{Observed, Part};
use crate::state::first_keys;

/// How often counters are read again because the policy has changed meanwhile.
const TRIES: usize = 8;
/// Rules that the page is told of at most.
const RULES_OF_PAGE: usize = 500;
/// For the listener to say how it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// How readings of the policy went.
#[derive(Debug, Default)]
pub(super) struct Reloads(Mutex<ReloadInfo>);

impl Reloads {
    /// Takes note of one.
    pub(super) fn count(&self, outcome: Result<ReloadReport>) -> Result<ReloadReport> {
        let mut info = lock(&self.0);
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
        lock(&self.0).clone()
    }
}

/// What rules counted.
pub(super) struct Counted {
    generation: Arc<Generation>,
    /// All rules, in this generation.
    live: Vec<Count>,
    /// Those that were chosen, over all generations.
    chosen: Vec<RuleCount>,
}

impl Gate {
    /// What all rules counted in the generation in force, and those that `choose` names in all; none if nothing is in force.
    /// Nothing else waits meanwhile.
    pub(super) fn count_rules(
        &self,
        choose: impl Fn(&[Count]) -> Vec<u32>,
    ) -> Result<Option<Counted>> {
        for _ in 0..TRIES {
            let Some((active, generation)) = self.known_in_force()? else {
                return Ok(None);
            };
            let live = self.counters().of_rules(active.slot, &generation);
            // The slot of a generation that is no longer in force is emptied, and the ledger has what was in it.
            let now = self.known_in_force()?;
            if now.is_none_or(|(now, _)| now.number != active.number) {
                continue;
            }
            let live = live?;
            let chosen = self.chosen(&generation, &live, choose(&live));
            return Ok(Some(Counted {
                generation,
                live,
                chosen,
            }));
        }
        bail!("the policy changes faster than its rules can be counted");
    }

    fn chosen(&self, generation: &Generation, live: &[Count], numbers: Vec<u32>) -> Vec<RuleCount> {
        let last = numbers.iter().max().map_or(0, |last| index(*last) + 1);
        let keys = first_keys(generation, last);
        let before = self.counted_before(&keys);
        let chosen = numbers.into_iter().filter_map(|number| {
            let at = index(number);
            let (rule, key) = (generation.rules.get(at)?, keys.get(at)?);
            let (live, before) = (live.get(at)?, before.get(at)?);
            Some(RuleCount {
                number,
                host: Arc::clone(&key.host),
                list: rule.list,
                rule: Arc::clone(&rule.text),
                origin: rule.origin.clone(),
                packets: before.packets + live.packets,
                bytes: before.bytes + live.bytes,
            })
        });
        chosen.collect()
    }
}

/// What observers see of the daemon.
pub(super) struct Sight {
    daemon: Arc<Daemon>,
    /// Rules that have series of their own.
    rules: usize,
    /// The listener's own socket.
    listener: Option<PathBuf>,
    /// The highest number of events lost that was told: counters never go back, though events under way may still come.
    lost: AtomicU64,
    /// The map of a generation.
    map: Mutex<Option<(Arc<Generation>, Arc<Map>)>>,
}

impl Sight {
    pub(super) fn new(daemon: Arc<Daemon>, settings: &Observe) -> Self {
        Self {
            daemon,
            rules: index(settings.rules),
            listener: settings.listener.clone(),
            lost: AtomicU64::new(0),
            map: Mutex::default(),
        }
    }

    fn first_rules(&self) -> Result<FirstRules> {
        let most = self.rules;
        let first = |live: &[Count]| {
            let rules = (0..).zip(live).take(most);
            rules.map(|(number, _)| number).collect()
        };
        let counted = self.daemon.gate.count_rules(first)?;
        let Some(counted) = counted else {
            return Ok(FirstRules::default());
        };
        let rest = counted.live.get(most..).filter(|rest| !rest.is_empty());
        Ok(FirstRules {
            first: counted.chosen,
            rest: rest.map(sum),
        })
    }

    fn map(&self, generation: &Arc<Generation>) -> Arc<Map> {
        let mut known = lock(&self.map);
        if let Some((of, map)) = &*known
            && Arc::ptr_eq(of, generation)
        {
            return Arc::clone(map);
        }
        let map = Arc::new(Map::new(generation));
        *known = Some((Arc::clone(generation), Arc::clone(&map)));
        map
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot {
            time: Timestamp::now().as_millisecond(),
            status: self.daemon.gate.status(Audience::Others)?,
            hosts: Vec::new(),
            rules: Vec::new(),
            more_rules: 0,
            listener: None,
            notes: Vec::new(),
        };
        match self.daemon.gate.count_rules(busiest) {
            Ok(Some(counted)) => self.describe(&counted, &mut snapshot),
            Ok(None) => {}
            Err(error) => snapshot.notes.push(format!("{error:#}")),
        }
        match self.listener_status() {
            Ok(listener) => snapshot.listener = listener,
            Err(error) => snapshot.notes.push(format!("{error:#}")),
        }
        Ok(snapshot)
    }

    fn describe(&self, counted: &Counted, snapshot: &mut Snapshot) {
        let generation = &*counted.generation;
        let map = self.map(&counted.generation);
        let mut hosts: Vec<HostCount> = generation
            .hosts
            .iter()
            .map(|host| HostCount {
                host: Arc::clone(&host.name),
                mode: map::mode(host),
                packets: 0,
                dropped: 0,
                would_drop: 0,
            })
            .collect();
        let judged = generation.rules.iter().zip(&*map.verdicts);
        for ((rule, verdict), count) in judged.zip(&counted.live) {
            if let Some(host) = hosts.get_mut(usize::from(rule.host)) {
                host.packets += count.packets;
                match verdict {
                    RuleVerdict::Drop => host.dropped += count.packets,
                    RuleVerdict::Pass => {}
                    RuleVerdict::WouldDrop => host.would_drop += count.packets,
                }
            }
        }
        snapshot.more_rules = generation.rules.len() - counted.chosen.len();
        snapshot.hosts = hosts;
        snapshot.rules = counted
            .chosen
            .iter()
            .filter_map(|rule| {
                Some(PageRule {
                    number: rule.number,
                    host: Arc::clone(&rule.host),
                    list: rule.list.name(),
                    rule: Arc::clone(&rule.rule),
                    origin: rule.origin.to_string(),
                    verdict: *map.verdicts.get(index(rule.number))?,
                    packets: rule.packets,
                })
            })
            .collect();
    }

    /// What the listener says of itself. It has fewer privileges than this process: what it says is only shown.
    fn listener_status(&self) -> Result<Option<ListenerStatus>> {
        let Some(socket) = &self.listener else {
            return Ok(None);
        };
        let answer = ask(socket, Method::GET, "/v1/status", &());
        let answer = Handle::current().block_on(async { timeout(PATIENCE, answer).await });
        let answer = answer
            .context("it takes too long")
            .and_then(|answer| Ok(answer?))
            .with_context(|| format!("no listener answers on {}", socket.display()))?;
        Ok(Some(serde_json::from_slice(&answer)?))
    }
}

impl Observed for Sight {
    fn metrics(&self) -> Result<String> {
        let mut status = self.daemon.gate.status(Audience::Others)?;
        let lost = status.events.lost;
        status.events.lost = self.lost.fetch_max(lost, Ordering::Relaxed).max(lost);
        // A generation that an earlier daemon pinned may have no names for its rules; all else is still told.
        let rules = self.first_rules().unwrap_or_default();
        Ok(metrics(Seen { status, rules })?)
    }

    fn page(&self, part: &str) -> Result<Option<Part>> {
        Ok(Some(match part {
            "" => page::page(),
            "snapshot.json" => page::json(&self.snapshot()?)?,
            "map.json" => {
                let known = self.daemon.gate.known_in_force();
                let map = known
                    .ok()
                    .flatten()
                    .map(|(_, generation)| self.map(&generation));
                page::json(&*map.unwrap_or_default())?
            }
            _ => return Ok(None),
        }))
    }

    fn events(&self) -> Option<broadcast::Receiver<Arc<str>>> {
        Some(self.daemon.events.subscribe())
    }
}

/// The rules with the most packets.
fn busiest(live: &[Count]) -> Vec<u32> {
    let mut numbers: Vec<(u32, u64)> = (0..).zip(live.iter().map(|count| count.packets)).collect();
    numbers.sort_by_key(|(_, packets)| Reverse(*packets));
    let most = numbers.into_iter().take(RULES_OF_PAGE);
    most.map(|(number, _)| number).collect()
}

fn sum(counts: &[Count]) -> Count {
    Count {
        packets: counts.iter().map(|count| count.packets).sum(),
        bytes: counts.iter().map(|count| count.bytes).sum(),
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
