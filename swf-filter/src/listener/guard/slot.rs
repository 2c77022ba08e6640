//! What the guard of a connection tells those who answer its requests, and those who watch its clock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::Request;
use tokio::sync::watch;

use super::fault::HeadFault;

/// What a client is waited for in the middle of. What comes in one piece is not waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    /// The body of a request, whose head is whole.
    Body,
    /// The head of a request: some bytes of it are there.
    Head,
    /// Nothing. A request may be under way to its answer.
    Idle,
    /// Nothing more is read: a head was refused, or the client has ended.
    Over,
}

/// Where the guard of one connection leaves word.
///
/// The guard numbers the heads that it hands on. hyper calls its service once for each of them, in their order, so the service's
/// count leads to the same numbers, whatever was read ahead. Nothing of a request takes part in this.
#[derive(Debug)]
pub struct Slot {
    count: Mutex<Count>,
    arrived: AtomicUsize,
    reading: watch::Sender<Reading>,
}

#[derive(Debug, Default)]
struct Count {
    /// Heads handed on, with the one that stands for a refused head.
    handed: u64,
    /// Requests that were asked about.
    admitted: u64,
    /// The fault of the head that was handed on last. There is none after it.
    refused: Option<HeadFault>,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            count: Mutex::default(),
            arrived: AtomicUsize::new(0),
            reading: watch::Sender::new(Reading::Idle),
        }
    }
}

impl Slot {
    /// Gives back a request, unless its head was refused. To be called with every request of the connection, before anything
    /// else: each call is for the next one.
    ///
    /// A request that comes with a fault is made up by the guard. The answer is [`HeadFault::status`], at once: until then
    /// nobody notices a client that is gone.
    pub fn admit<B>(&self, request: Request<B>) -> Result<Request<B>, HeadFault> {
        let mut count = self.count();
        count.admitted += 1;
        if count.admitted > count.handed {
            return Err(HeadFault::Unseen);
        }
        match count.refused {
            Some(fault) if count.admitted == count.handed => Err(fault),
            _ => Ok(request),
        }
    }

    /// What the client is in the middle of, now and whenever that changes. For timers: each change begins a new time.
    #[must_use]
    pub fn reading(&self) -> watch::Receiver<Reading> {
        self.reading.subscribe()
    }

    /// What the client is in the middle of.
    #[must_use]
    pub fn now(&self) -> Reading {
        *self.reading.borrow()
    }

    /// Bytes of the current head that are there; those of the last one while there is no other.
    #[must_use]
    pub fn arrived(&self) -> usize {
        self.arrived.load(Ordering::Relaxed)
    }

    /// The fault of the head that ended the connection.
    #[must_use]
    pub fn refused(&self) -> Option<HeadFault> {
        self.count().refused
    }

    pub(super) fn hand(&self) {
        self.count().handed += 1;
    }

    pub(super) fn refuse(&self, fault: HeadFault) {
        let mut count = self.count();
        count.handed += 1;
        count.refused = Some(fault);
    }

    pub(super) fn arrive(&self, bytes: usize) {
        self.arrived.store(bytes, Ordering::Relaxed);
    }

    pub(in crate::listener) fn turn(&self, reading: Reading) {
        self.reading.send_if_modified(|last| {
            let changed = *last != reading;
            *last = reading;
            changed
        });
    }

    /// Numbers are whole at any time, so a panic elsewhere does not spoil them.
    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
