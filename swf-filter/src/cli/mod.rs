//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use swf_filter_core::compile::compile;

use crate::config::Config;
use crate::{daemon, dataplane, files};

/// Drops traffic to SWF-fronting hosts that policy does not allow, in the kernel.
#[derive(Parser)]
#[command(version, after_help = "Exit codes: 0 fine, 1 error, 2 wrong use.")]
struct Arguments {
    /// Settings of the daemon.
    #[arg(
        long,
        global = true,
        default_value = "/etc/swf-filter/config.toml",
        env = "SWF_FILTER_CONFIG"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
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
    /// Take the filter off; only while no daemon runs.
    Detach {
        /// One interface; all if not given.
        interface: Option<String>,
    },
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Check { path: Some(path) } => check(path, &[]),
        Command::Check { path: None } => {
            let config = Config::load(&arguments.config)?;
            check(&config.paths.policy, &config.always_allow)
        }
        Command::Daemon => daemon::run(&arguments.config),
        Command::Detach { interface } => {
            let config = Config::load(&arguments.config)?;
            for line in dataplane::detach_pinned(&config.paths, interface.as_deref())? {
                println!("{line}");
            }
            Ok(())
        }
    }
}

fn check(
    directory: &std::path::Path,
    always_allow: &[swf_filter_core::policy::Entry],
) -> Result<()> {
    let files::Loaded { policy, doubts } = files::load(directory, always_allow)?;
    eprint!("{doubts}");
    let generation = compile(&policy)?;
    println!(
        "ok: {} hosts, {} zones, {} rules, {} prefixes",
        generation.hosts.len(),
        generation.zones.len(),
        generation.rules.len(),
        generation.prefixes(),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
