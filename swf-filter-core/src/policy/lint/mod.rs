//! What is doubtful about a policy that is accepted.
//!
//! `docs/policy.md` lists the doubts. None of them changes what a policy means.

mod documents;
mod kind;
mod relations;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

pub use self::kind::{Cover, Extent, Family, Lint, List, Shut, Without};
use self::relations::{Number, Relation, Shapes, listed, relate, weight};
use super::limits::ALL_PREFIXES;
use super::parse::overlaps;
use super::{
    Effect, Entry, Host, Origin, Policy, Problem, Problems, Severity, Source, SourceFile,
    SourceIndex, Vpc,
};
use crate::prefix::PrefixList;

/// Finds what is doubtful about `policy`, which was read from `files`.
///
/// If there is more than [`Problems`] keeps, warnings are kept before advice.
#[must_use]
pub fn lint(policy: &Policy, files: &[SourceFile]) -> Problems {
    let mut findings = Findings::new(files);
    let uses = Uses::of(policy);
    lint_sets(policy, &uses, &mut findings);
    lint_vpcs(policy, &uses, &mut findings);
    lint_hosts(policy, &mut findings);
    documents::lint(policy, &mut findings);
    findings.into_problems(files)
}

/// What was found so far.
struct Findings<'a> {
    indexes: Vec<SourceIndex<'a>>,
    warnings: Problems,
    advice: Problems,
    /// Apart, because overlaps are what deny lists are for: these make room for all others.
    overlaps: Problems,
}

impl<'a> Findings<'a> {
    fn new(files: &'a [SourceFile]) -> Self {
        Self {
            indexes: files.iter().map(SourceIndex::new).collect(),
            warnings: Problems::default(),
            advice: Problems::default(),
            overlaps: Problems::default(),
        }
    }

    /// Adds a finding. Its second place is left out if it is not in a policy file.
    fn add(&mut self, lint: Lint, at: &Origin, other: Option<&Origin>) {
        let find = |origin: &Origin| {
            let index = self
                .indexes
                .iter()
                .find(|index| *index.name() == origin.file)?;
            Some(index.find(origin))
        };
        let into = match (&lint, lint.severity()) {
            (Lint::Overlap { .. }, _) => &mut self.overlaps,
            (_, Severity::Advice) => &mut self.advice,
            _ => &mut self.warnings,
        };
        if into.list.len() == Problems::KEPT {
            into.more += 1;
        } else if let Some(at) = find(at) {
            let problem = Problem::new(lint, at);
            into.list.push(Problem {
                other: other.and_then(find),
                ..problem
            });
        }
    }

    fn into_problems(self, files: &[SourceFile]) -> Problems {
        let mut all = self.warnings;
        for later in [self.advice, self.overlaps] {
            all.more += later.more;
            for problem in later.list {
                all.add(|| problem);
            }
        }
        all.sort(files);
        all
    }
}

/// Which sets and VPCs are named, each by the first entry that does.
struct Uses<'a> {
    sets: Vec<Option<&'a Entry>>,
    /// By deny lists, too.
    vpcs: Vec<Option<&'a Entry>>,
    allowed_vpcs: Vec<Option<&'a Entry>>,
}

impl<'a> Uses<'a> {
    fn of(policy: &'a Policy) -> Self {
        let mut uses = Self {
            sets: vec![None; policy.sets.len()],
            vpcs: vec![None; policy.vpcs.len()],
            allowed_vpcs: vec![None; policy.vpcs.len()],
        };
        for host in &policy.hosts {
            for entry in host.allow.iter().chain(&host.audit).chain(&host.deny) {
                match entry.source {
                    Source::Prefixes(_) => {}
                    Source::Set(set) => name(&mut uses.sets, set, entry),
                    Source::Vpc(vpc) => name(&mut uses.vpcs, vpc, entry),
                }
            }
            for entry in &host.allow {
                if let Source::Vpc(vpc) = entry.source {
                    name(&mut uses.allowed_vpcs, vpc, entry);
                }
            }
        }
        uses
    }
}

fn name<'a>(uses: &mut [Option<&'a Entry>], index: usize, by: &'a Entry) {
    if let Some(first) = uses.get_mut(index) {
        first.get_or_insert(by);
    }
}

fn lint_sets(policy: &Policy, uses: &Uses<'_>, findings: &mut Findings<'_>) {
    for (set, namer) in policy.sets.iter().zip(&uses.sets) {
        let name = Arc::clone(&set.name);
        if set.prefixes.is_empty() {
            findings.add(Lint::EmptySet { name }, &set.origin, None);
        } else if namer.is_none() {
            findings.add(Lint::UnusedSet { name }, &set.origin, None);
        }
    }
}

