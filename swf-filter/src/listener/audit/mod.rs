//! The audit log: what became of each request and each refused connection, a line of JSON each.
//!
//! Requests never wait for a disk. Records go through a queue of fixed length to a thread that writes them, to a file, to the
//! journal, or to both. What finds the queue full or cannot be written is counted, told in the log, and told in the file
//! itself as soon as that can be written again: a gap shows. A record has no field that could hold a secret.
//!
//! Records are not synchronised to the disk one by one: what a crash of the machine takes is the last seconds. A crash of the
//! listener takes what is in the queue, and may leave a line that is cut off, which readers pass over.

mod file;
mod journal;
mod lines;
mod record;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use self::journal::Journal;
pub use self::lines::{Line, Lines};
pub use self::record::{Capped, Entry, Lost, Record, Tls, Verdict};
use self::writer::Writer;
use crate::listener::settings::Paths;

/// Records that wait to be written, at most: a second or more at full rate, and some MiB.
const QUEUE: usize = 8_192;
/// What part of the queue records may take of which nobody knows who caused them: connections that got no further, and requests
/// without a right signature. Anybody can make those, in any number, and they must not take the place of signed requests.
const STRANGERS: usize = 4;
/// How many connections that got no further are written a second, at most: some 600 MB a day. All are counted in the status.
const CONNECTIONS_A_SECOND: usize = 25;
/// The same of requests without a right signature.
const UNSIGNED_A_SECOND: usize = 100;

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// A file.
    pub file: Option<PathBuf>,
    /// The journal.
    pub journal: Journal,
}

impl Targets {
    /// As settings say: to the file that they name, and to the journal too if standard error goes there; without a file, to
    /// the journal only.
    #[must_use]
    pub fn new(paths: &Paths) -> Self {
        Self {
            file: paths.audit.clone(),
            journal: match paths.audit {
                Some(_) => Journal::Auto,
                None => Journal::On,
            },
        }
    }
}

/// Takes records. Clones take them for the same log.
#[derive(Clone, Debug)]
pub struct Audit {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writing {
    queue: SyncSender<Message>,
    thread: JoinHandle<()>,
}

/// What goes through the queue.
#[derive(Debug)]
enum Message {
    /// Write what came before, and end.
    End,
    /// Write this.
    Record(Box<Record>),
    /// Look at what else is to be done.
    Wake,
}

/// What goes past the queue.
#[derive(Debug, Default)]
struct Shared {
    /// Records that found the queue full, and that the thread has not taken notice of.
    overflown: AtomicU64,
    /// Records of strangers that wait.
    strangers: AtomicUsize,
    /// How many of those may wait.
    most_strangers: usize,
    /// How many connections, and unsigned requests, came in the current second.
    recent: [Mutex<Recent>; 2],
    /// All records that at least one target did not get.
    lost: AtomicU64,
    /// Whether the file has to be opened again.
    reopen: AtomicBool,
}

impl Shared {
    /// Whether there is room for a record among its kind.
    fn admit(&self, record: &Record) -> bool {
        let [connections, unsigned] = &self.recent;
        let (recent, most) = match Kind::of(record) {
            Kind::Signed => return true,
            Kind::Connection => (connections, CONNECTIONS_A_SECOND),
            Kind::Unsigned => (unsigned, UNSIGNED_A_SECOND),
        };
        let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
        if !recent.admit(Instant::now(), most) {
            return false;
        }
        let waiting = self.strangers.fetch_add(1, Ordering::Relaxed);
        if waiting >= self.most_strangers {
            self.strangers.fetch_sub(1, Ordering::Relaxed);
        }
        waiting < self.most_strangers
    }

    /// Takes note that a record that was admitted waits no longer.
    fn release(&self, record: &Record) {
        if Kind::of(record) != Kind::Signed {
            self.strangers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What came within a second.
#[derive(Debug, Default)]
struct Recent {
    since: Option<Instant>,
    count: usize,
}

impl Recent {
    fn admit(&mut self, now: Instant, most: usize) -> bool {
        if self
            .since
            .is_none_or(|since| now - since >= Duration::from_secs(1))
        {
            *self = Self {
                since: Some(now),
                count: 0,
            };
        }
        self.count += 1;
        self.count <= most
    }
}

/// How sure it is who caused a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A connection that got no further.
    Connection,
    /// A request that somebody signed.
    Signed,
    /// Any other request.
    Unsigned,
}

impl Kind {
    fn of(record: &Record) -> Self {
        match (&record.request_id, &record.principal) {
            (None, _) => Self::Connection,
            (Some(_), None) => Self::Unsigned,
            (Some(_), Some(_)) => Self::Signed,
        }
    }
}

impl Audit {
    /// Opens all targets, and starts the thread. An error if one cannot be opened now.
    pub fn start(targets: &Targets) -> io::Result<(Self, Writing)> {
        let (audit, inbox) = Self::queue(QUEUE);
        let writer = Writer::open(targets, Arc::clone(&audit.shared))?;
        let writing = Writing {
            queue: audit.queue.clone(),
            thread: thread::Builder::new()
                .name("audit".to_owned())
                .spawn(move || writer.run(&inbox))?,
        };
        Ok((audit, writing))
    }

    fn queue(length: usize) -> (Self, Receiver<Message>) {
        let (queue, inbox) = sync_channel(length);
        let shared = Arc::new(Shared {
            most_strangers: length.div_ceil(STRANGERS),
            ..Shared::default()
        });
        (Self { queue, shared }, inbox)
    }

    /// Takes a record. Never waits: if there is no room, the record is lost and counted.
    pub fn record(&self, record: Record) {
        if !self.take(record) {
            self.shared.overflown.fetch_add(1, Ordering::Relaxed);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&self, record: Record) -> bool {
        if !self.shared.admit(&record) {
            return false;
        }
        match self.queue.try_send(Message::Record(Box::new(record))) {
            Ok(()) => true,
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                if let Message::Record(record) = message {
                    self.shared.release(&record);
                }
                false
            }
        }
    }

    /// How many records at least one target did not get, since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Has the file opened again by its name. That it was renamed is noticed without, at the next record.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
        // If there is no room, there is a message that wakes the thread as well.
        let _ = self.queue.try_send(Message::Wake);
    }
}

impl Writing {
    /// Writes what has been recorded so far, and ends. What is recorded later is lost.
    pub fn finish(self) {
        // The thread is gone only if it panicked, and then there is nothing to wait for.
        if self.queue.send(Message::End).is_ok() && self.thread.join().is_err() {
            tracing::error!("the thread that writes the audit log has failed");
        }
    }
}
