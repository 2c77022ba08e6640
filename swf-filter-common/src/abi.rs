//! What crosses the boundary between kernel and user space, other than the [image](crate::image).
//!
//! Integers only, no padding: `zerocopy` refuses to compile anything else.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::reason::Reason;
use crate::verdict::Verdict;

/// Version of everything that a running program and a daemon must agree on: the maps, their key and value layouts, and
/// the image. Part of the path under which maps are pinned, so that versions never meet.
pub const VERSION: u32 = 8;

/// "No rule", "no host" and the like in fixed-width fields.
pub const NONE_U32: u32 = u32::MAX;
/// The same for 16-bit fields.
pub const NONE_U16: u16 = u16::MAX;

/// Packets and bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Count {
    /// Number of packets.
    pub packets: u64,
    /// Bytes in them, Ethernet header included, check sequence not.
    pub bytes: u64,
}

/// Words in a page of a generation, the only element of a map: 4 MiB, and no kernel has a lower limit for one.
///
/// A generation is its [image](crate::image), and behind it its [forest](crate::forest). The first page stands by itself, since all
/// packets need it, and is all of most generations.
pub const PAGE_WORDS: u32 = 1 << PAGE_BITS;
/// Bits of a word's index that say where it lies in its page.
pub const PAGE_BITS: u32 = 19;
/// Pages behind the first at most.
pub const FURTHER_PAGES: u32 = 127;

/// Rule counters in a page, the only element of a map: 1 MiB.
pub const PAGE_COUNTERS: u32 = 1 << PAGE_COUNTER_BITS;
/// Bits of a counter's place that say where it lies in its page.
pub const PAGE_COUNTER_BITS: u32 = 16;
/// Pages of rule counters of a slot at most: those of the most rules there can be, on 128 CPUs.
pub const COUNTER_PAGES: u32 = 1 << 13;

/// Bytes of a frame that an event carries: link, IP and transport headers with room for options.
pub const EVENT_HEAD: usize = 128;

/// A dropped frame, or one that audit mode let through.
///
/// It carries the start of the frame instead of fields read from it: user space reads them with the same parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// Number of the generation that judged.
    pub generation: u64,
    /// Number of the rule counter, or [`NONE_U32`].
    pub rule: u32,
    /// Interface that the frame came in on.
    pub interface: u32,
    /// Bytes in the frame.
    pub length: u32,
    /// [`Reason`](crate::reason::Reason) number.
    pub reason: u8,
    /// Always zero.
    pub reserved: [u8; 3],
    /// The first bytes of the frame; zero beyond its end.
    pub head: [u8; EVENT_HEAD],
}

/// What the explaining entry point returns: reason and rule of a verdict in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained(u32);

/// Rules at most, so that a rule's number fits beside a reason's.
pub const MAX_RULES: u32 = NO_RULE;
const RULE_SHIFT: u32 = 8;
const NO_RULE: u32 = u32::MAX >> RULE_SHIFT;

impl Explained {
    /// Packs a verdict.
    #[inline(always)]
    #[must_use]
    pub const fn of(verdict: Verdict) -> Self {
        Self((verdict.rule & NO_RULE) << RULE_SHIFT | verdict.reason.number() as u32)
    }

    /// Reads a return value.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The return value.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The reason, if its number is known.
    #[must_use]
    pub fn reason(self) -> Option<Reason> {
        Reason::from_number(self.0.to_le_bytes()[0])
    }

    /// The number of the deciding rule's counter.
    #[must_use]
    pub fn rule(self) -> Option<u32> {
        let rule = self.0 >> RULE_SHIFT;
        (rule != NO_RULE).then_some(rule)
    }
}

/// The value of a source table's entry: which rule, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf(u32);

/// What a rule does. The order is that of strength: a higher one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The host's allow list.
    Allow = 0,
    /// The host's audit list: passes, and is reported.
    Audit = 1,
    /// The host's deny list.
    Deny = 2,
    /// The administrator's `always_allow` list.
    AlwaysAllow = 3,
}

/// One bit more than four classes need: a leaf's highest bit is never set, which [`forest`](crate::forest) tells it by.
const CLASS_SHIFT: u32 = 29;

impl Leaf {
    /// Rules of one host at most.
    pub const MAX_ORDINAL: u32 = (1 << CLASS_SHIFT) - 1;

    /// A leaf for the `ordinal`th rule of a host; higher bits than fit are cut off.
    #[inline(always)]
    #[must_use]
    pub const fn new(class: Class, ordinal: u32) -> Self {
        Self((class as u32) << CLASS_SHIFT | (ordinal & Self::MAX_ORDINAL))
    }

    /// Reads the map's value.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The map's value.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// What the rule does.
    #[inline(always)]
    #[must_use]
    pub const fn class(self) -> Class {
        match self.0 >> CLASS_SHIFT {
            0 => Class::Allow,
            1 => Class::Audit,
            2 => Class::Deny,
            _ => Class::AlwaysAllow,
        }
    }

    /// Which of the host's rules it is.
    #[inline(always)]
    #[must_use]
    pub const fn ordinal(self) -> u32 {
        self.0 & Self::MAX_ORDINAL
    }
}

/// Bits of a table number in front of the address in a source table's key.
pub const TABLE_BITS: u32 = 32;

/// The data of an IPv4 trie's key: table number, then address, both in network byte order.
#[inline(always)]
#[must_use]
pub const fn key_v4(table: u16, address: u32) -> [u8; 8] {
    ((table as u64) << 32 | address as u64).to_be_bytes()
}

/// The data of an IPv6 trie's key: table number, then address, both in network byte order.
#[inline(always)]
#[must_use]
pub fn key_v6(table: u16, address: crate::frame::V6) -> [u8; 20] {
    let [t0, t1, t2, t3] = u32::from(table).to_be_bytes();
    let [h0, h1, h2, h3, h4, h5, h6, h7] = address.high.to_be_bytes();
    let [l0, l1, l2, l3, l4, l5, l6, l7] = address.low.to_be_bytes();
    [
        t0, t1, t2, t3, h0, h1, h2, h3, h4, h5, h6, h7, l0, l1, l2, l3, l4, l5, l6, l7,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_keep_class_and_ordinal() {
        for class in [Class::Allow, Class::Audit, Class::Deny, Class::AlwaysAllow] {
            for ordinal in [0, 1, Leaf::MAX_ORDINAL] {
                let leaf = Leaf::from_bits(Leaf::new(class, ordinal).bits());
                assert_eq!((leaf.class(), leaf.ordinal()), (class, ordinal));
            }
        }
    }

    #[test]
    fn keys_are_in_network_byte_order() {
        assert_eq!(key_v4(0x0102, 0x0a00_0001), [0, 0, 1, 2, 10, 0, 0, 1]);
        let address = 0x2001_0db8_0000_0000_0000_0000_0000_0001_u128;
        let key = key_v6(7, address.into());
        assert_eq!(key[..4], [0, 0, 0, 7]);
        assert_eq!(key[4..], address.to_be_bytes());
    }
}
