//! Settings files: TOML that is taken whole, or refused with everything that is wrong with it, each at its place.
//!
//! What the fields of a file mean is left to [`crate::config`] and [`crate::listener::settings`]. The tree of the `toml` crate is
//! walked by hand, as that of policy files is: serde stops at the first problem.

mod fault;
#[cfg(test)]
pub(crate) mod refusals;

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str;

use swf_filter_core::policy::{self, Problems, Severity, SourceFile, SourceIndex};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(crate) use self::fault::{Explain, Fault, Section};
use crate::report::{Finding, Report};

/// Bytes of a settings file at most.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// A value, and where it stands.
pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// Reads `file`, which was found at `path`. Its fields are those of `top`, and `settings` makes of them what they mean.
pub(crate) fn read<T>(
    path: &Path,
    file: &SourceFile,
    top: &'static Section,
    settings: impl FnOnce(&mut Reader<'_>, &DeTable<'_>) -> T,
) -> Result<T, Report> {
    let mut reader = Reader {
        path,
        file,
        index: SourceIndex::new(file),
        findings: Vec::new(),
        more: 0,
    };
    let settings = reader.parse(top).map(|fields| {
        reader.check_fields(top, &fields);
        reader.check_version(fields.get("version"));
        settings(&mut reader, &fields)
    });
    match settings {
        Some(settings) if reader.findings.is_empty() => Ok(settings),
        _ => Err(reader.into_report()),
    }
}

/// Reads fields, and collects what is wrong with them. A field that is wrong is read as if it were not there.
pub(crate) struct Reader<'a> {
    path: &'a Path,
    /// What is read.
    pub(crate) file: &'a SourceFile,
    index: SourceIndex<'a>,
    findings: Vec<Finding>,
    /// How many problems are not among them.
    more: usize,
}

impl<'a> Reader<'a> {
    fn parse(&mut self, top: &Section) -> Option<DeTable<'a>> {
        let bytes: &'a [u8] = &self.file.bytes;
        if bytes.len() > MAX_BYTES {
            let file = top.title;
            self.report(&Fault::TooLong { file }, MAX_BYTES..MAX_BYTES);
            return None;
        }
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let start = error.valid_up_to();
                let end = start + error.error_len().unwrap_or(1);
                self.report(&policy::Fault::NotUtf8, start..end);
                return None;
            }
        };
        match DeTable::parse(text) {
            Ok(fields) => Some(fields.into_inner()),
            Err(error) => {
                let message = error.message().to_owned();
                let fault = policy::Fault::Syntax { message };
                self.report(&fault, error.span().unwrap_or_default());
                None
            }
        }
    }
}

