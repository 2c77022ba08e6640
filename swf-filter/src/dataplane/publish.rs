//! Makes a generation take effect, in one step for hosts, zones, IPv4 and IPv6.
//!
//! The kernel holds two slots of source tries and rule counters, and one image that says which slot is in force. A new
//! generation fills the other slot, is read back, and then the image is replaced: that is the flip. The kernel returns from it
//! only when no program uses the old image any more. Whatever fails or dies before the flip leaves the old generation in force.

use std::time::{Duration, Instant};

use anyhow::Result;
use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, LpmTrie, MapData, MapError};
use swf_filter_common::abi;
use swf_filter_common::image::{self, Options, WORDS, Words, header};
use swf_filter_core::compile::image::{ImageError, Placement, counters_of_a_cpu, write};
use swf_filter_core::compile::{Generation, Hash, Row};
use swf_filter_core::prefix::Address;

use super::counters::CounterArray;
use super::kernel::take;

type ImageArray = Array<MapData, [u64; WORDS as usize]>;
type TrieV4 = LpmTrie<MapData, [u8; 8], u32>;
type TrieV6 = LpmTrie<MapData, [u8; 20], u32>;

/// Flags of the tries and of the counters (`linux/bpf.h`).
const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_INNER_MAP: u32 = 1 << 12;

/// Why a generation did not take effect. The one before it is still in force.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
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
}

/// How long the steps took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Durations {
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
    rules: ArrayOfMaps<MapData, CounterArray>,
}

impl Publisher {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            image: take(ebpf, "IMAGE")?.try_into()?,
            tries_v4: take(ebpf, "TRIES_V4")?.try_into()?,
            tries_v6: take(ebpf, "TRIES_V6")?.try_into()?,
            rules: take(ebpf, "RULES")?.try_into()?,
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
        let slot = Options::from_word(words.word(header::OPTIONS)).slot;
        Some(Active {
            number: words.word(header::GENERATION),
            hash: Hash(hash),
            slot,
        })
    }

    /// Fills the slot of `placement`, which must not be the one in force, and flips to it.
    pub fn publish(
        &mut self,
        generation: &Generation,
        placement: &Placement,
    ) -> Result<Durations, PublishError> {
        let start = Instant::now();
        let slot = u32::from(placement.slot);
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
        let counters = counters_of_a_cpu(generation)
            .saturating_mul(placement.cpus)
            .max(1);
        let counters = CounterArray::create(counters, BPF_F_INNER_MAP)
            .map_err(map("make the rule counters"))?;
        self.tries_v4
            .set(slot, &v4, 0)
            .map_err(map("set the IPv4 trie"))?;
        self.tries_v6
            .set(slot, &v6, 0)
            .map_err(map("set the IPv6 trie"))?;
        self.rules
            .set(slot, &counters, 0)
            .map_err(map("set the rule counters"))?;
        let image = filled_image(generation, placement)?;
        let fill = start.elapsed();
        let flip = self.flip(&image)?;
        Ok(Durations { fill, flip })
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

    /// Lets go of the source tables of a slot that is no longer in force. The kernel frees them in its own time.
    pub fn release(&mut self, slot: u8) -> Result<(), PublishError> {
        let slot = u32::from(slot);
        let v4 = TrieV4::create(1, BPF_F_NO_PREALLOC).map_err(map("make an empty trie"))?;
        let v6 = TrieV6::create(1, BPF_F_NO_PREALLOC).map_err(map("make an empty trie"))?;
        self.tries_v4
            .set(slot, &v4, 0)
            .map_err(map("release the old IPv4 trie"))?;
        self.tries_v6
            .set(slot, &v6, 0)
            .map_err(map("release the old IPv6 trie"))
    }
}

/// Makes the trie of one family over all tables, and reads it back.
fn trie<A: Address, K: aya::Pod + PartialEq>(
    generation: &Generation,
    rows: impl Fn(&swf_filter_core::compile::Table) -> &Vec<Row<A>>,
    key: impl Fn(u16, &Row<A>) -> Key<K>,
) -> Result<LpmTrie<MapData, K, u32>, PublishError> {
    let entries = || {
        (0u16..)
            .zip(&generation.tables)
            .flat_map(|(number, table)| rows(table).iter().map(move |row| (number, row)))
    };
    let size = u32::try_from(entries().count()).unwrap_or(u32::MAX).max(1);
    let mut trie =
        LpmTrie::create(size, BPF_F_NO_PREALLOC).map_err(map("make a trie of sources"))?;
    for (table, row) in entries() {
        trie.insert(&key(table, row), row.leaf().bits(), 0)
            .map_err(map("fill a trie of sources"))?;
    }
    for (table, row) in entries() {
        // Asked for exactly this prefix, the kernel finds it or a shorter one; the latter has another leaf or is none.
        match trie.get(&key(table, row), 0) {
            Ok(leaf) if leaf == row.leaf().bits() => {}
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
