//! Reads a frame as far as a verdict needs: VLAN, addresses, protocol, ports.
//!
//! Bytes are reached through [`Frame`], not a slice: the kernel's verifier refuses slices made from packet pointers
//! ("invalid access to packet"), and takes a bounds check for each header of fixed size.
//!
//! Reading never trusts what it can do without: no verdict asks for length fields of the IP header or for checksums, because
//! whoever receives the packet discards what they contradict, and a verdict that read on can only have judged a packet
//! that nobody gets.

use zerocopy::FromBytes;
use zerocopy::network_endian::{U16, U32, U64};

use crate::reason::Reason;

/// A frame, from its destination MAC address on.
pub trait Frame {
    /// The header that starts at `offset`, if the frame has all of it.
    ///
    /// A header is read as a whole and by its fields: arrays of bytes would be put together byte by byte in the kernel.
    fn header<T: FromBytes>(&self, offset: u32) -> Option<T>;

    /// The same where it costs no more than a look; that there is none says nothing.
    #[inline(always)]
    fn near<T: FromBytes>(&self, offset: u32) -> Option<T> {
        self.header(offset)
    }
}

impl Frame for [u8] {
    fn header<T: FromBytes>(&self, offset: u32) -> Option<T> {
        let start = usize::try_from(offset).ok()?;
        let (header, _) = T::read_from_prefix(self.get(start..)?).ok()?;
        Some(header)
    }
}

/// Headers as they are on the wire. Their fields need no alignment.
mod wire {
    use super::{FromBytes, U16, U32, U64};

    /// Ethernet (IEEE 802.3).
    #[derive(FromBytes)]
    #[repr(C)]
    pub(super) struct Ethernet {
        _addresses: [u8; 12],
        pub(super) kind: U16,
    }

    /// What follows the type of a VLAN tag (IEEE 802.1Q).
    #[derive(FromBytes)]
    #[repr(C)]
    pub(super) struct Tag {
        pub(super) control: U16,
        pub(super) kind: U16,
    }

    /// IPv4 without options (RFC 791, section 3.1).
    #[derive(FromBytes)]
    #[repr(C)]
    pub(super) struct V4 {
        pub(super) version_and_length: u8,
        _service: u8,
        pub(super) total_length: U16,
        _identification: U16,
        pub(super) fragment: U16,
        _time_to_live: u8,
        pub(super) protocol: u8,
        _checksum: U16,
        pub(super) source: U32,
        pub(super) destination: U32,
    }

    /// IPv6 (RFC 8200, section 3).
    #[derive(FromBytes)]
    #[repr(C)]
    pub(super) struct V6 {
        pub(super) version: u8,
        _flow: [u8; 3],
        pub(super) payload_length: U16,
        pub(super) next_header: u8,
        pub(super) hop_limit: u8,
        pub(super) source_high: U64,
        pub(super) source_low: U64,
        pub(super) destination_high: U64,
        pub(super) destination_low: U64,
    }

    /// [`V4`] and [`Ports`], which most often follow.
    #[derive(FromBytes)]
    #[repr(C)]
    pub(super) struct PlainV4 {
        pub(super) header: V4,
        pub(super) ports: Ports,
    }

    /// [`V6`] and [`Ports`], which most often follow.
    #[derive(FromBytes)]
    #[repr(C)]
    pub(super) struct PlainV6 {
        pub(super) header: V6,
        pub(super) ports: Ports,
    }

    /// The start of any extension header, the least that one can be (RFC 8200, section 4).
    #[derive(FromBytes)]
    #[repr(C)]
    pub(super) struct Extension {
        pub(super) next: u8,
        pub(super) length: u8,
        pub(super) fragment: U16,
        _rest: U32,
    }

    /// The start of TCP and UDP.
    #[derive(FromBytes)]
    #[repr(C)]
    pub(super) struct Ports {
        pub(super) source: U16,
        pub(super) destination: U16,
    }
}

/// Bytes of an Ethernet header, and of what follows the type of a VLAN tag.
const ETHERNET: u32 = 14;
const VLAN_TAG: u32 = 4;
/// The id bits of a VLAN tag's control information (IEEE 802.1Q).
const VLAN_ID: u16 = 0x0fff;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

