//! cargo-deb, which puts Debian packages together.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::packages;
use crate::command;

/// Finds cargo-deb, or builds it where every clone of the repository finds it again.
pub(crate) fn ensure() -> Result<PathBuf> {
    if command::find("dpkg-shlibdeps").is_none() {
        // It works out which libraries the package depends on.
        packages::install(&["dpkg-dev"])?;
    }
    let home = env::home_dir().context("no home folder to keep cargo-deb in")?;
    let root = home
        .join(".cache/swf-filter")
        .join(format!("cargo-deb-{VERSION}"));
    let program = root.join("bin/cargo-deb");
    if command::output(Command::new(&program).arg("--version")).is_ok() {
        return Ok(program);
    }
    println!("setup: cargo-deb {VERSION}: building, this takes a minute or two");
    command::output(
        command::cargo("install")
            .args(["cargo-deb", "--version", VERSION, "--locked", "--root"])
            .arg(&root)
            .env_remove("CARGO_TARGET_DIR"),
    )
    .context("cannot build cargo-deb")?;
    Ok(program)
}

/// Builds with Rust 1.85.
const VERSION: &str = "3.8.0";
