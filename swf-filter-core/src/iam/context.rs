//! What is known of a request, as condition keys with their values.

use std::collections::HashMap;

/// Condition keys and their values. Names compare without case; a key without values is a missing one.
#[derive(Clone, Debug, Default)]
pub struct Context {
    values: HashMap<Box<str>, Vec<Box<str>>>,
}

impl Context {
    /// Gives `key` one value more.
    pub fn add(&mut self, key: &str, value: impl Into<Box<str>>) {
        self.values
            .entry(key.to_ascii_lowercase().into())
            .or_default()
            .push(value.into());
    }

    /// Gives `key` this value instead of those that it had.
    pub fn set(&mut self, key: &str, value: impl Into<Box<str>>) {
        self.values
            .insert(key.to_ascii_lowercase().into(), vec![value.into()]);
    }

    /// Takes `key` away.
    pub fn remove(&mut self, key: &str) {
        self.values.remove(&*key.to_ascii_lowercase());
    }

    /// The values of a key, which is given in lower case.
    #[must_use]
    pub fn values(&self, key: &str) -> &[Box<str>] {
        self.values.get(key).map_or(&[], Vec::as_slice)
    }

    /// The keys, in lower case, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Box<str>])> + Clone {
        self.values
            .iter()
            .map(|(key, values)| (&**key, values.as_slice()))
    }

    /// The value of a key that has exactly one.
    #[must_use]
    pub fn single(&self, key: &str) -> Option<&str> {
        match self.values(key) {
            [value] => Some(value),
            _ => None,
        }
    }

    /// What a decision inside `RespondDecisionTaskCompleted` is judged by: the call's context without the keys that SWF
    /// does not hand to the judge of a decision, and without the call's own `swf:` keys.
    #[must_use]
    pub fn of_decision(&self) -> Self {
        let withheld = |key: &str| is_withheld(key) || key.starts_with("swf:");
        let values = self
            .values
            .iter()
            .filter(|(key, _)| !withheld(key))
            .map(|(key, values)| (key.clone(), values.clone()))
            .collect();
        Self { values }
    }
}

/// Whether decisions are judged without a key, which is given in lower case.
#[must_use]
pub fn is_withheld(key: &str) -> bool {
    WITHHELD_FROM_DECISIONS.contains(&key)
}

/// Amazon SWF Developer Guide, "Using IAM policies to manage access to Amazon SWF resources".
const WITHHELD_FROM_DECISIONS: [&str; 3] = ["aws:securetransport", "aws:sourceip", "aws:useragent"];
