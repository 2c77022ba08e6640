//! Which statements decide about requests of one kind: of the same callers, for the same actions, on the same domains.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::about::{About, Matched, Relevant};
use super::names::{self, Certainty};
use super::party::Party;
use super::{Attached, Own};
use crate::iam::arn::{ResourcePattern, before_domain};
use crate::iam::authorize::{Side, principals_for, principals_of};
use crate::iam::pattern::{Case, Variables, Wildcards};
use crate::iam::{ActionSet, Choice, Context, Effect, Pattern, Statement};
use crate::policy::HostDocuments;
use crate::swf::Action;

/// Statements that allow requests of some kind, what else has to allow them, and what is sure to deny them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Grant {
    /// One of them has to allow.
    pub(super) allows: Vec<usize>,
    /// Of each list, one has to allow, too.
    pub(super) limits: Vec<Vec<usize>>,
    /// None of them must deny.
    pub(super) denies: Vec<usize>,
}

impl Grant {
    /// What of it depends on who asks, and what does not.
    pub(super) fn split(self, is_personal: impl Fn(usize) -> bool) -> (Option<Self>, Option<Self>) {
        let mut others = self.limits.iter().flatten().chain(&self.denies);
        if others.any(|index| is_personal(*index)) {
            return (Some(self), None);
        }
        let (own, common): (Vec<usize>, Vec<usize>) =
            self.allows.iter().partition(|index| is_personal(**index));
        let of = |allows: Vec<usize>| {
            (!allows.is_empty()).then(|| Self {
                allows,
                ..self.clone()
            })
        };
        (of(own), of(common))
    }
}

/// Works out grants.
pub(super) struct Grants<'a, 'b> {
    statements: &'b [Attached<'a>],
    /// Those of the host, by what statements about a caller are looked up by.
    by_principal: HashMap<Option<&'a str>, Vec<usize>>,
    documents: &'b HostDocuments,
    /// The only domains that the host's documents are about; all if empty.
    domains: &'b [Pattern],
    /// By their patterns, in one order whatever the run. Callers with the same ones are many.
    classes: HashMap<Vec<&'b Pattern>, Rc<BTreeSet<names::Class>>>,
    steps: names::Steps,
    /// What the host's statements call domains.
    names: BTreeSet<&'b Pattern>,
    /// Kinds of domains that may still be looked into, for all callers together.
    kinds: usize,
}

/// What statements say of a caller. All callers of one profile are granted the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    /// The host's statements about its requests, by their indices.
    resource: Vec<(usize, Meant)>,
    /// Its own; none if they are not known.
    identity: Option<Vec<usize>>,
    boundary: Option<Vec<usize>>,
    /// The account of the domains that it asks for; empty if it is not known.
    account: Arc<str>,
    is_foreign: bool,
}

/// How a statement of a host means a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Meant {
    /// By its account only.
    ByAccount,
    /// By its own name as a user or session.
    ByName,
    /// By its role, or as anybody.
    InOtherWays,
}

/// Kinds of domains that are looked into for a host's callers together: the work of a second, about.
const KINDS: usize = 1 << 18;

/// What a statement calls domains: the last parts of its resources.
fn names_of<'a>(attached: &Attached<'a>) -> impl Iterator<Item = &'a Pattern> + use<'a> {
    let resources = attached.statement.resources.as_ref();
    let patterns = resources.map_or(&[][..], Choice::patterns).iter();
    patterns.filter_map(|pattern| pattern.parts()?.last())
}

/// The domains that a host's documents are about, as patterns of the last part of ARNs.
pub(super) fn domains(documents: &HostDocuments) -> Vec<Pattern> {
    let names = documents.domains.iter();
    let names = names.map(|name| format!("/domain/{name}"));
    names
        .filter_map(|name| {
            Pattern::new(&name, Wildcards::Literal, Variables::Literal, Case::Keep).ok()
        })
        .collect()
}

