//! What drivers say of their interfaces over generic netlink: offloads, channels, and whether they run XDP themselves.
//!
//! It asks, and changes nothing. Three questions are all there is of ethtool here: the crate of that name would bring a second netlink stack,
//! and has no words for XDP.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

use rtnetlink::sys::protocols::NETLINK_GENERIC;
use rtnetlink::sys::{Socket, SocketAddr};

use super::facts::Channels;

/// A connection to the kernel, in the namespace of the thread that opened it.
pub(super) struct Ethtool {
    socket: Socket,
    /// The number of ethtool's family.
    family: u16,
    /// Kernels before 6.3 have no such family.
    netdev: Option<u16>,
}

impl Ethtool {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let ethtool = family(&socket, ETHTOOL)?;
        let netdev = family(&socket, NETDEV).ok();
        Ok(Self {
            socket,
            family: ethtool,
            netdev,
        })
    }

    /// The names of the offloads that are on.
    pub(super) fn offloads(&self, index: u32) -> io::Result<BTreeSet<String>> {
        let answer = self.ask(FEATURES_GET, index)?;
        let active = find(&answer, FEATURES_ACTIVE).ok_or(ErrorKind::InvalidData)?;
        let bits = find(active, BITSET_BITS).ok_or(ErrorKind::InvalidData)?;
        let bits = attributes(bits).filter(|(kind, _)| *kind == BITSET_BIT);
        Ok(bits
            .filter_map(|(_, bit)| find(bit, BIT_NAME).map(text))
            .collect())
    }

    /// How many queues there are, and could be.
    pub(super) fn channels(&self, index: u32) -> io::Result<Channels> {
        let answer = self.ask(CHANNELS_GET, index)?;
        let number = |kind| {
            find(&answer, kind)
                .and_then(|value| value.try_into().ok())
                .map_or(0, u32::from_ne_bytes)
        };
        Ok(Channels {
            combined: number(COMBINED_COUNT),
            most: number(COMBINED_MAX),
        })
    }

    /// Whether the driver says that it runs XDP programs itself.
    pub(super) fn runs_xdp(&self, index: u32) -> io::Result<bool> {
        let family = self.netdev.ok_or(ErrorKind::Unsupported)?;
        let question = attribute(DEV_IFINDEX, &index.to_ne_bytes());
        let answer = exchange(&self.socket, family, DEV_GET, &question)?;
        let features = find(&answer, DEV_XDP_FEATURES)
            .and_then(|value| value.try_into().ok())
            .map(u64::from_ne_bytes)
            .ok_or(ErrorKind::InvalidData)?;
        Ok(features & XDP_BASIC != 0)
    }

    fn ask(&self, command: u8, index: u32) -> io::Result<Vec<u8>> {
        let header = attribute(HEADER_DEV_INDEX, &index.to_ne_bytes());
        let question = attribute(HEADER | NESTED, &header);
        exchange(&self.socket, self.family, command, &question)
    }
}

/// The number of a family, which differs from boot to boot.
fn family(socket: &Socket, name: &str) -> io::Result<u16> {
    let name = [name.as_bytes(), b"\0"].concat();
    let question = attribute(FAMILY_NAME, &name);
    let answer = exchange(socket, CONTROL, GET_FAMILY, &question)?;
    let id = find(&answer, FAMILY_ID).and_then(|value| value.try_into().ok());
    id.map(u16::from_ne_bytes)
        .ok_or_else(|| ErrorKind::InvalidData.into())
}

