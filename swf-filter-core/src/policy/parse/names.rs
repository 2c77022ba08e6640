//! Names of the blocks of a kind, over all files.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::super::fault::{Block, nearest};
use super::super::{Fault, Place, Problem, Problems};
use super::document::{Table, Text};

/// Names, each with the index of its block and the place where it is defined.
pub(super) struct Names<'a> {
    block: Block,
    indices: HashMap<&'a str, usize>,
    places: Vec<Place>,
}

impl<'a> Names<'a> {
    pub(super) fn new(block: Block) -> Self {
        Self {
            block,
            indices: HashMap::new(),
            places: Vec::new(),
        }
    }

    /// Gives the next index to `name`. If the name is taken, reports both places and returns false.
    pub(super) fn define(
        &mut self,
        name: &Text<'a>,
        table: &Table<'_>,
        problems: &mut Problems,
    ) -> bool {
        let place = table.index.place(name.span.clone());
        match self.indices.entry(name.value) {
            Entry::Vacant(entry) => {
                entry.insert(self.places.len());
                self.places.push(place);
                true
            }
            Entry::Occupied(first) => {
                let fault = Fault::Duplicate {
                    block: self.block,
                    name: name.value.into(),
                };
                let first = self.places.get(*first.get()).unwrap_or(&place).clone();
                problems.add(|| Problem::new(fault, place).with_other(first));
                false
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// The only name, if there is just one.
    pub(super) fn only(&self) -> Option<&'a str> {
        let mut names = self.indices.keys();
        names.next().copied().filter(|_| names.next().is_none())
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.indices.get(name).copied()
    }

    /// Where the block with this index is named.
    pub(super) fn place(&self, index: usize) -> Option<&Place> {
        self.places.get(index)
    }

    /// The fault of naming what is not defined.
    pub(super) fn unknown(&self, name: &str) -> Fault {
        let nearest = nearest(name, self.indices.keys().copied()).map(String::from);
        Fault::Unknown {
            block: self.block,
            name: name.into(),
            nearest,
        }
    }
}
