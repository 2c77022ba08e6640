//! Policy documents as an operator meets them: `check`, `explain`, and the packet gate on real interfaces.
//!
//! `tests/vectors/documents` has policies in the forms that AWS's documentation shows, each with what it has to come to.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use swf_filter_tests::net::{self, Echo};
use swf_filter_tests::process::Child;
use swf_filter_tests::require;
use swf_filter_tests::wait::wait_until;
use swf_filter_tests::world::{DEADLINE, World};
use tempfile::TempDir;

/// Time for one command.
const PATIENCE: Duration = Duration::from_mins(1);
/// Exit code for files that are refused.
const REFUSED: i32 = 3;
/// Longer than the second after which TCP sends a lost SYN again.
const REFUSED_AFTER: Duration = Duration::from_millis(1300);

fn binary() -> Option<PathBuf> {
    let binary = std::env::var_os("SWF_FILTER_BIN").map(PathBuf::from);
    if binary.is_none() {
        require::skip("needs SWF_FILTER_BIN: run `cargo xtask test`");
    }
    binary
}

fn run(command: &mut Command) -> Result<(Option<i32>, String, String)> {
    let mut child = Child::spawn("swf-filter", command.env("NO_COLOR", "1"))?;
    let status = child.wait(PATIENCE);
    Ok((status.code(), child.stdout(), child.stderr()))
}

fn vectors() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/documents");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// The same policy with each expectation turned round, and the lines where they stand.
fn turned(policy: &str) -> (String, BTreeSet<usize>) {
    let turns = [
        ("packet = \"pass\"", "packet = \"drop\""),
        ("packet = \"drop\"", "packet = \"pass\""),
        ("request = \"allow\"", "request = \"deny\""),
        ("request = \"deny\"", "request = \"allow\""),
    ];
    let mut lines = BTreeSet::new();
    let mut text = String::new();
    for (number, line) in (1..).zip(policy.lines()) {
        match turns.iter().find(|(from, _)| *from == line) {
            Some((_, to)) => {
                lines.insert(number);
                text += to;
            }
            None => text += line,
        }
        text.push('\n');
    }
    (text, lines)
}

#[test]
fn documents_do_at_both_gates_what_the_pages_say() -> Result<()> {
    let Some(binary) = binary() else {
        return Ok(());
    };
    let vectors = vectors()?;
    ensure!(vectors.len() >= 19, "{} vectors", vectors.len());
    for vector in vectors {
        let name = vector.display();
        let (code, out, err) = run(Command::new(&binary).arg("check").arg(&vector))?;
        ensure!(code == Some(0), "{name}: {err}");

        // No expectation is met whatever it says.
        let copy = TempDir::with_prefix("swft-")?;
        for entry in fs::read_dir(&vector)? {
            let entry = entry?;
            fs::copy(entry.path(), copy.path().join(entry.file_name()))?;
        }
        let (text, lines) = turned(&fs::read_to_string(vector.join("policy.toml"))?);
        ensure!(
            out.contains("expectations met") && !lines.is_empty(),
            "{name}: {out}"
        );
        fs::write(copy.path().join("policy.toml"), text)?;
        let mut check = Command::new(&binary);
        check.args(["--output", "json", "check"]).arg(copy.path());
        let (code, out, _) = run(&mut check)?;
        ensure!(code == Some(REFUSED), "{name}: {out}");
        let report: Value = serde_json::from_str(&out)?;
        let problems = report["report"]["problems"].as_array();
        let unmet: BTreeSet<usize> = problems
            .context("no problems")?
            .iter()
            .filter_map(|problem| problem["at"]["line"].as_u64()?.try_into().ok())
            .collect();
        ensure!(
            unmet == lines,
            "{name}: lines {unmet:?} are unmet, not {lines:?}"
        );
    }
    Ok(())
}

/// What is doubtful about the vectors, by their names; nothing about the others.
const DOUBTS: [(&str, &str, &str); 7] = [
    (
        "address-with-exception",
        "host-0.json:4:5",
        "judged without `aws:SourceIp`",
    ),
    (
        "allow-vpc-or-range",
        "host-0.json:4:5",
        "judged without `aws:SourceIp`",
    ),
    (
        "boundary",
        "host-0.json:4:5",
        "allows some request from anywhere",
    ),
    (
        "boundary-and-notprincipal",
        "user-0.json:4:5",
        "allows some request from anywhere",
    ),
    (
        "one-principal-from-anywhere",
        "host-0.json:4:5",
        "judged without `aws:SourceIp`",
    ),
    (
        "one-principal-from-anywhere",
        "host-0.json:23:5",
        "`OnCall` allows some request from anywhere",
    ),
    ("other-services", "host-0.json:4:5", "no action of SWF"),
];

