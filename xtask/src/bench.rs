//! `cargo xtask bench`: what swf-filter costs, beside what users would otherwise pick.
//!
//! Each part is measured by a program of its own, which leaves its figures in `target/bench`; the last one puts them together. This
//! only sets up what they need, builds and runs them. What is measured has one core, and all else the other.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::build::{self, Built, Profile};
use crate::setup::{self, Setup};
use crate::{command, machine, workspace};

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Wish {
    effort: Effort,
    task: Option<Task>,
    parts: Vec<Part>,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effort {
    Full,
    Quick,
}

/// What is done with the ratios that were kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Task {
    Check,
    Renew,
}

/// A part of the report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Listener,
    Live,
    Packet,
    Policy,
    Reload,
}

impl Part {
    const ALL: [Self; 5] = [
        Self::Packet,
        Self::Live,
        Self::Reload,
        Self::Listener,
        Self::Policy,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Live => "live",
            Self::Packet => "packet",
            Self::Policy => "policy",
            Self::Reload => "reload",
        }
    }

    /// Other programs that it needs, with their packages.
    fn peers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Listener => &[("nginx", "nginx-light"), ("haproxy", "haproxy")],
            Self::Live => &[
                ("ipset", "ipset"),
                ("iptables", "iptables"),
                ("nft", "nftables"),
                ("xdp-filter", "xdp-tools"),
            ],
            Self::Reload => &[
                ("ipset", "ipset"),
                ("iptables", "iptables"),
                ("nft", "nftables"),
            ],
            Self::Packet | Self::Policy => &[],
        }
    }
}

impl Wish {
    /// Reads arguments.
    pub(crate) fn read(arguments: &[&str]) -> Result<Self> {
        let mut wish = Self {
            effort: Effort::Full,
            task: None,
            parts: Vec::new(),
        };
        for argument in arguments {
            match *argument {
                "--quick" => wish.effort = Effort::Quick,
                "--check" => wish.task = Some(Task::Check),
                "--renew" => wish.task = Some(Task::Renew),
                name => {
                    let part = Part::ALL.into_iter().find(|part| part.name() == name);
                    wish.parts
                        .push(part.with_context(|| format!("there is no bench `{name}`"))?);
                }
            }
        }
        if wish.parts.is_empty() {
            wish.parts.extend(Part::ALL);
        }
        Ok(wish)
    }
}

/// Measures, and writes the report.
pub(crate) fn run(setup: Setup, wish: &Wish) -> Result<()> {
    let outcome = measure(&setup, wish);
    setup.finish(outcome)
}

fn measure(setup: &Setup, wish: &Wish) -> Result<()> {
    ensure!(
        machine::root(),
        "the benches make namespaces, which needs root"
    );
    install(&wish.parts)?;
    let bench = Bench {
        built: build::run(setup.bpf.as_ref(), Profile::Release)?,
        object: match &setup.bpf {
            Some(toolchain) => build::bench_programs(toolchain)?,
            None => bail!("the benches need a compiler for kernel programs"),
        },
        folder: workspace::target().join("bench"),
        effort: match wish.effort {
            Effort::Full => "full",
            Effort::Quick => "quick",
        },
    };
    fs::create_dir_all(&bench.folder)
        .with_context(|| format!("cannot make `{}`", bench.folder.display()))?;
    for part in &wish.parts {
        println!("bench: {}", part.name());
        bench.measure(*part)?;
    }
    bench.report(wish)
}

fn install(parts: &[Part]) -> Result<()> {
    let peers = parts.iter().flat_map(|part| part.peers());
    let mut missing: Vec<&str> = peers
        .filter(|(program, _)| command::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    setup::install(&missing)
}

struct Bench {
    built: Built,
    /// The kernel programs that only benches use.
    object: PathBuf,
    folder: PathBuf,
    effort: &'static str,
}

impl Bench {
    fn measure(&self, part: Part) -> Result<()> {
        let printed = match part {
            Part::Listener => self.load("listener_load", Profile::Release, &[self.effort])?,
            Part::Live => self.load(PACKET_LOAD, Profile::Dev, &["live", self.effort])?,
            Part::Packet => self.load(PACKET_LOAD, Profile::Dev, &["packet", self.effort])?,
            Part::Reload => self.load(PACKET_LOAD, Profile::Dev, &["reload", self.effort])?,
            Part::Policy => return self.criterion(),
        };
        let path = self.folder.join(format!("{}.json", part.name()));
        fs::write(&path, printed).with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Runs a program that measures, and gives what it prints.
    fn load(&self, name: &str, profile: Profile, arguments: &[&str]) -> Result<String> {
        let output = Command::new("taskset")
            .args(["-c", CORE])
            .arg(example(name, profile)?)
            .args(arguments)
            .env("SWF_FILTER_BIN", &self.built.binary)
            .env("SWF_FILTER_BENCH_OBJECT", &self.object)
            .env("PATH", command::path())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot run `{name}`"))?;
        ensure!(
            output.status.success(),
            "`{name}` failed, {}",
            output.status
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn criterion(&self) -> Result<()> {
        let home = self.folder.join("criterion");
        if home.exists() {
            // Benches that are no more would count.
            fs::remove_dir_all(&home)
                .with_context(|| format!("cannot remove `{}`", home.display()))?;
        }
        let mut cargo = command::cargo("bench");
        cargo.args(["-p", "swf-filter-core", "--bench", "documents", "--"]);
        if self.effort == "quick" {
            cargo.args(["--warm-up-time", "1", "--measurement-time", "1"]);
        }
        command::run(cargo.env("CRITERION_HOME", home))
    }

    fn report(&self, wish: &Wish) -> Result<()> {
        let mut report = Command::new(example("bench_report", Profile::Dev)?);
        report.arg(&self.folder).arg(self.effort);
        report.args(wish.parts.iter().map(|part| part.name()));
        report
            .env("PATH", command::path())
            .current_dir(workspace::root());
        match wish.task {
            Some(Task::Check) => report.args(["--check", BASELINE]),
            Some(Task::Renew) => report.args(["--renew", BASELINE]),
            None => &mut report,
        };
        command::run(&mut report)?;
        println!("bench: the report is in {}", self.folder.display());
        Ok(())
    }
}

/// Builds a program of the tests, and gives its path.
///
/// Those that leave the work to the kernel are as good without optimisation, and are built sooner.
fn example(name: &str, profile: Profile) -> Result<PathBuf> {
    let mut cargo = command::cargo("build");
    // All of the workspace, as tests are built: a choice of packages would build what they share again.
    cargo.args(["--workspace", "--example", name]);
    let folder = profile.choose(&mut cargo);
    command::run(build::with_bpf_object(&mut cargo))?;
    Ok(workspace::target().join(folder).join("examples").join(name))
}

const PACKET_LOAD: &str = "packet_load";
/// The core of what loads, since that which is measured has the other.
const CORE: &str = "0";
/// Ratios that are kept, from the root of the workspace.
const BASELINE: &str = "xtask/baseline.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_measured_unless_parts_are_named() {
        let wish = Wish::read(&["--quick", "--check"]).unwrap();
        assert_eq!((wish.effort, wish.task), (Effort::Quick, Some(Task::Check)));
        assert_eq!(wish.parts, Part::ALL);
        let wish = Wish::read(&["live"]).unwrap();
        assert_eq!((wish.effort, wish.parts), (Effort::Full, vec![Part::Live]));
    }

    #[test]
    fn what_is_no_bench_is_an_error() {
        assert!(Wish::read(&["lively"]).is_err());
        assert!(Wish::read(&["--fast"]).is_err());
    }
}