/// What the Ethernet header and VLAN tags say.
// In this order there is room for a `Reason` beside the fields. Else a `Result` would put it over the offset, which the compiler
// would then cut into pieces on the stack, and the verifier refuses to read those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Link {
    /// What the network header is.
    pub network: Network,
    /// The id of the outermost tag whose id is not 0; 0 without such a tag.
    pub vlan: u16,
    /// Where the network header starts.
    pub offset: u32,
}

/// The network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Anything else.
    Other,
}

/// Reads the Ethernet header and up to two VLAN tags.
///
/// # Errors
///
/// The reason why the frame is unreadable.
#[inline(always)]
pub fn link<F: Frame + ?Sized>(frame: &F) -> Result<Link, Reason> {
    let ethernet: wire::Ethernet = frame.header(0).ok_or(Reason::Truncated)?;
    let mut kind = ethernet.kind.get();
    let mut offset = ETHERNET;
    let mut vlan = 0;
    for _ in 0..2 {
        if !is_tag(kind) {
            break;
        }
        let tag: wire::Tag = frame.header(offset).ok_or(Reason::Truncated)?;
        // A tag with id 0 only carries a priority: the frame belongs to the VLAN of the next tag, if any.
        if vlan == 0 {
            vlan = tag.control.get() & VLAN_ID;
        }
        kind = tag.kind.get();
        offset += VLAN_TAG;
    }
    if is_tag(kind) {
        return Err(Reason::TooManyTags);
    }
    let network = match kind {
        ETHERTYPE_IPV4 => Network::V4,
        ETHERTYPE_IPV6 => Network::V6,
        _ => Network::Other,
    };
    Ok(Link {
        network,
        vlan,
        offset,
    })
}

#[inline(always)]
fn is_tag(kind: u16) -> bool {
    kind == ETHERTYPE_VLAN || kind == ETHERTYPE_SERVICE_VLAN
}

/// An IPv6 address as two big-endian halves: BPF has no 128-bit registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct V6 {
    /// The first 64 bits.
    pub high: u64,
    /// The last 64 bits.
    pub low: u64,
}

impl From<u128> for V6 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the halves are what is wanted"
    )]
    fn from(address: u128) -> Self {
        Self {
            high: (address >> 64) as u64,
            low: address as u64,
        }
    }
}

impl From<V6> for u128 {
    fn from(address: V6) -> Self {
        (Self::from(address.high) << 64) | Self::from(address.low)
    }
}

/// What a verdict needs of an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderV4 {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Where the packet ends in the frame by its own account; 0 if it gives none.
    pub end: u32,
    /// The destination port, if it was seen in passing.
    pub port: Port,
}

/// What a verdict needs of an IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderV6 {
    /// Source address.
    pub source: V6,
    /// Destination address.
    pub destination: V6,
    /// Where the packet ends in the frame by its own account; 0 if it gives none.
    pub end: u32,
    /// The destination port, if it was seen in passing.
    pub port: Port,
}

/// A destination port of TCP or UDP, if it was seen; an `Option` would be an uninitialised register to the verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(u32);

impl Port {
    const UNSEEN: Self = Self(u32::MAX);

    /// The port, if it was seen; or else a [`Transport`] says more.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "larger ones are none")]
    pub const fn seen(self) -> Option<u16> {
        if self.0 > u16::MAX as u32 {
            None
        } else {
            Some(self.0 as u16)
        }
    }
}

impl From<U16> for Port {
    #[inline(always)]
    fn from(port: U16) -> Self {
        Self(u32::from(port.get()))
    }
}

/// Bytes of an IPv4 header without options, and of an IPv6 header.
const HEADER_V4: u32 = 20;
const HEADER_V6: u32 = 40;
/// Version and length of an IPv4 header without options.
const PLAIN_V4: u8 = 0x45;
/// The offset bits of IPv4's flags and fragment offset field (RFC 791, section 3.1).
const FRAGMENT_OFFSET_V4: u16 = 0x1fff;
/// The offset bits of the fragment header's second 16-bit word (RFC 8200, section 4.5).
const FRAGMENT_OFFSET_V6: u16 = 0xfff8;

/// Reads an IPv4 header, and the port above it where all is in its usual place.
///
/// # Errors
///
/// The reason why it is unreadable.
#[inline(always)]
pub fn header_v4<F: Frame + ?Sized>(frame: &F, link: Link) -> Result<HeaderV4, Reason> {
    if let Some(wire::PlainV4 { header, ports }) = frame.near(link.offset)
        && header.version_and_length == PLAIN_V4
        && header.fragment.get() & FRAGMENT_OFFSET_V4 == 0
        && has_ports(header.protocol)
    {
        return Ok(HeaderV4::of(&header, link, ports.destination.into()));
    }
    let header: wire::V4 = frame.header(link.offset).ok_or(Reason::Truncated)?;
    if header.version_and_length >> 4 != 4 {
        return Err(Reason::BadVersion);
    }
    Ok(HeaderV4::of(&header, link, Port::UNSEEN))
}