#[test]
fn what_the_packet_gate_cannot_enforce_is_said() -> Result<()> {
    let Some(binary) = binary() else {
        return Ok(());
    };
    for vector in vectors()? {
        let (_, _, err) = run(Command::new(&binary).arg("check").arg(&vector))?;
        let said: Vec<&str> = err
            .lines()
            .filter(|line| line.contains(": warning: ") || line.contains(": advice: "))
            .collect();
        let expected: Vec<_> = DOUBTS
            .iter()
            .filter(|(name, ..)| vector.ends_with(name))
            .collect();
        let met = expected
            .iter()
            .zip(&said)
            .all(|((_, place, words), line)| line.contains(place) && line.contains(words));
        ensure!(
            met && said.len() == expected.len(),
            "{}: {said:#?}",
            vector.display()
        );
    }
    Ok(())
}

#[test]
fn explain_reads_bodies_and_judges_each_decision() -> Result<()> {
    let Some(binary) = binary() else {
        return Ok(());
    };
    let folder = TempDir::with_prefix("swft-")?;
    let vector =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/documents/one-activity-version");
    let config = folder.path().join("config.toml");
    fs::write(
        &config,
        format!(
            "version = 1\ninterfaces = [\"eth0\"]\n[paths]\npolicy = \"{}\"\n",
            vector.display()
        ),
    )?;
    let body = folder.path().join("body.json");
    let explain = |text: &str| {
        fs::write(&body, text)?;
        let mut explain = Command::new(&binary);
        explain.arg("--config").arg(&config);
        explain.args([
            "--output",
            "json",
            "explain",
            "--from",
            "192.0.2.7",
            "--to",
            "198.51.100.10",
        ]);
        explain.args(["--principal", "arn:aws:iam::111122223333:user/alice"]);
        explain.args([
            "--action",
            "swf:RespondDecisionTaskCompleted",
            "--resource",
            "payments",
        ]);
        run(explain.arg("--body").arg(&body))
    };

    let timer = r#"{"decisionType": "StartTimer"}"#;
    let fail = r#"{"decisionType": "FailWorkflowExecution"}"#;
    let (code, out, err) = explain(&format!(
        r#"{{"taskToken": "t", "decisions": [{timer}, {fail}]}}"#
    ))?;
    ensure!(code == Some(0), "{err}");
    let told: Value = serde_json::from_str(&out)?;
    let request = &told["request"];
    ensure!(request["allowed"] == false, "{told}");
    ensure!(request["decisions"][0]["allowed"] == true, "{told}");
    ensure!(
        request["decisions"][1]["action"] == "swf:FailWorkflowExecution",
        "{told}"
    );
    ensure!(request["decisions"][1]["reason"] == "no-allow", "{told}");
    let words = request["words"].as_str().context("no words")?;
    ensure!(words.contains("decisions[1]"), "{words}");

    for wrong in [
        "",
        "[]",
        r#"{"taskToken": "t", "taskToken": "u"}"#,
        r#"{"decisions": []}"#,
    ] {
        let (code, _, err) = explain(wrong)?;
        ensure!(
            code == Some(1) && err.contains("the body is refused"),
            "{wrong}: {err}"
        );
    }
    Ok(())
}

