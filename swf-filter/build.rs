//! Puts the kernel program into the binary.
//!
//! The object is built by `cargo xtask build`. Without it the crate still builds, for whoever works on the rest without a BPF
//! toolchain; such a binary refuses to start the daemon and says why.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context;

const VARIABLE: &str = "SWF_FILTER_BPF_OBJECT";

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    // Asked for now, and not when this was compiled: a target directory may be a copy.
    let manifest = env::var_os("CARGO_MANIFEST_DIR").context("cargo says where the crate is")?;
    let built = Path::new(&manifest).join("../target/bpf/swf-filter.o");
    let object = env::var_os(VARIABLE).map_or(built, PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    let bytes = if object.exists() {
        fs::read(&object)?
    } else {
        Vec::new()
    };
    fs::write(
        PathBuf::from(env::var("OUT_DIR")?).join("swf-filter.o"),
        bytes,
    )?;
    Ok(())
}
