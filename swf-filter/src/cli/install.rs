//! Makes the policy files say what a text says.
//!
//! Each file is replaced in one step, not all of them together: until they say the same as what is in force, a start of the daemon
//! does not read them. What was there is kept beside, with a `~` behind its name, under which it is not read. What is kept so is
//! never overwritten: it may be the only copy of what somebody wrote and nobody ever enforced.
//!
//! Files behind symbolic links are outside, whatever the link is called, and are left alone.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use swf_filter_core::policy::limits;

use crate::config::Config;
use crate::files::{self, PRINCIPALS, is_policy_file};
use crate::lock::{Afterwards, Lock};
use crate::report::visible;
use crate::sources::{Source, Sources};

/// The right to write policy files. Others wait, or are refused, as long as this one is there.
pub(super) struct Turn(
    #[expect(dead_code, reason = "it is held, which is all that it is for")] Option<Lock>,
);

impl Turn {
    /// The right to write the daemon's files, which is a lock on its state directory. Refused if another has it.
    pub(super) fn now(state: &Path) -> Result<Self> {
        Self::within(Duration::ZERO, state, |_| {}).context(NOTHING_CHANGED)
    }

    /// Once no other has it any more, and refused if one has it all the time. `tell` is told once that it has to wait.
    pub(super) fn within(time: Duration, state: &Path, tell: impl FnOnce(&str)) -> Result<Self> {
        let shown = visible(&state.to_string_lossy());
        let deadline = Instant::now() + time;
        let mut tell = Some(tell);
        loop {
            let taken = match Lock::alone(state, Afterwards::There) {
                // What is no directory nobody can lock, nor write state to. A policy must not wait for that to be mended.
                Err(error) if is_no_directory(&error) => return Ok(Self(None)),
                taken => taken.with_context(|| format!("cannot lock `{shown}`"))?,
            };
            if let Some(lock) = taken {
                return Ok(Self(Some(lock)));
            }
            let why = busy(&shown);
            ensure!(Instant::now() < deadline, "{why}");
            if let Some(tell) = tell.take() {
                tell(&why);
            }
            thread::sleep(GLANCE);
        }
    }

    /// The right to write to a directory that is `ours`, the daemon's, or another. Refused if another has it.
    ///
    /// Who may write to the daemon's directories, but may not lock its state, has to do with a lock there.
    pub(super) fn at(directory: &Path, ours: Option<&Config>) -> Result<Self> {
        let is_ours = |config: &&Config| {
            let real = directory.canonicalize().ok();
            real.is_some()
                && directories(config)
                    .iter()
                    .any(|one| one.canonicalize().ok() == real)
        };
        if let Some(config) = ours.filter(is_ours) {
            match Self::now(&config.paths.state) {
                Err(error) if is_denied(&error) => {}
                turn => return turn,
            }
        }
        let shown = visible(&directory.to_string_lossy());
        let taken = Lock::alone(directory, Afterwards::Gone);
        let lock = taken.with_context(|| format!("cannot lock `{shown}`"))?;
        lock.map(|lock| Self(Some(lock)))
            .with_context(|| busy(&shown))
            .context(NOTHING_CHANGED)
    }
}

fn busy(shown: &str) -> String {
    format!("another swf-filter reads or writes policy files, and has locked `{shown}`")
}