impl<'a: 'b, 'b> Grants<'a, 'b> {
    pub(super) fn new(
        statements: &'b [Attached<'a>],
        documents: &'b HostDocuments,
        domains: &'b [Pattern],
    ) -> Self {
        let mut by_principal: HashMap<Option<&str>, Vec<usize>> = HashMap::new();
        for (index, attached) in statements.iter().enumerate() {
            if attached.side == Side::Resource {
                for principal in principals_of(attached.statement) {
                    by_principal.entry(principal).or_default().push(index);
                }
            }
        }
        Self {
            statements,
            by_principal,
            documents,
            domains,
            classes: HashMap::new(),
            steps: names::Steps::default(),
            names: statements
                .iter()
                .filter(|attached| attached.side == Side::Resource)
                .flat_map(names_of)
                .collect(),
            kinds: KINDS,
        }
    }

    /// What statements say of a caller.
    pub(super) fn profile(&self, party: &Party<'a>, own: &Own) -> Profile {
        let caller = &party.caller;
        let bounded = own.boundary.is_some();
        let found = principals_for(caller).filter_map(|name| self.by_principal.get(&name));
        // A statement may be found by several names.
        let found: BTreeSet<usize> = found.flatten().copied().collect();
        let found = found.into_iter();
        let of_host = found
            .filter_map(|index| Some((index, self.statements.get(index)?)))
            .filter(|(_, attached)| attached.statement.is_about(caller, bounded));
        let meant = |statement: &Statement| {
            if statement.names(caller) {
                Meant::ByName
            } else if statement.grants(caller) {
                Meant::InOtherWays
            } else {
                Meant::ByAccount
            }
        };
        Profile {
            resource: of_host
                .map(|(index, attached)| (index, meant(attached.statement)))
                .collect(),
            identity: own.identity.clone(),
            boundary: own.boundary.clone(),
            account: Arc::clone(self.documents.account.as_ref().unwrap_or(caller.account())),
            is_foreign: !self.documents.is_of_account(caller.account()),
        }
    }

    /// What may be granted to callers.
    pub(super) fn of(&mut self, profile: &Profile) -> Vec<Grant> {
        let mut granted = Granted::new(profile);
        for relevant in self.by_action(profile) {
            let mut effects = relevant
                .iter()
                .map(|(_, attached)| attached.statement.effect);
            if effects.any(|effect| effect == Effect::Allow) {
                self.by_domain(profile, &relevant, &mut granted);
            }
        }
        granted.into_grants()
    }

    /// The statements about callers' requests: one set for each kind of action.
    fn by_action(&self, profile: &Profile) -> Vec<Vec<Relevant<'a>>> {
        let resource = profile.resource.iter().map(|(index, _)| index);
        let own = [&profile.identity, &profile.boundary].into_iter().flatten();
        let all = resource.chain(own.flatten());
        let all: Vec<Relevant<'a>> = all
            .filter_map(|index| Some((*index, *self.statements.get(*index)?)))
            .collect();
        let sets = all
            .iter()
            .map(|(_, attached)| attached.statement.actions.set);
        let sets: BTreeSet<ActionSet> = sets.collect();
        // Permissions of decisions are asked for inside of an operation only, which must be allowed itself.
        let operations = Action::ALL
            .into_iter()
            .filter(|action| !action.is_decision());
        let kinds: BTreeMap<Vec<bool>, Action> = operations
            .map(|action| {
                (
                    sets.iter().map(|set| set.contains(action)).collect(),
                    action,
                )
            })
            .collect();
        let about = |action| {
            let all = all.iter().copied();
            all.filter(|(_, attached)| attached.statement.actions.set.contains(action))
                .collect()
        };
        kinds.into_values().map(about).collect()
    }

    /// Grants what those of some statements do that are about a domain, for each kind of domain.
    fn by_domain(&mut self, profile: &Profile, relevant: &[Relevant<'a>], granted: &mut Granted) {
        let names = relevant.iter().flat_map(|(_, attached)| names_of(attached));
        let mut names: BTreeSet<&'b Pattern> = names.chain(self.domains).collect();
        if names.len() > self.names.len() / 2 {
            // Many callers have almost the same ones, and then share the work.
            names.extend(&self.names);
        }
        let names: Vec<&'b Pattern> = names.into_iter().collect();
        let place = |name: &Pattern| names.binary_search(&name).ok();
        let own = self.domains.iter().filter_map(place).collect();
        let mut about = About::new(relevant, names.len(), own);
        for (number, (_, attached)) in relevant.iter().enumerate() {
            let resources = attached.statement.resources.as_ref();
            for pattern in resources.map_or(&[][..], Choice::patterns) {
                match pattern.parts() {
                    None => about.add_all(number),
                    Some([.., name]) => {
                        if let Some(name) = place(name) {
                            about.add(number, name, self.before_name(profile, pattern));
                        }
                    }
                }
            }
        }
        let Some(classes) = self.classes(names) else {
            profile.add(about.of_whatever(), granted);
            return;
        };
        let mut widest = None;
        for class in classes.iter() {
            let mut matched = about.of(class);
            if granted.is_full() {
                // There are too many kinds of domains to know of each what denies it.
                let widest = widest.get_or_insert_with(|| about.of_whatever());
                matched.denies.clone_from(&widest.denies);
                matched.boundary.clone_from(&widest.boundary);
                if profile.is_foreign {
                    matched.resource.clone_from(&widest.resource);
                }
            }
            profile.add(matched, granted);
        }
    }

    /// The kinds of domains that names tell apart; none if too many were looked into already.
    fn classes(&mut self, names: Vec<&'b Pattern>) -> Option<Rc<BTreeSet<names::Class>>> {
        if names.len() > self.kinds {
            return None;
        }
        let classes = match self.classes.entry(names) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let classes = names::classes(entry.key(), &mut self.steps);
                entry.insert(Rc::new(classes.into_iter().collect()))
            }
        };
        self.kinds = self.kinds.saturating_sub(classes.len());
        Some(Rc::clone(classes))
    }

    /// Whether a pattern matches all parts but the last of the ARNs that callers' requests can be about.
    fn before_name(&self, profile: &Profile, pattern: &ResourcePattern) -> Certainty {
        let Some(patterns) = pattern.parts() else {
            return Certainty::Sure;
        };
        let before = before_domain(self.documents.region(), &profile.account);
        let certainties = patterns.iter().zip(before).map(|(pattern, text)| {
            if pattern.matches_all() {
                Certainty::Sure
            } else if text.is_empty() || pattern.variables().next().is_some() {
                Certainty::Possible
            } else {
                Certainty::certain(pattern.matches(text, &Context::default()))
            }
        });
        certainties.min().unwrap_or(Certainty::Sure)
    }
}

