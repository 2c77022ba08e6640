//! The command line.

mod audit;
mod change;
#[cfg(test)]
mod docs;
mod doctor;
mod gates;
mod generate;
mod import;
mod install;
mod keys;
mod learn;
mod show;
mod ssh;
mod top;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use hyper::Method;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use swf_filter_core::compile::Forest;
use swf_filter_core::policy::{Entry, NOT_READABLE};
use swf_filter_core::sigv4::Secret;
use swf_filter_core::swf::{Action, MAX_BODY};
use tokio::time::timeout;

use crate::config::{Config, EngineChoice};
use crate::control::api::{
    CheckReport, DiffReport, EventReport, ExplainRequest, Explanation, Failure, InterfaceInfo,
    InterfaceReport, InterfaceRequest, RuleCount, Status, Version,
};
use crate::control::client::{self, AskError};
use crate::control::socket;
use crate::dataplane::interfaces;
use crate::explain::{self, Question, Request, Setting};
use crate::listener;
use crate::listener::settings::{Paths, Settings};
use crate::report::{Rejected, printable, printable_json, visible};
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
    /// Settings of the listener.
    #[arg(
        long,
        global = true,
        default_value = "/etc/swf-filter/listener.toml",
        env = "SWF_FILTER_LISTENER_CONFIG"
    )]
    listener_config: PathBuf,
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
    Reload(change::Force),
    /// Enforce a policy for some time: then the one before comes back by itself, unless `confirm` keeps it.
    Try(change::Try),
    /// Keep what is on trial, and have the policy files say it.
    Confirm,
    /// Enforce the policy of a directory, and have the policy files say it.
    Apply(change::Apply),
    /// Go back to an earlier generation, and have the policy files say it. Ends a trial.
    Rollback(change::Rollback),
    /// What was in force, since when, and who changed it.
    History,
    /// What is enforced, where, and what came of it.
    Status,
    /// What is wrong with this machine, or soon will be, and what to do about it; needs neither root nor a daemon.
    Doctor,
    /// Packets and bytes of each rule.
    Rules,
    /// Dropped packets, and those that audit mode let through, as they come.
    Events {
        /// End after so many.
        #[arg(long)]
        limit: Option<u64>,
    },
    /// What happens to the first packet of a TCP connection, and why.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Explain {
        #[command(subcommand)]
        other: Option<ExplainOther>,
        #[command(flatten)]
        packet: Option<ExplainPacket>,
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
    /// Write man pages, completions or the reference to a directory.
    #[command(hide = true)]
    Generate(generate::Generate),
    /// Access keys of users, and the keys of session tokens.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// What became of requests, from the audit log.
    Audit(audit::Audit),
    /// Run the listener in the foreground: TLS, signatures and documents before the upstream.
    Listener {
        /// Read its settings, certificates and keys, say what is wrong or what there is, and end. As the user that it runs as: root may
        /// read what that one may not.
        #[arg(long)]
        check: bool,
    },
    /// Write policy files from what AWS publishes or its command line prints, or from plain lists.
    #[command(subcommand)]
    Import(import::Import),
    /// Propose an allow list from what audit mode lets through.
    Learn(learn::Learn),
    /// Rates of both gates, as they change.
    Top(top::Top),
    /// The version of this program.
    Version,
}

/// A packet, perhaps with a request.
#[derive(Args)]
struct ExplainPacket {
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
    /// Who makes a request: the ARN of a user, or of a session of a role. Says what happens to the request, too.
    #[arg(long, requires = "action")]
    principal: Option<String>,
    /// What the request is for, such as `swf:StartWorkflowExecution`.
    #[arg(long, value_parser = action, requires = "principal")]
    action: Option<Action>,
    /// The SWF domain that it is about, by name or ARN.
    #[arg(long, requires = "principal")]
    resource: Option<String>,
    /// The VPC endpoint that it comes through.
    #[arg(long, requires = "principal")]
    vpce: Option<String>,
    /// A file with what the request sends, in JSON, or `-` for standard input. Tells the domain and SWF's condition keys.
    #[arg(long, value_name = "FILE", requires = "principal")]
    body: Option<PathBuf>,
    /// A condition key of the request with its value; repeat it for more keys, or more values of one.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value, requires = "principal")]
    context: Vec<(String, String)>,
    /// Ask the loaded kernel program too, as root: the run counts as one packet.
    #[arg(long)]
    live: bool,
}

