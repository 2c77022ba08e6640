//! The packet gate as metrics: what `status` and `rules` say, under names that Prometheus has for such things.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use swf_filter_common::abi::Count;
use swf_filter_common::{forest, image};
use swf_filter_core::policy::limits;

use super::text::{self, Families, count, float, seconds};
use crate::control::api::{AttachMode, ReloadOutcome, RuleCount, Status};

/// What the daemon knows at the time of a scrape.
#[derive(Debug)]
pub(crate) struct Seen {
    /// What `status` says.
    pub(crate) status: Status,
    /// What rules counted.
    pub(crate) rules: FirstRules,
}

/// What rules counted, of a policy that may have millions.
#[derive(Debug, Default)]
pub(crate) struct FirstRules {
    /// The first ones of the policy.
    pub(crate) first: Vec<RuleCount>,
    /// What all others counted together in this generation, if there are others.
    pub(crate) rest: Option<Count>,
}

/// All metrics of the daemon, as `OpenMetrics` text.
pub(crate) fn metrics(seen: Seen) -> Result<String, fmt::Error> {
    text::of(seen)
}

impl Collector for Seen {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let families = &mut Families(encoder);
        process(families, &self.status)?;
        packets(families, &self.status)?;
        rules(families, &self.rules)?;
        generation(families, &self.status)?;
        room(families, &self.status)?;
        reloads(families, &self.status)?;
        interfaces(families, &self.status)?;
        put_back(families, &self.status)
    }
}

fn process(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    families.info(
        "build",
        "The daemon's version",
        &[("version", &*status.version)],
    )?;
    let uptime = float(status.uptime_seconds);
    families.number("uptime_seconds", "Since the daemon started", uptime)?;
    let warnings = count(status.warnings.len());
    families.number("warnings", "Warnings that status shows now", warnings)?;
    families.counter(
        "events_received",
        "Events of dropped packets that the kernel sent, since the daemon started",
        [(text::NO_LABELS, status.events.received)],
    )?;
    families.counter(
        "events_lost",
        "Drops since the daemon started that no event was sent for, events_per_second being less",
        [(text::NO_LABELS, status.events.lost)],
    )
}

fn packets(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    let rows = |number: fn(&crate::control::api::ReasonCount) -> u64| {
        status.reasons.iter().map(move |reason| {
            let outcome = if reason.drops { "drop" } else { "pass" };
            (
                [("reason", &*reason.reason), ("outcome", outcome)],
                number(reason),
            )
        })
    };
    families.counter(
        "packets",
        "Packets by why they passed or dropped, since the filter was first attached",
        rows(|reason| reason.packets),
    )?;
    families.counter(
        "packet_bytes",
        "Bytes of these packets",
        rows(|reason| reason.bytes),
    )
}

/// Two entries of a list may read the same, and series may not.
fn rules(families: &mut Families<'_>, rules: &FirstRules) -> fmt::Result {
    let mut counts: BTreeMap<[&str; 3], (u64, u64)> = BTreeMap::new();
    for rule in &rules.first {
        let entry = counts.entry([&rule.host, rule.list.name(), &rule.rule]);
        let (packets, bytes) = entry.or_default();
        *packets += rule.packets;
        *bytes += rule.bytes;
    }
    if let Some(rest) = rules.rest {
        counts.insert([OTHER; 3], (rest.packets, rest.bytes));
    }
    let rows = |number: fn(&(u64, u64)) -> u64| {
        counts.iter().map(move |([host, list, rule], counts)| {
            let labels = [("host", *host), ("list", *list), ("rule", *rule)];
            (labels, number(counts))
        })
    };
    families.counter(
        "rule_packets",
        "Packets by the rule that decided, for the first rules of the policy",
        rows(|(packets, _)| *packets),
    )?;
    families.counter(
        "rule_bytes",
        "Bytes of these packets",
        rows(|(_, bytes)| *bytes),
    )
}

/// All rules that have no series of their own. No list has this name.
const OTHER: &str = "other";