/// Lists of which one each has to allow, and the list of which none must deny.
type Terms = (Vec<Vec<usize>>, Vec<usize>);

/// Grants by what else has to allow them, and what denies them.
///
/// What several statements let in is what each of them does, so those of the same terms are one grant.
struct Granted {
    /// How each of the host's statements means the callers, by its index.
    meant: Vec<Option<Meant>>,
    /// For each statement, by its index, whether it allows.
    allows: HashMap<Terms, Vec<bool>>,
    /// Statements in all terms together.
    size: usize,
}

impl Granted {
    /// Statements in the terms of a host's callers of one profile, at most: some 16 MiB, and as many sets of sources.
    const MOST: usize = 2 << 20;

    fn new(profile: &Profile) -> Self {
        let mut meant = Vec::new();
        for (index, how) in &profile.resource {
            meant.resize(*index, None);
            meant.push(Some(*how));
        }
        Self {
            meant,
            allows: HashMap::new(),
            size: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.size > Self::MOST
    }

    /// Those of some statements of the host that mean callers in some way.
    fn meant_as(&self, statements: &[usize], is: fn(Meant) -> bool) -> Vec<usize> {
        let how = |index: &&usize| self.meant.get(**index).copied().flatten();
        let statements = statements.iter();
        statements
            .filter(|index| how(index).is_some_and(is))
            .copied()
            .collect()
    }

    fn add(&mut self, allows: &[usize], terms: Terms) {
        let (limits, denies) = &terms;
        if allows.is_empty() || limits.iter().any(Vec::is_empty) {
            return;
        }
        let size = limits.iter().map(Vec::len).sum::<usize>() + denies.len();
        let known = self.allows.entry(terms).or_insert_with(|| {
            self.size += size;
            Vec::new()
        });
        for index in allows {
            if known.len() <= *index {
                known.resize(*index + 1, false);
            }
            if let Some(allows) = known.get_mut(*index) {
                *allows = true;
            }
        }
    }

    fn into_grants(self) -> Vec<Grant> {
        let numbered = |allows: Vec<bool>| {
            let allows = allows.into_iter().enumerate();
            allows.filter_map(|(index, allows)| allows.then_some(index))
        };
        let grants = self.allows.into_iter();
        grants
            .map(|((limits, denies), allows)| Grant {
                allows: numbered(allows).collect(),
                limits,
                denies,
            })
            .collect()
    }
}

impl Profile {
    fn add(&self, matched: Matched, granted: &mut Granted) {
        let Matched {
            identity,
            boundary,
            resource,
            denies,
        } = matched;
        let boundary: Vec<Vec<usize>> = self.boundary.iter().map(|_| boundary.clone()).collect();
        if self.is_foreign {
            granted.add(&identity, ([vec![resource], boundary].concat(), denies));
            return;
        }
        let by_name = granted.meant_as(&resource, |meant| meant == Meant::ByName);
        // What is allowed to an account is for its own documents to hand on, if they are known.
        let others = match self.identity {
            Some(_) => granted.meant_as(&resource, |meant| meant != Meant::ByAccount),
            None => resource,
        };
        granted.add(&by_name, (Vec::new(), denies.clone()));
        granted.add(&[identity, others].concat(), (boundary, denies));
    }
}
