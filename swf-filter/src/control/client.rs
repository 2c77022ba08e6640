//! The command line's end of the control socket.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HOST;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::UnixStream;

use super::api::Failure;

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
        error: std::io::Error,
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
    #[error("the connection to the daemon broke")]
    Broken(#[from] hyper::Error),
    /// What came was no answer.
    #[error("the daemon's answer cannot be read; is it of another version?")]
    Unreadable(#[from] serde_json::Error),
}

/// Sends a request and gives the JSON of the answer.
pub async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: &(impl Serialize + Sync),
) -> Result<Bytes, AskError> {
    let response = send(socket, method, path, serde_json::to_vec(body)?).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}

/// Asks for the stream of events.
pub async fn events(socket: &Path) -> Result<Incoming, AskError> {
    let response = send(socket, Method::GET, "/v1/events", Vec::new()).await?;
    Ok(response.into_body())
}

async fn send(
    socket: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Response<Incoming>, AskError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| AskError::NoDaemon {
            path: socket.to_owned(),
            error,
        })?;
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
