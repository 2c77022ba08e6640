//! The last policy on disk, for a listener that starts without a daemon.
//!
//! A policy that another has replaced is not enforced again. Two things see to that. A *mark* in the run directory names what is
//! in force, and is there before it is: it outlives this process, and mostly lies on another disk. And what cannot be written
//! makes way: the older policy is removed, also from a full disk. Until the new one is written, which is tried again and again, a
//! listener that starts without a daemon lets nobody in.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::control::api::{PolicyInfo, PolicyReport};
use crate::files::{open_regular, remove_if_there, write_whole};
use crate::listener::settings::Paths;
use crate::state;

/// The last policy, in the state directory.
const POLICY: &str = "policy";
/// What is in force, in the run directory.
const MARK: &str = "enforced";
/// Between two attempts to write the same, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// How long a policy waits for the disk before it is in force.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the last policy is, and what tells which it is.
#[derive(Clone, Debug)]
pub(in crate::listener) struct Places {
    policy: PathBuf,
    mark: PathBuf,
}

/// A policy, as it is on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// As the daemon told it.
    pub(super) report: PolicyReport,
    /// When it did, in milliseconds of Unix time. Files of versions that did not write it end before.
    since: i64,
}

/// Which policy is in force.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    #[serde(flatten)]
    info: PolicyInfo,
    /// Since when, RFC 3339.
    since: String,
}

/// What the operator should know of the policy on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::listener) struct Doubts {
    /// That the daemon has not told yet which policy is to be enforced.
    start: Option<String>,
    mark: Option<String>,
    policy: Option<String>,
}

impl Doubts {
    pub(in crate::listener) fn words(&self) -> impl Iterator<Item = &String> {
        self.start.iter().chain(&self.mark).chain(&self.policy)
    }
}

/// What became of the older policy where a new one cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Older {
    Gone,
    There,
}

impl Kept {
    /// A policy that the daemon tells now.
    pub(super) fn now(report: PolicyReport) -> Self {
        Self {
            report,
            since: Timestamp::now().as_millisecond(),
        }
    }

    fn mark(&self) -> Mark {
        let since = Timestamp::from_millisecond(self.since).unwrap_or_default();
        Mark {
            info: self.report.info.clone(),
            since: format!("{since:.0}"),
        }
    }

    /// Which it is, and of when.
    fn name(&self) -> String {
        let generation = self.report.info.generation;
        match Timestamp::from_millisecond(self.since) {
            Ok(since) if self.since > 0 => format!("generation {generation} of {since:.0}"),
            _ => format!("generation {generation}"),
        }
    }
}

impl Places {
    pub(in crate::listener) fn new(paths: &Paths) -> Self {
        Self::at(&paths.state, &paths.listener_run)
    }

    pub(super) fn at(state: &Path, run: &Path) -> Self {
        Self {
            policy: state.join(POLICY),
            mark: run.join(MARK),
        }
    }

    /// The policy on disk, if there is one, and none was in force after it.
    pub(super) fn load(&self) -> Result<Option<Kept>> {
        let mark = self.marked()?;
        if !self.policy.try_exists()? {
            if let Some(Mark { info, since }) = mark {
                let generation = info.generation;
                bail!("generation {generation} of {since} was in force, and is not on disk");
            }
            return Ok(None);
        }
        let kept = self.read()?;
        let info = &kept.report.info;
        ensure!(
            info.policy == kept.report.sources.hash(),
            "its text is another"
        );
        if let Some(mark) = mark.filter(|mark| mark.info.policy != info.policy) {
            bail!(
                "{} holds {}, and generation {} of {} was in force after it, as {} says",
                self.policy.display(),
                kept.name(),
                mark.info.generation,
                mark.since,
                self.mark.display()
            );
        }
        Ok(Some(kept))
    }

    fn read(&self) -> Result<Kept> {
        state::read(&self.policy).or_else(|_| {
            let report = state::read(&self.policy)?;
            Ok(Kept { report, since: 0 })
        })
    }

