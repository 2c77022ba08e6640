//! What the listener says of itself, over a socket in its run directory: `GET /v1/status`.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::debug;

use super::audit::Verdict;
use super::policy::{Agreement, Doubts};
use super::reload::Standing;
use super::settings::Socket;
use super::shared::{Fronting, Shared, TurnedAway};
use super::upstream::{Health, Upstream};
use crate::control::api::{Failure, PolicyInfo};
use crate::observe::requests::{Seen, metrics};
use crate::observe::server::Observed;

/// `GET /v1/status` of the listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Version of the listener.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// The policy that it enforces; none if it has none, and lets nobody in.
    pub policy: Option<PolicyInfo>,
    /// Each `[[listener]]`.
    #[serde(deserialize_with = "bounded")]
    pub listeners: Vec<ListenerInfo>,
    /// Each address of each `[[upstream]]`.
    #[serde(deserialize_with = "bounded")]
    pub upstreams: Vec<UpstreamInfo>,
    /// Requests, by what became of them.
    #[serde(deserialize_with = "bounded")]
    pub requests: Vec<(String, u64)>,
    /// Requests, by action too.
    #[serde(default, deserialize_with = "bounded")]
    pub actions: Vec<ActionCount>,
    /// What is read from files again when they change.
    #[serde(default, deserialize_with = "bounded")]
    pub files: Vec<FilesInfo>,
    /// Records that the audit log did not get.
    pub audit_lost: u64,
    /// What the operator should know, in words.
    #[serde(deserialize_with = "bounded")]
    pub warnings: Vec<String>,
}

/// Files that are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesInfo {
    /// What is in them: `access-keys`, `certificates`, or `session-keys`.
    pub what: String,
    /// The `[[listener]]` whose they are, if they are not all listeners'.
    pub listener: Option<String>,
    /// Since when they could not be read, RFC 3339. What they said before is in use until they can.
    pub stale_since: Option<String>,
    /// Why they could not be read the last time.
    pub error: Option<String>,
}

/// Requests for one action that had one verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionCount {
    /// The action, such as `swf:ListDomains`; `unknown` where none was read.
    pub action: String,
    /// What became of them.
    pub verdict: Verdict,
    /// How many there were.
    pub requests: u64,
}

/// A `[[listener]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerInfo {
    /// Its name.
    pub name: String,
    /// The host that it fronts.
    pub host: String,
    /// What it listens on.
    #[serde(deserialize_with = "bounded")]
    pub sockets: Vec<String>,
    /// Connections that are open.
    pub open: usize,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that were closed before their handshake, by reason, those that there were.
    #[serde(deserialize_with = "bounded")]
    pub turned_away: Vec<(String, u64)>,
    /// Handshakes that were done.
    #[serde(default)]
    pub handshakes: u64,
    /// Handshakes that were refused, by reason, those that there were.
    #[serde(deserialize_with = "bounded")]
    pub handshakes_refused: Vec<(String, u64)>,
    /// Its certificates.
    #[serde(deserialize_with = "bounded")]
    pub certificates: Vec<CertificateInfo>,
}

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateInfo {
    /// The names that it is for.
    #[serde(deserialize_with = "bounded")]
    pub names: Vec<String>,
    /// When it expires, RFC 3339.
    pub expires: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// An address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamInfo {
    /// The upstream's name.
    pub name: String,
    /// The address.
    pub address: String,
    /// Whether it is used.
    pub healthy: bool,
    /// Why not, or why not the last time.
    pub last_error: Option<String>,
    /// Requests that were sent to it.
    pub requests: u64,
    /// Requests that it did not answer.
    pub failures: u64,
}

/// Entries of a list at most. Whoever reads a status has more rights than who wrote it.
const MOST_ENTRIES: usize = 4096;
/// A certificate that expires within this time is warned of.
const SOON: jiff::SignedDuration = jiff::SignedDuration::from_hours(14 * 24);
/// Connections at a time.
const MOST: usize = 16;
/// For a client to ask, and to take its answer.
const TIME: Duration = Duration::from_secs(5);

