//! The daemon's end of the control socket.
//!
//! [`routes`](super::routes) says who may ask what. Changes are for root and the daemon's own user, and are logged with who asked for them. These
//! two are the *owners*. Each other user has a share of connections of its own, so that none keeps another out, and every step of a connection
//! has its time.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, timeout};
use tracing::{debug, info, warn};

use super::api::{
    ApplyRequest, ExplainRequest, Failure, InterfaceRequest, PolicyInfo, PreviewRequest,
    ReloadRequest, RollbackRequest, TryRequest,
};
use super::routes::{Body, Endpoint, Route, Weight, Who};
use crate::files::identity;
use crate::report::{self, Rejected, visible};
use crate::state::By;

/// Bytes of a request's head at most.
const MAX_HEAD: usize = 32 * 1024;
/// Connections at a time, of owners and of each other user.
const MAX_CONNECTIONS: usize = 64;
/// How many of these may be streams of events, which have no end.
const MAX_STREAMS: usize = 32;
/// Rules and hosts that may be asked for by how busy they are.
const MAX_BUSIEST: usize = 1000;
/// Answers at a time that take much time or memory, of owners and of each other user.
const MAX_LARGE_ANSWERS: usize = 1;
/// How long a client may take to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// How long a client may take to receive its answer.
const ANSWER_TIME: Duration = Duration::from_mins(1);
/// How often it is looked whether the socket is still there.
const LOOK: Duration = Duration::from_secs(1);

/// What the socket can ask of the daemon. Methods block.
pub(crate) trait Control: Send + Sync + 'static {
    /// Answers a question or carries out a change for somebody, as JSON.
    fn answer(&self, command: Command, by: By, audience: Audience) -> Result<Vec<u8>>;
    /// Events from now on, a line of JSON each.
    fn events(&self) -> broadcast::Receiver<Arc<str>>;
    /// Which policy is in force, and each that will be.
    fn generations(&self) -> watch::Receiver<Option<PolicyInfo>>;
}

/// Who hears an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Everybody else: they hear of files on disk where something is wrong, and not what stands there.
    Others,
    /// Root and the daemon's own user.
    Owners,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Status,
    Rules,
    /// The busiest hosts and rules, so many at most.
    Busiest(usize),
    Diff,
    Policy,
    History,
    Explain(ExplainRequest),
    Apply(ApplyRequest),
    Confirm,
    Preview(PreviewRequest),
    Reload(ReloadRequest),
    Rollback(RollbackRequest),
    Settle,
    Try(TryRequest),
    Attach(InterfaceRequest),
    Detach(InterfaceRequest),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, interface) = match self {
            Self::Status => ("status", None),
            Self::Rules | Self::Busiest(_) => ("rules", None),
            Self::Diff => ("diff", None),
            Self::Policy => ("policy", None),
            Self::Explain(_) => ("explain", None),
            Self::History => ("history", None),
            Self::Apply(_) => ("apply", None),
            Self::Confirm => ("confirm", None),
            Self::Preview(_) => ("preview", None),
            Self::Reload(_) => ("reload", None),
            Self::Rollback(_) => ("rollback", None),
            Self::Settle => ("settle", None),
            Self::Try(_) => ("try", None),
            Self::Attach(request) => ("attach", request.interface.as_deref()),
            Self::Detach(request) => ("detach", request.interface.as_deref()),
        };
        match interface {
            Some(name) => {
                let name: String = name.chars().take(LONGEST_NAME).collect();
                write!(f, "{words} `{}`", visible(&name))
            }
            None => f.write_str(words),
        }
    }
}

/// Characters of an interface's name that are logged: more than any has.
const LONGEST_NAME: usize = 64;
/// Refusals of one user that are logged a second.
const REFUSALS_A_SECOND: u32 = 25;
/// Users besides the owners that may be connected at a time.
const MAX_USERS: usize = 8;

/// What owners, or one other user, may use at a time.
struct Share {
    connections: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    large_answers: Arc<Semaphore>,
    /// Since when refusals are counted, and how many there were.
    refusals: Mutex<(Instant, u32)>,
}

