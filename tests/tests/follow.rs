//! Followed set files: what is right comes into force by itself, what is wrong never does, and nothing else comes with it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use swf_filter_tests::process::Child;
use swf_filter_tests::wait::wait_until;
use swf_filter_tests::world::{DEADLINE, World};

/// A host that the followed set opens, with bounds for its file.
const POLICY: &str = "version = 1\n\
    [[host]]\nname = \"service\"\naddresses = [\"10.20.0.1\"]\nallow = [\"set:partners\"]\n\
    [[set]]\nname = \"partners\"\nfile = \"partners.txt\"\nfollow = true\nmin_prefixes = 2\nmax_prefixes = 4\n";
const TWO: &str = "192.0.2.1\n192.0.2.2\n";
const THREE: &str = "192.0.2.1\n192.0.2.2\n198.51.100.0/24\n";
const FOUR: &str = "192.0.2.1\n192.0.2.2\n198.51.100.0/24\n2001:db8::/32\n";

struct Gate {
    world: World,
    daemon: Child,
}

impl Gate {
    /// A daemon that enforces a set of two prefixes.
    fn new(name: &str) -> Result<Option<Self>> {
        let Some(world) = World::silent(name)? else {
            return Ok(None);
        };
        world.write_policy("10.toml", POLICY)?;
        world.write_policy("partners.txt", TWO)?;
        let gate = Self {
            daemon: world.restarted_daemon()?,
            world,
        };
        ensure!(gate.prefixes()? == 2, "two prefixes at first");
        Ok(Some(gate))
    }

    fn list(&self) -> PathBuf {
        self.world.policies().join("partners.txt")
    }

    fn prefixes(&self) -> Result<u64> {
        let status = self.world.status()?;
        Ok(status["generation"]["prefixes"]
            .as_u64()
            .unwrap_or_default())
    }

    fn generation(&self) -> Result<u64> {
        let status = self.world.status()?;
        Ok(status["generation"]["number"].as_u64().unwrap_or_default())
    }

    fn warnings(&self) -> Result<String> {
        Ok(self.world.status()?["warnings"].to_string())
    }

    fn wait_for_prefixes(&self, prefixes: u64) {
        wait_until(DEADLINE, "the set to follow its file", || {
            self.prefixes().is_ok_and(|found| found == prefixes)
        });
    }

    fn wait_for_warning(&self, words: &str) {
        wait_until(DEADLINE, words, || {
            self.warnings().is_ok_and(|found| found.contains(words))
        });
    }
}

#[test]
fn a_file_that_changes_is_in_force_without_a_reload() -> Result<()> {
    let Some(mut gate) = Gate::new("follow")? else {
        return Ok(());
    };
    fs::write(gate.list(), THREE)?;
    gate.wait_for_prefixes(3);
    // As programs should do it: beside, and then in its place.
    let beside = gate.world.policies().join("partners.new");
    fs::write(&beside, FOUR)?;
    fs::rename(&beside, gate.list())?;
    gate.wait_for_prefixes(4);
    ensure!(gate.warnings()? == "[]", "{}", gate.warnings()?);
    // A boot finds what was followed last.
    let generation = gate.generation()?;
    gate.daemon.kill()?;
    gate.daemon = gate.world.restarted_daemon()?;
    ensure!(
        gate.generation()? == generation,
        "another generation after a restart"
    );
    // And goes on following.
    fs::write(gate.list(), TWO)?;
    gate.wait_for_prefixes(2);
    Ok(())
}

/// What becomes of the file, and a word of what is said about it.
type Bad<'a> = (&'a str, &'a dyn Fn() -> Result<()>);

