use std::io;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::policy::{parse, parse_always_allow};
use crate::prefix::Prefix;

const HOST: &str = "[[host]]\nname = \"h\"\naddresses = [\"198.51.100.1\", \"2001:db8::1\"]\n";

fn file(text: &str) -> SourceFile {
    SourceFile {
        name: "a.toml".into(),
        bytes: format!("version = 1\n{text}").as_bytes().into(),
    }
}

fn policy(file: &SourceFile, always_allow: &[&str]) -> Policy {
    let no_file = &mut |_: &Path| Err(io::ErrorKind::NotFound.into());
    let mut policy = parse(std::slice::from_ref(file), no_file).unwrap();
    let config = SourceFile {
        name: "config.toml".into(),
        bytes: [].into(),
    };
    let spanned = |text: &&str| toml::Spanned::new(0..0, (*text).to_owned());
    let list: Vec<_> = always_allow.iter().map(spanned).collect();
    policy.always_allow = parse_always_allow(&config, &list).unwrap();
    policy
}

fn found(text: &str, always_allow: &[&str]) -> Vec<Problem> {
    let file = file(text);
    lint(&policy(&file, always_allow), std::slice::from_ref(&file)).list
}

/// Severity and message of each doubt about `text`.
fn doubts(text: &str, always_allow: &[&str]) -> Vec<String> {
    let problems = found(text, always_allow);
    let words = |problem: &Problem| format!("{}: {}", problem.severity(), problem.kind);
    problems.iter().map(words).collect()
}

/// The same about a host with these lists.
fn host_doubts(lists: &str) -> Vec<String> {
    doubts(&format!("{HOST}{lists}\n"), &[])
}

const NONE: [&str; 0] = [];

#[test]
fn allow_entries_inside_deny_pass_nobody() {
    let lists = "allow = [\"192.0.2.0/28\", \"10.0.0.0/8\"]\ndeny = [\"192.0.2.0/24\"]";
    assert_eq!(
        host_doubts(lists),
        [
            "warning: allow entry `192.0.2.0/28` passes nobody: it is covered by `192.0.2.0/24` in `deny`"
        ]
    );
    let apart = "allow = [\"192.0.2.0/28\"]\ndeny = [\"192.0.3.0/24\"]\ndefault = \"drop\"";
    assert!(
        !host_doubts(apart)
            .iter()
            .any(|doubt| doubt.contains("nobody"))
    );
}

#[test]
fn audit_entries_that_report_nobody_are_told() {
    let allow = "allow = [\"192.0.2.0/24\"]\n";
    let audit = |list: &str| host_doubts(&format!("{allow}audit = [{list}]"));
    assert_eq!(
        audit("\"198.51.100.0/24\""),
        [
            "warning: audit entry `198.51.100.0/24` reports nobody: host `h` drops by default what it matches"
        ]
    );
    assert_eq!(audit("\"192.0.2.0/28\""), NONE);
    assert_eq!(audit("\"0.0.0.0/0\""), NONE);
    let passes = host_doubts("default = \"pass\"\naudit = [\"198.51.100.0/24\"]");
    assert_eq!(passes, NONE);
    let denied = audit("\"192.0.2.0/28\"]\ndeny = [\"192.0.2.0/25\"");
    assert!(
        denied.contains(&"warning: audit entry `192.0.2.0/28` reports nobody: it is covered by `192.0.2.0/25` in `deny`".to_owned()),
        "{denied:?}"
    );
}

#[test]
fn several_entries_together_cover_a_range() {
    let lists = "allow = [\"192.0.2.3-192.0.2.4\", \"10.0.0.0/8\"]\ndeny = [\"192.0.2.0/30\", \"192.0.2.4\"]";
    assert_eq!(
        host_doubts(lists),
        [
            "warning: allow entry `192.0.2.3-192.0.2.4` passes nobody: it is covered by `192.0.2.0/30` and others in `deny`"
        ]
    );
    let gap = "allow = [\"192.0.2.3-192.0.2.5\"]\ndeny = [\"192.0.2.0/30\", \"192.0.2.4\"]";
    assert!(
        !host_doubts(gap)
            .iter()
            .any(|doubt| doubt.contains("nobody"))
    );
}

