//! The packet gate as a user meets it: the built daemon, real interfaces, real connections.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use swf_filter_tests::net::{self, Echo};
use swf_filter_tests::process::run;
use swf_filter_tests::world::{DEADLINE, World};

/// Longer than the second after which TCP sends a lost SYN again, as one can be while a program is attached.
const REFUSED_AFTER: Duration = Duration::from_millis(1300);
const SERVICE: &str = "10.20.0.1:443";
const OTHER_SERVICE: &str = "10.30.0.1:443";

/// A policy that protects both services and lets in what `allow` says.
fn policy(allow: &str) -> String {
    format!(
        "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"10.20.0.1\", \"10.30.0.1\"]\nallow = [{allow}]\n\
         [[vpc]]\nid = \"vpc-one\"\ncidrs = [\"10.0.0.0/8\"]\ninterfaces = [\"eth1\"]\n\
         [[vpc]]\nid = \"vpc-two\"\ncidrs = [\"10.0.0.0/8\"]\ninterfaces = [\"eth2\"]\n"
    )
}

/// Which of the two clients get an answer.
fn reached(world: &World) -> (bool, bool) {
    let reach = |client, text| net::echo_tcp(client, address(text), REFUSED_AFTER).is_ok();
    (reach(&world.one, SERVICE), reach(&world.two, OTHER_SERVICE))
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

#[test]
fn policy_is_enforced_reloaded_and_outlives_the_daemon() -> Result<()> {
    let Some(world) = World::new("life")? else {
        return Ok(());
    };
    let _services = [SERVICE, OTHER_SERVICE]
        .map(|text| Echo::tcp(&world.host, address(text)))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    ensure!(
        reached(&world) == (true, true),
        "both clients reach an unfiltered host"
    );

    world.write_policy("10.toml", policy("\"vpc:vpc-one\""))?;
    let mut daemon = world.attached_daemon()?;
    ensure!(
        reached(&world) == (true, false),
        "one range behind two interfaces is two VPCs"
    );

    world.write_policy("10.toml", policy("\"vpc:vpc-two\""))?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_output(DEADLINE, "generation=2");
    ensure!(reached(&world) == (false, true), "a reload takes effect");

    world.write_policy("20.toml", b"version = 1\n\xff\x00[[")?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_output(DEADLINE, "reload failed");
    ensure!(
        reached(&world) == (false, true),
        "a bad file changes nothing"
    );

    daemon.kill()?;
    ensure!(
        reached(&world) == (false, true),
        "the filter outlives kill -9"
    );

    let daemon = world.daemon()?;
    daemon.wait_for_output(DEADLINE, "the pinned generation stays in force");
    ensure!(
        reached(&world) == (false, true),
        "a restart over bad files keeps what is pinned"
    );

    let mut second = world.daemon()?;
    ensure!(
        !second.wait(DEADLINE).success(),
        "a second daemon refuses to start"
    );
    drop(daemon);

    run(world.command().arg("detach")).context("detach works without a daemon")?;
    ensure!(
        reached(&world) == (true, true),
        "only detach takes the filter off"
    );
    Ok(())
}
