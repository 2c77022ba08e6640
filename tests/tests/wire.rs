//! Frames and connections over cables: what gets through, what does not, and the reason that is counted for each.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use swf_filter_tests::frames::{Extension, Frame, Network, Transport, truncate};
use swf_filter_tests::link::{End, Vlan};
use swf_filter_tests::net::{self, Echo};
use swf_filter_tests::netns::Namespace;
use swf_filter_tests::process::Child;
use swf_filter_tests::wait::wait_until;
use swf_filter_tests::wire::Wire;
use swf_filter_tests::world::{Counts, DEADLINE, World, counted_since};

/// A client whose packets are dropped gives up after this; TCP does not send again before a second is over.
const REFUSED_AFTER: Duration = Duration::from_millis(400);

/// The protected address, an allowed source, another one, and a destination that is not protected, in each family.
const V4: [&str; 4] = ["198.51.100.10", "192.0.2.1", "192.0.2.66", "198.51.100.99"];
const V6: [&str; 4] = [
    "2001:db8::10",
    "2001:db8:1::1",
    "2001:db8:1::66",
    "2001:db8::99",
];

/// The gate on a world where nothing is sent but by the test.
struct Gate {
    world: World,
    one: Wire,
    two: Wire,
    _daemon: Child,
}

impl Gate {
    /// `host` is what the policy says of the protected addresses, `rest` what it says besides.
    fn new(name: &str, settings: &str, host: &str, rest: &str) -> Result<Option<Self>> {
        let Some(world) = World::silent(name)? else {
            return Ok(None);
        };
        world.write_config(settings)?;
        let (v4, v6) = (V4[0], V6[0]);
        let policy = format!(
            "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"{v4}\", \"{v6}\"]\n{host}\n{rest}\n"
        );
        world.write_policy("10.toml", policy)?;
        Ok(Some(Self {
            _daemon: world.attached_daemon()?,
            one: world.wire_one()?,
            two: world.wire_two()?,
            world,
        }))
    }

    /// Sends a frame to `eth1`, and fails unless it ends there in this reason, and is counted for it once.
    fn expect(&self, what: &str, frame: &Frame, reason: &str) -> Result<()> {
        self.expect_bytes(what, &frame.to_bytes(), reason)
    }

    fn expect_bytes(&self, what: &str, frame: &[u8], reason: &str) -> Result<()> {
        self.expect_on(&self.one, what, frame, reason)
    }

    fn expect_on(&self, wire: &Wire, what: &str, frame: &[u8], reason: &str) -> Result<()> {
        let before = self.world.reasons()?;
        let passed = wire.passes(frame)?;
        let counted = counted_since(&before, &self.world.reasons()?);
        // The mark behind the frame.
        let mut expected = Counts::from([("not-ip".to_owned(), 1)]);
        *expected.entry(reason.to_owned()).or_default() += 1;
        ensure!(
            counted == expected,
            "{what}: counted {counted:?}, and not {expected:?}"
        );
        ensure!(passed != DROPS.contains(&reason), "{what}: passed {passed}");
        Ok(())
    }
}

const DROPS: [&str; 5] = [
    "deny",
    "default-drop",
    "truncated",
    "too-many-tags",
    "bad-version",
];

/// The names of what an allowed source and another one get.
const SOURCES: [(usize, &str); 2] = [(1, "allow"), (2, "default-drop")];

