//! A generation's image: hosts, zones and options as one run of 64-bit words.
//!
//! The image starts the value of a one-element array map, and swapping that map is what makes a new generation take effect
//! everywhere at once. It is read through [`Words`], by the kernel from the map and by user space from memory; it is
//! written by `swf-filter-core`. Separate maps for hosts and for zones were rejected: they cannot be swapped together.
//!
//! # Layout, in words
//!
//! | at | words | what |
//! | --- | --- | --- |
//! | 0 | 16 | header |
//! | [`HOSTS`] | 256 x 4 | host records |
//! | [`PORTS`] | 256 x 8 | for each host, its ranges of ports |
//! | [`TABLES`] | 256 x 64 | for each host, a 16-bit table number for each zone |
//! | [`CLAIMS`] | 4096 | open-addressing table: interface and VLAN to zone |
//! | [`ADDRESSES_V4`] | 8192 | open-addressing table: IPv4 destination to host |
//! | [`ADDRESSES_V6`] | 8192 x 3 | open-addressing table: IPv6 destination to host |
//!
//! Of an open-addressing table only the first slots are used, some four to eight for each entry: so those of some hundred hosts stay in
//! the cache nearest to the CPU.
//!
//! An image of zeroes protects nothing.

use crate::frame::V6;

/// Words in an image, a power of two so that any index can be masked into it.
pub const WORDS: u32 = 65_536;

/// Hosts at most.
pub const MAX_HOSTS: u32 = 256;
/// Zones at most, the public one included.
pub const MAX_ZONES: u32 = 256;
/// Port ranges of a host at most.
pub const MAX_PORT_RANGES: u32 = 16;
/// Protected addresses of one family at most.
pub const MAX_ADDRESSES: u32 = 4096;
/// Claims at most, after bonds are replaced by their members.
pub const MAX_CLAIMS: u32 = 2048;

/// First word of the host records.
pub const HOSTS: u32 = 16;
/// Words in a host record.
pub const HOST_WORDS: u32 = 4;
/// First word of the port ranges.
pub const PORTS: u32 = HOSTS + MAX_HOSTS * HOST_WORDS;
/// First word of the table numbers.
pub const TABLES: u32 = PORTS + MAX_HOSTS * MAX_PORT_RANGES / PORT_RANGES_PER_WORD;
/// First word of the claims.
pub const CLAIMS: u32 = TABLES + MAX_HOSTS * MAX_ZONES / TABLES_PER_WORD;
/// Slots for claims at most.
pub const CLAIM_SLOTS: u32 = 4096;
/// First word of the IPv4 addresses.
pub const ADDRESSES_V4: u32 = CLAIMS + CLAIM_SLOTS;
/// Slots for addresses at most, of either family.
pub const ADDRESS_SLOTS: u32 = 8192;
/// First word of the IPv6 addresses.
pub const ADDRESSES_V6: u32 = ADDRESSES_V4 + ADDRESS_SLOTS;
/// Words in a slot for an IPv6 address.
pub const ADDRESS_V6_WORDS: u32 = 3;

const PORT_RANGES_PER_WORD: u32 = 2;
const TABLES_PER_WORD: u32 = 4;
const _: () = assert!(ADDRESSES_V6 + ADDRESS_SLOTS * ADDRESS_V6_WORDS <= WORDS);
// Records are read as `Words::node` does.
const _: () = assert!(HOST_WORDS == 4 && HOSTS.is_multiple_of(4));

/// The longest run of occupied slots that a lookup follows. Whoever builds an image proves that none is longer.
pub const MAX_PROBES: u32 = 32;

/// Words of the header.
pub mod header {
    /// [`super::MAGIC`].
    pub const MAGIC: u32 = 0;
    /// Number of the generation.
    pub const GENERATION: u32 = 1;
    /// [`super::Options`].
    pub const OPTIONS: u32 = 2;
    /// Low half: rule counters of one CPU; high half: number of CPUs.
    pub const COUNTERS: u32 = 3;
    /// Four words: the hash of the policy's meaning.
    pub const HASH: u32 = 4;
    /// The odd number that addresses and claims are multiplied by to spread them.
    pub const MULTIPLIER: u32 = 8;
    /// An IPv4 address that is in its table too, as it is there: the first, which is the only one of most policies.
    pub const FIRST_V4: u32 = 9;
    /// Three words: the same for IPv6.
    pub const FIRST_V6: u32 = 10;
    /// [`super::Lasts`].
    pub const LASTS: u32 = 13;
}

