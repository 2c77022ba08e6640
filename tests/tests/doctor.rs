//! `doctor` on machines that are well, and on machines that something is wrong with.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use jiff::{Timestamp, ToSpan, Zoned, tz::TimeZone};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::Value;
use swf_filter_tests::process::Child;
use swf_filter_tests::stage::{Behind, Stage};
use swf_filter_tests::wait::wait_until;
use swf_filter_tests::world::{DEADLINE, World};

const POLICY: &str = "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"198.51.100.10\"]\n\
     allow = [\"192.0.2.0/24\"]\n";

/// What `doctor` says, and how it ends.
struct Report {
    code: Option<i32>,
    answer: Value,
}

impl Report {
    fn of(command: &mut Command) -> Result<Self> {
        let output = command.args(["--output", "json", "doctor"]).output()?;
        let answer = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok(Self {
            code: output.status.code(),
            answer,
        })
    }

    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.answer["findings"].as_array().into_iter().flatten()
    }

    /// The words of a check that came to a grade.
    fn words(&self, check: &str, grade: &str) -> Vec<&str> {
        self.findings()
            .filter(|one| one["check"] == check && one["grade"] == grade)
            .filter_map(|one| one["words"].as_str())
            .collect()
    }

    /// Fails unless a check came to a grade, about something.
    fn ensure(&self, check: &str, grade: &str, about: &str) -> Result<()> {
        let words = self.words(check, grade);
        ensure!(
            words.iter().any(|words| words.contains(about)),
            "no {grade} of {check} about `{about}` in {}",
            self.answer
        );
        Ok(())
    }

    /// Fails unless these checks fail, and no others, and the exit code says so.
    fn ensure_failures(&self, checks: &[&str]) -> Result<()> {
        let failed = self.findings().filter(|one| one["grade"] == "failure");
        let failed: Vec<_> = failed.filter_map(|one| one["check"].as_str()).collect();
        ensure!(failed == checks, "{failed:?} in {}", self.answer);
        ensure!(self.answer["failures"] == checks.len(), "{}", self.answer);
        let code = i32::from(!checks.is_empty());
        ensure!(
            self.code == Some(code),
            "{:?} in {}",
            self.code,
            self.answer
        );
        Ok(())
    }
}

/// The binary in a world without a listener, whatever this machine has in /etc.
fn doctor(world: &World) -> Result<Report> {
    doctor_of(world, &world.file("config.toml"))
}

fn doctor_of(world: &World, config: &Path) -> Result<Report> {
    let mut command = world.command_of(config);
    Report::of(
        command
            .arg("--listener-config")
            .arg(world.file("none.toml")),
    )
}

#[test]
fn a_gate_that_is_well_is_told_so_until_its_files_change() -> Result<()> {
    let Some(world) = World::silent("well")? else {
        return Ok(());
    };
    world.write_policy("10.toml", POLICY)?;
    let mut daemon = world.attached_daemon()?;
    let report = doctor(&world)?;
    report.ensure_failures(&[])?;
    for name in ["eth1", "eth2"] {
        report.ensure(
            "attached",
            "ok",
            &format!("`{name}` is filtered, in its driver"),
        )?;
        report.ensure("driver", "ok", &format!("`{name}`, MTU 1500, runs XDP"))?;
        report.ensure("offloads", "ok", name)?;
    }
    for (check, about) in [
        ("kernel", "Linux "),
        ("capabilities", "may load"),
        ("bpffs", "is in a bpf file system"),
        ("policy", "accepted"),
        ("daemon", "generation 1"),
        ("generation", "in force"),
        ("room", "state"),
    ] {
        report.ensure(check, "ok", about)?;
    }

    // A comment is no other policy, but other text.
    world.write_policy("10.toml", format!("# new\n{POLICY}"))?;
    doctor(&world)?.ensure("generation", "advice", "nothing that the packet gate sees")?;
    world.write_policy("10.toml", POLICY.replace("/24", "/25"))?;
    doctor(&world)?.ensure("generation", "warning", "would change 1 host")?;
    world.write_policy("10.toml", "version = 1\n[[host]]\nname = ")?;
    doctor(&world)?.ensure_failures(&["policy"])?;
    world.write_policy("10.toml", POLICY)?;
    doctor(&world)?.ensure_failures(&[])?;

    // Without a daemon the pins tell whose the program is.
    daemon.kill()?;
    let report = doctor(&world)?;
    report.ensure_failures(&["daemon"])?;
    report.ensure("attached", "ok", "`eth1`")
}

