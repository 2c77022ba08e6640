//! `top` as it is used by scripts and by people, before the daemon that runs.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child as Process, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use swf_filter_tests::frames::Frame;
use swf_filter_tests::rivals::Rival;
use swf_filter_tests::wait::{holds_within, wait_until};
use swf_filter_tests::wire::Wire;
use swf_filter_tests::world::{DEADLINE, World};

const HOST: &str = "198.51.100.10";
const ALLOWED: &str = "192.0.2.1";
const DENIED: &str = "192.0.2.66";
const STRANGER: &str = "203.0.113.9";
const POLICY: &str = "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"198.51.100.10\"]\n\
     allow = [\"192.0.2.0/24\"]\ndeny = [\"192.0.2.66\"]\n";

fn frame(source: &str) -> Result<Vec<u8>> {
    Ok(Frame::ip(source.parse()?, HOST.parse()?)
        .tcp(40_000, 443)
        .to_bytes())
}

fn reasons(list: &Value) -> Result<&[Value]> {
    let reasons = list["reasons"].as_array();
    Ok(reasons.with_context(|| format!("no reasons in {list}"))?)
}

/// A number of a reason of `status`, or of one of the counters of a reason of `top`.
fn number(value: &Value, field: &str) -> Result<u64> {
    value[field]
        .as_u64()
        .with_context(|| format!("no number `{field}` in {value}"))
}

#[test]
fn rates_and_totals_are_those_of_status() -> Result<()> {
    let Some(world) = World::silent("rates")? else {
        return Ok(());
    };
    world.write_policy("10.toml", Rival::One.policy())?;
    let _daemon = world.attached_daemon()?;
    let traffic = world.traffic()?;
    let before = world.status()?;
    let busy = world.ask(&["top", "--once", "--interval", "1s"])?;
    let after = world.status()?;
    traffic.stop()?;

    let gate = &busy["gate"];
    let seconds = gate["seconds"].as_f64().context("no time")?;
    ensure!((0.5..30.0).contains(&seconds), "{busy}");
    let (mut packets, mut dropped) = (0, 0);
    let pairs = reasons(&before)?.iter().zip(reasons(&after)?);
    for (now, (before, after)) in reasons(gate)?.iter().zip(pairs) {
        ensure!(now["reason"] == before["reason"] && now["reason"] == after["reason"]);
        let (total, counted) = (
            number(&now["packets"], "total")?,
            number(&now["packets"], "counted")?,
        );
        // The interval lies between the two.
        ensure!(
            number(before, "packets")? <= total - counted,
            "{now} after {before}"
        );
        ensure!(total <= number(after, "packets")?, "{now} before {after}");
        packets += counted;
        if now["drops"] == true {
            dropped += counted;
        }
        let rate = now["packets"]["per_second"].as_f64().context("no rate")?;
        #[expect(clippy::cast_precision_loss, reason = "some thousands of packets")]
        let expected = counted as f64 / seconds;
        ensure!(
            (rate - expected).abs() < 0.01 * expected + 0.01,
            "{now} in {seconds} s"
        );
    }
    ensure!(packets > 0 && dropped > 0 && dropped < packets, "{busy}");
    ensure!(number(&gate["packets"], "counted")? == packets, "{busy}");
    ensure!(number(&gate["dropped"], "counted")? == dropped, "{busy}");
    let hosts = gate["busiest"]["hosts"].as_array().context("no hosts")?;
    let service = hosts.iter().find(|host| host["host"] == "service");
    let service = service.context("no service")?;
    ensure!(
        number(service, "passed")? > 0 && number(service, "dropped")? > 0,
        "{busy}"
    );
    ensure!(gate["sources"]["events"].as_u64() > Some(0), "{busy}");

    // In silence nothing changes, and what is counted is what status says.
    // Rules are counted since anybody asked last: the first time that is still under traffic.
    let question = ["top", "--once", "--interval", "300ms"];
    world.ask(&question)?;
    let silent = world.ask(&question)?;
    let status = world.status()?;
    for (now, then) in reasons(&silent["gate"])?.iter().zip(reasons(&status)?) {
        ensure!(
            now["packets"]["total"] == then["packets"],
            "{now} and {then}"
        );
        ensure!(
            now["packets"]["counted"] == 0 && now["bytes"]["counted"] == 0,
            "{now}"
        );
    }
    let rules = &silent["gate"]["busiest"]["rules"];
    ensure!(rules.as_array().is_some_and(Vec::is_empty), "{silent}");
    Ok(())
}