#[test]
fn an_overlap_is_advice_with_both_places() {
    let text =
        format!("{HOST}allow = [\"192.0.2.0/24\", \"10.0.0.0/8\"]\ndeny = [\"192.0.2.66\"]\n");
    let problems = found(&text, &[]);
    let [problem] = &*problems else {
        panic!("{problems:?}")
    };
    assert_eq!(
        problem.to_string(),
        "a.toml:5:10: advice: allow entry `192.0.2.0/24` and deny entry `192.0.2.66` overlap (denied at a.toml:6:9)"
    );
    assert_eq!(problem.at.span.len(), "\"192.0.2.0/24\"".len());
    assert!(problem.help().unwrap().contains("deny wins"));
}

#[test]
fn a_set_denied_in_part_overlaps() {
    let set = "[[set]]\nname = \"s\"\ncidrs = [\"192.0.2.0/28\", \"203.0.113.0/24\"]\n";
    let text = format!("{HOST}allow = [\"set:s\"]\ndeny = [\"192.0.2.0/24\"]\n{set}");
    assert_eq!(
        doubts(&text, &[]),
        ["advice: allow entry `set:s` and deny entry `192.0.2.0/24` overlap"]
    );
}

#[test]
fn a_host_that_passes_by_default_may_deny_anything() {
    assert_eq!(
        host_doubts("default = \"pass\"\ndeny = [\"10.0.0.0/8\"]"),
        NONE
    );
    assert_eq!(
        host_doubts("default = \"pass\"\nallow = [\"192.0.2.1\", \"192.0.2.2\"]"),
        ["advice: `allow` of host `h` changes nothing: its default is to pass"]
    );
}

#[test]
fn entries_of_one_list_that_cover_each_other_are_named() {
    assert_eq!(
        host_doubts("allow = [\"10.1.0.0/16\", \"10.0.0.0/8\"]"),
        ["advice: allow entry `10.1.0.0/16` changes nothing: it is covered by `10.0.0.0/8`"]
    );
    assert_eq!(
        host_doubts("allow = [\"10.1.0.0/16\", \"10.2.0.0/16\", \"2001:db8::/32\"]"),
        NONE
    );
}

#[test]
fn only_the_second_of_two_equal_entries_is_named() {
    let text = format!("{HOST}allow = [\"192.0.2.7\", \"10.0.0.0/8\", \"192.0.2.7/32\"]\n");
    let problems = found(&text, &[]);
    let words: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "a.toml:5:37: warning: allow entry `192.0.2.7/32` repeats `192.0.2.7` (first written at a.toml:5:10)"
        ]
    );
}

#[test]
fn an_entry_before_the_set_that_has_it_is_named() {
    let set = "[[set]]\nname = \"s\"\ncidrs = [\"192.0.2.1\", \"192.0.2.9\"]\n";
    assert_eq!(
        doubts(
            &format!("{HOST}allow = [\"192.0.2.1\", \"set:s\"]\n{set}"),
            &[]
        ),
        ["advice: allow entry `192.0.2.1` changes nothing: it is covered by `set:s`"]
    );
}

#[test]
fn a_set_may_hold_what_it_covers_itself() {
    let set = "[[set]]\nname = \"s\"\ncidrs = [\"10.0.0.0/8\", \"10.1.0.0/16\", \"10.0.0.0/8\"]\n";
    assert_eq!(
        doubts(&format!("{HOST}allow = [\"set:s\"]\n{set}"), &[]),
        NONE
    );
    assert_eq!(
        doubts(
            &format!("{HOST}allow = [\"set:s\", \"10.1.2.3\"]\n{set}"),
            &[]
        ),
        ["advice: allow entry `10.1.2.3` changes nothing: it is covered by `set:s`"]
    );
}

