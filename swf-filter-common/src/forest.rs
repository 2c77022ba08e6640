//! The compiled engine: all source tables of a generation as one run of 64-bit words, a *forest* of tries.
//!
//! Each table has a trie for each family. A trie takes six bits of an address at a time, as a poptrie does: 64 slots are two
//! masks, and what a slot leads to is found by counting the bits before it. Levels at which only one way goes on are skipped.
//! It is built from what a table means, not from its rows: neighbours with one leaf are one, however they were written.
//!
//! The forest is read through [`Words`], by the kernel from pages that are maps and by user space from memory. No value
//! of any word makes a lookup fail or run on: what makes no sense matches nothing, as does a forest of zeroes.
//!
//! # Layout, in words
//!
//! The [`header`] is followed by two words for each table at [`root_at`]: an [`Entry`] or, for more than a few
//! prefixes, the place of a *top*: an entry for each value of the first bits, of which the root says the number. Nodes are four words and aligned:
//!
//! | word | branch | skip | bucket |
//! | --- | --- | --- | --- |
//! | 0 | slots that lead to a node | expected bits, the first 64 | two ends |
//! | 1 | slots that lead to the second leaf, or with [`MANY`] to another one than the slot before | expected bits, the rest | two ends |
//! | 2 | the last slot's child; a [lead](lead_bits); [`MANY`], [`MASKS`] or [`TWIGS`] | the entry if the bits are these; their number; [`SKIP`] | an end; [`BUCKET`] |
//! | 3 | two entries, or with [`MANY`] the place of a list | entries for lower and for higher bits | two entries in turns |
//!
//! A bucket is all of a part of the trie in which a few ranges of addresses lie. An end is the last value that the next 32 bits
//! have in one of them; those that it has none for are the highest value, after which nothing comes.
//!
//! Children are nodes or, where the branch's two leaves are all that there is in most of them, words:
//!
//! * With [`MASKS`], a word is the mask of the second leaf's slots among the next six bits. Where more bits count, word 1 has the slot, and
//!   the word is an entry. So the last two strides of dense prefixes are words, a quarter of the memory that nodes would take.
//! * With [`TWIGS`], it is a *twig*, or an entry where a child is none. In a twig the leaves take turns, four times at most. Word 1 has the
//!   leaf that it begins with, and its lanes of 16 bits have the ends, as in a bucket but of the next 15 bits, each below a bit that is
//!   always set. So prefixes that lie apart are in a quarter of the memory, too.
//!
//! An IPv6 branch may have a lead: a few bits that come before its slots, and which of its two leaves is for addresses that go on with
//! others. So most skips need no node of their own.
//!
//! The first slot is a mask's highest bit, and children stand in the order of their slots, the last one first. So one shift brings
//! a slot's own bit to the top, and what is counted is then what is left below it.

use crate::abi::{FURTHER_PAGES, Leaf, PAGE_WORDS};
use crate::frame::V6;
use crate::image::{self, Words};

/// Words in a forest at most: 512 MiB, less the image before it.
pub const MAX_WORDS: u32 = (1 + FURTHER_PAGES) * PAGE_WORDS - image::WORDS;
/// Words in a node.
pub const NODE_WORDS: u32 = 4;
/// Bits of an address that a branch takes.
pub const STRIDE: u32 = 6;

/// Words of the header.
pub mod header {
    /// [`super::MAGIC`].
    pub const MAGIC: u32 = 0;
    /// Number of words in all.
    pub const LENGTH: u32 = 1;
    /// Four words: the hash of all that follows the header.
    pub const HASH: u32 = 4;
    /// Words in the header.
    pub const WORDS: u32 = 8;
}

/// First word of every forest: `SWFT` and the version of the layout.
pub const MAGIC: u64 = 0x5357_4654_0000_0000 | crate::abi::VERSION as u64;

/// In a node's word 2: the node is a skip.
pub const SKIP: u64 = 1 << 63;
/// In a branch's word 2: its leaves are in a list, two to a word.
pub const MANY: u64 = 1 << 62;
/// In a branch's word 2: its children are twigs.
pub const TWIGS: u64 = 1 << 61;
/// In a branch's word 2: its children are masks.
pub const MASKS: u64 = 1 << 60;
/// In a node's word 2: the node is a bucket.
pub const BUCKET: u64 = SKIP | MANY;
/// Ends in a bucket.
pub const ENDS: usize = 5;

/// Bits of an address that a twig's ends have, and ends in a twig.
pub const TWIG_BITS: u32 = 15;
/// The same for their number.
pub const TWIG_ENDS: usize = 4;
/// The bit above each end of a twig. No entry has the highest one.
const TWIG: u64 = LANES << TWIG_BITS;
/// The lowest bit of each lane of a twig.
const LANES: u64 = 0x0001_0001_0001_0001;

