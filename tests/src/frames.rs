//! Frames as bytes, right by default and wrong on request.
//!
//! A [`Frame`] is built up from its parts and turned into bytes by [`Frame::to_bytes`], which fills in every length, checksum and next
//! header field. Fields of the same name override what would be filled in. What no builder can say (a frame cut short, a flipped bit)
//! is done to the bytes by the mutators at the end. Frames are made by hand and not by a packet crate, because such a crate would
//! refuse most of what the tests want to send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A frame before it is turned into bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// The destination MAC address.
    pub destination_mac: [u8; 6],
    /// The source MAC address.
    pub source_mac: [u8; 6],
    /// VLAN tags, the outermost first.
    pub tags: Vec<Tag>,
    /// The Ethernet type after the tags; none for the one that fits the network layer.
    pub ether_type: Option<u16>,
    /// What comes after the Ethernet header.
    pub network: Network,
    /// Headers between the network header and the transport, as IPv6 orders them; IPv4 has [`Extension::Authentication`] only.
    pub extensions: Vec<Extension>,
    /// The transport header.
    pub transport: Transport,
    /// What comes last.
    pub payload: Vec<u8>,
}

/// A VLAN tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tag {
    /// 0x8100 or 0x88A8.
    pub kind: u16,
    /// Priority, drop bit and VLAN id.
    pub control: u16,
}

/// The network layer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Network {
    /// IPv4.
    V4(V4),
    /// IPv6.
    V6(V6),
    /// Some other type; transport and payload follow as they are.
    Other(u16),
}

/// An IPv4 header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct V4 {
    /// The source address.
    pub source: Ipv4Addr,
    /// The destination address.
    pub destination: Ipv4Addr,
    /// The version field.
    pub version: u8,
    /// The header length in words of 4 bytes; none for the right one.
    pub header_words: Option<u8>,
    /// Words of 4 no-operation options.
    pub option_words: u8,
    /// Time to live.
    pub hops: u8,
    /// Fragment offset in units of 8 bytes.
    pub fragment_offset: u16,
    /// The flag that more fragments follow.
    pub more_fragments: bool,
    /// Identification.
    pub id: u16,
}

/// An IPv6 header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct V6 {
    /// The source address.
    pub source: Ipv6Addr,
    /// The destination address.
    pub destination: Ipv6Addr,
    /// The version field.
    pub version: u8,
    /// Hop limit.
    pub hops: u8,
}

/// A header that is stepped over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extension {
    /// Authentication (51), with its length field: words of 4 bytes, less 2.
    Authentication(u8),
    /// Destination options (60), with its length field: units of 8 bytes, less 1.
    DestinationOptions(u8),
    /// Fragment (44).
    Fragment {
        /// Offset in units of 8 bytes.
        offset: u16,
        /// More fragments follow.
        more: bool,
        /// Identification.
        id: u32,
    },
    /// Hop-by-hop options (0), with its length field.
    HopByHop(u8),
    /// Routing (43), with its length field.
    Routing(u8),
}

/// The transport layer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// ICMP (1).
    Icmp {
        /// The message type.
        message: u8,
    },
    /// `ICMPv6` (58).
    Icmpv6 {
        /// The message type.
        message: u8,
    },
    /// A protocol by number, without a header.
    Other(u8),
    /// TCP (6), a SYN.
    Tcp {
        /// The source port.
        source: u16,
        /// The destination port.
        destination: u16,
    },
    /// UDP (17).
    Udp {
        /// The source port.
        source: u16,
        /// The destination port.
        destination: u16,
    },
}

