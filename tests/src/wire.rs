//! A cable that tells of each frame whether the gate lets it through, without waiting for what does not come.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    frames::Frame,
    link::{End, Mac},
    packet::PacketSocket,
};

/// Both ends of a cable, the far one behind the gate.
///
/// Behind each frame goes a mark that no gate drops. The cable keeps the order, so a frame that is not there when its mark arrives was
/// dropped.
#[derive(Debug)]
pub struct Wire {
    near: PacketSocket,
    far: PacketSocket,
    macs: [Mac; 2],
}

impl Wire {
    /// Opens a cable, from its near end to its far end.
    pub fn open([near, far]: [End<'_>; 2]) -> Result<Self> {
        Ok(Self {
            near: PacketSocket::open(near.namespace, near.name)?,
            far: PacketSocket::open(far.namespace, far.name)?,
            macs: [near.mac, far.mac],
        })
    }

    /// Whether the frame comes out of the gate, as it is or with its outermost tag taken off by the kernel.
    pub fn passes(&self, frame: &[u8]) -> Result<bool> {
        let mark = self.mark();
        self.near.send(frame).context("cannot send a frame")?;
        self.near.send(&mark).context("cannot send a mark")?;
        let untagged = without_outermost_tag(frame);
        let mut passed = false;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.far.receive(PATIENCE)? {
                Some(heard) if heard == mark => return Ok(passed),
                Some(heard) => passed |= heard == frame || Some(&heard) == untagged.as_ref(),
                None => break,
            }
        }
        bail!("the mark behind a frame is lost");
    }

    /// The MAC addresses of the near and the far end.
    #[must_use]
    pub fn macs(&self) -> [Mac; 2] {
        self.macs
    }

    /// The two ends, to be used from two threads.
    #[must_use]
    pub fn into_ends(self) -> (PacketSocket, PacketSocket) {
        (self.near, self.far)
    }

    /// A frame of a type that is neither IPv4 nor IPv6, no two alike.
    fn mark(&self) -> Vec<u8> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Frame::other(ETHER_TYPE, &count.to_be_bytes())
            .macs(self.macs[0].0, self.macs[1].0)
            .to_bytes()
    }
}

/// `None` if there is no tag.
fn without_outermost_tag(frame: &[u8]) -> Option<Vec<u8>> {
    let kind = [*frame.get(12)?, *frame.get(13)?];
    let is_tag = matches!(u16::from_be_bytes(kind), 0x8100 | 0x88a8);
    is_tag.then(|| [&frame[..12], frame.get(16..).unwrap_or_default()].concat())
}

const PATIENCE: Duration = Duration::from_secs(10);
// IEEE 802, local experimental Ethertype 1.
const ETHER_TYPE: u16 = 0x88b5;
