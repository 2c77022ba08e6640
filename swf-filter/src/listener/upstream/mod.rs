//! Where requests go on to.
//!
//! [`Upstream::send`] takes an [`AuthorizedRequest`], so that nothing else can be sent. What is sent is built from scratch:
//! no header field of a client passes. A request is sent a second time only if nothing of the first was, which hyper tells
//! by handing it back; one that may have been delivered is a [`UpstreamFault`], and it is for the client to repeat it.
//!
//! HTTP/2 to upstreams, redirects, proxies and active health checks are left out: SWF has no need of them.

mod body;
mod fault;
mod head;
mod link;
mod pool;
#[cfg(feature = "aws")]
mod sign;
mod trust;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use serde::Serialize;

pub use self::body::{AnswerBody, BodyFault};
pub use self::fault::{UpstreamError, UpstreamFault};
use self::link::{Link, Unanswered};
use self::pool::Address;
use super::limits;
use super::request::AuthorizedRequest;
use super::settings::{self, UpstreamIdentity};

/// An upstream with its connections.
#[derive(Debug)]
pub struct Upstream {
    addresses: Vec<Arc<Address>>,
    /// The place in `addresses` that the next request goes to, modulo their number.
    next: AtomicUsize,
    identity: Identity,
    bounds: Bounds,
}

/// Times and sizes. [`Bounds::default`] has those of [`limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// To connect, with TLS.
    pub connect: Duration,
    /// For an answer to begin.
    pub answer: Duration,
    /// Between two pieces of an answer.
    pub pause: Duration,
    /// For connections that nobody uses to be kept.
    pub keep: Duration,
    /// How many of these an address may have.
    pub kept: usize,
    /// How many connections there may be in all.
    pub connections: usize,
    /// Before an address that cannot be reached is tried again, at first.
    pub back_off: Duration,
    /// The same, at most.
    pub back_off_most: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connect: limits::CONNECT,
            answer: limits::UPSTREAM,
            pause: limits::UPSTREAM_IDLE,
            keep: limits::UPSTREAM_KEEP,
            kept: limits::UPSTREAM_KEPT,
            connections: limits::UPSTREAM_CONNECTIONS,
            back_off: limits::BACK_OFF,
            back_off_most: limits::BACK_OFF_MOST,
        }
    }
}

/// What an upstream answers, and all of it that may be handed on.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// `Content-Type`.
    pub content_type: Option<HeaderValue>,
    /// `x-amz-crc32`, by which SDKs check the body.
    pub crc32: Option<HeaderValue>,
    /// `x-amzn-RequestId`: the upstream's own, for logs.
    pub request_id: Option<HeaderValue>,
    /// Who answered.
    pub address: Uri,
    /// The body, as it comes.
    pub body: AnswerBody,
}

/// How an address fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressStatus {
    /// The address.
    pub address: String,
    /// Whether it can be connected to.
    pub health: Health,
    /// Why it could not be connected to when it was tried last in vain.
    pub last_error: Option<String>,
    /// Connections in all.
    pub open: usize,
    /// Those that nobody uses.
    pub idle: usize,
    /// Requests that were sent, whole or in part.
    pub requests: u64,
    /// How many of these had no whole answer, and how often connecting failed.
    pub failures: u64,
}

/// Whether an address can be connected to, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// The last attempt failed.
    Down,
    /// It did not.
    Up,
}

/// How requests say whom they come from.
#[derive(Debug)]
enum Identity {
    #[cfg(feature = "aws")]
    Aws(Arc<sign::Signer>),
    Headers,
}

impl Upstream {
    /// Reads what is trusted, and finds the credentials. It connects to nothing, but for credentials.
    pub async fn new(settings: &settings::Upstream) -> Result<Arc<Self>, UpstreamError> {
        Self::with_bounds(settings, Bounds::default()).await
    }

    /// The same, with other times and sizes.
    pub async fn with_bounds(
        settings: &settings::Upstream,
        bounds: Bounds,
    ) -> Result<Arc<Self>, UpstreamError> {
        let trust = trust::client(settings)?;
        let total = Arc::default();
        let addresses = settings.addresses.iter().map(|uri| {
            let address = Address::new(uri, trust.as_ref(), &total, bounds)?;
            Ok(Arc::new(address))
        });
        let addresses = addresses.collect::<Result<Vec<_>, UpstreamError>>()?;
        let upstream = Arc::new(Self {
            addresses,
            next: AtomicUsize::new(0),
            identity: identity(&settings.identity).await?,
            bounds,
        });
        tokio::spawn(sweep(Arc::downgrade(&upstream), bounds.keep / 2));
        Ok(upstream)
    }

