//! IAM policy documents: the language, and what it decides.
//!
//! [`parse()`] turns a document into a [`Document`] or refuses it: an operator, key or action that is not understood is an
//! error at load, so that evaluation has no cases left that it could skip. [`authorize`] decides one request.
//! `docs/iam.md` is the specification.

pub mod addresses;
pub mod arn;
pub mod authorize;
pub mod condition;
pub mod context;
pub mod fault;
mod index;
pub mod key;
pub mod limits;
pub mod lists;
mod meter;
mod parse;
pub mod pattern;
pub mod principal;
mod print;
mod value;

use std::ops::Deref;
use std::sync::Arc;

pub use self::arn::ArnPattern;
use self::arn::ResourcePattern;
pub use self::condition::Condition;
pub use self::context::Context;
pub use self::fault::DocumentFault;
use self::lists::{Arns, Principals};
pub use self::meter::Meter;
pub use self::parse::parse;
pub use self::pattern::Pattern;
use crate::policy::Origin;
use crate::sts;
use crate::swf::Action;

/// A policy document.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file, as it was named to the parser.
    pub name: Arc<str>,
    /// What it may be attached to.
    pub kind: Kind,
    /// Which version of the language it is written in.
    pub version: Version,
    /// Its `Id`.
    pub id: Option<Arc<str>>,
    /// Its statements.
    pub statements: Vec<Statement>,
}

/// What a document is attached to, which decides on the elements that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A user or role, be it as a policy of its own, a boundary or a session policy: no `Principal`.
    Identity,
    /// A host: `Principal` and `Resource`.
    Resource,
    /// A role, to say who may assume it: `Principal`, no `Resource`.
    Trust,
}

/// A version of the policy language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Version {
    /// `2008-10-17`, which knows no variables; also that of a document that names none.
    #[default]
    V2008,
    /// `2012-10-17`.
    V2012,
}

impl Version {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V2008 => "2008-10-17",
            Self::V2012 => "2012-10-17",
        }
    }
}

/// Allow or deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// A request may be made.
    Allow,
    /// A request must not be made, whatever else is said.
    Deny,
}

impl Effect {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}

/// One statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Its `Sid`.
    pub sid: Option<Arc<str>>,
    /// Where it starts.
    pub origin: Origin,
    /// What it does to a request that it matches.
    pub effect: Effect,
    /// Whose requests; none in an identity policy.
    pub principals: Option<Choice<Principals>>,
    /// Which actions.
    pub actions: Actions,
    /// Which resources; none in a trust policy.
    pub resources: Option<Choice<Arns<ResourcePattern>>>,
    /// What must hold besides, all of it.
    pub conditions: Vec<Condition>,
}

/// `Action` and `NotAction`, `Principal` and `NotPrincipal`, `Resource` and `NotResource`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice<L> {
    /// One of these.
    Of(L),
    /// None of these.
    Not(L),
}

impl<L> Choice<L> {
    /// The list, whichever way it is meant.
    #[must_use]
    pub fn list(&self) -> &L {
        match self {
            Self::Of(list) | Self::Not(list) => list,
        }
    }

    /// Whether what `matches` finds in the list, or fails to find, is meant.
    pub fn meets(&self, matches: impl FnOnce(&L) -> bool) -> bool {
        match self {
            Self::Of(list) => matches(list),
            Self::Not(list) => !matches(list),
        }
    }
}

impl<L: Deref> Choice<L> {
    /// The patterns, whichever way they are meant.
    #[must_use]
    pub fn patterns(&self) -> &L::Target {
        self.list()
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    /// A role.
    Sts(sts::Action),
    /// Something of SWF.
    Swf(Action),
}

impl From<Action> for Asked {
    fn from(action: Action) -> Self {
        Self::Swf(action)
    }
}

impl From<sts::Action> for Asked {
    fn from(action: sts::Action) -> Self {
        Self::Sts(action)
    }
}

/// The actions of a statement: as written, and as the sets of SWF's and STS's actions that they come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actions {
    /// As written.
    pub patterns: Choice<Vec<Arc<str>>>,
    /// Those of SWF that they come to.
    pub set: ActionSet,
    /// Those of STS that they come to.
    pub sts: StsActions,
}

impl Actions {
    /// Whether what is asked for is one of them.
    #[must_use]
    pub fn contains(&self, asked: Asked) -> bool {
        match asked {
            Asked::Sts(action) => self.sts.contains(action),
            Asked::Swf(action) => self.set.contains(action),
        }
    }
}

/// A set of STS's actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StsActions(u8);

impl StsActions {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        sts::Action::ALL.into_iter().collect()
    }

    /// Whether `action` is one of them.
    #[must_use]
    pub fn contains(self, action: sts::Action) -> bool {
        self.0 & sts_bit(action) != 0
    }

    /// Those that are in one of both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in this set.
    #[must_use]
    pub fn complement(self) -> Self {
        Self(Self::all().0 & !self.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<sts::Action> for StsActions {
    fn from_iter<I: IntoIterator<Item = sts::Action>>(actions: I) -> Self {
        Self(
            actions
                .into_iter()
                .map(sts_bit)
                .fold(0, |set, bit| set | bit),
        )
    }
}

const fn sts_bit(action: sts::Action) -> u8 {
    1 << action as u8
}

/// A set of SWF's actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionSet(u64);

impl ActionSet {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Action::ALL.into_iter().collect()
    }

    /// Whether `action` is one of them.
    #[must_use]
    pub fn contains(self, action: Action) -> bool {
        self.0 & bit(action) != 0
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in this set.
    #[must_use]
    pub fn complement(self) -> Self {
        Self(Self::all().0 & !self.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The actions, in the order of [`Action::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL
            .into_iter()
            .filter(move |action| self.contains(*action))
    }
}

impl FromIterator<Action> for ActionSet {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        Self(actions.into_iter().map(bit).fold(0, |set, bit| set | bit))
    }
}

/// There are 51 actions, so that one word holds a set of them.
fn bit(action: Action) -> u64 {
    1u64.checked_shl(u32::try_from(action.index()).unwrap_or(u32::MAX))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
