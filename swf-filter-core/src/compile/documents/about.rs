//! Which of some statements are about the domains of a class, and how each counts then.
//!
//! Classes have most statements in common: those that are about whatever domain, or about all but some. These are gathered once,
//! and what differs is worked out for each class.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Attached;
use super::names::{Certainty, Class};
use crate::iam::authorize::Side;
use crate::iam::{Choice, Effect};

/// A statement that says something of a caller's requests, with its index.
pub(super) type Relevant<'a> = (usize, Attached<'a>);

/// Statements about requests of some kind, by how they count: their indices, ascending.
#[derive(Clone, Default)]
pub(super) struct Matched {
    pub(super) identity: Vec<usize>,
    pub(super) boundary: Vec<usize>,
    /// Those of the host that allow.
    pub(super) resource: Vec<usize>,
    pub(super) denies: Vec<usize>,
}

/// How a statement counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Boundary,
    Deny,
    Identity,
    Resource,
}

/// What some statements are about. Statements and names go by their places in lists.
pub(super) struct About<'r, 'a> {
    relevant: &'r [Relevant<'a>],
    /// What each name does for statements: to which it belongs, and how sure it is that the rest of the ARN matches.
    uses: Vec<Vec<(usize, Certainty)>>,
    /// How sure it is of each statement that it is about a domain, whatever its name.
    whatever: Vec<Certainty>,
    /// Those that are about more than the domains that they name. Most are not.
    often: HashSet<usize>,
    /// The names of the only domains that the host's documents are about; all if empty.
    own: HashSet<usize>,
    common: HashMap<Certainty, Matched>,
}

impl<'r, 'a> About<'r, 'a> {
    pub(super) fn new(relevant: &'r [Relevant<'a>], names: usize, own: HashSet<usize>) -> Self {
        let resources = |(_, attached): &Relevant<'a>| attached.statement.resources.as_ref();
        // Without resources, it is about all of them.
        let whatever = relevant
            .iter()
            .map(|one| Certainty::certain(resources(one).is_none()));
        let is_exception = |(_, one): &(usize, &Relevant<'a>)| {
            resources(one).is_none_or(|choice| matches!(choice, Choice::Not(_)))
        };
        let often = relevant.iter().enumerate().filter(is_exception);
        Self {
            relevant,
            uses: vec![Vec::new(); names],
            whatever: whatever.collect(),
            often: often.map(|(number, _)| number).collect(),
            own,
            common: HashMap::new(),
        }
    }

    /// Takes note that a statement is about all domains.
    pub(super) fn add_all(&mut self, statement: usize) {
        if let Some(whatever) = self.whatever.get_mut(statement) {
            *whatever = Certainty::Sure;
            self.often.insert(statement);
        }
    }

    /// Takes note that a statement is about the domains of a name, as sure as the rest of the ARN matches.
    pub(super) fn add(&mut self, statement: usize, name: usize, rest: Certainty) {
        if let Some(uses) = self.uses.get_mut(name) {
            uses.push((statement, rest));
        }
    }

    /// The statements that count for domains of a class.
    pub(super) fn of(&mut self, class: &Class) -> Matched {
        let is_own = self.is_own(class);
        let common = self.common.get(&is_own).cloned();
        let mut matched = common.unwrap_or_else(|| {
            let common = self.common(is_own);
            self.common.insert(is_own, common.clone());
            common
        });
        let mut special: BTreeMap<usize, Certainty> = BTreeMap::new();
        for (name, certainty) in class {
            for (statement, rest) in self.uses.get(*name).into_iter().flatten() {
                let known = special.entry(*statement).or_insert(Certainty::Never);
                *known = (*known).max((*certainty).min(*rest));
            }
        }
        for (statement, certainty) in special {
            let whatever = self.whatever(statement);
            let is_often = self.often.contains(&statement);
            let before = is_often.then(|| self.part(statement, whatever, is_own));
            let now = self.part(statement, certainty.max(whatever), is_own);
            if let Some((index, _)) = self.relevant.get(statement)
                && before.flatten() != now
            {
                matched.change(*index, before.flatten(), now);
            }
        }
        matched.sort();
        matched
    }

    /// What limits and what denies requests about whatever domain: at least so much, and at most so much.
    pub(super) fn of_whatever(&self) -> Matched {
        let mut matched = Matched::default();
        for (number, (index, attached)) in self.relevant.iter().enumerate() {
            let is_sure = self.whatever(number) == Certainty::Sure
                && !matches!(attached.statement.resources, Some(Choice::Not(_)))
                && (attached.side != Side::Resource || self.own.is_empty());
            let part = match attached.statement.effect {
                Effect::Allow => Part::of(attached, Certainty::Possible),
                Effect::Deny => is_sure.then_some(Part::Deny),
            };
            if let Some(part) = part {
                matched.list(part).push(*index);
            }
        }
        matched.sort();
        matched
    }

    fn common(&self, is_own: Certainty) -> Matched {
        let mut matched = Matched::default();
        for number in &self.often {
            let part = self.part(*number, self.whatever(*number), is_own);
            if let Some((part, (index, _))) = part.zip(self.relevant.get(*number)) {
                matched.list(part).push(*index);
            }
        }
        matched.sort();
        matched
    }

    fn whatever(&self, statement: usize) -> Certainty {
        let whatever = self.whatever.get(statement).copied();
        whatever.unwrap_or(Certainty::Never)
    }

    /// Whether the host's documents are about the domains of a class.
    fn is_own(&self, class: &Class) -> Certainty {
        let names = class.iter().filter(|(name, _)| self.own.contains(name));
        let most = names.map(|(_, certainty)| *certainty).max();
        let least = Certainty::certain(self.own.is_empty());
        most.map_or(least, |most| most.max(least))
    }

    /// How a statement counts for domains that its resources match with some certainty.
    fn part(&self, statement: usize, certainty: Certainty, is_own: Certainty) -> Option<Part> {
        let (_, attached) = self.relevant.get(statement)?;
        let certainty = match &attached.statement.resources {
            Some(Choice::Not(_)) => certainty.not(),
            _ => certainty,
        };
        let certainty = match attached.side {
            Side::Resource => certainty.min(is_own),
            _ => certainty,
        };
        Part::of(attached, certainty)
    }
}

impl Part {
    /// A statement that allows counts if it may be about requests, and one that denies if it is sure to be.
    fn of(attached: &Attached<'_>, certainty: Certainty) -> Option<Self> {
        let (part, least) = match (attached.statement.effect, attached.side) {
            (Effect::Deny, _) => (Self::Deny, Certainty::Sure),
            (Effect::Allow, Side::Resource) => (Self::Resource, Certainty::Possible),
            (Effect::Allow, Side::Boundary) => (Self::Boundary, Certainty::Possible),
            (Effect::Allow, Side::Identity | Side::Session) => {
                (Self::Identity, Certainty::Possible)
            }
        };
        (certainty >= least).then_some(part)
    }
}

impl Matched {
    fn list(&mut self, part: Part) -> &mut Vec<usize> {
        match part {
            Part::Boundary => &mut self.boundary,
            Part::Deny => &mut self.denies,
            Part::Identity => &mut self.identity,
            Part::Resource => &mut self.resource,
        }
    }

    fn change(&mut self, index: usize, before: Option<Part>, now: Option<Part>) {
        if let Some(part) = before {
            self.list(part).retain(|own| *own != index);
        }
        if let Some(part) = now {
            self.list(part).push(index);
        }
    }

    fn sort(&mut self) {
        for part in [Part::Boundary, Part::Deny, Part::Identity, Part::Resource] {
            self.list(part).sort_unstable();
        }
    }
}
