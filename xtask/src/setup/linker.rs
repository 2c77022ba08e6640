//! bpf-linker, in the one version whose LLVM can read what the compilers write.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::packages;
use crate::command;

/// Finds bpf-linker, or builds it where every clone of the repository finds it again.
///
/// It is not built into cargo's own `bin`: another project's version may be there.
pub(crate) fn ensure() -> Result<PathBuf> {
    let home = home()?;
    let root = home
        .join(".cache/swf-filter")
        .join(format!("bpf-linker-{VERSION}"));
    let built = root.join("bin/bpf-linker");
    let cargo_home = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let candidates = [
        command::find("bpf-linker"),
        Some(cargo_home.join("bin/bpf-linker")),
        Some(built.clone()),
    ];
    if let Some(linker) = candidates
        .into_iter()
        .flatten()
        .find(|linker| right_version(linker))
    {
        println!("setup: bpf-linker {VERSION}: {}", linker.display());
        return Ok(linker);
    }
    build(&root)?;
    ensure!(
        right_version(&built),
        "the new `{}` does not run",
        built.display()
    );
    Ok(built)
}

fn home() -> Result<PathBuf> {
    env::home_dir().context("no home folder to keep bpf-linker in")
}

fn right_version(linker: &Path) -> bool {
    command::output(Command::new(linker).arg("--version"))
        .is_ok_and(|version| version.trim() == format!("bpf-linker {VERSION}"))
}

fn build(root: &Path) -> Result<()> {
    let prefix =
        env::var_os("LLVM_PREFIX").map_or_else(|| PathBuf::from(LLVM_PREFIX), PathBuf::from);
    if !prefix.join("include/llvm-c/Core.h").exists() {
        packages::install(&LLVM_PACKAGES)?;
    }
    println!("setup: bpf-linker {VERSION}: building, this takes a minute");
    command::output(
        command::cargo("install")
            .args(["bpf-linker", "--version", VERSION, "--locked", "--root"])
            .arg(root)
            .args(["--no-default-features", "--features", "llvm-22"])
            .env("LLVM_PREFIX", prefix)
            .env_remove("CARGO_TARGET_DIR"),
    )
    .map(drop)
    .context("cannot build bpf-linker")
}

/// The last that builds with this Rust and carries LLVM 22, which is what its compilers write.
const VERSION: &str = "0.13.0";

/// Where Debian puts LLVM 22; left alone, the build script of bpf-linker takes a wrong folder.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

const LLVM_PACKAGES: [&str; 1] = ["llvm-22-dev"];
