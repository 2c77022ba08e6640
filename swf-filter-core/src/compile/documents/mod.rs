//! From policy documents to the sources that some request could be allowed from.
//!
//! Callers, actions and domains are divided into kinds that no statement tells apart. For each combination of them, it is
//! known which statements matter, and conditions on the network say from where they do. Every other condition may hold or
//! not, so that the result may hold more sources than documents allow, never fewer. `docs/iam.md`, "At the packet", is the
//! specification.

mod about;
mod grant;
mod known;
mod names;
mod party;
mod view;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use self::grant::{Grant, Grants, Profile};
use self::view::{Reach, View, views};
use super::zone::{Zone, zones};
use crate::iam::addresses::AddressSet;
use crate::iam::authorize::Side;
use crate::iam::key;
use crate::iam::{Document, Effect, Statement};
use crate::policy::{Host, HostDocuments, Policy};

/// A statement that can decide about requests to a host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attached<'a> {
    pub(super) statement: &'a Statement,
    pub(super) side: Side,
    /// Its number in its document, for reports.
    pub(super) number: usize,
}

/// All that decides about requests to a host.
pub(super) struct Gate<'a> {
    policy: &'a Policy,
    documents: &'a HostDocuments,
    pool: Pool<'a>,
    /// Who may make requests, with the statements that are their own.
    parties: Vec<(party::Party<'a>, Own)>,
}

/// What statements come to, and for whom, where that matters.
type Known<'a> = Vec<(Grant, known::Caller<'a>)>;

/// The sources of all zones, as documents judge them. They are worked out once, for doubts and for tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judged(OnceLock<Arc<[Verdicts]>>);

/// The sources of a zone, as the documents of a host judge them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts {
    /// For each statement, by its index: the sources that it lets in, or that it cuts off.
    pub(super) by_statement: Vec<(usize, AddressSet)>,
    /// Sources that no statement lets in.
    pub(super) unmatched: AddressSet,
}

impl<'a> Gate<'a> {
    /// Gathers what decides about requests to `host`. None if no documents do.
    pub(super) fn new(policy: &'a Policy, host: &'a Host) -> Option<Self> {
        let documents = host.documents.as_ref()?;
        let mut pool = Pool::default();
        for document in &documents.policies {
            pool.attach(document, Side::Resource);
        }
        let parties = party::parties(policy, documents).into_iter();
        let parties = parties.map(|party| {
            let own = pool.own(&party);
            (party, own)
        });
        let parties = parties.collect();
        Some(Self {
            policy,
            documents,
            pool,
            parties,
        })
    }

    /// Statements: those of the host first, then those of its callers.
    pub(super) fn statements(&self) -> &[Attached<'a>] {
        &self.pool.statements
    }

    /// Judges the sources of zones, which are those of the policy.
    pub(super) fn verdicts(&self, zones: &[Zone]) -> Arc<[Verdicts]> {
        let judged = self.documents.judged.0.get_or_init(|| {
            let grants = self.grants();
            let zones = zones.iter();
            zones.map(|zone| self.of_zone(&grants, zone)).collect()
        });
        Arc::clone(judged)
    }

