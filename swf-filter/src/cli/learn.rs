//! `swf-filter learn`: an allow list from what audit mode lets through.
//!
//! It only proposes. Events are samples, and the source of a packet is what the packet says; both stand in what is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use hyper::Method;
use ipnetwork::IpNetwork;
use jiff::SignedDuration;
use serde::Serialize;
use swf_filter_common::reason::Reason;
use swf_filter_core::policy::{Policy, limits};

use super::show::Show;
use super::{Arguments, runtime};
use crate::control::api::{EventReport, PolicyReport, Status};
use crate::control::client::{self, AskError, Lines};
use crate::report::visible;

#[derive(Args)]
pub(super) struct Learn {
    /// How long to watch, such as 10m or 2h; an interrupt ends it before.
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = time)]
    time: Duration,
    /// Only this host.
    #[arg(long)]
    host: Option<String>,
    /// Also sources that are dropped, not only those that audit mode lets through.
    #[arg(long)]
    drops: bool,
    /// Lengths of prefixes that sources are widened to: of IPv4, a comma, of IPv6, such as 24,64.
    #[arg(long, value_name = "V4,V6", default_value = "32,128", value_parser = widths)]
    widen: Widths,
}

/// Lengths of prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Widths {
    v4: u8,
    v6: u8,
}

/// What `learn` prints.
#[derive(Debug, Serialize)]
struct LearnReport {
    /// How long was watched.
    seconds: u64,
    /// Events of sources that no entry matches.
    events: u64,
    /// Packets that would have been worth an event, of which none was seen.
    unseen: u64,
    /// Events of sources for which there was no room.
    forgotten: u64,
    /// Why watching ended early, if it did.
    ended: Option<String>,
    /// By host.
    hosts: BTreeMap<Arc<str>, LearnedHost>,
}

#[derive(Debug, Default, Serialize)]
struct LearnedHost {
    /// VPCs that sources are of, by where they come in and their addresses.
    vpcs: BTreeMap<String, u64>,
    /// Other sources.
    sources: BTreeMap<IpNetwork, LearnedSource>,
    /// Events of entries and documents that deny, which no allow list changes.
    denied: BTreeMap<Arc<str>, u64>,
}

#[derive(Debug, Default, Serialize)]
struct LearnedSource {
    events: u64,
    /// The zones that it came in to.
    zones: BTreeSet<String>,
}

impl Arguments {
    pub(super) fn learn(&self, asked: &Learn) -> Result<()> {
        let answer: PolicyReport = self.fetch(Method::GET, "/v1/policy", &())?;
        let policy = answer.sources.read()?;
        let socket = self.socket()?;
        let report = runtime()?.block_on(async {
            let mut lines = client::follow(&socket, "/v1/events").await?;
            let status = || client::ask(&socket, Method::GET, "/v1/status", &());
            let before: Status = serde_json::from_slice(&status().await?)?;
            let start = Instant::now();
            let mut lesson = Lesson::new(asked, &policy);
            let ended = lesson.watch(asked.time, &mut lines).await?;
            let mut report = lesson.report;
            report.seconds = start.elapsed().as_secs();
            report.ended = ended;
            // A daemon that has ended has told all that it ever will.
            if let Ok(answer) = status().await {
                let after: Status = serde_json::from_slice(&answer)?;
                let reported = |status: &Status| status.events.received + status.events.lost;
                report.unseen = reported(&after)
                    .saturating_sub(reported(&before))
                    .saturating_sub(lesson.heard);
            }
            anyhow::Ok(report)
        })?;
        self.print(&report)
    }
}

/// What is seen so far.
struct Lesson<'a> {
    asked: &'a Learn,
    policy: &'a Policy,
    report: LearnReport,
    /// How many events came, whatever they are about.
    heard: u64,
    /// How many more sources, VPCs and rules there is room for.
    room: usize,
}

impl<'a> Lesson<'a> {
    fn new(asked: &'a Learn, policy: &'a Policy) -> Self {
        Self {
            asked,
            policy,
            report: LearnReport {
                seconds: 0,
                events: 0,
                unseen: 0,
                forgotten: 0,
                ended: None,
                hosts: BTreeMap::new(),
            },
            heard: 0,
            room: MOST_KEPT,
        }
    }

