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
    /// The generations that are then needed.
    kept: Vec<u64>,
}

impl Late {
    /// Of a change that brought a generation into force, or kept it there.
    pub(super) fn new(
        saved: Option<Saved>,
        (before, cause): (Before, Cause),
        kept: [u64; 2],
    ) -> Self {
        Self {
            saved,
            before,
            cause,
            kept: kept.into(),
        }
    }

    /// Of a change that the history alone lacks.
    pub(super) fn of_history(before: Before, cause: Cause) -> Self {
        Self {
            saved: None,
            before,
            cause,
            kept: Vec::new(),
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
        if late.saved.is_some() {
            self.state.keep(&late.kept);
        }
        self.late.send_replace(None);
        self.view()
            .warnings
            .retain(|told| !told.begins(STATE_BEHIND) && !told.begins(LACKS));
        info!("the state on disk is no more behind");
        Ok(())
    }
}
