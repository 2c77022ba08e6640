//! Where programs, maps and links are pinned, that there is a bpf file system to pin them in, and that nobody else can change that place.

use std::ffi::CStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::mount::{MountFlags, mount};
use rustix::process::geteuid;
use swf_filter_common::abi;

use crate::files::identity;

/// Magic number of the bpf file system (`BPF_FS_MAGIC` in `linux/magic.h`).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// Where the bpf file system is mounted by convention.
const BPF_FS: &str = "/sys/fs/bpf";

/// How long a daemon that is on its way out is waited for: the kernel takes its time over a process that was killed.
const LOCK_TIME: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Access for the owner alone.
const OWN: u32 = 0o700;
/// Permission bits.
const PERMISSIONS: u32 = 0o7777;
/// What lets others make, rename and remove names in a directory.
const WRITABLE: u32 = 0o022;
/// What lets only the owner of a name or of the directory do so (`inode(7)`).
const STICKY: u32 = 0o1000;
/// With these, the bpf file system is its owner's alone; the kernel's own choice is 1777.
const BPF_OPTIONS: &CStr = c"mode=0700";

/// Why a directory of pins, or one above it, is not to be relied on: whoever can change it can take the filter off.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It cannot be looked at.
    #[error("cannot look at `{}`", .0.display())]
    Hidden(PathBuf, #[source] io::Error),
    /// It leads elsewhere.
    #[error(
        "`{}` is a symbolic link, which could lead elsewhere by tomorrow; remove it, or set `paths.bpf` to where it leads", .0.display()
    )]
    Link(PathBuf),
    /// It is something else.
    #[error("`{}` is not a directory; remove it", .0.display())]
    NoDirectory(PathBuf),
    /// It is somebody else's.
    #[error(
        "`{}` belongs to the user {owner}, who could take the filter off; remove it, or give it to root once you know what is in it", .path.display()
    )]
    Owner {
        /// Which.
        path: PathBuf,
        /// Whose.
        owner: u32,
    },
    /// Others can write to it.
    #[error(
        "others can write to `{}` (mode {mode:04o}), and could take the filter off; `chmod go-w` it once you know what is in it", .path.display()
    )]
    Writable {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// The pins of one daemon.
#[derive(Clone, Debug)]
pub struct Pins {
    base: PathBuf,
}

impl Pins {
    /// Pins under `base`, in a directory that carries the version of the ABI.
    #[must_use]
    pub fn new(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
        }
    }

    /// Makes sure that nobody else works on these pins, as long as the file is open.
    pub fn lock(&self) -> Result<File> {
        let patience = Instant::now() + LOCK_TIME;
        loop {
            match self.try_lock() {
                Ok(directory) => return Ok(directory),
                Err(error) if Instant::now() >= patience => return Err(error),
                Err(_) => sleep(LOCK_PAUSE),
            }
        }
    }

    /// The same, at once or not at all.
    pub(super) fn try_lock(&self) -> Result<File> {
        let shown = self.base.display();
        let directory = File::open(&self.base).with_context(|| format!("cannot open {shown}"))?;
        let locked = flock(&directory, FlockOperation::NonBlockingLockExclusive);
        ensure!(locked.is_ok(), "another swf-filter daemon holds {shown}");
        Ok(directory)
    }

    /// Whether the directory is still the one of this identity.
    pub(super) fn is_at(&self, directory: (u64, u64)) -> bool {
        fs::metadata(&self.base).is_ok_and(|there| identity(&there) == directory)
    }

    /// The directory of this version.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.base.join(format!("v{}", abi::VERSION))
    }

    /// A map's pin. No name there may have a dot (`bpf_lookup` in `kernel/bpf/inode.c`), which those of a program's sections start with.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.directory().join(name.trim_start_matches('.'))
    }

    /// The program's pin.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.directory().join("program")
    }

    /// The directory of links. It is not versioned: a new version takes over the links of the old one.
    #[must_use]
    pub fn links(&self) -> PathBuf {
        self.base.join("links")
    }

    /// The pin of the link to the interface with this number.
    #[must_use]
    pub fn link(&self, interface: u32) -> PathBuf {
        self.links().join(interface.to_string())
    }

    /// Numbers of the interfaces that have a pinned link.
    #[must_use]
    pub fn linked(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(self.links()) else {
            return Vec::new();
        };
        let mut numbers: Vec<u32> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// The directory in which theirs is made, if that is in a bpf file system too.
    pub(crate) fn above(&self) -> Option<PathBuf> {
        let above = self.base.parent()?;
        is_bpf(above).ok()?.then(|| above.to_owned())
    }

    /// Whether they are, or would be, in a bpf file system.
    pub(crate) fn are_in_bpf(&self) -> Result<bool> {
        is_bpf(existing(&self.base))
    }

    /// Makes the directories, mounting the bpf file system at its usual place if it is not there.
    pub fn prepare(&self) -> Result<()> {
        if self.base.starts_with(BPF_FS) && !is_bpf(Path::new(BPF_FS))? {
            mount(
                "bpf",
                BPF_FS,
                "bpf",
                MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
                Some(BPF_OPTIONS),
            )
            .with_context(|| format!("no bpf file system at {BPF_FS}, and it cannot be mounted"))?;
            tracing::info!("mounted the bpf file system at {BPF_FS}");
        }
        self.make()
    }

    /// Makes the directories that are not there, and makes sure that nobody else can change them.
    pub(super) fn make(&self) -> Result<()> {
        // Nothing is made, or changed, below what others can change.
        self.ensure_own()?;
        let existing = existing(&self.base);
        ensure!(
            is_bpf(existing)?,
            "`{}` is not in a bpf file system; set `paths.bpf` to a directory below {BPF_FS}, or mount one there with \
             `mount -t bpf -o mode=0700 bpf {}`",
            self.base.display(),
            existing.display(),
        );
        make_own(&self.base)?;
        self.ensure_own()?;
        // Not for others: whoever can open it could lock it, and keep the daemon from starting.
        let mode = fs::symlink_metadata(&self.base)?.mode() & PERMISSIONS;
        if mode != OWN {
            fs::set_permissions(&self.base, Permissions::from_mode(OWN))
                .with_context(|| format!("cannot change {}", self.base.display()))?;
        }
        for directory in [self.directory(), self.links()] {
            make_own(&directory)?;
        }
        Ok(self.ensure_own()?)
    }

    /// Makes sure that nobody but root and the user of this process can put something else in the place of these directories, or of
    /// what is in them. What is not there yet is nobody's.
    ///
    /// All directories from the root of the file system on belong to them, and no others can write there. One above the pins may be
    /// sticky and for all to write to: in it, others can neither rename nor remove a directory that is not theirs.
    pub(crate) fn ensure_own(&self) -> Result<(), PlaceError> {
        let above: Vec<&Path> = self.base.ancestors().collect();
        for directory in above.into_iter().rev() {
            if !is_there(directory)? {
                return Ok(());
            }
            ensure_own(directory, STICKY)?;
        }
        for directory in [self.directory(), self.links()] {
            if is_there(&directory)? {
                ensure_own(&directory, 0)?;
            }
        }
        Ok(())
    }

    /// Removes every pin of every version: what was attached is attached no more.
    pub fn remove_all(&self) -> Result<()> {
        for path in self.versions().into_iter().chain([self.links()]) {
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
        // It may be where the file system is mounted, or have pins of others.
        let _in_use = fs::remove_dir(&self.base);
        Ok(())
    }

    /// Removes the pins of other versions, once their links are taken over.
    pub fn remove_other_versions(&self) {
        for path in self.versions() {
            if path != self.directory() {
                tracing::info!(path = %path.display(), "removing the pins of another version");
                if let Err(error) = fs::remove_dir_all(&path) {
                    tracing::warn!(path = %path.display(), %error, "cannot remove old pins");
                }
            }
        }
    }

    /// The directories of all versions.
    fn versions(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.base) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_of_a_version(path))
            .collect()
    }
}

