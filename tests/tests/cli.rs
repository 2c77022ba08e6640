//! The command line as an operator uses it: what each command says, in which form, and how it ends.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::Instant;
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use swf_filter_tests::frames::Frame;
use swf_filter_tests::process::{Child, run};
use swf_filter_tests::wait::wait_until;
use swf_filter_tests::wire::Wire;
use swf_filter_tests::world::{DEADLINE, World, interface};

const FINE: i32 = 0;
const ERROR: i32 = 1;
const WRONG_USE: i32 = 2;
const REFUSED: i32 = 3;
const NO_DAEMON: i32 = 4;
const DISAGREEMENT: i32 = 5;

const HOST: &str = "198.51.100.10";
const ALLOWED: &str = "192.0.2.1";
const DENIED: &str = "192.0.2.66";
const STRANGER: &str = "203.0.113.9";
const BROKEN: &str = "version = 1\n[[host]]\nname = ";

/// A policy that lets in the network of [`ALLOWED`], not [`DENIED`], and whatever else is given.
fn policy(more: &str) -> String {
    format!(
        "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"{HOST}\", \"2001:db8::10\"]\n\
         allow = [\"192.0.2.0/24\"{more}]\ndeny = [\"{DENIED}\"]\n\
         [[host]]\nname = \"trial\"\naddresses = [\"198.51.100.20\"]\nmode = \"audit\"\nallow = [\"{ALLOWED}\"]\n\
         [[vpc]]\nid = \"vpc-two\"\ncidrs = [\"10.0.0.0/8\"]\ninterfaces = [\"eth2\"]\nvlans = [120]\n"
    )
}

/// A world without traffic of its own, its daemon, and a wire to `eth1`.
struct Stage {
    world: World,
    daemon: Child,
    wire: Wire,
}

impl Stage {
    fn new(name: &str, settings: &str) -> Result<Option<Self>> {
        let Some(world) = World::silent(name)? else {
            return Ok(None);
        };
        world.write_config(settings)?;
        world.write_policy("10.toml", policy(""))?;
        Ok(Some(Self {
            daemon: world.attached_daemon()?,
            wire: world.wire_one()?,
            world,
        }))
    }
}

fn frame(source: &str, host: &str) -> Frame {
    let [source, host] = [source, host].map(|text| text.parse().expect("an address"));
    Frame::ip(source, host).tcp(40_000, 443)
}

fn passes(wire: &Wire, source: &str) -> Result<bool> {
    wire.passes(&frame(source, HOST).to_bytes())
}

fn outcome(world: &World, arguments: &[&str]) -> Result<Output> {
    Ok(world.command().args(arguments).output()?)
}

/// Fails unless a command ends so, with each of `words` said on either stream. Gives what it printed.
fn ends(world: &World, arguments: &[&str], code: i32, words: &[&str]) -> Result<String> {
    let output = outcome(world, arguments)?;
    let printed = String::from_utf8(output.stdout)?;
    let said = printed.clone() + &String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(code),
        "{arguments:?}: {}: {said}",
        output.status
    );
    for word in words {
        ensure!(said.contains(word), "{arguments:?}: no `{word}` in: {said}");
    }
    Ok(printed)
}

/// Fails unless an object has exactly these fields: they are what scripts rely on.
fn has_fields(object: &Value, fields: &str) -> Result<()> {
    let found: BTreeSet<&str> = object
        .as_object()
        .with_context(|| format!("no object: {object}"))?
        .keys()
        .map(String::as_str)
        .collect();
    let expected: BTreeSet<&str> = fields.split(' ').collect();
    ensure!(found == expected, "{found:?}, and not {expected:?}");
    Ok(())
}

fn list(value: &Value) -> Result<&[Value]> {
    Ok(value
        .as_array()
        .with_context(|| format!("no list: {value}"))?)
}

