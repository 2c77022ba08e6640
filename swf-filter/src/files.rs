//! Reads policy files: which, in what order, and never more than they may hold. Writes files that are there whole or not at all.
//! Tells whether a file is still what it was.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, fstat, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;
use swf_filter_core::compile::{Generation, compile};
use swf_filter_core::policy::{Entry, Policy, SourceFile, limits, lint, parse};

use crate::report::{Input, Rejected, Report};
use crate::sources::Sources;
use crate::{confine, expect, trust};

/// Policy files that are right.
#[derive(Debug)]
pub struct Loaded {
    /// What they say.
    pub policy: Policy,
    /// What is doubtful about it.
    pub doubts: Report,
    /// What was read.
    pub sources: Sources,
    /// How long reading took, without parsing.
    pub read: Duration,
    /// All files of it.
    files: Vec<SourceFile>,
}

impl Loaded {
    /// Checks a policy whose text is there already.
    pub fn of(sources: Sources) -> Result<Self, Rejected> {
        let policy = sources.read()?;
        let files = sources.files();
        let doubts = Report::new(&lint(&policy, &files), &files);
        Ok(Self {
            policy,
            doubts,
            sources,
            read: Duration::ZERO,
            files,
        })
    }

    /// Compiles the policy, and holds what comes out against what the policy expects of itself.
    pub fn compile(&self) -> Result<Generation, Rejected> {
        let generation = compile(&self.policy)?;
        let unmet = expect::unmet(&self.policy, &generation, &self.files);
        if unmet.is_empty() {
            Ok(generation)
        } else {
            Err(Rejected::Problems(unmet))
        }
    }
}

/// The directory beside that of the policy files which says who can sign requests.
pub(crate) const PRINCIPALS: &str = "principals.d";

/// Reads, checks and links all policy files in `directory`, and those of `principals.d` beside it.
pub fn load(directory: &Path, always_allow: &[Entry]) -> Result<Loaded, Rejected> {
    let principals = directory.with_file_name(PRINCIPALS);
    load_both(directory, &principals, always_allow)
}

/// Reads, checks and links all policy files in two directories, of which the second need not be there.
pub(crate) fn load_both(
    directory: &Path,
    principals: &Path,
    always_allow: &[Entry],
) -> Result<Loaded, Rejected> {
    let start = Instant::now();
    let mut files = read_directory(directory)?;
    if principals.exists() {
        files.extend(read_directory(principals)?);
    }
    let mut read = start.elapsed();
    // Kept to the end, so that problems in them can be drawn.
    let mut named = Vec::new();
    let mut read_named = |path: &Path| {
        let start = Instant::now();
        let file = read_file(path, limits::SET_FILE)?;
        read += start.elapsed();
        let bytes = Arc::clone(&file.bytes);
        named.push(file);
        Ok(bytes)
    };
    let mut policy = parse(&files, &mut read_named).map_err(|problems| {
        Rejected::Problems(Report::new(&problems, &[&*files, &named].concat()))
    })?;
    policy.always_allow = always_allow.to_vec();
    let sources = Sources {
        always_allow: always_allow.to_vec(),
        policy: files.iter().cloned().map(Into::into).collect(),
        named: named.iter().cloned().map(Into::into).collect(),
    };
    let files = [files, named].concat();
    let doubts = Report::new(&lint(&policy, &files), &files);
    Ok(Loaded {
        policy,
        doubts,
        sources,
        read,
        files,
    })
}

/// The files that the policy in `directory` consists of, and those that they name, as far as can be told. They may be wrong, or
/// not be there.
pub(crate) fn named(directory: &Path) -> Vec<PathBuf> {
    let directories = [directory.to_owned(), directory.with_file_name(PRINCIPALS)];
    let files = directories
        .iter()
        .filter_map(|path| read_directory(path).ok());
    let files: Vec<SourceFile> = files.flatten().collect();
    let mut named: Vec<PathBuf> = files
        .iter()
        .map(|file| PathBuf::from(&*file.name))
        .collect();
    // What is wrong is said when the files are loaded; here they only say where others are.
    let _faults = parse(&files, &mut |path: &Path| {
        named.push(path.to_owned());
        Ok(Arc::default())
    });
    named
}

