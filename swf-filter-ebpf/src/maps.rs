//! The maps, and adapters from them to the traits of `swf-filter-common`.
//!
//! A generation is the page in [`ACTIVE`], which starts with its image, and, in the slot that the image names, its source tables
//! and rule counters. The tables are one trie of each family or a forest, whichever engine the image names. A forest starts behind
//! the image, so that a packet looks up one page for both. Setting [`ACTIVE`]'s only element is the flip: the
//! kernel returns from it when no program uses the old image any more, so the other slot is then free.
//!
//! Generations and counters are cut into pages, each of which is a map with one element. So all inner maps have one shape, and the
//! kernel puts their lookups in line, which it does not for maps that differ in their number of elements.

use core::sync::atomic::AtomicI64;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, LpmTrie, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use swf_filter_common::abi::{
    self, COUNTER_PAGES, Count, Event, FURTHER_PAGES, Leaf, PAGE_BITS, PAGE_COUNTER_BITS,
    PAGE_COUNTERS, PAGE_WORDS,
};
use swf_filter_common::forest::{self, NODE_WORDS};
use swf_filter_common::frame::V6;
use swf_filter_common::image::{self, Engine, Image, Words};
use swf_filter_common::reason::REASON_SLOTS;
use swf_filter_common::verdict::Sources;

/// Bytes of the ring buffer for events.
const EVENT_BYTES: usize = 256 * 1024;

type TrieV4 = LpmTrie<[u8; 8], u32, 1, { BPF_F_NO_PREALLOC as usize }>;
type TrieV6 = LpmTrie<[u8; 20], u32, 1, { BPF_F_NO_PREALLOC as usize }>;
type Page = Array<[u64; PAGE_WORDS as usize], 1, { BPF_F_MMAPABLE as usize }>;
type Counters = Array<[Count; PAGE_COUNTERS as usize], 1, { BPF_F_MMAPABLE as usize }>;

/// The active generation's first page: its image, and behind it the start of its forest.
#[btf_map]
static ACTIVE: ArrayOfMaps<Page, 1> = ArrayOfMaps::new();

/// IPv4 sources of each slot.
#[btf_map]
static TRIES_V4: ArrayOfMaps<TrieV4, 2> = ArrayOfMaps::new();

/// IPv6 sources of each slot.
#[btf_map]
static TRIES_V6: ArrayOfMaps<TrieV6, 2> = ArrayOfMaps::new();

/// The pages of each slot's forest behind the first.
#[btf_map]
static FORESTS: ArrayOfMaps<Page, { 2 * FURTHER_PAGES as usize }> = ArrayOfMaps::new();

/// Rule counters of each slot in pages, a run for each CPU.
#[btf_map]
static RULES: ArrayOfMaps<Counters, { 2 * COUNTER_PAGES as usize }> = ArrayOfMaps::new();

/// Packets and bytes by reason.
#[btf_map]
pub static REASONS: PerCpuArray<Count, { REASON_SLOTS as usize }> = PerCpuArray::new();

/// Dropped frames, as far as the budget allows.
#[btf_map]
pub static EVENTS: RingBuf<Event, EVENT_BYTES> = RingBuf::new();

/// How many events may still be sent; the daemon refills it. Without a daemon it runs dry and costs one load.
///
/// A variable is a map too, the only element of `.bss`, but one that is not looked up. Were it not exported, the compiler would
/// know that nobody writes to it.
#[unsafe(no_mangle)]
pub static EVENT_BUDGET: AtomicI64 = AtomicI64::new(0);

/// The active generation, whose image this is.
#[derive(Clone, Copy)]
pub struct Generation {
    /// Its first page.
    first: *const u64,
}

impl Generation {
    /// The generation in force, if there is one.
    #[inline(always)]
    pub fn active() -> Option<Self> {
        let page = ACTIVE.get_value(0, &0)?;
        Some(Self {
            first: page.as_ptr(),
        })
    }
}

impl Words for Generation {
    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        let index = (index & (image::WORDS - 1)) as usize;
        // SAFETY: the mask keeps the index within the image's `WORDS` words, which the page starts with.
        let word = unsafe { self.first.add(index) };
        // SAFETY: the map's value is aligned to eight bytes and stays while the program runs (the map is freed after an
        // RCU grace period); it is never written after it was published.
        unsafe { word.read() }
    }

    #[inline(always)]
    fn node(&self, number: u32) -> [u64; 4] {
        let at = (number.wrapping_mul(4) & (image::WORDS - 4)) as usize;
        // SAFETY: the mask keeps all four words within the image.
        let node = unsafe { self.first.add(at) };
        // SAFETY: as above.
        unsafe { node.cast::<[u64; 4]>().read() }
    }
}