#[test]
fn a_request_of_no_known_vpc_is_an_answer_but_meets_no_expectation() -> Result<()> {
    let Some(binary) = binary() else {
        return Ok(());
    };
    let folder = TempDir::with_prefix("swft-")?;
    let policies = folder.path().join("policy.d");
    fs::create_dir(&policies)?;
    let vpcs = [("one", 1), ("two", 2)].map(|(vpc, net)| {
        format!("[[vpc]]\nid = \"vpc-{vpc}\"\ncidrs = [\"10.{net}.0.0/16\"]\ninterfaces = [\"eth1\"]\nendpoints = [\"vpce-{vpc}\"]\n")
    });
    let host = "[[host]]\nname = \"swf\"\naddresses = [\"198.51.100.10\"]\nresource_policies = [\"any.json\"]\n";
    let policy = format!("version = 1\n{host}{}", vpcs.concat());
    fs::write(
        policies.join("any.json"),
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "swf:*", "Resource": "*"}}"#,
    )?;
    fs::write(policies.join("10.toml"), &policy)?;
    let config = folder.path().join("config.toml");
    let paths = format!("[paths]\npolicy = \"{}\"\n", policies.display());
    fs::write(
        &config,
        format!("version = 1\ninterfaces = [\"eth1\"]\n{paths}"),
    )?;

    let alice = "arn:aws:iam::111122223333:user/alice";
    let explain = |more: &[&str]| -> Result<Value> {
        let mut explain = Command::new(&binary);
        explain.arg("--config").arg(&config);
        explain.args(["--output", "json", "explain", "--from", "203.0.113.9"]);
        explain.args(["--to", "198.51.100.10", "--interface", "eth1"]);
        explain.args(["--principal", alice, "--action", "swf:DescribeDomain"]);
        let (code, out, err) = run(explain.args(["--resource", "payments"]).args(more))?;
        ensure!(code == Some(0), "{code:?}: {err}");
        Ok(serde_json::from_str(&out)?)
    };
    let told = explain(&[])?;
    let request = &told["request"];
    ensure!(
        told["dropped"] == false
            && request["allowed"] == false
            && request["reason"] == "unknown-network",
        "{told}"
    );
    let told = explain(&["--vpce", "vpce-two"])?;
    ensure!(told["request"]["allowed"] == true, "{told}");

    for (vpce, verdict, met) in [
        ("", "deny", false),
        ("", "allow", false),
        ("vpce = \"vpce-two\"\n", "allow", true),
    ] {
        let question = "[[expect]]\nfrom = \"203.0.113.9\"\nvpc = \"vpc-two\"\naction = \"swf:DescribeDomain\"\nresource = \"payments\"\n";
        let expected = format!("principal = \"{alice}\"\nrequest = \"{verdict}\"\n");
        let text = format!("{policy}{question}{vpce}{expected}");
        fs::write(policies.join("10.toml"), text)?;
        let (code, _, err) = run(Command::new(&binary).arg("check").arg(&policies))?;
        let told = err.contains("it cannot be told which VPC");
        ensure!((code == Some(0)) == met && told != met, "{verdict}: {err}");
    }
    Ok(())
}

/// Lets in one client's address through an endpoint, and nobody else.
const DOCUMENT: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "OneClient",
      "Effect": "Allow",
      "Principal": "*",
      "Action": "swf:*",
      "Resource": "*",
      "Condition": {
        "StringEquals": {"aws:SourceVpc": "VPC"},
        "IpAddress": {"aws:VpcSourceIp": "10.0.0.0/8"}
      }
    }
  ]
}
"#;

const SERVICE: &str = "10.20.0.1:443";
const OTHER_SERVICE: &str = "10.30.0.1:443";

const POLICY: &str = r#"version = 1
[[host]]
name = "swf"
addresses = ["10.20.0.1", "10.30.0.1"]
resource_policies = ["swf.json"]
[[vpc]]
id = "vpc-one"
cidrs = ["10.0.0.0/8"]
interfaces = ["eth1"]
[[vpc]]
id = "vpc-two"
cidrs = ["10.0.0.0/8"]
interfaces = ["eth2"]
"#;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// Which of the two clients get an answer.
fn reached(world: &World) -> (bool, bool) {
    let reach = |client, text| net::echo_tcp(client, address(text), REFUSED_AFTER).is_ok();
    (reach(&world.one, SERVICE), reach(&world.two, OTHER_SERVICE))
}

