//! Network namespaces that go away with their guard.
//!
//! Commands enter a namespace by `nsenter` and not by `ip netns exec`, which would hide the mounts below `/sys`, bpffs among them. Threads
//! enter by `setns`: a fresh thread for each piece of work, because a thread that has left its namespace is of no use to others.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::fd::AsFd,
    panic,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::run;

/// A network namespace, removed when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    door: Door,
}

/// A way into a namespace that keeps it alive, even when its name is gone.
#[derive(Clone, Debug)]
pub struct Door(Arc<File>);

impl Namespace {
    /// A new namespace with `lo` up, duplicate address detection and router solicitation off.
    ///
    /// Removes those of tests that have died, first.
    pub fn new() -> Result<Self> {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let name = unique_name();
        add(&name)?;
        // From here on a failure drops the guard, which removes the namespace.
        let namespace = Self {
            door: Door::open(&name)?,
            name,
        };
        namespace.run(quieten)?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name, as `ip netns` lists it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        path_of(&self.name)
    }

    /// A way in that outlives the name.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// A command that runs inside; add arguments to it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display()));
        command.arg("--").arg(program);
        command
    }

    /// Runs `ip` on this namespace; the arguments are separated by blanks.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let arguments = arguments.split_whitespace();
        run(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    /// Sets a kernel setting below `/proc/sys/net`, such as `ipv4/ip_forward`.
    pub fn set(&self, setting: &str, value: &str) -> Result<()> {
        self.run(|| write_setting(setting, value))
    }

    /// Runs `work` on a thread inside, and gives what it gives; a panic goes on here.
    ///
    /// # Panics
    ///
    /// If the thread cannot enter the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.door.run(work)
    }

    /// Adds a neighbour that is never asked for.
    pub fn add_neighbor(&self, interface: &str, address: &str, mac: &str) -> Result<()> {
        let arguments =
            format!("neigh replace {address} lladdr {mac} dev {interface} nud permanent");
        self.ip(&arguments).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("{error:#}");
        }
    }
}

impl Door {
    fn open(name: &str) -> Result<Self> {
        let path = path_of(name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self(Arc::new(file)))
    }

    /// Runs `work` on a thread inside, and gives what it gives; a panic goes on here.
    ///
    /// # Panics
    ///
    /// If the thread cannot enter the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let ended = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                work()
            });
            inside.join()
        });
        ended.unwrap_or_else(|cause| panic::resume_unwind(cause))
    }

    /// Starts `work` on a thread inside that goes on by itself.
    ///
    /// # Panics
    ///
    /// The thread does, if it cannot enter the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let door = self.clone();
        thread::spawn(move || {
            door.enter();
            work()
        })
    }

    fn enter(&self) {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("a thread can enter a namespace it holds open");
    }
}

/// Removes the namespaces of test processes that are no more.
///
/// [`Namespace::new`] does this once in each process.
pub fn sweep() {
    let Ok(entries) = fs::read_dir(FOLDER) else {
        return;
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    for name in names.filter_map(|name| name.into_string().ok()) {
        if owner(&name).is_some_and(|pid| !is_alive(pid)) {
            // Another test process may have been faster.
            let _removed = remove(&name);
        }
    }
}

/// The process that has made a namespace of this name, if a test has.
fn owner(name: &str) -> Option<u32> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{count}", std::process::id())
}

/// One at a time, because the first `ip netns add` on a machine sets up the mount that the others need.
fn add(name: &str) -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    run(Command::new("ip").args(["netns", "add", name])).map(drop)
}

fn remove(name: &str) -> Result<()> {
    run(Command::new("ip").args(["netns", "del", name])).map(drop)
}

fn path_of(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Makes addresses usable at once, and the kernel say little by itself.
fn quieten() -> Result<()> {
    for scope in ["all", "default"] {
        write_setting(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
        write_setting(&format!("ipv6/conf/{scope}/router_solicitations"), "0")?;
        write_setting(&format!("ipv4/conf/{scope}/rp_filter"), "0")?;
    }
    Ok(())
}

/// `/proc/sys/net` shows the settings of the thread that asks.
fn write_setting(setting: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys/net").join(setting);
    fs::write(&path, value).with_context(|| format!("cannot set {}", path.display()))
}

const FOLDER: &str = "/run/netns";
const PREFIX: &str = "swft-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_is_read_from_names_of_tests_only() {
        assert_eq!(owner("swft-12-3"), Some(12));
        assert_eq!(owner("swft-x-3"), None);
        assert_eq!(owner("prod-12-3"), None);
    }
}
