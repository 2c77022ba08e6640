//! Looks at the machine itself: kernel, clock, disks, units.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
use rustix::process::{Resource, geteuid, getrlimit};

use super::facts::{Directory, Machine, Room, Seen, Unit};
use crate::dataplane::preflight;

/// Where units are, the administrator's first (systemd.unit(5)).
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Is there where systemd has started the machine (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";
/// Units that matter here.
const NAMES: [&str; 2] = ["swf-filter.service", "swf-filter-listener.service"];

/// What systemd-timesyncd makes once the clock is right (systemd-timesyncd.service(8)).
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// Tells what the kernel thinks of its clock (`STA_UNSYNC` of adjtimex(2)), whatever sets it.
const TIMEDATECTL: &str = "/usr/bin/timedatectl";
/// How long another program may take.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Kernel and clock.
pub(super) fn machine() -> Machine {
    Machine {
        release: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        capabilities: preflight::effective().map_err(|error| format!("{error:#}")),
        locked: getrlimit(Resource::Memlock).current,
        unprivileged: text("/proc/sys/kernel/unprivileged_bpf_disabled"),
        jit: text("/proc/sys/net/core/bpf_jit_enable"),
        synchronised: synchronised(),
    }
}

/// A directory that is written to, or what is above it if it is yet to be made.
pub(super) fn directory(what: &'static str, path: &Path) -> Directory {
    let there = path.ancestors().find(|path| path.exists());
    Directory {
        what,
        path: path.to_owned(),
        room: room(there.unwrap_or(Path::new("/"))).map_err(|error| error.to_string()),
    }
}

/// Units, where systemd runs the machine.
pub(super) fn units() -> Seen<Vec<Unit>> {
    if !Path::new(BOOTED).exists() {
        return Err("systemd does not run this machine".to_owned());
    }
    Ok(NAMES
        .into_iter()
        .map(|name| Unit {
            name,
            installed: UNITS
                .iter()
                .any(|folder| Path::new(folder).join(name).exists()),
            enabled: UNITS.iter().any(|folder| is_wanted(folder, name)),
        })
        .collect())
}

fn room(path: &Path) -> io::Result<Room> {
    let file_system = statvfs(path)?;
    Ok(Room {
        writable: access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        root: geteuid().is_root(),
        read_only: file_system.f_flag.contains(StatVfsMountFlags::RDONLY),
        bytes: file_system.f_bavail.saturating_mul(file_system.f_frsize),
        // Some file systems make room for files as they need it, and count none.
        files: (file_system.f_files > 0).then_some(file_system.f_favail),
    })
}

/// Whether a start of the machine, or of another unit, starts it.
fn is_wanted(folder: &str, unit: &str) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders = entries.map(|entry| entry.path()).filter(|path| {
        let extension = path.extension();
        extension.is_some_and(|extension| extension == "wants" || extension == "requires")
    });
    // A link is enough: what it leads to may be for the machine to see only once it runs.
    folders.any(|folder: PathBuf| folder.join(unit).symlink_metadata().is_ok())
}

fn synchronised() -> Seen<bool> {
    if Path::new(SYNCHRONISED).exists() {
        return Ok(true);
    }
    let question = ["show", "--property=NTPSynchronized", "--value"];
    let answer = printed(Command::new(TIMEDATECTL).args(question));
    match answer.map(|answer| answer.trim().to_owned()).as_deref() {
        Ok("yes") => Ok(true),
        Ok("no") => Ok(false),
        Ok(_) => Err(format!("`{TIMEDATECTL}` does not tell")),
        Err(error) => Err(format!("`{TIMEDATECTL}`: {error}")),
    }
}

/// What a program prints within its time.
fn printed(command: &mut Command) -> io::Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let end = Instant::now() + PATIENCE;
    // A word fits the pipe, so that it never waits for its reader.
    while child.try_wait()?.is_none() {
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        sleep(PAUSE);
    }
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn text(path: &str) -> Seen<String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
}
