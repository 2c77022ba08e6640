//! Steady traffic in three streams, whose fate tells which policy judged each frame.
//!
//! A cable keeps the order and loses nothing that is not dropped on purpose: a sender never gets more than a few rounds ahead of what has
//! arrived. So a frame that is missing was dropped by the gate.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    frames::Frame,
    packet::PacketSocket,
    wait::{holds_within, wait_until},
    wire::Wire,
    world::DEADLINE,
};

/// What a frame is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stream {
    /// Every policy passes it, and every mixture of two drops it.
    Always,
    /// Every policy drops it, and every mixture of two passes it.
    Never,
    /// Some policies pass it and others drop it.
    Sometimes,
}

/// Frames that are sent again and again over each of some cables, until this is stopped.
#[derive(Debug)]
pub struct Traffic {
    lanes: Vec<Lane>,
    stop: Arc<AtomicBool>,
}

/// What became of the frames of one cable.
#[derive(Clone, Debug)]
pub struct Record {
    streams: Vec<Stream>,
    /// For each frame, in the order of sending.
    fates: Vec<Fate>,
}

/// What became of one frame.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    /// Whether it arrived.
    pub passed: bool,
    /// A time before it was judged.
    pub after: Instant,
    /// A time after it was judged: when it arrived, or else the next one after it.
    pub before: Instant,
}

/// How many frames of a stream were sent, and how many of them arrived.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Sent.
    pub sent: u64,
    /// Arrived.
    pub arrived: u64,
}

#[derive(Debug)]
struct Lane {
    streams: Vec<Stream>,
    progress: Arc<Progress>,
    sender: JoinHandle<Result<Vec<Instant>>>,
    receiver: JoinHandle<Result<Vec<(u64, Instant)>>>,
}

#[derive(Debug)]
struct Progress {
    /// Rounds whose last frame has arrived.
    arrived: AtomicU64,
    /// Rounds in all, once that is known.
    total: AtomicU64,
}

impl Traffic {
    /// Starts to send these frames over each wire, round after round. The last one must be of [`Stream::Always`].
    #[must_use]
    pub fn start(wires: Vec<(Wire, Vec<(Stream, Frame)>)>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let lanes = wires
            .into_iter()
            .map(|(wire, frames)| Lane::start(wire, frames, &stop))
            .collect();
        Self { lanes, stop }
    }

    /// Waits until some more rounds, sent from now on, have arrived on all wires.
    ///
    /// # Panics
    ///
    /// If they do not arrive.
    pub fn wait_for_rounds(&self, rounds: u64) {
        for lane in &self.lanes {
            // The rounds that are on their way now may be of before.
            let wanted = lane.progress.arrived.load(Ordering::SeqCst) + WINDOW + rounds;
            wait_until(DEADLINE, "rounds of traffic", || {
                lane.progress.arrived.load(Ordering::SeqCst) >= wanted || lane.sender.is_finished()
            });
        }
    }

    /// Stops sending, and tells for each wire what became of its frames.
    pub fn stop(self) -> Result<Vec<Record>> {
        self.stop.store(true, Ordering::SeqCst);
        self.lanes.into_iter().map(Lane::join).collect()
    }
}

impl Lane {
    fn start(wire: Wire, frames: Vec<(Stream, Frame)>, stop: &Arc<AtomicBool>) -> Self {
        let (near, far) = wire.into_ends();
        let progress = Arc::new(Progress {
            arrived: AtomicU64::new(0),
            total: AtomicU64::new(u64::MAX),
        });
        let streams: Vec<_> = frames.iter().map(|(stream, _)| *stream).collect();
        let templates: Vec<_> = frames
            .into_iter()
            .map(|(_, frame)| frame.payload(&numbered(0)).to_bytes())
            .collect();
        let count = templates.len() as u64;
        let sender = {
            let (progress, stop) = (Arc::clone(&progress), Arc::clone(stop));
            thread::spawn(move || {
                let sent = send(&near, templates, &progress, &stop);
                if sent.is_err() {
                    progress.total.store(0, Ordering::SeqCst);
                }
                sent
            })
        };
        let receiver = {
            let progress = Arc::clone(&progress);
            thread::spawn(move || receive(&far, count, &progress))
        };
        Self {
            streams,
            progress,
            sender,
            receiver,
        }
    }

    fn join(self) -> Result<Record> {
        let sent = self.sender.join().expect("the sender does not panic")?;
        let heard = self.receiver.join().expect("the receiver does not panic")?;
        let of_round = self.streams.len();
        let mut arrived = vec![None; sent.len() * of_round];
        let mut last = None;
        for (number, time) in heard {
            ensure!(last < Some(number), "frame {number} arrives after {last:?}");
            last = Some(number);
            let at = usize::try_from(number)?;
            *arrived.get_mut(at).context("a frame that nobody sent")? = Some(time);
        }
        let mut before = Instant::now();
        let mut fates: Vec<_> = arrived
            .iter()
            .enumerate()
            .rev()
            .map(|(number, arrived)| {
                before = arrived.unwrap_or(before);
                Fate {
                    passed: arrived.is_some(),
                    after: sent[number / of_round],
                    before,
                }
            })
            .collect();
        fates.reverse();
        Ok(Record {
            streams: self.streams,
            fates,
        })
    }
}

