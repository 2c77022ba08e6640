//! What is confined stays so. Attempts are made in a process of their own: some of them end it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, exit};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, socket};
use tempfile::TempDir;

use super::*;

/// Says what the process tries, and with it what it is confined to.
const ATTEMPT: &str = "SWF_FILTER_TEST_ATTEMPT";
const FOLDER: &str = "SWF_FILTER_TEST_FOLDER";

/// How the process ends if it could do what it tried, if that was refused, and otherwise.
const DONE: i32 = 0;
const REFUSED: i32 = 7;
const OTHERWISE: i32 = 8;

#[derive(Clone, Copy, PartialEq)]
enum Confined {
    No,
    Yes,
}

/// A folder with what is in reach, and what is not.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["policy/10.toml", "state/old", "outside/secret"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "text").unwrap();
    }
    folder
}

fn attempt(what: &str, folder: &Path, confined: Confined) -> ExitStatus {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([
        "--exact",
        "confine::tests::attempts",
        "--ignored",
        "--nocapture",
    ]);
    command.env(ATTEMPT, what).env(FOLDER, folder);
    if confined == Confined::Yes {
        command.env("SWF_FILTER_TEST_CONFINED", "yes");
    }
    command.output().unwrap().status
}

#[test]
#[ignore = "other tests run it in a process of its own"]
fn attempts() {
    let what = env::var(ATTEMPT).unwrap();
    let folder = PathBuf::from(env::var_os(FOLDER).unwrap());
    if env::var_os("SWF_FILTER_TEST_CONFINED").is_some() {
        let mut reach = Reach::default();
        reach.read_around(&folder.join("policy/10.toml"));
        reach.write.push(folder.join("state"));
        confine(Process::Listener, &reach).unwrap();
    }
    // A thread has what the one that made it had.
    thread::spawn(move || exit(done(&what, &folder)))
        .join()
        .unwrap();
}

fn done(what: &str, folder: &Path) -> i32 {
    let renamed = |from: &str, to: &str| fs::rename(folder.join(from), folder.join(to)).map(drop);
    let outcome = match what {
        "exec" => Err(Command::new("/bin/true").exec()),
        "mount" => {
            rustix::mount::unmount(folder, rustix::mount::UnmountFlags::empty()).map_err(Into::into)
        }
        "raw" => socket(AddressFamily::PACKET, SocketType::RAW, None)
            .map(drop)
            .map_err(Into::into),
        "read policy" => fs::read(folder.join("policy/10.toml")).map(drop),
        "read secret" => fs::read(folder.join("outside/secret")).map(drop),
        "read shadow" => fs::read("/etc/shadow").map(drop),
        "read replaced" => wait_for_another(&folder.join("policy/10.toml")),
        "replace state" => fs::write(folder.join("state/new"), "new")
            .and_then(|()| renamed("state/new", "state/old")),
        "write policy" => fs::write(folder.join("policy/10.toml"), "other"),
        _ => return OTHERWISE,
    };
    match outcome {
        Ok(()) => DONE,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => REFUSED,
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => REFUSED,
        Err(error) => {
            eprintln!("{error}");
            OTHERWISE
        }
    }
}

/// Reads a file once it is not what it was.
fn wait_for_another(path: &Path) -> std::io::Result<()> {
    fs::write(path.with_file_name("../state/ready"), "")?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read(path)? == b"text" {
        if Instant::now() > deadline {
            return Err(ErrorKind::TimedOut.into());
        }
        thread::yield_now();
    }
    Ok(())
}

#[test]
fn who_tries_to_become_another_program_ends() {
    let folder = folder();
    let code = |confined| attempt("exec", folder.path(), confined);
    assert_eq!(code(Confined::Yes).signal(), Some(libc::SIGSYS));
    assert_eq!(code(Confined::No).code(), Some(DONE));
}

#[test]
fn who_tries_to_change_mounts_ends() {
    let folder = folder();
    let status = |confined| attempt("mount", folder.path(), confined);
    assert_eq!(status(Confined::Yes).signal(), Some(libc::SIGSYS));
    assert_eq!(status(Confined::No).signal(), None);
}

#[test]
fn only_what_is_named_can_be_read() {
    let folder = folder();
    let code = |what, confined| attempt(what, folder.path(), confined).code();
    assert_eq!(code("read policy", Confined::Yes), Some(DONE));
    assert_eq!(code("read secret", Confined::Yes), Some(REFUSED));
    assert_eq!(code("read secret", Confined::No), Some(DONE));
    assert_eq!(code("read shadow", Confined::Yes), Some(REFUSED));
    if rustix::process::geteuid().is_root() {
        assert_eq!(code("read shadow", Confined::No), Some(DONE));
    }
}

#[test]
fn what_takes_the_place_of_a_file_can_be_read() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let code = thread::scope(|scope| {
        let confined = scope.spawn(|| attempt("read replaced", folder.path(), Confined::Yes));
        let deadline = Instant::now() + Duration::from_secs(10);
        while !at("state/ready").exists() && Instant::now() < deadline {
            thread::yield_now();
        }
        fs::write(at("outside/new"), "new").unwrap();
        fs::rename(at("outside/new"), at("policy/10.toml")).unwrap();
        confined.join().unwrap().code()
    });
    assert_eq!(code, Some(DONE));
}

#[test]
fn only_state_can_be_written() {
    let folder = folder();
    let code = |what, confined| attempt(what, folder.path(), confined).code();
    assert_eq!(code("replace state", Confined::Yes), Some(DONE));
    assert_eq!(code("write policy", Confined::Yes), Some(REFUSED));
    assert_eq!(code("write policy", Confined::No), Some(DONE));
}

#[test]
fn raw_sockets_cannot_be_opened() {
    let folder = folder();
    let code = |confined| attempt("raw", folder.path(), confined).code();
    assert_eq!(code(Confined::Yes), Some(REFUSED));
    if rustix::process::geteuid().is_root() {
        assert_eq!(code(Confined::No), Some(DONE));
    }
}

#[test]
fn what_a_link_points_to_is_in_reach_too() {
    let folder = folder();
    let link = folder.path().join("policy/linked.toml");
    std::os::unix::fs::symlink("../outside/secret", &link).unwrap();
    let mut reach = Reach::default();
    reach.read_around(&link);
    let real = folder.path().canonicalize().unwrap();
    assert_eq!(
        reach.read,
        [folder.path().join("policy"), real.join("outside")]
    );
}

#[test]
fn the_whole_file_system_is_never_in_reach() {
    let mut reach = Reach::default();
    reach.read_around(Path::new("/policy.toml"));
    reach.read_around(Path::new("/no/such/policy.toml"));
    assert_eq!(
        reach.read,
        [Path::new("/policy.toml"), Path::new("/no/such/policy.toml")]
    );
}

#[test]
fn resolver_is_in_reach_for_upstreams_with_names_only() {
    assert!(is_name("swf.us-east-1.amazonaws.com"));
    assert!(!is_name("192.0.2.1"));
    assert!(!is_name("[2001:db8::1]"));
}
