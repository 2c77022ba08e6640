//! Builds a generation's [forest](swf_filter_common::forest): what the compiled engine looks sources up in.
//!
//! Building is a function: the same tables give the same words. It starts from ranges of addresses with one leaf, not from
//! prefixes, so that whatever means the same is as small: siblings, duplicates and prefixes inside others of their rule cost
//! nothing. A forest that would be larger than [`MAX_WORDS`] is refused.

mod ranges;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use swf_filter_common::abi::Leaf;
use swf_filter_common::forest::{
    self, ENDS, Entry, FIRST_SLOT, Family, LEAD_BITS, MAGIC, MANY, MASKS, MAX_WORDS, NODE_WORDS,
    STRIDE, TWIG_BITS, TWIG_ENDS, TWIGS, header,
};
use swf_filter_common::frame::V6;
use swf_filter_common::verdict::Sources;

use self::ranges::Ranges;
use super::{Generation, Hash, Row, paint};
use crate::prefix::Address;

/// A built forest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forest {
    words: Vec<u64>,
    hash: Hash,
}

/// Tables that the compiled engine does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{prefixes} prefixes of these shapes take more than the {} MiB that the compiled engine has",
    MAX_WORDS / WORDS_OF_A_MIB
)]
pub struct TooLarge {
    /// Number of prefixes in all tables.
    pub prefixes: usize,
}

impl Forest {
    /// Builds the tables of a generation, each only once.
    pub fn build(generation: &Generation) -> Result<Self, TooLarge> {
        Self::build_within(MAX_WORDS, generation)
    }

    fn build_within(most: u32, generation: &Generation) -> Result<Self, TooLarge> {
        let tables = generation.tables.len();
        let mut builder = Builder::new(most, tables);
        let mut known = HashMap::new();
        for (number, table) in (0..).zip(&generation.tables) {
            for (family, key) in [
                (Family::V4, key(&table.v4, tables)),
                (Family::V6, key(&table.v6, tables)),
            ] {
                let root = *known.entry((family, key)).or_insert_with(|| match family {
                    Family::V4 => builder.trie(&table.v4),
                    Family::V6 => builder.trie(&table.v6),
                });
                builder.set(forest::root_at(number, family), root);
                if builder.is_full() {
                    let prefixes = generation.prefixes();
                    return Err(TooLarge { prefixes });
                }
            }
        }
        Ok(builder.finish())
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The hash of all tables.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Number of bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(self.words())
    }
}

/// What equal tables have in common. An only one is not worth a hash.
fn key<A: Address>(rows: &[Row<A>], tables: usize) -> blake3::Hash {
    match tables {
        1 => blake3::hash(&[]),
        _ => blake3::hash(&paint::bytes(rows)),
    }
}

impl Sources for Forest {
    fn leaf_v4(&self, _slot: u8, table: u16, source: u32) -> Option<Leaf> {
        forest::leaf_v4(&self.words(), table, source)
    }

    fn leaf_v6(&self, _slot: u8, table: u16, source: V6) -> Option<Leaf> {
        forest::leaf_v6(&self.words(), table, source)
    }
}

struct Builder {
    words: Vec<u64>,
    /// So many words are too many.
    most: u32,
    /// How many tables there are.
    tables: usize,
}

/// Some of a trie's ranges, the first of which has the address where a part of the trie starts.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

/// A part of the trie: all addresses that start with the first `bits` of `first`.
#[derive(Clone, Copy)]
struct Part {
    first: u128,
    bits: u32,
    span: Span,
}

impl Part {
    fn last(self) -> u128 {
        self.first | !mask(self.bits)
    }

    fn is_leaf(self) -> bool {
        self.span.end - self.span.start == 1
    }
}

impl Builder {
    fn new(most: u32, tables: usize) -> Self {
        let after = u16::try_from(tables).unwrap_or(u16::MAX);
        let start = forest::root_at(after, Family::V4).next_multiple_of(NODE_WORDS);
        Self {
            words: vec![0; start as usize],
            most,
            tables,
        }
    }