/// Bits of an address that a lead has at most.
pub const LEAD_BITS: u32 = 3 * STRIDE;
/// Where a lead's fields start in word 2: what is expected, the number of bits, and the leaf for all others.
const LEAD_AT: u32 = 32;
const LEAD_LENGTH_AT: u32 = LEAD_AT + LEAD_BITS;
const LEAD_OTHERS_AT: u32 = LEAD_LENGTH_AT + 5;

/// The first slot of a mask.
pub const FIRST_SLOT: u64 = 1 << 63;

/// In a root: the table has a top.
const HAS_TOP: u64 = 1 << 63;

/// Nodes that a lookup passes at most. Each takes [`STRIDE`] bits or more.
const LEVELS_V4: u32 = 32_u32.div_ceil(STRIDE);
const LEVELS_V6: u32 = 128_u32.div_ceil(STRIDE);

/// Where an address goes on to: a leaf, a node, or nowhere.
///
/// Leaves are stored inverted: so zero is none of them, and all above [`Self::NODES`] are leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry(u32);

impl Entry {
    /// No prefix matches.
    pub const NONE: Self = Self(0);
    /// Numbers below are those of nodes, but for 0.
    const NODES: u32 = 1 << 30;

    /// A leaf.
    #[inline(always)]
    #[must_use]
    pub const fn leaf(leaf: Leaf) -> Self {
        Self(!leaf.bits())
    }

    /// A node, by its place in nodes.
    #[inline(always)]
    #[must_use]
    pub const fn node(number: u32) -> Self {
        Self(number)
    }

    /// Reads half a word.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Half a word.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    #[inline(always)]
    const fn is_node(self) -> bool {
        self.0.wrapping_sub(1) < Self::NODES - 1
    }

    /// What was found, if anything was.
    #[inline(always)]
    #[must_use]
    pub const fn found(self) -> Option<Leaf> {
        if self.0 < Self::NODES {
            None
        } else {
            Some(Leaf::from_bits(!self.0))
        }
    }

