//! What makes an input to import wrong.

use thiserror::Error;

use crate::policy::limits::Limit;
use crate::prefix::text::{TextError, excerpt};

/// What makes an input wrong. Messages are for operators: lower case, no final stop, their own words in backticks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// A value in JSON is not an address, prefix or range.
    #[error("{path}: {error}; {}", error.help())]
    Address {
        /// Where it stands, such as `prefixes[3].ip_prefix`.
        path: String,
        /// What is wrong with it.
        error: TextError,
    },
    /// It is not the JSON that it should be.
    #[error(
        "line {line}, column {column}: {message}; this takes JSON as AWS publishes it, or as `aws --output json` prints it"
    )]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// A line is not an address, prefix or range.
    #[error("line {line}, column {column}: {error}; {}", error.help())]
    Line {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong with it.
        error: TextError,
    },
    /// An id or name cannot stand in a policy.
    #[error("{path}: `{name}` is not a name: 1 to 64 characters of `A-Z a-z 0-9 . _ -`", name = excerpt(.name))]
    Name {
        /// Where it stands.
        path: String,
        /// The text.
        name: String,
    },
    /// A line is not text.
    #[error("line {line}: this is not UTF-8 text")]
    NotUtf8 {
        /// The line, from 1.
        line: usize,
    },
    /// Nothing is left to import.
    #[error("{what}, and an empty list is not imported")]
    Nothing {
        /// Why.
        what: &'static str,
    },
    /// The answer is one page of several.
    #[error(
        "`NextToken` is set, so that this is only a part; ask again without `--max-items` and `--no-paginate`"
    )]
    Part,
    /// There is more than a policy may have.
    #[error("more than {} {limit}", limit.value())]
    TooMany {
        /// The limit.
        limit: Limit,
    },
    /// One id stands twice.
    #[error("{path}: `{id}` stands there twice", id = excerpt(.id))]
    Twice {
        /// Where it stands again.
        path: String,
        /// The id.
        id: String,
    },
    /// What was asked for is not in the input.
    #[error("there is no {what} `{name}`{}", near(.nearest.as_ref()), name = excerpt(.name))]
    Unknown {
        /// What it should be.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// One that is there and looks like it.
        nearest: Option<String>,
    },
}

fn near(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |nearest| {
        format!("; did you mean `{}`?", excerpt(nearest))
    })
}

impl Fault {
    /// What the JSON reader says, without the place that stands beside it.
    pub(super) fn json(error: &serde_json::Error) -> Self {
        let said = error.to_string();
        let message = said
            .rsplit_once(" at line ")
            .map_or(&*said, |(message, _)| message);
        let shown = message.chars().take(MOST_SHOWN);
        Self::Json {
            line: error.line(),
            column: error.column(),
            message: shown.flat_map(char::escape_default).collect(),
        }
    }
}

/// Characters of the reader's words that are shown; it quotes what it has found.
const MOST_SHOWN: usize = 200;
