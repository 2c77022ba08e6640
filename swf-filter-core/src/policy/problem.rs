//! What is wrong, or doubtful, with a policy: where it stands, and the way out.
//!
//! Problems carry data and byte spans, and words are made from them on demand. Drawing source text with carets is the
//! command line's work, so that this crate needs no renderer.

use std::fmt;

use thiserror::Error;

use super::fault::Fault;
use super::lint::Lint;
use super::source::Place;

/// How bad a problem is, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Right, but there is something that the operator may not have in mind.
    Advice,
    /// Accepted, but very likely not what was meant.
    Warning,
    /// The policy is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Advice => "advice",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What kind of problem, with its data.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Kind {
    /// The policy is refused.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The policy is accepted, and doubtful.
    #[error(transparent)]
    Lint(#[from] Lint),
}

/// One problem and its places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong. Its `Display` is the message: one line, lower case, no final stop.
    pub kind: Kind,
    /// Where.
    pub at: Place,
    /// The other place that has to do with it, such as the first of two definitions.
    pub other: Option<Place>,
}

impl Problem {
    /// A problem with one place.
    #[must_use]
    pub fn new(kind: impl Into<Kind>, at: Place) -> Self {
        Self {
            kind: kind.into(),
            at,
            other: None,
        }
    }

    /// The same with a second place.
    #[must_use]
    pub fn with_other(self, other: Place) -> Self {
        Self {
            other: Some(other),
            ..self
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match &self.kind {
            Kind::Fault(_) => Severity::Error,
            Kind::Lint(lint) => lint.severity(),
        }
    }

    /// What stands at [`Problem::at`], in a few words to set beside a caret.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match &self.kind {
            Kind::Fault(fault) => fault.label(),
            Kind::Lint(lint) => lint.label(),
        }
    }

    /// What stands at [`Problem::other`].
    #[must_use]
    pub fn other_label(&self) -> &'static str {
        match &self.kind {
            Kind::Fault(fault) => fault.other_label(),
            Kind::Lint(lint) => lint.other_label(),
        }
    }

    /// The way out, if there is one to be told.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match &self.kind {
            Kind::Fault(fault) => fault.help(),
            Kind::Lint(lint) => lint.help(),
        }
    }
}

/// One line: `policy.d/a.toml:3:14: error: ...`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.at.origin, self.severity(), self.kind)?;
        match &self.other {
            Some(other) => write!(f, " ({} at {})", self.other_label(), other.origin),
            None => Ok(()),
        }
    }
}

/// Problems in the order of their places, the first [`Problems::KEPT`] of those found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// Those kept.
    pub list: Vec<Problem>,
    /// How many more there are.
    pub more: usize,
}

impl Problems {
    /// How many problems are kept; nobody mends more before trying again.
    pub const KEPT: usize = 50;

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Keeps the problem that `make` returns, or only counts it if there are enough.
    pub fn add(&mut self, make: impl FnOnce() -> Problem) {
        if self.list.len() < Self::KEPT {
            self.list.push(make());
        } else {
            self.more += 1;
        }
    }

    /// `value` if there is no problem.
    pub(super) fn into_result<T>(
        mut self,
        value: T,
        files: &[super::SourceFile],
    ) -> Result<T, Self> {
        if self.is_empty() {
            return Ok(value);
        }
        self.sort(files);
        Err(self)
    }

    /// Sorts by place, files in the order of `files`, and others after them.
    pub(super) fn sort(&mut self, files: &[super::SourceFile]) {
        let rank = |problem: &Problem| {
            files
                .iter()
                .position(|file| file.name == problem.at.origin.file)
        };
        self.list.sort_by_cached_key(|problem| {
            (
                rank(problem).unwrap_or(files.len()),
                problem.at.origin.clone(),
                problem.at.span.end,
            )
        });
    }
}

/// One problem a line, and a last line that says how many more there are.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Problems {}
