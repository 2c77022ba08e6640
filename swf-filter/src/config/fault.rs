//! What makes config.toml wrong, and no other file.

use std::fmt;

use swf_filter_core::prefix::text::excerpt;
use thiserror::Error;

use super::{IFNAMSIZ, MAX_EVENTS, MAX_HISTORY};
use crate::toml_reader::Explain;

/// What makes config.toml wrong, and no other file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Fault {
    /// A number of events that is negative, or too high.
    #[error("`{found}` is not a number of events a second", found = excerpt(.found))]
    Events {
        /// The number as written.
        found: String,
    },
    /// A glob does not read as one.
    #[error("`{pattern}` is not a glob: {problem}", pattern = excerpt(.pattern))]
    Glob {
        /// The glob as written.
        pattern: String,
        /// What is wrong with it.
        problem: GlobProblem,
    },
    /// A number of texts that is zero, or too high.
    #[error("`{found}` is not a number of policies to keep", found = excerpt(.found))]
    History {
        /// The number as written.
        found: String,
    },
    /// A name or glob that no interface can have.
    #[error("no interface can be called `{pattern}`", pattern = excerpt(.pattern))]
    NoInterface {
        /// The name or glob as written.
        pattern: String,
    },
}

/// What is wrong with a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GlobProblem {
    /// A `[` that is not closed.
    Range,
    /// Stars in a row.
    Stars,
}

impl fmt::Display for GlobProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Range => "a `[` is not closed",
            Self::Stars => "stars in a row",
        })
    }
}

impl Explain for Fault {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Events { .. } => format!("write a number from 0, for none, to {MAX_EVENTS}"),
            Self::Glob {
                problem: GlobProblem::Range,
                ..
            } => "write `[abc]` for one of these characters".into(),
            Self::Glob {
                problem: GlobProblem::Stars,
                ..
            } => "write one `*`; it stands for any characters".into(),
            Self::History { .. } => format!("write a number from 1 to {MAX_HISTORY}"),
            Self::NoInterface { .. } => format!(
                "write a name as `ip link` shows it, or a glob: 1 to {} bytes without blanks, `/` and `:`",
                IFNAMSIZ - 1
            ),
        })
    }
}
