//! Headers that are taken and refused, and two other readers as second opinions.
//!
//! Where those are wrong, and are not asked:
//!
//! * Both take a header whose checksum is wrong, whose fields are malformed (each says so only when the fields are asked for), or that
//!   has a checksum or endpoint twice; neither knows endpoints.
//! * `ppp` takes the families 0x01, 0x02, 0x10, 0x20 and 0x30, which 2.2 does not expect, and takes all that follows UNSPEC for
//!   addresses. Both take UNIX and datagrams with PROXY, and neither has an upper limit.
//! * `proxy-header` takes ports with leading zeros or `+` in version 1, any byte in place of the space after `PROXY`, and a line of
//!   any length if it is there at once; it takes `UNKNOWN` glued to what follows, and refuses nothing before 16 bytes are there.
//! * `ppp` splits lines at a lone CR as it does at a space, and refuses some of what may follow `UNKNOWN`. Both take `::ffff:192.0.2.1` in version 1.

use proptest::prelude::*;

use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What follows the addresses.
#[derive(Clone, Debug)]
struct Field(u8, Vec<u8>);

fn version_two(command: u8, family: u8, addresses: &[u8], fields: &[Field]) -> Vec<u8> {
    let mut block = addresses.to_vec();
    for Field(kind, value) in fields {
        block.push(*kind);
        block.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        block.extend(value);
    }
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
    header.extend(block);
    header
}

/// Fills in the checksum, which is the last of the fields, bit by bit as RFC 3720, B.4 has it: not by the crate that is tested.
fn checked(mut header: Vec<u8>) -> Vec<u8> {
    let start = header.len() - 4;
    header[start..].fill(0);
    let mut sum = u32::MAX;
    for &byte in &header {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 * (sum & 1));
        }
    }
    header[start..].copy_from_slice(&(!sum).to_be_bytes());
    header
}

fn endpoint(id: &str) -> Field {
    Field(0xea, [b"\x01", id.as_bytes()].concat())
}

fn checksum() -> Field {
    Field(0x03, vec![0; 4])
}

const FOUR: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];

fn four(fields: &[Field]) -> Vec<u8> {
    version_two(0x21, 0x11, &FOUR, fields)
}

fn six(source: &str, destination: &str) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let addresses = [
        &octets(source)[..],
        &octets(destination),
        &[0xdc, 0x04, 0x01, 0xbb],
    ];
    version_two(0x21, 0x21, &addresses.concat(), &[])
}

fn from(source: &str, destination: &str, endpoint: Option<&str>) -> Header {
    Header::Proxied {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        endpoint: endpoint.map(Into::into),
    }
}

/// Headers of every kind that is taken.
fn taken() -> Vec<(Vec<u8>, Header)> {
    let client = |endpoint| from("192.0.2.1:56324", "198.51.100.2:443", endpoint);
    let id = "vpce-08d2bf15fac5001c9";
    let sixes = from("[2001:db8::1]:56324", "[2001:db8::2]:443", None);
    vec![
        (four(&[]), client(None)),
        (six("2001:db8::1", "2001:db8::2"), sixes.clone()),
        (four(&[endpoint(id)]), client(Some(id))),
        (
            checked(four(&[endpoint(id), Field(4, vec![0; 62]), checksum()])),
            client(Some(id)),
        ),
        (four(&[Field(0xea, b"\x02vpce-1".to_vec())]), client(None)),
        (
            four(&[Field(0xea, b"\x02x".to_vec()), endpoint("vpce-1")]),
            client(Some("vpce-1")),
        ),
        (version_two(0x20, 0x00, &[], &[]), Header::Local),
        (
            checked(version_two(0x20, 0x00, &[], &[checksum()])),
            Header::Local,
        ),
        (version_two(0x20, 0x11, &FOUR, &[]), Header::Local),
        (version_two(0x20, 0x31, &[7; 216], &[]), Header::Local),
        (
            version_two(0x21, 0x00, &[], &[endpoint("vpce-1")]),
            Header::Local,
        ),
        (
            b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec(),
            client(None),
        ),
        (
            b"PROXY TCP6 2001:db8::1 2001:DB8::2 56324 443\r\n".to_vec(),
            sixes,
        ),
        (
            b"PROXY TCP4 192.0.2.1 198.51.100.2 0 65535\r\n".to_vec(),
            from("192.0.2.1:0", "198.51.100.2:65535", None),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), Header::Local),
        (
            [
                b"PROXY UNKNOWN ",
                "ffff:".repeat(8).trim_end_matches(':').as_bytes(),
                b" ",
                "ffff:".repeat(8).trim_end_matches(':').as_bytes(),
                b" 65535 65535\r\n",
            ]
            .concat(),
            Header::Local,
        ),
    ]
}

