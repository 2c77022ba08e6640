//! The notices of everything that is linked into the binary: their licences ask for them.
//!
//! cargo-about and the like are made for more licences than the few that dependencies may have here, and take minutes to build.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::check::EBPF_MANIFEST;
use crate::command;

/// All notices, each once, headed by the packages that have it.
pub(crate) fn of_all() -> Result<String> {
    let sources = sources()?;
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, licence) in packages()? {
        let folder = sources.iter().map(|source| source.join(&name));
        let folder = folder
            .into_iter()
            .find(|folder| folder.is_dir())
            .with_context(|| format!("the source of `{name}` is nowhere"))?;
        let mut found = notices_in(&folder)?;
        if found.is_empty() {
            found.push(format!("(no text of its own; licence: {licence})\n"));
        }
        for text in found {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    let blocks: Vec<String> = texts
        .into_iter()
        .map(|(text, names)| {
            let names: Vec<String> = names.into_iter().collect();
            format!("==== {} ====\n\n{}\n", names.join(", "), text.trim_end())
        })
        .collect();
    Ok(blocks.join("\n"))
}

/// Names with versions, and licences, of what comes from elsewhere.
fn packages() -> Result<BTreeMap<String, String>> {
    let mut packages = BTreeMap::new();
    for (manifest, package) in [
        ("Cargo.toml", "swf-filter"),
        (EBPF_MANIFEST, "swf-filter-ebpf"),
    ] {
        let tree = command::output(command::cargo("tree").args([
            "--manifest-path",
            manifest,
            "--package",
            package,
            "--edges=normal",
            "--prefix=none",
            "--format={p}\t{l}",
        ]))?;
        packages.extend(tree.lines().filter_map(package_of));
    }
    Ok(packages)
}

/// The folder name and the licence in a line of `cargo tree`. None for a package of this repository, whose path stands in it.
fn package_of(line: &str) -> Option<(String, String)> {
    let (package, licence) = line.split_once('\t')?;
    let words: Vec<&str> = package.split_whitespace().collect();
    let ([name, version] | [name, version, "(proc-macro)"]) = words.as_slice() else {
        return None;
    };
    let folder = format!("{name}-{}", version.strip_prefix('v')?);
    Some((folder, licence.trim_end_matches(" (*)").to_owned()))
}

/// Where cargo keeps sources.
fn sources() -> Result<Vec<PathBuf>> {
    let home = env::home_dir().context("no home folder")?;
    let cargo = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let registries = cargo.join("registry/src");
    let entries = fs::read_dir(&registries)
        .with_context(|| format!("cannot read `{}`", registries.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn notices_in(folder: &Path) -> Result<Vec<String>> {
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_ascii_uppercase();
        let is_notice = NOTICES.iter().any(|notice| name.starts_with(notice));
        if is_notice && path.is_file() {
            texts.insert(
                name,
                String::from_utf8_lossy(&fs::read(&path)?).into_owned(),
            );
        }
    }
    Ok(texts.into_values().collect())
}

/// How files with them begin.
const NOTICES: [&str; 5] = ["COPYING", "COPYRIGHT", "LICENCE", "LICENSE", "NOTICE"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_this_repository_are_not_among_others() {
        let other = package_of("serde_derive v1.0.2 (proc-macro)\tMIT OR Apache-2.0 (*)");
        let (folder, licence) = other.unwrap();
        assert_eq!(
            (&*folder, &*licence),
            ("serde_derive-1.0.2", "MIT OR Apache-2.0")
        );
        assert!(package_of("swf-filter v0.1.0 (/somewhere/swf-filter)\tMIT").is_none());
    }
}
