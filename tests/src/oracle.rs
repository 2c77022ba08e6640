//! What has to happen to a frame, worked out from `docs/policy.md` step by step.
//!
//! Naive on purpose: every question is answered by a walk over all entries, addresses are parsed by the standard library each time
//! they are needed, and nothing is prepared beforehand. Speed and cleverness belong to the code under test. Where the page leaves a
//! choice, a comment that starts with "Reading:" says which one was made.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::model::{DefaultVerdict, Entry, Host, Mode, Model, Place, Ports, Set, Vpc};

/// Where a frame came in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ingress {
    /// The interface it arrived on.
    pub interface: String,
    /// The bond that the interface is a member of.
    pub bond: Option<String>,
}

/// The reasons of the page, by name.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
#[expect(missing_docs, reason = "docs/policy.md has the meaning of each")]
pub enum Reason {
    NotIp = 1,
    OtherDestination = 2,
    OtherProtocol = 3,
    OtherPort = 4,
    NeighborDiscovery = 5,
    AlwaysAllow = 6,
    Allow = 7,
    DefaultPass = 8,
    AuditDeny = 9,
    AuditDefault = 10,
    AuditUnreadable = 11,
    NoGeneration = 12,
    Deny = 16,
    DefaultDrop = 17,
    Truncated = 18,
    TooManyTags = 19,
    BadVersion = 20,
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
    /// The host's `default`.
    Default,
    /// The host's `deny`.
    Deny,
}

/// The zone of a packet: the claim that it belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Zone {
    /// An interface, whatever the VLAN.
    Interface(String),
    /// An interface and a VLAN.
    InterfaceAndVlan(String, u16),
    /// No claim fits.
    Public,
    /// A VLAN on any interface.
    Vlan(u16),
}

impl Reason {
    /// All reasons, in the order of the page.
    pub const ALL: [Self; 17] = [
        Self::NotIp,
        Self::OtherDestination,
        Self::OtherProtocol,
        Self::OtherPort,
        Self::NeighborDiscovery,
        Self::AlwaysAllow,
        Self::Allow,
        Self::DefaultPass,
        Self::AuditDeny,
        Self::AuditDefault,
        Self::AuditUnreadable,
        Self::NoGeneration,
        Self::Deny,
        Self::DefaultDrop,
        Self::Truncated,
        Self::TooManyTags,
        Self::BadVersion,
    ];

    /// The number in the table of the page.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name in the table of the page.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIp => "not-ip",
            Self::OtherDestination => "other-destination",
            Self::OtherProtocol => "other-protocol",
            Self::OtherPort => "other-port",
            Self::NeighborDiscovery => "neighbor-discovery",
            Self::AlwaysAllow => "always-allow",
            Self::Allow => "allow",
            Self::DefaultPass => "default-pass",
            Self::AuditDeny => "audit-deny",
            Self::AuditDefault => "audit-default",
            Self::AuditUnreadable => "audit-unreadable",
            Self::NoGeneration => "no-generation",
            Self::Deny => "deny",
            Self::DefaultDrop => "default-drop",
            Self::Truncated => "truncated",
            Self::TooManyTags => "too-many-tags",
            Self::BadVersion => "bad-version",
        }
    }

    /// Whether a frame with this reason passes.
    #[must_use]
    pub const fn passes(self) -> bool {
        match self {
            Self::NotIp
            | Self::OtherDestination
            | Self::OtherProtocol
            | Self::OtherPort
            | Self::NeighborDiscovery
            | Self::AlwaysAllow
            | Self::Allow
            | Self::DefaultPass
            | Self::AuditDeny
            | Self::AuditDefault
            | Self::AuditUnreadable
            | Self::NoGeneration => true,
            Self::Deny
            | Self::DefaultDrop
            | Self::Truncated
            | Self::TooManyTags
            | Self::BadVersion => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
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

// Step 1.

struct LinkLayer<'a> {
    ether_type: u16,
    vlan: Option<u16>,
    rest: &'a [u8],
}

/// Reading: a third tag is known by its type alone, so a frame that ends inside it has too many tags.
fn read_link_layer(frame: &[u8]) -> Result<LinkLayer<'_>, Reason> {
    let mut ether_type = u16_at(frame, 12).ok_or(Reason::Truncated)?;
    let mut offset = 14;
    let mut ids = Vec::new();
    while ether_type == TAG_8100 || ether_type == TAG_88A8 {
        if ids.len() == 2 {
            return Err(Reason::TooManyTags);
        }
        let control = u16_at(frame, offset).ok_or(Reason::Truncated)?;
        ids.push(control & 0x0fff);
        ether_type = u16_at(frame, offset + 2).ok_or(Reason::Truncated)?;
        offset += 4;
    }
    Ok(LinkLayer {
        ether_type,
        vlan: ids.into_iter().find(|id| *id != 0),
        rest: &frame[offset..],
    })
}

