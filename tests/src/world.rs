//! A protected host with two interfaces, a client behind each, and the daemon that is tested.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    link::{self, End, Mac},
    netns::Namespace,
    process::{Child, run},
    require, rivals,
    traffic::Traffic,
    wait::wait_until,
    wire::Wire,
};

/// Longer than anything takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A host with interfaces `eth1` and `eth2`, and a client behind each, whose interface is `eth0`.
#[derive(Debug)]
pub struct World {
    /// The host.
    pub host: Namespace,
    /// The client behind `eth1`: 10.20.0.2 and `fd20::2`, and the host is 10.20.0.1 and `fd20::1`.
    pub one: Namespace,
    /// The client behind `eth2`: 10.30.0.2 and `fd30::2`, and the host is 10.30.0.1 and `fd30::1`.
    pub two: Namespace,
    folder: TempDir,
    pins: PathBuf,
    binary: PathBuf,
    engine: Option<Engine>,
}

/// What the kernel says by itself in a world.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kernel {
    /// Nothing: there are no addresses to speak from.
    Silent,
    /// What a machine with addresses says.
    Talking,
}

/// What the packet gate looks sources up in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    /// The compiled engine.
    Compiled,
    /// The kernel's LPM tries.
    LpmTrie,
}

impl Engine {
    /// As config.toml and `status` have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Compiled => "compiled",
            Self::LpmTrie => "lpm-trie",
        }
    }
}

/// Makes two tests of each function, one for each [`Engine`].
#[macro_export]
macro_rules! for_each_engine {
    ($($test:ident),* $(,)?) => {$(
        mod $test {
            use $crate::world::Engine;

            #[test]
            fn compiled() -> anyhow::Result<()> {
                super::$test(Engine::Compiled)
            }

            #[test]
            fn lpm_trie() -> anyhow::Result<()> {
                super::$test(Engine::LpmTrie)
            }
        }
    )*};
}

/// The gate's name of each reason, and how many packets ended in it.
pub type Counts = BTreeMap<String, u64>;

impl World {
    /// A world whose machines have addresses; `None`, said loudly, where the machine or the build cannot do it.
    ///
    /// `name` tells the worlds of one test program apart.
    pub fn new(name: &str) -> Result<Option<Self>> {
        Self::make(name, Kernel::Talking, None)
    }

    /// A world in which no frame is sent but by the test, so that every counter is exact.
    pub fn silent(name: &str) -> Result<Option<Self>> {
        Self::make(name, Kernel::Silent, None)
    }

    /// The same, for a daemon that is told which engine to use.
    pub fn silent_on(name: &str, engine: Engine) -> Result<Option<Self>> {
        let name = format!("{name}-{}", engine.name());
        Self::make(&name, Kernel::Silent, Some(engine))
    }

    fn make(name: &str, kernel: Kernel, engine: Option<Engine>) -> Result<Option<Self>> {
        if !require::root() {
            return Ok(None);
        }
        let Some(binary) = env::var_os("SWF_FILTER_BIN").map(PathBuf::from) else {
            require::skip("needs SWF_FILTER_BIN: run `cargo xtask test`");
            return Ok(None);
        };
        sweep();
        let world = Self {
            host: Namespace::new()?,
            one: Namespace::new()?,
            two: Namespace::new()?,
            folder: tempfile::Builder::new().prefix("swft-").tempdir()?,
            pins: Path::new(PINS).join(format!("{PREFIX}{}-{name}", process::id())),
            binary,
            engine,
        };
        if kernel == Kernel::Silent {
            for namespace in [&world.host, &world.one, &world.two] {
                namespace.set("ipv6/conf/default/disable_ipv6", "1")?;
            }
        }
        for [client, host] in [world.cable_one(), world.cable_two()] {
            let (client, host) = match kernel {
                Kernel::Silent => (without_addresses(client), without_addresses(host)),
                Kernel::Talking => (client, host),
            };
            link::connect(client, host)?;
        }
        fs::create_dir(world.policies())?;
        world.write_config("")?;
        Ok(Some(world))
    }

    /// The ends of the cable between client one and `eth1`.
    #[must_use]
    pub fn cable_one(&self) -> [End<'_>; 2] {
        self.cable(&self.one, ("eth1", 1), &CABLE_ONE)
    }

    /// The ends of the cable between client two and `eth2`.
    #[must_use]
    pub fn cable_two(&self) -> [End<'_>; 2] {
        self.cable(&self.two, ("eth2", 3), &CABLE_TWO)
    }

