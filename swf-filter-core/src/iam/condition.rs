//! Conditions: an operator, a key, and the values that it is compared with.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::addresses::AddressSet;
use super::arn::ArnPattern;
use super::context::Context;
use super::key::Key;
use super::lists::{Arns, Patterns};
use super::value;
use crate::policy::Origin;
use crate::policy::fault::nearest;

/// One key of one operator of a `Condition`.
#[derive(Clone, Debug)]
pub struct Condition {
    /// How values are compared.
    pub operator: Operator,
    /// What is compared.
    pub key: Key,
    /// With what.
    pub values: Values,
    /// The values as written.
    pub texts: Vec<Arc<str>>,
    /// Where the key stands.
    pub origin: Origin,
}

/// An operator with what stands before and after its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    /// What is compared.
    pub test: Test,
    /// What a missing key does.
    pub missing: Missing,
    /// How a key with several values is taken.
    pub quantifier: Quantifier,
}

/// What an operator compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// `IpAddress`, `NotIpAddress`.
    Address(Sense),
    /// `ArnEquals` and `ArnLike`, which are the same, and their negations.
    Arn(ArnForm, Sense),
    /// `BinaryEquals`.
    Binary,
    /// `Bool`.
    Bool,
    /// `DateEquals` and the like.
    Date(Relation),
    /// `Null`.
    Null,
    /// `NumericEquals` and the like.
    Number(Relation),
    /// `StringEquals` and the like.
    Text(TextForm, Sense),
}

impl Test {
    /// Whether a match makes it true.
    #[must_use]
    pub fn sense(self) -> Sense {
        match self {
            Self::Address(sense) | Self::Arn(_, sense) | Self::Text(_, sense) => sense,
            Self::Date(Relation::NotEquals) | Self::Number(Relation::NotEquals) => Sense::Negated,
            Self::Binary | Self::Bool | Self::Date(_) | Self::Null | Self::Number(_) => {
                Sense::Plain
            }
        }
    }
}

/// Whether a match makes an operator true, or false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sense {
    /// `StringNotEquals`.
    Negated,
    /// `StringEquals`.
    Plain,
}

/// How the operator on ARNs was spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArnForm {
    /// `ArnEquals`.
    Equals,
    /// `ArnLike`.
    Like,
}

/// How texts are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextForm {
    /// Character by character.
    Equals,
    /// Ignoring case.
    EqualsIgnoreCase,
    /// With wildcards.
    Like,
}

/// How numbers and dates are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Equal.
    Equals,
    /// Above.
    GreaterThan,
    /// Above or equal.
    GreaterThanEquals,
    /// Below.
    LessThan,
    /// Below or equal.
    LessThanEquals,
    /// Not equal.
    NotEquals,
}

/// What a missing key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// It makes the operator true: `...IfExists`.
    Holds,
    /// It makes a plain operator false, and a negated one true.
    Plain,
}

/// How a key with several values is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantifier {
    /// `ForAllValues:`
    All,
    /// `ForAnyValue:`
    Any,
    /// None is written.
    Plain,
}

/// What a key is compared with.
#[derive(Clone, Debug)]
pub enum Values {
    /// Addresses.
    Addresses(AddressSet),
    /// Patterns of ARNs.
    Arns(Arns<ArnPattern>),
    /// Bytes.
    Binary(HashSet<Vec<u8>>),
    /// Truth values.
    Bools(Vec<bool>),
    /// Points in time, in nanoseconds since 1970.
    Dates(Vec<i128>),
    /// Whether the key has to be missing: `true`, or there: `false`. Both may be written.
    Missing(Vec<bool>),
    /// Numbers.
    Numbers(Vec<f64>),
    /// Patterns of texts.
    Texts(Patterns),
}

impl Condition {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, context: &Context<'_>) -> bool {
        context.spend_looks(1);
        self.holds_for(context.values(self.key.name()), context)
    }

    /// Whether it holds if the key has `values`, of which none means that it is missing.
    #[must_use]
    pub fn holds_for<'v>(
        &self,
        mut values: impl Iterator<Item = &'v str> + Clone,
        context: &Context<'_>,
    ) -> bool {
        let is_missing = values.clone().next().is_none();
        if let Values::Missing(wanted) = &self.values {
            return wanted.contains(&is_missing);
        }
        let negated = self.operator.test.sense() == Sense::Negated;
        let matches = |value: &str| self.values.match_any(self.operator, value, context);
        match self.operator.quantifier {
            Quantifier::All => values.all(|value| matches(value) != negated),
            Quantifier::Any | Quantifier::Plain
                if is_missing && self.operator.missing == Missing::Holds =>
            {
                true
            }
            Quantifier::Any => values.any(|value| matches(value) != negated),
            Quantifier::Plain => values.any(matches) != negated,
        }
    }
}

impl Values {
    /// Whether one of them matches `value`. What is of another type matches none.
    fn match_any(&self, operator: Operator, value: &str, context: &Context<'_>) -> bool {
        context.spend(value.len() + self.count());
        match self {
            Self::Addresses(set) => value::contains(set, value),
            Self::Arns(patterns) => is_arn(value) && patterns.matches(value, context),
            Self::Binary(wanted) => {
                value::binary(value).is_some_and(|value| wanted.contains(&value))
            }
            Self::Bools(wanted) => {
                value::boolean(value).is_some_and(|value| wanted.contains(&value))
            }
            Self::Dates(wanted) => value::date(value)
                .is_some_and(|value| wanted.iter().any(|wanted| operator.relates(&value, wanted))),
            Self::Missing(_) => false,
            Self::Numbers(wanted) => value::number(value)
                .is_some_and(|value| wanted.iter().any(|wanted| operator.relates(&value, wanted))),
            Self::Texts(patterns) => patterns.matches(value, context),
        }
    }
}

