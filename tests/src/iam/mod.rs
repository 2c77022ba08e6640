//! A second evaluator of IAM policies, and random cases to ask it about.
//!
//! It is written from `docs/iam.md` alone, walks the JSON itself and takes its time, so that it has nothing in common with the
//! evaluator that it checks.

mod evaluate;
mod generate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

pub use self::evaluate::evaluate;
pub use self::generate::{ask, case};

/// Documents and a request.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// Documents of the caller.
    pub identity: Vec<Value>,
    /// The caller's boundary.
    pub boundary: Option<Value>,
    /// The policies that the caller's session was limited to.
    pub session: Option<Vec<Value>>,
    /// Documents of the host.
    pub resource: Vec<Value>,
    /// The account of the host.
    pub account: String,
    /// The ARN of the caller.
    pub caller: String,
    /// The action, with `swf:`.
    pub action: String,
    /// The ARN of the domain.
    pub arn: String,
    /// Condition keys with their values.
    pub context: BTreeMap<String, Vec<String>>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It is allowed.
    Allowed,
    /// Something that has to allow it does not.
    NotAllowed,
    /// A statement denies it.
    Denied,
}
