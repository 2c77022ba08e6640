//! The command line's end of the control socket, and that of whoever else asks a gate.
//!
//! Root's commands and the daemon ask the listener, too, whose user may have been taken over. So nothing is sent before the kernel has said who
//! listens, no answer is longer than it may be, and none takes longer.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
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
/// How long a listener may take to say how it is.
pub(crate) const PATIENCE_FOR_LISTENERS: Duration = Duration::from_secs(5);
/// Bytes of an answer's head at most.
const MOST_HEAD: usize = 64 << 10;
/// Bytes of a line of a stream at most.
const MOST_LINE: usize = 1 << 20;
/// Bytes of an answer at most that does not grow with the policy: all that a listener answers, and what goes wrong.
const MOST: usize = 4 << 20;
/// Bytes at most of one that does.
const MOST_OF_POLICY: usize = 1 << 30;
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
    /// Somebody else listens.
    #[error(
        "user {found} answers on {path}, and neither root nor the owner of its directory: what is said there is not believed",
        path = path.display()
    )]
    Impostor {
        /// The socket.
        path: PathBuf,
        /// Who listens.
        found: u32,
    },
    /// An answer, or a line of a stream, has no end.
    #[error("what comes from {path} is longer than any answer is", path = path.display())]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
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
        whole(socket, response.into_body(), most(path)).await
    };
    within(patience, socket, answer).await
}

/// Asks for a stream of JSON lines.
pub async fn follow(socket: &Path, path: &str) -> Result<Lines, AskError> {
    let response = send(socket, Method::GET, path, Vec::new());
    let body = within(PATIENCE, socket, response).await?.into_body();
    Ok(Lines {
        socket: socket.to_owned(),
        body,
        received: Vec::new(),
    })
}

/// Lines of JSON, as they come.
#[derive(Debug)]
pub struct Lines {
    socket: PathBuf,
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
            if self.received.len() > MOST_LINE {
                return Err(AskError::TooLong {
                    path: self.socket.clone(),
                });
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

/// Bytes of the answer at most.
fn most(path: &str) -> usize {
    match path {
        "/v1/attach" | "/v1/confirm" | "/v1/detach" | "/v1/explain" | "/v1/settle"
        | "/v1/status" => MOST,
        _ => MOST_OF_POLICY,
    }
}

async fn whole(socket: &Path, body: Incoming, most: usize) -> Result<Bytes, AskError> {
    match Limited::new(body, most).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(error) => AskError::Broken(*error),
            // Nothing else fails here but the limit.
            Err(_) => AskError::TooLong {
                path: socket.to_owned(),
            },
        }),
    }
}

/// Makes sure that root listens, or the owner of the directory that the socket is in: somebody else would have no business there.
fn ensure_owner(socket: &Path, stream: &UnixStream) -> Result<(), AskError> {
    let unknown = |error| AskError::NoDaemon {
        path: socket.to_owned(),
        error,
    };
    let found = stream.peer_cred().map_err(unknown)?.uid();
    let directory = socket.parent().unwrap_or(Path::new("/"));
    let owner = fs::metadata(directory).map_err(unknown)?.uid();
    if found == 0 || found == owner {
        return Ok(());
    }
    Err(AskError::Impostor {
        path: socket.to_owned(),
        found,
    })
}

async fn connect(socket: &Path) -> Result<UnixStream, AskError> {
    let path = || socket.to_owned();
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => {
                ensure_owner(socket, &stream)?;
                return Ok(stream);
            }
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
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MOST_HEAD)
        .handshake(TokioIo::new(stream))
        .await?;
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
    let bytes = whole(socket, response.into_body(), MOST).await?;
    Err(AskError::Failed {
        refused: status == StatusCode::UNPROCESSABLE_ENTITY,
        failure: serde_json::from_slice(&bytes)?,
    })
}
