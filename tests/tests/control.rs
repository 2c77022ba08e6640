//! The control socket under clients that mean harm or know no better. The daemon goes on filtering, and answering others.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use swf_filter_tests::nobody::{self, NOBODY, as_nobody};
use swf_filter_tests::process::Child;
use swf_filter_tests::require;
use swf_filter_tests::rivals::{Rival, enforced};
use swf_filter_tests::wait::wait_until;
use swf_filter_tests::wire::Wire;
use swf_filter_tests::world::{DEADLINE, World};

/// Streams of events that those who may not change anything can have at a time.
const MOST_STREAMS: usize = 32;
const STATUS: &str = "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n";
const EVENTS: &str = "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n";

/// A daemon that enforces [`Rival::One`].
struct Target {
    world: World,
    daemon: Child,
    one: Wire,
    two: Wire,
}

impl Target {
    fn new(name: &str) -> Result<Option<Self>> {
        let Some(world) = World::silent(name)? else {
            return Ok(None);
        };
        world.write_policy("10.toml", Rival::One.policy())?;
        Ok(Some(Self {
            daemon: world.attached_daemon()?,
            one: world.wire_one()?,
            two: world.wire_two()?,
            world,
        }))
    }

    fn socket(&self) -> PathBuf {
        self.world.file("run/control.sock")
    }

    /// Lets everybody connect.
    fn open_socket(&self) -> Result<()> {
        let folder = self.world.file("");
        for path in [&folder, &folder.join("run")] {
            fs::set_permissions(path, Permissions::from_mode(0o755))?;
        }
        Ok(fs::set_permissions(
            self.socket(),
            Permissions::from_mode(0o666),
        )?)
    }

    /// Fails unless the daemon filters and answers as if nothing had happened.
    fn ensure_well(&self) -> Result<()> {
        let rival = enforced(&self.one, &self.two)?;
        ensure!(rival == Rival::One, "{rival:?} is enforced");
        let status = self.world.status()?;
        ensure!(status["pid"] == self.daemon.id(), "{status}");
        ensure!(status["generation"]["number"] == 1, "{status}");
        Ok(())
    }
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket).context("cannot connect")?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(stream)
}

/// Sends what the daemon takes of a request, and gives the whole of what it answers until it closes.
fn exchange(socket: &Path, request: &[u8]) -> Result<String> {
    let mut stream = connect(socket)?;
    // The daemon may have seen enough before the end.
    let _cut_short = stream.write_all(request);
    read(&mut stream)
}

