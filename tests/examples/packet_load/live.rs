//! Packets dropped a second, beside other filters of the same list.
//!
//! One core makes frames in the client's namespace and sends them over a veth pair. The kernel filters them on the same core before
//! that goes on, so nothing is lost on the way, and what the generator itself costs counts against the fastest. The time is the kernel's
//! own, without what it takes to prepare. Packets are counted where they reach the interface, by the kernel, for all alike. Each contender has
//! namespaces of its own; their rounds are interleaved. All have a rule that drops what is sent to one host, unless its source is in
//! the list, and all packets have sources outside of it. Before that counts, it is tried that none of these arrive, and that those
//! from inside do.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpMode;
use fastrand::Rng;
use swf_filter_tests::figure::{Better, Figure, Part};
use swf_filter_tests::frames::{Frame, checksum};
use swf_filter_tests::link::set_feature;
use swf_filter_tests::process::run;
use swf_filter_tests::world::World;

use crate::gates::{self, Gate, PORT, Shape};
use crate::kernel::{BARE, Kernel, Packet};
use crate::lists::{Family, List};
use crate::peers::{self, Peer};
use crate::{Effort, be_measured};

const PART: &str = "live";
const CASE: &str = "IPv4, drop";
const UNIT: &str = "million packets/s";
const ROUNDS: usize = 5;
/// Frames of one call.
const FRAMES: u32 = 1 << 16;
/// Sources of a list, at the least.
const SOURCES: usize = 1 << 20;
/// Time of a round.
const FOR: Duration = Duration::from_millis(300);
/// Time of a trial.
const SHORTLY: Duration = Duration::from_millis(50);
const BYTES_OF_PAYLOAD: usize = 18;

/// One that drops packets, and the world where it does.
struct Contender<'a> {
    kind: Kind<'a>,
    world: &'a World,
}

enum Kind<'a> {
    Bare,
    Gate(&'a Gate),
    Peer(Peer),
}

/// Packets to send, some of each.
struct Streams {
    outside: Vec<Packet>,
    inside: Vec<Packet>,
    frame: Vec<u8>,
}

pub(crate) fn measure(kernel: &mut Kernel, gates: &[Gate], effort: Effort) -> Result<Part> {
    let mut part = Part::default();
    let bare = world("bare")?;
    let _link = attach_bare(kernel, &bare)?;
    let _sweep = peers::Sweep;
    let mut others = Vec::new();
    for peer in Peer::ALL {
        let world = world(&format!("{peer:?}"))?;
        if peer.needs_buffers() {
            set_feature(&world.host, "eth1", "gro", "on")?;
        }
        match peer.prepare(&world) {
            Ok(()) => others.push((peer, world)),
            Err(error) => part
                .notes
                .push(format!("{}: not measured: {error:#}", peer.name())),
        }
    }
    for gate in gates {
        ready(&gate.world)?;
    }
    for size in effort.sizes().iter().filter(|size| **size != 1_000) {
        eprintln!("bench: live: {size} prefixes");
        let list = List::new(Family::V4, *size, 1);
        let mut contenders = vec![Contender {
            kind: Kind::Bare,
            world: &bare,
        }];
        for gate in gates {
            gate.enforce(Shape::One, std::slice::from_ref(&list))?;
            contenders.push(Contender {
                kind: Kind::Gate(gate),
                world: &gate.world,
            });
        }
        for (peer, world) in &others {
            if !peer.holds(*size) {
                continue;
            }
            match peer.enforce(world, &list) {
                Ok(()) => contenders.push(Contender {
                    kind: Kind::Peer(*peer),
                    world,
                }),
                Err(error) => {
                    let name = peer.name();
                    part.notes.push(format!(
                        "{name}: not measured with {size} prefixes: {error:#}"
                    ));
                }
            }
        }
        part.figures
            .extend(compare(kernel, &contenders, &list, *size)?);
    }
    Ok(part)
}

fn compare(
    kernel: &mut Kernel,
    contenders: &[Contender<'_>],
    list: &List,
    size: usize,
) -> Result<Vec<Figure>> {
    let streams = Streams::new(contenders, list);
    for contender in contenders {
        contender
            .try_out(kernel, &streams)
            .with_context(|| contender.name())?;
    }
    kernel.write(&streams.outside, 1)?;
    let mut rates = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for (contender, rates) in contenders.iter().zip(&mut rates) {
            rates.push(contender.send(kernel, &streams.frame, FOR)?.rate);
        }
    }
    let figures: Vec<Figure> = contenders
        .iter()
        .zip(&rates)
        .map(|(contender, rates)| {
            Figure::new(PART, [contender.name(), CASE, UNIT], Better::More, rates).at(size)
        })
        .collect();
    let bare = figures[0].clone();
    Ok(figures
        .into_iter()
        .map(|figure| figure.beside(&bare.series, bare.best))
        .collect())
}

/// What came of sending.
struct Sent {
    /// Packets that reached the interface.
    received: u64,
    /// Packets that got to where a socket would be.
    delivered: u64,
    /// Millions of packets a second that reached the interface.
    rate: f64,
}

