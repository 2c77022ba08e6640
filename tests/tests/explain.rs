//! `explain` as a user asks it: from the files and from the loaded program, and what both answer.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::Value;
use swf_filter_tests::process::run;
use swf_filter_tests::world::World;

const POLICIES: u64 = 12;
const QUESTIONS: usize = 100;
/// Exit code of a difference between files and kernel.
const DIFFERENT: i32 = 5;

/// Sources that random entries are about, and addresses in and beside them.
const V4: [&str; 8] = [
    "192.0.2.0/24",
    "192.0.2.64/26",
    "192.0.2.66",
    "10.20.0.0/16",
    "10.20.30.0/24",
    "203.0.113.1-203.0.113.77",
    "10.0.0.0/8",
    "0.0.0.0/0",
];
const V6: [&str; 5] = [
    "2001:db8:1::/48",
    "2001:db8:1:2::/64",
    "2001:db8:1::66",
    "2001:db8:7::1-2001:db8:7::9",
    "::/0",
];
const SOURCES_V4: [&str; 9] = [
    "192.0.2.1",
    "192.0.2.66",
    "192.0.2.67",
    "10.20.0.1",
    "10.20.30.40",
    "10.99.0.1",
    "203.0.113.77",
    "203.0.113.78",
    "198.51.100.200",
];
const SOURCES_V6: [&str; 6] = [
    "2001:db8:1::1",
    "2001:db8:1:2::3",
    "2001:db8:1::66",
    "2001:db8:7::9",
    "2001:db8:7::a",
    "2001:db8:ffff::1",
];
const HOSTS_V4: [&str; 3] = ["198.51.100.10", "198.51.100.20", "198.51.100.99"];
const HOSTS_V6: [&str; 3] = ["2001:db8::10", "2001:db8::20", "2001:db8::99"];

fn pick<'a>(random: &mut Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(..of.len())]
}

/// Some entries of an allow or deny list, each once.
fn list(random: &mut Rng, most: usize) -> String {
    let mut entries = BTreeSet::new();
    for _ in 0..random.usize(..=most) {
        entries.insert(match random.usize(..5) {
            0 => "set:offices".to_owned(),
            1 => format!("vpc:vpc-{}", random.usize(..3)),
            2 => pick(random, &V6).to_owned(),
            _ => pick(random, &V4).to_owned(),
        });
    }
    format!("{entries:?}").replace(['{', '}'], "")
}

fn policy(random: &mut Rng) -> String {
    let mut text = "version = 1\n".to_owned();
    for (host, (v4, v6)) in HOSTS_V4.iter().zip(HOSTS_V6).take(2).enumerate() {
        text = format!(
            "{text}\n[[host]]\nname = \"host-{host}\"\naddresses = [\"{v4}\", \"{v6}\"]\nports = {}\ndefault = \"{}\"\nmode = \"{}\"\n\
             allow = [{}]\naudit = [{}]\ndeny = [{}]\n",
            pick(random, &["[443]", "[80, 443]", "\"all\""]),
            pick(random, &["drop", "drop", "pass"]),
            pick(random, &["enforce", "enforce", "audit"]),
            list(random, 5),
            list(random, 2),
            list(random, 2),
        );
    }
    let claims = [
        "interfaces = [\"eth1\"]",
        "interfaces = [\"eth2\"]",
        "vlans = [120]",
    ];
    for (vpc, claim) in claims.iter().enumerate() {
        text = format!(
            "{text}\n[[vpc]]\nid = \"vpc-{vpc}\"\ncidrs = [\"10.20.0.0/16\", \"2001:db8:1::/48\"]\n{claim}\n"
        );
    }
    format!(
        "{text}\n[[set]]\nname = \"offices\"\ncidrs = [\"192.0.2.0/24\"]\nfile = \"offices.txt\"\n"
    )
}

fn offices(random: &mut Rng) -> String {
    let mut text = "# offices\n".to_owned();
    for _ in 0..random.usize(1..6) {
        let entry = if random.bool() {
            pick(random, &V4[..7])
        } else {
            pick(random, &V6[..4])
        };
        text = format!("{text}\n{entry}   # an office\n");
    }
    text
}

/// The arguments of a random question.
fn question(random: &mut Rng) -> Vec<String> {
    let (from, to) = if random.usize(..3) == 0 {
        let host = pick(random, &HOSTS_V6);
        let port = pick(random, &["443", "80", "22"]);
        (pick(random, &SOURCES_V6), format!("[{host}]:{port}"))
    } else {
        let host = pick(random, &HOSTS_V4);
        let port = pick(random, &["443", "443", "80", "22"]);
        (pick(random, &SOURCES_V4), format!("{host}:{port}"))
    };
    let mut arguments = vec!["--from".to_owned(), from.to_owned(), "--to".to_owned(), to];
    if random.usize(..4) > 0 {
        let interface = pick(random, &["eth1", "eth2", "lo"]);
        arguments.extend(["--interface".to_owned(), interface.to_owned()]);
    }
    if random.usize(..3) == 0 {
        let vlan = pick(random, &["120", "121"]);
        arguments.extend(["--vlan".to_owned(), vlan.to_owned()]);
    }
    arguments
}

fn explain(world: &World, arguments: &[String]) -> Result<Output> {
    let mut command = world.command();
    let command = command
        .args(["--output", "json", "explain"])
        .args(arguments);
    command.output().context("cannot run the binary")
}