/// Whether a path is called as the pins of some version are. Others may keep theirs beside ours.
fn is_of_a_version(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let number = name.and_then(|name| name.strip_prefix('v'));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn make_own(directory: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(OWN)
        .create(directory)
        .with_context(|| format!("cannot make {}", directory.display()))
}

fn is_there(path: &Path) -> Result<bool, PlaceError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(PlaceError::Hidden(path.to_owned(), error)),
    }
}

/// Refuses a directory that others can change, unless one of the bits in `but_for` is set.
fn ensure_own(path: &Path, but_for: u32) -> Result<(), PlaceError> {
    let there = fs::symlink_metadata(path);
    let there = there.map_err(|error| PlaceError::Hidden(path.to_owned(), error))?;
    let path = path.to_owned();
    if there.is_symlink() {
        return Err(PlaceError::Link(path));
    }
    if !there.is_dir() {
        return Err(PlaceError::NoDirectory(path));
    }
    let owner = there.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        return Err(PlaceError::Owner { path, owner });
    }
    let mode = there.mode() & PERMISSIONS;
    if mode & WRITABLE != 0 && mode & but_for == 0 {
        return Err(PlaceError::Writable { path, mode });
    }
    Ok(())
}

/// The nearest of a path and what is above it that is there.
fn existing(path: &Path) -> &Path {
    let mut paths = path.ancestors();
    paths.find(|path| path.exists()).unwrap_or(Path::new("/"))
}

