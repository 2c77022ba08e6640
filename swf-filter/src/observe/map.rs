//! A generation as a map: from which zone which host can be reached.
//!
//! It is made once for each generation, since tables may have millions of prefixes, and says no more of a table than can be read
//! at a glance: whether all, some or no sources get through, and by which rules.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::Serialize;
use swf_filter_common::abi::Leaf;
use swf_filter_core::compile::{Generation, Host, Ingress, Row, Table};
use swf_filter_core::policy::{Effect, Mode, Ports};

use crate::control::api::RuleVerdict;
use crate::verdicts::verdicts;

/// Rules that a cell names at most.
const MOST_RULES: usize = 12;
/// Addresses that a host names at most.
const MOST_ADDRESSES: usize = 8;

/// Hosts, zones, and what may reach what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Map {
    /// The zones, the public one first.
    pub(crate) zones: Vec<MapZone>,
    /// The hosts.
    pub(crate) hosts: Vec<MapHost>,
    /// What hosts refer to.
    pub(crate) cells: Vec<Cell>,
    /// What each rule does.
    #[serde(skip)]
    pub(crate) verdicts: Arc<[RuleVerdict]>,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MapZone {
    name: String,
    /// Where its packets come in.
    ways: Vec<String>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MapHost {
    name: Arc<str>,
    addresses: Vec<String>,
    more_addresses: usize,
    ports: String,
    mode: &'static str,
    /// For each zone, the index of its cell.
    pub(crate) cells: Vec<usize>,
}

/// What of a zone reaches a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cell {
    pub(crate) reach: Reach,
    /// Prefixes that pass.
    passes: usize,
    /// Prefixes that drop.
    drops: usize,
    pub(crate) rules: Vec<MapRule>,
    more_rules: usize,
}

/// How much gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reach {
    /// Every source.
    All,
    /// Every source but some.
    AllBut,
    /// Administrators and trusted proxies.
    Always,
    /// No source.
    None,
    /// Some sources.
    Some,
}

/// A rule of a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MapRule {
    list: &'static str,
    pub(crate) rule: Arc<str>,
    verdict: RuleVerdict,
}

impl Map {
    /// The map of a generation.
    pub(crate) fn new(generation: &Generation) -> Self {
        let mut map = Self {
            zones: zones(generation),
            verdicts: verdicts(generation),
            ..Self::default()
        };
        for host in &generation.hosts {
            // Zones that judge alike share a table, and so a cell.
            let mut known: HashMap<u16, usize> = HashMap::new();
            let cells = host.tables.iter().map(|table| {
                *known.entry(*table).or_insert_with(|| {
                    let table = generation.tables.get(usize::from(*table));
                    let cell = map.cell(generation, host, table);
                    map.cells.push(cell);
                    map.cells.len() - 1
                })
            });
            let cells = cells.collect();
            let v4 = host.addresses_v4.iter().copied().map(Ipv4Addr::from);
            let v6 = host.addresses_v6.iter().copied().map(Ipv6Addr::from);
            let all = v4
                .map(|ip| ip.to_string())
                .chain(v6.map(|ip| ip.to_string()));
            let count = host.addresses_v4.len() + host.addresses_v6.len();
            map.hosts.push(MapHost {
                name: Arc::clone(&host.name),
                addresses: all.take(MOST_ADDRESSES).collect(),
                more_addresses: count.saturating_sub(MOST_ADDRESSES),
                ports: ports(&host.ports),
                mode: mode(host),
                cells,
            });
        }
        map
    }

    fn cell(&self, generation: &Generation, host: &Host, table: Option<&Table>) -> Cell {
        let v4 = table.into_iter().flat_map(|table| &table.v4);
        let v6 = table.into_iter().flat_map(|table| &table.v6);
        let leaves = v4.map(Row::leaf).chain(v6.map(Row::leaf));
        let mut counts = [0; 4];
        let mut rules = BTreeSet::new();
        for leaf in leaves {
            if let Some(count) = counts.get_mut(leaf.class() as usize) {
                *count += 1;
            }
            rules.insert(number(host, leaf));
        }
        let [allow, audit, deny, always] = counts;
        let reach = match (host.default, allow + audit, deny, always) {
            (Effect::Pass, _, 0, _) => Reach::All,
            (Effect::Pass, ..) => Reach::AllBut,
            (Effect::Drop, 0, _, 0) => Reach::None,
            (Effect::Drop, 0, _, _) => Reach::Always,
            (Effect::Drop, ..) => Reach::Some,
        };
        let named = rules.iter().filter_map(|number| {
            let rule = generation.rule(*number)?;
            let verdict = self.verdicts.get(usize::try_from(*number).ok()?)?;
            Some(MapRule {
                list: rule.list.name(),
                rule: Arc::clone(&rule.text),
                verdict: *verdict,
            })
        });
        Cell {
            reach,
            passes: allow + audit + always,
            drops: deny,
            rules: named.take(MOST_RULES).collect(),
            more_rules: rules.len().saturating_sub(MOST_RULES),
        }
    }
}

/// The number of the rule that a leaf is for.
fn number(host: &Host, leaf: Leaf) -> u32 {
    host.first_rule.saturating_add(leaf.ordinal())
}

/// How a host's drops are meant.
pub(crate) fn mode(host: &Host) -> &'static str {
    match host.mode {
        Mode::Audit => "audit",
        Mode::Enforce => "enforce",
    }
}

