//! The command line's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HOST;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::api::Failure;

/// How long a daemon may take to answer a question.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long it may take to carry out a change: a large policy takes a while to load.
const PATIENCE_FOR_CHANGES: Duration = Duration::from_mins(10);
/// Between two attempts to connect where too many are waiting already.
const PAUSE: Duration = Duration::from_millis(20);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no daemon answers on {path}: {error}; start `swf-filter daemon`, or name its settings with --config",
        path = path.display()
    )]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// The socket is not for this user.
    #[error(
        "this user may not talk to the daemon on {path}; run this as root, or as a member of the socket's group",
        path = path.display()
    )]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon takes too long.
    #[error("the daemon on {path} does not answer within {} s; its log may tell why", patience.as_secs(), path = path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long it was waited for.
        patience: Duration,
    },
    /// The daemon answers that it cannot.
    #[error("{}", .failure.error)]
    Failed {
        /// Whether it is the files that are refused.
        refused: bool,
        /// What it says.
        failure: Failure,
    },
    /// The connection broke.
    #[error("the daemon closed the connection; has it ended, or too many clients? try again")]
    Broken(#[from] hyper::Error),
    /// The stream of events has an end.
    #[error("the daemon has ended, and the events with it")]
    Ended,
    /// What came was no answer.
    #[error("the daemon's answer cannot be read; is it of another version?")]
    Unreadable(#[from] serde_json::Error),
}

impl AskError {
    /// Whether there is no daemon, or none that answers.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NoDaemon { .. } | Self::Silent { .. } | Self::Broken(_) | Self::Ended
        )
    }
}

/// Sends a request and gives the JSON of the answer.
pub async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: &(impl Serialize + Sync),
) -> Result<Bytes, AskError> {
    let body = serde_json::to_vec(body)?;
    let patience = if method == Method::GET {
        PATIENCE
    } else {
        PATIENCE_FOR_CHANGES
    };
    let answer = async {
        let response = send(socket, method, path, body).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    };
    within(patience, socket, answer).await
}

/// Asks for a stream of JSON lines.
pub async fn follow(socket: &Path, path: &str) -> Result<Lines, AskError> {
    let response = send(socket, Method::GET, path, Vec::new());
    let body = within(PATIENCE, socket, response).await?.into_body();
    Ok(Lines {
        body,
        received: Vec::new(),
    })
}

/// Lines of JSON, as they come.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    /// What came after the last line that was given out.
    received: Vec<u8>,
}

impl Lines {
    /// The next one. It comes whole or not at all, so that waiting may be given up at any time.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<T, AskError> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            // A daemon that is killed leaves the stream without an end.
            let Some(Ok(frame)) = self.body.frame().await else {
                return Err(AskError::Ended);
            };
            self.received.extend(frame.data_ref().into_iter().flatten());
        }
    }
}

async fn within<T>(
    patience: Duration,
    socket: &Path,
    work: impl Future<Output = Result<T, AskError>>,
) -> Result<T, AskError> {
    timeout(patience, work).await.unwrap_or_else(|_| {
        Err(AskError::Silent {
            path: socket.to_owned(),
            patience,
        })
    })
}

async fn connect(socket: &Path) -> Result<UnixStream, AskError> {
    let path = || socket.to_owned();
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => sleep(PAUSE).await,
                io::ErrorKind::PermissionDenied => return Err(AskError::Denied { path: path() }),
                _ => {
                    return Err(AskError::NoDaemon {
                        path: path(),
                        error,
                    });
                }
            },
        }
    }
}

async fn send(
    socket: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Response<Incoming>, AskError> {
    let stream = connect(socket).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    // INVARIANT: the paths are constants of this crate.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
        .headers_mut()
        .insert(HOST, hyper::header::HeaderValue::from_static("swf-filter"));
    let response = sender.send_request(request).await?;
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let bytes = response.into_body().collect().await?.to_bytes();
    Err(AskError::Failed {
        refused: status == StatusCode::UNPROCESSABLE_ENTITY,
        failure: serde_json::from_slice(&bytes)?,
    })
}