/// Sends a question, and gives the attributes of the one message that answers it.
fn exchange(socket: &Socket, family: u16, command: u8, question: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(HEADERS + question.len()).unwrap_or(u32::MAX);
    let mut message = Vec::from(length.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // No sequence and no port: one question is under way at a time.
    message.extend([0; 8]);
    message.extend([command, VERSION, 0, 0]);
    message.extend(question);
    socket.send(&message, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    attributes_of(&answer)
}

/// What a message holds behind its headers, or the error that it is.
fn attributes_of(message: &[u8]) -> io::Result<Vec<u8>> {
    let part = |at: usize| {
        let bytes: Option<[u8; 4]> = message.get(at..at + 4)?.try_into().ok();
        bytes
    };
    let kind = part(4).map(|[low, high, _, _]| u16::from_ne_bytes([low, high]));
    if kind == Some(ERROR) {
        let code = part(16).map_or(0, i32::from_ne_bytes);
        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
    }
    let body = message.get(HEADERS..).ok_or(ErrorKind::UnexpectedEof)?;
    Ok(body.to_vec())
}

fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut all = attributes(bytes);
    all.find_map(|(found, value)| (found == kind).then_some(value))
}

/// Each attribute, up to the first that does not fit.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, _) = bytes.split_first_chunk::<4>()?;
        let [a, b, c, d] = *head;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = bytes.get(4..length)?;
        let kind = u16::from_ne_bytes([c, d]) & KIND;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// An attribute with its head, to a multiple of four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::from(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn text(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

// include/uapi/linux/netlink.h and genetlink.h.
const HEADERS: usize = 20;
const REQUEST: u16 = 1;
const ERROR: u16 = 2;
const NESTED: u16 = 1 << 15;
/// The bits of an attribute's type that are no flags.
const KIND: u16 = 0x3fff;
const VERSION: u8 = 1;
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

// include/uapi/linux/ethtool_netlink.h.
const ETHTOOL: &str = "ethtool";
const FEATURES_GET: u8 = 11;
const CHANNELS_GET: u8 = 17;
const HEADER: u16 = 1;
const HEADER_DEV_INDEX: u16 = 1;
const FEATURES_ACTIVE: u16 = 4;
const BITSET_BITS: u16 = 3;
const BITSET_BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const COMBINED_MAX: u16 = 5;
const COMBINED_COUNT: u16 = 9;

// include/uapi/linux/netdev.h.
const NETDEV: &str = "netdev";
const DEV_GET: u8 = 1;
const DEV_IFINDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC`: it knows of aborting, dropping, passing and sending back.
const XDP_BASIC: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let bytes = [
            attribute(1, b"a"),
            attribute(2 | NESTED, b""),
            attribute(3, b"four"),
        ]
        .concat();
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read, [(1, &b"a"[..]), (2, b""), (3, b"four")]);
        assert_eq!(find(&bytes, 3), Some(&b"four"[..]));
        assert_eq!(find(&bytes, 4), None);
    }

    #[test]
    fn lengths_that_do_not_fit_end_the_reading() {
        let whole = attribute(1, b"abcdefgh");
        for end in 0..whole.len() {
            assert_eq!(attributes(&whole[..end]).count(), 0, "{end}");
        }
        // Shorter than its own head.
        for length in 0..4_u8 {
            assert_eq!(attributes(&[length, 0, 1, 0, 9, 9, 9, 9]).count(), 0);
        }
    }

    #[test]
    fn an_error_of_the_kernel_is_one_here() {
        let mut message = vec![0; 36];
        message[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        message[16..20].copy_from_slice(&(-95_i32).to_ne_bytes());
        let error = attributes_of(&message).expect_err("no answer");
        assert_eq!(error.raw_os_error(), Some(95));
        message[4..6].copy_from_slice(&20_u16.to_ne_bytes());
        assert_eq!(attributes_of(&message).expect("an answer").len(), 16);
        assert!(attributes_of(&message[..12]).is_err());
    }

    #[test]
    fn the_kernel_tells_of_the_loopback_interface() {
        let ethtool = Ethtool::open().expect("generic netlink is for everybody");
        let offloads = ethtool.offloads(1).expect("lo has offloads");
        assert!(offloads.contains("loopback"), "{offloads:?}");
        assert!(ethtool.channels(1).is_err(), "lo has no channels");
        assert!(ethtool.offloads(u32::MAX >> 1).is_err());
    }
}