/// Reads a list that is no longer than any is.
fn bounded<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_seq(Bounded(PhantomData))
}

struct Bounded<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST_ENTRIES} entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = from.next_element()? {
            if list.len() == MOST_ENTRIES {
                return Err(A::Error::invalid_length(list.len() + 1, &self));
            }
            list.push(entry);
        }
        Ok(list)
    }
}

/// What the status is read from.
pub(super) struct Source {
    shared: Arc<Shared>,
    frontings: Arc<[Arc<Fronting>]>,
    upstreams: Box<[(Arc<str>, Arc<Upstream>)]>,
    /// About the policy on disk.
    doubts: watch::Receiver<Doubts>,
}

impl Source {
    pub(super) fn new(
        shared: Arc<Shared>,
        frontings: Arc<[Arc<Fronting>]>,
        upstreams: Box<[(Arc<str>, Arc<Upstream>)]>,
        doubts: watch::Receiver<Doubts>,
    ) -> Self {
        Self {
            shared,
            frontings,
            upstreams,
            doubts,
        }
    }

    /// What the socket answers: reasons that there were.
    fn status(&self) -> ListenerStatus {
        let mut status = self.whole();
        for listener in &mut status.listeners {
            listener.turned_away.retain(|(_, count)| *count > 0);
            listener.handshakes_refused.retain(|(_, count)| *count > 0);
        }
        status.actions.retain(|one| one.requests > 0);
        status
    }

    /// The same with all reasons that there are.
    fn whole(&self) -> ListenerStatus {
        let policy = self.shared.policy.borrow().clone();
        let listeners: Vec<ListenerInfo> = self.frontings.iter().map(|one| listener(one)).collect();
        let mut warnings = Vec::new();
        match policy.as_deref() {
            None => warnings.push("no policy is in force, and nobody is let in".to_owned()),
            Some(policy) => {
                if policy.agreement == Agreement::Differ {
                    warnings.push(
                        "the daemon compiles the policy to other tables; are both of one version?"
                            .to_owned(),
                    );
                }
                let is_missing = |one: &&ListenerInfo| policy.host(&one.host).is_none();
                warnings.extend(listeners.iter().filter(is_missing).map(|one| {
                    format!("the policy has no host `{}`, which listener `{}` fronts: nobody is let in there", one.host, one.name)
                }));
            }
        }
        warnings.extend(self.doubts.borrow().words().cloned());
        let soon = Timestamp::now() + SOON;
        for one in self.frontings.iter() {
            for certificate in one.tls.loaded().certificates() {
                if certificate.not_after < soon {
                    warnings.push(format!(
                        "a certificate of listener `{}` expires on {:.0}",
                        one.settings.name, certificate.not_after
                    ));
                }
            }
        }
        let files = self.files();
        warnings.extend(files.iter().filter_map(stale));
        let verdicts = [
            Verdict::Allowed,
            Verdict::Denied,
            Verdict::Failed,
            Verdict::Refused,
        ];
        ListenerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.shared.started.elapsed().as_secs(),
            policy: policy.map(|policy| policy.info.clone()),
            listeners,
            upstreams: self.upstreams.iter().flat_map(upstream).collect(),
            requests: verdicts
                .into_iter()
                .map(|verdict| {
                    let count = self.shared.counters.requests(verdict);
                    (verdict.name().to_owned(), count)
                })
                .collect(),
            actions: self.shared.counters.actions(),
            files,
            audit_lost: self.shared.audit.lost(),
            warnings,
        }
    }
}

impl Source {
    /// Files that are read again, and whether they could be.
    fn files(&self) -> Vec<FilesInfo> {
        let of = |what: &str, listener: Option<&str>, standing: &Standing| {
            let behind = standing.behind();
            FilesInfo {
                what: what.to_owned(),
                listener: listener.map(str::to_owned),
                stale_since: behind.as_ref().map(|behind| format!("{:.0}", behind.since)),
                error: behind.map(|behind| behind.why),
            }
        };
        let certificates = self.frontings.iter().map(|one| {
            let listener = &*one.settings.name;
            of("certificates", Some(listener), one.tls.standing())
        });
        let keys = of("access-keys", None, &self.shared.keys_standing);
        let ring = of("session-keys", None, &self.shared.ring_standing);
        [keys, ring].into_iter().chain(certificates).collect()
    }
}

