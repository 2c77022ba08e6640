use std::net::Ipv4Addr;

use super::*;
use crate::{
    frames::{Extension, Frame, Network, Transport},
    model::{Block, PolicyFile},
};

const HOST: &str = "198.51.100.10";
const HOST_V6: &str = "2001:db8::10";

fn host() -> Host {
    Host::new("h", &[HOST, HOST_V6])
}

fn vpc(id: &str, cidr: &str, interfaces: &[&str], vlans: &[u16]) -> Vpc {
    Vpc {
        id: id.into(),
        cidrs: vec![Entry::new(cidr)],
        interfaces: interfaces.iter().map(ToString::to_string).collect(),
        vlans: vlans.to_vec(),
        spelling: crate::model::Spelling::Full,
    }
}

fn policy(blocks: Vec<Block>) -> Model {
    let file = PolicyFile {
        name: "a.toml".into(),
        blocks,
    };
    Model::new(vec![file], Vec::new())
}

fn from(source: &str) -> Frame {
    let source: IpAddr = source.parse().unwrap();
    let destination = if source.is_ipv4() { HOST } else { HOST_V6 };
    Frame::ip(source, destination.parse().unwrap())
}

fn reason(policy: &Model, frame: &Frame) -> Reason {
    judge(policy, &Ingress::new("eth0"), &frame.to_bytes()).reason
}

fn one_host(host: Host) -> Model {
    policy(vec![Block::Host(host)])
}

#[test]
fn deny_wins_over_a_longer_allow() {
    let policy = one_host(host().deny(&["10.0.0.0/8"]).allow(&["10.0.0.1"]));
    assert_eq!(reason(&policy, &from("10.0.0.1")), Reason::Deny);
    assert_eq!(reason(&policy, &from("11.0.0.1")), Reason::DefaultDrop);
}

#[test]
fn audit_reports_what_would_pass_and_nothing_else() {
    let host = || host().audit(&["10.0.0.0/8"]).deny(&["10.2.0.0/16"]);
    let policy = one_host(host().allow(&["10.1.0.1", "11.0.0.1", "10.2.0.1"]));
    assert_eq!(reason(&policy, &from("10.1.0.1")), Reason::AuditDeny);
    assert_eq!(reason(&policy, &from("11.0.0.1")), Reason::Allow);
    assert_eq!(reason(&policy, &from("10.2.0.1")), Reason::Deny);
    assert_eq!(reason(&policy, &from("10.3.0.1")), Reason::DefaultDrop);
    let mut open = host();
    open.default = DefaultVerdict::Pass;
    let policy = one_host(open);
    assert_eq!(reason(&policy, &from("10.3.0.1")), Reason::AuditDeny);
    assert_eq!(reason(&policy, &from("10.2.0.1")), Reason::Deny);
    assert_eq!(reason(&policy, &from("11.0.0.1")), Reason::DefaultPass);
}

#[test]
fn always_allow_wins_over_deny() {
    let mut policy = one_host(host().deny(&["10.0.0.0/8"]));
    policy.always_allow = vec![Entry::new("10.0.0.1")];
    assert_eq!(reason(&policy, &from("10.0.0.1")), Reason::AlwaysAllow);
    assert_eq!(reason(&policy, &from("10.0.0.2")), Reason::Deny);
}

#[test]
fn families_never_match_each_other() {
    let policy = one_host(host().allow(&["::/0"]));
    assert_eq!(reason(&policy, &from("10.0.0.1")), Reason::DefaultDrop);
    assert_eq!(reason(&policy, &from("fd00::1")), Reason::Allow);
}

#[test]
fn longest_matching_prefix_is_named_and_then_the_first_written() {
    let host = host().allow(&["10.0.0.0/8", "10.0.0.0-10.0.0.9", "10.0.0.0/29", "10.0.0.9"]);
    let policy = one_host(host);
    let named = |source| {
        let frame = from(source).to_bytes();
        let rule = judge(&policy, &Ingress::new("eth0"), &frame).rule;
        rule.unwrap().text
    };
    assert_eq!(named("10.0.0.7"), "10.0.0.0-10.0.0.9");
    assert_eq!(named("10.0.0.8"), "10.0.0.0-10.0.0.9");
    assert_eq!(named("10.0.0.9"), "10.0.0.9");
    assert_eq!(named("10.0.0.10"), "10.0.0.0/8");
}

