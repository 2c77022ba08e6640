//! A world with a listener between its gate and an SWF: moto, which is what others test their workflows with.

use std::{
    collections::BTreeMap,
    env, fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;

use crate::{
    process::{Child, run},
    require,
    wait::{holds_within, wait_until},
    world::{DEADLINE, World},
};

/// Where the listener listens, for client one.
pub const ONE: &str = "10.20.0.1:8443";
/// The same, for client two.
pub const TWO: &str = "10.30.0.1:8443";
/// Where the listener wants a PROXY header, for client one.
pub const PROXIED: &str = "10.20.0.1:9443";
/// The name in the certificate.
pub const NAME: &str = "swf.test";
/// Where the upstream listens, on the host.
pub const UPSTREAM: &str = "127.0.0.1:5000";

/// Where logs are, in a world.
pub const LOGS: &str = "log";
/// The audit log among them.
const AUDIT: &str = "log/audit.jsonl";

/// What stands behind the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// moto, an SWF.
    Moto,
    /// What a test starts by itself, at [`UPSTREAM`].
    Own,
}

/// A world with a daemon, a listener and an upstream.
#[derive(Debug)]
pub struct Stage {
    /// The world.
    pub world: World,
    /// The daemon.
    pub daemon: Child,
    /// The listener.
    pub listener: Child,
    /// The SWF behind it, if it is not the test's own.
    pub upstream: Option<Child>,
    python: PathBuf,
}

/// An access key.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl Stage {
    /// A stage with a policy; `None`, said loudly, where the machine or the build cannot do it.
    pub fn new(
        name: &str,
        policy: &[(&str, &str)],
        principals: &str,
        documents: &[(&str, &str)],
    ) -> Result<Option<Self>> {
        let files = (policy, principals, documents);
        Self::before(name, files, Behind::Moto, "")
    }

    /// The same with policy, principals and documents before an upstream, and with `settings` at the end of listener.toml.
    pub fn before(
        name: &str,
        (policy, principals, documents): Files<'_>,
        behind: Behind,
        settings: &str,
    ) -> Result<Option<Self>> {
        let Some(python) = env::var_os("SWF_FILTER_PYTHON").map(PathBuf::from) else {
            require::skip("needs SWF_FILTER_PYTHON: run `cargo xtask test`");
            return Ok(None);
        };
        let Some(world) = World::new(name)? else {
            return Ok(None);
        };
        for (file, text) in policy {
            world.write_policy(file, text)?;
        }
        let folder = world.file("principals.d");
        fs::create_dir(&folder)?;
        fs::write(folder.join("principals.toml"), principals)?;
        for (file, text) in documents {
            fs::write(folder.join(file), text)?;
        }
        write_certificates(&world)?;
        write_settings(&world, settings)?;
        run(listener_command(&world).args(["keys", "rotate"]))?;

        let upstream = match behind {
            Behind::Moto => Some(moto(&world, &python)?),
            Behind::Own => None,
        };
        let daemon = world.attached_daemon()?;
        let listener = Child::spawn("listener", listener_command(&world).arg("listener"))?;
        let stage = Self {
            world,
            daemon,
            listener,
            upstream,
            python,
        };
        if behind == Behind::Moto {
            stage.wait_until_up(UPSTREAM)?;
        }
        stage.wait_until_listening();
        Ok(Some(stage))
    }

    fn wait_until_up(&self, address: &str) -> Result<()> {
        let address: SocketAddr = address.parse()?;
        wait_until(DEADLINE, "an upstream that listens", || {
            self.world.host.run(|| TcpStream::connect(address).is_ok())
        });
        Ok(())
    }

    /// Waits until the listener enforces the daemon's policy.
    pub fn wait_until_listening(&self) {
        wait_until(DEADLINE, "a listener with the daemon's policy", || {
            self.status().is_ok_and(|status| {
                let policy = &status["listener"]["policy"];
                policy.is_object() && policy["policy"] == status["policy"]
            })
        });
    }

    /// Starts the listener again.
    pub fn restart_listener(&mut self) -> Result<()> {
        self.start_listener(self.command())
    }

    /// The same with a command that starts the one that is behind it.
    pub fn restart_listener_with(&mut self, starter: &[&str]) -> Result<()> {
        let own = self.command();
        let mut command = Command::new("env");
        command.arg("NO_COLOR=1").args(starter);
        command.arg(own.get_program()).args(own.get_args());
        self.start_listener(command)
    }

    fn start_listener(&mut self, mut command: Command) -> Result<()> {
        self.listener = Child::spawn("listener", command.arg("listener"))?;
        Ok(())
    }

    /// Python with the packages of `python/requirements.txt`, on client one.
    #[must_use]
    pub fn python(&self) -> Command {
        self.world.one.command(&self.python)
    }

    /// The binary, with the settings of daemon and listener.
    #[must_use]
    pub fn command(&self) -> Command {
        listener_command(&self.world)
    }

    /// What `status` says, of both gates.
    pub fn status(&self) -> Result<Value> {
        self.ask(&["status"])
    }

    /// What a command answers, as JSON.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let answer = run(self.command().args(["--output", "json"]).args(arguments))?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// Makes an access key for a user.
    pub fn create_key(&self, user: &str) -> Result<AccessKey> {
        let key = self.ask(&["keys", "create", user])?;
        let text = |field: &str| {
            let text = key[field].as_str().map(str::to_owned);
            text.with_context(|| format!("no `{field}` in {key}"))
        };
        Ok(AccessKey {
            id: text("access_key_id")?,
            secret: text("secret_access_key")?,
        })
    }

    /// Waits until the listener knows a key.
    pub fn wait_for_key(&self, key: &AccessKey) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while let Err(error) = self.scenario("known", ONE, key) {
            ensure!(
                Instant::now() < deadline,
                "the key is not known: {error:#}: {}",
                self.said()
            );
        }
        Ok(())
    }

    /// Runs a scenario of `clients.py` on client one, with a key; each line that it prints is `ok` and what was seen.
    pub fn scenario(&self, name: &str, address: &str, key: &AccessKey) -> Result<String> {
        let namespace = if address == TWO {
            &self.world.two
        } else {
            &self.world.one
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/clients.py");
        let mut command = namespace.command(&self.python);
        command
            .args([script, name, &format!("https://{address}")])
            .env("AWS_ACCESS_KEY_ID", &key.id)
            .env("AWS_SECRET_ACCESS_KEY", &key.secret)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_CA_BUNDLE", self.world.file("ca.pem"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env_remove("AWS_SESSION_TOKEN")
            .env_remove("REQUESTS_CA_BUNDLE")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let printed = run(&mut command)?;
        ensure!(
            printed.lines().any(|line| line == "done"),
            "the scenario `{name}` did not come to its end: {printed}"
        );
        Ok(printed)
    }

    /// What the listener has said, and what is last in its audit log.
    fn said(&self) -> String {
        let log = fs::read_to_string(self.world.file(AUDIT)).unwrap_or_default();
        let last = log.lines().next_back().unwrap_or_default();
        format!("{}\n{last}", self.listener.stderr())
    }

    /// The names of a listener's refused connections and handshakes, with how many there were.
    pub fn refusals(&self, listener: &str) -> Result<BTreeMap<String, u64>> {
        let status = self.status()?;
        let listeners = status["listener"]["listeners"].as_array();
        let found = listeners.into_iter().flatten();
        let found = found.into_iter().find(|one| one["name"] == listener);
        let found = found.with_context(|| format!("no listener `{listener}` in {status}"))?;
        let kinds = ["turned_away", "handshakes_refused"];
        let counts = kinds.map(|kind| serde_json::from_value(found[kind].clone()));
        let [turned, refused]: [serde_json::Result<Vec<_>>; 2] = counts;
        Ok(turned?.into_iter().chain(refused?).collect())
    }

    /// What the audit log has, once it is all that is waited for: records are written a moment after their answers.
    pub fn audit(&self, is_all: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
        let path = self.world.file(AUDIT);
        let mut records = Ok(Vec::new());
        let came = holds_within(DEADLINE, || {
            records = whole_lines(&path);
            records.as_deref().is_ok_and(&is_all)
        });
        let records = records?;
        ensure!(
            came,
            "something is missing in the audit log, or too much: {records:?}"
        );
        Ok(records)
    }
}