/// First word of every image: `SWFF` and the version of the layout.
pub const MAGIC: u64 = 0x5357_4646_0000_0000 | crate::abi::VERSION as u64;

/// Words that make up an image, addressed by index.
pub trait Words {
    /// The word at `index`; any value, but no fault, for an index of [`WORDS`] or more.
    fn word(&self, index: u32) -> u64;

    /// The four words of which `number` stand before: all at once, where that is cheaper.
    #[inline(always)]
    fn node(&self, number: u32) -> [u64; 4] {
        let at = number.wrapping_mul(4);
        [
            self.word(at),
            self.word(at.wrapping_add(1)),
            self.word(at.wrapping_add(2)),
            self.word(at.wrapping_add(3)),
        ]
    }
}

impl Words for &[u64] {
    fn word(&self, index: u32) -> u64 {
        self.get(index as usize).copied().unwrap_or_default()
    }
}

/// What holds source tables in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The kernel's LPM tries.
    #[default]
    LpmTrie = 0,
    /// A [forest](crate::forest).
    Compiled = 1,
}

/// The header's options, packed into a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which of the two slots of source tables and rule counters this generation uses: 0 or 1.
    pub slot: u8,
    /// Which engine's source tables it uses.
    pub engine: Engine,
    /// Number of hosts.
    pub hosts: u16,
    /// What zones are told by.
    pub claims: Claims,
    /// Whether unreadable frames pass, because every host is in audit mode.
    pub audit_unreadable: bool,
    /// Whether host 0 stands for every destination address.
    pub catch_all: bool,
}

impl Options {
    /// Unpacks a word.
    #[inline(always)]
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "fields are cut out by their width"
    )]
    pub const fn from_word(word: u64) -> Self {
        Self {
            slot: (word & 1) as u8,
            engine: if word & 16 == 0 {
                Engine::LpmTrie
            } else {
                Engine::Compiled
            },
            hosts: (word >> 16) as u16,
            claims: Claims((word >> 8) as u8),
            audit_unreadable: word & 4 != 0,
            catch_all: word & 8 != 0,
        }
    }

    /// Packs into a word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        (self.slot as u64 & 1)
            | ((self.audit_unreadable as u64) << 2)
            | ((self.catch_all as u64) << 3)
            | ((self.engine as u64) << 4)
            | ((self.claims.0 as u64) << 8)
            | ((self.hosts as u64) << 16)
    }
}

/// The kinds of claims that there are, so that none is looked for in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims(u8);

impl Claims {
    /// By interface, whatever the VLAN.
    pub const BY_INTERFACE: Self = Self(1);
    /// By VLAN, whatever the interface.
    pub const BY_VLAN: Self = Self(2);
    /// By both.
    pub const BY_BOTH: Self = Self(4);

    /// And those of `other`.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether one of `other` is there.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether every packet belongs to the public zone.
    #[inline(always)]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The last slot that each of the open-addressing tables uses, packed into a word: a power of two, less one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lasts(u64);

#[expect(
    clippy::cast_possible_truncation,
    reason = "fields are cut out by their width"
)]
impl Lasts {
    /// For so many claims, IPv4 addresses and IPv6 addresses, with at least so many slots for each if a table can have as many.
    #[must_use]
    pub fn of(claims: usize, v4: usize, v6: usize, of_an_entry: u32) -> Self {
        let last = |entries: usize, most: u32| {
            let most = u64::from(most);
            let slots = (entries as u64).min(most) * u64::from(of_an_entry);
            slots.next_power_of_two().min(most) - 1
        };
        Self(
            last(claims, CLAIM_SLOTS)
                | last(v4, ADDRESS_SLOTS) << 16
                | last(v6, ADDRESS_SLOTS) << 32,
        )
    }

