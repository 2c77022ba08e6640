//! Timers of a connection: whether its client takes too long.
//!
//! What the guard reads tells what a client sends, and also what it sends ahead while an earlier request is answered. So how many
//! requests are under way counts first: while there are any, it is for them to move, each step within its own time, and the
//! client may be silent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::guard::{Reading, Slot};
use super::limits;

/// How far requests of a connection are.
#[derive(Debug)]
pub(super) struct Pace {
    state: watch::Sender<State>,
    /// What the guard tells; none where there is no guard, and nothing is known of what is only partly there.
    slot: Option<Arc<Slot>>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// Requests that came, and whose answers are not all handed on.
    under_way: usize,
    /// When one of them went on.
    moved: Instant,
    /// When the guard last told something else.
    turned: Instant,
    requests: Requests,
    /// When the connection is looked at next. It is woken only for what comes before: most requests wake nobody.
    watched: Instant,
}

/// Whether a connection ever had a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Requests {
    None,
    Some,
}

impl Pace {
    pub(super) fn new(slot: Option<Arc<Slot>>) -> Self {
        let now = Instant::now();
        let state = State {
            under_way: 0,
            moved: now,
            turned: now,
            requests: Requests::None,
            watched: now,
        };
        Self {
            state: watch::Sender::new(state),
            slot,
        }
    }

    /// Counts a request until what is given back is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.change(|state| {
            state.under_way += 1;
            state.requests = Requests::Some;
        });
        UnderWay(Arc::clone(self))
    }

    /// Ends when a client takes too long.
    pub(super) async fn overdue(&self) {
        let mut state = self.state.subscribe();
        let none = watch::Sender::new(Reading::Idle);
        let mut reading = match &self.slot {
            Some(slot) => slot.reading(),
            None => none.subscribe(),
        };
        loop {
            state.mark_unchanged();
            reading.mark_unchanged();
            let mut until = Instant::now();
            self.state.send_if_modified(|state| {
                until = self.deadline(state);
                state.watched = until;
                false
            });
            tokio::select! {
                () = sleep_until(until) => {
                    if self.deadline(&state.borrow()) <= Instant::now() {
                        return;
                    }
                }
                _ = state.changed() => {}
                Ok(()) = reading.changed() => {
                    self.state.send_if_modified(|state| {
                        state.turned = Instant::now();
                        false
                    });
                }
            }
        }
    }

    /// Takes note that requests go on.
    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_if_modified(|state| {
            change(state);
            state.moved = Instant::now();
            self.deadline(state) < state.watched
        });
    }

    fn deadline(&self, state: &State) -> Instant {
        state.turned.max(state.moved) + self.patience(state)
    }

    fn patience(&self, state: &State) -> Duration {
        if state.under_way > 0 {
            return limits::STANDSTILL;
        }
        let reading = self.slot.as_ref().map(|slot| slot.now());
        match (reading.unwrap_or(Reading::Idle), state.requests) {
            (Reading::Body, _) => limits::BODY_TIME,
            (Reading::Idle, Requests::Some) => limits::IDLE,
            (Reading::Idle, Requests::None) | (Reading::Head | Reading::Over, _) => {
                limits::HEAD_TIME
            }
        }
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Pace>);

impl UnderWay {
    /// Takes note that it goes on.
    pub(super) fn moves(&self) {
        self.0.change(|_| ());
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.change(|state| state.under_way -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Almost a time, and the rest of it with something more.
    fn around(time: Duration) -> [Duration; 2] {
        [time.mul_f32(0.9), time.mul_f32(0.11)]
    }

    fn guarded() -> (Arc<Pace>, Arc<Slot>) {
        let slot = Arc::new(Slot::default());
        (Arc::new(Pace::new(Some(Arc::clone(&slot)))), slot)
    }

    async fn is_overdue_after(pace: &Pace, time: Duration) -> bool {
        let [before, after] = around(time);
        let mut overdue = std::pin::pin!(pace.overdue());
        timeout(before, overdue.as_mut()).await.is_err() && timeout(after, overdue).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_is_waited_for_less_long_than_the_next() {
        let (pace, _slot) = guarded();
        assert!(is_overdue_after(&pace, limits::HEAD_TIME).await);
        drop(pace.begin());
        assert!(is_overdue_after(&pace, limits::IDLE).await);
        drop(pace.begin());
        let pace = Arc::new(Pace::new(None));
        drop(pace.begin());
        assert!(is_overdue_after(&pace, limits::IDLE).await);
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_not_waited_for_longer_byte_by_byte() {
        let (pace, slot) = guarded();
        drop(pace.begin());
        slot.turn(Reading::Head);
        let mut overdue = std::pin::pin!(pace.overdue());
        for _ in 1..limits::HEAD_TIME.as_secs() {
            assert!(timeout(SECOND, overdue.as_mut()).await.is_err());
            slot.turn(Reading::Head);
        }
        assert!(timeout(2 * SECOND, overdue).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_ahead_does_not_hurry_the_answer() {
        let (pace, slot) = guarded();
        let request = pace.begin();
        for ahead in [Reading::Head, Reading::Body, Reading::Idle] {
            slot.turn(ahead);
            let mut overdue = std::pin::pin!(pace.overdue());
            let poll = limits::UPSTREAM + limits::UPSTREAM_IDLE;
            assert!(timeout(poll, overdue.as_mut()).await.is_err());
            request.moves();
        }
        // Once it is answered, the clock of the head begins.
        slot.turn(Reading::Head);
        drop(request);
        assert!(is_overdue_after(&pace, limits::HEAD_TIME).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_ends() {
        let pace = Arc::new(Pace::new(None));
        let request = pace.begin();
        let [before, after] = around(limits::STANDSTILL);
        let mut overdue = std::pin::pin!(pace.overdue());
        assert!(timeout(before, overdue.as_mut()).await.is_err());
        request.moves();
        assert!(timeout(before, overdue.as_mut()).await.is_err());
        assert!(timeout(after, overdue).await.is_ok());
    }
}