impl Frame {
    /// A frame between two addresses of one family, with TCP from port 40,000 to port 443.
    ///
    /// # Panics
    ///
    /// If the addresses are of different families.
    #[must_use]
    pub fn ip(source: IpAddr, destination: IpAddr) -> Self {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Self::ipv4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Self::ipv6(source, destination),
            (source, destination) => panic!("{source} cannot send to {destination}"),
        }
    }

    /// An IPv4 frame with TCP from port 40,000 to port 443.
    #[must_use]
    pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self::new(Network::V4(V4 {
            source,
            destination,
            version: 4,
            header_words: None,
            option_words: 0,
            hops: 64,
            fragment_offset: 0,
            more_fragments: false,
            id: 1,
        }))
    }

    /// An IPv6 frame with TCP from port 40,000 to port 443.
    #[must_use]
    pub fn ipv6(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self::new(Network::V6(V6 {
            source,
            destination,
            version: 6,
            hops: 64,
        }))
    }

    /// A frame of another Ethernet type, with this payload.
    #[must_use]
    pub fn other(ether_type: u16, payload: &[u8]) -> Self {
        Self::new(Network::Other(ether_type))
            .transport(Transport::Other(0))
            .payload(payload)
    }

    fn new(network: Network) -> Self {
        Self {
            destination_mac: [0x02, 0, 0, 0, 0, 0x02],
            source_mac: [0x02, 0, 0, 0, 0, 0x01],
            tags: Vec::new(),
            ether_type: None,
            network,
            extensions: Vec::new(),
            transport: Transport::Tcp {
                source: 40_000,
                destination: 443,
            },
            payload: Vec::new(),
        }
    }

    /// The same frame between these MAC addresses.
    #[must_use]
    pub fn macs(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        self.source_mac = source;
        self.destination_mac = destination;
        self
    }

    /// The same frame with one more tag inside the others.
    #[must_use]
    pub fn tag(mut self, kind: u16, control: u16) -> Self {
        self.tags.push(Tag { kind, control });
        self
    }

    /// The same frame with an 802.1Q tag inside the others.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.tag(0x8100, id)
    }

    /// The same frame with one more header before the transport.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// The same frame with this transport header.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// The same frame with a TCP SYN.
    #[must_use]
    pub fn tcp(self, source: u16, destination: u16) -> Self {
        self.transport(Transport::Tcp {
            source,
            destination,
        })
    }

    /// The same frame with a UDP header.
    #[must_use]
    pub fn udp(self, source: u16, destination: u16) -> Self {
        self.transport(Transport::Udp {
            source,
            destination,
        })
    }

    /// The same frame with this payload.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The same frame with this time to live or hop limit.
    #[must_use]
    pub fn hops(mut self, hops: u8) -> Self {
        match &mut self.network {
            Network::V4(header) => header.hops = hops,
            Network::V6(header) => header.hops = hops,
            Network::Other(_) => {}
        }
        self
    }

    /// The same frame as a fragment, `offset` in units of 8 bytes.
    ///
    /// For IPv6 this adds a fragment header inside the headers there are.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        match &mut self.network {
            Network::V4(header) => {
                header.fragment_offset = offset;
                header.more_fragments = more;
            }
            Network::V6(_) => self.extensions.push(Extension::Fragment {
                offset,
                more,
                id: 1,
            }),
            Network::Other(_) => {}
        }
        self
    }

    /// The same frame with the tag at `index` twice; unchanged if there is none.
    #[must_use]
    pub fn duplicate_tag(mut self, index: usize) -> Self {
        if let Some(tag) = self.tags.get(index).copied() {
            self.tags.insert(index, tag);
        }
        self
    }

    /// The same frame with the header at `index` twice; unchanged if there is none.
    #[must_use]
    pub fn duplicate_extension(mut self, index: usize) -> Self {
        if let Some(extension) = self.extensions.get(index).copied() {
            self.extensions.insert(index, extension);
        }
        self
    }

    /// The frame as it goes over the wire, without padding and frame check sequence.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [self.destination_mac, self.source_mac].concat();
        for tag in &self.tags {
            bytes.extend(tag.kind.to_be_bytes());
            bytes.extend(tag.control.to_be_bytes());
        }
        let ether_type = self.ether_type.unwrap_or(self.network.ether_type());
        bytes.extend(ether_type.to_be_bytes());
        bytes.extend(self.network_bytes());
        bytes
    }

    /// Where the network layer starts in [`to_bytes`](Self::to_bytes).
    #[must_use]
    pub fn network_offset(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    fn network_bytes(&self) -> Vec<u8> {
        let transport = self.transport_bytes();
        let (first, extensions) = self.extension_bytes();
        let rest = [extensions, transport].concat();
        match &self.network {
            Network::V4(header) => [header.to_bytes(first, rest.len()), rest].concat(),
            Network::V6(header) => [header.to_bytes(first, rest.len()), rest].concat(),
            Network::Other(_) => rest,
        }
    }

    /// The chain of headers, and the protocol number of the first.
    fn extension_bytes(&self) -> (u8, Vec<u8>) {
        let mut first = self.transport.protocol();
        let mut bytes = Vec::new();
        for extension in self.extensions.iter().rev() {
            bytes = [extension.to_bytes(first), bytes].concat();
            first = extension.protocol();
        }
        (first, bytes)
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let length = self.transport.header_length() + self.payload.len();
        let mut bytes = self.transport.to_bytes(length);
        bytes.extend(&self.payload);
        if let Some(at) = self.transport.checksum_offset() {
            let pseudo_header = self.pseudo_header(length);
            let mut checksum = checksum(&[pseudo_header, bytes.clone()].concat());
            if checksum == 0 && self.transport.protocol() == 17 {
                // RFC 768: zero would mean that there is no checksum.
                checksum = 0xffff;
            }
            bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        bytes
    }

    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        let protocol = self.transport.protocol();
        let (addresses, is_icmp) = match &self.network {
            Network::V4(header) => (
                [header.source.octets(), header.destination.octets()].concat(),
                protocol == 1,
            ),
            Network::V6(header) => (
                [header.source.octets(), header.destination.octets()].concat(),
                false,
            ),
            Network::Other(_) => return Vec::new(),
        };
        if is_icmp {
            return Vec::new();
        }
        [
            addresses,
            vec![0, protocol],
            saturated(length).to_be_bytes().to_vec(),
        ]
        .concat()
    }
}