fn is_denied(error: &anyhow::Error) -> bool {
    let causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes
        .into_iter()
        .any(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn is_no_directory(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory
    )
}

const NOTHING_CHANGED: &str = "nothing was changed; do this again once nobody else writes";

/// How often it is tried to take a turn.
const GLANCE: Duration = Duration::from_millis(100);

/// The directories that the daemon reads.
pub(super) fn directories(config: &Config) -> [PathBuf; 2] {
    let policy = config.paths.policy.clone();
    let principals = policy.with_file_name(PRINCIPALS);
    [policy, principals]
}

/// Has the files of these directories say what `sources` says, and gives those files outside of them that do not. The caller has
/// its [`Turn`].
pub(super) fn install(sources: &Sources, directories: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut astray = Vec::new();
    let followed = sources.followed();
    for Source { name, text } in sources.policy.iter().chain(&sources.named) {
        let path = Path::new(&**name);
        // What another program writes is its own, and newer than any text here.
        let is_followed = followed.iter().any(|set| set.path == path);
        if is_as(path, text) || is_followed && path.exists() {
            continue;
        }
        if directories.iter().any(|directory| is_in(path, directory)) {
            put(path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
        } else {
            astray.push(path.to_owned());
        }
    }
    for directory in directories {
        put_others_aside(directory, sources)
            .with_context(|| format!("cannot tidy `{}`", directory.display()))?;
    }
    Ok(astray)
}

fn is_as(path: &Path, text: &[u8]) -> bool {
    files::read_limited(path, text.len()).is_ok_and(|found| *found == *text)
}

/// Whether a file is below a directory. One with `..` in its path, or behind a link, is anywhere.
fn is_in(path: &Path, directory: &Path) -> bool {
    path.starts_with(directory)
        && !path.components().any(|part| part == Component::ParentDir)
        && !path
            .ancestors()
            .take_while(|part| *part != directory)
            .any(Path::is_symlink)
}

/// Moves policy files away that the text does not have.
fn put_others_aside(directory: &Path, sources: &Sources) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let is_ours = |source: &Source| Path::new(&*source.name) == path;
        if is_policy_file(&path) && !sources.policy.iter().any(is_ours) {
            match free_name(&path)? {
                Some(name) => fs::rename(&path, name)?,
                None => fs::remove_file(&path)?,
            }
        }
    }
    File::open(directory)?.sync_all()
}

/// Writes a file in place of the one that is there, which keeps its owner and mode.
fn put(path: &Path, text: &[u8]) -> io::Result<()> {
    let earlier = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            return files::write_public(path, text);
        }
        metadata => metadata?,
    };
    if let Some(name) = free_name(path)? {
        fs::hard_link(path, name)?;
    }
    files::write_like(&earlier, path, text)
}

