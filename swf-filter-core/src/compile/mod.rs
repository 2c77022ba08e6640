//! Compiles a policy into a [`Generation`]: everything the packet gate needs, and what explains it.
//!
//! Compiling is a function: the same policy gives the same generation, byte for byte, whatever the machine. What depends on
//! the machine (interface numbers, CPUs, which slot of the kernel's maps is free) comes in later, in [`image`].

mod diff;
pub(crate) mod documents;
pub mod forest;
pub mod image;
mod lookup;
mod paint;
#[cfg(test)]
mod tests;
mod turn;
mod zone;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swf_filter_common::abi::{Class, Leaf};

pub use self::diff::{Difference, HostDifference, Side, TableDifference, difference};
pub use self::forest::Forest;
pub use self::lookup::Tables;
pub use self::paint::Row;
pub use self::turn::{Turn, turns};
pub use self::zone::{Ingress, Zone};
use crate::admission::Lists;
use crate::iam;
use crate::policy::limits::{self, Limit};
use crate::policy::{self, Effect, Entry, Mode, Origin, Policy, Ports, Source};
use crate::prefix::PrefixList;

/// A compiled policy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Generation {
    /// Protected hosts.
    pub hosts: Vec<Host>,
    /// Zones; the first is the public one.
    pub zones: Vec<Zone>,
    /// The ways into the zones.
    pub ingresses: Vec<Ingress>,
    /// Rules, in the order of their counters.
    pub rules: Vec<Rule>,
    /// Source tables; hosts and zones that judge alike share one.
    pub tables: Vec<Table>,
    /// Whether the first host stands for every destination.
    pub catch_all: bool,
}

/// What a generation means, as a number: equal hashes are equal verdicts, rules and counters.
///
/// Where a rule was written is left out, so that a new comment in a policy file is no new generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

/// A compiled host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    /// How it is called in reports.
    pub name: Arc<str>,
    /// Protected IPv4 addresses.
    pub addresses_v4: Vec<u32>,
    /// Protected IPv6 addresses.
    pub addresses_v6: Vec<u128>,
    /// Protected ports.
    pub ports: Ports,
    /// What happens to a source that nothing matches.
    pub default: Effect,
    /// Whether drops are carried out.
    pub mode: Mode,
    /// Number of its first rule; the default is its last.
    pub first_rule: u32,
    /// Which of its rules, counted from its first, is the default.
    pub default_ordinal: u32,
    /// For each zone, the table that judges its sources.
    pub tables: Vec<u16>,
}

/// One entry of a list, or a host's default: what is counted and named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The host, as an index.
    pub host: u16,
    /// The list it stands in.
    pub list: List,
    /// As it was written.
    pub text: Arc<str>,
    /// Where it stands.
    pub origin: Origin,
}

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum List {
    /// The host's allow list.
    Allow,
    /// The administrator's list in config.toml.
    AlwaysAllow,
    /// The host's audit list.
    Audit,
    /// The host's default.
    Default,
    /// The host's deny list.
    Deny,
    /// A statement of a policy document.
    Statement,
    /// The host's trusted proxies.
    TrustedProxies,
    /// What no statement of the host's policy documents allows.
    Unmatched,
}

impl List {
    /// As it is written in policy files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::AlwaysAllow => "always_allow",
            Self::Audit => "audit",
            Self::Default => "default",
            Self::Deny => "deny",
            Self::Statement => "statement",
            Self::TrustedProxies => "trusted_proxies",
            Self::Unmatched => "unmatched",
        }
    }
}

/// A source table: the longest match in it is the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// IPv4 prefixes, ascending.
    pub v4: Vec<Row<u32>>,
    /// IPv6 prefixes, ascending.
    pub v6: Vec<Row<u128>>,
}

/// A policy that reads well but does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {} {limit}", limit.value())]
pub struct TooLarge {
    /// What there is too much of.
    pub limit: Limit,
}

