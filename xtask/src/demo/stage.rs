//! Where the demo plays: four machines, each a network namespace, and commands that are typed on them.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::leftovers;
use super::screen::{Screen, output};
use crate::{command, workspace};

/// A machine that connects to the endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) name: &'static str,
    pub(super) address: &'static str,
    /// The address at which this client knows the endpoint.
    pub(super) service: &'static str,
    /// The host's interface that its packets come in on.
    pub(super) interface: &'static str,
    pub(super) who: &'static str,
    /// The host's routing table for answers from that service address: the client's address alone does not tell the way.
    table: &'static str,
}

/// In the VPC that the policy allows.
pub(super) const ORDERS: Client = Client {
    name: "orders",
    address: "10.20.0.2",
    service: "198.51.100.10",
    interface: "eth1",
    who: "in vpc-orders",
    table: "10",
};

/// In another VPC, with the same address.
pub(super) const LAB: Client = Client {
    name: "lab",
    address: "10.20.0.2",
    service: "198.51.100.20",
    interface: "eth2",
    who: "in vpc-lab, which has the same addresses",
    table: "20",
};

/// In no VPC, and on the deny list.
pub(super) const OFFICE: Client = Client {
    name: "office",
    address: "203.0.113.66",
    service: "198.51.100.10",
    interface: "eth0",
    who: "in an office, and on the deny list",
    table: "10",
};

pub(super) const CLIENTS: [Client; 3] = [ORDERS, OFFICE, LAB];

/// The machine with the endpoint and the filter.
pub(super) const HOST: &str = "host";

/// The machines, and the folder that commands run in.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) screen: Screen,
    demo: u32,
    folder: PathBuf,
    path: OsString,
}

/// What came of a command.
#[derive(Debug)]
pub(super) struct Answer {
    /// Where it was typed, and what.
    typed: String,
    code: Option<i32>,
    /// What it printed, on both streams.
    pub(super) text: String,
}

/// A command in the background, ended when this is dropped.
#[derive(Debug)]
pub(super) struct Background {
    process: Child,
    output: PathBuf,
}

