//! What goes wrong in the life of a machine: processes that die, files that change, policies that shut somebody out.

use std::{
    fs,
    net::Shutdown,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::Value;
use swf_filter_tests::{
    backend::Backend,
    client::{Came, Client, Identity, Trust},
    disk::Disk,
    net,
    process::run,
    stage::{AccessKey, LOGS, ONE, TWO, UPSTREAM, write_certificates},
    wait::wait_until,
    world::DEADLINE,
};

use crate::stage::{POLICY, Scene};

const POLL: &str = "swf:PollForDecisionTask";
const LOOK: &str = "swf:DescribeDomain";
/// What the log says of files that cannot be read.
const STAY: &str = "the last good certificates stay in use";
/// Who signs certificates of clients.
const AUTHORITIES: &str = "clients.pem";
const SHORT: Duration = Duration::from_millis(300);

/// The policy with nobody let in from the first VPC's addresses.
fn without_one() -> String {
    // A trusted proxy would be let in whatever `deny` says.
    POLICY.replace("trusted_proxies = ", "deny = ")
}

/// What became of so many requests of an operation, as the audit log tells.
fn verdicts(scene: &Scene, action: &str, count: usize) -> Result<Vec<String>> {
    let own = |audit: &[Value]| -> Vec<Value> {
        let own = audit.iter().filter(|record| record["action"] == action);
        own.cloned().collect()
    };
    let audit = scene.stage.audit(|audit| own(audit).len() >= count)?;
    let words = |record: &Value| {
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("verdict"), text("reason"))
    };
    Ok(own(&audit).iter().map(words).collect())
}

/// Whether client one gets no connection: its packets are dropped.
fn is_shut_out(scene: &Scene) -> Result<bool> {
    Ok(net::connect(&scene.stage.world.one, ONE.parse()?, SHORT).is_err())
}

fn is_held(client: &mut Client) -> Result<bool> {
    Ok(matches!(client.come(SHORT)?, Came::Nothing))
}

fn is_ended(client: &mut Client) -> Result<bool> {
    Ok(matches!(client.come(Duration::from_secs(10))?, Came::End))
}

#[test]
fn a_policy_that_shuts_one_out_ends_its_poll_and_leaves_that_of_others() -> Result<()> {
    let Some(scene) = Scene::new("shut-out", "")? else {
        return Ok(());
    };
    let (mut one, mut idle, mut two) = (scene.one()?, scene.one()?, scene.two()?);
    ensure!(idle.ask(scene.describe("x")?)?.status == 200);
    one.send(scene.poll()?)?;
    scene.backend.wait_for_polls(1);
    two.send(scene.poll()?)?;
    scene.backend.wait_for_polls(2);
    // A policy that changes nothing for them.
    let world = &scene.stage.world;
    world.write_policy("10.toml", format!("{POLICY}\n# no change\n"))?;
    world.reload()?;
    ensure!(is_held(&mut one)? && is_held(&mut two)? && is_held(&mut idle)?);

    world.write_policy("10.toml", without_one())?;
    world.reload()?;
    ensure!(is_ended(&mut one)?, "its poll");
    ensure!(is_ended(&mut idle)?, "a connection without a request");
    ensure!(is_held(&mut two)?, "the poll of another");
    scene.backend.release();
    ensure!(two.answer()?.status == 200);
    ensure!(
        two.ask(scene.describe("x")?)?.status == 200,
        "and its next request"
    );

    // What was cut off went to the upstream all the same, so that it has to be in the audit log.
    let polls = verdicts(&scene, POLL, 2)?;
    ensure!(polls.len() == 2, "{polls:?}");
    world.write_policy("10.toml", POLICY)?;
    world.reload()?;
    scene.stage.wait_until_listening();
    ensure!(
        scene.answers(&world.one, ONE)?.status == 200,
        "let in again"
    );
    Ok(())
}

#[test]
fn a_client_that_does_not_wait_for_its_answer_is_in_the_audit_log() -> Result<()> {
    let Some(scene) = Scene::new("hurry", "")? else {
        return Ok(());
    };
    // It closes the connection, ends its half of TLS, or its half of TCP.
    for (count, way) in ["close", "end of TLS", "end of TCP"].iter().enumerate() {
        let mut client = scene.one()?;
        client.send(scene.poll()?)?;
        scene.backend.wait_for_polls(1);
        match *way {
            "close" => drop(client),
            "end of TLS" => {
                client.end()?;
                ensure!(is_ended(&mut client)?, "{way}");
            }
            _ => {
                client.socket().shutdown(Shutdown::Write)?;
                ensure!(is_ended(&mut client)?, "{way}");
            }
        }
        verdicts(&scene, POLL, count + 1)?;
        scene.backend.release();
    }
    let polls = verdicts(&scene, POLL, 3)?;
    ensure!(polls == ["failed connection-ended"; 3], "{polls:?}");
    Ok(())
}

