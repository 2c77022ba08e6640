//! Sets of addresses, with the algebra that compiling conditions needs.

use crate::prefix::{Address, Prefix, PrefixList, cover};

/// A set of IPv4 and IPv6 addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddressSet {
    /// The IPv4 addresses.
    pub v4: Ranges<u32>,
    /// The IPv6 addresses.
    pub v6: Ranges<u128>,
}

/// Ranges with both ends included, ascending, neither overlapping nor adjacent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ranges<A>(Vec<(A, A)>);

impl<A> Default for Ranges<A> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl AddressSet {
    /// Every address.
    #[must_use]
    pub fn all() -> Self {
        Self::default().complement()
    }

    /// The addresses of a list of prefixes.
    #[must_use]
    pub fn of(prefixes: &PrefixList) -> Self {
        Self {
            v4: Ranges::of(&prefixes.v4),
            v6: Ranges::of(&prefixes.v6),
        }
    }

    /// All addresses if `all`, else none.
    #[must_use]
    pub fn all_if(all: bool) -> Self {
        if all { Self::all() } else { Self::default() }
    }

    /// Addresses that are in one of `sets`.
    pub fn union<'a>(sets: impl IntoIterator<Item = &'a Self> + Clone) -> Self {
        Self {
            v4: Ranges::union(sets.clone().into_iter().map(|set| &set.v4)),
            v6: Ranges::union(sets.into_iter().map(|set| &set.v6)),
        }
    }

    /// Addresses that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            v4: self.v4.intersection(&other.v4),
            v6: self.v6.intersection(&other.v6),
        }
    }

    /// Addresses that are in this set and not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.intersection(&other.complement())
    }

    /// Addresses that are not in this set.
    #[must_use]
    pub fn complement(&self) -> Self {
        Self {
            v4: self.v4.complement(),
            v6: self.v6.complement(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.0.is_empty() && self.v6.0.is_empty()
    }

    /// Whether some address is in both.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        self.v4.meets(&other.v4) || self.v6.meets(&other.v6)
    }

    /// The fewest prefixes that hold just these addresses.
    #[must_use]
    pub fn prefixes(&self) -> PrefixList {
        PrefixList {
            v4: self.v4.prefixes(),
            v6: self.v6.prefixes(),
        }
    }
}

impl<A: Address> Ranges<A> {
    /// The addresses of some prefixes.
    #[must_use]
    pub fn of(prefixes: &[Prefix<A>]) -> Self {
        Self::join(
            prefixes
                .iter()
                .map(|prefix| (prefix.first(), prefix.last()))
                .collect(),
        )
    }

    /// The ranges.
    #[must_use]
    pub fn as_slice(&self) -> &[(A, A)] {
        &self.0
    }

    /// Whether `address` is one of them.
    #[must_use]
    pub fn contains(&self, address: A) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after
            .checked_sub(1)
            .and_then(|index| self.0.get(index))
            .is_some_and(|(_, last)| address <= *last)
    }

    /// Looks the ranges of the shorter list up in the longer one.
    fn meets(&self, other: &Self) -> bool {
        let (few, many) = if self.0.len() <= other.0.len() {
            (self, other)
        } else {
            (other, self)
        };
        few.0.iter().any(|(first, last)| {
            let after = many.0.partition_point(|(_, end)| end < first);
            many.0.get(after).is_some_and(|(start, _)| start <= last)
        })
    }

    fn union<'a>(sets: impl Iterator<Item = &'a Self>) -> Self {
        Self::join(sets.flat_map(|set| set.0.iter().copied()).collect())
    }

    fn join(mut ranges: Vec<(A, A)>) -> Self {
        ranges.sort_unstable();
        let mut joined: Vec<(A, A)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if end.successor().is_none_or(|next| first <= next) => {
                    *end = last.max(*end);
                }
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    fn intersection(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        let mut own = self.0.iter().copied().peekable();
        let mut others = other.0.iter().copied().peekable();
        while let (Some((a_first, a_last)), Some((b_first, b_last))) =
            (own.peek().copied(), others.peek().copied())
        {
            let (first, last) = (a_first.max(b_first), a_last.min(b_last));
            if first <= last {
                both.push((first, last));
            }
            if a_last <= b_last {
                own.next();
            }
            if b_last <= a_last {
                others.next();
            }
        }
        Self(both)
    }

    fn complement(&self) -> Self {
        let zero = A::LAST.not();
        let mut gaps = Vec::with_capacity(self.0.len() + 1);
        // Where the next gap starts; none once the last address was taken.
        let mut start = Some(zero);
        for (first, last) in &self.0 {
            if let Some(start) = start.filter(|start| start < first) {
                gaps.push((start, predecessor(*first)));
            }
            start = last.successor();
        }
        gaps.extend(start.map(|start| (start, A::LAST)));
        Self(gaps)
    }

    fn prefixes(&self) -> Vec<Prefix<A>> {
        let mut prefixes = Vec::new();
        for (first, last) in &self.0 {
            cover(*first, *last, |prefix| prefixes.push(prefix));
        }
        prefixes
    }
}

/// The address before one that is not the lowest: clears the lowest set bit and sets all below it.
fn predecessor<A: Address>(address: A) -> A {
    let above = A::mask(A::BITS - address.trailing_zeros().min(A::BITS - 1) - 1);
    let low = A::mask(A::BITS - address.trailing_zeros()).not();
    address.and(above).or(low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The addresses of a universe of 64, as a word of bits.
    fn set(bits: u64, base: u32) -> AddressSet {
        let prefixes = (0..64)
            .filter(|bit| bits >> bit & 1 == 1)
            .map(|bit| Prefix::containing(base.wrapping_add(bit), 32))
            .collect();
        AddressSet::of(&PrefixList {
            v4: prefixes,
            v6: Vec::new(),
        })
    }

    fn bits(set: &AddressSet, base: u32) -> u64 {
        (0..64)
            .filter(|bit| set.v4.contains(base.wrapping_add(*bit)))
            .fold(0, |word, bit| word | 1 << bit)
    }

    proptest! {
        #[test]
        fn algebra_is_that_of_bits(a: u64, b: u64, base in prop::sample::select(vec![0, 0x0a00_0000, u32::MAX - 63])) {
            let (left, right) = (set(a, base), set(b, base));
            prop_assert_eq!(bits(&left, base), a);
            prop_assert_eq!(bits(&AddressSet::union([&left, &right]), base), a | b);
            prop_assert_eq!(bits(&left.intersection(&right), base), a & b);
            prop_assert_eq!(bits(&left.difference(&right), base), a & !b);
            prop_assert_eq!(bits(&left.complement(), base), !a);
            prop_assert_eq!(&left.complement().complement(), &left);
            prop_assert_eq!(left.meets(&right), a & b != 0);
            prop_assert_eq!(AddressSet::of(&left.prefixes()), left);
        }
    }

    #[test]
    fn everything_is_two_prefixes() {
        let prefixes = AddressSet::all().prefixes();
        assert_eq!((prefixes.v4.len(), prefixes.v6.len()), (1, 1));
        assert!(AddressSet::all().complement().is_empty());
    }
}
