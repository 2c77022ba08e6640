//! `listener.toml`: which sockets, certificates and upstreams there are.
//!
//! Like config.toml it is taken whole, or refused with all that is wrong with it.

mod fault;
mod read;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Uri;

use super::limits::Limits;
use crate::files::read_file;
use crate::observe::Listen;
use crate::report::{Input, Rejected};
use crate::toml_reader::MAX_BYTES;

/// Connections that a limit may be: a process has 1,048,576 open files at most (`fs.nr_open`).
const MAX_CONNECTIONS: u32 = 1_000_000;

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file itself.
    pub path: PathBuf,
    /// What is listened on.
    pub listeners: Vec<Listener>,
    /// Where requests go.
    pub upstreams: Vec<Upstream>,
    /// How many connections there may be.
    pub limits: Limits,
    /// Where metrics are served, if they are.
    pub observe: Option<Listen>,
    /// Where things are.
    pub paths: Paths,
}

/// One `[[listener]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, for logs and audit.
    pub name: Arc<str>,
    /// Where it listens.
    pub sockets: Vec<Socket>,
    /// The `[[host]]` of the policy that it fronts.
    pub host: Arc<str>,
    /// Whether connections begin with a PROXY header.
    pub proxy: Proxy,
    /// Certificates, the first of which is for clients that name no server.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients show certificates.
    pub clients: ClientCertificates,
    /// Which versions of HTTP are offered.
    pub http: Http,
    /// Whether a signature may stand in the query.
    pub query_signatures: QuerySignatures,
    /// The index of its upstream.
    pub upstream: usize,
}

/// What a listener listens on. An IPv6 address is for IPv6 only, so that `0.0.0.0` and `[::]` can have the same port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Socket {
    /// An address, on whatever interface.
    Address(SocketAddr),
    /// An address, for connections that come in on one interface only. So VPCs are told apart by it.
    Device {
        /// The address.
        address: SocketAddr,
        /// The interface.
        device: Box<str>,
    },
    /// A socket that systemd hands over, by its `FileDescriptorName=`.
    Inherited(Box<str>),
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Device { address, device } => write!(f, "{address}%{device}"),
            Self::Inherited(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// Whether connections begin with a PROXY header. It is never guessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// They do not.
    #[default]
    Off,
    /// They do, and come from the host's `trusted_proxies` only.
    Required,
}

/// A certificate with its key, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those that it was signed with.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Whether clients show certificates. Who they are is still told by their signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    Off,
    /// They may, and a wrong one is refused.
    Optional {
        /// The authorities, in a PEM file.
        authorities: PathBuf,
    },
    /// They must.
    Required {
        /// The authorities, in a PEM file.
        authorities: PathBuf,
    },
}

impl ClientCertificates {
    /// The file of authorities.
    #[must_use]
    pub fn authorities(&self) -> Option<&Path> {
        match self {
            Self::Off => None,
            Self::Optional { authorities } | Self::Required { authorities } => Some(authorities),
        }
    }
}

/// Which versions of HTTP are offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1, which is all that AWS's clients speak to SWF.
    #[default]
    One,
    /// HTTP/2 too.
    Two,
}

/// Whether a signature may stand in the query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuerySignatures {
    /// It may.
    Accept,
    /// It is as if there were none.
    #[default]
    Ignore,
}

/// One `[[upstream]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name, for logs and audit.
    pub name: Arc<str>,
    /// `http://` or `https://`, host and perhaps port, no path but `/`. Several are used in turn.
    pub addresses: Vec<Uri>,
    /// Who may sign its certificates, in a PEM file. Those that the system trusts, if not given.
    pub authorities: Option<PathBuf>,
    /// Whom requests come from, as the upstream sees them.
    pub identity: UpstreamIdentity,
}

/// Whom requests come from, as the upstream sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamIdentity {
    /// The listener: they are signed again, with the credentials that AWS's SDKs would find on this machine.
    Aws {
        /// The region to sign for.
        region: Box<str>,
    },
    /// The caller, whom header fields `x-swf-filter-...` tell. The upstream must take requests from the listener only.
    Headers,
}

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The daemon's run directory, which has the control socket.
    pub run: PathBuf,
    /// The listener's own run directory, which has its socket for `status`.
    pub listener_run: PathBuf,
    /// The listener's state: the last policy, and the store of access keys.
    pub state: PathBuf,
    /// The key that the store of access keys is sealed with, and those that session tokens are.
    pub keys: PathBuf,
    /// The audit log; none if it goes to the journal only.
    pub audit: Option<PathBuf>,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            run: "/run/swf-filter".into(),
            listener_run: "/run/swf-filter-listener".into(),
            state: "/var/lib/swf-filter-listener".into(),
            keys: "/etc/swf-filter/keys".into(),
            audit: Some("/var/log/swf-filter/audit.jsonl".into()),
        }
    }
}

impl Settings {
    /// Reads and checks `path`.
    pub fn load(path: &Path) -> Result<Self, Rejected> {
        let file = read_file(path, MAX_BYTES)
            .map_err(|error| Rejected::unreadable(Input::Listener, path, error))?;
        read::read(path, &file).map_err(Rejected::Problems)
    }
}

#[cfg(test)]
mod tests;
