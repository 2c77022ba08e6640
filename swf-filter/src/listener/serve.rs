//! One connection, from its first byte to its last.
//!
//! A PROXY header if the listener wants one, then the policy's word on the source, then TLS, then requests. A connection ends when
//! the policy does not let its source in any more.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use jiff::Timestamp;
use swf_filter_core::policy::Effect;
use swf_filter_core::proxy_header::{self, Header};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::arrival::Arrival;
use super::audit::{Record, Verdict};
use super::crowd::{Client, Crowd, Share};
use super::exchange::Connection;
use super::guard::{Guard, Slot};
use super::pace::Pace;
use super::policy::{Current, Enforced};
use super::settings::{Http, Proxy};
use super::shared::{Fronting, Shared, TurnedAway};
use super::ways::Ways;
use super::{limits, sockets, tls};

/// How many connections there are, and from whom.
pub(super) struct Seats {
    all: Arc<Semaphore>,
    addresses: Arc<Crowd>,
    endpoints: Arc<Crowd>,
}

impl Seats {
    pub(super) fn new(limits: &limits::Limits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.connections)),
            addresses: Crowd::new(limits.connections_per_address, usize::MAX),
            endpoints: Crowd::new(limits.connections_per_endpoint, usize::MAX),
        }
    }

    /// Counts a connection.
    fn take(&self, arrival: &Arrival) -> Result<Share, TurnedAway> {
        let client = Client::of(arrival);
        let (crowd, too_many) = match client {
            Client::Address(_) => (&self.addresses, TurnedAway::TooManyOfAddress),
            Client::Endpoint(_) => (&self.endpoints, TurnedAway::TooManyOfEndpoint),
        };
        crowd.take(client, 1).ok_or(too_many)
    }
}

/// Serves connections of one socket until it is told to stop, and then those that are open until they end.
pub(super) async fn listen(
    shared: Arc<Shared>,
    fronting: Arc<Fronting>,
    seats: Arc<Seats>,
    (socket, ways): (TcpListener, Arc<Ways>),
    mut stop: watch::Receiver<bool>,
) {
    let mut visits = JoinSet::new();
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(_) = visits.join_next() => continue,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: connections that end give some back.
                if complained.is_none_or(|last| last.elapsed() > COMPLAIN) {
                    warn!("cannot accept connections: {error}");
                    complained = Some(Instant::now());
                }
                sleep(PAUSE).await;
                continue;
            }
        };
        fronting.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let visit = Visit {
            shared: Arc::clone(&shared),
            fronting: Arc::clone(&fronting),
            seats: Arc::clone(&seats),
            ways: Arc::clone(&ways),
            policy: shared.policy.clone(),
            stop: stop.clone(),
        };
        let peer = canonical(peer);
        let Ok(seat) = Arc::clone(&seats.all).try_acquire_owned() else {
            visit.turn_away(&visit.direct(peer), TurnedAway::TooManyConnections);
            continue;
        };
        visits.spawn(async move {
            let _open = Open::new(&visit.fronting.counters.open);
            visit.serve(stream, peer).await;
            drop(seat);
        });
    }
    drop(socket);
    while visits.join_next().await.is_some() {}
}

/// A connection that is open, whatever becomes of what serves it.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How often it is told that connections cannot be accepted, at most.
const COMPLAIN: std::time::Duration = std::time::Duration::from_mins(1);

/// Before accepting is tried again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// An IPv4 peer of a socket for IPv6 is an IPv4 peer.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// One connection.
struct Visit {
    shared: Arc<Shared>,
    fronting: Arc<Fronting>,
    seats: Arc<Seats>,
    ways: Arc<Ways>,
    policy: Current,
    stop: watch::Receiver<bool>,
}

impl Visit {
    async fn serve(&self, mut stream: TcpStream, peer: SocketAddr) {
        let arrived = match self.fronting.settings.proxy {
            Proxy::Off => Ok(Some(self.direct(peer))),
            Proxy::Required => {
                let mut policy = self.policy.clone();
                proxied(&self.fronting, &mut policy, &mut stream, peer).await
            }
        };
        match arrived {
            Ok(Some(arrival)) => {
                if let Err(reason) = self.receive(stream, arrival.clone()).await {
                    self.turn_away(&arrival, reason);
                }
            }
            Ok(None) => {}
            Err(reason) => self.turn_away(&self.direct(peer), reason),
        }
    }