    fn finish(mut self) -> Forest {
        let hash = hash(self.words.get(header::WORDS as usize..).unwrap_or_default());
        self.set(header::MAGIC, MAGIC);
        self.set(header::LENGTH, u64::from(self.next()));
        for (at, bytes) in (header::HASH..).zip(hash.0.as_chunks().0) {
            self.set(at, u64::from_le_bytes(*bytes));
        }
        Forest {
            words: self.words,
            hash,
        }
    }

    /// Builds a trie, and gives the word of its root.
    fn trie<A: Address>(&mut self, rows: &[Row<A>]) -> u64 {
        let ranges = Ranges::of(rows);
        let all = Part {
            first: 0,
            bits: 0,
            span: Span {
                start: 0,
                end: ranges.len(),
            },
        };
        let Some(bits) = top::<A>(ranges.len(), self.tables) else {
            return u64::from(self.entry(&ranges, all).bits());
        };
        let at = self.allocate(1 << bits >> 1);
        let mut slots = Slots::new(&ranges, all, bits);
        for pair in 0..1 << bits >> 1 {
            let mut next = || {
                slots
                    .next()
                    .map_or(Entry::NONE, |part| self.entry(&ranges, part))
            };
            let word = forest::pair_word(next(), next());
            self.set(at + pair, word);
        }
        forest::top_word(at, bits)
    }

    fn entry<A: Address>(&mut self, ranges: &Ranges<A>, part: Part) -> Entry {
        if part.is_leaf() {
            return ranges.entry(part.span.start);
        }
        let node = self.allocate(NODE_WORDS) / NODE_WORDS;
        self.fill(node, ranges, part);
        Entry::node(node)
    }

    /// Makes the node of a part that has more than one leaf.
    fn fill<A: Address>(&mut self, node: u32, ranges: &Ranges<A>, part: Part) {
        if self.is_full() {
            return;
        }
        if let Some(bucket) = bucket(ranges, part) {
            self.set_node(node, bucket);
        } else if let Some(inner) = skipped(ranges, part) {
            let skip = Skip::to(ranges, part, inner);
            if is_branch(ranges, inner) {
                self.branch(node, ranges, inner, Some(skip));
            } else {
                let entry = self.entry(ranges, inner);
                self.set_node(node, skip.words(entry));
            }
        } else {
            self.branch(node, ranges, part, None);
        }
    }

    /// Makes a branch, and before it the skip that leads to it.
    fn branch<A: Address>(
        &mut self,
        node: u32,
        ranges: &Ranges<A>,
        part: Part,
        skip: Option<Skip>,
    ) {
        let mut leaves = Leaves::default();
        let mut children = [None; 1 << STRIDE];
        let mut number = 0;
        // The last stride of an IPv6 address is shorter: its slots are as far apart as its bits are missing.
        let bits = STRIDE.min(128 - part.bits);
        let step = 1 << (STRIDE - bits);
        let slots = Slots::new(ranges, part, bits);
        let mut mask = 0_u64;
        for (slot, inner) in (0..1_u64 << STRIDE).step_by(step).zip(slots) {
            if inner.is_leaf() {
                leaves.push(slot, ranges.entry(inner.span.start));
            } else if let Some(child) = children.get_mut(number) {
                mask |= FIRST_SLOT >> slot;
                *child = Some(inner);
                number += 1;
            }
        }
        if let Some(words) = InWords::of(ranges, part, bits) {
            return self.set_words(node, ranges, mask, &words, skip);
        }
        let (node, kind, second, leaves_word) = if leaves.in_turns() {
            let [one, other] = leaves.pair();
            let (node, lead) = self.after_skip::<A>(node, skip, Some([one, other]));
            (node, lead, leaves.odd, forest::pair_word(one, other))
        } else {
            let (node, _) = self.after_skip::<A>(node, skip, None);
            let list = self.list(&leaves);
            (node, MANY, leaves.starts, u64::from(list))
        };
        #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
        let first = self.allocate(number as u32 * NODE_WORDS) / NODE_WORDS;
        self.set_node(node, [mask, second, kind | u64::from(first), leaves_word]);
        for (child, inner) in (first..).zip(children.into_iter().flatten().rev()) {
            self.fill(child, ranges, inner);
        }
    }

