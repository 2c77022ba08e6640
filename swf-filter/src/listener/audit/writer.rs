//! The thread that writes records, and keeps count of those that it cannot write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
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
/// How long others are waited for after a record, so that a busy listener writes many with one call, and is seldom interrupted.
const GATHER: Duration = Duration::from_millis(5);
/// Records that are written with one call, at most.
const BATCH: usize = 1_024;

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
        let mut goes_on = true;
        while goes_on {
            let is_behind =
                self.complaint.lost > 0 || self.targets.iter().any(|target| target.lost > 0);
            let message = if is_behind {
                inbox.recv_timeout(RETRY)
            } else {
                inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let mut batch = Batch::default();
            goes_on = match message {
                Ok(message) => self.gather(message, inbox, &mut batch),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            self.look_around();
            if batch.entries.is_empty() {
                self.catch_up();
            } else {
                self.write(&batch);
            }
            self.complaint.make(Some(COMPLAIN));
        }
        self.catch_up();
        self.complaint.make(None);
    }

    /// Gathers what comes with and after a message. Whether there may be more.
    fn gather(&self, first: Message, inbox: &Receiver<Message>, batch: &mut Batch) -> bool {
        if matches!(first, Message::Record(_)) {
            thread::sleep(GATHER);
        }
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::End => return false,
                Message::Record(record) => {
                    self.shared.release(&record);
                    batch.add(Entry::Request(record));
                }
                Message::Wake => {}
            }
            next = if batch.entries.len() < BATCH {
                inbox.try_recv().ok()
            } else {
                None
            };
        }
        true
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

    /// Writes entries to all targets, and counts those that one of them did not take.
    pub(super) fn write(&mut self, batch: &Batch) {
        let mut missing = vec![false; batch.entries.len()];
        for target in &mut self.targets {
            if let Err(error) = target.put(batch, &mut missing) {
                self.complaint.why = Some(error);
            }
        }
        let lost = missing.iter().filter(|missing| **missing).count() as u64;
        self.complaint.lost += lost;
        self.shared.lost.fetch_add(lost, Ordering::Relaxed);
    }
}

/// Entries that are written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    lines: Vec<u8>,
    /// Where each entry's line ends.
    ends: Vec<usize>,
}

impl Batch {
    pub(super) fn add(&mut self, entry: Entry) {
        entry.write(&mut self.lines);
        self.ends.push(self.lines.len());
        self.entries.push(entry);
    }

    /// Entries with their lines.
    fn iter(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let places = starts.zip(&self.ends);
        let lines = places.map(|(start, end)| self.lines.get(*start..*end).unwrap_or_default());
        self.entries.iter().zip(lines)
    }
}

impl Target {
    /// Writes entries, and marks those that could not be. What is missing so far is told before.
    fn put(&mut self, batch: &Batch, missing: &mut [bool]) -> io::Result<()> {
        let before = self.catch_up();
        if before.is_err() {
            missing.fill(true);
            self.lost += missing.len() as u64;
            return before;
        }
        self.send(batch, missing)
    }

    /// Tells of what it did not get.
    fn catch_up(&mut self) -> io::Result<()> {
        if self.lost == 0 {
            return Ok(());
        }
        let lost = std::mem::take(&mut self.lost);
        let mut batch = Batch::default();
        batch.add(Entry::Lost(Lost {
            time: Timestamp::now(),
            lost,
        }));
        let told = self.send(&batch, &mut [false]);
        if told.is_err() {
            self.lost = lost;
        }
        told
    }

    fn send(&mut self, batch: &Batch, missing: &mut [bool]) -> io::Result<()> {
        let mut failed = Ok(());
        let mut lose = |missing: &mut bool| {
            *missing = true;
            self.lost += 1;
        };
        match &mut self.sink {
            Sink::File(file) => {
                let (written, result) = file.write(&batch.lines);
                failed = result;
                let ends = batch.ends.iter().zip(missing);
                let cut_off = ends.filter(|(end, _)| **end > written);
                cut_off.for_each(|(_, missing)| lose(missing));
            }
            Sink::Journal(socket) => {
                for ((entry, line), missing) in batch.iter().zip(missing) {
                    if let Err(error) = socket.send(entry, line) {
                        failed = Err(error);
                        lose(missing);
                    }
                }
            }
        }
        failed
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