#[test]
fn what_a_header_says_is_read_and_what_follows_is_left() {
    for (bytes, header) in taken() {
        let length = bytes.len();
        let read = Ok(Some((header, length)));
        assert_eq!(super::read(&bytes), read, "{bytes:?}");
        for client in [&b"\x16\x03\x01"[..], b"PROXY UNKNOWN\r\n", SIGNATURE] {
            assert_eq!(super::read(&[&bytes, client].concat()), read);
        }
    }
}

#[test]
fn every_beginning_asks_for_more_and_no_more_than_there_is() {
    for (bytes, _) in taken() {
        for length in 0..bytes.len() {
            assert_eq!(super::read(&bytes[..length]), Ok(None), "{bytes:?}");
        }
    }
}

#[test]
fn health_check_whose_checksum_others_know_is_local() {
    // These 23 bytes are in the tests of other readers too: here is where the order of the checksum's bytes comes from.
    let check = version_two(0x20, 0, &[], &[Field(3, vec![0xa9, 0xb8, 0x7e, 0x8f])]);
    let length = check.len();
    assert_eq!(super::read(&check), Ok(Some((Header::Local, length))));
    let mut altered = check;
    altered[length - 1] ^= 1;
    let fault = Fault::Checksum {
        said: 0xa9b8_7e8e,
        found: 0xa9b8_7e8f,
    };
    assert_eq!(super::read(&altered), Err(fault));
}

#[test]
fn mapped_addresses_are_the_ipv4_addresses_that_they_are() {
    let mapped = from("192.0.2.1:56324", "198.51.100.2:443", None);
    let bytes = six("::ffff:192.0.2.1", "::ffff:198.51.100.2");
    assert_eq!(super::read(&bytes), Ok(Some((mapped.clone(), bytes.len()))));
    let line = b"PROXY TCP6 ::ffff:c000:201 ::ffff:c633:6402 56324 443\r\n";
    assert_eq!(super::read(line), Ok(Some((mapped, line.len()))));
    // Those with another prefix are not mapped.
    let bytes = six("::fffe:192.0.2.1", "::192.0.2.1");
    let apart = from("[::fffe:192.0.2.1]:56324", "[::192.0.2.1]:443", None);
    assert_eq!(super::read(&bytes), Ok(Some((apart, bytes.len()))));
}

#[test]
fn malformed_headers_of_version_two_are_refused() {
    let field = |kind| Fault::Field { kind };
    let duplicate = |kind| Fault::Duplicate { kind };
    let family = |family| Fault::Family { family };
    let unix = [7; 216];
    let cut = |bytes: Vec<u8>, by: u8| {
        let mut cut = bytes[..bytes.len() - usize::from(by)].to_vec();
        cut[15] -= by;
        cut
    };
    let cases: Vec<(Vec<u8>, Fault)> = vec![
        (
            version_two(0x11, 0x11, &FOUR, &[]),
            Fault::Version { version: 1 },
        ),
        (
            version_two(0x31, 0x11, &FOUR, &[]),
            Fault::Version { version: 3 },
        ),
        (
            version_two(0x22, 0x11, &FOUR, &[]),
            Fault::Command { command: 2 },
        ),
        (version_two(0x21, 0x10, &FOUR, &[]), family(0x10)),
        (version_two(0x21, 0x01, &FOUR, &[]), family(0x01)),
        (version_two(0x21, 0x12, &FOUR, &[]), family(0x12)),
        (version_two(0x21, 0x13, &FOUR, &[]), family(0x13)),
        (version_two(0x21, 0x31, &unix, &[]), family(0x31)),
        (version_two(0x21, 0x32, &unix, &[]), family(0x32)),
        (version_two(0x20, 0x41, &unix, &[]), family(0x41)),
        (
            version_two(0x21, 0x11, &FOUR[..11], &[]),
            Fault::Short { length: 11 },
        ),
        (
            version_two(0x21, 0x21, &FOUR, &[]),
            Fault::Short { length: 12 },
        ),
        (
            version_two(0x20, 0x31, &unix[..215], &[]),
            Fault::Short { length: 215 },
        ),
        (four(&[Field(3, vec![0; 3])]), field(3)),
        (four(&[Field(3, vec![0; 5])]), field(3)),
        (four(&[Field(3, vec![])]), field(3)),
        (four(&[Field(0xea, vec![])]), field(0xea)),
        (cut(four(&[Field(4, vec![0; 9])]), 1), field(4)),
        (cut(four(&[Field(4, vec![])]), 1), field(4)),
        (cut(four(&[Field(4, vec![])]), 2), field(4)),
        (four(&[checksum(), checksum()]), duplicate(3)),
        (
            four(&[endpoint("vpce-1"), endpoint("vpce-1")]),
            duplicate(0xea),
        ),
        (four(&[endpoint("")]), Fault::Endpoint),
        (four(&[endpoint("vpce-")]), Fault::Endpoint),
        (four(&[endpoint("vpce-1G")]), Fault::Endpoint),
        (four(&[endpoint("vpce-A")]), Fault::Endpoint),
        (four(&[endpoint("vpce-1\n")]), Fault::Endpoint),
        (four(&[endpoint("vpce-1\0")]), Fault::Endpoint),
        (four(&[endpoint(" vpce-1")]), Fault::Endpoint),
        (four(&[endpoint("vpce-ａ")]), Fault::Endpoint),
        (four(&[endpoint("vpc-1")]), Fault::Endpoint),
        (version_two(0x20, 0, &[1, 2], &[]), field(1)),
    ];
    for (bytes, fault) in cases {
        assert_eq!(super::read(&bytes), Err(fault), "{bytes:?}");
    }
}

