//! What can be read from the bytes of a frame: steps 1, 3 and 5 of the page.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Reason;

pub(super) struct LinkLayer<'a> {
    pub(super) ether_type: u16,
    pub(super) vlan: Option<u16>,
    pub(super) rest: &'a [u8],
}

/// Step 1.
///
/// Reading: a third tag is known by its type alone, so a frame that ends inside it has too many tags.
pub(super) fn read_link_layer(frame: &[u8]) -> Result<LinkLayer<'_>, Reason> {
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

pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) payload: Payload,
    /// A protocol that IPv6 neighbour discovery has, with the right hop limit and type.
    pub(super) is_neighbor_discovery: bool,
}

/// What reading on has found out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Payload {
    /// The protocol is not readable.
    NoProtocol,
    /// The protocol, of a packet whose ports are not readable or that is a fragment without ports.
    NoPort(u8),
    /// The protocol and the destination port.
    Port(u8, u16),
}

/// Steps 3 and 5 for IPv4.
pub(super) fn read_ipv4(bytes: &[u8]) -> Result<Packet, Reason> {
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

/// Steps 3 and 5 for IPv6.
pub(super) fn read_ipv6(bytes: &[u8]) -> Result<Packet, Reason> {
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
pub(super) const ETHER_TYPE_IPV4: u16 = 0x0800;
pub(super) const ETHER_TYPE_IPV6: u16 = 0x86dd;

// IANA "Assigned Internet Protocol Numbers".
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const ICMPV6: u8 = 58;
const IPV4_STEPPED_OVER: [u8; 1] = [AUTHENTICATION];
const IPV6_STEPPED_OVER: [u8; 5] = [0, 43, FRAGMENT, AUTHENTICATION, 60];