#[test]
fn certificates_that_change_leave_a_poll_alone_and_wrong_ones_are_not_taken() -> Result<()> {
    let Some(scene) = Scene::new("certificates", "")? else {
        return Ok(());
    };
    let world = &scene.stage.world;
    let mut polling = scene.one()?;
    let old = polling.certificate()?;
    polling.send(scene.poll()?)?;
    scene.backend.wait_for_polls(1);

    // Half of a certificate, then a key of another one.
    let (chain, key) = (world.file("cert.pem"), world.file("key.pem"));
    let right = (fs::read(&chain)?, fs::read(&key)?);
    fs::write(&chain, &right.0[..right.0.len() / 2])?;
    scene.stage.listener.wait_for_output(DEADLINE, STAY);
    let words = "certificates of listener `direct` could not be read since";
    ensure!(warns(&scene, words)?);
    ensure!(scene.one()?.certificate()? == old, "the old one is shown");
    ensure!(scene.answers(&world.one, ONE)?.status == 200);

    write_certificates(world)?;
    let trust = Trust::read(&world.file("ca.pem"))?;
    wait_until(DEADLINE, "the new certificate", || {
        trust.connect(&world.one, ONE).is_ok()
    });
    ensure!(!warns(&scene, words)?);
    let mut new = trust.connect(&world.one, ONE)?;
    ensure!(new.certificate()? != old);
    ensure!(new.ask(scene.describe("x")?)?.status == 200);
    ensure!(
        scene.one().is_err(),
        "who trusts the old authority alone is out"
    );

    // A key that fits no chain.
    fs::write(&key, &right.1)?;
    wait_until(DEADLINE, "a second refusal", || {
        scene.stage.listener.stderr().matches(STAY).count() >= 3
    });
    ensure!(
        trust
            .connect(&world.one, ONE)?
            .ask(scene.describe("x")?)?
            .status
            == 200
    );

    ensure!(is_held(&mut polling)?, "the poll of before");
    scene.backend.release();
    ensure!(polling.answer()?.status == 200);
    Ok(())
}

/// Whether `status` warns of something.
fn warns(scene: &Scene, words: &str) -> Result<bool> {
    let status = scene.stage.status()?;
    let warnings = status["listener"]["warnings"].as_array();
    let warnings = warnings.context("no warnings")?.iter();
    let mut said = warnings.filter_map(Value::as_str);
    Ok(said.any(|warning| warning.contains(words)))
}

/// Starts the listener again, which now wants certificates of an authority.
fn want_certificates(scene: &mut Scene, authority: &str) -> Result<()> {
    let world = &scene.stage.world;
    let (settings, authorities) = (world.file("listener.toml"), world.file(AUTHORITIES));
    fs::write(&authorities, authority)?;
    let of_host = "host = \"swf\"";
    let wanted = format!(
        "{of_host}\nclient_certificates = \"required\"\nclient_authorities = \"{}\"",
        authorities.display()
    );
    let text = fs::read_to_string(&settings)?.replace(of_host, &wanted);
    fs::write(&settings, text)?;
    scene.stage.listener.kill()?;
    scene.stage.restart_listener()?;
    scene.stage.wait_until_listening();
    Ok(())
}

/// What a client is answered that shows a certificate.
fn ask_with(scene: &Scene, identity: &Identity) -> Result<u16> {
    let world = &scene.stage.world;
    let trust = Trust::showing(&world.file("ca.pem"), Some(identity))?;
    let mut client = trust.connect(&world.one, ONE)?;
    Ok(client.ask(scene.describe("x")?)?.status)
}

