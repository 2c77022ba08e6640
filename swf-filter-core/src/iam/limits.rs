//! How much policy documents may hold. Reaching a limit is an error that names it.

use std::fmt;

/// Bytes of one document.
pub const DOCUMENT: usize = 16 << 20;
/// Statements of one document.
pub const STATEMENTS: usize = 20_000;
/// Values of one element, or of one key of a condition.
pub const VALUES: usize = 65_536;
/// Characters of one text.
pub const TEXT: usize = 2_048;

/// A limit of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`DOCUMENT`].
    Document,
    /// [`STATEMENTS`].
    Statements,
    /// [`TEXT`].
    Text,
    /// [`VALUES`].
    Values,
}

impl Limit {
    /// The highest number that is still fine.
    #[must_use]
    pub fn value(self) -> usize {
        match self {
            Self::Document => DOCUMENT,
            Self::Statements => STATEMENTS,
            Self::Text => TEXT,
            Self::Values => VALUES,
        }
    }
}

/// What is counted, as in "more than 20000 statements in one document".
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Document => "bytes in one document",
            Self::Statements => "statements in one document",
            Self::Text => "characters in one text",
            Self::Values => "values in one list",
        })
    }
}