    /// Reads a word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.0
    }

    /// The last slot for claims.
    #[inline(always)]
    #[must_use]
    pub const fn last_claim(self) -> u32 {
        self.0 as u16 as u32
    }

    /// The last slot for IPv4 addresses.
    #[inline(always)]
    #[must_use]
    pub const fn last_v4(self) -> u32 {
        (self.0 >> 16) as u16 as u32
    }

    /// The last slot for IPv6 addresses.
    #[inline(always)]
    #[must_use]
    pub const fn last_v6(self) -> u32 {
        (self.0 >> 32) as u16 as u32
    }
}

/// A host's record as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Number of its first rule counter; a leaf's ordinal is added to it.
    pub first_rule: u32,
    /// Which of its rules is the default.
    pub default_ordinal: u32,
    /// Whether the default is to pass.
    pub default_passes: bool,
    /// Whether drops are only counted.
    pub audit: bool,
    /// Whether every port and protocol is protected.
    pub all_ports: bool,
    /// Number of port ranges.
    pub port_ranges: u8,
    /// The first of them once more, which is the only one of most hosts.
    pub first_range: PortRange,
    /// The number of the table that judges sources from the public zone, which is the only one of most policies.
    pub table: u16,
    /// Whether it judges those from all other zones, too.
    pub tables: Tables,
}

/// Which tables judge a host's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// One for each zone.
    ByZone,
    /// One, whatever the zone.
    One,
}

/// Ports from a first to a last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl PortRange {
    /// No port.
    pub const NONE: Self = Self { first: 1, last: 0 };

    /// Unpacks half a word: last port above first port.
    #[inline(always)]
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a range is two 16-bit halves"
    )]
    pub const fn from_bits(bits: u32) -> Self {
        Self {
            first: bits as u16,
            last: (bits >> 16) as u16,
        }
    }

    /// Packs into half a word.
    #[must_use]
    pub const fn bits(self) -> u32 {
        (self.last as u32) << 16 | self.first as u32
    }

    /// Whether a port lies between them.
    #[inline(always)]
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

const DEFAULT_PASSES: u64 = 1;
const AUDIT: u64 = 2;
const ALL_PORTS: u64 = 4;
const ONE_TABLE: u64 = 8;

impl Host {
    /// Packs into the first two words of a record.
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        let flags = (self.default_passes as u64 * DEFAULT_PASSES)
            | (self.audit as u64 * AUDIT)
            | (self.all_ports as u64 * ALL_PORTS)
            | (matches!(self.tables, Tables::One) as u64 * ONE_TABLE)
            | ((self.port_ranges as u64) << 8)
            | ((self.table as u64) << 16)
            | ((self.first_range.bits() as u64) << 32);
        [
            self.first_rule as u64 | ((self.default_ordinal as u64) << 32),
            flags,
        ]
    }
}

/// A host's record as it is read. Each field is cut out where it is asked for: all of them kept together would be packed and unpacked bit
/// by bit, and a verdict asks for few.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    rules: u64,
    flags: u64,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "fields are cut out by their width"
)]
impl Record {
    /// [`Host::first_rule`].
    #[inline(always)]
    #[must_use]
    pub const fn first_rule(self) -> u32 {
        self.rules as u32
    }

    /// [`Host::default_ordinal`].
    #[inline(always)]
    #[must_use]
    pub const fn default_ordinal(self) -> u32 {
        (self.rules >> 32) as u32
    }

    /// [`Host::default_passes`].
    #[inline(always)]
    #[must_use]
    pub const fn default_passes(self) -> bool {
        self.flags & DEFAULT_PASSES != 0
    }

    /// [`Host::audit`].
    #[inline(always)]
    #[must_use]
    pub const fn audit(self) -> bool {
        self.flags & AUDIT != 0
    }

    /// [`Host::all_ports`].
    #[inline(always)]
    #[must_use]
    pub const fn all_ports(self) -> bool {
        self.flags & ALL_PORTS != 0
    }

    #[inline(always)]
    const fn one_table(self) -> bool {
        self.flags & ONE_TABLE != 0
    }

    #[inline(always)]
    const fn port_ranges(self) -> u32 {
        (self.flags >> 8) as u8 as u32
    }

    #[inline(always)]
    const fn first_range(self) -> PortRange {
        PortRange::from_bits((self.flags >> 32) as u32)
    }

    #[inline(always)]
    const fn table(self) -> u16 {
        (self.flags >> 16) as u16
    }
}