fn send(
    near: &PacketSocket,
    mut templates: Vec<Vec<u8>>,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Vec<Instant>> {
    let mut sent = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        let round = sent.len() as u64;
        let is_near = || round < progress.arrived.load(Ordering::SeqCst) + WINDOW;
        ensure!(
            holds_within(DEADLINE, is_near),
            "no frame of {WINDOW} rounds before round {round} arrives"
        );
        sent.push(Instant::now());
        for frame in &mut templates {
            // The checksum becomes wrong by this; the gate does not look at it, and nobody else gets the frame.
            let start = frame.len() - NUMBERED;
            frame[start..].copy_from_slice(&numbered(number));
            near.send(frame).context("cannot send")?;
            number += 1;
        }
        thread::sleep(PACE);
    }
    progress.total.store(sent.len() as u64, Ordering::SeqCst);
    Ok(sent)
}

fn receive(far: &PacketSocket, count: u64, progress: &Progress) -> Result<Vec<(u64, Instant)>> {
    let mut heard = Vec::new();
    let mut silence_since = Instant::now();
    loop {
        if let Some(frame) = far.receive(LOOK_UP)? {
            let now = Instant::now();
            if let Some(number) = number(&frame) {
                heard.push((number, now));
                if (number + 1) % count == 0 {
                    progress
                        .arrived
                        .store((number + 1) / count, Ordering::SeqCst);
                }
            }
            silence_since = now;
        }
        let total = progress.total.load(Ordering::SeqCst);
        let is_silent = silence_since.elapsed() > DEADLINE;
        if progress.arrived.load(Ordering::SeqCst) >= total || is_silent {
            return Ok(heard);
        }
    }
}

impl Record {
    /// What became of the frames of a stream, in the order of sending.
    pub fn fates(&self, stream: Stream) -> impl Iterator<Item = Fate> + '_ {
        let streams = self.streams.iter().cycle();
        let frames = self.fates.iter().zip(streams);
        frames
            .filter(move |(_, other)| **other == stream)
            .map(|(fate, _)| *fate)
    }

    /// Counts a stream.
    #[must_use]
    pub fn tally(&self, stream: Stream) -> Tally {
        self.fates(stream)
            .fold(Tally::default(), |tally, fate| Tally {
                sent: tally.sent + 1,
                arrived: tally.arrived + u64::from(fate.passed),
            })
    }

    /// Fails if a frame arrived that nobody allows, or one was dropped that everybody allows.
    pub fn ensure_never_mixed(&self) -> Result<()> {
        let (always, never) = (self.tally(Stream::Always), self.tally(Stream::Never));
        ensure!(always.sent > 0 && never.sent > 0, "no traffic");
        ensure!(always.arrived == always.sent, "always allowed: {always}");
        ensure!(never.arrived == 0, "never allowed: {never}");
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} arrived", self.arrived, self.sent)
    }
}

fn numbered(number: u64) -> [u8; NUMBERED] {
    let mut bytes = [0; NUMBERED];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// `None` for frames of others.
fn number(frame: &[u8]) -> Option<u64> {
    let end = frame.last_chunk::<NUMBERED>()?;
    let number = end.strip_prefix(MAGIC)?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

const MAGIC: &[u8; 8] = b"traffic!";
const NUMBERED: usize = 16;
/// Rounds on their way at most: as many as the buffers on it hold many times over.
const WINDOW: u64 = 6;
/// Between two rounds, for some thousand frames a second.
const PACE: Duration = Duration::from_millis(1);
/// How often a receiver looks whether it has to stop.
const LOOK_UP: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_read_back_and_from_nothing_else() {
        let mut frame = [&[0; 42][..], &numbered(77)].concat();
        assert_eq!(number(&frame), Some(77));
        frame[42] ^= 1;
        assert_eq!(number(&frame), None);
        assert_eq!(number(&frame[..9]), None);
    }

    #[test]
    fn lost_and_leaked_frames_are_found() {
        let now = Instant::now();
        let fate = |passed| Fate {
            passed,
            after: now,
            before: now,
        };
        let record = |passed: [bool; 2]| Record {
            streams: vec![Stream::Never, Stream::Always],
            fates: passed.map(fate).to_vec(),
        };
        assert!(record([false, true]).ensure_never_mixed().is_ok());
        assert!(record([false, false]).ensure_never_mixed().is_err());
        assert!(record([true, true]).ensure_never_mixed().is_err());
    }
}
