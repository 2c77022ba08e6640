//! Whatever fails or dies, the policy that was in force stays enforced as a whole, and the daemon says what was wrong.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FileType, Mode, mknodat};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use swf_filter_tests::for_each_engine;
use swf_filter_tests::link::{self, End, Mac};
use swf_filter_tests::netns::Namespace;
use swf_filter_tests::process::{Child, run};
use swf_filter_tests::rivals::{Flip, Rival, enforced, round, switches};
use swf_filter_tests::traffic::Stream;
use swf_filter_tests::wait::wait_until;
use swf_filter_tests::wire::Wire;
use swf_filter_tests::world::{DEADLINE, Engine, World};

/// Times that the daemon is killed.
const KILLS: u32 = 32;
/// The last of them come as soon as the new policy is in force.
const LATE_KILLS: u32 = 4;
/// Prefixes in each of the four tables of a policy whose reload takes long enough to be hit in every phase.
const PREFIXES: u32 = 5_000;
/// Rounds of traffic that show what is enforced.
const ROUNDS: u64 = 4;
/// Descriptors that the daemon has and a reload takes at most, by far.
const DESCRIPTORS: u64 = 100;
/// Lines of a set file whose last one is wrong.
const LINES: u32 = 1_000_000;

/// A world in which [`Rival::One`] is enforced.
struct Gate {
    world: World,
    daemon: Child,
    one: Wire,
    two: Wire,
}

impl Gate {
    fn new(name: &str) -> Result<Option<Self>> {
        World::silent(name)?.map(Self::of).transpose()
    }

    fn of(world: World) -> Result<Self> {
        world.write_policy("10.toml", Rival::One.policy())?;
        let gate = Self {
            daemon: world.attached_daemon()?,
            one: world.wire_one()?,
            two: world.wire_two()?,
            world,
        };
        gate.ensure_enforced(Rival::One)?;
        Ok(gate)
    }

    fn ensure_enforced(&self, rival: Rival) -> Result<()> {
        let found = enforced(&self.one, &self.two)?;
        ensure!(found == rival, "{found:?} is enforced, and not {rival:?}");
        Ok(())
    }

    fn reload(&self) -> Result<()> {
        self.world.reload()
    }

    fn switch_to(&self, rival: Rival) -> Result<()> {
        self.world.write_policy("10.toml", rival.policy())?;
        self.reload()?;
        self.ensure_enforced(rival)
    }
}

for_each_engine!(
    failing_map_leaves_the_old_policy_and_the_next_reload_succeeds,
    killed_daemon_leaves_the_old_policy_or_the_new_one,
);

fn killed_daemon_leaves_the_old_policy_or_the_new_one(engine: Engine) -> Result<()> {
    let Some(world) = World::silent_on("kill", engine)? else {
        return Ok(());
    };
    for (rival, first) in [(Rival::One, 20), (Rival::Two, 30)] {
        fs::write(world.policies().join(set_of(rival)), many_prefixes(first))?;
    }
    write_long(&world, Rival::One)?;
    let mut daemon = world.attached_daemon()?;
    let traffic = world.traffic()?;
    traffic.wait_for_rounds(ROUNDS);

    let mut rival = Rival::Two;
    write_long(&world, rival)?;
    let asked = Instant::now();
    world.reload()?;
    let confirmed = Instant::now();
    let usual = confirmed - asked;
    let mut flips = vec![Flip { asked, confirmed }];
    let mut settled = vec![confirmed];
    for kill in 0..KILLS {
        traffic.wait_for_rounds(ROUNDS);
        rival = rival.other();
        write_long(&world, rival)?;
        let asked = Instant::now();
        let heard = world.ask_to_reload(&daemon)?;
        if kill < KILLS - LATE_KILLS {
            // Not a wait for something: the moment of the kill walks through all phases of the reload.
            thread::sleep(usual * kill / (KILLS - LATE_KILLS));
        } else {
            wait_until(DEADLINE, "the flip", || {
                daemon.stderr()[heard..].contains("new generation in force")
            });
        }
        daemon.kill()?;
        traffic.wait_for_rounds(ROUNDS);
        settled.push(Instant::now());
        daemon = world.restarted_daemon()?;
        let confirmed = Instant::now();
        flips.push(Flip { asked, confirmed });
    }
    traffic.wait_for_rounds(ROUNDS);

    let records = traffic.stop()?;
    let mut of_interfaces = Vec::new();
    for (record, client) in records.iter().zip([Rival::One, Rival::Two]) {
        record.ensure_never_mixed()?;
        let switches = switches(record, client, &flips)?;
        let was_flipped: Vec<bool> = switches
            .iter()
            .zip(&settled)
            .map(|(switch, settled)| switch.new.before < *settled)
            .collect();
        of_interfaces.push(was_flipped);
    }
    let [one, two] = &of_interfaces[..] else {
        bail!("two clients, but {} records", of_interfaces.len());
    };
    ensure!(one == two, "the interfaces differ: {one:?}, {two:?}");
    let flipped = one[1..].iter().filter(|flipped| **flipped).count();
    println!("a reload takes {usual:?}; killed {KILLS} times, {flipped} of them after the flip");
    let is_both = flipped >= LATE_KILLS as usize && flipped < KILLS as usize;
    ensure!(is_both, "all kills came on one side of the flip");
    Ok(())
}

