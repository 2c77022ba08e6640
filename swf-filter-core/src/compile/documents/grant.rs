//! Which statements decide about requests of one kind: of the same callers, for the same actions, on the same domains.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::names::{self, Certainty};
use super::party::Party;
use super::{Attached, Own};
use crate::iam::arn::{ResourcePattern, before_domain};
use crate::iam::authorize::Side;
use crate::iam::pattern::{Case, Variables, Wildcards};
use crate::iam::principal::Caller;
use crate::iam::{Choice, Context, Effect, Pattern, Statement};
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
    documents: &'b HostDocuments,
    /// The only domains that the host's documents are about; all if empty.
    domains: &'b [Pattern],
    /// By their patterns. Callers with the same ones are many.
    classes: HashMap<Vec<&'b Pattern>, Rc<HashSet<names::Class>>>,
    steps: names::Steps,
}

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
        Self {
            statements,
            documents,
            domains,
            classes: HashMap::new(),
            steps: names::Steps::default(),
        }
    }

    /// What may be granted to a caller.
    pub(super) fn of(&mut self, party: &Party<'a>, own: &Own) -> HashSet<Grant> {
        let mut grants = HashSet::new();
        for relevant in self.by_action(party, own) {
            let mut effects = relevant
                .iter()
                .map(|(_, attached)| attached.statement.effect);
            if effects.any(|effect| effect == Effect::Allow) {
                for matched in self.by_domain(party, &relevant) {
                    self.add(party, own, matched, &mut grants);
                }
            }
        }
        grants
    }

    /// The statements about a caller's requests: one set for each kind of action.
    fn by_action(&self, party: &Party<'_>, own: &Own) -> Vec<Vec<(usize, Attached<'a>)>> {
        let bounded = own.boundary.is_some();
        let resource = (0..self.statements.len()).filter(|index| {
            let attached = self.statements.get(*index);
            attached.is_some_and(|attached| {
                attached.side == Side::Resource
                    && attached.statement.is_about(&party.caller, bounded)
            })
        });
        let lists = [&own.identity, &own.boundary].into_iter().flatten();
        let all = resource.chain(lists.flatten().copied());
        let all: Vec<(usize, Attached<'a>)> = all
            .filter_map(|index| Some((index, *self.statements.get(index)?)))
            .collect();
        // Permissions of decisions are asked for inside of an operation only, which must be allowed itself.
        let operations = Action::ALL
            .into_iter()
            .filter(|action| !action.is_decision());
        let mut kinds = HashSet::new();
        let mut lists = Vec::new();
        for action in operations {
            let about = all
                .iter()
                .filter(|(_, attached)| attached.statement.actions.set.contains(action));
            let about: Vec<_> = about.copied().collect();
            let kind: Vec<usize> = about.iter().map(|(index, _)| *index).collect();
            if kinds.insert(kind) {
                lists.push(about);
            }
        }
        lists
    }

    /// Those of some statements that are about a domain, for each kind of domain.
    fn by_domain(&mut self, party: &Party<'_>, relevant: &[(usize, Attached<'a>)]) -> Vec<Matched> {
        let patterns = relevant
            .iter()
            .filter_map(|(_, attached)| attached.statement.resources.as_ref())
            .flat_map(Choice::patterns)
            .filter_map(|pattern| pattern.parts()?.last())
            .chain(self.domains);
        let patterns: BTreeSet<&'b Pattern> = patterns.collect();
        let patterns: Vec<&'b Pattern> = patterns.into_iter().collect();
        let classes = self
            .classes
            .entry(patterns.clone())
            .or_insert_with(|| Rc::new(names::classes(&patterns, &mut self.steps)));
        let classes = Rc::clone(classes);
        // All but the name is the same for all domains.
        let before = relevant.iter().map(|(_, attached)| {
            let resources = attached.statement.resources.as_ref();
            let patterns = resources.map_or(&[][..], Choice::patterns).iter();
            patterns
                .map(|pattern| self.before_name(party, pattern))
                .collect()
        });
        let before: Vec<Vec<Certainty>> = before.collect();
        let by_class = classes.iter().map(|class| {
            let name = |pattern: &Pattern| {
                let place = patterns.binary_search(&pattern).ok();
                let certainty = place.and_then(|place| class.get(place)).copied();
                certainty.unwrap_or(Certainty::Possible)
            };
            let own = self.domains.iter().map(name).max();
            let own = own.unwrap_or(Certainty::Sure);
            let mut matched = Matched::default();
            for ((index, attached), before) in relevant.iter().zip(&before) {
                let certainty = is_about(attached.statement, before, name);
                let certainty = match attached.side {
                    Side::Resource => certainty.min(own),
                    _ => certainty,
                };
                matched.add(*index, attached, certainty);
            }
            matched
        });
        by_class.collect()
    }

    /// Whether a pattern matches all parts but the last of the ARNs that a caller's requests can be about.
    fn before_name(&self, party: &Party<'_>, pattern: &ResourcePattern) -> Certainty {
        let Some(patterns) = pattern.parts() else {
            return Certainty::Sure;
        };
        let own = self.documents.account.as_deref();
        let account = own.unwrap_or(party.caller.account());
        let before = before_domain(self.documents.region(), account);
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

    fn add(&self, party: &Party<'_>, own: &Own, matched: Matched, grants: &mut HashSet<Grant>) {
        let Matched {
            identity,
            boundary,
            resource,
            denies,
        } = matched;
        let boundary: Vec<Vec<usize>> = own.boundary.iter().map(|_| boundary.clone()).collect();
        let mut add = |allows: Vec<usize>, limits: Vec<Vec<usize>>| {
            if !allows.is_empty() && limits.iter().all(|limit| !limit.is_empty()) {
                grants.insert(Grant {
                    allows,
                    limits,
                    denies: denies.clone(),
                });
            }
        };
        if !self.documents.is_of_account(party.caller.account()) {
            add(identity, [vec![resource], boundary].concat());
            return;
        }
        let of = |is: fn(&Statement, &Caller) -> bool| {
            let indices = resource.iter().copied();
            let indices = indices.filter(|index| {
                let attached = self.statements.get(*index);
                attached.is_some_and(|attached| is(attached.statement, &party.caller))
            });
            indices.collect::<Vec<usize>>()
        };
        // What is allowed to an account is for its own documents to hand on, if they are known.
        let granted = match own.identity {
            Some(_) => of(Statement::grants),
            None => resource.clone(),
        };
        add(of(Statement::names), Vec::new());
        add([identity, granted].concat(), boundary);
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

/// Whether a statement is about domains: `before` says which of its patterns match all parts but the last of their
/// ARNs, and `name` whether one matches the last.
fn is_about(
    statement: &Statement,
    before: &[Certainty],
    name: impl Fn(&Pattern) -> Certainty,
) -> Certainty {
    let Some(resources) = &statement.resources else {
        return Certainty::Sure;
    };
    let patterns = resources.patterns().iter().zip(before);
    let matches = patterns.map(|(pattern, before)| {
        let name = pattern
            .parts()
            .map_or(Certainty::Sure, |[.., last]| name(last));
        name.min(*before)
    });
    let best = matches.max().unwrap_or(Certainty::Never);
    match resources {
        Choice::Of(_) => best,
        Choice::Not(_) => best.not(),
    }
}
