//! Policies and frames from a seed, for comparing two implementations.
//!
//! The universe is small on purpose: a few clusters of addresses, four interfaces, a handful of VLANs and ports. Two things chosen at
//! random then often meet, so that most frames get far into the policy and every reason is hit often. Policies are always valid; how
//! invalid ones are refused is tested by hand. Everything follows from the generator that is passed in, so a seed is a test case.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use fastrand::Rng;

use crate::{
    frames::{self, Extension, Frame, Network, Tag, Transport, V4},
    model::{
        Block, DefaultVerdict, Entry, Host, Mode, Model, Place, PolicyFile, Ports, Set, SetFile,
        Spelling, Vpc,
    },
    oracle::{self, Ingress, Range},
};

/// The interfaces of the universe, each with the bond it is a member of.
pub const INTERFACES: [(&str, Option<&str>); 4] = [
    ("eth0", None),
    ("eth1", None),
    ("eth2", Some("bond0")),
    ("eth3", Some("bond0")),
];

/// What a VPC may claim: the interfaces and their bond.
pub const CLAIMABLE: [&str; 5] = ["eth0", "eth1", "eth2", "eth3", "bond0"];

/// One frame and where it comes in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Case {
    /// Where the frame comes in.
    pub ingress: Ingress,
    /// The frame.
    pub frame: Vec<u8>,
}

/// Shows the case in one line, for reports of failed tests.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bond = self.ingress.bond.as_deref().unwrap_or("no bond");
        write!(f, "on {} ({bond}): ", self.ingress.interface)?;
        self.frame
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A valid policy.
pub fn policy(rng: &mut Rng) -> Model {
    let sets: Vec<_> = (0..rng.usize(0..=3)).map(|n| set(rng, n)).collect();
    let vpcs = vpcs(rng);
    let hosts = hosts(rng, &sets, &vpcs);
    let mut files: Vec<_> = FILE_NAMES[..rng.usize(1..=3)]
        .iter()
        .map(|name| PolicyFile {
            name: (*name).to_owned(),
            blocks: Vec::new(),
        })
        .collect();
    let mut blocks: Vec<_> = sets.into_iter().map(Block::Set).collect();
    blocks.extend(vpcs.into_iter().map(Block::Vpc));
    blocks.extend(hosts.into_iter().map(Block::Host));
    rng.shuffle(&mut blocks);
    for block in blocks {
        pick_mut(rng, &mut files).blocks.push(block);
    }
    Model::new(files, always_allow(rng))
}

/// A frame that has something to do with the policy, and where it comes in.
pub fn case(rng: &mut Rng, policy: &Model) -> Case {
    let frame = frame(rng, policy);
    let mut bytes = frame.to_bytes();
    mutate(rng, &mut bytes, frame.network_offset());
    Case {
        ingress: ingress(rng),
        frame: bytes,
    }
}

/// One of the interfaces of the universe.
pub fn ingress(rng: &mut Rng) -> Ingress {
    let (interface, bond) = pick(rng, &INTERFACES);
    Ingress {
        interface: interface.to_owned(),
        bond: bond.map(ToOwned::to_owned),
    }
}

/// A frame before anything is done to its bytes.
pub fn frame(rng: &mut Rng, policy: &Model) -> Frame {
    let destination = destination(rng, policy);
    let source = source(rng, policy, destination.is_ipv4());
    let mut frame = Frame::ip(source, destination).transport(transport(rng, policy));
    frame.tags = tags(rng);
    frame.extensions = extensions(rng, destination.is_ipv4());
    frame.payload = vec![0xab; rng.usize(0..24)];
    if one_in(rng, 30) {
        frame.ether_type = Some(pick(rng, &[0x0806, 0x0800, 0x86dd, 0x9100, 60]));
    }
    match &mut frame.network {
        Network::V4(header) => vary_v4(rng, header),
        Network::V6(header) => {
            header.hops = pick(rng, &[255, 255, 64, 254]);
            if one_in(rng, 30) {
                header.version = pick(rng, &[4, 5]);
            }
        }
        Network::Other(_) => {}
    }
    if one_in(rng, 20) {
        frame = frame.duplicate_extension(0).duplicate_tag(0);
    }
    frame
}