fn lint_vpcs(policy: &Policy, uses: &Uses<'_>, findings: &mut Findings<'_>) {
    let namers = uses.vpcs.iter().zip(&uses.allowed_vpcs);
    for (vpc, (any, allowed)) in policy.vpcs.iter().zip(namers) {
        let id = Arc::clone(&vpc.id);
        if any.is_none() && vpc.endpoints.is_empty() {
            findings.add(Lint::UnusedVpc { id }, &vpc.origin, None);
        } else if let Some(entry) = allowed.filter(|_| vpc.is_public()) {
            findings.add(Lint::UntiedVpc { id }, &entry.origin, Some(&vpc.origin));
        }
    }
    lint_half_claims(&policy.vpcs, findings);
}

/// Finds pairs of VPCs of which one gets packets that look like the other's.
fn lint_half_claims(vpcs: &[Vpc], findings: &mut Findings<'_>) {
    let half_claiming = |vpc: &Vpc| vpc.interfaces.is_empty() != vpc.vlans.is_empty();
    overlaps(vpcs, half_claiming, |a, b, cidr| {
        let (Some(a), Some(b)) = (vpcs.get(a), vpcs.get(b)) else {
            return;
        };
        let (vlan, interface) = if a.interfaces.is_empty() {
            (a, b)
        } else {
            (b, a)
        };
        if vlan.interfaces.is_empty() && interface.vlans.is_empty() {
            let lint = Lint::InterfaceFirst {
                vlan: Arc::clone(&vlan.id),
                interface: Arc::clone(&interface.id),
                cidr,
            };
            findings.add(lint, &vlan.origin, Some(&interface.origin));
        }
    });
}

fn lint_hosts(policy: &Policy, findings: &mut Findings<'_>) {
    let shapes = Shapes::new(policy);
    // Hosts with equal lists are compiled to one table, and are looked into once likewise.
    let mut known: HashMap<Lists<'_>, Vec<Relation>> = HashMap::new();
    // A policy with more than this is refused when it is compiled.
    let mut left = ALL_PREFIXES;
    for host in &policy.hosts {
        let lists = lists(host);
        if let Some(relations) = known.get(&lists) {
            lint_host(policy, host, relations, findings);
            continue;
        }
        let weight = weight(policy, host);
        if weight > left {
            continue;
        }
        left -= weight;
        let relations = relate(&shapes, host);
        lint_host(policy, host, &relations, findings);
        known.insert(lists, relations);
    }
}

/// What the lists of a host hold.
type Lists<'a> = [Vec<&'a Source>; 3];

fn lists(host: &Host) -> Lists<'_> {
    let lists = [&host.allow, &host.audit, &host.deny];
    lists.map(|list| list.iter().map(|entry| &entry.source).collect())
}

fn lint_host(policy: &Policy, host: &Host, relations: &[Relation], findings: &mut Findings<'_>) {
    let mut lists = HostLint {
        policy,
        host,
        entries: listed(policy, host).collect(),
        passing: 0,
    };
    for ((list, entry), relation) in listed(policy, host).zip(relations) {
        if let Some((lint, other)) = lists.entry(list, entry, relation) {
            findings.add(lint, &entry.origin, other.map(|other| &other.origin));
        }
    }
    if lists.is_unreachable() {
        let name = Arc::clone(&host.name);
        findings.add(Lint::Unreachable { name }, &host.origin, None);
    }
    if let Some(first) = host.allow.first().filter(|_| host.default == Effect::Pass) {
        let host = Arc::clone(&host.name);
        findings.add(Lint::IdleAllow { host }, &first.origin, None);
    }
}

/// The entries that decide about a host.
struct HostLint<'a> {
    policy: &'a Policy,
    host: &'a Host,
    /// By number.
    entries: Vec<(List, &'a Entry)>,
    /// How many allow entries let anybody pass.
    passing: usize,
}

