//! Commands that run to their end, and children that end with their guard.

use std::{
    fs::{self, File},
    io,
    process::{self, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::wait::wait_until;

/// Runs a command to its end and gives what it printed.
///
/// Fails with what it said on standard error if it does not exit with 0.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, said.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A child that is killed and reaped when this is dropped.
///
/// Its output goes to files, and is shown if the test panics.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: process::Child,
    folder: TempDir,
}

impl Child {
    /// Starts the command; `name` is how it is called when its output is shown.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("swft-").tempdir()?;
        let process = command
            .stdin(Stdio::null())
            .stdout(File::create(folder.path().join(STDOUT))?)
            .stderr(File::create(folder.path().join(STDERR))?)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            process,
            folder,
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has printed on standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.read(STDOUT)
    }

    /// What it has printed on standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.read(STDERR)
    }

    /// Sends a signal to this process alone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.process), signal)?)
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.process.kill()?;
        self.process.wait()
    }

    /// How it has ended, if it has.
    pub fn status(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    ///
    /// If it does not end within `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let mut status = None;
        let what = format!("end of `{}`", self.name);
        wait_until(deadline, &what, || {
            status = self.process.try_wait().ok().flatten();
            status.is_some()
        });
        status.unwrap_or_default()
    }

    /// Waits until `text` is in what it has printed, on either stream.
    ///
    /// # Panics
    ///
    /// If it is not within `deadline`.
    pub fn wait_for_output(&self, deadline: Duration, text: &str) {
        let what = format!("`{text}` in the output of `{}`", self.name);
        wait_until(deadline, &what, || {
            self.stdout().contains(text) || self.stderr().contains(text)
        });
    }

    fn read(&self, file: &str) -> String {
        let bytes = fs::read(self.folder.path().join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let killed = self.kill();
        if thread::panicking() {
            eprintln!(
                "==> `{}`: {killed:?}\n==> stdout\n{}\n==> stderr\n{}",
                self.name,
                self.stdout(),
                self.stderr()
            );
        }
    }
}

const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";
