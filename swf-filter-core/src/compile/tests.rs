use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use ipnetwork::IpNetwork;
use proptest::prelude::*;
use swf_filter_common::image::{Engine, Image};
use swf_filter_common::verdict::Sources;

use super::image::{ImageError, Placement, write};
use super::*;
use crate::policy::{SourceFile, parse};
use crate::prefix::{Address, Prefix};

fn generation(text: &str) -> Generation {
    let file = SourceFile {
        name: "a.toml".into(),
        bytes: format!("version = 1\n{text}").as_bytes().into(),
    };
    let no_file = &mut |_: &Path| Err(io::ErrorKind::NotFound.into());
    compile(&parse(&[file], no_file).unwrap()).unwrap()
}

fn origin() -> Origin {
    Origin {
        file: "a.toml".into(),
        line: 1,
        column: 1,
    }
}

/// Sixteen addresses in the middle of the address space of a family, so that prefixes often nest.
trait Universe: Address {
    fn nth(low: u8) -> Self;
    fn list(prefixes: &[Prefix<Self>]) -> PrefixList;
    fn table(table: &Table) -> &[Row<Self>];
    fn leaf(generation: &Generation, address: Self) -> Option<Leaf>;
}

impl Universe for u32 {
    fn nth(low: u8) -> Self {
        0x0a00_0000 | Self::from(low) << SHIFT
    }
    fn list(prefixes: &[Prefix<Self>]) -> PrefixList {
        PrefixList {
            v4: prefixes.to_vec(),
            v6: Vec::new(),
        }
    }
    fn table(table: &Table) -> &[Row<Self>] {
        &table.v4
    }
    fn leaf(generation: &Generation, address: Self) -> Option<Leaf> {
        Tables(generation).leaf_v4(0, generation.hosts[0].tables[0], address)
    }
}

impl Universe for u128 {
    fn nth(low: u8) -> Self {
        0x2001_0db8 << 96 | Self::from(low) << SHIFT
    }
    fn list(prefixes: &[Prefix<Self>]) -> PrefixList {
        PrefixList {
            v4: Vec::new(),
            v6: prefixes.to_vec(),
        }
    }
    fn table(table: &Table) -> &[Row<Self>] {
        &table.v6
    }
    fn leaf(generation: &Generation, address: Self) -> Option<Leaf> {
        Tables(generation).leaf_v6(0, generation.hosts[0].tables[0], address.into())
    }
}

/// Bits to the right of the universe's.
const SHIFT: u8 = 8;

/// Prefixes as they are chosen: an address of the universe, and how many bits are left open.
type Chosen = Vec<Vec<(u8, u8)>>;

fn prefixes<A: Universe>(chosen: &[(u8, u8)]) -> Vec<Prefix<A>> {
    let prefix = |(low, open): &(u8, u8)| Prefix::containing(A::nth(*low), A::BITS - SHIFT - open);
    chosen.iter().map(prefix).collect()
}

/// Entries of the four lists, the lists in the order of strength.
fn lists() -> impl Strategy<Value = [Chosen; 4]> {
    let entry = || proptest::collection::vec((0u8..16, 0u8..=4), 1..4);
    let list = || proptest::collection::vec(entry(), 0..4);
    [list(), list(), list(), list()]
}

fn small_policy<A: Universe>(lists: &[Chosen; 4]) -> Policy {
    let [always_allow, deny, audit, allow] =
        ["always", "deny", "audit", "allow"].map(str::to_owned);
    let entries = |name: &str, list: &Chosen| {
        let entry = |(number, chosen): (usize, &Vec<(u8, u8)>)| Entry {
            text: format!("{name} {number}").into(),
            origin: origin(),
            source: Source::Prefixes(A::list(&prefixes(chosen))),
        };
        list.iter().enumerate().map(entry).collect::<Vec<_>>()
    };
    let host = policy::Host {
        name: "h".into(),
        origin: origin(),
        addresses: PrefixList::default(),
        ports: Ports::All,
        default: Effect::Drop,
        mode: Mode::Enforce,
        allow: entries(&allow, &lists[3]),
        audit: entries(&audit, &lists[2]),
        deny: entries(&deny, &lists[1]),
        documents: None,
        trusted_proxies: Vec::new(),
        lists: crate::admission::Lists::default(),
    };
    Policy {
        hosts: vec![host],
        always_allow: entries(&always_allow, &lists[0]),
        ..Policy::default()
    }
}

