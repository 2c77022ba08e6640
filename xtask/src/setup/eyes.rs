//! What looks at metrics and page in tests: Chromium with its driver, and Prometheus's checker of rules.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::packages;
use crate::omissions::Omissions;
use crate::{command, workspace};

/// The program that steers a headless Chromium, which it finds by itself.
pub(crate) fn chromedriver(omissions: &mut Omissions) -> Option<PathBuf> {
    let there = || {
        command::find("chromium")?;
        command::find("chromedriver")
    };
    let made = there().map_or_else(
        || {
            packages::install(&["chromium", "chromium-driver"])?;
            there().context("installed, but not found")
        },
        Ok,
    );
    told(made, "the dashboard in Chromium", omissions)
}

/// Prometheus's checker of rules. The package would start a server as well, so it is only unpacked, below `target/`.
pub(crate) fn promtool(omissions: &mut Omissions) -> Option<PathBuf> {
    let made = command::find("promtool").map_or_else(unpacked, Ok);
    told(made, "alert rules as Prometheus reads them", omissions)
}

fn unpacked() -> Result<PathBuf> {
    let folder = workspace::target().join("prometheus");
    let promtool = folder.join("usr/bin/promtool");
    if promtool.exists() {
        return Ok(promtool);
    }
    println!("setup: promtool: unpacking Debian's package");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let mut download = Command::new("apt-get");
    command::output(
        download
            .args(["download", "prometheus"])
            .current_dir(&folder),
    )
    .context("cannot get Debian's package of Prometheus")?;
    for entry in fs::read_dir(&folder)? {
        let package = entry?.path();
        if package.extension().is_some_and(|end| end == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            command::output(unpack.arg("--extract").arg(&package).arg(&folder))?;
            fs::remove_file(&package)?;
        }
    }
    Ok(promtool)
}

fn told(made: Result<PathBuf>, what: &str, omissions: &mut Omissions) -> Option<PathBuf> {
    match made {
        Ok(program) => {
            println!("setup: {what}: {}", program.display());
            Some(program)
        }
        Err(reason) => {
            omissions.add(format!("{what}: {reason:#}"));
            None
        }
    }
}