    /// Puts a skip before a branch with two leaves or more: as its lead, or else as a node of its own. Gives the branch's node and lead.
    fn after_skip<A: Address>(
        &mut self,
        node: u32,
        skip: Option<Skip>,
        leaves: Option<[Entry; 2]>,
    ) -> (u32, u64) {
        let Some(skip) = skip else {
            return (node, 0);
        };
        // Skips of IPv4 are few, and all others would be slower for them.
        if A::BITS == 128
            && let Some(lead) = leaves.and_then(|leaves| skip.lead(leaves))
        {
            return (node, lead);
        }
        let inner = self.allocate(NODE_WORDS) / NODE_WORDS;
        self.set_node(node, skip.words(Entry::node(inner)));
        (inner, 0)
    }

    /// Makes a branch whose children are words.
    fn set_words<A: Address>(
        &mut self,
        node: u32,
        ranges: &Ranges<A>,
        mask: u64,
        branch: &InWords,
        skip: Option<Skip>,
    ) {
        let (node, lead) = self.after_skip::<A>(node, skip, Some(branch.pair));
        #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
        let at = self.allocate(branch.children.len() as u32);
        let [first, second] = branch.pair;
        let leaves = forest::pair_word(first, second);
        let links = branch.kind | lead | u64::from(at);
        self.set_node(node, [mask, branch.second, links, leaves]);
        for (at, child) in (at..).zip(branch.children.iter().rev()) {
            let word = match *child {
                Child::Part(inner) => self.entry(ranges, inner).bits().into(),
                Child::Word(word) => word,
            };
            self.set(at, word);
        }
    }

    /// Writes a branch's leaves down, and gives the word of the first.
    fn list(&mut self, leaves: &Leaves) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
        let at = self.allocate(leaves.entries().len().div_ceil(2) as u32);
        for (at, pair) in (at..).zip(leaves.entries().chunks(2)) {
            let entry = |number: usize| pair.get(number).copied().unwrap_or(Entry::NONE);
            self.set(at, forest::pair_word(entry(0), entry(1)));
        }
        at
    }

    /// The first of `words` new ones: where nodes can start, if it is enough for one.
    fn allocate(&mut self, words: u32) -> u32 {
        let mut at = self.next();
        if words >= NODE_WORDS {
            at = at.next_multiple_of(NODE_WORDS);
        }
        if !self.is_full() {
            self.words.resize((at + words) as usize, 0);
        }
        at
    }

    fn next(&self) -> u32 {
        u32::try_from(self.words.len()).unwrap_or(u32::MAX)
    }

    fn is_full(&self) -> bool {
        self.words.len() > self.most as usize
    }

    fn set_node(&mut self, node: u32, words: [u64; 4]) {
        for (at, word) in (node * NODE_WORDS..).zip(words) {
            self.set(at, word);
        }
    }

    fn set(&mut self, at: u32, value: u64) {
        if let Some(word) = self.words.get_mut(at as usize) {
            *word = value;
        }
    }
}

/// The bucket of a part that has few ranges with two leaves in turns, all of which end within the next 32 bits, and not all within
/// two strides.
fn bucket<A: Address>(ranges: &Ranges<A>, part: Part) -> Option<[u64; 4]> {
    let Span { start, end } = part.span;
    let in_turns = (start + 2..end).all(|range| ranges.entry(range) == ranges.entry(range - 2));
    if end - start > BUCKET_RANGES || !in_turns {
        return None;
    }
    let mut ends = [u32::MAX; ENDS];
    let mut beyond = 0;
    for (end, range) in ends.iter_mut().zip(start + 1..end) {
        let next = ranges.start(range) << part.bits;
        beyond |= next << (2 * STRIDE);
        *end = u32::try_from(next.rotate_left(32)).ok()?.checked_sub(1)?;
    }
    // Else a branch and masks are as small, and CPUs foresee what is always the same.
    (beyond != 0).then(|| forest::bucket(ends, ranges.entry(start), ranges.entry(start + 1)))
}

