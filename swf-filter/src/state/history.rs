//! What was in force, since when, by whom: a record of each change, and the texts of the last ones, to go back to.
//!
//! Texts are kept by their hash, so one that comes back is there once. Records outlive them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{State, read, read_small, write};
use crate::files::Stamp;
use crate::sources::Sources;

/// Records that are kept.
const MOST_RECORDS: usize = 1_000;
/// Bytes of texts that are kept, the newest not counted.
const MOST_TEXT: u64 = 1 << 30;
/// How files of texts are called, before the hash.
const PREFIX: &str = "text-";

/// One change of what is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The generation that it brought into force, or kept there.
    pub generation: u64,
    /// When, RFC 3339.
    pub time: String,
    /// Who did it.
    pub by: By,
    /// How.
    pub how: How,
    /// The earlier generation that came back, if one did.
    pub again: Option<u64>,
    /// The hash of its tables, in hexadecimal.
    pub hash: String,
    /// The hash of its text, in hexadecimal.
    pub policy: String,
    /// What changed.
    pub change: Change,
}

/// Who made a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// By which way.
    pub via: Via,
    /// The user's number, as the kernel has it of the control socket's peer.
    pub uid: Option<u32>,
    /// The user's name.
    pub user: Option<String>,
}

/// By which way a change was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Via {
    /// Over the control socket.
    #[serde(rename = "control")]
    Control,
    /// By whatever wrote a followed set file.
    #[serde(rename = "file")]
    File,
    /// By a signal.
    #[serde(rename = "SIGHUP")]
    Hangup,
    /// At the daemon's start.
    #[serde(rename = "start")]
    Start,
    /// By the clock.
    #[serde(rename = "timer")]
    Timer,
}

/// How a generation came into force, or stayed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// `apply`.
    Apply,
    /// `confirm`, of what was tried.
    Confirm,
    /// From a set file that is followed, in the text that was in force.
    Follow,
    /// From the policy files.
    Reload,
    /// The end of a trial.
    Revert,
    /// `rollback`.
    Rollback,
    /// `try`.
    Try,
}

/// What a change added, removed and changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Protected hosts.
    pub hosts: Tally,
    /// Prefixes in the tables of hosts that were there before and after.
    pub prefixes: Tally,
    /// Rules. One that changes is one removed and one added.
    pub rules: Tally,
    /// Whether there are more prefixes than were counted.
    pub more: bool,
}

/// How many of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Not there before.
    pub added: usize,
    /// Not there any more.
    pub removed: usize,
    /// Otherwise than before.
    pub changed: usize,
}

impl By {
    /// The daemon, when it starts.
    #[must_use]
    pub fn start() -> Self {
        Self::of(Via::Start)
    }

    /// The daemon, when time is up.
    #[must_use]
    pub fn timer() -> Self {
        Self::of(Via::Timer)
    }

    /// Whoever wrote a followed set file.
    #[must_use]
    pub fn file() -> Self {
        Self::of(Via::File)
    }

    /// Whoever sent SIGHUP.
    #[must_use]
    pub fn hangup() -> Self {
        Self::of(Via::Hangup)
    }

    /// A user, over the control socket.
    #[must_use]
    pub fn user(uid: u32) -> Self {
        Self {
            via: Via::Control,
            uid: Some(uid),
            user: name_of(uid),
        }
    }

    fn of(via: Via) -> Self {
        Self {
            via,
            uid: None,
            user: None,
        }
    }

    /// As it is shown.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.via, self.uid, &self.user) {
            (Via::Start, ..) => "start".to_owned(),
            (Via::Timer, ..) => "timer".to_owned(),
            (Via::File, ..) => "file".to_owned(),
            (Via::Hangup, ..) => "SIGHUP".to_owned(),
            (Via::Control, _, Some(user)) => user.clone(),
            (Via::Control, Some(uid), None) => format!("uid {uid}"),
            (Via::Control, None, None) => "control socket".to_owned(),
        }
    }
}

impl How {
    /// As it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Confirm => "confirm",
            Self::Follow => "follow",
            Self::Reload => "reload",
            Self::Revert => "revert",
            Self::Rollback => "rollback",
            Self::Try => "try",
        }
    }
}

/// The history as it was when its file had this stamp.
#[derive(Debug)]
pub(super) struct Known {
    stamp: Stamp,
    records: Arc<[Record]>,
}

impl State {
    /// Adds a record, and keeps its text; of texts, `most` are kept. Gives what is to be told if the history had to begin anew for that.
    pub fn remember(&self, record: Record, text: &Sources, most: usize) -> Result<Option<String>> {
        self.keep_text(&record.policy, text)?;
        let (mut records, anew) = match self.history() {
            Ok(known) => (known.to_vec(), None),
            Err(error) if is_damage(&error) => {
                let path = self.history_path();
                // Perhaps somebody can mend it, and then has the texts, too.
                fs::rename(&path, path.with_extension("damaged"))
                    .with_context(|| format!("cannot put {} aside", path.display()))?;
                let words = format!(
                    "the history cannot be read, and begins anew; what it was is kept as `history.damaged`: {error:#}"
                );
                warn!("{words}");
                (Vec::new(), Some(words))
            }
            Err(error) => return Err(error),
        };
        records.push(record);
        records.drain(..records.len().saturating_sub(MOST_RECORDS));
        let written = write(&self.history_path(), &records);
        match &anew {
            Some(words) => written.with_context(|| words.clone()),
            None => written,
        }?;
        if anew.is_none() {
            self.forget_texts(&records, most);
        }
        Ok(anew)
    }

