//! Changes that undo themselves, and ways back: trials, confirmations, rollbacks, and what of them survives kills and boots.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use swf_filter_tests::frames::Frame;
use swf_filter_tests::process::{Child, run};
use swf_filter_tests::wait::wait_until;
use swf_filter_tests::wire::Wire;
use swf_filter_tests::world::{DEADLINE, World};

const HOST: &str = "198.51.100.10";
const CLIENT: &str = "192.0.2.1";
const OPEN: &str = "allow = [\"192.0.2.0/24\"]\n";
const SHUT: &str = "allow = [\"203.0.113.0/24\"]\n";
const EXPLAIN: [&str; 5] = ["explain", "--from", CLIENT, "--to", HOST];
/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);
/// Longer than a few commands take on a busy machine.
const SHORT: Duration = Duration::from_secs(8);

fn policy(lists: &str) -> String {
    format!(
        "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"{HOST}\"]\nports = \"all\"\n{lists}"
    )
}

/// A daemon that lets [`CLIENT`] in, and a directory whose policy does not.
struct Stage {
    world: World,
    daemon: Child,
    wire: Wire,
    shut: PathBuf,
}

impl Stage {
    fn new(name: &str) -> Result<Option<Self>> {
        let Some(world) = World::silent(name)? else {
            return Ok(None);
        };
        world.write_policy("10.toml", policy(OPEN))?;
        let shut = world.file("shut");
        fs::create_dir(&shut)?;
        fs::write(shut.join("10.toml"), policy(SHUT))?;
        Ok(Some(Self {
            daemon: world.attached_daemon()?,
            wire: world.wire_one()?,
            shut,
            world,
        }))
    }

    fn passes(&self) -> Result<bool> {
        let frame = Frame::ip(CLIENT.parse::<IpAddr>()?, HOST.parse()?).tcp(40_000, 443);
        self.wire.passes(&frame.to_bytes())
    }

    /// Tries the policy that lets nobody in.
    fn try_shut(&self, timeout: Duration) -> Result<()> {
        let shut = self.shut.to_string_lossy();
        let timeout = format!("{}s", timeout.as_secs());
        let tried = self.world.ask(&["try", &shut, "--timeout", &timeout])?;
        ensure!(
            tried["changed"] == true && tried["trial"]["before"] == 1,
            "{tried}"
        );
        ensure!(!self.passes()?, "what is tried is enforced");
        Ok(())
    }

    fn wait_for_the_end(&self) {
        wait_until(DEADLINE, "the generation before", || {
            self.passes().is_ok_and(|passes| passes)
        });
    }

    /// Kills the daemon, and starts another one, which is the next of this boot.
    fn restart(&mut self) -> Result<()> {
        self.daemon.kill()?;
        self.daemon = self.world.attached_daemon()?;
        Ok(())
    }

    /// Kills the daemon, takes everything off that a boot would, and starts one that takes this for another boot.
    fn reboot(&mut self) -> Result<()> {
        self.daemon.kill()?;
        run(self.world.command().arg("detach"))?;
        let boot = self.world.file("boot");
        fs::write(&boot, "00000000-0000-4000-8000-000000000000\n")?;
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"",
        ]);
        let daemon = self.world.command();
        command.arg(boot).arg(daemon.get_program());
        command.args(daemon.get_args()).arg("daemon");
        self.daemon = Child::spawn("swf-filter", &mut command)?;
        wait_until(DEADLINE, "a daemon after the boot", || {
            self.world
                .status()
                .is_ok_and(|status| status["pid"] == self.daemon.id())
        });
        Ok(())
    }

    fn fails(&self, arguments: &[&str], words: &str) -> Result<()> {
        let output = self.world.command().args(arguments).output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(!output.status.success(), "{arguments:?} was not refused");
        ensure!(said.contains(words), "{arguments:?}: {said}");
        Ok(())
    }

    /// Fails unless an explanation from the files has this line, and says that they may not be what counts.
    fn explains(&self, line: &str) -> Result<()> {
        let said = run(self.world.command().args(EXPLAIN))?;
        ensure!(said.contains(line), "no `{line}` in: {said}");
        ensure!(said.contains("the files may say something else"), "{said}");
        Ok(())
    }

    fn file(&self) -> Result<String> {
        Ok(fs::read_to_string(self.world.policies().join("10.toml"))?)
    }

    /// Number, way and whether it is in force, of each change, the newest first.
    fn history(&self) -> Result<Vec<(u64, String, bool)>> {
        let history = self.world.ask(&["history"])?;
        let entries = history["generations"].as_array().context("no list")?;
        let entry = |entry: &Value| -> Option<_> {
            let how = entry["how"].as_str()?.to_owned();
            Some((
                entry["generation"].as_u64()?,
                how,
                entry["in_force"].as_bool()?,
            ))
        };
        let read = entries.iter().map(entry).collect::<Option<_>>();
        read.with_context(|| format!("{history}"))
    }
}

