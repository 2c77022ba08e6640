//! The record of a request, which is written whatever becomes of it.
//!
//! When a client goes away, hyper drops what answers it, and SWF may have done by then what was asked. So the record goes along
//! with the request, then with the body of its answer, and is written when that is dropped.

use std::fmt::Display;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::{Body, Frame, SizeHint};

use super::audit::{Record, Verdict};
use super::pace::UnderWay;
use super::shared::Shared;

/// Why there is no answer, or not all of it, unless another reason takes its place.
pub(super) const GONE: &str = "connection-ended";
/// Why an answer that had begun has no end.
const CUT_OFF: &str = "answer-cut-off";

/// A record that is to be written.
pub(super) struct Recording {
    shared: Arc<Shared>,
    start: Instant,
    /// None once it is written.
    record: Option<Record>,
}

impl Recording {
    pub(super) fn new(shared: Arc<Shared>, record: Record) -> Self {
        Self {
            shared,
            start: Instant::now(),
            record: Some(record),
        }
    }
}

impl Deref for Recording {
    type Target = Record;

    fn deref(&self) -> &Record {
        match &self.record {
            Some(record) => record,
            None => unreachable!("it is there until this is dropped"),
        }
    }
}

impl DerefMut for Recording {
    fn deref_mut(&mut self) -> &mut Record {
        match &mut self.record {
            Some(record) => record,
            None => unreachable!("it is there until this is dropped"),
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.microseconds = microseconds(self.start);
            self.shared.counters.request(&record);
            self.shared.audit.record(record);
        }
    }
}

/// The body of an answer, with the record of its request, which is under way as long as this is there.
pub(super) struct Recorded<B: Body> {
    body: B,
    recording: Recording,
    under_way: UnderWay,
    extent: Extent,
}

/// How much of an answer was handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Part,
    Whole,
}

impl<B: Body> Recorded<B> {
    pub(super) fn new(body: B, recording: Recording, under_way: UnderWay) -> Self {
        Self {
            body,
            recording,
            under_way,
            extent: Extent::Part,
        }
    }

    /// Takes note that what was allowed had no whole answer.
    fn fail(&mut self, reason: &'static str) {
        if self.recording.verdict == Verdict::Allowed {
            self.recording.verdict = Verdict::Failed;
            self.recording.reason = reason.into();
        }
    }
}

impl<B> Body for Recorded<B>
where
    B: Body + Unpin,
    B::Error: Display,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.under_way.moves();
        }
        match &polled {
            Poll::Ready(None) => self.extent = Extent::Whole,
            Poll::Ready(Some(Err(error))) => {
                self.recording.words = Some(error.to_string().into());
                self.fail(CUT_OFF);
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
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

impl<B: Body> Drop for Recorded<B> {
    fn drop(&mut self) {
        if self.extent == Extent::Part && !self.body.is_end_stream() {
            self.fail(GONE);
        }
    }
}

/// The time since then.
pub(super) fn microseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}