/// Packets and bytes of a rule, by its list and text.
fn counted(rules: &Value, host: &str, list_name: &str, text: &str) -> Result<(u64, u64)> {
    let rule = list(rules)?
        .iter()
        .find(|rule| rule["host"] == host && rule["list"] == list_name && rule["rule"] == text)
        .with_context(|| format!("no rule {text} in {list_name} of {host} in {rules}"))?;
    pair(rule)
}

fn pair(count: &Value) -> Result<(u64, u64)> {
    let number = |field: &str| count[field].as_u64().with_context(|| format!("no {field}"));
    Ok((number("packets")?, number("bytes")?))
}

fn reason(status: &Value, name: &str) -> Result<(u64, u64)> {
    let reasons = list(&status["reasons"])?;
    let reason = reasons.iter().find(|count| count["reason"] == name);
    pair(reason.with_context(|| format!("no reason {name}"))?)
}

/// What a follower of events has printed so far, as JSON.
fn followed(follower: &Child) -> Result<Vec<Value>> {
    let printed = follower.stdout();
    let whole = printed.rfind('\n').map_or("", |end| &printed[..end]);
    Ok(whole
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?)
}

/// Starts `swf-filter events`, and drops frames until it hears of one.
fn follower(stage: &Stage, arguments: &[&str]) -> Result<Child> {
    let mut command = stage.world.command();
    let follower = Child::spawn("events", command.arg("events").args(arguments))?;
    let mut sent = Ok(true);
    wait_until(DEADLINE, "the first event", || {
        sent = passes(&stage.wire, STRANGER);
        sent.is_err() || !follower.stdout().is_empty()
    });
    ensure!(!sent?, "a stranger's frame passes");
    Ok(follower)
}

#[test]
fn without_a_daemon_every_command_says_what_to_do() -> Result<()> {
    let Some(world) = World::silent("absent")? else {
        return Ok(());
    };
    world.write_policy("10.toml", policy(""))?;
    let live: &[&str] = &["explain", "--live", "--from", ALLOWED, "--to", HOST];
    let questions: [&[&str]; 7] = [
        &["status"],
        &["rules"],
        &["events"],
        &["diff"],
        &["reload"],
        &["attach"],
        live,
    ];
    for question in questions {
        let words = ["no daemon answers on ", "start `swf-filter daemon`"];
        ends(&world, question, NO_DAEMON, &words)?;
    }
    let failure = ends(&world, &["--output", "json", "status"], NO_DAEMON, &[])?;
    has_fields(&serde_json::from_str(&failure)?, "error report")?;

    ends(&world, &["check"], FINE, &["ok: 2 hosts, "])?;
    ends(&world, &["version"], FINE, &["swf-filter "])?;
    has_fields(&world.ask(&["version"])?, "version")?;
    ends(&world, &["detach"], FINE, &["no interface has the filter"])?;
    ends(
        &world,
        &["detach", "eth1"],
        ERROR,
        &["nothing of swf-filter"],
    )?;
    ends(
        &world,
        &["detach", "eth7"],
        ERROR,
        &["there is no interface `eth7`"],
    )?;
    ends(&world, &["dettach"], WRONG_USE, &["dettach"])?;
    ends(&world, &["explain", "--from", "x"], WRONG_USE, &["--from"])?;

    world.write_policy("20.toml", BROKEN)?;
    ends(&world, &["check"], REFUSED, &["20.toml:3:"])?;
    let report = ends(&world, &["--output", "json", "check"], REFUSED, &[])?;
    let report: Value = serde_json::from_str(&report)?;
    has_fields(
        &report,
        "accepted hosts zones rules prefixes expectations report",
    )?;
    ensure!(report["accepted"] == false, "{report}");
    Ok(())
}

