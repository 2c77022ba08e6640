//! The command line.

mod show;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use http_body_util::BodyExt;
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use swf_filter_core::compile::compile;
use swf_filter_core::policy::Entry;

use crate::config::Config;
use crate::control::api::{
    CheckReport, DiffReport, EventReport, ExplainRequest, Explanation, InterfaceReport,
    InterfaceRequest, ReloadReport, RuleCount, Status,
};
use crate::control::client::{self, AskError};
use crate::control::socket;
use crate::dataplane::interfaces;
use crate::explain::{self, Question};
use crate::report::{Rejected, Report};
use crate::{daemon, dataplane, files};

use self::show::Show;

/// Drops traffic to SWF-fronting hosts that policy does not allow, in the kernel.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 fine, 1 error, 2 wrong use, 3 files refused, 4 no daemon answers, 5 files and kernel disagree."
)]
struct Arguments {
    /// Settings of the daemon.
    #[arg(
        long,
        global = true,
        default_value = "/etc/swf-filter/config.toml",
        env = "SWF_FILTER_CONFIG"
    )]
    config: PathBuf,
    /// Form of what is printed.
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// Form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Check policy files; needs neither root nor a daemon.
    Check {
        /// The policy directory; the one that the settings name if not given.
        path: Option<PathBuf>,
    },
    /// Run in the foreground: load the policy, attach, and reload on SIGHUP. The filter stays on when it ends.
    Daemon,
    /// Have the daemon read the files again, and flip to what they say.
    Reload,
    /// What is enforced, where, and what came of it.
    Status,
    /// Packets and bytes of each rule.
    Rules,
    /// Dropped packets, and those that audit mode let through, as they come.
    Events {
        /// End after so many.
        #[arg(long)]
        limit: Option<u64>,
    },
    /// What happens to the first packet of a TCP connection, and why.
    Explain {
        /// Where it comes from.
        #[arg(long)]
        from: IpAddr,
        /// Where it goes: an address, with a port if it is not 443.
        #[arg(long, value_parser = destination)]
        to: SocketAddr,
        /// The interface that it comes in on. If not given: the only one that the settings name, or one that no VPC names.
        #[arg(long)]
        interface: Option<String>,
        /// Its VLAN.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4094))]
        vlan: Option<u16>,
        /// Ask the loaded kernel program too; the run counts as one packet.
        #[arg(long)]
        live: bool,
    },
    /// Which prefixes a reload would add, remove or change.
    Diff,
    /// Put the filter on an interface again, or on all.
    Attach {
        /// One interface; all that the settings name if not given.
        interface: Option<String>,
    },
    /// Take the filter off. Without a daemon and without a name, everything that is pinned goes too.
    Detach {
        /// One interface; all if not given.
        interface: Option<String>,
    },
    /// The version of this program.
    Version,
}

/// Why a command ends with another code than 0 and 1.
#[derive(Debug, thiserror::Error)]
#[error("the kernel disagrees: {}; were the files changed since the last reload? `swf-filter diff` tells", show::verdict(.0))]
struct Disagreement(Explanation);

const FILES_REFUSED: u8 = 3;
const NO_DAEMON: u8 = 4;
const DISAGREEMENT: u8 = 5;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ended(&error),
    }
}

