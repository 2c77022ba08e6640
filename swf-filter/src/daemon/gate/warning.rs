//! What the operator should know. Not everybody who hears it may see what stands in files that are not in force.

use crate::control::server::Audience;
use crate::report::for_others;

/// Something that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Warning {
    words: String,
    /// The same for others than owners.
    for_others: String,
}

impl Warning {
    /// One that has a reason.
    pub(super) fn because(words: &str, reason: &anyhow::Error) -> Self {
        Self {
            words: format!("{words}: {reason:#}"),
            for_others: format!("{words}: {}", for_others(reason)),
        }
    }

    /// One whose reason `owners` and `others` are told in other words.
    pub(super) fn apart(words: &str, owners: &str, others: &str) -> Self {
        Self {
            words: format!("{words}: {owners}"),
            for_others: format!("{words}: {others}"),
        }
    }

    /// As an audience hears it.
    pub(super) fn to(&self, audience: Audience) -> &str {
        match audience {
            Audience::Others => &self.for_others,
            Audience::Owners => &self.words,
        }
    }

    /// Whether it begins so.
    pub(super) fn begins(&self, with: &str) -> bool {
        self.words.starts_with(with)
    }
}

/// One that nobody is kept from.
impl From<String> for Warning {
    fn from(words: String) -> Self {
        Self {
            for_others: words.clone(),
            words,
        }
    }
}
