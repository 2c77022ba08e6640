//! What can be seen of the gates: metrics and page say what the kernel counted, to this machine only.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use swf_filter_tests::browser::Browser;
use swf_filter_tests::frames::Frame;
use swf_filter_tests::http::{self, exchange};
use swf_filter_tests::process::{Child, run};
use swf_filter_tests::require;
use swf_filter_tests::stage::{Behind, ONE, Stage};
use swf_filter_tests::wait::{holds_within, wait_until};
use swf_filter_tests::wire::Wire;
use swf_filter_tests::world::{DEADLINE, World};

const DAEMON: &str = "127.0.0.1:9464";
const LISTENER: &str = "127.0.0.1:9465";
const OBSERVE: &str = "[observe]\nlisten = \"127.0.0.1:9464\"\ndashboard = true\n";

/// A host that lets some in, one in audit mode, and one that lets nearly all in.
const POLICY: &str = r#"version = 1
[[host]]
name = "payments"
addresses = ["198.51.100.10"]
allow = ["203.0.113.0/24", "set:offices"]
deny = ["203.0.113.66"]
[[host]]
name = "trial"
addresses = ["198.51.100.20"]
mode = "audit"
allow = ["vpc:vpc-one"]
[[host]]
name = "open"
addresses = ["198.51.100.30"]
default = "pass"
deny = ["203.0.113.66"]
[[vpc]]
id = "vpc-one"
cidrs = ["10.0.0.0/8"]
interfaces = ["eth1"]
[[set]]
name = "offices"
cidrs = ["192.0.2.0/25"]
"#;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// A daemon that is observed.
struct Sight {
    world: World,
    daemon: Child,
    wire: Wire,
}

impl Sight {
    fn new(name: &str, settings: &str) -> Result<Option<Self>> {
        let Some(world) = World::silent(name)? else {
            return Ok(None);
        };
        world.write_policy("10.toml", POLICY)?;
        world.write_config(settings)?;
        Ok(Some(Self {
            daemon: world.attached_daemon()?,
            wire: world.wire_one()?,
            world,
        }))
    }

    /// Sends so many packets from an address to another, all of which pass or do not.
    fn send(&self, from: &str, to: &str, times: usize, pass: bool) -> Result<()> {
        let [near, far] = self.wire.macs();
        let frame = Frame::ip(from.parse()?, to.parse()?).udp(40_000, 443);
        let frame = frame.macs(near.0, far.0).to_bytes();
        for _ in 0..times {
            ensure!(self.wire.passes(&frame)? == pass, "from {from} to {to}");
        }
        Ok(())
    }

    fn get(&self, path: &str) -> Result<http::Answer> {
        http::get(&self.world.host, address(DAEMON), path)
    }

    fn metrics(&self) -> Result<String> {
        Ok(self.get("/metrics")?.body)
    }
}

/// The value of a series.
fn value(metrics: &str, series: &str) -> Result<f64> {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let line = line.with_context(|| format!("no `{series}` in {metrics}"))?;
    Ok(line.parse()?)
}

fn count(value: &Value) -> Result<f64> {
    value
        .as_f64()
        .with_context(|| format!("{value} is no number"))
}

/// Fails unless metrics say what `status` and `rules` do.
#[expect(clippy::float_cmp, reason = "both are whole numbers")]
fn ensure_same(sight: &Sight) -> Result<()> {
    let metrics = sight.metrics()?;
    let status = sight.world.status()?;
    for reason in status["reasons"].as_array().context("no reasons")? {
        let name = reason["reason"].as_str().context("no name")?;
        let outcome = if reason["drops"] == true {
            "drop"
        } else {
            "pass"
        };
        let labels = format!("{{reason=\"{name}\",outcome=\"{outcome}\"}}");
        let packets = value(&metrics, &format!("swf_filter_packets_total{labels}"))?;
        let bytes = value(&metrics, &format!("swf_filter_packet_bytes_total{labels}"))?;
        // `status` is asked by a process of its own, and marks may go on meanwhile; no test sends any then.
        ensure!(
            packets == count(&reason["packets"])?,
            "{name}: {packets}, {reason}"
        );
        ensure!(
            bytes == count(&reason["bytes"])?,
            "{name}: {bytes}, {reason}"
        );
    }
    for rule in sight
        .world
        .ask(&["rules"])?
        .as_array()
        .context("no rules")?
    {
        let list = rule["list"].as_str().context("no list")?.replace('-', "_");
        let text = rule["rule"]
            .as_str()
            .context("no rule")?
            .replace('"', "\\\"");
        let host = rule["host"].as_str().context("no host")?;
        let labels = format!("{{host=\"{host}\",list=\"{list}\",rule=\"{text}\"}}");
        let packets = value(&metrics, &format!("swf_filter_rule_packets_total{labels}"))?;
        ensure!(packets == count(&rule["packets"])?, "{rule}: {packets}");
    }
    let number = value(&metrics, "swf_filter_generation_number")?;
    ensure!(number == count(&status["generation"]["number"])?);
    Ok(())
}

