//! What root's commands and the daemon share with users who have fewer rights: a listener's user who was taken over, whoever writes a set file,
//! and a member of the control socket's group. Nothing of it leads them where those may not go themselves.
//!
//! Shared are, with whom:
//!
//! * the control socket, with the listener's user and the socket's group;
//! * the listener's own socket, which root's `status`, `top` and `doctor` ask, and so does the daemon's page;
//! * the listener's keys and its store, which root's `keys` reads and writes, and the lock beside them;
//! * keys of certificates, which root's `doctor` and `listener --check` read;
//! * the audit log, which root's `audit` reads;
//! * set files and documents, followed or not, which the daemon and root's commands read;
//! * directories of set files below that of the policy, which root's `apply` writes;
//! * the policy directory itself, which others may open, and could lock.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use swf_filter_tests::frames::Frame;
use swf_filter_tests::http;
use swf_filter_tests::nobody::{self, NOBODY, SOMEBODY, as_nobody, as_user, make_directory};
use swf_filter_tests::process::{Child, run};
use swf_filter_tests::wait::{holds_within, wait_until};
use swf_filter_tests::world::{DEADLINE, World};

const HOST: &str = "198.51.100.10";
/// What a file of root's has, that nobody else may read. One line of it reads as keys of session tokens, and no line as a set.
const SECRET: &str = "1 c2VhbGluZy1rZXktb2Ytcm9vdC10aGF0LWlzLXNlY3JldA==\n";
/// What stands in no other file.
const WORDS: &str = "c2VhbGluZy1rZXk";
const LED: &str = "another user may have made leads to it";
/// More than a client takes of an answer without end, with what sockets hold.
const MOST: usize = 64 << 20;

fn policy(list: &Path, follow: bool) -> String {
    let follow = if follow { "follow = true\n" } else { "" };
    format!(
        "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"{HOST}\"]\nallow = [\"set:partners\"]\n\
         [[set]]\nname = \"partners\"\nfile = '{}'\n{follow}",
        list.display()
    )
}

/// A daemon, whose control socket is open to all, and a directory of nobody's.
struct Stage {
    world: World,
    daemon: Child,
    theirs: PathBuf,
}

impl Stage {
    fn new(name: &str, policy: impl FnOnce(&Path) -> String) -> Result<Option<Self>> {
        let Some(world) = World::silent(name)? else {
            return Ok(None);
        };
        fs::set_permissions(world.file(""), Permissions::from_mode(0o755))?;
        let theirs = world.file("theirs");
        make_directory(&theirs, NOBODY)?;
        give(&theirs.join("partners.txt"), "192.0.2.1\n", NOBODY)?;
        world.write_policy("10.toml", policy(&theirs.join("partners.txt")))?;
        let stage = Self {
            daemon: world.attached_daemon()?,
            theirs,
            world,
        };
        stage.open_socket()?;
        Ok(Some(stage))
    }

    fn open_socket(&self) -> Result<()> {
        fs::set_permissions(self.world.file("run"), Permissions::from_mode(0o755))?;
        let open = Permissions::from_mode(0o666);
        Ok(fs::set_permissions(self.socket(), open)?)
    }

    fn socket(&self) -> PathBuf {
        self.world.file("run/control.sock")
    }

    fn list(&self) -> PathBuf {
        self.theirs.join("partners.txt")
    }

    /// A file of root's that nobody else may read.
    fn secret(&self) -> Result<PathBuf> {
        let path = self.world.file("secret");
        fs::write(&path, SECRET)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(path)
    }

    /// What nobody is answered, whatever that is.
    fn asked_by_nobody(&self, request: &str) -> Result<String> {
        let socket = self.socket();
        as_nobody(|| exchange(&socket, request))
    }

    /// Fails if a word is in anything that nobody is told.
    fn ensure_untold(&self, word: &str) -> Result<()> {
        for path in [
            "status",
            "rules",
            "rules?busiest=9",
            "policy",
            "history",
            "diff",
        ] {
            let answer = self.asked_by_nobody(&get(path))?;
            ensure!(!answer.contains(word), "{path}: {answer}");
        }
        Ok(())
    }