fn zones(generation: &Generation) -> Vec<MapZone> {
    let zones = (0..).zip(&generation.zones);
    zones
        .map(|(number, zone): (u16, _)| MapZone {
            name: zone.name(),
            ways: generation
                .ingresses
                .iter()
                .filter(|ingress| ingress.zone == number)
                .map(way)
                .collect(),
        })
        .collect()
}

fn way(ingress: &Ingress) -> String {
    match (&ingress.interface, ingress.vlan) {
        (Some(interface), Some(vlan)) => format!("{interface}, VLAN {vlan}"),
        (Some(interface), None) => interface.to_string(),
        (None, Some(vlan)) => format!("VLAN {vlan}"),
        (None, None) => "anywhere".to_owned(),
    }
}

fn ports(ports: &Ports) -> String {
    let Ports::Ranges(ranges) = ports else {
        return "all".to_owned();
    };
    let mut text = String::new();
    for (first, last) in ranges {
        let separator = if text.is_empty() { "" } else { ", " };
        text.push_str(separator);
        text.push_str(&first.to_string());
        if first != last {
            text.push('-');
            text.push_str(&last.to_string());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use swf_filter_core::compile::compile;
    use swf_filter_core::policy::{SourceFile, parse, parse_always_allow};
    use toml::Spanned;

    use super::*;

    fn source(text: &str) -> SourceFile {
        SourceFile {
            name: "10.toml".into(),
            bytes: text.as_bytes().into(),
        }
    }

    fn generation(text: &str, always_allow: bool) -> Generation {
        let mut no_set = |_: &Path| Err(io::ErrorKind::NotFound.into());
        let mut policy = parse(&[source(text)], &mut no_set).unwrap();
        if always_allow {
            let entry = Spanned::new(0..11, "192.0.2.254".to_owned());
            policy.always_allow = parse_always_allow(&source("192.0.2.254"), &[entry]).unwrap();
        }
        compile(&policy).unwrap()
    }

    fn host(number: u8, rest: &str) -> String {
        format!("[[host]]\nname = \"h{number}\"\naddresses = [\"198.51.100.{number}\"]\n{rest}\n")
    }

    #[test]
    fn a_cell_says_how_much_gets_through() {
        let text = [
            "version = 1\n".to_owned(),
            host(1, "allow = [\"203.0.113.0/24\", \"vpc:vpc-1\"]\ndeny = [\"203.0.113.66\"]"),
            host(2, "allow = [\"vpc:vpc-1\"]"),
            host(3, "default = \"pass\""),
            host(4, "default = \"pass\"\ndeny = [\"203.0.113.66\"]\nmode = \"audit\""),
            "[[vpc]]\nid = \"vpc-1\"\ncidrs = [\"10.0.0.0/8\"]\ninterfaces = [\"eth1\"]\nvlans = [7]\n".to_owned(),
        ]
        .concat();
        let reach = |always_allow| {
            let generation = generation(&text, always_allow);
            let map = Map::new(&generation);
            let zones: Vec<_> = map.zones.iter().map(|zone| zone.name.clone()).collect();
            assert_eq!(zones, ["public", "vpc-1"]);
            assert_eq!(map.zones[1].ways, ["eth1, VLAN 7"]);
            let hosts = map.hosts.iter();
            let cells =
                hosts.map(|host| [0, 1].map(|zone: usize| map.cells[host.cells[zone]].reach));
            cells.collect::<Vec<_>>()
        };
        let open = [[Reach::All, Reach::All], [Reach::AllBut, Reach::AllBut]];
        let closed = [[Reach::Some, Reach::Some], [Reach::None, Reach::Some]];
        assert_eq!(reach(false), [closed, open].concat());
        let administrators = [[Reach::Some, Reach::Some], [Reach::Always, Reach::Some]];
        assert_eq!(reach(true), [administrators, open].concat());
    }

    #[test]
    fn a_cell_says_what_its_rules_do() {
        let lists = "allow = [\"10.0.0.0/8\"]\naudit = [\"10.0.0.2\"]\ndeny = [\"10.0.0.1\"]";
        let text = ["version = 1\n".to_owned(), host(1, lists)];
        let map = Map::new(&generation(&text.concat(), true));
        let cell = &map.cells[0];
        let rules = cell.rules.iter();
        let mut found: Vec<_> = rules.map(|rule| (rule.list, rule.verdict)).collect();
        found.sort_by_key(|(list, _)| *list);
        assert_eq!(
            found,
            [
                ("allow", RuleVerdict::Pass),
                ("always_allow", RuleVerdict::Pass),
                ("audit", RuleVerdict::WouldDrop),
                ("deny", RuleVerdict::Drop),
            ]
        );
        assert_eq!((cell.passes, cell.drops, cell.more_rules), (3, 1, 0));
        assert_eq!(map.hosts[0].ports, "443");
    }

    #[test]
    fn a_policy_of_many_rules_is_named_in_part() {
        let entries: Vec<String> = (0..100)
            .map(|number| format!("\"10.0.{number}.0/24\""))
            .collect();
        let text = format!(
            "version = 1\n{}",
            host(1, &format!("allow = [{}]", entries.join(", ")))
        );
        let map = Map::new(&generation(&text, false));
        let cell = &map.cells[0];
        assert_eq!(
            (cell.rules.len(), cell.more_rules),
            (MOST_RULES, 100 - MOST_RULES)
        );
    }
}
