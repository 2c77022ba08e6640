//! The request gate as metrics: what its `status` says, under names that Prometheus has for such things.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::histogram::Histogram;

use super::text::{self, Families, count, float, seconds};
use crate::listener::status::{ListenerInfo, ListenerStatus};

/// What the listener knows at the time of a scrape.
#[derive(Debug)]
pub(crate) struct Seen {
    /// What `status` says, with reasons that there were not, too.
    pub(crate) status: ListenerStatus,
    /// How long requests took.
    pub(crate) times: Times,
}

/// How long requests took, in seconds. Polls wait for tasks for up to a minute, so that they are apart.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    /// From head to the end of the answer.
    pub(crate) calls: Histogram,
    /// The same of polls.
    pub(crate) polls: Histogram,
    /// Until the upstream's answer began.
    pub(crate) upstream_calls: Histogram,
    /// The same of polls.
    pub(crate) upstream_polls: Histogram,
}

/// Ends of buckets, in seconds: a denial takes half a millisecond, a call to SWF some ten, and a poll holds for 60.
const BUCKETS: [f64; 14] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 75.0,
];

impl Default for Times {
    fn default() -> Self {
        let histogram = || Histogram::new(BUCKETS);
        Self {
            calls: histogram(),
            polls: histogram(),
            upstream_calls: histogram(),
            upstream_polls: histogram(),
        }
    }
}

/// All metrics of the listener, as `OpenMetrics` text.
pub(crate) fn metrics(seen: Seen) -> Result<String, fmt::Error> {
    text::of(seen)
}

impl Collector for Seen {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let families = &mut Families(encoder);
        process(families, &self.status)?;
        connections(families, &self.status.listeners)?;
        requests(families, &self.status)?;
        times(families, &self.times)?;
        upstreams(families, &self.status)?;
        certificates(families, &self.status.listeners)?;
        files(families, &self.status)
    }
}

fn process(families: &mut Families<'_>, status: &ListenerStatus) -> fmt::Result {
    families.info(
        "listener_build",
        "The listener's version",
        &[("version", &*status.version)],
    )?;
    let uptime = float(status.uptime_seconds);
    families.number(
        "listener_uptime_seconds",
        "Since the listener started",
        uptime,
    )?;
    let warnings = count(status.warnings.len());
    families.number(
        "listener_warnings",
        "Warnings that status shows now",
        warnings,
    )?;
    families.counter(
        "listener_audit_lost",
        "Records that the audit log did not get",
        [(text::NO_LABELS, status.audit_lost)],
    )?;
    let policy = status.policy.clone().unwrap_or_default();
    families.info(
        "listener_generation",
        "The policy that it enforces: hashes of its tables and of its text, empty if it has none and lets nobody in",
        &[("hash", &*policy.hash), ("policy", &*policy.policy)],
    )?;
    families.number(
        "listener_generation_number",
        "Its number; 0 if there is none",
        float(policy.generation),
    )
}

fn connections(families: &mut Families<'_>, listeners: &[ListenerInfo]) -> fmt::Result {
    families.gauge(
        "listener_connections_open",
        "Connections that are open",
        listeners
            .iter()
            .map(|one| ([("listener", &*one.name)], count(one.open))),
    )?;
    families.counter(
        "listener_connections",
        "Connections that were accepted",
        listeners
            .iter()
            .map(|one| ([("listener", &*one.name)], one.accepted)),
    )?;
    families.counter(
        "listener_turned_away",
        "Connections that were closed before their handshake, by reason",
        listeners.iter().flat_map(|one| {
            let reasons = one.turned_away.iter();
            reasons
                .map(|(reason, count)| ([("listener", &*one.name), ("reason", &**reason)], *count))
        }),
    )?;
    families.counter(
        "listener_handshakes",
        "Handshakes by outcome, done or refused, and by why they were refused",
        listeners.iter().flat_map(|one| {
            let labels = |outcome, reason| {
                [
                    ("listener", &*one.name),
                    ("outcome", outcome),
                    ("reason", reason),
                ]
            };
            let refused = one.handshakes_refused.iter();
            let refused =
                refused.map(move |(reason, count)| (labels("refused", &**reason), *count));
            [(labels("done", ""), one.handshakes)]
                .into_iter()
                .chain(refused)
        }),
    )
}

fn requests(families: &mut Families<'_>, status: &ListenerStatus) -> fmt::Result {
    families.counter(
        "listener_requests",
        "Requests by action and by what became of them",
        status.actions.iter().map(|one| {
            let labels = [("action", &*one.action), ("verdict", one.verdict.name())];
            (labels, one.requests)
        }),
    )
}

fn times(families: &mut Families<'_>, times: &Times) -> fmt::Result {
    let kinds = |calls, polls| [([("kind", "call")], calls), ([("kind", "poll")], polls)];
    families.histogram(
        "listener_request_duration_seconds",
        "From a request's head to the end of its answer, polls apart",
        kinds(&times.calls, &times.polls),
    )?;
    families.histogram(
        "listener_upstream_duration_seconds",
        "From sending a request on until the upstream's answer began, polls apart",
        kinds(&times.upstream_calls, &times.upstream_polls),
    )
}

fn upstreams(families: &mut Families<'_>, status: &ListenerStatus) -> fmt::Result {
    let labels = |index: usize| {
        let one = status.upstreams.get(index);
        let (name, address) = one.map_or(("", ""), |one| (&*one.name, &*one.address));
        [("upstream", name), ("address", address)]
    };
    let all = || status.upstreams.iter().enumerate();
    families.gauge(
        "listener_upstream_up",
        "Whether an address of an upstream is used: 1, or 0 if it could not be connected to",
        all().map(|(index, one)| (labels(index), if one.healthy { 1.0 } else { 0.0 })),
    )?;
    families.counter(
        "listener_upstream_requests",
        "Requests that were sent to it",
        all().map(|(index, one)| (labels(index), one.requests)),
    )?;
    families.counter(
        "listener_upstream_failures",
        "Requests that it did not answer, and attempts to connect",
        all().map(|(index, one)| (labels(index), one.failures)),
    )
}

fn certificates(families: &mut Families<'_>, listeners: &[ListenerInfo]) -> fmt::Result {
    families.gauge(
        "listener_certificate_expiry_timestamp_seconds",
        "When a certificate runs out, by the first name that it is for and its SHA-256",
        listeners.iter().flat_map(|one| {
            let certificates = one.certificates.iter();
            certificates.filter_map(|certificate| {
                let name = certificate.names.first().map_or("", String::as_str);
                let labels = [
                    ("listener", &*one.name),
                    ("name", name),
                    ("sha256", &*certificate.sha256),
                ];
                Some((labels, seconds(&certificate.expires)?))
            })
        }),
    )
}

fn files(families: &mut Families<'_>, status: &ListenerStatus) -> fmt::Result {
    families.gauge(
        "listener_files_stale",
        "Whether files changed and could not be read, so that what they said before is in use: 1, or 0",
        status.files.iter().map(|one| {
            let listener = one.listener.as_deref().unwrap_or_default();
            let labels = [("what", &*one.what), ("listener", listener)];
            let is_stale = one.stale_since.is_some();
            (labels, if is_stale { 1.0 } else { 0.0 })
        }),
    )
}
