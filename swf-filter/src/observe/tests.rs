//! Names of metrics are what others build on: the reference, dashboard and alert rules have no other than there are.

mod contrib;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use swf_filter_common::abi::Count;
use swf_filter_common::reason::Reason;
use swf_filter_core::compile::List;
use swf_filter_core::policy::Origin;

use super::gate::FirstRules;
use super::server::{is_for_here, is_of_other_site};
use super::{gate, requests};
use crate::control::api::{
    AttachMode, EventInfo, GenerationInfo, InterfaceInfo, Milliseconds, PolicyInfo, PutBack,
    ReasonCount, ReloadInfo, ReloadOutcome, RuleCount, Status,
};
use crate::control::server::open;
use crate::listener::audit::Verdict;
use crate::listener::status::{
    ActionCount, CertificateInfo, FilesInfo, ListenerInfo, ListenerStatus, UpstreamInfo,
};

fn rule(list: List, rule: &str, packets: u64) -> RuleCount {
    RuleCount {
        number: 0,
        host: "swf".into(),
        list,
        rule: rule.into(),
        origin: Origin {
            file: "10.toml".into(),
            line: 1,
            column: 1,
        },
        packets,
        bytes: 10 * packets,
    }
}

/// A daemon of which there is something to say in each respect.
fn daemon() -> gate::Seen {
    let status = Status {
        version: "1.2.3".into(),
        pid: 1,
        uptime_seconds: 60,
        generation: GenerationInfo {
            number: 7,
            hash: "abc".into(),
            since: "2026-01-02T03:04:05.678Z".into(),
            hosts: 1,
            zones: 2,
            rules: 3,
            prefixes: 4,
            engine: "compiled".into(),
            table_bytes: 1 << 20,
        },
        policy: Some("def".into()),
        interfaces: [Some(AttachMode::Driver), None]
            .into_iter()
            .zip(["eth1", "eth2"])
            .map(|(mode, name)| InterfaceInfo {
                name: name.into(),
                index: Some(1),
                mode,
                note: None,
            })
            .collect(),
        reasons: Reason::ALL
            .into_iter()
            .map(|reason| ReasonCount {
                reason: reason.name().into(),
                drops: reason.drops(),
                packets: u64::from(reason.number()),
                bytes: 2,
            })
            .collect(),
        events: EventInfo {
            received: 5,
            lost: 6,
        },
        reloads: ReloadInfo {
            changed: 1,
            failed: 2,
            unchanged: 3,
            last: Some(ReloadOutcome::Failed),
            at: Some("2026-01-02T03:04:06Z".into()),
            milliseconds: Some(Milliseconds {
                fill: 1_500,
                ..Milliseconds::default()
            }),
        },
        put_back: PutBack {
            filters: 1,
            pins: 2,
            programs: 3,
            filters_missing: 4,
            pins_missing: 5,
        },
        warnings: vec!["a".into()],
        trial: None,
        held: None,
    };
    let rules = FirstRules {
        first: vec![
            rule(List::Allow, "set:of\"fices\\\n", 1),
            rule(List::Deny, "192.0.2.1", 2),
            rule(List::Deny, "192.0.2.1", 3),
        ],
        rest: Some(Count {
            packets: 8,
            bytes: 9,
        }),
    };
    gate::Seen { status, rules }
}

/// A listener of which there is something to say in each respect.
fn listener() -> requests::Seen {
    let count = |name: &str| vec![(name.to_owned(), 3)];
    let status = ListenerStatus {
        version: "1.2.3".into(),
        pid: 1,
        uptime_seconds: 60,
        policy: Some(PolicyInfo {
            generation: 7,
            hash: "abc".into(),
            policy: "def".into(),
        }),
        listeners: vec![ListenerInfo {
            name: "one".into(),
            host: "swf".into(),
            sockets: Vec::new(),
            open: 1,
            accepted: 2,
            turned_away: count("no-policy"),
            handshakes: 4,
            handshakes_refused: count("too-old"),
            certificates: vec![CertificateInfo {
                names: vec!["swf.test".into()],
                expires: "2027-01-02T03:04:05Z".into(),
                sha256: "aa".into(),
            }],
        }],
        upstreams: vec![UpstreamInfo {
            name: "swf".into(),
            address: "http://127.0.0.1".into(),
            healthy: false,
            last_error: None,
            requests: 5,
            failures: 6,
        }],
        requests: Vec::new(),
        actions: vec![ActionCount {
            action: "swf:ListDomains".into(),
            verdict: Verdict::Denied,
            requests: 7,
        }],
        files: vec![FilesInfo {
            what: "access-keys".into(),
            listener: None,
            stale_since: Some("2027-01-02T03:04:05Z".into()),
            error: Some("not now".into()),
        }],
        audit_lost: 8,
        warnings: Vec::new(),
    };
    let times = requests::Times::default();
    times.calls.observe(0.003);
    requests::Seen { status, times }
}