#[test]
fn header_of_version_two_ends_at_the_limit() {
    let header = |more: usize| four(&[Field(4, vec![0; MAX - 16 - 12 - 3 + more])]);
    let most = header(0);
    assert_eq!(most.len(), MAX);
    assert!(matches!(super::read(&most), Ok(Some((_, MAX)))));
    let more = header(1);
    let fault = Fault::TooLong {
        length: MAX + 1,
        most: MAX,
    };
    // The length is enough to refuse it: nobody waits for the rest.
    assert_eq!(super::read(&more[..16]), Err(fault));
}

#[test]
fn malformed_lines_of_version_one_are_refused() {
    let cases: [(&[u8], Fault); 35] = [
        (b"PROXY\tTCP4", Fault::Signature),
        (b"proxy", Fault::Signature),
        (b"GET / HTTP/1.1\r\n", Fault::Signature),
        (b"\x16\x03\x01", Fault::Signature),
        (b" PROXY", Fault::Signature),
        (b"PROXY \r\n", Fault::Line),
        (b"PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n", Fault::Line),
        (b"PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n", Fault::Address),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1  1\r\n", Fault::Port),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n", Fault::Line),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n", Fault::Line),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", Fault::Line),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", Fault::Line),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\r\n", Fault::Line),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r1\r\n", Fault::Line),
        (b"PROXY TCP4\t1.1.1.1 1.1.1.1 1 1\r\n", Fault::Line),
        (b"PROXY TCP4 1.1.1.1\0 1.1.1.1 1 1\r\n", Fault::Line),
        (b"PROXY UNKNOWN\0\r\n", Fault::Line),
        (b"PROXY UNKNOWN\xff\r\n", Fault::Line),
        (b"PROXY UNKNOWNS\r\n", Fault::Line),
        (b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n", Fault::Line),
        (b"PROXY tcp4 1.1.1.1 1.1.1.1 1 1\r\n", Fault::Line),
        (b"PROXY TCP4 1.1.1.01 1.1.1.1 1 1\r\n", Fault::Address),
        (b"PROXY TCP4 1.1.1.256 1.1.1.1 1 1\r\n", Fault::Address),
        (b"PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n", Fault::Address),
        (b"PROXY TCP4 ::1 ::1 1 1\r\n", Fault::Address),
        (b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n", Fault::Address),
        (b"PROXY TCP6 ::ffff:1.1.1.1 ::1 1 1\r\n", Fault::Address),
        (b"PROXY TCP6 fe80::1%1 ::1 1 1\r\n", Fault::Address),
        (b"PROXY TCP6 [::1] ::1 1 1\r\n", Fault::Address),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n", Fault::Port),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", Fault::Port),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 -1\r\n", Fault::Port),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n", Fault::Port),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 00 1\r\n", Fault::Port),
    ];
    for (bytes, fault) in cases {
        let text = bytes.escape_ascii();
        assert_eq!(super::read(bytes), Err(fault), "{text}");
    }
}