/// The word and bit at which port range `range` of host `host` lies, 32 bits of them.
#[inline(always)]
#[must_use]
pub const fn port_range_at(host: u32, range: u32) -> (u32, u32) {
    let index = host * MAX_PORT_RANGES + range;
    (
        PORTS + index / PORT_RANGES_PER_WORD,
        index % PORT_RANGES_PER_WORD * 32,
    )
}

/// The word and bit at which the table number of `host` in `zone` lies: 16 bits.
#[inline(always)]
#[must_use]
pub const fn table_at(host: u32, zone: u32) -> (u32, u32) {
    let index = host * MAX_ZONES + zone;
    (
        TABLES + index / TABLES_PER_WORD,
        index % TABLES_PER_WORD * 16,
    )
}

/// A claim's slot: interface, VLAN and zone in a word. An empty slot is 0, which no claim packs to.
#[inline(always)]
#[must_use]
pub const fn claim_word(interface: u32, vlan: u16, zone: u16) -> u64 {
    claim_key(interface, vlan) | zone as u64
}

#[inline(always)]
const fn claim_key(interface: u32, vlan: u16) -> u64 {
    (interface as u64) << 32 | (vlan as u64) << 16
}

/// An IPv4 address's slot: address and host in a word, host counted from 1. An empty slot is 0.
#[inline(always)]
#[must_use]
pub const fn address_v4_word(address: u32, host: u16) -> u64 {
    (address as u64) << 32 | (host as u64 + 1)
}

/// Spreads a key over all slots up to the `last`. Keys that have much in common lie badly for some odd multipliers, and for few of them.
///
/// The slot is taken from the highest bits of the product, which alone depend on all bits of the key.
#[inline(always)]
const fn spread(key: u64, multiplier: u64, last: u32) -> u32 {
    let product = key.wrapping_mul(multiplier);
    (((product >> 32) * (last as u64 + 1)) >> 32) as u32
}

/// The slot at which the search for a claim starts.
#[inline(always)]
#[must_use]
pub const fn claim_slot(interface: u32, vlan: u16, multiplier: u64, last: u32) -> u32 {
    spread(claim_key(interface, vlan), multiplier, last)
}

/// The slot at which the search for an IPv4 address starts.
#[inline(always)]
#[must_use]
pub const fn address_v4_slot(address: u32, multiplier: u64, last: u32) -> u32 {
    spread(address as u64, multiplier, last)
}

/// The slot at which the search for an IPv6 address starts.
#[inline(always)]
#[must_use]
pub const fn address_v6_slot(address: V6, multiplier: u64, last: u32) -> u32 {
    let key = address.high.wrapping_mul(multiplier) ^ address.low;
    spread(key, multiplier, last)
}

/// An image, read.
#[derive(Clone, Copy, Debug)]
pub struct Image<W> {
    words: W,
}

impl<W: Words> Image<W> {
    /// Reads `words` as an image.
    #[inline(always)]
    pub const fn new(words: W) -> Self {
        Self { words }
    }

    /// The words as they are.
    #[inline(always)]
    pub const fn words(&self) -> &W {
        &self.words
    }

    /// The header's options.
    #[inline(always)]
    pub fn options(&self) -> Options {
        Options::from_word(self.words.word(header::OPTIONS))
    }

    #[inline(always)]
    fn lasts(&self) -> Lasts {
        Lasts::from_word(self.words.word(header::LASTS))
    }

    #[inline(always)]
    fn multiplier(&self) -> u64 {
        self.words.word(header::MULTIPLIER)
    }