    fn grants(&self) -> Known<'a> {
        let domains = grant::domains(self.documents);
        let mut grants = Grants::new(&self.pool.statements, self.documents, &domains);
        let mut known: HashSet<(Grant, known::Caller<'_>)> = HashSet::new();
        let mut personal: HashMap<Profile, Vec<Grant>> = HashMap::new();
        for (party, own) in &self.parties {
            let profile = grants.profile(party, own);
            let personal = match personal.entry(profile) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let mut personal = Vec::new();
                    for grant in grants.of(entry.key()) {
                        // What does not depend on who asks is worked out once.
                        let (own, common) = grant.split(|index| self.pool.is_personal(index));
                        personal.extend(own);
                        known.extend(common.map(|grant| (grant, known::Caller::Anyone)));
                    }
                    entry.insert(personal)
                }
            };
            known.extend(personal.iter().map(|grant| (grant.clone(), party.known)));
        }
        known.into_iter().collect()
    }

    fn of_zone(&self, grants: &Known<'a>, zone: &Zone) -> Verdicts {
        let statements = self.pool.statements.len();
        let mut sets = Attribution {
            lets_in: vec![Vec::new(); statements],
            cuts: vec![Vec::new(); statements],
        };
        for view in views(self.policy, zone) {
            self.judge(grants, &view, &mut sets);
        }
        let lets_in = sets.lets_in.iter().map(AddressSet::union);
        let mut by_statement: Vec<(usize, AddressSet)> = lets_in
            .enumerate()
            .filter(|(_, set)| !set.is_empty())
            .collect();
        let mut unmatched = AddressSet::union(by_statement.iter().map(|(_, set)| set)).complement();
        for (index, cuts) in sets.cuts.iter().enumerate() {
            let cut = AddressSet::union(cuts).intersection(&unmatched);
            if !cut.is_empty() {
                unmatched = unmatched.difference(&cut);
                by_statement.push((index, cut));
            }
        }
        Verdicts {
            by_statement,
            unmatched,
        }
    }

    fn judge(&self, grants: &Known<'a>, view: &View<'_>, sets: &mut Attribution) {
        let mut reaches = Reaches {
            gate: self,
            view,
            known: HashMap::new(),
        };
        // Grants that the same statements deny, and those that have to be allowed by the same, are many.
        let mut denied: HashMap<_, Denied> = HashMap::new();
        let mut limited: HashMap<_, AddressSet> = HashMap::new();
        for (grant, caller) in grants {
            let mut possible = |list: &[usize]| {
                let sets: Vec<Arc<Reach>> = reaches.all(list, *caller);
                AddressSet::union(sets.iter().map(|reach| &reach.possible))
            };
            let limit = limited.entry((&grant.limits, *caller)).or_insert_with(|| {
                let limits = grant.limits.iter().map(|limit| possible(limit));
                limits.fold(view.sources.clone(), |all, limit| all.intersection(&limit))
            });
            let asked = possible(&grant.allows).intersection(limit);
            let denied = denied.entry((&grant.denies, *caller)).or_insert_with(|| {
                let reaches = reaches.all(&grant.denies, *caller);
                let sure = AddressSet::union(reaches.iter().map(|reach| &reach.sure));
                Denied {
                    left: sure.complement(),
                    asked: Vec::new(),
                }
            });
            let left = limit.intersection(&denied.left);
            for allow in &grant.allows {
                let reach = reaches.of(*allow, *caller);
                if let Some(sets) = sets.lets_in.get_mut(*allow) {
                    sets.push(reach.possible.intersection(&left));
                }
            }
            denied.asked.push(asked);
        }
        for ((denies, caller), denied) in denied {
            let asked = AddressSet::union(&denied.asked);
            for deny in denies {
                let reach = reaches.of(*deny, caller);
                if let Some(sets) = sets.cuts.get_mut(*deny) {
                    sets.push(reach.sure.intersection(&asked));
                }
            }
        }
    }
}

/// For each statement, by its index, sets of sources.
struct Attribution {
    /// That it lets in.
    lets_in: Vec<Vec<AddressSet>>,
    /// That it denies, whatever lets them in.
    cuts: Vec<Vec<AddressSet>>,
}

/// What some statements together deny.
struct Denied {
    /// The sources that they do not.
    left: AddressSet,
    /// The sources that would be let in without them.
    asked: Vec<AddressSet>,
}

/// From where the conditions of statements hold, each worked out once.
struct Reaches<'a, 'b> {
    gate: &'b Gate<'a>,
    view: &'b View<'b>,
    known: HashMap<(usize, known::Caller<'a>), Arc<Reach>>,
}

impl<'a> Reaches<'a, '_> {
    fn of(&mut self, index: usize, caller: known::Caller<'a>) -> Arc<Reach> {
        let attached = self.gate.statements().get(index);
        let conditions = attached.map_or(&[][..], |own| &own.statement.conditions);
        let caller = if conditions.iter().any(known::is_personal) {
            caller
        } else {
            known::Caller::Anyone
        };
        let reach = self.known.entry((index, caller)).or_insert_with(|| {
            let known = known::Known {
                host: self.gate.documents,
                caller,
            };
            Arc::new(self.view.reach(conditions, known))
        });
        Arc::clone(reach)
    }