#[test]
fn connections_end_when_the_authority_that_let_them_in_goes() -> Result<()> {
    let Some(mut scene) = Scene::new("authority", "")? else {
        return Ok(());
    };
    let (old, new) = (Identity::new()?, Identity::new()?);
    want_certificates(&mut scene, &old.authority)?;
    let world = &scene.stage.world;
    let trust = Trust::showing(&world.file("ca.pem"), Some(&old))?;
    let mut idle = trust.connect(&world.one, ONE)?;
    ensure!(idle.ask(scene.describe("x")?)?.status == 200);
    let mut polling = trust.connect(&world.one, ONE)?;
    polling.send(scene.poll()?)?;
    scene.backend.wait_for_polls(1);
    ensure!(ask_with(&scene, &new).is_err(), "another authority's");

    fs::write(world.file(AUTHORITIES), &new.authority)?;
    let came = idle.come(DEADLINE)?;
    ensure!(matches!(came, Came::End), "{came:?}");
    ensure!(ask_with(&scene, &old).is_err());
    ensure!(ask_with(&scene, &new)? == 200);
    // What is under way has its answer, and no more.
    ensure!(is_held(&mut polling)?, "the poll of before");
    scene.backend.release();
    ensure!(polling.answer()?.status == 200);
    let came = polling.come(DEADLINE)?;
    ensure!(matches!(came, Came::End), "{came:?}");
    Ok(())
}

#[test]
fn what_could_not_be_read_when_it_changed_is_read_once_it_can_be() -> Result<()> {
    let Some(mut scene) = Scene::new("unread", "")? else {
        return Ok(());
    };
    let (old, new) = (Identity::new()?, Identity::new()?);
    want_certificates(&mut scene, &old.authority)?;
    ensure!(ask_with(&scene, &old)? == 200);
    let says = |words: &str| {
        wait_until(DEADLINE, words, || {
            scene.stage.listener.stderr().contains(words)
        });
    };

    // No file can be opened, and nothing of that is left behind in the files.
    let pid = scene.stage.listener.id();
    let pid = Pid::from_raw(pid.try_into()?).context("no process")?;
    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(3),
        maximum: limit.maximum,
    };
    let before = prlimit(Some(pid), Resource::Nofile, none)?;
    fs::write(scene.stage.world.file(AUTHORITIES), &new.authority)?;
    let alice = &scene.alice.id;
    run(scene.stage.command().args(["keys", "disable", alice]))?;
    says(STAY);
    says("the last good access keys stay in use");

    prlimit(Some(pid), Resource::Nofile, before)?;
    says("certificates could be read again");
    says("access keys could be read again");
    ensure!(ask_with(&scene, &old).is_err());
    ensure!(ask_with(&scene, &new)? == 400, "a key that is disabled");
    ensure!(!warns(&scene, "could not be read since")?);
    Ok(())
}

#[test]
fn a_key_that_is_disabled_is_refused_within_seconds_and_so_are_its_sessions() -> Result<()> {
    let Some(scene) = Scene::new("disabled", "")? else {
        return Ok(());
    };
    let mut client = scene.one()?;
    ensure!(client.ask(scene.describe("x")?)?.status == 200);
    run(scene
        .stage
        .command()
        .args(["keys", "disable", &scene.alice.id]))?;
    let start = Instant::now();
    // Over a connection that is open, and over a new one.
    wait_until(Duration::from_secs(5), "a refusal", || {
        let request = scene.describe("x").expect("a request");
        client.ask(request).is_ok_and(|answer| {
            answer.exception().as_deref() == Some("UnrecognizedClientException")
        })
    });
    println!("refused after {:.1?}", start.elapsed());
    ensure!(scene.answers(&scene.stage.world.one, ONE)?.status == 400);
    // Another key of hers is another key.
    let other: AccessKey = scene.stage.create_key("alice")?;
    scene.stage.wait_for_key(&other)?;
    run(scene
        .stage
        .command()
        .args(["keys", "enable", &scene.alice.id]))?;
    scene.stage.wait_for_key(&scene.alice)?;
    ensure!(
        client.ask(scene.describe("x")?)?.status == 200,
        "enabled again"
    );
    Ok(())
}

