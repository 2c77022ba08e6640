//! From what was read to rates. Pure: readings go in, rates come out, and no clock is asked.
//!
//! A rate is the difference of two counters over the time between them. Where a counter has gone back, its kind began anew, and there is no
//! rate until the next reading: never a large number, never a negative one.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use swf_filter_common::reason::Reason;

use crate::control::api::{Busiest, EventReport, InterfaceInfo, Status};
use crate::listener::status::{ListenerInfo, ListenerStatus, UpstreamInfo};

/// Sources that are told apart in an interval. Whoever sends from more addresses than these is counted, and not named.
const MOST_SOURCES: usize = 4096;
/// Sources that are listed.
const LISTED: usize = 200;

/// What was read at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// When, since the watching began.
    pub(crate) at: Duration,
    /// The packet gate, or why it could not be asked.
    pub(crate) gate: Result<Gate, String>,
    /// The listener, likewise.
    pub(crate) listener: Result<ListenerStatus, String>,
    /// What came since the reading before.
    pub(crate) events: Events,
}

/// What the daemon says.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) status: Status,
    /// None if this daemon cannot tell.
    pub(crate) busiest: Option<Busiest>,
}

/// Events, by source and host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    seen: u64,
    unnamed: u64,
    by_source: HashMap<(IpAddr, Option<Arc<str>>), u64>,
}

impl Events {
    /// Counts an event.
    pub(crate) fn add(&mut self, event: EventReport) {
        self.seen += 1;
        let Some(source) = event.source else {
            self.unnamed += 1;
            return;
        };
        let key = (source, event.host);
        let has_room = self.by_source.len() < MOST_SOURCES;
        match self.by_source.get_mut(&key) {
            Some(count) => *count += 1,
            None if has_room => {
                self.by_source.insert(key, 1);
            }
            None => self.unnamed += 1,
        }
    }
}

/// A counter, and how it has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Rate {
    /// What it is at.
    pub(crate) total: u64,
    /// By how much it has changed; none if that cannot be told.
    pub(crate) counted: Option<u64>,
    /// The same in a second.
    pub(crate) per_second: Option<f64>,
}

/// A counter with its name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) rate: Rate,
}

/// What there is to show.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Rates {
    /// None if no daemon answers.
    pub(crate) gate: Option<GateRates>,
    /// Why not.
    pub(crate) gate_error: Option<String>,
    /// None if no listener answers.
    pub(crate) listener: Option<ListenerRates>,
    /// Why not.
    pub(crate) listener_error: Option<String>,
    /// Warnings of both.
    pub(crate) warnings: Vec<String>,
}

/// The packet gate.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct GateRates {
    /// The time that all but hosts and rules are of.
    pub(crate) seconds: f64,
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) uptime_seconds: u64,
    pub(crate) generation: u64,
    pub(crate) interfaces: Vec<InterfaceInfo>,
    pub(crate) packets: Rate,
    pub(crate) bytes: Rate,
    pub(crate) dropped: Rate,
    pub(crate) reasons: Vec<ReasonRate>,
    /// The busiest hosts and rules, and the time that their counts are of.
    pub(crate) busiest: Option<Busiest>,
    pub(crate) sources: Sources,
}

/// A reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ReasonRate {
    pub(crate) reason: String,
    pub(crate) drops: bool,
    pub(crate) packets: Rate,
    pub(crate) bytes: Rate,
}

/// Where dropped packets came from, from events, which are samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sources {
    /// Events that came.
    pub(crate) events: u64,
    /// Packets that were worth one.
    pub(crate) packets: Option<u64>,
    /// Events of no source, or of one too many.
    pub(crate) unnamed: u64,
    pub(crate) busiest: Vec<SourceRate>,
}

/// A source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SourceRate {
    pub(crate) source: IpAddr,
    pub(crate) host: Option<Arc<str>>,
    pub(crate) events: u64,
    /// Packets, if those without an event came from the same sources as those with one.
    pub(crate) estimated_per_second: Option<f64>,
}

/// The listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ListenerRates {
    pub(crate) seconds: f64,
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) uptime_seconds: u64,
    /// None if it has no policy.
    pub(crate) generation: Option<u64>,
    pub(crate) requests: Vec<Named>,
    pub(crate) listeners: Vec<FrontRates>,
    pub(crate) upstreams: Vec<UpstreamRates>,
    pub(crate) audit_lost: Rate,
}

/// A `[[listener]]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FrontRates {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) open: usize,
    pub(crate) accepted: Rate,
    pub(crate) turned_away: Vec<Named>,
    pub(crate) handshakes_refused: Vec<Named>,
}

