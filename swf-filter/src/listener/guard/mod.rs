//! Strictness below hyper: each byte of a request's head is looked at before hyper sees it.
//!
//! hyper takes lines that end with LF alone, folded fields, repeated lengths, and length and transfer coding together, and its
//! services cannot see any more that they were there. What two readers can take for different requests is where requests are
//! smuggled (RFC 9112, 11.2), so here is only one way to write a request, and [`HeadFault`] names all others. Where the RFCs leave a
//! choice, it is refused: also an empty line before a request (RFC 9112, 2.2), leading zeros of a length, bytes above 127 in a
//! field, and TE, even with `trailers`. No SDK sends these.
//!
//! In place of a refused head hyper gets one that is made up here, and the service asks [`Slot::admit`] which it was. So the
//! answer comes in its order, after those of earlier requests. Answering here was rejected: that would need to know where hyper is
//! in its answers.
//!
//! The guard does not judge what is signed or allowed, and has no timers but one: after an answer that leaves bytes unread, the
//! connection stays open for a moment (RFC 9112, 9.6), or else the client's system may throw the answer away.

mod fault;
mod head;
mod slot;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};
use tokio::time::Sleep;

use self::head::Scan;
use super::limits::HEAD;

pub use self::fault::HeadFault;
pub use self::head::{Head, head};
pub use self::slot::{Reading, Slot};

/// A connection whose requests are looked at before they are handed on.
///
/// A head is handed on when all of it is there, and then as many bytes as its body has. After a refused head nothing is handed on,
/// not even an end: hyper gives up an answer under way when it reads one. It closes the connection after the answer.
#[derive(Debug)]
pub struct Guard<IO> {
    io: Take<IO>,
    slot: Arc<Slot>,
    buffer: Buffer,
    step: Step,
    /// Bytes thrown away since the last request.
    discarded: usize,
    linger: Duration,
    /// Set when the other direction is closed.
    lingering: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Step {
    /// A head is read.
    Head(Scan),
    /// A request is handed on; so many bytes of it are left.
    Pass(usize),
    /// A head is made up; so many bytes of it are handed on.
    Refused(usize),
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Guard<IO> {
    /// Guards a connection, and leaves word in `slot`, which is for this connection alone.
    pub fn new(io: IO, slot: Arc<Slot>) -> Self {
        Self {
            io: io.take(0),
            slot,
            buffer: Buffer::default(),
            step: Step::Head(Scan::default()),
            discarded: 0,
            linger: LINGER,
            lingering: None,
        }
    }

    /// Looks at what is there of a head, or waits for more of it. Says whether there can be more.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Flow>> {
        let Step::Head(scan) = &mut self.step else {
            return Poll::Ready(Ok(Flow::Goes));
        };
        let there = self.buffer.filled();
        let has_begun = !there.is_empty();
        if has_begun {
            self.slot.arrive(there.len());
        }
        match scan.advance(there) {
            Ok(None) => {
                let filled = self.buffer.poll_fill(cx, self.io.get_mut());
                if filled.is_pending() && has_begun {
                    self.slot.turn(Reading::Head);
                }
                if ready!(filled)? == 0 {
                    self.slot.turn(Reading::Over);
                    return Poll::Ready(Ok(Flow::Ended));
                }
            }
            Ok(Some(head)) => {
                self.slot.arrive(head.length);
                self.slot.hand();
                self.step = Step::Pass(head.length + head.body);
            }
            Err(fault) => {
                self.slot.refuse(fault);
                self.slot.turn(Reading::Over);
                self.buffer = Buffer::default();
                self.step = Step::Refused(0);
            }
        }
        Poll::Ready(Ok(Flow::Goes))
    }

    /// Hands on bytes of a request of which `left` are left. A body that is not in the buffer yet never is.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        left: usize,
    ) -> Poll<io::Result<()>> {
        let there = self.buffer.filled();
        let passed = if there.is_empty() {
            let before = out.filled().len();
            self.io.set_limit(left as u64);
            let read = Pin::new(&mut self.io).poll_read(cx, out);
            if read.is_pending() {
                self.slot.turn(Reading::Body);
            }
            ready!(read)?;
            out.filled().len() - before
        } else {
            let length = there.len().min(left).min(out.remaining());
            out.put_slice(there.get(..length).unwrap_or_default());
            self.buffer.consume(length);
            length
        };
        if passed == 0 {
            self.slot.turn(Reading::Over);
        } else if passed == left {
            self.slot.turn(Reading::Idle);
            self.step = Step::Head(Scan::default());
        } else {
            self.step = Step::Pass(left - passed);
        }
        Poll::Ready(Ok(()))
    }