/// The policy files of a directory, in byte order of their names.
pub(crate) fn read_directory(directory: &Path) -> Result<Vec<SourceFile>, Rejected> {
    let mut paths = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(confine::advised)
        .map_err(|error| Rejected::unreadable(Input::PolicyDirectory, directory, error))?;
    Vec::retain(&mut paths, |path| is_policy_file(path));
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            read_file(&path, limits::POLICY_FILE)
                .map_err(|error| Rejected::unreadable(Input::PolicyFile, &path, error))
        })
        .collect()
}

/// Reads a file and names it as the parser does.
pub(crate) fn read_file(path: &Path, limit: usize) -> io::Result<SourceFile> {
    Ok(SourceFile {
        name: path.to_string_lossy().into(),
        bytes: read_limited(path, limit)?,
    })
}

pub(crate) fn is_policy_file(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden
        && path
            .extension()
            .is_some_and(|extension| extension == "toml")
        && !path.is_dir()
}

/// Reads a file, one byte more than `limit` at most, so that the parser can say that it is too long.
pub fn read_limited(path: &Path, limit: usize) -> io::Result<Arc<[u8]>> {
    let mut bytes = Vec::new();
    open_regular(path)?
        .file
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Opens a file to be read: a regular one, to which no link leads that another user may have made to have it read (see `trust`).
pub(crate) fn open_regular(path: &Path) -> io::Result<trust::Opened> {
    trust::open(path).map_err(confine::advised)
}

/// What tells one file from another, whatever their names and contents: device and inode.
pub(crate) fn identity(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// What tells one state of a file from another, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// A file, or a directory, of this device, inode and size, changed at these times.
    ///
    /// The time of the last change of the inode is one of them: it moves when a mode is put right, and when an old time is copied.
    File([u64; 3], [i64; 4]),
    /// There is none, or none that can be looked at.
    Missing(io::ErrorKind),
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(file) => Self::File(
                [file.dev(), file.ino(), file.size()],
                [
                    file.mtime(),
                    file.mtime_nsec(),
                    file.ctime(),
                    file.ctime_nsec(),
                ],
            ),
            Err(error) => Self::Missing(error.kind()),
        }
    }
}

/// Writes a file that only its owner can read, so that after any crash it is as it was or as it should be.
///
/// Its directory is made if need be. A file that root writes belongs to whom the directory belongs to, which is who reads it.
/// The caller sees to it that nobody else writes it meanwhile.
pub(crate) fn write_whole(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    write(path, parts, Access::New(0o600)).map_err(confine::advised)
}

/// The same, for a file that everybody can read.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, &[bytes], Access::New(0o644))
}

/// The same, for a file in place of another, whose owner and mode it gets.
pub(crate) fn write_like(earlier: &Metadata, path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, &[bytes], Access::Like(earlier))
}

