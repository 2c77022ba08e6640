//! Opens files by names that other users may have a say in, and is not led to what these may not read.
//!
//! The daemon and root's commands read what others may put in place: a followed set file, a document, the listener's keys and log. Whoever
//! decides what such a name leads to could have a file read that is closed to them, and hear of what is in it. So a path is walked here name by
//! name, with a descriptor for each directory, and what may have been made by others is held against what is found in the end:
//!
//! * A symbolic link counts as its owner's, unless that is root or this process's own user, or it lies where only these write. It may lead
//!   to a file of the same owner.
//! * Where others write, a file or link with a second name may be anybody's doing: a hard link takes no right to read.
//! * What everybody may read, by the modes of the file and of all directories on the way, may be named by anybody.
//!
//! So root's own links stay, wherever they lead, and so do trees in which one user swaps links to files of their own. `openat2(2)` with
//! `RESOLVE_NO_SYMLINKS` would refuse these, and says nothing about hard links.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open as open_at_root, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Symbolic links on the way to a file, at most: as many as the kernel follows (`path_resolution(7)`).
const MOST_LINKS: usize = 40;
/// Bits of a mode that let others than the owner write.
pub(crate) const WRITABLE: u32 = 0o022;
/// The bit that lets everybody read a file.
const READABLE: u32 = 0o004;
/// The bit that lets everybody go through a directory.
const PASSABLE: u32 = 0o001;

/// A file that was opened to be read.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The file.
    pub(crate) file: File,
    /// Its owner.
    owner: u32,
    /// The owner of the directory that it is in.
    directory: u32,
}

impl Opened {
    /// The owner, if it is somebody whose secrets this process may use: not root, not its own user, nor, for root, whose directory it is in.
    pub(crate) fn stranger(&self) -> Option<u32> {
        let is_known =
            is_trusted(self.owner) || geteuid().is_root() && self.owner == self.directory;
        (!is_known).then_some(self.owner)
    }

    /// The owner, if that is neither root nor this process's own user.
    pub(crate) fn other(&self) -> Option<u32> {
        (!is_trusted(self.owner)).then_some(self.owner)
    }
}

/// Opens a regular file to be read. Anything else is refused before a byte is read: a pipe would block, a device may never end.
pub(crate) fn open(path: &Path) -> io::Result<Opened> {
    let mut walk = Walk::begin(path)?;
    open_at_end(&mut walk).map_err(|error| walk.told(error))
}

fn open_at_end(walk: &mut Walk) -> io::Result<Opened> {
    loop {
        let Some(name) = walk.step()? else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&walk.directory, &name, flags, Mode::empty()) {
            // It was a file a moment ago, and is a link now.
            Err(Errno::LOOP) => {
                walk.again(name)?;
                continue;
            }
            file => file?,
        };
        let stat = fstat(&file)?;
        ensure_regular(&stat)?;
        walk.judge(&stat)?;
        return Ok(Opened {
            file: file.into(),
            owner: stat.st_uid,
            directory: walk.stat.st_uid,
        });
    }
}

/// Opens a directory to write in. No link of others leads there, but to a directory of their own.
pub(crate) fn directory(path: &Path) -> io::Result<OwnedFd> {
    let mut walk = Walk::begin(path)?;
    match walk.step() {
        Ok(None) => {}
        Ok(Some(_)) => return Err(walk.told(io::ErrorKind::NotADirectory.into())),
        Err(error) => return Err(walk.told(error)),
    }
    if !walk.is_led_by_owner(walk.stat.st_uid) {
        return Err(led_astray());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(&walk.directory, ".", flags, Mode::empty())?)
}

/// Who made the links of others that were followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guide {
    /// There were none.
    Nobody,
    /// One user.
    One(u32),
    /// It cannot be told, or it was several.
    Somebody,
}

impl Guide {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nobody, one) | (one, Self::Nobody) => one,
            (one, other) if one == other => one,
            _ => Self::Somebody,
        }
    }
}

/// A path that is walked.
struct Walk {
    /// Where it has come.
    directory: OwnedFd,
    stat: Stat,
    /// The names that are left.
    names: VecDeque<OsString>,
    guide: Guide,
    links: usize,
    /// Whether everybody may go this way.
    public: bool,
}

impl Walk {
    fn begin(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let (directory, stat) = root()?;
        let mut walk = Self {
            directory,
            stat,
            names: VecDeque::new(),
            guide: Guide::Nobody,
            links: 0,
            public: true,
        };
        walk.put_before(&path)?;
        Ok(walk)
    }