impl Reader<'_> {
    /// Reports the fields that a table must not have.
    pub(crate) fn check_fields(&mut self, section: &'static Section, fields: &DeTable<'_>) {
        for key in fields.keys() {
            let field: &str = key.get_ref();
            if !section.fields.contains(&field) {
                let field = field.to_owned();
                self.report(&Fault::UnknownField { section, field }, key.span());
            }
        }
    }

    fn check_version(&mut self, version: Option<&Value<'_>>) {
        let (field, help) = ("version", "write `version = 1` as the first line");
        match version {
            None => self.report(&Fault::Missing { field, help }, 0..0),
            Some(version) if integer(version) == Some(1) => {}
            Some(version) => {
                let found = self.written(version);
                self.report(&policy::Fault::Version { found }, version.span());
            }
        }
    }

    /// `true` or `false`; none if it is not there.
    pub(crate) fn switch(
        &mut self,
        field: &'static str,
        value: Option<&Value<'_>>,
    ) -> Option<bool> {
        let value = value?;
        let switch = value.get_ref().as_bool();
        if switch.is_none() {
            self.wrong_type(field, "`true` or `false`", value);
        }
        switch
    }

    /// A number in `range`, which is reported as `fault` otherwise; none if it is not there.
    pub(crate) fn number<F: Explain>(
        &mut self,
        field: &'static str,
        value: Option<&Value<'_>>,
        range: RangeInclusive<u32>,
        fault: impl FnOnce(String) -> F,
    ) -> Option<u32> {
        let value = value?;
        if !value.get_ref().is_integer() {
            self.wrong_type(field, "a whole number", value);
            return None;
        }
        let number = integer(value).and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let found = self.written(value);
            self.report(&fault(found), value.span());
        }
        number
    }

    /// What the word that is written means; none if it is not there.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        field: &'static str,
        value: Option<&Value<'_>>,
        choices: &'static [&'static str],
        meanings: &[T],
    ) -> Option<T> {
        let text = value.and_then(|value| self.text(field, value))?;
        let mut pairs = choices.iter().zip(meanings);
        if let Some((_, meaning)) = pairs.find(|(choice, _)| *choice == text.get_ref()) {
            return Some(*meaning);
        }
        let found = text.get_ref().clone();
        let fault = policy::Fault::NotChoice {
            field,
            found,
            choices,
        };
        self.report(&fault, text.span());
        None
    }

    /// The fields of the table `value`, which are those of `section`; none if it is not there.
    pub(crate) fn table<'v>(
        &mut self,
        field: &'static str,
        expected: &'static str,
        section: &'static Section,
        value: Option<&'v Value<'v>>,
    ) -> Option<&'v DeTable<'v>> {
        let value = value?;
        let DeValue::Table(fields) = value.get_ref() else {
            self.wrong_type(field, expected, value);
            return None;
        };
        self.check_fields(section, fields);
        Some(fields)
    }

    /// Reads the paths of the table `[paths]` over their defaults. Each comes with its field, such as `paths.run`.
    pub(crate) fn paths<const N: usize>(
        &mut self,
        fields: &DeTable<'_>,
        paths: [(&'static str, &mut PathBuf); N],
    ) {
        for (field, path) in paths {
            let value = fields.get(last_part(field));
            if let Some(written) = value.and_then(|value| self.path(field, value)) {
                *path = written;
            }
        }
    }

    /// A whole path.
    pub(crate) fn path(&mut self, field: &'static str, value: &Value<'_>) -> Option<PathBuf> {
        let text = self.text(field, value)?;
        let path = Path::new(text.get_ref());
        if text.get_ref().is_empty() || text.get_ref().contains('\0') {
            self.report(&Fault::NoPath { field }, text.span());
            return None;
        }
        if !path.is_absolute() {
            let whole = self.path.parent().map(|directory| directory.join(path));
            let whole = whole.filter(|path| path.is_absolute());
            self.report(&Fault::RelativePath { field, whole }, text.span());
            return None;
        }
        Some(path.to_owned())
    }

    /// The strings of a list; none if it is not there.
    pub(crate) fn texts(
        &mut self,
        field: &'static str,
        list: Option<&Value<'_>>,
    ) -> Vec<Spanned<String>> {
        let items = self.items(field, "a list in `[ ]`", list).iter();
        items.filter_map(|item| self.text(field, item)).collect()
    }

    /// The items of a list; none if it is not there.
    pub(crate) fn items<'v>(
        &mut self,
        field: &'static str,
        expected: &'static str,
        list: Option<&'v Value<'v>>,
    ) -> &'v [Value<'v>] {
        let Some(list) = list else { return &[] };
        let items = list.get_ref().as_array();
        if items.is_none() {
            self.wrong_type(field, expected, list);
        }
        items.map_or(&[], |items| items.as_ref())
    }

    /// Reports a list of the top that is not there, or empty.
    pub(crate) fn require_items(
        &mut self,
        field: &'static str,
        list: Option<&Value<'_>>,
        help: &'static str,
    ) {
        if let Some(list) = list {
            self.refuse_empty(field, list);
        } else {
            self.report(&Fault::Missing { field, help }, 0..0);
        }
    }

    /// Reports a list that is there, and empty.
    pub(crate) fn refuse_empty(&mut self, field: &'static str, list: &Value<'_>) {
        let items = list.get_ref().as_array();
        if items.is_some_and(|items| items.is_empty()) {
            self.report(&policy::Fault::EmptyList { field }, list.span());
        }
    }

    /// A string.
    pub(crate) fn text(
        &mut self,
        field: &'static str,
        value: &Value<'_>,
    ) -> Option<Spanned<String>> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(field, "text in quotes", value);
            return None;
        };
        Some(Spanned::new(value.span(), text.to_owned()))
    }

    /// Reports a value of the wrong type.
    pub(crate) fn wrong_type(
        &mut self,
        field: &'static str,
        expected: &'static str,
        value: &Value<'_>,
    ) {
        let found = value.get_ref().type_str();
        let fault = policy::Fault::WrongType {
            field,
            expected,
            found,
        };
        self.report(&fault, value.span());
    }

    /// How `value` is written.
    fn written(&self, value: &Value<'_>) -> String {
        let bytes = self.file.bytes.get(value.span()).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Reports what is wrong at `span`.
    pub(crate) fn report(&mut self, fault: &impl Explain, span: Range<usize>) {
        self.find(fault, span, None);
    }

    /// The same with a second place that has to do with it.
    pub(crate) fn report_beside(
        &mut self,
        fault: &impl Explain,
        span: Range<usize>,
        other: Range<usize>,
    ) {
        self.find(fault, span, Some(other));
    }

    fn find(&mut self, fault: &impl Explain, span: Range<usize>, other: Option<Range<usize>>) {
        self.findings.push(Finding {
            severity: Severity::Error,
            message: fault.to_string(),
            help: fault.help(),
            at: (fault.label(), self.index.place(span)),
            other: other.map(|span| (fault.other_label(), self.index.place(span))),
        });
    }

    /// Reports what another reader found in the same file.
    pub(crate) fn report_all(&mut self, problems: &Problems) {
        self.findings
            .extend(problems.list.iter().map(Finding::from));
        self.more += problems.more;
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

/// A field as it is called in its table.
fn last_part(field: &str) -> &str {
    field.rsplit_once('.').map_or(field, |(_, last)| last)
}
