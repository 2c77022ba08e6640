//! Makes a generation take effect, in one step for hosts, zones, IPv4 and IPv6.
//!
//! The kernel holds two slots of source tables and rule counters, and one image that says which slot is in force and of which
//! engine its tables are. A new generation fills the other slot, is read back, and then the image is replaced: that is the
//! flip. The kernel returns from it only when no program uses the old image any more. Whatever fails or dies before the flip
//! leaves the old generation in force.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::Result;
use aya::maps::lpm_trie::Key;
use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, IterableMap, LpmTrie, MapData, MapError};
use aya::{Ebpf, Pod};
use swf_filter_common::abi;
use swf_filter_common::forest::PAGE_WORDS;
use swf_filter_common::image::{self, Engine, Options, WORDS, Words, header};
use swf_filter_core::compile::forest::TooLarge;
use swf_filter_core::compile::image::{ImageError, Placement, counters_of_a_cpu, write};
use swf_filter_core::compile::{Forest, Generation, Hash, Row, Table};
use swf_filter_core::prefix::Address;

use super::counters::CounterArray;
use super::kernel::{open, take};
use super::{Pins, bulk};

type ImageArray = Array<MapData, [u64; WORDS as usize]>;
type Pages = Array<MapData, [u64; PAGE_WORDS as usize]>;
type TrieV4 = LpmTrie<MapData, [u8; 8], u32>;
type TrieV6 = LpmTrie<MapData, [u8; 20], u32>;

/// Flags of tries, forests and counters (`linux/bpf.h`).
const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_F_INNER_MAP: u32 = 1 << 12;

/// Rows of a trie that are read back, spread over all: each is a system call.
const MOST_READ_BACK: usize = 1 << 15;

/// Why a generation did not take effect. The one before it is still in force.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The compiled engine cannot hold it.
    #[error(transparent)]
    Forest(#[from] TooLarge),
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
    image: ArrayOfMaps<MapData, ImageArray>,
    tries_v4: ArrayOfMaps<MapData, TrieV4>,
    tries_v6: ArrayOfMaps<MapData, TrieV6>,
    forests: ArrayOfMaps<MapData, Pages>,
    rules: ArrayOfMaps<MapData, CounterArray>,
    /// The maps of source tables once more, for [`Self::release`].
    sources: Arc<[MapData]>,
    releasing: Option<JoinHandle<()>>,
}

/// Maps whose slots hold source tables.
const SOURCES: [&str; 3] = ["TRIES_V4", "TRIES_V6", "FORESTS"];

impl Publisher {
    pub(super) fn new(ebpf: &mut Ebpf, pins: &Pins) -> Result<Self> {
        let sources = SOURCES.iter().map(|name| open(pins, name));
        Ok(Self {
            image: take(ebpf, "IMAGE")?.try_into()?,
            tries_v4: take(ebpf, "TRIES_V4")?.try_into()?,
            tries_v6: take(ebpf, "TRIES_V6")?.try_into()?,
            forests: take(ebpf, "FORESTS")?.try_into()?,
            rules: take(ebpf, "RULES")?.try_into()?,
            sources: sources.collect::<Result<_>>()?,
            releasing: None,
        })
    }

    /// The generation in force, if there is one.
    #[must_use]
    pub fn active(&self) -> Option<Active> {
        let words = self
            .image
            .get(&0, 0)
            .and_then(|image| image.get(&0, 0))
            .ok()?;
        let words: &[u64] = &words;
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
        let bytes = match engine {
            Engine::Compiled => vec![self.forests.get(&slot, 0).map(|pages| bytes_of(&pages))],
            Engine::LpmTrie => vec![
                self.tries_v4.get(&slot, 0).map(|trie| bytes_of(&trie)),
                self.tries_v6.get(&slot, 0).map(|trie| bytes_of(&trie)),
            ],
        };
        bytes.into_iter().flatten().sum()
    }