impl Values {
    /// How many are looked at, besides patterns, which pay for themselves.
    fn count(&self) -> usize {
        match self {
            Self::Addresses(_) | Self::Arns(_) | Self::Binary(_) | Self::Texts(_) => 1,
            Self::Bools(list) | Self::Missing(list) => list.len(),
            Self::Dates(list) => list.len(),
            Self::Numbers(list) => list.len(),
        }
    }
}

fn is_arn(value: &str) -> bool {
    value.starts_with("arn:")
}

impl Operator {
    fn relates<T: PartialOrd>(self, value: &T, wanted: &T) -> bool {
        let (Test::Date(relation) | Test::Number(relation)) = self.test else {
            return false;
        };
        match relation {
            // That it is negated is seen to where matches are counted.
            Relation::Equals | Relation::NotEquals => value == wanted,
            Relation::GreaterThan => value > wanted,
            Relation::GreaterThanEquals => value >= wanted,
            Relation::LessThan => value < wanted,
            Relation::LessThanEquals => value <= wanted,
        }
    }

    /// Reads an operator with its prefix and suffix.
    #[must_use]
    pub fn from_name(written: &str) -> Option<Self> {
        let (quantifier, words) = match written.split_once(':') {
            Some(("ForAllValues", words)) => (Quantifier::All, words),
            Some(("ForAnyValue", words)) => (Quantifier::Any, words),
            Some(_) => return None,
            None => (Quantifier::Plain, written),
        };
        let (missing, name) = match words.strip_suffix("IfExists") {
            Some(name) => (Missing::Holds, name),
            None => (Missing::Plain, words),
        };
        let test = TESTS.iter().find(|row| row.0 == name)?.1;
        let bare = quantifier == Quantifier::Plain && missing == Missing::Plain;
        (test != Test::Null || bare).then_some(Self {
            test,
            missing,
            quantifier,
        })
    }

    /// The operator that a text was most likely meant to be.
    pub(super) fn meant(text: &str) -> Option<String> {
        let whole: Vec<String> = Self::names()
            .flat_map(|name| {
                ["", "ForAllValues:", "ForAnyValue:"]
                    .into_iter()
                    .flat_map(move |prefix| {
                        ["", "IfExists"].map(|suffix| format!("{prefix}{name}{suffix}"))
                    })
            })
            .filter(|name| Self::from_name(name).is_some())
            .collect();
        let ignoring_case = whole.iter().find(|name| name.eq_ignore_ascii_case(text));
        ignoring_case
            .cloned()
            .or_else(|| nearest(text, whole.iter().map(String::as_str)).map(str::to_owned))
    }

    /// The names of all tests, without prefix and suffix.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TESTS.iter().map(|(name, _)| *name)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.quantifier {
            Quantifier::All => "ForAllValues:",
            Quantifier::Any => "ForAnyValue:",
            Quantifier::Plain => "",
        })?;
        let name = TESTS.iter().find(|(_, test)| *test == self.test);
        f.write_str(name.map_or("", |(name, _)| name))?;
        f.write_str(match self.missing {
            Missing::Holds => "IfExists",
            Missing::Plain => "",
        })
    }
}

const TESTS: &[(&str, Test)] = &[
    ("ArnEquals", Test::Arn(ArnForm::Equals, Sense::Plain)),
    ("ArnLike", Test::Arn(ArnForm::Like, Sense::Plain)),
    ("ArnNotEquals", Test::Arn(ArnForm::Equals, Sense::Negated)),
    ("ArnNotLike", Test::Arn(ArnForm::Like, Sense::Negated)),
    ("BinaryEquals", Test::Binary),
    ("Bool", Test::Bool),
    ("DateEquals", Test::Date(Relation::Equals)),
    ("DateGreaterThan", Test::Date(Relation::GreaterThan)),
    (
        "DateGreaterThanEquals",
        Test::Date(Relation::GreaterThanEquals),
    ),
    ("DateLessThan", Test::Date(Relation::LessThan)),
    ("DateLessThanEquals", Test::Date(Relation::LessThanEquals)),
    ("DateNotEquals", Test::Date(Relation::NotEquals)),
    ("IpAddress", Test::Address(Sense::Plain)),
    ("NotIpAddress", Test::Address(Sense::Negated)),
    ("Null", Test::Null),
    ("NumericEquals", Test::Number(Relation::Equals)),
    ("NumericGreaterThan", Test::Number(Relation::GreaterThan)),
    (
        "NumericGreaterThanEquals",
        Test::Number(Relation::GreaterThanEquals),
    ),
    ("NumericLessThan", Test::Number(Relation::LessThan)),
    (
        "NumericLessThanEquals",
        Test::Number(Relation::LessThanEquals),
    ),
    ("NumericNotEquals", Test::Number(Relation::NotEquals)),
    ("StringEquals", Test::Text(TextForm::Equals, Sense::Plain)),
    (
        "StringEqualsIgnoreCase",
        Test::Text(TextForm::EqualsIgnoreCase, Sense::Plain),
    ),
    ("StringLike", Test::Text(TextForm::Like, Sense::Plain)),
    (
        "StringNotEquals",
        Test::Text(TextForm::Equals, Sense::Negated),
    ),
    (
        "StringNotEqualsIgnoreCase",
        Test::Text(TextForm::EqualsIgnoreCase, Sense::Negated),
    ),
    ("StringNotLike", Test::Text(TextForm::Like, Sense::Negated)),
];
