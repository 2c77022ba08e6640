//! Policy documents that blocks attach, each read once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::{Fault, Problems, SourceFile};
use super::ReadFile;
use super::document::{Table, Text};
use crate::iam::{self, Document, Kind};

/// Reads documents, and remembers them by path and kind.
pub(super) struct Library<'a, 'b> {
    read: &'a mut ReadFile<'b>,
    known: HashMap<(PathBuf, Kind), Option<Arc<Document>>>,
}

impl<'a, 'b> Library<'a, 'b> {
    pub(super) fn new(read: &'a mut ReadFile<'b>) -> Self {
        Self {
            read,
            known: HashMap::new(),
        }
    }

    /// The documents that the list in `field` names.
    pub(super) fn list(
        &mut self,
        table: &Table<'_>,
        field: &'static str,
        kind: Kind,
        problems: &mut Problems,
    ) -> Vec<Arc<Document>> {
        let texts = table.texts(field, problems).into_iter();
        texts
            .filter_map(|text| self.read(table, &text, kind, problems))
            .collect()
    }

    /// The document that `field` names.
    pub(super) fn single(
        &mut self,
        table: &Table<'_>,
        field: &'static str,
        kind: Kind,
        problems: &mut Problems,
    ) -> Option<Arc<Document>> {
        let text = table.text(field, problems)?;
        self.read(table, &text, kind, problems)
    }

    fn read(
        &mut self,
        table: &Table<'_>,
        text: &Text<'_>,
        kind: Kind,
        problems: &mut Problems,
    ) -> Option<Arc<Document>> {
        let directory = Path::new(&**table.index.name()).parent();
        let path = directory.unwrap_or(Path::new("")).join(text.value);
        if let Some(known) = self.known.get(&(path.clone(), kind)) {
            return known.clone();
        }
        let name = path.to_string_lossy();
        let document = match (self.read)(&path) {
            Ok(bytes) => {
                let file = SourceFile {
                    name: name.as_ref().into(),
                    bytes,
                };
                iam::parse(&file, kind, problems).map(Arc::new)
            }
            Err(error) => {
                let fault = Fault::DocumentFile {
                    path: name.into_owned(),
                    error: error.kind(),
                };
                table.report(fault, text.span.clone(), problems);
                None
            }
        };
        self.known.insert((path, kind), document.clone());
        document
    }
}
