//! Receives events, and refills the budget that bounds them.

use anyhow::Result;
use aya::Ebpf;
use aya::maps::{Array, MapData, RingBuf};
use swf_filter_common::abi::Event;
use tokio::io::unix::AsyncFd;
use zerocopy::FromBytes;

use super::kernel::{VARIABLES, take};

/// The ring buffer of events, and their budget.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
    budget: Array<MapData, i64>,
}

impl Events {
    #[expect(
        deprecated,
        reason = "its successor is unsafe; a ring buffer keeps its descriptor open, which is all it asks for"
    )]
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let ring: RingBuf<MapData> = take(ebpf, "EVENTS")?.try_into()?;
        Ok(Self {
            ring: AsyncFd::new(ring)?,
            budget: take(ebpf, VARIABLES)?.try_into()?,
        })
    }

    /// Allows `events` more before the next refill.
    pub fn refill(&mut self, events: u32) -> Result<()> {
        Ok(self.budget.set(0, i64::from(events), 0)?)
    }

    /// Waits for events, and hands each to `receive`.
    pub async fn receive(&mut self, mut receive: impl FnMut(&Event)) -> Result<()> {
        let mut guard = self.ring.readable_mut().await?;
        while let Some(item) = guard.get_inner_mut().next() {
            if let Ok(event) = Event::read_from_bytes(&item) {
                receive(&event);
            }
        }
        guard.clear_ready();
        Ok(())
    }
}