#[test]
fn a_daemon_that_is_killed_is_no_daemon() -> Result<()> {
    let Some(mut stage) = Stage::new("killed", "")? else {
        return Ok(());
    };
    let mut follower = follower(&stage, &[])?;
    stage.daemon.kill()?;
    ensure!(follower.wait(DEADLINE).code() == Some(NO_DAEMON));
    follower.wait_for_output(DEADLINE, "the daemon has ended");
    ends(
        &stage.world,
        &["status"],
        NO_DAEMON,
        &["start `swf-filter daemon`"],
    )?;
    ensure!(!passes(&stage.wire, DENIED)?, "the filter is still on");

    let report = stage.world.ask(&["detach"])?;
    let detached = list(&report["interfaces"])?;
    ensure!(detached.len() == 2, "{report}");
    for info in detached {
        has_fields(info, "name index mode note")?;
        ensure!(info["mode"].is_null(), "{report}");
    }
    ensure!(passes(&stage.wire, DENIED)?, "the filter is off");
    Ok(())
}

#[test]
fn answers_have_the_fields_that_scripts_rely_on() -> Result<()> {
    let Some(stage) = Stage::new("fields", "")? else {
        return Ok(());
    };
    let world = &stage.world;
    let generation = "number hash since hosts zones rules prefixes engine table_bytes";
    let status = world.status()?;
    has_fields(
        &status,
        "version pid uptime_seconds generation policy interfaces reasons events reloads put_back warnings listener",
    )?;
    has_fields(
        &status["put_back"],
        "filters pins programs filters_missing pins_missing",
    )?;
    has_fields(&status["generation"], generation)?;
    has_fields(&status["events"], "received lost")?;
    has_fields(
        &status["reloads"],
        "changed failed unchanged last at milliseconds",
    )?;
    for interface in list(&status["interfaces"])? {
        has_fields(interface, "name index mode note")?;
    }
    ensure!(
        list(&status["reasons"])?.len() == 17,
        "each reason, also at zero"
    );
    for reason in list(&status["reasons"])? {
        has_fields(reason, "reason drops packets bytes")?;
    }
    ensure!(status["pid"] == stage.daemon.id() && status["generation"]["number"] == 1);

    let rules = world.ask(&["rules"])?;
    ensure!(list(&rules)?.len() == 5, "{rules}");
    for rule in list(&rules)? {
        has_fields(rule, "number host list rule origin packets bytes")?;
        has_fields(&rule["origin"], "file line column")?;
    }

    has_fields(&world.ask(&["diff"])?, "hosts cut")?;
    let attached = world.ask(&["attach"])?;
    ensure!(attached["interfaces"] == status["interfaces"], "{attached}");

    world.write_policy("10.toml", policy(", \"203.0.113.0/24\""))?;
    let reload = world.ask(&["reload"])?;
    has_fields(&reload, "changed generation milliseconds doubts")?;
    has_fields(&reload["generation"], generation)?;
    has_fields(
        &reload["milliseconds"],
        "read parse compile build fill flip",
    )?;
    has_fields(&reload["doubts"], "problems more")?;
    ensure!(reload["changed"] == true && reload["generation"]["number"] == 2);
    let again = world.ask(&["reload"])?;
    ensure!(again["changed"] == false && again["generation"] == reload["generation"]);
    Ok(())
}

#[test]
fn text_is_for_people_and_may_be_cut_short() -> Result<()> {
    let Some(stage) = Stage::new("text", "")? else {
        return Ok(());
    };
    let world = &stage.world;
    passes(&stage.wire, DENIED)?;
    let words = [
        "generation 1 since ",
        "2 hosts, ",
        "INTERFACE ",
        "eth1             driver\n",
        " 54  deny (drop)\n",
        "events: ",
    ];
    ends(world, &["status"], FINE, &words)?;
    let row = " 1                 54  swf    deny     192.0.2.66        ";
    ends(world, &["rules"], FINE, &["PACKETS", row, "/10.toml:6:9\n"])?;

    // A reader that ends early, as `head` does, is not an error.
    let (reader, writer) = io::pipe()?;
    drop(reader);
    let output = world.command().arg("rules").stdout(writer).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "{said}");
    Ok(())
}

