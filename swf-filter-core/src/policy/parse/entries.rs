//! Entries, and lists of prefixes.

use std::ops::Range;

use super::super::limits::{Limit, PREFIXES};
use super::super::{Entry, Fault, Problem, Problems, Source, SourceIndex};
use super::document::{Table, Text};
use super::names::Names;
use crate::prefix::{PrefixList, text};

/// What entries may name.
pub(super) struct Scope<'a> {
    pub(super) accounts: Names<'a>,
    pub(super) sets: Names<'a>,
    pub(super) vpcs: Names<'a>,
    /// Whether every file could be read. If not, a name may be defined where nobody can see it.
    pub(super) complete: bool,
}

impl Scope<'_> {
    /// The entries in `field`, of which there are to be at most `rules`.
    pub(super) fn entries(
        &self,
        table: &Table<'_>,
        field: &'static str,
        rules: &mut usize,
        problems: &mut Problems,
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut prefixes = PrefixCount::default();
        for item in table.list(field, problems) {
            let Some(text) = table.as_text(field, item, problems) else {
                continue;
            };
            let Some(source) = self.source(&text, table, problems) else {
                continue;
            };
            if let Err(limit) = prefixes.add(&source).and_then(|()| take(rules)) {
                table.report(Fault::TooMany { limit }, text.span, problems);
                break;
            }
            entries.push(entry(&text, source, table.index));
        }
        entries
    }

    fn source(
        &self,
        text: &Text<'_>,
        table: &Table<'_>,
        problems: &mut Problems,
    ) -> Option<Source> {
        let found = if let Some(name) = text.value.strip_prefix("set:") {
            self.sets
                .find(name)
                .map(Source::Set)
                .ok_or((&self.sets, name))
        } else if let Some(name) = text.value.strip_prefix("vpc:") {
            self.vpcs
                .find(name)
                .map(Source::Vpc)
                .ok_or((&self.vpcs, name))
        } else {
            return prefixes(text, table.index, problems).map(Source::Prefixes);
        };
        if let Err((names, name)) = found
            && self.complete
        {
            problems
                .add(|| Problem::new(names.unknown(name), table.index.place(text.span.clone())));
        }
        found.ok()
    }
}

/// The entry in `text`, an item of `field`, which takes no references.
pub(super) fn plain(
    text: &Text<'_>,
    field: &'static str,
    index: &SourceIndex<'_>,
    problems: &mut Problems,
) -> Option<Entry> {
    let prefixes = plain_prefixes(text, field, index, problems)?;
    Some(entry(text, Source::Prefixes(prefixes), index))
}

/// The prefixes of `text`, an item of `field`, which takes no references.
pub(super) fn plain_prefixes(
    text: &Text<'_>,
    field: &'static str,
    index: &SourceIndex<'_>,
    problems: &mut Problems,
) -> Option<PrefixList> {
    if text.value.starts_with("set:") || text.value.starts_with("vpc:") {
        let fault = Fault::ReferenceHere {
            text: text.value.into(),
            field,
        };
        problems.add(|| Problem::new(fault, index.place(text.span.clone())));
        return None;
    }
    prefixes(text, index, problems)
}

/// All prefixes of the list in `field`, which takes no references.
pub(super) fn prefix_list(
    table: &Table<'_>,
    field: &'static str,
    problems: &mut Problems,
) -> PrefixList {
    let mut all = PrefixList::default();
    for text in table.texts(field, problems) {
        let Some(mut prefixes) = plain_prefixes(&text, field, table.index, problems) else {
            continue;
        };
        all.v4.append(&mut prefixes.v4);
        all.v6.append(&mut prefixes.v6);
        if too_many(&all) {
            table.report(
                Fault::TooMany {
                    limit: Limit::Prefixes,
                },
                text.span,
                problems,
            );
            break;
        }
    }
    all
}

/// Whether a list of prefixes is longer than a table can be.
pub(super) fn too_many(list: &PrefixList) -> bool {
    list.v4.len() > PREFIXES || list.v6.len() > PREFIXES
}

/// Takes one rule of those that are left.
pub(super) fn take(rules: &mut usize) -> Result<(), Limit> {
    *rules = rules.checked_sub(1).ok_or(Limit::Rules)?;
    Ok(())
}

/// Prefixes written in one list, counted as they are read so that no list grows without bound.
#[derive(Default)]
struct PrefixCount {
    v4: usize,
    v6: usize,
}

impl PrefixCount {
    fn add(&mut self, source: &Source) -> Result<(), Limit> {
        let Source::Prefixes(list) = source else {
            return Ok(());
        };
        self.v4 += list.v4.len();
        self.v6 += list.v6.len();
        if self.v4.max(self.v6) > PREFIXES {
            Err(Limit::Prefixes)
        } else {
            Ok(())
        }
    }
}

fn prefixes(
    text: &Text<'_>,
    index: &SourceIndex<'_>,
    problems: &mut Problems,
) -> Option<PrefixList> {
    let mut list = PrefixList::default();
    match text::parse(text.value, &mut list) {
        Ok(()) => Some(list),
        Err(error) => {
            let Range { start, end } = text.span;
            problems.add(|| Problem::new(Fault::from(error), index.place(start..end)));
            None
        }
    }
}

fn entry(text: &Text<'_>, source: Source, index: &SourceIndex<'_>) -> Entry {
    Entry {
        text: text.value.into(),
        origin: index.origin(text.span.start),
        source,
    }
}