/// What a branch whose children are words is made of.
struct InWords {
    /// [`MASKS`] or [`TWIGS`].
    kind: u64,
    pair: [Entry; 2],
    /// Slots that begin with the second of the pair; of children in a branch with masks, those that are entries.
    second: u64,
    children: Vec<Child>,
}

enum Child {
    Part(Part),
    Word(u64),
}

impl InWords {
    /// The branch of a part whose slots are leaves of two kinds or have children, most of which are words.
    fn of<A: Address>(ranges: &Ranges<A>, part: Part, bits: u32) -> Option<Self> {
        let kinds = [TWIGS, MASKS].into_iter();
        let branches = kinds.filter_map(|kind| Self::with(kind, ranges, part, bits));
        // Of two with as many the last counts: a mask is read sooner.
        let best = branches.max_by_key(Self::words)?;
        // Another child is one access further away.
        (best.words() * 2 > best.children.len()).then_some(best)
    }

    /// How many children are no entries.
    fn words(&self) -> usize {
        let words = self.children.iter();
        words
            .filter(|child| matches!(child, Child::Word(_)))
            .count()
    }

    fn with<A: Address>(kind: u64, ranges: &Ranges<A>, part: Part, bits: u32) -> Option<Self> {
        let start = part.span.start;
        let pair = [ranges.entry(start), ranges.entry(start + 1)];
        let mut branch = Self {
            kind,
            pair,
            second: 0,
            children: Vec::new(),
        };
        let step = 1 << (STRIDE - bits);
        let slots = Slots::new(ranges, part, bits);
        for (slot, inner) in (0..1_u64 << STRIDE).step_by(step).zip(slots) {
            let entry = ranges.entry(inner.span.start);
            let mut is_second = entry == pair[1];
            if inner.is_leaf() {
                if !pair.contains(&entry) {
                    return None;
                }
            } else {
                let word = if kind == MASKS {
                    let word = slots_of_second(ranges, inner, pair);
                    is_second = word.is_none();
                    word
                } else {
                    twig(ranges, inner, pair)
                };
                branch
                    .children
                    .push(word.map_or(Child::Part(inner), Child::Word));
            }
            if is_second {
                branch.second |= FIRST_SLOT >> slot;
            }
        }
        Some(branch)
    }
}

/// The mask of a part with leaves of a pair, all of which end within a stride: the slots of the second leaf.
fn slots_of_second<A: Address>(ranges: &Ranges<A>, part: Part, pair: [Entry; 2]) -> Option<u64> {
    let Span { start, end } = part.span;
    let mut mask = 0;
    for range in start..end {
        let first = if range == start {
            0
        } else {
            ranges.start(range) << part.bits
        };
        let entry = ranges.entry(range);
        if first << STRIDE != 0 || !pair.contains(&entry) {
            return None;
        }
        // All slots from its own on; the next range takes its own back.
        let from = u64::MAX >> first.rotate_left(STRIDE);
        mask = if entry == pair[1] {
            mask | from
        } else {
            mask & !from
        };
    }
    Some(mask)
}

/// The twig of a part that has few ranges with leaves of a pair, all of which end within the next bits.
fn twig<A: Address>(ranges: &Ranges<A>, part: Part, pair: [Entry; 2]) -> Option<u64> {
    let Span { start, end } = part.span;
    if end - start > TWIG_ENDS + 1 || !(start..end).all(|range| pair.contains(&ranges.entry(range)))
    {
        return None;
    }
    let last = u16::MAX >> (16 - TWIG_BITS);
    let mut ends = [last; TWIG_ENDS];
    for (end, range) in ends.iter_mut().zip(start + 1..end) {
        let next = (ranges.start(range) << part.bits).rotate_left(TWIG_BITS);
        *end = u16::try_from(next)
            .ok()?
            .checked_sub(1)
            .filter(|end| *end < last)?;
    }
    Some(forest::twig(ends))
}