    /// The zone of a packet that came in on `interface`, which is asked for if it counts, with `vlan`, 0 for none.
    #[inline(always)]
    pub fn zone(&self, claims: Claims, interface: impl Fn() -> u32, vlan: u16) -> u16 {
        if claims.is_empty() {
            return 0;
        }
        if claims.has(Claims::BY_BOTH)
            && vlan != 0
            && let Some(zone) = self.claim(interface(), vlan)
        {
            return zone;
        }
        if claims.has(Claims::BY_INTERFACE)
            && let Some(zone) = self.claim(interface(), 0)
        {
            return zone;
        }
        if claims.has(Claims::BY_VLAN)
            && vlan != 0
            && let Some(zone) = self.claim(0, vlan)
        {
            return zone;
        }
        0
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the zone is the low 16 bits"
    )]
    fn claim(&self, interface: u32, vlan: u16) -> Option<u16> {
        let last = self.lasts().last_claim();
        let start = claim_slot(interface, vlan, self.multiplier(), last);
        for probe in 0..MAX_PROBES {
            let slot = (start + probe) & last;
            let word = self.words.word(CLAIMS + slot);
            if word & !0xffff == claim_key(interface, vlan) {
                return Some(word as u16);
            }
            if word == 0 {
                return None;
            }
        }
        None
    }

    /// The host that protects an IPv4 address.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the host is the low 16 bits"
    )]
    pub fn host_v4(&self, options: Options, address: u32) -> Option<u16> {
        let first = self.words.word(header::FIRST_V4);
        if (first >> 32) as u32 == address && first != 0 {
            return Some((first as u16).wrapping_sub(1));
        }
        let last = self.lasts().last_v4();
        let start = address_v4_slot(address, self.multiplier(), last);
        for probe in 0..MAX_PROBES {
            let slot = (start + probe) & last;
            let word = self.words.word(ADDRESSES_V4 + slot);
            if word == 0 {
                break;
            }
            if (word >> 32) as u32 == address {
                return Some((word as u16).wrapping_sub(1));
            }
        }
        options.catch_all.then_some(0)
    }

    /// The host that protects an IPv6 address.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the host is the low 16 bits"
    )]
    pub fn host_v6(&self, options: Options, address: V6) -> Option<u16> {
        let first = self.words.word(header::FIRST_V6);
        if self.is_v6(header::FIRST_V6, address) && first != 0 {
            return Some((first as u16).wrapping_sub(1));
        }
        let last = self.lasts().last_v6();
        let start = address_v6_slot(address, self.multiplier(), last);
        for probe in 0..MAX_PROBES {
            let slot = (start + probe) & last;
            let at = ADDRESSES_V6 + slot * ADDRESS_V6_WORDS;
            let host = self.words.word(at);
            if host == 0 {
                break;
            }
            if self.is_v6(at, address) {
                return Some((host as u16).wrapping_sub(1));
            }
        }
        options.catch_all.then_some(0)
    }

    #[inline(always)]
    fn is_v6(&self, at: u32, address: V6) -> bool {
        self.words.word(at + 1) == address.high && self.words.word(at + 2) == address.low
    }

    /// The record of a host.
    #[inline(always)]
    pub fn host(&self, host: u16) -> Record {
        let [rules, flags, ..] = self.words.node(HOSTS / HOST_WORDS + u32::from(host));
        Record { rules, flags }
    }

    /// Whether a host protects a TCP or UDP port.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a range has 32 bits")]
    pub fn protects_port(&self, host: u16, record: Record, port: u16) -> bool {
        if record.first_range().contains(port) {
            return true;
        }
        for range in 1..MAX_PORT_RANGES {
            if range >= record.port_ranges() {
                return false;
            }
            let (word, bit) = port_range_at(u32::from(host), range);
            let bits = (self.words.word(word) >> bit) as u32;
            if PortRange::from_bits(bits).contains(port) {
                return true;
            }
        }
        false
    }

    /// The number of the table that judges sources for a host and zone, which is asked for if it counts.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a table number has 16 bits"
    )]
    pub fn table(&self, host: u16, record: Record, zone: impl Fn() -> u16) -> u16 {
        if record.one_table() {
            return record.table();
        }
        let zone = zone();
        if zone == 0 {
            return record.table();
        }
        let (word, bit) = table_at(u32::from(host), u32::from(zone));
        (self.words.word(word) >> bit) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_as_many_slots_as_their_entries_need() {
        let last = |claims, v4, v6| {
            let read = Lasts::from_word(Lasts::of(claims, v4, v6, 4).to_word());
            [read.last_claim(), read.last_v4(), read.last_v6()]
        };
        assert_eq!(last(0, 0, 0), [0, 0, 0]);
        assert_eq!(last(1, 256, 257), [3, 1023, 2047]);
        let most = [CLAIM_SLOTS - 1, ADDRESS_SLOTS - 1, ADDRESS_SLOTS - 1];
        assert_eq!(last(2048, 4096, 4096), most);
        assert_eq!(last(usize::MAX, usize::MAX, usize::MAX), most);
    }
}