/// Reads an IPv6 header, and the port above it where all is in its usual place.
///
/// # Errors
///
/// The reason why it is unreadable.
#[inline(always)]
pub fn header_v6<F: Frame + ?Sized>(frame: &F, link: Link) -> Result<HeaderV6, Reason> {
    if let Some(wire::PlainV6 { header, ports }) = frame.near(link.offset)
        && header.version >> 4 == 6
        && has_ports(header.next_header)
    {
        return Ok(HeaderV6::of(&header, link, ports.destination.into()));
    }
    let header: wire::V6 = frame.header(link.offset).ok_or(Reason::Truncated)?;
    if header.version >> 4 != 6 {
        return Err(Reason::BadVersion);
    }
    Ok(HeaderV6::of(&header, link, Port::UNSEEN))
}

impl HeaderV4 {
    #[inline(always)]
    fn of(header: &wire::V4, link: Link, port: Port) -> Self {
        Self {
            source: header.source.get(),
            destination: header.destination.get(),
            end: end(link.offset, header.total_length.get()),
            port,
        }
    }
}

impl HeaderV6 {
    #[inline(always)]
    fn of(header: &wire::V6, link: Link, port: Port) -> Self {
        Self {
            source: V6 {
                high: header.source_high.get(),
                low: header.source_low.get(),
            },
            destination: V6 {
                high: header.destination_high.get(),
                low: header.destination_low.get(),
            },
            end: end(link.offset + HEADER_V6, header.payload_length.get()),
            port,
        }
    }
}

/// A length of 0 is what packets have whose length does not fit into the field.
#[inline(always)]
const fn end(start: u32, length: u16) -> u32 {
    if length == 0 {
        0
    } else {
        start + length as u32
    }
}

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const ICMPV6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;

/// Extension headers stepped over before giving up. RFC 8200 allows seven occurrences in all (section 4.1).
const MAX_EXTENSION_HEADERS: u32 = 8;

/// What stands above the network layer.
///
/// A struct whose fields are always set, not an enum with payloads: a payload that is not there is an uninitialised
/// register to the verifier, which refuses to spill it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// What could be read.
    pub kind: TransportKind,
    /// The IP protocol; [`UNKNOWN_PROTOCOL`] if it cannot be found out.
    pub protocol: u8,
    /// Source port; 0 unless [`TransportKind::Ports`].
    pub source_port: u16,
    /// Destination port; 0 unless [`TransportKind::Ports`].
    pub destination_port: u16,
}

/// The protocol number of what has none, which the registry reserves.
pub const UNKNOWN_PROTOCOL: u8 = 255;

/// How far a transport could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportKind {
    /// IPv6 neighbour discovery that came from this link (RFC 4861: hop limit 255).
    NeighborDiscovery,
    /// TCP or UDP whose ports are not in this frame: a later fragment, or cut off.
    NoPorts,
    /// Neither TCP nor UDP.
    Other,
    /// TCP or UDP, with ports.
    Ports,
    /// The protocol cannot be found out.
    Unknown,
}

impl Transport {
    #[inline(always)]
    const fn bare(kind: TransportKind, protocol: u8) -> Self {
        Self {
            kind,
            protocol,
            source_port: 0,
            destination_port: 0,
        }
    }

    #[inline(always)]
    const fn unknown() -> Self {
        Self::bare(TransportKind::Unknown, UNKNOWN_PROTOCOL)
    }

    #[inline(always)]
    const fn without_ports(protocol: u8) -> Self {
        let kind = if has_ports(protocol) {
            TransportKind::NoPorts
        } else {
            TransportKind::Other
        };
        Self::bare(kind, protocol)
    }
}

