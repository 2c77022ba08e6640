//! Python with AWS's clients, for the tests of the listener.
//!
//! It lies below `target/`, so that the machine's own Python stays as it is.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::packages;
use crate::omissions::Omissions;
use crate::{command, workspace};

/// Makes the environment if it is not there, or is for other requirements. Its interpreter, if there is one then.
pub(crate) fn ensure(omissions: &mut Omissions) -> Option<PathBuf> {
    match made() {
        Ok(python) => Some(python),
        Err(reason) => {
            omissions.add(format!("the listener with AWS's clients: {reason:#}"));
            None
        }
    }
}

fn made() -> Result<PathBuf> {
    let requirements = workspace::root().join("tests/python/requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read `{}`", requirements.display()))?;
    let folder = workspace::target().join("python");
    let python = folder.join("bin/python");
    let stamp = folder.join("requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        println!("setup: Python with AWS's clients: {}", folder.display());
        return Ok(python);
    }
    println!("setup: Python with AWS's clients: installing, this takes a minute");
    let venv = || {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(&folder);
        command::output(&mut venv)
    };
    if command::find("python3").is_none() || venv().is_err() {
        // Debian has the module in a package of its own.
        packages::install(&["python3", "python3-venv"])?;
        venv().context("cannot make an environment of Python")?;
    }
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    pip.arg("--requirement").arg(&requirements);
    command::output(&mut pip).context("cannot install AWS's clients")?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write `{}`", stamp.display()))?;
    Ok(python)
}