impl<'a> HostLint<'a> {
    /// What is doubtful about an entry, the worst of it, and the other entry that has to do with it.
    fn entry(
        &mut self,
        list: List,
        entry: &'a Entry,
        relation: &Relation,
    ) -> Option<(Lint, Option<&'a Entry>)> {
        if list == List::AlwaysAllow || relation.is_empty() {
            return None;
        }
        if let Some(family) = self.other_family(entry) {
            let doubt = Lint::OtherFamily {
                list,
                entry: Arc::clone(&entry.text),
                host: Arc::clone(&self.host.name),
                family,
            };
            return Some((doubt, None));
        }
        let text = Arc::clone(&entry.text);
        if let Some((by, other)) = self.cover(relation.overruled()) {
            let doubt = match list {
                List::Audit => Lint::Muted { entry: text, by },
                List::Deny => Lint::Exempt { entry: text, by },
                _ => Lint::Shadowed { entry: text, by },
            };
            return Some((doubt, Some(other)));
        }
        self.passing += usize::from(list == List::Allow);
        if let Some((by, other)) = self.cover(relation.covered()) {
            let entry = text;
            let doubt = if relation.is_repeated() {
                Lint::Repeated { list, entry, by }
            } else {
                Lint::Redundant { list, entry, by }
            };
            return Some((doubt, Some(other)));
        }
        self.overlap(list, entry, relation)
    }

    fn overlap(
        &self,
        list: List,
        entry: &'a Entry,
        relation: &Relation,
    ) -> Option<(Lint, Option<&'a Entry>)> {
        let other = relation.overlaps.and_then(|number| self.numbered(number));
        let text = Arc::clone(&entry.text);
        match (list, other, self.host.default) {
            (List::Allow, Some(deny), Effect::Drop) => {
                let doubt = Lint::Overlap {
                    allow: text,
                    deny: Arc::clone(&deny.text),
                };
                Some((doubt, Some(deny)))
            }
            (List::Audit, None, Effect::Drop) if !self.is_allowed_by_documents() => {
                let host = Arc::clone(&self.host.name);
                Some((Lint::IdleAudit { entry: text, host }, None))
            }
            (List::Deny, None, Effect::Drop) => {
                let host = Arc::clone(&self.host.name);
                Some((Lint::IdleDeny { entry: text, host }, None))
            }
            _ => None,
        }
    }

    /// The family of the whole entry, if the host has no address of it.
    fn other_family(&self, entry: &Entry) -> Option<Family> {
        let prefixes = prefixes(self.policy, &entry.source)?;
        let addresses = &self.host.addresses;
        if prefixes.v4.is_empty() && addresses.v6.is_empty() {
            Some(Family::V6)
        } else if prefixes.v6.is_empty() && addresses.v4.is_empty() {
            Some(Family::V4)
        } else {
            None
        }
    }

    fn cover(&self, cover: Option<(Number, Extent)>) -> Option<(Cover, &'a Entry)> {
        let (number, extent) = cover?;
        let entry = self.numbered(number)?;
        let first = Arc::clone(&entry.text);
        Some((Cover { first, extent }, entry))
    }

    fn numbered(&self, number: Number) -> Option<&'a Entry> {
        let (_, entry) = self.entries.get(usize::try_from(number).ok()?)?;
        Some(entry)
    }

    fn is_unreachable(&self) -> bool {
        let closed = match self.host.default {
            Effect::Drop => self.passing == 0,
            Effect::Pass => self.denies_all(),
        };
        let otherwise = !self.host.trusted_proxies.is_empty() || self.is_allowed_by_documents();
        closed && !otherwise && self.policy.always_allow.is_empty()
    }

    /// Whether documents say who passes, instead of `allow`.
    fn is_allowed_by_documents(&self) -> bool {
        self.host.documents.is_some() && self.host.allow.is_empty()
    }

    /// Whether `deny` has every source of each family that the host has addresses of.
    fn denies_all(&self) -> bool {
        let denied = || {
            let deny = self.host.deny.iter().map(|entry| &entry.source);
            deny.filter(|source| !matches!(source, Source::Vpc(_)))
                .filter_map(|source| prefixes(self.policy, source))
        };
        let v4 = || denied().any(|list| list.v4.iter().any(|prefix| prefix.length() == 0));
        let v6 = || denied().any(|list| list.v6.iter().any(|prefix| prefix.length() == 0));
        let addresses = &self.host.addresses;
        (addresses.v4.is_empty() || v4()) && (addresses.v6.is_empty() || v6())
    }
}

fn prefixes<'a>(policy: &'a Policy, source: &'a Source) -> Option<&'a PrefixList> {
    match source {
        Source::Prefixes(list) => Some(list),
        Source::Set(set) => policy.sets.get(*set).map(|set| &set.prefixes),
        Source::Vpc(vpc) => policy.vpcs.get(*vpc).map(|vpc| &vpc.cidrs),
    }
}
