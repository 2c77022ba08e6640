//! `cargo xtask demo`: the filter at work between network namespaces.

use std::path::Path;

use anyhow::{Result, bail};

/// Runs the demo with a release build of `swf-filter`.
pub(crate) fn run(_binary: &Path) -> Result<()> {
    bail!("the demo is not there yet")
}
