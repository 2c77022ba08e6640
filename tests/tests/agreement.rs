//! The loaded kernel program against the same code built for the host, on frames that were bent in every way.

mod support;

use std::fs;
use std::path::Path;
use std::process::id;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use support::{product_engine, read, texts};
use swf_filter::dataplane::{Kernel, Pins, preflight};
use swf_filter_common::abi::{Count, Explained};
use swf_filter_common::image::Image;
use swf_filter_common::verdict;
use swf_filter_core::compile::image::{Placement, write};
use swf_filter_core::compile::{Tables, compile};
use swf_filter_tests::for_each_engine;
use swf_filter_tests::generate::{self, INTERFACES};
use swf_filter_tests::netns::Namespace;
use swf_filter_tests::require;
use swf_filter_tests::world::Engine;

/// Policies, and frames for each: more than 100,000 pairs.
const POLICIES: u64 = 60;
const FRAMES: usize = 1_700;

/// The kernel gives up at a million. What this program needs must not creep up unseen.
const MAX_VERIFIED_INSTRUCTIONS: u32 = 150_000;

/// The same for kernels such as 6.1, which notice less often that they were there before.
const MAX_VERIFIED_BEFORE_6_12: u32 = 400_000;

/// Stack of the comparing thread.
const STACK: usize = 32 << 20;

/// More than a page, and a jumbo frame.
const LONGEST_FRAME: u16 = 9_014;

/// The kernel refuses test runs on less than an Ethernet header.
const SHORTEST_FRAME: usize = 14;

for_each_engine!(kernel_and_host_agree_on_every_frame);

fn kernel_and_host_agree_on_every_frame(engine: Engine) -> Result<()> {
    in_a_namespace(&format!("agreement-{}", engine.name()), |directory| {
        compare(directory, engine)
    })
}

#[test]
fn a_packet_in_several_buffers_counts_in_full() -> Result<()> {
    in_a_namespace("lengths", count)
}

fn in_a_namespace(name: &str, test: impl Fn(&Path) -> Result<()> + Sync) -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let namespace = Namespace::new()?;
    for (name, _) in INTERFACES {
        namespace.ip(&format!("link add {name} type veth peer name {name}p"))?;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let directory = Path::new("/sys/fs/bpf").join(format!("swf-filter-test-{}-{name}", id()));
    let outcome = namespace.run(|| {
        let work = || {
            let _in_runtime = runtime.enter();
            test(&directory)
        };
        // A thread started here is in the namespace too. Its stack has room for images, half a MiB each, by value.
        std::thread::scope(|scope| {
            let worker = std::thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, work)?;
            worker.join().expect("the comparison panicked")
        })
    });
    let _may_be_gone = fs::remove_dir_all(&directory);
    outcome
}

fn compare(directory: &Path, engine: Engine) -> Result<()> {
    preflight::check()?;
    let pins = Pins::new(directory);
    pins.prepare()?;
    let mut kernel = Kernel::load(&pins, pins.lock()?, false)?;
    let instructions = kernel
        .programs
        .verified_instructions()?
        .context("the kernel tells no count")?;
    println!("{instructions} instructions verified");
    ensure!(
        instructions <= most_verified()?,
        "the verifier walked {instructions} instructions"
    );
    let interfaces = interfaces()?;
    for seed in 0..POLICIES {
        let mut rng = fastrand::Rng::with_seed(seed);
        let model = generate::policy(&mut rng);
        let generation = compile(&read(&model))?;
        let placement = Placement {
            number: seed + 1,
            hash: generation.hash(),
            slot: u8::from(seed % 2 == 1),
            engine: product_engine(engine),
            cpus: kernel.counters.cpus(),
            interfaces: interfaces.clone(),
        };
        kernel.publisher.publish(&generation, None, &placement)?;
        let words = write(&generation, &placement)?;
        let image = Image::new(words.as_slice());
        for _ in 0..FRAMES {
            let case = generate::case(&mut rng, &model);
            if case.frame.len() < SHORTEST_FRAME {
                continue;
            }
            let number = interfaces
                .iter()
                .find(|(name, _)| **name == *case.ingress.interface);
            let number = number.context("an interface of the universe")?.1;
            let ours = verdict::judge(
                case.frame.as_slice(),
                || number,
                &image,
                &Tables(&generation),
            );
            let probed = kernel.programs.probe(&case.frame, number)?;
            ensure!(
                (probed.dropped, probed.explained) == (ours.reason.drops(), Explained::of(ours)),
                "seed {seed}, {case}\nhost   {ours:?}\nkernel {:?} {:?}\n{}",
                probed.explained.reason(),
                probed.explained.rule(),
                texts(&model),
            );
        }
    }
    Ok(())
}