// Addresses.

const CLUSTERS_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(10, 20, 0, 0),
    Ipv4Addr::new(10, 20, 1, 0),
    Ipv4Addr::new(192, 0, 2, 0),
    Ipv4Addr::new(198, 51, 100, 0),
    Ipv4Addr::new(203, 0, 113, 0),
];
const CLUSTERS_V6: [Ipv6Addr; 5] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
    Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0),
    Ipv6Addr::new(0x2600, 0x1f14, 0xaa, 0, 0, 0, 0, 0),
    Ipv6Addr::new(0x2600, 0x1f14, 0xaa, 0, 1, 0, 0, 0),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
];
/// Where the protected addresses are; also among the clusters, so that hosts are sources too.
const HOME_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 0);
const HOME_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);

const LENGTHS_V4: [u8; 12] = [0, 8, 15, 16, 23, 24, 26, 28, 29, 30, 31, 32];
const LENGTHS_V6: [u8; 12] = [0, 16, 32, 47, 48, 56, 64, 80, 120, 125, 127, 128];

fn cluster(rng: &mut Rng, is_ipv4: bool) -> IpAddr {
    if is_ipv4 {
        pick(rng, &CLUSTERS_V4).into()
    } else {
        pick(rng, &CLUSTERS_V6).into()
    }
}

fn address(rng: &mut Rng, is_ipv4: bool) -> IpAddr {
    let base = cluster(rng, is_ipv4);
    near(rng, base)
}

/// An address among the first 16 or the last 4 of the 256 at `base`.
fn near(rng: &mut Rng, base: IpAddr) -> IpAddr {
    let step = if one_in(rng, 8) {
        rng.u8(252..)
    } else {
        rng.u8(..16)
    };
    moved(base, i64::from(step))
}

/// The address so many steps away; stays within its family by wrapping around.
fn moved(address: IpAddr, steps: i64) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let steps = i32::try_from(steps).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits().wrapping_add_signed(steps)).into()
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits().wrapping_add_signed(steps.into());
            Ipv6Addr::from_bits(bits).into()
        }
    }
}

/// An address, a prefix or a range.
fn cidr(rng: &mut Rng) -> String {
    let is_ipv4 = rng.bool();
    let one = address(rng, is_ipv4);
    match rng.u8(..10) {
        0..3 => one.to_string(),
        3..8 => {
            let lengths = if is_ipv4 { LENGTHS_V4 } else { LENGTHS_V6 };
            prefix_text(one, pick(rng, &lengths))
        }
        8 => {
            let base = cluster(rng, is_ipv4);
            let (first, last) = (near(rng, base), near(rng, base));
            range_text(first, last)
        }
        _ => {
            let other = address(rng, is_ipv4);
            range_text(one, other)
        }
    }
}

fn prefix_text(address: IpAddr, length: u8) -> String {
    format!("{}/{length}", Range::prefix(address, length).first)
}

fn range_text(one: IpAddr, other: IpAddr) -> String {
    format!("{}-{}", one.min(other), one.max(other))
}

fn cidrs(rng: &mut Rng, count: RangeInclusive<usize>) -> Vec<Entry> {
    (0..rng.usize(count))
        .map(|_| Entry::new(cidr(rng)))
        .collect()
}

// Policies.

/// In byte order, as they are read.
const FILE_NAMES: [&str; 3] = ["10-first.toml", "B.second.toml", "a_third.toml"];
const VLANS: [u16; 3] = [5, 120, 4094];
const PORTS: [u16; 9] = [0, 79, 80, 443, 444, 8000, 8003, 8004, 65535];

