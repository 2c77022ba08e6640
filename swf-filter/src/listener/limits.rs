//! Every time-out and size of the listener, with its reason. listener.toml may change those that are in [`Limits`].

use std::time::Duration;

/// Bytes of a request's head at most. AWS refuses heads of more than 16 KiB; session tokens are the largest part.
pub const HEAD: usize = 16 * 1024;
/// Header fields of a request at most. SDKs send some fifteen.
pub const FIELDS: usize = 64;
/// Bytes of a body at most: what SWF takes (quotas of Amazon SWF, request size).
pub const BODY: usize = 1 << 20;
/// Bytes of large bodies that one address, or one endpoint, may have here at a time, as far as they have come. Bodies come before
/// it is known who signs.
pub const BODIES_OF_ONE: usize = 64 << 20;
/// The same for all together.
pub const BODIES: usize = 1 << 30;
/// The same of bodies of at most [`LIGHT_BODY`], whether they have come or not: one for each connection that there may be to one
/// endpoint, and in all. So no large body, and none that does not come, ever keeps a small one out.
pub const LIGHT_BODIES_OF_ONE: usize = 192 << 20;
/// The same for all together.
pub const LIGHT_BODIES: usize = 512 << 20;
/// In what pieces room for a large body is taken, as it comes.
pub const ROOM: usize = 64 << 10;
/// Bytes of a body that is read and judged where it comes in: under 1 ms. Larger ones go to [`heavy`](super::heavy).
pub const LIGHT_BODY: usize = 16 * 1024;
/// Work that judging may take there: some 5 ms. What needs more begins anew, with the other large ones.
pub const LIGHT_WORK: u64 = 5_000_000;
/// Work that judging may take at all: some 200 ms, that of a thousand decisions by ten thousand statements.
pub const HEAVY_WORK: u64 = 200_000_000;
/// Large requests of one client that may wait, which is one for each of its connections; and for how long they may.
pub(super) const HEAVY: super::heavy::Limits = super::heavy::Limits {
    of_one: 1_000,
    patience: Duration::from_secs(20),
};
/// For a client to finish its TLS handshake, and before that its PROXY header. It is several round trips, on any network.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// For a client to send the head of its first request.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// For a client to send the body after the head: 1 MiB at some 280 kbit/s.
pub const BODY_TIME: Duration = Duration::from_secs(30);
/// Without a request, before a connection is closed. Longer than what SDKs keep connections for, so that they close first.
pub const IDLE: Duration = Duration::from_secs(90);
/// For an answer of the upstream to begin. SWF holds a poll for 60 s (`PollForDecisionTask` in its API reference).
pub const UPSTREAM: Duration = Duration::from_secs(75);
/// To connect to the upstream, with TLS.
pub const CONNECT: Duration = Duration::from_secs(5);
/// Without a byte of an answer that has begun.
pub const UPSTREAM_IDLE: Duration = Duration::from_secs(30);
/// For a connection to an upstream that nobody uses to be kept. Short, so that upstreams seldom close it first.
pub const UPSTREAM_KEEP: Duration = Duration::from_secs(15);
/// Connections to one address that are kept though nobody uses them.
pub const UPSTREAM_KEPT: usize = 256;
/// Connections to one upstream: each client's connection has at most one under way, if it speaks HTTP/1.1.
pub const UPSTREAM_CONNECTIONS: usize = 20_000;
/// Before an address that could not be connected to is tried again. It doubles up to [`BACK_OFF_MOST`].
pub const BACK_OFF: Duration = Duration::from_millis(250);
/// Before an address is tried again, at most.
pub const BACK_OFF_MOST: Duration = Duration::from_secs(10);
/// For a client to take a piece of its answer: for its system to acknowledge one.
pub const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Without anything that moves while requests are under way: more than a body, an upstream that is waited for, and a pause of its
/// answer take together.
pub const STANDSTILL: Duration = Duration::from_mins(3);
/// For requests under way to end when the listener is told to: a poll that has just begun, and some time to spare.
pub const DRAIN: Duration = Duration::from_secs(90);
/// For records that wait to be written, at the end of the process.
pub const FLUSH: Duration = Duration::from_secs(10);

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all. Each takes some 40 KiB.
    pub connections: usize,
    /// From one address: a host of workers has a connection for each thread that polls.
    pub connections_per_address: usize,
    /// Through one VPC endpoint.
    pub connections_per_endpoint: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_address: 1_000,
            connections_per_endpoint: 10_000,
        }
    }
}