/// The strongest list that matches, and of its entries that match the number of the one with the longest prefix, else
/// the first. The audit list only matches what the allow list does.
fn naive<A: Universe>(lists: &[Chosen; 4], address: A) -> Option<Leaf> {
    let classes = [Class::AlwaysAllow, Class::Deny, Class::Audit, Class::Allow];
    let is_in = |chosen: &Vec<(u8, u8)>| {
        let mut prefixes = prefixes::<A>(chosen).into_iter();
        prefixes.any(|prefix| prefix.contains(address))
    };
    let is_allowed = lists[3].iter().any(is_in);
    let mut before = 0;
    for (list, class) in lists.iter().zip(classes) {
        let matching = list.iter().enumerate().filter_map(|(number, chosen)| {
            let prefixes = prefixes::<A>(chosen).into_iter();
            let longest = prefixes
                .filter(|prefix| prefix.contains(address))
                .map(Prefix::length)
                .max()?;
            Some((Reverse(longest), number))
        });
        if let Some((_, number)) = matching.min()
            && (class != Class::Audit || is_allowed)
        {
            return Some(Leaf::new(class, u32::try_from(before + number).unwrap()));
        }
        before += list.len();
    }
    None
}

fn check_leaves<A: Universe>(lists: &[Chosen; 4]) -> Result<(), TestCaseError> {
    let generation = compile(&small_policy::<A>(lists)).unwrap();
    for low in 0..16 {
        let address = A::nth(low);
        prop_assert_eq!(A::leaf(&generation, address), naive(lists, address));
    }
    prop_assert_eq!(A::leaf(&generation, A::LAST), None);
    Ok(())
}

/// All rows by prefix: list and text of what decides.
fn rows<A: Universe>(generation: &Generation) -> BTreeMap<Prefix<A>, Side> {
    let host = &generation.hosts[0];
    let side = |leaf: Leaf| {
        let rule = generation.rule(host.first_rule + leaf.ordinal()).unwrap();
        Side {
            list: rule.list,
            rule: Arc::clone(&rule.text),
        }
    };
    A::table(&generation.tables[usize::from(host.tables[0])])
        .iter()
        .map(|row| (row.prefix, side(row.leaf())))
        .collect()
}

fn check_difference<A: Universe>(
    old: &[Chosen; 4],
    new: &[Chosen; 4],
    most: usize,
) -> Result<(), TestCaseError>
where
    IpNetwork: From<Prefix<A>>,
{
    let before = compile(&small_policy::<A>(old)).unwrap();
    let after = compile(&small_policy::<A>(new)).unwrap();
    let (old_rows, new_rows) = (rows::<A>(&before), rows::<A>(&after));
    let prefixes: BTreeSet<_> = old_rows.keys().chain(new_rows.keys()).collect();
    let expected: Vec<_> = prefixes
        .into_iter()
        .filter(|prefix| old_rows.get(prefix) != new_rows.get(prefix))
        .map(|prefix| TableDifference {
            zone: "public".into(),
            prefix: (*prefix).into(),
            before: old_rows.get(prefix).cloned(),
            after: new_rows.get(prefix).cloned(),
        })
        .collect();
    let (difference, cut) = difference(&before, &after, most);
    prop_assert_eq!(cut, expected.len() > most);
    let shown = &expected[..expected.len().min(most)];
    let hosts = if shown.is_empty() {
        Vec::new()
    } else {
        vec![HostDifference::Changed {
            host: "h".into(),
            settings: Vec::new(),
            prefixes: shown.to_vec(),
        }]
    };
    prop_assert_eq!(difference.hosts, hosts);
    Ok(())
}