#[expect(
    clippy::cast_sign_loss,
    reason = "a magic number, whose type differs between architectures"
)]
fn is_bpf(path: &Path) -> Result<bool> {
    let file_system = statfs(path).with_context(|| format!("cannot look at {}", path.display()))?;
    Ok(file_system.f_type as u64 == BPF_FS_MAGIC)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn pins_of_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::new(folder.path());
        let others = ["cilium", "maps.debug", "v", "vpn", "v1x"];
        let own = ["links", "v1", "v2"];
        for name in own.into_iter().chain(others) {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::create_dir_all(pins.directory()).unwrap();
        let there = |name: &str| folder.path().join(name).exists();

        pins.remove_other_versions();
        assert!(there("links") && pins.directory().exists());
        assert!(!there("v1") && !there("v2"));
        assert!(others.into_iter().all(there));

        pins.remove_all().unwrap();
        assert!(!there("links") && !pins.directory().exists());
        assert!(others.into_iter().all(there));
    }

    /// Pins in a directory for all to write to, as the kernel makes a bpf file system: its root, and pins below it.
    fn in_the_open() -> (TempDir, Pins) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("bpf");
        fs::create_dir(&root).unwrap();
        set_mode(&root, 0o1777);
        let pins = Pins::new(&root.join("swf-filter"));
        (folder, pins)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn pins_of_ones_own_are_relied_on_also_in_a_sticky_directory() {
        let (_folder, pins) = in_the_open();
        pins.ensure_own().unwrap();
        for directory in [pins.directory(), pins.links()] {
            make_own(&directory).unwrap();
        }
        pins.ensure_own().unwrap();
    }

    #[test]
    fn a_place_that_others_can_change_is_refused_at_each_level() {
        let (folder, pins) = in_the_open();
        for directory in [pins.directory(), pins.links()] {
            make_own(&directory).unwrap();
        }
        let root = folder.path().join("bpf");
        let base = root.join("swf-filter");
        let links = pins.links();
        for (path, mode, is_refused) in [
            (&root, 0o777, true),
            (&root, 0o770, true),
            (&root, 0o1770, false),
            (&root, 0o755, false),
            (&base, 0o720, true),
            (&base, 0o702, true),
            (&base, 0o755, false),
            (&links, 0o1777, true),
            (&links, 0o720, true),
            (&links, 0o755, false),
        ] {
            set_mode(path, mode);
            let refused = pins.ensure_own();
            let is_this =
                matches!(&refused, Err(PlaceError::Writable { path: told, .. }) if told == path);
            assert_eq!(is_this, is_refused, "{mode:o}: {refused:?}");
            assert_eq!(refused.is_err(), is_refused, "{mode:o}: {refused:?}");
            set_mode(path, 0o700);
        }
    }

    #[test]
    fn a_place_that_is_another_users_is_refused_at_each_level() {
        if !geteuid().is_root() {
            return;
        }
        let (folder, pins) = in_the_open();
        for directory in [pins.directory(), pins.links()] {
            make_own(&directory).unwrap();
        }
        let root = folder.path().join("bpf");
        for path in [&root, &root.join("swf-filter"), &pins.directory()] {
            chown(path, Some(65_534), None).unwrap();
            let refused = pins.ensure_own();
            let is_this = matches!(&refused, Err(PlaceError::Owner { path: told, owner: 65_534 }) if told == path);
            assert!(is_this, "{refused:?}");
            chown(path, Some(0), None).unwrap();
        }
        pins.ensure_own().unwrap();
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let (folder, pins) = in_the_open();
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let base = folder.path().join("bpf/swf-filter");
        symlink(&elsewhere, &base).unwrap();
        assert!(matches!(pins.ensure_own(), Err(PlaceError::Link(path)) if path == base));
        fs::remove_file(&base).unwrap();
        fs::write(&base, "").unwrap();
        assert!(matches!(pins.ensure_own(), Err(PlaceError::NoDirectory(path)) if path == base));
        fs::remove_file(&base).unwrap();
        pins.ensure_own().unwrap();
    }

    #[test]
    fn a_directory_without_pins_of_others_goes_too() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("swf-filter");
        let pins = Pins::new(&base);
        fs::create_dir_all(pins.directory()).unwrap();
        fs::create_dir_all(pins.links()).unwrap();
        pins.remove_all().unwrap();
        assert!(!base.exists());
        pins.remove_all().unwrap();
    }
}