#[test]
fn deny_entries_apart_from_allow_are_idle_where_the_default_drops() {
    let lists = "allow = [\"192.0.2.0/24\"]\ndeny = [\"198.18.0.0/15\"]";
    assert_eq!(
        host_doubts(lists),
        ["advice: deny entry `198.18.0.0/15` drops only what the default of host `h` drops anyway"]
    );
    assert_eq!(
        host_doubts(&format!("{lists}\ndefault = \"pass\"")).len(),
        1
    );
    assert!(host_doubts(&format!("{lists}\ndefault = \"pass\""))[0].contains("`allow` of host"));
}

#[test]
fn deny_entries_inside_always_allow_drop_nobody() {
    let text = format!("{HOST}allow = [\"10.0.0.0/8\"]\ndeny = [\"10.9.0.0/30\"]\n");
    assert_eq!(
        doubts(&text, &["10.9.0.0/24"]),
        [
            "advice: allow entry `10.0.0.0/8` and deny entry `10.9.0.0/30` overlap",
            "warning: deny entry `10.9.0.0/30` drops nobody: it is covered by `10.9.0.0/24` in `always_allow`",
        ]
    );
    // One address of the entry can be denied still.
    let part = doubts(&text, &["10.9.0.0-10.9.0.2"]);
    assert_eq!(
        part,
        ["advice: allow entry `10.0.0.0/8` and deny entry `10.9.0.0/30` overlap"]
    );
}

#[test]
fn entries_of_a_family_without_address_match_nothing() {
    let host = "[[host]]\nname = \"h\"\naddresses = [\"198.51.100.1\"]\n";
    assert_eq!(
        doubts(
            &format!("{host}allow = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n"),
            &[]
        ),
        ["warning: allow entry `2001:db8::/32` matches nothing: host `h` has no IPv6 address"]
    );
    let set = "[[set]]\nname = \"s\"\ncidrs = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n";
    assert_eq!(
        doubts(&format!("{host}allow = [\"set:s\"]\n{set}"), &[]),
        NONE
    );
}

#[test]
fn a_host_that_lets_nobody_in_is_unreachable() {
    let unreachable = "warning: nothing can reach host `h`".to_owned();
    for lists in [
        "",
        "deny = [\"10.0.0.0/8\"]",
        "allow = [\"10.0.0.0/8\"]\ndeny = [\"10.0.0.0/7\"]",
        "default = \"pass\"\ndeny = [\"0.0.0.0/0\", \"::/0\"]",
    ] {
        assert!(host_doubts(lists).contains(&unreachable), "{lists}");
        let admin = doubts(&format!("{HOST}{lists}\n"), &["192.0.2.1"]);
        assert!(!admin.contains(&unreachable), "{lists}");
    }
    for lists in [
        "allow = [\"10.0.0.0/8\"]",
        "default = \"pass\"",
        "default = \"pass\"\ndeny = [\"0.0.0.0/0\"]",
        "allow = [\"10.0.0.0/8\", \"12.0.0.0/8\"]\ndeny = [\"10.0.0.0/7\"]",
    ] {
        assert!(!host_doubts(lists).contains(&unreachable), "{lists}");
    }
}

#[test]
fn sets_are_to_be_used_and_to_hold_something() {
    let set =
        "[[set]]\nname = \"s\"\ncidrs = []\n[[set]]\nname = \"t\"\ncidrs = [\"10.0.0.0/8\"]\n";
    let host = format!("{HOST}allow = [\"192.0.2.1\", \"set:s\"]\n");
    assert_eq!(
        doubts(&format!("{set}{host}"), &[]),
        ["warning: set `s` is empty", "warning: set `t` is not used"]
    );
    assert_eq!(
        doubts(&format!("{HOST}allow = [\"set:t\"]\n{}", &set[29..]), &[]),
        NONE
    );
}