#[test]
fn rules_and_reasons_count_each_packet_and_byte() -> Result<()> {
    let Some(stage) = Stage::new("exact", "")? else {
        return Ok(());
    };
    let (world, wire) = (&stage.world, &stage.wire);
    // Source, host, how often, how long a payload, and whether it passes.
    let sent = [
        (ALLOWED, HOST, 3, 0, true),
        (ALLOWED, HOST, 1, 1000, true),
        (DENIED, HOST, 2, 10, false),
        (STRANGER, HOST, 4, 0, false),
        ("2001:db8:1::1", "2001:db8::10", 1, 0, false),
        (STRANGER, "198.51.100.20", 2, 7, true),
        (ALLOWED, "198.51.100.99", 1, 0, true),
    ];
    for (source, host, times, length, expected) in sent {
        let frame = frame(source, host).payload(&vec![0; length]).to_bytes();
        for _ in 0..times {
            let passed = wire.passes(&frame)?;
            ensure!(passed == expected, "{source} to {host} passes: {passed}");
        }
    }
    // Ethernet and TCP take 14 and 20 bytes, IPv4 20 and IPv6 40.
    let (v4, v6) = (54, 74);
    let rules = world.ask(&["rules"])?;
    let of = |host, list, text| counted(&rules, host, list, text);
    ensure!(of("swf", "allow", "192.0.2.0/24")? == (4, 4 * v4 + 1000));
    ensure!(of("swf", "deny", DENIED)? == (2, 2 * (v4 + 10)));
    ensure!(of("swf", "default", "default = \"drop\"")? == (5, 4 * v4 + v6));
    ensure!(of("trial", "default", "default = \"drop\"")? == (2, 2 * (v4 + 7)));
    ensure!(of("trial", "allow", ALLOWED)? == (0, 0));

    let status = world.status()?;
    ensure!(reason(&status, "allow")? == (4, 4 * v4 + 1000));
    ensure!(reason(&status, "deny")? == (2, 2 * (v4 + 10)));
    ensure!(reason(&status, "default-drop")? == (5, 4 * v4 + v6));
    ensure!(reason(&status, "audit-default")? == (2, 2 * (v4 + 7)));
    ensure!(reason(&status, "other-destination")? == (1, v4));
    // The marks behind the frames.
    ensure!(reason(&status, "not-ip")?.0 == 14);
    let all = list(&status["reasons"])?.iter().map(pair);
    let packets = all.map(|pair| Ok(pair?.0)).sum::<Result<u64>>()?;
    ensure!(packets == 28, "{packets} packets");
    Ok(())
}