/// Compiles a policy.
pub fn compile(policy: &Policy) -> Result<Generation, TooLarge> {
    let (zones, ingresses) = zone::zones(policy)?;
    let members: Vec<Members<'_>> = zones.iter().map(members).collect();
    let mut compiler = Compiler {
        policy,
        tables: Vec::new(),
        known: HashMap::new(),
        prefixes: 0,
    };
    let mut rules = Vec::new();
    let mut hosts = Vec::with_capacity(policy.hosts.len());
    for (number, host) in (0u16..).zip(&policy.hosts) {
        let listed = listed(policy, host);
        let first_rule = fit(rules.len(), Limit::Rules)?;
        let gate = documents::Gate::new(policy, host);
        let statements = gate
            .as_ref()
            .map(|gate| statement_rules(number, host, gate));
        let statements = statements.unwrap_or_default();
        let verdicts = gate.as_ref().map(|gate| gate.verdicts(&zones));
        let audited = Audited::of(host);
        let everywhere = everywhere(&listed, audited);
        let default_ordinal = fit(listed.len() + statements.len(), Limit::Rules)?;
        let tables = members
            .iter()
            .enumerate()
            .map(|(zone, members)| {
                let verdicts = verdicts.as_deref().and_then(|all| all.get(zone));
                let judged = gate.as_ref().zip(verdicts);
                let judged =
                    judged.map(|(gate, verdicts)| judged_rows(host, gate, verdicts, listed.len()));
                compiler.table(
                    &listed,
                    &everywhere,
                    &judged.unwrap_or_default(),
                    members,
                    audited,
                )
            })
            .collect::<Result<_, _>>()?;
        rules.extend(listed.iter().map(|(list, entry)| Rule {
            host: number,
            list: *list,
            text: Arc::clone(&entry.text),
            origin: entry.origin.clone(),
        }));
        rules.extend(statements);
        rules.push(default_rule(number, host));
        hosts.push(Host {
            name: Arc::clone(&host.name),
            addresses_v4: host
                .addresses
                .v4
                .iter()
                .map(|prefix| prefix.first())
                .collect(),
            addresses_v6: host
                .addresses
                .v6
                .iter()
                .map(|prefix| prefix.first())
                .collect(),
            ports: host.ports.clone(),
            default: host.default,
            mode: host.mode,
            first_rule,
            default_ordinal,
            tables,
        });
    }
    if hosts.len() > limits::HOSTS {
        return Err(TooLarge {
            limit: Limit::Hosts,
        });
    }
    if rules.len() > limits::RULES {
        return Err(TooLarge {
            limit: Limit::Rules,
        });
    }
    Ok(Generation {
        hosts,
        zones,
        ingresses,
        rules,
        tables: compiler.tables,
        catch_all: false,
    })
}

/// The generation that protects every address from everybody but the administrators: what `on_boot_failure = "drop"` means.
pub fn drop_everything(always_allow: Vec<Entry>, origin: Origin) -> Result<Generation, TooLarge> {
    let host = policy::Host {
        name: "(every address)".into(),
        origin,
        addresses: PrefixList::default(),
        ports: Ports::All,
        default: Effect::Drop,
        mode: Mode::Enforce,
        allow: Vec::new(),
        audit: Vec::new(),
        deny: Vec::new(),
        documents: None,
        trusted_proxies: Vec::new(),
        lists: Lists::default(),
    };
    let policy = Policy {
        hosts: vec![host],
        always_allow,
        ..Policy::default()
    };
    Ok(Generation {
        catch_all: true,
        ..compile(&policy)?
    })
}

/// All that a host's table is made of, in the order of its rules.
fn listed<'a>(policy: &'a Policy, host: &'a policy::Host) -> Vec<(List, &'a Entry)> {
    let always = policy
        .always_allow
        .iter()
        .map(|entry| (List::AlwaysAllow, entry));
    let proxies = host
        .trusted_proxies
        .iter()
        .map(|entry| (List::TrustedProxies, entry));
    let deny = host.deny.iter().map(|entry| (List::Deny, entry));
    let audit = host.audit.iter().map(|entry| (List::Audit, entry));
    let allow = host.allow.iter().map(|entry| (List::Allow, entry));
    always
        .chain(proxies)
        .chain(deny)
        .chain(audit)
        .chain(allow)
        .collect()
}

/// What documents decide, as rows of a table: whose rule, how strong, and which sources.
type Judged = Vec<(usize, Class, PrefixList)>;