    /// The lower half of a word, or the upper one.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "half of it is wanted")]
    const fn half(word: u64, number: u32) -> Self {
        Self((word >> ((number & 1) * 32)) as u32)
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4 = 0,
    /// IPv6.
    V6 = 1,
}

/// The word of a table's root.
#[inline(always)]
#[must_use]
pub const fn root_at(table: u16, family: Family) -> u32 {
    header::WORDS + table as u32 * 2 + family as u32
}

/// A root with a top for so many `bits`, whose first word is `at`.
#[inline(always)]
#[must_use]
pub const fn top_word(at: u32, bits: u32) -> u64 {
    HAS_TOP | (bits as u64) << 32 | at as u64
}

/// Word 2 of a skip over `bits` bits.
#[inline(always)]
#[must_use]
pub const fn skip_word(entry: Entry, bits: u32) -> u64 {
    SKIP | (bits as u64) << 32 | entry.0 as u64
}

/// What word 2 of a branch has of its lead: the `expected` bits, their number, and which leaf, 0 or 1, is for `others`.
#[inline(always)]
#[must_use]
pub const fn lead_bits(expected: u32, bits: u32, others: u32) -> u64 {
    (expected as u64) << LEAD_AT
        | (bits as u64) << LEAD_LENGTH_AT
        | (others as u64) << LEAD_OTHERS_AT
}

/// A bucket.
#[inline(always)]
#[must_use]
pub const fn bucket(ends: [u32; ENDS], first: Entry, second: Entry) -> [u64; 4] {
    let [one, two, three, four, five] = ends;
    [
        (two as u64) << 32 | one as u64,
        (four as u64) << 32 | three as u64,
        BUCKET | five as u64,
        pair_word(first, second),
    ]
}

/// A twig.
#[inline(always)]
#[must_use]
pub const fn twig(ends: [u16; TWIG_ENDS]) -> u64 {
    let [one, two, three, four] = ends;
    TWIG | (four as u64) << 48 | (three as u64) << 32 | (two as u64) << 16 | one as u64
}

/// Two entries in a word.
#[inline(always)]
#[must_use]
pub const fn pair_word(first: Entry, second: Entry) -> u64 {
    (second.0 as u64) << 32 | first.0 as u64
}

/// The leaf of the longest prefix in `table` that `source` lies in.
#[inline(always)]
pub fn leaf_v4<W: Words>(words: &W, table: u16, source: u32) -> Option<Leaf> {
    let left = Bits {
        high: u64::from(source) << 32,
        low: 0,
    };
    find::<W, LEVELS_V4>(words, root_at(table, Family::V4), left).found()
}

/// The same for IPv6.
#[inline(always)]
pub fn leaf_v6<W: Words>(words: &W, table: u16, source: V6) -> Option<Leaf> {
    let left = Bits {
        high: source.high,
        low: source.low,
    };
    find::<W, LEVELS_V6>(words, root_at(table, Family::V6), left).found()
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "fields are cut out by their width"
)]
fn find<W: Words, const LEVELS: u32>(words: &W, root: u32, mut left: Bits) -> Entry {
    let root = words.word(root);
    let mut entry = Entry::half(root, 0);
    if root & HAS_TOP != 0 {
        let bits = (root >> 32) as u32 % 64;
        let slot = (left.high >> 1 >> (63 - bits)) as u32;
        entry = Entry::half(words.word(entry.0.wrapping_add(slot / 2)), slot);
        left = left.after(bits);
    }
    for _ in 0..LEVELS {
        if !entry.is_node() {
            return entry;
        }
        let [first, second, links, leaves] = words.node(entry.0);
        if links & SKIP == 0 {
            let lead = (links >> LEAD_LENGTH_AT) as u32 % 32;
            if LEVELS == LEVELS_V6 && lead != 0 {
                if left.high >> (64 - lead) != (links >> LEAD_AT) % (1 << LEAD_BITS) {
                    return Entry::half(leaves, (links >> LEAD_OTHERS_AT) as u32);
                }
                left = left.after(lead);
            }
            let slot = left.high >> (64 - STRIDE);
            let on = first << slot;
            if on & FIRST_SLOT == 0 {
                return if links & MANY == 0 {
                    Entry::half(leaves, (second << slot >> 63) as u32)
                } else {
                    let run = (second >> (63 - slot)).count_ones();
                    Entry::half(words.word((leaves as u32).wrapping_add(run / 2)), run)
                };
            }
            let child = (links as u32).wrapping_add((on << 1).count_ones());
            left = left.after(STRIDE);
            if links & (MASKS | TWIGS) == 0 {
                entry = Entry(child);
            } else {
                let word = words.word(child);
                if links & MASKS != 0 {
                    if (second << slot) & FIRST_SLOT == 0 {
                        let slot = left.high >> (64 - STRIDE);
                        return Entry::half(leaves, (word << slot >> 63) as u32);
                    }
                } else if word >> 63 != 0 {
                    // What stays set in each lane tells an end that is not behind. Of four lanes as many are as are not, but for a multiple of two.
                    let lanes = word.wrapping_sub((left.high >> (64 - TWIG_BITS)) * LANES);
                    let pairs = lanes ^ lanes << 32;
                    let turns = pairs ^ pairs << 16;
                    return Entry::half(leaves, (((second << slot) ^ turns) >> 63) as u32);
                }
                entry = Entry::half(word, 0);
            }
        } else if links & MANY != 0 {
            let bits = left.high >> 32;
            // Negative after as many ends as the bits lie behind: the product of their signs is that of their number.
            let behind = |end: u64| (end & 0xffff_ffff).wrapping_sub(bits);
            let sign = behind(first)
                ^ behind(first >> 32)
                ^ behind(second)
                ^ behind(second >> 32)
                ^ behind(links);
            return Entry::half(leaves, (sign >> 63) as u32);
        } else {
            // An IPv4 address has no more than the first 64.
            let bits = (links >> 32) as u32 % if LEVELS == LEVELS_V4 { 64 } else { 256 };
            let start = left.start::<LEVELS>(bits);
            if start.high == first && (LEVELS == LEVELS_V4 || start.low == second) {
                entry = Entry::half(links, 0);
                left = left.after(bits);
            } else {
                let is_lower = start.high < first || start.high == first && start.low < second;
                return Entry::half(leaves, u32::from(!is_lower));
            }
        }
    }
    entry
}

/// What is left of an address, its first bit on top.
#[derive(Clone, Copy)]
struct Bits {
    high: u64,
    low: u64,
}

impl Bits {
    /// Without the first `bits`.
    #[inline(always)]
    const fn after(self, bits: u32) -> Self {
        if bits < 64 {
            Self {
                high: self.high << bits | self.low >> 1 >> (63 - bits),
                low: self.low << bits,
            }
        } else {
            Self {
                high: self.low << (bits % 64),
                low: 0,
            }
        }
    }