/// What the daemon answers over its socket: the head, and the body.
fn get(world: &World, path: &str) -> Result<(String, String)> {
    let mut stream = UnixStream::connect(world.file("run/control.sock"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("no end of the head")?;
    Ok((head.to_owned(), body.to_owned()))
}

#[test]
fn the_busiest_rules_are_told_with_what_they_do() -> Result<()> {
    let Some(world) = World::silent("busiest")? else {
        return Ok(());
    };
    world.write_policy("10.toml", POLICY)?;
    let _daemon = world.attached_daemon()?;
    let wire = world.wire_one()?;
    let busiest = || -> Result<Value> {
        let (_, body) = get(&world, "/v1/rules?busiest=2")?;
        Ok(serde_json::from_str(&body)?)
    };
    let first = busiest()?;
    ensure!(
        first["milliseconds"] == 0 && first["rules"] == json!([]),
        "{first}"
    );
    ensure!(
        first["rule_count"] == 3 && first["host_count"] == 1,
        "{first}"
    );
    for source in [ALLOWED, DENIED, ALLOWED, STRANGER, STRANGER, STRANGER] {
        wire.passes(&frame(source)?)?;
    }
    let mut then = Ok(Value::Null);
    wait_until(DEADLINE, "another reading", || {
        then = busiest();
        then.as_ref().is_ok_and(|then| then["milliseconds"] != 0) || then.is_err()
    });
    let then = then?;
    let rules = then["rules"].as_array().context("no rules")?;
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| json!([rule["list"], rule["verdict"], rule["packets"]]))
        .collect();
    ensure!(
        json!(rules) == json!([["default", "drop", 3], ["allow", "pass", 2]]),
        "{then}"
    );
    let host = &then["hosts"][0];
    ensure!(
        host["passed"] == 2 && host["dropped"] == 4 && host["would_drop"] == 0,
        "{then}"
    );
    // The twin: in audit mode the same rules drop nothing.
    world.write_policy(
        "10.toml",
        POLICY.replace("allow", "mode = \"audit\"\nallow"),
    )?;
    world.reload()?;
    busiest()?;
    wire.passes(&frame(STRANGER)?)?;
    wait_until(DEADLINE, "a reading of the other generation", || {
        busiest().is_ok_and(|then| then["hosts"][0]["would_drop"] == 1)
    });

    for wrong in ["0", "1001", "x", "-1", ""] {
        let (head, body) = get(&world, &format!("/v1/rules?busiest={wrong}"))?;
        ensure!(
            head.starts_with("HTTP/1.1 400 ") && body.contains("from 1 to"),
            "{head} {body}"
        );
    }
    Ok(())
}

#[test]
fn without_a_terminal_it_says_what_to_do() -> Result<()> {
    let Some(world) = World::silent("none")? else {
        return Ok(());
    };
    world.write_policy("10.toml", POLICY)?;
    let _daemon = world.attached_daemon()?;
    let wrong = world.command().args(["top", "--output", "json"]).output()?;
    ensure!(wrong.status.code() == Some(1), "{wrong:?}");
    let wrong = world.command().arg("top").stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&wrong.stderr);
    ensure!(said.contains("this is none; `top --once`"), "{said}");
    Ok(())
}

/// `top` on a terminal of 80 columns and 24 rows, whose state before and after is written down.
struct Terminal {
    process: Process,
    keys: ChildStdin,
    folder: tempfile::TempDir,
}

