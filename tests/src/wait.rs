//! Waiting for a condition, in place of sleeping for as long as it usually takes.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

/// Waits until `condition` holds.
///
/// # Panics
///
/// If it does not hold within `deadline`, naming `what` was waited for.
pub fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    assert!(
        holds_within(deadline, &mut condition),
        "{what}: not within {deadline:?}"
    );
}

/// Whether `condition` holds at some time within `deadline`, which is [`patience`] times as long.
pub fn holds_within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline * patience();
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

/// How many times as slow as others this machine is: `SWF_FILTER_PATIENCE`, which emulated machines set.
#[must_use]
pub fn patience() -> u32 {
    let times = env::var("SWF_FILTER_PATIENCE").ok();
    let times = times.and_then(|times| times.parse().ok());
    times.unwrap_or(1).max(1)
}

const PAUSE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_is_asked_again_until_it_holds() {
        let mut count = 0;
        wait_until(Duration::from_secs(5), "three", || {
            count += 1;
            count == 3
        });
        assert_eq!(count, 3);
    }

    #[test]
    fn condition_that_never_holds_ends_the_wait() {
        assert!(!holds_within(Duration::from_millis(5), || false));
    }
}
