//! Who takes the filter off, replaces it or removes its pins does so for a moment only, and who could prepare that is not relied on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{Xdp, XdpLink};
use aya_obj::programs::XdpAttachType;
use rustix::process::Signal;
use serde_json::Value;
use swf_filter_tests::process::{Child, run};
use swf_filter_tests::rivals::{Rival, enforced};
use swf_filter_tests::wait::wait_until;
use swf_filter_tests::wire::Wire;
use swf_filter_tests::world::{DEADLINE, World, interface};

/// Where a bpf file system belongs.
const BPF_FS: &str = "/sys/fs/bpf";

/// A world in which [`Rival::One`] is enforced, and shall stay so.
struct Gate {
    daemon: Child,
    one: Wire,
    two: Wire,
    world: World,
}

impl Gate {
    fn new(name: &str) -> Result<Option<Self>> {
        let Some(world) = World::silent(name)? else {
            return Ok(None);
        };
        world.write_policy("10.toml", Rival::One.policy())?;
        let gate = Self {
            daemon: world.attached_daemon()?,
            one: world.wire_one()?,
            two: world.wire_two()?,
            world,
        };
        gate.ensure_enforced("at first")?;
        Ok(Some(gate))
    }

    /// Sends packets over both cables.
    fn ensure_enforced(&self, when: &str) -> Result<()> {
        let found = enforced(&self.one, &self.two).context(when.to_owned())?;
        ensure!(found == Rival::One, "{when}: {found:?} is enforced");
        Ok(())
    }

    /// The pin of the link to an interface.
    fn link(&self, name: &str) -> Result<PathBuf> {
        let status = self.world.status()?;
        let index = interface(&status, name)["index"].as_u64();
        let index = index.with_context(|| format!("no `{name}`: {status}"))?;
        Ok(self.world.pins().join("links").join(index.to_string()))
    }

    /// A pin of this version.
    fn pin(&self, name: &str) -> PathBuf {
        let version = format!("v{}", swf_filter_common::abi::VERSION);
        self.world.pins().join(version).join(name)
    }

    /// Waits until the daemon has put back so many of these.
    fn wait_for_put_back(&self, what: &str, times: u64) {
        wait_until(DEADLINE, &format!("{times} {what} put back"), || {
            self.world
                .status()
                .is_ok_and(|status| status["put_back"][what] == times)
        });
    }

    /// Fails if something is amiss or told.
    fn ensure_well(&self) -> Result<Value> {
        let status = self.world.status()?;
        for name in ["eth1", "eth2"] {
            ensure!(!interface(&status, name)["mode"].is_null(), "{status}");
        }
        ensure!(status["put_back"]["filters_missing"] == 0, "{status}");
        ensure!(status["put_back"]["pins_missing"] == 0, "{status}");
        ensure!(status["warnings"] == serde_json::json!([]), "{status}");
        self.ensure_enforced("all is well")?;
        Ok(status)
    }

    /// Kills the daemon, and makes sure that what it pinned keeps the filter on, and is adopted.
    fn ensure_pinned(&mut self) -> Result<()> {
        self.daemon.kill()?;
        self.ensure_enforced("without a daemon")?;
        self.daemon = self.world.restarted_daemon()?;
        let said = self.daemon.stderr();
        ensure!(!said.contains("attached interface="), "not adopted: {said}");
        self.ensure_well().map(drop)
    }

    fn detach_link(&self, name: &str) -> Result<()> {
        let link = self.link(name)?;
        run(Command::new("bpftool")
            .args(["link", "detach", "pinned"])
            .arg(link))
        .map(drop)
    }
}

#[test]
fn a_link_that_somebody_detaches_is_attached_again() -> Result<()> {
    let Some(mut gate) = Gate::new("detached")? else {
        return Ok(());
    };
    for times in 1..=2 {
        gate.detach_link("eth2")?;
        gate.wait_for_put_back("filters", times);
        gate.ensure_well()?;
    }
    let words = "somebody took the filter off, and it is put back interface=eth2";
    gate.daemon.wait_for_output(DEADLINE, words);
    gate.ensure_pinned()
}

/// The twin: who asks the daemon gets what they ask for.
#[test]
fn a_filter_that_an_operator_takes_off_stays_off() -> Result<()> {
    let Some(gate) = Gate::new("asked")? else {
        return Ok(());
    };
    let link = gate.link("eth2")?;
    run(gate.world.command().args(["detach", "eth2"]))?;
    ensure!(!link.exists());
    gate.detach_link("eth1")?;
    gate.wait_for_put_back("filters", 1);
    let status = gate.world.status()?;
    ensure!(interface(&status, "eth2")["mode"].is_null(), "{status}");
    ensure!(status["put_back"]["filters_missing"] == 0, "{status}");
    ensure!(!link.exists());
    run(gate.world.command().args(["attach", "eth2"]))?;
    gate.ensure_well().map(drop)
}