    fn marked(&self) -> Result<Option<Mark>> {
        let shown = self.mark.display();
        let file = match open_regular(&self.mark) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.with_context(|| format!("cannot read {shown}"))?,
        };
        let mark = serde_json::from_reader(io::BufReader::new(file.file));
        Ok(Some(mark.with_context(|| {
            format!("{shown} does not say which policy was in force")
        })?))
    }

    /// Writes which policy is in force from now on. A mark that cannot be written must not stay: it would be of another policy.
    fn mark(&self, json: &[u8]) -> Result<()> {
        let written = write_whole(&self.mark, &[json, b"\n"]);
        if written.is_err() {
            remove_if_there(&self.mark)
                .with_context(|| format!("cannot remove {}", self.mark.display()))?;
        }
        written.with_context(|| format!("cannot write {}", self.mark.display()))
    }

    /// Writes a policy. Where that cannot be done, no older one stays.
    fn write(&self, kept: &Kept) -> Result<(), (Older, anyhow::Error)> {
        let Err(error) = state::write(&self.policy, kept) else {
            return Ok(());
        };
        let text = &kept.report.info.policy;
        if self
            .read()
            .is_ok_and(|there| there.report.info.policy == *text)
        {
            return Ok(());
        }
        if self.remove().is_err() {
            return Err((Older::There, error));
        }
        // What was missing may have been its room.
        state::write(&self.policy, kept).map_err(|error| (Older::Gone, error))
    }

    fn remove(&self) -> io::Result<()> {
        remove_if_there(&self.policy)?;
        match File::open(self.policy.parent().unwrap_or(Path::new("/"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            directory => directory?.sync_all(),
        }
    }

    /// What the operator should know where a policy cannot be written.
    fn unkept(&self, older: Older, error: &anyhow::Error) -> String {
        let policy = self.policy.display();
        let then = match older {
            Older::Gone => {
                "and no older one is left: a start without a daemon lets nobody in".to_owned()
            }
            Older::There => format!(
                "and an older one is, which cannot be removed: a start without a daemon lets nobody in as long as {} is there, and enforces \
                 the older one after a boot",
                self.mark.display()
            ),
        };
        format!(
            "the policy in force is not on disk yet, {then}; free space for {policy}, or mend its disk; it is tried again: {error:#}"
        )
    }
}

/// A policy that is to be written.
#[derive(Debug)]
struct Job {
    kept: Arc<Kept>,
    /// Told once that was tried.
    tried: oneshot::Sender<()>,
}

/// Keeps what is in force on disk.
#[derive(Debug)]
pub(super) struct Keeper {
    disk: Arc<Disk>,
    /// What is still to be written.
    next: watch::Sender<Option<Job>>,
}

/// What is written, by one task at a time.
#[derive(Debug)]
struct Disk {
    places: Places,
    /// The newest mark, written or not.
    mark: Mutex<Option<Mark>>,
    doubts: watch::Sender<Doubts>,
}

impl Keeper {
    /// Keeps policies at these places, as long as the runtime is there.
    pub(super) fn start(places: Places) -> Self {
        let disk = Arc::new(Disk {
            places,
            mark: Mutex::default(),
            doubts: watch::Sender::default(),
        });
        let next = watch::Sender::default();
        tokio::spawn(write_down(Arc::clone(&disk), next.clone()));
        Self { disk, next }
    }

    pub(super) fn doubts(&self) -> watch::Receiver<Doubts> {
        self.disk.doubts.subscribe()
    }

    /// The policy to start with. That nothing newer is known is a doubt until the daemon tells what is to be enforced.
    pub(super) async fn load(&self) -> Option<Kept> {
        let places = self.disk.places.clone();
        let loaded = spawn_blocking(move || places.load()).await;
        match loaded.map_err(Into::into).flatten() {
            Ok(None) => None,
            Ok(Some(kept)) => {
                let words = format!(
                    "{} is in force, which was the last one, until the daemon tells of another",
                    kept.name()
                );
                info!("{words}");
                self.doubt_start(Some(words));
                Some(kept)
            }
            Err(error) => {
                self.refuse(&error);
                None
            }
        }
    }

    /// The policy to start with cannot be enforced.
    pub(super) fn refuse(&self, error: &anyhow::Error) {
        let words = format!("the last policy is of no use: {error:#}");
        warn!("{words}");
        self.doubt_start(Some(words));
    }

    /// Takes note of what is about to be in force.
    pub(super) async fn mark(&self, kept: &Kept) {
        *self.disk.mark.lock().await = Some(kept.mark());
        self.disk.write_mark().await;
    }

    /// Writes what is about to be in force, as soon as the disk takes it. Returns when that was tried, or takes long: a source that is
    /// to be shut out does not wait for a disk.
    pub(super) async fn keep(&self, kept: Arc<Kept>) {
        let (tried, first) = oneshot::channel();
        self.next.send_replace(Some(Job { kept, tried }));
        let _takes_long = timeout(PATIENCE, first).await;
    }

    /// The daemon has told what is to be enforced, and that is enforced.
    pub(super) fn told(&self) {
        self.doubt_start(None);
    }

    fn doubt_start(&self, words: Option<String>) {
        self.disk.doubts.send_modify(|doubts| doubts.start = words);
    }
}

/// Writes policies, one after the other, each until it is there or another is to be written.
async fn write_down(disk: Arc<Disk>, next: watch::Sender<Option<Job>>) {
    let mut there_is_more = next.subscribe();
    while there_is_more.wait_for(Option::is_some).await.is_ok() {
        // Not kept in memory once it is on disk: it may be large.
        let Some(Job { kept, tried }) = next.send_replace(None) else {
            continue;
        };
        let mut is_there = disk.write(&kept).await;
        let _nobody_waits = tried.send(());
        let [mut pause, longest] = PAUSES;
        while !is_there || disk.doubts.borrow().mark.is_some() {
            let newer = there_is_more.wait_for(Option::is_some);
            if timeout(pause, newer).await.is_ok() {
                break;
            }
            pause = (2 * pause).min(longest);
            disk.write_mark().await;
            is_there = is_there || disk.write(&kept).await;
        }
    }
}

impl Disk {
    /// Whether a policy is on disk now.
    async fn write(&self, kept: &Arc<Kept>) -> bool {
        let (places, there) = (self.places.clone(), Arc::clone(kept));
        let words = match spawn_blocking(move || places.write(&there)).await {
            Ok(Ok(())) => None,
            Ok(Err((older, error))) => Some(self.places.unkept(older, &error)),
            Err(error) => Some(self.places.unkept(Older::There, &error.into())),
        };
        let is_there = words.is_none();
        let before = self.tell(|doubts| &mut doubts.policy, words);
        if is_there && before.is_some() {
            info!("{} is on disk", kept.name());
        }
        is_there
    }

    /// Writes which policy is in force.
    async fn write_mark(&self) {
        // Held until it is written, so that marks are written in their order.
        let mark = self.mark.lock().await;
        let Some(json) = mark.as_ref().and_then(|mark| serde_json::to_vec(mark).ok()) else {
            return;
        };
        let places = self.places.clone();
        let written = spawn_blocking(move || places.mark(&json)).await;
        let error = written.map_err(Into::into).flatten().err();
        let words = error.map(|error| {
            format!(
                "it is not written down which policy is in force, so that a start without a daemon may enforce an older one; it is tried \
                 again: {error:#}"
            )
        });
        self.tell(|doubts| &mut doubts.mark, words);
    }

    /// Says what is wrong now, and logs it if nothing was before, which it gives.
    fn tell(
        &self,
        part: impl Fn(&mut Doubts) -> &mut Option<String>,
        words: Option<String>,
    ) -> Option<String> {
        let mut before = None;
        self.doubts.send_modify(|doubts| {
            before = std::mem::replace(part(doubts), words.clone());
        });
        if let Some(words) = words.filter(|_| before.is_none()) {
            warn!("{words}");
        }
        before
    }
}