/// What comes until the other end closes.
fn read(stream: &mut UnixStream) -> Result<String> {
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(length) => answer.extend(&part[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error).context("the connection stays open"),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[test]
fn requests_that_are_wrong_are_refused_in_words() -> Result<()> {
    let Some(target) = Target::new("wrong")? else {
        return Ok(());
    };
    let large_head = format!(
        "GET /v1/status HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let many_headers = format!(
        "GET /v1/status HTTP/1.1\r\n{}\r\n",
        "X: y\r\n".repeat(10_000)
    );
    let large_frame = format!("{{\"frame\":\"{}\"}}", "00".repeat(1 << 20));
    let odd = [
        ("GET / HTTP/1.1\r\n\r\n", "404", "there is no GET /"),
        (
            "GET /v1/../v1/status HTTP/1.1\r\n\r\n",
            "404",
            "there is no",
        ),
        (
            "DELETE /v1/status HTTP/1.1\r\n\r\n",
            "404",
            "there is no DELETE",
        ),
        (
            "GET /v1/reload HTTP/1.1\r\n\r\n",
            "404",
            "there is no GET /v1/reload",
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", ""),
        ("\r\n\r\n\r\n\0\x01\x02 nonsense\r\n\r\n", "400", ""),
        ("GET /v1/status HTTP/9.9\r\n\r\n", "", ""),
        (
            "POST /v1/attach HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "400",
            "",
        ),
        (
            "POST /v1/attach HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "400",
            "the body cannot be read",
        ),
    ];
    let mut requests: Vec<(Vec<u8>, &str, &str)> = odd
        .into_iter()
        .map(|(text, status, words)| (text.into(), status, words))
        .collect();
    for path in ["/v1/attach", "/v1/detach", "/v1/explain"] {
        for body in ["", "[", "7", "{\"interface\": 7, \"frame\": 7}", "\u{fffd}"] {
            requests.push((
                post(path, body.as_bytes()),
                "400",
                "the body is not the JSON",
            ));
        }
    }
    requests.extend([
        (large_head.into_bytes(), "431", ""),
        (many_headers.into_bytes(), "431", ""),
        (
            post("/v1/explain", large_frame.as_bytes()),
            "400",
            "is longer than",
        ),
        (
            post("/v1/explain", b"{\"frame\":\"0g\"}"),
            "500",
            "not hexadecimal",
        ),
        (post("/v1/explain", b"{\"frame\":\"\"}"), "500", "frame"),
        (
            post("/v1/detach", b"{\"interface\":\"\\u001b[2J\"}"),
            "500",
            "nothing of swf-filter",
        ),
        ((0..=255).cycle().take(1 << 16).collect(), "", ""),
    ]);
    for (request, status, words) in requests {
        let start = String::from_utf8_lossy(&request[..request.len().min(80)]).into_owned();
        let answer = exchange(&target.socket(), &request).context(start.clone())?;
        if !status.is_empty() {
            let line = format!("HTTP/1.1 {status} ");
            ensure!(answer.starts_with(&line), "{start:?}: {answer}");
        }
        ensure!(answer.contains(words), "{start:?}: {answer}");
        ensure!(!answer.starts_with("HTTP/1.1 200 "), "{start:?}: {answer}");
    }
    target.ensure_well()?;
    ensure!(
        !target.daemon.stderr().contains('\u{1b}'),
        "the log obeys nobody"
    );
    Ok(())
}

#[test]
fn clients_that_stop_halfway_are_cut_off() -> Result<()> {
    let Some(target) = Target::new("slow")? else {
        return Ok(());
    };
    let half = "POST /v1/explain HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
    let mut waiting = Vec::new();
    // More than the daemon serves at a time.
    for request in ["", "G", &STATUS[..30], half].repeat(20) {
        let mut stream = connect(&target.socket())?;
        stream.write_all(request.as_bytes())?;
        waiting.push(stream);
    }
    target.ensure_well()?;
    for stream in &mut waiting {
        read(stream).context("a client that waits for ever")?;
    }

    // Those that close their end have no answer to wait for.
    for request in [STATUS, half, ""] {
        let mut stream = connect(&target.socket())?;
        stream.write_all(request.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        read(&mut stream)?;
    }
    target.ensure_well()
}

#[test]
fn hundreds_at_once_are_all_answered() -> Result<()> {
    const CLIENTS: usize = 400;
    let Some(target) = Target::new("many")? else {
        return Ok(());
    };
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = connect(&target.socket())?;
        stream.write_all(STATUS.as_bytes())?;
        clients.push(stream);
    }
    for stream in &mut clients {
        let answer = read(stream)?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        ensure!(answer.ends_with('}'), "{answer}");
    }
    target.ensure_well()
}

#[test]
fn answers_that_nobody_takes_and_streams_that_nobody_reads_do_no_harm() -> Result<()> {
    let Some(target) = Target::new("deaf")? else {
        return Ok(());
    };
    let mut deaf = Vec::new();
    for request in [STATUS, EVENTS].repeat(20) {
        let mut stream = connect(&target.socket())?;
        stream.write_all(request.as_bytes())?;
        deaf.push(stream);
    }
    target.ensure_well()?;
    drop(deaf);
    // All of the streams are given back.
    let mut streams = Vec::new();
    wait_until(DEADLINE, "as many streams as there may be", || {
        let mut stream = connect(&target.socket()).expect("a daemon");
        stream.write_all(EVENTS.as_bytes()).expect("a daemon");
        if is_stream(&mut stream) {
            streams.push(stream);
        }
        streams.len() == MOST_STREAMS
    });
    let refused = exchange(&target.socket(), EVENTS.as_bytes())?;
    ensure!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    target.ensure_well()
}

/// Whether the answer to a request for events is a stream of them.
fn is_stream(stream: &mut UnixStream) -> bool {
    let mut line = [0; 13];
    stream.read_exact(&mut line).is_ok() && line == *b"HTTP/1.1 200 "
}

#[test]
fn others_keep_no_owner_out() -> Result<()> {
    const CLIENTS: usize = 200;
    let Some(target) = Target::new("others")? else {
        return Ok(());
    };
    target.open_socket()?;
    let socket = target.socket();
    let (streams, _held) = as_nobody(|| {
        let mut streams = Vec::new();
        let mut held = Vec::new();
        for _ in 0..CLIENTS {
            let mut stream = connect(&socket)?;
            if stream.write_all(EVENTS.as_bytes()).is_ok() && is_stream(&mut stream) {
                streams.push(stream);
            }
        }
        // And the rest of what is theirs, for as long as the daemon lets them.
        for _ in 0..CLIENTS {
            let mut stream = connect(&socket)?;
            let _may_be_closed = stream.write_all(b"G");
            held.push(stream);
        }
        Ok((streams, held))
    })?;
    ensure!(streams.len() == MOST_STREAMS, "{} streams", streams.len());
    target.ensure_well()?;
    let mut stream = connect(&socket)?;
    stream.write_all(EVENTS.as_bytes())?;
    ensure!(is_stream(&mut stream), "an owner may follow events");
    target.world.reload()?;
    target.ensure_well()
}

#[test]
fn others_may_ask_but_not_change_and_all_is_logged() -> Result<()> {
    let Some(target) = Target::new("peer")? else {
        return Ok(());
    };
    target.open_socket()?;
    let world = &target.world;
    let ask = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let output = nobody::command(world)?.args(arguments).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8(said)?))
    };
    let questions: [&[&str]; 4] = [
        &["status"],
        &["rules"],
        &["history"],
        &["--output", "json", "status"],
    ];
    for question in questions {
        let (code, said) = ask(question)?;
        ensure!(code == Some(0), "{question:?}: {said}");
    }
    for change in [
        &["reload"][..],
        &["detach"],
        &["detach", "eth1"],
        &["attach"],
        &["diff"],
    ] {
        let (code, said) = ask(change)?;
        ensure!(code == Some(1), "{change:?}: {said}");
        ensure!(
            said.contains("only root and the daemon's own user"),
            "{said}"
        );
    }
    target.ensure_well()?;
    world.ask(&["attach", "eth1"])?;
    for line in [
        format!("refused over the control socket: detach uid={NOBODY} pid="),
        format!("refused over the control socket: detach `eth1` uid={NOBODY} pid="),
        "asked over the control socket: attach `eth1` uid=0 pid=".to_owned(),
    ] {
        target.daemon.wait_for_output(DEADLINE, &line);
    }

    // A member of the socket's group may ask; who is not, is told so.
    fs::set_permissions(target.socket(), Permissions::from_mode(0o660))?;
    let (code, said) = ask(&["status"])?;
    ensure!(
        code == Some(1) && said.contains("may not talk to the daemon"),
        "{said}"
    );
    let (code, said) = ask(&["detach"])?;
    ensure!(
        code == Some(1) && said.contains("may not talk to the daemon"),
        "{said}"
    );
    chown(target.socket(), None, Some(NOBODY))?;
    let (code, said) = ask(&["status"])?;
    ensure!(code == Some(0), "{said}");
    target.ensure_well()
}

