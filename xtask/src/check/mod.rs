//! `cargo xtask check`: what a reviewer should not have to look for.
//!
//! All checks run, and those that failed are named at the end, so that one run shows all there is to mend.

mod licences;
mod stray_text;

use std::path::Path;

use anyhow::{Result, bail};

use crate::bpf::{self, Core, Toolchain};
use crate::setup::{self, Setup};
use crate::{build, command, workspace};

/// Runs every check.
pub(crate) fn run(mut setup: Setup) -> Result<()> {
    let mut checks = vec![
        ("formatting", format()),
        ("lints on the host", lint_host()),
        ("lints of fuzz targets", lint_fuzz()),
        ("licences", licences::check()),
        ("stray text", stray_text::check()),
    ];
    match &setup.bpf {
        Some(toolchain) => checks.push(("lints on the BPF target", lint_bpf(toolchain))),
        None => setup
            .omissions
            .add("lints on the BPF target: no BPF toolchain"),
    }
    setup.finish(verdict(checks))
}

fn verdict(checks: Vec<(&str, Result<()>)>) -> Result<()> {
    let mut failed = Vec::new();
    for (name, outcome) in checks {
        match outcome {
            Ok(()) => println!("check: {name}: ok"),
            Err(reason) => {
                println!("check: {name}: FAILED: {reason:#}");
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join(", "));
    }
    Ok(())
}

fn format() -> Result<()> {
    if command::output(command::cargo("fmt").arg("--version")).is_err() {
        setup::rustup(&["rustfmt"])?;
    }
    println!("check: formatting");
    command::run(command::cargo("fmt").args(["--all", "--check"]))?;
    for manifest in [EBPF_MANIFEST, FUZZ_MANIFEST] {
        command::run(command::cargo("fmt").args(["--check", "--manifest-path", manifest]))?;
    }
    Ok(())
}

fn lint_host() -> Result<()> {
    if command::output(command::cargo("clippy").arg("--version")).is_err() {
        setup::rustup(&["clippy"])?;
    }
    println!("check: lints on the host");
    let mut clippy = command::cargo("clippy");
    clippy.args(["--workspace", "--all-targets", "--", "-D", "warnings"]);
    command::run(build::with_bpf_object(&mut clippy))
}

fn lint_fuzz() -> Result<()> {
    println!("check: lints of fuzz targets");
    let mut clippy = command::cargo("clippy");
    clippy.args(["--manifest-path", FUZZ_MANIFEST, "--", "-D", "warnings"]);
    clippy.env("CARGO_TARGET_DIR", workspace::target().join("fuzz"));
    // Nothing is linked, so the library need not be there; without this it would be compiled, from C++.
    clippy.env("CUSTOM_LIBFUZZER_PATH", "/nowhere/libfuzzer.a");
    command::run(&mut clippy)
}

fn lint_bpf(toolchain: &Toolchain) -> Result<()> {
    if toolchain.core == Core::Debian && !Path::new(bpf::DEBIAN_CLIPPY).exists() {
        setup::install(&["rust-web-clippy"])?;
    }
    println!(
        "check: lints on the BPF target, with {}",
        toolchain.core.name()
    );
    command::run(toolchain.cargo("clippy").args(["--", "-D", "warnings"]))
}

/// The kernel program is a workspace of its own, from the root of the main one.
pub(crate) const EBPF_MANIFEST: &str = "swf-filter-ebpf/Cargo.toml";
/// The fuzz targets are another.
const FUZZ_MANIFEST: &str = "fuzz/Cargo.toml";