#[test]
fn what_is_wrong_leaves_the_last_good_set_in_force() -> Result<()> {
    let Some(gate) = Gate::new("follow-bad")? else {
        return Ok(());
    };
    let generation = gate.generation()?;
    let write = |text: &[u8]| Ok(fs::write(gate.list(), text)?);
    let many = format!("{FOUR}203.0.113.1\n");
    let cases: [Bad<'_>; 7] = [
        ("has 0 prefixes", &|| write(b"")),
        ("has 1 prefixes", &|| write(b"192.0.2.1\n")),
        ("has 5 prefixes", &|| write(many.as_bytes())),
        ("wider than a followed file may have", &|| {
            write(b"0.0.0.0/0\n192.0.2.1\n")
        }),
        ("partners.txt:1:1", &|| {
            write(b"garbage\n192.0.2.1\n192.0.2.2\n")
        }),
        ("No such file", &|| Ok(fs::remove_file(gate.list())?)),
        ("is a directory", &|| Ok(fs::create_dir(gate.list())?)),
    ];
    for (words, make) in cases {
        make()?;
        gate.wait_for_warning(words);
        ensure!(gate.generation()? == generation, "after `{words}`");
        ensure!(gate.prefixes()? == 2, "after `{words}`");
    }
    ensure!(
        gate.daemon.stderr().contains("stays in force"),
        "the log says so"
    );
    // The twin: what is right is in force, and the warning goes.
    fs::remove_dir(gate.list())?;
    fs::write(gate.list(), THREE)?;
    gate.wait_for_prefixes(3);
    wait_until(DEADLINE, "no warning", || {
        gate.warnings().is_ok_and(|found| found == "[]")
    });
    Ok(())
}

#[test]
fn policy_files_that_nobody_reloaded_stay_out() -> Result<()> {
    let Some(gate) = Gate::new("follow-half")? else {
        return Ok(());
    };
    // Half an edit and a whole one. Nobody has asked for either.
    gate.world.write_policy("20.toml", "version = 1\n[[host")?;
    gate.world.write_policy(
        "10.toml",
        POLICY.replace("\"set:partners\"", "\"192.0.2.9\""),
    )?;
    fs::write(gate.list(), THREE)?;
    gate.wait_for_prefixes(3);
    // The host is where it was.
    let rules = gate.world.ask(&["rules"])?.to_string();
    ensure!(rules.contains("set:partners"), "{rules}");
    ensure!(gate.warnings()? == "[]", "{}", gate.warnings()?);
    // A reload is what brings edits in.
    ensure!(gate.world.reload().is_err(), "half an edit was accepted");
    fs::remove_file(gate.world.policies().join("20.toml"))?;
    gate.world.reload()?;
    ensure!(gate.prefixes()? == 1, "after the reload");
    Ok(())
}

#[test]
fn a_boot_with_a_bad_file_enforces_the_last_good_one_and_follows_on() -> Result<()> {
    let Some(mut gate) = Gate::new("follow-boot")? else {
        return Ok(());
    };
    fs::write(gate.list(), THREE)?;
    gate.wait_for_prefixes(3);
    gate.daemon.kill()?;
    fs::write(gate.list(), "")?;
    // As after a boot: nothing is pinned.
    fs::remove_dir_all(gate.world.pins())?;
    gate.daemon = gate.world.restarted_daemon()?;
    ensure!(gate.prefixes()? == 3, "the last good set");
    gate.wait_for_warning("last good one");
    gate.wait_for_warning("has 0 prefixes");
    fs::write(gate.list(), FOUR)?;
    gate.wait_for_prefixes(4);
    // The files as a whole were still not loaded since the boot.
    gate.wait_for_warning("last good one");
    gate.world.reload()?;
    ensure!(gate.warnings()? == "[]", "{}", gate.warnings()?);
    Ok(())
}

#[test]
fn a_list_is_no_part_of_what_is_confirmed_and_rolled_back() -> Result<()> {
    let Some(gate) = Gate::new("follow-change")? else {
        return Ok(());
    };
    let world = &gate.world;
    let more = "[[host]]\nname = \"other\"\naddresses = [\"10.20.0.2\"]\n";
    world.write_policy("10.toml", format!("{POLICY}{more}"))?;
    world.ask(&["try", "--timeout", "600s"])?;
    fs::write(gate.list(), THREE)?;
    world.ask(&["confirm"])?;
    gate.wait_for_prefixes(3);
    ensure!(fs::read_to_string(gate.list())? == THREE, "confirmed");

    // The text of before, with the list of now.
    let back = world.ask(&["rollback"])?;
    ensure!(
        back["generation"]["hosts"] == 1 && back["generation"]["prefixes"] == 3,
        "{back}"
    );
    ensure!(fs::read_to_string(gate.list())? == THREE, "rolled back");
    ensure!(gate.warnings()? == "[]", "{}", gate.warnings()?);
    fs::write(gate.list(), FOUR)?;
    gate.wait_for_prefixes(4);
    Ok(())
}
