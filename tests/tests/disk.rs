//! Disks that are full, and disks that cannot be written any more: what is enforced goes on, and nothing is left in pieces.

use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use swf_filter_tests::disk::Disk;
use swf_filter_tests::frames::Frame;
use swf_filter_tests::process::run;
use swf_filter_tests::require;
use swf_filter_tests::stage::{Behind, Stage};
use swf_filter_tests::wait::wait_until;
use swf_filter_tests::wire::Wire;
use swf_filter_tests::world::{DEADLINE, World};
use tempfile::TempDir;

const HOST: &str = "198.51.100.10";
const CLIENT: &str = "192.0.2.1";
const OPEN: &str = "allow = [\"192.0.2.0/24\"]\n";
const SHUT: &str = "allow = [\"203.0.113.0/24\"]\n";
const BEHIND: &str = "the state on disk is behind";

fn policy(lists: &str) -> String {
    format!("version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"{HOST}\"]\n{lists}")
}

fn passes(wire: &Wire) -> Result<bool> {
    let frame = Frame::ip(CLIENT.parse::<IpAddr>()?, HOST.parse()?).tcp(40_000, 443);
    wire.passes(&frame.to_bytes())
}

fn warnings(world: &World) -> Result<String> {
    Ok(world.status()?["warnings"].to_string())
}

/// Files of a directory, by name, but for what fills its disk.
fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let names = entries.iter().map(std::fs::DirEntry::file_name);
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name != "filler")
        .collect();
    names.sort();
    Ok(names)
}

/// What is said by a command that has to fail.
fn refused(world: &World, arguments: &[&str]) -> Result<String> {
    let output = world.command().args(arguments).output()?;
    ensure!(!output.status.success(), "{arguments:?} succeeded");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Makes a disk useless, and mends it.
type Damage = [fn(&Disk) -> Result<()>; 2];

const FULL: Damage = [Disk::fill, Disk::free];
const READ_ONLY: Damage = [Disk::forbid_writing, Disk::allow_writing];

fn policies_change_over_state_that_cannot_be_written(name: &str, damage: Damage) -> Result<()> {
    let Some(world) = World::silent(name)? else {
        return Ok(());
    };
    let [spoil, mend] = damage;
    let state = world.file("state");
    let disk = Disk::at(&state)?;
    let wire = world.wire_one()?;
    world.write_policy("10.toml", policy(OPEN))?;
    let mut daemon = world.attached_daemon()?;
    ensure!(passes(&wire)? && warnings(&world)? == "[]");
    let before = names(&state)?;

    spoil(&disk)?;
    world.write_policy("10.toml", policy(SHUT))?;
    let said = run(world.command().arg("reload"))?;
    ensure!(said.contains(BEHIND), "{said}");
    ensure!(!passes(&wire)? && warnings(&world)?.contains(BEHIND));
    ensure!(names(&state)? == before, "{:?}", names(&state)?);
    // Nothing would end a trial after a kill.
    let open = world.file("open");
    fs::create_dir(&open)?;
    fs::write(open.join("10.toml"), policy(OPEN))?;
    let said = refused(&world, &["try", &open.to_string_lossy(), "--timeout", "1m"])?;
    ensure!(said.contains("nothing was tried"), "{said}");

    // What the kernel has is adopted, also where the disk knows nothing of it.
    daemon.kill()?;
    ensure!(!passes(&wire)?);
    let mut daemon = world.restarted_daemon()?;
    ensure!(!passes(&wire)? && warnings(&world)?.contains(BEHIND));
    mend(&disk)?;
    world.reload()?;
    ensure!(warnings(&world)? == "[]", "{}", warnings(&world)?);
    let history = world.ask(&["history"])?;
    let newest = &history["generations"][0];
    ensure!(
        newest["in_force"] == true && newest["change"]["prefixes"]["added"] == 1,
        "{history}"
    );

    // And now the disk knows it: a boot with broken files has it.
    daemon.kill()?;
    run(world.command().arg("detach"))?;
    ensure!(passes(&wire)?, "nothing filters");
    world.write_policy("10.toml", "version = ")?;
    let _daemon = world.attached_daemon()?;
    ensure!(!passes(&wire)? && warnings(&world)?.contains("the last good one"));
    Ok(())
}

#[test]
fn policies_change_over_a_full_disk() -> Result<()> {
    policies_change_over_state_that_cannot_be_written("full", FULL)
}

#[test]
fn policies_change_over_a_disk_that_became_read_only() -> Result<()> {
    policies_change_over_state_that_cannot_be_written("read-only", READ_ONLY)
}

fn state_is_written_once_it_can_be(name: &str, damage: Damage) -> Result<()> {
    let Some(world) = World::silent(name)? else {
        return Ok(());
    };
    let [spoil, mend] = damage;
    let disk = Disk::at(&world.file("state"))?;
    let wire = world.wire_one()?;
    world.write_policy("10.toml", policy(OPEN))?;
    let mut daemon = world.attached_daemon()?;
    spoil(&disk)?;
    world.write_policy("10.toml", policy(SHUT))?;
    world.reload()?;
    ensure!(!passes(&wire)? && warnings(&world)?.contains(BEHIND));
    mend(&disk)?;
    wait_until(DEADLINE, "a state that is not behind", || {
        warnings(&world).is_ok_and(|warnings| warnings == "[]")
    });
    let history = world.ask(&["history"])?;
    let changes = history["generations"].as_array();
    ensure!(changes.is_some_and(|all| all.len() == 2), "{history}");

    // A boot with broken files has what was in force last, and not what came before it.
    daemon.kill()?;
    run(world.command().arg("detach"))?;
    world.write_policy("10.toml", "version = ")?;
    let _daemon = world.attached_daemon()?;
    ensure!(!passes(&wire)? && warnings(&world)?.contains("generation 2 of "));
    Ok(())
}

#[test]
fn a_disk_that_has_room_again_gets_what_it_lacks() -> Result<()> {
    state_is_written_once_it_can_be("late", FULL)
}

#[test]
fn a_disk_that_can_be_written_again_gets_what_it_lacks() -> Result<()> {
    state_is_written_once_it_can_be("late-read-only", READ_ONLY)
}

const PRINCIPALS: &str = "version = 1\n[[account]]\nid = \"111122223333\"\n[[user]]\nname = \"alice\"\npolicies = [\"alice.json\"]\n";
const ALLOWED: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "swf:*", "Resource": "*"}}"#;