/// The shares of all who are connected. Each user has one, so that none keeps the listener's user from its policy.
struct Shares {
    owners: Arc<Share>,
    others: HashMap<u32, Arc<Share>>,
}

impl Shares {
    fn new() -> Self {
        Self {
            owners: Share::new(),
            others: HashMap::new(),
        }
    }

    /// The share of a user; none if there are too many users.
    fn of(&mut self, peer: Peer) -> Option<Arc<Share>> {
        if peer.is_owner() {
            return Some(Arc::clone(&self.owners));
        }
        // Those of users who have left.
        self.others.retain(|_, share| Arc::strong_count(share) > 1);
        if self.others.len() >= MAX_USERS && !self.others.contains_key(&peer.uid) {
            return None;
        }
        let share = self.others.entry(peer.uid).or_insert_with(Share::new);
        Some(Arc::clone(share))
    }
}

impl Share {
    fn new() -> Arc<Self> {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Arc::new(Self {
            connections: semaphore(MAX_CONNECTIONS),
            streams: semaphore(MAX_STREAMS),
            large_answers: semaphore(MAX_LARGE_ANSWERS),
            refusals: Mutex::new((Instant::now(), 0)),
        })
    }

    /// Whether one more refusal is logged.
    fn tells_refusal(&self) -> bool {
        let refusals = self.refusals.lock();
        let mut refusals = refusals.unwrap_or_else(PoisonError::into_inner);
        if refusals.0.elapsed() >= Duration::from_secs(1) {
            *refusals = (Instant::now(), 0);
        }
        refusals.1 = refusals.1.saturating_add(1);
        refusals.1 <= REFUSALS_A_SECOND
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
struct Peer {
    uid: u32,
    pid: Option<i32>,
}

impl Peer {
    fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self {
            uid: credentials.uid(),
            pid: credentials.pid(),
        })
    }

    fn is_owner(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }

    fn audience(self) -> Audience {
        if self.is_owner() {
            Audience::Owners
        } else {
            Audience::Others
        }
    }
}

type Answer = BoxBody<Bytes, Infallible>;

/// Opens the socket. One that a dead daemon has left is replaced; one that somebody answers on is not, nor is anything else.
pub(crate) fn open(path: &Path) -> Result<UnixListener> {
    if let Ok(there) = fs::symlink_metadata(path) {
        ensure!(
            there.file_type().is_socket(),
            "something else than a socket is at {}; name another place, or move it away",
            path.display()
        );
        match connect(path) {
            // Whoever has a full queue listens, too.
            Ok(()) | Err(Errno::AGAIN) => bail!("somebody answers on {} already", path.display()),
            Err(Errno::CONNREFUSED) => {}
            Err(error) => {
                let words = format!("cannot tell whether somebody answers on {}", path.display());
                return Err(error).context(words);
            }
        }
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    let_group_connect(path)
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    Ok(listener)
}

/// Tries whether somebody listens, and never waits for it: a queue that somebody keeps full would hold up the start.
fn connect(path: &Path) -> rustix::io::Result<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}

/// Gives a socket its mode. Whoever else may write to its directory may have put something in its place by now, which keeps its own.
fn let_group_connect(path: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let there = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&there)?;
    let is_own = FileType::from_raw_mode(stat.st_mode) == FileType::Socket
        && stat.st_uid == rustix::process::geteuid().as_raw();
    if !is_own {
        return Err(io::Error::other("something else took its place"));
    }
    // The file itself, whatever its name stands for.
    let this = format!("/proc/self/fd/{}", there.as_raw_fd());
    fs::set_permissions(this, fs::Permissions::from_mode(0o660))
}