fn spelling(rng: &mut Rng) -> Spelling {
    pick(rng, &[Spelling::Brief, Spelling::Full])
}

fn set(rng: &mut Rng, number: usize) -> Set {
    let name = format!("set-{number}");
    let has_file = rng.bool();
    let least = usize::from(!has_file);
    let cidrs_in_place = cidrs(rng, least..=4);
    let folder = pick(rng, &["", "lists/"]);
    let file = has_file.then(|| SetFile {
        name: format!("{folder}{name}.txt"),
        entries: cidrs(rng, 1..=5),
    });
    Set {
        name,
        cidrs: cidrs_in_place,
        file,
        spelling: spelling(rng),
    }
}

fn vpcs(rng: &mut Rng) -> Vec<Vpc> {
    let mut vpcs: Vec<Vpc> = Vec::new();
    for number in 0..rng.usize(0..=5) {
        let mut vpc = Vpc {
            id: format!("vpc-0a{number}"),
            cidrs: Vec::new(),
            interfaces: claimed_interfaces(rng),
            vlans: some_of(rng, &VLANS),
            spelling: spelling(rng),
        };
        add_free_cidrs(rng, &mut vpc, &vpcs);
        if !vpc.cidrs.is_empty() {
            vpcs.push(vpc);
        }
    }
    vpcs
}

fn claimed_interfaces(rng: &mut Rng) -> Vec<String> {
    some_of(rng, &CLAIMABLE)
        .into_iter()
        .map(ToOwned::to_owned)
        .collect()
}

/// Ranges that many VPCs like to have, so that the same ones end up behind different claims.
const POPULAR: [&str; 8] = [
    "10.20.0.0/16",
    "10.20.0.0/29",
    "10.20.0.8/29",
    "10.20.0.4-10.20.0.11",
    "2600:1f14:aa::/56",
    "2600:1f14:aa::/125",
    "2600:1f14:aa::8/125",
    "2600:1f14:aa::4-2600:1f14:aa::b",
];

/// Adds up to 3 ranges that overlap none of the VPC itself and none of a VPC with a claim in common.
///
/// VPCs that claim nothing are treated as if they had a claim in common.
fn add_free_cidrs(rng: &mut Rng, vpc: &mut Vpc, others: &[Vpc]) {
    for _ in 0..rng.usize(2..=6) {
        let text = if one_in(rng, 3) {
            cidr(rng)
        } else {
            pick(rng, &POPULAR).to_owned()
        };
        let range = Range::parse(&text);
        let is_free = |vpc: &Vpc| !overlaps_any(&range, &vpc.cidrs);
        let mut rivals = others.iter().filter(|other| share_a_zone(vpc, other));
        if is_free(vpc) && rivals.all(is_free) && vpc.cidrs.len() < 3 {
            vpc.cidrs.push(Entry::new(text));
        }
    }
}

fn share_a_zone(one: &Vpc, other: &Vpc) -> bool {
    let (claims, others) = (oracle::claims(one), oracle::claims(other));
    let both_claim_nothing = claims.is_empty() && others.is_empty();
    both_claim_nothing || claims.iter().any(|claim| others.contains(claim))
}

fn overlaps_any(range: &Range, entries: &[Entry]) -> bool {
    entries
        .iter()
        .any(|entry| Range::parse(&entry.text).overlaps(range))
}

fn hosts(rng: &mut Rng, sets: &[Set], vpcs: &[Vpc]) -> Vec<Host> {
    let count = if one_in(rng, 30) { 0 } else { rng.usize(1..=5) };
    let all_audit = one_in(rng, 5);
    let mut taken = Vec::new();
    let mut hosts: Vec<Host> = Vec::new();
    for number in 0..count {
        let addresses = free_addresses(rng, &mut taken);
        if addresses.is_empty() {
            continue;
        }
        let mut host = host(rng, format!("host-{number}"), sets, vpcs);
        host.addresses = addresses;
        if all_audit {
            host.mode = Mode::Audit;
        }
        if let Some(first) = hosts.first()
            && one_in(rng, 4)
        {
            host.allow.clone_from(&first.allow);
            host.audit.clone_from(&first.audit);
            host.deny.clone_from(&first.deny);
        }
        hosts.push(host);
    }
    hosts
}