/// The line that an origin names.
fn line(origin: &Value) -> Result<String> {
    let file = origin["file"].as_str().context("no file")?;
    let number = origin["line"].as_u64().context("no line")?;
    let text = fs::read_to_string(file)?;
    let line = text.lines().nth(usize::try_from(number)? - 1);
    Ok(line.context("no such line")?.to_owned())
}

#[test]
fn files_and_kernel_agree_and_name_the_line() -> Result<()> {
    let Some(world) = World::silent("agree")? else {
        return Ok(());
    };
    world.write_policy("10.toml", "version = 1\n")?;
    let _daemon = world.attached_daemon()?;
    let mut seen = BTreeSet::new();
    let mut set_lines = 0;
    for seed in 0..POLICIES {
        let random = &mut Rng::with_seed(seed);
        world.write_policy("10.toml", policy(random))?;
        world.write_policy("offices.txt", offices(random))?;
        world.reload()?;
        for _ in 0..QUESTIONS {
            let mut arguments = question(random);
            arguments.push("--live".to_owned());
            let answer = explain(&world, &arguments)?;
            let told = String::from_utf8_lossy(&answer.stderr);
            ensure!(
                answer.status.success(),
                "policy {seed}, {arguments:?}: {told}\n{}",
                String::from_utf8_lossy(&answer.stdout)
            );
            let answer: Value = serde_json::from_slice(&answer.stdout)?;
            seen.insert(answer["reason"].to_string());
            if let Some(rule) = answer["rule"].as_str() {
                let line = line(&answer["origin"])?;
                let wanted = if answer["list"] == "default" {
                    "[[host]]"
                } else {
                    rule
                };
                ensure!(line.contains(wanted), "{arguments:?}: {answer}: {line}");
            }
            if answer["set_line"].is_object() {
                let line = line(&answer["set_line"])?;
                ensure!(line.contains("# an office"), "{answer}: {line}");
                set_lines += 1;
            }
        }
    }
    for reason in [
        "allow",
        "deny",
        "default-drop",
        "default-pass",
        "audit-deny",
        "audit-default",
        "other-destination",
        "other-port",
    ] {
        ensure!(
            seen.contains(&format!("\"{reason}\"")),
            "no question led to {reason}: {seen:?}"
        );
    }
    ensure!(
        set_lines > 5,
        "{set_lines} answers name a line of a set file"
    );
    Ok(())
}

#[test]
fn a_difference_between_files_and_kernel_is_an_error() -> Result<()> {
    let Some(world) = World::silent("differ")? else {
        return Ok(());
    };
    let policy = |list: &str| {
        format!(
            "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"198.51.100.10\"]\n{list} = [\"192.0.2.1\"]\n"
        )
    };
    world.write_policy("10.toml", policy("allow"))?;
    let _daemon = world.attached_daemon()?;
    let arguments = ["--from", "192.0.2.1", "--to", "198.51.100.10"].map(str::to_owned);
    let live = [&arguments[..], &["--live".to_owned()]].concat();
    ensure!(
        explain(&world, &live)?.status.success(),
        "no difference yet"
    );

    world.write_policy("10.toml", format!("# a comment\n{}", policy("allow")))?;
    let answer = explain(&world, &live)?;
    ensure!(answer.status.success(), "a comment is no difference");

    world.write_policy("10.toml", policy("deny"))?;
    let answer = explain(&world, &live)?;
    let told = String::from_utf8_lossy(&answer.stderr);
    ensure!(
        answer.status.code() == Some(DIFFERENT) && told.contains("the kernel disagrees"),
        "{:?}: {told}",
        answer.status
    );
    let answer: Value = serde_json::from_slice(&answer.stdout)?;
    ensure!(answer["dropped"] == true, "the files' answer: {answer}");
    ensure!(
        explain(&world, &arguments)?.status.success(),
        "without --live the kernel is not asked"
    );
    Ok(())
}

#[test]
fn a_member_belongs_to_the_zone_of_what_it_is_a_member_of() -> Result<()> {
    let Some(world) = World::silent("member")? else {
        return Ok(());
    };
    // A bridge: to the gate, what has members is alike, and not each kernel has bonds.
    for line in [
        "link add br0 type bridge",
        "link set br0 up",
        "link set eth1 master br0",
    ] {
        run(world.host.command(Path::new("ip")).args(line.split(' ')))?;
    }
    world.write_policy(
        "10.toml",
        "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"198.51.100.10\"]\nallow = [\"vpc:vpc-bond\"]\n\
         [[vpc]]\nid = \"vpc-bond\"\ncidrs = [\"10.0.0.0/8\"]\ninterfaces = [\"br0\"]\n",
    )?;
    let _daemon = world.attached_daemon()?;
    for (interface, zone, dropped) in [
        ("eth1", "vpc-bond", false),
        ("br0", "vpc-bond", false),
        ("eth2", "public", true),
    ] {
        let question = [
            "--from",
            "10.1.2.3",
            "--to",
            "198.51.100.10",
            "--live",
            "--interface",
            interface,
        ];
        let question = question.map(str::to_owned);
        let answer = explain(&world, &question)?;
        let told = String::from_utf8_lossy(&answer.stderr);
        ensure!(answer.status.success(), "{interface}: {told}");
        let answer: Value = serde_json::from_slice(&answer.stdout)?;
        ensure!(
            answer["zone"] == zone && answer["dropped"] == dropped,
            "{interface}: {answer}"
        );
    }
    Ok(())
}