#[test]
fn line_of_version_one_ends_at_the_limit() {
    let line = |length: usize| [b"PROXY UNKNOWN ", &vec![b'x'; length - 16][..], b"\r\n"].concat();
    assert!(matches!(
        super::read(&line(MAX_ONE)),
        Ok(Some((_, MAX_ONE)))
    ));
    let more = line(MAX_ONE + 1);
    let fault = |length| Fault::TooLong {
        length,
        most: MAX_ONE,
    };
    assert_eq!(super::read(&more), Err(fault(MAX_ONE + 1)));
    assert_eq!(super::read(&more[..MAX_ONE]), Err(fault(MAX_ONE)));
    assert_eq!(super::read(&more[..MAX_ONE - 1]), Ok(None));
}

#[test]
fn no_flipped_bit_gets_past_a_checksum() {
    let header = checked(four(&[endpoint("vpce-0123456789abcdef0"), checksum()]));
    let kind = header.len() - 7;
    for index in 0..header.len() {
        for bit in 0..8 {
            let mut altered = header.clone();
            altered[index] ^= 1 << bit;
            match super::read(&altered) {
                Err(_) => {}
                // It says that it is longer.
                Ok(None) => assert!(matches!(index, 14 | 15), "byte {index}, bit {bit}"),
                // The checksum is no checksum any more.
                Ok(Some(_)) => assert_eq!(index, kind, "bit {bit}"),
            }
        }
    }
    // What has no checksum is not covered: the twin.
    let mut altered = four(&[endpoint("vpce-0123456789abcdef0")]);
    altered[16] ^= 1;
    assert!(matches!(super::read(&altered), Ok(Some(_))));
}

/// What the other readers say, as far as they are asked: source, destination, and how many bytes the header has.
type Opinion = Option<(Option<(SocketAddr, SocketAddr)>, usize)>;

fn opinion_of_ppp(bytes: &[u8]) -> Opinion {
    use ppp::{v1, v2};
    if bytes.starts_with(SIGNATURE) {
        let header = v2::Header::try_from(bytes).ok()?;
        let local = header.command == v2::Command::Local;
        let addresses = match header.addresses {
            _ if local => None,
            v2::Addresses::IPv4(ip) => Some((
                (ip.source_address, ip.source_port).into(),
                (ip.destination_address, ip.destination_port).into(),
            )),
            v2::Addresses::IPv6(ip) => Some((
                (ip.source_address, ip.source_port).into(),
                (ip.destination_address, ip.destination_port).into(),
            )),
            v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
        };
        Some((addresses, header.len()))
    } else {
        let header = v1::Header::try_from(bytes).ok()?;
        let addresses = match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(ip) => Some((
                (ip.source_address, ip.source_port).into(),
                (ip.destination_address, ip.destination_port).into(),
            )),
            v1::Addresses::Tcp6(ip) => Some((
                (ip.source_address, ip.source_port).into(),
                (ip.destination_address, ip.destination_port).into(),
            )),
        };
        Some((addresses, header.header.len()))
    }
}

fn opinion_of_proxy_header(bytes: &[u8]) -> Opinion {
    let (header, length) =
        proxy_header::ProxyHeader::parse(bytes, proxy_header::ParseConfig::default()).ok()?;
    let addresses = header
        .proxied_address()
        .map(|address| (address.source, address.destination));
    Some((addresses, length))
}

/// Whatever is taken, the others read the same in it.
fn others_agree(bytes: &[u8]) {
    let Ok(Some((header, length))) = super::read(bytes) else {
        return;
    };
    let canonical = |(source, destination): (SocketAddr, SocketAddr)| {
        let socket =
            |socket: SocketAddr| SocketAddr::new(socket.ip().to_canonical(), socket.port());
        (socket(source), socket(destination))
    };
    let addresses = match header {
        Header::Local => None,
        Header::Proxied {
            source,
            destination,
            ..
        } => Some((source, destination)),
    };
    let ppp = match opinion_of_ppp(bytes) {
        None if bytes.starts_with(b"PROXY UNKNOWN ") => Some((None, length)),
        opinion => opinion,
    };
    for opinion in [ppp, opinion_of_proxy_header(bytes)] {
        let opinion = opinion.map(|(addresses, length)| (addresses.map(canonical), length));
        assert_eq!(
            opinion,
            Some((addresses, length)),
            "{}",
            bytes.escape_ascii()
        );
    }
}

