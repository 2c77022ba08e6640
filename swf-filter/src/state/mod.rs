//! What outlives the daemon: the last generations as they were compiled, what rules counted in earlier ones, which generation shall be
//! in force where the files do not say so, and the history of all.
//!
//! A generation is written before it takes effect. So whatever the kernel enforces can be named after any crash, and the last
//! good one can be enforced after a boot with broken policy files. Files are written beside their place, synchronised and
//! renamed: each is there whole or not at all, and says so itself with a checksum. A checksum is no signature: who can write to the
//! directory says what is enforced, so [`prepare`] refuses one that others can change.

mod history;
mod ledger;
mod order;
#[cfg(test)]
mod tests;

use std::fs::{self, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use rustix::process::geteuid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use swf_filter_core::compile::Generation;
use tracing::warn;

use crate::confine;
use crate::files::{self, open_regular, write_whole};
use crate::lock::Lock;
use crate::sources::Sources;

use self::history::Known;
pub use self::history::{By, Change, How, Record, Tally, Via, is_damage};
pub use self::ledger::{Ledger, RuleKey, first_keys, keys};
pub use self::order::{Moment, Order, Trial};

/// First bytes of every file. The number is that of the format: change it whenever the test of the format fails.
const FORMAT: &[u8; 20] = b"swf-filter state 03\n";
/// Bytes of the checksum.
const CHECKSUM: usize = blake3::OUT_LEN;
/// Bytes of a file at most: several times what the largest policy takes.
const MAX_BYTES: u64 = 4 << 30;
/// Bytes of a file of bounded content at most: several times what the longest history takes.
const MAX_SMALL_BYTES: u64 = 16 << 20;
/// How files of generations are called, before the number.
const PREFIX: &str = "generation-";
/// The highest number that a generation is taken to have. No change will ever get there, and one more is still a number.
const HIGHEST: u64 = u64::MAX >> 1;

/// The directory that `paths.state` names.
#[derive(Debug)]
pub struct State {
    directory: PathBuf,
    /// The history, as it was read last.
    history: Mutex<Option<Known>>,
}

/// A generation on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// Its number.
    pub number: u64,
    /// The one that it replaces, if that may still have counters which the ledger does not know.
    pub after: Option<u64>,
    /// When it was made, in milliseconds of Unix time.
    pub since: i64,
    /// The generation.
    pub generation: Arc<Generation>,
    /// What it was compiled from.
    pub sources: Arc<Sources>,
}

impl Saved {
    /// When it was made.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        Timestamp::from_millisecond(self.since).unwrap_or_default()
    }
}

/// Makes the directory, if it is not there, and makes sure that others can neither change it nor lock it.
///
/// A disk that cannot be written is told when something is to be written.
pub(crate) fn prepare(directory: &Path) -> Result<()> {
    let shown = directory.display();
    let _unwritable = files::make_own(directory);
    let there = match fs::metadata(directory) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at `{shown}`")),
    };
    let (owner, mode) = (there.uid(), there.mode());
    ensure!(
        owner == 0 || owner == geteuid().as_raw(),
        "`{shown}` belongs to the user {owner}, who could say what is enforced; give it to root once you know what is in it, or set \
         `paths.state` to another directory",
    );
    ensure!(
        mode & 0o022 == 0,
        "others can write to `{shown}` (mode {:04o}), and could say what is enforced; `chmod go-w` it once you know what is in it",
        mode & 0o7777,
    );
    if mode & 0o077 != 0
        && let Err(error) = fs::set_permissions(directory, Permissions::from_mode(0o700))
    {
        warn!("others can look into `{shown}`, and lock it: {error}");
    }
    Ok(())
}

