//! The loaded kernel program against the same code built for the host, on frames that were bent in every way.

mod support;

use std::fs;
use std::path::Path;
use std::process::id;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use support::{product_engine, read, texts};
use swf_filter::dataplane::{Kernel, Pins, preflight};
use swf_filter_common::abi::Explained;
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
const MAX_VERIFIED_BEFORE_6_12: u32 = 700_000;

/// Stack of the comparing thread.
const STACK: usize = 32 << 20;

/// The kernel refuses test runs on less than an Ethernet header.
const SHORTEST_FRAME: usize = 14;

for_each_engine!(kernel_and_host_agree_on_every_frame);

fn kernel_and_host_agree_on_every_frame(engine: Engine) -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let namespace = Namespace::new()?;
    for (name, _) in INTERFACES {
        namespace.ip(&format!("link add {name} type veth peer name {name}p"))?;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let directory = Path::new("/sys/fs/bpf").join(format!(
        "swf-filter-test-{}-agreement-{}",
        id(),
        engine.name()
    ));
    let outcome = namespace.run(|| {
        let work = || {
            let _in_runtime = runtime.enter();
            compare(&directory, engine)
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
    let mut kernel = Kernel::load(&pins, false)?;
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

/// The universe's interfaces as they are numbered in this namespace, bonds under their members.
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