impl Contender<'_> {
    fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Bare => "bare XDP_DROP",
            Kind::Gate(gate) => gate.engine,
            Kind::Peer(peer) => peer.name(),
        }
    }

    /// Fails unless it drops what it should, and only that.
    fn try_out(&self, kernel: &mut Kernel, streams: &Streams) -> Result<()> {
        kernel.write(&streams.outside, 1)?;
        let sent = self.send(kernel, &streams.frame, SHORTLY)?;
        ensure!(sent.received > 0, "nothing comes in");
        ensure!(
            sent.delivered == 0,
            "it lets in {} of {}",
            sent.delivered,
            sent.received
        );
        if matches!(self.kind, Kind::Bare) {
            return Ok(());
        }
        kernel.write(&streams.inside, 1)?;
        let sent = self.send(kernel, &streams.frame, SHORTLY)?;
        ensure!(
            sent.delivered * 10 > sent.received * 9,
            "it lets in no more than {} of {}",
            sent.delivered,
            sent.received
        );
        Ok(())
    }

    fn send(&self, kernel: &mut Kernel, frame: &[u8], time: Duration) -> Result<Sent> {
        let before = self.counts()?;
        let took = self.world.one.run(|| -> Result<Duration> {
            be_measured()?;
            let interface = nix::net::if_::if_nametoindex("eth0")?;
            let mut took = Duration::ZERO;
            while took < time {
                took += kernel.send(frame, interface, FRAMES)?;
            }
            Ok(took)
        })?;
        // The last ones may still be on their way up.
        thread::sleep(Duration::from_millis(20));
        let after = self.counts()?;
        let received = after.0 - before.0;
        #[expect(clippy::cast_precision_loss, reason = "there are some millions")]
        let rate = received as f64 / took.as_secs_f64() / 1e6;
        Ok(Sent {
            received,
            delivered: after.1 - before.1,
            rate,
        })
    }

    /// Packets that reached the interface, and those that got to where a socket would be.
    fn counts(&self) -> Result<(u64, u64)> {
        let shown = run(self.world.host.command("ethtool").args(["-S", "eth1"]))?;
        let received = shown
            .lines()
            .filter_map(|line| line.trim().split_once(": "))
            .filter(|(name, _)| name.starts_with("rx_queue_") && name.ends_with("_xdp_packets"))
            .filter_map(|(_, count)| count.parse::<u64>().ok())
            .sum();
        let snmp = self
            .world
            .host
            .run(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))?;
        let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let names = udp.next().context("no counters of UDP")?.split(' ');
        let mut counts = names.zip(udp.next().unwrap_or_default().split(' '));
        let (_, delivered) = counts
            .find(|(name, _)| *name == "NoPorts")
            .context("no `NoPorts`")?;
        Ok((received, delivered.parse()?))
    }
}

impl Streams {
    fn new(contenders: &[Contender<'_>], list: &List) -> Self {
        let [source, destination] = contenders[0].world.cable_one().map(|end| end.mac.0);
        let address = gates::v4(0).parse().expect("an address");
        let frame = Frame::ipv4([0, 0, 0, 0].into(), address)
            .udp(40_000, PORT)
            .payload(&[0; BYTES_OF_PAYLOAD])
            .macs(source, destination)
            .to_bytes();
        let mut frame = frame;
        // No checksum (RFC 768): that of another source would be wrong.
        frame[40..42].fill(0);
        let mut rng = Rng::with_seed(4);
        let packet = |source| packet(&frame, source);
        let outside = (0..SOURCES)
            .map(|_| packet(list.outside(&mut rng)))
            .collect();
        let addresses = peers::addresses(list);
        let inside = addresses.into_iter().map(packet).collect();
        Self {
            outside,
            inside,
            frame,
        }
    }
}

/// A source, with the checksum that the header has then.
fn packet(frame: &[u8], source: u128) -> Packet {
    let mut header = frame[14..34].to_vec();
    header[10..12].fill(0);
    header[12..16].copy_from_slice(&source.to_be_bytes()[..4]);
    Packet {
        source,
        host: gates::number(0),
        more: checksum(&header),
    }
}

fn world(name: &str) -> Result<World> {
    let Some(world) = World::silent(&format!("live-{name}"))? else {
        bail!("this needs root, and `cargo xtask bench` to run it");
    };
    ready(&world)?;
    Ok(world)
}

/// Lets the client send live frames, and gives the host its address.
fn ready(world: &World) -> Result<()> {
    set_feature(&world.one, "eth0", "gro", "on")?;
    world
        .host
        .ip(&format!("address add {}/32 dev lo", gates::v4(0)))
        .map(drop)
}

fn attach_bare(kernel: &mut Kernel, world: &World) -> Result<FdLink> {
    let program = kernel.program(BARE)?;
    world.host.run(|| {
        let id = program.attach("eth1", XdpMode::Driver)?;
        Ok(program.take_link(id)?.try_into()?)
    })
}