impl Stage {
    /// Lays cables and copies the sample policy; `binary` is what `swf-filter` means to the commands.
    pub(super) fn build(demo: u32, binary: &Path) -> Result<Self> {
        let folder = leftovers::files(demo);
        fs::create_dir(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        let stage = Self {
            screen: Screen::new(),
            demo,
            folder,
            path: path_with(binary)?,
        };
        stage.copy_sample()?;
        stage.lay_cables()?;
        Ok(stage)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Types a command, and shows it with what it prints.
    pub(super) fn show(&self, machine: &str, line: &str) -> Result<Answer> {
        self.screen.command(machine, line);
        let answer = self.quietly(machine, line)?;
        output(&answer.text);
        Ok(answer)
    }

    /// Types a command that nobody sees.
    pub(super) fn quietly(&self, machine: &str, line: &str) -> Result<Answer> {
        let output = self
            .command(machine)
            .args(["timeout", "--foreground", LONGEST, "sh", "-c"])
            .arg(format!("exec 2>&1; {line}"))
            .output()
            .with_context(|| format!("cannot run `{line}`"))?;
        Ok(Answer {
            typed: format!("{machine}$ {line}"),
            code: output.status.code(),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
        })
    }

    /// Types a command that goes on by itself, and shows it.
    pub(super) fn start(&self, machine: &str, line: &str) -> Result<Background> {
        self.screen.command(machine, &format!("{line} &"));
        self.start_quietly(machine, line)
    }

    /// Types a command that goes on by itself, and that nobody sees.
    pub(super) fn start_quietly(&self, machine: &str, line: &str) -> Result<Background> {
        let program = line.replace([' ', '/'], "-");
        let output = self.folder.join(format!("{program}.log"));
        let log = File::create(&output)
            .with_context(|| format!("cannot write `{}`", output.display()))?;
        let process = self
            .command(machine)
            .args(["sh", "-c", &format!("exec {line}")])
            .stderr(log.try_clone().context("cannot share a log")?)
            .stdout(log)
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        Ok(Background { process, output })
    }

    fn command(&self, machine: &str) -> Command {
        let mut command = Command::new("nsenter");
        let name = leftovers::namespace(self.demo, machine);
        command
            .args([&format!("--net=/run/netns/{name}"), "--"])
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env("SWF_FILTER_CONFIG", self.folder.join("config.toml"))
            .env(
                "SWF_FILTER_LISTENER_CONFIG",
                self.folder.join("listener.toml"),
            )
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    fn copy_sample(&self) -> Result<()> {
        let sample = workspace::root().join("xtask/demo/.");
        command::output(Command::new("cp").arg("-R").arg(sample).arg(&self.folder))?;
        command::output(
            Command::new("cp")
                .arg("-R")
                .args(["policy.d", "first"])
                .current_dir(&self.folder),
        )?;
        for name in ["config.toml", "listener.toml"] {
            let path = self.folder.join(name);
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            let text = text
                .replace("{folder}", &self.folder.display().to_string())
                .replace("{pins}", &leftovers::pins(self.demo).display().to_string());
            fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        Ok(())
    }

    fn lay_cables(&self) -> Result<()> {
        self.add_namespace(HOST)?;
        for client in CLIENTS {
            self.add_namespace(client.name)?;
            self.lay_cable(client)?;
        }
        for client in [ORDERS, LAB] {
            self.ip(HOST, &format!("address add {} dev lo", client.service))?;
            self.ip(
                HOST,
                &format!("rule add from {} lookup {}", client.service, client.table),
            )?;
        }
        Ok(())
    }

    fn lay_cable(&self, client: Client) -> Result<()> {
        let Client {
            name,
            address,
            service,
            interface,
            table,
            ..
        } = client;
        let there = leftovers::namespace(self.demo, name);
        self.ip(
            HOST,
            &format!("link add {interface} type veth peer name eth0 netns {there}"),
        )?;
        self.ip(HOST, &format!("link set {interface} up"))?;
        self.ip(name, "link set eth0 up")?;
        self.ip(name, &format!("address add {address} dev eth0"))?;
        self.ip(name, &format!("route add {service} dev eth0"))?;
        self.ip(
            HOST,
            &format!("route add {address} dev {interface} table {table}"),
        )
    }

    fn add_namespace(&self, machine: &str) -> Result<()> {
        let name = leftovers::namespace(self.demo, machine);
        command::output(Command::new("ip").args(["netns", "add", &name]))?;
        self.ip(machine, "link set lo up")
    }

    fn ip(&self, machine: &str, line: &str) -> Result<()> {
        let name = leftovers::namespace(self.demo, machine);
        let mut ip = Command::new("ip");
        command::output(ip.args(["-n", &name]).args(line.split(' '))).map(drop)
    }
}

impl Answer {
    /// Fails unless the command ended with this exit code.
    pub(super) fn code(self, wanted: i32) -> Result<Self> {
        let ended = self
            .code
            .map_or("a signal".to_owned(), |code| format!("exit code {code}"));
        ensure!(
            self.code == Some(wanted),
            "`{}` ended with {ended}, not with {wanted}\n{}",
            self.typed,
            self.text
        );
        Ok(self)
    }

    /// Fails unless the command printed this.
    pub(super) fn says(self, wanted: &str) -> Result<Self> {
        ensure!(
            self.text.contains(wanted),
            "`{}` does not say `{wanted}`\n{}",
            self.typed,
            self.text
        );
        Ok(self)
    }

    /// What stands after a text, up to the end of its line.
    pub(super) fn after(&self, text: &str) -> Result<&str> {
        let mut lines = self.text.lines();
        let found = lines.find_map(|line| Some(line.split_once(text)?.1.trim()));
        found.with_context(|| format!("`{}` does not say `{text}`\n{}", self.typed, self.text))
    }

    /// The number at the front of the line that has this word.
    pub(super) fn packets(&self, word: &str) -> Result<u64> {
        packets(&self.text, word)
            .with_context(|| format!("`{}` counts no `{word}`\n{}", self.typed, self.text))
    }
}

impl Background {
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        let status = self.process.try_wait().context("cannot ask for a child")?;
        Ok(status.is_some())
    }

    /// What it has printed so far.
    pub(super) fn text(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Ends it the hard way.
    pub(super) fn kill(mut self) -> Result<()> {
        self.process.kill().context("cannot kill a child")?;
        self.process.wait().context("cannot wait for a child")?;
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended.
        let _killed = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// `PATH`, with the binary's folder in front of it.
fn path_with(binary: &Path) -> Result<OsString> {
    let folder = binary.parent().map(Path::to_owned);
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(folder.into_iter().chain(env::split_paths(&path)))
        .with_context(|| format!("cannot put `{}` into PATH", binary.display()))
}

fn packets(text: &str, word: &str) -> Option<u64> {
    let mut lines = text.lines().map(|line| line.split_whitespace());
    let mut line = lines.find(|line| line.clone().any(|field| field == word))?;
    line.next()?.parse().ok()
}

/// Seconds that no command takes.
const LONGEST: &str = "20";

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer {
            typed: "host$ swf-filter status".to_owned(),
            code: Some(0),
            text: "PACKETS BYTES REASON\n 12 600 allow\n 3 180 deny (drop)\n".to_owned(),
        }
    }

    #[test]
    fn packets_are_those_of_the_word() {
        assert_eq!(answer().packets("deny").unwrap(), 3);
        assert!(answer().packets("den").is_err());
        assert!(answer().packets("REASON").is_err());
    }

    #[test]
    fn a_word_is_found_by_what_stands_before_it() {
        assert_eq!(answer().after("180 ").unwrap(), "deny (drop)");
        assert!(answer().after("181 ").is_err());
    }

    #[test]
    fn an_answer_that_is_not_the_wanted_one_fails_with_the_command() {
        assert!(answer().code(0).is_ok() && answer().says("allow").is_ok());
        for failed in [answer().code(4), answer().says("pass")] {
            let reason = failed.unwrap_err().to_string();
            assert!(reason.starts_with("`host$ swf-filter status`"), "{reason}");
        }
    }
}