/// What is to be said of files that could not be read.
fn stale(files: &FilesInfo) -> Option<String> {
    let (since, error) = (files.stale_since.as_ref()?, files.error.as_ref()?);
    let what = match (&*files.what, &files.listener) {
        ("certificates", Some(listener)) => format!("certificates of listener `{listener}`"),
        ("access-keys", _) => "access keys".to_owned(),
        _ => "keys of session tokens".to_owned(),
    };
    Some(format!(
        "{what} could not be read since {since}, and those from before are in use: {error}"
    ))
}

impl Observed for Source {
    fn metrics(&self) -> Result<String> {
        let (status, times) = (self.whole(), self.shared.counters.times());
        Ok(metrics(Seen { status, times })?)
    }
}

fn listener(fronting: &Fronting) -> ListenerInfo {
    let counters = &fronting.counters;
    let turned_away = TurnedAway::ALL.iter().zip(&counters.turned_away);
    let turned_away =
        turned_away.map(|(reason, count)| (reason.name(), count.load(Ordering::Relaxed)));
    let loaded = fronting.tls.loaded();
    ListenerInfo {
        name: fronting.settings.name.to_string(),
        host: fronting.settings.host.to_string(),
        sockets: fronting
            .settings
            .sockets
            .iter()
            .map(Socket::to_string)
            .collect(),
        open: counters.open.load(Ordering::Relaxed),
        accepted: counters.accepted.load(Ordering::Relaxed),
        turned_away: all(turned_away),
        handshakes: counters.handshakes.load(Ordering::Relaxed),
        handshakes_refused: all(fronting.tls.refused()),
        certificates: loaded
            .certificates()
            .iter()
            .map(|certificate| CertificateInfo {
                names: certificate.names.iter().map(ToString::to_string).collect(),
                expires: format!("{:.0}", certificate.not_after),
                sha256: certificate.sha256.to_string(),
            })
            .collect(),
    }
}

fn upstream((name, upstream): &(Arc<str>, Arc<Upstream>)) -> Vec<UpstreamInfo> {
    let status = upstream.status().into_iter();
    status
        .map(|address| UpstreamInfo {
            name: name.to_string(),
            address: address.address,
            healthy: address.health == Health::Up,
            last_error: address.last_error,
            requests: address.requests,
            failures: address.failures,
        })
        .collect()
}

fn all<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> Vec<(String, u64)> {
    counts
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

/// Answers on the socket for ever.
pub(super) async fn serve(socket: UnixListener, source: Arc<Source>) {
    let seats = Arc::new(Semaphore::new(MOST));
    loop {
        let accepted = socket.accept().await;
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            let service =
                service_fn(async |request| Ok::<_, Infallible>(answer(&source, &request)));
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            if !matches!(timeout(TIME, served).await, Ok(Ok(()))) {
                debug!("a client of the status socket has gone");
            }
            drop(seat);
        });
    }
}

fn answer(source: &Source, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (method, path) = (request.method(), request.uri().path());
    let (status, json) = if (method.as_str(), path) == ("GET", "/v1/status") {
        (StatusCode::OK, serde_json::to_vec(&source.status()))
    } else {
        let error = format!("there is no {method} {path}");
        let failure = Failure {
            error,
            report: None,
        };
        (StatusCode::NOT_FOUND, serde_json::to_vec(&failure))
    };
    let mut response = Response::new(Full::new(json.unwrap_or_default().into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_end_is_not_read() {
        let of = |names: usize| {
            let names = vec!["a"; names];
            let text = serde_json::json!({"names": names, "expires": "", "sha256": ""}).to_string();
            serde_json::from_str::<CertificateInfo>(&text)
        };
        assert_eq!(of(MOST_ENTRIES).unwrap().names.len(), MOST_ENTRIES);
        let error = of(MOST_ENTRIES + 1).unwrap_err().to_string();
        assert!(error.contains("at most 4096 entries"), "{error}");
    }
}