fn changes(list: &[(u64, &str, bool)]) -> Vec<(u64, String, bool)> {
    let owned = |(number, how, now): &(u64, &str, bool)| (*number, (*how).to_owned(), *now);
    list.iter().map(owned).collect()
}

#[test]
fn what_is_tried_goes_by_itself_and_followers_hear_of_it() -> Result<()> {
    let Some(stage) = Stage::new("ends")? else {
        return Ok(());
    };
    let mut follower = UnixStream::connect(stage.world.file("run/control.sock"))?;
    follower.set_read_timeout(Some(DEADLINE))?;
    follower.write_all(b"GET /v1/generations HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let lines = BufReader::new(follower).lines();
    let mut heard = lines.filter_map(|line| {
        let told: Value = serde_json::from_str(&line.ok()?).ok()?;
        told["generation"]
            .as_u64()
            .zip(told["policy"].as_str().map(str::to_owned))
    });
    let mut next = || heard.next().context("the stream has ended");

    let (_, open) = next()?;
    stage.try_shut(SHORT)?;
    let status = stage.world.status()?;
    ensure!(
        status["trial"]["generation"] == 2
            && status["trial"]["by"]["uid"] == 0
            && status["warnings"]
                .to_string()
                .contains("generation 1 comes back"),
        "{status}"
    );
    stage.wait_for_the_end();
    let (tried, shut) = next()?;
    let (back, text) = next()?;
    ensure!((tried, back) == (2, 3) && shut != open && text == open);

    // The files never said anything else, so they are read again at the next start.
    wait_until(DEADLINE, "no word of a trial", || {
        stage.world.status().is_ok_and(|status| {
            status["trial"].is_null()
                && status["held"].is_null()
                && status["warnings"] == Value::Array(Vec::new())
        })
    });
    ensure!(
        stage.history()?
            == changes(&[(3, "revert", true), (2, "try", false), (1, "reload", false)])
    );
    let words = "policy changed generation=2 how=\"try\" by=\"root\" uid=0 user=\"root\"";
    stage.daemon.wait_for_output(DEADLINE, words);
    stage.world.reload()
}

#[test]
fn what_is_confirmed_stays_and_the_files_say_it() -> Result<()> {
    let Some(mut stage) = Stage::new("stays")? else {
        return Ok(());
    };
    let begun = Instant::now();
    let explained = run(stage.world.command().args(EXPLAIN))?;
    ensure!(!explained.contains("files may say"), "{explained}");
    stage.try_shut(SHORT)?;
    stage.explains("  trial   generation 2 is in force until 20")?;
    ensure!(stage.file()? == policy(OPEN), "as long as it is only tried");
    stage.world.ask(&["confirm"])?;
    ensure!(stage.file()? == policy(SHUT));
    ensure!(fs::read_to_string(stage.world.policies().join("10.toml~"))? == policy(OPEN));
    let status = stage.world.status()?;
    ensure!(
        status["held"].is_null() && status["trial"].is_null(),
        "{status}"
    );
    wait_for(begun, SHORT);
    ensure!(!stage.passes()?, "after the time that it was tried for");
    stage.reboot()?;
    ensure!(!stage.passes()?, "after a boot");
    stage.fails(&["confirm"], "nothing is on trial")
}

/// Waits until so much time has passed that what was begun before is over.
fn wait_for(begun: Instant, time: Duration) {
    wait_until(DEADLINE, "the end of the time", || begun.elapsed() > time);
}

#[test]
fn a_confirmation_that_the_history_lacks_is_told_and_noted_later() -> Result<()> {
    let Some(mut stage) = Stage::new("noted")? else {
        return Ok(());
    };
    stage.try_shut(LONG)?;
    // Not even root opens it for writing.
    let in_the_way = stage.world.file("state").join(".history.swf-filter");
    fs::create_dir(&in_the_way)?;
    let said = run(stage.world.command().arg("confirm"))?;
    let words = "warning: the history lacks that generation 2 was confirmed";
    ensure!(
        said.starts_with("generation 2 stays in force\n") && said.contains(words),
        "{said}"
    );
    let tried = changes(&[(2, "try", true), (1, "reload", false)]);
    ensure!(stage.file()? == policy(SHUT) && stage.history()? == tried);
    ensure!(
        stage.world.status()?["warnings"]
            .to_string()
            .contains("the history lacks")
    );

    fs::remove_dir(&in_the_way)?;
    wait_until(DEADLINE, "a history that lacks nothing", || {
        let status = stage.world.status();
        status.is_ok_and(|status| status["warnings"] == Value::Array(Vec::new()))
    });
    let noted = changes(&[
        (2, "confirm", true),
        (2, "try", false),
        (1, "reload", false),
    ]);
    ensure!(stage.history()? == noted);
    stage.restart()?;
    stage.world.reload()?;
    ensure!(stage.history()? == noted, "once");
    stage.world.ask(&["rollback"])?;
    stage.world.ask(&["rollback"])?;
    ensure!(!stage.passes()?, "it is no more passed over");
    Ok(())
}

#[test]
fn a_confirmation_that_is_said_again_is_noted_and_written() -> Result<()> {
    let Some(stage) = Stage::new("again")? else {
        return Ok(());
    };
    stage.try_shut(LONG)?;
    let [history, file] = [
        stage.world.file("state").join(".history.swf-filter"),
        stage.world.policies().join(".10.toml.swf-filter"),
    ];
    fs::create_dir(&history)?;
    fs::create_dir(&file)?;
    ensure!(run(stage.world.command().arg("confirm")).is_err());
    ensure!(stage.file()? != policy(SHUT) && !stage.passes()?);

    fs::remove_dir(&history)?;
    ensure!(run(stage.world.command().arg("confirm")).is_err());
    let noted = changes(&[
        (2, "confirm", true),
        (2, "try", false),
        (1, "reload", false),
    ]);
    ensure!(stage.history()? == noted);

    fs::remove_dir(&file)?;
    let said = run(stage.world.command().arg("confirm"))?;
    ensure!(!said.contains("warning"), "{said}");
    ensure!(stage.file()? == policy(SHUT) && stage.history()? == noted);
    Ok(())
}

#[test]
fn a_killed_daemon_goes_on_with_the_trial_and_ends_it() -> Result<()> {
    let Some(mut stage) = Stage::new("killed")? else {
        return Ok(());
    };
    stage.try_shut(2 * SHORT)?;
    stage.restart()?;
    let status = stage.world.status()?;
    ensure!(status["trial"]["generation"] == 2, "{status}");
    ensure!(!stage.passes()?, "the trial goes on after a restart");
    stage.wait_for_the_end();
    wait_until(DEADLINE, "its record", || {
        let newest = stage.history().ok().map(|history| history[0].clone());
        newest == Some((3, "revert".to_owned(), true))
    });
    Ok(())
}

#[test]
fn a_trial_that_ran_out_without_a_daemon_is_over_at_the_start() -> Result<()> {
    let Some(mut stage) = Stage::new("late")? else {
        return Ok(());
    };
    // The files say what is tried, as when somebody edits them and is careful: they must not decide.
    stage.world.write_policy("10.toml", policy(SHUT))?;
    stage.world.ask(&["try", "--timeout", "8s"])?;
    stage.daemon.kill()?;
    wait_for(Instant::now(), SHORT);
    ensure!(!stage.passes()?, "the kernel goes on");
    stage.daemon = stage.world.attached_daemon()?;
    ensure!(stage.passes()?, "the start ends it");
    let status = stage.world.status()?;
    ensure!(
        status["held"] == "revert" && status["trial"].is_null(),
        "{status}"
    );

    // Nor do they decide at any later start, until somebody says so.
    stage.restart()?;
    ensure!(stage.passes()?);
    stage.reboot()?;
    ensure!(stage.passes()?);
    let status = stage.world.status()?;
    ensure!(
        status["held"] == "revert" && status["warnings"].to_string().contains("swf-filter reload"),
        "{status}"
    );
    stage.world.reload()?;
    ensure!(!stage.passes()?, "a reload takes the files");
    ensure!(stage.world.status()?["held"].is_null());
    Ok(())
}

#[test]
fn a_boot_ends_a_trial_at_once_whatever_the_files_say() -> Result<()> {
    let Some(mut stage) = Stage::new("boot")? else {
        return Ok(());
    };
    stage.world.write_policy("10.toml", policy(SHUT))?;
    stage.world.ask(&["try", "--timeout", "10m"])?;
    ensure!(!stage.passes()?);
    stage.reboot()?;
    ensure!(stage.passes()?);
    let status = stage.world.status()?;
    ensure!(
        status["held"] == "revert" && status["generation"]["number"] == 3,
        "{status}"
    );
    Ok(())
}

#[test]
fn a_generation_that_is_damaged_comes_back_from_the_history() -> Result<()> {
    let Some(mut stage) = Stage::new("damaged")? else {
        return Ok(());
    };
    stage.try_shut(LONG)?;
    fs::write(stage.world.file("state/generation-1"), "damaged")?;
    stage.reboot()?;
    ensure!(stage.passes()?);
    stage
        .daemon
        .wait_for_output(DEADLINE, "again from the history");
    Ok(())
}

#[test]
fn a_boot_does_not_end_what_is_confirmed() -> Result<()> {
    let Some(mut stage) = Stage::new("confirmed")? else {
        return Ok(());
    };
    stage.try_shut(LONG)?;
    // Over the socket alone: the files still say something else.
    let mut socket = UnixStream::connect(stage.world.file("run/control.sock"))?;
    socket.write_all(b"POST /v1/confirm HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut socket, &mut answer)?;
    ensure!(answer.contains("\"settled\":false"), "{answer}");
    stage.reboot()?;
    ensure!(!stage.passes()?);
    ensure!(stage.world.status()?["held"] == "confirm");
    let confirmed = changes(&[
        (2, "confirm", true),
        (2, "try", false),
        (1, "reload", false),
    ]);
    ensure!(stage.history()? == confirmed, "once, by who did it");
    stage.world.ask(&["confirm"])?;
    ensure!(stage.file()? == policy(SHUT) && stage.world.status()?["held"].is_null());
    Ok(())
}

#[test]
fn a_trial_is_in_the_way_of_other_changes_and_a_rollback_ends_it() -> Result<()> {
    let Some(stage) = Stage::new("one")? else {
        return Ok(());
    };
    stage.try_shut(LONG)?;
    let shut = stage.shut.to_string_lossy();
    for change in [&["reload"][..], &["apply", &shut], &["try"]] {
        stage.fails(change, "is on trial for another")?;
    }
    let refusal = stage.world.reload_by_signal(&stage.daemon).unwrap_err();
    ensure!(
        refusal.to_string().contains("swf-filter confirm"),
        "{refusal}"
    );
    stage.fails(&["rollback", "2"], "is on trial")?;
    ensure!(!stage.passes()?);
    stage.world.ask(&["rollback"])?;
    ensure!(stage.passes()?);
    let status = stage.world.status()?;
    ensure!(
        status["trial"].is_null() && status["held"].is_null(),
        "{status}"
    );
    stage.world.reload()
}

#[test]
fn a_trial_that_cannot_be_written_down_does_not_begin() -> Result<()> {
    let Some(mut stage) = Stage::new("unwritable")? else {
        return Ok(());
    };
    // Not even root opens it for writing.
    let in_the_way = stage.world.file("state").join(".order.swf-filter");
    fs::create_dir(&in_the_way)?;
    let shut = stage.shut.to_string_lossy().into_owned();
    stage.fails(&["try", &shut], "nothing was tried")?;
    ensure!(stage.passes()?);
    ensure!(stage.world.status()?["trial"].is_null());
    fs::remove_dir(&in_the_way)?;
    stage.try_shut(LONG)?;
    stage.restart()?;
    stage.world.ask(&["rollback"])?;
    ensure!(stage.passes()?);
    stage.fails(&["try", &shut, "--timeout", "0s"], "write how long")?;
    stage.fails(&["try", &shut, "--timeout", "25h"], "24 hours at most")?;
    let ours = stage.world.policies();
    stage.fails(&["try", &ours.to_string_lossy()], "is in force already")
}

#[test]
fn a_rollback_brings_files_back_and_survives_boots() -> Result<()> {
    let Some(mut stage) = Stage::new("back")? else {
        return Ok(());
    };
    stage.fails(&["rollback"], "no generation before this one")?;
    stage.world.write_policy("10.toml", policy(SHUT))?;
    stage.world.write_policy("20.toml", "version = 1\n")?;
    stage.world.reload()?;
    ensure!(!stage.passes()?);
    let back = stage.world.ask(&["rollback"])?;
    ensure!(back["generation"]["number"] == 3, "{back}");
    ensure!(stage.passes()?);
    ensure!(stage.file()? == policy(OPEN));
    ensure!(!stage.world.policies().join("20.toml").exists());
    stage.reboot()?;
    ensure!(stage.passes()?);
    stage.world.ask(&["rollback", "2"])?;
    ensure!(!stage.passes()?);
    ensure!(stage.world.policies().join("20.toml").exists());
    stage.fails(&["rollback", "77"], "no generation 77")?;
    let history = stage.world.ask(&["history"])?;
    let newest = &history["generations"][0];
    ensure!(
        newest["how"] == "rollback"
            && newest["again"] == 2
            && newest["by"]["user"] == "root"
            && newest["change"]["prefixes"]["added"] == 1
            && newest["change"]["rules"]["removed"] == 1
            && newest["kept"] == true,
        "{history}"
    );
    let text = run(stage.world.command().arg("history"))?;
    ensure!(
        text.contains("2 again, ~1 host, +1 -1 rules, +1 -1 prefixes"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_damaged_history_is_told_wherever_it_is_asked() -> Result<()> {
    let Some(stage) = Stage::new("anew")? else {
        return Ok(());
    };
    let warnings = || -> Result<String> { Ok(stage.world.status()?["warnings"].to_string()) };
    ensure!(warnings()? == "[]");
    fs::write(stage.world.file("state/history"), "damaged")?;
    ensure!(warnings()?.contains("the history cannot be read"));
    for command in ["history", "rollback"] {
        stage.fails(&[command], "the history cannot be read")?;
    }
    stage.world.write_policy("10.toml", policy(SHUT))?;
    let said = run(stage.world.command().arg("reload"))?;
    ensure!(
        said.contains("warning: the history cannot be read, and begins anew"),
        "{said}"
    );
    ensure!(stage.history()? == changes(&[(2, "reload", true)]));
    Ok(())
}

#[test]
fn a_history_that_only_cannot_be_read_now_is_not_said_to_begin_anew() -> Result<()> {
    let Some(stage) = Stage::new("unreadable")? else {
        return Ok(());
    };
    let (history, elsewhere) = (stage.world.file("state/history"), stage.world.file("away"));
    fs::rename(&history, &elsewhere)?;
    // Not even root reads or replaces it as a file.
    fs::create_dir(&history)?;
    let told = stage.world.status()?["warnings"].to_string();
    stage.fails(&["rollback"], "the history cannot be read; mend that")?;
    stage.world.write_policy("10.toml", policy(SHUT))?;
    let said = run(stage.world.command().arg("reload"))?;
    ensure!(
        said.contains("warning: the state on disk is behind") && said.contains("is a directory"),
        "{said}"
    );
    for words in [told, said] {
        ensure!(!words.contains("anew"), "{words}");
        ensure!(!words.contains("history.damaged"), "{words}");
    }
    fs::remove_dir(&history)?;
    fs::rename(&elsewhere, &history)?;
    stage.world.reload()?;
    ensure!(stage.history()? == changes(&[(2, "reload", true), (1, "reload", false)]));
    Ok(())
}

#[test]
fn as_many_policies_are_kept_as_are_wanted() -> Result<()> {
    let Some(world) = World::silent("kept")? else {
        return Ok(());
    };
    world.write_config("history = 2\n")?;
    world.write_policy("10.toml", policy(OPEN))?;
    let _daemon = world.attached_daemon()?;
    for third in 3..6 {
        let lists = format!("allow = [\"192.0.{third}.0/24\"]\n");
        world.write_policy("10.toml", policy(&lists))?;
        world.reload()?;
    }
    let history = world.ask(&["history"])?;
    let entries = history["generations"].as_array().context("no list")?;
    let kept: Vec<bool> = entries.iter().map(|entry| entry["kept"] == true).collect();
    ensure!(kept == [true, true, false, false], "{history}");
    let refused = world.ask(&["rollback", "1"]).unwrap_err().to_string();
    ensure!(refused.contains("not kept any more"), "{refused}");
    Ok(())
}

#[test]
fn who_would_cut_off_their_own_connection_is_stopped() -> Result<()> {
    let Some(stage) = Stage::new("ssh")? else {
        return Ok(());
    };
    let attempt = |from: &str, arguments: &[&str]| -> Result<(bool, String)> {
        let mut command = stage.world.command();
        command.env("SSH_CONNECTION", format!("{from} 50000 {HOST} 22"));
        let output = command.args(arguments).output()?;
        Ok((output.status.success(), String::from_utf8(output.stderr)?))
    };
    let shut = stage.shut.to_string_lossy();
    stage.world.write_policy("10.toml", policy(SHUT))?;
    for change in [&["reload"][..], &["apply", &shut], &["try", &shut]] {
        let (done, said) = attempt(CLIENT, change)?;
        ensure!(!done, "{change:?} was not refused");
        for words in [
            "drop your own connection from 192.0.2.1 to 198.51.100.10 port 22 on eth1",
            "--force",
            "swf-filter try",
        ] {
            ensure!(said.contains(words), "{change:?}: {said}");
        }
        ensure!(stage.passes()?, "{change:?} has changed something");
    }
    // Whoever stays connected, or knows what they do, goes on.
    let (done, said) = attempt("203.0.113.7", &["try", &shut])?;
    ensure!(done, "{said}");
    stage.world.ask(&["rollback"])?;
    stage.world.write_policy("10.toml", policy(SHUT))?;
    let (done, said) = attempt(CLIENT, &["reload", "--force"])?;
    ensure!(done && !stage.passes()?, "{said}");
    Ok(())
}

#[test]
fn a_directory_is_applied_with_its_files_or_not_at_all() -> Result<()> {
    let Some(mut stage) = Stage::new("apply")? else {
        return Ok(());
    };
    let set = "[[set]]\nname = \"more\"\nfile = \"sets/more.txt\"\n";
    let lists = "allow = [\"203.0.113.0/24\", \"set:more\"]\n";
    fs::write(stage.shut.join("10.toml"), policy(lists) + set)?;
    let shut = stage.shut.to_string_lossy().into_owned();
    stage.fails(&["apply", &shut], "shut/10.toml:")?;
    ensure!(stage.file()? == policy(OPEN) && stage.passes()?);

    fs::create_dir(stage.shut.join("sets"))?;
    fs::write(stage.shut.join("sets/more.txt"), "198.18.0.0/15\n")?;
    let other = fs::File::open(stage.world.file("state/.swf-filter.lock"))?;
    other.lock()?;
    stage.fails(&["apply", &shut], "another swf-filter reads or writes")?;
    // What is read now may be half of one policy, and half of another.
    stage.fails(&["reload"], "another swf-filter writes policy files")?;
    ensure!(stage.file()? == policy(OPEN) && stage.passes()?);
    drop(other);
    stage.world.ask(&["apply", &shut])?;
    ensure!(!stage.passes()?);
    ensure!(stage.file()? == policy(lists) + set);
    ensure!(stage.world.policies().join("sets/more.txt").exists());
    fs::remove_dir_all(&stage.shut)?;
    stage.reboot()?;
    ensure!(!stage.passes()? && stage.world.status()?["held"].is_null());
    let rules = stage.world.ask(&["rules"])?.to_string();
    let ours = stage.world.policies();
    ensure!(rules.contains(&*ours.to_string_lossy()), "{rules}");
    ensure!(Path::new(&ours).join("10.toml~").exists());

    // A file behind a link is somebody else's.
    let real = stage.world.file("real.toml");
    fs::rename(ours.join("10.toml"), &real)?;
    std::os::unix::fs::symlink(&real, ours.join("10.toml"))?;
    let written = fs::read_to_string(&real)?;
    stage.fails(&["rollback"], "10.toml` should say something else")?;
    ensure!(stage.passes()? && fs::read_to_string(&real)? == written);
    ensure!(stage.world.status()?["held"] == "rollback");
    stage.explains("  held    what is in force came by rollback, ")?;
    fs::write(&real, policy(OPEN))?;
    stage.world.ask(&["confirm"])?;
    ensure!(stage.world.status()?["held"].is_null());
    Ok(())
}

#[test]
fn a_dry_run_says_how_much_of_the_traffic_would_turn() -> Result<()> {
    let Some(stage) = Stage::new("dry")? else {
        return Ok(());
    };
    let shut = stage.shut.to_string_lossy();
    let preview = || stage.world.ask(&["apply", &shut, "--dry-run"]);
    wait_until(DEADLINE, "a first look at the counters", || {
        preview().is_ok_and(|preview| !preview["traffic"]["would_drop"].is_null())
    });
    for (source, times) in [(CLIENT, 5), ("203.0.113.7", 3), ("198.18.0.1", 2)] {
        let frame = Frame::ip(source.parse::<IpAddr>()?, HOST.parse()?).tcp(40_000, 443);
        for _ in 0..times {
            ensure!(stage.wire.passes(&frame.to_bytes())? == (source == CLIENT));
        }
    }
    wait_until(DEADLINE, "all events", || {
        preview().is_ok_and(|preview| preview["traffic"]["sample"]["events"] == 5)
    });
    let preview = preview()?;
    let traffic = &preview["traffic"];
    let bounds = |field: &str| {
        let bounds = &traffic[field];
        bounds["at_least"].as_u64().zip(bounds["at_most"].as_u64())
    };
    // All that the allow entry let in, and what of the default's drops nobody counted by source.
    ensure!(bounds("would_drop") == Some((5, 5)), "{traffic}");
    ensure!(bounds("would_pass") == Some((0, 5)), "{traffic}");
    ensure!(
        traffic["sample"]["would_pass"] == 3
            && traffic["sample"]["would_drop"] == 0
            && traffic["sample"]["sources"] == serde_json::json!(["203.0.113.7"]),
        "{traffic}"
    );
    let text = run(stage.world.command().args(["apply", &shut, "--dry-run"]))?;
    for words in [
        "- 192.0.2.0/24 in zone public: allow 192.0.2.0/24 -> nothing",
        "pass now, and would be dropped: 5 packets in the last ",
        "all of allow 192.0.2.0/24, in 192.0.2.0/24: 5 packets",
        "part of default = \"drop\", in 203.0.113.0/24: at most 5 packets",
        "of 5 packets seen one by one, 3 would newly pass and 0 newly drop, such as from 203.0.113.7",
        "note: packets are counted by rule",
    ] {
        ensure!(text.contains(words), "no `{words}` in: {text}");
    }

    let same = stage.world.ask(&["apply", "--dry-run"])?;
    ensure!(
        same["traffic"]["turns"] == Value::Array(Vec::new())
            && same["hosts"] == Value::Array(Vec::new())
            && same["traffic"]["sample"]["would_pass"] == 0,
        "{same}"
    );
    let mut command = stage.world.command();
    command.env("SSH_CONNECTION", format!("{CLIENT} 50000 {HOST} 22"));
    let text = run(command.args(["apply", &shut, "--dry-run"]))?;
    ensure!(
        text.contains("warning: this would drop your own connection"),
        "{text}"
    );

    ensure!(
        stage.passes()? && stage.file()? == policy(OPEN),
        "nothing is changed"
    );
    ensure!(stage.world.status()?["generation"]["number"] == 1);
    Ok(())
}

#[test]
fn a_trial_ends_even_if_the_disk_loses_what_comes_back() -> Result<()> {
    let Some(stage) = Stage::new("lost")? else {
        return Ok(());
    };
    stage.try_shut(SHORT)?;
    for entry in fs::read_dir(stage.world.file("state"))? {
        fs::remove_file(entry?.path())?;
    }
    stage.wait_for_the_end();
    stage.world.reload()
}

#[test]
fn an_order_that_is_older_than_what_is_pinned_is_not_obeyed() -> Result<()> {
    let Some(mut stage) = Stage::new("stale")? else {
        return Ok(());
    };
    let order = stage.world.file("state").join("order");
    stage.try_shut(LONG)?;
    let written = fs::read(&order)?;
    stage.world.ask(&["rollback"])?;
    let other = policy("allow = [\"192.0.2.0/25\"]\n");
    stage.world.write_policy("10.toml", other)?;
    stage.world.reload()?;
    let before = stage.world.status()?["generation"].clone();

    // As a disk leaves it that nobody could write to.
    fs::write(&order, written)?;
    stage.restart()?;
    let status = stage.world.status()?;
    let now = &status["generation"];
    ensure!(
        (&now["number"], &now["hash"]) == (&before["number"], &before["hash"])
            && status["warnings"].to_string().contains("newer than"),
        "{status}"
    );
    ensure!(stage.passes()?);
    stage.world.reload()?;
    ensure!(!order.exists());
    Ok(())
}

#[test]
fn what_was_written_and_never_enforced_is_not_the_last_good_one() -> Result<()> {
    let Some(mut stage) = Stage::new("unused")? else {
        return Ok(());
    };
    stage.try_shut(LONG)?;
    let saved = stage.world.file("state");
    let [tried, order] = ["generation-2", "order"].map(|name| saved.join(name));
    let [tried_bytes, order_bytes] = [fs::read(&tried)?, fs::read(&order)?];
    stage.daemon.kill()?;
    run(stage.world.command().arg("detach"))?;
    fs::remove_dir_all(&saved)?;
    stage.daemon = stage.world.attached_daemon()?;
    ensure!(stage.world.status()?["generation"]["number"] == 1);

    // As a kill leaves it between the writes of a generation and of its order.
    fs::write(&tried, &tried_bytes)?;
    stage.restart()?;
    ensure!(stage.passes()?);
    stage.world.write_policy("10.toml", "version = ")?;
    stage.reboot()?;
    let status = stage.world.status()?;
    ensure!(
        status["warnings"].to_string().contains("generation 1 of"),
        "{status}"
    );
    ensure!(stage.passes()? && !tried.exists());

    // What did not come after the pinned one was enforced, for all that is known.
    fs::copy(saved.join("generation-1"), &tried)?;
    stage.restart()?;
    ensure!(tried.exists());

    // And an order that cannot be read may name it.
    fs::write(&tried, &tried_bytes)?;
    fs::write(&order, "{")?;
    stage.restart()?;
    ensure!(tried.exists());

    // After both writes.
    fs::write(&order, &order_bytes)?;
    stage.restart()?;
    ensure!(stage.world.status()?["trial"]["generation"] == 2);
    ensure!(!stage.passes()?, "what was ordered is done");
    Ok(())
}

#[test]
fn a_directory_without_policy_files_takes_nothing_away() -> Result<()> {
    let Some(stage) = Stage::new("empty")? else {
        return Ok(());
    };
    let parent = stage.world.file("parent");
    fs::create_dir_all(parent.join("policy.d"))?;
    let parent = parent.to_string_lossy();
    for command in ["try", "apply"] {
        stage.fails(&[command, &parent], "has no policy files")?;
    }
    ensure!(stage.passes()? && stage.file()? == policy(OPEN));
    Ok(())
}
