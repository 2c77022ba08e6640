//! Condition keys that have the same value in every request of somebody to a host, as `judge` fills them in.

use std::hash::{Hash, Hasher};

use crate::iam::condition::Condition;
use crate::policy::{HostDocuments, Identity};

/// What is known of requests before they come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) host: &'a HostDocuments,
    pub(super) caller: Caller<'a>,
}

/// Who makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Caller<'a> {
    /// Somebody.
    Anyone,
    /// A session of this role. Which tags it has is said when it is made.
    Role(Only<'a>),
    /// This user.
    User(Only<'a>),
}

/// A user or role of the policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Only<'a>(pub(super) &'a Identity);

/// Two are the same if their ARNs are, which are unique.
impl PartialEq for Only<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.arn == other.0.arn
    }
}

impl Eq for Only<'_> {}

impl Hash for Only<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.arn.hash(state);
    }
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// It has this value.
    Is(&'a str),
    /// Requests do not have it.
    Missing,
    /// Requests may differ.
    Open,
}

impl<'a> Known<'a> {
    /// What is known of a key, which is given in lower case.
    pub(super) fn value(self, key: &str) -> Value<'a> {
        match key {
            // Clients sign and send their requests themselves.
            "aws:viaawsservice" | "aws:principalisawsservice" => Value::Is("false"),
            "aws:securetransport" => Value::Is("true"),
            "aws:requestedregion" => Value::Is(self.host.region()),
            "aws:resourceaccount" => self.host.account.as_deref().map_or(Value::Open, Value::Is),
            _ => self.caller.value(key),
        }
    }
}

impl<'a> Caller<'a> {
    fn value(self, key: &str) -> Value<'a> {
        let (Self::User(Only(identity)) | Self::Role(Only(identity))) = self else {
            return Value::Open;
        };
        match (key, self) {
            ("aws:principalaccount", _) => Value::Is(&identity.account),
            ("aws:principalarn", _) => Value::Is(&identity.arn),
            ("aws:principaltype", Self::User(_)) => Value::Is("User"),
            ("aws:principaltype", _) => Value::Is("AssumedRole"),
            ("aws:userid", Self::User(_)) => Value::Is(&identity.id),
            ("aws:username", Self::User(_)) => Value::Is(&identity.name),
            ("aws:username", _) => Value::Missing,
            (_, Self::User(_)) => match key.strip_prefix("aws:principaltag/") {
                Some(tag) => identity
                    .tags
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(tag))
                    .map_or(Value::Missing, |(_, value)| Value::Is(value)),
                None => Value::Open,
            },
            _ => Value::Open,
        }
    }
}

/// Whether it matters to a condition who the caller is.
pub(super) fn is_personal(condition: &Condition) -> bool {
    let key = condition.key.name();
    key.starts_with("aws:principal") || key == "aws:userid" || key == "aws:username"
}
