//! What outlives the daemon: counts, the names of rules, and the last good generation.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use swf_filter_tests::for_each_engine;
use swf_filter_tests::frames::Frame;
use swf_filter_tests::process::run;
use swf_filter_tests::wire::Wire;
use swf_filter_tests::world::{DEADLINE, Engine, World};

const HOST: &str = "198.51.100.10";
const ALLOWED: &str = "192.0.2.1";
const DENIED: &str = "192.0.2.66";
const BROKEN: &str = "version = 1\n[[host]]\nname = ";

/// A policy that lets in [`ALLOWED`], not [`DENIED`], and whatever else is given.
fn policy(more: &str) -> String {
    format!(
        "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"{HOST}\"]\nallow = [{more}\"192.0.2.0/24\"]\n\
         deny = [\"{DENIED}\"]\n"
    )
}

/// Sends frames from a source, and fails unless all of them pass or all of them are dropped, as expected.
fn send(wire: &Wire, source: &str, times: u32, passes: bool) -> Result<()> {
    let address = |text: &str| text.parse::<IpAddr>();
    let frame = Frame::ip(address(source)?, address(HOST)?).tcp(40_000, 443);
    for _ in 0..times {
        ensure!(
            wire.passes(&frame.to_bytes())? == passes,
            "a frame from {source} passes: {}",
            !passes
        );
    }
    Ok(())
}

/// Packets of the rules that let in and keep out.
fn counts(world: &World) -> Result<(u64, u64)> {
    let rules = world.ask(&["rules"])?;
    let rules = rules.as_array().context("no list of rules")?;
    let packets = |list: &str, text: &str| {
        rules
            .iter()
            .find(|rule| rule["list"] == list && rule["rule"] == text)
            .and_then(|rule| rule["packets"].as_u64())
            .with_context(|| format!("no rule {text} among {rules:?}"))
    };
    Ok((packets("allow", "192.0.2.0/24")?, packets("deny", DENIED)?))
}

fn warnings(status: &Value) -> String {
    status["warnings"].to_string()
}

for_each_engine!(
    counts_of_rules_go_on_after_kills_and_reloads,
    a_boot_with_broken_files_enforces_the_last_good_generation,
);

fn counts_of_rules_go_on_after_kills_and_reloads(engine: Engine) -> Result<()> {
    let Some(world) = World::silent_on("counts", engine)? else {
        return Ok(());
    };
    let wire = world.wire_one()?;
    world.write_policy("10.toml", policy(""))?;
    let mut daemon = world.attached_daemon()?;
    send(&wire, ALLOWED, 3, true)?;
    send(&wire, DENIED, 2, false)?;
    ensure!(counts(&world)? == (3, 2), "{:?}", counts(&world)?);

    world.write_policy("10.toml", policy("\"203.0.113.0/24\", "))?;
    world.reload()?;
    send(&wire, ALLOWED, 1, true)?;
    ensure!(
        counts(&world)? == (4, 2),
        "after a reload: {:?}",
        counts(&world)?
    );

    daemon.kill()?;
    send(&wire, DENIED, 2, false)?;
    world.write_policy("10.toml", policy("\"203.0.113.7\", "))?;
    let mut daemon = world.restarted_daemon()?;
    ensure!(
        counts(&world)? == (4, 4),
        "after kill -9: {:?}",
        counts(&world)?
    );
    let status = world.status()?;
    ensure!(status["generation"]["number"] == 3, "{status}");

    daemon.kill()?;
    send(&wire, ALLOWED, 1, true)?;
    world.write_policy("10.toml", BROKEN)?;
    let _daemon = world.restarted_daemon()?;
    ensure!(
        counts(&world)? == (5, 4),
        "over broken files, rules have names and counts: {:?}",
        counts(&world)?
    );
    let status = world.status()?;
    ensure!(
        warnings(&status).contains("pinned by an earlier daemon"),
        "{status}"
    );
    Ok(())
}