/// Bits that are expected before a part, and what addresses have that go on with others.
struct Skip {
    expected: V6,
    bits: u32,
    lower: Entry,
    higher: Entry,
}

impl Skip {
    /// From a part to one in it.
    fn to<A: Address>(ranges: &Ranges<A>, part: Part, inner: Part) -> Self {
        Self {
            expected: (inner.first << part.bits).into(),
            bits: inner.bits - part.bits,
            lower: ranges.entry(part.span.start),
            higher: ranges.entry(part.span.end - 1),
        }
    }

    /// A node before what it leads to.
    fn words(&self, entry: Entry) -> [u64; 4] {
        [
            self.expected.high,
            self.expected.low,
            forest::skip_word(entry, self.bits),
            forest::pair_word(self.lower, self.higher),
        ]
    }

    /// The lead of a branch with two leaves, if all other addresses have one of them.
    fn lead(&self, leaves: [Entry; 2]) -> Option<u64> {
        if self.bits > LEAD_BITS || self.lower != self.higher {
            return None;
        }
        let others = (0..).zip(leaves).find(|(_, leaf)| *leaf == self.lower)?.0;
        let expected = u32::try_from(self.expected.high >> (64 - self.bits)).ok()?;
        Some(forest::lead_bits(expected, self.bits, others))
    }
}

/// Whether a part becomes a branch, and nothing before it.
fn is_branch<A: Address>(ranges: &Ranges<A>, part: Part) -> bool {
    !part.is_leaf() && bucket(ranges, part).is_none() && skipped(ranges, part).is_none()
}

/// The part that a skip leads to, where one saves nodes: over more bits than a branch takes, or over as many if only one way goes on.
fn skipped<A: Address>(ranges: &Ranges<A>, part: Part) -> Option<Part> {
    if let Some(only) = only_prefix(ranges, part) {
        return (only.bits - part.bits > STRIDE).then_some(only);
    }
    let stem = stem(ranges, part);
    (stem.bits - part.bits >= STRIDE).then_some(stem)
}

/// The only prefix of a part: all lower addresses have one leaf, and all higher ones.
fn only_prefix<A: Address>(ranges: &Ranges<A>, part: Part) -> Option<Part> {
    let Span { start, end } = part.span;
    let first = ranges.start(start + 1);
    let bits = match end - start {
        // Any prefix that the second range starts with tells the two apart.
        2 => 128 - first.trailing_zeros(),
        3 => prefix_bits(first, ranges.start(start + 2) - 1)?,
        _ => return None,
    };
    let span = Span {
        start: start + 1,
        end: start + 2,
    };
    Some(Part { first, bits, span })
}

/// The length of the prefix that goes from `first` to `last`, if there is one.
fn prefix_bits(first: u128, last: u128) -> Option<u32> {
    let bits = (first ^ last).leading_zeros();
    (first & mask(bits) == first && last | mask(bits) == u128::MAX).then_some(bits)
}

/// The part in which all ranges but those at its ends lie, after whole strides, so that branches stay where prefixes often end.
fn stem<A: Address>(ranges: &Ranges<A>, part: Part) -> Part {
    let Span { start, end } = part.span;
    // Where the leaf changes first and last; between these lies what matters.
    let (first, last) = (ranges.start(start + 1), ranges.start(end - 1));
    let common = (first ^ (last - 1)).leading_zeros() - part.bits;
    let bits = part.bits + common / STRIDE * STRIDE;
    let mut stem = Part {
        first: first & mask(bits),
        bits,
        span: part.span,
    };
    // Ranges that end where it starts, or start where it ends, have nothing in it.
    stem.span.start += usize::from(stem.first == first);
    stem.span.end -= usize::from(stem.last() < last);
    stem
}

/// The parts of a part, each with so many more bits.
struct Slots<'a, A> {
    ranges: &'a Ranges<A>,
    part: Part,
    bits: u32,
    /// The next one's first address, and the range that it lies in.
    next: Option<(u128, usize)>,
}