    /// Takes events as they come. Says what ended it before the time was over.
    async fn watch(&mut self, time: Duration, lines: &mut Lines) -> Result<Option<String>> {
        let over = tokio::time::sleep(time);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return Ok(None),
                interrupt = tokio::signal::ctrl_c() => {
                    interrupt?;
                    return Ok(Some("interrupted".to_owned()));
                }
                event = lines.next::<EventReport>() => match event {
                    Ok(event) => self.take(&event),
                    Err(AskError::Ended) => return Ok(Some(AskError::Ended.to_string())),
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }

    fn take(&mut self, event: &EventReport) {
        self.heard += 1;
        let (Some(host), Some(source)) = (&event.host, event.source) else {
            return;
        };
        let asked = self.asked;
        let is_other = asked.host.as_ref().is_some_and(|asked| **asked != **host);
        if is_other || event.dropped && !asked.drops {
            return;
        }
        let by_default = [Reason::AuditDefault, Reason::DefaultDrop];
        let by_entry = [Reason::AuditDeny, Reason::Deny];
        let is_for = |reasons: [Reason; 2]| reasons.iter().any(|one| one.name() == event.reason);
        let zone = event.zone.as_deref().unwrap_or("public");
        let own = self.report.hosts.entry(Arc::clone(host)).or_default();
        let kept = if is_for(by_default) {
            self.report.events += 1;
            if let Some(vpc) = vpc_of(self.policy, zone, source) {
                count(&mut own.vpcs, vpc, &mut self.room).map(|events| *events += 1)
            } else {
                let network = asked.widen.around(source);
                count(&mut own.sources, network, &mut self.room).map(|known| {
                    known.events += 1;
                    known.zones.insert(zone.to_owned());
                })
            }
        } else if is_for(by_entry) {
            let rule = event.rule.clone().unwrap_or_else(|| "unknown".into());
            count(&mut own.denied, rule, &mut self.room).map(|events| *events += 1)
        } else {
            Some(())
        };
        self.report.forgotten += u64::from(kept.is_none());
    }
}

/// What is known of `key`, or about to be if there is room.
fn count<'a, K: Ord, V: Default>(
    known: &'a mut BTreeMap<K, V>,
    key: K,
    room: &mut usize,
) -> Option<&'a mut V> {
    if !known.contains_key(&key) {
        *room = room.checked_sub(1)?;
    }
    Some(known.entry(key).or_default())
}

/// The VPC that a source is of: one that is a member of its zone, and has its address.
fn vpc_of(policy: &Policy, zone: &str, source: IpAddr) -> Option<String> {
    let is_member = |vpc: &&swf_filter_core::policy::Vpc| match zone {
        "public" => vpc.is_public(),
        zone => zone.split('+').any(|id| *id == *vpc.id),
    };
    let mut members = policy.vpcs.iter().filter(is_member);
    let vpc = members.find(|vpc| vpc.cidrs.longest(source).is_some())?;
    Some(vpc.id.to_string())
}

impl Widths {
    fn around(self, source: IpAddr) -> IpNetwork {
        let length = if source.is_ipv4() { self.v4 } else { self.v6 };
        let network = IpNetwork::new(source, length);
        // The lengths were checked, so that the address itself is never needed.
        network
            .and_then(|network| IpNetwork::new(network.network(), length))
            .unwrap_or_else(|_| source.into())
    }
}

impl Show for LearnReport {
    fn show(&self) -> String {
        let mut text = String::new();
        let mut line = |words: &str| {
            let _ = writeln!(text, "{words}");
        };
        line(&format!(
            "# swf-filter learn: {} s, {} events of sources that no entry matches",
            self.seconds, self.events
        ));
        if let Some(ended) = &self.ended {
            line(&format!("# ended early: {ended}"));
        }
        if self.unseen > 0 {
            line(&format!(
                "# {} more packets were only counted, so sources may be missing; `events_per_second` in config.toml is how many are seen",
                self.unseen
            ));
        }
        if self.forgotten > 0 {
            line(&format!(
                "# {} events were of sources for which there was no room; use --host or --widen",
                self.forgotten
            ));
        }
        line(
            "# a packet shows the source that it claims to have: look at each before you allow it",
        );
        line("version = 1");
        for (host, learned) in &self.hosts {
            learned.show(host, &mut line);
        }
        text
    }
}

