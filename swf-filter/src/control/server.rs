//! The daemon's end of the control socket.
//!
//! Whoever may connect may ask; changes are for root and the daemon's own user, and are logged with who asked for them.

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Probe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast};
use tracing::{debug, info, warn};

use super::api::{ExplainRequest, Failure, InterfaceRequest};
use crate::report::Rejected;

/// Bytes of a request's body at most.
const MAX_BODY: usize = 256 * 1024;
/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// What the socket can ask of the daemon. Methods block.
pub(crate) trait Control: Send + Sync + 'static {
    /// Answers a question or carries out a change, as JSON.
    fn answer(&self, command: Command) -> Result<Vec<u8>>;
    /// Events from now on, a line of JSON each.
    fn events(&self) -> broadcast::Receiver<Arc<str>>;
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Status,
    Rules,
    Diff,
    Explain(ExplainRequest),
    Reload,
    Attach(InterfaceRequest),
    Detach(InterfaceRequest),
}

impl Command {
    /// Whether it changes what is enforced.
    fn changes(&self) -> bool {
        matches!(self, Self::Reload | Self::Attach(_) | Self::Detach(_))
    }
}

type Body = BoxBody<Bytes, Infallible>;

/// Opens the socket. One that a dead daemon has left is replaced; one that somebody answers on is not.
pub(crate) fn open(path: &Path) -> Result<UnixListener> {
    if path.exists() {
        ensure!(
            Probe::connect(path).is_err(),
            "somebody answers on {} already",
            path.display()
        );
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Answers on the socket for ever.
pub(crate) async fn serve(listener: UnixListener, control: Arc<impl Control>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = Arc::clone(&control);
                tokio::spawn(async move {
                    connection(stream, control).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: connections that end give some back.
                warn!("cannot accept a connection on the control socket: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, control: Arc<impl Control>) {
    let Ok(peer) = stream.peer_cred() else {
        return;
    };
    let service = service_fn(move |request| {
        let control = Arc::clone(&control);
        async move { Ok::<_, Infallible>(respond(request, peer, control).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!("control connection ended: {error}");
    }
}

async fn respond(
    request: Request<Incoming>,
    peer: UCred,
    control: Arc<impl Control>,
) -> Response<Body> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    if (&method, path.as_str()) == (&Method::GET, "/v1/events") {
        return event_stream(control.events());
    }
    let command = match tokio::time::timeout(REQUEST_TIME, command(&method, &path, request)).await {
        Ok(Ok(Some(command))) => command,
        Ok(Ok(None)) => {
            return failure(
                StatusCode::NOT_FOUND,
                &format!("there is no {method} {path}"),
            );
        }
        Ok(Err(error)) => return failure(StatusCode::BAD_REQUEST, &format!("{error:#}")),
        Err(_) => {
            return failure(
                StatusCode::REQUEST_TIMEOUT,
                "the request took too long to arrive",
            );
        }
    };
    if command.changes() {
        if peer.uid() != 0 && peer.uid() != rustix::process::geteuid().as_raw() {
            warn!(
                uid = peer.uid(),
                pid = peer.pid(),
                "refused over the control socket: {command:?}"
            );
            return failure(
                StatusCode::FORBIDDEN,
                "only root and the daemon's own user may change what is enforced",
            );
        }
        info!(
            uid = peer.uid(),
            pid = peer.pid(),
            "asked over the control socket: {command:?}"
        );
    }
    match tokio::task::spawn_blocking(move || control.answer(command)).await {
        Ok(Ok(json)) => response(StatusCode::OK, Full::new(json.into()).boxed()),
        Ok(Err(error)) => failed(&error),
        Err(_) => failure(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the daemon failed at this; its log tells more",
        ),
    }
}

async fn command(
    method: &Method,
    path: &str,
    request: Request<Incoming>,
) -> Result<Option<Command>> {
    Ok(Some(match (method, path) {
        (&Method::GET, "/v1/status") => Command::Status,
        (&Method::GET, "/v1/rules") => Command::Rules,
        (&Method::GET, "/v1/diff") => Command::Diff,
        (&Method::POST, "/v1/reload") => Command::Reload,
        (&Method::POST, "/v1/explain") => Command::Explain(body(request).await?),
        (&Method::POST, "/v1/attach") => Command::Attach(body(request).await?),
        (&Method::POST, "/v1/detach") => Command::Detach(body(request).await?),
        _ => return Ok(None),
    }))
}

async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T> {
    let Ok(bytes) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
        bail!("the body cannot be read, or is longer than {MAX_BODY} bytes");
    };
    serde_json::from_slice(&bytes.to_bytes()).context("the body is not the JSON that this takes")
}

/// Lines as they come. A client that does not keep up misses some, and the daemon goes on.
fn event_stream(events: broadcast::Receiver<Arc<str>>) -> Response<Body> {
    let lines = stream::unfold(events, |mut events| async move {
        loop {
            match events.recv().await {
                Ok(line) => {
                    let bytes = Bytes::copy_from_slice(line.as_bytes());
                    return Some((Ok(Frame::data(bytes)), events));
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    response(StatusCode::OK, BodyExt::boxed(StreamBody::new(lines)))
}

fn failed(error: &anyhow::Error) -> Response<Body> {
    let Some(rejected) = error.downcast_ref::<Rejected>() else {
        return failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}"));
    };
    let report = match rejected {
        Rejected::Problems(report) => Some(report.clone()),
        Rejected::Unreadable { .. } | Rejected::TooLarge(_) => None,
    };
    let error = match &report {
        Some(_) => "the files are refused".to_owned(),
        None => rejected.to_string(),
    };
    json(StatusCode::UNPROCESSABLE_ENTITY, &Failure { error, report })
}

fn failure(status: StatusCode, error: &str) -> Response<Body> {
    json(
        status,
        &Failure {
            error: error.to_owned(),
            report: None,
        },
    )
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    response(status, Full::new(bytes.into()).boxed())
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}
