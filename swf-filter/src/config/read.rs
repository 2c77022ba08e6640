//! From the text of config.toml to a [`Config`], or to everything that is wrong with it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str;

use glob::Pattern;
use swf_filter_core::policy::{
    self, Entry, Problems, Severity, SourceFile, SourceIndex, parse_always_allow,
};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, GlobProblem, Section};
use super::{Config, IFNAMSIZ, MAX_BYTES, MAX_EVENTS, OnBootFailure, Paths, XdpMode};
use crate::report::{Finding, Report};

/// What [`Config::events_per_second`] is if the file does not say.
const EVENTS: u32 = 100;

type Value<'a> = Spanned<DeValue<'a>>;

/// Reads `file`, which was found at `path`.
pub(super) fn read(path: &Path, file: &SourceFile) -> Result<Config, Report> {
    let mut reader = Reader {
        file,
        index: SourceIndex::new(file),
        findings: Vec::new(),
        more: 0,
    };
    let config = match parse(&file.bytes) {
        Ok(fields) => Some(reader.config(path, &fields)),
        Err((span, fault)) => {
            reader.report(fault, span);
            None
        }
    };
    match config {
        Some(config) if reader.findings.is_empty() => Ok(config),
        _ => Err(reader.into_report()),
    }
}

fn parse(bytes: &[u8]) -> Result<DeTable<'_>, (Range<usize>, Fault)> {
    if bytes.len() > MAX_BYTES {
        return Err((MAX_BYTES..MAX_BYTES, Fault::TooLong));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let start = error.valid_up_to();
        let end = start + error.error_len().unwrap_or(1);
        (start..end, policy::Fault::NotUtf8.into())
    })?;
    match DeTable::parse(text) {
        Ok(fields) => Ok(fields.into_inner()),
        Err(error) => {
            let message = error.message().to_owned();
            let fault = policy::Fault::Syntax { message };
            Err((error.span().unwrap_or_default(), fault.into()))
        }
    }
}

/// Reads fields, and collects what is wrong with them. A field that is wrong is read as if it were not there.
struct Reader<'a> {
    file: &'a SourceFile,
    index: SourceIndex<'a>,
    findings: Vec<Finding>,
    /// How many problems are not among them.
    more: usize,
}