/// Answers on the socket at `path` for ever. Should somebody remove it, it is made again.
pub(crate) async fn serve(mut listener: UnixListener, path: PathBuf, control: Arc<impl Control>) {
    let mut shares = Shares::new();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut place = Place::of(path);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            _ = looks.tick() => {
                if let Some(another) = place.look() {
                    listener = another;
                }
                continue;
            }
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: connections that end give some back.
                warn!("cannot accept a connection on the control socket: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let Some(share) = shares.of(peer) else {
            debug!(uid = peer.uid, "too many users: a connection is closed");
            continue;
        };
        let connections = Arc::clone(&share.connections);
        let permit = if peer.is_owner() {
            // Only owners keep others waiting here.
            connections.acquire_owned().await.ok()
        } else {
            connections.try_acquire_owned().ok()
        };
        let Some(permit) = permit else {
            debug!(uid = peer.uid, "too many connections: one is closed");
            continue;
        };
        let visit = Visit {
            peer,
            share,
            control: Arc::clone(&control),
        };
        tokio::spawn(async move {
            visit.serve(stream).await;
            drop(permit);
        });
    }
}

/// Where the socket was bound, and what was found there last.
struct Place {
    path: PathBuf,
    /// Device and inode of the socket, if they are known.
    bound: Option<(u64, u64)>,
    found: Found,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Another,
    Nothing,
    Socket,
}

impl Place {
    fn of(path: PathBuf) -> Self {
        Self {
            bound: there(&path).ok(),
            path,
            found: Found::Socket,
        }
    }

    /// Looks whether the socket is still there, and opens it again if nothing is. What keeps clients away is told once.
    fn look(&mut self) -> Option<UnixListener> {
        let before = self.found;
        self.found = match there(&self.path) {
            Ok(there) if self.bound.is_none_or(|bound| bound == there) => Found::Socket,
            Ok(_) => Found::Another,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Err(_) => before,
        };
        let is_new = self.found != before;
        match self.found {
            Found::Another if is_new => {
                warn!(
                    "something else stands where the control socket was: remove {}, and the socket is made again",
                    self.path.display()
                );
                None
            }
            Found::Another | Found::Socket => None,
            Found::Nothing => match open(&self.path) {
                Ok(listener) => {
                    warn!("somebody removed the control socket; it is made again");
                    self.bound = there(&self.path).ok();
                    self.found = Found::Socket;
                    Some(listener)
                }
                Err(error) => {
                    if is_new {
                        warn!(
                            "somebody removed the control socket; restart the daemon, which makes it again: {error:#}"
                        );
                    }
                    None
                }
            },
        }
    }
}

/// Which file has a name, a link being one of its own.
fn there(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|there| identity(&there))
}

async fn accept(listener: &UnixListener) -> io::Result<(UnixStream, Peer)> {
    let (stream, _) = listener.accept().await?;
    let peer = Peer::of(&stream)?;
    Ok((stream, peer))
}

/// One connection, which is for one request.
struct Visit<C> {
    peer: Peer,
    share: Arc<Share>,
    control: Arc<C>,
}

impl<C: Control> Visit<C> {
    async fn serve(&self, stream: UnixStream) {
        let answered = Notify::new();
        let service = service_fn(async |request| {
            let response = self.respond(request, &answered).await;
            Ok::<_, Infallible>(response)
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIME)
            .max_buf_size(MAX_HEAD)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            ended = served => if let Err(error) = ended {
                debug!("control connection ended: {error}");
            },
            () = too_late(&answered) => debug!(uid = self.peer.uid, "a client does not take its answer"),
        }
    }

    async fn respond(&self, request: Request<Incoming>, answered: &Notify) -> Response<Answer> {
        let (method, uri) = (request.method(), request.uri());
        let route = Route::of(method.as_str(), uri.path(), uri.query());
        let Some(route) = route else {
            let error = format!("there is no {method} {}", uri.path());
            answered.notify_one();
            return failure(StatusCode::NOT_FOUND, &error);
        };
        let response = match (route.who, self.peer.audience(), route.endpoint) {
            (Who::Owners(what), Audience::Others, _) => self.refuse(route, what, request).await,
            (_, _, Endpoint::Events) => return self.event_stream(),
            (_, _, Endpoint::Generations) => return self.generation_stream(),
            (_, audience, _) => self.answer(route, request, audience).await,
        };
        answered.notify_one();
        response
    }