/// The rules of a host's documents: one for each statement, and one for what none of them allows.
fn statement_rules(number: u16, host: &policy::Host, gate: &documents::Gate<'_>) -> Vec<Rule> {
    let rule = |list, text, origin: &Origin| Rule {
        host: number,
        list,
        text,
        origin: origin.clone(),
    };
    let statements = gate.statements().iter().map(|attached| {
        let statement = attached.statement;
        let text = match &statement.sid {
            Some(sid) => Arc::clone(sid),
            None => format!("statement {}", attached.number).into(),
        };
        rule(List::Statement, text, &statement.origin)
    });
    let origin = host
        .documents
        .as_ref()
        .map_or(&host.origin, |documents| &documents.origin);
    let unmatched = rule(
        List::Unmatched,
        "no document allows a request from there".into(),
        origin,
    );
    statements.chain([unmatched]).collect()
}

/// The rows that documents make, of which the rules start at `first`.
///
/// A host without an `allow` list passes what the documents pass. With one, a packet must get through both, so documents
/// only take away.
fn judged_rows(
    host: &policy::Host,
    gate: &documents::Gate<'_>,
    verdicts: &documents::Verdicts,
    first: usize,
) -> Judged {
    let mut judged: Judged = vec![(
        first + gate.statements().len(),
        Class::Deny,
        verdicts.unmatched.prefixes(),
    )];
    for (index, set) in &verdicts.by_statement {
        let effect = gate
            .statements()
            .get(*index)
            .map(|attached| attached.statement.effect);
        match effect {
            Some(iam::Effect::Allow) if !host.allow.is_empty() => {}
            Some(iam::Effect::Allow) => judged.push((first + index, Class::Allow, set.prefixes())),
            Some(iam::Effect::Deny) => judged.push((first + index, Class::Deny, set.prefixes())),
            None => {}
        }
    }
    judged
}

fn default_rule(number: u16, host: &policy::Host) -> Rule {
    let text = match host.default {
        Effect::Pass => "default = \"pass\"",
        Effect::Drop => "default = \"drop\"",
    };
    Rule {
        host: number,
        list: List::Default,
        text: text.into(),
        origin: host.origin.clone(),
    }
}

fn fit(number: usize, limit: Limit) -> Result<u32, TooLarge> {
    u32::try_from(number)
        .ok()
        .filter(|number| *number <= Leaf::MAX_ORDINAL)
        .ok_or(TooLarge { limit })
}

/// The ids of a zone's members, of which there may be many.
type Members<'a> = HashSet<&'a str>;

fn members(zone: &Zone) -> Members<'_> {
    zone.vpcs.iter().map(|id| &**id).collect()
}

/// Which sources an audit list is about: those that pass without it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audited {
    /// Those that something allows, since others drop by default.
    Allowed,
    /// All that are not denied. Also where there is no audit list, so that tables are shared whatever the default.
    Any,
}

impl Audited {
    fn of(host: &policy::Host) -> Self {
        match host.default {
            Effect::Drop if !host.audit.is_empty() => Self::Allowed,
            Effect::Drop | Effect::Pass => Self::Any,
        }
    }
}

/// Makes tables, each only once.
struct Compiler<'a> {
    policy: &'a Policy,
    tables: Vec<Table>,
    known: HashMap<[u8; 32], u16>,
    prefixes: usize,
}

