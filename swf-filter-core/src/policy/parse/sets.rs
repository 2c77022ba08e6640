//! `[[set]]` blocks, with their files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::super::fault::Block;
use super::super::{Fault, Problem, Problems, Set, SourceFile, Upkeep};
use super::document::{Document, Table, Text, integer};
use super::entries::{prefix_list, too_many};
use super::names::Names;
use super::{ReadFile, set_file};
use crate::prefix::PrefixList;

/// A set whose file is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The set's name.
    pub set: Arc<str>,
    /// The file's path, resolved against the policy file that names it.
    pub path: PathBuf,
}

/// The sets of policy files whose own files are followed. What is wrong with any of them is not looked at.
#[must_use]
pub fn followed(files: &[SourceFile]) -> Vec<Followed> {
    let mut unseen = Problems::default();
    let mut found = Vec::new();
    for file in files {
        let Some(document) = Document::read(file, &mut unseen) else {
            continue;
        };
        for table in document.blocks(Block::Set, &mut unseen) {
            let set = table.text("name", &mut unseen);
            let named = set.zip(table.text("file", &mut unseen));
            if let Some((set, file)) = named
                && upkeep(&table, &mut unseen) == Upkeep::Follow
            {
                found.push(Followed {
                    set: set.value.into(),
                    path: resolved(&table, &file),
                });
            }
        }
    }
    found
}

/// The sets of all files, and their names.
pub(super) fn read<'a>(
    documents: &'a [Document<'a>],
    read_set: &mut ReadFile<'_>,
    problems: &mut Problems,
) -> (Vec<Set>, Names<'a>) {
    let mut sets = Vec::new();
    let mut names = Names::new(Block::Set);
    for document in documents {
        for table in document.blocks(Block::Set, problems) {
            table.check_fields(problems);
            let name = table.name(problems);
            let upkeep = upkeep(&table, problems);
            let (prefixes, file) = content(&table, upkeep, read_set, problems);
            if let Some(name) = name.filter(|name| names.define(name, &table, problems)) {
                let file = file.map(|file| file.value.into());
                sets.push(Set {
                    name: name.value.into(),
                    origin: table.place().origin,
                    prefixes,
                    file,
                    upkeep,
                    table: OnceLock::new(),
                });
            }
        }
    }
    (sets, names)
}

fn upkeep(table: &Table<'_>, problems: &mut Problems) -> Upkeep {
    match table.switch("follow", problems) {
        Some(true) => Upkeep::Follow,
        Some(false) | None => Upkeep::Reload,
    }
}

fn content<'a>(
    table: &Table<'a>,
    upkeep: Upkeep,
    read_set: &mut ReadFile<'_>,
    problems: &mut Problems,
) -> (PrefixList, Option<Text<'a>>) {
    let mut prefixes = prefix_list(table, "cidrs", problems);
    if table.value("cidrs").is_none() && table.value("file").is_none() {
        problems.add(|| Problem::new(Fault::SetWithoutContent, table.place()));
    }
    let bounds = Bounds::read(table, upkeep, problems);
    let file = table.text("file", problems);
    if let Some(file) = file.as_ref().filter(|_| !too_many(&prefixes)) {
        let reading = Reading {
            table,
            file,
            upkeep,
            bounds,
        };
        reading.read(read_set, &mut prefixes, problems);
    }
    (prefixes, file)
}

/// How many prefixes a set file may have.
#[derive(Clone, Copy)]
struct Bounds {
    least: usize,
    most: usize,
}

impl Bounds {
    fn read(table: &Table<'_>, upkeep: Upkeep, problems: &mut Problems) -> Self {
        for field in ["follow", "min_prefixes", "max_prefixes"] {
            if let Some(value) = table.value(field).filter(|_| table.value("file").is_none()) {
                table.report(Fault::WithoutFile { field }, value.span(), problems);
            }
        }
        // A program that writes nothing is more often broken than right.
        let least = match upkeep {
            Upkeep::Follow => 1,
            Upkeep::Reload => 0,
        };
        let bounds = Self {
            least: count(table, "min_prefixes", problems).unwrap_or(least),
            most: count(table, "max_prefixes", problems).unwrap_or(usize::MAX),
        };
        if let Some(value) = table
            .value("max_prefixes")
            .filter(|_| bounds.most < bounds.least)
        {
            table.report(Fault::BoundsSwapped, value.span(), problems);
            // No file could be right.
            return Self {
                least: 0,
                most: usize::MAX,
            };
        }
        bounds
    }

    fn check(self, found: usize, path: &str) -> Option<Fault> {
        let path = || path.to_owned();
        if found < self.least {
            return Some(Fault::FewPrefixes {
                path: path(),
                found,
                least: self.least,
            });
        }
        (found > self.most).then(|| Fault::ManyPrefixes {
            path: path(),
            found,
            most: self.most,
        })
    }
}

fn count(table: &Table<'_>, field: &'static str, problems: &mut Problems) -> Option<usize> {
    let item = table.value(field)?;
    if !item.get_ref().is_integer() {
        table.wrong_type(field, "a number", item, problems);
        return None;
    }
    let number = integer(item.get_ref()).and_then(|number| usize::try_from(number).ok());
    if number.is_none() {
        let found = table.written(item).into();
        table.report(Fault::Count { found }, item.span(), problems);
    }
    number
}

fn resolved(table: &Table<'_>, file: &Text<'_>) -> PathBuf {
    let directory = Path::new(&**table.index.name()).parent();
    directory.unwrap_or(Path::new("")).join(file.value)
}

/// What there is to know about a set file.
struct Reading<'a, 'b> {
    table: &'b Table<'a>,
    file: &'b Text<'a>,
    upkeep: Upkeep,
    bounds: Bounds,
}

impl Reading<'_, '_> {
    fn read(&self, read_set: &mut ReadFile<'_>, into: &mut PrefixList, problems: &mut Problems) {
        let path = resolved(self.table, self.file);
        let name = path.to_string_lossy();
        let before = into.len();
        let fault = match read_set(&path) {
            Ok(bytes) => {
                let file = SourceFile {
                    name: name.as_ref().into(),
                    bytes,
                };
                set_file::read(&file, self.upkeep, into, problems);
                self.bounds.check(into.len() - before, &name)
            }
            Err(error) => Some(Fault::SetFile {
                path: name.into_owned(),
                error: error.kind(),
            }),
        };
        if let Some(fault) = fault {
            self.table.report(fault, self.file.span.clone(), problems);
        }
    }
}
