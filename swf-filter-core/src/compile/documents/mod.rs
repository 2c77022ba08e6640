//! From policy documents to the sources that some request could be allowed from.
//!
//! The result may hold more sources than documents allow, never fewer. Conditions on the network are worked out exactly;
//! every other condition may hold or not. A Deny takes sources away from an Allow where it is sure to match whatever the
//! Allow matches. `docs/iam.md`, "At the packet", is the specification.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

use super::known::{Caller, Known, Only, is_personal};
use super::subject::{Certainty, Subject};
use super::view::{Reach, View, views};
use super::zone::{Zone, zones};
use crate::iam::addresses::AddressSet;
use crate::iam::arn::{Domains, ResourcePattern};
use crate::iam::authorize::Side;
use crate::iam::key;
use crate::iam::{Choice, Effect, Statement};
use crate::policy::{Host, HostDocuments, Policy};
use crate::swf::Action;

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
    /// Statements: those of the host first, then those of its callers.
    pub(super) statements: Vec<Attached<'a>>,
    parties: Vec<Party<'a>>,
    about_all_domains: bool,
    documents: &'a HostDocuments,
    /// What requests to the host can be about.
    domains: Domains,
}

/// Somebody who may make requests, with the statements that are theirs, as indices.
struct Party<'a> {
    subject: Subject<'a>,
    caller: Caller<'a>,
    identity: Vec<usize>,
    boundary: Option<Vec<usize>>,
    account: SameAccount,
    grants: HashSet<Grant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SameAccount {
    No,
    Yes,
}

/// The sources of a zone, as the documents of a host judge them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdicts {
    /// For each statement, by its index: the sources that it lets in, or that it cuts off.
    pub(super) by_statement: Vec<(usize, AddressSet)>,
    /// Sources that no statement lets in.
    pub(super) unmatched: AddressSet,
}

impl<'a> Gate<'a> {
    /// Gathers what decides about requests to `host`. None if no documents do.
    pub(super) fn new(policy: &'a Policy, host: &'a Host) -> Option<Self> {
        let documents = host.documents.as_ref()?;
        let mut gate = Self {
            statements: Vec::new(),
            parties: Vec::new(),
            about_all_domains: documents.domains.is_empty(),
            documents,
            domains: Domains::of(documents.region(), documents.account.as_deref()),
        };
        for document in &documents.policies {
            gate.attach(document, Side::Resource);
        }
        let principals = &policy.principals;
        let known = principals
            .users
            .iter()
            .map(|user| (Subject::user(user), Caller::User(Only(user)), user));
        let known = known.chain(
            principals
                .roles
                .iter()
                .map(|role| (Subject::role(role), Caller::Role(Only(role)), role)),
        );
        for (subject, caller, identity) in known {
            let own = identity.policies.iter();
            let party = Party {
                subject,
                caller,
                identity: own
                    .flat_map(|document| gate.attach(document, Side::Identity))
                    .collect(),
                boundary: identity
                    .boundary
                    .as_ref()
                    .map(|document| gate.attach(document, Side::Boundary).collect()),
                account: same_account(documents, &identity.account),
                grants: HashSet::new(),
            };
            gate.parties.push(party);
        }
        if principals.accounts.is_empty() {
            gate.add_unknown_parties(documents);
        }
        // They are the same in every zone.
        let grants: Vec<_> = gate
            .parties
            .iter()
            .map(|party| gate.grants(party))
            .collect();
        for (party, grants) in gate.parties.iter_mut().zip(grants) {
            party.grants = grants;
        }
        Some(gate)
    }

    fn attach(&mut self, document: &'a crate::iam::Document, side: Side) -> Range<usize> {
        let first = self.statements.len();
        let attached = document
            .statements
            .iter()
            .zip(1..)
            .map(|(statement, number)| Attached {
                statement,
                side,
                number,
            });
        self.statements.extend(attached);
        first..self.statements.len()
    }