    /// Goes on as far as directories go, and gives the name in the last one of what is none; none if the path is a directory's.
    fn step(&mut self) -> io::Result<Option<OsString>> {
        while let Some(name) = self.names.pop_front() {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            // Only as a directory is something mounted that waits for its first use.
            match openat(
                &self.directory,
                &name,
                flags | OFlags::DIRECTORY,
                Mode::empty(),
            ) {
                Ok(directory) => {
                    let stat = fstat(&directory)?;
                    self.enter(directory, stat);
                    continue;
                }
                Err(Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
            let found = openat(&self.directory, &name, flags, Mode::empty())?;
            let stat = fstat(&found)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                self.follow(&found, &stat)?;
                continue;
            }
            if !self.names.is_empty() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            ensure_regular(&stat)?;
            return Ok(Some(name));
        }
        Ok(None)
    }

    fn enter(&mut self, directory: OwnedFd, stat: Stat) {
        self.public &= stat.st_mode & PASSABLE != 0;
        self.directory = directory;
        self.stat = stat;
    }

    fn follow(&mut self, link: &OwnedFd, stat: &Stat) -> io::Result<()> {
        let guide = if !is_shared(&self.stat) {
            Guide::Nobody
        } else if stat.st_nlink > 1 {
            Guide::Somebody
        } else if is_trusted(stat.st_uid) {
            Guide::Nobody
        } else {
            Guide::One(stat.st_uid)
        };
        self.guide = self.guide.and(guide);
        let target = readlinkat(link, "", Vec::new())?.into_bytes();
        self.count_link()?;
        self.put_before(&PathBuf::from(OsString::from_vec(target)))
    }

    /// Goes to a name once more.
    fn again(&mut self, name: OsString) -> io::Result<()> {
        self.count_link()?;
        self.names.push_front(name);
        Ok(())
    }

    fn count_link(&mut self) -> io::Result<()> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        Ok(())
    }

    /// Has a path walked before what is left.
    fn put_before(&mut self, path: &Path) -> io::Result<()> {
        for component in path.components().rev() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir => OsStr::new(".."),
                Component::CurDir | Component::Prefix(_) => continue,
                Component::RootDir => {
                    let (directory, stat) = root()?;
                    self.enter(directory, stat);
                    continue;
                }
            };
            self.names.push_front(name.to_owned());
        }
        Ok(())
    }

    /// What is told of a failure: whoever made a link learns nothing of what is where it leads, not even whether it is there.
    fn told(&self, error: io::Error) -> io::Error {
        match self.guide {
            Guide::Nobody => error,
            Guide::One(_) | Guide::Somebody => led_astray(),
        }
    }

    /// Whether whoever made links on the way is the owner of what was found.
    fn is_led_by_owner(&self, owner: u32) -> bool {
        matches!(self.guide, Guide::Nobody) || self.guide == Guide::One(owner)
    }

    /// Refuses a file that others may have led to without being allowed to read it.
    fn judge(&self, file: &Stat) -> io::Result<()> {
        let has_names_of_others = is_shared(&self.stat) && file.st_nlink > 1;
        let is_right = self.is_led_by_owner(file.st_uid) && !has_names_of_others;
        let is_public = self.public && file.st_mode & READABLE != 0;
        if is_right || is_public {
            Ok(())
        } else {
            Err(led_astray())
        }
    }
}

fn root() -> io::Result<(OwnedFd, Stat)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open_at_root("/", flags, Mode::empty())?;
    let stat = fstat(&directory)?;
    Ok((directory, stat))
}

/// Whether others than root and this process's own user may add names to a directory. An access list shows in the bits of the group.
fn is_shared(directory: &Stat) -> bool {
    !is_trusted(directory.st_uid) || directory.st_mode & WRITABLE != 0
}

fn is_trusted(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

fn ensure_regular(stat: &Stat) -> io::Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(io::ErrorKind::IsADirectory.into()),
        _ => {
            let words = "it is not a regular file";
            Err(io::Error::new(io::ErrorKind::InvalidInput, words))
        }
    }
}