fn host(rng: &mut Rng, name: String, sets: &[Set], vpcs: &[Vpc]) -> Host {
    Host {
        name,
        addresses: Vec::new(),
        ports: ports(rng),
        default: pick(
            rng,
            &[
                DefaultVerdict::Drop,
                DefaultVerdict::Drop,
                DefaultVerdict::Pass,
            ],
        ),
        mode: pick(rng, &[Mode::Enforce, Mode::Enforce, Mode::Audit]),
        allow: entries(rng, 6, sets, vpcs),
        audit: if rng.bool() {
            entries(rng, 4, sets, vpcs)
        } else {
            Vec::new()
        },
        deny: entries(rng, 3, sets, vpcs),
        spelling: spelling(rng),
        place: Place::default(),
    }
}

fn ports(rng: &mut Rng) -> Ports {
    match rng.u8(..6) {
        0..2 => Ports::All,
        2 => Ports::Listed(vec![(80, 80), (443, 443)]),
        3 => Ports::Listed(vec![(8000, 8003), (443, 443)]),
        4 => Ports::Listed(vec![(1, 79), (8003, 8003), (65535, 65535)]),
        _ => Ports::default(),
    }
}

/// Up to 3 addresses, prefixes or ranges that no host has; they are added to `taken`.
fn free_addresses(rng: &mut Rng, taken: &mut Vec<Range>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for _ in 0..rng.usize(2..=4) {
        let text = home_text(rng);
        let range = Range::parse(&text);
        if entries.len() < 3 && !taken.iter().any(|other| other.overlaps(&range)) {
            taken.push(range);
            entries.push(Entry::new(text));
        }
    }
    entries
}

fn home_text(rng: &mut Rng) -> String {
    let (base, longest) = if rng.bool() {
        (IpAddr::from(HOME_V4), 32)
    } else {
        (IpAddr::from(HOME_V6), 128)
    };
    let address = moved(base, rng.i64(0..32));
    match rng.u8(..6) {
        0..3 => address.to_string(),
        3 => prefix_text(address, longest - rng.u8(..3)),
        _ => range_text(address, moved(address, rng.i64(0..6))),
    }
}

fn entries(rng: &mut Rng, most: usize, sets: &[Set], vpcs: &[Vpc]) -> Vec<Entry> {
    (0..rng.usize(0..=most))
        .map(|_| Entry::new(entry(rng, sets, vpcs)))
        .collect()
}

fn entry(rng: &mut Rng, sets: &[Set], vpcs: &[Vpc]) -> String {
    match rng.u8(..8) {
        0..2 if !sets.is_empty() => format!("set:{}", sets[rng.usize(..sets.len())].name),
        2..5 if !vpcs.is_empty() => format!("vpc:{}", vpcs[rng.usize(..vpcs.len())].id),
        _ => cidr(rng),
    }
}

/// Few and small, or nothing else would ever be reached.
fn always_allow(rng: &mut Rng) -> Vec<Entry> {
    let count = pick(rng, &[0, 0, 1, 2]);
    let one = |rng: &mut Rng| {
        let is_ipv4 = rng.bool();
        let base = address(rng, is_ipv4);
        let longest = if is_ipv4 { 32 } else { 128 };
        match rng.u8(..3) {
            0 => base.to_string(),
            1 => prefix_text(base, longest - rng.u8(..4)),
            _ => range_text(base, moved(base, rng.i64(0..6))),
        }
    };
    (0..count).map(|_| Entry::new(one(rng))).collect()
}

