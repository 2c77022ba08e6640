//! What a change leaves behind: an order for the next start, and a record of who changed what.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use swf_filter_core::compile::{Generation, HostDifference, difference};
use swf_filter_core::policy::limits;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Candidate, Gate, Provenance, View, lock};
use crate::config::Config;
use crate::control::api::{Operator, ReloadReport, SettleReport, TrialInfo};
use crate::control::server::Audience;
use crate::dataplane::Active;
use crate::explain::to_hex;
use crate::files::{self, Loaded};
use crate::sources::Sources;
use crate::state::{
    By, Change, How, Moment, Order, Record, RuleKey, Saved, Tally, Trial, is_damage, keys,
};

/// Prefixes that are compared at most to say how many change.
const MOST_COUNTED: usize = 100_000;

/// Who makes a change, and how.
#[derive(Clone)]
pub(super) struct Cause {
    by: By,
    how: How,
    /// The earlier generation that comes back.
    again: Option<u64>,
}

/// What a start of the daemon is to make of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It reads the files.
    Files,
    /// It enforces it again, whatever the files say.
    Held,
    /// What was ordered before.
    Ordered,
    /// It enforces it again as long as it is tried, and then the one before.
    Trial(Duration),
}

/// What was written before a generation takes effect.
pub(super) struct Ahead {
    /// What the next start is to do.
    pub(super) order: Option<Order>,
    /// What it was to do before.
    pub(super) earlier: Option<Order>,
    /// The generation, if it was to be written.
    pub(super) saved: Option<Saved>,
    /// Whether all that is on disk.
    pub(super) on_disk: Result<()>,
}

impl Cause {
    pub(super) fn new(by: By, how: How) -> Self {
        Self {
            by,
            how,
            again: None,
        }
    }

    /// For an earlier generation that comes back.
    pub(super) fn again(self, generation: u64) -> Self {
        Self {
            again: Some(generation),
            ..self
        }
    }
}

impl Gate {
    /// Brings a text into force that the files are to say soon.
    pub(in crate::daemon) fn apply(
        &self,
        sources: Sources,
        by: By,
        operator: Option<&Operator>,
    ) -> Result<ReloadReport> {
        let mut publisher = lock(&self.publisher);
        self.ensure_no_trial()?;
        let (loaded, config) = self.load(sources)?;
        let from = (loaded, super::Milliseconds::default());
        let as_what = (Standing::Held, Cause::new(by, How::Apply));
        self.bring(&mut publisher, from, config, as_what, operator)
    }

    /// Checks a text, with the settings in force. Whom no policy can lock out is for these to say, and not for the text. Sets that follow
    /// their files have what those hold now, if it is right: they would a moment later.
    pub(super) fn load(&self, mut sources: Sources) -> Result<(Loaded, Config)> {
        let config = self.view().config.clone();
        sources.always_allow.clone_from(&config.always_allow);
        let now = sources.with_followed(|path| files::read_limited(path, limits::SET_FILE).ok());
        let loaded = Loaded::of(now).or_else(|_wrong| Loaded::of(sources))?;
        Ok((loaded, config))
    }

    /// Lets the files speak again where they say what is in force. Whether they do, and which generation that is.
    pub(in crate::daemon) fn settle(&self) -> Result<SettleReport> {
        let _no_change = lock(&self.publisher);
        let generation = self.view().info().number;
        let order = self.order.borrow().clone();
        let settled = match order {
            None => true,
            Some(Order::Held { .. }) if self.files_agree() => {
                self.state.clear_order()?;
                self.order.send_replace(None);
                true
            }
            Some(_) => false,
        };
        Ok(SettleReport {
            settled,
            generation,
        })
    }

    /// Whether the files say what is in force, word by word but for followed sets.
    fn files_agree(&self) -> bool {
        let Some((policy, sources)) = self.view().sources.clone() else {
            return false;
        };
        let in_force = |path: &Path| sources.named(&path.to_string_lossy()).cloned();
        let config = Config::load(&self.path);
        let loaded =
            config.and_then(|config| files::load(&config.paths.policy, &config.always_allow));
        loaded.is_ok_and(|loaded| loaded.sources.with_followed(in_force).hash() == policy)
    }

