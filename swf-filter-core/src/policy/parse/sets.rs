//! `[[set]]` blocks, with their files.

use std::path::Path;

use super::super::fault::Block;
use super::super::{Fault, Problem, Problems, Set, SourceFile};
use super::document::{Document, Table, Text};
use super::entries::{prefix_list, too_many};
use super::names::Names;
use super::{ReadFile, set_file};
use crate::prefix::PrefixList;

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
            let (prefixes, file) = content(&table, read_set, problems);
            if let Some(name) = name.filter(|name| names.define(name, &table, problems)) {
                let file = file.map(|file| file.value.into());
                sets.push(Set {
                    name: name.value.into(),
                    origin: table.place().origin,
                    prefixes,
                    file,
                });
            }
        }
    }
    (sets, names)
}

fn content<'a>(
    table: &Table<'a>,
    read_set: &mut ReadFile<'_>,
    problems: &mut Problems,
) -> (PrefixList, Option<Text<'a>>) {
    let mut prefixes = prefix_list(table, "cidrs", problems);
    if table.value("cidrs").is_none() && table.value("file").is_none() {
        problems.add(|| Problem::new(Fault::SetWithoutContent, table.place()));
    }
    let file = table.text("file", problems);
    if let Some(file) = file.as_ref().filter(|_| !too_many(&prefixes)) {
        read_file(file, table, read_set, &mut prefixes, problems);
    }
    (prefixes, file)
}

fn read_file(
    file: &Text<'_>,
    table: &Table<'_>,
    read_set: &mut ReadFile<'_>,
    into: &mut PrefixList,
    problems: &mut Problems,
) {
    let directory = Path::new(&**table.index.name())
        .parent()
        .unwrap_or(Path::new(""));
    let path = directory.join(file.value);
    let name = path.to_string_lossy();
    match read_set(&path) {
        Ok(bytes) => set_file::read(
            &SourceFile {
                name: name.as_ref().into(),
                bytes,
            },
            into,
            problems,
        ),
        Err(error) => {
            let fault = Fault::SetFile {
                path: name.into_owned(),
                error: error.kind(),
            };
            table.report(fault, file.span.clone(), problems);
        }
    }
}
