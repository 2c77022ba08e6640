//! Whose verdict is another after a change: sources that got through and will be dropped, and the other way round.
//!
//! [`difference`](super::difference) compares rows of tables, which nest. This compares what becomes of the addresses in them, so a
//! row that repeats what the one around it says turns nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use swf_filter_common::abi::{Class, Leaf};

use super::{Generation, Host, List, Row, Table, Zone};
use crate::policy::{Effect, Mode};
use crate::prefix::{Address, Prefix};

/// Prefixes that are named of each.
const MOST_NAMED: usize = 8;

/// Sources that one rule decides before, and whose verdict is another after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The host.
    pub host: Arc<str>,
    /// The list of the rule that decides before.
    pub list: List,
    /// That rule, as it was written.
    pub rule: Arc<str>,
    /// Its number in the generation before.
    pub number: u32,
    /// Whether they will be dropped; if not, they will pass.
    pub drops: bool,
    /// Whether they are all that the rule decides.
    pub whole: bool,
    /// The prefixes that they are in, in all zones, without longer ones that are decided otherwise.
    pub prefixes: usize,
    /// Some of these prefixes.
    pub some: Vec<IpNetwork>,
}

/// Compares the verdicts of two generations, for hosts of the one before.
///
/// A zone that is gone counts as part of the public one, and a host that is gone lets everything pass. What another address, another
/// port or another way into a zone changes is not looked at.
#[must_use]
pub fn turns(before: &Generation, after: &Generation) -> Vec<Turn> {
    let mut found = Turns::default();
    for old in &before.hosts {
        let new = after.hosts.iter().find(|host| host.name == old.name);
        for (zone, table) in before.zones.iter().zip(&old.tables) {
            let old_table = table_of(before, Some(*table));
            let new_table = table_of(after, new.and_then(|new| counterpart(after, new, zone)));
            found.family((old, &old_table.v4), (new, &new_table.v4));
            found.family((old, &old_table.v6), (new, &new_table.v6));
        }
    }
    found
        .turned
        .into_iter()
        .filter_map(|((number, drops), places)| {
            let rule = before.rule(number)?;
            Some(Turn {
                host: Arc::clone(&before.host_of(rule)?.name),
                list: rule.list,
                rule: Arc::clone(&rule.text),
                number,
                drops,
                whole: found.all.get(&number) == Some(&places.count),
                prefixes: places.count,
                some: places.some,
            })
        })
        .collect()
}

/// The table of the same zone in another generation, or of its public one.
fn counterpart(generation: &Generation, host: &Host, zone: &Zone) -> Option<u16> {
    let is_same = |other: &Zone| (other.name(), other.public) == (zone.name(), zone.public);
    let same = generation.zones.iter().position(is_same);
    host.tables.get(same.unwrap_or_default()).copied()
}

fn table_of(generation: &Generation, number: Option<u16>) -> &Table {
    const NONE: &Table = &Table {
        v4: Vec::new(),
        v6: Vec::new(),
    };
    number
        .and_then(|number| generation.tables.get(usize::from(number)))
        .unwrap_or(NONE)
}

/// What a host does with sources that a row, or none, decides.
fn drops(host: &Host, leaf: Option<Leaf>) -> bool {
    let is_against = match leaf.map(Leaf::class) {
        Some(class) => class == Class::Deny,
        None => host.default == Effect::Drop,
    };
    is_against && host.mode == Mode::Enforce
}

#[derive(Default)]
struct Turns {
    /// By rule, and whether they will be dropped.
    turned: BTreeMap<(u32, bool), Places>,
    /// How many prefixes each rule decides, turned or not.
    all: BTreeMap<u32, usize>,
}

#[derive(Default)]
struct Places {
    count: usize,
    some: Vec<IpNetwork>,
}

