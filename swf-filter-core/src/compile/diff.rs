//! What would change between two generations.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use swf_filter_common::abi::Leaf;

use super::{Generation, Host, List, Row, Zone};
use crate::policy::{Effect, Mode, Ports};
use crate::prefix::{Address, Prefix};

/// What differs between two generations, host by host. Hosts that do not differ are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Hosts, by name.
    pub hosts: Vec<HostDifference>,
}

/// What differs about a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum HostDifference {
    /// The host is new.
    Added {
        /// Its name.
        host: Arc<str>,
    },
    /// The host is gone: nothing of it is protected any more.
    Removed {
        /// Its name.
        host: Arc<str>,
    },
    /// The host stays.
    Changed {
        /// Its name.
        host: Arc<str>,
        /// What differs besides prefixes, in words.
        settings: Vec<String>,
        /// Prefixes, by zone.
        prefixes: Vec<TableDifference>,
    },
}

/// One prefix that differs in one zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDifference {
    /// The zone's name.
    pub zone: Arc<str>,
    /// The prefix.
    pub prefix: IpNetwork,
    /// What decides it before, if anything does.
    pub before: Option<Side>,
    /// What decides it after, if anything does.
    pub after: Option<Side>,
}

/// What decides a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The list.
    pub list: List,
    /// The entry.
    pub rule: Arc<str>,
}

/// Compares two generations. Stops after `most` prefixes; the flag says whether it did.
#[must_use]
pub fn difference(before: &Generation, after: &Generation, most: usize) -> (Difference, bool) {
    let mut comparison = Comparison {
        before,
        after,
        left: most,
        cut: false,
    };
    let mut names: BTreeMap<&Arc<str>, (Option<&Host>, Option<&Host>)> = BTreeMap::new();
    for host in &before.hosts {
        names.entry(&host.name).or_default().0 = Some(host);
    }
    for host in &after.hosts {
        names.entry(&host.name).or_default().1 = Some(host);
    }
    let hosts = names
        .into_iter()
        .filter_map(|(name, sides)| match sides {
            (Some(old), Some(new)) => comparison.host(old, new),
            (None, Some(_)) => Some(HostDifference::Added {
                host: Arc::clone(name),
            }),
            (Some(_), None) => Some(HostDifference::Removed {
                host: Arc::clone(name),
            }),
            (None, None) => None,
        })
        .collect();
    (Difference { hosts }, comparison.cut)
}

struct Comparison<'a> {
    before: &'a Generation,
    after: &'a Generation,
    left: usize,
    cut: bool,
}