/// What else than a packet can be explained.
#[derive(Subcommand)]
enum ExplainOther {
    /// How the signature of a request is read, what is signed, and where its verification stops.
    Request(Box<ExplainSignature>),
}

/// A signed request.
#[derive(Args)]
struct ExplainSignature {
    /// A file with the request as it goes over the wire, or `-` for standard input.
    #[arg(long)]
    file: PathBuf,
    /// When it arrives, such as 2015-08-30T12:36:00Z. Now, if not given.
    #[arg(long)]
    at: Option<Timestamp>,
    /// The region that it has to be signed for.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// The service that it has to be signed for.
    #[arg(long, default_value = "swf")]
    service: String,
    /// A file with the secret access key, to try the signature with.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// Why a command ends with another code than 0 and 1.
#[derive(Debug, thiserror::Error)]
#[error("the kernel disagrees: {}; were the files changed since the last reload? `swf-filter diff` tells", show::verdict(.0))]
struct Disagreement(Explanation);

/// Why a command ends with an error after its answer is printed.
#[derive(Debug, thiserror::Error)]
enum Answered {
    /// No daemon answers, as the answer says.
    #[error("no daemon answers")]
    NoDaemon,
    /// The files are refused, as the answer says.
    #[error("the files are refused")]
    Refused,
    /// This machine fails checks, as the answer says.
    #[error("{0} of the checks fail")]
    Ailing(usize),
    /// These interfaces have no filter, as the answer says.
    #[error("not attached to {}", .0.join(", "))]
    Unattached(Vec<String>),
}

const ERROR: u8 = 1;
const FILES_REFUSED: u8 = 3;
const NO_DAEMON: u8 = 4;
const DISAGREEMENT: u8 = 5;

/// For a daemon to answer what is only of use beside something else.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of a secret access key, at most; those of AWS have 40.
const MOST_SECRET: u64 = 4096;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Err(error) = run(&arguments) else {
        return ExitCode::SUCCESS;
    };
    if is_broken_pipe(&error) {
        // Whoever reads, such as `head`, has had enough.
        return ExitCode::SUCCESS;
    }
    let is_answered = error.is::<Answered>() || error.is::<Disagreement>();
    if arguments.output == Output::Json && !is_answered {
        let failure = match error.downcast_ref() {
            Some(AskError::Failed { failure, .. }) => failure.clone(),
            _ => Failure::new(&error),
        };
        // The exit code tells all the same.
        let _unwritable = print_json(&failure);
    }
    ended(&error)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error: Option<&io::Error> = error.downcast_ref();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Says why a command failed, and gives its exit code.
fn ended(error: &anyhow::Error) -> ExitCode {
    let report = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(Rejected::Problems(report)), _) => Some(report),
        (_, Some(AskError::Failed { failure, .. })) => failure.report.as_ref(),
        _ => None,
    };
    // Nobody is left to be told if standard error cannot be written to.
    let words = match report {
        Some(report) => report.to_string(),
        None => format!("error: {error:#}\n"),
    };
    let _unwritable = write!(io::stderr(), "{}", printable(&words));
    exit_code(error).into()
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<AskError>() {
        return match error {
            AskError::Failed { refused: true, .. } => FILES_REFUSED,
            error if error.is_absence() => NO_DAEMON,
            _ => ERROR,
        };
    }
    if matches!(error.downcast_ref(), Some(Answered::NoDaemon)) {
        NO_DAEMON
    } else if error.is::<Rejected>() || matches!(error.downcast_ref(), Some(Answered::Refused)) {
        FILES_REFUSED
    } else if error.is::<Disagreement>() {
        DISAGREEMENT
    } else {
        ERROR
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let nothing = ();
    let output = arguments.output;
    match &arguments.command {
        Command::Check { path: Some(path) } => check(output, path, &[], EngineChoice::Auto),
        Command::Check { path: None } => {
            let config = Config::load(&arguments.config)?;
            check(
                output,
                &config.paths.policy,
                &config.always_allow,
                config.engine,
            )
        }
        Command::Daemon => daemon::run(&arguments.config),
        Command::Reload(force) => arguments.reload(force),
        Command::Try(asked) => arguments.try_out(asked),
        Command::Confirm => arguments.confirm(),
        Command::Apply(asked) => arguments.apply(asked),
        Command::Rollback(asked) => arguments.rollback(asked),
        Command::History => arguments.history(),
        Command::Status => arguments.status(),
        Command::Doctor => arguments.doctor(),
        Command::Top(asked) => arguments.top(asked),
        Command::Rules => arguments.ask::<Vec<RuleCount>>(Method::GET, "/v1/rules", &nothing),
        Command::Diff => arguments.ask::<DiffReport>(Method::GET, "/v1/diff", &nothing),
        Command::Events { limit } => arguments.events(*limit),
        Command::Explain {
            other: Some(ExplainOther::Request(asked)),
            ..
        } => arguments.explain_signature(asked),
        Command::Explain {
            packet: Some(packet),
            ..
        } => arguments.explain(packet),
        Command::Explain { .. } => bail!("nothing says what to explain"),
        Command::Attach { interface } => arguments.attach(interface.as_deref()),
        Command::Detach { interface } => arguments.detach(interface.as_deref()),
        Command::Generate(asked) => generate::generate(Arguments::command(), asked),
        Command::Keys(command) => arguments.keys(command),
        Command::Audit(asked) => arguments.audit(asked),
        Command::Import(asked) => arguments.import(asked),
        Command::Learn(asked) => arguments.learn(asked),
        Command::Listener { check: true } => {
            arguments.print(&listener::check(&arguments.listener_config)?)
        }
        Command::Listener { check: false } => listener::run(&arguments.listener_config),
        Command::Version => arguments.print(&Version {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }),
    }
}

