//! A generation's tables as the packet gate reads them, in user space: for `explain`, for tests, for checking the kernel.

use swf_filter_common::abi::Leaf;
use swf_filter_common::frame::V6;
use swf_filter_common::verdict::Sources;

use super::{Generation, paint};

/// The source tables of a generation.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a>(pub &'a Generation);

impl Sources for Tables<'_> {
    fn leaf_v4(&self, _slot: u8, table: u16, source: u32) -> Option<Leaf> {
        let table = self.0.tables.get(usize::from(table))?;
        paint::longest_match(&table.v4, source).map(super::Row::leaf)
    }

    fn leaf_v6(&self, _slot: u8, table: u16, source: V6) -> Option<Leaf> {
        let table = self.0.tables.get(usize::from(table))?;
        paint::longest_match(&table.v6, source.into()).map(super::Row::leaf)
    }
}
