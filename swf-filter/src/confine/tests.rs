//! What is confined stays so. Attempts are made in a process of their own: some of them end it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, exit};
use std::ptr::{null, null_mut};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect};
use rustix::net::{AddressFamily, Protocol, SocketType, ipproto, netlink, socket};
use tempfile::TempDir;

use super::*;

/// Says what the process tries, and with it what it is confined to.
const ATTEMPT: &str = "SWF_FILTER_TEST_ATTEMPT";
const FOLDER: &str = "SWF_FILTER_TEST_FOLDER";
/// Says as which process it is confined, if it is.
const CONFINED_AS: &str = "SWF_FILTER_TEST_CONFINED_AS";

/// How the process ends if it could do what it tried, if that was refused, and otherwise.
const DONE: i32 = 0;
const REFUSED: i32 = 7;
const OTHERWISE: i32 = 8;

#[derive(Clone, Copy, PartialEq)]
enum Confined {
    No,
    /// As the listener.
    Yes,
    Daemon,
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
    match confined {
        Confined::No => {}
        Confined::Yes => {
            command.env(CONFINED_AS, "listener");
        }
        Confined::Daemon => {
            command.env(CONFINED_AS, "daemon");
        }
    }
    command.output().unwrap().status
}

#[test]
#[ignore = "other tests run it in a process of its own"]
fn attempts() {
    let what = env::var(ATTEMPT).unwrap();
    let folder = PathBuf::from(env::var_os(FOLDER).unwrap());
    if let Ok(process) = env::var(CONFINED_AS) {
        let process = match &*process {
            "daemon" => Process::Daemon,
            _ => Process::Listener,
        };
        let mut reach = Reach::default();
        reach.read_around(&folder.join("policy/10.toml"));
        reach.write.push(folder.join("state"));
        confine(process, &reach).unwrap();
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
        "execveat" => Err(execute(&File::open(folder.join("policy/true")).unwrap())),
        "memfd" => memfd_create("code", MemfdFlags::CLOEXEC)
            .map(drop)
            .map_err(Into::into),
        "map code" => map(None, ProtFlags::READ | ProtFlags::EXEC),
        "map code to write" => map(None, ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC),
        "map code of a file" => map(
            Some(&File::open(folder.join("policy/10.toml")).unwrap()),
            ProtFlags::READ | ProtFlags::EXEC,
        ),
        "make code" => make_code(),
        "packets" => open(AddressFamily::PACKET, SocketType::RAW, None),
        "packets without links" => open(AddressFamily::PACKET, SocketType::DGRAM, None),
        "raw IPv4" => open(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)),
        "raw IPv6" => open(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6)),
        "raw IPv4 with a flag" => {
            let flags = rustix::net::SocketFlags::CLOEXEC;
            let kind = SocketType::RAW;
            rustix::net::socket_with(AddressFamily::INET, kind, flags, Some(ipproto::RAW))
                .map(drop)
                .map_err(Into::into)
        }
        // Protocol 0 is that of interfaces, addresses and routes.
        "netlink" => open(AddressFamily::NETLINK, SocketType::DGRAM, None),
        "firewall" => open(
            AddressFamily::NETLINK,
            SocketType::RAW,
            Some(netlink::NETFILTER),
        ),
        "usual sockets" => open_usual(folder),
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

fn open(family: AddressFamily, kind: SocketType, protocol: Option<Protocol>) -> io::Result<()> {
    Ok(socket(family, kind, protocol).map(drop)?)
}

/// All that either process opens.
fn open_usual(folder: &Path) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    std::net::TcpStream::connect(listener.local_addr()?)?;
    UdpSocket::bind("127.0.0.1:0")?;
    UnixDatagram::unbound()?;
    UnixListener::bind(folder.join("state/socket"))?;
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        open(family, SocketType::STREAM, Some(ipproto::TCP))?;
        open(family, SocketType::DGRAM, Some(ipproto::UDP))?;
    }
    Ok(())
}

/// Bytes of a mapping.
const PAGE: usize = 4096;

#[expect(unsafe_code, reason = "an attack")]
fn map(file: Option<&File>, access: ProtFlags) -> io::Result<()> {
    let private = MapFlags::PRIVATE;
    let mapped = match file {
        // SAFETY: the kernel chooses where, and nothing is done with it.
        Some(file) => unsafe { mmap(null_mut(), PAGE, access, private, file.as_fd(), 0) },
        // SAFETY: the same.
        None => unsafe { mmap_anonymous(null_mut(), PAGE, access, private) },
    };
    Ok(mapped.map(drop)?)
}

#[expect(unsafe_code, reason = "an attack")]
fn make_code() -> io::Result<()> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses where.
    let page = unsafe { mmap_anonymous(null_mut(), PAGE, access, MapFlags::PRIVATE) }?;
    // SAFETY: the page was mapped just now, and nobody else knows of it.
    Ok(unsafe { mprotect(page, PAGE, MprotectFlags::READ | MprotectFlags::EXEC) }?)
}

/// Becomes another program by its descriptor; gives why not.
#[expect(unsafe_code, reason = "an attack")]
fn execute(program: &File) -> io::Error {
    let (path, none) = (c"", null::<*const libc::c_char>());
    let arguments = [path.as_ptr(), null()];
    // SAFETY: the path and the list of arguments end with zeros, and live as long as the call.
    let _failed = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            path.as_ptr(),
            arguments.as_ptr(),
            none,
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Reads a file once it is not what it was.
fn wait_for_another(path: &Path) -> io::Result<()> {
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
    fs::copy("/bin/true", folder.path().join("policy/true")).unwrap();
    for way in ["exec", "execveat"] {
        let code = |confined| attempt(way, folder.path(), confined);
        assert_eq!(code(Confined::Yes).signal(), Some(libc::SIGSYS), "{way}");
        assert_eq!(code(Confined::Daemon).signal(), Some(libc::SIGSYS), "{way}");
        assert_eq!(code(Confined::No).code(), Some(DONE), "{way}");
    }
}

#[test]
fn no_memory_becomes_code() {
    let folder = folder();
    for way in [
        "memfd",
        "map code",
        "map code to write",
        "map code of a file",
        "make code",
    ] {
        let code = |confined| attempt(way, folder.path(), confined).code();
        assert_eq!(code(Confined::Yes), Some(REFUSED), "{way}");
        assert_eq!(code(Confined::Daemon), Some(REFUSED), "{way}");
        assert_eq!(code(Confined::No), Some(DONE), "{way}");
    }
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
    for kind in [
        "packets",
        "packets without links",
        "raw IPv4",
        "raw IPv4 with a flag",
        "raw IPv6",
        "firewall",
    ] {
        let code = |confined| attempt(kind, folder.path(), confined).code();
        assert_eq!(code(Confined::Yes), Some(REFUSED), "{kind}");
        assert_eq!(code(Confined::Daemon), Some(REFUSED), "{kind}");
        if rustix::process::geteuid().is_root() {
            assert_eq!(code(Confined::No), Some(DONE), "{kind}");
        }
    }
}

#[test]
fn sockets_that_are_needed_can_be_opened() {
    for confined in [Confined::No, Confined::Yes, Confined::Daemon] {
        let folder = folder();
        let code = |what| attempt(what, folder.path(), confined).code();
        assert_eq!(code("usual sockets"), Some(DONE));
        assert_eq!(code("netlink"), Some(DONE));
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
