//! Makes a generation take effect, in one step for hosts, zones, IPv4 and IPv6.
//!
//! The kernel holds two slots of source tables and rule counters, and one page that starts with the image, which says which slot is
//! in force and of which engine its tables are. A new generation fills the other slot and a page, is read back, and then the page is
//! replaced: that is the flip. The kernel returns from it only when no program uses the old image any more. Whatever fails or dies before the flip
//! leaves the old generation in force.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::Result;
use aya::maps::lpm_trie::Key;
use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, FromMapData, InnerMap, IterableMap, LpmTrie, MapData, MapError};
use aya::{Ebpf, Pod};
use swf_filter_common::abi::{self, COUNTER_PAGES, FURTHER_PAGES, PAGE_COUNTERS, PAGE_WORDS};
use swf_filter_common::image::{self, Engine, Options, Words, header};
use swf_filter_core::compile::forest::TooLarge;
use swf_filter_core::compile::image::{ImageError, Placement, counters_of_a_cpu, write};
use swf_filter_core::compile::{Forest, Generation, Hash, Row, Table};
use swf_filter_core::prefix::Address;

use super::bulk::Removed;
use super::counters::CounterPage;
use super::kernel::{open, take};
use super::{Pins, bulk};

type Page = Array<MapData, [u64; PAGE_WORDS as usize]>;
type TrieV4 = LpmTrie<MapData, [u8; 8], u32>;
type TrieV6 = LpmTrie<MapData, [u8; 20], u32>;

/// Flags of tries, forests and counters (`linux/bpf.h`).
const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Rows of a trie that are read back, spread over all: each is a system call.
const MOST_READ_BACK: usize = 1 << 15;

/// Why a generation did not take effect. The one before it is still in force.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The compiled engine cannot hold it.
    #[error(transparent)]
    Forest(#[from] TooLarge),
    /// There are more rule counters than the kernel's maps have room for.
    #[error("{rules} rules on {cpus} CPUs are more than {} counters", u64::from(COUNTER_PAGES) * u64::from(PAGE_COUNTERS))]
    Counters {
        /// Number of rules.
        rules: usize,
        /// Number of CPUs.
        cpus: u32,
    },
    /// The image cannot be laid out.
    #[error("the generation cannot be laid out")]
    Image(#[from] ImageError),
    /// The kernel refused to make or fill a map.
    #[error("cannot {what}")]
    Map {
        /// What was tried.
        what: &'static str,
        /// The kernel's word.
        #[source]
        error: MapError,
    },
    /// The kernel did not let the daemon at a map's memory.
    #[error("cannot {what}")]
    Memory {
        /// What was tried.
        what: &'static str,
        /// The kernel's word.
        #[source]
        error: io::Error,
    },
    /// The kernel's maps do not hold what was written.
    #[error("the kernel holds something else than was written: {what}")]
    ReadBack {
        /// Where.
        what: &'static str,
    },
}

/// The generation that the kernel enforces, as its image says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
    /// Its slot.
    pub slot: u8,
    /// What holds its source tables.
    pub engine: Engine,
    /// Bytes of its source tables, as the kernel counts them.
    pub table_bytes: u64,
}

/// How long the steps took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Durations {
    /// Building the compiled engine's tables.
    pub build: Duration,
    /// Making, filling and reading back maps.
    pub fill: Duration,
    /// The flip.
    pub flip: Duration,
}

/// The maps that make up a generation.
pub struct Publisher {
    active: ArrayOfMaps<MapData, Page>,
    tries_v4: ArrayOfMaps<MapData, TrieV4>,
    tries_v6: ArrayOfMaps<MapData, TrieV6>,
    forests: Paged<Page>,
    rules: Paged<CounterPage>,
    /// The maps of source tables once more, for [`Self::release`], with how many a slot has.
    sources: Arc<[(MapData, u32)]>,
    releasing: Option<JoinHandle<()>>,
}

/// Maps whose slots hold source tables, and how many maps a slot has.
const SOURCES: [(&str, u32); 3] = [("TRIES_V4", 1), ("TRIES_V6", 1), ("FORESTS", FURTHER_PAGES)];

