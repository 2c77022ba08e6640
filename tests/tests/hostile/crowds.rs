//! Many clients, and slow ones: what they cost, and that others are served beside them.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use swf_filter_tests::{
    backend::LARGE,
    client::{Came, Client, connect},
    stage::ONE,
    wait::wait_until,
    world::DEADLINE,
};

use crate::stage::Scene;

/// Connections of one address that the default settings take.
const OF_ADDRESS: usize = 1000;
const CROWD: usize = 10_000;

/// Descriptors for both ends, of which the listener gets its own.
fn allow_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).expect("up to the maximum is allowed");
}

fn open_connections(scene: &Scene) -> Result<u64> {
    let status = scene.stage.status()?;
    let open = &status["listener"]["listeners"][0]["open"];
    open.as_u64().context("no number of connections")
}

/// Resident memory of a process, in KiB.
fn memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no memory")?.parse()?)
}

/// The listener's own, below `nsenter`, which is gone when it runs.
fn listener_memory(scene: &Scene) -> Result<u64> {
    memory(scene.stage.listener.id())
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_keep_nobody_out() -> Result<()> {
    allow_descriptors();
    let settings = "[limits]\nconnections = 12000\nconnections_per_address = 11000\n";
    let Some(scene) = Scene::new("idle", settings)? else {
        return Ok(());
    };
    let before = listener_memory(&scene)?;
    let start = Instant::now();
    let mut clients = Vec::with_capacity(CROWD);
    while clients.len() < CROWD {
        let mut client = scene.one()?;
        // Its first request: whoever sends none is ended after 10 s.
        let answer = client.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        ensure!(answer.status == 404, "{answer:?}");
        clients.push(client);
    }
    let took = start.elapsed();
    let open = open_connections(&scene)?;
    let after = listener_memory(&scene)?;
    let each = (after - before) / u64::try_from(CROWD)?;
    println!(
        "{open} connections in {took:.1?}: {before} KiB before, {after} KiB after, {each} KiB each"
    );
    ensure!(open >= u64::try_from(CROWD)?, "{open} are open");
    ensure!(each <= 64, "{each} KiB a connection");

    // Beside them there is room for others, and for them, too.
    ensure!(scene.two()?.ask(scene.describe("x")?)?.status == 200);
    let first = clients.first_mut().context("the first")?;
    ensure!(first.ask(scene.describe("x")?)?.status == 200);

    drop(clients);
    wait_until(DEADLINE, "that all are gone", || {
        open_connections(&scene).is_ok_and(|open| open == 0)
    });
    println!("{} KiB when they are gone", listener_memory(&scene)?);
    Ok(())
}

#[test]
fn a_small_number_of_descriptors_to_start_with_is_raised() -> Result<()> {
    let Some(mut scene) = Scene::new("descriptors", "")? else {
        return Ok(());
    };
    scene.stage.listener.kill()?;
    scene
        .stage
        .restart_listener_with(&["prlimit", "--nofile=64:4096"])?;
    scene.stage.wait_until_listening();
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = scene.one()?;
        ensure!(client.ask(scene.describe("x")?)?.status == 200);
        clients.push(client);
    }
    let said = scene.stage.listener.stderr();
    ensure!(said.contains("4096 are the most"), "{said}");
    Ok(())
}

#[test]
fn an_address_has_so_many_connections_and_others_have_theirs() -> Result<()> {
    allow_descriptors();
    let Some(scene) = Scene::new("seats", "")? else {
        return Ok(());
    };
    // They do not even begin a handshake.
    let mut held = Vec::new();
    for _ in 0..OF_ADDRESS {
        held.push(connect(&scene.stage.world.one, ONE)?);
    }
    wait_until(DEADLINE, "that they are accepted", || {
        open_connections(&scene).is_ok_and(|open| open == OF_ADDRESS as u64)
    });
    ensure!(
        is_ended(connect(&scene.stage.world.one, ONE)?),
        "one too many"
    );
    let refusals = scene.stage.refusals("direct")?;
    ensure!(
        refusals.get("too-many-of-address") == Some(&1),
        "{refusals:?}"
    );
    ensure!(
        scene.two()?.ask(scene.describe("x")?)?.status == 200,
        "another address"
    );

    // One that goes makes room for one.
    held.pop();
    wait_until(DEADLINE, "a seat", || {
        scene.one().is_ok_and(|mut client| {
            let request = scene.describe("x").expect("a request");
            client.ask(request).is_ok_and(|answer| answer.status == 200)
        })
    });
    Ok(())
}

