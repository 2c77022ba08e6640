//! `cargo xtask test`: everything that can be tested on this machine, and a list of what cannot.
//!
//! A kernel test that has to skip cannot say so itself, because cargo shows nothing of a test that passes. It appends a
//! line with its reason to the file that `SWF_FILTER_SKIP_LOG` names, and that line is reported here.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::build::{self, Profile};
use crate::omissions::Omissions;
use crate::setup::{self, Setup};
use crate::{command, machine, package, workspace};

/// Builds, then runs `cargo test` with `args`, all as the profile that `args` ask for.
pub(crate) fn run(mut setup: Setup, args: &[&str]) -> Result<()> {
    machine_limits(&mut setup.omissions);
    let outcome = build_and_test(&mut setup, args);
    setup.finish(outcome)
}

fn build_and_test(setup: &mut Setup, args: &[&str]) -> Result<()> {
    let cargo_args = cargo_args(args);
    let profile = if cargo_args.contains(&"--release") {
        Profile::Release
    } else {
        Profile::Dev
    };
    let python = setup::python(&mut setup.omissions);
    let chromedriver = setup::chromedriver(&mut setup.omissions);
    let promtool = setup::promtool(&mut setup.omissions);
    let built = build::run(setup.bpf.as_ref(), profile)?;

    let skip_log = workspace::target().join("skipped-tests");
    fs::write(&skip_log, "").with_context(|| format!("cannot write `{}`", skip_log.display()))?;
    let mut test = command::cargo("test");
    // With `--workspace`, cargo would ignore a choice of packages.
    if !cargo_args.iter().any(|arg| chooses_packages(arg)) {
        test.arg("--workspace");
    }
    test.args(["--no-fail-fast"])
        .args(args)
        .env("SWF_FILTER_BIN", &built.binary)
        .env("SWF_FILTER_SKIP_LOG", &skip_log);
    if !cargo_args.iter().any(|arg| chooses_packages(arg)) || cargo_args.contains(&PACKAGE_TEST) {
        match package::of_debug_build(&built.binary) {
            Ok(package) => {
                test.env("SWF_FILTER_DEB", package);
            }
            Err(reason) => setup
                .omissions
                .add(format!("the Debian package: {reason:#}")),
        }
    }
    for (variable, program) in [
        ("SWF_FILTER_CHROMEDRIVER", chromedriver),
        ("SWF_FILTER_PROMTOOL", promtool),
        ("SWF_FILTER_PYTHON", python),
    ] {
        if let Some(program) = program {
            test.env(variable, program);
        }
    }
    println!("test: cargo test");
    let outcome = command::run(build::with_bpf_object(&mut test));
    skipped(&skip_log, &mut setup.omissions)?;
    outcome
}

/// The arguments for cargo; those after `--` are for the test binaries.
fn cargo_args<'a>(args: &'a [&'a str]) -> &'a [&'a str] {
    args.split(|arg| *arg == "--").next().unwrap_or_default()
}

fn chooses_packages(arg: &str) -> bool {
    arg == "--workspace"
        || arg.starts_with("--package")
        || (arg.starts_with("-p") && !arg.starts_with("--"))
}

fn machine_limits(omissions: &mut Omissions) {
    if !machine::root() {
        omissions.add("kernel tests: they need root");
    }
    let release = machine::kernel();
    if machine::kernel_version(&release).is_none_or(|version| version < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        omissions.add(format!(
            "kernel tests: kernel `{release}` is older than {major}.{minor}"
        ));
    }
}

fn skipped(log: &Path, omissions: &mut Omissions) -> Result<()> {
    let log =
        fs::read_to_string(log).with_context(|| format!("cannot read `{}`", log.display()))?;
    for line in log.lines() {
        omissions.add(format!("skipped test: {line}"));
    }
    Ok(())
}

/// The test that needs a package.
const PACKAGE_TEST: &str = "package";

/// Debian 12's kernel, the oldest that the program is tried on.
const OLDEST_KERNEL: (u32, u32) = (6, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_the_test_binaries_are_not_cargos() {
        assert_eq!(cargo_args(&["name", "--", "--release"]), ["name"]);
        assert_eq!(cargo_args(&["--", "-p"]), [""; 0]);
        assert_eq!(cargo_args(&["--release"]), ["--release"]);
    }

    #[test]
    fn a_choice_of_packages_is_seen_in_each_spelling() {
        for arg in [
            "-p",
            "-pxtask",
            "--package",
            "--package=xtask",
            "--workspace",
        ] {
            assert!(chooses_packages(arg), "{arg}");
        }
        for arg in ["packet", "--release", "--profile"] {
            assert!(!chooses_packages(arg), "{arg}");
        }
    }
}