#[test]
fn every_thread_of_the_daemon_is_confined() -> Result<()> {
    let Some(target) = Target::new("confined")? else {
        return Ok(());
    };
    let is_confined = |thread: &Path| -> Result<bool> {
        let status = fs::read_to_string(thread.join("status"))?;
        let has = |line: &str| status.lines().any(|it| it == line);
        Ok(has("NoNewPrivs:\t1") && has("Seccomp:\t2"))
    };
    target.world.reload()?;
    let threads = Path::new("/proc").join(target.daemon.id().to_string());
    for thread in fs::read_dir(threads.join("task"))? {
        ensure!(is_confined(&thread?.path())?);
    }
    ensure!(!is_confined(Path::new("/proc/thread-self"))?);
    target.ensure_well()
}

#[test]
fn what_a_confined_daemon_cannot_reach_comes_with_advice() -> Result<()> {
    let Some(world) = World::silent("reach")? else {
        return Ok(());
    };
    world.write_policy("10.toml", "version = 1\n")?;
    let mut daemon = world.restarted_daemon()?;
    if daemon.stderr().contains("does not confine files") {
        require::skip("needs landlock");
        return Ok(());
    }
    let elsewhere = tempfile::tempdir()?;
    let list = elsewhere.path().join("list.txt");
    fs::write(&list, "192.0.2.1\n")?;
    world.write_policy(
        "20.toml",
        format!(
            "version = 1\n[[set]]\nname = \"a\"\nfile = '{}'\n",
            list.display()
        ),
    )?;
    let refused = world.command().arg("reload").output()?;
    let said = String::from_utf8(refused.stderr)?;
    for words in [
        "20.toml:4:",
        "permission denied",
        "confined itself",
        "restart it",
    ] {
        ensure!(said.contains(words), "no `{words}` in: {said}");
    }
    // The twin: what a new daemon finds, it can read.
    daemon.kill()?;
    let _daemon = world.restarted_daemon()?;
    world.reload()
}