    /// Where no principals are configured at all, whoever the host's documents name may exist, with no policies of its own.
    fn add_unknown_parties(&mut self, documents: &'a HostDocuments) {
        let mut seen = HashSet::new();
        let named = documents
            .policies
            .iter()
            .flat_map(|document| &document.statements);
        for statement in named.filter(|statement| statement.effect == Effect::Allow) {
            let subjects: Vec<Subject<'a>> = match &statement.principals {
                Some(Choice::Of(principals)) => {
                    principals.iter().filter_map(Subject::named).collect()
                }
                _ => vec![Subject::Anyone],
            };
            // Of another account, nobody is allowed anything without documents of his own.
            let anyone = documents
                .account
                .as_deref()
                .map_or(Subject::Anyone, Subject::Account);
            for subject in subjects {
                let subject = if subject == Subject::Anyone {
                    anyone
                } else {
                    subject
                };
                let foreign = subject
                    .account()
                    .is_some_and(|account| same_account(documents, account) == SameAccount::No);
                if !foreign && seen.insert(subject) {
                    self.parties.push(Party {
                        subject,
                        caller: Caller::Anyone,
                        identity: Vec::new(),
                        boundary: None,
                        account: SameAccount::Yes,
                        grants: HashSet::new(),
                    });
                }
            }
        }
    }

    /// Judges the sources of a zone.
    pub(super) fn verdicts(&self, policy: &Policy, zone: &Zone) -> Verdicts {
        let mut lets_in: Vec<Vec<AddressSet>> = vec![Vec::new(); self.statements.len()];
        let mut cuts: Vec<Vec<AddressSet>> = vec![Vec::new(); self.statements.len()];
        for view in views(policy, zone) {
            self.judge(&view, &mut lets_in, &mut cuts);
        }
        let lets_in: Vec<AddressSet> = lets_in.iter().map(AddressSet::union).collect();
        let allowed = AddressSet::union(&lets_in);
        let mut unmatched = allowed.complement();
        let mut by_statement: Vec<(usize, AddressSet)> = lets_in
            .into_iter()
            .enumerate()
            .filter(|(_, set)| !set.is_empty())
            .collect();
        for (index, cuts) in cuts.iter().enumerate() {
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

    fn judge(
        &self,
        view: &View<'_>,
        lets_in: &mut [Vec<AddressSet>],
        cuts: &mut [Vec<AddressSet>],
    ) {
        let mut anyones = Reaches::default();
        let mut known = HashSet::new();
        for party in &self.parties {
            let mut own = Reaches::default();
            for grant in &party.grants {
                // What does not depend on who asks is worked out once.
                let personal = grant.statements().any(|index| self.is_personal(index));
                let (caller, reaches) = if personal {
                    (party.caller, &mut own)
                } else if known.insert(grant) {
                    (Caller::Anyone, &mut anyones)
                } else {
                    continue;
                };
                for index in grant.statements() {
                    if let (Entry::Vacant(entry), Some(attached)) =
                        (reaches.entry(index), self.statements.get(index))
                    {
                        let host = self.documents;
                        let known = Known { host, caller };
                        entry.insert(view.reach(&attached.statement.conditions, known));
                    }
                }
                let sure = |index: &usize| reaches.get(index).map(|reach| &reach.sure);
                let possible = |index: &usize| reaches.get(index).map(|reach| &reach.possible);
                let Some(own) = possible(&grant.allow) else {
                    continue;
                };
                let mut set = own.intersection(&view.sources);
                for limit in &grant.limits {
                    let limit: Vec<&AddressSet> = limit.iter().filter_map(possible).collect();
                    set = set.intersection(&AddressSet::union(limit.iter().copied()));
                }
                let denied: Vec<&AddressSet> = grant.denies.iter().filter_map(sure).collect();
                let denied = AddressSet::union(denied.iter().copied());
                if let Some(sets) = lets_in.get_mut(grant.allow) {
                    sets.push(set.difference(&denied));
                }
                for index in &grant.denies {
                    if let (Some(sets), Some(sure)) = (cuts.get_mut(*index), sure(index)) {
                        sets.push(sure.intersection(&set));
                    }
                }
            }
        }
    }

    fn is_personal(&self, index: usize) -> bool {
        let attached = self.statements.get(index);
        attached.is_some_and(|attached| attached.statement.conditions.iter().any(is_personal))
    }

    /// What the statements that allow come to for one party: for each, and for each of its actions and resources, what
    /// else has to allow and what is sure to deny.
    fn grants(&self, party: &Party<'_>) -> HashSet<Grant> {
        let resource = self
            .indices(Side::Resource)
            .filter(|index| self.possible(party, *index));
        let resource: Vec<usize> = resource.collect();
        let boundary = party.boundary.as_deref();
        let allows = |indices: &[usize]| self.with(indices, Effect::Allow);
        let denies: Vec<usize> = [&*party.identity, boundary.unwrap_or_default()]
            .into_iter()
            .flat_map(|indices| self.with(indices, Effect::Deny))
            .chain(self.indices(Side::Resource).filter(|index| {
                self.effect(*index) == Some(Effect::Deny) && self.sure(party, *index)
            }))
            .collect();
        let mut grants = HashSet::new();
        let mut add = |allow: usize, limits: &[Vec<usize>]| {
            self.add_grants(allow, limits, &denies, &mut grants);
        };
        let bounded: Vec<Vec<usize>> = boundary.map(allows).into_iter().collect();
        for allow in allows(&party.identity) {
            let mut limits = bounded.clone();
            if party.account == SameAccount::No {
                limits.push(allows(&resource));
            }
            add(allow, &limits);
        }
        if party.account == SameAccount::Yes {
            for allow in allows(&resource) {
                let choice = self.principals(allow);
                // What is allowed to an account is for its own documents to hand on, if they are known.
                let granted = party.caller == Caller::Anyone
                    || choice.is_none_or(|choice| party.subject.is_granted_by(choice));
                if !granted {
                    continue;
                }
                let named = choice.is_some_and(|choice| party.subject.is_named_by(choice));
                add(allow, if named { &[] } else { &bounded });
            }
        }
        grants
    }

    fn add_grants(
        &self,
        allow: usize,
        limits: &[Vec<usize>],
        denies: &[usize],
        grants: &mut HashSet<Grant>,
    ) {
        let Some(Attached {
            statement, side, ..
        }) = self.statements.get(allow)
        else {
            return;
        };
        // Permissions of decisions are asked for inside of an operation only, which must be allowed itself.
        let operations = statement
            .actions
            .set
            .iter()
            .filter(|action| !action.is_decision());
        // Actions that the same other statements are about come to the same.
        let others: Vec<usize> = limits.iter().flatten().chain(denies).copied().collect();
        let is_about = |index: &usize, action| {
            let other = self.statements.get(*index);
            other.is_some_and(|other| other.statement.actions.set.contains(action))
        };
        let mut known = HashSet::new();
        for action in operations {
            let about: Vec<bool> = others.iter().map(|index| is_about(index, action)).collect();
            if !known.insert(about) {
                continue;
            }
            let here =
                resources(statement).filter(|resource| resource.may_meet(resource, &self.domains));
            let asked = here.map(|resource| Asked {
                about: vec![(resource, *side)],
                limits: Vec::new(),
            });
            let mut asked: Vec<Asked<'_>> = asked.collect();
            for limit in limits {
                asked = asked
                    .into_iter()
                    .flat_map(|asked| self.limited(action, &asked, limit))
                    .collect();
            }
            for Asked { about, limits } in asked {
                let denies = denies.iter().copied();
                let denies = denies.filter(|index| self.covers(*index, action, &about));
                grants.insert(Grant {
                    allow,
                    denies: denies.collect(),
                    limits,
                });
            }
        }
    }

    /// What is asked for, together with each of the statements of which one has to allow it too.
    fn limited<'b>(&'b self, action: Action, asked: &Asked<'b>, limit: &[usize]) -> Vec<Asked<'b>> {
        let mut refined = Vec::new();
        let mut relevant = Vec::new();
        for index in limit {
            let Some(Attached {
                statement, side, ..
            }) = self.statements.get(*index)
            else {
                continue;
            };
            if !statement.actions.set.contains(action) {
                continue;
            }
            relevant.push(*index);
            for resource in resources(statement) {
                if asked
                    .about
                    .iter()
                    .all(|(other, _)| other.may_meet(resource, &self.domains))
                {
                    let mut refinement = asked.clone();
                    refinement.about.push((resource, *side));
                    refinement.limits.push(vec![*index]);
                    refined.push(refinement);
                }
            }
        }
        if refined.len() <= MOST_REFINEMENTS {
            return refined;
        }
        let mut whole = asked.clone();
        whole.limits.push(relevant);
        vec![whole]
    }

    /// Whether the statement is sure to be about all of what is asked for.
    fn covers(&self, index: usize, action: Action, about: &[(&ResourcePattern, Side)]) -> bool {
        let Some(Attached {
            statement, side, ..
        }) = self.statements.get(index)
        else {
            return false;
        };
        // Documents that are about some domains only say nothing about the others.
        let applies = self.about_all_domains
            || *side != Side::Resource
            || about.iter().any(|(_, side)| *side == Side::Resource);
        applies
            && statement.actions.set.contains(action)
            && about
                .iter()
                .any(|(resource, _)| match &statement.resources {
                    Some(Choice::Of(patterns)) => patterns
                        .iter()
                        .any(|pattern| pattern.covers(resource, &self.domains)),
                    Some(Choice::Not(patterns)) => !patterns
                        .iter()
                        .any(|pattern| pattern.may_meet(resource, &self.domains)),
                    None => true,
                })
    }

    fn indices(&self, side: Side) -> impl Iterator<Item = usize> {
        let numbered = self.statements.iter().enumerate();
        numbered
            .filter(move |(_, attached)| attached.side == side)
            .map(|(index, _)| index)
    }

    fn with(&self, indices: &[usize], effect: Effect) -> Vec<usize> {
        let indices = indices.iter().copied();
        indices
            .filter(|index| self.effect(*index) == Some(effect))
            .collect()
    }

    fn effect(&self, index: usize) -> Option<Effect> {
        self.statements
            .get(index)
            .map(|attached| attached.statement.effect)
    }

    fn principals(&self, index: usize) -> Option<&Choice<crate::iam::principal::Principal>> {
        self.statements.get(index)?.statement.principals.as_ref()
    }

    fn possible(&self, party: &Party<'_>, index: usize) -> bool {
        self.principals(index)
            .is_none_or(|choice| party.subject.may_be_meant(choice))
    }

    fn sure(&self, party: &Party<'_>, index: usize) -> bool {
        let attached = self.statements.get(index);
        let denied_anyway = party.boundary.is_some()
            && attached.is_some_and(|attached| attached.statement.denies_bounded());
        denied_anyway
            || self
                .principals(index)
                .is_none_or(|choice| party.subject.meets(choice) == Certainty::Sure)
    }
}

/// What a request has to be about for some statements to allow it.
#[derive(Clone)]
struct Asked<'a> {
    /// It matches all of these, each of which is a statement's.
    about: Vec<(&'a ResourcePattern, Side)>,
    /// As in [`Grant`].
    limits: Vec<Vec<usize>>,
}

/// How many pairs of what is asked for and what else has to allow it are told apart. Above, the sources may be too many.
const MOST_REFINEMENTS: usize = 64;

/// The patterns of a statement's resources; that of every resource, if it names those that are not meant.
fn resources(statement: &Statement) -> impl Iterator<Item = &ResourcePattern> {
    static EVERY: LazyLock<[ResourcePattern; 1]> = LazyLock::new(|| [ResourcePattern::any()]);
    let patterns = match &statement.resources {
        Some(Choice::Of(patterns)) => patterns.as_slice(),
        _ => EVERY.as_slice(),
    };
    patterns.iter()
}

/// What the documents of a host come to at the packet, in short.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary<'a> {
    /// A statement that lets in every source outside of VPCs.
    pub(crate) open: Option<&'a Statement>,
    /// The first statement with a condition on where a request comes from.
    pub(crate) restricted: Option<&'a Statement>,
    /// Whether some statement lets somebody in.
    pub(crate) reachable: bool,
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
    let restricted = gate.statements.iter().find(is_restricted);
    let mut summary = Summary {
        open: None,
        restricted: restricted.map(|attached| attached.statement),
        reachable: false,
    };
    let (zones, _) = zones(policy).ok()?;
    for zone in &zones {
        let public = views(policy, zone).into_iter().find(View::is_public);
        for (index, set) in gate.verdicts(policy, zone).by_statement {
            let allow = gate.statements.get(index);
            let allow = allow.filter(|allow| allow.statement.effect == Effect::Allow);
            summary.reachable |= allow.is_some();
            let is_open = |public: &View<'_>| public.sources.difference(&set).is_empty();
            if public.as_ref().is_some_and(is_open) && summary.open.is_none() {
                summary.open = allow.map(|allow| allow.statement);
            }
        }
    }
    Some(summary)
}

/// A statement that allows something, what has to allow the same, and what is sure to deny all of it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Grant {
    allow: usize,
    /// Of each list, one has to allow.
    limits: Vec<Vec<usize>>,
    denies: Vec<usize>,
}

impl Grant {
    /// All statements that count.
    fn statements(&self) -> impl Iterator<Item = usize> {
        let limits = self.limits.iter().flatten();
        let others = limits.chain(&self.denies).copied();
        std::iter::once(self.allow).chain(others)
    }
}

/// From where the conditions of statements hold, by their indices.
type Reaches = HashMap<usize, Reach>;

fn same_account(documents: &HostDocuments, account: &str) -> SameAccount {
    match documents.account.as_deref() {
        Some(own) if own != account => SameAccount::No,
        _ => SameAccount::Yes,
    }
}

#[cfg(test)]
mod tests;