// Frames.

fn destination(rng: &mut Rng, policy: &Model) -> IpAddr {
    let hosts: Vec<_> = policy.hosts().collect();
    if hosts.is_empty() || one_in(rng, 10) {
        let is_ipv4 = rng.bool();
        return address(rng, is_ipv4);
    }
    let host = pick(rng, &hosts);
    let range = Range::parse(&pick_ref(rng, &host.addresses).text);
    let steps = rng.i64(..8);
    let inside = moved(range.first, steps);
    if range.contains(inside) {
        inside
    } else {
        at_an_end(rng, &range)
    }
}

/// An address of this family: mostly one at the end of something that the policy names.
fn source(rng: &mut Rng, policy: &Model, is_ipv4: bool) -> IpAddr {
    let mut ranges: Vec<_> = named_ranges(policy).collect();
    ranges.retain(|range| range.first.is_ipv4() == is_ipv4);
    if ranges.is_empty() || one_in(rng, 3) {
        return address(rng, is_ipv4);
    }
    let range = pick(rng, &ranges);
    at_an_end(rng, &range)
}

/// One of the ends, or rarely the neighbour outside.
fn at_an_end(rng: &mut Rng, range: &Range) -> IpAddr {
    match rng.u8(..8) {
        0 => moved(range.first, -1),
        1 => moved(range.last, 1),
        2..5 => range.first,
        _ => range.last,
    }
}

fn named_ranges(policy: &Model) -> impl Iterator<Item = Range> {
    let in_hosts = policy
        .hosts()
        .flat_map(|host| host.allow.iter().chain(&host.audit).chain(&host.deny));
    let in_sets = policy.sets().flat_map(|set| {
        let file = set.file.iter().flat_map(|file| &file.entries);
        set.cidrs.iter().chain(file)
    });
    let in_vpcs = policy.vpcs().flat_map(|vpc| &vpc.cidrs);
    in_hosts
        .chain(in_sets)
        .chain(in_vpcs)
        .chain(&policy.always_allow)
        .filter(|entry| !is_reference(entry))
        .map(|entry| Range::parse(&entry.text))
}

fn is_reference(entry: &Entry) -> bool {
    entry.text.starts_with("set:") || entry.text.starts_with("vpc:")
}

fn tags(rng: &mut Rng) -> Vec<Tag> {
    let count = match rng.u8(..20) {
        0..8 => 0,
        8..14 => 1,
        14..19 => 2,
        _ => 3,
    };
    (0..count)
        .map(|_| Tag {
            kind: pick(rng, &[0x8100, 0x8100, 0x88a8]),
            control: pick(rng, &[0, 0, 5, 120, 4094, 7, 4095])
                | pick(rng, &[0, 0, 0x1000, 0x6000, 0xf000]),
        })
        .collect()
}

fn transport(rng: &mut Rng, policy: &Model) -> Transport {
    let source = 40_000;
    match rng.u8(..20) {
        0..8 => Transport::Tcp {
            source,
            destination: port(rng, policy),
        },
        8..13 => Transport::Udp {
            source,
            destination: port(rng, policy),
        },
        13 => Transport::Icmp { message: 8 },
        14..17 => Transport::Icmpv6 {
            message: pick(rng, &[128, 132, 133, 134, 135, 136, 137, 138]),
        },
        // The headers that are stepped over are among them, without being there.
        _ => Transport::Other(pick(
            rng,
            &[0, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 255],
        )),
    }
}

/// A port at the end of a range that some host protects, or any of the universe.
fn port(rng: &mut Rng, policy: &Model) -> u16 {
    let mut ends = Vec::new();
    for host in policy.hosts() {
        if let Ports::Listed(ranges) = &host.ports {
            ends.extend(ranges.iter().flat_map(|(first, last)| [*first, *last]));
        }
    }
    if ends.is_empty() || one_in(rng, 3) {
        pick(rng, &PORTS)
    } else {
        pick(rng, &ends)
    }
}