/// The kind is one that nothing else here has, by which a policy's problem tells it, too.
fn led_astray() -> io::Error {
    let words = "a link or second name that another user may have made leads to it, and not everybody may read it";
    io::Error::new(io::ErrorKind::InvalidData, words)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use tempfile::TempDir;

    use super::*;

    const ONE: u32 = 65_533;
    const TWO: u32 = 65_534;

    /// A directory of root's, and in it one of user one's; none for who cannot give files away.
    fn stage() -> Option<(TempDir, PathBuf)> {
        if !geteuid().is_root() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        chown(&theirs, Some(ONE), Some(ONE)).unwrap();
        Some((folder, theirs))
    }

    fn write(path: &Path, owner: u32, mode: u32) {
        fs::write(path, "text").unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        chown(path, Some(owner), Some(owner)).unwrap();
    }

    fn link(target: &Path, path: &Path, owner: u32) {
        symlink(target, path).unwrap();
        lchown(path, Some(owner), Some(owner)).unwrap();
    }

    fn is_refused(path: &Path) -> bool {
        match open(path) {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
                true
            }
        }
    }

    #[test]
    fn a_link_leads_to_files_of_its_owner_only() {
        let Some((folder, theirs)) = stage() else {
            return;
        };
        for (target, link_owner, refused) in [
            (0, ONE, true),
            (TWO, ONE, true),
            (ONE, ONE, false),
            // Root may lead where it likes.
            (ONE, 0, false),
            (0, 0, false),
        ] {
            let file = folder.path().join(format!("file-{target}-{link_owner}"));
            write(&file, target, 0o600);
            let name = theirs.join(format!("link-{target}-{link_owner}"));
            link(&file, &name, link_owner);
            assert_eq!(is_refused(&name), refused, "{target} by {link_owner}");
            // A link to the link is no way around it.
            let again = theirs.join(format!("again-{target}-{link_owner}"));
            link(&name, &again, 0);
            assert_eq!(is_refused(&again), refused, "{target} by {link_owner}");
        }
    }

    #[test]
    fn a_link_to_a_directory_counts_as_one_to_what_is_in_it() {
        let Some((folder, theirs)) = stage() else {
            return;
        };
        let closed = folder.path().join("closed");
        fs::create_dir(&closed).unwrap();
        // It may be read, but only by who gets there.
        write(&closed.join("file"), 0, 0o644);
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        link(&closed, &theirs.join("link"), ONE);
        assert!(is_refused(&theirs.join("link/file")));
        let beside = theirs.join("link/../closed/file");
        assert!(is_refused(&beside), "also on the way back");
        assert_eq!(
            directory(&theirs.join("link")).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        let own = folder.path().join("own");
        fs::create_dir(&own).unwrap();
        chown(&own, Some(ONE), Some(ONE)).unwrap();
        write(&own.join("file"), ONE, 0o600);
        link(&own, &theirs.join("swapped"), ONE);
        assert!(!is_refused(&theirs.join("swapped/file")));
        assert!(directory(&theirs.join("swapped")).is_ok());
    }

    #[test]
    fn what_everybody_may_read_may_be_named_by_anybody() {
        let Some((folder, theirs)) = stage() else {
            return;
        };
        let file = folder.path().join("file");
        write(&file, 0, 0o644);
        link(&file, &theirs.join("link"), ONE);
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        assert!(is_refused(&theirs.join("link")));
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        assert!(!is_refused(&theirs.join("link")));
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        assert!(is_refused(&theirs.join("link")));
    }

    #[test]
    fn a_second_name_counts_where_others_write() {
        let Some((folder, theirs)) = stage() else {
            return;
        };
        let file = folder.path().join("file");
        write(&file, 0, 0o600);
        let name = theirs.join("name");
        fs::hard_link(&file, &name).unwrap();
        assert!(is_refused(&name));
        assert!(!is_refused(&file), "root's own directory");
        fs::remove_file(&file).unwrap();
        assert!(!is_refused(&name), "it has one name");
        // Links of root's can be had in the same way.
        let secret = folder.path().join("secret");
        write(&secret, 0, 0o600);
        let link = folder.path().join("link");
        symlink(&secret, &link).unwrap();
        let planted = theirs.join("planted");
        let flags = rustix::fs::AtFlags::empty();
        rustix::fs::linkat(rustix::fs::CWD, &link, rustix::fs::CWD, &planted, flags).unwrap();
        assert!(is_refused(&planted));
        assert!(!is_refused(&link));
    }

    #[test]
    fn links_that_root_swaps_are_followed_also_where_everybody_writes() {
        let Some((folder, _)) = stage() else {
            return;
        };
        // As in volumes of Kubernetes, of which nobody can write to what everybody may.
        let volume = folder.path().join("volume");
        fs::create_dir_all(volume.join("..2026")).unwrap();
        fs::set_permissions(&volume, Permissions::from_mode(0o777)).unwrap();
        write(&volume.join("..2026/list.txt"), 0, 0o640);
        symlink("..2026", volume.join("..data")).unwrap();
        symlink("..data/list.txt", volume.join("list.txt")).unwrap();
        assert!(!is_refused(&volume.join("list.txt")));
        // Whose the link is makes the difference.
        lchown(volume.join("..data"), Some(ONE), Some(ONE)).unwrap();
        assert!(is_refused(&volume.join("list.txt")));
    }

    #[test]
    fn a_circle_of_links_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link");
        symlink("link", &path).unwrap();
        let error = open(&path).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        for (path, kind) in [
            ("none", io::ErrorKind::NotFound),
            (".", io::ErrorKind::IsADirectory),
            ("file/", io::ErrorKind::NotFound),
        ] {
            let path = folder.path().join(path);
            assert_eq!(open(&path).unwrap_err().kind(), kind, "{path:?}");
        }
        fs::write(folder.path().join("file"), "").unwrap();
        let below = folder.path().join("file/below");
        assert_eq!(
            open(&below).unwrap_err().kind(),
            io::ErrorKind::NotADirectory
        );
    }

    #[test]
    fn whose_a_file_is_can_be_told() {
        let Some((folder, theirs)) = stage() else {
            return;
        };
        for (directory, owner, stranger, other) in [
            (folder.path(), 0, None, None),
            (folder.path(), ONE, Some(ONE), Some(ONE)),
            (&*theirs, ONE, None, Some(ONE)),
            (&*theirs, TWO, Some(TWO), Some(TWO)),
        ] {
            let path = directory.join("file");
            write(&path, owner, 0o600);
            let opened = open(&path).unwrap();
            assert_eq!((opened.stranger(), opened.other()), (stranger, other));
        }
    }
}
