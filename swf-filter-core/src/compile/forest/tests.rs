use proptest::prelude::*;
use swf_filter_common::abi::Class;

use super::*;
use crate::compile::Table;
use crate::prefix::Prefix;

/// Both families through one door.
trait Looked: Address {
    fn table(rows: Vec<Row<Self>>) -> Table;
    fn find(forest: &Forest, table: u16, address: Self) -> Option<Leaf>;
    fn from_u128(number: u128) -> Self;
    fn to_u128(self) -> u128;
}

impl Looked for u32 {
    fn table(v4: Vec<Row<Self>>) -> Table {
        Table { v4, v6: Vec::new() }
    }
    fn find(forest: &Forest, table: u16, address: Self) -> Option<Leaf> {
        forest.leaf_v4(0, table, address)
    }
    fn from_u128(number: u128) -> Self {
        (number >> 96) as Self
    }
    fn to_u128(self) -> u128 {
        self.into()
    }
}

impl Looked for u128 {
    fn table(v6: Vec<Row<Self>>) -> Table {
        Table { v4: Vec::new(), v6 }
    }
    fn find(forest: &Forest, table: u16, address: Self) -> Option<Leaf> {
        forest.leaf_v6(0, table, address.into())
    }
    fn from_u128(number: u128) -> Self {
        number
    }
    fn to_u128(self) -> u128 {
        self
    }
}

fn leaf(number: u32) -> Leaf {
    let class = [Class::Allow, Class::Audit, Class::Deny, Class::AlwaysAllow][number as usize % 4];
    Leaf::new(class, number)
}

/// Rows as painting leaves them, from prefixes and the numbers of their rules.
fn rows<A: Looked>(prefixes: &[(u128, u8, u32)]) -> Vec<Row<A>> {
    let prefix = |(address, length, rule): &(u128, u8, u32)| {
        Row::new(
            Prefix::containing(A::from_u128(*address), *length % (A::BITS + 1)),
            leaf(*rule),
        )
    };
    let mut rows: Vec<Row<A>> = prefixes.iter().map(prefix).collect();
    paint::paint(&mut rows);
    rows
}

fn generation<A: Looked>(tables: impl IntoIterator<Item = Vec<Row<A>>>) -> Generation {
    Generation {
        tables: tables.into_iter().map(A::table).collect(),
        ..Generation::default()
    }
}

/// What a scan of all rows says.
fn scanned<A: Looked>(rows: &[Row<A>], address: A) -> Option<Leaf> {
    rows.iter()
        .filter(|row| row.prefix.contains(address))
        .max_by_key(|row| row.prefix.length())
        .map(Row::leaf)
}

/// The ends of all prefixes, and their neighbours.
fn boundaries<A: Looked>(rows: &[Row<A>]) -> impl Iterator<Item = A> {
    let ends = rows.iter().flat_map(|row| {
        let (first, last) = (row.prefix.first().aligned(), row.prefix.last().to_u128());
        let before = A::from_u128(first.wrapping_sub(1));
        let after = row.prefix.last().successor();
        let middle = A::from_u128(first | (last & 0x5555) << (128 - u32::from(A::BITS)));
        [row.prefix.first(), row.prefix.last(), before, middle]
            .into_iter()
            .chain(after)
    });
    ends.chain([A::mask(0), A::LAST])
        .collect::<Vec<_>>()
        .into_iter()
}

/// One of so many tables that small ones have no top.
fn built<A: Looked>(rows: &[Row<A>]) -> Forest {
    let others = vec![Vec::new(); FEW_TABLES];
    let tables = [rows.to_vec()].into_iter().chain(others);
    Forest::build(&generation(tables)).unwrap()
}

/// The only table.
fn alone<A: Looked>(rows: &[Row<A>]) -> Forest {
    Forest::build(&generation([rows.to_vec()])).unwrap()
}

/// The same with two rows for each that has no other inside.
fn halved<A: Looked>(rows: &[Row<A>]) -> Vec<Row<A>> {
    let halves = rows.iter().enumerate().flat_map(|(number, row)| {
        let prefix = row.prefix;
        let next = rows.get(number + 1);
        let is_plain = next.is_none_or(|next| !prefix.covers(next.prefix));
        let longer = prefix.length() + u8::from(is_plain && prefix.length() < A::BITS);
        let half = |address| Row::new(Prefix::containing(address, longer), row.leaf());
        let mut halves = vec![half(prefix.first())];
        if longer > prefix.length() {
            halves.push(half(prefix.last()));
        }
        halves
    });
    halves.collect()
}

