//! One connection to an upstream, driven by whoever uses it.
//!
//! hyper's connections are usually tasks of their own. Here the future that waits for an answer drives its connection itself:
//! dropping the future closes the connection, and whoever takes one that was kept sees first whether it has ended. A request
//! costs as much as with hyper-util's pool of tasks.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use http_body_util::Full;
use hyper::Response;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Message;

/// A connection.
pub(super) struct Link {
    sender: http1::SendRequest<Full<Bytes>>,
    /// None once it has ended.
    connection: Option<Connection>,
    /// Since when nobody uses it, if so.
    pub(super) since: Instant,
    _open: Open,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

type Connection = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// With or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Why there is no answer.
pub(super) enum Unanswered {
    /// The request may have been delivered.
    Sent(hyper::Error),
    /// Nothing of it was written.
    Unsent(Box<Message>, hyper::Error),
}

impl Link {
    pub(super) async fn new(stream: Box<dyn Stream>, open: Open) -> hyper::Result<Box<Self>> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Box::new(Self {
            sender,
            connection: Some(connection),
            since: Instant::now(),
            _open: open,
        }))
    }

    /// Does what there is to read and write. It is ready when the connection has ended.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(());
        };
        // What went wrong is told to the request, or to the body of its answer.
        Pin::new(connection)
            .poll(cx)
            .map(|_| self.connection = None)
    }

    /// Whether it takes a request, as far as can be seen from here.
    pub(super) async fn is_usable(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.is_usable_now(cx))).await
    }

    pub(super) fn is_usable_now(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx).is_pending() && self.sender.is_ready()
    }

    /// Sends a request, and waits for the head of the answer.
    pub(super) async fn exchange(
        &mut self,
        message: Message,
    ) -> Result<Response<Incoming>, Unanswered> {
        let mut answer = pin!(self.sender.try_send_request(message));
        poll_fn(|cx| {
            // Once the connection has ended, the answer is there, or an error in its place.
            let _ = self.drive(cx);
            answer.as_mut().poll(cx)
        })
        .await
        .map_err(|mut error| match error.take_message() {
            Some(message) => Unanswered::Unsent(Box::new(message), error.into_error()),
            None => Unanswered::Sent(error.into_error()),
        })
    }
}

/// A place among the connections that there may be.
#[derive(Debug)]
pub(super) struct Open {
    total: Arc<AtomicUsize>,
    own: Arc<AtomicUsize>,
}

impl Open {
    /// Takes a place if there are less than `most`.
    pub(super) fn take(
        total: &Arc<AtomicUsize>,
        own: &Arc<AtomicUsize>,
        most: usize,
    ) -> Option<Self> {
        let more = |count| (count < most).then_some(count + 1);
        total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        own.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            total: Arc::clone(total),
            own: Arc::clone(own),
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.total.fetch_sub(1, Ordering::Relaxed);
        self.own.fetch_sub(1, Ordering::Relaxed);
    }
}
