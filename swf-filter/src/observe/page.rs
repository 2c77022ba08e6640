//! The page: one file that needs nothing but what is served beside it, and may do nothing else.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

use super::server::Part;
use crate::control::api::{RuleVerdict, Status};
use crate::listener::status::ListenerStatus;

const PAGE: &str = include_str!("page.html");

/// What `snapshot.json` has: the page asks for it each second.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Snapshot {
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    /// What `status` says.
    pub(crate) status: Status,
    /// What hosts counted in this generation.
    pub(crate) hosts: Vec<HostCount>,
    /// The rules with the most packets in this generation.
    pub(crate) rules: Vec<PageRule>,
    /// How many rules are not among them.
    pub(crate) more_rules: usize,
    /// What the listener says, if the settings name its socket and it answers.
    pub(crate) listener: Option<ListenerStatus>,
    /// What is not known, and why.
    pub(crate) notes: Vec<String>,
}

/// What a host's rules counted in this generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct HostCount {
    pub(crate) host: Arc<str>,
    pub(crate) mode: &'static str,
    /// Packets.
    pub(crate) packets: u64,
    /// Those of them that were dropped.
    pub(crate) dropped: u64,
    /// Those that passed, and would have been dropped if it were not for audit.
    pub(crate) would_drop: u64,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PageRule {
    pub(crate) number: u32,
    pub(crate) host: Arc<str>,
    pub(crate) list: &'static str,
    pub(crate) rule: Arc<str>,
    pub(crate) origin: String,
    pub(crate) verdict: RuleVerdict,
    /// Packets, over all generations that had it.
    pub(crate) packets: u64,
}

/// The page itself.
pub(crate) fn page() -> Part {
    Part {
        kind: "text/html; charset=utf-8",
        bytes: Bytes::from_static(PAGE.as_bytes()),
        policy: Some(POLICY.clone()),
    }
}

/// Something that the page asks for.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<Part> {
    Ok(Part {
        kind: "application/json",
        bytes: serde_json::to_vec(value)?.into(),
        policy: None,
    })
}

/// What the page may do: run the one script that it has, and ask where it came from. No text can become markup, or a script.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(inside("script")),
        hash(inside("style")),
    );
    // INVARIANT: base64 and the words above are visible ASCII.
    HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

/// What stands in the page's only element of a name.
fn inside(element: &str) -> &'static str {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let (_, rest) = PAGE.split_once(&open).unwrap_or_default();
    rest.split_once(&close).unwrap_or_default().0
}

fn hash(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style_and_nothing_from_elsewhere() {
        for (words, times) in [
            ("<script>", 1),
            ("<script", 1),
            ("<style>", 1),
            ("<style", 1),
            ("://", 0),
            ("style=", 0),
            ("innerHTML", 0),
            ("outerHTML", 0),
            ("insertAdjacentHTML", 0),
            ("document.write", 0),
            ("eval(", 0),
            (" src=", 0),
            ("onclick", 0),
        ] {
            assert_eq!(PAGE.matches(words).count(), times, "{words}");
        }
    }

    #[test]
    fn only_that_script_may_run() {
        let policy = page().policy.unwrap();
        let policy = policy.to_str().unwrap();
        assert!(inside("script").len() > 1_000 && inside("style").len() > 1_000);
        for part in [
            &hash(inside("script")),
            &hash(inside("style")),
            "default-src 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{part} in {policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
    }
}