fn set_of(rival: Rival) -> &'static str {
    match rival {
        Rival::One => "many-one.txt",
        Rival::Two => "many-two.txt",
    }
}

fn write_long(world: &World, rival: Rival) -> Result<()> {
    let set = format!("[[set]]\nname = \"many\"\nfile = \"{}\"\n", set_of(rival));
    let policy = rival.policy_and(", \"set:many\"") + &set;
    world.write_policy("10.toml", policy)
}

/// Prefixes that are apart, below one first byte.
fn many_prefixes(first: u8) -> String {
    (0..PREFIXES).fold(String::new(), |mut text, number| {
        let [_, high, middle, low] = (number * 2).to_be_bytes();
        let _written = writeln!(text, "{first}.{high}.{middle}.{low}/32");
        text
    })
}

fn failing_map_leaves_the_old_policy_and_the_next_reload_succeeds(engine: Engine) -> Result<()> {
    let Some(world) = World::silent_on("descriptors", engine)? else {
        return Ok(());
    };
    let gate = Gate::of(world)?;
    let open = descriptors(&gate.daemon)?;
    gate.world.write_policy("10.toml", Rival::Two.policy())?;
    let mut said = Vec::new();
    // One descriptor more each time, so that each step that needs one is the one that fails.
    for limit in 0..DESCRIPTORS {
        limit_descriptors(&gate.daemon, Some(limit))?;
        match gate.world.reload_by_signal(&gate.daemon) {
            Ok(()) => break,
            Err(refusal) => said.push(refusal.to_string()),
        }
        let still = gate.ensure_enforced(Rival::One);
        still.with_context(|| format!("after `{}`", said.concat()))?;
    }
    limit_descriptors(&gate.daemon, None)?;
    gate.ensure_enforced(Rival::Two)?;
    gate.switch_to(Rival::One)?;
    wait_until(DEADLINE, "as many descriptors as before", || {
        descriptors(&gate.daemon).is_ok_and(|left| left <= open)
    });

    println!("{}", said.concat());
    // Files are walked to by two descriptors, as many as maps are made with at a time: which of them lacks one first, the limit decides.
    ensure!(!said.is_empty(), "nothing failed");
    for line in &said {
        ensure!(line.contains("Too many open files"), "unclear: {line}");
    }
    Ok(())
}

fn descriptors(daemon: &Child) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", daemon.id()))?.count())
}

/// `None` for as many as are ever allowed.
fn limit_descriptors(daemon: &Child, limit: Option<u64>) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(daemon.id())?);
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: limit.or(most),
        maximum: most,
    };
    prlimit(pid, Resource::Nofile, limit)?;
    Ok(())
}

/// What is wrong, how to make it so, and the words that the daemon has to have for it.
type BadFile<'a> = (
    &'static str,
    &'a dyn Fn() -> Result<()>,
    &'static [&'static str],
);