    fn wait_for_warning(&self, words: &str) {
        wait_until(DEADLINE, words, || {
            let status = self.world.status();
            status.is_ok_and(|status| status["warnings"].to_string().contains(words))
        });
    }

    fn prefixes(&self) -> Result<u64> {
        let status = self.world.status()?;
        let prefixes = status["generation"]["prefixes"].as_u64();
        prefixes.context("no number of prefixes")
    }

    fn wait_for_prefixes(&self, prefixes: u64) {
        wait_until(DEADLINE, "the set to follow its file", || {
            self.prefixes().is_ok_and(|found| found == prefixes)
        });
    }
}

/// Writes a file that only a user may read.
fn give(path: &Path, text: &str, user: u32) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(chown(path, Some(user), Some(user))?)
}

fn get(path: &str) -> String {
    format!("GET /v1/{path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST /v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn exchange(socket: &Path, request: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn body(answer: &str) -> Result<Value> {
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok(serde_json::from_str(body)?)
}

/// What a command says, and whether it succeeds; it has to end.
fn said(command: &mut Command) -> Result<(bool, String)> {
    let mut child = Child::spawn("swf-filter", command)?;
    let status = child.wait(DEADLINE);
    Ok((status.success(), child.stdout() + &child.stderr()))
}

/// A file of root's in the place of nobody's, in some way that nobody may have.
type Plant<'a> = (&'a str, &'a dyn Fn() -> Result<()>);

#[test]
fn a_followed_file_leads_to_nothing_that_its_writer_may_not_read() -> Result<()> {
    let Some(stage) = Stage::new("followed", |list| policy(list, true))? else {
        return Ok(());
    };
    let (secret, list) = (stage.secret()?, stage.list());
    let before = stage.world.status()?["generation"]["number"].clone();
    let link = || {
        as_nobody(|| {
            fs::remove_file(&list)?;
            Ok(symlink(&secret, &list)?)
        })
    };
    // Where `fs.protected_hardlinks` is off, that takes no right to the file.
    let hard_link = || {
        fs::remove_file(&list)?;
        Ok(fs::hard_link(&secret, &list)?)
    };
    let plants: [Plant<'_>; 2] = [("link", &link), ("hard link", &hard_link)];
    for (what, plant) in plants {
        give(&list, "192.0.2.1\n", NOBODY)?;
        wait_until(DEADLINE, "no warning", || {
            stage
                .world
                .status()
                .is_ok_and(|status| status["warnings"] == json!([]))
        });
        plant().with_context(|| what.to_owned())?;
        stage.wait_for_warning(LED);
        stage.ensure_untold(WORDS)?;
        let told = stage.world.ask(&["status"])?.to_string() + &stage.daemon.stderr();
        ensure!(!told.contains(WORDS), "{what}: {told}");
        fs::remove_file(&list)?;
    }
    ensure!(stage.world.status()?["generation"]["number"] == before);

    // The twins: nobody's own file behind nobody's link, and root's behind root's.
    let own = stage.theirs.join("own.txt");
    give(&own, "192.0.2.1\n192.0.2.2\n", NOBODY)?;
    as_nobody(|| Ok(symlink("own.txt", &list)?))?;
    stage.wait_for_prefixes(2);
    let roots = stage.world.file("three.txt");
    give(&roots, "192.0.2.1\n192.0.2.2\n192.0.2.3\n", 0)?;
    let beside = stage.theirs.join("beside");
    symlink(&roots, &beside)?;
    fs::rename(&beside, &list)?;
    stage.wait_for_prefixes(3);
    Ok(())
}

#[test]
fn files_that_a_policy_names_lead_root_nowhere_either() -> Result<()> {
    let Some(stage) = Stage::new("named", |list| policy(list, false))? else {
        return Ok(());
    };
    let world = &stage.world;
    let (secret, list) = (stage.secret()?, stage.list());
    let document = stage.theirs.join("document.json");
    let principals = world.file("principals.d");
    fs::create_dir(&principals)?;
    let users = format!(
        "version = 1\n[[account]]\nid = \"111122223333\"\n[[user]]\nname = \"alice\"\npolicies = ['{}']\n",
        document.display()
    );
    fs::write(principals.join("users.toml"), users)?;
    let allow = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "swf:*", "Resource": "*"}}"#;
    give(&document, allow, NOBODY)?;
    world.reload()?;
    for path in [&list, &document] {
        let kept = fs::read_to_string(path)?;
        as_nobody(|| {
            fs::remove_file(path)?;
            Ok(symlink(&secret, path)?)
        })?;
        for arguments in [
            &["reload"][..],
            &["diff"],
            &["check"],
            &["apply", "--dry-run"],
            &["apply"],
            &["try"],
            &["explain", "--from", "192.0.2.1", "--to", HOST],
        ] {
            let (done, said) = said(world.command().args(arguments))?;
            ensure!(!done && said.contains(LED), "{arguments:?}: {said}");
            ensure!(!said.contains(WORDS), "{arguments:?}: {said}");
        }
        fs::remove_file(path)?;
        give(path, &kept, NOBODY)?;
    }
    ensure!(!stage.daemon.stderr().contains(WORDS));
    world.reload()
}

