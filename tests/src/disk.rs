//! Small disks that can be filled, and that can be read only.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// How disks are called in the list of mounts, before the process that they belong to.
const PREFIX: &str = "swft-disk-";

/// Room on a disk, in bytes: a page for each of the files that a daemon with a small policy writes, and some.
const SIZE: u32 = 256 << 10;

/// A disk, which is taken off when this is dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// An empty disk in the place of a directory, which is made if need be.
    ///
    /// Removes those of tests that have died, first.
    pub fn at(directory: &Path) -> Result<Self> {
        sweep();
        fs::create_dir_all(directory)?;
        let name = format!("{PREFIX}{}", process::id());
        let size = CString::new(format!("size={SIZE},mode=0700"))?;
        mount(name, directory, "tmpfs", MountFlags::empty(), &*size)
            .with_context(|| format!("cannot mount a disk at {}", directory.display()))?;
        Ok(Self(directory.to_owned()))
    }

    /// Leaves no byte of room.
    pub fn fill(&self) -> Result<()> {
        let mut filler = File::create(self.filler())?;
        loop {
            match filler.write_all(&[0; 512]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("cannot fill a disk"),
            }
        }
    }

    /// Makes room again.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("the disk was not filled")
    }

    /// Lets nobody write.
    pub fn forbid_writing(&self) -> Result<()> {
        self.remount(MountFlags::RDONLY)
    }

    /// Lets everybody write again.
    pub fn allow_writing(&self) -> Result<()> {
        self.remount(MountFlags::empty())
    }

    fn remount(&self, flags: MountFlags) -> Result<()> {
        mount_remount(&self.0, flags, c"").context("cannot mount a disk in another way")
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has a file of it open keeps it only for itself.
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("cannot unmount {}: {error}", self.0.display());
        }
    }
}

/// Takes off the disks of test processes that were killed before they could do so.
fn sweep() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let owner = fields.next().and_then(|name| name.strip_prefix(PREFIX));
        if let (Some(owner), Some(at)) = (owner, fields.next())
            && !Path::new("/proc").join(owner).exists()
        {
            let _may_be_gone = unmount(at, UnmountFlags::DETACH);
        }
    }
}
