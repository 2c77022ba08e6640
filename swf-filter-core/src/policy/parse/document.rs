//! A policy file as TOML, and typed access to the fields of its blocks.

use std::ops::Range;
use std::str;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::fault::Block;
use super::super::limits::{Limit, NAME, POLICY_FILE};
use super::super::{Fault, Place, Problem, Problems, SourceFile, SourceIndex};

/// A string of a policy file, and the bytes that it was written with, quotes included.
pub(super) struct Text<'a> {
    pub(super) value: &'a str,
    pub(super) span: Range<usize>,
}

/// A policy file that is TOML and of a known version.
pub(super) struct Document<'a> {
    index: SourceIndex<'a>,
    root: DeTable<'a>,
}

impl<'a> Document<'a> {
    /// Reads `file`; none if it is not TOML. Only the first error of TOML is reported, since the next ones are mostly
    /// its echoes.
    pub(super) fn read(file: &'a SourceFile, problems: &mut Problems) -> Option<Self> {
        let index = SourceIndex::new(file);
        match read_toml(&file.bytes) {
            Ok(root) => {
                let document = Self { index, root };
                document.check_version(problems);
                document.top().check_fields(problems);
                Some(document)
            }
            Err((span, fault)) => {
                problems.add(|| Problem::new(fault, index.place(span)));
                None
            }
        }
    }

    /// The blocks of a kind, in order.
    pub(super) fn blocks(&self, block: Block, problems: &mut Problems) -> Vec<Table<'_>> {
        let field = match block {
            Block::Account => "account",
            Block::Expect => "expect",
            Block::Host => "host",
            Block::Role => "role",
            Block::Set => "set",
            Block::User => "user",
            Block::File | Block::Vpc => "vpc",
        };
        let items = self.top().list_of(
            field,
            "tables, each headed by its name in `[[ ]]`",
            problems,
        );
        let tables = items.iter().filter_map(|item| {
            let DeValue::Table(fields) = item.get_ref() else {
                self.top().wrong_type(
                    field,
                    "tables, each headed by its name in `[[ ]]`",
                    item,
                    problems,
                );
                return None;
            };
            Some(Table {
                block,
                index: &self.index,
                fields,
                span: item.span(),
            })
        });
        tables.collect()
    }

    fn top(&self) -> Table<'_> {
        Table {
            block: Block::File,
            index: &self.index,
            fields: &self.root,
            span: 0..0,
        }
    }

    fn check_version(&self, problems: &mut Problems) {
        match self.root.get("version") {
            None => problems.add(|| Problem::new(Fault::VersionMissing, self.index.place(0..0))),
            Some(version) if integer(version.get_ref()) == Some(1) => {}
            Some(version) => {
                let found = written(&self.index, version).to_owned();
                problems.add(|| {
                    Problem::new(Fault::Version { found }, self.index.place(version.span()))
                });
            }
        }
    }
}

/// The fields of one block.
#[derive(Clone)]
pub(super) struct Table<'a> {
    pub(super) block: Block,
    pub(super) index: &'a SourceIndex<'a>,
    fields: &'a DeTable<'a>,
    span: Range<usize>,
}

impl<'a> Table<'a> {
    /// Where the block starts: its header, or its opening brace.
    pub(super) fn place(&self) -> Place {
        self.index.place(self.span.clone())
    }

    /// The bytes that the block's header, or its opening brace, stands in.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Reports a fault at `span`.
    pub(super) fn report(
        &self,
        fault: impl Into<Fault>,
        span: Range<usize>,
        problems: &mut Problems,
    ) {
        problems.add(|| Problem::new(fault.into(), self.index.place(span)));
    }

    /// Reports the fields that the block must not have.
    pub(super) fn check_fields(&self, problems: &mut Problems) {
        let unknown = self
            .fields
            .keys()
            .filter(|key| !self.block.fields().contains(&key.get_ref().as_ref()));
        for key in unknown {
            let fault = Fault::UnknownField {
                block: self.block,
                field: key.get_ref().to_string(),
            };
            self.report(fault, key.span(), problems);
        }
    }

