//! Commands that documents show: the parser has to take each of them.
//!
//! Nothing is run. What stands in a block is parsed whole; what is named in a sentence may leave out what the command needs.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;

use super::Arguments;

/// A command as a document shows it.
#[derive(Debug)]
struct Shown {
    place: String,
    words: Vec<String>,
    whole: Whole,
}

/// Whether a command is there with all that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    No,
    Yes,
}

/// What documents write where something else has to stand.
const PLACEHOLDERS: [(&str, &str); 5] = [
    ("ACTION", "swf:ListDomains"),
    ("ADDRESS", "192.0.2.1"),
    ("ADDRESS:PORT", "192.0.2.1:443"),
    ("GENERATION", "1"),
    ("KEY=VALUE", "aws:SourceVpc=vpc-1"),
];

/// The text of every document but the reference, which is made from the definition of the command line, with where it is.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut paths: Vec<PathBuf> = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "README.md",
        "SECURITY.md",
        "contrib/prometheus/alerts.yaml",
    ]
    .map(|path| root.join(path))
    .into();
    let entries = fs::read_dir(root.join("docs")).expect("docs");
    paths.extend(entries.map(|entry| entry.expect("an entry").path()));
    paths.retain(|path| !path.ends_with("docs/cli.md") && path.is_file());
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a text");
        (path.display().to_string(), text)
    };
    paths.into_iter().map(read).collect()
}

fn shown(name: &str, text: &str) -> Vec<Shown> {
    // In Markdown, what is indented is a block; in alert rules, everything is.
    let is_prose = Path::new(name)
        .extension()
        .is_some_and(|ending| ending == "md");
    // A line that ends so goes on in the next one.
    let joined = text.replace("\\\n", "  ");
    let mut shown = Vec::new();
    for line in joined.lines() {
        let mut take = |text: &str, whole| {
            for words in commands(text) {
                let place = format!("{name}: `{text}`");
                shown.push(Shown {
                    place,
                    words,
                    whole,
                });
            }
        };
        match line.strip_prefix("    ") {
            Some(command) if is_prose && !line.contains('`') => {
                take(command, Whole::Yes);
            }
            _ => {
                let named = line.split('`').skip(1).step_by(2);
                named.for_each(|text| take(text, Whole::No));
            }
        }
    }
    shown
}

/// The arguments of each `swf-filter` on a line of a shell.
fn commands(line: &str) -> Vec<Vec<String>> {
    let words = words(line);
    let ends = |word: &String| {
        ["&", "&&", "|", "||", ";"].contains(&&**word) || word.starts_with(['>', '<'])
    };
    let parts = words.split(ends);
    let arguments = parts.filter_map(|part| {
        let at = part.iter().position(|word| word == "swf-filter")?;
        // As a name that journalctl is given, it is no command.
        if at > 0 && part.get(at - 1).is_some_and(|word| word == "-t") {
            return None;
        }
        let arguments = part.get(at + 1..)?;
        (!arguments.is_empty()).then(|| arguments.to_vec())
    });
    arguments.collect()
}

/// The words of a line of a shell without its comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut is_quoted = false;
    for letter in line.chars().chain([' ']) {
        match letter {
            '\'' => is_quoted = !is_quoted,
            '#' if !is_quoted && word.is_empty() => break,
            ' ' if !is_quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            letter => word.push(letter),
        }
    }
    words
}

/// The arguments with something in place of what only stands for it, without the brackets of what may be left out.
fn filled(words: &[String]) -> Vec<String> {
    let mut filled: Vec<String> = Vec::new();
    for word in words {
        let word = word.trim_matches(['[', ']']);
        let option = filled.last().map(String::as_str);
        let word = match (word, option) {
            ("...", Some("--action")) => "ACTION",
            ("...", Some("--from" | "--to")) => "ADDRESS",
            (word, _) => word,
        };
        let known = PLACEHOLDERS.iter().find(|(name, _)| *name == word);
        filled.push(known.map_or(word, |(_, value)| value).to_owned());
    }
    filled
}

/// Why the parser does not take a command, if it does not.
fn fault(shown: &Shown) -> Option<String> {
    let words = filled(&shown.words);
    let words = ["swf-filter".to_owned()].into_iter().chain(words);
    let error = Arguments::try_parse_from(words).err()?;
    let lacks = matches!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
    );
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    (!is_help && (!lacks || shown.whole == Whole::Yes)).then(|| format!("{}: {error}", shown.place))
}

#[test]
fn the_parser_takes_every_command_that_documents_show() {
    let documents = documents();
    let all: Vec<Shown> = documents
        .iter()
        .flat_map(|(name, text)| shown(name, text))
        .collect();
    let faults: Vec<String> = all.iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let count = |whole| all.iter().filter(|one| one.whole == whole).count();
    // Far fewer would mean that they are written in a form that is not found here.
    assert!(count(Whole::Yes) >= 35, "{} in blocks", count(Whole::Yes));
    assert!(count(Whole::No) >= 60, "{} in sentences", count(Whole::No));
}

#[test]
fn a_wrong_command_is_noticed_wherever_it_stands() {
    for (text, is_right) in [
        ("    swf-filter try --timeout 2m   # two minutes", true),
        ("    swf-filter try --timeoot 2m", false),
        ("    swf-filter try --timeout soon", false),
        ("    curl x | swf-filter import list - >out", true),
        ("    curl x | swf-filter import lists - >out", false),
        ("    sudo swf-filter explain --from ADDRESS", false),
        (
            "    setpriv --x \\\n        swf-filter listener --chekc",
            false,
        ),
        (
            "see `swf-filter explain --from ...` and `swf-filter keys`",
            true,
        ),
        ("see `swf-filter explain --form ...`", false),
        ("see `swf-filter audit --verdict refuse`", false),
        ("see `swf-filter rollback [GENERATION]`", true),
        ("see `swf-filter rolback`", false),
    ] {
        let found = shown("a.md", text);
        assert!(!found.is_empty(), "{text}");
        let faults: Vec<String> = found.iter().filter_map(fault).collect();
        assert_eq!(faults.is_empty(), is_right, "{text}: {faults:?}");
    }
}
