//! `core` for the BPF target: which of the two ways works here.

use std::env;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::packages;
use crate::bpf::{self, Core};
use crate::command;

/// The ways to try, best first: all, or the one that `SWF_FILTER_BPF_TOOLCHAIN` names.
pub(crate) fn ways() -> Result<Vec<Core>> {
    let ways = vec![Core::RustSrc, Core::Debian];
    let Some(wanted) = env::var_os(OVERRIDE) else {
        return Ok(ways);
    };
    let Some(way) = ways.into_iter().find(|way| wanted == way.name()) else {
        bail!(
            "{OVERRIDE} is `{}`, neither `debian` nor `rust-src`",
            wanted.to_string_lossy()
        );
    };
    Ok(vec![way])
}

/// Takes the first way that is ready, else the first that can be made so.
pub(crate) fn ensure(ways: &[Core]) -> Result<Core> {
    if let Some(way) = ways.iter().find(|way| way.ready()) {
        println!("setup: core for BPF: {}", way.name());
        return Ok(*way);
    }
    let mut refusals = Vec::new();
    for way in ways {
        println!("setup: core for BPF: installing {}", way.name());
        match install(*way) {
            Ok(()) => return Ok(*way),
            Err(reason) => {
                println!(
                    "setup: core for BPF: {} is out of reach: {reason:#}",
                    way.name()
                );
                refusals.push(format!("{}: {reason}", way.name()));
            }
        }
    }
    bail!("no `core` for BPF: {}", refusals.join("; "))
}

fn install(way: Core) -> Result<()> {
    match way {
        Core::Debian => packages::install(&DEBIAN_PACKAGES)?,
        Core::RustSrc => {
            bpf::readable()?;
            rustup(&["rust-src"])?;
        }
    }
    ensure!(way.ready(), "installed, but not found");
    Ok(())
}

/// Adds components to the toolchain in use.
pub(crate) fn rustup(components: &[&str]) -> Result<()> {
    command::output(
        Command::new("timeout")
            .args([RUSTUP_SECONDS, "rustup", "component", "add"])
            .args(components),
    )
    .map(drop)
    .with_context(|| format!("rustup cannot add {}", components.join(" ")))
}

const OVERRIDE: &str = "SWF_FILTER_BPF_TOOLCHAIN";

const DEBIAN_PACKAGES: [&str; 3] = ["cargo-web", "libstd-rust-web-dev-bpf", "rustc-web"];

/// rustup waits long for a server that does not answer, and there is another way.
const RUSTUP_SECONDS: &str = "180";