impl Tag {
    /// The VLAN id.
    #[must_use]
    pub const fn id(self) -> u16 {
        self.control & 0x0fff
    }
}

impl Network {
    const fn ether_type(&self) -> u16 {
        match self {
            Self::V4(_) => 0x0800,
            Self::V6(_) => 0x86dd,
            Self::Other(ether_type) => *ether_type,
        }
    }
}

impl V4 {
    fn to_bytes(&self, protocol: u8, rest: usize) -> Vec<u8> {
        let right_words = 5 + self.option_words;
        let words = self.header_words.unwrap_or(right_words);
        let total = usize::from(right_words) * 4 + rest;
        let flags = if self.more_fragments { 0x2000 } else { 0 };
        let mut bytes = vec![self.version << 4 | words & 0x0f, 0];
        bytes.extend(saturated(total).to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend((flags | self.fragment_offset & 0x1fff).to_be_bytes());
        bytes.extend([self.hops, protocol, 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.resize(usize::from(right_words) * 4, NO_OPERATION);
        let checksum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

impl V6 {
    fn to_bytes(&self, protocol: u8, rest: usize) -> Vec<u8> {
        let mut bytes = vec![self.version << 4, 0, 0, 0];
        bytes.extend(saturated(rest).to_be_bytes());
        bytes.extend([protocol, self.hops]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes
    }
}

impl Extension {
    /// Its protocol number.
    #[must_use]
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Authentication(_) => 51,
            Self::DestinationOptions(_) => 60,
            Self::Fragment { .. } => 44,
            Self::HopByHop(_) => 0,
            Self::Routing(_) => 43,
        }
    }

    fn to_bytes(self, next: u8) -> Vec<u8> {
        match self {
            Self::Authentication(length) => filled(next, length, (usize::from(length) + 2) * 4),
            Self::Fragment { offset, more, id } => {
                let mut bytes = vec![next, 0];
                bytes.extend((offset << 3 | u16::from(more)).to_be_bytes());
                bytes.extend(id.to_be_bytes());
                bytes
            }
            Self::DestinationOptions(length) | Self::HopByHop(length) => {
                padded_options(next, length)
            }
            Self::Routing(length) => filled(next, length, (usize::from(length) + 1) * 8),
        }
    }
}

fn filled(next: u8, length: u8, size: usize) -> Vec<u8> {
    let mut bytes = vec![next, length];
    bytes.resize(size, 0);
    bytes
}

/// Options of nothing but padding: Pad1 throughout (RFC 8200, section 4.2).
fn padded_options(next: u8, length: u8) -> Vec<u8> {
    filled(next, length, (usize::from(length) + 1) * 8)
}

impl Transport {
    /// Its protocol number.
    #[must_use]
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Icmp { .. } => 1,
            Self::Icmpv6 { .. } => 58,
            Self::Other(protocol) => protocol,
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
        }
    }

    const fn header_length(self) -> usize {
        match self {
            Self::Icmp { .. } | Self::Icmpv6 { .. } | Self::Udp { .. } => 8,
            Self::Other(_) => 0,
            Self::Tcp { .. } => 20,
        }
    }

    const fn checksum_offset(self) -> Option<usize> {
        match self {
            Self::Icmp { .. } | Self::Icmpv6 { .. } => Some(2),
            Self::Other(_) => None,
            Self::Tcp { .. } => Some(16),
            Self::Udp { .. } => Some(6),
        }
    }

    /// The header with a checksum of zero; `length` is that of header and payload.
    fn to_bytes(self, length: usize) -> Vec<u8> {
        match self {
            Self::Icmp { message } | Self::Icmpv6 { message } => vec![message, 0, 0, 0, 0, 0, 0, 0],
            Self::Other(_) => Vec::new(),
            Self::Tcp {
                source,
                destination,
            } => {
                let mut bytes = ports(source, destination);
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, TCP_FIVE_WORDS, TCP_SYN]);
                bytes.extend([0xff, 0xff, 0, 0, 0, 0]);
                bytes
            }
            Self::Udp {
                source,
                destination,
            } => {
                let mut bytes = ports(source, destination);
                bytes.extend(saturated(length).to_be_bytes());
                bytes.extend([0, 0]);
                bytes
            }
        }
    }
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

/// The Internet checksum (RFC 1071).
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u64::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !saturated(usize::try_from(sum).unwrap_or(0))
}

