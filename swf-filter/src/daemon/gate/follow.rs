//! Followed set files: what another program writes comes into force without a reload.
//!
//! Only the text of that file is replaced, in the sources that are in force. Policy files that somebody is editing are not read: a timer
//! must not bring half a change into force. What is refused leaves everything as it was, and `status` says so until the file is right.
//!
//! Files are looked at once a second, by name. Notifications of the kernel were rejected: they are about inodes, so renames, links and
//! directories that are not there yet would each need care, and network file systems send none.

use std::sync::Arc;

use swf_filter_core::policy::{Followed, limits};
use tracing::{info, warn};

use super::change::{Cause, Standing};
use super::warning::Warning;
use super::{Candidate, Gate, Provenance, STATE_BEHIND, View, lock};
use crate::control::server::Audience;
use crate::files::{Loaded, Stamp, read_limited};
use crate::report::{Rejected, Shown, for_others, visible};
use crate::sources::Sources;
use crate::state::{By, How};

/// Looks at followed files, and remembers what it has seen.
#[derive(Default)]
pub(in crate::daemon) struct Follower {
    /// The hash of the sources whose files are followed.
    policy: Option<String>,
    files: Vec<Watched>,
}

/// A followed file.
struct Watched {
    followed: Followed,
    /// As it was when it was looked at last.
    seen: Option<Stamp>,
    /// As it was when it was read last.
    read: Option<Stamp>,
}

/// What came of a change.
enum Outcome {
    /// It is in force, and the sources have this hash.
    Applied(String),
    /// Other sources are in force meanwhile, or what the files do not say: it waits.
    Late,
}

impl Follower {
    /// Looks once, and brings what has changed into force. Blocks.
    pub(in crate::daemon) fn look(&mut self, gate: &Gate) {
        let Some((policy, sources)) = gate.view().sources.clone() else {
            return;
        };
        if self.policy.as_ref() != Some(&policy) {
            self.start(gate, policy, &sources);
        }
        for watched in &mut self.files {
            let Some(stamp) = watched.settled() else {
                continue;
            };
            let path = &watched.followed.path;
            let read = read_limited(path, limits::SET_FILE);
            if Stamp::of(path) != stamp {
                // It is being written right now.
                continue;
            }
            watched.read = Some(stamp);
            let Some(base) = &self.policy else {
                return;
            };
            let text = match read {
                Ok(text) => text,
                Err(error) => {
                    // What keeps it from being read may pass, and leave no trace in the file.
                    watched.read = None;
                    gate.refuse(&watched.followed, &error.into());
                    continue;
                }
            };
            match gate.replace(base, &watched.followed, &text) {
                Ok(Outcome::Applied(policy)) => self.policy = Some(policy),
                Ok(Outcome::Late) => {
                    watched.read = None;
                    return;
                }
                Err(error) => {
                    if !error.is::<Rejected>() {
                        // The kernel's doing, and not the file's.
                        watched.read = None;
                    }
                    gate.refuse(&watched.followed, &error);
                }
            }
        }
    }

    /// Follows the files of other sources.
    fn start(&mut self, gate: &Gate, policy: String, sources: &Sources) {
        let followed = sources.followed().into_iter();
        self.files = followed
            .map(|followed| Watched {
                followed,
                seen: None,
                read: None,
            })
            .collect();
        self.policy = Some(policy);
        gate.view().stale.clear();
    }
}

impl Watched {
    /// The file's stamp, if it is not what was read last and has been the same for a whole look.
    ///
    /// Whoever writes in place is so waited for; whoever pauses longer in the middle should write beside it and rename.
    fn settled(&mut self) -> Option<Stamp> {
        let now = Some(Stamp::of(&self.followed.path));
        let before = std::mem::replace(&mut self.seen, now);
        now.filter(|_| now == before && now != self.read)
    }
}

impl Gate {
    /// Brings another text of a set file into force, if the sources in force are still those of `base`, and the files
    /// say the rest of them.
    fn replace(
        &self,
        base: &str,
        followed: &Followed,
        text: &Arc<[u8]>,
    ) -> anyhow::Result<Outcome> {
        let mut publisher = lock(&self.publisher);
        if self.order.borrow().is_some() {
            return Ok(Outcome::Late);
        }
        let (config, sources) = {
            let view = self.view();
            let Some((hash, sources)) = view.sources.as_ref().filter(|(hash, _)| hash == base)
            else {
                return Ok(Outcome::Late);
            };
            let name = followed.path.to_string_lossy();
            if sources.named(&name) == Some(text) {
                let hash = hash.clone();
                drop(view);
                self.accept(followed);
                return Ok(Outcome::Applied(hash));
            }
            (view.config.clone(), sources.with(&name, text))
        };
        let loaded = Loaded::of(sources)?;
        let candidate = Candidate {
            generation: Arc::new(loaded.compile()?),
            sources: Some(Arc::new(loaded.sources)),
            from: Provenance::Text,
            standing: Standing::Files,
            cause: Cause::new(By::file(), How::Follow),
        };
        // Warnings are about files that were not loaded, and still are not.
        let before = std::mem::take(&mut self.view().warnings);
        let outcome = self.publish(&mut publisher, candidate, config);
        let mut view = self.view();
        let kept = before
            .into_iter()
            .filter(|warning| !warning.begins(STATE_BEHIND));
        view.warnings.splice(0..0, kept);
        outcome?;
        let hash = view.sources.as_ref().map(|(hash, _)| hash.clone());
        drop(view);
        info!(set = %followed.set, "the set follows its file");
        self.accept(followed);
        Ok(hash.map_or(Outcome::Late, Outcome::Applied))
    }

    /// Takes note that a file is right.
    fn accept(&self, followed: &Followed) {
        self.view().stale.remove(&followed.path);
    }

    /// Takes note that a file is wrong. Says it once for each way in which it is.
    fn refuse(&self, followed: &Followed, error: &anyhow::Error) {
        let words = format!(
            "set `{}` does not follow `{}`, and what it held before stays in force",
            followed.set,
            visible(&followed.path.to_string_lossy())
        );
        let warning = Warning::apart(&words, &why(error), &for_others(error));
        let mut view = self.view();
        if view.stale.get(&followed.path) != Some(&warning) {
            warn!("{}", warning.to(Audience::Owners));
            view.stale.insert(followed.path.clone(), warning);
        }
    }
}

impl View {
    /// What is to be said of followed files.
    pub(super) fn stale(&self, audience: Audience) -> Vec<String> {
        let stale = self.stale.values();
        stale
            .map(|warning| warning.to(audience).to_owned())
            .collect()
    }
}

/// In a line, why a change is refused.
fn why(error: &anyhow::Error) -> String {
    let Some(Rejected::Problems(report)) = error.downcast_ref() else {
        return format!("{error:#}");
    };
    let first = report.problems.first();
    let first = first.map_or_else(|| "it is refused".to_owned(), Shown::line);
    match report.problems.len().saturating_sub(1) + report.more {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}