#[test]
fn metrics_are_what_the_kernel_counted_also_after_reloads() -> Result<()> {
    let Some(sight) = Sight::new("metrics", OBSERVE)? else {
        return Ok(());
    };
    sight.send("203.0.113.7", "198.51.100.10", 7, true)?;
    sight.send("203.0.113.66", "198.51.100.10", 5, false)?;
    sight.send("192.0.2.200", "198.51.100.10", 3, false)?;
    sight.send("192.0.2.200", "198.51.100.20", 2, true)?;
    ensure_same(&sight)?;
    let metrics = sight.metrics()?;
    for (series, expected) in [
        (
            "swf_filter_packets_total{reason=\"deny\",outcome=\"drop\"}",
            5.0,
        ),
        (
            "swf_filter_packets_total{reason=\"default-drop\",outcome=\"drop\"}",
            3.0,
        ),
        (
            "swf_filter_packets_total{reason=\"audit-default\",outcome=\"pass\"}",
            2.0,
        ),
        ("swf_filter_reloads_total{result=\"changed\"}", 1.0),
        (
            "swf_filter_interface_attached{interface=\"eth1\",mode=\"driver\"}",
            1.0,
        ),
        ("swf_filter_last_reload_successful", 1.0),
    ] {
        let found = value(&metrics, series)?;
        ensure!((found - expected).abs() < 0.5, "{series}: {found}");
    }

    // A reload that is refused is told, and one that is taken keeps the counts of rules.
    sight.world.write_policy("20.toml", "version = 7")?;
    ensure!(sight.world.reload().is_err());
    let metrics = sight.metrics()?;
    ensure!(value(&metrics, "swf_filter_last_reload_successful")? < 0.5);
    ensure!(value(&metrics, "swf_filter_reloads_total{result=\"failed\"}")? > 0.5);
    let more = "version = 1\n[[host]]\nname = \"more\"\naddresses = [\"198.51.100.40\"]\n";
    sight.world.write_policy("20.toml", more)?;
    sight.world.reload()?;
    sight.send("203.0.113.7", "198.51.100.10", 1, true)?;
    ensure_same(&sight)?;
    let allowed =
        "swf_filter_rule_packets_total{host=\"payments\",list=\"allow\",rule=\"203.0.113.0/24\"}";
    ensure!((value(&sight.metrics()?, allowed)? - 8.0).abs() < 0.5);
    Ok(())
}

#[test]
fn rules_beyond_the_first_are_counted_as_one() -> Result<()> {
    let settings = "[observe]\nlisten = \"127.0.0.1:9464\"\nrules = 1\n";
    let Some(sight) = Sight::new("first", settings)? else {
        return Ok(());
    };
    sight.send("203.0.113.7", "198.51.100.10", 4, true)?;
    sight.send("203.0.113.66", "198.51.100.10", 5, false)?;
    let metrics = sight.metrics()?;
    let rows: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("swf_filter_rule_packets_total{"))
        .collect();
    ensure!(rows.len() == 2, "{rows:?}");
    let counts = rows
        .iter()
        .map(|row| row.rsplit(' ').next().unwrap_or_default().parse::<u32>());
    let sum: u32 = counts.collect::<Result<Vec<_>, _>>()?.iter().sum();
    ensure!(sum == 9, "{rows:?}");
    ensure!(
        rows.iter()
            .any(|row| row.contains("{host=\"other\",list=\"other\",rule=\"other\"}"))
    );
    ensure!(
        sight.get("/")?.status == 404,
        "without `dashboard` there is no page"
    );
    Ok(())
}

