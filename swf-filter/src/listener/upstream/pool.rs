//! One address of an upstream: its connections, and whether it can be reached.
//!
//! Health is passive. An address that could not be connected to is left alone for a while that doubles; then one request
//! tries it, and the others still do not. The lock is held for moments, and never while anything is waited for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::Scheme;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::fault::chain;
use super::link::{Link, Open, Stream};
use super::{AddressStatus, Bounds, Health, UpstreamError, UpstreamFault};

/// An address.
pub(super) struct Address {
    uri: Uri,
    authority: HeaderValue,
    host: Box<str>,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    bounds: Bounds,
    state: Mutex<State>,
    total: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    requests: AtomicU64,
    failures: AtomicU64,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.uri)
    }
}

#[derive(Default)]
struct State {
    /// Connections that nobody uses; the one used last is the last.
    kept: VecDeque<Box<Link>>,
    down: Option<Down>,
    last_error: Option<Box<str>>,
}

struct Down {
    /// How long it is left alone this time.
    pause: Duration,
    /// Until when it is.
    until: Instant,
}

/// How an address may be connected to.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// Nothing speaks against it.
    Clear,
    /// It was down, and is tried again.
    Trial,
}

impl Address {
    pub(super) fn new(
        uri: &Uri,
        tls: Option<&TlsConnector>,
        total: &Arc<AtomicUsize>,
        bounds: Bounds,
    ) -> Result<Self, UpstreamError> {
        let refused = || UpstreamError::Address {
            address: uri.clone(),
        };
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(refused());
        };
        let host = authority.host();
        // Addresses of IPv6 stand in brackets (RFC 3986, 3.2.2).
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let (tls, port) = if *scheme == Scheme::HTTPS {
            let name = ServerName::try_from(host.to_owned()).map_err(|_| refused())?;
            (tls.map(|tls| (tls.clone(), name)), 443)
        } else if *scheme == Scheme::HTTP {
            (None, 80)
        } else {
            return Err(refused());
        };
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(refused());
        }
        Ok(Self {
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| refused())?,
            host: host.into(),
            port: authority.port_u16().unwrap_or(port),
            uri: uri.clone(),
            tls,
            bounds,
            state: Mutex::default(),
            total: Arc::clone(total),
            open: Arc::default(),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What `Host` says.
    pub(super) fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    pub(super) fn status(&self) -> AddressStatus {
        let state = self.state();
        AddressStatus {
            address: self.uri.to_string(),
            health: match state.down {
                Some(_) => Health::Down,
                None => Health::Up,
            },
            last_error: state.last_error.as_deref().map(str::to_owned),
            open: self.open.load(Ordering::Relaxed),
            idle: state.kept.len(),
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    /// The connection that was used last.
    pub(super) fn kept(&self) -> Option<Box<Link>> {
        self.state().kept.pop_back()
    }

    /// Takes a connection whose request is answered.
    pub(super) fn keep(&self, mut link: Box<Link>) {
        link.since = Instant::now();
        let mut state = self.state();
        state.kept.push_back(link);
        let surplus = (state.kept.len() > self.bounds.kept).then(|| state.kept.pop_front());
        // It is closed without the lock.
        drop(state);
        drop(surplus);
    }

    /// Closes connections that nobody uses for long, and those that have ended.
    pub(super) fn sweep(&self, now: Instant) {
        let mut cx = Context::from_waker(Waker::noop());
        let keep = self.bounds.keep;
        self.state().kept.retain_mut(|link| {
            now.saturating_duration_since(link.since) < keep && link.is_usable_now(&mut cx)
        });
    }

    /// Asks whether the address may be connected to. Whoever may while it is down is the only one for a while.
    pub(super) fn way(&self, now: Instant) -> Option<Way> {
        match &mut self.state().down {
            None => Some(Way::Clear),
            Some(down) if down.until <= now => {
                down.until = now + self.bounds.connect;
                Some(Way::Trial)
            }
            Some(_) => None,
        }
    }

    /// Opens a connection, and takes note of whether that works.
    pub(super) async fn connect(&self, way: Way) -> Result<Box<Link>, UpstreamFault> {
        let most = self.bounds.connections;
        let Some(open) = Open::take(&self.total, &self.open, most) else {
            return Err(UpstreamFault::Full { connections: most });
        };
        let failure = match tokio::time::timeout(self.bounds.connect, self.dial(open)).await {
            Ok(Ok(link)) => {
                self.state().down = None;
                return Ok(link);
            }
            Ok(Err(error)) => chain(&*error),
            Err(_) => format!(
                "not connected within {} s",
                self.bounds.connect.as_secs_f32()
            ),
        };
        Err(self.mark_down(way, failure))
    }

    async fn dial(
        &self,
        open: Open,
    ) -> Result<Box<Link>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            Some((tls, name)) => Box::new(tls.connect(name.clone(), stream).await?),
            None => Box::new(stream),
        };
        Ok(Link::new(stream, open).await?)
    }

    /// Leaves the address alone for a while, unless it already is: many requests may find out at once.
    pub(super) fn mark_down(&self, way: Way, error: String) -> UpstreamFault {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let error: Box<str> = error.into();
        let now = Instant::now();
        let Bounds {
            back_off,
            back_off_most,
            ..
        } = self.bounds;
        let mut state = self.state();
        state.last_error = Some(error.clone());
        let pause = match (&state.down, way) {
            (None, _) => Some(back_off),
            (Some(down), Way::Trial) => Some((down.pause * 2).min(back_off_most)),
            (Some(_), Way::Clear) => None,
        };
        if let Some(pause) = pause {
            state.down = Some(Down {
                pause,
                until: now + pause,
            });
        }
        // Where no new connection comes about, the old ones are not to be trusted with a request.
        let old = std::mem::take(&mut state.kept);
        drop(state);
        drop(old);
        UpstreamFault::Connect {
            address: self.uri.clone(),
            error,
        }
    }

    /// Counts a request that was sent.
    pub(super) fn sent(&self, is_answered: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if !is_answered {
            self.broke_off();
        }
    }

    /// Counts an answer that has no end.
    pub(super) fn broke_off(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