    /// Sends a request on. Dropping the future, or the body of the answer, closes the connection: so ends a poll whose
    /// client is gone.
    pub async fn send(&self, request: &AuthorizedRequest) -> Result<Answer, UpstreamFault> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let (before, after) = self.addresses.split_at(first % self.addresses.len().max(1));
        let mut unsent = UpstreamFault::NoHealthyAddress;
        for address in after.iter().chain(before) {
            match self.try_address(address, request).await {
                Attempt::Done(done) => return done,
                Attempt::Shunned => {}
                Attempt::Unsent(fault) => unsent = fault,
            }
        }
        Err(unsent)
    }

    /// How its addresses fare.
    #[must_use]
    pub fn status(&self) -> Vec<AddressStatus> {
        self.addresses
            .iter()
            .map(|address| address.status())
            .collect()
    }

    async fn try_address(&self, address: &Arc<Address>, request: &AuthorizedRequest) -> Attempt {
        let mut message = match self.message(address, request).await {
            Ok(message) => message,
            Err(fault) => return Attempt::Done(Err(fault)),
        };
        // Others may hand connections back meanwhile: that must not keep this going.
        for _ in 0..self.bounds.kept {
            let Some(mut link) = address.kept() else {
                break;
            };
            if link.is_usable().await {
                match self.exchange(address, link, message).await {
                    Exchange::Done(done) => return Attempt::Done(done),
                    Exchange::Unsent(own, _) => message = own,
                }
            }
        }
        let Some(way) = address.way(Instant::now()) else {
            return Attempt::Shunned;
        };
        let link = match address.connect(way).await {
            Ok(link) => link,
            Err(fault) => return Attempt::Unsent(fault),
        };
        match self.exchange(address, link, message).await {
            Exchange::Done(done) => Attempt::Done(done),
            Exchange::Unsent(_, error) => {
                Attempt::Unsent(address.mark_down(way, fault::chain(&error)))
            }
        }
    }

    async fn exchange(
        &self,
        address: &Arc<Address>,
        mut link: Box<Link>,
        message: Message,
    ) -> Exchange {
        let broken = |error: String| UpstreamFault::Broken {
            address: address.uri().clone(),
            error: error.into(),
        };
        let answer = match tokio::time::timeout(self.bounds.answer, link.exchange(message)).await {
            Ok(Err(Unanswered::Unsent(message, error))) => {
                return Exchange::Unsent(*message, error);
            }
            Ok(Ok(answer)) if !answer.status().is_informational() => Ok(answer),
            Ok(Ok(answer)) => Err(broken(format!("status {}", answer.status().as_u16()))),
            Ok(Err(Unanswered::Sent(error))) => Err(broken(fault::chain(&error))),
            Err(_) => Err(UpstreamFault::TimedOut {
                address: address.uri().clone(),
                patience: self.bounds.answer,
            }),
        };
        address.sent(answer.is_ok());
        Exchange::Done(answer.map(|answer| {
            let (mut head, body) = answer.into_parts();
            Answer {
                status: head.status,
                content_type: head.headers.remove(CONTENT_TYPE),
                crc32: head.headers.remove(CRC32),
                request_id: head.headers.remove(REQUEST_ID),
                address: address.uri().clone(),
                body: AnswerBody::new(body, link, Arc::clone(address), self.bounds.pause),
            }
        }))
    }

    #[cfg_attr(
        not(feature = "aws"),
        expect(clippy::unused_async, reason = "only signing waits for anything")
    )]
    async fn message(
        &self,
        address: &Address,
        request: &AuthorizedRequest,
    ) -> Result<Message, UpstreamFault> {
        let mut message = head::plain(address.authority(), request);
        match &self.identity {
            #[cfg(feature = "aws")]
            Identity::Aws(signer) => signer.sign(&mut message, request.body()).await?,
            Identity::Headers => head::identify(&mut message, request)?,
        }
        Ok(message)
    }
}

/// What is sent.
type Message = Request<Full<Bytes>>;

/// What came of an address.
enum Attempt {
    /// An answer, or a fault with which nothing else may be tried.
    Done(Result<Answer, UpstreamFault>),
    /// It is down, and was left alone.
    Shunned,
    /// Nothing was sent there.
    Unsent(UpstreamFault),
}

/// What came of a connection.
enum Exchange {
    Done(Result<Answer, UpstreamFault>),
    /// Nothing was sent: here is the request again.
    Unsent(Message, hyper::Error),
}

#[cfg_attr(
    not(feature = "aws"),
    expect(clippy::unused_async, reason = "only credentials are waited for")
)]
async fn identity(settings: &UpstreamIdentity) -> Result<Identity, UpstreamError> {
    match settings {
        #[cfg(feature = "aws")]
        UpstreamIdentity::Aws { region } => {
            Ok(Identity::Aws(sign::Signer::of_machine(region).await))
        }
        #[cfg(not(feature = "aws"))]
        UpstreamIdentity::Aws { .. } => Err(UpstreamError::NoAws),
        UpstreamIdentity::Headers => Ok(Identity::Headers),
    }
}

/// Closes connections that nobody uses for long, until the upstream is gone.
async fn sweep(upstream: std::sync::Weak<Upstream>, pause: Duration) {
    let mut ticks = tokio::time::interval(pause.max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        let Some(upstream) = upstream.upgrade() else {
            return;
        };
        for address in &upstream.addresses {
            address.sweep(Instant::now());
        }
    }
}

const CRC32: HeaderName = HeaderName::from_static("x-amz-crc32");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

#[cfg(test)]
mod tests;