impl Compiler<'_> {
    fn table(
        &mut self,
        listed: &[(List, &Entry)],
        everywhere: &Everywhere,
        judged: &Judged,
        members: &Members<'_>,
        audited: Audited,
    ) -> Result<u16, TooLarge> {
        let key = self.key(everywhere, judged, members);
        if let Some(number) = self.known.get(&key) {
            return Ok(*number);
        }
        let table = self.paint(listed, judged, members, audited)?;
        self.prefixes += table.v4.len() + table.v6.len();
        if table.v4.len().max(table.v6.len()) > limits::PREFIXES {
            return Err(TooLarge {
                limit: Limit::Prefixes,
            });
        }
        if self.prefixes > limits::ALL_PREFIXES {
            return Err(TooLarge {
                limit: Limit::AllPrefixes,
            });
        }
        let number = u16::try_from(self.tables.len()).map_err(|_| TooLarge {
            limit: Limit::Zones,
        })?;
        self.tables.push(table);
        self.known.insert(key, number);
        Ok(number)
    }

    /// What a table depends on: which sources stand at which place of which list. Two hosts with equal lists have equal keys.
    fn key(&self, everywhere: &Everywhere, judged: &Judged, members: &Members<'_>) -> [u8; 32] {
        let mut hasher = everywhere.hasher.clone();
        for (ordinal, list, vpc) in &everywhere.vpcs {
            if self.is_member(members, *vpc) {
                hasher
                    .update(&ordinal.to_le_bytes())
                    .update(&[*list as u8])
                    .update(b"vpc")
                    .update(&vpc.to_le_bytes());
            }
        }
        for (ordinal, class, prefixes) in judged {
            hasher.update(&ordinal.to_le_bytes());
            hasher.update(&[*class as u8]);
            hash_prefixes(&mut hasher, prefixes);
        }
        hasher.finalize().into()
    }

    fn paint(
        &self,
        listed: &[(List, &Entry)],
        judged: &Judged,
        members: &Members<'_>,
        audited: Audited,
    ) -> Result<Table, TooLarge> {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for (ordinal, (list, entry)) in listed.iter().enumerate() {
            if !self.matches_in(members, &entry.source) {
                continue;
            }
            let leaf = Leaf::new(class(*list), fit(ordinal, Limit::Rules)?);
            let prefixes = self.prefixes_of(&entry.source);
            v4.extend(prefixes.v4.iter().map(|prefix| Row::new(*prefix, leaf)));
            v6.extend(prefixes.v6.iter().map(|prefix| Row::new(*prefix, leaf)));
        }
        for (ordinal, class, prefixes) in judged {
            let leaf = Leaf::new(*class, fit(*ordinal, Limit::Rules)?);
            v4.extend(prefixes.v4.iter().map(|prefix| Row::new(*prefix, leaf)));
            v6.extend(prefixes.v6.iter().map(|prefix| Row::new(*prefix, leaf)));
        }
        if audited == Audited::Allowed {
            paint::confine(&mut v4);
            paint::confine(&mut v6);
        }
        paint::paint(&mut v4);
        paint::paint(&mut v6);
        Ok(Table { v4, v6 })
    }

    fn matches_in(&self, members: &Members<'_>, source: &Source) -> bool {
        match source {
            Source::Prefixes(_) | Source::Set(_) => true,
            Source::Vpc(vpc) => self.is_member(members, *vpc),
        }
    }

    fn is_member(&self, members: &Members<'_>, vpc: usize) -> bool {
        let vpc = self.policy.vpcs.get(vpc);
        vpc.is_some_and(|vpc| members.contains(&*vpc.id))
    }

    fn prefixes_of<'b>(&'b self, source: &'b Source) -> &'b PrefixList {
        static NONE: PrefixList = PrefixList {
            v4: Vec::new(),
            v6: Vec::new(),
        };
        match source {
            Source::Prefixes(prefixes) => prefixes,
            // INVARIANT: the parser links every reference, so an index always finds its set or VPC.
            Source::Set(set) => self
                .policy
                .sets
                .get(*set)
                .map_or(&NONE, |set| &set.prefixes),
            Source::Vpc(vpc) => self.policy.vpcs.get(*vpc).map_or(&NONE, |vpc| &vpc.cidrs),
        }
    }
}

/// What the tables of a host in all zones have in common, so that a long list is read once and not for each zone.
struct Everywhere {
    /// What does not depend on the zone.
    hasher: blake3::Hasher,
    /// The entries that match in some zones: the place of each, its list and its VPC.
    vpcs: Vec<(usize, List, usize)>,
}

