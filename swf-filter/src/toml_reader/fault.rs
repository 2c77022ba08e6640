//! What can be wrong with any settings file.

use std::fmt;
use std::path::PathBuf;

use swf_filter_core::policy;
use swf_filter_core::prefix::text::excerpt;
use thiserror::Error;

use super::MAX_BYTES;

/// A fault that can be shown: what is wrong is its `Display`.
pub(crate) trait Explain: fmt::Display {
    /// The way out.
    fn help(&self) -> Option<String>;

    /// What to write beside the mark.
    fn label(&self) -> &'static str {
        "here"
    }

    /// What stands at the second place.
    fn other_label(&self) -> &'static str {
        "the other is here"
    }
}

/// What can be wrong with a policy file too is said in the same words.
impl Explain for policy::Fault {
    fn help(&self) -> Option<String> {
        self.help()
    }

    fn label(&self) -> &'static str {
        self.label()
    }
}

/// A kind of table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// How it is called.
    pub(crate) title: &'static str,
    /// The fields that it may have.
    pub(crate) fields: &'static [&'static str],
}

/// What can be wrong with any settings file, and with no policy file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Fault {
    /// A required field is not there.
    #[error("`{field}` is missing")]
    Missing {
        /// The field.
        field: &'static str,
        /// The way out.
        help: &'static str,
    },
    /// A path is no path.
    #[error("`{field}` is empty, or has a zero byte in it")]
    NoPath {
        /// The field.
        field: &'static str,
    },
    /// A path that depends on the directory that the process is started in.
    #[error("`{field}` is a relative path")]
    RelativePath {
        /// The field.
        field: &'static str,
        /// The path that was most likely meant.
        whole: Option<PathBuf>,
    },
    /// The file is too long.
    #[error("more than {MAX_BYTES} bytes in {file}")]
    TooLong {
        /// Which file.
        file: &'static str,
    },
    /// A field is not known.
    #[error("{title} has no field `{field}`", title = section.title, field = excerpt(.field))]
    UnknownField {
        /// Where it stands.
        section: &'static Section,
        /// The field.
        field: String,
    },
}

impl Explain for Fault {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Missing { help, .. } => (*help).into(),
            Self::NoPath { field } if field.starts_with("paths.") => {
                "write a whole path, or leave the field out for the usual one".into()
            }
            Self::NoPath { .. } => "write a whole path".into(),
            Self::RelativePath {
                whole: Some(whole), ..
            } => {
                format!(
                    "write the whole path, such as `{}`",
                    excerpt(&whole.to_string_lossy())
                )
            }
            Self::RelativePath { whole: None, .. } => "write the whole path, from `/` on".into(),
            Self::TooLong { .. } => "is this the right file?".into(),
            Self::UnknownField { section, field } => {
                let (choices, found) = (section.fields, field.clone());
                let field = "";
                return policy::Fault::NotChoice {
                    field,
                    found,
                    choices,
                }
                .help();
            }
        })
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "in this file",
            Self::TooLong { .. } => "the first too many",
            _ => "here",
        }
    }
}