fn extensions(rng: &mut Rng, is_ipv4: bool) -> Vec<Extension> {
    let count = match rng.u8(..20) {
        0..13 => 0,
        13..17 => rng.usize(1..=3),
        _ => rng.usize(6..=10),
    };
    // For IPv4 the others are only protocols like any other, and end the chain.
    let only_authentication = is_ipv4 && !one_in(rng, 4);
    (0..count)
        .map(|_| extension(rng, only_authentication))
        .collect()
}

fn extension(rng: &mut Rng, only_authentication: bool) -> Extension {
    let length = pick(rng, &[0, 0, 1, 2, 4]);
    match rng.u8(..10) {
        _ if only_authentication => Extension::Authentication(length),
        0..3 => Extension::HopByHop(length),
        3..5 => Extension::Routing(length),
        5..7 => Extension::DestinationOptions(length),
        7..9 => Extension::Authentication(length),
        _ => Extension::Fragment {
            offset: pick(rng, &[0, 0, 0, 1, 185, 0x1fff]),
            more: rng.bool(),
            id: 1,
        },
    }
}

fn vary_v4(rng: &mut Rng, header: &mut V4) {
    header.hops = pick(rng, &[255, 64]);
    if one_in(rng, 5) {
        header.option_words = rng.u8(1..=10);
    }
    if one_in(rng, 12) {
        header.header_words = Some(pick(rng, &[0, 4, 5, 6, 15]));
    }
    if one_in(rng, 6) {
        header.fragment_offset = pick(rng, &[0, 1, 185, 0x1fff]);
        header.more_fragments = rng.bool();
    }
    if one_in(rng, 30) {
        header.version = pick(rng, &[5, 6]);
    }
}

/// Rarely cuts the frame short, flips a bit, or repeats some of it.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, network_offset: usize) {
    match rng.u8(..40) {
        0..4 => {
            let length = rng.usize(..=bytes.len());
            frames::truncate(bytes, length);
        }
        4 => frames::truncate(bytes, rng.usize(..=network_offset)),
        5..7 => frames::truncate(bytes, network_offset + rng.usize(..=80)),
        7..10 => {
            let bit = rng.usize(..bytes.len() * 8);
            frames::flip_bit(bytes, bit);
        }
        10 => {
            let start = rng.usize(..bytes.len());
            frames::repeat_span(bytes, start, rng.usize(1..=8));
        }
        _ => {}
    }
}

// Choices.

fn one_in(rng: &mut Rng, count: u32) -> bool {
    rng.u32(..count) == 0
}

fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())]
}

fn pick_ref<'a, T>(rng: &mut Rng, choices: &'a [T]) -> &'a T {
    &choices[rng.usize(..choices.len())]
}

fn pick_mut<'a, T>(rng: &mut Rng, choices: &'a mut [T]) -> &'a mut T {
    &mut choices[rng.usize(..choices.len())]
}