#[test]
fn a_program_that_somebody_replaces_is_put_back() -> Result<()> {
    let Some(mut gate) = Gate::new("replaced")? else {
        return Ok(());
    };
    // A daemon of others, with a policy of its own, leaves a program that can be put into links.
    let other_config = gate.world.write_other("nic9", &Rival::Two.policy())?;
    let mut other = Child::spawn("other", gate.world.command_of(&other_config).arg("daemon"))?;
    other.wait_for_output(DEADLINE, "new generation in force");
    let version = format!("v{}", swf_filter_common::abi::VERSION);
    let theirs = gate.world.other_pins().join(version).join("program");
    wait_until(DEADLINE, "the other program", || theirs.exists());
    other.kill()?;

    gate.daemon.signal(Signal::STOP)?;
    let mut program = Xdp::from_pin(&theirs, XdpAttachType::Interface)?;
    for entry in fs::read_dir(gate.world.pins().join("links"))? {
        let link = FdLink::from(PinnedLink::from_pin(entry?.path())?);
        program.attach_to_link(XdpLink::try_from(link)?)?;
    }
    let meanwhile = enforced(&gate.one, &gate.two)?;
    ensure!(meanwhile == Rival::Two, "nobody replaced the program");
    gate.daemon.signal(Signal::CONT)?;
    gate.wait_for_put_back("programs", 2);
    gate.ensure_well()?;
    drop(program);
    gate.ensure_pinned()
}

#[test]
fn pins_that_somebody_removes_are_made_again_and_nothing_passes_meanwhile() -> Result<()> {
    let Some(mut gate) = Gate::new("removed")? else {
        return Ok(());
    };
    let pins = [
        gate.link("eth1")?,
        gate.link("eth2")?,
        gate.pin("ACTIVE"),
        gate.pin("bss"),
        gate.pin("program"),
    ];
    for pin in &pins {
        fs::remove_file(pin).with_context(|| pin.display().to_string())?;
    }
    gate.ensure_enforced("without pins")?;
    gate.wait_for_put_back("pins", 5);
    ensure!(pins.iter().all(|pin| pin.exists()));
    gate.ensure_well()?;
    gate.daemon
        .wait_for_output(DEADLINE, "somebody removed pins, which are made again");
    gate.ensure_pinned()
}

#[test]
fn a_directory_of_pins_that_somebody_removes_is_made_again_and_locked() -> Result<()> {
    let Some(mut gate) = Gate::new("directory")? else {
        return Ok(());
    };
    fs::remove_dir_all(gate.world.pins())?;
    gate.ensure_enforced("without a directory")?;
    // Maps, program and two links.
    gate.wait_for_put_back("pins", 11);
    gate.ensure_well()?;
    let mut second = gate.world.daemon()?;
    ensure!(!second.wait(DEADLINE).success());
    second.wait_for_output(DEADLINE, "another swf-filter daemon holds");
    gate.ensure_pinned()
}

#[test]
fn what_stands_in_the_place_of_a_pin_makes_way() -> Result<()> {
    let Some(mut gate) = Gate::new("place")? else {
        return Ok(());
    };
    let (link, map) = (gate.link("eth1")?, gate.pin("RULES"));
    let mut times = 0;
    for pin in [&link, &map] {
        // A directory.
        fs::remove_file(pin)?;
        fs::create_dir(pin)?;
        times += 1;
        gate.wait_for_put_back("pins", times);
        ensure!(pin.is_file());
        // A link to what was there.
        let aside = gate.world.pins().join("aside");
        fs::rename(pin, &aside)?;
        symlink(&aside, pin)?;
        times += 1;
        gate.wait_for_put_back("pins", times);
        ensure!(!pin.is_symlink() && pin.is_file());
        fs::remove_file(&aside)?;
        // The pin of something else, which lacks there.
        fs::rename(gate.pin("EVENTS"), pin)?;
        times += 2;
        gate.wait_for_put_back("pins", times);
        gate.ensure_well()?;
    }
    gate.ensure_pinned()
}

#[test]
fn a_pin_that_cannot_be_made_again_is_told_until_it_can() -> Result<()> {
    let Some(mut gate) = Gate::new("full")? else {
        return Ok(());
    };
    let link = gate.link("eth1")?;
    fs::remove_file(&link)?;
    // Not what somebody else keeps there.
    fs::create_dir_all(link.join("of/others"))?;
    wait_until(DEADLINE, "the warning", || {
        gate.world
            .status()
            .is_ok_and(|status| status["put_back"]["pins_missing"] == 1)
    });
    let status = gate.world.status()?;
    let warnings = status["warnings"].to_string();
    for words in ["pins are lost", &link.to_string_lossy(), "not empty"] {
        ensure!(warnings.contains(words), "no `{words}`: {warnings}");
    }
    gate.ensure_enforced("without the pin")?;
    fs::remove_dir_all(&link)?;
    gate.wait_for_put_back("pins", 1);
    gate.ensure_well()?;
    gate.ensure_pinned()
}