/// The rule counter at `place` of a slot.
#[inline(always)]
pub fn rule_counter(slot: u8, place: u32) -> Option<*mut Count> {
    let page = place >> PAGE_COUNTER_BITS;
    if page >= COUNTER_PAGES {
        return None;
    }
    let page = RULES.get_value_ptr_mut(u32::from(slot) * COUNTER_PAGES + page, &0)?;
    let at = (place & (PAGE_COUNTERS - 1)) as usize;
    // SAFETY: the mask keeps the counter within the page's `PAGE_COUNTERS`.
    Some(unsafe { page.cast::<Count>().add(at) })
}

/// The source tables of a generation.
pub struct Tables<'a> {
    /// Its image, which says of which engine they are.
    pub image: &'a Image<Generation>,
}

impl Tables<'_> {
    #[inline(always)]
    fn forest(&self, slot: u8) -> Forest {
        Forest {
            slot,
            first: self.image.words().first,
        }
    }
}

impl Sources for Tables<'_> {
    #[inline(always)]
    fn leaf_v4(&self, slot: u8, table: u16, source: u32) -> Option<Leaf> {
        match self.image.options().engine {
            Engine::Compiled => forest::leaf_v4(&self.forest(slot), table, source),
            Engine::LpmTrie => {
                let trie = TRIES_V4.get(u32::from(slot))?;
                let place = Place {
                    _before: [0],
                    key: Key::new(abi::TABLE_BITS + 32, abi::key_v4(table, source)),
                };
                trie.get(&place.key).copied().map(Leaf::from_bits)
            }
        }
    }

    #[inline(always)]
    fn leaf_v6(&self, slot: u8, table: u16, source: V6) -> Option<Leaf> {
        match self.image.options().engine {
            Engine::Compiled => forest::leaf_v6(&self.forest(slot), table, source),
            Engine::LpmTrie => {
                let trie = TRIES_V6.get(u32::from(slot))?;
                let place = Place {
                    _before: [],
                    key: Key::new(abi::TABLE_BITS + 128, abi::key_v6(table, source)),
                };
                trie.get(&place.key).copied().map(Leaf::from_bits)
            }
        }
    }
}

/// Where a key stands on the stack, such that what is written to it as one word is aligned: the verifier demands it there.
#[repr(C, align(8))]
struct Place<K, const WORDS: usize> {
    _before: [u32; WORDS],
    key: Key<K>,
}

/// The active generation's forest.
struct Forest {
    slot: u8,
    /// The page that it starts in, behind the image.
    first: *const u64,
}

impl Forest {
    /// The page of the word at `index` of the generation.
    #[inline(always)]
    fn page(&self, index: u32) -> Option<*const u64> {
        match index >> PAGE_BITS {
            0 => Some(self.first),
            number @ 1..=FURTHER_PAGES => {
                let place = u32::from(self.slot) * FURTHER_PAGES + number - 1;
                Some(FORESTS.get_value(place, &0)?.as_ptr())
            }
            _ => None,
        }
    }
}

impl Words for Forest {
    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        let index = index.wrapping_add(image::WORDS);
        let Some(page) = self.page(index) else {
            return 0;
        };
        let at = (index & (PAGE_WORDS - 1)) as usize;
        // SAFETY: the mask keeps the index within the page's `PAGE_WORDS` words.
        let word = unsafe { page.add(at) };
        // SAFETY: elements of the map are aligned to eight bytes and stay while the program runs; nothing writes to them after
        // they were published.
        unsafe { word.read() }
    }

    #[inline(always)]
    fn node(&self, number: u32) -> [u64; 4] {
        let index = number.wrapping_mul(NODE_WORDS).wrapping_add(image::WORDS);
        let Some(page) = self.page(index) else {
            return [0; 4];
        };
        let at = (index & (PAGE_WORDS - NODE_WORDS)) as usize;
        // SAFETY: the mask keeps all four words within the page.
        let node = unsafe { page.add(at) };
        // SAFETY: as above.
        unsafe { node.cast::<[u64; 4]>().read() }
    }
}