fn assert_right<A: Looked>(rows: &[Row<A>], more: &[u128]) {
    for forest in [built(rows), alone(rows)] {
        let more = more.iter().map(|address| A::from_u128(*address));
        for address in boundaries(rows).chain(more) {
            assert_eq!(
                A::find(&forest, 0, address),
                scanned(rows, address),
                "{address:x?} in {rows:x?}"
            );
        }
    }
}

/// Prefixes that nest, touch and repeat, in a few places of the address space and at its ends.
fn prefixes(most: usize) -> impl Strategy<Value = Vec<(u128, u8, u32)>> {
    let address = prop_oneof![
        any::<u128>(),
        (0..6_u128, any::<u128>()).prop_map(|(place, low)| place << 125 | low >> 60),
        (any::<u8>(), 0..16_u32).prop_map(|(bits, place)| u128::from(bits).rotate_right(place * 8)),
        (0..4_u128).prop_map(|low| u128::MAX - low),
    ];
    let length = prop_oneof![0..=128_u8, 20..=34_u8, 120..=128_u8];
    prop::collection::vec((address, length, 0..5_u32), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn lookups_are_those_of_a_scan(prefixes in prefixes(60), more: [u128; 8]) {
        assert_right(&rows::<u32>(&prefixes), &more);
        assert_right(&rows::<u128>(&prefixes), &more);
    }

    #[test]
    fn what_means_the_same_is_the_same(prefixes in prefixes(40)) {
        let (v4, v6) = (rows::<u32>(&prefixes), rows::<u128>(&prefixes));
        prop_assert_eq!(built(&v4), built(&halved(&v4)));
        prop_assert_eq!(built(&v6), built(&halved(&v6)));
        prop_assert_eq!(built(&v6).hash(), built(&v6).hash());
    }

    #[test]
    fn no_words_make_a_lookup_fail(
        prefixes in prefixes(40),
        garbage in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..40),
        addresses: [u128; 8],
    ) {
        let mut forest = Forest::build(&generation([rows::<u128>(&prefixes)])).unwrap();
        for (at, word) in garbage {
            let at = at.index(forest.words.len());
            forest.words[at] ^= word;
        }
        for address in addresses {
            forest.leaf_v6(0, 0, address.into());
            forest.leaf_v4(0, 0, u32::from_u128(address));
        }
    }
}

#[test]
fn shapes_that_are_at_the_edge_are_right() {
    let every = |step: u128, shift: u32, length, number: u32| {
        (0..u128::from(number))
            .map(|n| ((n * step) << shift, length, 0))
            .collect::<Vec<_>>()
    };
    let chain = |first: u128| {
        (0..=128)
            .map(|length| (first, length, u32::from(length)))
            .collect::<Vec<_>>()
    };
    let shapes = [
        vec![],
        vec![(0, 0, 1)],
        vec![(0, 128, 1)],
        vec![(u128::MAX, 128, 1)],
        vec![(0, 0, 1), (u128::MAX, 128, 2), (0, 128, 3)],
        chain(0),
        chain(u128::MAX),
        chain(0x5555 << 100 | 0x5555),
        every(1, 0, 128, 300),
        every(2, 0, 128, 300),
        every(1, 96, 32, 300),
        every(2, 96, 32, 300),
        every(2, 104, 24, 300),
    ];
    // As many ranges as a bucket has room for, and one more; and such as end too far down for it.
    let few = (1..5).flat_map(|number| {
        let shifts = [(80, 48), (64, 64), (100, 28)];
        shifts.map(|(shift, length)| every(2, shift, length, number))
    });
    for shape in shapes.into_iter().chain(few) {
        let (v4, v6) = (rows::<u32>(&shape), rows::<u128>(&shape));
        assert_right(&v4, &[]);
        assert_right(&v6, &[]);
    }
}

