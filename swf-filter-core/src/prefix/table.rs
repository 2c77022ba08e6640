//! Prefixes with numbers, which addresses are looked up in.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Address, Prefix, PrefixList};

/// Numbered prefixes of both families. Looking an address up takes a search for each length that the prefixes have.
#[derive(Clone, Debug, Default)]
pub struct Numbered {
    v4: Family<u32>,
    v6: Family<u128>,
}

impl Numbered {
    /// A table of lists and the number of each.
    #[must_use]
    pub fn of<'a>(lists: impl Iterator<Item = (usize, &'a PrefixList)> + Clone) -> Self {
        let v4 = lists.clone();
        let v4 = v4.flat_map(|(number, list)| list.v4.iter().map(move |prefix| (*prefix, number)));
        let v6 =
            lists.flat_map(|(number, list)| list.v6.iter().map(move |prefix| (*prefix, number)));
        Self {
            v4: Family::of(v4.collect()),
            v6: Family::of(v6.collect()),
        }
    }

    /// The lowest number of a prefix that an address lies in.
    #[must_use]
    pub fn first(&self, address: IpAddr) -> Option<usize> {
        match address {
            IpAddr::V4(address) => self.v4.first(address.to_bits()),
            IpAddr::V6(address) => self.v6.first(address.to_bits()),
        }
    }
}

#[derive(Clone, Debug)]
struct Family<A> {
    lengths: BTreeSet<u8>,
    /// Ascending; of those of one prefix, that with the lowest number.
    rows: Vec<(Prefix<A>, usize)>,
}

impl<A> Default for Family<A> {
    fn default() -> Self {
        Self {
            lengths: BTreeSet::new(),
            rows: Vec::new(),
        }
    }
}

impl<A: Address> Family<A> {
    fn of(mut rows: Vec<(Prefix<A>, usize)>) -> Self {
        rows.sort_unstable();
        rows.dedup_by_key(|(prefix, _)| *prefix);
        rows.shrink_to_fit();
        Self {
            lengths: rows.iter().map(|(prefix, _)| prefix.length()).collect(),
            rows,
        }
    }

    fn first(&self, address: A) -> Option<usize> {
        let found = |length: &u8| {
            let prefix = Prefix::containing(address, *length);
            let place = self.rows.binary_search_by_key(&prefix, |row| row.0).ok()?;
            self.rows.get(place).map(|(_, number)| *number)
        };
        self.lengths.iter().filter_map(found).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list() -> impl Strategy<Value = PrefixList> {
        let v4 = (any::<u8>(), 24..=32u8)
            .prop_map(|(low, length)| Prefix::containing(u32::from(low), length));
        let v6 = (any::<u8>(), 120..=128u8)
            .prop_map(|(low, length)| Prefix::containing(u128::from(low), length));
        (
            prop::collection::vec(v4, 0..6),
            prop::collection::vec(v6, 0..6),
        )
            .prop_map(|(v4, v6)| PrefixList { v4, v6 })
    }

    proptest! {
        #[test]
        fn an_address_is_found_in_the_first_list_that_has_it(
            lists in prop::collection::vec(list(), 0..6),
            low in any::<u8>(),
        ) {
            let table = Numbered::of(lists.iter().enumerate());
            let v4 = u32::from(low);
            let is_in = |list: &PrefixList| list.v4.iter().any(|prefix| prefix.contains(v4));
            prop_assert_eq!(table.first(v4.to_ip()), lists.iter().position(is_in));
            let v6 = u128::from(low);
            let is_in = |list: &PrefixList| list.v6.iter().any(|prefix| prefix.contains(v6));
            prop_assert_eq!(table.first(v6.to_ip()), lists.iter().position(is_in));
        }

        #[test]
        fn the_longest_prefix_is_of_the_addresss_family(list in list(), low in any::<u8>()) {
            let address = u32::from(low);
            let holding = list.v4.iter().filter(|prefix| prefix.contains(address));
            let longest = holding.map(|prefix| prefix.length()).max();
            prop_assert_eq!(list.longest(address.to_ip()).map(|prefix| prefix.prefix()), longest);
            let address = u128::from(low);
            let holding = list.v6.iter().filter(|prefix| prefix.contains(address));
            let longest = holding.map(|prefix| prefix.length()).max();
            prop_assert_eq!(list.longest(address.to_ip()).map(|prefix| prefix.prefix()), longest);
        }
    }
}