    /// What shall be in force where the files do not say it, and each that will be.
    pub(in crate::daemon) fn orders(&self) -> watch::Receiver<Option<Order>> {
        self.order.subscribe()
    }

    /// Whether a text needs a number of its own, though it means the same to packets: so that the one before can come back.
    pub(super) fn needs_a_number(&self, standing: Standing, sources: Option<&Sources>) -> bool {
        let is_apart = matches!(standing, Standing::Held | Standing::Trial(_));
        let known = self.view().sources.as_ref().map(|(hash, _)| hash.clone());
        is_apart && sources.map(Sources::hash) != known
    }

    /// Writes what a start needs to go on with generation `number`, before it takes effect: the generation, and what it is to make of it.
    ///
    /// A disk that cannot be written is no reason not to change a policy. But a trial that the disk does not know of would not end.
    pub(super) fn write_ahead(
        &self,
        candidate: &Candidate,
        number: u64,
        active: Option<Active>,
        changed: bool,
    ) -> Result<Ahead> {
        let standing = candidate.standing;
        let before = active.map(|active| active.number);
        let order = self.order_for(standing, (number, before), &candidate.cause)?;
        let earlier = self.order.borrow().clone();
        let sources = candidate.sources.as_ref();
        let sources = sources.filter(|_| candidate.from == Provenance::Text);
        let saved = sources.map(|sources| Saved {
            number,
            after: before.filter(|_| changed),
            since: self.since(changed).as_millisecond(),
            generation: Arc::clone(&candidate.generation),
            sources: Arc::clone(sources),
        });
        let is_saved = saved.as_ref().map(|saved| self.state.save(saved));
        let on_disk = self.write_order(standing, order.as_ref(), is_saved.unwrap_or(Ok(())));
        if let (Standing::Trial(_), Err(error)) = (standing, &on_disk) {
            let words = format!(
                "nothing was tried: the state on disk cannot be written, so a restart would not end the trial: {error:#}"
            );
            self.restore_order(standing, earlier.as_ref());
            self.state.forget(number);
            bail!("{words}");
        }
        Ok(Ahead {
            order,
            earlier,
            saved,
            on_disk,
        })
    }

    /// What a start is to do once generation `number` has replaced `before`.
    fn order_for(
        &self,
        standing: Standing,
        (number, before): (u64, Option<u64>),
        cause: &Cause,
    ) -> Result<Option<Order>> {
        Ok(match standing {
            Standing::Files => None,
            Standing::Held => Some(Order::Held {
                generation: number,
                how: cause.how,
            }),
            Standing::Ordered => self.order.borrow().clone(),
            Standing::Trial(length) => {
                let before = before.context("nothing is in force to come back to")?;
                let ends = Timestamp::now() + SignedDuration::try_from(length)?;
                let ends = format!("{ends:.0}");
                let by = cause.by.clone();
                let now = Moment::now()?;
                let trial = Trial::new([number, before], length, ends, by, &now);
                Some(Order::Trial(trial))
            }
        })
    }

    /// Writes an order for a generation that was saved.
    fn write_order(
        &self,
        standing: Standing,
        order: Option<&Order>,
        saved: Result<()>,
    ) -> Result<()> {
        match (standing, order) {
            (Standing::Ordered, _) => saved,
            (_, None) => {
                // Also where the generation could not be saved: files are to be read that can be.
                let cleared = self.state.clear_order();
                saved.and(cleared)
            }
            (_, Some(order)) => saved.and_then(|()| self.state.save_order(order)),
        }
    }

    /// Writes the order of before again, after what was ordered could not be done.
    pub(super) fn restore_order(&self, standing: Standing, earlier: Option<&Order>) {
        if let Err(error) = self.write_order(standing, earlier, Ok(())) {
            warn!("the state on disk orders what could not be done: {error:#}");
        }
    }