/// A policy for a host that a listener fronts, and that lets `source` in. It takes some room.
fn fronted(source: &str, room: usize) -> String {
    format!(
        "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"10.20.0.1\", \"10.30.0.1\"]\nports = [8443, 9443]\n\
         account = \"111122223333\"\nallow = [\"{source}\"]\n# {}\n",
        "room".repeat(room / 4)
    )
}

/// A listener whose state has a disk of its own.
struct Fronted {
    stage: Stage,
    disk: Disk,
}

impl Fronted {
    fn new(name: &str) -> Result<Option<Self>> {
        let policy = fronted("10.0.0.0/8", 0);
        let files = (
            &[("10.toml", &*policy)][..],
            PRINCIPALS,
            &[("alice.json", ALLOWED)][..],
        );
        let Some(mut stage) = Stage::before(name, files, Behind::Own, "")? else {
            return Ok(None);
        };
        stage.listener.kill()?;
        let disk = Disk::at(&stage.world.file("listener-state"))?;
        stage.restart_listener()?;
        stage.wait_until_listening();
        let fronted = Self { stage, disk };
        fronted.wait_until_kept();
        Ok(Some(fronted))
    }

    /// What the listener says of itself.
    fn listener(&self) -> Result<serde_json::Value> {
        // Without a daemon the command fails, and prints what it knows.
        let output = self
            .stage
            .command()
            .args(["--output", "json", "status"])
            .output()?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        Ok(status["listener"].clone())
    }

    fn warns(&self, words: &str) -> bool {
        let listener = self.listener();
        listener.is_ok_and(|listener| listener["warnings"].to_string().contains(words))
    }

    /// Waits until nothing is to be told of the policy on disk.
    fn wait_until_kept(&self) {
        wait_until(DEADLINE, "a policy on disk", || {
            let listener = self.listener();
            listener.is_ok_and(|listener| listener["warnings"] == serde_json::json!([]))
        });
    }

