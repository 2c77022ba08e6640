//! Timers of a connection: whether its client takes too long.
//!
//! What the guard reads tells what a client sends, and also what it sends ahead while an earlier request is answered. So how many
//! requests are under way counts first: while there are any, it is for them to move, each step within its own time, and the
//! client may be silent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::guard::{Reading, Slot};
use super::limits;

/// How far requests of a connection are.
#[derive(Debug)]
pub(super) struct Pace(watch::Sender<State>);

#[derive(Clone, Copy, Debug)]
struct State {
    /// Requests that came, and whose answers are not all handed on.
    under_way: usize,
    /// When one of them went on.
    moved: Instant,
    requests: Requests,
}

/// Whether a connection ever had a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Requests {
    None,
    Some,
}

impl Default for Pace {
    fn default() -> Self {
        Self(watch::Sender::new(State {
            under_way: 0,
            moved: Instant::now(),
            requests: Requests::None,
        }))
    }
}

impl Pace {
    /// Counts a request until what is given back is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.0.send_modify(|state| {
            state.under_way += 1;
            state.moved = Instant::now();
            state.requests = Requests::Some;
        });
        UnderWay(Arc::clone(self))
    }

    /// Ends when a client takes too long. Where there is no guard, nothing is known of what is only partly there.
    pub(super) async fn overdue(&self, slot: Option<&Slot>) {
        let mut requests = self.0.subscribe();
        let reading = watch::Sender::new(Reading::Idle);
        let mut reading = slot.map_or_else(|| reading.subscribe(), Slot::reading);
        let mut turned = Instant::now();
        loop {
            let state = *requests.borrow_and_update();
            let now = *reading.borrow_and_update();
            let until = turned.max(state.moved) + patience(state, now);
            tokio::select! {
                () = sleep_until(until) => {
                    // Pieces of an answer wake nobody.
                    if requests.borrow().moved <= state.moved {
                        return;
                    }
                }
                _ = requests.changed() => {}
                Ok(()) = reading.changed() => turned = Instant::now(),
            }
        }
    }
}

fn patience(state: State, reading: Reading) -> Duration {
    if state.under_way > 0 {
        return limits::STANDSTILL;
    }
    match (reading, state.requests) {
        (Reading::Body, _) => limits::BODY_TIME,
        (Reading::Idle, Requests::Some) => limits::IDLE,
        (Reading::Idle, Requests::None) | (Reading::Head | Reading::Over, _) => limits::HEAD_TIME,
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Pace>);

impl UnderWay {
    fn moves(&self) {
        self.0.0.send_if_modified(|state| {
            state.moved = Instant::now();
            false
        });
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| {
            state.under_way -= 1;
            state.moved = Instant::now();
        });
    }
}

/// The body of an answer. Its request is under way as long as it is there.
#[derive(Debug)]
pub(super) struct Paced<B> {
    body: B,
    request: UnderWay,
}

impl<B> Paced<B> {
    pub(super) fn new(body: B, request: UnderWay) -> Self {
        Self { body, request }
    }
}

impl<B: Body + Unpin> Body for Paced<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.request.moves();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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

    async fn is_overdue_after(pace: &Pace, slot: Option<&Slot>, time: Duration) -> bool {
        let [before, after] = around(time);
        let mut overdue = std::pin::pin!(pace.overdue(slot));
        timeout(before, overdue.as_mut()).await.is_err() && timeout(after, overdue).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_is_waited_for_less_long_than_the_next() {
        let (pace, slot) = (Arc::new(Pace::default()), Slot::default());
        assert!(is_overdue_after(&pace, Some(&slot), limits::HEAD_TIME).await);
        drop(pace.begin());
        assert!(is_overdue_after(&pace, Some(&slot), limits::IDLE).await);
        drop(pace.begin());
        assert!(is_overdue_after(&pace, None, limits::IDLE).await);
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_not_waited_for_longer_byte_by_byte() {
        let (pace, slot) = (Arc::new(Pace::default()), Slot::default());
        drop(pace.begin());
        slot.turn(Reading::Head);
        let mut overdue = std::pin::pin!(pace.overdue(Some(&slot)));
        for _ in 1..limits::HEAD_TIME.as_secs() {
            assert!(timeout(SECOND, overdue.as_mut()).await.is_err());
            slot.turn(Reading::Head);
        }
        assert!(timeout(2 * SECOND, overdue).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_ahead_does_not_hurry_the_answer() {
        let (pace, slot) = (Arc::new(Pace::default()), Slot::default());
        let request = pace.begin();
        for ahead in [Reading::Head, Reading::Body, Reading::Idle] {
            slot.turn(ahead);
            let mut overdue = std::pin::pin!(pace.overdue(Some(&slot)));
            let poll = limits::UPSTREAM + limits::UPSTREAM_IDLE;
            assert!(timeout(poll, overdue.as_mut()).await.is_err());
            request.moves();
        }
        // Once it is answered, the clock of the head begins.
        slot.turn(Reading::Head);
        drop(request);
        assert!(is_overdue_after(&pace, Some(&slot), limits::HEAD_TIME).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_ends() {
        let pace = Arc::new(Pace::default());
        let request = pace.begin();
        let [before, after] = around(limits::STANDSTILL);
        let mut overdue = std::pin::pin!(pace.overdue(None));
        assert!(timeout(before, overdue.as_mut()).await.is_err());
        request.moves();
        assert!(timeout(before, overdue.as_mut()).await.is_err());
        assert!(timeout(after, overdue).await.is_ok());
    }
}