fn a_boot_with_broken_files_enforces_the_last_good_generation(engine: Engine) -> Result<()> {
    let Some(world) = World::silent_on("boot", engine)? else {
        return Ok(());
    };
    let wire = world.wire_one()?;
    world.write_policy("10.toml", policy(""))?;
    world.attached_daemon()?.kill()?;
    // What a boot does, too: nothing is pinned any more.
    run(world.command().arg("detach"))?;
    send(&wire, DENIED, 1, true)?;

    world.write_policy("10.toml", BROKEN)?;
    let mut daemon = world.attached_daemon()?;
    send(&wire, ALLOWED, 1, true)?;
    send(&wire, DENIED, 1, false)?;
    ensure!(counts(&world)? == (1, 1), "{:?}", counts(&world)?);
    let status = world.status()?;
    ensure!(
        warnings(&status).contains("the last good one") && status["generation"]["number"] == 1,
        "{status}"
    );

    world.write_policy("10.toml", policy("\"203.0.113.0/24\", "))?;
    world.reload()?;
    let status = world.status()?;
    ensure!(
        status["warnings"] == Value::Array(Vec::new()) && status["generation"]["number"] == 2,
        "{status}"
    );

    daemon.kill()?;
    run(world.command().arg("detach"))?;
    for entry in fs::read_dir(world.file("state"))? {
        fs::write(entry?.path(), "not a state")?;
    }
    world.write_policy("10.toml", BROKEN)?;
    let mut daemon = world.daemon()?;
    ensure!(
        !daemon.wait(DEADLINE).success(),
        "with no generation that can be read, config.toml's `refuse` holds"
    );
    ensure!(
        daemon.stderr().contains("was not written by this version"),
        "{}",
        daemon.stderr()
    );
    Ok(())
}

#[test]
fn counts_that_are_lost_are_told_as_long_as_the_daemon_runs() -> Result<()> {
    let Some(world) = World::silent("lost")? else {
        return Ok(());
    };
    let wire = world.wire_one()?;
    world.write_policy("10.toml", policy(""))?;
    let mut daemon = world.attached_daemon()?;
    send(&wire, ALLOWED, 3, true)?;
    world.write_policy("10.toml", policy("\"203.0.113.0/24\", "))?;
    world.reload()?;
    ensure!(warnings(&world.status()?) == "[]");

    daemon.kill()?;
    fs::write(world.file("state/ledger"), "damaged")?;
    send(&wire, ALLOWED, 1, true)?;
    let _daemon = world.restarted_daemon()?;
    world.write_policy("10.toml", policy(""))?;
    world.reload()?;
    // What the generation in force had counted in the kernel is not lost.
    ensure!(counts(&world)? == (1, 0), "{:?}", counts(&world)?);
    let status = world.status()?;
    ensure!(
        warnings(&status).contains("what rules counted in earlier generations is lost: "),
        "{status}"
    );
    Ok(())
}

#[test]
fn a_disk_that_cannot_be_written_does_not_stop_a_reload() -> Result<()> {
    let Some(world) = World::silent("disk")? else {
        return Ok(());
    };
    let wire = world.wire_one()?;
    fs::write(world.file("state"), "in the way")?;
    world.write_policy("10.toml", policy(""))?;
    let mut daemon = world.attached_daemon()?;
    send(&wire, DENIED, 1, false)?;
    world.write_policy("10.toml", policy("\"203.0.113.0/24\", "))?;
    let behind = "the state on disk is behind";
    let said = run(world.command().arg("reload"))?;
    ensure!(said.contains(&format!("warning: {behind}")), "{said}");
    let applied = world.ask(&["apply"])?;
    ensure!(warnings(&applied).contains(behind), "{applied}");
    send(&wire, DENIED, 1, false)?;
    ensure!(counts(&world)? == (0, 2), "{:?}", counts(&world)?);
    let status = world.status()?;
    ensure!(warnings(&status).contains(behind), "{status}");
    // The twin: a disk that can be written, and nothing to warn of.
    daemon.kill()?;
    fs::remove_file(world.file("state"))?;
    let _daemon = world.attached_daemon()?;
    let said = run(world.command().arg("reload"))?;
    ensure!(!said.contains("warning: "), "{said}");
    Ok(())
}
