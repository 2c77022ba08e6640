//! A generation on trial: in force for some time, and then the one before again, unless it is confirmed.
//!
//! What is on trial stands on disk before it is in force, with when it ends. So a daemon that is killed, or a machine that boots
//! again, knows what to undo; a trial that cannot be written down does not begin.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use swf_filter_core::compile::Generation;
use tracing::{error, info, warn};

use super::change::{Cause, Standing};
use super::late::Late;
use super::{Candidate, Gate, Provenance, Publisher, lock, past};
use crate::control::api::{ConfirmReport, Operator, ReloadReport};
use crate::control::server::Audience;
use crate::sources::Sources;
use crate::state::{By, How, Moment, Order, Saved, Trial};

/// How long a trial may last.
const LONGEST: Duration = Duration::from_hours(24);
/// How it begins that a confirmation is not in the history.
pub(super) const LACKS: &str = "the history lacks that generation";

impl Gate {
    /// Brings a text into force for some time.
    pub(in crate::daemon) fn try_out(
        &self,
        sources: Sources,
        length: Duration,
        by: By,
        operator: Option<&Operator>,
    ) -> Result<ReloadReport> {
        ensure!(
            (Duration::from_secs(1)..=LONGEST).contains(&length),
            "a trial lasts a second at least, and {} hours at most",
            LONGEST.as_secs() / 3_600
        );
        let mut publisher = lock(&self.publisher);
        self.ensure_no_trial()?;
        let (loaded, config) = self.load(sources)?;
        self.keep_what_comes_back(&loaded.sources)?;
        let from = (loaded, super::Milliseconds::default());
        let as_what = (Standing::Trial(length), Cause::new(by, How::Try));
        self.bring(&mut publisher, from, config, as_what, operator)
    }

    /// Makes sure that the generation in force is on disk, and is another than the one to be tried.
    fn keep_what_comes_back(&self, tried: &Sources) -> Result<()> {
        let mut view = self.view();
        let (active, (policy, sources)) = view
            .active
            .zip(view.sources.clone())
            .context("no policy is in force that could come back after a trial; reload first")?;
        ensure!(
            policy != tried.hash(),
            "that is in force already, as generation {}",
            active.number
        );
        view.in_force()?;
        let saved = Saved {
            number: active.number,
            after: None,
            since: view.since.as_millisecond(),
            generation: view.generation.clone(),
            sources,
        };
        view.comes_back = Some(saved.clone());
        drop(view);
        let kept = self.state.load(active.number);
        if kept.is_ok_and(|kept| kept.sources == saved.sources) {
            return Ok(());
        }
        self.state.save(&saved).context(
            "nothing was tried: the generation in force is not on disk, and cannot be written there",
        )
    }

    /// Keeps what is in force: for good, if it was on trial.
    pub(in crate::daemon) fn confirm(&self, by: By) -> Result<ConfirmReport> {
        let no_change = lock(&self.publisher);
        let order = self.order.borrow().clone();
        let confirmed = match order {
            None => bail!(
                "nothing is on trial or held, so the policy files decide; `swf-filter rollback {}` has them say what is in force now",
                self.view().info().number
            ),
            // The history may lack it since the first time.
            Some(Order::Held { generation, how }) => (how == How::Confirm).then_some(generation),
            Some(Order::Trial(trial)) => {
                ensure!(
                    trial.left(&Moment::now()?).is_some(),
                    "the trial of generation {} is over",
                    trial.generation
                );
                let order = Order::Held {
                    generation: trial.generation,
                    how: How::Confirm,
                };
                self.state
                    .save_order(&order)
                    .context("the trial goes on, because its end cannot be written to disk")?;
                self.order.send_replace(Some(order));
                self.view().comes_back = None;
                Some(trial.generation)
            }
        };
        let missed = confirmed.and_then(|generation| self.note_confirmation(generation, by));
        drop(no_change);
        let settled = match missed {
            Some(words) => self.settle().context(words),
            None => self.settle(),
        }?
        .settled;
        let view = self.view();
        Ok(ConfirmReport {
            generation: view.info(),
            settled,
            warnings: view.told(Audience::Owners),
        })
    }

    /// Has the history take note of a confirmation. Gives what is to be told if it cannot.
    fn note_confirmation(&self, generation: u64, by: By) -> Option<String> {
        let same = self.view().enforced();
        let cause = Cause::new(by, How::Confirm);
        let noted = self.record(same.clone(), cause.clone());
        // It is noted now, or is told anew.
        self.view().warnings.retain(|told| !told.begins(LACKS));
        let error = noted.err()?;
        let words = format!(
            "{LACKS} {generation} was confirmed, so a later `rollback` would pass it over; mend that: it takes note of it as soon as it can: \
             {error:#}"
        );
        warn!("{words}");
        self.view().warnings.push(words.clone().into());
        self.late.send_modify(|late| match late {
            Some(late) => late.confirm(cause),
            None => *late = Some(Late::new(None, (same, cause), None)),
        });
        Some(words)
    }

