//! Text that was not meant to stay: paths of the machine it was written on, and notes to do something that no issue
//! knows about.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace};

/// Looks through every text file that git tracks or would track.
pub(crate) fn check() -> Result<()> {
    println!("check: stray text");
    let files = command::output(
        Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(workspace::root()),
    )
    .context("cannot list the files")?;
    let mut offences = Vec::new();
    for file in files.split_terminator('\0') {
        // What is deleted but not yet committed, or is not text, holds no stray text.
        let Ok(text) = fs::read_to_string(workspace::root().join(file)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if let Some(what) = offence(line) {
                offences.push(format!("{file}:{}: {what}", number + 1));
            }
        }
    }
    if !offences.is_empty() {
        bail!("found:\n  {}", offences.join("\n  "));
    }
    Ok(())
}

fn offence(line: &str) -> Option<String> {
    if let Some(folder) = MACHINE_FOLDERS
        .iter()
        .find(|folder| holds_path(line, folder))
    {
        return Some(format!("path of a machine, `{folder}`"));
    }
    let note = NOTES.iter().find(|note| holds_word(line, note))?;
    (!holds_issue(line)).then(|| format!("`{note}` without an issue number"))
}

/// Whether the line holds an absolute path below the folder; as a part of a longer path it means something else.
fn holds_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-*~}>/".contains(c))
    })
}

fn holds_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|part| part == word)
}

/// Whether the line holds `#` and a number.
fn holds_issue(line: &str) -> bool {
    line.split('#')
        .skip(1)
        .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// In two parts, or this file would be the first offender.
const MACHINE_FOLDERS: [&str; 3] = [
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
];

const NOTES: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_path_is_found() {
        for folder in MACHINE_FOLDERS {
            for line in [
                format!("{folder}main"),
                format!("open(\"{folder}a\")"),
                format!("PATH=/bin:{folder}bin"),
            ] {
                assert!(offence(&line).is_some(), "{line}");
            }
        }
    }

    #[test]
    fn part_of_another_path_is_left_alone() {
        for folder in MACHINE_FOLDERS {
            for line in [
                format!("target{folder}a"),
                format!("https://example.com{folder}a"),
                format!("~{folder}a"),
            ] {
                assert_eq!(offence(&line), None, "{line}");
            }
        }
        assert_eq!(offence("the root/owner of the work/home"), None);
    }

    #[test]
    fn note_needs_an_issue_number() {
        for note in NOTES {
            assert!(offence(&format!("// {note}: later")).is_some());
            assert!(offence(&format!("// {note}(#some): later")).is_some());
            assert_eq!(offence(&format!("// {note}(#12): later")), None);
            assert_eq!(
                offence(&format!("{note}S and {note}_LIST are other words")),
                None
            );
        }
    }
}
