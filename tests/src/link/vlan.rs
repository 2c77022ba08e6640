//! An interface for one VLAN of another interface, with or without the kernel's help.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use super::{End, Mac, add_addresses, connect, set_feature};
use crate::{netns::Namespace, packet::PacketSocket};

/// An interface that carries one VLAN of another, called `eth0.5` for VLAN 5 of `eth0`.
///
/// Where the kernel has no 802.1Q, the interface is a cable whose far end is tied to the VLAN by two threads until this is dropped. Either
/// way a tag is in the data of a frame when it is sent, and not in its metadata, where an XDP program could not see it. With the
/// threads, a frame longer than the MTU is lost, as receive offloads may make of several.
#[derive(Debug)]
pub struct Vlan {
    name: String,
    relay: Option<Relay>,
}

impl Vlan {
    /// Adds an interface for VLAN `id` on `end`, with these addresses and the MAC address of `end`.
    pub fn add(end: End<'_>, id: u16, addresses: &[&str]) -> Result<Self> {
        let name = format!("{}.{id}", end.name);
        let relay = if add_to_kernel(end, &name, id).is_ok() {
            set_feature(end.namespace, end.name, "txvlan", "off")?;
            end.namespace.ip(&format!("link set {name} up"))?;
            None
        } else {
            Some(Relay::add(end, &name, id)?)
        };
        add_addresses(end.namespace, &name, addresses)?;
        Ok(Self { name, relay })
    }

    /// The name of the interface.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the kernel carries the VLAN, and not the threads.
    #[must_use]
    pub const fn is_of_the_kernel(&self) -> bool {
        self.relay.is_none()
    }
}

fn add_to_kernel(end: End<'_>, name: &str, id: u16) -> Result<()> {
    let parent = end.name;
    let link = format!("link add link {parent} name {name} type vlan id {id}");
    end.namespace.ip(&link).map(drop)
}

/// Two threads that carry frames between a VLAN and the far end of a cable.
#[derive(Debug)]
struct Relay {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Holds the far end, away from all that the near end could mistake it for.
    _far: Namespace,
}

impl Relay {
    fn add(end: End<'_>, name: &str, id: u16) -> Result<Self> {
        let far = Namespace::new()?;
        far.set("ipv6/conf/default/disable_ipv6", "1")?;
        let near_end = End {
            name,
            addresses: &[],
            ..end
        };
        let far_end = End {
            namespace: &far,
            name: FAR,
            mac: Mac::local(0xff),
            addresses: &[],
        };
        connect(near_end, far_end)?;
        // Checksums are to be right in the frames, and segments as long as the MTU.
        set_feature(end.namespace, name, "tx", "off")?;
        let outward = (
            PacketSocket::open(&far, FAR)?,
            PacketSocket::open(end.namespace, end.name)?,
        );
        let inward = (
            PacketSocket::open_vlan(end.namespace, end.name, id)?,
            PacketSocket::open(&far, FAR)?,
        );
        let stop = Arc::new(AtomicBool::new(false));
        let threads = vec![
            carry(&stop, outward, move |frame| add_tag(frame, id)),
            carry(&stop, inward, <[u8]>::to_vec),
        ];
        Ok(Self {
            stop,
            threads,
            _far: far,
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() && !thread::panicking() {
                eprintln!("a thread that carried a VLAN has panicked");
            }
        }
    }
}

fn carry(
    stop: &Arc<AtomicBool>,
    (from, to): (PacketSocket, PacketSocket),
    change: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
) -> JoinHandle<()> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            match from.receive(LOOK_UP) {
                Ok(Some(frame)) => lose_quietly(to.send(&change(&frame))),
                Ok(None) => {}
                // The interface is gone.
                Err(_) => return,
            }
        }
    })
}

/// A wire gives no answer about what it cannot carry.
fn lose_quietly(sent: io::Result<()>) {
    drop(sent);
}

fn add_tag(frame: &[u8], id: u16) -> Vec<u8> {
    let (macs, rest) = frame.split_at(12);
    [macs, &[0x81, 0x00], &id.to_be_bytes(), rest].concat()
}

const FAR: &str = "far0";
/// How often the threads look whether they have to stop.
const LOOK_UP: Duration = Duration::from_millis(50);
