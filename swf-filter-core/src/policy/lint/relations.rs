//! How the entries of a host's lists lie to each other: which of them cover, repeat or overlap others.
//!
//! One pass over all prefixes of the lists, in the order of the trie, finds everything. What covers a prefix comes before it
//! and what lies in it right after it, so that the pass only has to remember the prefixes around the place where it is.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::ops::Range;

use super::super::{Entry, Host, Policy, Source};
use super::kind::{Extent, List};
use crate::prefix::{Address, Prefix, PrefixList};

/// The prefixes of sets and VPCs, made ready once for all the entries that name them.
pub(super) struct Shapes<'a> {
    policy: &'a Policy,
    sets: Vec<OnceCell<PrefixList>>,
    vpcs: Vec<OnceCell<PrefixList>>,
    /// The scope of each VPC.
    scopes: Vec<Scope>,
    /// How many scopes there are.
    scope_count: usize,
}

/// The zones that an entry matches in: everywhere, in the public zone, or in those of one VPC.
///
/// Two VPCs that share a zone may not overlap in it, so what matters is only whether scopes are equal or one is everywhere.
type Scope = usize;
const EVERYWHERE: Scope = 0;
const PUBLIC: Scope = 1;

impl<'a> Shapes<'a> {
    /// Of `policy`.
    pub(super) fn new(policy: &'a Policy) -> Self {
        let mut scope_count = PUBLIC + 1;
        let scopes = policy.vpcs.iter().map(|vpc| {
            if vpc.is_public() {
                return PUBLIC;
            }
            scope_count += 1;
            scope_count - 1
        });
        Self {
            policy,
            sets: vec![OnceCell::new(); policy.sets.len()],
            vpcs: vec![OnceCell::new(); policy.vpcs.len()],
            scopes: scopes.collect(),
            scope_count,
        }
    }

    fn scope(&self, source: &Source) -> Scope {
        match source {
            Source::Prefixes(_) | Source::Set(_) => EVERYWHERE,
            Source::Vpc(vpc) => self.scopes.get(*vpc).copied().unwrap_or(EVERYWHERE),
        }
    }

    /// Calls `with` with the outermost prefixes of `source`, ascending.
    fn outermost<T>(&self, source: &Source, with: impl FnOnce(&PrefixList) -> T) -> T {
        let cached = |cell: Option<&OnceCell<PrefixList>>, list: Option<&PrefixList>| {
            let make = || list.map(outermost).unwrap_or_default();
            match cell {
                Some(cell) => with(cell.get_or_init(make)),
                None => with(&make()),
            }
        };
        match source {
            Source::Prefixes(list) => cached(None, Some(list)),
            Source::Set(set) => cached(
                self.sets.get(*set),
                self.policy.sets.get(*set).map(|set| &set.prefixes),
            ),
            Source::Vpc(vpc) => cached(
                self.vpcs.get(*vpc),
                self.policy.vpcs.get(*vpc).map(|vpc| &vpc.cidrs),
            ),
        }
    }
}

/// What is known about an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Relation {
    /// How many prefixes it has, those inside others left out.
    prefixes: usize,
    /// Those covered by the list that wins over its own: `deny` for an allow or audit entry, `always_allow` for a deny entry.
    overruled: Covered,
    /// Those covered by other entries of its own list.
    covered: Covered,
    /// Those of them that an earlier entry has likewise.
    repeated: usize,
    /// An entry of the other list that it has sources in common with.
    pub(super) overlaps: Option<Number>,
}

/// The number of an entry among `always_allow` and the host's deny, audit and allow list, in this order.
pub(super) type Number = u32;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Covered {
    prefixes: usize,
    by: Option<(Number, Several)>,
}

type Several = bool;

