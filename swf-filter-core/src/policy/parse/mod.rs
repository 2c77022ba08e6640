//! From the text of policy files to a [`Policy`].
//!
//! Every file is read as TOML first, then sets, VPCs and hosts of all files, in this order, so that a host may name
//! what a later file defines. Policy documents are read where they are attached. The tree of the `toml` crate is walked by hand instead of being deserialized: serde stops
//! at the first problem and knows no second place.

mod attached;
mod claims;
mod document;
mod entries;
mod expects;
mod hosts;
mod names;
mod ports;
mod principals;
mod set_file;
mod sets;
mod vpcs;

use std::io;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;

use self::attached::Library;
pub(super) use self::claims::overlaps;
pub use self::document::is_name;
use self::document::{Document, Text};
use self::entries::Scope;
pub use self::set_file::line_of;
pub use self::sets::{Followed, followed};
use super::{Entry, Policy, Problems, SourceFile, SourceIndex};

/// Fetches a set file or a policy document by its path, which is already resolved against the file that names it.
///
/// More than [`limits::SET_FILE`](super::limits::SET_FILE) bytes are refused by the parser; it is enough to return one
/// more than that.
pub type ReadFile<'a> = dyn FnMut(&Path) -> io::Result<Arc<[u8]>> + 'a;

/// Reads, checks and links `files`, which are in byte order of their names.
///
/// Problems in set files and documents name the path that `read_file` got. [`Policy::always_allow`] stays empty. After a file that is
/// not TOML, names that are defined nowhere are not reported: that file may define them.
pub fn parse(files: &[SourceFile], read_file: &mut ReadFile<'_>) -> Result<Policy, Problems> {
    let mut problems = Problems::default();
    let documents: Vec<Document<'_>> = files
        .iter()
        .filter_map(|file| Document::read(file, &mut problems))
        .collect();
    let (sets, set_names) = sets::read(&documents, read_file, &mut problems);
    let (vpcs, vpc_names) = vpcs::read(&documents, &mut problems);
    claims::check(&vpcs, &vpc_names, &mut problems);
    let mut library = Library::new(read_file);
    let (principals, accounts) = principals::read(&documents, &mut library, &mut problems);
    let scope = Scope {
        accounts,
        sets: set_names,
        vpcs: vpc_names,
        complete: documents.len() == files.len(),
    };
    let (hosts, host_names) = hosts::read(&documents, &scope, &mut library, &mut problems);
    let blocks = expects::Blocks {
        hosts: &host_names,
        scope: &scope,
        vpcs: &vpcs,
    };
    let expectations = expects::read(&documents, &blocks, &mut problems);
    let always_allow = Vec::new();
    problems.into_result(
        Policy {
            hosts,
            vpcs,
            sets,
            principals,
            expectations,
            always_allow,
        },
        files,
    )
}

/// Reads the entries of `always_allow`, with their spans in config.toml: addresses, prefixes and ranges only.
pub fn parse_always_allow(
    config: &SourceFile,
    list: &[Spanned<String>],
) -> Result<Vec<Entry>, Problems> {
    let mut problems = Problems::default();
    let index = SourceIndex::new(config);
    let texts = list.iter().map(|item| Text {
        value: item.get_ref(),
        span: item.span(),
    });
    let entries = texts
        .filter_map(|text| entries::plain(&text, "always_allow", &index, &mut problems))
        .collect();
    problems.into_result(entries, std::slice::from_ref(config))
}

#[cfg(test)]
mod tests;