    fn direct(&self, peer: SocketAddr) -> Arrival {
        Arrival::direct(peer, Arc::clone(&self.ways))
    }

    fn turn_away(&self, arrival: &Arrival, reason: TurnedAway) {
        if let Some(count) = self.fronting.counters.turned_away.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.write_down(arrival, reason.name(), None);
    }

    /// Leaves word of a connection that gets no further.
    fn write_down(&self, arrival: &Arrival, reason: &'static str, words: Option<&str>) {
        let settings = &self.fronting.settings;
        let generation = self.shared.generation();
        let mut record = Record::new(
            Timestamp::now(),
            generation,
            [&settings.name, &settings.host].map(Arc::clone),
            arrival.peer(),
            Verdict::Refused,
            reason,
        );
        record.source = arrival.source();
        record.endpoint = arrival.endpoint().map(Into::into);
        record.words = words.map(Into::into);
        self.shared.audit.record(record);
    }

    async fn receive(&self, stream: TcpStream, arrival: Arrival) -> Result<(), TurnedAway> {
        self.check(&arrival)?;
        let _seat = self.seats.take(&arrival)?;
        if let Err(error) = sockets::prepare(&stream) {
            debug!("options of a connection cannot be set: {error}");
        }
        let mut stop = self.stop.clone();
        let authorities = self.fronting.tls.authorities_changed();
        let (stream, tls) = tokio::select! {
            accepted = self.fronting.tls.accept(stream) => match accepted {
                Ok(accepted) => accepted,
                Err(refusal) => {
                    // Balancers probe every few seconds, and mean nothing by it.
                    if !matches!(refusal, tls::Refusal::Probe) {
                        self.write_down(&arrival, refusal.name(), Some(&refusal.to_string()));
                    }
                    return Ok(());
                }
            },
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let handshakes = &self.fronting.counters.handshakes;
        handshakes.fetch_add(1, Ordering::Relaxed);
        let http = tls.http;
        let slot = (http == Http::One).then(Arc::<Slot>::default);
        let connection = Connection {
            shared: Arc::clone(&self.shared),
            listener: Arc::clone(&self.fronting),
            arrival,
            tls,
            pace: Arc::new(Pace::new(slot.clone())),
            slot,
        };
        match http {
            Http::One => self.speak_one(stream, connection, authorities).await,
            Http::Two => self.speak_two(stream, connection, authorities).await,
        }
        Ok(())
    }

    /// Whether the policy lets a connection in.
    fn check(&self, arrival: &Arrival) -> Result<(), TurnedAway> {
        let policy = self.policy.borrow();
        let policy = policy.as_deref().ok_or(TurnedAway::NoPolicy)?;
        let host = policy.host(&self.fronting.settings.host);
        let host = host.ok_or(TurnedAway::NoPolicy)?;
        match policy.admit(host, arrival) {
            Some(admission) if admission.verdict == Effect::Pass => Ok(()),
            Some(_) | None => Err(TurnedAway::SourceNotAllowed),
        }
    }

    /// Ends when a policy comes that does not let a connection be.
    async fn shut_out(&self, arrival: &Arrival) {
        let mut policy = self.policy.clone();
        // Marked as seen before it is looked at: a change in between is another change.
        policy.mark_unchanged();
        while self.check(arrival).is_ok() {
            if policy.changed().await.is_err() {
                return;
            }
        }
    }

    async fn speak_one(
        &self,
        stream: TlsStream<TcpStream>,
        connection: Connection,
        authorities: watch::Receiver<()>,
    ) {
        let slot = connection.slot.clone().unwrap_or_default();
        let guard = Guard::new(stream, Arc::clone(&slot));
        let connection = Arc::new(connection);
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            // Timers are below: these would close connections that wait for their next request.
            .header_read_timeout(None)
            .serve_connection(
                TokioIo::new(guard),
                service_fn(|request| Arc::clone(&connection).respond(request)),
            );
        self.until_ended(served, &connection, authorities).await;
    }

    async fn speak_two(
        &self,
        stream: TlsStream<TcpStream>,
        connection: Connection,
        authorities: watch::Receiver<()>,
    ) {
        let connection = Arc::new(connection);
        let served = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(limits::IDLE)
            .keep_alive_timeout(limits::HEAD_TIME)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(limits::HEAD).unwrap_or(u32::MAX))
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|request| Arc::clone(&connection).respond(request)),
            );
        self.until_ended(served, &connection, authorities).await;
    }

    /// Serves until the client ends, takes too long, or is let in no more. When the listener stops, or takes client certificates of
    /// others, what is under way is answered.
    async fn until_ended(
        &self,
        served: impl GracefulConnection<Error = hyper::Error>,
        connection: &Connection,
        mut authorities: watch::Receiver<()>,
    ) {
        let mut served = pin!(served);
        let mut stop = self.stop.clone();
        // Each is asked when it is woken itself, and not whenever a request moves.
        let mut signs = FuturesUnordered::from_iter([
            connection.pace.overdue().map(|()| Sign::Leave).boxed(),
            self.shut_out(&connection.arrival)
                .map(|()| Sign::Leave)
                .boxed(),
            stop.wait_for(|stop| *stop).map(|_| Sign::Finish).boxed(),
            authorities.changed().map(|_| Sign::Finish).boxed(),
        ]);
        loop {
            tokio::select! {
                ended = served.as_mut() => {
                    if let Err(error) = ended {
                        debug!(peer = %connection.arrival.peer(), "connection ended: {error}");
                    }
                    return;
                }
                Some(sign) = signs.next() => match sign {
                    Sign::Finish => served.as_mut().graceful_shutdown(),
                    Sign::Leave => return,
                }
            }
        }
    }
}

