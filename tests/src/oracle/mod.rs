//! What has to happen to a frame, worked out from `docs/policy.md` step by step.
//!
//! Naive on purpose: every question is answered by a walk over all entries, addresses are parsed by the standard library each time
//! they are needed, and nothing is prepared beforehand. Speed and cleverness belong to the code under test. Where the page leaves a
//! choice, a comment that starts with "Reading:" says which one was made.

mod packet;
mod range;
mod reason;
mod zone;

use std::{fmt, net::IpAddr};

pub use range::Range;
pub use reason::Reason;
pub use zone::{Zone, claims, zone_of};

use crate::model::{DefaultVerdict, Entry, Host, Mode, Model, Place, Ports, Set, Vpc};
use packet::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, Packet, Payload, TCP, UDP, read_ipv4, read_ipv6,
    read_link_layer,
};
use zone::is_member;

/// Where a frame came in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ingress {
    /// The interface it arrived on.
    pub interface: String,
    /// The bond that the interface is a member of.
    pub bond: Option<String>,
}

/// What the page says about one frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expected {
    /// The reason that is counted.
    pub reason: Reason,
    /// The host that the frame goes to, if that much was read.
    pub host: Option<String>,
    /// The rule that decided, if the frame was judged.
    pub rule: Option<Rule>,
}

/// The rule that decided about a judged packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// The list it stands in.
    pub list: List,
    /// Its text: the entry, or the value of `default`.
    pub text: String,
    /// Where it stands; for a default, the line of `[[host]]`.
    pub place: Place,
    /// Length of the prefix that matched; 0 for a default.
    pub length: u8,
    /// The item of the set or VPC that matched, if the entry names one.
    pub item: Option<Entry>,
}

/// The lines of "Who wins".
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum List {
    /// The host's `allow`.
    Allow,
    /// `always_allow` of `config.toml`.
    AlwaysAllow,
    /// The host's `audit`.
    Audit,
    /// The host's `default`.
    Default,
    /// The host's `deny`.
    Deny,
}

impl Expected {
    /// Whether the frame passes.
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.reason.passes()
    }

    fn unjudged(reason: Reason, host: Option<&Host>) -> Self {
        Self {
            reason,
            host: host.map(|host| host.name.clone()),
            rule: None,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if let Some(host) = &self.host {
            write!(f, ", host `{host}`")?;
        }
        if let Some(rule) = &self.rule {
            write!(f, ", {:?} `{}` at {}", rule.list, rule.text, rule.place)?;
        }
        Ok(())
    }
}

impl Ingress {
    /// An interface that is not a member of a bond.
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            bond: None,
        }
    }

    /// A member of a bond.
    pub fn member(interface: impl Into<String>, bond: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            bond: Some(bond.into()),
        }
    }
}

/// What the page says about `frame`, come in at `ingress`, under `policy`.
///
/// # Panics
///
/// If an entry of the policy cannot be read, or names a set or VPC that does not exist.
#[must_use]
pub fn judge(policy: &Model, ingress: &Ingress, frame: &[u8]) -> Expected {
    let link = match read_link_layer(frame) {
        Ok(link) => link,
        Err(reason) => return unreadable(policy, reason),
    };
    let packet = match link.ether_type {
        ETHER_TYPE_IPV4 => read_ipv4(link.rest),
        ETHER_TYPE_IPV6 => read_ipv6(link.rest),
        _ => return Expected::unjudged(Reason::NotIp, None),
    };
    let packet = match packet {
        Ok(packet) => packet,
        Err(reason) => return unreadable(policy, reason),
    };
    let Some(host) = find_host(policy, packet.destination) else {
        return Expected::unjudged(Reason::OtherDestination, None);
    };
    if let Some(reason) = reason_not_to_judge(host, &packet) {
        return Expected::unjudged(reason, Some(host));
    }
    let zone = zone_of(policy, ingress, link.vlan);
    let (reason, rule) = who_wins(policy, host, &zone, packet.source);
    Expected {
        reason,
        host: Some(host.name.clone()),
        rule: Some(rule),
    }
}

fn unreadable(policy: &Model, reason: Reason) -> Expected {
    let reason = if policy.hosts().any(|host| host.mode == Mode::Enforce) {
        reason
    } else if policy.hosts().next().is_some() {
        Reason::AuditUnreadable
    } else {
        Reason::OtherDestination
    };
    Expected::unjudged(reason, None)
}

/// Step 4.
fn find_host(policy: &Model, destination: IpAddr) -> Option<&Host> {
    policy.hosts().find(|host| {
        let mut addresses = host.addresses.iter();
        addresses.any(|entry| Range::parse(&entry.text).contains(destination))
    })
}