    /// Ends the trial that is under way, if its time is up.
    pub(in crate::daemon) fn end_trial(&self) -> Result<()> {
        let mut publisher = lock(&self.publisher);
        let order = self.order.borrow().clone();
        let Some(Order::Trial(trial)) = order else {
            return Ok(());
        };
        // It may have been confirmed, and another begun, in the meantime.
        if trial.left(&Moment::now()?).is_some() {
            return Ok(());
        }
        self.revert(&mut publisher, &trial, By::timer())?;
        drop(publisher);
        self.settle_or_tell();
        Ok(())
    }

    /// A change is made, whether or not the disk takes note that the files say it.
    fn settle_or_tell(&self) {
        if let Err(error) = self.settle() {
            warn!("what is in force stays held, whatever the policy files say: {error:#}");
        }
    }

    /// Brings back the generation before a trial.
    pub(super) fn revert(
        &self,
        publisher: &mut Publisher,
        trial: &Trial,
        by: By,
    ) -> Result<ReloadReport> {
        let (generation, sources) = self.what_comes_back(trial.before)?;
        let config = self.view().config.clone();
        let candidate = Candidate {
            generation,
            sources: Some(sources),
            from: Provenance::Text,
            standing: Standing::Held,
            cause: Cause::new(by, How::Revert).again(trial.before),
        };
        let (changed, milliseconds) = self.publish(publisher, candidate, config)?;
        self.view().comes_back = None;
        info!(
            generation = trial.generation,
            "the trial is over: generation {} is in force again", trial.before
        );
        let view = self.view();
        Ok(ReloadReport {
            changed,
            generation: view.info(),
            milliseconds,
            doubts: crate::report::Report::default(),
            trial: None,
            warnings: view.told(Audience::Owners),
        })
    }

    /// A generation as this daemon still knows it, or as it was saved, or if that is lost, as its text is compiled now.
    pub(super) fn what_comes_back(&self, number: u64) -> Result<(Arc<Generation>, Arc<Sources>)> {
        let known = self.view().comes_back.clone();
        if let Some(known) = known.filter(|known| known.number == number) {
            return Ok((known.generation, known.sources));
        }
        let lost = match self.state.load(number) {
            Ok(saved) => return Ok((saved.generation, saved.sources)),
            Err(error) => error,
        };
        warn!("generation {number} is compiled again from the history: {lost:#}");
        let records = self.state.history()?;
        let text = self
            .state
            .load_text(&past::that(&records, number)?.policy)?;
        let (loaded, _) = self.load(text)?;
        Ok((Arc::new(loaded.compile()?), Arc::new(loaded.sources)))
    }

    /// Brings into force what the state on disk orders. Whether it orders anything.
    pub(super) fn resume(&self) -> bool {
        let order = match self.state.load_order() {
            Ok(Some(order)) => order,
            Ok(None) => return false,
            Err(error) => {
                warn!("what was ordered before is lost, and the policy files are read: {error:#}");
                return false;
            }
        };
        let newest = order.generation();
        let pinned = self.view().active.map(|active| active.number);
        if let Some(pinned) = pinned.filter(|pinned| *pinned > newest) {
            // Whoever brought it into force could not write that down.
            let words = format!(
                "generation {pinned} was pinned by an earlier daemon, and is newer than what the state on disk orders; it stays in force, and \
                 `swf-filter reload` takes what the policy files say"
            );
            warn!("{words}");
            self.view().warnings = vec![words.into()];
            return true;
        }
        let resumed = self.obey(order);
        if let Err(error) = &resumed {
            error!(
                "what was ordered before cannot be done, and the policy files are read: {error:#}"
            );
            self.order.send_replace(None);
        }
        resumed.is_ok()
    }

    fn obey(&self, order: Order) -> Result<()> {
        let trial = match &order {
            Order::Held { generation, how } => {
                let (generation, how) = (*generation, *how);
                self.order.send_replace(Some(order));
                self.enforce(generation, Cause::new(By::start(), how))?;
                // Files that say the same by now may speak again.
                self.settle_or_tell();
                return Ok(());
            }
            Order::Trial(trial) => trial.clone(),
        };
        self.order.send_replace(Some(order));
        let left = trial.left(&Moment::now()?);
        if let Some(left) = left {
            let cause = Cause::new(trial.by.clone(), How::Try);
            match self.enforce(trial.generation, cause) {
                Ok(()) => {
                    info!(generation = trial.generation, ?left, "the trial goes on");
                    return Ok(());
                }
                Err(error) => error!("the trial cannot go on: {error:#}"),
            }
        }
        self.revert(&mut lock(&self.publisher), &trial, By::start())?;
        self.settle_or_tell();
        Ok(())
    }

    /// Enforces a generation of the state on disk.
    fn enforce(&self, number: u64, cause: Cause) -> Result<()> {
        let saved = self.state.load(number)?;
        let config = self.view().config.clone();
        let candidate = Candidate {
            generation: saved.generation,
            sources: Some(saved.sources),
            from: Provenance::Disk(number),
            standing: Standing::Ordered,
            cause,
        };
        self.publish(&mut lock(&self.publisher), candidate, config)
            .map(drop)
    }
}
