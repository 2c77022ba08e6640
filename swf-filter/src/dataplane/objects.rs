//! Pinned objects of the kernel: what a descriptor is of, and that a path is the pin of it.
//!
//! A daemon holds the descriptors of what it pinned. So an object outlives its pin, and the pin is made again from it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

use super::bulk;
use crate::files::remove_if_there;

/// What tells an object from all others of this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Link(u32),
    Map(u32),
    Program(u32),
}

/// What the kernel says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) identity: Identity,
    /// The number of the program: of a link, that of the one in it.
    pub(super) program: Option<u32>,
    /// The number of the interface that a link is on; zero if it is on none any more.
    pub(super) interface: Option<u32>,
}

/// Whether something had to be done for a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It was missing, or something else was there.
    Again,
    /// It was there.
    Still,
}

/// Looks at an object.
pub(super) fn facts(object: impl AsFd) -> io::Result<Facts> {
    let descriptor = object.as_fd().as_raw_fd();
    let said = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}"))?;
    read(&said).ok_or_else(|| io::Error::other("the kernel does not say what the object is"))
}

/// Opens what is pinned at a path. A symbolic link is no pin, wherever it leads.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    if fs::symlink_metadata(path)?.is_file() {
        bulk::pinned(path)
    } else {
        Err(io::Error::other("it is no pin"))
    }
}

/// Sees to it that a path is the pin of an object, whatever else may be there. A directory is only removed if it is empty.
pub(super) fn keep(path: &Path, object: impl AsFd) -> io::Result<Kept> {
    if is_pin(path, &object)? {
        return Ok(Kept::Still);
    }
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => fs::remove_dir(path)?,
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    bulk::pin(object.as_fd(), path)?;
    Ok(Kept::Again)
}

/// Removes the pin of an object. What else is in its place stays.
pub(super) fn unpin(path: &Path, object: impl AsFd) -> io::Result<()> {
    if is_pin(path, object)? {
        remove_if_there(path)?;
    }
    Ok(())
}

/// Whether a path is the pin of an object.
fn is_pin(path: &Path, object: impl AsFd) -> io::Result<bool> {
    let meant = facts(object)?.identity;
    match open(path) {
        Ok(there) => Ok(facts(there)?.identity == meant),
        // It may well be, and is not removed for that.
        Err(error) if is_shortage(&error) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Whether it is the machine that lacks something.
fn is_shortage(error: &io::Error) -> bool {
    let shortages = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    error
        .raw_os_error()
        .is_some_and(|number| shortages.contains(&number))
}

/// Reads `/proc/self/fdinfo` (`bpf_link_show_fdinfo` and its like in `kernel/bpf/syscall.c`, `bpf_xdp_link_show_fdinfo` in
/// `net/core/dev.c`).
fn read(said: &str) -> Option<Facts> {
    let number = |name: &str| -> Option<u32> {
        let values = said.lines().filter_map(|line| line.split_once(':'));
        let mut named = values.filter(|(key, _)| *key == name);
        named.next()?.1.trim().parse().ok()
    };
    let program = number("prog_id");
    let identity = number("link_id")
        .map(Identity::Link)
        .or_else(|| number("map_id").map(Identity::Map))
        .or_else(|| program.map(Identity::Program))?;
    Some(Facts {
        identity,
        program,
        interface: number("ifindex"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_what_the_kernel_calls_it() {
        let link =
            "pos:\t0\nlink_type:\txdp\nlink_id:\t3\nprog_tag:\tc1\nprog_id:\t41\nifindex:\t0\n";
        let map = "map_type:\t2\nmemlock:\t4096\nmap_id:\t7\nfrozen:\t0\n";
        let program = "prog_type:\t6\nmemlock:\t4096\nprog_id:\t41\n";
        let facts = |identity, program, interface| {
            Some(Facts {
                identity,
                program,
                interface,
            })
        };
        assert_eq!(read(link), facts(Identity::Link(3), Some(41), Some(0)));
        assert_eq!(read(map), facts(Identity::Map(7), None, None));
        assert_eq!(read(program), facts(Identity::Program(41), Some(41), None));
        assert_eq!(read("pos:\t0\nflags:\t02\n"), None);
    }
}