#[test]
fn documents_are_enforced_at_the_packet_and_expectations_hold_reloads_back() -> Result<()> {
    let Some(world) = World::new("docs")? else {
        return Ok(());
    };
    let _services = [SERVICE, OTHER_SERVICE]
        .map(|text| Echo::tcp(&world.host, address(text)))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let document = |vpc: &str| DOCUMENT.replace("VPC", vpc);
    world.write_policy("10.toml", POLICY)?;
    world.write_policy("swf.json", document("vpc-one"))?;
    let daemon = world.attached_daemon()?;
    ensure!(
        reached(&world) == (true, false),
        "the document lets the first VPC in"
    );

    world.write_policy("swf.json", document("vpc-two"))?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_output(DEADLINE, "generation=2");
    ensure!(
        reached(&world) == (false, true),
        "now it lets the second one in"
    );

    // Somebody writes down that this is how it has to be, and then somebody else changes the document.
    let expectation =
        "version = 1\n[[expect]]\nfrom = \"10.30.0.2\"\nvpc = \"vpc-two\"\npacket = \"pass\"\n";
    world.write_policy("20.toml", expectation)?;
    world.write_policy("swf.json", document("vpc-one"))?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_output(DEADLINE, "reload failed");
    daemon.wait_for_output(DEADLINE, "20.toml:5:10");
    ensure!(
        reached(&world) == (false, true),
        "an unmet expectation changes nothing"
    );

    let explain = |interface: &str, from: &str, to: &str| -> Result<Value> {
        let mut explain = world.command();
        explain.args(["--output", "json", "explain", "--from", from]);
        explain.args(["--to", to, "--interface", interface]);
        explain.args(["--principal", "arn:aws:iam::111122223333:user/alice"]);
        explain.args(["--action", "swf:DescribeDomain", "--resource", "payments"]);
        let (code, out, err) = run(&mut explain)?;
        ensure!(code == Some(0), "{err}");
        Ok(serde_json::from_str(&out)?)
    };
    let told = explain("eth2", "10.30.0.2", OTHER_SERVICE)?;
    ensure!(told["dropped"] == true, "the files would drop it: {told}");
    ensure!(told["request"]["allowed"] == false, "{told}");
    ensure!(told["request"]["reason"] == "no-allow", "{told}");
    // The packet gate does not look at what another port gets, but a request to it comes from its VPC all the same.
    let told = explain("eth1", "10.20.0.2", "10.20.0.1:8443")?;
    ensure!(told["reason"] == "other-port", "{told}");
    ensure!(told["request"]["allowed"] == true, "{told}");
    Ok(())
}

/// An account, and nobody who may call.
const SHUT: &str = r#"version = 1
[[host]]
name = "shut"
addresses = ["10.20.0.1"]
account = "111122223333"
allow = ["10.20.0.0/16"]
[[host]]
name = "open"
addresses = ["10.30.0.1"]
allow = ["10.30.0.0/16"]
"#;

#[test]
fn a_host_that_documents_shut_is_warned_of_and_explained_as_that() -> Result<()> {
    let Some(world) = World::new("shut")? else {
        return Ok(());
    };
    let _services = [SERVICE, OTHER_SERVICE]
        .map(|text| Echo::tcp(&world.host, address(text)))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let warning =
        "host `shut` has an account, and no principal may call it: every source is dropped";
    world.write_policy("10.toml", SHUT)?;
    let (code, out, err) = run(world.command().arg("check"))?;
    ensure!(code == Some(0) && out.starts_with("ok: 2 hosts"), "{out}");
    ensure!(err.contains(warning) && err.contains("10.toml:5:"), "{err}");
    ensure!(
        err.matches("warning").count() == 1,
        "the twin is fine: {err}"
    );
    let _daemon = world.attached_daemon()?;
    let (_, _, err) = run(world.command().arg("reload"))?;
    ensure!(err.contains(warning), "{err}");

    let mut events = Child::spawn("events", world.command().arg("events"))?;
    let why = "no policy document allows any request to host `shut` from there";
    wait_until(DEADLINE, "an event", || {
        assert_eq!(reached(&world), (false, true));
        events
            .stdout()
            .contains(&format!(" drop {why}: 10.20.0.2:"))
    });
    events.kill()?;
    let mut explain = world.command();
    explain.args(["explain", "--live", "--from", "10.20.0.2", "--to", SERVICE]);
    let (code, out, err) = run(explain.args(["--interface", "eth1"]))?;
    ensure!(code == Some(0), "{err}");
    ensure!(out.starts_with(&format!("drop: {why}\n")), "{out}");
    ensure!(out.contains("10.toml:5:") && !out.contains("deny"), "{out}");
    let (_, out, _) = run(world.command().arg("rules"))?;
    let rule = out
        .lines()
        .find(|line| line.contains("no document allows a request from there"));
    let rule = rule.context(out.clone())?;
    ensure!(
        rule.contains("shut") && rule.contains("unmatched") && !rule.starts_with(" 0 "),
        "{rule}"
    );

    // An expectation that is not met says as much.
    let expectation =
        "version = 1\n[[expect]]\nhost = \"shut\"\nfrom = \"10.20.0.2\"\npacket = \"pass\"\n";
    world.write_policy("20.toml", expectation)?;
    let (code, _, err) = run(world.command().arg("check"))?;
    ensure!(code == Some(REFUSED) && err.contains(why), "{err}");
    Ok(())
}