impl<'a, A: Address> Slots<'a, A> {
    fn new(ranges: &'a Ranges<A>, part: Part, bits: u32) -> Self {
        Self {
            ranges,
            part,
            bits: part.bits + bits,
            next: Some((part.first, part.span.start)),
        }
    }
}

impl<A: Address> Iterator for Slots<'_, A> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let (first, start) = self.next?;
        let mut part = Part {
            first,
            bits: self.bits,
            span: Span {
                start,
                end: start + 1,
            },
        };
        let last = part.last();
        while part.span.end < self.part.span.end && self.ranges.start(part.span.end) <= last {
            part.span.end += 1;
        }
        self.next = last
            .checked_add(1)
            .filter(|_| last != self.part.last())
            .map(|first| {
                let is_there =
                    part.span.end < self.part.span.end && self.ranges.start(part.span.end) == first;
                (first, part.span.end - usize::from(!is_there))
            });
        Some(part)
    }
}

/// A branch's leaves: one for each run of slots.
struct Leaves {
    entries: [Entry; 1 << STRIDE],
    length: usize,
    /// Slots at which a run starts, but for the first.
    starts: u64,
    /// Slots in every other run, from the second one on.
    odd: u64,
}

impl Default for Leaves {
    fn default() -> Self {
        Self {
            entries: [Entry::NONE; 1 << STRIDE],
            length: 0,
            starts: 0,
            odd: 0,
        }
    }
}

impl Leaves {
    fn push(&mut self, slot: u64, entry: Entry) {
        if self.entries().last() != Some(&entry) {
            if self.length > 0 {
                self.starts |= FIRST_SLOT >> slot;
            }
            if let Some(next) = self.entries.get_mut(self.length) {
                *next = entry;
                self.length += 1;
            }
        }
        if self.length.is_multiple_of(2) {
            self.odd |= FIRST_SLOT >> slot;
        }
    }

    fn entries(&self) -> &[Entry] {
        self.entries.get(..self.length).unwrap_or_default()
    }

    /// Whether there are two at most, which then take turns.
    fn in_turns(&self) -> bool {
        let pair = self.entries.first_chunk::<2>();
        pair.is_some_and(|pair| self.entries().iter().all(|entry| pair.contains(entry)))
    }

    fn pair(&self) -> [Entry; 2] {
        let [first, second, ..] = self.entries;
        [first, second]
    }
}

/// The first `bits` of 128.
fn mask(bits: u32) -> u128 {
    !u128::MAX.checked_shr(bits).unwrap_or(0)
}

fn hash(words: &[u64]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::with_capacity(HASHED_WORDS * 8);
    for words in words.chunks(HASHED_WORDS) {
        bytes.clear();
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        hasher.update(&bytes);
    }
    Hash(hasher.finalize().into())
}

/// How many bits the top of so many ranges takes, if they pay for one beside so many tables.
///
/// One of 12 bits takes 16 KiB, and saves one or two nodes. One of 18 bits takes 1 MiB. For IPv4 it would replace a node that is in
/// some cache by a word that is in none; but of IPv6 few values of the first bits are in use, and only their words come into caches.
fn top<A: Address>(ranges: usize, tables: usize) -> Option<u32> {
    match ranges {
        ..=BUCKET_RANGES => None,
        ..1_024 if tables > FEW_TABLES => None,
        LARGE.. if A::BITS == 128 => Some(3 * STRIDE),
        _ => Some(2 * STRIDE),
    }
}

/// Ranges that one node can hold.
const BUCKET_RANGES: usize = ENDS + 1;
/// Tables of which even small ones may have a top. In both families that is 256 KiB at most, of the MiB or so that a core's own cache has.
const FEW_TABLES: usize = 8;

/// Ranges from which on 1 MiB is little beside their nodes.
const LARGE: usize = 1 << 17;
/// Words that are hashed at a time.
const HASHED_WORDS: usize = 4_096;
const WORDS_OF_A_MIB: u32 = 1 << 17;
