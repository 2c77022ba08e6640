//! From the text of config.toml to a [`Config`], or to everything that is wrong with it.

use std::ops::Range;
use std::path::Path;

use glob::Pattern;
use swf_filter_core::policy::{Entry, SourceFile, parse_always_allow};
use toml::Spanned;
use toml::de::DeTable;

use super::fault::{Fault, GlobProblem};
use super::{
    Config, EngineChoice, IFNAMSIZ, MAX_EVENTS, MAX_HISTORY, OnBootFailure, Paths, XdpMode,
};
use crate::observe;
use crate::report::Report;
use crate::toml_reader::{self, Reader, Section, Value};

/// What [`Config::events_per_second`] is if the file does not say.
const EVENTS: u32 = 100;
/// What [`Config::history`] is if the file does not say.
const HISTORY: u32 = 20;

const TOP: Section = Section {
    title: "config.toml",
    fields: &[
        "version",
        "interfaces",
        "xdp_mode",
        "engine",
        "always_allow",
        "on_boot_failure",
        "events_per_second",
        "history",
        "trace",
        "observe",
        "paths",
    ],
};

const PATHS: Section = Section {
    title: "`[paths]`",
    fields: &["policy", "bpf", "run", "state"],
};

/// Reads `file`, which was found at `path`.
pub(super) fn read(path: &Path, file: &SourceFile) -> Result<Config, Report> {
    toml_reader::read(path, file, &TOP, |reader, fields| {
        config(reader, path, fields)
    })
}

fn config(reader: &mut Reader<'_>, path: &Path, fields: &DeTable<'_>) -> Config {
    let get = |field| fields.get(field);
    let boot_failures = [
        OnBootFailure::Refuse,
        OnBootFailure::Drop,
        OnBootFailure::Pass,
    ];
    let events = reader.number(
        "events_per_second",
        get("events_per_second"),
        0..=MAX_EVENTS,
        |found| Fault::Events { found },
    );
    let history = reader.number("history", get("history"), 1..=MAX_HISTORY, |found| {
        Fault::History { found }
    });
    Config {
        path: path.to_owned(),
        interfaces: interfaces(reader, get("interfaces")),
        xdp_mode: reader
            .choice(
                "xdp_mode",
                get("xdp_mode"),
                &["auto", "driver", "generic"],
                &[XdpMode::Auto, XdpMode::Driver, XdpMode::Generic],
            )
            .unwrap_or_default(),
        engine: reader
            .choice(
                "engine",
                get("engine"),
                &["auto", "compiled", "lpm-trie"],
                &[
                    EngineChoice::Auto,
                    EngineChoice::Compiled,
                    EngineChoice::LpmTrie,
                ],
            )
            .unwrap_or_default(),
        always_allow: always_allow(reader, get("always_allow")),
        on_boot_failure: reader
            .choice(
                "on_boot_failure",
                get("on_boot_failure"),
                &["refuse", "drop", "pass"],
                &boot_failures,
            )
            .unwrap_or_default(),
        events_per_second: events.unwrap_or(EVENTS),
        history: history.unwrap_or(HISTORY),
        trace: reader.switch("trace", get("trace")).unwrap_or_default(),
        observe: observe::settings::read(reader, &observe::settings::OF_DAEMON, get("observe")),
        paths: paths(reader, get("paths")),
    }
}

fn interfaces(reader: &mut Reader<'_>, list: Option<&Value<'_>>) -> Vec<Pattern> {
    let field = "interfaces";
    let help = "add `interfaces = [\"eth0\"]`, with names or globs of those to attach to";
    reader.require_items(field, list, help);
    let texts = reader.texts(field, list);
    let patterns = texts.iter().filter_map(|text| interface(reader, text));
    patterns.collect()
}

fn interface(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<Pattern> {
    let pattern = text.get_ref();
    match Pattern::new(pattern) {
        Ok(glob) if can_be_called(pattern) => Some(glob),
        Ok(_) => {
            let pattern = pattern.clone();
            reader.report(&Fault::NoInterface { pattern }, text.span());
            None
        }
        Err(error) => {
            let (problem, part) = glob_problem(pattern, error.pos);
            let (pattern, span) = (pattern.clone(), part_of(reader.file, text, part));
            reader.report(&Fault::Glob { pattern, problem }, span);
            None
        }
    }
}

fn always_allow(reader: &mut Reader<'_>, list: Option<&Value<'_>>) -> Vec<Entry> {
    let texts = reader.texts("always_allow", list);
    parse_always_allow(reader.file, &texts).unwrap_or_else(|problems| {
        reader.report_all(&problems);
        Vec::new()
    })
}

fn paths(reader: &mut Reader<'_>, table: Option<&Value<'_>>) -> Paths {
    let mut paths = Paths::default();
    let expected = "a table, headed by `[paths]`";
    if let Some(fields) = reader.table("paths", expected, &PATHS, table) {
        let fields_of = [
            ("paths.policy", &mut paths.policy),
            ("paths.bpf", &mut paths.bpf),
            ("paths.run", &mut paths.run),
            ("paths.state", &mut paths.state),
        ];
        reader.paths(fields, fields_of);
    }
    paths
}

/// Where a part of `text` stands; all of it if it is not written as it reads.
fn part_of(file: &SourceFile, text: &Spanned<String>, part: Range<usize>) -> Range<usize> {
    let Range { start, end } = text.span();
    let inside = start + 1..end.saturating_sub(1);
    if file.bytes.get(inside.clone()) == Some(text.get_ref().as_bytes()) {
        inside.start + part.start..inside.start + part.end
    } else {
        start..end
    }
}

/// What is wrong with `pattern`, which was refused near a character, and which of its bytes are.
fn glob_problem(pattern: &str, position: usize) -> (GlobProblem, Range<usize>) {
    if let Some((offset, '[')) = pattern.char_indices().nth(position) {
        return (GlobProblem::Range, offset..offset + 1);
    }
    let stars = pattern.find("**").unwrap_or_default();
    let rest = pattern.bytes().skip(stars);
    let count = rest.take_while(|byte| *byte == b'*').count();
    (GlobProblem::Stars, stars..stars + count)
}

/// Whether the kernel would take a name that fits `pattern` (`dev_valid_name` in net/core/dev.c).
fn can_be_called(pattern: &str) -> bool {
    let refused = |byte: u8| byte.is_ascii_whitespace() || b"/:\x0b\0".contains(&byte);
    let shortest = shortest(pattern);
    let empty = pattern.is_empty();
    !empty && shortest < IFNAMSIZ && !matches!(pattern, "." | "..") && !pattern.bytes().any(refused)
}

/// Bytes of the shortest name that fits a glob: a `*` may stand for nothing, and `[...]` stands for one character.
fn shortest(pattern: &str) -> usize {
    let mut length = 0;
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        // The first character after `[` or `[!` never closes it.
        let skipped = usize::from(rest.starts_with("[!")) + 2;
        let closed = rest.char_indices().skip(skipped).find(|(_, c)| *c == ']');
        let (taken, counted) = match (character, closed) {
            ('*', _) => (1, 0),
            ('[', Some((close, _))) => (close + 1, 1),
            _ => (character.len_utf8(), character.len_utf8()),
        };
        length += counted;
        rest = rest.get(taken..).unwrap_or_default();
    }
    length
}
