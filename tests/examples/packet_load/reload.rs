//! From the text of a list to its enforcement: how long, in which steps, and how much memory; beside tools that do the same.
//!
//! Each contender changes from one list to another of the same length, again and again. The time is that of the command which asks
//! for it, from its start to its end.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use swf_filter_tests::figure::{Better, Figure, Part};
use swf_filter_tests::world::World;

use crate::Effort;
use crate::gates::{Gate, Shape};
use crate::lists::{Family, List};
use crate::peers::Peer;

const PART: &str = "reload";
const ROUNDS: usize = 3;
/// What the others are compared with.
const PEERS: [Peer; 2] = [Peer::Netdev, Peer::Ipset];

/// What was measured of one of them.
struct Measured {
    name: &'static str,
    seconds: Vec<f64>,
    mebibytes: Vec<f64>,
    /// Milliseconds of each step, if it says so.
    steps: Vec<(String, Vec<f64>)>,
}

pub(crate) fn measure(gates: &[Gate], effort: Effort) -> Result<Part> {
    let mut part = Part::default();
    let mut peers = Vec::new();
    for peer in PEERS {
        let Some(world) = World::silent(&format!("reload-{peer:?}"))? else {
            bail!("this needs root, and `cargo xtask bench` to run it");
        };
        peer.prepare(&world)?;
        peers.push((peer, world));
    }
    for size in effort.sizes().iter().filter(|size| **size >= 10_000) {
        eprintln!("bench: reload: {size} prefixes");
        let lists = [1, 2].map(|seed| List::new(Family::V4, *size, seed));
        let mut measured: Vec<Measured> = Vec::new();
        measured.extend(gates.iter().map(|gate| Measured::new(gate.engine)));
        measured.extend(PEERS.map(|peer| Measured::new(command_of(peer))));
        for round in 0..ROUNDS {
            let list = &lists[round % lists.len()];
            let (own, others) = measured.split_at_mut(gates.len());
            for (gate, measured) in gates.iter().zip(own) {
                measured.gate(gate, list)?;
            }
            for ((peer, world), measured) in peers.iter().zip(others) {
                measured.peer(*peer, world, list)?;
            }
        }
        part.figures.extend(figures(&measured, *size));
    }
    Ok(part)
}

fn command_of(peer: Peer) -> &'static str {
    match peer {
        Peer::Ipset => "ipset restore",
        _ => "nft -f",
    }
}

fn figures(measured: &[Measured], size: usize) -> Vec<Figure> {
    let figure = |one: &Measured, case: &str, unit: &str, rounds: &[f64]| {
        Figure::new(PART, [one.name, case, unit], Better::Less, rounds).at(size)
    };
    let totals: Vec<Figure> = measured
        .iter()
        .map(|one| figure(one, "text to enforced", "s", &one.seconds))
        .collect();
    let nft = totals
        .iter()
        .find(|total| total.series == command_of(Peer::Netdev));
    let nft = nft.cloned().expect("it is one of them");
    let totals = totals
        .into_iter()
        .map(|total| total.beside(&nft.series, nft.best));
    let memory = measured
        .iter()
        .map(|one| figure(one, "peak memory of the process", "MiB", &one.mebibytes));
    let steps = measured
        .iter()
        .flat_map(|one| {
            one.steps
                .iter()
                .map(move |(step, rounds)| (one, step, rounds))
        })
        .map(|(one, step, rounds)| figure(one, &format!("step: {step}"), "ms", rounds));
    totals.chain(memory).chain(steps).collect()
}

impl Measured {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            seconds: Vec::new(),
            mebibytes: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn gate(&mut self, gate: &Gate, list: &List) -> Result<()> {
        gate.write(Shape::One, std::slice::from_ref(list))?;
        let pid = gate.daemon.id();
        // Forgets the peak (proc(5)).
        fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        let start = Instant::now();
        let answer = gate.world.ask(&["reload"])?;
        let seconds = start.elapsed().as_secs_f64();
        self.seconds.push(seconds);
        self.mebibytes
            .push(peak(pid).context("the daemon has ended")?);
        let prefixes = answer["generation"]["prefixes"]
            .as_u64()
            .unwrap_or_default();
        ensure!(
            answer["changed"] == true && prefixes > 0,
            "nothing was loaded: {answer}"
        );
        let steps = answer["milliseconds"].as_object().context("no durations")?;
        let mut rest = seconds * 1e3;
        for (step, took) in steps {
            let took = took.as_f64().context("a duration that is no number")?;
            rest -= took;
            self.step(step, took);
        }
        // Among others to save the generation on disk, and to ask.
        self.step("rest", rest);
        Ok(())
    }

    fn step(&mut self, step: &str, took: f64) {
        match self.steps.iter_mut().find(|(known, _)| known == step) {
            Some((_, rounds)) => rounds.push(took),
            None => self.steps.push((step.to_owned(), vec![took])),
        }
    }

    fn peer(&mut self, peer: Peer, world: &World, list: &List) -> Result<()> {
        let (program, arguments) = peer.write(world, list)?.context("it reads no files")?;
        let start = Instant::now();
        let mut child = world
            .host
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut highest: f64 = 0.0;
        let status = loop {
            // The peak never falls; the last look before the end is as good as one after it.
            highest = peak(child.id()).map_or(highest, |peak| highest.max(peak));
            if let Some(status) = child.try_wait()? {
                break status;
            }
            thread::sleep(Duration::from_millis(1));
        };
        ensure!(status.success(), "`{program}` failed, {status}");
        self.seconds.push(start.elapsed().as_secs_f64());
        self.mebibytes.push(highest);
        Ok(())
    }
}

/// The most memory that a process has had resident, in MiB.
fn peak(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024.0)
}