#[test]
fn broken_set_ups_are_told_apart() -> Result<()> {
    let Some(world) = World::silent("broken")? else {
        return Ok(());
    };
    world.write_policy("10.toml", POLICY)?;
    // Nothing runs, and nothing is attached.
    doctor(&world)?.ensure_failures(&["attached", "attached", "daemon"])?;

    // An interface that there is not, and a place for pins that is none.
    let folder = world.file("");
    let text = format!(
        "version = 1\ninterfaces = [\"lo\", \"wan0\", \"wan*\"]\n[paths]\nbpf = \"{folder}/pins\"\npolicy = \"{folder}/policy.d\"\n\
         run = \"{folder}/run\"\nstate = \"{folder}/state\"\n",
        folder = folder.display().to_string().trim_end_matches('/')
    );
    let config = world.file("odd.toml");
    fs::write(&config, text)?;
    let report = doctor_of(&world, &config)?;
    report.ensure_failures(&["bpffs", "interface", "attached", "daemon"])?;
    report.ensure("interface", "failure", "`wan0`")?;
    report.ensure("interface", "warning", "`wan*`")?;
    report.ensure("bpffs", "failure", "/pins` is in no bpf file system")?;

    // Settings that cannot be read leave nothing to look at but the machine.
    let report = doctor_of(&world, &world.file("no.toml"))?;
    report.ensure_failures(&["config"])?;
    report.ensure("kernel", "ok", "Linux")
}

#[test]
fn another_program_on_an_interface_is_told() -> Result<()> {
    let Some(world) = World::silent("other")? else {
        return Ok(());
    };
    world.write_policy("10.toml", POLICY)?;
    let other = world.write_other("eth1", POLICY)?;
    let _other = Child::spawn("other", world.command_of(&other).arg("daemon"))?;
    wait_until(DEADLINE, "the other filter", || {
        doctor_of(&world, &other).is_ok_and(|report| !report.words("attached", "ok").is_empty())
    });
    doctor_of(&world, &other)?.ensure("attached", "ok", "`eth1`")?;
    // Neither with a daemon nor without is it taken for our own.
    let report = doctor(&world)?;
    report.ensure_failures(&["attached", "attached", "daemon"])?;
    report.ensure("attached", "failure", "`eth1` has another XDP program")?;
    report.ensure("attached", "failure", "`eth2` has no filter")?;
    let _daemon = world.restarted_daemon()?;
    let report = doctor(&world)?;
    report.ensure_failures(&["attached"])?;
    report.ensure("attached", "failure", "`eth1` has another XDP program")?;
    report.ensure("attached", "ok", "`eth2`")
}

#[test]
fn nobody_is_told_what_could_not_be_looked_at() -> Result<()> {
    let Some(world) = World::silent("nobody")? else {
        return Ok(());
    };
    world.write_policy("10.toml", POLICY)?;
    let _daemon = world.attached_daemon()?;
    let nobody = || {
        let own = world.command();
        let arguments: Vec<_> = own.get_args().collect();
        // What enters the namespace has to be root's.
        let (enter, rest) = arguments.split_at(2);
        let mut command = Command::new(own.get_program());
        command
            .args(enter)
            .args([
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
            ])
            .args(rest)
            .arg("--listener-config")
            .arg(world.file("none.toml"));
        Report::of(&mut command)
    };
    let report = nobody()?;
    report.ensure_failures(&[])?;
    report.ensure("capabilities", "advice", "lacks CAP_NET_ADMIN")?;
    report.ensure("daemon", "advice", "may not talk to the daemon")?;
    report.ensure("attached", "advice", "whose the XDP program on `eth1` is")?;
    report.ensure("policy", "ok", "accepted")?;
    // What may not even be read is no fault of the files.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(world.file("config.toml"), mode)?;
    let report = nobody()?;
    report.ensure_failures(&[])?;
    report.ensure("config", "advice", "was not looked at")
}