impl Publisher {
    pub(super) fn new(ebpf: &mut Ebpf, pins: &Pins) -> Result<Self> {
        let sources = SOURCES
            .iter()
            .map(|(name, of_a_slot)| Ok((open(pins, name)?, *of_a_slot)));
        Ok(Self {
            active: take(ebpf, "ACTIVE")?.try_into()?,
            tries_v4: take(ebpf, "TRIES_V4")?.try_into()?,
            tries_v6: take(ebpf, "TRIES_V6")?.try_into()?,
            forests: Paged {
                maps: take(ebpf, "FORESTS")?.try_into()?,
                again: open(pins, "FORESTS")?,
                of_a_slot: FURTHER_PAGES,
            },
            rules: Paged {
                maps: take(ebpf, "RULES")?.try_into()?,
                again: open(pins, "RULES")?,
                of_a_slot: COUNTER_PAGES,
            },
            sources: sources.collect::<Result<_>>()?,
            releasing: None,
        })
    }

    /// The generation in force, if there is one.
    #[must_use]
    pub fn active(&self) -> Option<Active> {
        let page = self.active.get(&0, 0).ok()?;
        let words = bulk::words(page.map(), image::HOSTS as usize).ok()?;
        let words = &words[..];
        if words.word(header::MAGIC) != image::MAGIC {
            return None;
        }
        let mut hash = [0; 32];
        for (at, bytes) in (header::HASH..).zip(hash.as_chunks_mut().0) {
            *bytes = words.word(at).to_le_bytes();
        }
        let Options { slot, engine, .. } = Options::from_word(words.word(header::OPTIONS));
        Some(Active {
            number: words.word(header::GENERATION),
            hash: Hash(hash),
            slot,
            engine,
            table_bytes: self.table_bytes(slot, engine),
        })
    }

    /// Bytes of a slot's source tables, as the kernel counts them. Of tries it leaves out what its allocator adds.
    #[must_use]
    pub fn table_bytes(&self, slot: u8, engine: Engine) -> u64 {
        let slot = u32::from(slot);
        match engine {
            Engine::Compiled => {
                let first = self.active.get(&0, 0).ok();
                let further = self.forests.of_slot(slot);
                further.chain(first).map(|page| bytes_of(&page)).sum()
            }
            Engine::LpmTrie => {
                let v4 = self.tries_v4.get(&slot, 0).map(|trie| bytes_of(&trie));
                let v6 = self.tries_v6.get(&slot, 0).map(|trie| bytes_of(&trie));
                v4.unwrap_or_default() + v6.unwrap_or_default()
            }
        }
    }

    /// Fills the slot of `placement`, which must not be the one in force, and flips to it.
    ///
    /// The compiled engine's `forest` is built if it is not there yet.
    pub fn publish(
        &mut self,
        generation: &Generation,
        forest: Option<Forest>,
        placement: &Placement,
    ) -> Result<Durations, PublishError> {
        // What was in this slot must be gone before something else is put there.
        if let Some(releasing) = self.releasing.take() {
            let _it_only_warns = releasing.join();
        }
        let slot = u32::from(placement.slot);
        let start = Instant::now();
        let forest = match placement.engine {
            Engine::Compiled => Some(forest.map_or_else(|| Forest::build(generation), Ok)?),
            Engine::LpmTrie => None,
        };
        let build = start.elapsed();
        let start = Instant::now();
        let mut first = write(generation, placement)?;
        match forest {
            Some(forest) => {
                let words = forest.words();
                let room = PAGE_WORDS as usize - first.len();
                let (beside, further) = words.split_at(words.len().min(room));
                first.extend_from_slice(beside);
                let further: Vec<_> = further
                    .chunks(PAGE_WORDS as usize)
                    .map(filled)
                    .collect::<Result<_, _>>()?;
                self.forests
                    .set(slot, &further)
                    .map_err(map("set the forest"))?;
            }
            None => self.fill_tries(slot, generation)?,
        }
        let counters = counters(generation, placement)?;
        self.rules
            .set(slot, &counters)
            .map_err(map("set the rule counters"))?;
        let first = filled(&first)?;
        let fill = start.elapsed();
        let flip = self.flip(&first)?;
        Ok(Durations { build, fill, flip })
    }

