use swf_filter_core::policy::Effect;
use swf_filter_core::policy::Entry as Listed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::*;
use crate::sources::{Source as File, Sources};

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
    let interfaces = interfaces.iter().map(|name| Arc::from(*name)).collect();
    let vlan = None;
    let way = admission::Way { interfaces, vlan };
    Arrival::direct(peer.parse().unwrap(), way.into())
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
    let (socket, state) = (folder.path().join("control"), folder.path().join("state"));
    std::fs::create_dir(&state).unwrap();
    let start = || follow(socket.as_path().into(), state.as_path().into());

    let mut current = start().await;
    assert!(current.borrow().is_none());
    let first = daemon(&socket, vec![report(1, HOST)]);
    let enforced = reaches(&mut current, 1).await;
    // What it compiles to is not what the daemon says.
    assert_eq!(enforced.agreement, Agreement::Differ);
    drop(first);

    let mut current = start().await;
    assert_eq!(current.borrow().as_ref().unwrap().info.generation, 1);
    // The second one cannot be read: the first stays, and the third comes.
    let broken = report(2, "version = 1\n[[host]]\n");
    let _daemon = daemon(&socket, vec![broken, report(3, HOST)]);
    reaches(&mut current, 3).await;
}

#[tokio::test]
async fn a_stored_policy_that_is_another_is_of_no_use() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = report(1, HOST);
    wrong.info.policy = "other".to_owned();
    state::write(&folder.path().join(LAST), &wrong).unwrap();
    assert!(load(folder.path()).await.is_err());
    state::write(&folder.path().join(LAST), &report(1, HOST)).unwrap();
    assert!(load(folder.path()).await.unwrap().is_some());
}