/// An address of an upstream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct UpstreamRates {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) healthy: bool,
    pub(crate) last_error: Option<String>,
    pub(crate) requests: Rate,
    pub(crate) failures: Rate,
}

/// What was read last, of each gate.
#[derive(Debug, Default)]
pub(crate) struct Model {
    gate: Option<(Duration, Status)>,
    listener: Option<(Duration, ListenerStatus)>,
}

impl Model {
    /// Takes a reading, and says what has changed since the one before.
    ///
    /// A gate that did not answer in between is compared with what it said before that, over the whole time.
    pub(crate) fn take(&mut self, reading: Reading) -> Rates {
        let mut rates = Rates::default();
        match reading.gate {
            Ok(gate) => {
                rates.warnings.extend_from_slice(&gate.status.warnings);
                let before = self.gate.as_ref();
                rates.gate = Some(gate_rates(before, reading.at, &gate, &reading.events));
                self.gate = Some((reading.at, gate.status));
            }
            Err(why) => rates.gate_error = Some(why),
        }
        match reading.listener {
            Ok(status) => {
                rates.warnings.extend_from_slice(&status.warnings);
                let before = self.listener.as_ref();
                rates.listener = Some(listener_rates(before, reading.at, &status));
                self.listener = Some((reading.at, status));
            }
            Err(why) => rates.listener_error = Some(why),
        }
        rates
    }
}

/// Makes rates of what belongs together: all of it can be compared, or nothing.
struct Compare<'a, T> {
    before: Option<&'a T>,
    seconds: f64,
}

impl<'a, T> Compare<'a, T> {
    fn new(
        before: Option<&'a (Duration, T)>,
        at: Duration,
        is_comparable: impl Fn(&T) -> bool,
    ) -> Self {
        let before = before.filter(|(then, before)| *then < at && is_comparable(before));
        Self {
            before: before.map(|(_, before)| before),
            seconds: before.map_or(0.0, |(then, _)| at.saturating_sub(*then).as_secs_f64()),
        }
    }

    /// A counter that `of` finds. One that was not there before was zero.
    fn rate(&self, total: u64, of: impl Fn(&T) -> Option<u64>) -> Rate {
        let before = self.before.map(|before| of(before).unwrap_or_default());
        self.counted(total, before.and_then(|before| total.checked_sub(before)))
    }

    fn counted(&self, total: u64, counted: Option<u64>) -> Rate {
        Rate {
            total,
            counted,
            per_second: counted.map(|counted| per_second(counted, self.seconds)),
        }
    }

    fn named(
        &self,
        all: &[(String, u64)],
        of: impl Fn(&T) -> Option<&[(String, u64)]>,
    ) -> Vec<Named> {
        let rates = all.iter().map(|(name, total)| Named {
            name: name.clone(),
            rate: self.rate(*total, |before| find(of(before)?, name)),
        });
        rates.collect()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nobody reads a rate to sixteen digits"
)]
pub(crate) fn per_second(counted: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        counted as f64 / seconds
    } else {
        0.0
    }
}

fn gate_rates(
    before: Option<&(Duration, Status)>,
    at: Duration,
    gate: &Gate,
    events: &Events,
) -> GateRates {
    let status = &gate.status;
    let compare = Compare::new(before, at, |before| {
        // They outlive daemons, and begin anew all together.
        let mut pairs = before.reasons.iter();
        pairs.all(|before| {
            let mut now = status.reasons.iter();
            now.find(|now| now.reason == before.reason)
                .is_some_and(|now| now.packets >= before.packets && now.bytes >= before.bytes)
        })
    });
    let reasons: Vec<ReasonRate> = status
        .reasons
        .iter()
        .map(|now| {
            let then = |status: &Status| {
                let mut reasons = status.reasons.iter();
                reasons.find(|then| then.reason == now.reason).cloned()
            };
            ReasonRate {
                reason: now.reason.clone(),
                drops: now.drops,
                packets: compare.rate(now.packets, |before| Some(then(before)?.packets)),
                bytes: compare.rate(now.bytes, |before| Some(then(before)?.bytes)),
            }
        })
        .collect();
    let sum = |of: &dyn Fn(&ReasonRate) -> Option<Rate>| {
        let rates: Vec<Rate> = reasons.iter().filter_map(of).collect();
        let counted: Option<u64> = rates.iter().map(|rate| rate.counted).sum();
        compare.counted(rates.iter().map(|rate| rate.total).sum(), counted)
    };
    let reported = sum(&|one| is_reported(&one.reason).then_some(one.packets));
    GateRates {
        seconds: compare.seconds,
        version: status.version.clone(),
        pid: status.pid,
        uptime_seconds: status.uptime_seconds,
        generation: status.generation.number,
        interfaces: status.interfaces.clone(),
        packets: sum(&|one| Some(one.packets)),
        bytes: sum(&|one| Some(one.bytes)),
        dropped: sum(&|one| one.drops.then_some(one.packets)),
        sources: sources(events, reported.counted, compare.seconds),
        reasons,
        busiest: gate.busiest.clone(),
    }
}