#[test]
fn an_endpoint_has_so_many_connections_whatever_addresses_it_tells() -> Result<()> {
    let Some(scene) = Scene::new("endpoint-seats", "[limits]\nconnections_per_endpoint = 5\n")?
    else {
        return Ok(());
    };
    let through = |last| crate::proxied::from_endpoint(&scene, "vpce-0aaa", last);
    let held = (0..5).map(through).collect::<Result<Vec<_>>>()?;
    ensure!(through(9).is_err(), "one too many");
    let refusals = scene.stage.refusals("proxied")?;
    ensure!(
        refusals.get("too-many-of-endpoint") == Some(&1),
        "{refusals:?}"
    );
    crate::proxied::from_endpoint(&scene, "vpce-0bbb", 9)?;
    drop(held);
    wait_until(DEADLINE, "a seat", || through(9).is_ok());
    Ok(())
}

fn is_ended(mut stream: TcpStream) -> bool {
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// Until a connection is ended by the other side.
fn end_of(start: Instant, client: &mut Client) -> Result<Duration> {
    loop {
        match client.come(Duration::from_mins(1))? {
            Came::Answer(_) => {}
            Came::End => return Ok(start.elapsed()),
            Came::Nothing => anyhow::bail!("it is not ended"),
        }
    }
}

/// Each kind of slowness, hundreds of them at once, so that waiting for all takes no longer than waiting for one.
#[test]
fn slow_clients_are_ended_in_their_time_and_keep_nobody_out() -> Result<()> {
    const EACH: usize = 100;
    allow_descriptors();
    let Some(scene) = Scene::new("slow", "")? else {
        return Ok(());
    };
    let request = scene.call("DescribeDomain", r#"{"name": "slow"}"#)?;
    let start = Instant::now();
    let mut silent = Vec::new();
    let mut dripping = Vec::new();
    let mut heads = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..EACH {
        // Without a byte, and with the first ones of a handshake.
        silent.push(connect(&scene.stage.world.one, ONE)?);
        let mut stream = connect(&scene.stage.world.one, ONE)?;
        stream.write_all(b"\x16\x03\x01\x02\x00\x01")?;
        dripping.push(stream);
        let mut client = scene.one()?;
        client.send("POST / HTTP/1.1\r\nhost: ")?;
        heads.push(client);
        let mut client = scene.one()?;
        client.send(request.head(1000))?;
        bodies.push(client);
    }
    // Some bytes now and then change nothing.
    while start.elapsed() < Duration::from_secs(8) {
        for stream in &mut dripping {
            let _may_be_ended = stream.write_all(b"\x00");
        }
        for client in heads.iter_mut().chain(&mut bodies) {
            let _may_be_ended = client.send("a");
        }
        ensure!(
            scene.one()?.ask(scene.describe("x")?)?.status == 200,
            "beside them"
        );
    }
    for stream in silent.into_iter().chain(dripping) {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut rest = Vec::new();
        let ended = (&stream).read_to_end(&mut rest);
        let is_ended = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
        ensure!(ended.as_ref().map_or_else(is_ended, |_| true), "{ended:?}");
    }
    let handshakes = start.elapsed();
    for client in &mut heads {
        end_of(start, client)?;
    }
    let first = start.elapsed();
    for client in &mut bodies {
        end_of(start, client)?;
    }
    let second = start.elapsed();
    println!(
        "{EACH} of each are ended: handshakes after {handshakes:.1?}, heads {first:.1?}, bodies {second:.1?}"
    );
    ensure!(handshakes < Duration::from_secs(20) && first < Duration::from_secs(20));
    ensure!(second > Duration::from_secs(29) && second < Duration::from_secs(45));
    let refusals = scene.stage.refusals("direct")?;
    let late = refusals.get("time-out").copied().unwrap_or_default();
    ensure!(late == 2 * EACH as u64, "{refusals:?}");
    Ok(())
}

/// Clients that ask for much and take nothing: the answer is not piled up here.
#[test]
fn an_answer_that_nobody_takes_is_not_kept_in_memory() -> Result<()> {
    let Some(scene) = Scene::new("untaken", "")? else {
        return Ok(());
    };
    let before = listener_memory(&scene)?;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = scene.one()?;
        client.send(scene.describe("large")?)?;
        clients.push(client);
    }
    wait_until(DEADLINE, "that all are asked for", || {
        scene.backend.received().len() >= 50
    });
    ensure!(
        scene.one()?.ask(scene.describe("x")?)?.status == 200,
        "beside them"
    );
    let during = listener_memory(&scene)?;
    println!("50 answers of 20 MiB that nobody takes: {before} KiB before, {during} KiB after");
    ensure!(during - before < 100 * 1024, "{during} KiB");
    // Whoever takes it gets all of it.
    let client = clients.first_mut().context("the first")?;
    let answer = client.answer()?;
    ensure!(answer.body.len() == LARGE, "{}", answer.body.len());
    let start = Instant::now();
    for client in clients.iter_mut().skip(1) {
        client
            .socket()
            .set_read_timeout(Some(Duration::from_secs(1)))?;
    }
    println!("{:.1?}", start.elapsed());
    Ok(())
}
