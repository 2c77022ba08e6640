use std::fs;

use swf_filter_core::policy::Effect;
use swf_filter_core::policy::Entry as Listed;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::*;
use crate::listener::ways::Ways;
use crate::sources::{Source as File, Sources};
use crate::state;

const PROXY: &str = "198.51.100.200:4000";
const HOST: &str = r#"
    version = 1
    [[host]]
    name = "swf"
    addresses = ["198.51.100.10"]
    deny = ["203.0.113.66"]
    resource_policies = ["swf.json"]
    trusted_proxies = ["198.51.100.200"]
    [[account]]
    id = "111122223333"
    [[user]]
    name = "alice"
    [[vpc]]
    id = "vpc-1"
    cidrs = ["10.0.0.0/16"]
    interfaces = ["eth1"]
    endpoints = ["vpce-a1", "vpce-a2"]
"#;
const DOCUMENT: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "swf:*",
    "Principal": {"AWS": "arn:aws:iam::111122223333:user/alice"},
    "Resource": "arn:aws:swf:us-east-1:111122223333:/domain/orders"}}"#;

fn report(generation: u64, host: &str) -> PolicyReport {
    report_of(generation, host, DOCUMENT)
}

fn report_of(generation: u64, host: &str, document: &str) -> PolicyReport {
    let file = |name: &str, text: &str| File {
        name: name.into(),
        text: text.as_bytes().into(),
    };
    let sources = Sources {
        always_allow: Vec::<Listed>::new(),
        policy: vec![file("a.toml", host)],
        named: vec![file("swf.json", document)],
    };
    let info = PolicyInfo {
        generation,
        hash: "another".to_owned(),
        policy: sources.hash(),
    };
    let sources = sources.into();
    PolicyReport { info, sources }
}

/// A policy in which alice may do everything with the domain `orders`.
pub(in crate::listener) fn enforced(generation: u64) -> Enforced {
    Enforced::new(&report(generation, HOST)).unwrap()
}

/// The same, with more blocks and another document.
pub(in crate::listener) fn enforced_with(generation: u64, more: &str, document: &str) -> Enforced {
    Enforced::new(&report_of(generation, &format!("{HOST}{more}"), document)).unwrap()
}

fn passes(policy: &Enforced, arrival: &Arrival) -> bool {
    let admission = policy.admit(0, arrival);
    admission.is_some_and(|admission| admission.verdict == Effect::Pass)
}

fn proxied(source: &str, endpoint: Option<&str>) -> Arrival {
    let endpoint = endpoint.map(Into::into);
    Arrival::proxied(PROXY.parse().unwrap(), source.parse().unwrap(), endpoint)
}

fn direct(peer: &str, interfaces: &[&str]) -> Arrival {
    let one = admission::Way {
        interfaces: interfaces.iter().map(|name| Arc::from(*name)).collect(),
        vlan: None,
    };
    direct_by(
        peer,
        if interfaces.is_empty() {
            vec![]
        } else {
            vec![one]
        },
    )
}

fn direct_by(peer: &str, ways: Vec<Way>) -> Arrival {
    Arrival::direct(peer.parse().unwrap(), Ways::new(ways).into())
}

#[test]
fn lists_hold_for_clients_of_proxies_too() {
    let policy = enforced(1);
    for endpoint in [None, Some("vpce-a2")] {
        assert!(passes(&policy, &proxied("203.0.113.67", endpoint)));
        assert!(!passes(&policy, &proxied("203.0.113.66", endpoint)));
    }
    assert!(!passes(&policy, &proxied("203.0.113.67", Some("vpce-b1"))));
}

#[test]
fn a_proxy_that_is_not_trusted_any_more_speaks_for_nobody() {
    let client = proxied("203.0.113.67", None);
    assert!(passes(&enforced(1), &client));
    let other = HOST.replace("[\"198.51.100.200\"]", "[\"198.51.100.201\"]");
    let policy = Enforced::new(&report(2, &other)).unwrap();
    assert!(!passes(&policy, &client));
    assert!(passes(&policy, &direct("203.0.113.67:4000", &[])));
}

#[test]
fn a_vpc_is_told_by_its_interface_or_its_endpoint_and_never_guessed() {
    let policy = enforced(1);
    let address = Some("10.0.0.1".parse().unwrap());
    let vpc = |endpoint, address| {
        let id = "vpc-1";
        Some(Network::Vpc {
            id,
            endpoint,
            address,
        })
    };
    assert_eq!(
        policy.network(&direct("10.0.0.1:1", &["eth1"])),
        vpc(None, address)
    );
    assert_eq!(policy.network(&direct("10.0.0.1:1", &[])), None);
    assert_eq!(
        policy.network(&direct("10.0.0.1:1", &["eth0"])),
        address.map(Network::Public)
    );
    let (one, two) = (Some("vpce-a1"), Some("vpce-a2"));
    assert_eq!(policy.network(&proxied("10.0.0.1", one)), vpc(one, address));
    assert_eq!(policy.network(&proxied("192.0.2.1", two)), vpc(two, None));
    assert_eq!(policy.network(&proxied("10.0.0.1", Some("vpce-b"))), None);
}