    /// Writes a text that is not there, or is there with damage. That of the last record was written with it.
    fn keep_text(&self, policy: &str, text: &Sources) -> Result<()> {
        let history = self.history().unwrap_or_default();
        let is_last = history.last().is_some_and(|last| last.policy == policy);
        let is_kept = match self.keeps_text(policy) {
            true if is_last => true,
            true => self.load_text(policy).is_ok(),
            false => false,
        };
        if is_kept {
            return Ok(());
        }
        write(&self.text_path(policy), text)
    }

    /// All records, the oldest first. A file that was read is only read again if it is another since.
    pub fn history(&self) -> Result<Arc<[Record]>> {
        let path = self.history_path();
        let stamp = Stamp::of(&path);
        let mut known = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.as_ref().filter(|known| known.stamp == stamp) {
            return Ok(Arc::clone(&same.records));
        }
        let read = path.try_exists()?.then(|| read_small(&path));
        let read: Option<Vec<Record>> = read.transpose()?;
        let records: Arc<[Record]> = read.unwrap_or_default().into();
        *known = Some(Known {
            stamp,
            records: Arc::clone(&records),
        });
        Ok(records)
    }

    /// Whether a text is kept.
    #[must_use]
    pub fn keeps_text(&self, policy: &str) -> bool {
        self.text_path(policy).exists()
    }

    /// Reads a text.
    pub fn load_text(&self, policy: &str) -> Result<Sources> {
        let path = self.text_path(policy);
        let text: Sources = read(&path)?;
        ensure!(
            text.hash() == policy,
            "{} holds another text than its name says",
            path.display()
        );
        Ok(text)
    }

    /// Removes all texts but the newest.
    fn forget_texts(&self, records: &[Record], most: usize) {
        let mut kept = HashSet::new();
        let mut bytes = 0;
        for record in records.iter().rev() {
            if kept.len() >= most.max(1) || kept.contains(&record.policy) {
                continue;
            }
            let size = fs::metadata(self.text_path(&record.policy)).map_or(0, |file| file.len());
            if !kept.is_empty() {
                bytes += size;
                if bytes > MOST_TEXT {
                    break;
                }
            }
            kept.insert(record.policy.clone());
        }
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let hash = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            if hash.is_some_and(|hash| !kept.contains(hash))
                && let Err(error) = fs::remove_file(entry.path())
            {
                warn!("cannot remove {}: {error}", entry.path().display());
            }
        }
    }

    fn history_path(&self) -> PathBuf {
        self.directory.join("history")
    }

    fn text_path(&self, policy: &str) -> PathBuf {
        self.directory.join(format!("{PREFIX}{policy}"))
    }
}

/// Whether a history that cannot be read is damaged, so that the next record begins it anew. Any other reason may pass, and then all of
/// it is there.
#[must_use]
pub fn is_damage(error: &anyhow::Error) -> bool {
    !error.chain().any(<dyn std::error::Error>::is::<io::Error>)
}

/// The user's name, as `/etc/passwd` has it (`passwd(5)`).
fn name_of(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    name_in(&users, uid).map(str::to_owned)
}

