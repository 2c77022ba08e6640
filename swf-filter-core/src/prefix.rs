//! Prefix algebra: canonical prefixes of one address family, and ranges written out as prefixes.
//!
//! Families never mix: a [`Prefix`] is generic over its address integer, so that an IPv4 prefix cannot be compared
//! with an IPv6 one. Text is read in [`text`](crate::prefix::text); `ipnetwork` appears only where prefixes are shown.

pub mod text;

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};

/// An IP address as an integer, most significant bit first: `u32` for IPv4, `u128` for IPv6.
pub trait Address: Copy + Ord + fmt::Debug + Send + Sync + 'static {
    /// Bits in an address.
    const BITS: u8;
    /// The highest address.
    const LAST: Self;

    /// The mask that keeps the first `length` bits; lengths above [`Self::BITS`] keep all.
    #[must_use]
    fn mask(length: u8) -> Self;
    /// Bitwise and.
    #[must_use]
    fn and(self, other: Self) -> Self;
    /// Bitwise or.
    #[must_use]
    fn or(self, other: Self) -> Self;
    /// Bitwise not.
    #[must_use]
    fn not(self) -> Self;
    /// The next address, if there is one.
    fn successor(self) -> Option<Self>;
    /// How many low bits are zero.
    fn trailing_zeros(self) -> u8;
    /// The address as the standard library has it.
    fn to_ip(self) -> IpAddr;
    /// Appends the address's bytes.
    fn append_to(self, bytes: &mut Vec<u8>);
}

macro_rules! address {
    ($integer:ty, $ip:ty, $variant:ident) => {
        impl Address for $integer {
            #[expect(clippy::cast_possible_truncation, reason = "32 or 128")]
            const BITS: u8 = <$integer>::BITS as u8;
            const LAST: Self = <$integer>::MAX;

            fn mask(length: u8) -> Self {
                let host_bits = u32::from(<Self as Address>::BITS.saturating_sub(length));
                <$integer>::MAX.checked_shl(host_bits).unwrap_or(0)
            }
            fn and(self, other: Self) -> Self {
                self & other
            }
            fn or(self, other: Self) -> Self {
                self | other
            }
            fn not(self) -> Self {
                !self
            }
            fn successor(self) -> Option<Self> {
                self.checked_add(1)
            }
            #[expect(clippy::cast_possible_truncation, reason = "at most 128")]
            fn trailing_zeros(self) -> u8 {
                <$integer>::trailing_zeros(self) as u8
            }
            fn to_ip(self) -> IpAddr {
                IpAddr::$variant(<$ip>::from_bits(self))
            }
            fn append_to(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }
        }
    };
}

address!(u32, Ipv4Addr, V4);
address!(u128, Ipv6Addr, V6);

/// A canonical prefix: bits past its length are zero.
///
/// The order is that of a depth-first walk of the binary trie: a prefix comes right before all that it contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Prefix<A> {
    first: A,
    length: u8,
}

impl<A: Address> Prefix<A> {
    /// The prefix of `length` bits that `address` lies in.
    ///
    /// A length above the family's number of bits counts as that number.
    #[must_use]
    pub fn containing(address: A, length: u8) -> Self {
        Self {
            first: address.and(A::mask(length)),
            length: length.min(A::BITS),
        }
    }

    /// The lowest address.
    #[must_use]
    pub fn first(self) -> A {
        self.first
    }

    /// The highest address.
    #[must_use]
    pub fn last(self) -> A {
        self.first.or(A::mask(self.length).not())
    }

    /// Number of leading bits that are fixed.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// Whether `address` lies in this prefix.
    #[must_use]
    pub fn contains(self, address: A) -> bool {
        address.and(A::mask(self.length)) == self.first
    }

    /// Whether all of `other` lies in this prefix.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.length <= other.length && self.contains(other.first)
    }
}