#[test]
fn a_vpc_is_not_guessed_where_a_connection_may_have_come_in_by_several() {
    let policy = enforced(1);
    let way = |interfaces: &[&str]| Way {
        interfaces: interfaces.iter().map(|name| Arc::from(*name)).collect(),
        vlan: None,
    };
    let network = |address: &str, ways| {
        let arrival = direct_by(&format!("{address}:1"), ways);
        let network = policy.network(&arrival)?;
        Some(matches!(network, Network::Vpc { .. }))
    };
    let (one, other) = (way(&["eth1", "bond0"]), way(&["eth2", "bond0"]));
    let several = vec![one.clone(), other];
    assert_eq!(network("10.0.0.1", several.clone()), None);
    assert_eq!(network("10.0.0.1", vec![one.clone()]), Some(true));
    assert_eq!(network("10.0.0.1", vec![one.clone(), one]), Some(true));
    // Nobody claims it.
    assert_eq!(network("203.0.113.67", several), Some(false));
}

/// A daemon that tells of one policy, and ends when it is dropped.
struct Daemon {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn daemon(socket: &Path, reports: Vec<PolicyReport>) -> Daemon {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).unwrap();
    let task = tokio::spawn(async move {
        let mut followers: Vec<UnixStream> = Vec::new();
        let mut reports = reports.into_iter();
        let mut now = reports.next().unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            let line = format!("{}\n", serde_json::to_string(&now.info).unwrap());
            if head[..length].starts_with(b"GET /v1/generations") {
                let chunk = format!("{:x}\r\n{line}\r\n", line.len());
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                let text = format!("{head}{chunk}");
                stream.write_all(text.as_bytes()).await.unwrap();
                followers.push(stream);
                continue;
            }
            let body = serde_json::to_string(&now).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
            if let Some(next) = reports.next() {
                now = next;
                let line = format!("{}\n", serde_json::to_string(&now.info).unwrap());
                let chunk = format!("{:x}\r\n{line}\r\n", line.len());
                for follower in &mut followers {
                    let _ = follower.write_all(chunk.as_bytes()).await;
                }
            }
        }
    });
    Daemon { task }
}

async fn reaches(current: &mut Current, generation: u64) -> Arc<Enforced> {
    let is_it = |now: &Option<Arc<Enforced>>| {
        now.as_ref()
            .is_some_and(|now| now.info.generation == generation)
    };
    let found = timeout(Duration::from_secs(20), current.wait_for(is_it)).await;
    let found = found.expect("the policy comes in time").unwrap();
    found.clone().unwrap()
}

#[tokio::test]
async fn the_last_policy_is_in_force_without_a_daemon_and_the_next_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control");
    let start = || follow(socket.as_path().into(), places(&folder));

    let (mut current, _) = start().await;
    assert!(current.borrow().is_none());
    let first = daemon(&socket, vec![report(1, HOST)]);
    let enforced = reaches(&mut current, 1).await;
    // What it compiles to is not what the daemon says.
    assert_eq!(enforced.agreement, Agreement::Differ);
    eventually("it is kept", || loaded(&folder) == Ok(Some(1))).await;
    drop(first);

    let (mut current, mut doubts) = start().await;
    assert_eq!(current.borrow().as_ref().unwrap().info.generation, 1);
    let words = said(&doubts);
    assert!(words.contains("generation 1 of "), "{words}");
    assert!(words.contains("until the daemon tells"), "{words}");
    // The second one cannot be read: the first stays, and the third comes.
    let broken = report(2, "version = 1\n[[host]]\n");
    let _daemon = daemon(&socket, vec![broken, report(3, HOST)]);
    reaches(&mut current, 3).await;
    settles(&mut doubts).await;
}

fn places(folder: &TempDir) -> Places {
    Places::at(&folder.path().join("state"), &folder.path().join("run"))
}

fn said(doubts: &watch::Receiver<Doubts>) -> String {
    let doubts = doubts.borrow();
    let words: Vec<&str> = doubts.words().map(String::as_str).collect();
    words.join("\n")
}

/// Waits until there is nothing more to be said.
async fn settles(doubts: &mut watch::Receiver<Doubts>) {
    let nothing = |doubts: &Doubts| doubts.words().next().is_none();
    let settled = timeout(Duration::from_secs(20), doubts.wait_for(nothing)).await;
    settled.expect("it settles in time").unwrap();
}

/// What a listener that starts now makes of what is on disk: a generation, nothing, or why it is of no use.
fn loaded(folder: &TempDir) -> Result<Option<u64>, String> {
    match places(folder).load() {
        Ok(kept) => Ok(kept.map(|kept| kept.report.info.generation)),
        Err(error) => Err(format!("{error:#}")),
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let all = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), all).await.expect(what);
}

/// Another policy than that of `report`.
fn other(generation: u64) -> PolicyReport {
    report(generation, &HOST.replace("203.0.113.66", "203.0.113.67"))
}

