//! Whole frames, sent and received on one interface.
//!
//! The kernel takes the outermost VLAN tag off a frame before it shows it to a packet socket, and gives its id in a message
//! that no safe crate reads. So [`PacketSocket::open_vlan`] asks for the frames of one VLAN instead, by a filter that the kernel runs.

use std::{
    io,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
    },
};
use socket2::{SockFilter, Socket};

use crate::netns::Namespace;

/// A socket that sends and receives the frames of one interface.
#[derive(Debug)]
pub struct PacketSocket(Socket);

impl PacketSocket {
    /// Opens the interface for frames of all kinds, of any VLAN or none.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        namespace
            .run(|| Self::open_here(interface, &[]))
            .with_context(|| format!("cannot open `{interface}` for frames"))
    }

    /// Opens the interface for frames whose outermost tag has this VLAN id; they are received without it.
    pub fn open_vlan(namespace: &Namespace, interface: &str, id: u16) -> Result<Self> {
        namespace
            .run(|| Self::open_here(interface, &only_vlan(id)))
            .with_context(|| format!("cannot open `{interface}` for VLAN {id}"))
    }

    fn open_here(interface: &str, filter: &[SockFilter]) -> Result<Self> {
        let socket = Socket::from(socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )?);
        // Until it is bound the socket hears every interface; what it has heard is thrown away below.
        bind(socket.as_raw_fd(), &link_address(interface)?)?;
        if !filter.is_empty() {
            socket.attach_filter(filter)?;
        }
        let opened = Self(socket);
        opened.forget_what_came()?;
        Ok(opened)
    }

    /// Sends a frame as it is.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.0.send(frame).map(drop)
    }

    /// The next frame that comes in, if one does within `deadline`; frames that go out are passed over.
    pub fn receive(&self, deadline: Duration) -> io::Result<Option<Vec<u8>>> {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // A timeout of zero would be none at all.
            self.0.set_read_timeout(Some(left.max(SHORTEST)))?;
            match self.receive_any() {
                Ok((_, true)) => {}
                Ok((frame, false)) => return Ok(Some(frame)),
                Err(error) if is_timeout(&error) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next frame that comes in and is `wanted`, if one does within `deadline`; others are passed over.
    pub fn receive_wanted(
        &self,
        deadline: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Option<Vec<u8>>> {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.receive(left)? {
                Some(frame) if wanted(&frame) => return Ok(Some(frame)),
                Some(_) if Instant::now() < end => {}
                Some(_) | None => return Ok(None),
            }
        }
    }

    /// A frame, and whether it goes out.
    fn receive_any(&self) -> io::Result<(Vec<u8>, bool)> {
        let mut buffer = vec![0; LONGEST];
        let (length, address) = recvfrom::<LinkAddr>(self.0.as_raw_fd(), &mut buffer)?;
        buffer.truncate(length);
        let goes_out = address.is_some_and(|address| address.pkttype() == PACKET_OUTGOING);
        Ok((buffer, goes_out))
    }

    fn forget_what_came(&self) -> io::Result<()> {
        self.0.set_nonblocking(true)?;
        while self.receive_any().is_ok() {}
        self.0.set_nonblocking(false)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// The address of the interface in the namespace of this thread.
///
/// Asked from the kernel, because no safe crate builds one; its protocol is 0, and so the one of the socket stays.
fn link_address(interface: &str) -> Result<LinkAddr> {
    let all = getifaddrs()?;
    let mut of_interface = all.filter(|entry| entry.interface_name == interface);
    of_interface
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .with_context(|| format!("no interface `{interface}`"))
}

/// A filter that takes frames of one VLAN.
fn only_vlan(id: u16) -> [SockFilter; 7] {
    let load = |extension: u32| SockFilter::new(BPF_LD_W_ABS, 0, 0, SKF_AD_OFF + extension);
    [
        load(SKF_AD_VLAN_TAG_PRESENT),
        SockFilter::new(BPF_JEQ, 4, 0, 0),
        load(SKF_AD_VLAN_TAG),
        SockFilter::new(BPF_AND, 0, 0, 0x0fff),
        SockFilter::new(BPF_JEQ, 0, 1, id.into()),
        SockFilter::new(BPF_RET, 0, 0, u32::MAX),
        SockFilter::new(BPF_RET, 0, 0, 0),
    ]
}

const SHORTEST: Duration = Duration::from_millis(1);
/// Longer than any frame, also one that receive offloads have made of several.
const LONGEST: usize = 1 << 17;

// linux/if_packet.h
const PACKET_OUTGOING: u8 = 4;
// linux/bpf_common.h: class, size and mode, or class, operation and source.
const BPF_LD_W_ABS: u16 = 0x20;
const BPF_AND: u16 = 0x54;
const BPF_JEQ: u16 = 0x15;
const BPF_RET: u16 = 0x06;
// linux/filter.h: loads from here on are of what the kernel knows about the frame.
const SKF_AD_OFF: u32 = 0xffff_f000;
const SKF_AD_VLAN_TAG: u32 = 44;
const SKF_AD_VLAN_TAG_PRESENT: u32 = 48;
