//! Where things lie.

use std::env;
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The target directory, absolute. Children get it by environment, so a user's cargo config cannot split the two.
pub(crate) fn target() -> PathBuf {
    let chosen =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    std::path::absolute(&chosen).unwrap_or(chosen)
}

/// The kernel program, where the build script of `swf-filter` looks for it.
pub(crate) fn bpf_object() -> PathBuf {
    target().join("bpf/swf-filter.o")
}