impl State {
    /// The state in `directory`, which is made when something is first written.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            history: Mutex::default(),
        }
    }

    /// Removes what a daemon that was killed left half written. For the daemon at its start, when it has its lock: nobody else writes here.
    pub fn remove_unfinished(&self) {
        for entry in fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            if files::is_unfinished(&entry.file_name())
                && let Err(error) = fs::remove_file(entry.path())
            {
                warn!("cannot remove {}: {error}", entry.path().display());
            }
        }
    }

    /// Has others wait before they write policy files, as long as what this gives is there: they lock this directory for that. Refused
    /// while somebody writes them.
    pub(crate) fn keep_files_still(&self) -> Result<Option<Lock>> {
        // Who cannot open it has no lock on it either.
        let Ok(lock) = Lock::together(&self.directory) else {
            return Ok(None);
        };
        ensure!(
            lock.is_some(),
            "another swf-filter writes policy files, and some may not say yet what they will; wait for its end, and do this again"
        );
        Ok(lock)
    }

    /// Writes a generation.
    pub fn save(&self, saved: &Saved) -> Result<()> {
        write(&self.generation_path(saved.number), saved)
    }

    /// Reads a generation.
    pub fn load(&self, number: u64) -> Result<Saved> {
        let path = self.generation_path(number);
        let saved: Saved = read(&path)?;
        ensure!(
            saved.number == number,
            "{} holds generation {}",
            path.display(),
            saved.number
        );
        Ok(saved)
    }

    /// The newest generation that can be read.
    #[must_use]
    pub fn newest(&self) -> Option<Saved> {
        self.numbers()
            .into_iter()
            .find_map(|number| match self.load(number) {
                Ok(saved) => Some(saved),
                Err(error) => {
                    warn!(
                        generation = number,
                        "what is on disk of it is of no use: {error:#}"
                    );
                    None
                }
            })
    }

    /// The highest number that a generation on disk has.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.numbers().first().copied()
    }

    /// Removes all generations but those with these numbers.
    pub fn keep(&self, numbers: &[u64]) {
        for number in self.numbers() {
            if !numbers.contains(&number) {
                self.forget(number);
            }
        }
    }

    /// Removes a generation.
    pub fn forget(&self, number: u64) {
        let path = self.generation_path(number);
        if let Err(error) = fs::remove_file(&path) {
            warn!("cannot remove {}: {error}", path.display());
        }
    }

    /// Writes the ledger.
    pub fn save_ledger(&self, ledger: &Ledger) -> Result<()> {
        write(&self.ledger_path(), ledger)
    }

    /// Reads the ledger, if there is one.
    pub fn load_ledger(&self) -> Result<Option<Ledger>> {
        let path = self.ledger_path();
        path.exists().then(|| read(&path)).transpose()
    }

    /// Numbers of the generations on disk, the highest first.
    fn numbers(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return Vec::new();
        };
        let mut numbers: Vec<u64> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                let text = name.to_str()?.strip_prefix(PREFIX)?;
                let number: u64 = text.parse().ok()?;
                // As a number is written here, so that its path is this one's.
                (number <= HIGHEST && number.to_string() == text).then_some(number)
            })
            .collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        numbers
    }

    fn generation_path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{PREFIX}{number}"))
    }

    fn ledger_path(&self) -> PathBuf {
        self.directory.join("ledger")
    }
}

/// Writes a value, with what tells whether it is whole.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let payload = postcard::to_stdvec(value).context("cannot encode the state")?;
    let checksum = blake3::hash(&payload);
    write_whole(path, &[FORMAT, checksum.as_bytes(), &payload])
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a value, and makes sure that it is whole.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    read_within(path, MAX_BYTES)
}

/// The same of what is never large: a size that is damaged takes no memory.
fn read_small<T: DeserializeOwned>(path: &Path) -> Result<T> {
    read_within(path, MAX_SMALL_BYTES)
}

fn read_within<T: DeserializeOwned>(path: &Path, most: u64) -> Result<T> {
    let shown = path.display();
    let bytes = bytes_of(path, most).with_context(|| format!("cannot read {shown}"))?;
    let bytes = bytes.with_context(|| format!("{shown} is larger than any state is"))?;
    let rest = bytes
        .strip_prefix(FORMAT)
        .with_context(|| format!("{shown} was not written by this version"))?;
    let (checksum, payload) = rest
        .split_at_checked(CHECKSUM)
        .with_context(|| format!("{shown} is cut off"))?;
    ensure!(
        blake3::hash(payload).as_bytes() == checksum,
        "{shown} is damaged"
    );
    postcard::from_bytes(payload).with_context(|| format!("{shown} cannot be decoded"))
}

/// The bytes of a file, if it has no more than `most`. What is no file is not waited for.
fn bytes_of(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = open_regular(path)?.file;
    let length = file.metadata()?.len();
    if length > most {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = file.take(most + 1).read_to_end(&mut bytes);
    let read = read.map_err(confine::advised)?;
    Ok((read as u64 <= most).then_some(bytes))
}