/// None of the choices, one, or two.
fn some_of<T: Copy>(rng: &mut Rng, choices: &[T]) -> Vec<T> {
    let count = pick(rng, &[0, 0, 1, 1, 2]);
    rng.choose_multiple(choices.iter().copied(), count)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::oracle::{Reason, judge};

    #[test]
    fn every_reason_comes_up_often() {
        let mut rng = Rng::with_seed(1);
        let mut counts: BTreeMap<Reason, u32> = BTreeMap::new();
        for _ in 0..4_000 {
            let policy = policy(&mut rng);
            for _ in 0..50 {
                let case = case(&mut rng, &policy);
                let expected = judge(&policy, &case.ingress, &case.frame);
                *counts.entry(expected.reason).or_default() += 1;
            }
        }
        for reason in Reason::ALL {
            let count = counts.get(&reason).copied().unwrap_or(0);
            println!("{count:>7} {reason}");
        }
        for reason in Reason::ALL {
            let count = counts.get(&reason).copied().unwrap_or(0);
            let is_the_programs_own = reason == Reason::NoGeneration;
            assert!(is_the_programs_own || count >= 400, "{reason}: {count}");
        }
    }

    #[test]
    fn every_kind_of_rule_decides_often() {
        let mut rng = Rng::with_seed(2);
        let mut counts: BTreeMap<(oracle::List, &str), u32> = BTreeMap::new();
        for _ in 0..4_000 {
            let policy = policy(&mut rng);
            for _ in 0..25 {
                let case = case(&mut rng, &policy);
                let expected = judge(&policy, &case.ingress, &case.frame);
                if let Some(rule) = expected.rule {
                    *counts.entry((rule.list, kind(&rule.text))).or_default() += 1;
                }
            }
        }
        println!("{counts:#?}");
        assert_eq!(counts.len(), 3 + 3 * 5 + 2, "{counts:?}");
        assert!(counts.values().all(|count| *count >= 50), "{counts:?}");
    }

    fn kind(text: &str) -> &'static str {
        let kinds = [
            ("set:", "set"),
            ("vpc:", "vpc"),
            ("/", "prefix"),
            ("-", "range"),
            ("pass", "pass"),
            ("drop", "drop"),
        ];
        let found = kinds.into_iter().find(|(part, _)| text.contains(part));
        found.map_or("address", |(_, kind)| kind)
    }

    #[test]
    fn same_seed_makes_the_same_case() {
        let make = || {
            let mut rng = Rng::with_seed(7);
            let policy = policy(&mut rng);
            let case = case(&mut rng, &policy);
            (policy, case)
        };
        assert_eq!(make(), make());
    }

    #[test]
    fn address_belongs_to_one_host_only() {
        for_many_policies(|policy| {
            let ranges: Vec<_> = policy
                .hosts()
                .flat_map(|host| &host.addresses)
                .map(|entry| Range::parse(&entry.text))
                .collect();
            assert_disjoint(&ranges);
        });
    }

    #[test]
    fn vpcs_with_a_zone_in_common_do_not_overlap() {
        for_many_policies(|policy| {
            for (position, vpc) in policy.vpcs().enumerate() {
                assert_disjoint(&ranges(vpc));
                let later = policy.vpcs().skip(position + 1);
                for rival in later.filter(|other| share_a_zone(vpc, other)) {
                    assert_disjoint(&[ranges(vpc), ranges(rival)].concat());
                }
            }
        });
    }

    #[test]
    fn no_prefix_has_host_bits_and_no_range_is_swapped() {
        for_many_policies(|policy| {
            let addresses = policy.hosts().flat_map(|host| &host.addresses);
            let lists = policy
                .hosts()
                .flat_map(|host| host.allow.iter().chain(&host.audit).chain(&host.deny));
            for entry in addresses.chain(lists).filter(|entry| !is_reference(entry)) {
                let range = Range::parse(&entry.text);
                assert!(range.first <= range.last, "{}", entry.text);
                if let Some((base, _)) = entry.text.split_once('/') {
                    assert_eq!(base, range.first.to_string());
                }
            }
        });
    }

    fn for_many_policies(check: impl Fn(&Model)) {
        for seed in 0..500 {
            check(&policy(&mut Rng::with_seed(seed)));
        }
    }

    fn ranges(vpc: &Vpc) -> Vec<Range> {
        let texts = vpc.cidrs.iter().map(|entry| &entry.text);
        texts.map(|text| Range::parse(text)).collect()
    }

    fn assert_disjoint(ranges: &[Range]) {
        for (position, range) in ranges.iter().enumerate() {
            let others = &ranges[position + 1..];
            assert!(others.iter().all(|other| !other.overlaps(range)));
        }
    }
}