/// Whether its packets are worth events.
fn is_reported(reason: &str) -> bool {
    let mut reasons = Reason::ALL.into_iter();
    reasons.any(|known| known.name() == reason && known.reported())
}

fn sources(events: &Events, packets: Option<u64>, seconds: f64) -> Sources {
    // Events are on their way while counters are read: there may be some more of them.
    let packets = packets.map(|packets| packets.max(events.seen));
    let mut busiest: Vec<SourceRate> = events
        .by_source
        .iter()
        .map(|((source, host), count)| SourceRate {
            source: *source,
            host: host.clone(),
            events: *count,
            estimated_per_second: packets.map(|packets| {
                per_second(packets, seconds) * per_second(*count, 1.0)
                    / per_second(events.seen, 1.0)
            }),
        })
        .collect();
    busiest.sort_by(|a, b| {
        let key = |one: &SourceRate| (Reverse(one.events), one.source);
        key(a).cmp(&key(b)).then_with(|| a.host.cmp(&b.host))
    });
    busiest.truncate(LISTED);
    Sources {
        events: events.seen,
        packets,
        unnamed: events.unnamed,
        busiest,
    }
}

fn listener_rates(
    before: Option<&(Duration, ListenerStatus)>,
    at: Duration,
    status: &ListenerStatus,
) -> ListenerRates {
    // Its counters live as long as it does.
    let compare = Compare::new(before, at, |before| {
        before.pid == status.pid
            && before.uptime_seconds <= status.uptime_seconds
            && before
                .requests
                .iter()
                .all(|(name, then)| find(&status.requests, name).is_some_and(|now| now >= *then))
    });
    ListenerRates {
        seconds: compare.seconds,
        version: status.version.clone(),
        pid: status.pid,
        uptime_seconds: status.uptime_seconds,
        generation: status.policy.as_ref().map(|policy| policy.generation),
        requests: compare.named(&status.requests, |before| Some(&before.requests)),
        listeners: status
            .listeners
            .iter()
            .map(|one| front_rates(&compare, one))
            .collect(),
        upstreams: status
            .upstreams
            .iter()
            .map(|one| upstream_rates(&compare, one))
            .collect(),
        audit_lost: compare.rate(status.audit_lost, |before| Some(before.audit_lost)),
    }
}

fn front_rates(compare: &Compare<'_, ListenerStatus>, now: &ListenerInfo) -> FrontRates {
    fn then<'a>(status: &'a ListenerStatus, name: &str) -> Option<&'a ListenerInfo> {
        status.listeners.iter().find(|then| then.name == name)
    }
    let name = &*now.name;
    FrontRates {
        name: now.name.clone(),
        host: now.host.clone(),
        open: now.open,
        accepted: compare.rate(now.accepted, |before| Some(then(before, name)?.accepted)),
        turned_away: compare.named(&now.turned_away, |before| {
            Some(&then(before, name)?.turned_away)
        }),
        handshakes_refused: compare.named(&now.handshakes_refused, |before| {
            Some(&then(before, name)?.handshakes_refused)
        }),
    }
}

fn upstream_rates(compare: &Compare<'_, ListenerStatus>, now: &UpstreamInfo) -> UpstreamRates {
    let then = |status: &ListenerStatus| {
        let mut upstreams = status.upstreams.iter();
        upstreams
            .find(|then| then.name == now.name && then.address == now.address)
            .cloned()
    };
    UpstreamRates {
        name: now.name.clone(),
        address: now.address.clone(),
        healthy: now.healthy,
        last_error: now.last_error.clone(),
        requests: compare.rate(now.requests, |before| Some(then(before)?.requests)),
        failures: compare.rate(now.failures, |before| Some(then(before)?.failures)),
    }
}

fn find(all: &[(String, u64)], name: &str) -> Option<u64> {
    let mut all = all.iter();
    all.find(|(found, _)| found == name)
        .map(|(_, count)| *count)
}

/// What hosts and rules have counted, in a second. None if there is nothing to compare with yet.
pub(crate) fn in_a_second(busiest: &Busiest, counted: u64) -> Option<f64> {
    let time = Duration::from_millis(busiest.milliseconds);
    (!time.is_zero()).then(|| per_second(counted, time.as_secs_f64()))
}
