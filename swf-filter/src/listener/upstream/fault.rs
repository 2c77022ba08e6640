//! Why a request has no answer, and what its client is told.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use hyper::{StatusCode, Uri};
use rustls::pki_types::pem;

/// Why an upstream cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It is no address.
    #[error("`{address}` is not `http://` or `https://` with a host")]
    Address {
        /// As written.
        address: Uri,
    },
    /// The file of authorities cannot be used.
    #[error("no certificates in {}: {error}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        error: pem::Error,
    },
    /// The system trusts nobody.
    #[error("the system has no certificates of authorities; `authorities` may name a file")]
    NoAuthorities,
    /// Requests cannot be signed.
    #[error("this build cannot sign requests for AWS: it lacks the feature `aws`")]
    NoAws,
    /// The authorities, or the set of algorithms, are refused.
    #[error("TLS to the upstream cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamFault {
    /// It was sent, or begun to be, and then the connection broke, or what came was no answer.
    #[error("{address} took the request, and gave no answer: {error}")]
    Broken {
        /// The upstream's address.
        address: Uri,
        /// What happened.
        error: Box<str>,
    },
    /// No address could be connected to.
    #[error("cannot connect to {address}: {error}")]
    Connect {
        /// The last one that was tried.
        address: Uri,
        /// What happened.
        error: Box<str>,
    },
    /// There are no credentials to sign with.
    #[error("no credentials to sign the request with: {error}")]
    Credentials {
        /// What the chain of providers says.
        error: Box<str>,
    },
    /// There are as many connections as there may be.
    #[error("there are {connections} connections to the upstream, and may be no more")]
    Full {
        /// How many.
        connections: usize,
    },
    /// What is known of the caller cannot stand in a header field.
    #[error("`{field}` cannot say `{value}`")]
    Identity {
        /// The field.
        field: &'static str,
        /// What it would have said.
        value: Box<str>,
    },
    /// All addresses are down, and it is too early to try one again.
    #[error("no address of the upstream can be connected to")]
    NoHealthyAddress,
    /// It was sent, and the answer did not begin in time.
    #[error("{address} took the request, and did not answer within {} s", patience.as_secs_f32())]
    TimedOut {
        /// The upstream's address.
        address: Uri,
        /// How long it was waited for.
        patience: Duration,
    },
}

impl UpstreamFault {
    /// What the client is told: a status, and a code as AWS has it.
    ///
    /// SDKs repeat all three statuses. With 503 nothing was sent, so that is always safe. With 500 and 504 nobody can tell
    /// whether SWF did what was asked, which is what AWS's own 500, or a connection that breaks, says to them.
    #[must_use]
    pub fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Broken { .. } | Self::Identity { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure")
            }
            Self::Connect { .. }
            | Self::Credentials { .. }
            | Self::Full { .. }
            | Self::NoHealthyAddress => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "InternalFailure"),
        }
    }
}

/// An error with all that caused it.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