fn text() -> String {
    let listener = requests::metrics(listener()).unwrap();
    gate::metrics(daemon()).unwrap() + &listener
}

/// Each sample's name with its labels, as Prometheus has them, from `OpenMetrics` text.
fn samples(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let labels: &mut BTreeSet<String> = samples.entry(name.to_owned()).or_default();
        // No value of these samples has `="` in it.
        let keys = line.match_indices("=\"").map(|(end, _)| &line[..end]);
        labels.extend(keys.map(|before| {
            let start = before.rfind(['{', ',']).unwrap() + 1;
            before[start..].to_owned()
        }));
    }
    samples
}

fn file(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names, types and labels in the tables of the reference.
fn reference() -> BTreeSet<(String, String, BTreeSet<String>)> {
    let rows = file("docs/observe.md");
    let rows = rows
        .lines()
        .filter_map(|line| line.strip_prefix("| `swf_filter_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [name, kind, labels, _, ""] = cells.as_slice() else {
            panic!("{row}");
        };
        let labels = labels.split(", ").map(|label| label.trim_matches('`'));
        (
            format!("swf_filter_{}", name.trim_end_matches('`')),
            (*kind).to_owned(),
            labels
                .filter(|label| !label.is_empty())
                .map(String::from)
                .collect(),
        )
    })
    .collect()
}

/// The same of what is served. A histogram's samples are one metric.
fn served() -> BTreeSet<(String, String, BTreeSet<String>)> {
    let text = text();
    let samples = samples(&text);
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    families
        .map(|family| {
            let (name, kind) = family.split_once(' ').unwrap();
            let (name, sample) = match kind {
                "counter" => (format!("{name}_total"), format!("{name}_total")),
                "info" => (format!("{name}_info"), format!("{name}_info")),
                "histogram" => (name.to_owned(), format!("{name}_count")),
                _ => (name.to_owned(), name.to_owned()),
            };
            let labels = samples.get(&sample).unwrap_or_else(|| panic!("{sample}"));
            (name, kind.to_owned(), labels.clone())
        })
        .collect()
}

#[test]
fn the_reference_has_all_metrics_with_their_types_and_labels_and_no_others() {
    assert_eq!(reference(), served());
}

