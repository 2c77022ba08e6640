//! What is known of a request, as condition keys with their values.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::meter::Meter;

/// Condition keys and their values. Names compare without case; a key without values is a missing one.
///
/// A request has some twenty keys, each of one value as a rule, and a decision asks for a few of them. So they are in a list,
/// which lends what the request and the policy have already: a table of owned texts cost more than the decision.
#[derive(Clone, Debug, Default)]
pub struct Context<'a> {
    /// A key with several values is here several times.
    values: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// What pays for judging by it. Without one, there is no bound.
    meter: Option<&'a Meter>,
}

impl<'a> Context<'a> {
    /// The same, where work is paid for by `meter`.
    #[must_use]
    pub fn metered(self, meter: &'a Meter) -> Self {
        let meter = Some(meter);
        Self { meter, ..self }
    }

    /// Pays for some work. False if there is not as much left.
    pub(super) fn spend(&self, units: usize) -> bool {
        self.meter.is_none_or(|meter| meter.spend(units))
    }

    /// Pays for looking through all keys so many times.
    pub(crate) fn spend_looks(&self, times: usize) -> bool {
        self.spend(times.saturating_mul(1 + self.values.len()))
    }

    /// Whether there was more to do than there was work for. What was judged since then is not to be believed.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.meter.is_some_and(Meter::is_spent)
    }

    /// Gives `key` one value more.
    pub fn add(&mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.values.push((key.into(), value.into()));
    }

    /// Gives `key` this value instead of those that it had.
    pub fn set(&mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let key = key.into();
        self.remove(&key);
        self.add(key, value);
    }

    /// Takes `key` away.
    pub fn remove(&mut self, key: &str) {
        self.values
            .retain(|(own, _)| !own.eq_ignore_ascii_case(key));
    }

    /// The values of a key, in the order in which it was given them.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> + Clone {
        self.values
            .iter()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(key))
            .map(|(_, value)| &**value)
    }

    /// How many values there are, of all keys together.
    pub(super) fn count(&self) -> usize {
        self.values.len()
    }

    /// The keys, in lower case.
    pub(super) fn keys(&self) -> BTreeSet<String> {
        let keys = self.values.iter().map(|(key, _)| key.to_ascii_lowercase());
        keys.collect()
    }

    /// The value of a key that has exactly one.
    #[must_use]
    pub fn single(&self, key: &str) -> Option<&str> {
        let mut values = self.values(key);
        values.next().filter(|_| values.next().is_none())
    }

    /// What a decision inside `RespondDecisionTaskCompleted` is judged by: the call's context without the keys that SWF
    /// does not hand to the judge of a decision, and without the call's own `swf:` keys.
    #[must_use]
    pub fn of_decision(&self) -> Self {
        let mut context = self.clone();
        context.values.retain(|(key, _)| {
            let key = key.to_ascii_lowercase();
            !is_withheld(&key) && !key.starts_with("swf:")
        });
        context
    }
}

/// Whether decisions are judged without a key, which is given in lower case.
#[must_use]
pub fn is_withheld(key: &str) -> bool {
    WITHHELD_FROM_DECISIONS.contains(&key)
}

/// Amazon SWF Developer Guide, "Using IAM policies to manage access to Amazon SWF resources".
const WITHHELD_FROM_DECISIONS: [&str; 3] = ["aws:securetransport", "aws:sourceip", "aws:useragent"];
