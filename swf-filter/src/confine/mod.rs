//! What daemon and listener give up before they begin: system calls that they never make, and files that they never open.
//!
//! The units of systemd do the same. This holds without them, and knows the settings: which directories there are. It is
//! done before the runtime starts threads, since a thread has what the one that made it had. It never widens anything, and
//! there is no way back. There is no setting to leave it out: what a process here may have to do is on the lists.

mod calls;
mod files;

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{info, warn};

use crate::config::Config;
use crate::dataplane::Pins;
use crate::listener::settings::{Settings, UpstreamIdentity};
use crate::observe::Listen;

/// Why a process cannot be confined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    /// The kernel refuses the filter of system calls.
    #[error("the kernel takes no filter of system calls")]
    Calls(#[from] seccompiler::Error),
    /// The kernel refuses the rules about files, although it has such.
    #[error("the kernel takes no rules about files")]
    Files(#[from] landlock::RulesetError),
}

/// Which of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// It asks the kernel for maps and programs.
    Daemon,
    /// It has no business with them.
    Listener,
}

/// What a process may still do with files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reach {
    /// What it may read, with all that is below.
    read: Vec<PathBuf>,
    /// What it may change.
    write: Vec<PathBuf>,
}

/// Confines the daemon to what `config` names. `policy` are the files that its policy consists of now.
pub(crate) fn daemon(config: &Config, policy: &[PathBuf]) -> Result<(), ConfineError> {
    confine(Process::Daemon, &daemon_reach(config, policy))
}

/// Confines the listener to what `settings` name.
pub(crate) fn listener(settings: &Settings) -> Result<(), ConfineError> {
    confine(Process::Listener, &listener_reach(settings))
}

fn confine(process: Process, reach: &Reach) -> Result<(), ConfineError> {
    calls::kill_what_is_never_done(process)?;
    let files = files::confine(reach)?;
    calls::allow(process)?;
    if files == files::Enforced::Not {
        warn!("this kernel does not confine files (landlock): only system calls are confined");
    } else {
        CONFINED.store(true, Ordering::Relaxed);
        info!(
            ?files,
            "confined to the files and system calls that are needed"
        );
    }
    Ok(())
}

/// What to do about a file that is refused, if that may be because this process has confined itself.
pub(crate) fn advice(refusal: io::ErrorKind) -> Option<&'static str> {
    let is_confined = CONFINED.load(Ordering::Relaxed);
    (refusal == io::ErrorKind::PermissionDenied && is_confined).then_some(
        "this process confined itself to the directories that its files named when it started: restart it, or move the file into one of them",
    )
}

/// An error with that advice, if there is any.
pub(crate) fn advised(error: io::Error) -> io::Error {
    match advice(error.kind()) {
        Some(advice) => io::Error::new(error.kind(), format!("{error}; {advice}")),
        None => error,
    }
}

fn daemon_reach(config: &Config, policy: &[PathBuf]) -> Reach {
    let paths = &config.paths;
    let mut reach = Reach {
        // Interfaces and their drivers; counts of CPUs, mounts and the life of this boot.
        read: [SYSTEM, &["/proc", "/sys"]]
            .concat()
            .iter()
            .map(PathBuf::from)
            .collect(),
        write: vec![paths.bpf.clone(), paths.run.clone(), paths.state.clone()],
    };
    // A directory of pins that somebody removed is made again.
    reach.write.extend(Pins::new(&paths.bpf).above());
    let observed = config.observe.as_ref().map(|observe| &observe.listen);
    reach.write.extend(directory_of(observed));
    for path in [&config.path, &paths.policy].into_iter().chain(policy) {
        reach.read_around(path);
    }
    reach
}

fn listener_reach(settings: &Settings) -> Reach {
    let paths = &settings.paths;
    let mut reach = Reach {
        read: [SYSTEM, LISTENERS]
            .concat()
            .iter()
            .map(PathBuf::from)
            .collect(),
        write: vec![paths.listener_run.clone(), paths.state.clone()],
    };
    reach.write.extend(directory_of(settings.observe.as_ref()));
    reach.read.push(paths.run.clone());
    reach.write.extend(
        paths
            .audit
            .as_deref()
            .and_then(Path::parent)
            .map(Path::to_owned),
    );
    reach
        .read
        .extend(env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from));
    reach.read_around(&paths.keys);
    for listener in &settings.listeners {
        for files in &listener.certificates {
            reach.read_around(&files.chain);
            reach.read_around(&files.key);
        }
        if let Some(path) = listener.clients.authorities() {
            reach.read_around(path);
        }
    }
    for upstream in &settings.upstreams {
        let hosts = upstream.addresses.iter().filter_map(|uri| uri.host());
        if hosts.clone().any(is_name) {
            // It is often replaced, and with it how names are found.
            reach.read_around(Path::new("/etc/resolv.conf"));
        }
        match &upstream.authorities {
            Some(path) => reach.read_around(path),
            None => reach.read.extend(from_environment(&AUTHORITIES)),
        }
        if let UpstreamIdentity::Aws { .. } = upstream.identity {
            reach
                .read
                .extend(env::home_dir().map(|home| home.join(".aws")));
            for path in from_environment(&AWS) {
                reach.read_around(&path);
            }
        }
    }
    reach
}

impl Reach {
    /// Lets `path` be read, also when another file takes its place: by a new name, or behind a symbolic link.
    fn read_around(&mut self, path: &Path) {
        let real = path.canonicalize().ok();
        for path in [Some(path), real.as_deref()].into_iter().flatten() {
            // Its directory may not be there yet.
            let around = path.ancestors().skip(1).find(|parent| parent.exists());
            let around = around.filter(|parent| parent.parent().is_some());
            let around = around.unwrap_or(path).to_owned();
            if !self.read.contains(&around) {
                self.read.push(around);
            }
        }
    }
}

/// Where a socket for metrics is made, if it is one with a path.
fn directory_of(listen: Option<&Listen>) -> Option<PathBuf> {
    match listen? {
        Listen::Address(_) => None,
        Listen::Socket(path) => path.parent().map(Path::to_owned),
    }
}

/// Whether a host of a URI is a name, and not an address.
fn is_name(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse::<std::net::IpAddr>().is_err()
}

fn from_environment(variables: &[&str]) -> Vec<PathBuf> {
    variables
        .iter()
        .filter_map(|variable| env::var_os(variable).map(PathBuf::from))
        .collect()
}

/// Whether this process has given up files.
static CONFINED: AtomicBool = AtomicBool::new(false);

/// What the C library reads whenever it likes.
const SYSTEM: &[&str] = &[
    "/dev/null",
    "/dev/urandom",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/lib",
    "/lib64",
    "/usr",
];

/// How names are found, who signs certificates, and which CPUs there are.
const LISTENERS: &[&str] = &[
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/pki",
    "/etc/services",
    "/etc/ssl",
    "/proc/self",
    "/sys/devices",
    "/sys/fs/cgroup",
];

/// Where whoever signs certificates is looked for, beside the usual places.
const AUTHORITIES: [&str; 2] = ["SSL_CERT_DIR", "SSL_CERT_FILE"];

/// Files that SDKs of AWS take credentials from.
const AWS: [&str; 4] = [
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

#[cfg(test)]
mod tests;