#[test]
fn only_those_who_mean_this_machine_and_only_ask_are_answered() -> Result<()> {
    let Some(sight) = Sight::new("rebinding", OBSERVE)? else {
        return Ok(());
    };
    let status = |head: &str| -> Result<u16> {
        let answer = exchange(&sight.world.host, address(DAEMON), head, "")?;
        ensure!(
            answer
                .head
                .contains("cross-origin-resource-policy: same-origin")
        );
        ensure!(!answer.head.contains("access-control"), "{}", answer.head);
        Ok(answer.status)
    };
    for (head, expected) in [
        ("GET /metrics HTTP/1.1\nHost: localhost:9464", 200),
        ("GET /metrics HTTP/1.1\nHost: [::1]", 200),
        ("GET /snapshot.json HTTP/1.1\nHost: 127.0.0.1:9464", 200),
        ("GET /metrics HTTP/1.1\nHost: evil.example:9464", 421),
        ("GET / HTTP/1.1\nHost: 127.0.0.1.evil.example", 421),
        ("GET /metrics HTTP/1.1", 421),
        (
            "GET /metrics HTTP/1.1\nHost: localhost\nHost: localhost",
            421,
        ),
        (
            "GET http://evil.example/metrics HTTP/1.1\nHost: localhost",
            421,
        ),
        ("POST /metrics HTTP/1.1\nHost: localhost", 405),
        ("OPTIONS /metrics HTTP/1.1\nHost: localhost", 405),
        ("DELETE / HTTP/1.1\nHost: localhost", 405),
        (
            "GET /snapshot.json HTTP/1.1\nHost: localhost\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: no-cors",
            403,
        ),
        ("GET /v1/reload HTTP/1.1\nHost: localhost", 404),
        ("GET /../etc/passwd HTTP/1.1\nHost: localhost", 404),
    ] {
        let found = status(head)?;
        ensure!(found == expected, "{head}: {found}");
    }
    let page = sight.get("/")?;
    ensure!(
        page.head
            .contains("content-security-policy: default-src 'none'; script-src 'sha256-")
    );

    // Other machines, and this one by its other addresses, reach nothing.
    for namespace in [&sight.world.host, &sight.world.one] {
        for wrong in ["10.20.0.1:9464", "198.51.100.10:9464"] {
            ensure!(
                http::get(namespace, address(wrong), "/metrics").is_err(),
                "{wrong}"
            );
        }
    }
    ensure!(sight.world.status()?["pid"] == sight.daemon.id());
    Ok(())
}

#[test]
fn unix_sockets_are_for_the_group_and_without_settings_nothing_listens() -> Result<()> {
    let Some(sight) = Sight::new("silent", "")? else {
        return Ok(());
    };
    ensure!(sight.get("/metrics").is_err(), "nobody listens");
    let Sight { world, daemon, .. } = sight;
    drop(daemon);
    let socket = world.file("observe.sock");
    world.write_config(&format!(
        "[observe]\nlisten = \"unix:{}\"\n",
        socket.display()
    ))?;
    let _daemon = world.restarted_daemon()?;
    wait_until(DEADLINE, "the socket", || socket.exists());
    let mode = fs::metadata(&socket)?.permissions().mode() & 0o777;
    ensure!(mode == 0o660, "{mode:o}");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--unix-socket"])
        .arg(&socket);
    let metrics = run(curl.arg("http://localhost/metrics"))?;
    ensure!(value(&metrics, "swf_filter_generation_number")? > 0.5);
    Ok(())
}