#[test]
fn numbers_are_those_of_the_status() {
    let text = text();
    for line in [
        r#"swf_filter_packets_total{reason="deny",outcome="drop"} 16"#,
        r#"swf_filter_packets_total{reason="allow",outcome="pass"} 7"#,
        r#"swf_filter_rule_packets_total{host="swf",list="deny",rule="192.0.2.1"} 5"#,
        r#"swf_filter_rule_bytes_total{host="other",list="other",rule="other"} 9"#,
        r#"swf_filter_reloads_total{result="failed"} 2"#,
        r#"swf_filter_put_back_total{what="pin"} 2"#,
        r#"swf_filter_missing{what="filter"} 4.0"#,
        "swf_filter_last_reload_successful 0.0",
        r#"swf_filter_last_reload_duration_seconds{phase="fill"} 1.5"#,
        "swf_filter_generation_since_timestamp_seconds 1767323045.678",
        "swf_filter_table_bytes_limit 536870912.0",
        r#"swf_filter_interface_attached{interface="eth1",mode="driver"} 1.0"#,
        r#"swf_filter_interface_attached{interface="eth2",mode="none"} 0.0"#,
        "swf_filter_events_lost_total 6",
        r#"swf_filter_listener_handshakes_total{listener="one",outcome="done",reason=""} 4"#,
        r#"swf_filter_listener_requests_total{action="swf:ListDomains",verdict="denied"} 7"#,
        r#"swf_filter_listener_request_duration_seconds_bucket{le="0.005",kind="call"} 1"#,
        r#"swf_filter_listener_upstream_up{upstream="swf",address="http://127.0.0.1"} 0.0"#,
        r#"swf_filter_listener_files_stale{what="access-keys",listener=""} 1.0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn no_series_is_there_twice_and_what_a_rule_says_breaks_no_line() {
    let text = gate::metrics(daemon()).unwrap();
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(series), "{series}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    assert!(text.contains(r#"rule="set:of\"fices\\\n""#), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_daemon_that_has_just_begun_has_metrics_too() {
    let mut seen = daemon();
    seen.status.generation = GenerationInfo::default();
    seen.status.policy = None;
    seen.status.reloads = ReloadInfo::default();
    seen.rules = FirstRules::default();
    let text = gate::metrics(seen).unwrap();
    assert!(
        text.contains("swf_filter_generation_number 0.0\n"),
        "{text}"
    );
    assert!(
        !text.contains("\nswf_filter_last_reload_successful"),
        "{text}"
    );
}

#[tokio::test]
async fn what_stands_where_a_socket_is_wanted_stays_unless_it_is_one_that_nobody_serves() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (file, link, datagrams) = (path("file"), path("link"), path("datagrams"));
    fs::write(&file, "text").unwrap();
    symlink(path("nothing"), &link).unwrap();
    // A socket of another kind: whether somebody serves it cannot be asked.
    let _served = UnixDatagram::bind(&datagrams).unwrap();
    for (there, words) in [
        (&file, "something else than a socket is at"),
        (&link, "something else than a socket is at"),
        (&datagrams, "cannot tell whether somebody answers on"),
    ] {
        let error = open(there).unwrap_err().to_string();
        assert!(error.starts_with(words), "{error}");
        assert!(fs::symlink_metadata(there).is_ok(), "{}", there.display());
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");

    let socket = path("socket");
    let served = open(&socket).unwrap();
    let error = open(&socket).unwrap_err().to_string();
    assert!(error.starts_with("somebody answers on"), "{error}");
    drop(served);
    assert!(socket.exists());
    open(&socket).unwrap();
}

fn headers(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
    let fields = fields.iter();
    let fields = fields.map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
    fields.collect()
}

#[test]
fn only_names_of_this_machine_are_taken() {
    for host in [
        "localhost",
        "LocalHost:9464",
        "127.0.0.1",
        "127.0.0.1:9464",
        "127.9.9.9:1",
        "[::1]",
        "[::1]:9464",
    ] {
        assert!(is_for_here(&headers(&[(HOST, host)])), "{host}");
    }
    for host in [
        "",
        "evil.example",
        "evil.example:9464",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "evil.example@localhost",
        "128.0.0.1",
        "0.0.0.0:9464",
        "[::]:9464",
        "192.0.2.1",
        "[::2]",
        "localhost evil.example",
        "localhost,evil.example",
        "localhost/",
    ] {
        assert!(!is_for_here(&headers(&[(HOST, host)])), "{host}");
    }
    assert!(!is_for_here(&HeaderMap::new()));
    let mut twice = headers(&[(HOST, "localhost")]);
    twice.append(HOST, HeaderValue::from_static("localhost"));
    assert!(!is_for_here(&twice));
}

#[test]
fn pages_of_other_sites_may_link_here_and_no_more() {
    let name = HeaderName::from_static;
    let from = |site, mode, destination| {
        is_of_other_site(&headers(&[
            (name("sec-fetch-site"), site),
            (name("sec-fetch-mode"), mode),
            (name("sec-fetch-dest"), destination),
        ]))
    };
    assert!(!is_of_other_site(&HeaderMap::new()));
    assert!(!from("same-origin", "cors", "empty"));
    assert!(!from("none", "navigate", "document"));
    assert!(!from("cross-site", "navigate", "document"));
    assert!(from("cross-site", "navigate", "iframe"));
    assert!(from("cross-site", "no-cors", "script"));
    assert!(from("same-site", "cors", "empty"));
}