impl Turns {
    /// Walks through the prefixes of both tables, with the rows around each.
    fn family<A: Address>(
        &mut self,
        (old, old_rows): (&Host, &[Row<A>]),
        (new, new_rows): (Option<&Host>, &[Row<A>]),
    ) where
        IpNetwork: From<Prefix<A>>,
    {
        let mut before = Around::new(old_rows);
        let mut after = Around::new(new_rows);
        let mut open: Vec<Region<A>> = Vec::new();
        let mut next = Some(Prefix::containing(A::LAST, 0));
        while let Some(prefix) = next {
            while open
                .last()
                .is_some_and(|region| !region.prefix.covers(prefix))
            {
                self.close(&mut open);
            }
            let old_leaf = before.at(prefix);
            let new_leaf = after.at(prefix);
            let ordinal = old_leaf.map_or(old.default_ordinal, Leaf::ordinal);
            let will = new.is_some_and(|new| drops(new, new_leaf));
            open.push(Region {
                prefix,
                number: old.first_rule.saturating_add(ordinal),
                turn: (drops(old, old_leaf) != will).then_some(will),
                inside: None,
            });
            next = match (before.next(), after.next()) {
                (Some(old), Some(new)) => Some(old.min(new)),
                (old, new) => old.or(new),
            };
        }
        while !open.is_empty() {
            self.close(&mut open);
        }
    }

    /// Counts the innermost region, unless longer prefixes leave nothing of it.
    fn close<A: Address>(&mut self, open: &mut Vec<Region<A>>)
    where
        IpNetwork: From<Prefix<A>>,
    {
        let Some(region) = open.pop() else {
            return;
        };
        let size = size(region.prefix);
        if let Some(outer) = open.last_mut() {
            outer.inside = Some(outer.inside.unwrap_or_default().wrapping_add(size));
        }
        if region.inside == Some(size) {
            return;
        }
        *self.all.entry(region.number).or_default() += 1;
        if let Some(will) = region.turn {
            let places = self.turned.entry((region.number, will)).or_default();
            places.count += 1;
            if places.some.len() < MOST_NAMED {
                places.some.push(region.prefix.into());
            }
        }
    }
}

/// A prefix without the longer ones inside it.
struct Region<A> {
    prefix: Prefix<A>,
    /// The rule that decides it before.
    number: u32,
    /// Whether it will be dropped, if its verdict changes.
    turn: Option<bool>,
    /// How many addresses longer prefixes take, if there are any.
    inside: Option<u128>,
}

/// How many addresses a prefix has. All of IPv6 has one more than fits: zero, which no other prefix has.
fn size<A: Address>(prefix: Prefix<A>) -> u128 {
    let free = u32::from(A::BITS.saturating_sub(prefix.length()));
    1u128.checked_shl(free).unwrap_or_default()
}

/// Rows in their order, with those around the current prefix.
struct Around<'a, A> {
    rows: &'a [Row<A>],
    /// The innermost is the last.
    around: Vec<&'a Row<A>>,
}

impl<'a, A: Address> Around<'a, A> {
    fn new(rows: &'a [Row<A>]) -> Self {
        Self {
            rows,
            around: Vec::new(),
        }
    }

    fn next(&self) -> Option<Prefix<A>> {
        self.rows.first().map(|row| row.prefix)
    }