// Steps 3 and 5.

struct Packet {
    source: IpAddr,
    destination: IpAddr,
    payload: Payload,
    /// A protocol that IPv6 neighbour discovery has, with the right hop limit and type.
    is_neighbor_discovery: bool,
}

/// What reading on has found out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Payload {
    /// The protocol is not readable.
    NoProtocol,
    /// The protocol, of a packet whose ports are not readable or that is a fragment without ports.
    NoPort(u8),
    /// The protocol and the destination port.
    Port(u8, u16),
}

fn read_ipv4(bytes: &[u8]) -> Result<Packet, Reason> {
    if bytes.len() < 20 {
        return Err(Reason::Truncated);
    }
    if bytes[0] >> 4 != 4 {
        return Err(Reason::BadVersion);
    }
    let address = |at| Ipv4Addr::from_octets(array_at(bytes, at));
    Ok(Packet {
        source: address(12).into(),
        destination: address(16).into(),
        payload: read_ipv4_payload(bytes),
        is_neighbor_discovery: false,
    })
}

/// Reading: of the list of headers to step over, only 51 counts for IPv4, also in a fragment. Where a header length below 20 hides the
/// start of an authentication header, the protocol is not readable.
fn read_ipv4_payload(bytes: &[u8]) -> Payload {
    let protocol = bytes[9];
    let header_length = usize::from(bytes[0] & 0x0f) * 4;
    let fragment_offset = u16::from_be_bytes(array_at(bytes, 6)) & 0x1fff;
    if header_length < 20 || fragment_offset != 0 {
        return if IPV4_STEPPED_OVER.contains(&protocol) {
            Payload::NoProtocol
        } else {
            Payload::NoPort(protocol)
        };
    }
    step_over(bytes, header_length, protocol, &IPV4_STEPPED_OVER).payload
}

fn read_ipv6(bytes: &[u8]) -> Result<Packet, Reason> {
    if bytes.len() < 40 {
        return Err(Reason::Truncated);
    }
    if bytes[0] >> 4 != 6 {
        return Err(Reason::BadVersion);
    }
    let address = |at| Ipv6Addr::from_octets(array_at(bytes, at));
    let end = step_over(bytes, 40, bytes[6], &IPV6_STEPPED_OVER);
    let message_type = end.offset.and_then(|offset| bytes.get(offset));
    let hop_limit = bytes[7];
    Ok(Packet {
        source: address(8).into(),
        destination: address(24).into(),
        payload: end.payload,
        is_neighbor_discovery: end.payload == Payload::NoPort(ICMPV6)
            && hop_limit == 255
            && message_type.is_some_and(|message| (133..=137).contains(message)),
    })
}

/// Where stepping over headers has ended.
struct End {
    payload: Payload,
    /// Where the payload starts; none in a fragment with an offset, or if the protocol is not readable.
    offset: Option<usize>,
}

impl End {
    const fn unreadable() -> Self {
        Self {
            payload: Payload::NoProtocol,
            offset: None,
        }
    }
}