#[test]
fn range_is_measured_by_the_prefixes_it_splits_into() {
    let range = Range::parse("10.0.0.1-10.0.0.6");
    let lengths: Vec<_> = (0..8)
        .map(|last| range.matching_length(Ipv4Addr::new(10, 0, 0, last).into()))
        .collect();
    let expected = [
        None,
        Some(32),
        Some(31),
        Some(31),
        Some(31),
        Some(31),
        Some(32),
        None,
    ];
    assert_eq!(lengths, expected);
    assert_eq!(
        Range::parse("::/0").matching_length("::1".parse().unwrap()),
        Some(0)
    );
}

#[test]
fn vpc_entry_matches_in_its_own_zone_only() {
    let policy = policy(vec![
        Block::Host(host().allow(&["vpc:a"])),
        Block::Vpc(vpc("a", "10.0.0.0/8", &["eth1"], &[5])),
    ]);
    let frame = from("10.0.0.1").vlan(0).vlan(5).to_bytes();
    let reason = |interface| judge(&policy, &Ingress::new(interface), &frame).reason;
    assert_eq!(reason("eth1"), Reason::Allow);
    assert_eq!(reason("eth2"), Reason::DefaultDrop);
}

#[test]
fn most_specific_claim_is_the_zone() {
    let policy = policy(vec![
        Block::Vpc(vpc("a", "10.0.0.0/8", &["eth1"], &[5])),
        Block::Vpc(vpc("b", "10.0.0.0/8", &["eth1"], &[])),
        Block::Vpc(vpc("c", "10.0.0.0/8", &[], &[5])),
        Block::Vpc(vpc("d", "10.0.0.0/8", &["bond0"], &[])),
    ]);
    let zone = |ingress: &Ingress, vlan| zone_of(&policy, ingress, vlan);
    let eth1 = Ingress::member("eth1", "bond0");
    let eth2 = Ingress::member("eth2", "bond0");
    let eth3 = Ingress::new("eth3");
    let both = Zone::InterfaceAndVlan("eth1".into(), 5);
    assert_eq!(zone(&eth1, Some(5)), both);
    assert_eq!(zone(&eth1, Some(6)), Zone::Interface("eth1".into()));
    assert_eq!(zone(&eth2, Some(5)), Zone::Interface("bond0".into()));
    assert_eq!(zone(&eth3, Some(5)), Zone::Vlan(5));
    assert_eq!(zone(&eth3, None), Zone::Public);
}

#[test]
fn audit_host_passes_what_it_would_drop() {
    let mut host = host().deny(&["10.0.0.0/8"]);
    host.mode = Mode::Audit;
    let policy = one_host(host);
    assert_eq!(reason(&policy, &from("10.0.0.1")), Reason::AuditDeny);
    assert_eq!(reason(&policy, &from("11.0.0.1")), Reason::AuditDefault);
    let tags = from("10.0.0.1").vlan(1).vlan(2).vlan(3);
    assert_eq!(reason(&policy, &tags), Reason::AuditUnreadable);
}

#[test]
fn unreadable_frame_without_hosts_passes() {
    let policy = policy(Vec::new());
    let expected = judge(&policy, &Ingress::new("eth0"), &[]);
    assert_eq!(expected.reason, Reason::OtherDestination);
}

#[test]
fn frame_is_truncated_up_to_the_end_of_the_fixed_header() {
    let policy = one_host(host());
    for source in ["10.0.0.1", "fd00::1"] {
        let frame = from(source).vlan(1).to_bytes();
        let fixed = 18 + if source.contains(':') { 40 } else { 20 };
        let reason = |length| judge(&policy, &Ingress::new("eth0"), &frame[..length]).reason;
        assert!((0..fixed).all(|length| reason(length) == Reason::Truncated));
        assert_eq!(reason(fixed), Reason::DefaultDrop);
    }
}

#[test]
fn wrong_version_is_unreadable() {
    let policy = one_host(host());
    let mut frame = from("10.0.0.1");
    frame.ether_type = Some(0x86dd);
    assert_eq!(
        reason(&policy, &frame.clone().payload(&[0; 40])),
        Reason::BadVersion
    );
    frame.ether_type = Some(0x0806);
    assert_eq!(reason(&policy, &frame), Reason::NotIp);
}

#[test]
fn only_listed_ports_are_judged() {
    let policy = one_host(host());
    assert_eq!(
        reason(&policy, &from("10.0.0.1").udp(1, 443)),
        Reason::DefaultDrop
    );
    assert_eq!(
        reason(&policy, &from("10.0.0.1").udp(1, 444)),
        Reason::OtherPort
    );
    let icmp = Transport::Icmp { message: 8 };
    assert_eq!(
        reason(&policy, &from("10.0.0.1").transport(icmp)),
        Reason::OtherProtocol
    );
}

