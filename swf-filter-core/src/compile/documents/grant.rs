//! Which statements decide about requests of one kind: of the same callers, for the same actions, on the same domains.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

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
    /// All statements that count.
    pub(super) fn statements(&self) -> impl Iterator<Item = usize> {
        let limits = self.limits.iter().flatten();
        self.allows
            .iter()
            .chain(limits)
            .chain(&self.denies)
            .copied()
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
    /// By their patterns. Callers with the same ones are many.
    classes: HashMap<Vec<&'b Pattern>, Rc<HashSet<names::Class>>>,
    steps: names::Steps,
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

/// A statement that says something of a caller's requests.
type Relevant<'a> = (usize, Attached<'a>);

/// Statements about requests of some kind, by how they count.
#[derive(Default)]
struct Matched {
    identity: Vec<usize>,
    boundary: Vec<usize>,
    /// Those of the host that allow.
    resource: Vec<usize>,
    denies: Vec<usize>,
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
        }
    }

    /// What statements say of a caller.
    pub(super) fn profile(&self, party: &Party<'a>, own: Own) -> Profile {
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
            identity: own.identity,
            boundary: own.boundary,
            account: Arc::clone(self.documents.account.as_ref().unwrap_or(caller.account())),
            is_foreign: !self.documents.is_of_account(caller.account()),
        }
    }

    /// What may be granted to callers.
    pub(super) fn of(&mut self, profile: &Profile) -> HashSet<Grant> {
        let mut grants = HashSet::new();
        for relevant in self.by_action(profile) {
            let mut effects = relevant
                .iter()
                .map(|(_, attached)| attached.statement.effect);
            if effects.any(|effect| effect == Effect::Allow) {
                for matched in self.by_domain(profile, &relevant) {
                    profile.add(matched, &mut grants);
                }
            }
        }
        grants
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
        let sets: HashSet<ActionSet> = sets.collect();
        // Permissions of decisions are asked for inside of an operation only, which must be allowed itself.
        let operations = Action::ALL
            .into_iter()
            .filter(|action| !action.is_decision());
        let kinds: HashMap<Vec<bool>, Action> = operations
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

    /// Those of some statements that are about a domain, for each kind of domain.
    fn by_domain(&mut self, profile: &Profile, relevant: &[Relevant<'a>]) -> Vec<Matched> {
        let names = relevant
            .iter()
            .filter_map(|(_, attached)| attached.statement.resources.as_ref())
            .flat_map(Choice::patterns)
            .filter_map(|pattern| pattern.parts()?.last())
            .chain(self.domains);
        let names: BTreeSet<&'b Pattern> = names.collect();
        let names: Vec<&'b Pattern> = names.into_iter().collect();
        let classes = self
            .classes
            .entry(names.clone())
            .or_insert_with(|| Rc::new(names::classes(&names, &mut self.steps)));
        let classes = Rc::clone(classes);
        let place = |name: &Pattern| names.binary_search(&name).ok();
        // What each name does for statements: to which it belongs, and how sure it is that the rest of the ARN matches.
        let mut uses: Vec<Vec<(usize, Certainty)>> = vec![Vec::new(); names.len()];
        let mut whatever_name: Vec<Certainty> = Vec::with_capacity(relevant.len());
        for (number, (_, attached)) in relevant.iter().enumerate() {
            let resources = attached.statement.resources.as_ref();
            // Without resources, it is about all of them.
            let mut whatever = Certainty::certain(resources.is_none());
            for pattern in resources.map_or(&[][..], Choice::patterns) {
                let before = self.before_name(profile, pattern);
                match pattern.parts() {
                    None => whatever = Certainty::Sure,
                    Some([.., name]) => {
                        let uses = place(name).and_then(|place| uses.get_mut(place));
                        if let Some(uses) = uses {
                            uses.push((number, before));
                        }
                    }
                }
            }
            whatever_name.push(whatever);
        }
        let own: HashSet<usize> = self.domains.iter().filter_map(place).collect();
        // Most statements are about nothing else than the domains that they name.
        let is_often = |number: &usize| {
            let whatever = whatever_name.get(*number) != Some(&Certainty::Never);
            let resources = relevant
                .get(*number)
                .map(|(_, attached)| &attached.statement.resources);
            whatever || matches!(resources, Some(Some(Choice::Not(_))))
        };
        let often: Vec<usize> = (0..relevant.len()).filter(is_often).collect();
        let by_class = classes.iter().map(|class| {
            let mut certainties: BTreeMap<usize, Certainty> = often
                .iter()
                .filter_map(|number| Some((*number, *whatever_name.get(*number)?)))
                .collect();
            let mut is_own = Certainty::certain(own.is_empty());
            for (place, certainty) in class {
                if own.contains(place) {
                    is_own = is_own.max(*certainty);
                }
                for (number, before) in uses.get(*place).into_iter().flatten() {
                    let known = certainties.entry(*number).or_insert(Certainty::Never);
                    *known = (*known).max((*certainty).min(*before));
                }
            }
            let mut matched = Matched::default();
            for (number, certainty) in certainties {
                if let Some((index, attached)) = relevant.get(number) {
                    let certainty = match &attached.statement.resources {
                        Some(Choice::Not(_)) => certainty.not(),
                        _ => certainty,
                    };
                    let certainty = match attached.side {
                        Side::Resource => certainty.min(is_own),
                        _ => certainty,
                    };
                    matched.add(*index, attached, certainty);
                }
            }
            matched
        });
        by_class.collect()
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

impl Profile {
    fn add(&self, matched: Matched, grants: &mut HashSet<Grant>) {
        let Matched {
            identity,
            boundary,
            resource,
            denies,
        } = matched;
        let boundary: Vec<Vec<usize>> = self.boundary.iter().map(|_| boundary.clone()).collect();
        let mut add = |allows: Vec<usize>, limits: Vec<Vec<usize>>| {
            if !allows.is_empty() && limits.iter().all(|limit| !limit.is_empty()) {
                grants.insert(Grant {
                    allows,
                    limits,
                    denies: denies.clone(),
                });
            }
        };
        if self.is_foreign {
            add(identity, [vec![resource], boundary].concat());
            return;
        }
        let of = |is: fn(Meant) -> bool| {
            let indices = resource.iter().copied();
            let indices = indices.filter(|index| self.meant(*index).is_some_and(is));
            indices.collect::<Vec<usize>>()
        };
        // What is allowed to an account is for its own documents to hand on, if they are known.
        let granted = match self.identity {
            Some(_) => of(|meant| meant != Meant::ByAccount),
            None => resource.clone(),
        };
        add(of(|meant| meant == Meant::ByName), Vec::new());
        add([identity, granted].concat(), boundary);
    }

    fn meant(&self, index: usize) -> Option<Meant> {
        let place = self
            .resource
            .binary_search_by_key(&index, |(index, _)| *index);
        let (_, meant) = self.resource.get(place.ok()?)?;
        Some(*meant)
    }
}

impl Matched {
    /// Takes a statement that allows if it may be about the requests, and one that denies if it is sure to be.
    fn add(&mut self, index: usize, attached: &Attached<'_>, certainty: Certainty) {
        let (list, least) = match (attached.statement.effect, attached.side) {
            (Effect::Deny, _) => (&mut self.denies, Certainty::Sure),
            (Effect::Allow, Side::Resource) => (&mut self.resource, Certainty::Possible),
            (Effect::Allow, Side::Boundary) => (&mut self.boundary, Certainty::Possible),
            (Effect::Allow, Side::Identity | Side::Session) => {
                (&mut self.identity, Certainty::Possible)
            }
        };
        if certainty >= least {
            list.push(index);
        }
    }
}