#[test]
fn dropped_frames_are_reported_with_rule_source_and_interface() -> Result<()> {
    let Some(stage) = Stage::new("events", "events_per_second = 1000000\n")? else {
        return Ok(());
    };
    let follower = follower(&stage, &["--output", "json"])?;
    let two = stage.world.wire_two()?;
    let tagged = frame("10.1.2.3", HOST).vlan(120).udp(5, 443).to_bytes();
    ensure!(!two.passes(&tagged)?, "no entry names the VPC");
    ensure!(!passes(&stage.wire, DENIED)?);
    let audited = frame("203.0.113.10", "198.51.100.20").to_bytes();
    ensure!(stage.wire.passes(&audited)?);
    let cut = frame("203.0.113.11", HOST).to_bytes()[..30].to_vec();
    ensure!(!stage.wire.passes(&cut)?);

    wait_until(DEADLINE, "the event of the last frame", || {
        let events = followed(&follower).unwrap_or_default();
        events.iter().any(|event| event["reason"] == "truncated")
    });
    let events = followed(&follower)?;
    for event in &events {
        has_fields(
            event,
            "time generation reason dropped host zone interface vlan source source_port destination \
             destination_port protocol length rule origin",
        )?;
    }
    // By what tells them from the frames that started the stream.
    let find = |field: &str, value: &str| {
        let found = events.iter().find(|event| event[field] == value);
        found.with_context(|| format!("no event with {field} {value} in {events:?}"))
    };
    let expect = |event: &Value, expected: Value| -> Result<()> {
        for (field, value) in expected.as_object().context("fields")? {
            ensure!(event[field] == *value, "{field} is not {value}: {event}");
        }
        Ok(())
    };
    expect(
        find("source", "10.1.2.3")?,
        serde_json::json!({
            "reason": "default-drop", "dropped": true, "host": "swf", "zone": "vpc-two", "interface": "eth2",
            "vlan": 120, "source_port": 5, "destination": HOST, "destination_port": 443, "protocol": 17,
            "length": tagged.len(), "rule": "default = \"drop\"", "generation": 1,
        }),
    )?;
    let denied = find("source", DENIED)?;
    expect(
        denied,
        serde_json::json!({
            "reason": "deny", "dropped": true, "host": "swf", "zone": "public", "interface": "eth1", "vlan": null,
            "source_port": 40_000, "protocol": 6, "length": 54, "rule": DENIED,
        }),
    )?;
    let origin = &denied["origin"];
    ensure!(origin["line"] == 6 && origin["column"] == 9, "{origin}");
    expect(
        find("source", "203.0.113.10")?,
        serde_json::json!({"reason": "audit-default", "dropped": false, "host": "trial", "interface": "eth1"}),
    )?;
    expect(
        find("reason", "truncated")?,
        serde_json::json!({
            "dropped": true, "host": null, "zone": null, "interface": "eth1", "source": null, "rule": null,
            "origin": null, "length": 30,
        }),
    )
}

#[test]
fn events_end_after_as_many_as_were_asked_for() -> Result<()> {
    let Some(stage) = Stage::new("limit", "events_per_second = 1000000\n")? else {
        return Ok(());
    };
    let mut follower = follower(&stage, &["--limit", "2"])?;
    wait_until(DEADLINE, "the end of the events", || {
        let _dropped = passes(&stage.wire, DENIED);
        follower.status().is_ok_and(|status| status.is_some())
    });
    ensure!(follower.wait(DEADLINE).success());
    let printed = follower.stdout();
    ensure!(printed.lines().count() == 2, "{printed}");
    ensure!(
        printed.contains(&format!(
            " drop default-drop: {STRANGER}:40000 -> {HOST}:443 in on eth1, host swf, zone public, rule "
        )),
        "{printed}"
    );
    Ok(())
}

#[test]
fn events_are_bounded_and_those_that_were_not_sent_are_counted() -> Result<()> {
    const FRAMES: u64 = 300;
    const EVENTS: u64 = 5;
    const RATE: u64 = 10;
    let Some(stage) = Stage::new("sampled", &format!("events_per_second = {RATE}\n"))? else {
        return Ok(());
    };
    let start = Instant::now();
    let follower = follower(&stage, &["--output", "json"])?;
    let heard = || followed(&follower).map(|events| events.len() as u64);
    let mut sent = 0;
    wait_until(DEADLINE, "some events of many frames", || {
        sent += u64::from(passes(&stage.wire, DENIED).is_ok_and(|passed| !passed));
        sent >= FRAMES && heard().is_ok_and(|heard| heard >= EVENTS)
    });
    let heard = heard()?;
    let status = stage.world.status()?;
    let number = |field: &str| status["events"][field].as_u64().context("a number");
    let (received, lost) = (number("received")?, number("lost")?);
    ensure!(heard <= received, "{heard} of {received}");
    // A refill at the start, and one that is under way at the end.
    let most = (start.elapsed().as_secs() + 1) * RATE + 2;
    ensure!(
        (1..=most).contains(&received),
        "{received} events, {most} at most"
    );
    let dropped = reason(&status, "deny")?.0 + reason(&status, "default-drop")?.0;
    ensure!(dropped > sent && received + lost == dropped);
    Ok(())
}