#[test]
fn bad_files_change_nothing_and_are_named() -> Result<()> {
    let Some(gate) = Gate::new("files")? else {
        return Ok(());
    };
    let bad = gate.world.policies().join("20.toml");
    let long = gate.world.policies().join("long.txt");
    fs::write(&long, long_with_an_error_at_its_end())?;
    let set = |file: &str| format!("version = 1\n[[set]]\nname = \"s\"\nfile = \"{file}\"\n");
    let host = Rival::Two.policy();
    let cut = &host[..host.len() / 2];
    let cases: [BadFile<'_>; 10] = [
        ("cut in half", &|| Ok(fs::write(&bad, cut)?), &["20.toml:"]),
        (
            "binary",
            &|| Ok(fs::write(&bad, (0..=255).collect::<Vec<u8>>())?),
            &["20.toml:", "UTF-8"],
        ),
        (
            "not UTF-8",
            &|| Ok(fs::write(&bad, b"version = 1\n# caf\xe9\n")?),
            &["20.toml:2:6", "UTF-8"],
        ),
        (
            "a loop of links",
            &|| Ok(symlink(&bad, &bad)?),
            &["20.toml", "symbolic links"],
        ),
        (
            "a link to nothing",
            &|| Ok(symlink("nowhere", &bad)?),
            &["20.toml", "no such file"],
        ),
        ("a pipe", &|| pipe(&bad), &["20.toml", "not a regular file"]),
        (
            "no set file",
            &|| Ok(fs::write(&bad, set("nowhere.txt"))?),
            &["20.toml:4:8", "nowhere.txt", "no such file"],
        ),
        (
            "a pipe for a set file",
            &|| {
                pipe(&gate.world.policies().join("pipe.txt"))?;
                Ok(fs::write(&bad, set("pipe.txt"))?)
            },
            &["20.toml:4:8", "pipe.txt", "cannot be read"],
        ),
        (
            "a long set file with an error in its last line",
            &|| Ok(fs::write(&bad, set("long.txt"))?),
            &["long.txt:1000000:", "10.1.2.3/8"],
        ),
        (
            "what is defined already",
            &|| Ok(fs::write(&bad, &host)?),
            &["20.toml:", "10.toml:", "service"],
        ),
    ];
    for (what, make, words) in cases {
        make().context(what)?;
        let refusal = gate.reload().expect_err(what).to_string();
        for word in words {
            ensure!(refusal.contains(word), "{what}: no `{word}` in: {refusal}");
        }
        gate.ensure_enforced(Rival::One).context(what)?;
        fs::remove_file(&bad)?;
    }
    gate.switch_to(Rival::Two)
}

fn pipe(path: &Path) -> Result<()> {
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(mknodat(rustix::fs::CWD, path, FileType::Fifo, mode, 0)?)
}

fn long_with_an_error_at_its_end() -> String {
    let right = (1..LINES).fold(String::new(), |mut text, number| {
        let [_, high, middle, low] = number.to_be_bytes();
        let _written = writeln!(text, "20.{high}.{middle}.{low}");
        text
    });
    right + "10.1.2.3/8\n"
}

#[test]
fn directory_that_is_gone_or_bare_is_told_apart() -> Result<()> {
    let Some(gate) = Gate::new("directory")? else {
        return Ok(());
    };
    let away = gate.world.file("away");
    fs::rename(gate.world.policies(), &away)?;
    let refusal = gate.reload().expect_err("no directory").to_string();
    ensure!(refusal.contains("policy.d") && refusal.contains("no such directory"));
    gate.ensure_enforced(Rival::One)?;
    fs::rename(&away, gate.world.policies())?;
    gate.switch_to(Rival::Two)?;

    // Nobody is protected any more, because the operator says so.
    fs::remove_file(gate.world.policies().join("10.toml"))?;
    gate.reload()?;
    ensure!(passes_all(&gate.one) && passes_all(&gate.two));
    Ok(())
}

fn passes_all(wire: &Wire) -> bool {
    round(wire.macs())
        .iter()
        .all(|(_, frame)| wire.passes(&frame.to_bytes()).is_ok_and(|passed| passed))
}

#[test]
fn second_daemon_is_refused_and_a_stopped_one_leaves_the_filter_on() -> Result<()> {
    let Some(mut gate) = Gate::new("second")? else {
        return Ok(());
    };
    let mut second = gate.world.daemon()?;
    ensure!(!second.wait(DEADLINE).success());
    second.wait_for_output(DEADLINE, "another swf-filter daemon holds");

    // Nor one that has another socket and the same pins.
    let config = fs::read_to_string(gate.world.file("config.toml"))?;
    let other = gate.world.file("other.toml");
    fs::write(&other, config.replace("/run\"", "/other-run\""))?;
    let mut third = Child::spawn("third", gate.world.command_of(&other).arg("daemon"))?;
    ensure!(!third.wait(DEADLINE).success());
    third.wait_for_output(DEADLINE, "another swf-filter daemon holds");
    gate.switch_to(Rival::Two)?;

    gate.daemon.signal(Signal::TERM)?;
    ensure!(gate.daemon.wait(DEADLINE).success());
    gate.ensure_enforced(Rival::Two)?;

    gate.world.write_policy("10.toml", b"nonsense")?;
    gate.daemon = gate.world.restarted_daemon()?;
    gate.daemon.wait_for_output(DEADLINE, "stays in force");
    gate.ensure_enforced(Rival::Two)?;
    gate.switch_to(Rival::One)
}

