//! What the listener costs beside plain TLS proxies: CPU time for a request and for a connection, and latencies at one load.
//!
//! `cargo xtask bench` runs this. All run in one namespace, over loopback, with one certificate, suite and curve, before one upstream
//! that answers at once. What is measured has a core of its own; its CPU time is what the kernel counted for its threads. Rounds of all
//! are interleaved, and the figures are medians, so that what else the machine does hits all alike.
//!
//! The proxies only terminate TLS and forward. The listener also reads the request strictly, verifies its signature, decides by
//! documents, and writes an audit record.

mod load;
mod peers;
mod upstream;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use swf_filter_tests::world::World;

use load::{Load, Target};
use peers::Peer;

/// Rounds, of which the median counts.
const ROUNDS: usize = 7;
/// Requests of a round, and connections that they come over.
const REQUESTS: usize = 8_000;
const CONNECTIONS: usize = 32;
/// Connections of a round, each with one request.
const FRESH: usize = 800;
/// Requests a second, for latencies, and for how long.
const OFFERED: usize = 1_000;
const FOR: Duration = Duration::from_secs(4);

fn main() -> Result<()> {
    let Some(world) = World::new("bench")? else {
        bail!("this needs root, and `cargo xtask bench` to run it");
    };
    let setting = peers::Setting::new(&world)?;
    let upstream = world.host.door();
    std::thread::spawn(move || upstream.run(upstream::serve));
    let peers = peers::start(&world, &setting)?;
    let load = Load::new(&world, &setting)?;
    for peer in &peers {
        load.warm_up(peer.target())
            .with_context(|| format!("{} does not answer: {}", peer.name(), peer.said()))?;
    }
    let mut measured: Vec<Measured> = peers.iter().map(Measured::new).collect();
    for round in 0..ROUNDS {
        for one in &mut measured {
            let peer = one.peer;
            one.request.push(cost(peer, REQUESTS, || {
                load.requests(peer.target(), REQUESTS, CONNECTIONS)
            })?);
            one.connection.push(cost(peer, FRESH, || {
                load.connections(peer.target(), FRESH)
            })?);
            one.latency
                .push(load.latencies(peer.target(), OFFERED, FOR)?);
        }
        eprintln!("bench: listener: round {} of {ROUNDS}", round + 1);
    }
    println!("{:#}", report(&measured));
    Ok(())
}

/// What was measured of one of them.
struct Measured<'a> {
    peer: &'a Peer,
    /// Microseconds of CPU for a request, each round.
    request: Vec<f64>,
    /// The same for a connection with one request.
    connection: Vec<f64>,
    /// The median and the 99th percentile, in microseconds.
    latency: Vec<(f64, f64)>,
}

impl<'a> Measured<'a> {
    fn new(peer: &'a Peer) -> Self {
        Self {
            peer,
            request: Vec::new(),
            connection: Vec::new(),
            latency: Vec::new(),
        }
    }
}

/// Microseconds of a peer's CPU for each of `count`.
fn cost(peer: &Peer, count: usize, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let before = peer.cpu()?;
    work()?;
    let spent = peer.cpu()?.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "there are some thousand")]
    Ok(spent.as_secs_f64() * 1e6 / count as f64)
}

fn report(measured: &[Measured<'_>]) -> Value {
    let rows = measured.iter().map(|one| {
        let (p50, p99): (Vec<f64>, Vec<f64>) = one.latency.iter().copied().unzip();
        json!({
            "name": one.peer.name(),
            "cpu_request_us": median(&one.request),
            "cpu_request_spread": spread(&one.request),
            "cpu_connection_us": median(&one.connection),
            "cpu_connection_spread": spread(&one.connection),
            "p50_us": median(&p50),
            "p99_us": median(&p99),
        })
    });
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    json!({
        "rounds": ROUNDS,
        "offered_per_second": OFFERED,
        "cpu": model.map(|model| model.trim_start_matches([' ', '\t', ':'])),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "rows": rows.collect::<Vec<_>>(),
    })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// From the lowest to the highest, as a part of the median.
fn spread(values: &[f64]) -> f64 {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    (most - least) / median(values)
}

impl Peer {
    fn target(&self) -> Target {
        Target {
            address: self.address,
        }
    }
}