#[test]
fn events_that_are_turned_off_are_all_counted_as_lost() -> Result<()> {
    let Some(stage) = Stage::new("off", "events_per_second = 0\n")? else {
        return Ok(());
    };
    for _ in 0..3 {
        ensure!(!passes(&stage.wire, DENIED)?);
    }
    let events = &stage.world.status()?["events"];
    ensure!(events["received"] == 0 && events["lost"] == 3, "{events}");
    Ok(())
}

#[test]
fn a_difference_names_exactly_the_prefixes_that_change() -> Result<()> {
    let Some(stage) = Stage::new("diff", "")? else {
        return Ok(());
    };
    let world = &stage.world;
    ends(
        world,
        &["diff"],
        FINE,
        &["a reload would change no verdict"],
    )?;
    let changed = policy(", \"203.0.113.0/25\", \"vpc:vpc-two\"")
        .replace(
            &format!("deny = [\"{DENIED}\"]"),
            "deny = [\"192.0.2.128/25\"]",
        )
        .replace("name = \"trial\"", "name = \"other\"");
    world.write_policy("10.toml", changed)?;

    let diff = world.ask(&["diff"])?;
    let hosts = list(&diff["hosts"])?;
    let by_name = |name: &str| {
        let found = hosts.iter().find(|host| host["host"] == name);
        found.with_context(|| format!("no {name} in {diff}"))
    };
    ensure!(hosts.len() == 3 && diff["cut"] == false, "{diff}");
    ensure!(by_name("other")?["change"] == "added");
    ensure!(by_name("trial")?["change"] == "removed");
    let changed = by_name("swf")?;
    ensure!(changed["change"] == "changed" && changed["settings"] == serde_json::json!([]));
    let mut rows = BTreeSet::new();
    for row in list(&changed["prefixes"])? {
        let side = |side: &Value| match side["rule"].as_str() {
            Some(rule) => format!("{} {rule}", side["list"].as_str().unwrap_or_default()),
            None => "nothing".to_owned(),
        };
        let text = |field: &str| row[field].as_str().unwrap_or_default();
        rows.insert(format!(
            "{} in {}: {} -> {}",
            text("prefix"),
            text("zone"),
            side(&row["before"]),
            side(&row["after"])
        ));
    }
    let in_both = |row: &str| ["public", "vpc-two"].map(|zone| row.replace("ZONE", zone));
    let expected: BTreeSet<String> = [
        "192.0.2.66/32 in ZONE: deny 192.0.2.66 -> nothing",
        "192.0.2.128/25 in ZONE: nothing -> deny 192.0.2.128/25",
        "203.0.113.0/25 in ZONE: nothing -> allow 203.0.113.0/25",
    ]
    .into_iter()
    .flat_map(in_both)
    .chain(["10.0.0.0/8 in vpc-two: nothing -> allow vpc:vpc-two".to_owned()])
    .collect();
    ensure!(rows == expected, "{rows:#?}\nand not\n{expected:#?}");
    let words = [
        "+ host other",
        "- host trial",
        "~ host swf",
        "  - 192.0.2.66/32 in zone public: deny",
    ];
    ends(world, &["diff"], FINE, &words)?;
    ensure!(
        passes(&stage.wire, STRANGER).is_ok_and(|passed| !passed),
        "asking changes nothing"
    );

    world.reload()?;
    ends(
        world,
        &["diff"],
        FINE,
        &["a reload would change no verdict"],
    )?;
    world.write_policy("10.toml", BROKEN)?;
    ends(world, &["diff"], REFUSED, &["10.toml:3:"])?;
    Ok(())
}