proptest! {
    #[test]
    fn the_longest_match_is_what_a_naive_scan_names(lists in lists()) {
        check_leaves::<u32>(&lists)?;
        check_leaves::<u128>(&lists)?;
    }

    #[test]
    fn a_difference_is_that_of_two_maps(old in lists(), new in lists(), most in 0usize..8) {
        check_difference::<u32>(&old, &new, most)?;
        check_difference::<u128>(&old, &new, most)?;
        check_difference::<u128>(&old, &new, usize::MAX)?;
    }

    #[test]
    fn a_generation_does_not_differ_from_itself(lists in lists()) {
        let generation = compile(&small_policy::<u32>(&lists)).unwrap();
        prop_assert_eq!(difference(&generation, &generation, 0), (Difference::default(), false));
    }

    #[test]
    fn a_generation_survives_storage(lists in lists()) {
        let generation = compile(&small_policy::<u128>(&lists)).unwrap();
        prop_assert!(is_stored_whole(&generation));
    }
}

#[test]
fn an_audit_list_is_about_what_passes_without_it() {
    let lists = "allow = [\"10.1.0.0/16\"]\naudit = [\"10.0.0.0/8\"]\ndeny = [\"10.1.2.0/24\"]\n";
    let class = |settings: &str, address: [u8; 4]| {
        let text =
            format!("[[host]]\nname = \"h\"\naddresses = [\"198.51.100.1\"]\n{settings}{lists}");
        let generation = generation(&text);
        let leaf = u32::leaf(&generation, u32::from_be_bytes(address));
        leaf.map(Leaf::class)
    };
    let drops = |address| class("", address);
    assert_eq!(drops([10, 1, 0, 1]), Some(Class::Audit));
    assert_eq!(drops([10, 1, 2, 1]), Some(Class::Deny));
    // Nothing allows it: the default still drops it.
    assert_eq!(drops([10, 2, 0, 1]), None);
    let passes = |address| class("default = \"pass\"\n", address);
    assert_eq!(passes([10, 2, 0, 1]), Some(Class::Audit));
    assert_eq!(passes([10, 1, 2, 1]), Some(Class::Deny));
    assert_eq!(passes([11, 0, 0, 1]), None);
}

fn is_stored_whole(generation: &Generation) -> bool {
    let bytes = postcard::to_stdvec(generation).unwrap();
    let read: Generation = postcard::from_bytes(&bytes).unwrap();
    let tables = read.tables == generation.tables && read.rules == generation.rules;
    tables && read.hash() == generation.hash() && postcard::to_stdvec(&read).unwrap() == bytes
}

const WHOLE: &str = r#"
[[host]]
name = "a"
addresses = ["192.0.2.1", "2001:db8::1"]
ports = [80, "443-444"]
allow = ["203.0.113.0/24", "set:s", "vpc:v"]
deny = ["203.0.113.9"]

[[host]]
name = "b"
addresses = ["192.0.2.2"]
default = "pass"
mode = "audit"
deny = ["vpc:w"]

[[set]]
name = "s"
cidrs = ["198.51.100.0/24", "2001:db8:7::/48"]

[[vpc]]
id = "v"
cidrs = ["10.0.0.0/8"]
interfaces = ["eth1"]
vlans = [7]

[[vpc]]
id = "w"
cidrs = ["10.0.0.0/8"]
vlans = [8]
"#;

#[test]
fn a_generation_with_everything_survives_storage() {
    let whole = generation(WHOLE);
    assert!(is_stored_whole(&whole));
    assert_eq!(
        (whole.hosts.len(), whole.zones.len(), whole.ingresses.len()),
        (2, 3, 2)
    );
}

#[test]
fn the_hash_looks_past_comments_and_places() {
    let hash = generation(WHOLE).hash();
    let moved = format!("# a comment\n\n{}", WHOLE.replace("= [", "=  [ "));
    assert_eq!(generation(&moved).hash(), hash);
    let sets_first: Vec<_> = WHOLE.split("\n\n").collect();
    let [a, b, set, v, w] = &sets_first[..] else {
        panic!("five blocks")
    };
    assert_eq!(
        generation(
            &[set, *v, w, a, b]
                .map(|block| format!("{block}\n"))
                .concat()
        )
        .hash(),
        hash
    );
}