#[test]
fn a_socket_that_was_removed_is_made_again() -> Result<()> {
    let Some(target) = Target::new("removed")? else {
        return Ok(());
    };
    let socket = target.socket();
    for _ in 0..2 {
        fs::remove_file(&socket)?;
        wait_until(DEADLINE, "another socket, as the first one", || {
            fs::metadata(&socket).is_ok_and(|file| file.permissions().mode() & 0o777 == 0o660)
        });
        target.ensure_well()?;
    }
    Ok(())
}

#[test]
fn a_socket_that_another_file_took_the_place_of_is_told() -> Result<()> {
    let Some(target) = Target::new("another")? else {
        return Ok(());
    };
    let socket = target.socket();
    let another = target.world.file("another");
    fs::write(&another, "not ours")?;
    fs::rename(&another, &socket)?;
    let words = "something else stands where the control socket was";
    target.daemon.wait_for_output(DEADLINE, words);
    ensure!(fs::read_to_string(&socket)? == "not ours");
    fs::remove_file(&socket)?;
    wait_until(DEADLINE, "the socket", || target.ensure_well().is_ok());
    Ok(())
}

#[test]
fn a_socket_whose_directory_is_gone_is_told() -> Result<()> {
    let Some(target) = Target::new("gone")? else {
        return Ok(());
    };
    fs::remove_dir_all(target.world.file("run"))?;
    let words = "somebody removed the control socket; restart the daemon";
    target.daemon.wait_for_output(DEADLINE, words);
    ensure!(enforced(&target.one, &target.two)? == Rival::One);
    Ok(())
}

#[test]
fn socket_and_pins_are_not_for_everybody() -> Result<()> {
    let Some(target) = Target::new("modes")? else {
        return Ok(());
    };
    let mode =
        |path: &Path| -> Result<u32> { Ok(fs::metadata(path)?.permissions().mode() & 0o777) };
    ensure!(mode(&target.socket())? == 0o660);
    ensure!(
        mode(target.world.pins())? == 0o700,
        "who can open it could lock it, and keep a daemon from starting"
    );
    Ok(())
}