    /// Throws away what comes, until the client ends or too much has come.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.discarded < DISCARD {
            self.buffer.consume(usize::MAX);
            match ready!(self.buffer.poll_fill(cx, self.io.get_mut())) {
                Ok(0) | Err(_) => break,
                Ok(read) => self.discarded += read,
            }
        }
        self.discarded = DISCARD;
        Poll::Ready(())
    }
}

/// Whether there can be more bytes.
#[derive(Clone, Copy)]
enum Flow {
    Ended,
    Goes,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match guard.step {
                Step::Head(_) => match ready!(guard.poll_head(cx))? {
                    Flow::Ended => return Poll::Ready(Ok(())),
                    Flow::Goes => {}
                },
                Step::Pass(left) => return guard.poll_pass(cx, out, left),
                Step::Refused(handed) => {
                    let rest = MADE_UP.get(handed..).unwrap_or_default();
                    if rest.is_empty() {
                        // Whether or not the client has ended, the answer is still to be written.
                        let _ = guard.poll_discard(cx);
                        return Poll::Pending;
                    }
                    let length = rest.len().min(out.remaining());
                    out.put_slice(rest.get(..length).unwrap_or_default());
                    guard.step = Step::Refused(handed + length);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().io.get_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().io.get_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.get_ref().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().io.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        if guard.lingering.is_none() {
            ready!(Pin::new(guard.io.get_mut()).poll_shutdown(cx))?;
            if matches!(guard.step, Step::Head(_)) {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = guard.linger;
        let lingering = guard
            .lingering
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(linger)));
        if lingering.as_mut().poll(cx).is_pending() {
            ready!(guard.poll_discard(cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// Bytes that have come and are not handed on. It grows to what a head may have, and no further.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Buffer {
    fn filled(&self) -> &[u8] {
        self.bytes.get(self.from..self.to).unwrap_or_default()
    }

    /// Takes away bytes that are at the front, or all if they are fewer.
    fn consume(&mut self, count: usize) {
        self.from = self.from.saturating_add(count).min(self.to);
    }

    /// Reads once. There is room for it, because whole and overlong heads are not read on.
    fn poll_fill<IO: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut IO,
    ) -> Poll<io::Result<usize>> {
        if self.from > 0 {
            self.bytes.copy_within(self.from..self.to, 0);
            self.to -= self.from;
            self.from = 0;
        }
        if self.to == self.bytes.len() {
            let length = (2 * self.bytes.len()).clamp(FIRST, HEAD);
            self.bytes.resize(length, 0);
        }
        let mut room = ReadBuf::new(self.bytes.get_mut(self.to..).unwrap_or_default());
        debug_assert!(room.remaining() > 0, "nothing read would look like an end");
        ready!(Pin::new(io).poll_read(cx, &mut room))?;
        let read = room.filled().len();
        self.to += read;
        Poll::Ready(Ok(read))
    }
}

/// Stands for a refused head. hyper takes it for a request without body, and the last one.
const MADE_UP: &[u8] =
    b"POST / HTTP/1.1\r\nhost: refused\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// Bytes of the buffer at first: most heads, with a session token.
const FIRST: usize = 2048;
/// For a client to read its answer and end, after one that leaves bytes unread. nginx has 5 s from byte to byte; a client that sends
/// without reading needs no more than the answer's way to it.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are read only to be thrown away, at most: a body twice as large as it may be.
const DISCARD: usize = 2 * super::limits::BODY;

#[cfg(test)]
mod tests;
