//! `cargo xtask setup`: makes a bare machine able to build and test, and does nothing on one that is.
//!
//! Each step first looks for what it wants, and only then goes to the network. What it cannot get it leaves out and
//! names, because the crates without a kernel part build and test anywhere.

mod bpf_core;
mod deb;
mod eyes;
mod linker;
mod packages;
mod python;

use anyhow::Result;

use crate::bpf::Toolchain;
use crate::omissions::Omissions;

pub(crate) use bpf_core::rustup;
pub(crate) use deb::ensure as cargo_deb;
pub(crate) use eyes::{chromedriver, promtool};
pub(crate) use packages::install;
pub(crate) use python::ensure as python;

/// What this machine can do.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The compiler for the kernel program, if there is one.
    pub(crate) bpf: Option<Toolchain>,
    pub(crate) omissions: Omissions,
}

impl Setup {
    /// Ends a command: reports what was left out, then gives back its outcome.
    pub(crate) fn finish(self, outcome: Result<()>) -> Result<()> {
        self.omissions.finish(outcome)
    }
}

/// Sets up what can be; fails only on a setting that makes no sense.
pub(crate) fn run() -> Result<Setup> {
    let ways = bpf_core::ways()?;
    let mut omissions = Omissions::default();
    packages::ensure(&mut omissions);
    let linker = linker::ensure().inspect_err(|reason| println!("setup: bpf-linker: {reason:#}"));
    let core = bpf_core::ensure(&ways);
    let bpf = match (linker, core) {
        (Ok(linker), Ok(core)) => Some(Toolchain { core, linker }),
        (linker, core) => {
            let reasons = [linker.err(), core.err()];
            for reason in reasons.into_iter().flatten() {
                omissions.add(format!(
                    "the kernel program and all that loads it: {reason}"
                ));
            }
            None
        }
    };
    Ok(Setup { bpf, omissions })
}