    /// The first `bits`, the others zero.
    #[inline(always)]
    const fn start<const LEVELS: u32>(self, bits: u32) -> Self {
        if LEVELS == LEVELS_V4 || bits <= 64 {
            // All but the first `bits`, of which there is at least one.
            let rest = u64::MAX >> 1 >> (bits.wrapping_sub(1) % 64);
            Self {
                high: self.high & !rest,
                low: 0,
            }
        } else {
            let rest = u64::MAX >> 1 >> ((bits - 65) % 64);
            Self {
                high: self.high,
                low: self.low & !rest,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Class;

    #[test]
    fn entries_are_told_apart() {
        for class in [Class::Allow, Class::Audit, Class::Deny, Class::AlwaysAllow] {
            for ordinal in [0, 1, Leaf::MAX_ORDINAL] {
                let leaf = Leaf::new(class, ordinal);
                let entry = Entry::leaf(leaf);
                assert_eq!((entry.found(), entry.is_node()), (Some(leaf), false));
            }
        }
        assert_eq!((Entry::NONE.found(), Entry::NONE.is_node()), (None, false));
        for number in [1, Entry::NODES - 1] {
            let entry = Entry::node(number);
            assert_eq!((entry.found(), entry.is_node()), (None, true));
        }
    }

    #[test]
    fn zeroes_match_nothing() {
        let words: &[u64] = &[0; 64];
        assert_eq!(leaf_v4(&words, 0, 0x0a00_0001), None);
        assert_eq!(leaf_v6(&words, 3, (1_u128 << 127).into()), None);
    }

    #[test]
    fn twigs_that_are_not_there_match_nothing() {
        let leaf = Leaf::new(Class::Allow, 0);
        let entry = Entry::leaf(leaf);
        let mut words = [0; 64];
        words[8] = Entry::node(3).bits().into();
        let slot = FIRST_SLOT >> (0x0a >> 2);
        words[12..16].copy_from_slice(&[slot, 0, TWIGS | 32, pair_word(entry, entry)]);
        assert_eq!(leaf_v4(&&words[..], 0, 0x0a00_0001), None);
        words[32..].fill(twig([0, 1, 2, 3]));
        assert_eq!(leaf_v4(&&words[..], 0, 0x0a00_0001), Some(leaf));
    }

    #[test]
    fn a_mask_is_of_the_next_slots() {
        let [first, second] = [3, 5].map(|ordinal| Leaf::new(Class::Allow, ordinal));
        let mut words = [0; 64];
        words[8] = Entry::node(3).bits().into();
        let slots = FIRST_SLOT >> (0x0a >> 2) | FIRST_SLOT >> (0x0e >> 2);
        // Of two children the first is a mask, and the other an entry.
        let entry = FIRST_SLOT >> (0x0e >> 2);
        let leaves = pair_word(Entry::leaf(first), Entry::leaf(second));
        words[12..16].copy_from_slice(&[slots, entry, MASKS | 32, leaves]);
        words[32] = Entry::leaf(second).bits().into();
        words[33] = FIRST_SLOT >> 0b10_0001;
        let found = |address| leaf_v4(&&words[..], 0, address);
        assert_eq!(found(0x0a10_0000), Some(second));
        assert_eq!(found(0x0a20_0000), Some(first));
        assert_eq!(found(0x0e20_0000), Some(second));
        assert_eq!(found(0x4000_0000), Some(first));
    }

    #[test]
    fn a_lead_comes_before_the_slots() {
        let [first, second] = [3, 5].map(|ordinal| Leaf::new(Class::Allow, ordinal));
        let leaves = pair_word(Entry::leaf(first), Entry::leaf(second));
        for (others, leaf) in [(0, first), (1, second)] {
            let mut words = [0; 64];
            words[9] = Entry::node(3).bits().into();
            let lead = lead_bits(0x200, 12, others);
            words[12..16].copy_from_slice(&[0, FIRST_SLOT >> 0b01_0011, lead, leaves]);
            let found = |address: u128| leaf_v6(&&words[..], 0, (address << 96).into());
            assert_eq!(found(0x2004_c000), Some(second));
            assert_eq!(found(0x2004_8000), Some(first));
            assert_eq!([found(0x2014_c000), found(0x2014_8000)], [Some(leaf); 2]);
        }
    }

    #[test]
    fn bits_are_taken_from_the_front() {
        let all = 0x0123_4567_89ab_cdef_0011_2233_4455_6677_u128;
        let bits = |number: u128| {
            let V6 { high, low } = number.into();
            Bits { high, low }
        };
        let number = |bits: Bits| {
            u128::from(V6 {
                high: bits.high,
                low: bits.low,
            })
        };
        for taken in 1..=128 {
            let rest = u128::MAX.checked_shr(taken).unwrap_or(0);
            let start = bits(all).start::<LEVELS_V6>(taken);
            assert_eq!(number(start), all & !rest, "{taken}");
            if taken < 128 {
                assert_eq!(number(bits(all).after(taken)), all << taken, "{taken}");
            }
        }
    }
}