    /// Brings a policy into force that lets others in.
    fn revoke(&self, room: usize) -> Result<()> {
        let policy = fronted("203.0.113.0/24", room);
        self.stage.world.write_policy("10.toml", policy)?;
        self.stage.world.reload()?;
        self.stage.wait_until_listening();
        Ok(())
    }

    /// Starts the listener again without a daemon. Gives the generation that it enforces.
    fn restart_alone(&mut self) -> Result<Option<u64>> {
        self.stage.daemon.kill()?;
        self.stage.listener.kill()?;
        self.stage.restart_listener()?;
        wait_until(DEADLINE, "a listener", || {
            self.listener().is_ok_and(|listener| listener.is_object())
        });
        Ok(self.listener()?["policy"]["generation"].as_u64())
    }

    fn restart_daemon(&mut self) -> Result<()> {
        self.stage.daemon = self.stage.world.restarted_daemon()?;
        self.stage.wait_until_listening();
        Ok(())
    }
}

/// More than a policy without it leaves.
const ROOM: usize = 64 << 10;

#[test]
fn a_listener_does_not_go_back_to_a_policy_that_a_full_disk_kept() -> Result<()> {
    let Some(mut fronted) = Fronted::new("revoked")? else {
        return Ok(());
    };
    fronted.disk.fill()?;
    fronted.revoke(ROOM)?;
    ensure!(
        fronted.warns("no older one is left"),
        "{}",
        fronted.listener()?
    );
    let state = fronted.stage.world.file("listener-state");
    ensure!(!names(&state)?.contains(&"policy".to_owned()));
    ensure!(
        fronted.restart_alone()?.is_none(),
        "{}",
        fronted.listener()?
    );
    ensure!(fronted.warns("is not on disk") && fronted.warns("nobody is let in"));

    // It is there as soon as there is room, without another change.
    fronted.restart_daemon()?;
    ensure!(fronted.warns("no older one is left"));
    fronted.disk.free()?;
    fronted.wait_until_kept();
    ensure!(
        fronted.restart_alone()? == Some(2),
        "{}",
        fronted.listener()?
    );
    ensure!(fronted.warns("until the daemon tells of another"));
    Ok(())
}

#[test]
fn a_policy_takes_the_room_of_the_one_that_it_replaces() -> Result<()> {
    let Some(mut fronted) = Fronted::new("room")? else {
        return Ok(());
    };
    fronted.disk.fill()?;
    fronted.revoke(0)?;
    fronted.wait_until_kept();
    ensure!(
        fronted.restart_alone()? == Some(2),
        "{}",
        fronted.listener()?
    );
    Ok(())
}

#[test]
fn a_listener_does_not_go_back_to_a_policy_that_a_read_only_disk_kept() -> Result<()> {
    let Some(mut fronted) = Fronted::new("revoked-ro")? else {
        return Ok(());
    };
    fronted.disk.forbid_writing()?;
    fronted.revoke(0)?;
    ensure!(
        fronted.warns("cannot be removed"),
        "{}",
        fronted.listener()?
    );
    ensure!(
        fronted.restart_alone()?.is_none(),
        "{}",
        fronted.listener()?
    );
    ensure!(fronted.warns("generation 2 of "), "{}", fronted.listener()?);
    fronted.restart_daemon()?;
    fronted.disk.allow_writing()?;
    fronted.wait_until_kept();
    ensure!(fronted.restart_alone()? == Some(2));
    Ok(())
}