fn step_over(bytes: &[u8], mut offset: usize, mut protocol: u8, stepped_over: &[u8]) -> End {
    let mut steps = 0;
    while stepped_over.contains(&protocol) {
        let header = bytes.get(offset..).unwrap_or_default();
        if steps == 8 || header.len() < 8 {
            return End::unreadable();
        }
        let next = header[0];
        let length = usize::from(header[1]);
        offset += match protocol {
            FRAGMENT => {
                let fragment_offset = u16::from_be_bytes(array_at(header, 2)) >> 3;
                if fragment_offset != 0 {
                    return end_of_fragment(next, stepped_over);
                }
                8
            }
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        protocol = next;
        steps += 1;
    }
    End {
        payload: read_port(bytes, offset, protocol),
        offset: Some(offset),
    }
}

fn end_of_fragment(protocol: u8, stepped_over: &[u8]) -> End {
    if stepped_over.contains(&protocol) {
        return End::unreadable();
    }
    End {
        payload: Payload::NoPort(protocol),
        offset: None,
    }
}

fn read_port(bytes: &[u8], offset: usize, protocol: u8) -> Payload {
    if protocol != TCP && protocol != UDP {
        return Payload::NoPort(protocol);
    }
    match u16_at(bytes, offset + 2) {
        Some(port) => Payload::Port(protocol, port),
        None => Payload::NoPort(protocol),
    }
}

// Step 4.

fn find_host(policy: &Model, destination: IpAddr) -> Option<&Host> {
    policy.hosts().find(|host| {
        let mut addresses = host.addresses.iter();
        addresses.any(|entry| Range::parse(&entry.text).contains(destination))
    })
}

// Step 6.

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

// Zones.

/// The zone of a packet that came in at `ingress` with `vlan`.
///
/// Reading: the kind of claim comes first, and of two claims of the same kind the one on the member goes before the one on its bond.
#[must_use]
pub fn zone_of(policy: &Model, ingress: &Ingress, vlan: Option<u16>) -> Zone {
    let interfaces: Vec<_> = [Some(&ingress.interface), ingress.bond.as_ref()]
        .into_iter()
        .flatten()
        .collect();
    let mut candidates = Vec::new();
    if let Some(vlan) = vlan {
        for interface in &interfaces {
            candidates.push(Zone::InterfaceAndVlan((*interface).clone(), vlan));
        }
    }
    for interface in &interfaces {
        candidates.push(Zone::Interface((*interface).clone()));
    }
    if let Some(vlan) = vlan {
        candidates.push(Zone::Vlan(vlan));
    }
    let is_claimed = |zone: &Zone| policy.vpcs().any(|vpc| claims(vpc).contains(zone));
    candidates
        .into_iter()
        .find(is_claimed)
        .unwrap_or(Zone::Public)
}

/// The zones that a VPC claims; none if it claims nothing.
#[must_use]
pub fn claims(vpc: &Vpc) -> Vec<Zone> {
    let mut zones = Vec::new();
    if vpc.interfaces.is_empty() {
        zones.extend(vpc.vlans.iter().map(|vlan| Zone::Vlan(*vlan)));
    }
    for interface in &vpc.interfaces {
        if vpc.vlans.is_empty() {
            zones.push(Zone::Interface(interface.clone()));
        }
        for vlan in &vpc.vlans {
            zones.push(Zone::InterfaceAndVlan(interface.clone(), *vlan));
        }
    }
    zones
}

fn is_member(vpc: &Vpc, zone: &Zone) -> bool {
    let claims = claims(vpc);
    if claims.is_empty() {
        *zone == Zone::Public
    } else {
        claims.contains(zone)
    }
}

// Step 7.

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
    if let Some(rule) = find(List::Allow, &host.allow) {
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

/// A run of addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    /// Its first address.
    pub first: IpAddr,
    /// Its last address.
    pub last: IpAddr,
}

impl Range {
    /// Reads an address, a prefix or a range.
    ///
    /// # Panics
    ///
    /// If the text is none of them.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let address = |text: &str| -> IpAddr {
            let parsed = text.parse();
            parsed.unwrap_or_else(|_| panic!("`{text}` is not an address"))
        };
        if let Some((first, last)) = text.split_once('-') {
            return Self {
                first: address(first),
                last: address(last),
            };
        }
        if let Some((base, length)) = text.split_once('/') {
            let length = length.parse().expect("a prefix length is a number");
            return Self::prefix(address(base), length);
        }
        Self {
            first: address(text),
            last: address(text),
        }
    }

    /// The prefix of this length that `address` is in.
    #[must_use]
    pub fn prefix(address: IpAddr, length: u8) -> Self {
        match address {
            IpAddr::V4(address) => {
                let host_bits = u32::MAX.checked_shr(length.into()).unwrap_or(0);
                let bits = address.to_bits();
                Self {
                    first: Ipv4Addr::from_bits(bits & !host_bits).into(),
                    last: Ipv4Addr::from_bits(bits | host_bits).into(),
                }
            }
            IpAddr::V6(address) => {
                let host_bits = u128::MAX.checked_shr(length.into()).unwrap_or(0);
                let bits = address.to_bits();
                Self {
                    first: Ipv6Addr::from_bits(bits & !host_bits).into(),
                    last: Ipv6Addr::from_bits(bits | host_bits).into(),
                }
            }
        }
    }

    /// Whether the address is in the range; never if it is of the other family.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && self.first <= address && address <= self.last
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// Length of the prefix that `address` is in when the range is written out in as few prefixes as possible.
    ///
    /// That is the largest block of addresses around it that stays within the range.
    #[must_use]
    pub fn matching_length(&self, address: IpAddr) -> Option<u8> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (0..=longest).find(|length| {
            let block = Self::prefix(address, *length);
            self.contains(block.first) && self.contains(block.last)
        })
    }
}

// Bytes.

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..offset + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn array_at<const LENGTH: usize>(bytes: &[u8], offset: usize) -> [u8; LENGTH] {
    std::array::from_fn(|index| bytes[offset + index])
}

// IEEE 802.1Q and IANA "IEEE 802 Numbers".
const TAG_8100: u16 = 0x8100;
const TAG_88A8: u16 = 0x88a8;
const ETHER_TYPE_IPV4: u16 = 0x0800;
const ETHER_TYPE_IPV6: u16 = 0x86dd;

// IANA "Assigned Internet Protocol Numbers".
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const ICMPV6: u8 = 58;
const IPV4_STEPPED_OVER: [u8; 1] = [AUTHENTICATION];
const IPV6_STEPPED_OVER: [u8; 5] = [0, 43, FRAGMENT, AUTHENTICATION, 60];

#[cfg(test)]
mod tests;