/// Tables of each size of top, against a search in their rows.
#[test]
fn large_tables_are_right() {
    fn check<A: Looked>(number: u32) {
        let mut state = u64::from(number);
        let lengths = [16, 20, 24, 24, 32, 32, 48, 64, 127, 128];
        let mut next = || random(&mut state);
        let prefixes: Vec<_> = (0..number)
            .map(|rule| {
                let near = u128::from(next()) << 64 | u128::from(next());
                let far = (u128::from(next()) % 64) << 122;
                let length = lengths[usize::try_from(next() % 10).unwrap()];
                (near >> 6 | far, length, rule % 7)
            })
            .collect();
        let rows = rows::<A>(&prefixes);
        let forest = built(&rows);
        for address in boundaries(&rows) {
            let expected = paint::longest_match(&rows, address).map(Row::leaf);
            assert_eq!(A::find(&forest, 0, address), expected, "{address:x?}");
        }
        let bytes = forest.bytes() / rows.len();
        assert!(bytes <= MOST_BYTES_A_PREFIX, "{bytes}");
    }
    for number in [2_000, 100_000] {
        check::<u32>(number);
        check::<u128>(number);
    }
}

/// What a prefix takes at most, as `docs/operations.md` has it: tables made to be large.
#[test]
fn hostile_tables_are_bounded() {
    let mut state = 3;
    let mut next = || u128::from(random(&mut state)) << 64 | u128::from(random(&mut state));
    let number = 50_000;
    let scattered: Vec<_> = (0..number).map(|rule| (next(), 128, rule % 5)).collect();
    // Pairs that differ in their last bit only, each of which is another rule than its neighbour.
    let pairs = (0..number).flat_map(|rule| {
        let address = next();
        [(address, 128, rule % 5), (address ^ 1, 128, (rule + 1) % 5)]
    });
    let pairs: Vec<_> = pairs.collect();
    // Chains: a host in a network in a network, all apart from the others.
    let chains = (0..number).flat_map(|rule| {
        let address = next();
        [30, 61, 95, 128].map(|length| (address, length, (rule + u32::from(length)) % 5))
    });
    let chains: Vec<_> = chains.collect();
    // A tree that forks every seventh bit, so that each fork is a skip and a branch.
    let fork = |rule: u32, level: u32| u128::from(rule >> level & 1) << (125 - level * 7);
    let forks = (0..1 << 16)
        .map(|rule| ((0..16).map(|level| fork(rule, level)).sum(), 128, rule % 5))
        .collect();
    let shapes = [
        ("scattered", scattered),
        ("pairs", pairs),
        ("chains", chains),
        ("forks", forks),
    ];
    for (name, shape) in shapes {
        let rows = rows::<u128>(&shape);
        let bytes = built(&rows).bytes() / rows.len();
        println!("{name}: {} rows, {bytes} bytes each", rows.len());
        assert!(bytes <= MOST_BYTES_A_PREFIX, "{name}: {bytes}");
    }
}

#[test]
fn a_few_ranges_with_two_leaves_are_one_node() {
    let scattered = |ends: u128, rule: fn(u128) -> u32| {
        let prefix = |number| {
            (
                0x2001_0db8_u128 << 96 | (number * 0x1_0001 + 1) << 68,
                60,
                rule(number),
            )
        };
        rows::<u128>(&(0..ends / 2).map(prefix).collect::<Vec<_>>())
    };
    let bytes = |rows: &[Row<u128>]| built(rows).bytes();
    let empty = bytes(&[]);
    let (two, three) = (scattered(4, |_| 0), scattered(6, |_| 0));
    // Their first bits are skipped.
    assert_eq!(bytes(&two), empty + 2 * 32);
    assert!(bytes(&three) > bytes(&two));
    let mixed = scattered(4, |number| u32::from(number == 1));
    assert!(bytes(&mixed) > bytes(&two));
    for rows in [two, three, mixed] {
        assert_right(&rows, &[]);
    }
}

#[test]
fn what_ends_within_two_strides_is_a_branch_and_words() {
    let near = [1, 0x102].map(|number| (0x2001_0db8_u128 << 96 | number << 80, 48, 0));
    let near = rows::<u128>(&near);
    let empty = built::<u128>(&[]).bytes();
    // A skip, a branch and a mask for each of the two.
    assert_eq!(built(&near).bytes(), empty + 2 * 32 + 2 * 8);
    assert_right(&near, &[]);
}

