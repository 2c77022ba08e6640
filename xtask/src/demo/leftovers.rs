//! What a demo puts on the machine, and how it goes away however the demo ends.
//!
//! A janitor process waits for the end of its standard input, which comes when the demo ends, be it by Ctrl-C or `kill -9`. Should the
//! janitor die too, the next demo sweeps. Everything has the demo's process id in its name, so nothing else is touched.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::command;

/// The word before the process id, among the arguments of a janitor.
pub(crate) const CLEAN_UP_AFTER: &str = "clean-up-after";

/// A process that removes what this one leaves.
#[derive(Debug)]
pub(super) struct Janitor(Child);

impl Janitor {
    /// Starts it, before there is anything to remove.
    pub(super) fn hire(demo: u32) -> Result<Self> {
        Command::new("/proc/self/exe")
            .args(["demo", CLEAN_UP_AFTER, &demo.to_string()])
            .stdin(Stdio::piped())
            // Ctrl-C goes to the process group of the demo.
            .process_group(0)
            .spawn()
            .map(Self)
            .context("cannot start the janitor")
    }

    /// Has it do its work now, and waits for it.
    pub(super) fn finish(mut self) -> Result<()> {
        // `wait` closes the janitor's input first.
        let status = self.0.wait().context("cannot wait for the janitor")?;
        ensure!(status.success(), "cannot clean up; the next demo will try");
        Ok(())
    }
}

/// What a janitor does: waits for the end of its input, then removes what that demo left.
pub(crate) fn clean_up_after(demo: &str) -> Result<()> {
    let demo = demo
        .parse()
        .with_context(|| format!("`{demo}` is no process id"))?;
    io::copy(&mut io::stdin(), &mut io::sink()).context("cannot read standard input")?;
    remove(demo)
}

/// Removes what demos left that are no more.
pub(super) fn sweep() -> Result<()> {
    let demos: BTreeSet<u32> = [FILES, NAMESPACES, PINS]
        .into_iter()
        .flat_map(names)
        .filter_map(|name| owner(&name))
        .collect();
    for demo in demos {
        if !Path::new("/proc").join(demo.to_string()).exists() {
            println!("demo: removing what an earlier one left, {}", label(demo));
            remove(demo)?;
        }
    }
    Ok(())
}

/// The folder of a demo's files.
pub(super) fn files(demo: u32) -> PathBuf {
    Path::new(FILES).join(label(demo))
}

/// The folder of its pins.
pub(super) fn pins(demo: u32) -> PathBuf {
    Path::new(PINS).join(label(demo))
}

/// The name of one of its network namespaces.
pub(super) fn namespace(demo: u32, machine: &str) -> String {
    format!("{}-{machine}", label(demo))
}

fn label(demo: u32) -> String {
    format!("{PREFIX}{demo}")
}

/// The demo whose process id is in a name, alone or before a hyphen.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn remove(demo: u32) -> Result<()> {
    let namespaces: Vec<String> = names(NAMESPACES)
        .into_iter()
        .filter(|name| owner(name) == Some(demo))
        .collect();
    for name in &namespaces {
        end_processes(demo, name);
    }
    for name in &namespaces {
        let outcome = command::output(Command::new("ip").args(["netns", "del", name]));
        // A sweep and a janitor may be at it together.
        if Path::new(NAMESPACES).join(name).exists() {
            outcome?;
        }
    }
    for folder in [pins(demo), files(demo)] {
        match fs::remove_dir_all(&folder) {
            Err(reason) if reason.kind() != io::ErrorKind::NotFound => {
                return Err(reason)
                    .with_context(|| format!("cannot remove `{}`", folder.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Ends what the demo started in a namespace. A shell that somebody opened there to look around is left alone.
fn end_processes(demo: u32, namespace: &str) {
    let inside = command::output(Command::new("ip").args(["netns", "pids", namespace]));
    let folder = files(demo).display().to_string();
    for process in inside.unwrap_or_default().split_whitespace() {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(&folder) {
            let kill = format!("kill -9 {process}");
            // It may have ended by itself.
            let _ended = command::output(Command::new("sh").args(["-c", &kill]));
        }
    }
}

const FILES: &str = "/run";
const NAMESPACES: &str = "/run/netns";
const PINS: &str = "/sys/fs/bpf";
const PREFIX: &str = "swf-demo-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_demo() {
        assert_eq!(owner(&namespace(12, "host")), Some(12));
        assert_eq!(owner(&label(12)), Some(12));
    }

    #[test]
    fn other_names_belong_to_no_demo() {
        for name in ["swf-filter", "swf-demo-", "swf-demo-x-1", "my-swf-demo-1"] {
            assert_eq!(owner(name), None, "{name}");
        }
    }
}
