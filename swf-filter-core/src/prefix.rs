//! Prefix algebra: canonical prefixes of one address family, and ranges written out as prefixes.
//!
//! Families never mix: a [`Prefix`] is generic over its address integer, so that an IPv4 prefix cannot be compared
//! with an IPv6 one. Text is read in [`text`](crate::prefix::text); `ipnetwork` appears only where prefixes are shown.

pub mod table;
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
    /// The address in the highest bits of 128.
    #[must_use]
    fn aligned(self) -> u128;
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
            fn aligned(self) -> u128 {
                u128::from(self) << (128 - <$integer>::BITS)
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

/// Leaves the fewest prefixes that cover exactly what these do, in ascending order.
pub fn aggregate<A: Address>(prefixes: &mut Vec<Prefix<A>>) {
    prefixes.sort_unstable();
    prefixes.dedup_by(|inner, outer| outer.covers(*inner));
    let mut kept: Vec<Prefix<A>> = Vec::with_capacity(prefixes.len());
    for mut prefix in prefixes.drain(..) {
        // Two halves become their whole, which may be a half again.
        while let Some(before) = kept.last().copied()
            && prefix.length > 0
            && before.length == prefix.length
            && Prefix::containing(before.first, before.length - 1).covers(prefix)
        {
            kept.pop();
            prefix = Prefix::containing(before.first, before.length - 1);
        }
        kept.push(prefix);
    }
    *prefixes = kept;
}

/// Prefixes of both families, kept apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

    /// The longest prefix that an address lies in.
    #[must_use]
    pub fn longest(&self, address: IpAddr) -> Option<IpNetwork> {
        match address {
            IpAddr::V4(address) => longest(&self.v4, address.to_bits()).map(IpNetwork::from),
            IpAddr::V6(address) => longest(&self.v6, address.to_bits()).map(IpNetwork::from),
        }
    }
}