#[test]
fn vpcs_are_to_be_used_and_tied_to_something() {
    let vpc = "[[vpc]]\nid = \"v\"\ncidrs = [\"10.0.0.0/8\"]\n";
    let allow = format!("{HOST}allow = [\"192.0.2.1\", \"vpc:v\"]\n");
    let deny = format!("{HOST}allow = [\"10.0.0.0/7\"]\ndeny = [\"vpc:v\"]\n");
    assert_eq!(
        doubts(&format!("{HOST}allow = [\"192.0.2.1\"]\n{vpc}"), &[]),
        ["advice: vpc `v` is not used"]
    );
    assert_eq!(
        doubts(
            &format!("{HOST}allow = [\"192.0.2.1\"]\n{vpc}endpoints = [\"vpce-1\"]\n"),
            &[]
        ),
        NONE
    );
    assert_eq!(
        doubts(&format!("{allow}{vpc}"), &[]),
        ["advice: nothing but the source address tells packets of vpc `v` from others"]
    );
    assert_eq!(doubts(&format!("{allow}{vpc}vlans = [7]\n"), &[]), NONE);
    assert_eq!(
        doubts(&format!("{deny}{vpc}"), &[]),
        ["advice: allow entry `10.0.0.0/7` and deny entry `vpc:v` overlap"]
    );
}

#[test]
fn a_vpc_entry_covers_nothing_outside_its_zones() {
    let vpcs = "[[vpc]]\nid = \"v\"\ncidrs = [\"10.0.0.0/8\"]\nvlans = [7]\n\
                [[vpc]]\nid = \"w\"\ncidrs = [\"10.0.0.0/8\"]\nvlans = [8]\n";
    let with = |lists: &str| doubts(&format!("{HOST}{lists}\n{vpcs}"), &[]);
    // The deny holds in one zone, the allow in all.
    assert_eq!(
        with("allow = [\"10.1.0.0/16\", \"vpc:w\"]\ndeny = [\"vpc:v\"]"),
        ["advice: allow entry `10.1.0.0/16` and deny entry `vpc:v` overlap"]
    );
    // The deny holds in all zones, the allow in one.
    assert_eq!(
        with("allow = [\"vpc:v\", \"vpc:w\", \"192.0.2.1\"]\ndeny = [\"10.0.0.0/8\"]"),
        [
            "warning: allow entry `vpc:v` passes nobody: it is covered by `10.0.0.0/8` in `deny`",
            "warning: allow entry `vpc:w` passes nobody: it is covered by `10.0.0.0/8` in `deny`",
        ]
    );
    // They hold in different zones.
    assert_eq!(
        with("allow = [\"vpc:v\"]\ndeny = [\"vpc:w\"]"),
        ["advice: deny entry `vpc:w` drops only what the default of host `h` drops anyway"]
    );
    assert_eq!(with("allow = [\"vpc:v\", \"vpc:w\"]"), NONE);
    assert_eq!(
        with("allow = [\"vpc:v\", \"10.0.0.0/8\", \"vpc:v\", \"vpc:w\"]"),
        [
            "advice: allow entry `vpc:v` changes nothing: it is covered by `10.0.0.0/8`",
            "warning: allow entry `vpc:v` repeats `10.0.0.0/8`",
            "warning: allow entry `vpc:w` repeats `10.0.0.0/8`",
        ]
    );
}

