use std::env;
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};

use super::super::settings::{ClientCertificates, Http, Proxy, QuerySignatures};
use super::*;

fn listener(sockets: &[Socket]) -> Listener {
    Listener {
        name: "front".into(),
        sockets: sockets.to_vec(),
        host: "swf".into(),
        proxy: Proxy::Off,
        certificates: Vec::new(),
        clients: ClientCertificates::Off,
        http: Http::One,
        query_signatures: QuerySignatures::Ignore,
        upstream: 0,
    }
}

fn address(text: &str) -> Socket {
    Socket::Address(text.parse().unwrap())
}

#[tokio::test]
async fn addresses_of_both_families_are_listened_on_with_one_port() {
    let v4 = open(&listener(&[address("0.0.0.0:0")]), &mut Inherited::none()).unwrap();
    let port = v4[0].local_addr().unwrap().port();
    let any = address(&format!("[::]:{port}"));
    let v6 = open(&listener(&[any]), &mut Inherited::none()).unwrap();
    assert!(SockRef::from(&v6[0]).only_v6().unwrap());
    for host in ["127.0.0.1", "::1"] {
        let client = TcpStream::connect((host, port)).await.unwrap();
        let socket = if host == "::1" { &v6[0] } else { &v4[0] };
        let (_, peer) = socket.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
    }
}

#[tokio::test]
async fn connections_send_at_once_and_ask_after_silent_peers() {
    let sockets = open(&listener(&[address("127.0.0.1:0")]), &mut Inherited::none()).unwrap();
    let client = TcpStream::connect(sockets[0].local_addr().unwrap());
    let (_client, accepted) = tokio::join!(client, sockets[0].accept());
    let (connection, _) = accepted.unwrap();
    assert!(!connection.nodelay().unwrap());
    prepare(&connection).unwrap();
    assert!(connection.nodelay().unwrap());
    let options = SockRef::from(&connection);
    assert!(options.keepalive().unwrap());
    assert_eq!(options.tcp_keepalive_time().unwrap(), KEEP_ALIVE);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_a_way_out() {
    let first = open(&listener(&[address("127.0.0.1:0")]), &mut Inherited::none()).unwrap();
    let taken = Socket::Address(first[0].local_addr().unwrap());
    let error = open(
        &listener(std::slice::from_ref(&taken)),
        &mut Inherited::none(),
    )
    .unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("listener `front` cannot listen on 127.0.0.1:"),
        "{message}"
    );
    assert!(message.ends_with("`ss -ltnp` shows who does"), "{message}");
    drop(first);
    open(&listener(&[taken]), &mut Inherited::none()).unwrap();
}

#[tokio::test]
async fn a_socket_that_systemd_did_not_hand_over_is_missing() {
    let socket = Socket::Inherited("swf".into());
    let error = open(&listener(&[socket]), &mut Inherited::none()).unwrap_err();
    assert!(matches!(error, SocketError::Missing { .. }));
    assert!(
        error.to_string().contains("FileDescriptorName=swf"),
        "{error}"
    );
}

/// Names the socket that [`child`] is to take.
const WANTED: &str = "SWF_FILTER_TEST_SOCKET";

/// What the tests below run as a process of its own, since descriptors and the environment belong to the whole process.
#[tokio::test]
#[ignore = "the tests below run it, with sockets to inherit"]
async fn child() {
    let Ok(wanted) = env::var(WANTED) else {
        return;
    };
    let mut inherited = Inherited::from_environment();
    let wanted = Socket::Inherited(wanted.into());
    match open(&listener(&[wanted]), &mut inherited) {
        Ok(sockets) => {
            for socket in &sockets {
                println!("open: {}", socket.local_addr().unwrap());
                let (_, peer) = socket.accept().await.unwrap();
                println!("accepted: {peer}");
            }
        }
        Err(error) => println!("error: {error}"),
    }
    println!("left: {:?}", inherited.left().collect::<Vec<_>>());
}

/// Runs [`child`] with `sockets` as a service manager would: from descriptor 3 on.
fn inherit(first: OwnedFd, second: OwnedFd, names: &str, wanted: &str, pid: &str) -> String {
    let script = format!("export LISTEN_PID={pid}; exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>&2");
    let Output { stderr, .. } = Command::new("sh")
        .args(["-c", &script])
        .arg(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("listener::sockets::tests::child")
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", names)
        .env(WANTED, wanted)
        .stdin(first)
        .stdout(second)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    String::from_utf8(stderr).unwrap()
}

fn listening() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn sockets_of_systemd_are_taken_by_name() {
    let (one, two) = (listening(), listening());
    let address = two.local_addr().unwrap();
    // It waits in the queue until the child accepts it.
    let client = std::net::TcpStream::connect(address).unwrap();
    let output = inherit(one.into(), two.into(), "other:swf", "swf", "$$");
    assert!(output.contains(&format!("open: {address}")), "{output}");
    let peer = client.local_addr().unwrap();
    assert!(output.contains(&format!("accepted: {peer}")), "{output}");
    assert!(output.contains("left: [\"other\"]"), "{output}");
}

#[test]
fn all_sockets_of_a_name_are_taken() {
    let (one, two) = (listening(), listening());
    let addresses = [one.local_addr().unwrap(), two.local_addr().unwrap()];
    let _clients = addresses.map(|address| std::net::TcpStream::connect(address).unwrap());
    let output = inherit(one.into(), two.into(), "swf:swf", "swf", "$$");
    for address in addresses {
        assert!(output.contains(&format!("open: {address}")), "{output}");
    }
    assert!(output.contains("left: []"), "{output}");
}

#[test]
fn sockets_for_another_process_are_not_taken() {
    let output = inherit(
        listening().into(),
        listening().into(),
        "swf:swf",
        "swf",
        "1",
    );
    assert!(output.contains("handed over no socket `swf`"), "{output}");
}

#[test]
fn names_that_are_there_are_told() {
    let output = inherit(
        listening().into(),
        listening().into(),
        "one:two",
        "swf",
        "$$",
    );
    assert!(output.contains("(there are: `one`, `two`)"), "{output}");
}

#[test]
fn what_is_not_a_tcp_socket_that_listens_is_refused() {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let unix = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
    let server = listening();
    let connected = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for (what, descriptor) in [
        ("UDP", OwnedFd::from(udp)),
        ("UNIX", unix.into()),
        ("a connection", connected.into()),
        ("a file", file.into()),
    ] {
        let output = inherit(descriptor, listening().into(), "swf:other", "swf", "$$");
        assert!(
            output.contains("systemd's socket `swf` cannot be used"),
            "{what}: {output}"
        );
    }
}