    /// What decides a prefix, which is no later than the next row's and no earlier than the one that was asked for before.
    fn at(&mut self, prefix: Prefix<A>) -> Option<Leaf> {
        while self
            .around
            .last()
            .is_some_and(|row| !row.prefix.covers(prefix))
        {
            self.around.pop();
        }
        if let Some((row, rest)) = self.rows.split_first()
            && row.prefix == prefix
        {
            self.around.push(row);
            self.rows = rest;
        }
        self.around.last().map(|row| row.leaf())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;
    use swf_filter_common::verdict::Sources;

    use super::super::{Tables, compile};
    use super::*;
    use crate::policy::{SourceFile, parse};

    fn generation(host: &str) -> Generation {
        let text =
            format!("version = 1\n[[host]]\nname = \"a\"\naddresses = [\"198.51.100.1\"]\n{host}");
        let file = SourceFile {
            name: "a.toml".into(),
            bytes: text.as_bytes().into(),
        };
        let policy = parse(&[file], &mut |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        compile(&policy).unwrap()
    }

    /// List, rule, whether dropped after, whether whole, and the first prefix.
    fn found(before: &str, after: &str) -> Vec<(List, String, bool, bool, String)> {
        let turns = turns(&generation(before), &generation(after));
        turns
            .into_iter()
            .map(|turn| {
                let first = turn.some[0].to_string();
                (
                    turn.list,
                    turn.rule.to_string(),
                    turn.drops,
                    turn.whole,
                    first,
                )
            })
            .collect()
    }

    #[test]
    fn what_is_said_otherwise_but_means_the_same_turns_nothing() {
        let one = "allow = [\"10.0.0.0/8\"]\n";
        let two = "allow = [\"10.0.0.0/9\", \"10.128.0.0/9\", \"10.1.0.0/16\"]\n";
        assert_eq!(found(one, two), []);
        assert_eq!(found(two, one), []);
        let halves = "allow = [\"::/1\", \"8000::/1\"]\n";
        assert_eq!(
            found(halves, "default = \"pass\"\n").len(),
            1,
            "only of IPv4"
        );
        assert_eq!(found(halves, "allow = [\"::/0\"]\n"), []);
    }

    #[test]
    fn a_new_deny_turns_a_part_and_a_lost_allow_the_whole() {
        let one = "allow = [\"10.0.0.0/8\"]\n";
        let rule = || "10.0.0.0/8".to_owned();
        assert_eq!(
            found(one, "allow = [\"10.0.0.0/8\"]\ndeny = [\"10.1.0.0/16\"]\n"),
            [(List::Allow, rule(), true, false, "10.1.0.0/16".to_owned())]
        );
        assert_eq!(found(one, ""), [(List::Allow, rule(), true, true, rule())]);
        // The other way round it is a part of what the default drops.
        let back = found("", one);
        assert_eq!(back.len(), 1);
        assert_eq!(
            (back[0].0, back[0].2, back[0].3),
            (List::Default, false, false)
        );
    }

    #[test]
    fn audit_mode_drops_nothing() {
        let audited = "mode = \"audit\"\nallow = [\"10.0.0.0/8\"]\n";
        assert_eq!(found(audited, "mode = \"audit\"\n"), []);
        let enforced = found(audited, "allow = [\"10.0.0.0/8\"]\n");
        assert_eq!(enforced.len(), 1, "what only would be dropped is dropped");
        let (list, _, drops, whole, _) = &enforced[0];
        assert_eq!((*list, *drops, *whole), (List::Default, true, true));
    }

    #[test]
    fn a_host_that_is_gone_lets_everything_pass() {
        let turned = turns(
            &generation("deny = [\"10.0.0.0/8\"]\n"),
            &Generation::default(),
        );
        assert_eq!(turned.len(), 2);
        assert!(turned.iter().all(|turn| !turn.drops && turn.whole));
    }

    proptest! {
        /// Wherever a verdict is another, a turn says so, and there is none without such a place.
        #[test]
        fn turns_are_where_verdicts_differ(before in lists(), after in lists()) {
            let (before, after) = (generation(&before), generation(&after));
            let named = turns(&before, &after);
            let all_are_named = named.iter().all(|turn| turn.prefixes <= MOST_NAMED);
            let verdict = |generation: &Generation, source| {
                let host = &generation.hosts[0];
                drops(host, Tables(generation).leaf_v4(0, host.tables[0], source))
            };
            let mut differing = false;
            // The lists are within one /24, and one address stands for all others.
            for source in (0u32..1 << 8).map(|low| 10 << 24 | low).chain([1 << 24]) {
                if verdict(&before, source) == verdict(&after, source) {
                    continue;
                }
                differing = true;
                let address = IpAddr::from(source.to_be_bytes());
                let is_named = named
                    .iter()
                    .flat_map(|turn| &turn.some)
                    .any(|prefix| prefix.contains(address));
                prop_assert!(is_named || !all_are_named, "{address} is not in {named:?}");
            }
            prop_assert_eq!(differing, !named.is_empty());
        }
    }

    fn lists() -> impl Strategy<Value = String> {
        let prefix = (24u8..=32, 0u32..1 << 8).prop_map(|(length, low)| {
            let prefix = Prefix::containing(10 << 24 | low, length);
            format!("\"{prefix}\"")
        });
        let list = || proptest::collection::vec(prefix.clone(), 0..4);
        (list(), list()).prop_map(|(allow, deny)| {
            format!(
                "allow = [{}]\ndeny = [{}]\n",
                allow.join(", "),
                deny.join(", ")
            )
        })
    }
}
