//! `cargo xtask package`: a Debian package of the binary, with all that goes with it.
//!
//! What is in the package stands in `swf-filter/Cargo.toml`; cargo-deb does the packing. It refuses debug builds, and finds what is
//! built in the target directory only. So it gets one of its own, in which all that is made lies where assets say.

mod notices;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::build::{self, Profile};
use crate::setup::{self, Setup};
use crate::{command, workspace};

/// What kind of package is wanted.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    profile: Profile,
    /// Another version than that of the workspace, for tests of upgrades.
    version: Option<&'a str>,
}

impl<'a> Wish<'a> {
    /// Reads the arguments of the command.
    pub(crate) fn read(mut args: &[&'a str]) -> Result<Self> {
        let mut wish = Self {
            profile: Profile::Release,
            version: None,
        };
        loop {
            args = match args {
                [] => return Ok(wish),
                ["--debug", rest @ ..] => {
                    wish.profile = Profile::Dev;
                    rest
                }
                ["--version", version, rest @ ..] => {
                    wish.version = Some(version);
                    rest
                }
                [other, ..] => bail!("`package` knows no `{other}`"),
            };
        }
    }
}

/// Builds the binary, and the package of it.
pub(crate) fn run(setup: Setup, wish: &Wish<'_>) -> Result<()> {
    let outcome = build::run(setup.bpf.as_ref(), wish.profile).and_then(|built| {
        let package = pack(&built.binary, wish)?;
        println!("package: {}", package.display());
        Ok(())
    });
    setup.finish(outcome)
}

/// The package of the debug binary, of this version.
pub(crate) fn of_debug_build(binary: &Path) -> Result<PathBuf> {
    let wish = Wish {
        profile: Profile::Dev,
        version: None,
    };
    pack(binary, &wish)
}

/// Packs a binary that was built.
pub(crate) fn pack(binary: &Path, wish: &Wish<'_>) -> Result<PathBuf> {
    let cargo_deb = setup::cargo_deb()?;
    let target = workspace::target().join("package");
    // Where assets of `target/release` are looked for.
    let stage = target.join("release");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    fs::create_dir_all(&stage)?;
    // The packed one has no debug information. Its file is another, so the one that was built keeps its own.
    let strip = command::find("strip").context("no `strip` here; binutils has it")?;
    let program = stage.join("swf-filter");
    command::output(
        Command::new(strip)
            .args(["--strip-unneeded", "-o"])
            .args([&program, binary]),
    )?;
    for what in ["completions", "man"] {
        let made = stage.join(what);
        command::output(Command::new(&program).args(["generate", what]).arg(made))?;
    }
    let pages = fs::read_dir(stage.join("man"))?.map(|entry| Ok(entry?.path()));
    let pages = pages.collect::<Result<Vec<_>>>()?;
    // Without their time, so that they are the same each time.
    command::output(
        Command::new("gzip")
            .args(["--best", "--no-name"])
            .args(pages),
    )?;
    fs::write(stage.join("notices"), notices::of_all()?)?;

    let debug = wish.profile == Profile::Dev;
    let name = if debug { "debug" } else { "release" };
    let version = match wish.version {
        Some(version) => version.to_owned(),
        None => format!("{}-1", env!("CARGO_PKG_VERSION")),
    };
    let output = target.join(format!("swf-filter_{version}_{name}.deb"));
    let mut deb = Command::new(cargo_deb);
    deb.args(["--package", "swf-filter", "--no-build", "--no-strip"])
        .args(["--locked", "--deb-version", &version, "--output"])
        .arg(&output)
        .current_dir(workspace::root())
        .env("CARGO_TARGET_DIR", &target);
    if debug {
        deb.arg("--fast");
    }
    command::output(&mut deb).context("cannot pack")?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_in_any_order() {
        let wish = Wish::read(&["--version", "0.2.0-1", "--debug"]).unwrap();
        assert_eq!(wish.profile, Profile::Dev);
        assert_eq!(wish.version, Some("0.2.0-1"));
        assert_eq!(Wish::read(&[]).unwrap().profile, Profile::Release);
        assert!(Wish::read(&["--version"]).is_err());
    }
}
