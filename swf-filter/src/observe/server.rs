//! Serves metrics and page to this machine: `GET` only, and only to clients that meant this machine.
//!
//! A page of another site can have a browser on this machine ask here, under a name of its own that it lets resolve to a loopback
//! address. So `Host` must be `localhost` or a loopback address, and requests that a browser says come from another site are
//! refused. Nothing that is answered may be framed, embedded or guessed to be of another type.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, broadcast};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use super::{Dashboard, Listen};
use crate::control;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// How many of these may be streams of events, which have no end.
const MAX_STREAMS: usize = 16;
/// Bytes of a request's head at most.
const MAX_HEAD: usize = 16 * 1024;
/// For a client to send a request, the wait before it included. Prometheus connects again.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// How long a connection may last. Browsers and Prometheus connect again.
const LIFE: Duration = Duration::from_mins(2);
/// Before accepting is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is served. Methods block.
pub(crate) trait Observed: Send + Sync + 'static {
    /// All metrics, as `OpenMetrics` text.
    fn metrics(&self) -> Result<String>;

    /// What the page asks for, if there is such a thing: a path, without what is before its last `/`.
    fn page(&self, _part: &str) -> Result<Option<Part>> {
        Ok(None)
    }

    /// Events from now on, a line of JSON each, for the page.
    fn events(&self) -> Option<broadcast::Receiver<Arc<str>>> {
        None
    }
}

/// A part of the page.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// What it is.
    pub(crate) kind: &'static str,
    /// Its text.
    pub(crate) bytes: Bytes,
    /// What it may do, if it is a document.
    pub(crate) policy: Option<HeaderValue>,
}

/// The socket.
#[derive(Debug)]
enum Socket {
    Address(TcpListener),
    Path(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Socket {
    /// Opens it. A unix socket that a dead process has left is replaced, and has the mode 0660.
    async fn open(listen: &Listen) -> Result<Self> {
        match listen {
            Listen::Address(address) => Ok(Self::Address(TcpListener::bind(address).await?)),
            Listen::Socket(path) => Ok(Self::Path(control::server::open(path)?)),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Address(listener) => Box::new(listener.accept().await?.0),
            Self::Path(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// Serves what is observed from now on. The gates matter more: if that cannot be, it is said, and they go on.
pub(crate) async fn start(listen: &Listen, dashboard: Dashboard, observed: Arc<impl Observed>) {
    match Socket::open(listen).await {
        Ok(socket) => {
            info!(address = %listen, "metrics are served");
            tokio::spawn(serve(socket, dashboard, observed));
        }
        Err(error) => error!("metrics cannot be served on {listen}: {error:#}"),
    }
}

/// Answers on the socket for ever.
async fn serve(socket: Socket, dashboard: Dashboard, observed: Arc<impl Observed>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let desk = Arc::new(Desk {
        observed,
        dashboard,
        streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        turn: Semaphore::new(1),
    });
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let stream = match socket.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                // Out of descriptors, most likely: connections that end give some back.
                warn!("cannot accept a connection for metrics: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            let service =
                service_fn(async |request| Ok::<_, Infallible>(desk.answer(&request).await));
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIME)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service);
            match timeout(LIFE, served).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!("a connection for metrics has ended: {error}"),
                // Whoever does not read what is sent would keep others out.
                Err(_) => debug!("a connection for metrics was open for long enough"),
            }
            drop(permit);
        });
    }
}

type Body = BoxBody<Bytes, Infallible>;

/// Answers requests.
struct Desk<O> {
    observed: Arc<O>,
    dashboard: Dashboard,
    streams: Arc<Semaphore>,
    /// One answer at a time is worked out, however many ask.
    turn: Semaphore,
}

impl<O: Observed> Desk<O> {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let mut response = match self.choose(request).await {
            Ok(response) => response,
            Err(error) => {
                warn!("what `[observe]` serves cannot be worked out: {error:#}");
                plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "this cannot be worked out now; the log tells why\n",
                )
            }
        };
        protect(response.headers_mut());
        response
    }

    async fn choose(&self, request: &Request<Incoming>) -> Result<Response<Body>> {
        if request.uri().authority().is_some() || !is_for_here(request.headers()) {
            return Ok(plain(
                StatusCode::MISDIRECTED_REQUEST,
                "ask for `localhost` or a loopback address\n",
            ));
        }
        if is_of_other_site(request.headers()) {
            return Ok(plain(
                StatusCode::FORBIDDEN,
                "this is not for pages of other sites\n",
            ));
        }
        if request.method() != Method::GET {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
            let get = HeaderValue::from_static("GET");
            response.headers_mut().insert(header::ALLOW, get);
            return Ok(response);
        }
        let path = request.uri().path();
        let answer = match (path, self.dashboard) {
            ("/metrics", _) => Some(self.metrics().await?),
            ("/events", Dashboard::On) => self.events(),
            (path, Dashboard::On) => self.part(path).await?,
            _ => None,
        };
        Ok(answer.unwrap_or_else(|| plain(StatusCode::NOT_FOUND, "there is no such thing here\n")))
    }

    async fn metrics(&self) -> Result<Response<Body>> {
        let _turn = self.turn.acquire().await?;
        let observed = Arc::clone(&self.observed);
        let text = spawn_blocking(move || observed.metrics()).await??;
        Ok(response(StatusCode::OK, OPEN_METRICS, text.into()))
    }

    async fn part(&self, path: &str) -> Result<Option<Response<Body>>> {
        let Some(part) = path.strip_prefix('/').map(str::to_owned) else {
            return Ok(None);
        };
        let _turn = self.turn.acquire().await?;
        let observed = Arc::clone(&self.observed);
        let part = spawn_blocking(move || observed.page(&part)).await??;
        Ok(part.map(|part| {
            let mut response = response(StatusCode::OK, part.kind, part.bytes);
            if let Some(policy) = part.policy {
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_SECURITY_POLICY, policy);
            }
            response
        }))
    }

    /// Events as a browser's `EventSource` takes them. A client that does not keep up misses some.
    fn events(&self) -> Option<Response<Body>> {
        let events = self.observed.events()?;
        let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
            return Some(plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "as many follow events as may\n",
            ));
        };
        let lines = stream::unfold((events, permit), |(mut events, permit)| async move {
            loop {
                match events.recv().await {
                    Ok(line) => {
                        let bytes = Bytes::from(format!("data: {}\n\n", line.trim_end()));
                        return Some((Ok(Frame::data(bytes)), (events, permit)));
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        let mut response = Response::new(BodyExt::boxed(StreamBody::new(lines)));
        let kind = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Some(response)
    }
}

/// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a request was meant for this machine: its one `Host` is a name that no other machine's can be.
pub(super) fn is_for_here(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let host = host.to_str().ok().filter(|host| !host.contains('@'));
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let name = authority.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || address
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

/// Whether a browser says that another site's page asks. Following a link to here is no such thing.
pub(super) fn is_of_other_site(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    // https://www.w3.org/TR/fetch-metadata/
    let other = is("sec-fetch-site", "cross-site") || is("sec-fetch-site", "same-site");
    let followed = is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document");
    other && !followed
}

/// What no answer lets a browser do.
fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(nothing);
}

fn plain(status: StatusCode, words: &'static str) -> Response<Body> {
    response(status, "text/plain; charset=utf-8", words.into())
}

fn response(status: StatusCode, kind: &'static str, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes).boxed());
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