    /// What is for owners, asked by somebody else: they are heard, as far as needed to log it, and told so.
    async fn refuse(
        &self,
        route: &Route,
        what: &str,
        request: Request<Incoming>,
    ) -> Response<Answer> {
        let Peer { uid, pid } = self.peer;
        let most = route.body.most().min(Body::Small.most());
        let command = timeout(REQUEST_TIME, command(route, request, most)).await;
        match command {
            _ if !self.share.tells_refusal() => {}
            Ok(Ok(command)) => warn!(uid, pid, "refused over the control socket: {command}"),
            _ => warn!(uid, pid, "refused over the control socket: {}", route.path),
        }
        let error = format!("only root and the daemon's own user {what}");
        failure(StatusCode::FORBIDDEN, &error)
    }

    /// Lines as they come. A client that does not keep up misses some, and the daemon goes on.
    fn event_stream(&self) -> Response<Answer> {
        let Ok(permit) = Arc::clone(&self.share.streams).try_acquire_owned() else {
            return too_many_streams();
        };
        let events = (self.control.events(), permit);
        let lines = stream::unfold(events, |(mut events, permit)| async move {
            loop {
                match events.recv().await {
                    Ok(line) => {
                        let bytes = Bytes::copy_from_slice(line.as_bytes());
                        return Some((Ok(Frame::data(bytes)), (events, permit)));
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        response(StatusCode::OK, BodyExt::boxed(StreamBody::new(lines)))
    }

    /// Which policy is in force, and each that will be. A client that does not keep up gets the last one.
    fn generation_stream(&self) -> Response<Answer> {
        let Ok(permit) = Arc::clone(&self.share.streams).try_acquire_owned() else {
            return too_many_streams();
        };
        let mut generations = self.control.generations();
        generations.mark_changed();
        let lines = stream::unfold((generations, permit), |(mut generations, permit)| async {
            loop {
                generations.changed().await.ok()?;
                let current = generations.borrow_and_update().clone();
                let line = current.and_then(|info| serde_json::to_string(&info).ok());
                if let Some(line) = line {
                    let bytes = Bytes::from(format!("{line}\n"));
                    return Some((Ok(Frame::data(bytes)), (generations, permit)));
                }
            }
        });
        response(StatusCode::OK, BodyExt::boxed(StreamBody::new(lines)))
    }

    async fn answer(
        &self,
        route: &Route,
        request: Request<Incoming>,
        audience: Audience,
    ) -> Response<Answer> {
        let Peer { uid, pid } = self.peer;
        let time = match route.body {
            Body::None | Body::Small => REQUEST_TIME,
            Body::Policy => ANSWER_TIME,
        };
        let most = route.body.most();
        let command = match timeout(time, command(route, request, most)).await {
            Ok(Ok(command)) => command,
            Ok(Err(error)) => return failure(StatusCode::BAD_REQUEST, &format!("{error:#}")),
            Err(_) => {
                return failure(
                    StatusCode::REQUEST_TIMEOUT,
                    "the request took too long to arrive",
                );
            }
        };
        if route.effect.is_some() {
            info!(uid, pid, "asked over the control socket: {command}");
        }
        let turn = match route.weight {
            Weight::Heavy => Arc::clone(&self.share.large_answers)
                .acquire_owned()
                .await
                .ok(),
            Weight::Light => None,
        };
        let control = Arc::clone(&self.control);
        let answer = spawn_blocking(move || control.answer(command, By::user(uid), audience));
        match answer.await {
            Ok(Ok(json)) => {
                let body = Full::new(json.into());
                response(StatusCode::OK, BodyExt::boxed(InTurn { body, _turn: turn }))
            }
            Ok(Err(error)) => failed(&error, audience),
            Err(_) => failure(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the daemon failed at this; its log tells more",
            ),
        }
    }
}

/// A large answer, which takes the place of another until it was received.
struct InTurn {
    body: Full<Bytes>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl hyper::body::Body for InTurn {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Ends when an answer has had its time to be received.
async fn too_late(answered: &Notify) {
    answered.notified().await;
    tokio::time::sleep(ANSWER_TIME).await;
}

async fn command(route: &Route, request: Request<Incoming>, most: usize) -> Result<Command> {
    Ok(match route.endpoint {
        Endpoint::Apply => Command::Apply(body(request, most).await?),
        Endpoint::Attach => Command::Attach(body(request, most).await?),
        Endpoint::Busiest => Command::Busiest(busiest(route, request.uri().query())?),
        Endpoint::Confirm => Command::Confirm,
        Endpoint::Detach => Command::Detach(body(request, most).await?),
        Endpoint::Diff => Command::Diff,
        Endpoint::Events | Endpoint::Generations => bail!("a stream takes no commands"),
        Endpoint::Explain => Command::Explain(body(request, most).await?),
        Endpoint::History => Command::History,
        Endpoint::Policy => Command::Policy,
        Endpoint::Preview => Command::Preview(optional_body(request, most).await?),
        Endpoint::Reload => Command::Reload(optional_body(request, most).await?),
        Endpoint::Rollback => Command::Rollback(optional_body(request, most).await?),
        Endpoint::Rules => Command::Rules,
        Endpoint::Settle => Command::Settle,
        Endpoint::Status => Command::Status,
        Endpoint::Try => Command::Try(body(request, most).await?),
    })
}

/// How many of the busiest are asked for: `busiest=50`.
fn busiest(route: &Route, query: Option<&str>) -> Result<usize> {
    let most = query.zip(route.query);
    let most = most.and_then(|(query, start)| query.strip_prefix(start)?.parse().ok());
    most.filter(|most| (1..=MAX_BUSIEST).contains(most))
        .with_context(|| format!("`busiest` is a number from 1 to {MAX_BUSIEST}"))
}

async fn body<T: DeserializeOwned>(request: Request<Incoming>, most: usize) -> Result<T> {
    let bytes = bytes(request, most).await?;
    serde_json::from_slice(&bytes).context("the body is not the JSON that this takes")
}

/// A body that may be left out.
async fn optional_body<T: DeserializeOwned + Default>(
    request: Request<Incoming>,
    most: usize,
) -> Result<T> {
    let bytes = bytes(request, most).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    let body: Option<T> =
        serde_json::from_slice(&bytes).context("the body is not the JSON that this takes")?;
    Ok(body.unwrap_or_default())
}

async fn bytes(request: Request<Incoming>, most: usize) -> Result<Bytes> {
    let collected = Limited::new(request.into_body(), most).collect().await;
    let Ok(bytes) = collected else {
        bail!("the body cannot be read, or is longer than {most} bytes");
    };
    Ok(bytes.to_bytes())
}

fn too_many_streams() -> Response<Answer> {
    failure(
        StatusCode::SERVICE_UNAVAILABLE,
        &format!("{MAX_STREAMS} clients follow the daemon already"),
    )
}

fn failed(error: &anyhow::Error, audience: Audience) -> Response<Answer> {
    let status = if error.is::<Rejected>() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let failure = match audience {
        Audience::Others => Failure {
            error: report::for_others(error),
            report: None,
        },
        Audience::Owners => Failure::new(error),
    };
    json(status, &failure)
}

fn failure(status: StatusCode, error: &str) -> Response<Answer> {
    json(
        status,
        &Failure {
            error: error.to_owned(),
            report: None,
        },
    )
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Answer> {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    response(status, Full::new(bytes.into()).boxed())
}

fn response(status: StatusCode, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests {
    use rustix::net::{bind, listen};

    use super::*;

    #[tokio::test]
    async fn somebody_who_answers_nobody_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let flags = SocketFlags::CLOEXEC;
        let squatter = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        bind(&squatter, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&squatter, 0).unwrap();
        while connect(&path).is_ok() {}
        assert_eq!(connect(&path), Err(Errno::AGAIN));
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("somebody answers on"), "{error}");
        // Once it is gone, its place is free.
        drop(squatter);
        open(&path).unwrap();
    }
}