impl LearnedHost {
    fn show(&self, host: &str, line: &mut impl FnMut(&str)) {
        let set = set_name(host);
        let vpcs = self.vpcs.keys().map(|id| format!("\"vpc:{id}\""));
        let sets = (!self.sources.is_empty()).then(|| format!("\"set:{set}\""));
        let entries: Vec<String> = sets.into_iter().chain(vpcs).collect();
        line("");
        if entries.is_empty() {
            line(&format!("# host `{host}`: nothing to allow"));
        } else {
            let entries = entries.join(", ");
            line(&format!("# host `{host}`: add to its `allow`: {entries}"));
        }
        for (id, events) in &self.vpcs {
            line(&format!("# {events} events from vpc `{id}`"));
        }
        for (rule, events) in &self.denied {
            line(&format!(
                "# {events} events denied by `{}`, which `allow` does not change",
                visible(rule)
            ));
        }
        if !self.sources.is_empty() {
            line("[[set]]");
            line(&format!("name = \"{set}\""));
            line("cidrs = [");
            for (network, source) in &self.sources {
                let zones: Vec<&str> = source.zones.iter().map(String::as_str).collect();
                line(&format!(
                    "    \"{network}\",   # {} events, zone {}",
                    source.events,
                    visible(&zones.join(" "))
                ));
            }
            line("]");
        }
    }
}

/// The name of a host's set. A host's name may be as long as a set's, and what is cut off may be all that tells two hosts apart.
fn set_name(host: &str) -> String {
    let whole = format!("learned-{host}");
    if whole.len() <= limits::NAME {
        return whole;
    }
    let hash = blake3::hash(host.as_bytes()).to_hex();
    let end = hash.chars().take(HASH).collect::<String>();
    let start: String = whole.chars().take(limits::NAME - HASH - 1).collect();
    format!("{start}-{end}")
}

fn time(text: &str) -> Result<Duration, String> {
    let time: SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from(time)
        .ok()
        .filter(|time| !time.is_zero() && *time <= LONGEST)
        .ok_or_else(|| "write a time of 30 days at most, such as 10m".to_owned())
}

fn widths(text: &str) -> Result<Widths, String> {
    let (v4, v6) = text.split_once(',').unwrap_or((text, "128"));
    let length = |text: &str, most: u8| {
        let length: Option<u8> = text.parse().ok();
        length
            .filter(|length| (1..=most).contains(length))
            .ok_or_else(|| format!("`{text}` is not a length from 1 to {most}"))
    };
    Ok(Widths {
        v4: length(v4, 32)?,
        v6: length(v6, 128)?,
    })
}

