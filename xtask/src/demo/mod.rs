//! `cargo xtask demo`: the filter and the listener at work between four machines, each a network namespace.
//!
//! The demo checks what it shows: a client that connects and should not, or a command with another answer than the story
//! needs, ends it with an error, and with everything cleaned up.

mod gates;
mod leftovers;
mod screen;
mod stage;
mod upstream;

use std::fs;
use std::path::Path;
use std::process;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use self::leftovers::Janitor;
pub(crate) use self::leftovers::{CLEAN_UP_AFTER, clean_up_after};
use self::screen::{output, say};
use self::stage::{Background, CLIENTS, Client, HOST, LAB, OFFICE, ORDERS, Stage};
pub(crate) use self::upstream::{UPSTREAM, Upstream, answer_at};
use crate::machine;

/// Runs the demo with a release build of `swf-filter`.
pub(crate) fn run(binary: &Path, upstream: &Upstream) -> Result<()> {
    ensure!(
        machine::root(),
        "the demo makes network namespaces and loads a kernel program: run it as root"
    );
    let start = Instant::now();
    leftovers::sweep()?;
    let demo = process::id();
    let janitor = Janitor::hire(demo)?;
    let outcome = Stage::build(demo, binary).and_then(|stage| play(&stage, upstream));
    janitor.finish()?;
    outcome?;
    println!(
        "\nThe demo took {} seconds. Its namespaces, pins and files are gone.",
        start.elapsed().as_secs()
    );
    Ok(())
}

fn play(stage: &Stage, upstream: &Upstream) -> Result<()> {
    let endpoint = open_the_endpoint(stage)?;
    let daemon = filter(stage)?;
    let daemon = say_why(stage, daemon)?;
    reload_under_traffic(stage)?;
    lose_the_daemon(stage, daemon)?;
    detach(stage)?;
    endpoint.kill()?;
    gates::play(stage, upstream)
}

/// The endpoint, which everybody reaches.
fn open_the_endpoint(stage: &Stage) -> Result<Background> {
    stage
        .screen
        .scene("1. A host with a TLS endpoint, and three clients that all reach it");
    for client in CLIENTS {
        say(&format!(
            "{:<7} {:<13} {}, behind the host's {}",
            client.name, client.address, client.who, client.interface
        ));
    }
    stage
        .quietly(
            HOST,
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=swf -keyout key.pem -out cert.pem",
        )?
        .code(0)?;
    let endpoint = stage.start(
        HOST,
        "openssl s_server -accept 443 -cert cert.pem -key key.pem -quiet -www",
    )?;
    until("the endpoint answers", || {
        let answer = stage.quietly(HOST, &connection(ORDERS))?;
        Ok(answer.code(0).is_ok())
    })?;
    for client in CLIENTS {
        connects(stage, client)?;
    }
    Ok(endpoint)
}

/// The policy, the daemon, and who connects now.
fn filter(stage: &Stage) -> Result<Background> {
    let screen = stage.screen;
    screen.scene("2. A policy in files: who may reach which host");
    stage.show(HOST, "cat policy.d/10-sources.toml")?.code(0)?;
    stage.show(HOST, "cat policy.d/20-hosts.toml")?.code(0)?;
    stage.show(HOST, "swf-filter check")?.code(0)?.says("ok")?;

    screen.scene("3. The daemon loads it into the kernel: what policy does not allow is dropped before the host sees it");
    let daemon = stage.start(HOST, "swf-filter daemon")?;
    until_attached(&daemon)?;
    connects(stage, ORDERS)?;
    is_dropped(stage, LAB)?;
    say(
        "The same source address as orders, and another verdict: it comes in on another interface.",
    );
    is_dropped(stage, OFFICE)?;
    Ok(daemon)
}

/// Rules, events and explanations.
fn say_why(stage: &Stage, daemon: Background) -> Result<Background> {
    let screen = stage.screen;
    screen.scene("4. Why was this dropped?");
    let rules = stage.show(HOST, "swf-filter rules")?.code(0)?;
    ensure!(
        rules.packets(OFFICE.address)? > 0 && rules.packets("vpc:vpc-orders")? > 0,
        "the rules do not count what was sent"
    );
    screen.ok("each rule has counted its packets, and names its file, line and column");

    let mut events = stage.start(HOST, "swf-filter events --limit 1")?;
    until("an event comes", || {
        stage.quietly(OFFICE.name, &connection(OFFICE))?;
        events.has_ended()
    })?;
    output(&events.text());
    ensure!(
        events.text().contains(OFFICE.address),
        "the event is not about the office:\n{}",
        events.text()
    );
    screen.ok("a dropped packet was reported as it came");

    let explain = |client: Client| {
        format!(
            "swf-filter explain --live --from {} --to {}:443 --interface {}",
            client.address, client.service, client.interface
        )
    };
    stage
        .show(HOST, &explain(OFFICE))?
        .code(0)?
        .says("deny")?
        .says("20-hosts.toml:7:")?;
    stage
        .show(HOST, &explain(LAB))?
        .code(0)?
        .says("default-drop")?;
    screen.ok("the files and the program in the kernel give the same answer");
    Ok(daemon)
}

