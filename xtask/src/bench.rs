//! `cargo xtask bench`: what swf-filter costs, beside what users would otherwise pick.
//!
//! Each figure is a ratio to something that was measured in the same run. The report is in `target/bench`, as text and as JSON.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::build::{self, Profile};
use crate::setup::{self, Setup};
use crate::{command, machine, workspace};

/// What the listener is measured beside: program and package.
const PEERS: [(&str, &str); 2] = [("nginx", "nginx-light"), ("haproxy", "haproxy")];
/// The core of what loads, since that which is measured has the other.
const CORE: &str = "0";

/// Measures, and writes the report.
pub(crate) fn run(setup: Setup) -> Result<()> {
    let outcome = measure(&setup);
    setup.finish(outcome)
}

fn measure(setup: &Setup) -> Result<()> {
    ensure!(
        machine::root(),
        "the benches make namespaces, which needs root"
    );
    let missing: Vec<&str> = PEERS
        .iter()
        .filter(|(program, _)| command::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        setup::install(&missing)?;
    }
    let built = build::run(setup.bpf.as_ref(), Profile::Release)?;
    let folder = workspace::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    println!("bench: the listener beside nginx and haproxy, some minutes");
    let listener = listener(&built.binary)?;
    write(&folder.join("listener.json"), &listener)?;
    print!("{listener}");
    Ok(())
}

fn listener(binary: &Path) -> Result<String> {
    let mut cargo = command::cargo("build");
    cargo.args(["--release", "-p", "swf-filter-tests", "--example", LOAD]);
    command::run(build::with_bpf_object(&mut cargo))?;
    let load = workspace::target().join("release/examples").join(LOAD);
    let output = Command::new("taskset")
        .args(["-c", CORE])
        .arg(load)
        .env("SWF_FILTER_BIN", binary)
        .env("PATH", command::path())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the load")?;
    ensure!(
        output.status.success(),
        "the load failed, {}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const LOAD: &str = "listener_load";

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}