#[test]
fn metrics_of_the_listener_are_what_became_of_requests() -> Result<()> {
    let settings = format!("[observe]\nlisten = \"{LISTENER}\"\n");
    let files = (
        &[(
            "10.toml",
            "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"10.20.0.1\"]\nports = [8443]\nallow = [\"10.0.0.0/8\"]\naccount = \"111122223333\"\n",
        )][..],
        "version = 1\n[[account]]\nid = \"111122223333\"\n[[user]]\nname = \"alice\"\npolicies = [\"alice.json\"]\n",
        &[(
            "alice.json",
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "swf:ListDomains", "Resource": "*"}}"#,
        )][..],
    );
    let Some(mut stage) = Stage::before("seen", files, Behind::Moto, &settings)? else {
        return Ok(());
    };
    let alice = stage.create_key("alice")?;
    stage.wait_for_key(&alice)?;
    println!("{}", stage.scenario("known", ONE, &alice)?);
    let metrics = || -> Result<String> {
        Ok(http::get(&stage.world.host, address(LISTENER), "/metrics")?.body)
    };
    // Records are counted when answers have ended.
    let mut last = String::new();
    let same = holds_within(DEADLINE, || {
        let Ok((text, status)) = metrics().and_then(|text| Ok((text, stage.status()?))) else {
            return false;
        };
        let of = |verdict: &str| {
            let rows = text.lines().filter(|line| {
                line.starts_with("swf_filter_listener_requests_total{")
                    && line.contains(&format!("verdict=\"{verdict}\""))
            });
            let numbers = rows.filter_map(|row| row.rsplit(' ').next()?.parse::<u64>().ok());
            numbers.sum::<u64>()
        };
        let requests = status["listener"]["requests"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        last = format!("{text}\n{requests:?}");
        !requests.is_empty()
            && requests
                .iter()
                .all(|one| one[1].as_u64() == one[0].as_str().map(of))
            && requests.iter().any(|one| one[1].as_u64() > Some(0))
    });
    ensure!(same, "{last}");
    let text = metrics()?;
    let done =
        "swf_filter_listener_handshakes_total{listener=\"direct\",outcome=\"done\",reason=\"\"}";
    ensure!(value(&text, done)? > 0.5);
    ensure!(value(&text, "swf_filter_listener_generation_number")? > 0.5);
    ensure!(
        value(
            &text,
            "swf_filter_listener_request_duration_seconds_count{kind=\"call\"}"
        )? > 0.5
    );
    ensure!(
        value(
            &text,
            "swf_filter_listener_upstream_up{upstream=\"moto\",address=\"http://127.0.0.1:5000/\"}"
        )? > 0.5
    );
    ensure!(text.contains("swf_filter_listener_certificate_expiry_timestamp_seconds{listener=\"direct\",name=\"swf.test\""));

    // The daemon's page shows the listener, if it may ask.
    stage.daemon.kill()?;
    let socket = stage.world.file("listener-run/control.sock");
    let observe = format!("{OBSERVE}listener = \"{}\"\n", socket.display());
    stage.world.write_config(&observe)?;
    stage.daemon = stage.world.restarted_daemon()?;
    let snapshot = || -> Result<Value> {
        let answer = http::get(&stage.world.host, address(DAEMON), "/snapshot.json")?;
        Ok(serde_json::from_str(&answer.body)?)
    };
    let shown = snapshot()?;
    ensure!(shown["listener"]["pid"] == stage.listener.id(), "{shown}");
    ensure!(shown["notes"] == serde_json::json!([]), "{shown}");
    stage.listener.kill()?;
    let shown = snapshot()?;
    let notes = shown["notes"].to_string();
    ensure!(
        shown["listener"].is_null() && notes.contains("no listener answers"),
        "{shown}"
    );
    Ok(())
}

#[test]
fn alert_rules_are_right_for_prometheus() -> Result<()> {
    let Some(promtool) = env::var_os("SWF_FILTER_PROMTOOL") else {
        require::skip("needs SWF_FILTER_PROMTOOL: run `cargo xtask test`");
        return Ok(());
    };
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/prometheus/alerts.yaml");
    let said = run(Command::new(&promtool).args(["check", "rules"]).arg(&rules))?;
    ensure!(said.contains("SUCCESS"), "{said}");
    let folder = tempfile::tempdir()?;
    let wrong = folder.path().join("wrong.yaml");
    fs::write(
        &wrong,
        fs::read_to_string(&rules)?.replacen("== 0", "=== 0", 1),
    )?;
    ensure!(run(Command::new(&promtool).args(["check", "rules"]).arg(&wrong)).is_err());
    Ok(())
}

