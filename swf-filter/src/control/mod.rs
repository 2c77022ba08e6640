//! Control of the daemon by the command line: HTTP with JSON bodies over a unix socket.

pub mod api;
pub mod client;
mod routes;
pub(crate) mod server;

use std::path::{Path, PathBuf};

/// Where the socket is.
#[must_use]
pub fn socket(run: &Path) -> PathBuf {
    run.join("control.sock")
}