#[test]
fn packet_whose_port_is_cut_off_is_judged() {
    let policy = one_host(host());
    let frame = from("10.0.0.1").tcp(1, 444).to_bytes();
    let reason = |length| judge(&policy, &Ingress::new("eth0"), &frame[..length]).reason;
    assert_eq!(reason(14 + 20 + 3), Reason::DefaultDrop);
    assert_eq!(reason(14 + 20 + 4), Reason::OtherPort);
}

#[test]
fn later_fragment_is_judged_by_its_source() {
    let policy = one_host(host());
    for source in ["10.0.0.1", "fd00::1"] {
        let tcp = from(source).tcp(1, 444);
        assert_eq!(
            reason(&policy, &tcp.clone().fragment(1, false)),
            Reason::DefaultDrop
        );
        assert_eq!(reason(&policy, &tcp.fragment(0, true)), Reason::OtherPort);
        let icmp = from(source).transport(Transport::Other(1));
        assert_eq!(
            reason(&policy, &icmp.fragment(1, false)),
            Reason::OtherProtocol
        );
    }
}

#[test]
fn ninth_header_hides_the_protocol() {
    let policy = one_host(host());
    let mut frame = from("fd00::1").tcp(1, 444);
    for _ in 0..8 {
        frame = frame.extension(Extension::DestinationOptions(1));
    }
    assert_eq!(reason(&policy, &frame), Reason::OtherPort);
    assert_eq!(
        reason(&policy, &frame.duplicate_extension(0)),
        Reason::DefaultDrop
    );
}

#[test]
fn authentication_header_is_stepped_over_in_both_families() {
    let policy = one_host(host());
    for source in ["10.0.0.1", "fd00::1"] {
        let frame = from(source)
            .tcp(1, 444)
            .extension(Extension::Authentication(3));
        assert_eq!(reason(&policy, &frame), Reason::OtherPort);
        let cut = frame.to_bytes();
        let start = frame.network_offset() + if source.contains(':') { 40 } else { 20 };
        let judged = judge(&policy, &Ingress::new("eth0"), &cut[..start + 7]);
        assert_eq!(judged.reason, Reason::DefaultDrop);
    }
}

#[test]
fn short_header_length_hides_the_ports() {
    let policy = one_host(host());
    let mut frame = from("10.0.0.1").tcp(1, 444);
    let Network::V4(header) = &mut frame.network else {
        unreachable!()
    };
    header.header_words = Some(4);
    assert_eq!(reason(&policy, &frame), Reason::DefaultDrop);
}

#[test]
fn neighbor_discovery_passes_a_host_of_all_ports() {
    let mut all = host();
    all.ports = Ports::All;
    let policy = one_host(all);
    let message = |message| from("fe80::1").transport(Transport::Icmpv6 { message });
    assert_eq!(
        reason(&policy, &message(135).hops(255)),
        Reason::NeighborDiscovery
    );
    assert_eq!(
        reason(&policy, &message(135).hops(254)),
        Reason::DefaultDrop
    );
    assert_eq!(
        reason(&policy, &message(138).hops(255)),
        Reason::DefaultDrop
    );
    let first = message(135).hops(255).fragment(0, true);
    assert_eq!(reason(&policy, &first), Reason::NeighborDiscovery);
    let later = message(135).hops(255).fragment(1, false);
    assert_eq!(reason(&policy, &later), Reason::DefaultDrop);
}

#[test]
fn set_entry_is_as_long_as_its_longest_item() {
    let set = Set {
        name: "s".into(),
        cidrs: vec![Entry::new("10.0.0.0/8"), Entry::new("10.1.0.0/16")],
        file: None,
        spelling: crate::model::Spelling::Full,
    };
    let host = host().allow(&["10.0.0.0/12", "set:s"]);
    let policy = policy(vec![Block::Host(host), Block::Set(set)]);
    let rule = |source| {
        let frame = from(source).to_bytes();
        judge(&policy, &Ingress::new("eth0"), &frame).rule.unwrap()
    };
    assert_eq!(rule("10.2.0.1").text, "10.0.0.0/12");
    assert_eq!(rule("10.1.0.1").text, "set:s");
    assert_eq!(rule("10.1.0.1").item.unwrap().text, "10.1.0.0/16");
}
