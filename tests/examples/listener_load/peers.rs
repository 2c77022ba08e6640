//! What is measured: the listener, and plain TLS proxies with the same certificate, suite and curve.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::process::Signal;
use serde_json::Value;
use swf_filter_tests::process::{Child, run};
use swf_filter_tests::world::World;

use crate::upstream;

/// The core that is measured; all else is on the other.
const CORE: &str = "1";
const NAME: &str = "swf.test";
const LISTENER: &str = "127.0.0.1:8443";
const NGINX: &str = "127.0.0.1:8444";
const HAPROXY: &str = "127.0.0.1:8445";
/// How long one may take to end; connections are closed by then.
const ENDING: Duration = Duration::from_secs(5);

/// Files, and an access key.
pub(crate) struct Setting {
    folder: PathBuf,
    pub(crate) authority: PathBuf,
    pub(crate) key_id: String,
    pub(crate) secret: String,
}

/// One of them.
pub(crate) struct Peer {
    name: &'static str,
    pub(crate) address: SocketAddr,
    process: Child,
    /// The listener's, which ends with it.
    daemon: Option<Child>,
}

impl Setting {
    pub(crate) fn new(world: &World) -> Result<Self> {
        let folder = world.file("");
        let authority = world.file("ca.pem");
        write_certificates(&folder)?;
        write_policy(world)?;
        write_settings(&folder)?;
        run(listener(world).args(["keys", "rotate"]))?;
        let key = listener(world)
            .args([
                "--output",
                "json",
                "keys",
                "create",
                "arn:aws:iam::111122223333:user/alice",
            ])
            .output()?;
        let key: Value = serde_json::from_slice(&key.stdout)?;
        let text = |field: &str| {
            let text = key[field].as_str().map(str::to_owned);
            text.with_context(|| format!("no `{field}` of a new key"))
        };
        Ok(Self {
            authority,
            key_id: text("access_key_id")?,
            secret: text("secret_access_key")?,
            folder,
        })
    }
}

/// Starts all of them.
pub(crate) fn start(world: &World, setting: &Setting) -> Result<Vec<Peer>> {
    let daemon = world.attached_daemon()?;
    let pinned = |program: &str| {
        let mut command = world.host.command("taskset");
        command.args(["-c", CORE, program]);
        command
    };
    let own = listener(world);
    let mut command = Command::new("taskset");
    command
        .args(["-c", CORE])
        .arg(own.get_program())
        .args(own.get_args());
    let listener = Peer {
        name: "swf-filter listener",
        address: LISTENER.parse()?,
        process: Child::spawn("listener", command.arg("listener"))?,
        daemon: Some(daemon),
    };
    let conf = setting.folder.join("nginx.conf");
    fs::write(&conf, nginx_conf(&setting.folder))?;
    let nginx = Peer {
        name: "nginx",
        address: NGINX.parse()?,
        process: Child::spawn("nginx", pinned("nginx").arg("-c").arg(&conf))?,
        daemon: None,
    };
    let conf = setting.folder.join("haproxy.cfg");
    fs::write(&conf, haproxy_conf(&setting.folder))?;
    let haproxy = Peer {
        name: "haproxy",
        address: HAPROXY.parse()?,
        process: Child::spawn("haproxy", pinned("haproxy").args(["-db", "-f"]).arg(&conf))?,
        daemon: None,
    };
    Ok(vec![listener, nginx, haproxy])
}

impl Peer {
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it is the listener.
    pub(crate) fn is_own(&self) -> bool {
        self.daemon.is_some()
    }

    /// How long its threads, and those of its children, have run.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut spent = 0;
        let mut pids = vec![self.process.id()];
        while let Some(pid) = pids.pop() {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"))
                .with_context(|| format!("{} has ended", self.name))?;
            for task in tasks {
                let task = task?.path();
                // Nanoseconds on a CPU come first (Documentation/scheduler/sched-stats.rst).
                let stat = fs::read_to_string(task.join("schedstat"))?;
                let nanoseconds = stat.split(' ').next().unwrap_or_default();
                spent += nanoseconds.parse::<u64>()?;
                let children = fs::read_to_string(task.join("children"))?;
                let children = children.split_whitespace().map(str::parse);
                pids.extend(children.collect::<Result<Vec<u32>, _>>()?);
            }
        }
        Ok(Duration::from_nanos(spent))
    }

    /// What it has said, if something is wrong.
    pub(crate) fn said(&self) -> String {
        self.process.stderr()
    }
}