#[test]
fn the_hash_sees_every_change_of_meaning() {
    let changes = [
        ("name = \"a\"", "name = \"c\""),
        ("192.0.2.1\"", "192.0.2.3\""),
        ("2001:db8::1", "2001:db8::2"),
        ("ports = [80,", "ports = [81,"),
        ("ports = [80, \"443-444\"]", "ports = \"all\""),
        ("ports = [80, \"443-444\"]", "ports = [\"80-443\", 444]"),
        ("203.0.113.0/24", "203.0.113.0/25"),
        ("\"set:s\", \"vpc:v\"", "\"vpc:v\", \"set:s\""),
        ("deny = [\"203.0.113.9\"]", ""),
        ("deny = [\"203.0.113.9\"]", "deny = [\"203.0.113.9/32\"]"),
        ("allow = [\"203", "deny = [\"203"),
        ("default = \"pass\"", ""),
        ("mode = \"audit\"", ""),
        ("vpc:w", "vpc:v"),
        ("198.51.100.0/24", "198.51.101.0/24"),
        ("2001:db8:7::/48", "2001:db8:7::/49"),
        ("eth1", "eth2"),
        ("vlans = [7]", "vlans = [9]"),
        ("vlans = [7]", ""),
        ("vlans = [8]", "vlans = [8, 9]"),
    ];
    let mut seen = BTreeMap::from([(generation(WHOLE).hash().0, ("", ""))]);
    for change @ (from, to) in changes {
        // A list can only stand once in a host.
        let text = WHOLE.replacen(from, to, 1).replacen(
            "deny = [\"203.0.113.9\"]",
            "",
            usize::from(to == "deny = [\"203"),
        );
        assert_ne!(text, WHOLE, "{from}");
        let twin = seen.insert(generation(&text).hash().0, change);
        assert_eq!(twin, None, "{change:?} gives the same");
    }
}

#[test]
fn a_vpc_called_public_is_not_the_public_zone() {
    let text = |deny: &str| {
        format!(
            "[[host]]\nname = \"h\"\naddresses = [\"192.0.2.1\"]\nallow = [\"10.0.0.0/8\"]\n{deny}\n\
             [[vpc]]\nid = \"public\"\ncidrs = [\"10.0.0.0/8\"]\nvlans = [7]\n"
        )
    };
    let (before, after) = (text("deny = [\"10.1.0.0/16\"]"), text(""));
    let (found, _) = difference(&generation(&before), &generation(&after), 10);
    let [HostDifference::Changed { prefixes, .. }] = &*found.hosts else {
        panic!("{found:?}")
    };
    assert_eq!(prefixes.len(), 2, "one for each zone: {prefixes:?}");
}

#[test]
fn hosts_and_settings_that_differ_are_named() {
    let before = generation(WHOLE);
    let after = WHOLE
        .replace("name = \"b\"", "name = \"c\"")
        .replace("[80, ", "[81, ")
        .replace("192.0.2.1\"", "192.0.2.3\"");
    let (found, cut) = difference(&before, &generation(&after), 10);
    let expected = [
        HostDifference::Changed {
            host: "a".into(),
            settings: vec![
                "addresses: 2 before, 2 after, not the same".to_owned(),
                "ports: 80 443-444 -> 81 443-444".to_owned(),
            ],
            prefixes: Vec::new(),
        },
        HostDifference::Removed { host: "b".into() },
        HostDifference::Added { host: "c".into() },
    ];
    assert_eq!((found.hosts.as_slice(), cut), (&expected[..], false));
}

#[test]
fn dropping_everything_spares_the_administrators() {
    let entry = Entry {
        text: "10.0.3.0/24".into(),
        origin: origin(),
        source: Source::Prefixes(u32::list(&[Prefix::containing(u32::nth(3), 24)])),
    };
    let generation = drop_everything(vec![entry], origin()).unwrap();
    let image = write(&generation, &placement(&[])).unwrap();
    let image = Image::new(image.as_slice());
    assert_eq!(image.host_v4(image.options(), 1), Some(0));
    assert_eq!(image.host_v6(image.options(), 1.into()), Some(0));
    let host = image.host(0);
    assert!(host.all_ports() && !host.default_passes() && !host.audit());
    assert!(!image.options().audit_unreadable);
    assert_eq!(
        u32::leaf(&generation, u32::nth(3)),
        Some(Leaf::new(Class::AlwaysAllow, 0))
    );
    assert_eq!(u32::leaf(&generation, u32::nth(4)), None);
}