#[test]
fn a_skip_is_the_lead_of_its_branch() {
    let near = [1, 5, 9, 18].map(|number| (0x2000_0000_u128 << 96 | number << 104, 24, 0));
    let empty = built::<u128>(&[]).bytes();
    let cases: [(&[_], _); 4] = [
        (&[], 1),
        // All other addresses have a leaf of the branch.
        (&[(0, 0, 4)], 1),
        // Lower ones have another leaf than higher ones.
        (&[(0, 3, 4)], 2),
        // All others have a third leaf.
        (&[(0, 0, 4), (0x2000 << 112, 16, 8)], 2),
    ];
    for (more, nodes) in cases {
        let rows = rows::<u128>(&[&near, more].concat());
        assert_eq!(built(&rows).bytes(), empty + nodes * 32, "{more:?}");
        assert_right(&rows, &[]);
    }
}

#[test]
fn prefixes_that_lie_apart_are_a_word_each() {
    // Each in a /18 of its own, all in one /12.
    let apart = |rule: fn(u32) -> u32| {
        (0..32)
            .map(|number| (u128::from(number) << 111 | 3 << 101, 27, rule(number)))
            .collect::<Vec<_>>()
    };
    // One child with more ends than a twig has, and one with another leaf.
    let more = [
        (5 << 104, 24, 0),
        (7 << 104, 24, 0),
        (1 << 111 | 9 << 104, 24, 1),
    ];
    let lists: [&[_]; 3] = [&apart(|_| 0), &apart(|number| number % 2), &more];
    assert_children_are_words::<u32>(2, 32, lists);
    assert_children_are_words::<u128>(1, 32, lists);
}

#[test]
fn prefixes_that_crowd_are_a_word_for_many() {
    // Every other /24 of eight /18 in a /12.
    let crowd = |rule: fn(u32) -> u32| {
        let place = |number| u128::from(number / 32) << 111 | u128::from(number % 32) << 105;
        (0..8 * 32)
            .map(|number| (place(number), 24, rule(number)))
            .collect::<Vec<_>>()
    };
    // One child with a prefix that ends further down, and one with another leaf.
    let more = [(1 << 104, 25, 0), (1 << 111 | 1 << 104, 24, 1)];
    let lists: [&[_]; 3] = [&crowd(|_| 0), &crowd(|number| number % 3), &more];
    assert_children_are_words::<u32>(2, 8, lists);
    // They begin with the first of all addresses, so that its leaf is not the one after them.
    assert_children_are_words::<u128>(2, 8, lists);
}

/// Prefixes of one rule are so many words of a branch, whose first bits are skipped by a node or its lead. Of several rules they are not,
/// and with some more only most of them are.
fn assert_children_are_words<A: Looked>(
    nodes: usize,
    words: usize,
    [same, mixed, more]: [&[(u128, u8, u32)]; 3],
) {
    let bytes = |rows: &[Row<A>]| built(rows).bytes();
    let empty = bytes(&[]);
    let most = rows(&[same, more].concat());
    let (same, mixed) = (rows(same), rows(mixed));
    assert_eq!(bytes(&same), empty + nodes * 32 + words * 8);
    assert!(bytes(&mixed) > bytes(&same));
    assert!(bytes(&most) > bytes(&same) && bytes(&most) < bytes(&mixed));
    for rows in [same, mixed, most] {
        assert_right(&rows, &[]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let scattered: Vec<_> = (0..3_000)
        .map(|rule| (u128::from(rule) << 70, 128, rule))
        .collect();
    let generation = generation([rows::<u128>(&scattered)]);
    let words = Forest::build(&generation).unwrap().words().len();
    let words = u32::try_from(words).unwrap();
    for most in [0, 100, words / 2, words - 1] {
        let refused = Forest::build_within(most, &generation);
        assert_eq!(refused, Err(TooLarge { prefixes: 3_000 }), "{most}");
    }
    assert!(Forest::build_within(words, &generation).is_ok());
}

#[test]
fn equal_tables_are_there_once() {
    let table = rows::<u128>(&[(1 << 90, 50, 1), (3 << 90, 128, 2)]);
    let one = alone(&table);
    let many = Forest::build(&generation(vec![table.clone(); 100])).unwrap();
    let more = forest::root_at(100, Family::V4) as usize * 8;
    assert!(many.bytes() <= one.bytes() + more);
    for number in [0, 1, 99] {
        assert_eq!(u128::find(&many, number, 3 << 90), Some(leaf(2)));
    }
}

/// A step of `splitmix64`.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

const MOST_BYTES_A_PREFIX: usize = 128;