impl Drop for Peer {
    /// Asks it to end before it is killed: a master that is killed leaves its workers behind.
    fn drop(&mut self) {
        let _gone_already = self.process.signal(Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < ENDING && matches!(self.process.status(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn listener(world: &World) -> Command {
    let mut command = world.command();
    command
        .arg("--listener-config")
        .arg(world.file("listener.toml"));
    command
}

fn write_certificates(folder: &Path) -> Result<()> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "an authority for benches");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([NAME.to_owned()])?.signed_by(&key, &authority)?;
    fs::write(folder.join("ca.pem"), authority.pem())?;
    fs::write(folder.join("cert.pem"), certificate.pem())?;
    fs::write(folder.join("key.pem"), key.serialize_pem())?;
    // haproxy wants both in one file.
    fs::write(
        folder.join("both.pem"),
        certificate.pem() + &key.serialize_pem(),
    )?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    Ok(fs::set_permissions(folder.join("key.pem"), mode)?)
}

fn write_policy(world: &World) -> Result<()> {
    world.write_policy(
        "10.toml",
        "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"127.0.0.1\"]\nports = [8443]\naccount = \"111122223333\"\n\
         resource_policies = [\"swf.json\"]\n",
    )?;
    world.write_policy(
        "swf.json",
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": "*", "Action": "swf:*", "Resource": "*",
            "Condition": {"NotIpAddress": {"aws:SourceIp": ["127.0.0.0/8", "10.0.0.0/8"]}}}}"#,
    )?;
    let principals = world.file("principals.d");
    fs::create_dir(&principals)?;
    fs::write(
        principals.join("alice.toml"),
        "version = 1\n[[account]]\nid = \"111122223333\"\n[[user]]\nname = \"alice\"\npolicies = [\"alice.json\"]\n",
    )?;
    Ok(fs::write(
        principals.join("alice.json"),
        r#"{"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "swf:*", "Resource": "arn:aws:swf:*:111122223333:/domain/*"},
            {"Effect": "Deny", "Action": "swf:DeprecateDomain", "Resource": "*"}]}"#,
    )?)
}

fn write_settings(folder: &Path) -> Result<()> {
    let text = format!(
        r#"version = 1
[[listener]]
name = "bench"
listen = ["{LISTENER}"]
host = "swf"
certificates = [{{ chain = "{folder}/cert.pem", key = "{folder}/key.pem" }}]
upstream = "instant"
[[upstream]]
name = "instant"
addresses = ["http://{upstream}"]
identity = "headers"
[limits]
connections_per_address = 100000
[paths]
run = "{folder}/run"
listener_run = "{folder}/listener-run"
state = "{folder}/listener-state"
keys = "{folder}/keys"
audit = "{folder}/audit.jsonl"
"#,
        upstream = upstream::ADDRESS,
        folder = folder.display().to_string().trim_end_matches('/'),
    );
    Ok(fs::write(folder.join("listener.toml"), text)?)
}

fn nginx_conf(folder: &Path) -> String {
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log {folder}/nginx.log;\n  upstream swf {{ server {upstream}; keepalive 64; }}\n\
         client_body_temp_path {folder}/nginx-body;\n  proxy_temp_path {folder}/nginx-proxy;\n\
         fastcgi_temp_path {folder}/nginx-fastcgi;\n  uwsgi_temp_path {folder}/nginx-uwsgi;\n  scgi_temp_path {folder}/nginx-scgi;\n\
         server {{\n    listen {NGINX} ssl;\n    ssl_certificate {folder}/cert.pem;\n    ssl_certificate_key {folder}/key.pem;\n\
         ssl_protocols TLSv1.3;\n    ssl_ecdh_curve X25519;\n    keepalive_requests 1000000;\n\
         location / {{ proxy_pass http://swf; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n  }}\n}}\n",
        upstream = upstream::ADDRESS,
        folder = folder.display().to_string().trim_end_matches('/'),
    )
}

fn haproxy_conf(folder: &Path) -> String {
    format!(
        "global\n  nbthread 1\n  log {folder}/haproxy.log local0\n\
         defaults\n  mode http\n  log global\n  option httplog\n  timeout connect 5s\n  timeout client 90s\n  timeout server 90s\n\
         frontend tls\n  bind {HAPROXY} ssl crt {folder}/both.pem ssl-min-ver TLSv1.3 curves X25519\n  default_backend swf\n\
         backend swf\n  http-reuse always\n  server one {upstream}\n",
        upstream = upstream::ADDRESS,
        folder = folder.display().to_string().trim_end_matches('/'),
    )
}