    fn cable<'a>(
        &'a self,
        client: &'a Namespace,
        (name, mac): (&'a str, u8),
        [there, here]: &'a [[&'a str; 2]; 2],
    ) -> [End<'a>; 2] {
        let end = |namespace, name, mac, addresses| End {
            namespace,
            name,
            mac: Mac::local(mac),
            addresses,
        };
        [
            end(client, "eth0", mac, there),
            end(&self.host, name, mac + 1, here),
        ]
    }

    /// Client one's cable, for frames made by hand.
    pub fn wire_one(&self) -> Result<Wire> {
        Wire::open(self.cable_one())
    }

    /// Client two's cable, for frames made by hand.
    pub fn wire_two(&self) -> Result<Wire> {
        Wire::open(self.cable_two())
    }

    /// Starts the rivals' traffic from both clients.
    pub fn traffic(&self) -> Result<Traffic> {
        let lane = |wire: Wire| {
            let frames = rivals::round(wire.macs());
            (wire, frames)
        };
        Ok(Traffic::start(vec![
            lane(self.wire_one()?),
            lane(self.wire_two()?),
        ]))
    }

    /// A file of this world, by its name.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The directory of policy files.
    #[must_use]
    pub fn policies(&self) -> PathBuf {
        self.file("policy.d")
    }

    /// The directory of pins.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Writes a policy file.
    pub fn write_policy(&self, name: &str, text: impl AsRef<[u8]>) -> Result<()> {
        let path = self.policies().join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes config.toml, with `settings` besides those that keep this world to itself.
    pub fn write_config(&self, settings: &str) -> Result<()> {
        let engine = self.engine.map_or_else(String::new, |engine| {
            format!("engine = \"{}\"\n", engine.name())
        });
        let settings = format!("interfaces = [\"eth?\"]\n{engine}{settings}");
        write_config(self.folder.path(), &self.pins, &settings)
    }

    /// Makes settings and a policy for a daemon that knows nothing of the first one, and gives the path of the settings.
    pub fn write_other(&self, interface: &str, policy: &str) -> Result<PathBuf> {
        let folder = self.file("other");
        fs::create_dir_all(folder.join("policy.d"))?;
        fs::write(folder.join("policy.d/10.toml"), policy)?;
        let settings = format!("interfaces = [\"{interface}\"]\n");
        write_config(&folder, &self.other_pins(), &settings)?;
        Ok(folder.join("config.toml"))
    }

    /// The directory of pins of that daemon.
    #[must_use]
    pub fn other_pins(&self) -> PathBuf {
        let mut name = self.pins.clone().into_os_string();
        name.push("-other");
        name.into()
    }

    /// The binary, to be run on the host with this world's settings; add arguments to it.
    #[must_use]
    pub fn command(&self) -> Command {
        self.command_of(&self.file("config.toml"))
    }

    /// The binary with other settings.
    #[must_use]
    pub fn command_of(&self, config: &Path) -> Command {
        let mut command = self.host.command(&self.binary);
        command.arg("--config").arg(config).env("NO_COLOR", "1");
        command
    }

    /// Starts the daemon.
    pub fn daemon(&self) -> Result<Child> {
        Child::spawn("swf-filter", self.command().arg("daemon"))
    }

    /// Starts the daemon, and waits until both interfaces have the program.
    pub fn attached_daemon(&self) -> Result<Child> {
        let daemon = self.restarted_daemon()?;
        wait_until(DEADLINE, "the filter on both interfaces", || {
            self.status().is_ok_and(|status| {
                ["eth1", "eth2"]
                    .iter()
                    .all(|name| !interface(&status, name)["mode"].is_null())
            })
        });
        Ok(daemon)
    }

    /// Starts the daemon, and waits until it answers, which it does when it has read the policy and attached.
    ///
    /// Fails if it ends before.
    pub fn restarted_daemon(&self) -> Result<Child> {
        let mut daemon = self.daemon()?;
        let mut ended = None;
        wait_until(DEADLINE, "the end of the start", || {
            ended = daemon.status().ok().flatten();
            let answers = self
                .status()
                .is_ok_and(|status| status["pid"] == daemon.id());
            answers || ended.is_some()
        });
        ensure!(ended.is_none(), "the daemon has ended: {}", daemon.stderr());
        Ok(daemon)
    }

    /// What the daemon answers to a command, as JSON.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let answer = run(self.command().args(["--output", "json"]).args(arguments))?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// What `swf-filter status` says.
    pub fn status(&self) -> Result<Value> {
        self.ask(&["status"])
    }

    /// Has the daemon read the files again, and waits until they are in force.
    ///
    /// Fails with what is said of them if they are not.
    pub fn reload(&self) -> Result<()> {
        run(self.command().arg("reload")).map(drop)
    }

    /// Does the same by a signal, which takes no descriptor of the daemon's.
    pub fn reload_by_signal(&self, daemon: &Child) -> Result<()> {
        let heard = self.ask_to_reload(daemon)?;
        let mut said = String::new();
        wait_until(DEADLINE, "the end of the reload", || {
            said = daemon.stderr().split_off(heard);
            has_ended(&said)
        });
        if let Some(refused) = said.find(REFUSED) {
            bail!("{}", &said[refused..]);
        }
        Ok(())
    }

    /// Has the daemon read the files again; what it says of them begins at the place given.
    pub fn ask_to_reload(&self, daemon: &Child) -> Result<usize> {
        wait_until(DEADLINE, "a daemon that hears", || catches_hangup(daemon));
        let heard = daemon.stderr().len();
        daemon.signal(Signal::HUP)?;
        Ok(heard)
    }

    /// How many packets have ended in each reason since the filter was first attached.
    pub fn reasons(&self) -> Result<Counts> {
        let status = self.status()?;
        let reasons = status["reasons"].as_array().context("no list of reasons")?;
        let counts = reasons.iter().map(|count| {
            let name = count["reason"]
                .as_str()
                .context("a reason without a name")?;
            let packets = count["packets"]
                .as_u64()
                .context("a reason without packets")?;
            Ok((name.to_owned(), packets))
        });
        counts.collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Also after a failed test: links end with their interfaces, but maps would stay.
        for pins in [self.other_pins(), self.pins.clone()] {
            let _may_be_gone = fs::remove_dir_all(pins);
        }
    }
}

