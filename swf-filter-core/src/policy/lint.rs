//! What is doubtful about a policy that is accepted.

use thiserror::Error;

use super::{Policy, Problems, Severity, SourceFile};

/// A doubt about a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Lint {
    /// A set that no entry names.
    #[error("set `{name}` is not used")]
    UnusedSet {
        /// The set.
        name: String,
    },
}

impl Lint {
    /// How doubtful.
    #[must_use]
    pub fn severity(&self) -> Severity {
        Severity::Warning
    }

    /// What to set beside the caret.
    #[must_use]
    pub fn label(&self) -> &'static str {
        "here"
    }

    /// What stands at the second place.
    #[must_use]
    pub fn other_label(&self) -> &'static str {
        "here"
    }

    /// The way out.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        None
    }
}

/// Finds what is doubtful about `policy`, which was read from `files`.
#[must_use]
pub fn lint(_policy: &Policy, _files: &[SourceFile]) -> Problems {
    Problems::default()
}
