//! The maps, and adapters from them to the traits of `swf-filter-common`.
//!
//! A generation is the image in [`IMAGE`] and, in the slot that the image names, one trie of each family and one array of
//! rule counters. Setting [`IMAGE`]'s only element is the flip: the kernel returns from it when no program uses the old image
//! any more, so the other slot is then free.

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, LpmTrie, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use swf_filter_common::abi::{self, Count, Event, Leaf};
use swf_filter_common::frame::V6;
use swf_filter_common::image::{self, Words};
use swf_filter_common::reason::REASON_SLOTS;
use swf_filter_common::verdict::Sources;

/// Bytes of the ring buffer for events.
const EVENT_BYTES: usize = 256 * 1024;

type ImageMap = Array<[u64; image::WORDS as usize], 1>;
type TrieV4 = LpmTrie<[u8; 8], u32, 1, { BPF_F_NO_PREALLOC as usize }>;
type TrieV6 = LpmTrie<[u8; 20], u32, 1, { BPF_F_NO_PREALLOC as usize }>;
type Counters = Array<Count, 1, { BPF_F_INNER_MAP as usize }>;

/// The active generation's image.
#[btf_map]
static IMAGE: ArrayOfMaps<ImageMap, 1> = ArrayOfMaps::new();

/// IPv4 sources of each slot.
#[btf_map]
static TRIES_V4: ArrayOfMaps<TrieV4, 2> = ArrayOfMaps::new();

/// IPv6 sources of each slot.
#[btf_map]
static TRIES_V6: ArrayOfMaps<TrieV6, 2> = ArrayOfMaps::new();

/// Rule counters of each slot, a run for each CPU.
#[btf_map]
pub static RULES: ArrayOfMaps<Counters, 2> = ArrayOfMaps::new();

/// Packets and bytes by reason.
#[btf_map]
pub static REASONS: PerCpuArray<Count, { REASON_SLOTS as usize }> = PerCpuArray::new();

/// Dropped frames, as far as the budget allows.
#[btf_map]
pub static EVENTS: RingBuf<Event, EVENT_BYTES> = RingBuf::new();

/// How many events may still be sent; the daemon refills it. Without a daemon it runs dry and costs one load.
#[btf_map]
pub static EVENT_BUDGET: Array<i64, 1> = Array::new();

/// The active image.
#[derive(Clone, Copy)]
pub struct Generation {
    words: *const u64,
}

impl Generation {
    /// The generation in force, if there is one.
    #[inline(always)]
    pub fn active() -> Option<Self> {
        let image = IMAGE.get_value(0, &0)?;
        Some(Self {
            words: image.as_ptr(),
        })
    }
}

impl Words for Generation {
    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        let index = (index & (image::WORDS - 1)) as usize;
        // SAFETY: the mask keeps the index within the value's `WORDS` words.
        let word = unsafe { self.words.add(index) };
        // SAFETY: the map's value is aligned to eight bytes and stays while the program runs (the map is freed after an
        // RCU grace period); it is never written after it was published.
        unsafe { word.read() }
    }
}

/// The kernel's LPM tries as source tables.
pub struct Tries;

impl Sources for Tries {
    #[inline(always)]
    fn leaf_v4(&self, slot: u8, table: u16, source: u32) -> Option<Leaf> {
        let trie = TRIES_V4.get(u32::from(slot))?;
        let key = Key::new(abi::TABLE_BITS + 32, abi::key_v4(table, source));
        trie.get(&key).copied().map(Leaf::from_bits)
    }

    #[inline(always)]
    fn leaf_v6(&self, slot: u8, table: u16, source: V6) -> Option<Leaf> {
        let trie = TRIES_V6.get(u32::from(slot))?;
        let key = Key::new(abi::TABLE_BITS + 128, abi::key_v6(table, source));
        trie.get(&key).copied().map(Leaf::from_bits)
    }
}