fn policy_files_stay_whole(name: &str, damage: Damage) -> Result<()> {
    let Some(world) = World::silent(name)? else {
        return Ok(());
    };
    let [spoil, mend] = damage;
    let policies = world.policies();
    let disk = Disk::at(&policies)?;
    let wire = world.wire_one()?;
    world.write_policy("10.toml", policy(OPEN))?;
    let _daemon = world.attached_daemon()?;
    let shut = world.file("shut");
    fs::create_dir(&shut)?;
    fs::write(shut.join("10.toml"), policy(SHUT))?;
    let ranges = world.file("ranges.txt");
    fs::write(&ranges, "192.0.2.0/24\n")?;

    spoil(&disk)?;
    let (shut, ranges) = (shut.to_string_lossy(), ranges.to_string_lossy());
    let ours = policies.to_string_lossy();
    let import = [
        "import", "list", &ranges, "--out", &ours, "--name", "office",
    ];
    let said = refused(&world, &import)?;
    ensure!(said.contains(&*ours), "{said}");
    let said = refused(&world, &["apply", &shut])?;
    ensure!(
        said.contains("but the policy files do not say so"),
        "{said}"
    );
    ensure!(!passes(&wire)?, "what is applied is in force");
    // What was there may be kept beside it already, which is a link, and takes no room.
    let left = names(&policies)?;
    let known = ["10.toml", "10.toml~"];
    ensure!(left.iter().all(|name| known.contains(&&**name)), "{left:?}");
    ensure!(fs::read_to_string(policies.join("10.toml"))? == policy(OPEN));
    ensure!(warnings(&world)?.contains("came by apply"));

    mend(&disk)?;
    world.ask(&["confirm"])?;
    ensure!(names(&policies)? == known);
    ensure!(fs::read_to_string(policies.join("10.toml"))? == policy(SHUT));
    ensure!(warnings(&world)? == "[]");
    run(world.command().args(import))?;
    ensure!(names(&policies)?.len() > 2);
    Ok(())
}

#[test]
fn policy_files_on_a_full_disk_stay_whole() -> Result<()> {
    policy_files_stay_whole("full-policies", FULL)
}

#[test]
fn policy_files_on_a_read_only_disk_stay_whole() -> Result<()> {
    policy_files_stay_whole("read-only-policies", READ_ONLY)
}

/// The listener's settings, of which commands about keys ask for the places only.
const LISTENER: &str = r#"version = 1
[[listener]]
name = "one"
listen = ["127.0.0.1:443"]
host = "swf"
certificates = [{ chain = "/a.pem", key = "/a.key" }]
upstream = "swf"
[[upstream]]
name = "swf"
addresses = ["http://127.0.0.1:80"]
identity = "headers"
[paths]
"#;
const ALICE: &str = "arn:aws:iam::111122223333:user/alice";

/// Keys of access keys that are replaced where `which` of the two directories cannot be written.
fn access_keys_stay_readable(binary: &OsStr, which: &str, damage: Damage) -> Result<()> {
    let folder = TempDir::with_prefix("swft-")?;
    let [state, keys] = ["state", "keys"].map(|name| folder.path().join(name));
    let settings = folder.path().join("listener.toml");
    let paths = [("state", &state), ("keys", &keys)];
    let paths = paths.map(|(name, path)| format!("{name} = \"{}\"\n", path.display()));
    let paths = paths.concat();
    fs::write(&settings, format!("{LISTENER}{paths}"))?;
    let disk = Disk::at(&folder.path().join(which))?;
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(binary);
        command.arg("--listener-config").arg(&settings);
        command.args(["--output", "json", "keys"]).args(arguments);
        command.output()
    };
    let [spoil, mend] = damage;
    ensure!(ask(&["create", ALICE])?.status.success());
    let listed = ask(&["list"])?.stdout;
    let old = fs::read(keys.join("store.key"))?;

    spoil(&disk)?;
    let refused = ask(&["rekey"])?;
    let said = String::from_utf8_lossy(&refused.stderr);
    let place = folder.path().join(which);
    ensure!(
        !refused.status.success() && said.contains(&*place.to_string_lossy()),
        "{said}"
    );
    ensure!(
        ask(&["list"])?.stdout == listed,
        "the store opens as before"
    );
    for directory in [&state, &keys] {
        let left = names(directory)?;
        ensure!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
    }

    mend(&disk)?;
    let rekeyed = ask(&["rekey"])?;
    ensure!(rekeyed.stdout == b"{\"access_keys\":1}\n", "{rekeyed:?}");
    ensure!(ask(&["list"])?.stdout == listed);
    let new = fs::read(keys.join("store.key"))?;
    ensure!(new.len() == old.len() && new != old);
    Ok(())
}

#[test]
fn access_keys_whose_key_cannot_be_replaced_stay_readable() -> Result<()> {
    let Some(binary) = std::env::var_os("SWF_FILTER_BIN") else {
        require::skip("needs SWF_FILTER_BIN: run `cargo xtask test`");
        return Ok(());
    };
    if !require::root() {
        return Ok(());
    }
    for which in ["state", "keys"] {
        for damage in [FULL, READ_ONLY] {
            access_keys_stay_readable(&binary, which, damage)?;
        }
    }
    Ok(())
}