fn placement(interfaces: &[(&str, u32)]) -> Placement {
    Placement {
        number: 7,
        hash: Hash([9; 32]),
        slot: 1,
        engine: Engine::Compiled,
        cpus: 2,
        interfaces: interfaces
            .iter()
            .map(|(name, number)| ((*name).into(), *number))
            .collect(),
    }
}

/// 256 hosts with these addresses, dealt out in turn.
fn addressed(v4: &[u32], v6: &[u128]) -> Generation {
    let ranges: Vec<_> = (0..16)
        .map(|range| (range * 1000, range * 1000 + range))
        .collect();
    let hosts = (0..256usize).map(|number| Host {
        name: format!("h{number}").into(),
        addresses_v4: v4.iter().skip(number).step_by(256).copied().collect(),
        addresses_v6: v6.iter().skip(number).step_by(256).copied().collect(),
        ports: Ports::Ranges(ranges.clone()),
        default: Effect::Drop,
        mode: Mode::Enforce,
        first_rule: u32::try_from(number).unwrap(),
        default_ordinal: 0,
        tables: vec![u16::try_from(number).unwrap()],
    });
    Generation {
        hosts: hosts.collect(),
        ..Generation::default()
    }
}

/// Whether each address, and no address beside it, is found in the image, at its host.
fn assert_found(what: &str, v4: &[u32], v6: &[u128]) {
    let words = write(&addressed(v4, v6), &placement(&[])).expect(what);
    let image = Image::new(words.as_slice());
    let options = image.options();
    let (known_v4, known_v6): (BTreeSet<_>, BTreeSet<_>) =
        (v4.iter().collect(), v6.iter().collect());
    for (number, address) in v4.iter().enumerate() {
        let host = u16::try_from(number % 256).unwrap();
        assert_eq!(image.host_v4(options, *address), Some(host), "{what}");
        // Looking beside some is enough: a search that ends wrong ends wrong for most.
        if number % 61 != 0 {
            continue;
        }
        for bit in 0..32 {
            let beside = address ^ 1 << bit;
            assert!(
                known_v4.contains(&beside) || image.host_v4(options, beside).is_none(),
                "{what}"
            );
        }
    }
    for (number, address) in v6.iter().enumerate() {
        let host = u16::try_from(number % 256).unwrap();
        assert_eq!(
            image.host_v6(options, (*address).into()),
            Some(host),
            "{what}"
        );
        // Looking beside some is enough: a search that ends wrong ends wrong for most.
        if number % 61 != 0 {
            continue;
        }
        for bit in 0..128 {
            let beside = address ^ 1 << bit;
            assert!(
                known_v6.contains(&beside) || image.host_v6(options, beside.into()).is_none(),
                "{what}"
            );
        }
    }
}

/// As many addresses as there may be, `stride` apart.
fn strided(stride: u8) -> (Vec<u32>, Vec<u128>) {
    let v4 =
        (0..4096u32).map(|number| 0x0a00_0001_u32.wrapping_add(number.rotate_left(stride.into())));
    let v6 =
        (0..4096u128).map(|number| (0x2001_0db8_u128 << 96 | 1).wrapping_add(number << stride));
    (v4.collect(), v6.collect())
}

#[test]
fn every_address_is_found_whatever_they_have_in_common() {
    for stride in 0..=20 {
        let (v4, _) = strided(stride);
        assert_found(&format!("IPv4, {stride} low bits in common"), &v4, &[]);
    }
    for stride in 0..=116 {
        let (_, v6) = strided(stride);
        assert_found(&format!("IPv6, {stride} low bits in common"), &[], &v6);
    }
}