impl Relation {
    /// Whether it matches nothing because it holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.prefixes == 0
    }

    /// What covers all of it and wins over it.
    pub(super) fn overruled(&self) -> Option<(Number, Extent)> {
        self.overruled.whole(self.prefixes)
    }

    /// What covers all of it in its own list.
    pub(super) fn covered(&self) -> Option<(Number, Extent)> {
        self.covered.whole(self.prefixes)
    }

    /// Whether all of it stands in its list before.
    pub(super) fn is_repeated(&self) -> bool {
        !self.is_empty() && self.repeated == self.prefixes
    }
}

impl Covered {
    fn add(&mut self, number: Number) {
        self.prefixes += 1;
        let (first, several) = *self.by.get_or_insert((number, false));
        self.by = Some((first, several || first != number));
    }

    fn whole(&self, prefixes: usize) -> Option<(Number, Extent)> {
        let (first, several) = self.by.filter(|_| self.prefixes == prefixes)?;
        let extent = if several {
            Extent::Several
        } else {
            Extent::One
        };
        Some((first, extent))
    }
}

/// All entries that decide about a host, in the order of their numbers.
pub(super) fn listed<'a>(
    policy: &'a Policy,
    host: &'a Host,
) -> impl Iterator<Item = (List, &'a Entry)> {
    let always = policy.always_allow.iter();
    let deny = host.deny.iter().map(|entry| (List::Deny, entry));
    let audit = host.audit.iter().map(|entry| (List::Audit, entry));
    let allow = host.allow.iter().map(|entry| (List::Allow, entry));
    always
        .map(|entry| (List::AlwaysAllow, entry))
        .chain(deny)
        .chain(audit)
        .chain(allow)
}

/// How many prefixes have to be looked at to relate the entries of a host.
pub(super) fn weight(policy: &Policy, host: &Host) -> usize {
    let prefixes = |entry: &Entry| match &entry.source {
        Source::Prefixes(list) => list.len(),
        Source::Set(set) => policy.sets.get(*set).map_or(0, |set| set.prefixes.len()),
        Source::Vpc(vpc) => policy.vpcs.get(*vpc).map_or(0, |vpc| vpc.cidrs.len()),
    };
    listed(policy, host).map(|(_, entry)| prefixes(entry)).sum()
}

/// Relates the entries of a host. There is one [`Relation`] for each [`Number`].
pub(super) fn relate(shapes: &Shapes<'_>, host: &Host) -> Vec<Relation> {
    let mut entries = Vec::new();
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (number, (list, entry)) in (0..).zip(listed(shapes.policy, host)) {
        let row = |prefix| Row { prefix, number };
        shapes.outermost(&entry.source, |prefixes| {
            v4.extend(prefixes.v4.iter().map(|prefix| row(*prefix)));
            let row = |prefix| Row { prefix, number };
            v6.extend(prefixes.v6.iter().map(|prefix| row(*prefix)));
            entries.push(Listed {
                list,
                scope: shapes.scope(&entry.source),
                size: (addresses(&prefixes.v6), addresses(&prefixes.v4)),
                relation: Relation {
                    prefixes: prefixes.len(),
                    ..Relation::default()
                },
            });
        });
    }
    Sweep::new(&mut entries, shapes.scope_count).run(&mut v4);
    Sweep::new(&mut entries, shapes.scope_count).run(&mut v6);
    entries.into_iter().map(|entry| entry.relation).collect()
}

struct Listed {
    list: List,
    scope: Scope,
    /// How many IPv6 and IPv4 addresses it has. No entry is smaller than one that it covers.
    size: (u128, u128),
    relation: Relation,
}

/// How many addresses `prefixes`, of which none is in another, have; one less for the whole of IPv6.
fn addresses<A: Address>(prefixes: &[Prefix<A>]) -> u128 {
    let count = |prefix: &Prefix<A>| {
        let bits = u32::from(A::BITS.saturating_sub(prefix.length()));
        1u128.checked_shl(bits).unwrap_or(u128::MAX)
    };
    prefixes.iter().map(count).fold(0, u128::saturating_add)
}

/// A prefix of an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row<A> {
    prefix: Prefix<A>,
    number: Number,
}

