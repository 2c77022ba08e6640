//! The body of an answer, as it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::fault::chain;
use super::link::Link;
use super::pool::Address;

/// The body of an answer. Its connection goes back to the others at its end, and is closed if it is dropped before.
#[derive(Debug)]
pub struct AnswerBody {
    inner: Incoming,
    /// None once the body has ended.
    link: Option<Box<Link>>,
    address: Arc<Address>,
    pause: Duration,
    /// Only while something is waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Why an answer ends before its end. What is known of it by then has been handed on.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    /// The connection broke.
    #[error("the upstream's answer broke off: {error}")]
    Broken {
        /// What happened.
        error: Box<str>,
    },
    /// Nothing comes any more.
    #[error("the upstream's answer stopped for {} s", pause.as_secs_f32())]
    TimedOut {
        /// How long it was waited for.
        pause: Duration,
    },
}

impl AnswerBody {
    pub(super) fn new(
        inner: Incoming,
        link: Box<Link>,
        address: Arc<Address>,
        pause: Duration,
    ) -> Self {
        let mut body = Self {
            inner,
            link: Some(link),
            address,
            pause,
            deadline: None,
        };
        body.end_if_done();
        body
    }

    fn end_if_done(&mut self) {
        if self.inner.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        // Nobody waits here: whoever takes it next looks again.
        let mut cx = Context::from_waker(Waker::noop());
        if let Some(mut link) = self.link.take()
            && link.is_usable_now(&mut cx)
        {
            self.address.keep(link);
        }
    }

    fn fail(&mut self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.link = None;
        self.deadline = None;
        self.address.broke_off();
        Poll::Ready(Some(Err(fault)))
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let pause = self.pause;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + pause)));
        deadline.as_mut().poll(cx).is_ready()
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        if let Some(link) = &mut this.link {
            // It may end before its last bytes are taken from here.
            let _ = link.drive(cx);
        }
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.deadline = None;
                this.end_if_done();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = chain(&error).into();
                this.fail(BodyFault::Broken { error })
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Pending if this.is_late(cx) => {
                let pause = this.pause;
                this.fail(BodyFault::TimedOut { pause })
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
