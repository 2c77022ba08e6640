//! What a packet costs, by test run of the whole program over what its daemon enforces.
//!
//! Each run meets another source, and where there are many, another host and VLAN. What it takes to write these into the frame is
//! measured with a bare program behind it, and taken off. Rounds of all engines are interleaved with those of the baselines. That each
//! packet got what it should is read from the gate's own counters.

use anyhow::{Result, ensure};
use aya::programs::ProgramFd;
use fastrand::Rng;
use swf_filter_tests::figure::{Better, Figure, Part};
use swf_filter_tests::frames::Frame;
use swf_filter_tests::world::counted_since;

use crate::Effort;
use crate::gates::{self, Gate, PORT, Shape, VLANS};
use crate::kernel::{self, BARE, Kernel, Packet};
use crate::lists::{Family, List};

const PART: &str = "packet";
const UNIT: &str = "ns";
const ROUNDS: usize = 7;
/// `enum xdp_action` (`linux/bpf.h`).
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// What becomes of packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Drop,
    Pass,
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Pass => "pass",
        }
    }

    fn action(self) -> u32 {
        match self {
            Self::Drop => XDP_DROP,
            Self::Pass => XDP_PASS,
        }
    }

    /// The gate's reason.
    fn reason(self) -> &'static str {
        match self {
            Self::Drop => "default-drop",
            Self::Pass => "allow",
        }
    }
}

pub(crate) fn measure(kernel: &mut Kernel, gates: &[Gate], effort: Effort) -> Result<Part> {
    let mut part = Part::default();
    let bench = Bench {
        gates,
        programs: programs(gates)?,
        repeat: effort.packets(),
    };
    for size in effort.sizes() {
        bench.measure(kernel, &mut part, Shape::One, *size)?;
        if *size == 10_000 || effort == Effort::Full && *size > 10_000 {
            for shape in [Shape::Rules, Shape::Hosts, Shape::Lists] {
                bench.measure(kernel, &mut part, shape, *size)?;
            }
        }
    }
    Ok(part)
}

struct Bench<'a> {
    gates: &'a [Gate],
    programs: Vec<ProgramFd>,
    repeat: u32,
}

fn programs(gates: &[Gate]) -> Result<Vec<ProgramFd>> {
    gates
        .iter()
        .map(|gate| kernel::gate(gate.world.pins()))
        .collect()
}

impl Bench<'_> {
    fn measure(
        &self,
        kernel: &mut Kernel,
        part: &mut Part,
        shape: Shape,
        size: usize,
    ) -> Result<()> {
        eprintln!("bench: packet: {}, {size} prefixes", shape.name());
        let lists = [Family::V4, Family::V6].map(|family| List::new(family, size, 1));
        for gate in self.gates {
            gate.enforce(shape, &lists)?;
        }
        for (family, list) in [Family::V4, Family::V6].into_iter().zip(&lists) {
            for fate in [Fate::Drop, Fate::Pass] {
                let case = format!("{}, {}, {}", family.name(), fate.name(), shape.name());
                let words = if family == Family::V4 { 1 } else { 4 };
                kernel.write(&packets(shape, list, fate, self.repeat), words)?;
                let entry = entry(family, shape);
                let frame = frame(family, shape).to_bytes();
                self.rounds(kernel, part, (entry, &frame, fate), (&case, size))?;
            }
        }
        Ok(())
    }

    fn rounds(
        &self,
        kernel: &mut Kernel,
        part: &mut Part,
        (entry, frame, fate): (&str, &[u8], Fate),
        (case, size): (&str, usize),
    ) -> Result<()> {
        let before: Vec<_> = self.counts()?;
        let (mut bare, mut streamed) = (Vec::new(), Vec::new());
        let mut times = vec![Vec::new(); self.gates.len()];
        for _ in 0..ROUNDS {
            bare.push(kernel.time(BARE, frame, self.repeat, XDP_DROP)?);
            kernel.put_bare()?;
            streamed.push(kernel.time(entry, frame, self.repeat, XDP_DROP)?);
            for (program, times) in self.programs.iter().zip(&mut times) {
                kernel.put(program)?;
                times.push(kernel.time(entry, frame, self.repeat, fate.action())?);
            }
        }
        for ((gate, before), after) in self.gates.iter().zip(before).zip(self.counts()?) {
            let judged = counted_since(&before, &after);
            let wanted = u64::from(self.repeat) * ROUNDS as u64;
            ensure!(
                judged.get(fate.reason()) == Some(&wanted) && judged.len() == 1,
                "{}, {case}: {wanted} packets should be `{}`, but: {judged:?}",
                gate.engine,
                fate.reason()
            );
        }
        let bare = Figure::new(PART, ["bare XDP_DROP", case, UNIT], Better::Less, &bare).at(size);
        let least = streamed.iter().copied().fold(f64::INFINITY, f64::min);
        let own = least - bare.best;
        for (gate, times) in self.gates.iter().zip(times) {
            let times: Vec<f64> = times.into_iter().map(|time| time - own).collect();
            let figure = Figure::new(PART, [gate.engine, case, UNIT], Better::Less, &times);
            part.figures
                .push(figure.at(size).beside(&bare.series, bare.best));
        }
        let stream = Figure::new(
            PART,
            ["stream before bare XDP_DROP", case, UNIT],
            Better::Less,
            &streamed,
        );
        part.figures
            .push(stream.at(size).beside(&bare.series, bare.best));
        part.figures
            .push(bare.clone().beside(&bare.series, bare.best));
        Ok(())
    }

    fn counts(&self) -> Result<Vec<swf_filter_tests::world::Counts>> {
        self.gates.iter().map(|gate| gate.world.reasons()).collect()
    }
}

fn entry(family: Family, shape: Shape) -> &'static str {
    match (family, shape.is_tagged()) {
        (Family::V4, false) => "stream_v4",
        (Family::V4, true) => "stream_v4_tagged",
        (Family::V6, false) => "stream_v6",
        (Family::V6, true) => "stream_v6_tagged",
    }
}

fn frame(family: Family, shape: Shape) -> Frame {
    let [source, destination] = match family {
        Family::V4 => ["192.0.2.1".to_owned(), gates::v4(0)],
        Family::V6 => ["2001:db8::1".to_owned(), gates::v6(0)],
    };
    let address = |text: String| text.parse().expect("an address");
    let frame = Frame::ip(address(source), address(destination)).tcp(40_000, PORT);
    if shape.is_tagged() {
        frame.vlan(1)
    } else {
        frame
    }
}

fn packets(shape: Shape, list: &List, fate: Fate, count: u32) -> Vec<Packet> {
    let mut rng = Rng::with_seed(2);
    let shares = match shape {
        Shape::Lists => list.shares(gates::HOSTS),
        _ => vec![list.clone()],
    };
    (0..count)
        .map(|_| {
            let host = rng.usize(..shape.hosts());
            let own = shares.get(host).unwrap_or(&shares[0]);
            let source = match fate {
                Fate::Drop if shares.len() > 1 => foreign(&shares, own, &mut rng),
                Fate::Drop => own.outside(&mut rng),
                Fate::Pass => own.inside(&mut rng),
            };
            let more = rng.u16(1..=VLANS);
            Packet {
                source,
                host: gates::number(host),
                more,
            }
        })
        .collect()
}

/// A source that another host lets in, but this one does not.
fn foreign(shares: &[List], own: &List, rng: &mut Rng) -> u128 {
    loop {
        let source = shares[rng.usize(..shares.len())].inside(rng);
        if !own.covers(source) {
            return source;
        }
    }
}