/// Ends the frame after `length` bytes.
pub fn truncate(bytes: &mut Vec<u8>, length: usize) {
    bytes.truncate(length);
}

/// Flips one bit, counted from the highest of the first byte; does nothing beyond the end.
pub fn flip_bit(bytes: &mut [u8], bit: usize) {
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 0x80 >> (bit % 8);
    }
}

/// Writes the bytes of a span a second time, right behind it; what lies beyond the end is left out.
pub fn repeat_span(bytes: &mut Vec<u8>, start: usize, length: usize) {
    let end = (start + length).min(bytes.len());
    let span = bytes.get(start..end).unwrap_or_default().to_vec();
    bytes.splice(end..end, span);
}

/// Lengths that do not fit their field are written as the largest that does.
fn saturated(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

// RFC 791, section 3.1.
const NO_OPERATION: u8 = 1;
// RFC 9293, section 3.1: data offset in the upper half of the byte, and the flag SYN.
const TCP_FIVE_WORDS: u8 = 5 << 4;
const TCP_SYN: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);

    #[test]
    fn checksums_of_ipv4_and_udp_come_out_right() {
        let bytes = Frame::ipv4(A, B).udp(1, 2).payload(b"odd").to_bytes();
        assert_eq!(checksum(&bytes[14..34]), 0);
        let mut pseudo = [A.octets(), B.octets()].concat();
        pseudo.extend([0, 17, 0, 11]);
        pseudo.extend(&bytes[34..]);
        assert_eq!(checksum(&pseudo), 0);
    }

    /// The example of RFC 1071, section 3.
    #[test]
    fn checksum_agrees_with_the_example_of_the_rfc() {
        let sum = checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum, !0xddf2);
    }

    #[test]
    fn next_header_fields_are_chained() {
        let frame = Frame::ipv6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
            .extension(Extension::HopByHop(0))
            .extension(Extension::Authentication(4))
            .fragment(0, true);
        let bytes = frame.to_bytes();
        let network = &bytes[frame.network_offset()..];
        assert_eq!(network[6], 0);
        assert_eq!(network[40], 51);
        assert_eq!(network[48], 44);
        assert_eq!(network[48 + 24], 6);
        assert_eq!(network.len(), 40 + 8 + 24 + 8 + 20);
    }

    #[test]
    fn options_lengthen_the_ipv4_header() {
        let mut frame = Frame::ipv4(A, B).vlan(5);
        let Network::V4(header) = &mut frame.network else {
            unreachable!()
        };
        header.option_words = 2;
        let bytes = frame.to_bytes();
        assert_eq!(bytes[12..18], [0x81, 0x00, 0x00, 0x05, 0x08, 0x00]);
        assert_eq!(bytes[18], 0x47);
        assert_eq!(bytes.len(), 18 + 28 + 20);
    }

    #[test]
    fn mutators_stay_within_the_frame() {
        let mut bytes = vec![1, 2, 3];
        flip_bit(&mut bytes, 100);
        repeat_span(&mut bytes, 1, 1);
        assert_eq!(bytes, [1, 2, 2, 3]);
        repeat_span(&mut bytes, 3, 9);
        assert_eq!(bytes, [1, 2, 2, 3, 3]);
        flip_bit(&mut bytes, 0);
        truncate(&mut bytes, 1);
        assert_eq!(bytes, [0x81]);
    }
}
