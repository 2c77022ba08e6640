//! What makes config.toml wrong.

use std::fmt;
use std::path::PathBuf;

use swf_filter_core::policy;
use swf_filter_core::prefix::text::excerpt;
use thiserror::Error;

use super::{IFNAMSIZ, MAX_BYTES, MAX_EVENTS};

/// What makes config.toml wrong. What can be wrong with a policy file too is said in the same words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Fault {
    /// What can be wrong with any file.
    #[error(transparent)]
    Any(#[from] policy::Fault),
    /// A number of events that is negative, or too high.
    #[error("`{found}` is not a number of events a second", found = excerpt(.found))]
    Events {
        /// The number as written.
        found: String,
    },
    /// A required field is not there.
    #[error("`{field}` is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A path is no path.
    #[error("`{field}` is empty, or has a zero byte in it")]
    NoPath {
        /// The field.
        field: &'static str,
    },
    /// A glob does not read as one.
    #[error("`{pattern}` is not a glob: {problem}", pattern = excerpt(.pattern))]
    Glob {
        /// The glob as written.
        pattern: String,
        /// What is wrong with it.
        problem: GlobProblem,
    },
    /// A name or glob that no interface can have.
    #[error("no interface can be called `{pattern}`", pattern = excerpt(.pattern))]
    NoInterface {
        /// The name or glob as written.
        pattern: String,
    },
    /// A path that depends on the directory that the daemon is started in.
    #[error("`{field}` is a relative path")]
    RelativePath {
        /// The field.
        field: &'static str,
        /// The path that was most likely meant.
        whole: Option<PathBuf>,
    },
    /// The file is too long.
    #[error("more than {MAX_BYTES} bytes in config.toml")]
    TooLong,
    /// A field is not known.
    #[error("{section} has no field `{field}`", field = excerpt(.field))]
    UnknownField {
        /// Where it stands.
        section: Section,
        /// The field.
        field: String,
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

/// A table of config.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// `[paths]`
    Paths,
    /// The top of the file.
    Top,
}

impl Section {
    /// The fields that it may have.
    pub(super) fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Paths => &["policy", "bpf", "run", "state"],
            Self::Top => &[
                "version",
                "interfaces",
                "xdp_mode",
                "always_allow",
                "on_boot_failure",
                "events_per_second",
                "trace",
                "paths",
            ],
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paths => "`[paths]`",
            Self::Top => "config.toml",
        })
    }
}

impl Fault {
    /// The way out.
    pub(super) fn help(&self) -> Option<String> {
        Some(match self {
            Self::Any(fault) => return fault.help(),
            Self::Events { .. } => format!("write a number from 0, for none, to {MAX_EVENTS}"),
            Self::Glob {
                problem: GlobProblem::Range,
                ..
            } => "write `[abc]` for one of these characters".into(),
            Self::Glob {
                problem: GlobProblem::Stars,
                ..
            } => "write one `*`; it stands for any characters".into(),
            Self::Missing { field: "version" } => "write `version = 1` as the first line".into(),
            Self::Missing { field } => {
                format!("add `{field} = [\"eth0\"]`, with names or globs of those to attach to")
            }
            Self::NoInterface { .. } => format!(
                "write a name as `ip link` shows it, or a glob: 1 to {} bytes without blanks, `/` and `:`",
                IFNAMSIZ - 1
            ),
            Self::NoPath { .. } => {
                "write a whole path, or leave the field out for the usual one".into()
            }
            Self::RelativePath {
                whole: Some(whole), ..
            } => {
                format!(
                    "write the whole path, such as `{}`",
                    excerpt(&whole.to_string_lossy())
                )
            }
            Self::RelativePath { whole: None, .. } => "write the whole path, from `/` on".into(),
            Self::TooLong => "is this the right file?".into(),
            Self::UnknownField { section, field } => {
                let choices = section.fields();
                let (field, found) = ("", field.clone());
                return policy::Fault::NotChoice {
                    field,
                    found,
                    choices,
                }
                .help();
            }
        })
    }

    /// What to write beside the mark.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Any(fault) => fault.label(),
            Self::Missing { .. } => "in this file",
            Self::TooLong => "the first too many",
            _ => "here",
        }
    }
}
