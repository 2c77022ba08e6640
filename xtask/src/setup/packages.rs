//! Debian packages.
//!
//! A package counts as there when the program it is wanted for is, so other distributions with the same programs do.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::omissions::Omissions;
use crate::{command, machine};

/// Installs what is missing of the programs that the build and the tests call.
pub(crate) fn ensure(omissions: &mut Omissions) {
    let missing: Vec<&str> = WANTED
        .iter()
        .filter(|(program, _)| command::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        println!("setup: packages: all there");
    } else if let Err(reason) = install(&missing) {
        omissions.add(format!(
            "what needs the packages {}: {reason:#}",
            missing.join(", ")
        ));
    }
}

/// Installs Debian packages by name, which needs root.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    ensure!(
        command::find("apt-get").is_some(),
        "no apt-get here to install {names}"
    );
    ensure!(machine::root(), "not root, so cannot install {names}");
    println!("setup: packages: installing {names}");
    if let Err(reason) = command::output(apt().arg("update")) {
        // One unreachable list of many need not matter; the installation will tell.
        println!("setup: packages: the lists are not fresh: {reason:#}");
    }
    command::output(
        apt()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages),
    )
    .map(drop)
    .with_context(|| format!("cannot install {names}"))
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// Program and the package that brings it. A C linker is not among them: without one, this would not have been built.
const WANTED: [(&str, &str); 9] = [
    ("bpftool", "bpftool"),
    ("curl", "curl"),
    ("ethtool", "ethtool"),
    ("git", "git"),
    ("ip", "iproute2"),
    ("modprobe", "kmod"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("systemd-analyze", "systemd"),
];