/// Reads what stands above the IPv4 header of a frame, of which [`header_v4`] said that it has one.
///
/// It reads the frame from its start once more: few frames need more than [`HeaderV4`], and all others carry nothing along.
#[inline(always)]
pub fn transport_v4<F: Frame + ?Sized>(frame: &F) -> Transport {
    let Some((link, header)) = network::<_, wire::V4>(frame) else {
        return Transport::unknown();
    };
    let length = u32::from(header.version_and_length & 0x0f) * 4;
    let state = if header.fragment.get() & FRAGMENT_OFFSET_V4 != 0 || length < HEADER_V4 {
        State::PortsAway
    } else {
        State::Whole
    };
    let chain = Chain {
        next: header.protocol,
        state,
        offset: link.offset + length,
    };
    chain.walk(frame, Network::V4).transport(frame, Network::V4)
}

/// Reads what stands above the IPv6 header of a frame, of which [`header_v6`] said that it has one, stepping over extension headers; from
/// the start, as for IPv4.
#[inline(always)]
pub fn transport_v6<F: Frame + ?Sized>(frame: &F) -> Transport {
    let Some((link, header)) = network::<_, wire::V6>(frame) else {
        return Transport::unknown();
    };
    let chain = Chain {
        next: header.next_header,
        state: State::Whole,
        offset: link.offset + HEADER_V6,
    };
    let chain = chain.walk(frame, Network::V6);
    if chain.next == ICMPV6 && header.hop_limit == u8::MAX && chain.is_neighbor_discovery(frame) {
        return Transport::bare(TransportKind::NeighborDiscovery, ICMPV6);
    }
    chain.transport(frame, Network::V6)
}

#[inline(always)]
fn network<F: Frame + ?Sized, T: FromBytes>(frame: &F) -> Option<(Link, T)> {
    let link = link(frame).ok()?;
    Some((link, frame.header(link.offset)?))
}

/// A place in the chain of headers.
#[derive(Clone, Copy)]
struct Chain {
    /// The protocol number of the header at `offset`.
    next: u8,
    state: State,
    offset: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The header of protocol `next` starts at `offset`.
    Whole,
    /// It is not in this frame, or nobody knows where.
    PortsAway,
    /// The chain broke off before its last protocol.
    Broken,
}

impl Chain {
    /// Steps over extension headers to the last protocol, or as far as this frame goes.
    #[inline(always)]
    fn walk<F: Frame + ?Sized>(mut self, frame: &F, network: Network) -> Self {
        for _ in 0..MAX_EXTENSION_HEADERS {
            if self.state != State::Whole || !is_extension(self.next, network) {
                break;
            }
            self = self.step(frame);
        }
        self
    }

    #[inline(always)]
    fn step<F: Frame + ?Sized>(self, frame: &F) -> Self {
        let Some(header) = frame.header::<wire::Extension>(self.offset) else {
            return Self {
                state: State::Broken,
                ..self
            };
        };
        // All have eight bytes, and so many more for each unit of their length.
        let unit = match self.next {
            FRAGMENT => 0,
            AUTHENTICATION => 4,
            _ => 8,
        };
        let later = self.next == FRAGMENT && header.fragment.get() & FRAGMENT_OFFSET_V6 != 0;
        let state = if later {
            State::PortsAway
        } else {
            State::Whole
        };
        Self {
            next: header.next,
            state,
            offset: self.offset + 8 + u32::from(header.length) * unit,
        }
    }

    /// Reads the protocol that the chain ended at.
    #[inline(always)]
    fn transport<F: Frame + ?Sized>(self, frame: &F, network: Network) -> Transport {
        if self.state == State::Broken || is_extension(self.next, network) {
            return Transport::unknown();
        }
        if self.state == State::PortsAway || !has_ports(self.next) {
            return Transport::without_ports(self.next);
        }
        let Some(ports) = frame.header::<wire::Ports>(self.offset) else {
            return Transport::without_ports(self.next);
        };
        Transport {
            kind: TransportKind::Ports,
            protocol: self.next,
            source_port: ports.source.get(),
            destination_port: ports.destination.get(),
        }
    }

    /// Router and neighbour solicitations and advertisements, and redirects (RFC 4861, section 4).
    #[inline(always)]
    fn is_neighbor_discovery<F: Frame + ?Sized>(self, frame: &F) -> bool {
        self.state == State::Whole && matches!(frame.header::<u8>(self.offset), Some(133..=137))
    }
}

#[inline(always)]
const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP)
}

/// Headers that stand between the network header and the transport. In IPv4 that is only the authentication header.
#[inline(always)]
fn is_extension(protocol: u8, network: Network) -> bool {
    match protocol {
        AUTHENTICATION => true,
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS => matches!(network, Network::V6),
        _ => false,
    }
}
