//! What aya has no words for: filling an array through memory, updating in batches, and links and pins by their descriptors.
//!
//! All of the daemon's unsafe code is here. Nothing falls back by itself; who calls knows what else to do.

#![expect(
    unsafe_code,
    reason = "shared memory and system calls that no safe crate offers"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::{copy_nonoverlapping, null_mut};
use std::slice::from_raw_parts;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use aya::Pod;
use aya::maps::MapData;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Commands of bpf(2) (`enum bpf_cmd` in `linux/bpf.h`).
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;

/// What a link is made for (`enum bpf_attach_type`).
const BPF_XDP: u32 = 37;

/// Elements of a batch: the kernel does not pause between them.
const BATCH: usize = 1 << 14;

/// Writes `words` to the start of an array that was made with `BPF_F_MMAPABLE`, and is at least as large.
pub(super) fn fill(array: &MapData, words: &[u64]) -> io::Result<()> {
    let window = Window::open(array, words.len(), ProtFlags::READ | ProtFlags::WRITE)?;
    // SAFETY: the window has room for all words, is writable, and nothing else in this process knows of it.
    unsafe { copy_nonoverlapping(words.as_ptr(), window.start, words.len()) };
    Ok(())
}

/// Whether the start of such an array holds `words`.
pub(super) fn holds(array: &MapData, words: &[u64]) -> io::Result<bool> {
    let window = Window::open(array, words.len(), ProtFlags::READ)?;
    // SAFETY: the window has as many words, readable and aligned to a page. The array is the caller's own, so nobody writes
    // to it meanwhile.
    let held = unsafe { from_raw_parts(window.start, words.len()) };
    Ok(held == words)
}

/// The first `number` words of such an array, to which the kernel may write meanwhile.
pub(super) fn words(array: &MapData, number: usize) -> io::Result<Vec<u64>> {
    let window = Window::open(array, number, ProtFlags::READ)?;
    // SAFETY: the window has as many words, readable and aligned to a page. A plain word may be looked at as an atomic one,
    // through which nothing is written.
    let shared = unsafe { from_raw_parts(window.start.cast::<AtomicU64>(), number) };
    Ok(shared.iter().map(|word| word.load(Relaxed)).collect())
}

/// An array's memory, as long as it is looked at.
struct Window {
    start: *mut u64,
    bytes: usize,
}

impl Window {
    fn open(array: &MapData, words: usize, access: ProtFlags) -> io::Result<Self> {
        let bytes = (words * size_of::<u64>()).max(1);
        let fd = array.fd().as_fd();
        // SAFETY: the kernel chooses where, so that no other memory is replaced. It refuses more bytes than the array has.
        let start = unsafe { mmap(null_mut(), bytes, access, MapFlags::SHARED, fd, 0) }?;
        let start = start.cast();
        Ok(Self { start, bytes })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `open` with this length, and whoever borrowed from it is gone.
        let unmapped = unsafe { munmap(self.start.cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// `struct { ... } batch` of `union bpf_attr`.
#[repr(C)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Sets elements, as many in a system call as the kernel takes.
pub(super) fn update<K: Pod, V: Pod>(map: &MapData, keys: &[K], values: &[V]) -> io::Result<()> {
    debug_assert_eq!(keys.len(), values.len());
    for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
        let attributes = Batch {
            from: 0,
            to: 0,
            keys: keys.as_ptr().expose_provenance() as u64,
            values: values.as_ptr().expose_provenance() as u64,
            count: u32::try_from(keys.len().min(values.len())).map_err(io::Error::other)?,
            map: descriptor(map)?,
            element_flags: 0,
            flags: 0,
        };
        // SAFETY: keys and values are `count` of the map's, and live as long as the call; the caller's types have its sizes.
        unsafe { bpf(BPF_MAP_UPDATE_BATCH, &attributes) }?;
    }
    Ok(())
}

/// The part of `union bpf_attr` for single elements.
#[repr(C)]
struct Element {
    map: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Whether there was something to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    Was,
    WasNot,
}

/// Removes a map from an array of maps, if there is one at `index`.
pub(super) fn remove(maps: &MapData, index: u32) -> io::Result<Removed> {
    let attributes = Element {
        map: descriptor(maps)?,
        key: (&raw const index).expose_provenance() as u64,
        value: 0,
        flags: 0,
    };
    // SAFETY: the key of an array is four bytes, which live as long as the call.
    match unsafe { bpf(BPF_MAP_DELETE_ELEM, &attributes) } {
        Ok(_) => Ok(Removed::Was),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removed::WasNot),
        Err(error) => Err(error),
    }
}

/// The part of `union bpf_attr` for pins.
#[repr(C)]
struct Pin {
    path: u64,
    object: u32,
    flags: u32,
}

/// Pins an object where nothing is.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Pin {
        path: path.as_ptr().expose_provenance() as u64,
        object: number(object)?,
        flags: 0,
    };
    // SAFETY: the path ends with a zero byte, and lives as long as the call.
    unsafe { bpf(BPF_OBJ_PIN, &attributes) }.map(drop)
}

/// Opens what is pinned.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Pin {
        path: path.as_ptr().expose_provenance() as u64,
        object: 0,
        flags: 0,
    };
    // SAFETY: the path ends with a zero byte, and lives as long as the call.
    let object = unsafe { bpf(BPF_OBJ_GET, &attributes) }?;
    // SAFETY: the kernel made this descriptor just now, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(object) })
}

/// The part of `union bpf_attr` for new links.
#[repr(C)]
struct NewLink {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
}

/// Links an XDP program to an interface. The link ends with what this gives, unless it is pinned.
pub(super) fn link(program: BorrowedFd<'_>, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    let attributes = NewLink {
        program: number(program)?,
        interface,
        kind: BPF_XDP,
        flags,
    };
    // SAFETY: the attributes point to nothing.
    let link = unsafe { bpf(BPF_LINK_CREATE, &attributes) }?;
    // SAFETY: the kernel made this descriptor just now, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// The part of `union bpf_attr` for links that get another program.
#[repr(C)]
struct ChangedLink {
    link: u32,
    program: u32,
    flags: u32,
    before: u32,
}

/// Replaces the program in a link in one step: packets meet the old one or the new one, never none.
pub(super) fn replace(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = ChangedLink {
        link: number(link)?,
        program: number(program)?,
        flags: 0,
        before: 0,
    };
    // SAFETY: the attributes point to nothing.
    unsafe { bpf(BPF_LINK_UPDATE, &attributes) }.map(drop)
}

fn descriptor(map: &MapData) -> io::Result<u32> {
    number(map.fd().as_fd())
}

fn number(object: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(object.as_raw_fd()).map_err(io::Error::other)
}

/// Gives what the kernel returns, which is a descriptor if the command makes one.
///
/// # Safety
///
/// The attributes must be those of the command, and whatever they point to must be of the sizes that it expects.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<RawFd> {
    let pointer: *const T = attributes;
    // SAFETY: the kernel reads as many bytes of the attributes as it is told, and takes those after them for zeroes.
    let returned = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<T>()) };
    match returned {
        0.. => RawFd::try_from(returned).map_err(io::Error::other),
        _ => Err(io::Error::last_os_error()),
    }
}
