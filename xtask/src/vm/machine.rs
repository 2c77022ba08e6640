//! An emulated machine, and its serial console.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A machine that runs. It ends when this is dropped.
pub(crate) struct Machine {
    qemu: Child,
    lines: Receiver<String>,
    /// What was said last, for errors.
    said: Vec<String>,
}

impl Machine {
    /// Starts one. `more` are arguments of qemu.
    pub(crate) fn start(kernel: &Path, initrd: &Path, more: &[&str]) -> Result<Self> {
        let mut qemu = Command::new("qemu-system-x86_64");
        // On a console that is read by a program, colours and cursor moves are noise.
        let line = "console=ttyS0 quiet loglevel=3 panic=-1 net.ifnames=0 systemd.show_status=no TERM=dumb";
        qemu.args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "3072",
        ])
        .args(["-nodefaults", "-display", "none", "-serial", "stdio"])
        .args(["-append", line])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initrd)
        .args(more);
        qemu.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut qemu = qemu.spawn().context("cannot run qemu")?;
        let console = qemu.stdout.take().context("qemu has no console")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut console = BufReader::new(console);
            let mut line = Vec::new();
            while console
                .read_until(b'\n', &mut line)
                .is_ok_and(|read| read > 0)
            {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(text).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Ok(Self {
            qemu,
            lines,
            said: Vec::new(),
        })
    }

    /// The next line of the console, before `deadline`. None at the end of the machine.
    pub(crate) fn line(&mut self, deadline: Instant) -> Result<Option<String>> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.said.push(line.clone());
                Ok(Some(line))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!(
                    "the machine says nothing more; at last:\n{}",
                    self.last_words()
                )
            }
        }
    }

    /// Reads until a line that begins with `prefix`, and gives its rest, with the lines before.
    pub(crate) fn wait_for(
        &mut self,
        prefix: &str,
        time: Duration,
    ) -> Result<(String, Vec<String>)> {
        let deadline = Instant::now() + time;
        let mut before = Vec::new();
        while let Some(line) = self.line(deadline)? {
            if let Some((_, rest)) = line.split_once(prefix) {
                return Ok((rest.trim().to_owned(), before));
            }
            before.push(line);
        }
        bail!("the machine ended; at last:\n{}", self.last_words())
    }

    /// Types a line at the console.
    pub(crate) fn type_line(&mut self, line: &str) -> Result<()> {
        let input = self.qemu.stdin.as_mut().context("qemu has no input")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    fn last_words(&self) -> String {
        let from = self.said.len().saturating_sub(LAST);
        self.said.get(from..).unwrap_or_default().join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.qemu.kill();
        let _ended = self.qemu.wait();
    }
}

/// Lines that an error shows.
const LAST: usize = 40;