fn everywhere(listed: &[(List, &Entry)], audited: Audited) -> Everywhere {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[audited as u8]);
    let mut vpcs = Vec::new();
    for (ordinal, (list, entry)) in listed.iter().enumerate() {
        if let Source::Vpc(vpc) = &entry.source {
            vpcs.push((ordinal, *list, *vpc));
            continue;
        }
        hasher.update(&ordinal.to_le_bytes()).update(&[*list as u8]);
        match &entry.source {
            Source::Prefixes(prefixes) => hash_prefixes(&mut hasher, prefixes),
            Source::Set(set) => {
                hasher.update(b"set").update(&set.to_le_bytes());
            }
            Source::Vpc(_) => {}
        }
    }
    Everywhere { hasher, vpcs }
}

fn hash_prefixes(hasher: &mut blake3::Hasher, prefixes: &PrefixList) {
    // Lengths keep neighbours apart.
    hasher
        .update(b"prefixes")
        .update(&prefixes.v4.len().to_le_bytes())
        .update(&prefixes.v6.len().to_le_bytes());
    for prefix in &prefixes.v4 {
        hasher
            .update(&[prefix.length()])
            .update(&prefix.first().to_le_bytes());
    }
    for prefix in &prefixes.v6 {
        hasher
            .update(&[prefix.length()])
            .update(&prefix.first().to_le_bytes());
    }
}

fn class(list: List) -> Class {
    match list {
        List::AlwaysAllow | List::TrustedProxies => Class::AlwaysAllow,
        List::Audit => Class::Audit,
        List::Deny | List::Unmatched => Class::Deny,
        List::Allow | List::Default | List::Statement => Class::Allow,
    }
}

impl Generation {
    /// What this generation means, as a number.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            // Lengths keep neighbouring parts apart.
            hasher.update(&bytes.len().to_le_bytes()).update(bytes);
        };
        part(&[u8::from(self.catch_all)]);
        // Counts keep hosts, zones and rules apart.
        for count in [
            self.hosts.len(),
            self.zones.len(),
            self.ingresses.len(),
            self.rules.len(),
        ] {
            part(&count.to_le_bytes());
        }
        for host in &self.hosts {
            part(host.name.as_bytes());
            part(
                &host
                    .addresses_v4
                    .iter()
                    .flat_map(|address| address.to_le_bytes())
                    .collect::<Vec<_>>(),
            );
            part(
                &host
                    .addresses_v6
                    .iter()
                    .flat_map(|address| address.to_le_bytes())
                    .collect::<Vec<_>>(),
            );
            part(&host.first_rule.to_le_bytes());
            part(&host.default_ordinal.to_le_bytes());
            part(&[host.default as u8, host.mode as u8]);
            part(
                &host
                    .tables
                    .iter()
                    .flat_map(|table| table.to_le_bytes())
                    .collect::<Vec<_>>(),
            );
            match &host.ports {
                Ports::All => part(b"all"),
                Ports::Ranges(ranges) => part(
                    &ranges
                        .iter()
                        .flat_map(|(first, last)| {
                            [first.to_le_bytes(), last.to_le_bytes()].concat()
                        })
                        .collect::<Vec<_>>(),
                ),
            }
        }
        for zone in &self.zones {
            // A VPC may be called `public`.
            part(&[u8::from(zone.public)]);
            part(zone.name().as_bytes());
        }
        for ingress in &self.ingresses {
            part(ingress.interface.as_deref().unwrap_or_default().as_bytes());
            part(
                &[
                    ingress.vlan.unwrap_or_default().to_le_bytes(),
                    ingress.zone.to_le_bytes(),
                ]
                .concat(),
            );
        }
        for rule in &self.rules {
            part(&[rule.list as u8]);
            part(rule.text.as_bytes());
        }
        for table in &self.tables {
            part(&paint::bytes(&table.v4));
            part(&paint::bytes(&table.v6));
        }
        Hash(hasher.finalize().into())
    }

    /// Number of prefixes in all tables.
    #[must_use]
    pub fn prefixes(&self) -> usize {
        self.tables
            .iter()
            .map(|table| table.v4.len() + table.v6.len())
            .sum()
    }

    /// The rule with this counter number.
    #[must_use]
    pub fn rule(&self, number: u32) -> Option<&Rule> {
        self.rules.get(usize::try_from(number).ok()?)
    }

    /// The host of a rule.
    #[must_use]
    pub fn host_of(&self, rule: &Rule) -> Option<&Host> {
        self.hosts.get(usize::from(rule.host))
    }
}