#[test]
fn what_stands_in_files_that_are_not_in_force_is_for_owners() -> Result<()> {
    const OBSERVE: &str = "[observe]\nlisten = \"127.0.0.1:9464\"\ndashboard = true\n";
    let Some(mut stage) = Stage::new("unfinished", |list| policy(list, false))? else {
        return Ok(());
    };
    let unfinished = "version = 1\n[[host]]\nname = \"merger\"\naddresses = [\"not-told\"]\n";
    stage.world.write_policy("20.toml", unfinished)?;
    let refused = stage.asked_by_nobody(&get("diff"))?;
    ensure!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    ensure!(
        refused.contains("may see what the files on disk would change"),
        "{refused}"
    );
    let (done, said) = said(stage.world.command().arg("diff"))?;
    ensure!(!done && said.contains("not-told"), "an owner may: {said}");

    // A start tells of them for as long as the daemon runs.
    stage.world.write_config(OBSERVE)?;
    stage.daemon.kill()?;
    stage.daemon = stage.world.restarted_daemon()?;
    stage.open_socket()?;
    let told = stage.world.status()?["warnings"].to_string();
    ensure!(told.contains("not-told"), "an owner is told: {told}");
    stage.ensure_untold("not-told")?;
    stage.ensure_untold("merger")?;
    let status = stage.asked_by_nobody(&get("status"))?;
    for words in [
        "20.toml:4:14 is refused",
        "root is told what is wrong there",
    ] {
        ensure!(status.contains(words), "{status}");
    }
    let page = "GET /snapshot.json HTTP/1.1\nHost: localhost\n";
    let page = http::exchange(&stage.world.host, "127.0.0.1:9464".parse()?, page, "")?;
    ensure!(
        page.status == 200 && page.body.contains("20.toml:4:14"),
        "{page:?}"
    );
    ensure!(!page.body.contains("not-told"), "{page:?}");
    Ok(())
}

#[test]
fn nobody_but_owners_counts_packets_or_moves_their_window() -> Result<()> {
    let Some(stage) = Stage::new("forged", |list| policy(list, false))? else {
        return Ok(());
    };
    let frame = Frame::ip("203.0.113.9".parse()?, HOST.parse()?).tcp(40_000, 443);
    let frame = frame.to_bytes();
    let frame: Vec<String> = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let frame = frame.concat();
    let explain = post("explain", &format!("{{\"frame\":\"{frame}\"}}"));
    let before = stage.world.reasons()?;
    let refused = stage.asked_by_nobody(&explain)?;
    ensure!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    ensure!(refused.contains("which counts it"), "{refused}");
    ensure!(stage.world.reasons()? == before, "it was counted");
    let answered = exchange(&stage.socket(), &explain)?;
    ensure!(body(&answered)?["dropped"] == true, "{answered}");
    ensure!(stage.world.reasons()? != before, "an owner's is counted");

    // What the CLI says, and that it is answered from the files all the same.
    let ask = ["explain", "--from", "203.0.113.9", "--to", HOST];
    let (done, told) = said(nobody::command(&stage.world)?.args(ask).arg("--live"))?;
    ensure!(!done && told.contains("without `--live`"), "{told}");
    fs::set_permissions(stage.list(), Permissions::from_mode(0o644))?;
    let (done, told) = said(nobody::command(&stage.world)?.args(ask))?;
    ensure!(done && told.contains("drop"), "{told}");

    // An owner's rates are of the time since an owner asked.
    let busiest = get("rules?busiest=9");
    exchange(&stage.socket(), &busiest)?;
    let start = Instant::now();
    let time = Duration::from_millis(1_500);
    while start.elapsed() < time {
        stage.asked_by_nobody(&busiest)?;
    }
    let answer = body(&exchange(&stage.socket(), &busiest)?)?;
    let window = answer["milliseconds"].as_u64().context("no time")?;
    ensure!(u128::from(window) >= time.as_millis(), "{answer}");
    Ok(())
}