fn name_in(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == uid).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;
    use crate::sources::Source;

    fn text(number: usize) -> Sources {
        Sources {
            policy: vec![Source {
                name: "10.toml".into(),
                text: Arc::from(number.to_string().into_bytes()),
            }],
            ..Sources::default()
        }
    }

    fn record(generation: u64, text: &Sources) -> Record {
        Record {
            generation,
            time: String::new(),
            by: By::start(),
            how: How::Reload,
            again: None,
            hash: String::new(),
            policy: text.hash(),
            change: Change::default(),
        }
    }

    #[test]
    fn the_last_texts_are_kept_and_records_of_all() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(&folder.path().join("made/when/needed"));
        assert_eq!(*state.history().unwrap(), []);
        for (generation, number) in [(1, 1), (2, 2), (3, 3), (4, 2)] {
            let text = text(number);
            state.remember(record(generation, &text), &text, 2).unwrap();
        }
        let numbers: Vec<u64> = state
            .history()
            .unwrap()
            .iter()
            .map(|r| r.generation)
            .collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        assert!(!state.keeps_text(&text(1).hash()));
        assert_eq!(state.load_text(&text(2).hash()).unwrap(), text(2));
        assert_eq!(state.load_text(&text(3).hash()).unwrap(), text(3));
    }

    /// A state whose history is damaged after its first record.
    fn damaged() -> (TempDir, State) {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        state.remember(record(1, &text(1)), &text(1), 20).unwrap();
        fs::write(state.history_path(), "damaged").unwrap();
        (folder, state)
    }

    fn assert_aside(state: &State) {
        let aside = state.history_path().with_extension("damaged");
        assert_eq!(fs::read_to_string(aside).unwrap(), "damaged");
    }

    #[test]
    fn a_damaged_history_is_told_and_begins_anew() {
        let (_folder, state) = damaged();
        assert!(is_damage(&state.history().unwrap_err()));
        let told = state.remember(record(2, &text(2)), &text(2), 1).unwrap();
        assert!(told.unwrap().contains("is kept as `history.damaged`"));
        assert_eq!(*state.history().unwrap(), [record(2, &text(2))]);
        assert!(state.keeps_text(&text(1).hash()));
        assert_aside(&state);
    }

    #[test]
    fn a_damaged_history_that_cannot_begin_anew_is_told_to_be_aside() {
        let (folder, state) = damaged();
        fs::create_dir(folder.path().join(".history.swf-filter")).unwrap();
        let error = state
            .remember(record(2, &text(2)), &text(2), 20)
            .unwrap_err();
        assert!(format!("{error:#}").contains("is kept as `history.damaged`"));
        assert_aside(&state);
    }

    #[test]
    fn a_history_that_cannot_be_looked_at_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        // A link to itself: whether anything is there cannot be told.
        symlink("history", state.history_path()).unwrap();
        assert!(state.history().is_err());
        assert!(state.remember(record(1, &text(1)), &text(1), 20).is_err());
        assert!(state.history_path().is_symlink(), "it is not written over");
    }

    #[test]
    fn a_history_that_cannot_be_read_now_is_kept_for_later() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        state.remember(record(1, &text(1)), &text(1), 20).unwrap();
        let path = state.history_path();
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(!is_damage(&state.history().unwrap_err()));
        assert!(state.remember(record(2, &text(2)), &text(2), 20).is_err());
        fs::remove_dir(&path).unwrap();
        fs::rename(&elsewhere, &path).unwrap();
        let told = state.remember(record(2, &text(2)), &text(2), 20).unwrap();
        assert_eq!(told, None, "nothing is lost");
        let records = [record(1, &text(1)), record(2, &text(2))];
        assert_eq!(*state.history().unwrap(), records);
    }

    #[test]
    fn a_history_is_read_again_only_if_its_file_changed() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        state.remember(record(1, &text(1)), &text(1), 20).unwrap();
        let before = state.history().unwrap();
        assert!(Arc::ptr_eq(&before, &state.history().unwrap()));
        let other = State::new(folder.path());
        other.remember(record(2, &text(2)), &text(2), 20).unwrap();
        assert_eq!(state.history().unwrap().len(), 2);
    }

    #[test]
    fn a_damaged_text_is_written_anew_when_it_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        for number in [1, 2] {
            let text = text(number);
            state
                .remember(record(number as u64, &text), &text, 20)
                .unwrap();
        }
        let first = text(1);
        fs::write(state.text_path(&first.hash()), "damaged").unwrap();
        assert!(state.load_text(&first.hash()).is_err());
        state.remember(record(3, &first), &first, 20).unwrap();
        assert_eq!(state.load_text(&first.hash()).unwrap(), first);
    }

    #[test]
    fn a_history_whose_size_is_damaged_takes_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        state.remember(record(1, &text(1)), &text(1), 20).unwrap();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(state.history_path());
        // It has no more blocks on disk for that.
        file.unwrap().set_len(3 << 30).unwrap();
        let error = state.history().unwrap_err();
        assert!(format!("{error:#}").contains("larger than any state"));
        assert!(is_damage(&error));
    }

    #[test]
    fn records_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        let text = text(1);
        let many: Vec<Record> = (0..MOST_RECORDS as u64)
            .map(|generation| record(generation, &text))
            .collect();
        write(&state.history_path(), &many).unwrap();
        state.remember(record(5_000, &text), &text, 1).unwrap();
        let records = state.history().unwrap();
        assert_eq!(records.len(), MOST_RECORDS);
        assert_eq!(records[0].generation, 1);
    }

    #[test]
    fn a_text_under_another_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        state.remember(record(1, &text(1)), &text(1), 20).unwrap();
        let other = text(2).hash();
        fs::copy(state.text_path(&text(1).hash()), state.text_path(&other)).unwrap();
        assert!(state.load_text(&other).is_err());
        assert!(state.load_text(&text(1).hash()).is_ok());
    }

    #[test]
    fn users_have_the_names_that_the_system_gives_them() {
        let users = "root:x:0:0:root:/root:/bin/bash\n#\nbad\nalice:x:1000:1000::/:/bin/sh\n";
        assert_eq!(name_in(users, 0), Some("root"));
        assert_eq!(name_in(users, 1000), Some("alice"));
        assert_eq!(name_in(users, 100), None);
        assert_eq!(By::start().name(), "start");
        assert_eq!(By::user(u32::MAX - 1).name(), "uid 4294967294");
    }
}
