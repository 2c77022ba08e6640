//! The compiled engine says of every address what its rows say, and no words, however damaged, make a lookup fail.

#![no_main]

use std::cmp::Reverse;

use libfuzzer_sys::fuzz_target;
use swf_filter_common::abi::{Class, Leaf};
use swf_filter_common::forest;
use swf_filter_common::frame::V6;
use swf_filter_common::verdict::Sources;
use swf_filter_core::compile::{Forest, Generation, Row, Table, Tables};
use swf_filter_core::prefix::{Address, Prefix};

/// Bytes of an address, a length and a rule.
const ROW: usize = 18;

fn rows<A: Address>(input: &[u8], from: fn(u128) -> A) -> Vec<Row<A>> {
    let (rows, _) = input.as_chunks::<ROW>();
    let mut rows: Vec<Row<A>> = rows
        .iter()
        .map(|row| {
            let (address, rest) = row.split_first_chunk().expect("a row is longer");
            let address = u128::from_be_bytes(*address);
            let class = [Class::Allow, Class::Audit, Class::Deny, Class::AlwaysAllow]
                [usize::from(rest[1] % 4)];
            let leaf = Leaf::new(class, u32::from(rest[1]));
            let length = rest[0] % (A::BITS + 1);
            Row::new(Prefix::containing(from(address), length), leaf)
        })
        .collect();
    rows.sort_by_key(|row| (row.prefix, Reverse(row.leaf())));
    rows.dedup_by_key(|row| row.prefix);
    rows
}

// Rows, of an only table and of one of many; the addresses of some of them are looked up, and words of the forest are replaced by some
// of them.
fuzz_target!(|input: &[u8]| {
    let table = Table {
        v4: rows(input, |address| (address >> 96) as u32),
        v6: rows(input, |address| address),
    };
    check(input, vec![table.clone()]);
    let mut tables = vec![table];
    tables.resize_with(MANY, Table::default);
    check(input, tables);
});

/// With so many tables, small ones are built otherwise.
const MANY: usize = 16;

fn check(input: &[u8], tables: Vec<Table>) {
    let generation = Generation {
        tables,
        ..Generation::default()
    };
    let built = Forest::build(&generation).expect("a small forest");
    let expected = Tables(&generation);
    let v4 = generation.tables[0].v4.iter().flat_map(|row| {
        let (first, last) = (row.prefix.first(), row.prefix.last());
        [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
    });
    for address in v4.clone() {
        let found = built.leaf_v4(0, 0, address);
        assert_eq!(found, expected.leaf_v4(0, 0, address), "{address:x}");
    }
    let v6 = generation.tables[0].v6.iter().flat_map(|row| {
        let (first, last) = (row.prefix.first(), row.prefix.last());
        [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
    });
    for address in v6.clone() {
        let found = built.leaf_v6(0, 0, address.into());
        assert_eq!(found, expected.leaf_v6(0, 0, address.into()), "{address:x}");
    }

    let mut words = built.words().to_vec();
    for bytes in input.as_chunks::<12>().0 {
        let (at, word) = bytes
            .split_first_chunk()
            .expect("twelve are more than four");
        let at = u32::from_le_bytes(*at) as usize % words.len();
        words[at] = u64::from_le_bytes(word.try_into().expect("eight are left"));
    }
    for address in v6 {
        forest::leaf_v6(&words.as_slice(), 0, V6::from(address));
    }
    for address in v4 {
        forest::leaf_v4(&words.as_slice(), 0, address);
    }
}