/// The pass over all prefixes of one family.
struct Sweep<'a, A> {
    entries: &'a mut [Listed],
    always: Lane,
    deny: Lane,
    audit: Lane,
    allow: Lane,
    /// The rows around the place where the pass is, the innermost last.
    open: Vec<Group<'a, A>>,
}

/// Rows with one prefix.
struct Group<'a, A> {
    prefix: Prefix<A>,
    rows: &'a [Row<A>],
    places: Range<usize>,
}

impl<'a, A: Address> Sweep<'a, A> {
    fn new(entries: &'a mut [Listed], scopes: usize) -> Self {
        let lane = || Lane::new(scopes);
        Self {
            entries,
            always: lane(),
            deny: lane(),
            audit: lane(),
            allow: lane(),
            open: Vec::new(),
        }
    }

    fn run(mut self, rows: &'a mut [Row<A>]) {
        self.sort(rows);
        let mut place = 0;
        for rows in rows.chunk_by(|a, b| a.prefix == b.prefix) {
            let Some(prefix) = rows.first().map(|row| row.prefix) else {
                continue;
            };
            while let Some(group) = self.open.pop_if(|group| !group.prefix.covers(prefix)) {
                self.close(&group);
            }
            let places = place..place + rows.len();
            place = places.end;
            let group = Group {
                prefix,
                rows,
                places,
            };
            self.enter(&group);
            self.open.push(group);
        }
        while let Some(group) = self.open.pop() {
            self.close(&group);
        }
    }

    /// Sorts rows as the pass takes them: of those with one prefix, the one of the largest entry first.
    ///
    /// So when two entries cover each other's prefixes in turn, it is the smaller one that is covered by the larger.
    fn sort(&self, rows: &mut [Row<A>]) {
        // Stable, because that sort merges runs that are in order already, which sets are.
        rows.sort();
        let rank = |row: &Row<A>| {
            let size = self.entries.get(index(row.number)).map(|entry| entry.size);
            (Reverse(size), row.number)
        };
        for equal in rows.chunk_by_mut(|a, b| a.prefix == b.prefix) {
            if equal.len() > 1 {
                equal.sort_by_key(rank);
            }
        }
    }

    /// Notes what covers the rows of `group`.
    fn enter(&mut self, group: &Group<'_, A>) {
        let length = group.prefix.length();
        for (row, place) in group.rows.iter().zip(group.places.clone()) {
            if let Some((list, scope)) = self.entry(row.number) {
                let around = Around {
                    number: row.number,
                    length,
                };
                self.lane(list).enter(scope, around, place);
            }
        }
        for row in group.rows {
            let Some(entry) = self.entries.get_mut(index(row.number)) else {
                continue;
            };
            let (own, other, stronger) = match entry.list {
                List::Allow => (&self.allow, &self.deny, &self.deny),
                List::Audit => (&self.audit, &self.allow, &self.deny),
                List::Deny => (&self.deny, &self.allow, &self.always),
                List::AlwaysAllow => continue,
            };
            let relation = &mut entry.relation;
            if let Some(by) = stronger.around(entry.scope) {
                relation.overruled.add(by.number);
            }
            if let Some(by) = own.around_other(entry.scope, row.number) {
                relation.covered.add(by.number);
                if by.length == length && by.number < row.number {
                    relation.repeated += 1;
                }
            }
            if relation.overlaps.is_none() {
                relation.overlaps = other.meets(entry.scope).map(|by| by.number);
            }
        }
    }

    /// Notes what lies in the rows of `group`.
    fn close(&mut self, group: &Group<'_, A>) {
        for row in group.rows {
            let Some(entry) = self.entries.get_mut(index(row.number)) else {
                continue;
            };
            let other = match entry.list {
                List::Allow => &self.deny,
                List::Audit | List::Deny => &self.allow,
                List::AlwaysAllow => continue,
            };
            if entry.relation.overlaps.is_none() {
                entry.relation.overlaps = other.passed_since(entry.scope, group.places.end);
            }
        }
        for row in group.rows {
            if let Some((list, scope)) = self.entry(row.number) {
                self.lane(list)
                    .leave(scope, row.number, group.prefix.length());
            }
        }
    }