#[test]
fn a_reload_over_broken_files_is_refused_and_a_hangup_reloads_too() -> Result<()> {
    let Some(stage) = Stage::new("reload", "")? else {
        return Ok(());
    };
    let (world, wire) = (&stage.world, &stage.wire);
    world.write_policy("20.toml", BROKEN)?;
    let printed = ends(
        world,
        &["reload"],
        REFUSED,
        &["20.toml:3:", "error: not valid TOML"],
    )?;
    ensure!(printed.is_empty(), "only standard error: {printed}");
    let failure = ends(world, &["--output", "json", "reload"], REFUSED, &[])?;
    let failure: Value = serde_json::from_str(&failure)?;
    ensure!(
        failure["report"]["problems"][0]["at"]["line"] == 3,
        "{failure}"
    );
    ensure!(world.status()?["generation"]["number"] == 1);
    ensure!(!passes(wire, DENIED)?);
    let explained = ["explain", "--live", "--from", ALLOWED, "--to", HOST];
    ends(world, &explained, REFUSED, &["20.toml:3:"])?;

    fs::remove_file(world.policies().join("20.toml"))?;
    world.write_policy("10.toml", policy("").replace(DENIED, "192.0.2.67"))?;
    let explained = ["explain", "--live", "--from", DENIED, "--to", HOST];
    ends(
        world,
        &explained,
        DISAGREEMENT,
        &["were the files changed", "diff"],
    )?;
    stage.daemon.signal(Signal::HUP)?;
    wait_until(DEADLINE, "the generation of a hangup", || {
        world
            .status()
            .is_ok_and(|status| status["generation"]["number"] == 2)
    });
    ensure!(passes(wire, DENIED)?);
    ends(world, &explained, FINE, &["pass: allow"])?;
    Ok(())
}

#[test]
fn one_interface_is_detached_and_attached_again() -> Result<()> {
    let Some(stage) = Stage::new("detach", "")? else {
        return Ok(());
    };
    let (world, one) = (&stage.world, &stage.wire);
    let two = world.wire_two()?;
    let filtered = || anyhow::Ok([!passes(one, DENIED)?, !passes(&two, DENIED)?]);
    let is_off = ["eth2             not attached: detached by an operator"];
    ends(world, &["detach", "eth2"], FINE, &is_off)?;
    ensure!(filtered()? == [true, false]);
    ends(
        world,
        &["detach", "eth2"],
        ERROR,
        &["nothing of swf-filter is attached to `eth2`"],
    )?;
    world.reload()?;
    ensure!(filtered()? == [true, false], "a reload leaves it off");
    ends(world, &["status"], FINE, &is_off)?;
    ends(
        world,
        &["attach", "eth2"],
        FINE,
        &["eth2             driver\n"],
    )?;
    ensure!(filtered()? == [true, true]);

    ends(world, &["detach"], FINE, &is_off)?;
    ensure!(filtered()? == [false, false]);
    ends(
        world,
        &["attach"],
        FINE,
        &["eth1             driver\neth2             driver\n"],
    )?;
    ensure!(filtered()? == [true, true]);

    ends(
        world,
        &["attach", "eth7"],
        ERROR,
        &["there is no interface `eth7`"],
    )?;
    ends(
        world,
        &["attach", "lo"],
        ERROR,
        &["config.toml does not name `lo`"],
    )?;
    ends(
        world,
        &["detach", "lo"],
        ERROR,
        &["nothing of swf-filter is attached to `lo`"],
    )?;
    let failure = ends(world, &["--output", "json", "attach", "lo"], ERROR, &[])?;
    has_fields(&serde_json::from_str(&failure)?, "error report")
}