/// Where pictures of the page are left.
fn pictures() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// What the page shows in all of one reason.
fn shown(browser: &Browser<'_>, reason: &str) -> Result<Option<u64>> {
    let script = format!(
        "return document.querySelector('#reasons [data-reason=\"{reason}\"]')?.dataset.total ?? null"
    );
    Ok(browser.run(&script)?.as_str().map(str::parse).transpose()?)
}

#[test]
fn the_page_shows_the_truth_under_load() -> Result<()> {
    let Some(mut sight) = Sight::new("page", OBSERVE)? else {
        return Ok(());
    };
    let Some(browser) = Browser::start(&sight.world.host)? else {
        return Ok(());
    };
    browser.open(&format!("http://{DAEMON}/"))?;
    browser.wait_for(
        "live page",
        "return document.querySelector('#live').dataset.state === 'live'",
    )?;
    // Some seconds of traffic, so that there are rates and a chart.
    for round in 0..6 {
        sight.send("203.0.113.7", "198.51.100.10", 400 + 60 * round, true)?;
        sight.send("203.0.113.66", "198.51.100.10", 150 * (round % 3), false)?;
        sight.send("192.0.2.200", "198.51.100.10", 90, false)?;
        sight.send("192.0.2.200", "198.51.100.20", 120, true)?;
        sight.send("192.0.2.9", "198.51.100.30", 30, true)?;
        let shots = "document.body.dataset.shots";
        let seen = browser.run(&format!("return Number({shots})"))?;
        browser.wait_for(
            "another second",
            &format!("return Number({shots}) > {seen}"),
        )?;
    }
    let rate = browser.run("return document.querySelector('#rate-all').textContent")?;
    ensure!(rate != "0" && rate != "–", "{rate}");
    browser.wait_for(
        "sources",
        "return document.querySelectorAll('#sources tbody tr').length >= 2",
    )?;
    browser.run("document.querySelector('#map button[data-host=payments]').click()")?;
    for (scheme, width, height) in [
        ("light", 1360, 1900),
        ("dark", 1360, 1900),
        ("light", 420, 2600),
    ] {
        browser.prefer(scheme)?;
        browser.resize(width, height)?;
        browser.screenshot(&pictures()?.join(format!("dashboard-{scheme}-{width}.png")))?;
        let wider = browser.run("return document.documentElement.scrollWidth > innerWidth")?;
        ensure!(wider == false, "the page is wider than {width} pixels");
    }

    // Nothing moves any more: page, kernel and rules have to say the same.
    let status = sight.world.status()?;
    for reason in status["reasons"].as_array().context("no reasons")? {
        let (name, packets) = (
            reason["reason"].as_str().context("no name")?,
            reason["packets"].as_u64(),
        );
        if packets > Some(0) {
            let same = || shown(&browser, name).is_ok_and(|shown| shown == packets);
            ensure!(
                holds_within(DEADLINE, same),
                "{name}: {:?}, {packets:?}",
                shown(&browser, name)?
            );
        }
    }
    for (rule, list) in [("203.0.113.0/24", "allow"), ("203.0.113.66", "deny")] {
        let rules = sight.world.ask(&["rules"])?;
        let is =
            |one: &&Value| one["host"] == "payments" && one["rule"] == rule && one["list"] == list;
        let counted = rules
            .as_array()
            .and_then(|rules| rules.iter().find(is))
            .context("no rule")?;
        let script = format!(
            "return Number(document.querySelector('#rules [data-host=payments][data-list={list}][data-rule=\"{rule}\"]')?.dataset.total)"
        );
        ensure!(browser.run(&script)? == counted["packets"], "{counted}");
    }
    let hosts = browser.run("return [...document.querySelectorAll('#hosts tbody tr')].map((row) => [row.dataset.host, row.dataset.packets, row.dataset.dropped])")?;
    ensure!(
        hosts[0] == serde_json::json!(["payments", "4740", "1440"]),
        "{hosts}"
    );
    let reach = browser.run("return Object.fromEntries([...document.querySelectorAll('#map button')].map((cell) => [`${cell.dataset.zone} ${cell.dataset.host}`, cell.dataset.reach]))")?;
    let expected = serde_json::json!({
        "public payments": "some", "vpc-one payments": "some", "public trial": "none", "vpc-one trial": "some",
        "public open": "all-but", "vpc-one open": "all-but",
    });
    ensure!(reach == expected, "{reach}");
    let console = browser.console()?;
    ensure!(console.is_empty(), "{console:?}");

    // Without a daemon it says so; and what a broken file says is text, and no markup.
    sight.daemon.kill()?;
    browser.wait_for(
        "word of it",
        "return document.querySelector('#live').dataset.state === 'stale'",
    )?;
    browser.screenshot(&pictures()?.join("dashboard-stale.png"))?;
    sight.world.write_policy(
        "<img src=x onerror='document.title = 1'>.toml",
        "version = 1\nunknown = 1\n",
    )?;
    let _daemon = sight.world.restarted_daemon()?;
    let warned = "return document.querySelector('#warnings li')?.textContent.includes('<img src=x') ?? false";
    browser.wait_for("warning", warned)?;
    let made = browser.run("return [document.querySelectorAll('img').length, document.title]")?;
    ensure!(made == serde_json::json!([0, "swf-filter"]), "{made}");
    browser.screenshot(&pictures()?.join("dashboard-warning.png"))
}