    fn entry(&self, number: Number) -> Option<(List, Scope)> {
        let entry = self.entries.get(index(number))?;
        Some((entry.list, entry.scope))
    }

    fn lane(&mut self, list: List) -> &mut Lane {
        match list {
            List::Allow => &mut self.allow,
            List::AlwaysAllow => &mut self.always,
            List::Audit => &mut self.audit,
            List::Deny => &mut self.deny,
        }
    }
}

/// What the pass knows of one list.
struct Lane {
    scopes: Vec<Passed>,
    /// The scopes that have a prefix around the place where the pass is.
    open: Vec<Scope>,
    /// The last prefix that was passed, whatever its scope.
    last: Option<(usize, Number)>,
}

#[derive(Clone, Copy, Default)]
struct Passed {
    /// The outermost prefix around the place where the pass is. It covers the others around it, so they need not be known.
    around: Option<Around>,
    /// The last prefix that was passed, and its place among all.
    last: Option<(usize, Number)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Around {
    number: Number,
    length: u8,
}

impl Lane {
    fn new(scopes: usize) -> Self {
        Self {
            scopes: vec![Passed::default(); scopes],
            open: Vec::new(),
            last: None,
        }
    }

    fn enter(&mut self, scope: Scope, around: Around, place: usize) {
        let last = Some((place, around.number));
        self.last = last;
        if let Some(passed) = self.scopes.get_mut(scope) {
            passed.last = last;
            if passed.around.is_none() {
                passed.around = Some(around);
                self.open.push(scope);
            }
        }
    }

    fn leave(&mut self, scope: Scope, number: Number, length: u8) {
        let left = Some(Around { number, length });
        if let Some(passed) = self.scopes.get_mut(scope)
            && passed.around == left
        {
            passed.around = None;
            self.open.retain(|open| *open != scope);
        }
    }

    /// The outermost prefix around here of an entry that matches wherever one of `scope` does.
    fn around(&self, scope: Scope) -> Option<Around> {
        self.around_in(EVERYWHERE).or_else(|| self.around_in(scope))
    }

    /// The same of another entry than `number`.
    fn around_other(&self, scope: Scope, number: Number) -> Option<Around> {
        let other = |around: &Around| around.number != number;
        let everywhere = self.around_in(EVERYWHERE).filter(other);
        everywhere.or_else(|| self.around_in(scope).filter(other))
    }

    /// The outermost prefix around here of an entry that matches somewhere where one of `scope` does.
    fn meets(&self, scope: Scope) -> Option<Around> {
        match self.open.first() {
            Some(first) if scope == EVERYWHERE => self.around_in(*first),
            _ => self.around(scope),
        }
    }

    /// The last prefix from `place` on of an entry that matches somewhere where one of `scope` does.
    fn passed_since(&self, scope: Scope, place: usize) -> Option<Number> {
        let last = |scope: Scope| self.scopes.get(scope).and_then(|passed| passed.last);
        let last = if scope == EVERYWHERE {
            self.last
        } else {
            last(EVERYWHERE).max(last(scope))
        };
        let (_, number) = last.filter(|(last, _)| *last >= place)?;
        Some(number)
    }

    fn around_in(&self, scope: Scope) -> Option<Around> {
        self.scopes.get(scope).and_then(|passed| passed.around)
    }
}

fn index(number: Number) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The prefixes of `list` that lie in no other of them, ascending.
fn outermost(list: &PrefixList) -> PrefixList {
    PrefixList {
        v4: outermost_of(&list.v4),
        v6: outermost_of(&list.v6),
    }
}

fn outermost_of<A: Address>(prefixes: &[Prefix<A>]) -> Vec<Prefix<A>> {
    let mut outermost = prefixes.to_vec();
    outermost.sort_unstable();
    outermost.dedup_by(|inner, outer| outer.covers(*inner));
    outermost
}