#[test]
fn every_port_range_and_table_is_found() {
    let (v4, v6) = strided(0);
    let words = write(&addressed(&v4, &v6), &placement(&[])).unwrap();
    let image = Image::new(words.as_slice());
    let options = image.options();
    assert_eq!((options.hosts, options.slot), (256, 1));
    assert!(options.claims.is_empty());
    for host in 0..256u16 {
        let record = image.host(host);
        assert_eq!(record.first_rule(), u32::from(host));
        assert_eq!(image.table(host, record, || 0), host);
        for range in 0..16 {
            let (first, last) = (range * 1000, range * 1000 + range);
            assert!(
                image.protects_port(host, record, first) && image.protects_port(host, record, last)
            );
            assert!(!image.protects_port(host, record, last + 1));
        }
        assert!(!image.protects_port(host, record, u16::MAX));
    }
}

/// Claims of each interface with each VLAN, each leading to a zone of its own.
fn claiming(interfaces: &[u32], vlans: &[u16]) -> (Generation, Placement) {
    let names: Vec<Arc<str>> = interfaces
        .iter()
        .map(|number| format!("eth{number}").into())
        .collect();
    let pairs = names
        .iter()
        .flat_map(|name| vlans.iter().map(move |vlan| (name, vlan)));
    let ingresses = pairs.zip(1..).map(|((name, vlan), zone)| Ingress {
        interface: Some(Arc::clone(name)),
        vlan: Some(*vlan),
        zone,
    });
    let generation = Generation {
        ingresses: ingresses.collect(),
        ..addressed(&[1], &[])
    };
    let placement = Placement {
        interfaces: names.into_iter().zip(interfaces.iter().copied()).collect(),
        ..placement(&[])
    };
    (generation, placement)
}

/// Whether each claim, and none beside them, is found in the image.
fn assert_claims_found(what: &str, interfaces: &[u32], vlans: &[u16]) {
    let (generation, placement) = claiming(interfaces, vlans);
    let words = write(&generation, &placement).expect(what);
    let image = Image::new(words.as_slice());
    let claims = image.options().claims;
    let mut zone = 0;
    for interface in interfaces {
        for vlan in vlans {
            zone += 1;
            assert_eq!(image.zone(claims, || *interface, *vlan), zone, "{what}");
        }
        for beside in [0, vlans[vlans.len() - 1] + 1] {
            assert_eq!(image.zone(claims, || *interface, beside), 0, "{what}");
        }
    }
    let beside = interfaces[interfaces.len() - 1] + 1;
    assert_eq!(image.zone(claims, || beside, vlans[0]), 0, "{what}");
}

#[test]
fn every_claim_is_found() {
    for (interfaces, vlans) in [(1, 2048), (2048, 1), (32, 64), (64, 32), (4, 512)] {
        let interfaces: Vec<u32> = (2..).take(interfaces).collect();
        let vlans: Vec<u16> = (1..=vlans).collect();
        let what = format!("{} x {}", interfaces.len(), vlans.len());
        assert_claims_found(&what, &interfaces, &vlans);
    }
}

/// Counts from which grids are made: of interfaces and VLANs, and of networks and hosts in each.
const SIDES: [u16; 11] = [1, 2, 3, 5, 8, 12, 14, 16, 20, 22, 32];

fn grids() -> impl Iterator<Item = (u16, u16)> {
    SIDES
        .into_iter()
        .flat_map(|side| SIDES.map(|other| (side, other)))
}

#[test]
fn claims_in_grids_are_found() {
    for (interfaces, vlans) in grids() {
        for (step, vlan_step) in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2), (2, 3)] {
            let what = format!("{interfaces} by {step}, {vlans} by {vlan_step}");
            let interfaces: Vec<u32> = (3..).step_by(step).take(interfaces.into()).collect();
            let vlans: Vec<u16> = (1..).step_by(vlan_step).take(vlans.into()).collect();
            assert_claims_found(&what, &interfaces, &vlans);
        }
    }
}

#[test]
fn addresses_in_grids_are_found() {
    for (nets, hosts) in grids() {
        let grid = || (0..nets).flat_map(|net| (1..=hosts).map(move |host| (net, host)));
        let v4: Vec<u32> = grid()
            .map(|(net, host)| 0x0a00_0000 + u32::from(net) * 256 + u32::from(host))
            .collect();
        for net_bit in [16, 64, 80] {
            let v6: Vec<u128> = grid()
                .map(|(net, host)| {
                    0x2001_0db8 << 96 | u128::from(net) << net_bit | u128::from(host)
                })
                .collect();
            let what = format!("{nets} x {hosts}, networks from bit {net_bit}");
            assert_found(&what, &v4, &v6);
        }
    }
}