    /// The block's name or id, if it has a valid one.
    pub(super) fn name(&self, problems: &mut Problems) -> Option<Text<'a>> {
        let field = self.block.name_field();
        let text = self.required_text(field, problems)?;
        let what = match self.block {
            Block::Vpc => "VPC id",
            Block::Account => "account id",
            Block::Role => "role name",
            Block::Set => "set name",
            Block::User => "user name",
            Block::Expect | Block::File | Block::Host => "host name",
        };
        self.check_name(what, &text, problems).then_some(text)
    }

    /// Whether `text` is a valid name; reports it as a `what` if not.
    pub(super) fn check_name(
        &self,
        what: &'static str,
        text: &Text<'_>,
        problems: &mut Problems,
    ) -> bool {
        let valid = is_name(text.value);
        if !valid {
            self.report(
                Fault::Name {
                    what,
                    name: text.value.into(),
                },
                text.span.clone(),
                problems,
            );
        }
        valid
    }

    /// Whether `field` is there; reports it if not.
    pub(super) fn require(&self, field: &'static str, problems: &mut Problems) -> bool {
        let there = self.fields.contains_key(field);
        if !there {
            self.report(
                Fault::MissingField {
                    block: self.block,
                    field,
                },
                self.span.clone(),
                problems,
            );
        }
        there
    }

    /// Reports `field` if it is missing, or an empty list.
    pub(super) fn require_items(&self, field: &'static str, problems: &mut Problems) {
        if self.require(field, problems) {
            self.refuse_empty(field, problems);
        }
    }

    /// Reports `field` if it is an empty list.
    pub(super) fn refuse_empty(&self, field: &'static str, problems: &mut Problems) {
        if let Some(value) = self.value(field)
            && value
                .get_ref()
                .as_array()
                .is_some_and(|items| items.is_empty())
        {
            self.report(Fault::EmptyList { field }, value.span(), problems);
        }
    }

    /// The value of `field`, whatever its type.
    pub(super) fn value(&self, field: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.fields.get(field)
    }

    /// The string in `field`.
    pub(super) fn text(&self, field: &'static str, problems: &mut Problems) -> Option<Text<'a>> {
        self.as_text(field, self.value(field)?, problems)
    }

    /// The truth value in `field`.
    pub(super) fn switch(&self, field: &'static str, problems: &mut Problems) -> Option<bool> {
        let item = self.value(field)?;
        let value = item.get_ref().as_bool();
        if value.is_none() {
            self.wrong_type(field, "`true` or `false`", item, problems);
        }
        value
    }

    /// The string in `item`, a value of `field`.
    pub(super) fn as_text(
        &self,
        field: &'static str,
        item: &'a Spanned<DeValue<'a>>,
        problems: &mut Problems,
    ) -> Option<Text<'a>> {
        let value = item.get_ref().as_str();
        if value.is_none() {
            self.wrong_type(field, "text in quotes", item, problems);
        }
        Some(Text {
            value: value?,
            span: item.span(),
        })
    }

    /// The string in `field`, which has to be there.
    pub(super) fn required_text(
        &self,
        field: &'static str,
        problems: &mut Problems,
    ) -> Option<Text<'a>> {
        if !self.require(field, problems) {
            return None;
        }
        self.text(field, problems)
    }

    /// The items of the list in `field`; none if it is not there.
    pub(super) fn list(
        &self,
        field: &'static str,
        problems: &mut Problems,
    ) -> &'a [Spanned<DeValue<'a>>] {
        self.list_of(field, "a list in `[ ]`", problems)
    }

    /// The strings of the list in `field`.
    pub(super) fn texts(&self, field: &'static str, problems: &mut Problems) -> Vec<Text<'a>> {
        let items = self.list(field, problems).iter();
        items
            .filter_map(|item| self.as_text(field, item, problems))
            .collect()
    }

    /// The word in `field`, as the value that `choices` has for it, or `default`.
    pub(super) fn choice<T: Copy>(
        &self,
        field: &'static str,
        words: &'static [&'static str],
        values: &[T],
        default: T,
        problems: &mut Problems,
    ) -> T {
        let Some(text) = self.text(field, problems) else {
            return default;
        };
        let found = words
            .iter()
            .zip(values)
            .find(|(word, _)| **word == text.value);
        if found.is_none() {
            let fault = Fault::NotChoice {
                field,
                found: text.value.into(),
                choices: words,
            };
            self.report(fault, text.span, problems);
        }
        found.map_or(default, |(_, value)| *value)
    }

    /// Reports a value of the wrong type.
    pub(super) fn wrong_type(
        &self,
        field: &'static str,
        expected: &'static str,
        item: &Spanned<DeValue<'_>>,
        problems: &mut Problems,
    ) {
        let found = item.get_ref().type_str();
        self.report(
            Fault::WrongType {
                field,
                expected,
                found,
            },
            item.span(),
            problems,
        );
    }

    /// How `item` was written.
    pub(super) fn written(&self, item: &Spanned<DeValue<'_>>) -> &'a str {
        written(self.index, item)
    }

    fn list_of(
        &self,
        field: &'static str,
        expected: &'static str,
        problems: &mut Problems,
    ) -> &'a [Spanned<DeValue<'a>>] {
        let Some(value) = self.value(field) else {
            return &[];
        };
        let items = value.get_ref().as_array();
        if items.is_none() {
            self.wrong_type(field, expected, value, problems);
        }
        items.map_or(&[], |items| items.as_ref())
    }
}

/// The number in `value`, if it is one that fits.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn written<'a>(index: &SourceIndex<'a>, item: &Spanned<DeValue<'_>>) -> &'a str {
    let bytes = index.bytes().get(item.span()).unwrap_or_default();
    str::from_utf8(bytes).unwrap_or_default()
}

fn read_toml(bytes: &[u8]) -> Result<DeTable<'_>, (Range<usize>, Fault)> {
    if bytes.len() > POLICY_FILE {
        return Err((
            POLICY_FILE..POLICY_FILE,
            Fault::TooMany {
                limit: Limit::PolicyFile,
            },
        ));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let start = error.valid_up_to();
        (
            start..start + error.error_len().unwrap_or(1),
            Fault::NotUtf8,
        )
    })?;
    match DeTable::parse(text) {
        Ok(root) => Ok(root.into_inner()),
        Err(error) => {
            let message = error.message().to_owned();
            Err((error.span().unwrap_or_default(), Fault::Syntax { message }))
        }
    }
}

/// Whether `text` can name a block: 1 to [`NAME`] characters of `A-Z a-z 0-9 . _ -`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME).contains(&text.len()) && text.bytes().all(allowed)
}