    fn fill_tries(&mut self, slot: u32, generation: &Generation) -> Result<(), PublishError> {
        let v4 = trie(
            generation,
            |table| &table.v4,
            |table, row: &Row<u32>| {
                Key::new(
                    abi::TABLE_BITS + u32::from(row.prefix.length()),
                    abi::key_v4(table, row.prefix.first()),
                )
            },
        )?;
        let v6 = trie(
            generation,
            |table| &table.v6,
            |table, row: &Row<u128>| {
                Key::new(
                    abi::TABLE_BITS + u32::from(row.prefix.length()),
                    abi::key_v6(table, row.prefix.first().into()),
                )
            },
        )?;
        self.tries_v4
            .set(slot, &v4, 0)
            .map_err(map("set the IPv4 trie"))?;
        self.tries_v6
            .set(slot, &v6, 0)
            .map_err(map("set the IPv6 trie"))
    }

    /// Replaces only the image, for a generation that is in force already: when interfaces came or went.
    pub fn publish_image(
        &mut self,
        generation: &Generation,
        placement: &Placement,
    ) -> Result<(), PublishError> {
        let image = write(generation, placement)?;
        let page = self
            .active
            .get(&0, 0)
            .map_err(map("open the generation in force"))?;
        let mut first = bulk::words(page.map(), PAGE_WORDS as usize)
            .map_err(memory("read the generation in force"))?;
        first[..image.len()].copy_from_slice(&image);
        self.flip(&filled(&first)?)?;
        Ok(())
    }

    fn flip(&mut self, first: &Page) -> Result<Duration, PublishError> {
        let start = Instant::now();
        self.active
            .set(0, first, 0)
            .map_err(map("flip to the new generation"))?;
        Ok(start.elapsed())
    }

    /// Lets go of the source tables of a slot that is no longer in force.
    ///
    /// Nobody waits for it: each map costs a grace period of the kernel, and the memory of a large trie is freed for as long as
    /// a second.
    pub fn release(&mut self, slot: u8) {
        let sources = Arc::clone(&self.sources);
        let release = move || {
            for (maps, of_a_slot) in sources.iter() {
                let first = u32::from(slot) * of_a_slot;
                if let Err(error) = clear(maps, first..first + of_a_slot) {
                    tracing::warn!("cannot free a table of the old generation: {error}");
                }
            }
        };
        match Builder::new().name("release".into()).spawn(release) {
            Ok(releasing) => self.releasing = Some(releasing),
            Err(error) => tracing::warn!("cannot free the old generation: {error}"),
        }
    }
}

/// Makes the trie of one family over all tables, and reads some of it back.
fn trie<A: Address, K: Pod>(
    generation: &Generation,
    rows: impl Fn(&Table) -> &Vec<Row<A>>,
    key: impl Fn(u16, &Row<A>) -> Key<K>,
) -> Result<LpmTrie<MapData, K, u32>, PublishError> {
    let (keys, leaves): (Vec<_>, Vec<_>) = (0u16..)
        .zip(&generation.tables)
        .flat_map(|(number, table)| rows(table).iter().map(move |row| (number, row)))
        .map(|(number, row)| (key(number, row), row.leaf().bits()))
        .unzip();
    let size = u32::try_from(keys.len()).unwrap_or(u32::MAX).max(1);
    let mut trie: LpmTrie<MapData, K, u32> =
        LpmTrie::create(size, BPF_F_NO_PREALLOC).map_err(map("make a trie of sources"))?;
    if let Err(error) = bulk::update(trie.map(), &keys, &leaves) {
        // Some kernels cannot make room for a batch, or know none. What they did take is set once more.
        tracing::debug!("filling a trie without batches: {error}");
        for (key, leaf) in keys.iter().zip(&leaves) {
            trie.insert(key, leaf, 0)
                .map_err(map("fill a trie of sources"))?;
        }
    }
    let step = keys.len().div_ceil(MOST_READ_BACK).max(1);
    for (key, expected) in keys.iter().zip(&leaves).step_by(step) {
        // Asked for exactly this prefix, the kernel finds it or a shorter one; the latter has another leaf or is none.
        match trie.get(key, 0) {
            Ok(leaf) if leaf == *expected => {}
            Ok(_) | Err(MapError::KeyNotFound) => {
                return Err(PublishError::ReadBack {
                    what: "a trie of sources",
                });
            }
            Err(error) => return Err(map("read a trie of sources back")(error)),
        }
    }
    Ok(trie)
}