#[test]
fn a_filter_that_another_program_keeps_off_is_told_and_comes_back_by_itself() -> Result<()> {
    let Some(gate) = Gate::new("kept-off")? else {
        return Ok(());
    };
    let other = gate.pin("program");
    let bpftool = |arguments: &[&str]| {
        let mut command = gate.world.host.command("bpftool");
        run(command.args(arguments)).map(drop)
    };
    // As fast as somebody can be who looks for it.
    let link = gate.link("eth2")?;
    gate.daemon.signal(Signal::STOP)?;
    bpftool(&["link", "detach", "pinned", &link.to_string_lossy()])?;
    let other = ["pinned", &other.to_string_lossy()].map(str::to_owned);
    bpftool(&[
        "net",
        "attach",
        "xdpgeneric",
        &other[0],
        &other[1],
        "dev",
        "eth2",
    ])?;
    gate.daemon.signal(Signal::CONT)?;
    let mut status = Value::Null;
    wait_until(DEADLINE, "the warning", || {
        status = gate.world.status().unwrap_or_default();
        status["put_back"]["filters_missing"] == 1
    });
    let warnings = status["warnings"].to_string();
    for words in ["took the filter off `eth2`", "another XDP program"] {
        ensure!(warnings.contains(words), "no `{words}`: {warnings}");
    }
    ensure!(interface(&status, "eth2")["mode"].is_null(), "{status}");
    let said = gate.daemon.stderr().matches("not attached").count();
    ensure!(said == 1, "said {said} times");

    bpftool(&["net", "detach", "xdpgeneric", "dev", "eth2"])?;
    gate.wait_for_put_back("filters", 1);
    gate.ensure_well().map(drop)
}

/// The daemon in a namespace of mounts in which `mounts` was run before.
fn daemon_among(world: &World, mounts: &str) -> Result<Child> {
    let daemon = world.command();
    let script = format!("set -e\n{mounts}\nexec \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .arg("sh")
        .arg(daemon.get_program())
        .args(daemon.get_args())
        .arg("daemon");
    command.env("NO_COLOR", "1");
    Child::spawn("swf-filter", &mut command)
}

/// A bpf file system as the kernel makes it, if nobody asks for something else: everybody may make directories in it.
const OPEN: &str = "mount -t bpf -o mode=1777 bpf /sys/fs/bpf";
/// How somebody else does something.
const AS_NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

#[test]
fn a_directory_that_somebody_else_made_first_is_refused() -> Result<()> {
    let Some(world) = World::silent("first")? else {
        return Ok(());
    };
    world.write_policy("10.toml", Rival::One.policy())?;
    let (one, two) = (world.wire_one()?, world.wire_two()?);
    let pins = world.pins().display();
    for (before, words) in [
        (
            format!("{OPEN}\n{AS_NOBODY} mkdir -m 0777 {pins}"),
            "belongs to the user 65534",
        ),
        (
            format!("{OPEN}\nmkdir -m 0777 {pins}"),
            "others can write to",
        ),
        (
            format!("{OPEN}\nchown 65534 {BPF_FS}\nmkdir -m 0700 {pins}"),
            "belongs to the user 65534",
        ),
        (
            format!("{OPEN}\nchmod 0777 {BPF_FS}\nmkdir -m 0700 {pins}"),
            "others can write to",
        ),
        (
            format!("{OPEN}\n{AS_NOBODY} ln -s /tmp {pins}"),
            "is a symbolic link",
        ),
        (
            format!(
                "{OPEN}\nmkdir -m 0700 {pins}\nmkdir -m 0700 {pins}/links\nchown 65534 {pins}/links"
            ),
            "belongs to the user 65534",
        ),
    ] {
        let mut daemon = daemon_among(&world, &before)?;
        ensure!(!daemon.wait(DEADLINE).success(), "{before}");
        let said = daemon.stderr();
        ensure!(said.contains(words), "{before}: {said}");
    }
    // The twin: the same file system with a directory of the daemon's own.
    for before in [
        OPEN.to_owned(),
        format!("{OPEN}\nmkdir -m 0755 {pins}"),
        // What others try there.
        format!(
            "{OPEN}\nmkdir -m 0700 {pins}\n! {AS_NOBODY} mv {pins} {pins}-aside\n! {AS_NOBODY} rmdir {pins}"
        ),
    ] {
        let daemon = daemon_among(&world, &before)?;
        daemon.wait_for_output(DEADLINE, "attached interface=eth2");
        ensure!(enforced(&one, &two)? == Rival::One, "{before}");
    }
    Ok(())
}

#[test]
fn a_file_system_that_the_daemon_mounts_is_its_own() -> Result<()> {
    let Some(world) = World::silent("mounts")? else {
        return Ok(());
    };
    world.write_policy("10.toml", Rival::One.policy())?;
    let bare = format!("while mountpoint -q {BPF_FS}; do umount {BPF_FS}; done");
    let daemon = daemon_among(&world, &bare)?;
    daemon.wait_for_output(DEADLINE, "mounted the bpf file system");
    daemon.wait_for_output(DEADLINE, "attached interface=eth2");
    let seen = Path::new("/proc").join(daemon.id().to_string());
    let mode = run(Command::new("stat")
        .args(["-c", "%a"])
        .arg(seen.join("root/sys/fs/bpf")))?;
    // The kernel makes it sticky whatever it is asked for.
    ensure!(["700", "1700"].contains(&mode.trim()), "{mode}");
    Ok(())
}