/// Makes a directory, for nobody else, if it is not there.
pub(crate) fn make_own(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// Whether a name is that of a file which is being written, or was when its writer was killed.
pub(crate) fn is_unfinished(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(HIDDEN.as_bytes()) && name.ends_with(UNFINISHED.as_bytes())
}

/// How the name of a file begins and ends that is being written.
const HIDDEN: &str = ".";
const UNFINISHED: &str = ".swf-filter";

/// Removes a file that need not be there.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whose a written file is, and who can read it.
#[derive(Clone, Copy)]
enum Access<'a> {
    /// As this one.
    Like(&'a Metadata),
    /// The directory's owner's, with this mode.
    New(u32),
}

fn write(path: &Path, parts: &[&[u8]], access: Access<'_>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    make_own(folder)?;
    // From here on the directory is this one, whatever its path leads to.
    let directory = trust::directory(folder)?;
    let directory = directory.as_fd();
    let name = path.file_name().unwrap_or_default();
    let mode = match access {
        Access::Like(_) => 0o600,
        Access::New(mode) => mode,
    };
    let (beside, file) = make_beside(directory, name, Mode::from_raw_mode(mode))?;
    let written = finish(file, directory, parts, access);
    let replaced = written.and_then(|()| Ok(renameat(directory, &beside, directory, name)?));
    replaced.inspect_err(|_| {
        // It would only take room, which may be what is missing.
        let _may_be_read_only = remove_from(directory, &beside);
    })?;
    Ok(fsync(directory)?)
}

/// Makes a file to be written beside the one of that name: a hidden one, which no directory of policies is read for, with a
/// name that nobody else gives one.
///
/// The owner of the directory could put something in its place that cannot be removed, such as a directory. Where that is
/// somebody else, whom root writes for, the name is then one that nobody can foresee.
fn make_beside(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    mode: Mode,
) -> io::Result<(OsString, File)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut beside = OsString::from(HIDDEN);
    beside.push(name);
    beside.push(UNFINISHED);
    // One that a crash left may be anybody's to read.
    let removed = remove_from(directory, &beside);
    match removed.and_then(|()| Ok(openat(directory, &beside, flags, mode)?)) {
        Ok(file) => return Ok((beside, file.into())),
        Err(error) if is_in_the_way(&error) && is_of_another(directory)? => {}
        Err(error) => return Err(error),
    }
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut beside = OsString::from(HIDDEN);
    beside.push(name);
    beside.push(format!(".{:016x}{UNFINISHED}", u64::from_ne_bytes(random)));
    let file = openat(directory, &beside, flags, mode)?;
    Ok((beside, file.into()))
}

fn is_of_another(directory: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(fstat(directory)?.st_uid != rustix::process::geteuid().as_raw())
}

/// Whether something has the name that cannot be removed.
fn is_in_the_way(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory
    )
}

/// Removes a file of a directory that need not be there.
fn remove_from(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes a new file, whose owner and mode are as they should be before anything is in it.
fn finish(
    mut file: File,
    directory: BorrowedFd<'_>,
    parts: &[&[u8]],
    access: Access<'_>,
) -> io::Result<()> {
    match access {
        Access::Like(earlier) => {
            fchown(&file, Some(earlier.uid()), Some(earlier.gid()))?;
            file.set_permissions(earlier.permissions())?;
        }
        Access::New(_) if rustix::process::geteuid().is_root() => {
            let owner = fstat(directory)?;
            fchown(&file, Some(owner.st_uid), Some(owner.st_gid))?;
        }
        Access::New(_) => {}
    }
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_policy_files_are_read() {
        assert!(is_policy_file(Path::new("policy.d/10-a.toml")));
        assert!(!is_policy_file(Path::new("policy.d/.10-a.toml")));
        assert!(!is_policy_file(Path::new("policy.d/10-a.toml~")));
        assert!(!is_policy_file(Path::new("policy.d/10-a.txt")));
    }

    #[test]
    fn what_a_crash_left_is_neither_read_nor_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/file");
        write_whole(&path, &[b"old"]).unwrap();
        let left = folder.path().join("made/.file.swf-filter");
        fs::write(&left, "ol").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();
        // Somebody's own.
        let other = folder.path().join("made/file.new");
        fs::write(&other, "new, too").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_whole(&path, &[b"n", b"ew"]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(!left.exists() && other.exists());
    }

    #[test]
    fn nothing_that_others_put_in_the_way_keeps_a_file_from_being_written() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let nobody = Some(65_534);
        std::os::unix::fs::chown(folder.path(), nobody, nobody).unwrap();
        let path = folder.path().join("file");
        let trap = folder.path().join(".file.swf-filter");
        fs::create_dir_all(trap.join("inside")).unwrap();
        write_whole(&path, &[b"new"]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let names = fs::read_dir(folder.path()).unwrap();
        assert_eq!(names.count(), 2, "nothing is left beside");
    }

    #[test]
    fn what_is_not_a_file_is_refused() {
        assert_eq!(
            read_limited(Path::new("/dev/zero"), 10).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(
            read_limited(Path::new("/"), 10).unwrap_err().kind(),
            io::ErrorKind::IsADirectory
        );
    }
}