/// Writes a certificate that runs out in so many days, over the one that is there.
fn certificate(stage: &Stage, days: i64) -> Result<()> {
    let end = Zoned::new(Timestamp::now(), TimeZone::UTC).checked_add(days.days())?;
    let mut params = CertificateParams::new(["swf.test".to_owned()])?;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(
        end.year().into(),
        end.month().try_into()?,
        end.day().try_into()?,
    );
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    fs::write(stage.world.file("cert.pem"), certificate.pem())?;
    Ok(fs::write(stage.world.file("key.pem"), key.serialize_pem())?)
}

#[test]
fn the_listener_is_looked_at_from_all_sides() -> Result<()> {
    const GATED: &str = "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"10.20.0.1\", \"10.30.0.1\"]\n\
         ports = [8443, 9443, 7443]\nallow = [\"0.0.0.0/0\"]\naccount = \"111122223333\"\ntrusted_proxies = [\"10.20.0.2\"]\n";
    const PRINCIPALS: &str = "version = 1\n[[account]]\nid = \"111122223333\"\n\
         [[user]]\nname = \"alice\"\npolicies = [\"alice.json\"]\n";
    const ALICE: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "swf:*", "Resource": "*"}}"#;
    let policy = [("10.toml", GATED)];
    let documents = [("alice.json", ALICE)];
    let files = (policy.as_slice(), PRINCIPALS, documents.as_slice());
    let Some(mut stage) = Stage::before("doctor", files, Behind::Own, "")? else {
        return Ok(());
    };
    // A third socket, which connections from the host itself come to.
    let path = stage.world.file("listener.toml");
    let settings = fs::read_to_string(&path)?;
    let own = settings.replace(
        "\"10.20.0.1:8443%eth1\"",
        "\"10.20.0.1:8443%eth1\", \"10.20.0.1:7443\"",
    );
    fs::write(&path, &own)?;
    let report = Report::of(&mut stage.command())?;
    report.ensure(
        "reachable",
        "failure",
        "`10.20.0.1:7443` of listener `direct`",
    )?;
    report.ensure_failures(&["reachable"])?;
    stage.restart_listener()?;
    stage.wait_until_listening();
    let report = Report::of(&mut stage.command())?;
    report.ensure_failures(&[])?;
    report.ensure(
        "reachable",
        "ok",
        "`10.20.0.1:7443` of listener `direct` answers with its certificate",
    )?;
    report.ensure(
        "reachable",
        "ok",
        "`10.20.0.1:8443%eth1` of listener `direct` takes connections",
    )?;
    report.ensure("reachable", "ok", "PROXY header")?;
    report.ensure("keys", "ok", "can be read")?;
    report.ensure("upstream", "ok", "http://127.0.0.1:5000")?;
    report.ensure("listener", "ok", "generation 1")?;

    for (days, grade) in [(60, "ok"), (20, "advice"), (3, "warning"), (-3, "failure")] {
        certificate(&stage, days)?;
        let report = Report::of(&mut stage.command())?;
        report.ensure("certificate", grade, "cert.pem")?;
    }
    certificate(&stage, 60)?;
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(stage.world.file("key.pem"), mode(0o644))?;
    fs::set_permissions(stage.world.file("keys/session.keys"), mode(0o644))?;
    let report = Report::of(&mut stage.command())?;
    report.ensure("certificate", "warning", "its mode is 0644")?;
    report.ensure_failures(&["keys"])?;
    fs::set_permissions(stage.world.file("keys/session.keys"), mode(0o600))?;

    // An address of somebody else is never connected to.
    let foreign: SocketAddr = "192.0.2.1:7443".parse()?;
    fs::write(&path, own.replace("10.20.0.1:7443", &foreign.to_string()))?;
    let report = Report::of(&mut stage.command())?;
    report.ensure(
        "reachable",
        "failure",
        "this machine does not have the address",
    )?;
    fs::write(&path, &own)?;
    stage.listener.kill()?;
    let report = Report::of(&mut stage.command())?;
    report.ensure("listener", "failure", "no listener answers")?;
    report.ensure("reachable", "failure", "refused")
}