#[test]
fn logs_are_lines_of_json_with_fields() -> Result<()> {
    let Some(world) = World::silent("json")? else {
        return Ok(());
    };
    world.write_policy("10.toml", POLICY)?;
    let mut command = world.command();
    command.env("SWF_FILTER_LOG_FORMAT", "json").arg("daemon");
    let daemon = Child::spawn("swf-filter", &mut command)?;
    daemon.wait_for_output(DEADLINE, "\"interface\":\"eth2\"");
    world.reload()?;
    daemon.wait_for_output(DEADLINE, "\"uid\":0");
    let log = daemon.stderr();
    let lines: Vec<Value> = log
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let has = |field: &str, value: Value, words: &str| {
        lines.iter().any(|line| {
            line[field] == value
                && line["message"]
                    .as_str()
                    .is_some_and(|text| text.contains(words))
        })
    };
    ensure!(has("generation", 1.into(), "in force"), "{log}");
    ensure!(has("interface", "eth1".into(), "attached"), "{log}");
    ensure!(has("uid", 0.into(), "reload"), "{log}");
    Ok(())
}

#[test]
fn logs_go_to_the_journal_where_systemd_starts_the_daemon() -> Result<()> {
    let Some(world) = World::silent("journal")? else {
        return Ok(());
    };
    world.write_policy("10.toml", POLICY)?;
    let folder = world.file("journal");
    fs::create_dir(&folder)?;
    let journal = UnixDatagram::bind(folder.join("socket"))?;
    journal.set_read_timeout(Some(DEADLINE))?;
    // As systemd does it, with a journal of the test's own in a mount namespace.
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind \"$0\" /run/systemd/journal && \
                  JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$@\"";
    let mut starter = world.host.command("unshare");
    starter.args(["--mount", "sh", "-c", script]).arg(&folder);
    starter.arg(env::var_os("SWF_FILTER_BIN").context("the world has it")?);
    starter
        .arg("--config")
        .arg(world.file("config.toml"))
        .arg("daemon");
    let daemon = Child::spawn("swf-filter", &mut starter)?;
    let mut heard = String::new();
    let mut buffer = vec![0; 1 << 16];
    while !(heard.contains("SWF_INTERFACE") && heard.contains("SWF_GENERATION")) {
        let length = journal.recv(&mut buffer);
        let length = length.with_context(|| format!("{heard}\n{}", daemon.stderr()))?;
        heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    // Values are in the form that has their length before them.
    for part in ["PRIORITY\n", "SYSLOG_IDENTIFIER\n", "swf-filter\n", "eth"] {
        ensure!(heard.contains(part), "{part}: {heard}");
    }
    ensure!(
        !heard.contains('\u{1b}'),
        "colours are for terminals: {heard}"
    );
    ensure!(daemon.stderr().is_empty(), "{}", daemon.stderr());
    Ok(())
}
