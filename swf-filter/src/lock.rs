//! Locks that nobody else can take.
//!
//! Whoever may open a file may lock it (`flock(2)`), also one that they may only read. So what is locked is a file of its own, which belongs to
//! the directory's owner, and which nobody else but root can open. A process that is killed gives its lock back.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::fchown;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::files::make_own;
use crate::trust;

/// The file, in the directory that is locked. It is hidden, and no directory of policies is read for it.
const NAME: &str = ".swf-filter.lock";
/// Its mode.
const MODE: u32 = 0o600;
/// Bits of a mode that let others in.
const OTHERS: u32 = 0o077;
/// How often somebody else may be faster to replace it.
const TRIES: usize = 8;

/// What becomes of the file when the lock is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// It goes, and leaves the directory as it was.
    Gone,
    /// It stays, and is there when the disk can no longer be written.
    There,
}

/// A lock that is held for as long as this is there.
#[derive(Debug)]
pub(crate) struct Lock {
    directory: OwnedFd,
    /// It is open, which is all that it is for.
    _file: File,
    afterwards: Afterwards,
}

/// Who else may hold it at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Alone,
    Together,
}

impl Lock {
    /// Makes the file, so that it is there when it is needed. The directory is made if need be, for nobody else.
    pub(crate) fn prepare(directory: &Path) -> io::Result<()> {
        make_own(directory)?;
        open(&trust::directory(directory)?).map(drop)
    }

    /// Takes the lock of a directory, unless another holds it. The directory is made if need be, for nobody else.
    pub(crate) fn alone(directory: &Path, afterwards: Afterwards) -> io::Result<Option<Self>> {
        make_own(directory)?;
        Self::take(directory, Manner::Alone, afterwards)
    }

    /// Takes it so that others may take it in this way at the same time.
    pub(crate) fn together(directory: &Path) -> io::Result<Option<Self>> {
        Self::take(directory, Manner::Together, Afterwards::There)
    }

    fn take(directory: &Path, manner: Manner, afterwards: Afterwards) -> io::Result<Option<Self>> {
        let directory = trust::directory(directory)?;
        for _ in 0..TRIES {
            let file = match open(&directory) {
                // Another user's, who is at it, or who put something in its place that cannot be removed.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::IsADirectory | io::ErrorKind::PermissionDenied
                    ) =>
                {
                    return Ok(None);
                }
                file => file?,
            };
            let locked = match manner {
                Manner::Alone => file.try_lock(),
                Manner::Together => file.try_lock_shared(),
            };
            match locked {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if is_there(&directory, &file)? {
                return Ok(Some(Self {
                    directory,
                    _file: file,
                    afterwards,
                }));
            }
        }
        Ok(None)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.afterwards == Afterwards::Gone {
            // Whoever waits for this one sees that it is gone. One that stays is no harm.
            let _stays = unlinkat(&self.directory, NAME, AtFlags::empty());
        }
    }
}

/// Opens the file, which is made if need be. One that others can open is replaced.
fn open(directory: &OwnedFd) -> io::Result<File> {
    // Reading is enough, and possible where nothing can be written any more.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let owner = fstat(directory)?;
    for _ in 0..TRIES {
        match openat(directory, NAME, flags, Mode::empty()) {
            Ok(file) if is_private(&fstat(&file)?, &owner) => return Ok(file.into()),
            // A link, a socket, or what others can open.
            Ok(_) | Err(Errno::LOOP | Errno::NXIO) => unlinkat(directory, NAME, AtFlags::empty())?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let made = flags | OFlags::CREATE | OFlags::EXCL;
        match openat(directory, NAME, made, Mode::from_raw_mode(MODE)) {
            Ok(file) => {
                if geteuid().is_root() {
                    fchown(file.as_fd(), Some(owner.st_uid), Some(owner.st_gid))?;
                }
                return Ok(file.into());
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Whether nobody can open a file but root, this user, and the owner of its directory.
fn is_private(file: &Stat, directory: &Stat) -> bool {
    let owner = file.st_uid;
    FileType::from_raw_mode(file.st_mode) == FileType::RegularFile
        && file.st_mode & OTHERS == 0
        && (owner == 0 || owner == geteuid().as_raw() || owner == directory.st_uid)
}

/// Whether a file that was locked still has its name.
fn is_there(directory: &OwnedFd, file: &File) -> io::Result<bool> {
    let own = fstat(file)?;
    match statat(directory, NAME, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok((there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn one_holds_it_alone_or_some_together() {
        let folder = tempfile::tempdir().unwrap();
        let take = || Lock::alone(folder.path(), Afterwards::Gone).unwrap();
        let together = || Lock::together(folder.path()).unwrap();
        let held = take().unwrap();
        assert!(take().is_none() && together().is_none());
        drop(held);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let (one, two) = (together().unwrap(), together().unwrap());
        assert!(take().is_none());
        drop((one, two));
        assert!(take().is_some());
    }

    #[test]
    fn nobody_else_can_open_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        Lock::prepare(folder.path()).unwrap();
        assert_eq!(mode(), MODE);
        // What somebody has put there is replaced, and what it leads to is left alone.
        let other = folder.path().join("other");
        fs::write(&other, "").unwrap();
        let plant: [&dyn Fn(); 2] = [&|| symlink(&other, &path).unwrap(), &|| {
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }];
        for plant in plant {
            fs::remove_file(&path).unwrap();
            plant();
            let planted = File::open(&path).unwrap();
            planted.lock().unwrap();
            let held = Lock::alone(folder.path(), Afterwards::There).unwrap();
            assert!(held.is_some() && mode() == MODE && !path.is_symlink());
        }
        assert!(other.exists());
    }
}
