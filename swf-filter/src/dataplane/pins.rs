//! Where programs, maps and links are pinned, and that there is a bpf file system to pin them in.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::mount::{MountFlags, mount};
use swf_filter_common::abi;

/// Magic number of the bpf file system (`BPF_FS_MAGIC` in `linux/magic.h`).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// Where the bpf file system is mounted by convention.
const BPF_FS: &str = "/sys/fs/bpf";

/// How long a daemon that is on its way out is waited for: the kernel takes its time over a process that was killed.
const LOCK_TIME: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Access for the owner alone.
const OWN: u32 = 0o700;

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
        let shown = self.base.display();
        let directory = File::open(&self.base).with_context(|| format!("cannot open {shown}"))?;
        let patience = Instant::now() + LOCK_TIME;
        while flock(&directory, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() >= patience {
                bail!("another swf-filter daemon holds {shown}");
            }
            sleep(LOCK_PAUSE);
        }
        Ok(directory)
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
                None,
            )
            .with_context(|| format!("no bpf file system at {BPF_FS}, and it cannot be mounted"))?;
            tracing::info!("mounted the bpf file system at {BPF_FS}");
        }
        let existing = existing(&self.base);
        ensure!(
            is_bpf(existing)?,
            "`{}` is not in a bpf file system; set `paths.bpf` to a directory below {BPF_FS}, or mount one there with \
             `mount -t bpf bpf {}`",
            self.base.display(),
            existing.display(),
        );
        // Not for others: whoever can open it could lock it, and keep the daemon from starting.
        DirBuilder::new()
            .recursive(true)
            .mode(OWN)
            .create(&self.base)
            .and_then(|()| fs::set_permissions(&self.base, Permissions::from_mode(OWN)))
            .with_context(|| format!("cannot make {}", self.base.display()))?;
        for directory in [self.directory(), self.links()] {
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
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