/// Sources, VPCs and rules that are kept at most.
const MOST_KEPT: usize = 10_000;
/// Characters of a hash that tell long names apart.
const HASH: usize = 8;
/// The longest time to watch: timers do not go on for ever.
const LONGEST: Duration = Duration::from_hours(30 * 24);

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use swf_filter_core::policy::{SourceFile, parse};

    use super::*;

    fn policy(text: &str) -> Policy {
        let file = SourceFile {
            name: "a.toml".into(),
            bytes: text.as_bytes().into(),
        };
        parse(&[file], &mut |_: &Path| Err(io::ErrorKind::NotFound.into())).unwrap()
    }

    fn asked(drops: bool, widen: &str) -> Learn {
        Learn {
            time: Duration::from_secs(1),
            host: None,
            drops,
            widen: widths(widen).unwrap(),
        }
    }

    fn event(reason: Reason, source: &str, zone: &str) -> EventReport {
        EventReport {
            time: String::new(),
            generation: 1,
            reason: reason.name().to_owned(),
            dropped: reason.drops(),
            host: Some("h".into()),
            zone: Some(zone.to_owned()),
            interface: "eth0".to_owned(),
            vlan: None,
            source: source.parse().ok(),
            source_port: None,
            destination: None,
            destination_port: None,
            protocol: None,
            length: 60,
            rule: Some("203.0.113.0/24".into()),
            origin: None,
            words: None,
        }
    }

    const VPCS: &str = "version = 1\n[[vpc]]\nid = \"vpc-a\"\ncidrs = [\"10.0.0.0/8\"]\nvlans = [5]\n\
        [[vpc]]\nid = \"vpc-b\"\ncidrs = [\"10.0.0.0/8\"]\n";

    #[test]
    fn what_is_proposed_is_a_policy_that_matches_what_was_seen() {
        let (asked, vpcs) = (asked(false, "24,64"), policy(VPCS));
        let mut lesson = Lesson::new(&asked, &vpcs);
        for (reason, source, zone) in [
            (Reason::AuditDefault, "192.0.2.7", "public"),
            (Reason::AuditDefault, "192.0.2.9", "vpc-a+vpc-c"),
            (Reason::AuditDefault, "2001:db8::1", "public"),
            (Reason::AuditDefault, "10.1.2.3", "vpc-a+vpc-c"),
            (Reason::AuditDefault, "10.1.2.3", "public"),
            (Reason::AuditDeny, "203.0.113.9", "public"),
            (Reason::DefaultDrop, "198.51.100.1", "public"),
        ] {
            lesson.take(&event(reason, source, zone));
        }
        let json = serde_json::to_value(&lesson.report).unwrap();
        assert_eq!(json["hosts"]["h"]["sources"]["192.0.2.0/24"]["events"], 2);
        let text = lesson.report.show();
        let read = policy(&text);
        let set = &read.sets[0];
        assert_eq!((&*set.name, set.prefixes.len()), ("learned-h", 2));
        for shown in [
            "5 events of sources",
            "\"192.0.2.0/24\",   # 2 events, zone public vpc-a+vpc-c",
            "\"set:learned-h\", \"vpc:vpc-a\", \"vpc:vpc-b\"",
            "# 1 events denied by `203.0.113.0/24`",
        ] {
            assert!(text.contains(shown), "no `{shown}` in {text}");
        }
        // What really drops is only learned from when that is asked for.
        assert!(!text.contains("198.51.100"), "{text}");
    }

    #[test]
    fn hosts_with_long_names_have_sets_of_their_own() {
        let (asked, nothing) = (asked(false, "32,128"), Policy::default());
        let mut lesson = Lesson::new(&asked, &nothing);
        let start = "a".repeat(63);
        for end in ["b", "c"] {
            let event = EventReport {
                host: Some(format!("{start}{end}").into()),
                ..event(Reason::AuditDefault, "192.0.2.7", "public")
            };
            lesson.take(&event);
        }
        let read = policy(&lesson.report.show());
        assert_eq!(read.sets.len(), 2);
        assert_eq!(set_name("h"), "learned-h");
    }

    #[test]
    fn drops_are_learned_from_when_asked() {
        let (asked, nothing) = (asked(true, "32"), Policy::default());
        let mut lesson = Lesson::new(&asked, &nothing);
        lesson.take(&event(Reason::DefaultDrop, "198.51.100.1", "public"));
        assert!(lesson.report.show().contains("198.51.100.1/32"));
    }

    #[test]
    fn memory_is_bounded_and_what_was_left_out_is_said() {
        let (asked, nothing) = (asked(false, "32,128"), Policy::default());
        let mut lesson = Lesson::new(&asked, &nothing);
        lesson.room = 2;
        for low in [1, 2, 3, 1, 4] {
            let source = format!("192.0.2.{low}");
            lesson.take(&event(Reason::AuditDefault, &source, "public"));
        }
        assert_eq!(lesson.report.hosts["h"].sources.len(), 2);
        assert_eq!(lesson.report.forgotten, 2);
        assert!(
            lesson
                .report
                .show()
                .contains("# 2 events were of sources for which")
        );
    }

    #[test]
    fn times_and_lengths_are_read_strictly() {
        assert_eq!(time("10m"), Ok(Duration::from_mins(10)));
        assert!(time("0s").is_err() && time("-1m").is_err() && time("9000h").is_err());
        assert_eq!(widths("24"), Ok(Widths { v4: 24, v6: 128 }));
        assert!(widths("0,64").is_err() && widths("24,129").is_err() && widths("x").is_err());
    }
}
