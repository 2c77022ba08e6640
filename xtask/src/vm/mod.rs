//! `cargo xtask vm`: the filter on other kernels, and from boot.
//!
//! `load` says whether Debian's kernels take the program, and `kernels` runs kernel tests on them, in an initial RAM file system that holds nothing else. `system` boots a whole
//! Debian 12 with the package installed, and sends it frames from its first moment on: a source that the policy denies must never
//! get an answer, through boots, reboots and an upgrade. Machines are emulated (tcg), so that nested or missing KVM does not
//! matter; that takes minutes, and is why no other command does it.

mod front;
mod initrd;
mod kernels;
mod machine;
mod system;
mod traffic;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};

use crate::build::{self, Built, Profile};
use crate::setup::{self, Setup};
use crate::{command, workspace};

/// Runs the parts that `args` name, or all.
pub(crate) fn run(setup: Setup, args: &[&str]) -> Result<()> {
    if let Some(other) = args.iter().find(|part| !PARTS.contains(part)) {
        bail!("`vm` has no part `{other}`: {}", PARTS.join(", "));
    }
    let wanted = |part| args.is_empty() || args.contains(&part);
    let outcome = tools().and_then(|()| {
        let built = build::run(setup.bpf.as_ref(), Profile::Dev)?;
        if wanted("install") {
            system::install(&built)?;
        }
        if args.contains(&"load") {
            run_kernels(&built, &[])?;
        }
        if wanted("kernels") {
            run_kernels(&built, &kernels::tests()?)?;
        }
        if wanted("system") {
            system::run(&built)?;
        }
        Ok(())
    });
    setup.finish(outcome)
}

/// Runs tests on each kernel, after seeing that the daemon starts there. One that fails does not hide what others do.
fn run_kernels(built: &Built, tests: &[kernels::Test]) -> Result<()> {
    let mut failures = Vec::new();
    for kernel in KERNELS {
        let kernel = initrd::kernel(kernel)?;
        if let Err(reason) = kernels::run(&kernel, tests, &built.binary) {
            println!("vm: {}: {reason:#}", kernel.release);
            failures.push(kernel.release);
        }
    }
    ensure!(failures.is_empty(), "failed on {}", failures.join(", "));
    Ok(())
}

/// Where images and what they are made of are kept.
fn folder() -> Result<PathBuf> {
    let folder = workspace::target().join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    Ok(folder)
}

fn tools() -> Result<()> {
    let missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(program, _)| command::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    setup::install(&missing)
}

/// `load` is the first part of `kernels`, for whoever works on the kernel program.
const PARTS: [&str; 4] = ["install", "kernels", "load", "system"];

/// Debian 12's own kernel, and the newest that it has: the packages that depend on the current ones.
const KERNELS: [&str; 2] = ["linux-image-cloud-amd64", "linux-image-6.12-cloud-amd64"];

/// Program and the package that brings it.
const TOOLS: [(&str, &str); 6] = [
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("mke2fs", "e2fsprogs"),
    ("mmdebstrap", "mmdebstrap"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];