#[test]
fn a_vlan_that_an_interface_takes_away_is_named() {
    let vpc = |id: &str, cidr: &str, claim: &str| {
        format!("[[vpc]]\nid = \"{id}\"\ncidrs = [\"{cidr}\"]\n{claim}\n")
    };
    let host = format!("{HOST}allow = [\"vpc:v\", \"vpc:w\"]\n");
    let with = |a: String, b: String| doubts(&format!("{host}{a}{b}"), &[]);
    let vlan = vpc("v", "10.0.0.0/8", "vlans = [7]");
    let words = "advice: where a VLAN of vpc `v` comes in on an interface of vpc `w`, it belongs to `w`, and both have 10.1.0.0/16";
    let interface = vpc("w", "10.1.0.0/16", "interfaces = [\"eth1\"]");
    assert_eq!(with(vlan.clone(), interface.clone()), [words]);
    assert_eq!(with(interface, vlan.clone()), [words]);
    for other in [
        vpc("w", "10.1.0.0/16", "vlans = [8]"),
        vpc("w", "10.1.0.0/16", "interfaces = [\"eth1\"]\nvlans = [8]"),
        vpc("w", "12.0.0.0/8", "interfaces = [\"eth1\"]"),
    ] {
        assert_eq!(with(vlan.clone(), other), NONE);
    }
}

#[test]
fn warnings_are_kept_before_advice() {
    let redundant: Vec<_> = (0..100).map(|low| format!("\"10.0.0.{low}\"")).collect();
    let host = format!("{HOST}allow = [\"10.0.0.0/8\", {}]\n", redundant.join(", "));
    let set = "[[set]]\nname = \"s\"\ncidrs = []\n";
    let file = file(&format!("{host}{set}"));
    let problems = lint(&policy(&file, &[]), std::slice::from_ref(&file));
    assert_eq!(problems.list.len(), Problems::KEPT);
    assert_eq!(problems.list.len() + problems.more, 101);
    assert_eq!(
        problems.list.last().unwrap().kind.to_string(),
        "set `s` is empty"
    );
}

#[test]
fn every_doubt_stands_somewhere_and_has_a_way_out() {
    let text = format!(
        "{HOST}allow = [\"set:s\", \"10.1.0.0/16\", \"10.0.0.0/8\", \"vpc:v\"]\ndeny = [\"10.1.2.0/24\", \"192.0.2.1\"]\n\
         [[set]]\nname = \"s\"\ncidrs = []\n\
         [[vpc]]\nid = \"v\"\ncidrs = [\"172.16.0.0/12\"]\n"
    );
    let problems = found(&text, &[]);
    assert!(problems.len() >= 5, "{problems:?}");
    let bytes = file(&text).bytes;
    for problem in problems {
        let stands = str::from_utf8(&bytes[problem.at.span.clone()]).unwrap();
        assert!(stands.starts_with(['"', '[']), "{stands}");
        assert!(problem.help().is_some(), "{problem}");
    }
}

/// Prefixes of a universe of 16 addresses, so that they often nest.
fn small_prefixes() -> impl Strategy<Value = Vec<Prefix<u32>>> {
    let prefix = (0u32..16, 28u8..=32).prop_map(|(low, length)| Prefix::containing(low, length));
    proptest::collection::vec(prefix, 0..5)
}

/// Where an entry holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reach {
    Everywhere,
    /// In the public zone, by a VPC that claims nothing.
    Public,
    /// In the zone of a VPC that no other entry names.
    Own,
}

type SmallEntry = (Vec<Prefix<u32>>, Reach);

fn small_entries() -> impl Strategy<Value = Vec<SmallEntry>> {
    let reach = prop_oneof![
        Just(Reach::Everywhere),
        Just(Reach::Public),
        Just(Reach::Own)
    ];
    proptest::collection::vec((small_prefixes(), reach), 0..5)
}

