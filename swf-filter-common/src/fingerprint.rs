//! The [`abi`] and the [`image`](crate::image) as one number, by which a daemon knows that a program is of its own kind.
//!
//! [`abi::VERSION`] is changed by hand and keeps pins of different versions apart. This number is computed, and catches what
//! the hand forgot: an object built before a layout changed, embedded after.

use core::mem::{offset_of, size_of};

use crate::abi::{self, Class, Count, Event, Leaf};
use crate::forest::{self, Entry, Family};
use crate::frame::V6;
use crate::image::{self, header};
use crate::reason::{REASON_SLOTS, Reason};

/// What precedes the number in an object file.
const PREFIX: [u8; 16] = *b"swf-filter abi: ";

/// What an object carries: [`PREFIX`] and [`FINGERPRINT`], little endian.
pub const MARK: [u8; 24] = {
    let mut mark = [0; 24];
    let (prefix, number) = mark.split_at_mut(PREFIX.len());
    prefix.copy_from_slice(&PREFIX);
    number.copy_from_slice(&FINGERPRINT.to_le_bytes());
    mark
};

/// Numbers of the layout, and what functions that both sides must share make of an example.
pub const FINGERPRINT: u64 = {
    let words = [
        abi::VERSION as u64,
        abi::EVENT_HEAD as u64,
        abi::TABLE_BITS as u64,
        abi::MAX_RULES as u64,
        size_of::<Event>() as u64,
        offset_of!(Event, reason) as u64,
        offset_of!(Event, head) as u64,
        size_of::<Count>() as u64,
        abi::PAGE_COUNTERS as u64,
        abi::COUNTER_PAGES as u64,
        Leaf::new(Class::Audit, 5).bits() as u64,
        Leaf::new(Class::Deny, 5).bits() as u64,
        Leaf::new(Class::AlwaysAllow, 5).bits() as u64,
        u64::from_le_bytes(abi::key_v4(0x0102, 0x0304_0506)),
        image::WORDS as u64,
        image::HOSTS as u64,
        image::HOST_WORDS as u64,
        image::PORTS as u64,
        image::TABLES as u64,
        image::CLAIMS as u64,
        image::CLAIM_SLOTS as u64,
        image::ADDRESSES_V4 as u64,
        image::ADDRESS_SLOTS as u64,
        image::ADDRESSES_V6 as u64,
        image::ADDRESS_V6_WORDS as u64,
        image::MAX_PROBES as u64,
        header::MAGIC as u64,
        header::GENERATION as u64,
        header::OPTIONS as u64,
        header::COUNTERS as u64,
        header::HASH as u64,
        header::MULTIPLIER as u64,
        header::FIRST_V4 as u64,
        header::FIRST_V6 as u64,
        header::LASTS as u64,
        OPTIONS.to_word(),
        LASTS.last_claim() as u64,
        LASTS.last_v4() as u64,
        LASTS.last_v6() as u64,
        HOST.to_words()[0],
        HOST.to_words()[1],
        image::port_range_at(3, 5).0 as u64,
        image::port_range_at(3, 5).1 as u64,
        image::table_at(3, 5).0 as u64,
        image::table_at(3, 5).1 as u64,
        image::claim_word(3, 5, 7),
        image::claim_slot(3, 5, MULTIPLIER, 1023) as u64,
        image::address_v4_word(0x0304_0506, 7),
        image::address_v4_slot(0x0304_0506, MULTIPLIER, 1023) as u64,
        image::address_v6_slot(ADDRESS, MULTIPLIER, 1023) as u64,
        REASON_SLOTS as u64,
        abi::PAGE_WORDS as u64,
        abi::FURTHER_PAGES as u64,
        forest::NODE_WORDS as u64,
        forest::STRIDE as u64,
        forest::MANY,
        forest::MASKS,
        forest::TWIGS,
        forest::lead_bits(3, 5, 1),
        forest::twig([3, 5, 7, 9]),
        forest::FIRST_SLOT,
        forest::root_at(3, Family::V6) as u64,
        forest::top_word(3, 5),
        forest::skip_word(Entry::leaf(Leaf::new(Class::Deny, 5)), 7),
        forest::pair_word(Entry::node(3), Entry::NONE),
        BUCKET[0],
        BUCKET[1],
        BUCKET[2],
        BUCKET[3],
    ];
    let mut hash = FNV_OFFSET;
    let mut at = 0;
    while at < words.len() {
        hash = mix(hash, words[at]);
        at += 1;
    }
    at = 0;
    while at < Reason::ALL.len() {
        hash = mix(hash, Reason::ALL[at].number() as u64);
        at += 1;
    }
    hash
};

const OPTIONS: image::Options = image::Options {
    slot: 1,
    engine: image::Engine::Compiled,
    hosts: 7,
    claims: image::Claims::BY_INTERFACE.with(image::Claims::BY_BOTH),
    audit_unreadable: false,
    catch_all: true,
};
const MULTIPLIER: u64 = 0x0123_4567_89ab_cdef;
const LASTS: image::Lasts = image::Lasts::from_word(MULTIPLIER);
const HOST: image::Host = image::Host {
    first_rule: 3,
    default_ordinal: 5,
    default_passes: true,
    audit: false,
    all_ports: true,
    port_ranges: 7,
    first_range: image::PortRange { first: 3, last: 5 },
    table: 9,
    tables: image::Tables::One,
};
const BUCKET: [u64; 4] = forest::bucket([3, 5, 7, 9, 11], Entry::node(3), Entry::NONE);
const ADDRESS: V6 = V6 {
    high: 0x2001_0db8_0000_0001,
    low: 3,
};

/// The mark's number in an object file.
#[must_use]
pub fn of_object(object: &[u8]) -> Option<u64> {
    let mark = object
        .windows(MARK.len())
        .find(|window| window.starts_with(&PREFIX))?;
    let (_, number) = mark.split_last_chunk()?;
    Some(u64::from_le_bytes(*number))
}

/// Parameters of the 64-bit FNV-1a hash.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

const fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(FNV_PRIME).rotate_left(23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_where_it_stands() {
        assert_eq!(of_object(&MARK), Some(FINGERPRINT));
        let object = [b"\x7fELF and swf-filter", &MARK[..], b"more"].concat();
        assert_eq!(of_object(&object), Some(FINGERPRINT));
        assert_eq!(of_object(&MARK[..23]), None);
        assert_eq!(of_object(b""), None);
    }

    /// If this fails, the layout has changed: change `abi::VERSION`, so that pins of the old one are left alone, then this.
    #[test]
    fn a_version_has_one_layout() {
        assert_eq!((abi::VERSION, FINGERPRINT), (8, 0x2e36_9aca_c307_5666));
    }
}