fn longest<A: Address>(prefixes: &[Prefix<A>], address: A) -> Option<Prefix<A>> {
    let holding = prefixes.iter().filter(|prefix| prefix.contains(address));
    holding.copied().max_by_key(|prefix| prefix.length())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An address of a universe of 1,024 that lies `shift` bits from the right, so that its ends meet those of a family's
    /// address space for the first and last shift.
    trait Universe: Address {
        fn nth(number: u32, shift: u8) -> Self;
    }

    impl Universe for u32 {
        fn nth(number: u32, shift: u8) -> Self {
            number << shift
        }
    }

    impl Universe for u128 {
        fn nth(number: u32, shift: u8) -> Self {
            Self::from(number) << shift
        }
    }

    const UNIVERSE: u32 = 1024;
    const UNIVERSE_BITS: u8 = 10;

    /// Which addresses of the universe lie in one of `prefixes`.
    fn bitmap<A: Universe>(prefixes: &[Prefix<A>], shift: u8) -> Vec<bool> {
        (0..UNIVERSE)
            .map(|number| {
                prefixes
                    .iter()
                    .any(|prefix| prefix.contains(A::nth(number, shift)))
            })
            .collect()
    }

    fn covering<A: Address>(first: A, last: A) -> Vec<Prefix<A>> {
        let mut prefixes = Vec::new();
        cover(first, last, |prefix| prefixes.push(prefix));
        prefixes
    }

    fn check_cover<A: Universe>(first: u32, last: u32, shift: u8) -> Result<(), TestCaseError> {
        // Up to the end of what the last number stands for.
        let end = Prefix::containing(A::nth(last, shift), A::BITS - shift).last();
        let prefixes = covering(A::nth(first, shift), end);
        let expected: Vec<bool> = (0..UNIVERSE)
            .map(|number| (first..=last).contains(&number))
            .collect();
        prop_assert_eq!(bitmap(&prefixes, shift), expected);
        prop_assert!(
            prefixes
                .iter()
                .all(|prefix| prefix.length() <= A::BITS - shift)
        );
        for pair in prefixes.windows(2) {
            prop_assert!(pair[0].last() < pair[1].first(), "ascending and apart");
            // Minimal: no two neighbours are the halves of one prefix.
            let parent = Prefix::containing(pair[0].first(), pair[0].length().saturating_sub(1));
            prop_assert!(!(pair[0].length() == pair[1].length() && parent.covers(pair[1])));
        }
        Ok(())
    }

    fn check_aggregate<A: Universe>(list: &[(u32, u8)], shift: u8) -> Result<(), TestCaseError> {
        let prefix = |(number, open): &(u32, u8)| {
            Prefix::containing(A::nth(*number, shift), A::BITS - shift - open)
        };
        let given: Vec<_> = list.iter().map(prefix).collect();
        let mut fewest = given.clone();
        aggregate(&mut fewest);
        prop_assert_eq!(bitmap(&fewest, shift), bitmap(&given, shift));
        // Each run of neighbours is what a cover of it is, which is minimal.
        let mut covers = Vec::new();
        let mut runs: Vec<(A, A)> = Vec::new();
        for prefix in &fewest {
            match runs.last_mut() {
                Some((_, end)) if end.successor() == Some(prefix.first()) => {
                    *end = prefix.last();
                }
                _ => runs.push((prefix.first(), prefix.last())),
            }
        }
        for (first, last) in runs {
            cover(first, last, |prefix| covers.push(prefix));
        }
        prop_assert_eq!(fewest, covers);
        Ok(())
    }

    fn check_relation<A: Universe>(
        (a, a_open): (u32, u8),
        (b, b_open): (u32, u8),
        shift: u8,
    ) -> Result<(), TestCaseError> {
        let prefix =
            |number, open| Prefix::containing(A::nth(number, shift), A::BITS - shift - open);
        let (a, b) = (prefix(a, a_open), prefix(b, b_open));
        let (in_a, in_b) = (bitmap(&[a], shift), bitmap(&[b], shift));
        let common = in_a.iter().zip(&in_b).filter(|(a, b)| **a && **b).count();
        let count = |bitmap: &[bool]| bitmap.iter().filter(|bit| **bit).count();
        prop_assert_eq!(count(&in_a), 1 << a_open);
        prop_assert_eq!(a.covers(b), common == count(&in_b));
        // Prefixes nest or are apart, which painting relies on.
        prop_assert!(common == 0 || a.covers(b) || b.covers(a));
        prop_assert!(a.contains(a.first()) && a.contains(a.last()));
        Ok(())
    }

    proptest! {
        #[test]
        fn cover_is_exact_and_minimal(
            first in 0..UNIVERSE, last in 0..UNIVERSE, v4_shift in 0u8..=22, v6_shift in 0u8..=118,
        ) {
            check_cover::<u32>(first, last.max(first), v4_shift)?;
            check_cover::<u128>(first, last.max(first), v6_shift)?;
        }

        #[test]
        fn aggregates_are_exact_and_minimal(
            list in proptest::collection::vec((0..UNIVERSE, 0u8..=5), 0..40), v4_shift in 0u8..=22, v6_shift in 0u8..=118,
        ) {
            check_aggregate::<u32>(&list, v4_shift)?;
            check_aggregate::<u128>(&list, v6_shift)?;
        }

        #[test]
        fn prefixes_relate_as_their_addresses_do(
            a in (0..UNIVERSE, 0..=UNIVERSE_BITS), b in (0..UNIVERSE, 0..=UNIVERSE_BITS), v4_shift in 0u8..=22, v6_shift in 0u8..=118,
        ) {
            check_relation::<u32>(a, b, v4_shift)?;
            check_relation::<u128>(a, b, v6_shift)?;
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
        fn check<A: Address>(one: A) {
            let zero = Prefix::containing(one, 0).first();
            let before_last = Prefix::containing(A::LAST, A::BITS - 1).first();
            let half = Prefix::containing(A::LAST, 1).first();
            let single = |address| Prefix::containing(address, A::BITS);
            assert_eq!(covering(zero, A::LAST), [Prefix::containing(zero, 0)]);
            assert_eq!(covering(zero, zero), [single(zero)]);
            assert_eq!(covering(A::LAST, A::LAST), [single(A::LAST)]);
            assert_eq!(covering(half, A::LAST), [Prefix::containing(half, 1)]);
            assert_eq!(covering(one, A::LAST).len(), usize::from(A::BITS));
            assert_eq!(covering(zero, before_last).len(), usize::from(A::BITS));
            assert_eq!(
                covering(one, before_last).len(),
                2 * usize::from(A::BITS) - 2
            );
        }
        check(1u32);
        check(1u128);
    }

    #[test]
    fn cover_of_swapped_ends_is_nothing() {
        assert_eq!(covering(2u32, 1), []);
        assert_eq!(covering(u128::MAX, 0), []);
    }

    #[test]
    fn lengths_above_the_family_count_as_all() {
        assert_eq!(
            Prefix::containing(7u32, u8::MAX),
            Prefix::containing(7u32, 32)
        );
        assert_eq!(
            Prefix::containing(7u128, u8::MAX),
            Prefix::containing(7u128, 128)
        );
        assert_eq!(Prefix::containing(u32::MAX, 0).first(), 0);
        assert_eq!(Prefix::containing(0u128, 0).last(), u128::MAX);
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