/// A policy with one host that has these lists.
fn small_policy(deny: &[SmallEntry], allow: &[SmallEntry], always: &SmallEntry) -> Policy {
    let mut policy = policy(&file(HOST), &[]);
    let origin = policy.hosts[0].origin.clone();
    let mut add = |(prefixes, reach): &SmallEntry| {
        let list = PrefixList {
            v4: prefixes.clone(),
            v6: Vec::new(),
        };
        let source = if *reach == Reach::Everywhere {
            Source::Prefixes(list)
        } else {
            let vlan = (*reach == Reach::Own).then_some(7);
            policy.vpcs.push(Vpc {
                id: "v".into(),
                origin: origin.clone(),
                cidrs: list,
                interfaces: Vec::new(),
                vlans: vlan.into_iter().collect(),
                endpoints: Vec::new(),
            });
            Source::Vpc(policy.vpcs.len() - 1)
        };
        Entry {
            text: "entry".into(),
            origin: origin.clone(),
            source,
        }
    };
    let deny = deny.iter().map(&mut add).collect();
    let allow = allow.iter().map(&mut add).collect();
    policy.always_allow = vec![add(always)];
    policy.hosts[0].deny = deny;
    policy.hosts[0].allow = allow;
    policy
}

/// Whether one entry matches in every zone where another does.
fn holds(outer: Reach, inner: Reach) -> bool {
    outer == Reach::Everywhere || (outer, inner) == (Reach::Public, Reach::Public)
}

/// Whether each prefix of `entry` lies in a prefix of one of `others`.
fn is_covered<'a>(entry: &SmallEntry, others: impl IntoIterator<Item = &'a SmallEntry>) -> bool {
    let others: Vec<_> = others.into_iter().collect();
    let covered = |prefix: &Prefix<u32>| {
        others.iter().any(|(prefixes, reach)| {
            holds(*reach, entry.1) && prefixes.iter().any(|outer| outer.covers(*prefix))
        })
    };
    !entry.0.is_empty() && entry.0.iter().all(covered)
}

/// Whether a packet can match both.
fn meet(a: &SmallEntry, b: &SmallEntry) -> bool {
    let has = |prefixes: &[Prefix<u32>], low| prefixes.iter().any(|prefix| prefix.contains(low));
    (holds(a.1, b.1) || holds(b.1, a.1)) && (0..16).any(|low| has(&a.0, low) && has(&b.0, low))
}

proptest! {
    #[test]
    fn relations_are_those_of_a_naive_comparison(
        deny in small_entries(), allow in small_entries(), always in small_prefixes(),
    ) {
        let always = (always, Reach::Everywhere);
        let policy = small_policy(&deny, &allow, &always);
        let relations = relate(&Shapes::new(&policy), &policy.hosts[0]);
        let (of_deny, of_allow) = relations[1..].split_at(deny.len());
        for (entry, relation) in deny.iter().zip(of_deny) {
            prop_assert_eq!(relation.overruled().is_some(), is_covered(entry, [&always]));
            prop_assert_eq!(relation.overlaps.is_some(), allow.iter().any(|other| meet(entry, other)));
        }
        for (entry, relation) in allow.iter().zip(of_allow) {
            prop_assert_eq!(relation.overruled().is_some(), is_covered(entry, &deny));
            prop_assert_eq!(relation.overlaps.is_some(), deny.iter().any(|other| meet(entry, other)));
        }
    }

    #[test]
    fn what_is_covered_can_go_all_at_once(allow in small_entries()) {
        let policy = small_policy(&[], &allow, &(Vec::new(), Reach::Everywhere));
        let relations = relate(&Shapes::new(&policy), &policy.hosts[0]);
        let (kept, gone): (Vec<_>, Vec<_>) =
            allow.iter().zip(&relations[1..]).partition(|(_, relation)| relation.covered().is_none());
        let kept: Vec<_> = kept.into_iter().map(|(entry, _)| entry).filter(|entry| !entry.0.is_empty()).collect();
        for (entry, _) in gone {
            prop_assert!(is_covered(entry, kept.iter().copied()), "{entry:?} is not covered by {kept:?}");
        }
        for (number, entry) in kept.iter().enumerate() {
            for (other_number, other) in kept.iter().enumerate() {
                let covered = number != other_number && is_covered(entry, [*other]);
                prop_assert!(!covered, "{entry:?} is covered by {other:?}");
            }
        }
    }
}