/// That a connection is to end.
enum Sign {
    /// With an answer to what is under way.
    Finish,
    /// Now.
    Leave,
}

/// Requests of one HTTP/2 connection at a time: a process of workers that polls with some threads.
const STREAMS: u32 = 100;

/// Reads the PROXY header of a connection. None for those that are about nobody, such as health checks.
async fn proxied(
    fronting: &Fronting,
    policy: &mut Current,
    stream: &mut TcpStream,
    peer: SocketAddr,
) -> Result<Option<Arrival>, TurnedAway> {
    let trusts = |policy: &Enforced| {
        let host = policy.host(&fronting.settings.host)?;
        Some(policy.trusts(host, peer.ip()))
    };
    match policy.borrow().as_deref().map(trusts) {
        Some(Some(true)) => {}
        Some(Some(false)) => return Err(TurnedAway::UntrustedProxy),
        Some(None) | None => return Err(TurnedAway::NoPolicy),
    }
    match timeout(limits::HANDSHAKE, read_header(stream)).await {
        Ok(Ok(Header::Local)) => Ok(None),
        Ok(Ok(Header::Proxied {
            source, endpoint, ..
        })) => Ok(Some(Arrival::proxied(peer, source.ip(), endpoint))),
        Ok(Err(error)) => {
            debug!(%peer, "a PROXY header is refused: {error}");
            Err(TurnedAway::BadProxyHeader)
        }
        Err(_) => Err(TurnedAway::BadProxyHeader),
    }
}

/// Reads a header, and not one byte of what follows it.
async fn read_header(stream: &mut TcpStream) -> io::Result<Header> {
    let mut bytes = Vec::new();
    loop {
        let from = bytes.len();
        bytes.resize(from + wanted(&bytes), 0);
        stream.read_exact(&mut bytes[from..]).await?;
        if let Some((header, _)) = proxy_header::read(&bytes).map_err(io::Error::other)? {
            return Ok(header);
        }
    }
}

/// How many bytes more a header has at least.
fn wanted(bytes: &[u8]) -> usize {
    /// `PROXY UNKNOWN` and the end of its line: no header is shorter.
    const SHORTEST: usize = 15;
    /// Up to the length of version 2, and with it.
    const FIXED: usize = 16;
    match bytes {
        [] => SHORTEST,
        [b'P', ..] => 1,
        [.., high, low] if bytes.len() == FIXED => {
            usize::from(u16::from_be_bytes([*high, *low])).max(1)
        }
        _ => FIXED.saturating_sub(bytes.len()).max(1),
    }
}

#[cfg(test)]
mod tests;