#[test]
fn addresses_that_are_equal_folded_are_found() {
    // Each half is the other's number turned around: XORed they are all the same.
    let v6: Vec<u128> = (1..=64_u64)
        .map(|number| u128::from(number << 32) << 64 | u128::from(number))
        .collect();
    assert_found("folded", &[], &v6);
}

#[test]
fn a_zone_is_told_by_the_kinds_of_claims_that_there_are() {
    let claims = [
        (None, Some(7)),
        (Some("eth0"), None),
        (Some("eth0"), Some(8)),
    ];
    for kinds in 0..1 << claims.len() {
        // Zones count from 1.
        let zone_of = |zone: u16| zone * (kinds >> (zone - 1) & 1);
        let ingresses = claims.into_iter().zip(1..);
        let generation = Generation {
            ingresses: ingresses
                .filter(|(_, zone)| zone_of(*zone) != 0)
                .map(|((interface, vlan), zone)| Ingress {
                    interface: interface.map(Into::into),
                    vlan,
                    zone,
                })
                .collect(),
            ..addressed(&[1], &[])
        };
        let words = write(&generation, &placement(&[("eth0", 2)])).unwrap();
        let image = Image::new(words.as_slice());
        let zone = |interface, vlan| image.zone(image.options().claims, || interface, vlan);
        let [by_vlan, by_interface, by_both] = [1, 2, 3].map(zone_of);
        let first = |zones: [u16; 2]| zones.into_iter().find(|zone| *zone != 0).unwrap_or(0);
        assert_eq!([zone(3, 0), zone(3, 7), zone(3, 8)], [0, by_vlan, 0]);
        assert_eq!(zone(2, 0), by_interface);
        assert_eq!(zone(2, 7), first([by_interface, by_vlan]));
        assert_eq!(zone(2, 8), first([by_both, by_interface]));
    }
}

#[test]
fn each_zone_has_its_table() {
    for tables in [[5, 5, 5], [5, 5, 6], [5, 6, 5], [6, 5, 5]] {
        let mut generation = addressed(&[1], &[]);
        generation.hosts[1].tables = tables.to_vec();
        let words = write(&generation, &placement(&[])).unwrap();
        let image = Image::new(words.as_slice());
        let found = [0, 1, 2].map(|zone| image.table(1, image.host(1), || zone));
        assert_eq!(found, tables);
    }
}

#[test]
fn more_claims_than_fit_are_refused() {
    let vlans: Vec<u16> = (1..=2049).collect();
    let (generation, placement) = claiming(&[2], &vlans);
    assert_eq!(write(&generation, &placement), Err(ImageError::Claims));
}

#[test]
fn a_claim_on_a_member_wins_over_its_bond() {
    let ingress = |interface: Option<&str>, vlan, zone| Ingress {
        interface: interface.map(Into::into),
        vlan,
        zone,
    };
    let generation = Generation {
        ingresses: vec![
            ingress(None, Some(7), 1),
            ingress(Some("bond0"), Some(7), 2),
            ingress(Some("bond0"), None, 3),
            ingress(Some("eth0"), None, 4),
        ],
        ..addressed(&[1], &[])
    };
    // Two members, of which one has a claim of its own.
    let placement = placement(&[("eth0", 2), ("eth1", 3), ("bond0", 2), ("bond0", 3)]);
    let words = write(&generation, &placement).unwrap();
    let image = Image::new(words.as_slice());
    let zone = |interface, vlan| image.zone(image.options().claims, || interface, vlan);
    assert_eq!([zone(2, 0), zone(3, 0)], [4, 3]);
    assert_eq!([zone(2, 7), zone(3, 7), zone(4, 7)], [2, 2, 1]);
    assert_eq!([zone(2, 8), zone(3, 8), zone(4, 8)], [4, 3, 0]);
}