impl From<Prefix<u32>> for IpNetwork {
    fn from(prefix: Prefix<u32>) -> Self {
        // INVARIANT: a prefix's length never exceeds its family's bits, so neither branch is lossy.
        Ipv4Network::new(Ipv4Addr::from_bits(prefix.first), prefix.length)
            .map_or_else(|_| Self::from(prefix.first.to_ip()), Self::V4)
    }
}

impl From<Prefix<u128>> for IpNetwork {
    fn from(prefix: Prefix<u128>) -> Self {
        Ipv6Network::new(Ipv6Addr::from_bits(prefix.first), prefix.length)
            .map_or_else(|_| Self::from(prefix.first.to_ip()), Self::V6)
    }
}

impl<A: Address> fmt::Display for Prefix<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first.to_ip(), self.length)
    }
}

/// Calls `emit` with the fewest prefixes that cover exactly `first..=last`, in ascending order.
///
/// Emits nothing when `first > last`. At most `2 * BITS - 2` prefixes, by the usual greedy argument.
pub fn cover<A: Address>(first: A, last: A, mut emit: impl FnMut(Prefix<A>)) {
    let mut next = first;
    while next <= last {
        let mut length = A::BITS - next.trailing_zeros().min(A::BITS);
        while Prefix::containing(next, length).last() > last {
            length += 1;
        }
        let prefix = Prefix::containing(next, length);
        emit(prefix);
        match prefix.last().successor() {
            Some(successor) => next = successor,
            None => return,
        }
    }
}

/// Prefixes of both families, kept apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixList {
    /// IPv4 prefixes, in the order they were written.
    pub v4: Vec<Prefix<u32>>,
    /// IPv6 prefixes, in the order they were written.
    pub v6: Vec<Prefix<u128>>,
}

impl PrefixList {
    /// Number of prefixes of both families.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Prefixes of a 10-bit universe, embedded in the low bits of an IPv4 address, as a bitmap.
    fn bitmap(prefixes: &[Prefix<u32>]) -> Vec<bool> {
        (0..1024u32)
            .map(|address| prefixes.iter().any(|prefix| prefix.contains(address)))
            .collect()
    }

    proptest! {
        #[test]
        fn cover_is_exact_and_minimal(first in 0u32..1024, last in 0u32..1024) {
            let mut prefixes = Vec::new();
            cover(first, last, |prefix| prefixes.push(prefix));
            let expected: Vec<bool> = (0..1024).map(|address| (first..=last).contains(&address)).collect();
            prop_assert_eq!(bitmap(&prefixes), expected);
            // Minimal: no two neighbours are the halves of one prefix.
            for pair in prefixes.windows(2) {
                let parent = Prefix::containing(pair[0].first(), pair[0].length() - 1);
                prop_assert!(!(pair[0].length() == pair[1].length() && parent.covers(pair[1])));
            }
        }

        #[test]
        fn order_puts_a_prefix_before_what_it_contains(a: u32, la in 0u8..=32, b: u32, lb in 0u8..=32) {
            let (a, b) = (Prefix::containing(a, la), Prefix::containing(b, lb));
            if a.covers(b) {
                prop_assert!(a <= b);
                prop_assert!(a.last() >= b.last());
            }
        }
    }

    #[test]
    fn cover_reaches_both_ends_of_the_address_space() {
        let mut prefixes = Vec::new();
        cover(0, u128::MAX, |prefix| prefixes.push(prefix));
        assert_eq!(prefixes, [Prefix::containing(0, 0)]);

        prefixes.clear();
        cover(1, u128::MAX - 1, |prefix| prefixes.push(prefix));
        assert_eq!(prefixes.len(), 2 * 128 - 2);
    }

    #[test]
    fn shown_as_networks() {
        assert_eq!(
            IpNetwork::from(Prefix::containing(0x0a01_0203_u32, 8)).to_string(),
            "10.0.0.0/8"
        );
        assert_eq!(
            IpNetwork::from(Prefix::containing(1u128, 128)).to_string(),
            "::1/128"
        );
    }
}
