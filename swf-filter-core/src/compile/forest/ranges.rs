//! A table as ranges: what it says of every address, without the prefixes that say it.

use swf_filter_common::forest::Entry;

use super::Row;
use crate::prefix::Address;

/// All addresses in ascending order, divided where the longest match changes its leaf.
pub(super) struct Ranges<A> {
    starts: Vec<A>,
    entries: Vec<Entry>,
}

impl<A: Address> Ranges<A> {
    /// The ranges of rows, which are in the order of their prefixes.
    pub(super) fn of(rows: &[Row<A>]) -> Self {
        let mut ranges = Self {
            starts: Vec::with_capacity(rows.len() + 1),
            entries: Vec::with_capacity(rows.len() + 1),
        };
        ranges.push(A::mask(0), Entry::NONE);
        // The rows around the current one, the innermost last.
        let mut around: Vec<(A, Entry)> = Vec::new();
        for row in rows {
            while let Some((last, _)) = around.last().copied()
                && last < row.prefix.first()
            {
                around.pop();
                ranges.leave(last, &around);
            }
            let entry = Entry::leaf(row.leaf());
            ranges.push(row.prefix.first(), entry);
            around.push((row.prefix.last(), entry));
        }
        while let Some((last, _)) = around.pop() {
            ranges.leave(last, &around);
        }
        ranges
    }

    /// Number of ranges, at least one.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The first address of a range, in the highest bits.
    pub(super) fn start(&self, number: usize) -> u128 {
        self.starts.get(number).map_or(0, |start| start.aligned())
    }

    /// What the addresses of a range lead to.
    pub(super) fn entry(&self, number: usize) -> Entry {
        self.entries.get(number).copied().unwrap_or(Entry::NONE)
    }

    /// After a prefix's last address, the one around it goes on.
    fn leave(&mut self, last: A, around: &[(A, Entry)]) {
        if let Some(next) = last.successor() {
            let entry = around.last().map_or(Entry::NONE, |(_, entry)| *entry);
            self.push(next, entry);
        }
    }

    fn push(&mut self, start: A, entry: Entry) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.entries.pop();
        }
        if self.entries.last() != Some(&entry) {
            self.starts.push(start);
            self.entries.push(entry);
        }
    }
}