    /// Takes note of what is in force, on disk and in the log, unless that was the last thing to be noted: after a crash, or over a disk
    /// that could not be written, that may be late.
    ///
    /// `before` is what this daemon enforced until then, with the hash of its text.
    pub(super) fn record(
        &self,
        before: Option<(Arc<Generation>, String)>,
        cause: Cause,
    ) -> Result<()> {
        let (after, number, (policy, sources), most) = {
            let view = self.view();
            let Some((active, now)) = view.active.zip(view.sources.clone()) else {
                return Ok(());
            };
            (
                view.generation.clone(),
                active.number,
                now,
                view.config.history,
            )
        };
        // `remember` says why it cannot be read, and what comes of that.
        let records = self.state.history().unwrap_or_default();
        let last = records.last();
        let Cause { by, how, again } = cause;
        let is_noted = last.is_some_and(|last| {
            // That something is tried does not say that it stays.
            let says_as_much = last.how != How::Try || how == How::Try;
            (last.generation, &last.policy) == (number, &policy) && says_as_much
        });
        if is_noted {
            return Ok(());
        }
        let mut before = before.filter(|(_, text)| *text != policy);
        let mut is_same_text = before.is_none() && last.is_some_and(|last| last.policy == policy);
        if before.is_none() && !is_same_text {
            // After a boot, or where this is late, only the disk knows what there was.
            let there = last.and_then(|last| self.what_comes_back(last.generation).ok());
            before = there.map(|(generation, sources)| (generation, sources.hash()));
            is_same_text = before.as_ref().is_some_and(|(_, text)| *text == policy);
        }
        info!(
            generation = number,
            how = how.name(),
            by = by.name(),
            uid = by.uid,
            user = by.user.as_deref(),
            again,
            "policy changed"
        );
        let before = before.map(|(generation, _)| generation).unwrap_or_default();
        let record = Record {
            generation: number,
            time: format!("{:.3}", Timestamp::now()),
            by,
            how,
            again,
            hash: to_hex(&after.hash().0),
            policy,
            change: if is_same_text {
                Change::default()
            } else {
                change(&before, &after)
            },
        };
        let most = usize::try_from(most)?;
        let begun_anew = self.state.remember(record, &sources, most)?;
        let begun_anew = begun_anew.map(Into::into);
        self.view().warnings.extend(begun_anew);
        Ok(())
    }

    /// Refuses to change what is tried.
    pub(super) fn ensure_no_trial(&self) -> Result<()> {
        // One whose time is up blocks nothing, should it not be possible to end it.
        if let Some(trial) = self.trial().filter(|trial| trial.seconds_left > 0) {
            bail!(
                "generation {} is on trial for another {} s; first `swf-filter confirm` keeps it, or `swf-filter rollback` ends it",
                trial.generation,
                trial.seconds_left
            );
        }
        Ok(())
    }

    /// The trial that is under way.
    pub(super) fn trial(&self) -> Option<TrialInfo> {
        let Some(Order::Trial(trial)) = &*self.order.borrow() else {
            return None;
        };
        let left = Moment::now().ok().and_then(|now| trial.left(&now));
        let left = left.unwrap_or_default();
        Some(TrialInfo {
            generation: trial.generation,
            before: trial.before,
            ends: trial.ends.clone(),
            // Not zero as long as it is not over.
            seconds_left: left.as_secs() + u64::from(left.subsec_nanos() > 0),
            by: trial.by.clone(),
        })
    }

    /// How the generation in force came to be held.
    pub(super) fn held(&self) -> Option<How> {
        match &*self.order.borrow() {
            Some(Order::Held { how, .. }) => Some(*how),
            _ => None,
        }
    }

    /// What the operator should know of the history.
    pub(super) fn lost_history(&self) -> Option<String> {
        let error = self.state.history().err()?;
        let then = if is_damage(&error) {
            ", and the next change begins it anew"
        } else {
            " until it can, and changes are missing in it meanwhile"
        };
        Some(format!(
            "the history cannot be read: there is no way back to what is in it{then}: {error:#}"
        ))
    }