/// A changed policy, while a client connects all the time.
fn reload_under_traffic(stage: &Stage) -> Result<()> {
    let screen = stage.screen;
    screen.scene("5. A changed policy lets vpc-lab in; orders connects over and over meanwhile");
    let script = format!(
        "connected=0\nfor attempt in $(seq {ATTEMPTS}); do\n    {} && connected=$((connected + 1))\ndone >/dev/null\n\
         echo \"connected $connected of {ATTEMPTS} times\"\n",
        connection(ORDERS)
    );
    fs::write(stage.folder().join("steady.sh"), script)?;
    let mut traffic = stage.start_quietly(ORDERS.name, "sh steady.sh")?;

    stage
        .show(HOST, "cp changed/20-hosts.toml policy.d/")?
        .code(0)?;
    stage
        .show(HOST, "swf-filter diff")?
        .code(0)?
        .says("vpc:vpc-lab")?;
    stage.show(HOST, "swf-filter reload")?.code(0)?;
    connects(stage, LAB)?;

    for version in ["first", "changed"].into_iter().cycle().take(RELOADS) {
        let line = format!("cp {version}/20-hosts.toml policy.d/ && swf-filter reload");
        stage.quietly(HOST, &line)?.code(0)?;
    }
    say(&format!(
        "Then {RELOADS} more reloads, back and forth between the two policies."
    ));
    until("the connections end", || traffic.has_ended())?;
    let text = traffic.text();
    output(&text);
    ensure!(
        text.contains(&format!("connected {ATTEMPTS} of {ATTEMPTS}")),
        "a reload kept an allowed client out: {text}"
    );
    screen.ok("no reload kept out a client that both policies allow");
    Ok(())
}

/// `kill -9`, and a restart.
fn lose_the_daemon(stage: &Stage, daemon: Background) -> Result<()> {
    let screen = stage.screen;
    screen.scene("6. The daemon is killed; the filter stays on");
    let before = stage
        .quietly(HOST, "swf-filter rules")?
        .packets(OFFICE.address)?;
    screen.command(HOST, &format!("kill -9 {}", daemon.id()));
    daemon.kill()?;
    stage.show(HOST, "swf-filter status")?.code(NO_DAEMON)?;
    is_dropped(stage, OFFICE)?;
    connects(stage, ORDERS)?;

    say("The next daemon takes over what is in force, and the counters go on.");
    let daemon = stage.start(HOST, "swf-filter daemon")?;
    until("the daemon answers", || {
        let answer = stage.quietly(HOST, "swf-filter status")?;
        Ok(answer.code(0).is_ok())
    })?;
    let after = stage
        .show(HOST, "swf-filter rules")?
        .code(0)?
        .packets(OFFICE.address)?;
    ensure!(
        after > before,
        "the rule counted {after} packets after the restart, and {before} before"
    );
    screen.ok(&format!(
        "{before} packets were denied before the kill, {after} after the restart"
    ));
    daemon.kill()
}

/// The only way to take the filter off.
fn detach(stage: &Stage) -> Result<()> {
    stage.screen.scene("7. Only `detach` takes the filter off");
    stage.show(HOST, "swf-filter detach")?.code(0)?;
    connects(stage, OFFICE)
}

/// A command that makes a TLS connection and prints the status of the answer.
fn connection(client: Client) -> String {
    format!(
        "curl -sk --connect-timeout 1 -o /dev/null -w '%{{http_code}}\\n' https://{}/",
        client.service
    )
}

fn connects(stage: &Stage, client: Client) -> Result<()> {
    stage
        .show(client.name, &connection(client))?
        .code(0)?
        .says("200")?;
    stage.screen.ok(&format!("{} connects", client.name));
    Ok(())
}

fn is_dropped(stage: &Stage, client: Client) -> Result<()> {
    stage
        .show(client.name, &connection(client))?
        .code(TIMED_OUT)?;
    stage.screen.ok(&format!(
        "{} gets no answer: its packets are dropped",
        client.name
    ));
    Ok(())
}

fn until_attached(daemon: &Background) -> Result<()> {
    until("the daemon is attached", || {
        let log = daemon.text();
        Ok(CLIENTS
            .iter()
            .all(|client| log.contains(&format!("attached interface={}", client.interface))))
    })
}

/// Waits, not for ever.
fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if is_so()? {
            return Ok(());
        }
        sleep(PAUSE);
    }
    bail!("waited {} seconds, and not: {what}", PATIENCE.as_secs())
}

/// curl's exit code when nobody answers in time (curl(1)).
const TIMED_OUT: i32 = 28;
/// swf-filter's exit code when no daemon answers.
const NO_DAEMON: i32 = 4;
const ATTEMPTS: u32 = 40;
const RELOADS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