    fn all(&mut self, list: &[usize], caller: known::Caller<'a>) -> Vec<Arc<Reach>> {
        list.iter().map(|index| self.of(*index, caller)).collect()
    }
}

/// Statements, as they are gathered. A document that is attached to many is taken once.
#[derive(Default)]
struct Pool<'a> {
    statements: Vec<Attached<'a>>,
    documents: HashMap<(*const Document, Side), Vec<usize>>,
}

/// The statements that are a caller's own, as indices.
struct Own {
    /// None if they are not known.
    identity: Option<Vec<usize>>,
    boundary: Option<Vec<usize>>,
}

impl<'a> Pool<'a> {
    fn attach(&mut self, document: &'a Arc<Document>, side: Side) -> Vec<usize> {
        let statements = &mut self.statements;
        let indices = self
            .documents
            .entry((Arc::as_ptr(document), side))
            .or_insert_with(|| {
                let first = statements.len();
                let attached = document.statements.iter().zip(1..);
                statements.extend(attached.map(|(statement, number)| Attached {
                    statement,
                    side,
                    number,
                }));
                (first..statements.len()).collect()
            });
        indices.clone()
    }

    fn own(&mut self, party: &party::Party<'a>) -> Own {
        let mut all = |documents: &'a [Arc<Document>], side| {
            let documents = documents.iter();
            documents
                .flat_map(|document| self.attach(document, side))
                .collect()
        };
        let identity = party.identity;
        Own {
            identity: identity.map(|identity| all(&identity.policies, Side::Identity)),
            boundary: identity
                .and_then(|identity| identity.boundary.as_ref())
                .map(|boundary| all(std::slice::from_ref(boundary), Side::Boundary)),
        }
    }

    fn is_personal(&self, index: usize) -> bool {
        let attached = self.statements.get(index);
        attached
            .is_some_and(|attached| attached.statement.conditions.iter().any(known::is_personal))
    }
}

/// What the documents of a host come to at the packet, in short.
#[derive(Clone, Debug)]
pub(crate) struct Summary<'a> {
    /// A statement that lets in every source outside of VPCs.
    pub(crate) open: Option<&'a Statement>,
    /// The first statement with a condition on where a request comes from.
    pub(crate) restricted: Option<&'a Statement>,
    /// For each zone, the sources that some statement lets in.
    pub(crate) let_in: Vec<(Zone, AddressSet)>,
}

/// Sums up what the documents of a host come to. None if no documents judge its requests.
pub(crate) fn summary<'a>(policy: &'a Policy, host: &'a Host) -> Option<Summary<'a>> {
    let gate = Gate::new(policy, host)?;
    let is_restricted = |attached: &&Attached<'_>| {
        let Statement {
            actions,
            conditions,
            ..
        } = attached.statement;
        let mut keys = conditions.iter().map(|condition| condition.key.name());
        actions.set.iter().next().is_some() && keys.any(key::is_source)
    };
    let restricted = gate.statements().iter().find(is_restricted);
    let mut summary = Summary {
        open: None,
        restricted: restricted.map(|attached| attached.statement),
        let_in: Vec::new(),
    };
    let (zones, _) = zones(policy).ok()?;
    let verdicts = gate.verdicts(&zones);
    for (zone, verdicts) in zones.into_iter().zip(&*verdicts) {
        let public = views(policy, &zone).into_iter().find(View::is_public);
        let mut let_in = Vec::new();
        for (index, set) in &verdicts.by_statement {
            let allow = gate.statements().get(*index);
            let allow = allow.filter(|allow| allow.statement.effect == Effect::Allow);
            let_in.extend(allow.map(|_| set));
            let is_open = |public: &View<'_>| public.sources.difference(set).is_empty();
            if public.as_ref().is_some_and(is_open) && summary.open.is_none() {
                summary.open = allow.map(|allow| allow.statement);
            }
        }
        let let_in = AddressSet::union(let_in);
        summary.let_in.push((zone, let_in));
    }
    Some(summary)
}

#[cfg(test)]
mod tests;