impl Terminal {
    fn open(world: &World) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("swft-").tempdir()?;
        let command = world.command();
        let words = [command.get_program()]
            .into_iter()
            .chain(command.get_args());
        let words: Vec<String> = words
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let at = folder.path().display();
        // What is waited for is not in the command as it comes out: the command itself is written at the top of what is seen.
        let script = format!(
            "stty rows 24 cols 80; stty -g > {at}/before; \
             sh -c 'echo $$ > {at}/pid; exec \"$@\"' sh {} top --interval 100ms; \
             echo 'ended 'with $?; stty -g > {at}/after",
            words.join(" ")
        );
        let mut process = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &script])
            .arg(folder.path().join("seen"))
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("stderr"))?)
            .spawn()
            .context("cannot run `script` of util-linux")?;
        let keys = process.stdin.take().context("no keyboard")?;
        Ok(Self {
            process,
            keys,
            folder,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.file(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until something is drawn after a place, and gives the place behind it.
    fn wait_for(&self, from: usize, text: &str) -> Result<usize> {
        let mut end = None;
        let came = holds_within(DEADLINE, || {
            let seen = self.read("seen");
            end = seen
                .get(from..)
                .and_then(|seen| Some(from + seen.find(text)? + text.len()));
            end.is_some()
        });
        ensure!(
            came,
            "no `{text}` after {from} in {:?} {}",
            self.read("seen"),
            self.read("stderr")
        );
        end.context("it came")
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes())?;
        Ok(self.keys.flush()?)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.read("pid").trim().parse()?).context("no process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Fails unless it ends well, and the terminal is as it was.
    fn ensure_restored(&self) -> Result<()> {
        self.wait_for(0, "ended with 0")?;
        wait_until(DEADLINE, "the state of the terminal", || {
            self.read("after").ends_with('\n')
        });
        ensure!(
            self.read("before") == self.read("after"),
            "the terminal is not as it was"
        );
        let seen = self.read("seen");
        for (done, undone) in [("\x1b[?1049h", "\x1b[?1049l"), ("\x1b[?25l", "\x1b[?25h")] {
            ensure!(seen.contains(done), "{done:?} is not in {seen:?}");
            ensure!(
                seen.rfind(undone) > seen.rfind(done),
                "{undone:?} is not after {done:?}"
            );
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _may_have_ended = self.signal(Signal::KILL);
        let _may_have_ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Sends a frame that is dropped by default.
fn drop_one(wire: &Wire) -> Result<()> {
    ensure!(
        !wire.passes(&frame(STRANGER)?)?,
        "a stranger's frame passes"
    );
    Ok(())
}

#[test]
fn a_person_sees_drops_and_a_daemon_that_comes_and_goes() -> Result<()> {
    let Some(world) = World::silent("person")? else {
        return Ok(());
    };
    world.write_policy("10.toml", POLICY)?;
    let mut daemon = world.attached_daemon()?;
    drop_one(&world.wire_one()?)?;
    let mut terminal = Terminal::open(&world)?;
    terminal.wait_for(0, "default-drop")?;
    // What is drawn over something else comes letter by letter where they differ.
    let before = terminal.read("seen").len();
    daemon.kill()?;
    let gone = terminal.wait_for(before, "DAEMON")?;
    let _daemon = world.attached_daemon()?;
    let back = terminal.wait_for(gone, "driver")?;
    terminal.press("?")?;
    let help = terminal.wait_for(back, "events_per_second")?;
    terminal.press("x")?;
    terminal.wait_for(help, "default-drop")?;
    terminal.press("q")?;
    terminal.ensure_restored()
}

#[test]
fn a_signal_gives_the_terminal_back() -> Result<()> {
    let Some(world) = World::silent("signal")? else {
        return Ok(());
    };
    // There is no daemon to draw anything of, either.
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let terminal = Terminal::open(&world)?;
        terminal.wait_for(0, "DAEMON")?;
        terminal.signal(signal)?;
        terminal.ensure_restored()?;
    }
    Ok(())
}
