//! `swf-filter doctor`: what is wrong with this machine, or soon will be, and what to do about it.
//!
//! Looking and judging are apart: `look` gathers facts and has no opinion, `judge` has nothing but facts. It changes nothing, needs neither root
//! nor a daemon, and says what it could not see.

mod ethtool;
mod facts;
mod front;
mod judge;
mod knock;
mod look;
mod machine;

use std::path::Path;

use serde::Serialize;

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grade {
    /// It works; it could be better, or could not be looked at.
    Advice,
    /// It does not work.
    Failure,
    /// Nothing is to be done.
    Ok,
    /// It works, and will not always, or not for all.
    Warning,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Which check; stable, for scripts.
    pub(crate) check: &'static str,
    /// What it came to.
    pub(crate) grade: Grade,
    /// What was seen, in words.
    pub(crate) words: String,
    /// What to do.
    pub(crate) advice: Option<String>,
}

/// What `doctor` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// How many failures there are.
    pub(crate) failures: usize,
    /// How many warnings.
    pub(crate) warnings: usize,
    /// All that was found.
    pub(crate) findings: Vec<Finding>,
}

/// Looks at the machine, and at what these settings name.
pub(crate) async fn examine(config: &Path, listener: &Path) -> Report {
    let facts = look::look(config, listener).await;
    let findings = judge::judge(&facts);
    let count = |grade| findings.iter().filter(|one| one.grade == grade).count();
    Report {
        failures: count(Grade::Failure),
        warnings: count(Grade::Warning),
        findings,
    }
}
