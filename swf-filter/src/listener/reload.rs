//! Files that are read again when they change, and again and again until they could be.
//!
//! What keeps a file from being read may pass without a trace in the file: a process that is out of descriptors, a file system that
//! is away, a lock. Until it passes, what was read last stays in use, which may let in whom the files do not: so it is told, by the
//! log, `status` and a metric.

use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use super::watch::Watch;

/// Before reading is tried again for the first time. It doubles with each try.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Before it is tried again at most.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// When files are to be read again: when they changed, and when they could not be read the last time.
#[derive(Debug)]
pub(super) struct Turns {
    watch: Watch,
    retry: Option<Retry>,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    pause: Duration,
}

impl Turns {
    pub(super) fn new(watch: Watch) -> Self {
        Self { watch, retry: None }
    }

    /// Waits until it is time. It may be dropped while it waits: nothing is lost.
    pub(super) async fn next(&mut self) {
        let retry = self.retry;
        let retry = async {
            match retry {
                Some(retry) => sleep_until(retry.at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            // What is new may be right.
            _ = self.watch.changed() => self.retry = None,
            () = retry => {}
        }
    }

    /// Takes note of what came of it.
    pub(super) fn done(&mut self, read: Outcome) {
        self.retry = (read == Outcome::Failed).then(|| {
            let pause = self.retry.map_or(FIRST_PAUSE, |last| last.pause * 2);
            let pause = pause.min(LONGEST_PAUSE);
            let at = Instant::now() + pause;
            Retry { at, pause }
        });
    }
}

/// What came of reading files again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Failed,
    Read,
}

impl Outcome {
    /// Of two kinds of files, whether both could be read.
    pub(super) fn and(self, other: Self) -> Self {
        match self {
            Self::Failed => Self::Failed,
            Self::Read => other,
        }
    }
}

/// Whether what is in use is what its files say.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<Option<Behind>>);

/// What is in use is older than its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Behind {
    /// When they could not be read for the first time.
    pub(super) since: Timestamp,
    /// Why they could not be the last time.
    pub(super) why: String,
}

impl Standing {
    /// None if it is.
    pub(super) fn behind(&self) -> Option<Behind> {
        self.lock().clone()
    }

    /// Takes note of what came of reading `what` again, of one `[[listener]]` or of all, and tells what is new about it.
    pub(super) fn note(
        &self,
        what: &str,
        listener: Option<&str>,
        read: Result<(), String>,
    ) -> Outcome {
        let mut behind = self.lock();
        match read {
            Ok(()) => {
                if let Some(behind) = behind.take() {
                    let since = behind.since;
                    info!(
                        listener,
                        "{what} could be read again, for the first time since {since:.0}"
                    );
                }
                Outcome::Read
            }
            Err(why) => {
                if behind.as_ref().is_none_or(|behind| behind.why != why) {
                    error!(
                        listener,
                        "the last good {what} stay in use, and reading is tried again: {why}"
                    );
                }
                let since = behind.take().map(|behind| behind.since);
                let since = since.unwrap_or_else(Timestamp::now);
                *behind = Some(Behind { since, why });
                Outcome::Failed
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Behind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::timeout;

    use super::*;

    /// With the clock stopped, waiting takes no time.
    const LONG: Duration = Duration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn files_that_cannot_be_read_are_tried_again_with_pauses_up_to_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "one").unwrap();
        let mut turns = Turns::new(Watch::new([&file]));
        assert!(timeout(LONG, turns.next()).await.is_err());

        let next = async |turns: &mut Turns, read| {
            turns.done(read);
            let start = Instant::now();
            let came = timeout(LONG, turns.next()).await;
            came.ok().map(|()| start.elapsed().as_secs())
        };
        // Nothing of the file changes any more.
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(next(&mut turns, Outcome::Failed).await, Some(pause));
        }
        // What is new is read at once, and tried again from the start.
        turns.done(Outcome::Failed);
        fs::write(&file, "another").unwrap();
        let start = Instant::now();
        turns.next().await;
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(next(&mut turns, Outcome::Failed).await, Some(1));
        assert_eq!(next(&mut turns, Outcome::Read).await, None);
    }

    #[test]
    fn what_could_not_be_read_is_behind_since_then_until_it_could() {
        let standing = Standing::default();
        let note =
            |read: Result<(), &str>| standing.note("keys", None, read.map_err(str::to_owned));
        assert_eq!(note(Ok(())), Outcome::Read);
        assert_eq!(standing.behind(), None);
        assert_eq!(note(Err("one")), Outcome::Failed);
        let first = standing.behind().unwrap();
        assert_eq!(note(Err("another")), Outcome::Failed);
        let second = standing.behind().unwrap();
        assert_eq!((first.since, "another"), (second.since, &*second.why));
        assert_eq!(note(Ok(())), Outcome::Read);
        assert_eq!(standing.behind(), None);
    }
}