/// What was taken or asked for more does not change by more bytes, or by fewer.
fn is_steady(bytes: &[u8]) {
    let whole = super::read(bytes);
    for length in 0..bytes.len() {
        match super::read(&bytes[..length]) {
            Ok(None) => {}
            // How much too long a line is depends on how much of it is there.
            Err(Fault::TooLong { .. }) => assert!(matches!(whole, Err(Fault::TooLong { .. }))),
            known => assert_eq!(known, whole, "{length} bytes"),
        }
    }
    if let Ok(Some((_, length))) = whole {
        assert_eq!(super::read(&bytes[..length - 1]), Ok(None));
    }
}

fn fields() -> impl Strategy<Value = Vec<Field>> {
    let other = (
        prop_oneof![Just(1), Just(2), Just(4), Just(5), Just(0x20), Just(0xe0)],
        prop::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(kind, value)| Field(kind, value));
    let ours = prop_oneof!["vpce-[0-9a-f]{1,20}", "[a-z-]{0,9}"].prop_map(|id| endpoint(&id));
    prop::collection::vec(prop_oneof![3 => other, 1 => ours], 0..4)
}

proptest! {
    #[test]
    fn headers_of_version_two_mean_the_same_to_others(
        command in prop_oneof![Just(0x20_u8), Just(0x21), any::<u8>()],
        family in prop_oneof![Just(0x00_u8), Just(0x11), Just(0x21), Just(0x31), any::<u8>()],
        addresses in prop_oneof![
            prop::collection::vec(any::<u8>(), 12),
            prop::collection::vec(any::<u8>(), 36),
            prop::collection::vec(any::<u8>(), 0..40),
        ],
        mut fields in fields(),
        sum in any::<bool>(),
    ) {
        if sum {
            fields.push(checksum());
        }
        let mut bytes = version_two(command, family, &addresses, &fields);
        if sum {
            bytes = checked(bytes);
        }
        bytes.extend(b"\x16\x03\x01");
        others_agree(&bytes);
        is_steady(&bytes);
    }

    #[test]
    fn well_formed_headers_are_taken_with_what_they_were_made_of(
        source in any::<std::net::SocketAddr>(),
        destination in any::<std::net::SocketAddr>(),
        id in prop::option::of("vpce-[0-9a-f]{1,20}"),
    ) {
        let six = |address: IpAddr| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let addresses = [
            &six(source.ip())[..],
            &six(destination.ip()),
            &source.port().to_be_bytes(),
            &destination.port().to_be_bytes(),
        ];
        let mut fields: Vec<Field> = id.iter().map(|id| endpoint(id)).collect();
        fields.push(checksum());
        let bytes = checked(version_two(0x21, 0x21, &addresses.concat(), &fields));
        let socket = |socket: SocketAddr| SocketAddr::new(socket.ip().to_canonical(), socket.port());
        let header = Header::Proxied {
            source: socket(source),
            destination: socket(destination),
            endpoint: id.map(Into::into),
        };
        prop_assert_eq!(super::read(&bytes), Ok(Some((header, bytes.len()))));
    }

    #[test]
    fn lines_of_version_one_mean_the_same_to_others(
        line in prop_oneof![
            "PROXY (TCP4|TCP6|UNKNOWN)( [0-9a-f:.]{1,20}){0,3}( [0-9]{1,5}){0,2}\r\n",
            "PROXY TCP4( [0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,2}\\.[0-9]){2}( [0-9]{1,5}){2}\r\n",
            "PROXY TCP6 [0-9a-f]{1,4}::[0-9a-f]{1,4} ([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}( [1-9][0-9]{1,3}){2}\r\n",
            "PROX[YZ][ \t]TCP[456] ?([0-9.: +\r\n]{1,12}){4}\r?\n?",
        ],
    ) {
        let bytes = [line.as_bytes(), b"\x16\x03"].concat();
        others_agree(&bytes);
        is_steady(&bytes);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = super::read(&bytes);
        let _ = super::read(&[SIGNATURE, &bytes[..]].concat());
        let _ = super::read(&[&b"PROXY "[..], &bytes[..]].concat());
    }
}