/// An array of maps in which a slot has many, all alike.
struct Paged<V> {
    maps: ArrayOfMaps<MapData, V>,
    /// The same once more, for what is done in bulk.
    again: MapData,
    of_a_slot: u32,
}

impl<V: FromMapData + InnerMap> Paged<V> {
    fn of_slot(&self, slot: u32) -> impl Iterator<Item = V> {
        (slot * self.of_a_slot..)
            .take(self.of_a_slot as usize)
            .map_while(|index| self.maps.get(&index, 0).ok())
    }

    /// Sets the first maps of a slot, and removes those after them.
    ///
    /// At once, because the kernel waits for a grace period after each call.
    fn set(&mut self, slot: u32, pages: &[V]) -> Result<(), MapError> {
        let first = slot * self.of_a_slot;
        let indices = first..first + self.of_a_slot;
        let keys: Vec<u32> = indices.clone().take(pages.len()).collect();
        let descriptors: Vec<i32> = pages
            .iter()
            .map(|page| page.fd().as_fd().as_raw_fd())
            .collect();
        if let Err(error) = bulk::update(&self.again, &keys, &descriptors) {
            tracing::debug!("setting pages without batches: {error}");
            for (index, page) in keys.iter().zip(pages) {
                self.maps.set(*index, page, 0)?;
            }
        }
        if let Err(error) = clear(&self.again, indices.skip(pages.len())) {
            tracing::warn!("cannot free pages of an earlier generation: {error}");
        }
        Ok(())
    }
}

/// Removes maps, up to the first place that has none.
fn clear(maps: &MapData, mut indices: impl Iterator<Item = u32>) -> io::Result<()> {
    while let Some(index) = indices.next()
        && bulk::remove(maps, index)? == Removed::Was
    {}
    Ok(())
}

/// Makes a page of a generation, and reads all of it back.
fn filled(words: &[u64]) -> Result<Page, PublishError> {
    let page = Page::create(1, BPF_F_MMAPABLE).map_err(map("make a page of the generation"))?;
    bulk::fill(page.map(), words).map_err(memory("fill a page of the generation"))?;
    let holds = bulk::holds(page.map(), words);
    if holds.map_err(memory("read a page of the generation back"))? {
        Ok(page)
    } else {
        Err(PublishError::ReadBack {
            what: "a page of the generation",
        })
    }
}

/// Makes pages for a generation's rule counters, all zero.
fn counters(
    generation: &Generation,
    placement: &Placement,
) -> Result<Vec<CounterPage>, PublishError> {
    let cpus = placement.cpus;
    let number = u64::from(counters_of_a_cpu(generation)) * u64::from(cpus);
    let pages = number.div_ceil(PAGE_COUNTERS.into()).max(1);
    if pages > COUNTER_PAGES.into() {
        let rules = generation.rules.len();
        return Err(PublishError::Counters { rules, cpus });
    }
    (0..pages)
        .map(|_| CounterPage::create(1, BPF_F_MMAPABLE).map_err(map("make the rule counters")))
        .collect()
}

/// What `/proc` says a map takes; nothing if it says nothing.
fn bytes_of<K: Pod, V>(map: &impl IterableMap<K, V>) -> u64 {
    let descriptor = map.map().fd().as_fd().as_raw_fd();
    let said = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default();
    said.lines()
        .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
        .unwrap_or_default()
}

fn map(what: &'static str) -> impl Fn(MapError) -> PublishError {
    move |error| PublishError::Map { what, error }
}

fn memory(what: &'static str) -> impl Fn(io::Error) -> PublishError {
    move |error| PublishError::Memory { what, error }
}