/// Where things of the listener are: at the usual places, if it has no settings.
fn listener_paths(arguments: &Arguments) -> Result<Paths> {
    let path = &arguments.listener_config;
    if path.try_exists()? {
        return Ok(Settings::load(path)?.paths);
    }
    Ok(Paths::default())
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as `key=value`")?;
    swf_filter_core::iam::key::Key::new(key)
        .map_err(|_| format!("`{key}` is not a condition key"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn action(text: &str) -> Result<Action, String> {
    Action::from_text(text).ok_or_else(|| "SWF has no such action".to_owned())
}

/// Reads a file, or standard input, of at most `most` bytes.
fn read_all(path: &Path, most: u64) -> Result<Vec<u8>> {
    // One byte more than there may be, so that too many are noticed.
    let bytes = read(path, most + 1).map_err(|error| {
        let hint = "name another, or `-` for standard input";
        unreadable(path, &error, hint)
    })?;
    if bytes.len() as u64 > most {
        bail!("`{}` has more than {most} bytes", path.display());
    }
    Ok(bytes)
}

fn read_body(path: &Path) -> Result<Vec<u8>> {
    // One byte more than there may be, so that too many are noticed.
    read(path, MAX_BODY as u64 + 1).map_err(|error| {
        let hint = "name one with the body in JSON, or `-` for standard input";
        unreadable(path, &error, hint)
    })
}

/// Why a file cannot be read, and what to do about it: `hint`, if there is none.
fn unreadable(path: &Path, error: &io::Error, hint: &str) -> anyhow::Error {
    let why = match error.kind() {
        io::ErrorKind::IsADirectory => "it is a directory; name a file in it".to_owned(),
        io::ErrorKind::NotFound => format!("there is no such file; {hint}"),
        io::ErrorKind::PermissionDenied => {
            format!("{error}; {NOT_READABLE}")
        }
        _ => error.to_string(),
    };
    anyhow!("cannot read `{}`: {why}", visible(&path.to_string_lossy()))
}

/// Reads a file, or standard input, as far as `most` bytes.
fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    let mut file = File::open(path)?;
    // A pipe has what its writer has put into it; a file may be another's than who named it has meant.
    if file.metadata()?.is_file() {
        file = files::open_regular(path)?.file;
    }
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check(
    output: Output,
    directory: &Path,
    always_allow: &[Entry],
    engine: EngineChoice,
) -> Result<()> {
    let checked =
        files::load(directory, always_allow).and_then(|loaded| Ok((loaded.compile()?, loaded)));
    let (generation, loaded) = match checked {
        Err(Rejected::Problems(report)) if output == Output::Json => {
            let report = CheckReport {
                accepted: false,
                hosts: 0,
                zones: 0,
                rules: 0,
                prefixes: 0,
                expectations: 0,
                report,
            };
            print_json(&report)?;
            return Err(Answered::Refused.into());
        }
        checked => checked?,
    };
    if engine == EngineChoice::Compiled {
        Forest::build(&generation).map_err(Rejected::Forest)?;
    }
    let report = CheckReport {
        accepted: true,
        hosts: generation.hosts.len(),
        zones: generation.zones.len(),
        rules: generation.rules.len(),
        prefixes: generation.prefixes(),
        expectations: loaded.policy.expectations.len(),
        report: loaded.doubts,
    };
    if output == Output::Json {
        return print_json(&report);
    }
    print_text(&report)
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
        self.print(&self.fetch::<T>(method, path, body)?)
    }

    /// Asks the daemon.
    fn fetch<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T> {
        let bytes = runtime()?.block_on(client::ask(&self.socket()?, method, path, body))?;
        Ok(serde_json::from_slice(&bytes).map_err(AskError::from)?)
    }

    fn print(&self, answer: &(impl Serialize + Show)) -> Result<()> {
        match self.output {
            Output::Json => print_json(answer),
            Output::Text => print_text(answer),
        }
    }

    fn events(&self, limit: Option<u64>) -> Result<()> {
        let socket = self.socket()?;
        runtime()?.block_on(async {
            let mut lines = client::follow(&socket, "/v1/events").await?;
            let mut left = limit.unwrap_or(u64::MAX);
            while left > 0 {
                self.print(&lines.next::<EventReport>().await?)?;
                left -= 1;
            }
            Ok(())
        })
    }

    fn explain(&self, packet: &ExplainPacket) -> Result<()> {
        let body = packet.body.as_deref().map(read_body).transpose()?;
        let asked = packet.principal.as_deref().zip(packet.action);
        let request = asked.map(|(principal, action)| Request {
            principal,
            action,
            resource: packet.resource.as_deref(),
            endpoint: packet.vpce.as_deref(),
            body: body.as_deref(),
            at: Some(Timestamp::now()),
            context: &packet.context,
        });
        let question = Question {
            from: packet.from,
            to: packet.to,
            interface: packet.interface.as_deref(),
            masters: &[],
            vlan: packet.vlan,
            request,
        };
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
        let socket = socket(&config.paths.run);
        if !packet.live {
            let mut explanation = from_files?;
            // There need not be a daemon, nor one that this user may ask.
            if let Some(status) = status_at_once(&socket) {
                (explanation.trial, explanation.held) = (status.trial, status.held);
            }
            return self.print(&explanation);
        }
        let request = ExplainRequest {
            frame: explain::to_hex(&explain::frame(question)?),
            interface: question.interface.map(str::to_owned),
        };
        let asked = client::ask(&socket, Method::POST, "/v1/explain", &request);
        let bytes = runtime()?.block_on(asked)?;
        let kernel: Explanation = serde_json::from_slice(&bytes).map_err(AskError::from)?;
        match from_files {
            Err(error) => {
                // The kernel's word is worth something even where the files are broken.
                self.print(&kernel)?;
                Err(error)
            }
            Ok(mut explanation) => {
                (explanation.trial, explanation.held) = (kernel.trial.clone(), kernel.held);
                self.print(&explanation)?;
                if explanation.is_same_verdict(&kernel) {
                    Ok(())
                } else {
                    Err(Disagreement(kernel).into())
                }
            }
        }
    }

    fn explain_signature(&self, asked: &ExplainSignature) -> Result<()> {
        // A head is a small part of what a body may be.
        let raw = read_all(&asked.file, 2 * MAX_BODY as u64)?;
        let secret = asked.secret_file.as_deref().map(|path| {
            let text = read_all(path, MOST_SECRET)?;
            String::from_utf8(text).with_context(|| format!("`{}` is not UTF-8", path.display()))
        });
        let secret = secret.transpose()?;
        let setting = Setting {
            at: asked.at.unwrap_or_else(Timestamp::now),
            region: &asked.region,
            service: &asked.service,
            secret: secret.map(|text| Secret::new(text.trim_end().to_owned())),
        };
        let explanation = explain::signature(&raw, setting);
        self.print(&explanation.with_context(|| format!("in `{}`", asked.file.display()))?)
    }

    /// Puts the filter on again. An error if an interface that should have it has not.
    fn attach(&self, interface: Option<&str>) -> Result<()> {
        let report: InterfaceReport =
            self.fetch(Method::POST, "/v1/attach", &InterfaceRequest::of(interface))?;
        self.print(&report)?;
        let unattached: Vec<String> = report
            .interfaces
            .into_iter()
            .filter(|info| info.index.is_some() && info.mode.is_none())
            .map(|info| info.name)
            .filter(|name| interface.is_none_or(|asked| *asked == *name))
            .collect();
        if unattached.is_empty() {
            Ok(())
        } else {
            Err(Answered::Unattached(unattached).into())
        }
    }

    /// Takes the filter off, by the daemon if there is one.
    fn detach(&self, interface: Option<&str>) -> Result<()> {
        let asked = self.fetch(Method::POST, "/v1/detach", &InterfaceRequest::of(interface));
        let report = match asked {
            Err(error) if matches!(error.downcast_ref(), Some(AskError::NoDaemon { .. })) => {
                self.detach_pinned(interface)?
            }
            answer => answer?,
        };
        self.print(&report)
    }

    fn detach_pinned(&self, interface: Option<&str>) -> Result<InterfaceReport> {
        let config = Config::load(&self.config)?;
        let detached = dataplane::detach_pinned(&config.paths, interface)?;
        let info = |index| InterfaceInfo {
            name: dataplane::interface_name(index).unwrap_or_else(|| format!("#{index}")),
            index: Some(index),
            mode: None,
            note: Some("detached; a start of the daemon attaches again".to_owned()),
        };
        Ok(InterfaceReport {
            interfaces: detached.into_iter().map(info).collect(),
        })
    }
}

/// What the daemon says of itself, if it does so soon.
fn status_at_once(socket: &Path) -> Option<Status> {
    let answer = runtime().ok()?.block_on(async {
        let asked = client::ask(socket, Method::GET, "/v1/status", &());
        timeout(PATIENCE, asked).await
    });
    serde_json::from_slice(&answer.ok()?.ok()?).ok()
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
    let text = printable_json(&serde_json::to_string(value)?);
    Ok(writeln!(io::stdout(), "{text}")?)
}

fn print_text(answer: &impl Show) -> Result<()> {
    let doubts = answer.doubts().to_string();
    write!(io::stderr(), "{}", printable(&doubts))?;
    Ok(write!(io::stdout(), "{}", printable(&answer.show()))?)
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
    use clap::CommandFactory as _;

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