/// Says why a command failed, and gives its exit code.
fn ended(error: &anyhow::Error) -> ExitCode {
    if let Some(Rejected::Problems(report)) = error.downcast_ref() {
        eprint!("{report}");
        return FILES_REFUSED.into();
    }
    if let Some(AskError::Failed {
        refused: true,
        failure,
    }) = error.downcast_ref()
    {
        match &failure.report {
            Some(report) => eprint!("{report}"),
            None => eprintln!("error: {}", failure.error),
        }
        return FILES_REFUSED.into();
    }
    eprintln!("error: {error:#}");
    if error.is::<Rejected>() {
        FILES_REFUSED.into()
    } else if matches!(error.downcast_ref(), Some(AskError::NoDaemon { .. })) {
        NO_DAEMON.into()
    } else if error.is::<Disagreement>() {
        DISAGREEMENT.into()
    } else {
        ExitCode::FAILURE
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let nothing = ();
    let output = arguments.output;
    match &arguments.command {
        Command::Check { path: Some(path) } => check(output, path, &[]),
        Command::Check { path: None } => {
            let config = Config::load(&arguments.config)?;
            check(output, &config.paths.policy, &config.always_allow)
        }
        Command::Daemon => daemon::run(&arguments.config),
        Command::Reload => arguments.ask::<ReloadReport>(Method::POST, "/v1/reload", &nothing),
        Command::Status => arguments.ask::<Status>(Method::GET, "/v1/status", &nothing),
        Command::Rules => arguments.ask::<Vec<RuleCount>>(Method::GET, "/v1/rules", &nothing),
        Command::Diff => arguments.ask::<DiffReport>(Method::GET, "/v1/diff", &nothing),
        Command::Events { limit } => arguments.events(*limit),
        Command::Explain {
            from,
            to,
            interface,
            vlan,
            live,
        } => {
            let question = Question {
                from: *from,
                to: *to,
                interface: interface.as_deref(),
                masters: &[],
                vlan: *vlan,
            };
            arguments.explain(question, *live)
        }
        Command::Attach { interface } => arguments.ask::<InterfaceReport>(
            Method::POST,
            "/v1/attach",
            &InterfaceRequest {
                interface: interface.clone(),
            },
        ),
        Command::Detach { interface } => arguments.detach(interface.as_deref()),
        Command::Version => {
            println!("swf-filter {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

fn check(output: Output, directory: &Path, always_allow: &[Entry]) -> Result<()> {
    let loaded = match files::load(directory, always_allow) {
        Err(Rejected::Problems(report)) if output == Output::Json => {
            let report = CheckReport {
                accepted: false,
                hosts: 0,
                zones: 0,
                rules: 0,
                prefixes: 0,
                report,
            };
            print_json(&report)?;
            return Err(Rejected::Problems(Report::default()).into());
        }
        loaded => loaded?,
    };
    let generation = compile(&loaded.policy).map_err(Rejected::TooLarge)?;
    let report = CheckReport {
        accepted: true,
        hosts: generation.hosts.len(),
        zones: generation.zones.len(),
        rules: generation.rules.len(),
        prefixes: generation.prefixes(),
        report: loaded.doubts,
    };
    if output == Output::Json {
        return print_json(&report);
    }
    eprint!("{}", report.report);
    println!(
        "ok: {} hosts, {} zones, {} rules, {} prefixes",
        report.hosts, report.zones, report.rules, report.prefixes,
    );
    Ok(())
}

impl Arguments {
    fn socket(&self) -> Result<PathBuf> {
        Ok(socket(&Config::load(&self.config)?.paths.run))
    }

    /// Asks the daemon, and prints its answer.
    fn ask<T: DeserializeOwned + Serialize + Show>(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<()> {
        let bytes = runtime()?.block_on(client::ask(&self.socket()?, method, path, body))?;
        let answer: T = serde_json::from_slice(&bytes).map_err(AskError::from)?;
        self.print(&answer)
    }

    fn print(&self, answer: &(impl Serialize + Show)) -> Result<()> {
        match self.output {
            Output::Json => print_json(answer),
            Output::Text => {
                print!("{}", answer.show());
                Ok(())
            }
        }
    }

    fn events(&self, limit: Option<u64>) -> Result<()> {
        let socket = self.socket()?;
        runtime()?.block_on(async {
            let mut body = client::events(&socket).await?;
            let mut line = Vec::new();
            let mut left = limit.unwrap_or(u64::MAX);
            while left > 0 {
                let Some(frame) = body.frame().await else {
                    bail!("the daemon has ended");
                };
                let frame = frame.map_err(AskError::from)?;
                for byte in frame.data_ref().into_iter().flatten() {
                    if *byte != b'\n' {
                        line.push(*byte);
                    } else if left > 0 {
                        let event: EventReport =
                            serde_json::from_slice(&line).map_err(AskError::from)?;
                        self.print(&event)?;
                        line.clear();
                        left -= 1;
                    }
                }
            }
            Ok(())
        })
    }

    fn explain(&self, question: Question<'_>, live: bool) -> Result<()> {
        let config = Config::load(&self.config)?;
        let interface = question.interface.or_else(|| config.only_interface());
        let masters = interface.map_or_else(Vec::new, masters_of);
        let question = Question {
            interface,
            masters: &masters,
            ..question
        };
        let from_files = files::load(&config.paths.policy, &config.always_allow)
            .map_err(anyhow::Error::from)
            .and_then(|loaded| explain::explain(&loaded.policy, question));
        if !live {
            return self.print(&from_files?);
        }
        let request = ExplainRequest {
            frame: explain::to_hex(&explain::frame(question)?),
            interface: question.interface.map(str::to_owned),
        };
        let socket = socket(&config.paths.run);
        let asked = client::ask(&socket, Method::POST, "/v1/explain", &request);
        let bytes = runtime()?.block_on(asked)?;
        let kernel: Explanation = serde_json::from_slice(&bytes).map_err(AskError::from)?;
        match from_files {
            Err(error) => {
                // The kernel's word is worth something even where the files are broken.
                self.print(&kernel)?;
                Err(error)
            }
            Ok(explanation) => {
                self.print(&explanation)?;
                if explanation.is_same_verdict(&kernel) {
                    Ok(())
                } else {
                    Err(Disagreement(kernel).into())
                }
            }
        }
    }

    /// Takes the filter off, by the daemon if there is one.
    fn detach(&self, interface: Option<&str>) -> Result<()> {
        let config = Config::load(&self.config)?;
        let request = InterfaceRequest {
            interface: interface.map(str::to_owned),
        };
        let socket = socket(&config.paths.run);
        let asked = client::ask(&socket, Method::POST, "/v1/detach", &request);
        match runtime()?.block_on(asked) {
            Ok(bytes) => {
                let report: InterfaceReport =
                    serde_json::from_slice(&bytes).map_err(AskError::from)?;
                self.print(&report)
            }
            Err(AskError::NoDaemon { .. }) => {
                for line in dataplane::detach_pinned(&config.paths, interface)? {
                    println!("{line}");
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The bonds that an interface is a member of. There are none on a machine that does not have it.
fn masters_of(interface: &str) -> Vec<Arc<str>> {
    let listed = runtime().and_then(|runtime| {
        runtime.block_on(async {
            let (interfaces, _) = interfaces::open()?;
            interfaces.list().await
        })
    });
    interfaces::masters(&listed.unwrap_or_default(), interface)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

fn print_json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// An address with or without a port.
fn destination(text: &str) -> Result<SocketAddr, String> {
    const HTTPS: u16 = 443;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, HTTPS));
    }
    text.parse()
        .map_err(|_| "write ADDR or ADDR:PORT; IPv6 with a port as [ADDR]:PORT".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }

    #[test]
    fn a_destination_has_a_port_even_if_none_is_given() {
        for (text, port) in [
            ("192.0.2.1", 443),
            ("192.0.2.1:80", 80),
            ("2001:db8::1", 443),
            ("[2001:db8::1]:80", 80),
        ] {
            assert_eq!(super::destination(text).expect(text).port(), port);
        }
        assert!(super::destination("host:80").is_err());
    }
}
