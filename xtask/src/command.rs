//! Running other programs.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// The cargo that runs this task, at the root of the workspace and with its target directory.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .arg(subcommand)
        .current_dir(workspace::root())
        .env("CARGO_TARGET_DIR", workspace::target());
    command
}

/// Runs a command whose output the user wants to see; fails when it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed, {status}", line(command));
    }
    Ok(())
}

/// Runs a command and returns what it printed; its own words are shown only when it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "`{}` failed, {}\n{printed}{}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(printed.into_owned())
}

/// Where programs are looked for, also those of root.
pub(crate) fn path() -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin".into(), "/sbin".into()];
    let folders = env::split_paths(&path).chain(sbin);
    env::join_paths(folders).unwrap_or(path)
}

/// Finds a program as root would: `sbin` counts even where the user's `PATH` lacks it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&path())
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// A command as a user would type it; the folder and the environment are this task's business.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words: Vec<_> = std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_shows_the_command_without_its_environment() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["build", "--release"]).env("LONG", "text");
        assert_eq!(line(&command), "cargo build --release");
    }

    #[test]
    fn failed_command_is_an_error_with_its_words() {
        let reason = output(Command::new("sh").args(["-c", "echo said; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            reason.contains("exit status: 3") && reason.contains("said"),
            "{reason}"
        );
    }
}