impl Comparison<'_> {
    fn host(&mut self, old: &Host, new: &Host) -> Option<HostDifference> {
        let settings = settings(old, new);
        let mut prefixes = Vec::new();
        for (zone, old_table, new_table) in self.zones(old, new) {
            let old_table = old_table.and_then(|table| self.before.tables.get(usize::from(table)));
            let new_table = new_table.and_then(|table| self.after.tables.get(usize::from(table)));
            let v4 = (
                old_table.map_or(&[][..], |table| &table.v4),
                new_table.map_or(&[][..], |table| &table.v4),
            );
            let v6 = (
                old_table.map_or(&[][..], |table| &table.v6),
                new_table.map_or(&[][..], |table| &table.v6),
            );
            self.rows((old, v4.0), (new, v4.1), &zone, &mut prefixes);
            self.rows((old, v6.0), (new, v6.1), &zone, &mut prefixes);
        }
        (!settings.is_empty() || !prefixes.is_empty()).then(|| HostDifference::Changed {
            host: Arc::clone(&new.name),
            settings,
            prefixes,
        })
    }

    /// Zones of either side by name, with their tables.
    fn zones(&self, old: &Host, new: &Host) -> Vec<(Arc<str>, Option<u16>, Option<u16>)> {
        // A VPC may be called `public`, so the name alone is not enough.
        let key = |zone: &Zone| (zone.name(), zone.public);
        let mut zones: BTreeMap<_, (Option<u16>, Option<u16>)> = BTreeMap::new();
        for (zone, table) in self.before.zones.iter().zip(&old.tables) {
            zones.entry(key(zone)).or_default().0 = Some(*table);
        }
        for (zone, table) in self.after.zones.iter().zip(&new.tables) {
            zones.entry(key(zone)).or_default().1 = Some(*table);
        }
        zones
            .into_iter()
            .map(|((name, _), (old, new))| (name.into(), old, new))
            .collect()
    }

    fn rows<A: Address>(
        &mut self,
        (old_host, mut old): (&Host, &[Row<A>]),
        (new_host, mut new): (&Host, &[Row<A>]),
        zone: &Arc<str>,
        found: &mut Vec<TableDifference>,
    ) where
        IpNetwork: From<Prefix<A>>,
    {
        loop {
            let (before, after) = match (old.split_first(), new.split_first()) {
                (None, None) => return,
                (Some((row, rest)), None) => {
                    old = rest;
                    (Some(row), None)
                }
                (None, Some((row, rest))) => {
                    new = rest;
                    (None, Some(row))
                }
                (Some((a, a_rest)), Some((b, b_rest))) => match a.prefix.cmp(&b.prefix) {
                    Ordering::Less => {
                        old = a_rest;
                        (Some(a), None)
                    }
                    Ordering::Greater => {
                        new = b_rest;
                        (None, Some(b))
                    }
                    Ordering::Equal => {
                        (old, new) = (a_rest, b_rest);
                        (Some(a), Some(b))
                    }
                },
            };
            let Some(prefix) = before.or(after).map(|row| row.prefix) else {
                return;
            };
            let before = before.and_then(|row| side(self.before, old_host, row.leaf()));
            let after = after.and_then(|row| side(self.after, new_host, row.leaf()));
            if before == after {
                continue;
            }
            if self.left == 0 {
                self.cut = true;
                return;
            }
            self.left -= 1;
            found.push(TableDifference {
                zone: Arc::clone(zone),
                prefix: prefix.into(),
                before,
                after,
            });
        }
    }
}

fn side(generation: &Generation, host: &Host, leaf: Leaf) -> Option<Side> {
    let rule = generation.rule(host.first_rule + leaf.ordinal())?;
    Some(Side {
        list: rule.list,
        rule: Arc::clone(&rule.text),
    })
}

fn settings(old: &Host, new: &Host) -> Vec<String> {
    let mut words = Vec::new();
    if (&old.addresses_v4, &old.addresses_v6) != (&new.addresses_v4, &new.addresses_v6) {
        let count = |host: &Host| host.addresses_v4.len() + host.addresses_v6.len();
        words.push(format!(
            "addresses: {} before, {} after, not the same",
            count(old),
            count(new)
        ));
    }
    if old.ports != new.ports {
        words.push(format!(
            "ports: {} -> {}",
            ports(&old.ports),
            ports(&new.ports)
        ));
    }
    if old.default != new.default {
        words.push(format!(
            "default: {} -> {}",
            effect(old.default),
            effect(new.default)
        ));
    }
    if old.mode != new.mode {
        words.push(format!("mode: {} -> {}", mode(old.mode), mode(new.mode)));
    }
    words
}

fn ports(ports: &Ports) -> String {
    match ports {
        Ports::All => "all".to_owned(),
        Ports::Ranges(ranges) => {
            let words: Vec<_> = ranges
                .iter()
                .map(|(first, last)| {
                    if first == last {
                        first.to_string()
                    } else {
                        format!("{first}-{last}")
                    }
                })
                .collect();
            words.join(" ")
        }
    }
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Pass => "pass",
        Effect::Drop => "drop",
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Audit => "audit",
        Mode::Enforce => "enforce",
    }
}