#[test]
fn foreign_program_is_named_and_left_alone() -> Result<()> {
    let Some(world) = World::silent("foreign")? else {
        return Ok(());
    };
    let other_config = world.write_other("eth2", &Rival::One.policy())?;
    let mut other = Child::spawn("other", world.command_of(&other_config).arg("daemon"))?;
    other.wait_for_output(DEADLINE, "attached interface=eth2");
    other.kill()?;

    world.write_policy("10.toml", Rival::Two.policy())?;
    let daemon = world.daemon()?;
    daemon.wait_for_output(DEADLINE, "another XDP program is attached: `swf_filter`");
    daemon.wait_for_output(DEADLINE, "attached interface=eth1");
    let (one, two) = (world.wire_one()?, world.wire_two()?);
    let sometimes = |wire: &Wire| -> Result<bool> {
        let mut frames = round(wire.macs()).into_iter();
        let frame = frames.find(|(stream, _)| *stream == Stream::Sometimes);
        wire.passes(&frame.context("a round has all streams")?.1.to_bytes())
    };
    ensure!(!sometimes(&one)?, "ours lets in the other client only");
    ensure!(!sometimes(&two)?, "the other program is still there");
    drop(daemon);

    run(world.command_of(&other_config).arg("detach"))?;
    ensure!(!sometimes(&one)?, "detaching theirs leaves ours");
    let _daemon = world.restarted_daemon()?;
    wait_until(DEADLINE, "a program on both interfaces", || {
        enforced(&one, &two).is_ok_and(|rival| rival == Rival::Two)
    });
    Ok(())
}

#[test]
fn interface_that_comes_later_or_again_is_filtered() -> Result<()> {
    let Some(mut gate) = Gate::new("interfaces")? else {
        return Ok(());
    };
    let third = Namespace::new()?;
    let ends = |name| {
        let end = |namespace, name, mac| End {
            namespace,
            name,
            mac: Mac::local(mac),
            addresses: &[],
        };
        [end(&third, "eth0", 5), end(&gate.world.host, name, 6)]
    };
    let [near, far] = ends("eth3");
    link::connect(near, far)?;
    gate.daemon
        .wait_for_output(DEADLINE, "attached interface=eth3");
    let wire = Wire::open([near, far])?;
    for (stream, frame) in round(wire.macs()) {
        let passed = wire.passes(&frame.to_bytes())?;
        // No VPC claims the interface, and only they let in the source of `Sometimes`.
        ensure!(passed == (stream == Stream::Always), "{stream:?}: {passed}");
    }

    for _ in 0..8 {
        let heard = gate.daemon.stderr().len();
        gate.world.host.ip("link delete eth2")?;
        let [near, far] = gate.world.cable_two();
        let [near, far] = [near, far].map(|end| End {
            addresses: &[],
            ..end
        });
        link::connect(near, far)?;
        wait_until(DEADLINE, "the new interface to be attached", || {
            gate.daemon.stderr()[heard..].contains("attached interface=eth2")
        });
        gate.two = gate.world.wire_two()?;
        gate.ensure_enforced(Rival::One)?;
    }
    gate.switch_to(Rival::Two)
}

#[test]
fn pins_that_were_removed_without_a_daemon_are_made_by_the_next() -> Result<()> {
    let Some(mut gate) = Gate::new("pins")? else {
        return Ok(());
    };
    // Without links: the program stays attached, on maps that nobody can find any more.
    gate.daemon.kill()?;
    for entry in fs::read_dir(gate.world.pins())? {
        let path = entry?.path();
        if !path.ends_with("links") {
            fs::remove_dir_all(path)?;
        }
    }
    gate.ensure_enforced(Rival::One)?;
    gate.world.write_policy("10.toml", Rival::Two.policy())?;
    gate.daemon = gate.world.restarted_daemon()?;
    gate.daemon
        .wait_for_output(DEADLINE, "replaced the program in place interface=eth2");
    gate.ensure_enforced(Rival::Two)?;
    gate.switch_to(Rival::One)?;

    // With links: that is how to take the filter off without a daemon, and a start puts it on again.
    gate.daemon.kill()?;
    fs::remove_dir_all(gate.world.pins())?;
    wait_until(DEADLINE, "the end of the filter", || {
        [&gate.one, &gate.two].map(passes_all) == [true, true]
    });
    gate.daemon = gate.world.attached_daemon()?;
    gate.ensure_enforced(Rival::One)?;
    gate.switch_to(Rival::Two)
}
