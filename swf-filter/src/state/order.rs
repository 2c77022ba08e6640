//! Which generation shall be in force, where that is not for the policy files to say: one on trial, or one that is held.
//!
//! An order is written before the flip that it is about, so that a start after any crash does what was meant. Without an order,
//! a start reads the policy files.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::history::{By, How};
use super::{State, read_small, write};

/// What tells this boot from all others (`random(4)`).
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Which generation shall be in force, whatever the policy files say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// A generation until the next reload.
    Held {
        /// Its number.
        generation: u64,
        /// How that came.
        how: How,
    },
    /// A generation for some time.
    Trial(Trial),
}

/// A generation that is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number.
    pub generation: u64,
    /// The one that comes back.
    pub before: u64,
    /// When it ends, RFC 3339. For people: the clock may be set meanwhile.
    pub ends: String,
    /// Who tries it.
    pub by: By,
    /// When it ends, in milliseconds since boot.
    deadline: u64,
    /// Milliseconds that it lasts at most.
    length: u64,
    /// The boot that this counts from.
    boot: String,
}

/// A time that nobody can set: how long after which boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    boot: String,
    /// Milliseconds since then, those asleep included.
    uptime: u64,
}

impl Moment {
    /// Now.
    pub fn now() -> Result<Self> {
        let boot = fs::read_to_string(BOOT).with_context(|| format!("cannot read {BOOT}"))?;
        let now = clock_gettime(ClockId::Boottime);
        let since = Duration::try_from(now).context("the clock runs backwards")?;
        Ok(Self {
            boot: boot.trim_end().to_owned(),
            uptime: milliseconds(since),
        })
    }
}

impl Order {
    /// The generation that shall be in force.
    #[must_use]
    pub fn generation(&self) -> u64 {
        match self {
            Self::Held { generation, .. } => *generation,
            Self::Trial(trial) => trial.generation,
        }
    }
}

impl Trial {
    /// One that begins now.
    #[must_use]
    pub fn new(
        [generation, before]: [u64; 2],
        length: Duration,
        ends: String,
        by: By,
        now: &Moment,
    ) -> Self {
        let length = milliseconds(length);
        Self {
            generation,
            before,
            ends,
            by,
            deadline: now.uptime.saturating_add(length),
            length,
            boot: now.boot.clone(),
        }
    }

    /// How long it still lasts; none if it is over.
    ///
    /// A reboot ends it: whoever is locked out may have no other way back, and no clock tells reliably how long it took.
    #[must_use]
    pub fn left(&self, now: &Moment) -> Option<Duration> {
        let left = self.deadline.saturating_sub(now.uptime).min(self.length);
        (self.boot == now.boot && left > 0).then(|| Duration::from_millis(left))
    }
}

impl State {
    /// Writes an order; it takes the place of the one before.
    pub fn save_order(&self, order: &Order) -> Result<()> {
        write(&self.order_path(), order)
    }

    /// Reads the order, if there is one.
    pub fn load_order(&self) -> Result<Option<Order>> {
        let path = self.order_path();
        path.try_exists()?.then(|| read_small(&path)).transpose()
    }

    /// Removes the order: the policy files say what is in force.
    pub fn clear_order(&self) -> Result<()> {
        let path = self.order_path();
        // A disk that cannot be written refuses to remove even what is not there.
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            fs::File::open(&self.directory)?.sync_all()?;
        }
        Ok(())
    }

    fn order_path(&self) -> PathBuf {
        self.directory.join("order")
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn moment(boot: &str, uptime: u64) -> Moment {
        Moment {
            boot: boot.to_owned(),
            uptime,
        }
    }

    fn trial() -> Trial {
        let (length, ends) = (Duration::from_secs(2), String::new());
        Trial::new([7, 6], length, ends, By::timer(), &moment("one", 10_000))
    }

    #[test]
    fn a_trial_ends_at_its_deadline_and_not_before() {
        let trial = trial();
        let left = |uptime| trial.left(&moment("one", uptime));
        assert_eq!(left(10_000), Some(Duration::from_secs(2)));
        assert_eq!(left(11_999), Some(Duration::from_millis(1)));
        assert_eq!(left(12_000), None);
        assert_eq!(left(u64::MAX), None);
    }

    #[test]
    fn a_reboot_ends_a_trial_and_no_clock_makes_it_longer() {
        assert_eq!(trial().left(&moment("two", 10_001)), None);
        assert_eq!(
            trial().left(&moment("one", 0)),
            Some(Duration::from_secs(2))
        );
    }

    #[test]
    fn an_order_is_read_back_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        assert_eq!(state.load_order().unwrap(), None);
        state.clear_order().unwrap();
        let order = Order::Trial(trial());
        state.save_order(&order).unwrap();
        assert_eq!(state.load_order().unwrap(), Some(order));
        fs::write(folder.path().join("order"), "x").unwrap();
        assert!(state.load_order().is_err());
        state.clear_order().unwrap();
        assert_eq!(state.load_order().unwrap(), None);
    }

    #[test]
    fn an_order_that_cannot_be_looked_at_is_not_taken_for_missing() {
        let folder = tempfile::tempdir().unwrap();
        // A link to itself: whether anything is there cannot be told.
        symlink("order", folder.path().join("order")).unwrap();
        assert!(State::new(folder.path()).load_order().is_err());
    }

    #[test]
    fn this_boot_is_the_same_from_moment_to_moment() {
        let (one, two) = (Moment::now().unwrap(), Moment::now().unwrap());
        assert_eq!(one.boot, two.boot);
        assert!(one.uptime <= two.uptime);
    }
}
