//! What is done to a whole map at once, for which aya has no words: filling an array through memory, updating in batches.
//!
//! All of the daemon's unsafe code is here. Nothing falls back by itself; who calls knows what else to do.

#![expect(
    unsafe_code,
    reason = "shared memory and system calls that no safe crate offers"
)]

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr::{copy_nonoverlapping, null_mut};
use std::slice::from_raw_parts;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use aya::Pod;
use aya::maps::MapData;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Commands of bpf(2) (`enum bpf_cmd` in `linux/bpf.h`).
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;

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
        Ok(()) => Ok(Removed::Was),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removed::WasNot),
        Err(error) => Err(error),
    }
}

fn descriptor(map: &MapData) -> io::Result<u32> {
    u32::try_from(map.fd().as_fd().as_raw_fd()).map_err(io::Error::other)
}

/// # Safety
///
/// The attributes must be those of the command, and whatever they point to must be of the sizes that it expects.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<()> {
    let pointer: *const T = attributes;
    // SAFETY: the kernel reads as many bytes of the attributes as it is told, and takes those after them for zeroes.
    match unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<T>()) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