    /// What the operator should know.
    pub(super) fn warnings(&self, view: &View, audience: Audience) -> Vec<String> {
        let trial = self.trial().map(|trial| {
            format!(
                "generation {} is on trial, by {}: in {} s generation {} comes back, unless `swf-filter confirm` keeps it",
                trial.generation,
                trial.by.name(),
                trial.seconds_left,
                trial.before
            )
        });
        let held = self.held().map(|how| {
            format!(
                "what is in force came by {}, and the policy files may say something else, also after a restart: `swf-filter reload` takes \
                 what they say, `swf-filter confirm` writes what is in force into them; until then, sets do not follow their files",
                how.name()
            )
        });
        let orders = trial.into_iter().chain(held);
        let others = view.told(audience).into_iter().chain(view.lost.clone());
        let others = others.chain(view.stale(audience));
        let others = others.chain(view.upkeep.warnings(&view.notes));
        orders.chain(others).collect()
    }
}

/// How much of a generation is another than before.
fn change(before: &Generation, after: &Generation) -> Change {
    let mut change = Change::default();
    let (difference, more) = difference(before, after, MOST_COUNTED);
    for host in &difference.hosts {
        match host {
            HostDifference::Added { .. } => change.hosts.added += 1,
            HostDifference::Removed { .. } => change.hosts.removed += 1,
            HostDifference::Changed { prefixes, .. } => {
                change.hosts.changed += 1;
                for row in prefixes {
                    match (&row.before, &row.after) {
                        (None, _) => change.prefixes.added += 1,
                        (_, None) => change.prefixes.removed += 1,
                        _ => change.prefixes.changed += 1,
                    }
                }
            }
        }
    }
    change.more = more;
    change.rules = rules(before, after);
    change
}

fn rules(before: &Generation, after: &Generation) -> Tally {
    let mut there: HashMap<RuleKey, bool> =
        keys(before).into_iter().map(|key| (key, false)).collect();
    let mut tally = Tally::default();
    for key in keys(after) {
        match there.get_mut(&key) {
            Some(stays) => *stays = true,
            None => tally.added += 1,
        }
    }
    tally.removed = there.into_values().filter(|stays| !stays).count();
    tally
}

#[cfg(test)]
mod tests {
    use swf_filter_core::compile::compile;
    use swf_filter_core::policy::{SourceFile, parse};

    use super::*;

    fn generation(allow: &str, more: &str) -> Generation {
        let text = format!(
            "version = 1\n[[host]]\nname = \"a\"\naddresses = [\"198.51.100.1\"]\nallow = [{allow}]\n{more}"
        );
        let file = SourceFile {
            name: "a.toml".into(),
            bytes: text.as_bytes().into(),
        };
        let policy = parse(&[file], &mut |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        compile(&policy).unwrap()
    }

    fn tally(added: usize, removed: usize, changed: usize) -> Tally {
        Tally {
            added,
            removed,
            changed,
        }
    }

    #[test]
    fn what_changes_is_counted() {
        let one = generation("\"192.0.2.0/24\", \"203.0.113.0/24\"", "");
        let two = generation(
            "\"192.0.2.0/24\", \"198.18.0.0/15\", \"10.0.0.0/8\"",
            "[[host]]\nname = \"b\"\naddresses = [\"198.51.100.2\"]\n",
        );
        let there = change(&one, &two);
        assert_eq!(there.hosts, tally(1, 0, 1));
        assert_eq!(there.prefixes, tally(2, 1, 0));
        // The new host has a default.
        assert_eq!(there.rules, tally(3, 1, 0));
        let back = change(&two, &one);
        assert_eq!(back.hosts, tally(0, 1, 1));
        assert_eq!(back.prefixes, tally(1, 2, 0));
        assert_eq!(back.rules, tally(1, 3, 0));
        assert_eq!(change(&one, &one), Change::default());
    }
}