#[test]
fn requests_go_on_over_a_full_disk_and_what_is_not_in_the_audit_log_is_counted() -> Result<()> {
    let Some(mut scene) = Scene::new("full", "")? else {
        return Ok(());
    };
    let disk = Disk::at(&scene.stage.world.file(LOGS))?;
    scene.stage.listener.kill()?;
    scene.stage.restart_listener()?;
    scene.stage.wait_until_listening();
    let ask = |times: u64| -> Result<()> {
        for _ in 0..times {
            ensure!(scene.answers(&scene.stage.world.one, ONE)?.status == 200);
        }
        Ok(())
    };
    let count = |audit: &[Value]| -> (u64, u64) {
        let lost = audit.iter().filter_map(|record| record["lost"].as_u64());
        let requests = audit.iter().filter(|record| record["action"] == LOOK);
        (requests.count() as u64, lost.sum())
    };
    let lost = || -> Result<u64> {
        let status = scene.stage.status()?;
        status["listener"]["audit_lost"]
            .as_u64()
            .context("no count")
    };
    ask(1)?;
    scene.stage.audit(|audit| count(audit) == (1, 0))?;
    disk.fill()?;
    // More than there is room for in the page that the file has.
    ask(16)?;
    wait_until(DEADLINE, "lost records", || {
        lost().is_ok_and(|lost| lost > 0)
    });
    disk.free()?;
    ask(1)?;
    // A line that was cut off is nobody's; `audit` passes over it, and says so.
    let audit = || -> Result<(Vec<Value>, String)> {
        let mut command = scene.stage.command();
        let output = command.args(["--output", "json", "audit"]).output()?;
        let lines = output.stdout.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        let records = lines.map(serde_json::from_slice);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((records.collect::<Result<_, _>>()?, said))
    };
    wait_until(DEADLINE, "a record or a loss of each request", || {
        audit().is_ok_and(|(audit, _)| {
            let (written, lost) = count(&audit);
            written + lost == 18
        })
    });
    let (audit, said) = audit()?;
    ensure!(said.contains("could not be read: 1\n"), "{said}");
    ensure!(count(&audit).1 == lost()?, "{audit:?}");
    ensure!(audit.last().is_some_and(|last| last["action"] == LOOK));
    Ok(())
}

#[test]
fn a_listener_that_is_told_to_end_answers_what_is_under_way() -> Result<()> {
    let Some(mut scene) = Scene::new("drain", "")? else {
        return Ok(());
    };
    let (mut polling, mut idle, mut silent) = (scene.one()?, scene.one()?, scene.one()?);
    ensure!(idle.ask(scene.describe("x")?)?.status == 200);
    polling.send(scene.poll()?)?;
    scene.backend.wait_for_polls(1);
    scene.stage.listener.signal(Signal::TERM)?;
    ensure!(is_ended(&mut idle)?, "a connection without a request");
    ensure!(is_ended(&mut silent)?, "one that had none yet");
    wait_until(DEADLINE, "no more connections", || scene.one().is_err());
    ensure!(is_held(&mut polling)?);
    ensure!(
        scene.stage.listener.status()?.is_none(),
        "it waits for the poll"
    );
    scene.backend.release();
    ensure!(polling.answer()?.status == 200);
    ensure!(is_ended(&mut polling)?, "and ends with it");
    ensure!(scene.stage.listener.wait(DEADLINE).success());
    let polls = verdicts(&scene, POLL, 1)?;
    ensure!(polls == ["allowed allowed"], "{polls:?}");
    Ok(())
}

#[test]
fn whichever_process_is_killed_the_others_keep_enforcing() -> Result<()> {
    let Some(mut scene) = Scene::new("killed", "")? else {
        return Ok(());
    };
    scene.stage.world.write_policy("10.toml", without_one())?;
    scene.stage.world.reload()?;
    scene.stage.wait_until_listening();
    ensure!(is_shut_out(&scene)?, "client one is shut out");
    let mut polling = scene.two()?;
    polling.send(scene.poll()?)?;
    scene.backend.wait_for_polls(1);

    // The daemon: its packet filter stays, and so does the listener's policy.
    scene.stage.daemon.kill()?;
    ensure!(is_shut_out(&scene)?, "without a daemon");
    ensure!(scene.answers(&scene.stage.world.two, TWO)?.status == 200);
    ensure!(is_held(&mut polling)?);

    // The listener, while there is no daemon: the next one enforces the last policy.
    scene.stage.listener.kill()?;
    ensure!(!matches!(polling.come(DEADLINE)?, Came::Nothing), "it ends");
    scene.stage.restart_listener()?;
    wait_until(DEADLINE, "the last policy", || {
        scene
            .answers(&scene.stage.world.two, TWO)
            .is_ok_and(|answer| answer.status == 200)
    });
    ensure!(is_shut_out(&scene)?, "with the last policy");

    // The daemon comes back with another policy.
    scene.stage.world.write_policy("10.toml", POLICY)?;
    scene.stage.daemon = scene.stage.world.restarted_daemon()?;
    scene.stage.wait_until_listening();
    ensure!(scene.answers(&scene.stage.world.one, ONE)?.status == 200);

    // The upstream: an exception that SDKs repeat, at once, and service when it is back.
    let mut client = scene.one()?;
    // The poll of the listener that was killed is not the one that is waited for.
    scene.backend.release();
    client.send(scene.poll()?)?;
    scene.backend.wait_for_polls(1);
    drop(std::mem::replace(
        &mut scene.backend,
        Backend::start(&scene.stage.world.one, "127.0.0.1:1")?,
    ));
    let answer = client.answer()?;
    ensure!(
        answer.status == 500 && answer.exception().as_deref() == Some("InternalFailure"),
        "{answer:?}"
    );
    let answer = client.ask(scene.describe("x")?)?;
    ensure!(
        answer.status == 503 && answer.exception().as_deref() == Some("ServiceUnavailable"),
        "{answer:?}"
    );
    let denied = scene.call("DescribeDomain", "{")?;
    ensure!(
        client.ask(denied.bytes())?.status == 400,
        "it judges all the same"
    );
    scene.backend = Backend::start(&scene.stage.world.host, UPSTREAM)?;
    wait_until(DEADLINE, "service", || {
        let request = scene.describe("x").expect("a request");
        client.ask(request).is_ok_and(|answer| answer.status == 200)
    });
    Ok(())
}