impl Reader<'_> {
    fn config(&mut self, path: &Path, fields: &DeTable<'_>) -> Config {
        self.check_fields(Section::Top, fields);
        self.check_version(fields.get("version"));
        let get = |field| fields.get(field);
        Config {
            path: path.to_owned(),
            interfaces: self.interfaces(get("interfaces")),
            xdp_mode: self.choice(
                "xdp_mode",
                get("xdp_mode"),
                &["auto", "driver", "generic"],
                &[XdpMode::Auto, XdpMode::Driver, XdpMode::Generic],
            ),
            always_allow: self.always_allow(get("always_allow")),
            on_boot_failure: self.choice(
                "on_boot_failure",
                get("on_boot_failure"),
                &["refuse", "drop", "pass"],
                &[
                    OnBootFailure::Refuse,
                    OnBootFailure::Drop,
                    OnBootFailure::Pass,
                ],
            ),
            events_per_second: self.events(get("events_per_second")),
            trace: self.switch("trace", get("trace")),
            paths: self.paths(path, get("paths")),
        }
    }

    fn check_fields(&mut self, section: Section, fields: &DeTable<'_>) {
        for key in fields.keys() {
            let field: &str = key.get_ref();
            if !section.fields().contains(&field) {
                let field = field.to_owned();
                self.report(Fault::UnknownField { section, field }, key.span());
            }
        }
    }

    fn check_version(&mut self, version: Option<&Value<'_>>) {
        match version {
            None => self.report(Fault::Missing { field: "version" }, 0..0),
            Some(version) if integer(version) == Some(1) => {}
            Some(version) => {
                let found = self.written(version);
                self.report(policy::Fault::Version { found }, version.span());
            }
        }
    }

    fn interfaces(&mut self, list: Option<&Value<'_>>) -> Vec<Pattern> {
        let field = "interfaces";
        let Some(list) = list else {
            self.report(Fault::Missing { field }, 0..0);
            return Vec::new();
        };
        if list
            .get_ref()
            .as_array()
            .is_some_and(|list| list.is_empty())
        {
            self.report(policy::Fault::EmptyList { field }, list.span());
        }
        let texts = self.texts(field, Some(list));
        let patterns = texts.iter().filter_map(|text| self.interface(text));
        patterns.collect()
    }

    fn interface(&mut self, text: &Spanned<String>) -> Option<Pattern> {
        let pattern = text.get_ref();
        match Pattern::new(pattern) {
            Ok(glob) if can_be_called(pattern) => Some(glob),
            Ok(_) => {
                let pattern = pattern.clone();
                self.report(Fault::NoInterface { pattern }, text.span());
                None
            }
            Err(error) => {
                let (problem, part) = glob_problem(pattern, error.pos);
                let (pattern, span) = (pattern.clone(), self.part(text, part));
                self.report(Fault::Glob { pattern, problem }, span);
                None
            }
        }
    }

    fn always_allow(&mut self, list: Option<&Value<'_>>) -> Vec<Entry> {
        let texts = self.texts("always_allow", list);
        parse_always_allow(self.file, &texts).unwrap_or_else(|problems| {
            self.findings
                .extend(problems.list.iter().map(Finding::from));
            self.more += problems.more;
            Vec::new()
        })
    }

    fn events(&mut self, number: Option<&Value<'_>>) -> u32 {
        let Some(number) = number else { return EVENTS };
        if !number.get_ref().is_integer() {
            self.wrong_type("events_per_second", "a whole number", number);
            return EVENTS;
        }
        let events = integer(number).and_then(|number| u32::try_from(number).ok());
        events
            .filter(|events| *events <= MAX_EVENTS)
            .unwrap_or_else(|| {
                let found = self.written(number);
                self.report(Fault::Events { found }, number.span());
                EVENTS
            })
    }

    fn switch(&mut self, field: &'static str, value: Option<&Value<'_>>) -> bool {
        let Some(value) = value else { return false };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type(field, "`true` or `false`", value);
            false
        })
    }

    fn choice<T: Copy + Default>(
        &mut self,
        field: &'static str,
        value: Option<&Value<'_>>,
        choices: &'static [&'static str],
        meanings: &[T],
    ) -> T {
        let Some(text) = value.and_then(|value| self.text(field, value)) else {
            return T::default();
        };
        let mut pairs = choices.iter().zip(meanings);
        if let Some((_, meaning)) = pairs.find(|(choice, _)| *choice == text.get_ref()) {
            return *meaning;
        }
        let found = text.get_ref().clone();
        let fault = policy::Fault::NotChoice {
            field,
            found,
            choices,
        };
        self.report(fault, text.span());
        T::default()
    }

    fn paths(&mut self, config: &Path, table: Option<&Value<'_>>) -> Paths {
        let mut paths = Paths::default();
        let Some(table) = table else { return paths };
        let DeValue::Table(fields) = table.get_ref() else {
            self.wrong_type("paths", "a table, headed by `[paths]`", table);
            return paths;
        };
        self.check_fields(Section::Paths, fields);
        for (name, field, path) in [
            ("policy", "paths.policy", &mut paths.policy),
            ("bpf", "paths.bpf", &mut paths.bpf),
            ("run", "paths.run", &mut paths.run),
            ("state", "paths.state", &mut paths.state),
        ] {
            let value = fields.get(name);
            if let Some(written) = value.and_then(|value| self.path(config, field, value)) {
                *path = written;
            }
        }
        paths
    }

    fn path(&mut self, config: &Path, field: &'static str, value: &Value<'_>) -> Option<PathBuf> {
        let text = self.text(field, value)?;
        let path = Path::new(text.get_ref());
        if text.get_ref().is_empty() || text.get_ref().contains('\0') {
            self.report(Fault::NoPath { field }, text.span());
            return None;
        }
        if !path.is_absolute() {
            let whole = config.parent().map(|directory| directory.join(path));
            let whole = whole.filter(|path| path.is_absolute());
            self.report(Fault::RelativePath { field, whole }, text.span());
            return None;
        }
        Some(path.to_owned())
    }

    /// The strings of a list; none if it is not there.
    fn texts(&mut self, field: &'static str, list: Option<&Value<'_>>) -> Vec<Spanned<String>> {
        let Some(list) = list else { return Vec::new() };
        let Some(items) = list.get_ref().as_array() else {
            self.wrong_type(field, "a list in `[ ]`", list);
            return Vec::new();
        };
        let texts = items.iter().filter_map(|item| self.text(field, item));
        texts.collect()
    }

    fn text(&mut self, field: &'static str, value: &Value<'_>) -> Option<Spanned<String>> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(field, "text in quotes", value);
            return None;
        };
        Some(Spanned::new(value.span(), text.to_owned()))
    }

    fn wrong_type(&mut self, field: &'static str, expected: &'static str, value: &Value<'_>) {
        let found = value.get_ref().type_str();
        let fault = policy::Fault::WrongType {
            field,
            expected,
            found,
        };
        self.report(fault, value.span());
    }

    /// How `value` is written.
    fn written(&self, value: &Value<'_>) -> String {
        let bytes = self.file.bytes.get(value.span()).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Where a part of `text` stands; all of it if it is not written as it reads.
    fn part(&self, text: &Spanned<String>, part: Range<usize>) -> Range<usize> {
        let Range { start, end } = text.span();
        let inside = start + 1..end.saturating_sub(1);
        if self.file.bytes.get(inside.clone()) == Some(text.get_ref().as_bytes()) {
            inside.start + part.start..inside.start + part.end
        } else {
            start..end
        }
    }

    fn report(&mut self, fault: impl Into<Fault>, span: Range<usize>) {
        let fault = fault.into();
        self.findings.push(Finding {
            severity: Severity::Error,
            message: fault.to_string(),
            help: fault.help(),
            at: (fault.label(), self.index.place(span)),
            other: None,
        });
    }

    fn into_report(mut self) -> Report {
        self.findings.sort_by_key(|finding| finding.at.1.span.start);
        let more = self.more + self.findings.len().saturating_sub(Problems::KEPT);
        self.findings.truncate(Problems::KEPT);
        Report::of(self.findings, more, std::slice::from_ref(self.file))
    }
}

fn integer(value: &Value<'_>) -> Option<i64> {
    let integer = value.get_ref().as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
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