/// The lines of an audit log, but for one that is half written.
fn whole_lines(path: &Path) -> Result<Vec<Value>> {
    let log = fs::read_to_string(path)?;
    let (whole, _) = log.rsplit_once('\n').unwrap_or_default();
    let lines = whole.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

/// Files of a policy by name, principals.toml, and the documents beside it.
pub type Files<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a [(&'a str, &'a str)]);

fn moto(world: &World, python: &Path) -> Result<Child> {
    let (address, port) = UPSTREAM.split_once(':').context("no port")?;
    let arguments = ["-m", "moto.server", "-H", address, "-p", port];
    Child::spawn("moto", world.host.command(python).args(arguments))
}

fn listener_command(world: &World) -> Command {
    let mut command = world.command();
    command
        .arg("--listener-config")
        .arg(world.file("listener.toml"));
    command
}

fn write_settings(world: &World, settings: &str) -> Result<()> {
    let folder = world.file("");
    let folder = folder.display().to_string();
    let folder = folder.trim_end_matches('/');
    let text = format!(
        r#"version = 1

[[listener]]
name = "direct"
listen = ["10.20.0.1:8443%eth1", "10.30.0.1:8443%eth2"]
host = "swf"
certificates = [{{ chain = "{folder}/cert.pem", key = "{folder}/key.pem" }}]
upstream = "moto"

[[listener]]
name = "proxied"
listen = ["10.20.0.1:9443"]
host = "swf"
proxy = "required"
certificates = [{{ chain = "{folder}/cert.pem", key = "{folder}/key.pem" }}]
upstream = "moto"

[[upstream]]
name = "moto"
addresses = ["http://{UPSTREAM}"]
identity = "headers"

[paths]
run = "{folder}/run"
listener_run = "{folder}/listener-run"
state = "{folder}/listener-state"
keys = "{folder}/keys"
audit = "{folder}/{AUDIT}"

{settings}"#
    );
    Ok(fs::write(world.file("listener.toml"), text)?)
}

/// Writes an authority, and a certificate that it signs, over those that are there.
pub fn write_certificates(world: &World) -> Result<()> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority
        .distinguished_name
        .push(DnType::CommonName, "an authority for tests");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let names = [NAME, "10.20.0.1", "10.30.0.1"].map(str::to_owned);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
    fs::write(world.file("ca.pem"), authority.pem())?;
    fs::write(world.file("cert.pem"), certificate.pem())?;
    let path = world.file("key.pem");
    fs::write(&path, key.serialize_pem())?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    Ok(fs::set_permissions(path, mode)?)
}
