//! What the disk did not take when it was to be written: it is written as soon as that can be done.
//!
//! Until then a boot with broken files would enforce a generation that was replaced, and an order would come back that is over.

use std::sync::Arc;

use anyhow::Result;
use swf_filter_core::compile::Generation;
use tokio::sync::watch;
use tracing::info;

use super::change::Cause;
use super::trial::LACKS;
use super::{Gate, STATE_BEHIND, lock};
use crate::state::Saved;

/// What was enforced before a change, with the hash of its text.
type Before = Option<(Arc<Generation>, String)>;

/// What is still to be written of a change.
#[derive(Clone)]
pub(in crate::daemon) struct Late {
    saved: Option<Saved>,
    before: Before,
    cause: Cause,
    /// The generations that are needed then, if others are not.
    kept: Option<[u64; 2]>,
}

impl Late {
    /// Of a change, or of what the history alone lacks.
    pub(super) fn new(
        saved: Option<Saved>,
        (before, cause): (Before, Cause),
        kept: Option<[u64; 2]>,
    ) -> Self {
        Self {
            saved,
            before,
            cause,
            kept,
        }
    }

    /// It was confirmed before it was written.
    pub(super) fn confirm(&mut self, cause: Cause) {
        self.cause = cause;
    }
}

impl Gate {
    /// What the disk has not taken yet.
    pub(in crate::daemon) fn late(&self) -> watch::Receiver<Option<Late>> {
        self.late.subscribe()
    }

    /// Writes what the disk has not taken yet.
    pub(in crate::daemon) fn catch_up(&self) -> Result<()> {
        let _no_change = lock(&self.publisher);
        let Some(late) = self.late.borrow().clone() else {
            return Ok(());
        };
        if let Some(saved) = &late.saved {
            self.state.save(saved)?;
        }
        match &*self.order.borrow() {
            Some(order) => self.state.save_order(order)?,
            None => self.state.clear_order()?,
        }
        let ledger = self.view().ledger.clone();
        self.state.save_ledger(&ledger)?;
        self.record(late.before, late.cause)?;
        if let Some(kept) = late.kept {
            self.state.keep(&kept);
        }
        self.late.send_replace(None);
        self.view()
            .warnings
            .retain(|told| !told.begins(STATE_BEHIND) && !told.begins(LACKS));
        info!("the state on disk is no more behind");
        Ok(())
    }
}