#[test]
fn status_tells_of_interfaces_that_are_not_named_or_not_there() -> Result<()> {
    let Some(stage) = Stage::new("named", "")? else {
        return Ok(());
    };
    let world = &stage.world;
    let config = world.file("config.toml");
    let settings = fs::read_to_string(&config)?;
    let others = settings.replace("[\"eth?\"]", "[\"eth1\", \"wan0\"]");
    fs::write(&config, others)?;
    world.reload()?;
    let status = world.status()?;
    let note = |name: &str| {
        interface(&status, name)["note"]
            .as_str()
            .unwrap_or_default()
    };
    ensure!(interface(&status, "eth1")["note"].is_null(), "{status}");
    ensure!(interface(&status, "eth2")["mode"] == "driver", "{status}");
    ensure!(
        note("eth2").contains("config.toml does not name it any more"),
        "{status}"
    );
    ensure!(interface(&status, "wan0")["index"].is_null(), "{status}");
    ensure!(
        note("wan0").contains("there is no such interface"),
        "{status}"
    );
    ensure!(interface(&status, "lo").is_null(), "{status}");

    // Named again, it is filtered again: whoever took it off did so because it was not named.
    ends(world, &["detach", "eth2"], FINE, &[])?;
    ensure!(interface(&world.status()?, "eth2").is_null());
    fs::write(&config, settings)?;
    world.reload()?;
    wait_until(DEADLINE, "the filter on eth2", || {
        world
            .status()
            .is_ok_and(|status| interface(&status, "eth2")["mode"] == "driver")
    });
    Ok(())
}

#[test]
fn another_program_is_in_the_way_until_it_is_gone() -> Result<()> {
    let Some(world) = World::silent("rival")? else {
        return Ok(());
    };
    let other_config = world.write_other("eth2", &policy(""))?;
    let mut other = Child::spawn("other", world.command_of(&other_config).arg("daemon"))?;
    other.wait_for_output(DEADLINE, "attached interface=eth2");
    other.kill()?;

    world.write_policy("10.toml", policy(""))?;
    let _daemon = world.restarted_daemon()?;
    let foreign =
        "eth2             not attached: another XDP program is attached: `swf_filter` (id ";
    ends(&world, &["status"], FINE, &[foreign])?;
    for question in [&["attach"][..], &["attach", "eth2"]] {
        let words = [foreign, "error: not attached to eth2\n"];
        ends(&world, question, ERROR, &words)?;
    }
    ends(&world, &["attach", "eth1"], FINE, &[])?;
    let report = ends(&world, &["--output", "json", "attach"], ERROR, &[])?;
    has_fields(&serde_json::from_str(&report)?, "interfaces")?;

    run(world.command_of(&other_config).arg("detach"))?;
    ends(
        &world,
        &["attach", "eth2"],
        FINE,
        &["eth2             driver\n"],
    )?;
    ensure!(!passes(&world.wire_two()?, DENIED)?);
    Ok(())
}

#[test]
fn generic_mode_is_told_with_its_reason_and_stays_told() -> Result<()> {
    let Some(stage) = Stage::new("generic", "xdp_mode = \"generic\"\n")? else {
        return Ok(());
    };
    let world = &stage.world;
    let generic = "eth1             generic\n";
    ends(world, &["status"], FINE, &[generic])?;
    ensure!(!passes(&stage.wire, DENIED)?);
    world.write_config("xdp_mode = \"driver\"\n")?;
    world.reload()?;
    let words = ["eth1             generic: config.toml wants driver mode"];
    ends(world, &["status"], FINE, &words)?;
    run(world.command().args(["detach", "eth1"]))?;
    ends(
        world,
        &["attach", "eth1"],
        FINE,
        &["eth1             driver\n"],
    )?;
    Ok(())
}

#[test]
fn a_command_without_settings_says_where_it_looked() -> Result<()> {
    let Some(world) = World::silent("settings")? else {
        return Ok(());
    };
    let gone = world.file("gone.toml");
    for question in ["status", "check", "detach"] {
        let mut command: Command = world.command_of(&gone);
        let output = command.arg(question).output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(REFUSED), "{question}: {said}");
        ensure!(
            said.contains("gone.toml") && said.contains("settings"),
            "{said}"
        );
    }
    Ok(())
}