    /// Fills the slot of `placement`, which must not be the one in force, and flips to it.
    pub fn publish(
        &mut self,
        generation: &Generation,
        placement: &Placement,
    ) -> Result<Durations, PublishError> {
        // What was in this slot must be gone before something else is put there.
        if let Some(releasing) = self.releasing.take() {
            let _it_only_warns = releasing.join();
        }
        let slot = u32::from(placement.slot);
        let mut build = Duration::ZERO;
        let mut start = Instant::now();
        match placement.engine {
            Engine::Compiled => {
                let forest = Forest::build(generation)?;
                build = start.elapsed();
                start = Instant::now();
                self.forests
                    .set(slot, &filled_pages(&forest)?, 0)
                    .map_err(map("set the forest"))?;
            }
            Engine::LpmTrie => self.fill_tries(slot, generation)?,
        }
        let counters = counters_of_a_cpu(generation)
            .saturating_mul(placement.cpus)
            .max(1);
        let counters = CounterArray::create(counters, BPF_F_INNER_MAP)
            .map_err(map("make the rule counters"))?;
        self.rules
            .set(slot, &counters, 0)
            .map_err(map("set the rule counters"))?;
        let image = filled_image(generation, placement)?;
        let fill = start.elapsed();
        let flip = self.flip(&image)?;
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
        let image = filled_image(generation, placement)?;
        self.flip(&image)?;
        Ok(())
    }

    fn flip(&mut self, image: &ImageArray) -> Result<Duration, PublishError> {
        let start = Instant::now();
        self.image
            .set(0, image, 0)
            .map_err(map("flip to the new image"))?;
        Ok(start.elapsed())
    }

    /// Lets go of the source tables of a slot that is no longer in force.
    ///
    /// Nobody waits for it: each map costs a grace period of the kernel, and the memory of a large trie is freed for as long as
    /// a second.
    pub fn release(&mut self, slot: u8) {
        let sources = Arc::clone(&self.sources);
        let release = move || {
            for maps in sources.iter() {
                if let Err(error) = bulk::remove(maps, slot.into()) {
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

/// Makes the pages of a forest, and reads all of them back.
fn filled_pages(forest: &Forest) -> Result<Pages, PublishError> {
    let words = forest.words();
    let number = words.len().div_ceil(PAGE_WORDS as usize);
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let pages =
        Pages::create(number, BPF_F_INNER_MAP | BPF_F_MMAPABLE).map_err(map("make a forest"))?;
    bulk::fill(pages.map(), words).map_err(memory("fill a forest"))?;
    if bulk::holds(pages.map(), words).map_err(memory("read a forest back"))? {
        Ok(pages)
    } else {
        Err(PublishError::ReadBack { what: "a forest" })
    }
}

/// What `/proc` says a map takes; nothing if it says nothing.
fn bytes_of<K: Pod, V>(map: &impl IterableMap<K, V>) -> u64 {
    let descriptor = map.map().fd().as_fd().as_raw_fd();
    let said = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default();
    said.lines()
        .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
        .unwrap_or_default()
}

fn filled_image(
    generation: &Generation,
    placement: &Placement,
) -> Result<ImageArray, PublishError> {
    let words: Box<[u64; WORDS as usize]> = write(generation, placement)?
        .into_boxed_slice()
        .try_into()
        .map_err(|_| PublishError::ReadBack {
            what: "the size of the image",
        })?;
    let mut image = ImageArray::create(1, 0).map_err(map("make an image"))?;
    image.set(0, *words, 0).map_err(map("fill the image"))?;
    if *words != image.get(&0, 0).map_err(map("read the image back"))? {
        return Err(PublishError::ReadBack { what: "the image" });
    }
    Ok(image)
}

fn map(what: &'static str) -> impl Fn(MapError) -> PublishError {
    move |error| PublishError::Map { what, error }
}

fn memory(what: &'static str) -> impl Fn(io::Error) -> PublishError {
    move |error| PublishError::Memory { what, error }
}