fn generation(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    let generation = &status.generation;
    families.info(
        "generation",
        "The generation that the kernel enforces: hashes of its tables and of the policy's text, and the engine",
        &[
            ("hash", &*generation.hash),
            ("policy", status.policy.as_deref().unwrap_or_default()),
            ("engine", &*generation.engine),
        ],
    )?;
    families.number(
        "generation_number",
        "Its number; 0 if there is none",
        float(generation.number),
    )?;
    families.number(
        "trial_pending",
        "Whether it is on trial, and is taken back unless it is confirmed: 1 or 0",
        if status.trial.is_some() { 1.0 } else { 0.0 },
    )?;
    let since = seconds(&generation.since);
    families.gauge(
        "generation_since_timestamp_seconds",
        "When it took effect",
        since.map(|since| (text::NO_LABELS, since)),
    )
}

/// What there is beside what there may be.
fn room(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    let generation = &status.generation;
    for (name, help, number, name_of_limit, limit) in [
        (
            "hosts",
            "Protected hosts",
            generation.hosts,
            "hosts_limit",
            limits::HOSTS,
        ),
        (
            "zones",
            "Zones",
            generation.zones,
            "zones_limit",
            limits::ZONES,
        ),
        (
            "rules",
            "Rules",
            generation.rules,
            "rules_limit",
            limits::RULES,
        ),
        (
            "prefixes",
            "Prefixes in all tables",
            generation.prefixes,
            "prefixes_limit",
            limits::ALL_PREFIXES,
        ),
    ] {
        families.number(name, help, count(number))?;
        families.number(name_of_limit, "How many there may be", count(limit))?;
    }
    families.number(
        "table_bytes",
        "Bytes that the kernel counts for the tables",
        float(generation.table_bytes),
    )?;
    families.number(
        "table_bytes_limit",
        "How many there may be with the compiled engine",
        float(u64::from(image::WORDS + forest::MAX_WORDS) * 8),
    )
}

fn reloads(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    let reloads = &status.reloads;
    let results = [
        (ReloadOutcome::Changed, reloads.changed),
        (ReloadOutcome::Failed, reloads.failed),
        (ReloadOutcome::Unchanged, reloads.unchanged),
    ];
    families.counter(
        "reloads",
        "Readings of the policy since the daemon started, the first one included",
        results.map(|(result, count)| ([("result", result.name())], count)),
    )?;
    let last = reloads.last.map(|last| match last {
        ReloadOutcome::Failed => 0.0,
        ReloadOutcome::Changed | ReloadOutcome::Unchanged => 1.0,
    });
    families.gauge(
        "last_reload_successful",
        "Whether the last one was taken: 1 or 0",
        last.map(|last| (text::NO_LABELS, last)),
    )?;
    let at = reloads.at.as_deref().and_then(seconds);
    families.gauge(
        "last_reload_timestamp_seconds",
        "When the last one ended",
        at.map(|at| (text::NO_LABELS, at)),
    )?;
    let times = reloads.milliseconds.map(|times| {
        [
            ("build", times.build),
            ("compile", times.compile),
            ("fill", times.fill),
            ("flip", times.flip),
            ("parse", times.parse),
            ("read", times.read),
        ]
    });
    families.gauge(
        "last_reload_duration_seconds",
        "What the last one that was taken took, by phase",
        times
            .into_iter()
            .flatten()
            .map(|(phase, milliseconds)| ([("phase", phase)], float(milliseconds) / 1_000.0)),
    )
}

fn interfaces(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    families.gauge(
        "interface_attached",
        "Whether an interface of config.toml has the filter, and how: 1, or 0 with the mode none",
        status.interfaces.iter().map(|interface| {
            let (mode, attached) = match interface.mode {
                Some(AttachMode::Driver) => ("driver", 1.0),
                Some(AttachMode::Generic) => ("generic", 1.0),
                None => ("none", 0.0),
            };
            ([("interface", &*interface.name), ("mode", mode)], attached)
        }),
    )
}

fn put_back(families: &mut Families<'_>, status: &Status) -> fmt::Result {
    let put_back = &status.put_back;
    let what = |what| [("what", what)];
    families.counter(
        "put_back",
        "Filters, programs and pins that somebody else took off, replaced or removed, and the daemon put back since it started",
        [
            (what("filter"), put_back.filters),
            (what("pin"), put_back.pins),
            (what("program"), put_back.programs),
        ],
    )?;
    families.gauge(
        "missing",
        "Filters that somebody else took off and pins that they removed, and that cannot be put back",
        [
            (what("filter"), float(put_back.filters_missing)),
            (what("pin"), float(put_back.pins_missing)),
        ],
    )
}