/// Step 6: why a packet is not judged, if it is not.
fn reason_not_to_judge(host: &Host, packet: &Packet) -> Option<Reason> {
    let ranges = match &host.ports {
        Ports::All if packet.is_neighbor_discovery => return Some(Reason::NeighborDiscovery),
        Ports::All => return None,
        Ports::Listed(ranges) => ranges,
    };
    match packet.payload {
        Payload::NoProtocol | Payload::NoPort(TCP | UDP) => None,
        Payload::NoPort(_) => Some(Reason::OtherProtocol),
        Payload::Port(_, port) => {
            let listed = ranges
                .iter()
                .any(|(first, last)| *first <= port && port <= *last);
            (!listed).then_some(Reason::OtherPort)
        }
    }
}

/// Step 7.
fn who_wins(policy: &Model, host: &Host, zone: &Zone, source: IpAddr) -> (Reason, Rule) {
    let find = |list, entries| find_rule(policy, list, entries, zone, source);
    let audit = host.mode == Mode::Audit;
    if let Some(rule) = find(List::AlwaysAllow, &policy.always_allow) {
        return (Reason::AlwaysAllow, rule);
    }
    if let Some(rule) = find(List::Deny, &host.deny) {
        let reason = if audit {
            Reason::AuditDeny
        } else {
            Reason::Deny
        };
        return (reason, rule);
    }
    let allow = find(List::Allow, &host.allow);
    let passes = allow.is_some() || host.default == DefaultVerdict::Pass;
    if let Some(rule) = find(List::Audit, &host.audit).filter(|_| passes) {
        return (Reason::AuditDeny, rule);
    }
    if let Some(rule) = allow {
        return (Reason::Allow, rule);
    }
    let (reason, text) = match host.default {
        DefaultVerdict::Pass => (Reason::DefaultPass, "pass"),
        DefaultVerdict::Drop if audit => (Reason::AuditDefault, "drop"),
        DefaultVerdict::Drop => (Reason::DefaultDrop, "drop"),
    };
    let rule = Rule {
        list: List::Default,
        text: text.to_owned(),
        place: host.place.clone(),
        length: 0,
        item: None,
    };
    (reason, rule)
}

/// The matching entry with the longest matching prefix; of those, the one that was written first.
///
/// Reading: an entry that names a set or VPC is as long as the longest matching item in it, and stands where it is written itself.
fn find_rule(
    policy: &Model,
    list: List,
    entries: &[Entry],
    zone: &Zone,
    source: IpAddr,
) -> Option<Rule> {
    let mut best: Option<Rule> = None;
    for entry in entries {
        let Some((length, item)) = match_entry(policy, entry, zone, source) else {
            continue;
        };
        if best.as_ref().is_none_or(|best| length > best.length) {
            best = Some(Rule {
                list,
                text: entry.text.clone(),
                place: entry.place.clone(),
                length,
                item,
            });
        }
    }
    best
}

/// Length of the prefix of `entry` that `source` is in, and the item of the set or VPC it is from.
fn match_entry(
    policy: &Model,
    entry: &Entry,
    zone: &Zone,
    source: IpAddr,
) -> Option<(u8, Option<Entry>)> {
    if let Some(name) = entry.text.strip_prefix("set:") {
        let set = find_set(policy, name);
        return match_items(set.cidrs.iter().chain(in_file(set)), source);
    }
    if let Some(id) = entry.text.strip_prefix("vpc:") {
        let vpc = find_vpc(policy, id);
        return is_member(vpc, zone)
            .then(|| match_items(vpc.cidrs.iter(), source))
            .flatten();
    }
    let length = Range::parse(&entry.text).matching_length(source)?;
    Some((length, None))
}

fn match_items<'a>(
    items: impl Iterator<Item = &'a Entry>,
    source: IpAddr,
) -> Option<(u8, Option<Entry>)> {
    let mut best: Option<(u8, &Entry)> = None;
    for item in items {
        let Some(length) = Range::parse(&item.text).matching_length(source) else {
            continue;
        };
        if best.is_none_or(|(longest, _)| length > longest) {
            best = Some((length, item));
        }
    }
    best.map(|(length, item)| (length, Some(item.clone())))
}

fn find_set<'a>(policy: &'a Model, name: &str) -> &'a Set {
    policy
        .sets()
        .find(|set| set.name == name)
        .unwrap_or_else(|| panic!("no set `{name}`"))
}

fn find_vpc<'a>(policy: &'a Model, id: &str) -> &'a Vpc {
    policy
        .vpcs()
        .find(|vpc| vpc.id == id)
        .unwrap_or_else(|| panic!("no vpc `{id}`"))
}

fn in_file(set: &Set) -> &[Entry] {
    set.file.as_ref().map_or(&[], |file| &file.entries)
}

#[cfg(test)]
mod tests;
