//! How much work one request may cause.
//!
//! What a decision costs depends on the policy, on the session's policy and on what the request says. The first is the
//! operator's, the others are the client's. So the work is counted while a request is judged, and a request that needs more
//! than it may is denied: an answer that was given up half-way says nothing.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts work down. A unit is about a nanosecond: a byte that is compared, or a word of bits.
#[derive(Debug)]
pub struct Meter {
    most: u64,
    spent: AtomicU64,
}

impl Meter {
    /// A meter with so many units.
    #[must_use]
    pub const fn new(most: u64) -> Self {
        Self {
            most,
            spent: AtomicU64::new(0),
        }
    }

    /// Takes units. False if there are not as many left, and from then on.
    pub(super) fn spend(&self, units: usize) -> bool {
        // One thread judges a request, so that nothing is lost between the two.
        let spent = self.spent().saturating_add(units as u64);
        self.spent.store(spent, Ordering::Relaxed);
        spent <= self.most
    }

    /// The units that were asked for.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    /// Whether more was asked for than there was.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.spent() > self.most
    }
}