/// A name beside a file for what it says, under which nothing is kept yet. None if what it says is kept there already.
fn free_name(path: &Path) -> io::Result<Option<PathBuf>> {
    let text = whole(path);
    let mut ending = "~".to_owned();
    for number in 2_u64.. {
        let mut name = path.as_os_str().to_owned();
        name.push(&ending);
        let name = PathBuf::from(name);
        let there = match fs::symlink_metadata(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(name)),
            metadata => metadata?,
        };
        // Nothing is read that cannot be it: there may be many, and large ones.
        let is_as_long = |text: &[u8]| there.len() == text.len() as u64;
        if text.as_deref().is_some_and(is_as_long) && whole(&name) == text {
            return Ok(None);
        }
        ending = format!("~{number}");
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// What a file says, if it is one that could be part of a policy.
fn whole(path: &Path) -> Option<std::sync::Arc<[u8]>> {
    // What is behind a link may be another's, and change.
    fs::symlink_metadata(path).ok()?.is_file().then_some(())?;
    let text = files::read_limited(path, limits::SET_FILE).ok()?;
    (text.len() <= limits::SET_FILE).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::sync::mpsc;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn source(path: &Path, text: &str) -> Source {
        Source {
            name: path.to_string_lossy().into(),
            text: text.as_bytes().into(),
        }
    }

    #[test]
    fn no_more_of_a_file_is_read_than_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
        fs::write(&file, "text").unwrap();
        assert!(is_as(&file, b"text"));
        assert!(!is_as(&file, b"tex") && !is_as(&file, b"text\n") && !is_as(&file, b""));
        // Its length is that of no text, and reading it has no end.
        mkfifoat(CWD, &pipe, Mode::RUSR).unwrap();
        let (sender, answer) = mpsc::channel();
        thread::spawn(move || sender.send(is_as(&pipe, b"")));
        assert_eq!(answer.recv_timeout(Duration::from_secs(20)), Ok(false));
    }

    #[test]
    fn files_say_the_text_and_what_they_said_is_kept_beside() {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("policy.d");
        fs::create_dir(&ours).unwrap();
        for (name, text) in [
            ("10.toml", "old"),
            ("20.toml", "same"),
            ("30.toml", "gone"),
            ("README", "not a policy"),
        ] {
            fs::write(ours.join(name), text).unwrap();
        }
        let mode = fs::Permissions::from_mode(0o640);
        fs::set_permissions(ours.join("10.toml"), mode).unwrap();
        let outside = folder.path().join("elsewhere.txt");
        let sources = Sources {
            policy: vec![
                source(&ours.join("10.toml"), "new"),
                source(&ours.join("20.toml"), "same"),
                source(&ours.join("40.toml"), "more"),
            ],
            named: vec![
                source(&ours.join("sets/a.txt"), "192.0.2.0/24"),
                source(&ours.join("../elsewhere.txt"), "x"),
                source(&outside, "x"),
            ],
            ..Sources::default()
        };
        let astray = install(&sources, std::slice::from_ref(&ours)).unwrap();
        assert_eq!(astray, [ours.join("../elsewhere.txt"), outside.clone()]);
        let read = |name: &str| fs::read_to_string(ours.join(name)).unwrap();
        assert_eq!([read("10.toml"), read("10.toml~")], ["new", "old"]);
        assert_eq!(read("20.toml"), "same");
        assert_eq!(read("30.toml~"), "gone");
        assert_eq!(
            [read("40.toml"), read("sets/a.txt")],
            ["more", "192.0.2.0/24"]
        );
        assert_eq!(read("README"), "not a policy");
        assert!(!outside.exists());
        let names = fs::read_dir(&ours).unwrap().count();
        assert_eq!(names, 7, "and nothing else");
        let mode = fs::metadata(ours.join("10.toml")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o640);

        fs::write(&outside, "x").unwrap();
        assert_eq!(
            install(&sources, &[ours]).unwrap(),
            Vec::<PathBuf>::new(),
            "what is said elsewhere already is not astray"
        );
    }

    #[test]
    fn what_is_kept_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("policy.d");
        fs::create_dir(&ours).unwrap();
        fs::write(ours.join("10.toml"), "never enforced").unwrap();
        fs::write(ours.join("20.toml"), "gone").unwrap();
        fs::write(ours.join("20.toml~"), "gone before").unwrap();
        for text in ["first", "second", "first", "second", "third"] {
            let sources = Sources {
                policy: vec![source(&ours.join("10.toml"), text)],
                ..Sources::default()
            };
            install(&sources, std::slice::from_ref(&ours)).unwrap();
        }
        let read = |name: &str| fs::read_to_string(ours.join(name)).unwrap();
        let kept = ["~", "~2", "~3"].map(|ending| read(&format!("10.toml{ending}")));
        assert_eq!(kept, ["never enforced", "first", "second"]);
        assert_eq!(
            [read("20.toml~"), read("20.toml~2")],
            ["gone before", "gone"]
        );
        // With the one that is in force, and none that says the same as another.
        assert_eq!(fs::read_dir(&ours).unwrap().count(), 6);
    }

    #[test]
    fn what_is_behind_a_link_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, real) = (folder.path().join("ours"), folder.path().join("real.toml"));
        let sets = folder.path().join("sets");
        fs::create_dir(&ours).unwrap();
        fs::create_dir(&sets).unwrap();
        fs::write(&real, "old").unwrap();
        symlink(&real, ours.join("10.toml")).unwrap();
        symlink(&sets, ours.join("sets")).unwrap();
        let mut sources = Sources {
            policy: vec![source(&ours.join("10.toml"), "new")],
            named: vec![source(&ours.join("sets/a.txt"), "new")],
            ..Sources::default()
        };
        let astray = install(&sources, std::slice::from_ref(&ours)).unwrap();
        assert_eq!(astray, [ours.join("10.toml"), ours.join("sets/a.txt")]);
        assert_eq!(fs::read_to_string(&real).unwrap(), "old");
        assert!(ours.join("10.toml").is_symlink() && !sets.join("a.txt").exists());
        // One that belongs to nothing is moved, and not what it leads to.
        sources.policy.clear();
        install(&sources, std::slice::from_ref(&ours)).unwrap();
        assert!(ours.join("10.toml~").is_symlink() && real.exists());
    }

    #[test]
    fn one_writes_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Turn::now(folder.path()).unwrap();
        let refused = format!("{:#}", Turn::now(folder.path()).err().unwrap());
        assert!(refused.contains("do this again"), "{refused}");
        // What waits may be in force already: doing it again is no advice.
        let refused = Turn::within(Duration::from_millis(1), folder.path(), |_| {});
        let refused = format!("{:#}", refused.err().unwrap());
        assert!(!refused.contains("do this again"), "{refused}");
        // It goes on once the other is gone, and not before.
        let _second = Turn::within(Duration::from_mins(1), folder.path(), |_| drop(first)).unwrap();
        assert!(Turn::now(folder.path()).is_err());
        let left = fs::read_dir(folder.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".swf-filter.lock"]);
    }
}
