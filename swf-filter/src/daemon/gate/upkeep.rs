//! Looks after what shall stay: the filter on each interface that config.toml names, and the pins that outlive this daemon.
//!
//! Whoever may administer the network, or root, can detach a link, replace the program in it, or remove pins, and no message of the kernel
//! tells of it. So the daemon looks once a second, by what it holds, puts right what it finds, and says what it cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::{Gate, View, lock};
use crate::control::api::PutBack;
use crate::dataplane::{AttachError, Held, Interface, Programs};

/// Between two attempts where another program is in the way: looking costs nothing.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// Where the kernel refuses: some drivers stop their card for an attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// What was found amiss.
#[derive(Default)]
pub(super) struct Upkeep {
    put_back: PutBack,
    /// Interfaces that somebody took the filter off, and that have none since.
    taken_off: BTreeSet<Arc<str>>,
    /// Pins that are not there, and why.
    unpinned: Vec<String>,
    /// Interfaces that could not be attached to.
    refused: BTreeMap<Arc<str>, Refusal>,
}

/// When to try an interface again.
#[derive(Clone, Copy)]
struct Refusal {
    pause: Duration,
    again: Instant,
}

/// Whether all is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Upkept {
    /// An interface has to be attached to.
    Amiss,
    /// Nothing is to be done.
    Well,
}

impl Gate {
    /// Looks once, and makes pins again.
    pub(in crate::daemon) fn look_after(&self) -> Upkept {
        let mut programs = lock(&self.programs);
        let mut view = self.view();
        view.keep_pins(&mut programs);
        let now = Instant::now();
        let is_amiss = |interface: &Interface| match programs.held(interface.index) {
            Held::On => false,
            Held::Replaced | Held::TakenOff => true,
            Held::Nothing => view.upkeep.is_due(&interface.name, now),
        };
        let mut wanted = view.known.iter().filter(|one| view.wants(one));
        if wanted.any(is_amiss) {
            Upkept::Amiss
        } else {
            Upkept::Well
        }
    }
}

impl View {
    /// Whether the filter shall be on an interface.
    pub(super) fn wants(&self, interface: &Interface) -> bool {
        self.config.names(&interface.name) && !self.detached.contains(&interface.name)
    }

    /// Makes pins again, and takes note of those that cannot be made.
    pub(super) fn keep_pins(&mut self, programs: &mut Programs) {
        let look = programs.keep_pins();
        if let [first, more @ ..] = &look.again[..] {
            self.upkeep.put_back.pins += count(look.again.len());
            warn!(
                "somebody removed pins, which are made again: {}{}",
                first.display(),
                and_more(more.len())
            );
        }
        if self.upkeep.unpinned != look.lost {
            for words in &look.lost {
                error!("a pin is lost, or cannot be looked at: {words}");
            }
            self.upkeep.unpinned = look.lost;
        }
    }
}