/// A folder with a first policy in force, and who keeps the next.
async fn keeping_one() -> (TempDir, Keeper) {
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::start(places(&folder));
    keep(&keeper, report(1, HOST)).await;
    eventually("it is kept", || loaded(&folder) == Ok(Some(1))).await;
    assert_eq!(said(&keeper.doubts()), "");
    (folder, keeper)
}

async fn keep(keeper: &Keeper, report: PolicyReport) {
    let kept = Arc::new(Kept::now(report));
    keeper.mark(&kept).await;
    keeper.keep(kept).await;
}

#[tokio::test]
async fn a_policy_that_cannot_be_written_leaves_no_older_one_and_is_written_later() {
    let (folder, keeper) = keeping_one().await;
    // What cannot be opened for writing, not even by root.
    let in_the_way = folder.path().join("state/.policy.swf-filter");
    fs::create_dir(&in_the_way).unwrap();
    keep(&keeper, other(2)).await;
    let mut doubts = keeper.doubts();
    let told = || said(&doubts).contains("no older one is left");
    eventually("it is told", told).await;
    assert!(!folder.path().join("state/policy").exists());
    let error = loaded(&folder).unwrap_err();
    assert!(
        error.contains("generation 2 of ") && error.contains("is not on disk"),
        "{error}"
    );
    // Nor is there one after a boot.
    fs::remove_file(folder.path().join("run/enforced")).unwrap();
    assert_eq!(loaded(&folder), Ok(None));

    fs::remove_dir(&in_the_way).unwrap();
    settles(&mut doubts).await;
    assert_eq!(loaded(&folder), Ok(Some(2)));
}

#[tokio::test]
async fn a_policy_that_comes_meanwhile_is_written_in_place_of_the_one_that_could_not_be() {
    let (folder, keeper) = keeping_one().await;
    let in_the_way = folder.path().join("state/.policy.swf-filter");
    fs::create_dir(&in_the_way).unwrap();
    keep(&keeper, other(2)).await;
    fs::remove_dir(&in_the_way).unwrap();
    keep(&keeper, report(3, HOST)).await;
    eventually("it is kept", || loaded(&folder) == Ok(Some(3))).await;
    settles(&mut keeper.doubts()).await;
}

#[tokio::test]
async fn a_policy_that_is_there_already_stays_there() {
    let (folder, keeper) = keeping_one().await;
    fs::create_dir(folder.path().join("state/.policy.swf-filter")).unwrap();
    // The same text, in another generation.
    keep(&keeper, report(2, HOST)).await;
    assert_eq!(said(&keeper.doubts()), "");
    assert_eq!(loaded(&folder), Ok(Some(1)));
}

#[tokio::test]
async fn an_older_policy_than_was_in_force_is_of_no_use() {
    let (folder, keeper) = keeping_one().await;
    let older = fs::read(folder.path().join("state/policy")).unwrap();
    keep(&keeper, other(2)).await;
    eventually("it is kept", || loaded(&folder) == Ok(Some(2))).await;
    // As a backup brings it back, or a kill leaves it.
    fs::write(folder.path().join("state/policy"), &older).unwrap();
    let error = loaded(&folder).unwrap_err();
    for words in ["holds generation 1 of ", "generation 2 of ", "run/enforced"] {
        assert!(error.contains(words), "{error}");
    }
    let mark = folder.path().join("run/enforced");
    fs::write(&mark, "{}").unwrap();
    assert!(loaded(&folder).is_err());
    fs::remove_file(mark).unwrap();
    assert_eq!(loaded(&folder), Ok(Some(1)));
}

#[tokio::test]
async fn a_mark_that_cannot_be_written_is_not_left_to_name_an_older_policy() {
    let (folder, keeper) = keeping_one().await;
    let in_the_way = folder.path().join("run/.enforced.swf-filter");
    fs::create_dir(&in_the_way).unwrap();
    keep(&keeper, other(2)).await;
    let mut doubts = keeper.doubts();
    let words = said(&doubts);
    assert!(
        words.contains("it is not written down which policy"),
        "{words}"
    );
    eventually("it is kept", || loaded(&folder) == Ok(Some(2))).await;
    assert!(!folder.path().join("run/enforced").exists());
    fs::remove_dir(&in_the_way).unwrap();
    settles(&mut doubts).await;
    let mark = fs::read_to_string(folder.path().join("run/enforced")).unwrap();
    assert!(mark.contains("\"generation\":2"), "{mark}");
}

#[test]
fn a_policy_of_a_version_that_wrote_no_time_is_read() {
    let folder = tempfile::tempdir().unwrap();
    state::write(&folder.path().join("state/policy"), &report(1, HOST)).unwrap();
    assert_eq!(loaded(&folder), Ok(Some(1)));
}

#[test]
fn a_stored_policy_that_is_another_is_of_no_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/policy");
    let mut wrong = report(1, HOST);
    wrong.info.policy = "other".to_owned();
    state::write(&path, &Kept::now(wrong)).unwrap();
    let error = loaded(&folder).unwrap_err();
    assert!(error.contains("its text is another"), "{error}");
    state::write(&path, &Kept::now(report(1, HOST))).unwrap();
    assert_eq!(loaded(&folder), Ok(Some(1)));
}
