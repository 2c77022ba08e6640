//! What is in force when the daemon starts: what is ordered, what the files say, or what is left of either.

use std::sync::Arc;

use anyhow::{Result, ensure};
use swf_filter_common::abi::Count;
use swf_filter_core::compile::{compile, drop_everything};
use swf_filter_core::policy::{Origin, Policy};
use tracing::{error, info, warn};

use super::change::{Cause, Standing};
use super::warning::Warning;
use super::{Candidate, Gate, Provenance, lock};
use crate::config::OnBootFailure;
use crate::dataplane::Active;
use crate::report::Rejected;
use crate::state::{By, How, Ledger, RuleKey, Saved};

impl Gate {
    /// Brings a generation into force: the one that is ordered, or the files', or if they are wrong the pinned one, the last good
    /// one, or none.
    pub(in crate::daemon) fn start(&self) -> Result<()> {
        lock(&self.programs).pin()?;
        self.state.remove_unfinished();
        let pinned = lock(&self.publisher).active();
        match pinned {
            Some(active) => {
                self.forget_unused(active);
                self.adopt(active);
            }
            None => self.view().ledger = Ledger::new(self.counters.life(), 0),
        }
        if self.resume() {
            return Ok(());
        }
        let Err(reason) = self.reload(By::start(), None) else {
            return Ok(());
        };
        if let Some(active) = pinned {
            error!(
                generation = active.number,
                "the policy cannot be loaded, the pinned generation stays in force: {reason:#}"
            );
            let words = format!(
                "generation {} was pinned by an earlier daemon, and the files cannot be loaded since",
                active.number
            );
            self.view().warnings = vec![Warning::because(&words, &reason)];
            return Ok(());
        }
        match self.state.newest() {
            Some(saved) => self.boot_with_last_good(saved, &reason),
            None => self.boot_without_policy(reason),
        }
    }

    /// Removes a generation that an earlier daemon wrote, and neither ordered nor enforced before it was killed. A later boot would take it
    /// for the last good one.
    fn forget_unused(&self, active: Active) {
        let next = active.number + 1;
        let is_ordered = match self.state.load_order() {
            Ok(order) => order.is_some_and(|order| order.generation() == next),
            // It may name this one, and be read at the next start.
            Err(_unreadable) => true,
        };
        // Another number says nothing: an older version's pins may be behind what was enforced since.
        let comes_next = |saved: Saved| saved.after == Some(active.number);
        if !is_ordered
            && self.state.highest() == Some(next)
            && self.state.load(next).is_ok_and(comes_next)
        {
            info!(
                generation = next,
                "it was written by an earlier daemon, and never enforced: it is removed"
            );
            self.state.forget(next);
        }
    }

    /// Takes over what the kernel enforces, with what is on disk about it.
    fn adopt(&self, active: Active) {
        info!(generation = active.number, "adopting the pinned generation");
        let saved = self.state.load(active.number).and_then(|saved| {
            ensure!(
                saved.generation.hash() == active.hash,
                "the one on disk is another"
            );
            Ok(saved)
        });
        let saved = saved
            .inspect_err(|error| {
                warn!(
                    generation = active.number,
                    "it is enforced, and its rules have no names until the files are read: {error:#}"
                );
            })
            .ok();
        let ledger = self.ledger_of(active, saved.as_ref());
        let mut view = self.view();
        view.active = Some(active);
        view.ledger = ledger;
        if let Some(saved) = saved {
            view.since = saved.since();
            view.generation = saved.generation;
            view.sources = Some((saved.sources.hash(), saved.sources));
        }
        self.announce(&view);
    }

    /// The ledger on disk, brought up to the generation in force.
    fn ledger_of(&self, active: Active, saved: Option<&Saved>) -> Ledger {
        let life = self.counters.life();
        let ledger = self.state.load_ledger();
        let ledger = self
            .view()
            .or_lost("what rules counted in earlier generations", ledger);
        let Some(mut ledger) = ledger.filter(|ledger| ledger.is_of(life)) else {
            return Ledger::new(life, active.number);
        };
        if ledger.before() != active.number
            && let Some(saved) = saved
        {
            // An earlier daemon died between the flip and the ledger: the old slot still has the counts.
            let counts = self.uncounted(active, saved, ledger.before());
            let what = format!("what rules counted after generation {}", ledger.before());
            let counts = self.view().or_lost(&what, counts);
            ledger.fold(counts, active.number, &saved.generation);
        }
        ledger
    }

    /// What rules of generation `number`, which the ledger ends at, counted until another took its place.
    fn uncounted(
        &self,
        active: Active,
        saved: &Saved,
        number: u64,
    ) -> Result<Vec<(RuleKey, Count)>> {
        ensure!(
            saved.after == Some(number),
            "the ledger ends there, and generation {} did not come right after it",
            active.number
        );
        let previous = self.state.load(number)?;
        self.counts(1 - active.slot, &previous.generation)
    }

    /// Enforces the newest generation on disk.
    fn boot_with_last_good(&self, saved: Saved, reason: &anyhow::Error) -> Result<()> {
        let words = format!(
            "the policy cannot be loaded; generation {} of {:.0}, the last good one, is enforced until a reload",
            saved.number,
            saved.since()
        );
        error!(generation = saved.number, "{words}: {reason:#}");
        let config = self.view().config.clone();
        let candidate = Candidate {
            generation: saved.generation,
            sources: Some(saved.sources),
            from: Provenance::Disk(saved.number),
            standing: Standing::Ordered,
            cause: Cause::new(By::start(), How::Reload),
        };
        self.publish(&mut lock(&self.publisher), candidate, config)?;
        let warning = Warning::because(&words, reason);
        self.view().warnings.push(warning);
        Ok(())
    }

    /// Does what config.toml wants where the files are wrong and nothing is pinned.
    fn boot_without_policy(&self, reason: anyhow::Error) -> Result<()> {
        let config = self.view().config.clone();
        let generation = match config.on_boot_failure {
            OnBootFailure::Refuse => return Err(reason),
            OnBootFailure::Drop => drop_everything(
                config.always_allow.clone(),
                Origin {
                    file: config.path.to_string_lossy().into(),
                    line: 1,
                    column: 1,
                },
            )
            .map_err(Rejected::TooLarge)?,
            OnBootFailure::Pass => compile(&Policy::default()).map_err(Rejected::TooLarge)?,
        };
        let does = match config.on_boot_failure {
            OnBootFailure::Drop => "everything but always_allow is dropped",
            OnBootFailure::Refuse | OnBootFailure::Pass => "everything passes",
        };
        error!("the policy cannot be loaded, and until a reload {does}: {reason:#}");
        let candidate = Candidate {
            generation: Arc::new(generation),
            sources: None,
            from: Provenance::Nothing,
            standing: Standing::Ordered,
            cause: Cause::new(By::start(), How::Reload),
        };
        self.publish(&mut lock(&self.publisher), candidate, config)?;
        let words = format!("the policy could not be loaded at start, and until a reload {does}");
        self.view().warnings = vec![Warning::because(&words, &reason)];
        Ok(())
    }
}
