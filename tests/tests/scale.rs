//! Policies as large as they get in practice, and larger.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use anyhow::{Result, ensure};
use swf_filter_common::abi::PAGE_WORDS;
use swf_filter_tests::for_each_engine;
use swf_filter_tests::frames::Frame;
use swf_filter_tests::process::Child;
use swf_filter_tests::rivals::{Flip, Rival, switches};
use swf_filter_tests::wire::Wire;
use swf_filter_tests::world::{Engine, World};

const LARGE: u32 = 100_000;
const HUGE: u32 = 1_000_000;
/// A host's addresses besides those of the rivals.
const LARGE_HOST: [&str; 2] = ["198.51.100.30", "2001:db8::30"];
/// Bytes of a page of the kernel's tables.
const PAGE_BYTES: u64 = PAGE_WORDS as u64 * 8;
/// An odd number without a pattern, by which numbers are multiplied that shall lie apart.
const SCATTER: u32 = 0x9e37_79b1;
/// Sources that are tried, beside the first and the last of each family.
const TRIED: usize = 200;
/// Rounds of traffic before and after a reload.
const ROUNDS: u64 = 50;

/// A set of prefixes, half of each family, no two of which are neighbours.
#[derive(Clone, Copy)]
struct Set {
    /// What its prefixes have in common.
    first: u8,
    size: u32,
}

impl Set {
    fn text(self) -> String {
        (0..self.size / 2).fold(String::new(), |mut text, number| {
            let (v4, v6) = (self.v4(number), self.v6(number));
            let _written = writeln!(text, "{v4}/31\n{v6}/64");
            text
        })
    }

    /// The first address of a prefix of 31 bits; the next 31 bits are not in the set.
    fn v4(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::from(self.first) << 24 | number << 2)
    }

    /// The first address of a prefix of 64 bits; the next 64 bits are not in the set. They lie apart, so that a million take several
    /// pages.
    fn v6(self, number: u32) -> Ipv6Addr {
        let subnet = u128::from(number.wrapping_mul(SCATTER)) << 65;
        Ipv6Addr::from_bits(0x2a << 120 | u128::from(self.first) << 104 | subnet)
    }

    /// Sources in the set, and as near to each as can be one that is not.
    fn samples(self) -> Vec<(IpAddr, IpAddr)> {
        let mut rng = fastrand::Rng::with_seed(u64::from(self.first));
        let last = self.size / 2 - 1;
        let some = (0..TRIED).map(|_| rng.u32(..=last));
        [0, last]
            .into_iter()
            .chain(some)
            .flat_map(|number| {
                let v4 = self.v4(number).to_bits();
                let v6 = self.v6(number).to_bits();
                let within = u128::from(u64::MAX);
                [
                    (
                        Ipv4Addr::from_bits(v4 + 1).into(),
                        Ipv4Addr::from_bits(v4 + 2).into(),
                    ),
                    (
                        Ipv6Addr::from_bits(v6 + within).into(),
                        Ipv6Addr::from_bits(v6 + within + 1).into(),
                    ),
                ]
            })
            .collect()
    }

    /// Fails unless its sources pass, and the ones beside them do not.
    fn ensure_enforced(self, wire: &Wire) -> Result<()> {
        for (inside, outside) in self.samples() {
            ensure!(wire.passes(&frame(inside))?, "{inside} is dropped");
            ensure!(!wire.passes(&frame(outside))?, "{outside} passes");
        }
        Ok(())
    }

    /// Fails if one of its sources passes.
    fn ensure_unknown(self, wire: &Wire) -> Result<()> {
        for (inside, _) in self.samples() {
            ensure!(!wire.passes(&frame(inside))?, "{inside} passes");
        }
        Ok(())
    }
}

fn frame(from: IpAddr) -> Vec<u8> {
    let to = LARGE_HOST[usize::from(from.is_ipv6())];
    Frame::ip(from, to.parse().expect("an address")).to_bytes()
}

/// Writes a rival's policy, and that of one more host, which lets in a set.
fn write(world: &World, rival: Rival, set: Set) -> Result<()> {
    fs::write(world.policies().join("large.txt"), set.text())?;
    let host = format!(
        "[[host]]\nname = \"large\"\naddresses = {LARGE_HOST:?}\nallow = [\"set:large\"]\n\
         [[set]]\nname = \"large\"\nfile = \"large.txt\"\n"
    );
    world.write_policy("10.toml", rival.policy() + &host)
}

/// The last word of the daemon on how long it took.
fn durations(daemon: &Child) -> String {
    let said = daemon.stderr();
    let line = said.lines().rfind(|line| line.contains("fill="));
    line.unwrap_or_default().to_owned()
}

for_each_engine!(
    hundred_thousand_prefixes_give_way_to_others_in_one_step,
    million_prefixes_load_and_are_enforced,
);

fn hundred_thousand_prefixes_give_way_to_others_in_one_step(engine: Engine) -> Result<()> {
    let Some(world) = World::silent_on("large", engine)? else {
        return Ok(());
    };
    let [old, new] = [20, 40].map(|first| Set { first, size: LARGE });
    write(&world, Rival::One, old)?;
    let start = Instant::now();
    let daemon = world.attached_daemon()?;
    println!("started in {:?}: {}", start.elapsed(), durations(&daemon));
    let wire = world.wire_one()?;
    old.ensure_enforced(&wire)?;
    new.ensure_unknown(&wire)?;
    drop(wire);

    let traffic = world.traffic()?;
    traffic.wait_for_rounds(ROUNDS);
    write(&world, Rival::Two, new)?;
    let asked = Instant::now();
    world.reload()?;
    let flip = Flip {
        asked,
        confirmed: Instant::now(),
    };
    let took = flip.confirmed - asked;
    println!("reloaded in {took:?}: {}", durations(&daemon));
    traffic.wait_for_rounds(ROUNDS);
    let records = traffic.stop()?;
    for (record, client) in records.iter().zip([Rival::One, Rival::Two]) {
        record.ensure_never_mixed()?;
        switches(record, client, &[flip])?;
    }

    let wire = world.wire_one()?;
    new.ensure_enforced(&wire)?;
    old.ensure_unknown(&wire)
}

fn million_prefixes_load_and_are_enforced(engine: Engine) -> Result<()> {
    let Some(world) = World::silent_on("huge", engine)? else {
        return Ok(());
    };
    let set = Set {
        first: 20,
        size: HUGE,
    };
    write(&world, Rival::One, set)?;
    let start = Instant::now();
    let daemon = world.attached_daemon()?;
    let took = start.elapsed();
    println!("{HUGE} prefixes in {took:?}: {}", durations(&daemon));
    let wire = world.wire_one()?;
    set.ensure_enforced(&wire)?;
    // What means the same keeps its tables, of which the first page is made anew.
    let before = world.status()?["generation"].clone();
    world.reload()?;
    let after = world.status()?["generation"].clone();
    ensure!(before == after, "from {before} to {after}");
    let bytes = before["table_bytes"].as_u64();
    ensure!(bytes > Some(2 * PAGE_BYTES), "{before}");
    set.ensure_enforced(&wire)
}