/// Frames whose IP headers say how long they are, or do not. A test run puts what is longer than a page into more buffers.
fn count(directory: &Path) -> Result<()> {
    preflight::check()?;
    let pins = Pins::new(directory);
    pins.prepare()?;
    let mut kernel = Kernel::load(&pins, pins.lock()?, false)?;
    let interfaces = interfaces()?;
    let interface = interfaces
        .first()
        .context("an interface of the universe")?
        .1;
    let generation = compile(&read(&generate::policy(&mut fastrand::Rng::with_seed(0))))?;
    let placement = Placement {
        number: 1,
        hash: generation.hash(),
        slot: 0,
        engine: product_engine(Engine::Compiled),
        cpus: kernel.counters.cpus(),
        interfaces,
    };
    kernel.publisher.publish(&generation, None, &placement)?;
    for length in [60, 1_514, LONGEST_FRAME] {
        // Type, where the IP header has a length and which, and whether all bytes are counted: not those behind the packet in another buffer.
        for (kind, at, said, in_full) in [
            (0x0800, 16, length - 14, true),
            (0x0800, 16, 0, true),
            (0x0800, 16, u16::MAX, true),
            (0x0800, 16, 28, length < LONGEST_FRAME),
            (0x86dd, 18, length - 54, true),
            (0x86dd, 18, 0, true),
            (0x86dd, 18, 6, length < LONGEST_FRAME),
            (0x0806, 16, 0, true),
        ] {
            let mut frame = vec![0; usize::from(length)];
            frame[12..14].copy_from_slice(&u16::to_be_bytes(kind));
            frame[14] = if kind == 0x86dd { 0x60 } else { 0x45 };
            frame[at..at + 2].copy_from_slice(&said.to_be_bytes());
            let before = counted(&kernel)?;
            kernel.programs.probe(&frame, interface)?;
            let after = counted(&kernel)?;
            let what = format!("{kind:x} of {length} bytes that says {said}");
            ensure!(after.packets - before.packets == 1, "{what}");
            let bytes = after.bytes - before.bytes;
            if in_full {
                ensure!(bytes == u64::from(length), "{what}: {bytes}");
            } else {
                // What the first buffer has.
                ensure!((1_514..4_096).contains(&bytes), "{what}: {bytes}");
            }
        }
    }
    Ok(())
}

/// All that the program counted.
fn counted(kernel: &Kernel) -> Result<Count> {
    let mut all = Count::default();
    for (_, count) in kernel.counters.reasons()? {
        all.packets += count.packets;
        all.bytes += count.bytes;
    }
    Ok(all)
}

fn most_verified() -> Result<u32> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    let version = number().zip(number()).context("no version")?;
    Ok(if version < (6, 12) {
        MAX_VERIFIED_BEFORE_6_12
    } else {
        MAX_VERIFIED_INSTRUCTIONS
    })
}

/// The universe's interfaces as they are numbered in this namespace, bonds under their members.
fn interfaces() -> Result<Vec<(Arc<str>, u32)>> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    let number = |name: &str| rustix::net::netdevice::name_to_index(&socket, name);
    let own = INTERFACES
        .iter()
        .map(|(name, _)| Ok((Arc::from(*name), number(name)?)));
    let bonds = INTERFACES
        .iter()
        .filter_map(|(name, bond)| Some(((*bond)?, *name)));
    own.chain(bonds.map(|(bond, member)| Ok((Arc::from(bond), number(member)?))))
        .collect()
}