/// What `status` says of an interface; null if it does not name it.
#[must_use]
pub fn interface<'a>(status: &'a Value, name: &str) -> &'a Value {
    let listed = status["interfaces"].as_array();
    let mut interfaces = listed.into_iter().flatten();
    interfaces
        .find(|interface| interface["name"] == name)
        .unwrap_or(&Value::Null)
}

/// What was counted between two readings, without what was not.
#[must_use]
pub fn counted_since(before: &Counts, after: &Counts) -> Counts {
    after
        .iter()
        .map(|(reason, packets)| {
            let earlier = before.get(reason).copied().unwrap_or_default();
            (reason.clone(), packets - earlier)
        })
        .filter(|(_, packets)| *packets > 0)
        .collect()
}

/// Whether the daemon has said how reading the policy went.
fn has_ended(said: &str) -> bool {
    said.lines()
        .any(|line| ENDS.iter().any(|end| line.contains(end)))
}

/// Until a program catches it, a hangup ends it.
fn catches_hangup(daemon: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap_or_default();
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & 1 == 1)
}

/// Removes the pins of test processes that were killed before they could do so.
fn sweep() {
    let Ok(entries) = fs::read_dir(PINS) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _may_be_gone = fs::remove_dir_all(entry.path());
        }
    }
}

fn write_config(folder: &Path, pins: &Path, settings: &str) -> Result<()> {
    let text = format!(
        "version = 1\n{settings}\n[paths]\npolicy = \"{folder}/policy.d\"\nrun = \"{folder}/run\"\n\
         state = \"{folder}/state\"\nbpf = \"{pins}\"\n",
        folder = folder.display(),
        pins = pins.display(),
    );
    Ok(fs::write(folder.join("config.toml"), text)?)
}

fn without_addresses(end: End<'_>) -> End<'_> {
    End {
        addresses: &[],
        ..end
    }
}

const PINS: &str = "/sys/fs/bpf";
const PREFIX: &str = "swf-filter-test-";
const CABLE_ONE: [[&str; 2]; 2] = [
    ["10.20.0.2/24", "fd20::2/64"],
    ["10.20.0.1/24", "fd20::1/64"],
];
const CABLE_TWO: [[&str; 2]; 2] = [
    ["10.30.0.2/24", "fd30::2/64"],
    ["10.30.0.1/24", "fd30::1/64"],
];
const REFUSED: &str = "reload failed";
const ENDS: [&str; 3] = [
    REFUSED,
    "new generation in force",
    "the policy means what it meant before",
];
