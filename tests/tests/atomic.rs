//! A reload is one step: each packet is judged by one policy as a whole, and after some packet of an interface all by the new one.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use swf_filter_common::image::{self, Image};
use swf_filter_common::verdict;
use swf_filter_core::compile::image::{Placement, write};
use swf_filter_core::compile::{Generation, Tables, compile};
use swf_filter_core::policy::{SourceFile, parse};
use swf_filter_tests::for_each_engine;
use swf_filter_tests::frames::Frame;
use swf_filter_tests::link::Mac;
use swf_filter_tests::rivals::{Flip, Rival, round, switches};
use swf_filter_tests::traffic::{Record, Stream};
use swf_filter_tests::wait::patience;
use swf_filter_tests::world::{Counts, Engine, World, counted_since};

/// Reloads, each to the other policy. A slow machine has fewer.
const RELOADS: u32 = 200;
/// Rounds of traffic that each policy judges at least, on each interface.
const ROUNDS: u64 = 4;

for_each_engine!(no_packet_sees_a_mixture_and_every_interface_switches_once_a_reload);

fn no_packet_sees_a_mixture_and_every_interface_switches_once_a_reload(
    engine: Engine,
) -> Result<()> {
    let Some(world) = World::silent_on("atomic", engine)? else {
        return Ok(());
    };
    let mut rival = Rival::One;
    world.write_policy("10.toml", rival.policy())?;
    let _daemon = world.attached_daemon()?;
    let before = world.reasons()?;

    let traffic = world.traffic()?;
    let mut flips = Vec::new();
    for _ in 0..RELOADS.div_ceil(patience()) {
        traffic.wait_for_rounds(ROUNDS);
        rival = rival.other();
        world.write_policy("10.toml", rival.policy())?;
        let asked = Instant::now();
        world.reload()?;
        let confirmed = Instant::now();
        flips.push(Flip { asked, confirmed });
    }
    traffic.wait_for_rounds(ROUNDS);
    let records = traffic.stop()?;

    for (record, client) in records.iter().zip([Rival::One, Rival::Two]) {
        record.ensure_never_mixed()?;
        switches(record, client, &flips)?;
    }
    let after = world.reasons()?;
    ensure_all_counted(&records, &counted_since(&before, &after))
}

/// Changes of the engine, each by a reload and, every so often, by a restart.
const CHANGES: u32 = 60;
const RESTARTS: u32 = 5;

#[test]
fn another_engine_takes_over_without_a_packet_judged_otherwise() -> Result<()> {
    let Some(world) = World::silent("engines")? else {
        return Ok(());
    };
    world.write_policy("10.toml", Rival::One.policy())?;
    let mut daemon = world.attached_daemon()?;
    let before = world.reasons()?;
    let mut number = generation_in_force(&world)?.0;

    let traffic = world.traffic()?;
    let mut engine = Engine::Compiled;
    let changes = CHANGES.div_ceil(patience());
    for change in 0..changes {
        traffic.wait_for_rounds(ROUNDS);
        engine = match engine {
            Engine::Compiled => Engine::LpmTrie,
            Engine::LpmTrie => Engine::Compiled,
        };
        world.write_config(&format!("engine = \"{}\"\n", engine.name()))?;
        if change % changes.div_ceil(RESTARTS) == 0 {
            daemon.kill()?;
            daemon = world.restarted_daemon()?;
        } else {
            world.reload()?;
        }
        number += 1;
        let now = generation_in_force(&world)?;
        ensure!(now == (number, engine.name().to_owned()), "{now:?}");
        world.reload()?;
        ensure!(generation_in_force(&world)? == now, "a reload of the same");
    }
    traffic.wait_for_rounds(ROUNDS);
    let records = traffic.stop()?;
    for (record, client) in records.iter().zip([Rival::One, Rival::Two]) {
        record.ensure_never_mixed()?;
        switches(record, client, &[])?;
    }
    let after = world.reasons()?;
    ensure_all_counted(&records, &counted_since(&before, &after))
}

fn generation_in_force(world: &World) -> Result<(u64, String)> {
    let status = world.status()?;
    let generation = &status["generation"];
    let number = generation["number"].as_u64().context("no number")?;
    let engine = generation["engine"].as_str().context("no engine")?;
    Ok((number, engine.to_owned()))
}

/// Every packet ends in one reason: that of the list or of the default.
fn ensure_all_counted(records: &[Record], counted: &Counts) -> Result<()> {
    let streams = [Stream::Always, Stream::Never, Stream::Sometimes];
    let tallies = records
        .iter()
        .flat_map(|record| streams.map(|stream| record.tally(stream)));
    let (sent, arrived) = tallies.fold((0, 0), |(sent, arrived), tally| {
        (sent + tally.sent, arrived + tally.arrived)
    });
    println!("{sent} frames sent, {arrived} arrived");
    let expected = Counts::from([
        ("allow".to_owned(), arrived),
        ("default-drop".to_owned(), sent - arrived),
    ]);
    ensure!(
        *counted == expected,
        "counted {counted:?}, but sent {expected:?}"
    );
    Ok(())
}

/// The twin of the test above: were hosts and zones of one policy ever used with sources of the other, it would see that.
#[test]
fn every_mixture_of_the_two_policies_would_show() {
    let interfaces = [("eth1", 1), ("eth2", 2)];
    let frames = round([Mac::local(1), Mac::local(2)]);
    let generations = [Rival::One, Rival::Two].map(generation);
    let verdict = |hosts: &Generation, sources: &Generation, frame: &Frame, interface| {
        let placement = Placement {
            number: 1,
            hash: hosts.hash(),
            slot: 0,
            engine: image::Engine::LpmTrie,
            cpus: 1,
            interfaces: interfaces
                .iter()
                .map(|(name, number)| (Arc::from(*name), *number))
                .collect(),
        };
        let words = write(hosts, &placement).expect("a small image");
        let image = Image::new(words.as_slice());
        let bytes = frame.to_bytes();
        let judged = verdict::judge(bytes.as_slice(), || interface, &image, &Tables(sources));
        !judged.reason.drops()
    };
    for (mine, other) in [(0, 1), (1, 0)] {
        let (mine, other) = (&generations[mine], &generations[other]);
        for (_, interface) in interfaces {
            for (stream, frame) in frames.iter().filter(|(s, _)| *s != Stream::Sometimes) {
                let is_always = *stream == Stream::Always;
                assert_eq!(verdict(mine, mine, frame, interface), is_always);
                assert_eq!(verdict(mine, other, frame, interface), !is_always);
            }
        }
    }
}

/// What the product makes of a policy.
fn generation(rival: Rival) -> Generation {
    let file = SourceFile {
        name: "10.toml".into(),
        bytes: rival.policy().into_bytes().into(),
    };
    let mut no_set = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let policy = parse(&[file], &mut no_set).expect("a policy without problems");
    compile(&policy).expect("a small policy")
}
