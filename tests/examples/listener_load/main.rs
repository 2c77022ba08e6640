//! What the listener costs beside plain TLS proxies: CPU time for a request and for a connection, and latencies at one load.
//!
//! `cargo xtask bench` runs this. All run in one namespace, over loopback, with one certificate, suite and curve, before one upstream
//! that answers at once. What is measured has a core of its own; its CPU time is what the kernel counted for its threads. Rounds of all
//! are interleaved, so that what else the machine does hits all alike.
//!
//! The proxies only terminate TLS and forward. The listener also reads the request strictly, verifies its signature, decides by
//! documents, and writes an audit record.

mod load;
mod peers;
mod upstream;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use swf_filter_tests::figure::{Better, Figure, Part};
use swf_filter_tests::world::World;

use load::{Load, Target};
use peers::Peer;

/// Rounds, and those of a `quick` run.
const ROUNDS: usize = 7;
const QUICK: usize = 3;
/// Requests of a round, and connections that they come over.
const REQUESTS: usize = 8_000;
const CONNECTIONS: usize = 32;
/// Connections of a round, each with one request.
const FRESH: usize = 800;
/// Requests a second, for latencies, and for how long.
const OFFERED: usize = 1_000;
const FOR: Duration = Duration::from_secs(4);
/// Clients that send what takes the most work meanwhile.
const ATTACKERS: usize = 50;

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
    let rounds = match std::env::args().nth(1).as_deref() {
        Some("quick") => QUICK,
        _ => ROUNDS,
    };
    for round in 0..rounds {
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
            if peer.is_own() {
                let offered = (OFFERED, FOR);
                one.beside
                    .push(load.latencies_beside(peer.target(), offered, ATTACKERS)?);
            }
        }
        eprintln!("bench: listener: round {} of {rounds}", round + 1);
    }
    println!("{}", serde_json::to_string_pretty(&report(&measured))?);
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
    /// The same beside clients that mean harm; the listener's only.
    beside: Vec<(f64, f64)>,
}

impl<'a> Measured<'a> {
    fn new(peer: &'a Peer) -> Self {
        Self {
            peer,
            request: Vec::new(),
            connection: Vec::new(),
            latency: Vec::new(),
            beside: Vec::new(),
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

/// Who the others are compared with.
const BASELINE: &str = "nginx";

/// What each round gave.
type Rounds = fn(&Measured<'_>) -> Vec<f64>;

fn report(measured: &[Measured<'_>]) -> Part {
    let cases: [(&str, Rounds); 4] = [
        ("CPU for a request", |one| one.request.clone()),
        ("CPU for a connection", |one| one.connection.clone()),
        ("median latency", |one| {
            one.latency.iter().map(|(p50, _)| *p50).collect()
        }),
        ("99th percentile of latency", |one| {
            one.latency.iter().map(|(_, p99)| *p99).collect()
        }),
    ];
    let mut part = Part {
        notes: vec![format!("latencies are at {OFFERED} requests a second")],
        ..Part::default()
    };
    for (case, rounds) in cases {
        let figures: Vec<Figure> = measured
            .iter()
            .map(|one| {
                Figure::new(
                    "listener",
                    [one.peer.name(), case, "\u{b5}s"],
                    Better::Less,
                    &rounds(one),
                )
            })
            .collect();
        let baseline = figures.iter().find(|figure| figure.series == BASELINE);
        let best = baseline.map(|figure| figure.best);
        part.figures
            .extend(figures.into_iter().map(|figure| match best {
                Some(best) => figure.beside(BASELINE, best),
                None => figure,
            }));
    }
    part.figures.extend(
        measured
            .iter()
            .filter(|one| one.peer.is_own())
            .flat_map(beside),
    );
    part
}

/// One of two percentiles.
type Pick = fn(&(f64, f64)) -> f64;

/// What clients that mean harm do to the latencies of others: the ratio is to those without them.
fn beside(one: &Measured<'_>) -> [Figure; 2] {
    let cases: [(&str, Pick); 2] = [
        ("median latency beside 50 attackers", |(p50, _)| *p50),
        ("99th percentile beside 50 attackers", |(_, p99)| *p99),
    ];
    cases.map(|(case, pick)| {
        let rounds = |all: &[(f64, f64)]| all.iter().map(pick).collect::<Vec<f64>>();
        let figure = |case, rounds: &[f64]| {
            Figure::new(
                "listener",
                [one.peer.name(), case, "\u{b5}s"],
                Better::Less,
                rounds,
            )
        };
        let usual = figure("usual", &rounds(&one.latency));
        figure(case, &rounds(&one.beside)).beside("without them", usual.best)
    })
}

impl Peer {
    fn target(&self) -> Target {
        Target {
            address: self.address,
        }
    }
}
