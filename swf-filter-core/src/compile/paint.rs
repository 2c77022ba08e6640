//! Painting: turns overlapping entries into rows of which the longest match is the answer.
//!
//! Two prefixes either nest or are apart. So a strong rule's prefix hides weaker ones inside it, which are left out, and
//! shows through weaker ones around it, being longer. No prefix ever has to be split.

use serde::{Deserialize, Serialize};
use swf_filter_common::abi::{Class, Leaf};

use crate::prefix::{Address, Prefix};

/// A prefix and what happens to sources in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row<A> {
    /// The prefix.
    pub prefix: Prefix<A>,
    leaf: u32,
}

impl<A: Address> Row<A> {
    /// A row.
    #[must_use]
    pub fn new(prefix: Prefix<A>, leaf: Leaf) -> Self {
        Self {
            prefix,
            leaf: leaf.bits(),
        }
    }

    /// What happens to sources in the prefix.
    #[must_use]
    pub fn leaf(&self) -> Leaf {
        Leaf::from_bits(self.leaf)
    }
}

/// Leaves of the rows of audit lists only what lies in rows that allow.
///
/// Two prefixes nest or are apart, so what two have in common is the longer of them. Of audit rows around one that allows, the
/// innermost is kept, which is the one that is named.
pub(super) fn confine<A: Address>(rows: &mut Vec<Row<A>>) {
    sort(rows);
    // The chain of audit rows around the current row, the innermost last, and the outermost row that allows.
    let mut audits: Vec<Row<A>> = Vec::new();
    let mut allowed: Option<Prefix<A>> = None;
    let mut common = Vec::new();
    for row in rows.iter() {
        while (audits.last()).is_some_and(|outer| !outer.prefix.covers(row.prefix)) {
            audits.pop();
        }
        allowed = allowed.filter(|outer| outer.covers(row.prefix));
        match row.leaf().class() {
            Class::Audit => {
                // Of those with one prefix, the first is named.
                if audits.last().is_none_or(|outer| outer.prefix != row.prefix) {
                    audits.push(*row);
                }
                if allowed.is_some() {
                    common.push(*row);
                }
            }
            Class::Allow => {
                allowed = allowed.or(Some(row.prefix));
                common.extend(audits.last().map(|outer| Row {
                    prefix: row.prefix,
                    ..*outer
                }));
            }
            Class::AlwaysAllow | Class::Deny => {}
        }
    }
    rows.retain(|row| row.leaf().class() != Class::Audit);
    rows.append(&mut common);
}

/// Sorts rows and leaves out those that do not decide anything.
pub(super) fn paint<A: Address>(rows: &mut Vec<Row<A>>) {
    sort(rows);
    rows.dedup_by_key(|row| row.prefix);
    // The chain of kept rows around the current one, the innermost last.
    let mut around: Vec<Row<A>> = Vec::new();
    rows.retain(|row| {
        while around
            .last()
            .is_some_and(|outer| !outer.prefix.covers(row.prefix))
        {
            around.pop();
        }
        let decides = around.last().is_none_or(|outer| {
            row.leaf().class() >= outer.leaf().class() && row.leaf() != outer.leaf()
        });
        if decides {
            around.push(*row);
        }
        decides
    });
}

/// Of rows with one prefix, the strongest comes first, and of those, the one that was written first.
fn sort<A: Address>(rows: &mut [Row<A>]) {
    rows.sort_unstable_by_key(|row| {
        let leaf = row.leaf();
        (row.prefix, core::cmp::Reverse(leaf.class()), leaf.ordinal())
    });
}

/// The leaf of the longest prefix that `address` lies in, and that prefix.
pub(super) fn longest_match<A: Address>(rows: &[Row<A>], address: A) -> Option<&Row<A>> {
    (0..=A::BITS).rev().find_map(|length| {
        let prefix = Prefix::containing(address, length);
        let found = rows.binary_search_by_key(&prefix, |row| row.prefix).ok()?;
        rows.get(found)
    })
}

/// Rows as bytes, for hashing.
pub(super) fn bytes<A: Address>(rows: &[Row<A>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.len() * 24);
    for row in rows {
        row.prefix.first().append_to(&mut bytes);
        bytes.push(row.prefix.length());
        bytes.extend(row.leaf.to_le_bytes());
    }
    bytes
}