impl Upkeep {
    /// Takes note that an interface has the filter, which before was as `held` says.
    ///
    /// Gives what to say if somebody had meddled with it.
    pub(super) fn attached(&mut self, interface: &Arc<str>, held: Held) -> Option<&'static str> {
        self.refused.remove(interface);
        let was_off = self.taken_off.remove(interface);
        match held {
            Held::Replaced => {
                self.put_back.programs += 1;
                Some("somebody replaced the program, which is put back")
            }
            Held::TakenOff => {
                self.put_back.filters += 1;
                Some("somebody took the filter off, and it is put back")
            }
            Held::Nothing if was_off => {
                self.put_back.filters += 1;
                Some("somebody had taken the filter off, and it is put back")
            }
            Held::Nothing | Held::On => None,
        }
    }

    /// Takes note that it could not be attached to.
    pub(super) fn refused(&mut self, interface: &Arc<str>, held: Held, error: &AttachError) {
        if matches!(held, Held::Replaced | Held::TakenOff) {
            self.taken_off.insert(Arc::clone(interface));
        }
        let before = self.refused.get(interface).map(|refusal| refusal.pause);
        let pause = match error {
            AttachError::Foreign { .. } => SHORT_PAUSE,
            _ => before.map_or(SHORT_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE)),
        };
        let again = Instant::now() + pause;
        let refusal = Refusal { pause, again };
        self.refused.insert(Arc::clone(interface), refusal);
    }

    /// Forgets interfaces that are not wanted any more.
    pub(super) fn forget(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.taken_off.retain(|name| is_wanted(name));
        self.refused.retain(|name, _| is_wanted(name));
    }

    /// Whether to try an interface that has no filter.
    fn is_due(&self, interface: &str, now: Instant) -> bool {
        let refusal = self.refused.get(interface);
        refusal.is_none_or(|refusal| refusal.again <= now)
    }

    /// What was put back, and what is missing.
    pub(super) fn info(&self) -> PutBack {
        PutBack {
            filters_missing: count(self.taken_off.len()),
            pins_missing: count(self.unpinned.len()),
            ..self.put_back
        }
    }

    /// What the operator should know. `notes` say why an interface has no filter.
    pub(super) fn warnings(&self, notes: &BTreeMap<Arc<str>, String>) -> Vec<String> {
        let off = self.taken_off.iter().map(|name| {
            let why = notes.get(name).map_or("", |why| why);
            format!(
                "somebody took the filter off `{name}`, which is not filtered, and it cannot be put back: {why}"
            )
        });
        let unpinned = self.unpinned.split_first().map(|(first, more)| {
            format!(
                "pins are lost, or cannot be looked at, so that the filter may end with this daemon: {first}{}",
                and_more(more.len())
            )
        });
        off.chain(unpinned).collect()
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn and_more(number: usize) -> String {
    match number {
        0 => String::new(),
        more => format!(", and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn foreign() -> AttachError {
        AttachError::Foreign {
            name: "other".into(),
            id: 7,
        }
    }

    #[test]
    fn what_was_taken_off_is_told_until_it_is_put_back() {
        let mut upkeep = Upkeep::default();
        let eth1: Arc<str> = "eth1".into();
        upkeep.refused(&eth1, Held::TakenOff, &foreign());
        let missing = PutBack {
            filters_missing: 1,
            ..PutBack::default()
        };
        assert_eq!(upkeep.info(), missing);
        let notes = BTreeMap::from([(Arc::clone(&eth1), foreign().to_string())]);
        let [warning] = &upkeep.warnings(&notes)[..] else {
            panic!("one warning");
        };
        assert!(
            warning.contains("`eth1`") && warning.contains("(id 7)"),
            "{warning}"
        );
        // What was missing stays missing, whoever tries again.
        upkeep.refused(&eth1, Held::Nothing, &foreign());
        assert_eq!(upkeep.info(), missing);
        assert!(upkeep.attached(&eth1, Held::Nothing).is_some());
        let back = PutBack {
            filters: 1,
            ..PutBack::default()
        };
        assert_eq!(upkeep.info(), back);
        assert!(upkeep.warnings(&notes).is_empty());
    }

    #[test]
    fn what_never_had_the_filter_was_not_taken_off() {
        let mut upkeep = Upkeep::default();
        let eth1: Arc<str> = "eth1".into();
        upkeep.refused(&eth1, Held::Nothing, &foreign());
        assert_eq!(upkeep.attached(&eth1, Held::Nothing), None);
        assert_eq!(upkeep.attached(&eth1, Held::On), None);
        assert_eq!(upkeep.info(), PutBack::default());
    }

    #[test]
    fn a_kernel_that_refuses_is_asked_less_and_less_often() {
        let mut upkeep = Upkeep::default();
        let eth1: Arc<str> = "eth1".into();
        let start = Instant::now();
        assert!(upkeep.is_due(&eth1, start));
        let refusal = AttachError::Kernel(io::ErrorKind::InvalidInput.into());
        for _ in 0..3 {
            upkeep.refused(&eth1, Held::Nothing, &refusal);
        }
        assert!(!upkeep.is_due(&eth1, start + Duration::from_secs(3)));
        for _ in 0..20 {
            upkeep.refused(&eth1, Held::Nothing, &refusal);
        }
        assert!(upkeep.is_due(&eth1, Instant::now() + LONGEST_PAUSE));
        upkeep.forget(|_| false);
        assert!(upkeep.is_due(&eth1, start));
    }
}