#[test]
fn an_upstream_that_fails_amid_its_answer_is_never_taken_for_a_success() -> Result<()> {
    let Some(scene) = Scene::new("amid", "")? else {
        return Ok(());
    };
    // Before an answer has begun there is another one to give.
    for name in ["silent", "garbage"] {
        let mut client = scene.one()?;
        let answer = client.ask(scene.describe(name)?)?;
        ensure!(answer.status == 500, "{name}: {answer:?}");
        ensure!(
            answer.exception().as_deref() == Some("InternalFailure"),
            "{name}"
        );
        ensure!(
            client.ask(scene.describe("x")?)?.status == 200,
            "{name}: the connection stays"
        );
    }
    // After that, it ends where the upstream's did.
    for name in ["cut", "cut-chunk"] {
        let mut client = scene.one()?;
        client.send(scene.describe(name)?)?;
        ensure!(is_ended(&mut client)?, "{name}");
    }
    let failed = ["failed upstream-failed", "allowed allowed"].repeat(2);
    let cut = ["failed answer-cut-off"; 2];
    ensure!(
        verdicts(&scene, "swf:DescribeDomain", 6)? == [&failed[..], &cut].concat(),
        "what broke off is no success in the audit log"
    );
    // Valid, if unusual.
    for (name, body) in [
        ("chunked", &br#"{"in":"pieces"}"#[..]),
        ("continued", b"{}"),
        ("until-end", br#"{"until":"end"}"#),
        ("talking", b"{}"),
    ] {
        let mut client = scene.one()?;
        let answer = client.ask(scene.describe(name)?)?;
        ensure!(
            answer.status == 200 && answer.body == body,
            "{name}: {answer:?}"
        );
        for field in ["set-cookie", "server", "alt-svc", "x-internal", "x-trailer"] {
            ensure!(answer.field(field).is_none(), "{name}: {answer:?}");
        }
        ensure!(
            answer.field("x-amzn-requestid") != Some("of-the-upstream"),
            "{answer:?}"
        );
        let crc = (name == "talking").then_some("7");
        ensure!(answer.field("x-amz-crc32") == crc, "{answer:?}");
        ensure!(
            client.ask(scene.describe("x")?)?.status == 200,
            "{name}: the connection stays"
        );
    }
    let repeated = scene.backend.received();
    let silent = repeated
        .iter()
        .filter(|request| String::from_utf8_lossy(&request.body).contains("silent"));
    ensure!(
        silent.count() == 1,
        "what may have been done is not done again"
    );
    Ok(())
}

/// A poll that comes in one piece, over a connection that had no request, is held longer than a head may take.
#[test]
fn a_poll_is_held_beyond_the_time_of_heads() -> Result<()> {
    let Some(scene) = Scene::new("held", "")? else {
        return Ok(());
    };
    let mut client = scene.one()?;
    client.send(scene.poll()?)?;
    scene.backend.wait_for_polls(1);
    let came = client.come(Duration::from_secs(12))?;
    ensure!(matches!(came, Came::Nothing), "{came:?}");
    scene.backend.release();
    let answer = client.answer().context("after 12 s")?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}