fn ip(from: &str, to: &str) -> Frame {
    Frame::ip(address(from), address(to))
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn cut(frame: &Frame, length: usize) -> Vec<u8> {
    let mut bytes = frame.to_bytes();
    truncate(&mut bytes, length);
    bytes
}

fn allow(entries: &[&str]) -> String {
    format!("allow = {entries:?}")
}

#[test]
fn listed_ports_are_judged_by_source_and_the_rest_passes() -> Result<()> {
    let host = allow(&[V4[1], V6[1]]);
    let Some(gate) = Gate::new("ports", "", &host, "")? else {
        return Ok(());
    };
    for family in [V4, V6] {
        for (from, judged) in SOURCES {
            let frame = ip(family[from], family[0]);
            gate.expect("TCP", &frame.clone().tcp(1, 443), judged)?;
            gate.expect("UDP", &frame.clone().udp(1, 443), judged)?;
            gate.expect("TCP 80", &frame.clone().tcp(1, 80), "other-port")?;
            gate.expect("UDP 444", &frame.clone().udp(443, 444), "other-port")?;
            let ping = Transport::Icmp { message: 8 };
            gate.expect("ping", &frame.clone().transport(ping), "other-protocol")?;
            let ping = Transport::Icmpv6 { message: 128 };
            gate.expect("ping", &frame.clone().transport(ping), "other-protocol")?;
            let gre = frame.transport(Transport::Other(47)).payload(&[0; 40]);
            gate.expect("GRE", &gre, "other-protocol")?;
            let elsewhere = ip(family[from], family[3]);
            gate.expect("another destination", &elsewhere, "other-destination")?;
        }
    }
    let arp = Frame::other(0x0806, &[0; 28]);
    gate.expect("ARP", &arp, "not-ip")
}

#[test]
fn fragments_and_packets_without_ports_are_judged_by_source() -> Result<()> {
    let host = allow(&[V4[1], V6[1]]);
    let Some(gate) = Gate::new("fragments", "", &host, "")? else {
        return Ok(());
    };
    for (family, fixed) in [(V4, 20), (V6, 40)] {
        for (from, judged) in SOURCES {
            let frame = ip(family[from], family[0]).payload(&[7; 64]);
            let first = frame.clone().fragment(0, true);
            gate.expect("first fragment", &first, judged)?;
            let other = first.clone().tcp(1, 80);
            gate.expect("first fragment to port 80", &other, "other-port")?;
            let fragment_header = if family == V6 { 8 } else { 0 };
            let short = cut(&other, 14 + fixed + fragment_header + 3);
            gate.expect_bytes("first fragment without ports", &short, judged)?;
            let later = frame.clone().tcp(1, 80).fragment(9, true);
            gate.expect("later fragment", &later, judged)?;
            let last = frame.clone().tcp(1, 80).fragment(9, false);
            gate.expect("last fragment", &last, judged)?;
            let ping = Transport::Icmp { message: 8 };
            let later = frame.clone().transport(ping).fragment(9, true);
            gate.expect("later fragment of a ping", &later, "other-protocol")?;
            let bare = cut(&frame.clone().udp(1, 80), 14 + fixed);
            gate.expect_bytes("header alone", &bare, judged)?;
        }
    }
    for (from, judged) in SOURCES {
        let mut frame = ip(V4[from], V4[0]).tcp(1, 80);
        if let Network::V4(header) = &mut frame.network {
            header.header_words = Some(4);
        }
        gate.expect("header length of 16", &frame, judged)?;
        if let Network::V4(header) = &mut frame.network {
            header.header_words = None;
            header.option_words = 10;
        }
        gate.expect("longest options", &frame, "other-port")?;
        gate.expect("longest options", &frame.tcp(1, 443), judged)?;
    }
    Ok(())
}

#[test]
fn extension_headers_are_stepped_over_up_to_eight() -> Result<()> {
    let host = allow(&[V4[1], V6[1]]);
    let Some(gate) = Gate::new("extensions", "", &host, "")? else {
        return Ok(());
    };
    let all = [
        Extension::HopByHop(0),
        Extension::DestinationOptions(2),
        Extension::Routing(1),
        Extension::Authentication(4),
    ];
    for (from, judged) in SOURCES {
        let frame = ip(V6[from], V6[0]);
        for extension in all {
            let frame = frame.clone().extension(extension);
            gate.expect(&format!("{extension:?}"), &frame, judged)?;
            let other = frame.tcp(1, 80);
            gate.expect(&format!("{extension:?}, port 80"), &other, "other-port")?;
            let cut = cut(&other, 14 + 40 + 7);
            gate.expect_bytes(&format!("{extension:?}, cut"), &cut, judged)?;
        }
        let chain = |count| {
            (0..count).fold(frame.clone(), |frame, _| {
                frame.extension(Extension::DestinationOptions(0))
            })
        };
        gate.expect("eight headers", &chain(8).tcp(1, 80), "other-port")?;
        gate.expect("nine headers", &chain(9).tcp(1, 80), judged)?;
        let every = all.into_iter().fold(frame.clone(), Frame::extension);
        let every = every.fragment(0, false);
        gate.expect("one of each", &every, judged)?;
        gate.expect("one of each", &every.tcp(1, 80), "other-port")?;

        let behind = ip(V4[from], V4[0]).extension(Extension::Authentication(4));
        gate.expect("authentication in IPv4", &behind, judged)?;
        let other = behind.udp(1, 80);
        gate.expect("authentication in IPv4", &other, "other-port")?;
    }
    Ok(())
}

#[test]
fn tags_are_stepped_over_up_to_two_and_unreadable_frames_dropped() -> Result<()> {
    let host = allow(&[V4[1], V6[1]]);
    let Some(gate) = Gate::new("unreadable", "", &host, "")? else {
        return Ok(());
    };
    for (family, fixed, ether_type) in [(V4, 20, 0x0800), (V6, 40, 0x86dd)] {
        for (from, judged) in SOURCES {
            let frame = ip(family[from], family[0]);
            gate.expect("802.1Q", &frame.clone().vlan(5), judged)?;
            gate.expect("802.1ad", &frame.clone().tag(0x88a8, 5), judged)?;
            gate.expect("priority tag", &frame.clone().tag(0x8100, 7 << 13), judged)?;
            let two = frame.clone().tag(0x88a8, 5).vlan(6);
            gate.expect("two tags", &two, judged)?;
            let other = two.clone().tcp(1, 80);
            gate.expect("two tags, port 80", &other, "other-port")?;
            let three = two.clone().vlan(7);
            gate.expect("three tags", &three, "too-many-tags")?;
        }
        let frame = ip(family[1], family[0]);
        for length in [14, 15, 14 + fixed - 1] {
            let what = format!("{length} bytes");
            gate.expect_bytes(&what, &cut(&frame, length), "truncated")?;
        }
        for length in [14, 15, 17, 18, 21, 22 + fixed - 1] {
            let what = format!("two tags, {length} bytes");
            let tagged = frame.clone().vlan(5).vlan(6);
            gate.expect_bytes(&what, &cut(&tagged, length), "truncated")?;
        }
        for version in [0, 5, 15] {
            let mut bytes = frame.to_bytes();
            bytes[14] = version << 4 | bytes[14] & 0x0f;
            gate.expect_bytes("another version", &bytes, "bad-version")?;
        }
        let mut swapped = ip(family[1], family[0]);
        swapped.ether_type = Some(0x0800 ^ 0x86dd ^ ether_type);
        gate.expect("type of the other family", &swapped, "bad-version")?;
    }
    Ok(())
}

#[test]
fn all_ports_means_every_protocol_but_neighbor_discovery() -> Result<()> {
    let host = allow(&[V4[1], V6[1]]) + "\nports = \"all\"";
    let Some(gate) = Gate::new("all", "", &host, "")? else {
        return Ok(());
    };
    for (from, judged) in SOURCES {
        for family in [V4, V6] {
            let frame = ip(family[from], family[0]);
            gate.expect("TCP 80", &frame.clone().tcp(1, 80), judged)?;
            gate.expect("UDP 9", &frame.clone().udp(1, 9), judged)?;
            for protocol in [0x2f, 0x32, 0x84, 0xff] {
                let other = frame.clone().transport(Transport::Other(protocol));
                gate.expect(&format!("protocol {protocol}"), &other, judged)?;
            }
            let ping = Transport::Icmp { message: 8 };
            gate.expect("ping", &frame.transport(ping), judged)?;
        }
        let icmp = |message, hops| {
            ip(V6[from], V6[0])
                .transport(Transport::Icmpv6 { message })
                .hops(hops)
        };
        for message in 133..=137 {
            let discovery = "neighbor-discovery";
            let what = format!("ICMPv6 {message}");
            gate.expect(&what, &icmp(message, 255), discovery)?;
            gate.expect(&what, &icmp(message, 254), judged)?;
            let later = icmp(message, 255).fragment(1, false);
            gate.expect(&what, &later, judged)?;
            let first = icmp(message, 255).fragment(0, true);
            gate.expect(&what, &first, discovery)?;
        }
        for message in [128, 132, 138] {
            let what = format!("ICMPv6 {message}");
            gate.expect(&what, &icmp(message, 255), judged)?;
        }
    }
    let elsewhere = ip(V6[2], V6[3]).tcp(1, 80);
    gate.expect("another destination", &elsewhere, "other-destination")
}

#[test]
fn deny_wins_over_a_longer_allow_and_administrators_over_both() -> Result<()> {
    let host = "deny = [\"192.0.2.0/24\", \"2001:db8:1::/48\"]\n".to_owned()
        + &allow(&[V4[1], V6[1], "203.0.113.0/24"]);
    let settings = "always_allow = [\"192.0.2.66\", \"2001:db8:1::66\"]";
    let Some(gate) = Gate::new("deny", settings, &host, "")? else {
        return Ok(());
    };
    for family in [V4, V6] {
        gate.expect("both lists", &ip(family[1], family[0]), "deny")?;
        gate.expect("administrator", &ip(family[2], family[0]), "always-allow")?;
    }
    gate.expect("allowed", &ip("203.0.113.1", V4[0]), "allow")?;
    gate.expect("neither", &ip("203.0.114.1", V4[0]), "default-drop")
}

#[test]
fn default_pass_lets_in_all_but_the_denied() -> Result<()> {
    let host = format!("default = \"pass\"\ndeny = [\"{}\", \"{}\"]", V4[2], V6[2]);
    let Some(gate) = Gate::new("default", "", &host, "")? else {
        return Ok(());
    };
    for family in [V4, V6] {
        gate.expect("denied", &ip(family[2], family[0]), "deny")?;
        gate.expect("not listed", &ip(family[1], family[0]), "default-pass")?;
    }
    let cut = cut(&ip(V4[1], V4[0]), 20);
    gate.expect_bytes("unreadable", &cut, "truncated")
}

#[test]
fn audit_counts_and_lets_through() -> Result<()> {
    let host = format!(
        "mode = \"audit\"\ndeny = [\"{}\", \"{}\"]\n{}",
        V4[2],
        V6[2],
        allow(&[V4[1], V6[1]])
    );
    let Some(gate) = Gate::new("audit", "", &host, "")? else {
        return Ok(());
    };
    for (family, stranger) in [(V4, "203.0.113.1"), (V6, "2001:db8:9::1")] {
        gate.expect("denied", &ip(family[2], family[0]), "audit-deny")?;
        gate.expect("stranger", &ip(stranger, family[0]), "audit-default")?;
        gate.expect("allowed", &ip(family[1], family[0]), "allow")?;
        let three = ip(family[1], family[0]).vlan(1).vlan(2).vlan(3);
        gate.expect("three tags", &three, "audit-unreadable")?;
        let cut = cut(&ip(family[1], family[0]), 20);
        gate.expect_bytes("cut", &cut, "audit-unreadable")?;
    }
    Ok(())
}

#[test]
fn zone_is_that_of_the_outermost_tag_and_the_interface() -> Result<()> {
    let cidrs = format!("cidrs = [\"{}\", \"{}\"]", V4[1], V6[1]);
    let vpcs = format!(
        "[[vpc]]\nid = \"tagged\"\n{cidrs}\nvlans = [120]\n\
         [[vpc]]\nid = \"of-eth2\"\n{cidrs}\ninterfaces = [\"eth2\"]\nvlans = [121]\n"
    );
    let host = allow(&["vpc:tagged", "vpc:of-eth2"]);
    let Some(gate) = Gate::new("zone", "", &host, &vpcs)? else {
        return Ok(());
    };
    for family in [V4, V6] {
        let frame = ip(family[1], family[0]);
        let tagged = [
            ("no tag", frame.clone(), ["default-drop"; 2]),
            ("120", frame.clone().vlan(120), ["allow"; 2]),
            ("802.1ad", frame.clone().tag(0x88a8, 120), ["allow"; 2]),
            ("priority bits", frame.clone().vlan(0xf078), ["allow"; 2]),
            (
                "priority tag",
                frame.clone().vlan(0).vlan(120),
                ["allow"; 2],
            ),
            ("120 outside", frame.clone().vlan(120).vlan(7), ["allow"; 2]),
            (
                "120 inside",
                frame.clone().vlan(7).vlan(120),
                ["default-drop"; 2],
            ),
            ("121", frame.clone().vlan(121), ["default-drop", "allow"]),
        ];
        for (what, frame, reasons) in tagged {
            for (wire, reason) in [&gate.one, &gate.two].into_iter().zip(reasons) {
                gate.expect_on(wire, what, &frame.to_bytes(), reason)?;
            }
        }
    }
    Ok(())
}

#[test]
fn jumbo_frames_are_judged_and_arrive_whole() -> Result<()> {
    let Some(world) = World::new("jumbo")? else {
        return Ok(());
    };
    for [near, far] in [world.cable_one(), world.cable_two()] {
        for end in [near, far] {
            let set = format!("link set {} mtu 9000", end.name);
            end.namespace.ip(&set)?;
        }
    }
    let _daemon = open_to_client_one(&world)?;
    for text in OF_ONE {
        let server = Echo::udp(&world.host, socket(text))?;
        ensure_comes_back(&world.one, server.address(), 8_000)?;
        let server = Echo::tcp(&world.host, socket(text))?;
        ensure_stream_comes_back(&world.one, server.address())?;
    }
    let _servers = serve_udp(&world, OF_TWO)?;
    for text in OF_TWO {
        ensure_dropped(&world, text, 8_000, 1)?;
    }
    Ok(())
}

#[test]
fn connections_and_datagrams_of_the_allowed_client_alone_get_through() -> Result<()> {
    let Some(world) = World::new("sockets")? else {
        return Ok(());
    };
    let _daemon = open_to_client_one(&world)?;
    for text in OF_ONE {
        let address = socket(text);
        let _tcp = Echo::tcp(&world.host, address)?;
        let _udp = Echo::udp(&world.host, address)?;
        net::echo_tcp(&world.one, address, DEADLINE)?;
        net::echo_udp(&world.one, address, DEADLINE)?;
        ensure_stream_comes_back(&world.one, address)?;
    }
    for text in OF_TWO {
        let address = socket(text);
        let _tcp = Echo::tcp(&world.host, address)?;
        let _udp = Echo::udp(&world.host, address)?;
        let connected = net::connect(&world.two, address, REFUSED_AFTER);
        ensure!(connected.is_err(), "client two is connected to {text}");
        ensure_dropped(&world, text, 16, 1)?;
        let unprotected = Echo::tcp(&world.host, SocketAddr::new(address.ip(), 80))?;
        net::echo_tcp(&world.two, unprotected.address(), DEADLINE)?;
    }
    Ok(())
}

#[test]
fn fragmented_datagram_arrives_whole_or_not_at_all() -> Result<()> {
    const LENGTH: usize = 20_000;
    let Some(world) = World::new("datagrams")? else {
        return Ok(());
    };
    let _daemon = open_to_client_one(&world)?;
    for text in OF_ONE {
        let server = Echo::udp(&world.host, socket(text))?;
        ensure_comes_back(&world.one, server.address(), LENGTH)?;
    }
    let _servers = serve_udp(&world, OF_TWO)?;
    for text in OF_TWO {
        // With the UDP header, in what is left of 1500 bytes: a multiple of 8 less than 1480 for IPv4, and 1452 for IPv6.
        let of_fragment = if socket(text).is_ipv4() { 1480 } else { 1448 };
        let fragments = (LENGTH + 8).div_ceil(of_fragment);
        ensure_dropped(&world, text, LENGTH, fragments as u64)?;
    }
    Ok(())
}

#[test]
fn neighbors_are_found_although_every_protocol_is_judged() -> Result<()> {
    let Some(world) = World::new("neighbors")? else {
        return Ok(());
    };
    // Nobody is allowed, so the answers of the clients come through only as what they are.
    let policy = format!(
        "version = 1\n[[host]]\nname = \"swf\"\nports = \"all\"\naddresses = {:?}\n",
        ["10.20.0.1", "fd20::1", "10.30.0.1", "fd30::1"]
    );
    world.write_policy("10.toml", policy)?;
    let _daemon = world.attached_daemon()?;
    let before = world.reasons()?;
    for (client, interface) in [
        ("10.20.0.2:9", "eth1"),
        ("[fd20::2]:9", "eth1"),
        ("10.30.0.2:9", "eth2"),
        ("[fd30::2]:9", "eth2"),
    ] {
        let client = socket(client);
        let show = format!("neigh show {} dev {interface}", client.ip());
        let any = any_port_for(client);
        let asking = net::bind_udp(&world.host, any)?;
        wait_until(DEADLINE, "the neighbour", || {
            drop(asking.send_to(b"who are you", client));
            world
                .host
                .ip(&show)
                .is_ok_and(|line| line.contains("lladdr"))
        });
    }
    let counted = counted_since(&before, &world.reasons()?);
    let discovered = counted.get("neighbor-discovery").copied();
    ensure!(discovered >= Some(2), "{counted:?}");
    ensure!(counted.get("not-ip").copied() >= Some(2), "{counted:?}");
    for address in ["10.20.0.1:443", "[fd20::1]:443"] {
        let connected = net::connect(&world.one, socket(address), REFUSED_AFTER);
        let error = connected.err().context("client one is connected")?;
        ensure!(error.kind() == std::io::ErrorKind::TimedOut, "{error}");
    }
    Ok(())
}

#[test]
fn vlan_of_the_vpc_gets_through_and_another_does_not() -> Result<()> {
    let Some(world) = World::new("vlan")? else {
        return Ok(());
    };
    let servers = [
        "10.5.0.1:443",
        "[fd05::1]:443",
        "10.6.0.1:443",
        "[fd06::1]:443",
    ];
    let addresses = servers.map(|text| socket(text).ip().to_string());
    let policy = format!(
        "version = 1\n[[host]]\nname = \"swf\"\naddresses = {addresses:?}\nallow = [\"vpc:five\"]\n\
         [[vpc]]\nid = \"five\"\ncidrs = [\"10.0.0.0/8\", \"fd00::/8\"]\nvlans = [5]\n"
    );
    world.write_policy("10.toml", policy)?;
    let _daemon = world.attached_daemon()?;
    let [near, far] = world.cable_one();
    let add = |end: End<'_>, id, addresses: [&str; 2]| Vlan::add(end, id, &addresses);
    let _vlans = [
        add(near, 5, ["10.5.0.2/24", "fd05::2/64"])?,
        add(far, 5, ["10.5.0.1/24", "fd05::1/64"])?,
        add(near, 6, ["10.6.0.2/24", "fd06::2/64"])?,
        add(far, 6, ["10.6.0.1/24", "fd06::1/64"])?,
    ];
    for text in servers {
        let address = socket(text);
        let _tcp = Echo::tcp(&world.host, address)?;
        let _udp = Echo::udp(&world.host, address)?;
        if text.contains("5.0.1") || text.contains("fd05") {
            net::echo_tcp(&world.one, address, DEADLINE)?;
            net::echo_udp(&world.one, address, DEADLINE)?;
            continue;
        }
        let before = world.reasons()?;
        let connected = net::connect(&world.one, address, REFUSED_AFTER);
        ensure!(connected.is_err(), "VLAN 6 is connected to {text}");
        let counted = counted_since(&before, &world.reasons()?);
        ensure!(counted.get("default-drop") == Some(&1), "{counted:?}");
    }
    Ok(())
}

/// The host's services, as client one and client two reach them.
const OF_ONE: [&str; 2] = ["10.20.0.1:443", "[fd20::1]:443"];
const OF_TWO: [&str; 2] = ["10.30.0.1:443", "[fd30::1]:443"];

/// Starts the daemon with a policy that lets in client one, wherever it comes from, and nobody else.
fn open_to_client_one(world: &World) -> Result<Child> {
    let addresses = [OF_ONE, OF_TWO].concat();
    let addresses: Vec<String> = addresses
        .into_iter()
        .map(|text| socket(text).ip().to_string())
        .collect();
    let policy = format!(
        "version = 1\n[[host]]\nname = \"swf\"\naddresses = {addresses:?}\nallow = [\"10.20.0.0/24\", \"fd20::/64\"]\n"
    );
    world.write_policy("10.toml", policy)?;
    world.attached_daemon()
}

fn serve_udp(world: &World, addresses: [&str; 2]) -> Result<Vec<Echo>> {
    addresses
        .into_iter()
        .map(|text| Ok(Echo::udp(&world.host, socket(text))?))
        .collect()
}

fn ensure_comes_back(client: &Namespace, server: SocketAddr, length: usize) -> Result<()> {
    let socket = net::bind_udp(client, any_port_for(server))?;
    socket.set_read_timeout(Some(DEADLINE))?;
    let sent: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
    socket.send_to(&sent, server)?;
    let mut answer = vec![0; length + 1];
    let heard =
        net::receive(&socket, &mut answer).with_context(|| format!("no answer from {server}"))?;
    ensure!(answer[..heard] == sent, "another answer from {server}");
    Ok(())
}

/// Sends a megabyte and back, so that there are segments of the largest size that offloads make.
fn ensure_stream_comes_back(client: &Namespace, server: SocketAddr) -> Result<()> {
    const LENGTH: usize = 1 << 20;
    let mut stream = net::connect(client, server, DEADLINE)?;
    let mut writer: TcpStream = stream.try_clone()?;
    let sent: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
    let mut heard = vec![0; LENGTH];
    thread::scope(|scope| {
        let writing = scope.spawn(|| writer.write_all(&sent));
        stream.read_exact(&mut heard)?;
        writing.join().expect("the writer does not panic")
    })?;
    ensure!(heard == sent, "another stream came back from {server}");
    Ok(())
}

/// Sends a datagram from client two, and fails unless exactly so many frames are dropped for it, and nothing is answered.
fn ensure_dropped(world: &World, server: &str, length: usize, frames: u64) -> Result<()> {
    let server = socket(server);
    let socket = net::bind_udp(&world.two, any_port_for(server))?;
    let before = world.reasons()?;
    socket.send_to(&vec![1; length], server)?;
    let dropped = || -> Result<Option<u64>> {
        let counted = counted_since(&before, &world.reasons()?);
        Ok(counted.get("default-drop").copied())
    };
    wait_until(DEADLINE, "the drop", || {
        dropped().is_ok_and(|dropped| dropped >= Some(frames))
    });
    socket.set_read_timeout(Some(REFUSED_AFTER))?;
    let answer = net::receive(&socket, &mut [0; 4]);
    ensure!(answer.is_err(), "{server} answers");
    let dropped = dropped()?;
    ensure!(dropped == Some(frames), "{dropped:?} frames are dropped");
    Ok(())
}

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// Any port, in the family of another address.
fn any_port_for(other: SocketAddr) -> SocketAddr {
    if other.is_ipv4() {
        SocketAddr::from(([0; 4], 0))
    } else {
        SocketAddr::from(([0_u16; 8], 0))
    }
}
