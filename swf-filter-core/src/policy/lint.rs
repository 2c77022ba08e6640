//! What is doubtful about a policy that is accepted.

use std::sync::Arc;

use thiserror::Error;

use super::{
    Effect, Host, Origin, Policy, Problem, Problems, Severity, Source, SourceFile, SourceIndex,
};

/// A doubt about a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Lint {
    /// A set that holds nothing.
    #[error("set `{name}` is empty")]
    EmptySet {
        /// The set.
        name: Arc<str>,
    },
    /// A host that drops everything.
    #[error("nothing can reach host `{name}`")]
    Unreachable {
        /// The host.
        name: Arc<str>,
    },
    /// A set that no entry names.
    #[error("set `{name}` is not used")]
    UnusedSet {
        /// The set.
        name: Arc<str>,
    },
}

impl Lint {
    /// How doubtful.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::EmptySet { .. } | Self::Unreachable { .. } | Self::UnusedSet { .. } => {
                Severity::Warning
            }
        }
    }

    /// What to set beside the caret.
    #[must_use]
    pub fn label(&self) -> &'static str {
        "this block"
    }

    /// What stands at the second place.
    #[must_use]
    pub fn other_label(&self) -> &'static str {
        "see here"
    }

    /// The way out.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::EmptySet { name } => {
                format!("an entry `set:{name}` matches nothing; is the file the right one?")
            }
            Self::Unreachable { .. } => "add the sources that may reach it to `allow`".to_owned(),
            Self::UnusedSet { name } => {
                format!("name it as `set:{name}` in a host's `allow` or `deny`, or remove it")
            }
        })
    }
}

/// Finds what is doubtful about `policy`, which was read from `files`.
#[must_use]
pub fn lint(policy: &Policy, files: &[SourceFile]) -> Problems {
    let mut found: Vec<(Lint, &Origin)> = Vec::new();
    for (number, set) in policy.sets.iter().enumerate() {
        let name = Arc::clone(&set.name);
        if set.prefixes.is_empty() {
            found.push((Lint::EmptySet { name }, &set.origin));
        } else if !names_set(policy, number) {
            found.push((Lint::UnusedSet { name }, &set.origin));
        }
    }
    let unreachable = policy
        .hosts
        .iter()
        .filter(|host| is_unreachable(policy, host));
    found.extend(unreachable.map(|host| {
        (
            Lint::Unreachable {
                name: Arc::clone(&host.name),
            },
            &host.origin,
        )
    }));

    let indexes: Vec<_> = files.iter().map(SourceIndex::new).collect();
    let mut problems = Problems::default();
    for (lint, origin) in found {
        if let Some(index) = indexes.iter().find(|index| *index.name() == origin.file) {
            problems.add(|| Problem::new(lint, index.find(origin)));
        }
    }
    problems
}

fn names_set(policy: &Policy, number: usize) -> bool {
    let entries = policy
        .hosts
        .iter()
        .flat_map(|host| host.allow.iter().chain(&host.deny));
    entries
        .into_iter()
        .any(|entry| entry.source == Source::Set(number))
}

fn is_unreachable(policy: &Policy, host: &Host) -> bool {
    host.default == Effect::Drop && host.allow.is_empty() && policy.always_allow.is_empty()
}
