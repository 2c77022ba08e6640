//! Runs programs in the kernel, on packets of a stream.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramFd, ProgramInfo, TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, programs};

/// Words of the stream, as in the kernel programs.
const WORDS: usize = 1 << 22;
/// Frames that are handed on together; the kernel's default.
const BATCH: u32 = 64;

type Stream = [u64; WORDS];

/// The kernel programs for benches.
pub(crate) struct Kernel {
    ebpf: Ebpf,
    stream: Array<MapData, Stream>,
    position: Array<MapData, u64>,
    next: ProgramArray<MapData>,
}

/// What each packet of a stream gets.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    /// An IPv4 address is in the high 32 bits.
    pub(crate) source: u128,
    /// The last two bytes of the destination.
    pub(crate) host: u16,
    /// The VLAN, or the checksum of an IPv4 header.
    pub(crate) more: u16,
}

impl Kernel {
    /// Loads them all.
    pub(crate) fn load(object: &Path) -> Result<Self> {
        let mut ebpf = Ebpf::load_file(object)
            .with_context(|| format!("cannot load `{}`", object.display()))?;
        let names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let program = program(&mut ebpf, &name)?;
            program
                .load()
                .with_context(|| format!("cannot load `{name}`"))?;
        }
        let mut take = |name| {
            ebpf.take_map(name)
                .with_context(|| format!("no map `{name}`"))
        };
        Ok(Self {
            stream: take("STREAM")?.try_into()?,
            position: take("POSITION")?.try_into()?,
            next: take("NEXT")?.try_into()?,
            ebpf,
        })
    }

    pub(crate) fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        program(&mut self.ebpf, name)
    }

    /// Gives the programs a stream, of one word for each packet or of four. It is as often in it as there is room.
    pub(crate) fn write(&mut self, packets: &[Packet], words: usize) -> Result<()> {
        ensure!(packets.len() * words <= WORDS, "the stream is too long");
        let mut stream = vec![0; WORDS].into_boxed_slice();
        for (packet, place) in packets.iter().cycle().zip(stream.chunks_mut(words)) {
            let [a, b, c, d, ..] = packet.source.to_be_bytes();
            let [[high, low], [one, two]] = [packet.host, packet.more].map(u16::to_be_bytes);
            if let [only] = place {
                *only = u64::from_ne_bytes([a, b, c, d, high, low, one, two]);
            } else {
                let source = packet.source.to_be_bytes();
                let (first, second) = source.split_at(8);
                place[0] = u64::from_ne_bytes(first.try_into()?);
                place[1] = u64::from_ne_bytes(second.try_into()?);
                place[2] = u64::from_ne_bytes([high, low, one, two, 0, 0, 0, 0]);
            }
        }
        let stream: Box<Stream> = stream.try_into().expect("it has as many words");
        // By reference: it would not fit on the stack.
        let stream: &Stream = &stream;
        Ok(self.stream.set(0, stream, 0)?)
    }

    /// Puts a program behind the stream.
    pub(crate) fn put(&mut self, program: &ProgramFd) -> Result<()> {
        let set = self.next.set(0, program, 0);
        set.context("the kernel does not take the program into a table")
    }

    /// Puts the bare program behind the stream.
    pub(crate) fn put_bare(&mut self) -> Result<()> {
        let bare = program(&mut self.ebpf, BARE)?;
        Ok(self.next.set(0, bare.fd()?, 0)?)
    }

    /// Nanoseconds that a run of a program takes, over so many; fails if the last one does not return `action`.
    ///
    /// The kernel leaves out whatever made the run wait, but rounds down. Where the wall clock agrees with it to the nanosecond, what
    /// that says is more exact.
    pub(crate) fn time(
        &mut self,
        name: &str,
        frame: &[u8],
        repeat: u32,
        action: u32,
    ) -> Result<f64> {
        self.position.set(0, 0, 0)?;
        let program = program(&mut self.ebpf, name)?;
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat,
            ..TestRunOptions::new()
        };
        let start = Instant::now();
        let result = program
            .test_run(options)
            .with_context(|| format!("cannot run `{name}`"))?;
        let wall = start.elapsed().as_secs_f64() * 1e9 / f64::from(repeat);
        let returned = result.return_value;
        ensure!(
            returned == action,
            "`{name}` returned {returned}, not {action}"
        );
        let counted = result.duration.as_secs_f64() * 1e9;
        let agree = (counted..counted + 1.0).contains(&wall);
        Ok(if agree { wall } else { counted + 0.5 })
    }

    /// Sends so many frames of the stream from an interface of the namespace that this thread is in, and gives the kernel's
    /// time for that.
    ///
    /// What it takes to prepare for the first frame, which is as long as some ten thousand frames, is not in it.
    pub(crate) fn send(&mut self, frame: &[u8], interface: u32, count: u32) -> Result<Duration> {
        let length = u32::try_from(frame.len())?;
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: Vec<u8> = [0, length, 0, interface, 0, 0]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat: count,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        let sent = program(&mut self.ebpf, "send_v4")?.test_run(options);
        Ok(sent.context("cannot send frames")?.duration * count)
    }
}

/// The packet gate, as the daemon with these pins loaded it.
pub(crate) fn gate(pins: &Path) -> Result<ProgramFd> {
    let versions = std::fs::read_dir(pins)?.flatten().map(|entry| entry.path());
    let path = versions
        .map(|version| version.join("program"))
        .find(|path| path.exists())
        .context("the daemon has pinned no program")?;
    Ok(ProgramInfo::from_pin(path)?.fd()?)
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("no program `{name}`"))?;
    Ok(program
        .try_into()
        .map_err(|error: programs::ProgramError| error)?)
}

/// The program that only drops.
pub(crate) const BARE: &str = "bare_drop";