/// Somebody who listens on a socket, and answers what they like.
struct Liar {
    path: PathBuf,
    heard: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Liar {
    /// One who answers `first`, and then `rest` for ever, if there is any.
    fn new(path: &Path, user: u32, first: &str, rest: &str) -> Result<Self> {
        let _may_be_none = fs::remove_file(path);
        let socket = as_user(user, || Ok(UnixListener::bind(path)?))?;
        let (heard, sent, over) =
            <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let (first, rest) = (first.as_bytes().to_owned(), rest.as_bytes().to_owned());
        let thread = thread::spawn({
            let (heard, sent, over) = (heard.clone(), sent.clone(), over.clone());
            move || {
                let mut silent = Vec::new();
                for stream in socket.incoming() {
                    let mut stream = stream?;
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
                    stream.set_write_timeout(Some(Duration::from_millis(200)))?;
                    let length = stream.read(&mut [0; 4096]).unwrap_or_default();
                    heard.fetch_add(length, Ordering::Relaxed);
                    let mut written = stream.write(&first);
                    while let (Ok(length), false) = (&written, over.load(Ordering::Relaxed)) {
                        sent.fetch_add(*length, Ordering::Relaxed);
                        if rest.is_empty() {
                            break;
                        }
                        written = stream.write(&rest);
                    }
                    if first.is_empty() {
                        silent.push(stream);
                    }
                }
                Ok(())
            }
        });
        Ok(Self {
            path: path.to_owned(),
            heard,
            sent,
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _wakes_it = UnixStream::connect(&self.path);
            let _failed_before = thread.join();
        }
    }
}

/// Settings of a listener whose directories are nobody's.
fn listener_settings(world: &World) -> Result<PathBuf> {
    for directory in ["listener-run", "listener-state", "keys", "log"] {
        make_directory(&world.file(directory), NOBODY)?;
    }
    let folder = world.file("");
    let folder = folder.display().to_string();
    let folder = folder.trim_end_matches('/');
    let path = world.file("listener.toml");
    let text = format!(
        "version = 1\n[[listener]]\nname = \"direct\"\nlisten = [\"127.0.0.1:8443\"]\nhost = \"swf\"\n\
         certificates = [{{ chain = \"{folder}/cert.pem\", key = \"{folder}/key.pem\" }}]\nupstream = \"behind\"\n\
         [[upstream]]\nname = \"behind\"\naddresses = [\"http://127.0.0.1:5000\"]\nidentity = \"headers\"\n\
         [paths]\nrun = \"{folder}/run\"\nlistener_run = \"{folder}/listener-run\"\nstate = \"{folder}/listener-state\"\n\
         keys = \"{folder}/keys\"\naudit = \"{folder}/log/audit.jsonl\"\n"
    );
    fs::write(&path, text)?;
    Ok(path)
}

/// A command of root's about daemon and listener.
fn command(world: &World) -> Command {
    let mut command = world.command();
    command
        .arg("--listener-config")
        .arg(world.file("listener.toml"));
    command
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

#[test]
fn answers_of_a_listener_have_an_end() -> Result<()> {
    let Some(mut stage) = Stage::new("endless", |list| policy(list, false))? else {
        return Ok(());
    };
    listener_settings(&stage.world)?;
    let socket = stage.world.file("listener-run/control.sock");
    let observe = format!(
        "[observe]\nlisten = \"127.0.0.1:9464\"\ndashboard = true\nlistener = '{}'\n",
        socket.display()
    );
    stage.world.write_config(&observe)?;
    stage.daemon.kill()?;
    stage.daemon = stage.world.restarted_daemon()?;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(1 << 16));
    let long = "y".repeat(1 << 16);
    let endless = [
        (format!("{OK}\r\n"), long.as_str()),
        (format!("{OK}Transfer-Encoding: chunked\r\n\r\n"), &chunk),
        ("HTTP/1.1 500 Sorry\r\n\r\n{".to_owned(), &long),
        (OK.to_owned(), "X: y\r\n"),
        (format!("{OK}X: "), &long),
    ];
    for (first, rest) in &endless {
        let liar = Liar::new(&socket, NOBODY, first, rest)?;
        let (done, said) = said(command(&stage.world).arg("status"))?;
        ensure!(
            done && said.contains("no listener answers as one does"),
            "{first:?}: {said}"
        );
        ensure!(
            said.contains("swf-filter "),
            "the daemon's part is shown: {said}"
        );
        let top = ["top", "--once", "--interval", "100ms"];
        ensure!(run(command(&stage.world).args(top)).is_ok(), "{first:?}");
        let (_, said) = self::said(command(&stage.world).arg("doctor"))?;
        ensure!(said.contains(" checks: "), "{first:?}: {said}");
        let page = "GET /snapshot.json HTTP/1.1\nHost: localhost\n";
        let page = http::exchange(&stage.world.host, "127.0.0.1:9464".parse()?, page, "")?;
        ensure!(
            page.body.contains("no listener answers"),
            "{first:?}: {page:?}"
        );
        let sent = liar.sent.load(Ordering::Relaxed);
        ensure!(sent < MOST, "{first:?}: {sent} bytes were taken");
    }
    // Nor does anybody wait for one that says nothing, or nothing that matters.
    for (first, rest) in [
        ("", ""),
        (
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
        ),
    ] {
        let _liar = Liar::new(&socket, NOBODY, first, rest)?;
        let (done, said) = said(command(&stage.world).arg("status"))?;
        ensure!(done && said.contains("swf-filter "), "{first:?}: {said}");
    }
    Ok(())
}

/// What a listener says of itself, in which it may name things as it likes.
fn status_of(name: &str) -> String {
    json!({
        "version": name, "pid": 1, "uptime_seconds": 1,
        "policy": {"generation": 1, "hash": name, "policy": name},
        "listeners": [{
            "name": name, "host": name, "sockets": [name], "open": 0, "accepted": 1,
            "turned_away": [[name, 1]], "handshakes": 1, "handshakes_refused": [[name, 1]],
            "certificates": [{"names": [name], "expires": name, "sha256": name}],
        }],
        "upstreams": [{
            "name": name, "address": name, "healthy": false, "last_error": name, "requests": 1, "failures": 1,
        }],
        "requests": [[name, 1]], "actions": [], "audit_lost": 1, "warnings": [name],
    })
    .to_string()
}

fn answer(body: &str) -> String {
    format!("{OK}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Whether a terminal would show text as it is.
fn is_plain(text: &str) -> bool {
    let odd = |letter: char| letter.is_control() && letter != '\n' || letter == '\u{202e}';
    !text.contains(odd)
}

#[test]
fn no_terminal_obeys_what_a_listener_says() -> Result<()> {
    let Some(stage) = Stage::new("terminal", |list| policy(list, false))? else {
        return Ok(());
    };
    listener_settings(&stage.world)?;
    let socket = stage.world.file("listener-run/control.sock");
    let name = "\u{1b}[2J\u{9b}31m\u{202e}\u{7}\rmark";
    let _liar = Liar::new(&socket, NOBODY, &answer(&status_of(name)), "")?;
    let top = ["top", "--once", "--interval", "100ms"];
    for form in ["text", "json"] {
        for arguments in [&["status"][..], &top, &["doctor"]] {
            let (_, said) = said(
                command(&stage.world)
                    .args(["--output", form])
                    .args(arguments),
            )?;
            ensure!(is_plain(&said), "{form} {arguments:?}: {said:?}");
            ensure!(
                arguments == ["doctor"] || said.contains("mark"),
                "{form} {arguments:?}: {said}"
            );
        }
    }
    Ok(())
}

#[test]
fn nobody_else_answers_in_the_place_of_a_gate() -> Result<()> {
    let Some(mut stage) = Stage::new("impostor", |list| policy(list, false))? else {
        return Ok(());
    };
    listener_settings(&stage.world)?;
    let (here, there) = (
        stage.socket(),
        stage.world.file("listener-run/control.sock"),
    );
    let everybody = Permissions::from_mode(0o777);
    fs::set_permissions(stage.world.file("listener-run"), everybody.clone())?;
    let answer = answer(&status_of("a lie"));
    let liar = Liar::new(&there, SOMEBODY, &answer, "")?;
    let top = ["top", "--once", "--interval", "100ms"];
    for arguments in [&["status"][..], &top, &["doctor"]] {
        let (_, said) = said(
            command(&stage.world)
                .args(["--output", "json"])
                .args(arguments),
        )?;
        ensure!(!said.contains("a lie"), "{arguments:?}: {said}");
    }
    let (_, said) = said(command(&stage.world).arg("status"))?;
    ensure!(
        said.contains(&format!("user {SOMEBODY} answers on")),
        "{said}"
    );
    ensure!(liar.heard.load(Ordering::Relaxed) == 0, "they were asked");
    drop(liar);
    // The twin: whose directory it is may answer there.
    let _liar = Liar::new(&there, NOBODY, &answer, "")?;
    let (_, said) = self::said(command(&stage.world).arg("status"))?;
    ensure!(said.contains("a lie"), "{said}");

    // The daemon's place is root's.
    stage.daemon.kill()?;
    fs::set_permissions(stage.world.file("run"), everybody)?;
    let liar = Liar::new(&here, NOBODY, &self::answer("{}"), "")?;
    for arguments in [&["reload"][..], &["detach"], &["events"], &["rules"]] {
        let (done, said) = self::said(stage.world.command().args(arguments))?;
        let told = said.contains(&format!("user {NOBODY} answers on"));
        ensure!(!done && told, "{arguments:?}: {said}");
    }
    ensure!(liar.heard.load(Ordering::Relaxed) == 0, "they were asked");
    Ok(())
}

#[test]
fn a_lock_that_others_take_keeps_root_from_nothing() -> Result<()> {
    let Some(stage) = Stage::new("locked", |list| policy(list, false))? else {
        return Ok(());
    };
    let world = &stage.world;
    let policies = world.policies();
    fs::set_permissions(&policies, Permissions::from_mode(0o755))?;
    let kept = world.file("state");
    let ranges = world.file("ranges.txt");
    fs::write(&ranges, "192.0.2.0/24\n")?;
    let import = |name: &str| {
        let mut command = world.command();
        command
            .args(["import", "list", "--name", name])
            .arg(&ranges);
        command
    };
    // Whatever nobody can open of it, they lock.
    let held = as_nobody(|| {
        let mut held = Vec::new();
        for directory in [&policies, &kept] {
            let below = fs::read_dir(directory).into_iter().flatten().flatten();
            let paths = below.map(|entry| entry.path()).chain([directory.clone()]);
            for file in paths.filter_map(|path| File::open(path).ok()) {
                file.lock()?;
                held.push(file);
            }
        }
        Ok(held)
    })?;
    ensure!(!held.is_empty(), "the policy directory is open to all");
    run(&mut import("one"))?;
    run(import("two").arg("--out").arg(&policies))?;
    run(world.command().arg("apply"))?;
    world.reload()?;
    drop(held);

    // Of root's own commands, one writes at a time, whichever they are.
    let lock = File::open(kept.join(".swf-filter.lock"))?;
    lock.lock()?;
    for mut command in [import("three"), {
        let mut apply = world.command();
        apply.arg("apply");
        apply
    }] {
        let (done, said) = said(&mut command)?;
        ensure!(!done && said.contains("another swf-filter"), "{said}");
    }
    drop(lock);
    run(&mut import("three"))?;
    let left = policies.join(".swf-filter.lock");
    ensure!(!left.exists(), "nothing is left there");
    Ok(())
}

#[test]
fn keys_of_a_hostile_listener_can_be_replaced() -> Result<()> {
    let Some(world) = World::silent("keylock")? else {
        return Ok(());
    };
    fs::set_permissions(world.file(""), Permissions::from_mode(0o755))?;
    listener_settings(&world)?;
    run(command(&world).args(["keys", "rotate"]))?;
    let keys = world.file("keys");
    // As while they change keys themselves, but without an end.
    let _held = as_nobody(|| {
        let lock = File::create_new(keys.join(".swf-filter.lock"))?;
        lock.set_permissions(Permissions::from_mode(0o600))?;
        let held = [lock, File::open(&keys)?];
        for file in &held {
            file.lock()?;
        }
        Ok(held)
    })?;
    let rotated = run(command(&world).args(["--output", "json", "keys", "rotate", "--keep", "0"]))?;
    let rotated: Value = serde_json::from_str(&rotated)?;
    ensure!(rotated["opens"] == json!([2]), "{rotated}");
    Ok(())
}

#[test]
fn keys_lead_root_nowhere() -> Result<()> {
    let Some(world) = World::silent("keys")? else {
        return Ok(());
    };
    fs::set_permissions(world.file(""), Permissions::from_mode(0o755))?;
    listener_settings(&world)?;
    let alice = "arn:aws:iam::111122223333:user/alice";
    run(command(&world).args(["keys", "create", alice]))?;
    run(command(&world).args(["keys", "rotate"]))?;
    // Keys of another listener, which read as those of this one.
    let secret = world.file("secret");
    let cases: [(&str, &[&str]); 4] = [
        ("keys/session.keys", &["keys", "rotate"]),
        ("keys/store.key", &["keys", "list"]),
        ("keys/store.mark", &["keys", "list"]),
        ("listener-state/access-keys", &["keys", "list"]),
    ];
    for (name, arguments) in cases {
        let path = world.file(name);
        let kept = fs::read(&path)?;
        let refused = |what: &str, words: &str| -> Result<()> {
            let (done, said) = said(command(&world).args(arguments))?;
            ensure!(!done && said.contains(words), "{name}, {what}: {said}");
            Ok(())
        };
        fs::write(&secret, &kept)?;
        fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
        as_nobody(|| {
            fs::remove_file(&path)?;
            Ok(symlink(&secret, &path)?)
        })?;
        refused("link", LED)?;
        fs::remove_file(&path)?;
        fs::hard_link(&secret, &path)?;
        refused("hard link", LED)?;
        fs::remove_file(&path)?;
        // Whose it is counts, whatever it holds.
        fs::write(&path, &kept)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        chown(&path, Some(SOMEBODY), Some(SOMEBODY))?;
        refused("another's", &format!("belongs to user {SOMEBODY}"))?;
        chown(&path, Some(NOBODY), Some(NOBODY))?;
        fs::set_permissions(&path, Permissions::from_mode(0o622))?;
        refused("writable", "can be read or changed by others")?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        run(command(&world).args(arguments)).context(name)?;
    }
    Ok(())
}

#[test]
fn keys_of_certificates_are_the_listeners_own() -> Result<()> {
    let Some(world) = World::silent("tlskeys")? else {
        return Ok(());
    };
    fs::set_permissions(world.file(""), Permissions::from_mode(0o755))?;
    let settings = listener_settings(&world)?;
    swf_filter_tests::stage::write_certificates(&world)?;
    run(command(&world).args(["keys", "rotate"]))?;
    let key = world.file("key.pem");
    let check = || {
        let mut command = nobody::command(&world)?;
        said(
            command
                .arg("--listener-config")
                .arg(&settings)
                .args(["listener", "--check"]),
        )
    };
    for (owner, mode, words) in [
        (NOBODY, 0o600, "ok: "),
        // As with a group for keys of certificates.
        (0, 0o640, "ok: "),
        (SOMEBODY, 0o640, "belongs to user 65533"),
        (NOBODY, 0o660, "others than its owner may write it"),
    ] {
        chown(&key, Some(owner), Some(NOBODY))?;
        fs::set_permissions(&key, Permissions::from_mode(mode))?;
        let (done, said) = check()?;
        ensure!(said.contains(words), "{owner} {mode:o}: {said}");
        ensure!(done == (words == "ok: "), "{owner} {mode:o}: {said}");
    }
    Ok(())
}

#[test]
fn an_audit_log_leads_root_nowhere() -> Result<()> {
    let Some(world) = World::silent("log")? else {
        return Ok(());
    };
    fs::set_permissions(world.file(""), Permissions::from_mode(0o755))?;
    listener_settings(&world)?;
    let log = world.file("log/audit.jsonl");
    let lost = |words: &str| {
        json!({"kind": "lost", "time": "1970-01-01T00:00:04Z", "lost": 2, "x": words}).to_string()
    };
    let secret = world.file("secret");
    give(&secret, &format!("{}\n", lost(WORDS)), 0)?;
    as_nobody(|| Ok(symlink(&secret, &log)?))?;
    for form in ["text", "json"] {
        let (done, said) = said(command(&world).args(["--output", form, "audit"]))?;
        ensure!(
            !done && said.contains(LED) && !said.contains(WORDS),
            "{said}"
        );
    }
    fs::remove_file(&log)?;
    run(Command::new("mkfifo").arg(&log))?;
    chown(&log, Some(NOBODY), Some(NOBODY))?;
    let (done, said) = said(command(&world).arg("audit"))?;
    ensure!(!done && said.contains("not a regular file"), "{said}");
    fs::remove_file(&log)?;
    // In JSON, the next line and the end of a line for some terminals need no escape.
    give(
        &log,
        &format!("{}\n", lost("\u{85}\u{9b}2J\u{202e}mark")),
        NOBODY,
    )?;
    for form in ["text", "json"] {
        let (done, said) = self::said(command(&world).args(["--output", form, "audit"]))?;
        ensure!(done && is_plain(&said), "{form}: {said:?}");
        ensure!(form == "text" || said.contains("mark"), "{said}");
    }
    Ok(())
}

#[test]
fn what_is_applied_goes_nowhere_but_below_the_policy() -> Result<()> {
    let Some(stage) = Stage::new("written", |list| policy(list, false))? else {
        return Ok(());
    };
    let world = &stage.world;
    let sets = world.policies().join("sets");
    make_directory(&sets, NOBODY)?;
    let roots = world.file("roots");
    fs::create_dir(&roots)?;
    as_nobody(|| Ok(symlink(&roots, sets.join("sub"))?))?;
    let wanted = world.file("wanted");
    fs::create_dir_all(wanted.join("sets/sub"))?;
    fs::write(wanted.join("sets/sub/list.txt"), "192.0.2.7\n")?;
    fs::write(
        wanted.join("10.toml"),
        policy(Path::new("sets/sub/list.txt"), false),
    )?;
    let (done, said) = said(world.command().arg("apply").arg(&wanted))?;
    ensure!(!done && said.contains("behind links"), "{said}");
    ensure!(
        fs::read_dir(&roots)?.next().is_none(),
        "root wrote behind the link"
    );
    // The twin: a directory of theirs is written to.
    fs::remove_file(sets.join("sub"))?;
    run(world.command().arg("confirm"))?;
    ensure!(fs::read_to_string(sets.join("sub/list.txt"))? == "192.0.2.7\n");
    Ok(())
}

#[test]
fn a_set_file_that_never_rests_is_bounded() -> Result<()> {
    let Some(stage) = Stage::new("restless", |list| policy(list, true))? else {
        return Ok(());
    };
    let list = stage.list();
    as_nobody(|| {
        fs::remove_file(&list)?;
        // As much as a disk has, and no line in it.
        let file = File::create(&list)?;
        Ok(file.set_len(1 << 40)?)
    })?;
    stage.wait_for_warning("does not follow");
    as_nobody(|| Ok(fs::remove_file(&list)?))?;
    run(Command::new("mkfifo").arg(&list))?;
    chown(&list, Some(NOBODY), Some(NOBODY))?;
    stage.wait_for_warning("not a regular file");
    fs::remove_file(&list)?;
    give(&list, "192.0.2.1\n192.0.2.2\n", NOBODY)?;
    stage.wait_for_prefixes(2);
    ensure!(holds_within(DEADLINE, || {
        stage
            .world
            .status()
            .is_ok_and(|status| status["warnings"] == json!([]))
    }));
    Ok(())
}
