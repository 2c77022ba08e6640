//! `cargo xtask build`: the kernel program first, then the workspace with it inside.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::bpf::Toolchain;
use crate::{command, workspace};

/// How the workspace is built. The kernel program knows only one way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

impl Profile {
    /// Tells cargo of it, and gives the folder that it builds into.
    pub(crate) fn choose(self, cargo: &mut Command) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => {
                cargo.arg("--release");
                "release"
            }
        }
    }
}

/// What a build leaves behind.
#[derive(Debug)]
pub(crate) struct Built {
    /// The `swf-filter` binary, absolute.
    pub(crate) binary: PathBuf,
}

/// Builds all. Without a BPF toolchain the binary carries no new kernel program and says so when it is run.
pub(crate) fn run(bpf: Option<&Toolchain>, profile: Profile) -> Result<Built> {
    match bpf {
        Some(toolchain) => kernel_program(toolchain)?,
        None if workspace::bpf_object().exists() => {
            println!("build: kernel program: the one built before, as it is");
        }
        None => println!("build: kernel program: none"),
    }
    let mut build = command::cargo("build");
    build.arg("--workspace");
    let folder = profile.choose(&mut build);
    println!("build: workspace, {folder}");
    command::run(with_bpf_object(&mut build))?;
    Ok(Built {
        binary: workspace::target().join(folder).join("swf-filter"),
    })
}

/// Tells the build script of `swf-filter` where the kernel program is. Every cargo command on the workspace gets the
/// same word, or each would rebuild what the last one built.
pub(crate) fn with_bpf_object(cargo: &mut Command) -> &mut Command {
    let object = workspace::bpf_object();
    if object.exists() {
        cargo.env("SWF_FILTER_BPF_OBJECT", object);
    }
    cargo
}

/// Builds the kernel programs that only benches use, and gives their path.
pub(crate) fn bench_programs(toolchain: &Toolchain) -> Result<PathBuf> {
    const NAME: &str = "swf-filter-bench";
    println!(
        "build: kernel programs for benches, with {}",
        toolchain.core.name()
    );
    command::run(toolchain.cargo("build").args(["--bin", NAME]))?;
    Ok(toolchain.artifact(NAME))
}

fn kernel_program(toolchain: &Toolchain) -> Result<()> {
    println!("build: kernel program, with {}", toolchain.core.name());
    command::run(toolchain.cargo("build").args(["--bin", "swf-filter"]))?;
    let artifact = toolchain.artifact("swf-filter");
    let built = fs::read(&artifact)
        .with_context(|| format!("no kernel program at `{}`", artifact.display()))?;
    let object = workspace::bpf_object();
    // The same bytes are left alone: a new modification time would rebuild the crate that embeds them.
    if fs::read(&object).is_ok_and(|present| present == built) {
        return Ok(());
    }
    fs::write(&object, built).with_context(|| format!("cannot write `{}`", object.display()))
}
