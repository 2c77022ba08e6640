//! The thread that writes records, and keeps count of those that it cannot write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::file::LogFile;
use super::journal::JournalSocket;
use super::record::{Entry, Lost};
use super::{Message, Shared, Targets};

/// How often what could not be written is tried to be told, if nothing else is to be written.
const RETRY: Duration = Duration::from_secs(1);
/// How often losses are told in the log, at most.
const COMPLAIN: Duration = Duration::from_mins(1);

/// Writes records to all targets.
#[derive(Debug)]
pub(super) struct Writer {
    targets: Vec<Target>,
    shared: Arc<Shared>,
    complaint: Complaint,
}

/// Somewhere that records go.
#[derive(Debug)]
struct Target {
    sink: Sink,
    /// Records that it did not get, and was not told of.
    lost: u64,
}

#[derive(Debug)]
enum Sink {
    File(LogFile),
    Journal(JournalSocket),
}

/// What the log has not been told.
#[derive(Debug, Default)]
struct Complaint {
    lost: u64,
    why: Option<io::Error>,
    last: Option<Instant>,
}

impl Writer {
    /// Opens all targets.
    pub(super) fn open(targets: &Targets, shared: Arc<Shared>) -> io::Result<Self> {
        let file = targets.file.as_deref().map(LogFile::open).transpose()?;
        let journal = targets.journal.socket()?;
        let sinks = file.map(Sink::File).into_iter();
        let sinks = sinks.chain(journal.map(Sink::Journal));
        Ok(Self {
            targets: sinks.map(|sink| Target { sink, lost: 0 }).collect(),
            shared,
            complaint: Complaint::default(),
        })
    }

    /// Writes what comes, until it is told to end or nobody is left who could send anything.
    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        loop {
            let is_behind =
                self.complaint.lost > 0 || self.targets.iter().any(|target| target.lost > 0);
            let message = if is_behind {
                inbox.recv_timeout(RETRY)
            } else {
                inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            self.look_around();
            match message {
                Ok(Message::Record(record)) => {
                    self.shared.release(&record);
                    self.write(&Entry::Request(record));
                }
                Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => self.catch_up(),
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => break,
            }
            self.complaint.make(Some(COMPLAIN));
        }
        self.catch_up();
        self.complaint.make(None);
    }

    /// Does what came past the queue.
    fn look_around(&mut self) {
        let overflown = self.shared.overflown.swap(0, Ordering::Relaxed);
        self.complaint.lost += overflown;
        for target in &mut self.targets {
            target.lost += overflown;
        }
        if self.shared.reopen.swap(false, Ordering::Relaxed) {
            for target in &mut self.targets {
                if let Sink::File(file) = &mut target.sink {
                    file.close();
                }
            }
        }
    }

    /// Tells targets of what they did not get.
    fn catch_up(&mut self) {
        for target in &mut self.targets {
            if let Err(error) = target.catch_up() {
                self.complaint.why = Some(error);
            }
        }
    }

    /// Writes an entry to all targets, and counts it if one did not take it.
    pub(super) fn write(&mut self, entry: &Entry) {
        let mut is_lost = false;
        let line = entry.line();
        for target in &mut self.targets {
            let put = match &line {
                Ok(line) => target.put(entry, line),
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            if let Err(error) = put {
                target.lost += 1;
                is_lost = true;
                self.complaint.why = Some(error);
            }
        }
        if is_lost {
            self.complaint.lost += 1;
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Target {
    fn put(&mut self, entry: &Entry, line: &[u8]) -> io::Result<()> {
        self.catch_up()?;
        self.sink.put(entry, line)
    }

    fn catch_up(&mut self) -> io::Result<()> {
        if self.lost > 0 {
            let entry = Entry::Lost(Lost {
                time: Timestamp::now(),
                lost: self.lost,
            });
            self.sink.put(&entry, &entry.line()?)?;
            self.lost = 0;
        }
        Ok(())
    }
}

impl Sink {
    fn put(&mut self, entry: &Entry, line: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(line),
            Self::Journal(socket) => socket.send(entry, line),
        }
    }
}

impl Complaint {
    /// Tells the log what was lost, unless it was told within `pause`.
    fn make(&mut self, pause: Option<Duration>) {
        let now = Instant::now();
        let is_early = pause
            .zip(self.last)
            .is_some_and(|(pause, last)| now.duration_since(last) < pause);
        if self.lost == 0 || is_early {
            return;
        }
        let why = self.why.take().map(|error| error.to_string());
        let why = why.as_deref().unwrap_or("there were too many at once");
        tracing::error!("{} audit records were lost: {why}", self.lost);
        self.lost = 0;
        self.last = Some(now);
    }
}
