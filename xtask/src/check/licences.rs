//! Every dependency, on every platform, may be used under a licence from a short list.
//!
//! `cargo tree` prints each package with its licence as plain text; `cargo metadata` says the same in JSON, and would
//! cost this crate a parser.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::EBPF_MANIFEST;
use crate::command;

/// Names every dependency whose licence is not allowed.
pub(crate) fn check() -> Result<()> {
    println!("check: licences");
    let mut packages = BTreeSet::new();
    for manifest in ["Cargo.toml", EBPF_MANIFEST] {
        let tree = command::output(command::cargo("tree").args([
            "--manifest-path",
            manifest,
            "--workspace",
            "--target=all",
            "--prefix=none",
            "--format={p}\t{l}",
        ]))?;
        packages.extend(
            tree.lines()
                .filter(|line| !line.is_empty())
                .map(str::to_owned),
        );
    }
    let offenders: Vec<String> = packages.iter().filter_map(|line| offence(line)).collect();
    if !offenders.is_empty() {
        bail!("not on the list of licences:\n  {}", offenders.join("\n  "));
    }
    Ok(())
}

/// Says what is wrong with one line of `cargo tree`, if anything is.
fn offence(line: &str) -> Option<String> {
    // Cargo marks packages that it printed before.
    let line = line.strip_suffix(" (*)").unwrap_or(line);
    let (package, licence) = line.split_once('\t').unwrap_or((line, ""));
    match allowed(licence) {
        Some(true) => None,
        Some(false) => Some(format!("{package}: {licence}")),
        None => Some(format!("{package}: not a licence expression: `{licence}`")),
    }
}

/// Whether an SPDX expression can be met from the list; `None` when it is not one.
///
/// `AND` binds tighter than `OR` (SPDX 2.3, annex D.4). `/` is what crates wrote for `OR` before SPDX. An exception only adds
/// permissions, so what stands before `WITH` decides.
fn allowed(expression: &str) -> Option<bool> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced
        .split_whitespace()
        .collect::<Vec<_>>()
        .into_iter()
        .peekable();
    let verdict = any(&mut words)?;
    words.next().is_none().then_some(verdict)
}

type Words<'a> = std::iter::Peekable<std::vec::IntoIter<&'a str>>;

fn any(words: &mut Words<'_>) -> Option<bool> {
    let mut verdict = all(words)?;
    while words.next_if_eq(&"OR").is_some() {
        verdict |= all(words)?;
    }
    Some(verdict)
}

fn all(words: &mut Words<'_>) -> Option<bool> {
    let mut verdict = one(words)?;
    while words.next_if_eq(&"AND").is_some() {
        verdict &= one(words)?;
    }
    Some(verdict)
}

fn one(words: &mut Words<'_>) -> Option<bool> {
    if words.next_if_eq(&"(").is_some() {
        let verdict = any(words)?;
        return words.next_if_eq(&")").map(|_| verdict);
    }
    let licence = identifier(words)?;
    if words.next_if_eq(&"WITH").is_some() {
        identifier(words)?;
    }
    Some(ALLOWED.contains(&licence))
}

fn identifier<'a>(words: &mut Words<'a>) -> Option<&'a str> {
    words.next_if(|word| !["(", ")", "AND", "OR", "WITH"].contains(word))
}

/// Licences that ask for no more than a notice.
const ALLOWED: [&str; 10] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_allowed_choice_is_enough() {
        for expression in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "GPL-3.0-only OR MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 / MIT",
            "Apache-2.0 WITH LLVM-exception",
            "(MIT OR GPL-3.0-only) AND Unicode-3.0",
            "((MIT))",
        ] {
            assert_eq!(allowed(expression), Some(true), "{expression}");
        }
    }

    #[test]
    fn one_refused_part_is_enough() {
        for expression in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "(MIT OR Apache-2.0) AND GPL-3.0-only",
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "LGPL-2.1+",
            "mit-like",
        ] {
            assert_eq!(allowed(expression), Some(false), "{expression}");
        }
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert_eq!(allowed("MIT OR MIT AND GPL-3.0-only"), Some(true));
        assert_eq!(allowed("(MIT OR MIT) AND GPL-3.0-only"), Some(false));
    }

    #[test]
    fn what_is_no_expression_is_not_allowed() {
        for expression in [
            "",
            "MIT OR",
            "OR MIT",
            "(MIT",
            "MIT)",
            "MIT Apache-2.0",
            "MIT WITH",
            "()",
        ] {
            assert_eq!(allowed(expression), None, "{expression}");
        }
    }

    #[test]
    fn offender_is_named_with_its_version() {
        assert_eq!(offence("one v1.0.0\tMIT"), None);
        assert_eq!(offence("one v1.0.0 (proc-macro)\tMIT (*)"), None);
        assert_eq!(
            offence("two v2.0.0\tGPL-3.0-only (*)").as_deref(),
            Some("two v2.0.0: GPL-3.0-only")
        );
        assert!(offence("three v3.0.0\t").is_some());
    }
}
