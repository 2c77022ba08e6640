//! Lists of prefixes as they are in practice, and sources that lie in them or not.
//!
//! Lengths are mixed about as in the Internet's routing tables. Some prefixes nest and some are neighbours. All are made from a
//! seed, so that each run and each contender gets the same.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use fastrand::Rng;

/// A list of one family. An IPv4 address is in the high 32 bits of its 128.
#[derive(Clone)]
pub(crate) struct List {
    family: Family,
    prefixes: Vec<(u128, u8)>,
    /// First and last addresses of what the prefixes cover, apart from each other and in order.
    covered: Vec<(u128, u128)>,
    /// Where sources outside of it come from: the first 32 bits.
    allocations: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Lengths, and how many of a hundred prefixes have them.
    fn lengths(self) -> &'static [(u8, usize)] {
        match self {
            Self::V4 => &[
                (24, 60),
                (23, 10),
                (22, 12),
                (21, 5),
                (20, 5),
                (19, 4),
                (18, 2),
                (16, 2),
            ],
            Self::V6 => &[
                (48, 50),
                (47, 3),
                (46, 5),
                (44, 13),
                (40, 12),
                (36, 6),
                (33, 3),
                (32, 8),
            ],
        }
    }
}

impl List {
    /// A list of so many prefixes.
    pub(crate) fn new(family: Family, size: usize, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        // IPv6 prefixes crowd in what registries gave away, so that sources outside have to be told apart far down.
        let allocations: Vec<u32> = match family {
            Family::V4 => Vec::new(),
            Family::V6 => {
                let number = (size / 4).max(4);
                (0..number)
                    .map(|_| 0x2400_0000 + rng.u32(..0x0700_0000))
                    .collect()
            }
        };
        let mut known = HashSet::with_capacity(size);
        let mut prefixes = Vec::with_capacity(size);
        while prefixes.len() < size {
            let length = length(&mut rng, family.lengths());
            let prefix = (address(&mut rng, &allocations) & mask(length), length);
            if known.insert(prefix) {
                prefixes.push(prefix);
            }
        }
        let covered = covered(&prefixes);
        Self {
            family,
            prefixes,
            covered,
            allocations,
        }
    }

    /// Takes a share of the prefixes for each of some holders.
    pub(crate) fn shares(&self, holders: usize) -> Vec<Self> {
        (0..holders)
            .map(|holder| {
                let own = self.prefixes.iter().skip(holder).step_by(holders);
                let prefixes: Vec<_> = own.copied().collect();
                Self {
                    covered: covered(&prefixes),
                    prefixes,
                    ..self.clone_without_prefixes()
                }
            })
            .collect()
    }

    fn clone_without_prefixes(&self) -> Self {
        Self {
            family: self.family,
            prefixes: Vec::new(),
            covered: Vec::new(),
            allocations: self.allocations.clone(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// The prefixes as text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.prefixes
            .iter()
            .map(|(bits, length)| match self.family {
                Family::V4 => format!("{}/{length}", v4(*bits)),
                Family::V6 => format!("{}/{length}", Ipv6Addr::from_bits(*bits)),
            })
    }

    /// One prefix a line.
    pub(crate) fn text(&self) -> String {
        self.texts().fold(String::new(), |mut text, prefix| {
            let _written = writeln!(text, "{prefix}");
            text
        })
    }

    /// A source in one of the prefixes.
    pub(crate) fn inside(&self, rng: &mut Rng) -> u128 {
        let (bits, length) = self.prefixes[rng.usize(..self.prefixes.len())];
        self.whole(bits | rng.u128(..) & !mask(length))
    }

    /// A source in none of them.
    pub(crate) fn outside(&self, rng: &mut Rng) -> u128 {
        loop {
            let source = self.whole(address(rng, &self.allocations));
            if !self.covers(source) {
                return source;
            }
        }
    }

    /// An IPv4 address has no more than 32 bits.
    fn whole(&self, bits: u128) -> u128 {
        match self.family {
            Family::V4 => bits & mask(32),
            Family::V6 => bits,
        }
    }

    pub(crate) fn covers(&self, source: u128) -> bool {
        let after = self.covered.partition_point(|(first, _)| *first <= source);
        after > 0 && self.covered[after - 1].1 >= source
    }
}

pub(crate) fn v4(bits: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits((bits >> 96) as u32)
}

/// An IPv4 address that a host in the Internet can have, or an IPv6 address of one of the allocations.
fn address(rng: &mut Rng, allocations: &[u32]) -> u128 {
    if !allocations.is_empty() {
        let allocation = allocations[rng.usize(..allocations.len())];
        return u128::from(allocation) << 96 | rng.u128(..) >> 32;
    }
    loop {
        let bits = rng.u32(1 << 24..224 << 24);
        // Not loopback (RFC 1122) and not the range of the protected hosts (RFC 2544).
        if bits >> 24 != 127 && bits >> 17 != 0xc612 >> 1 {
            return u128::from(bits) << 96;
        }
    }
}

fn length(rng: &mut Rng, lengths: &[(u8, usize)]) -> u8 {
    let mut left = rng.usize(..100);
    for (length, share) in lengths {
        if left < *share {
            return *length;
        }
        left -= share;
    }
    lengths[0].0
}

fn mask(length: u8) -> u128 {
    !(u128::MAX >> length)
}

fn covered(prefixes: &[(u128, u8)]) -> Vec<(u128, u128)> {
    let mut ranges: Vec<_> = prefixes
        .iter()
        .map(|(bits, length)| (*bits, bits | !mask(*length)))
        .collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, before| {
        let nested = next.0 <= before.1;
        before.1 = if nested {
            before.1.max(next.1)
        } else {
            before.1
        };
        nested
    });
    ranges
}
