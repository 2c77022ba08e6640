//! A listener without privileges on devices that are made on others: it tells the VPC as the packet gate does.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use swf_filter_tests::{
    client::{Trust, connect},
    netns::Namespace,
    process::{Child, run},
    stage::write_certificates,
    wait::wait_until,
    world::{DEADLINE, World},
};

/// Only from `eth1`, and from VLAN 120 there, which are two VPCs.
const POLICY: &str = r#"
version = 1

[[host]]
name = "swf"
addresses = ["10.20.0.1"]
ports = [8443]
allow = ["vpc:vpc-one", "vpc:vpc-tagged"]

[[vpc]]
id = "vpc-one"
cidrs = ["10.20.0.0/16"]
interfaces = ["eth1"]

[[vpc]]
id = "vpc-tagged"
cidrs = ["10.50.0.0/16"]
interfaces = ["eth1"]
vlans = [120]

[[vpc]]
id = "vpc-two"
cidrs = ["10.20.0.0/16", "10.50.0.0/16"]
interfaces = ["eth2"]
"#;

/// A device of the host, with the third number of its network, and one of a client.
struct Device<'a> {
    client: &'a Namespace,
    /// Made on the client, and what it is called there.
    there: (&'static [&'static str], &'static str),
    /// Made on the host.
    here: &'static [&'static str],
    name: &'static str,
    network: &'static str,
    /// Whether its connections are from a VPC that is allowed.
    is_allowed: bool,
}

impl Device<'_> {
    /// Makes it, if the kernel has devices of its kind.
    fn make(&self, host: &Namespace) -> Result<bool> {
        let sides = [(self.client, self.there.0), (host, self.here)];
        for (namespace, commands) in sides {
            for command in commands {
                if let Err(error) = namespace.ip(command) {
                    let kind = format!("{error:#}");
                    // The second is of what is made on one that is left out.
                    let missing = ["Unknown device type", "Cannot find device"];
                    ensure!(missing.iter().any(|words| kind.contains(words)), "{kind}");
                    // Past the capture of the test runner.
                    let _unheard = writeln!(io::stderr(), "LEFT OUT: `{}`: {kind}", self.name);
                    return Ok(false);
                }
            }
        }
        let network = self.network;
        for (namespace, name, last) in [(self.client, self.there.1, 2), (host, self.name, 1)] {
            namespace.ip(&format!("address add {network}.{last}/24 dev {name}"))?;
            namespace.ip(&format!("link set {name} up"))?;
        }
        Ok(true)
    }

    fn socket(&self) -> String {
        format!("{}.1:8443", self.network)
    }
}

#[test]
fn a_listener_without_privileges_tells_the_vpc_of_a_device_on_another() -> Result<()> {
    let Some(world) = World::new("ways")? else {
        return Ok(());
    };
    let tagged = |client, there, here, name, network| Device {
        client,
        there,
        here,
        name,
        network,
        is_allowed: true,
    };
    let devices = [
        Device {
            client: &world.one,
            there: (&[], "eth0"),
            here: &["link add link eth1 name mac1 type macvlan"],
            name: "mac1",
            network: "10.20.1",
            is_allowed: true,
        },
        Device {
            client: &world.two,
            there: (&[], "eth0"),
            here: &[
                "link add name bridge2 type bridge",
                "link set eth2 master bridge2",
            ],
            name: "bridge2",
            network: "10.20.2",
            is_allowed: false,
        },
        tagged(
            &world.one,
            (
                &["link add link eth0 name eth0.120 type vlan id 120"],
                "eth0.120",
            ),
            &["link add link eth1 name eth1.120 type vlan id 120"],
            "eth1.120",
            "10.50.3",
        ),
        tagged(
            &world.one,
            (
                &["link add link eth0.120 name in.30 type vlan id 30"],
                "in.30",
            ),
            &["link add link eth1.120 name eth1.120.30 type vlan id 30"],
            "eth1.120.30",
            "10.50.4",
        ),
        Device {
            client: &world.two,
            there: (
                &["link add link eth0 name eth0.120 type vlan id 120"],
                "eth0.120",
            ),
            here: &["link add link bridge2 name other.120 type vlan id 120"],
            name: "other.120",
            network: "10.50.5",
            is_allowed: false,
        },
    ];
    // An address is asked for on the wire of `eth1`, and only the device that has it is to answer.
    world.host.set("ipv4/conf/all/arp_ignore", "1")?;
    let mut made = Vec::new();
    for device in &devices {
        if device.make(&world.host)? {
            made.push(device);
        }
    }
    ensure!(made.len() >= 2, "macvlan and bridge are there");

    world.write_policy("10.toml", POLICY)?;
    let _daemon = world.attached_daemon()?;
    // The listener alone decides.
    run(world.command().arg("detach"))?;
    let listener = listener(&world, &made)?;
    wait_until(DEADLINE, "a listener with a policy", || {
        status(&world).is_ok_and(|status| status["listener"]["policy"].is_object())
    });
    let trust = Trust::read(&world.file("ca.pem"))?;
    for device in &made {
        let stream = connect(device.client, &device.socket());
        let stream = stream.with_context(|| device.name)?;
        let client = trust.client(stream);
        ensure!(
            client.is_ok() == device.is_allowed,
            "{}: {client:?}: {}",
            device.name,
            listener.stderr()
        );
    }
    let refused = made.iter().filter(|device| !device.is_allowed).count();
    let refused = json!([["source-not-allowed", refused]]);
    let status = status(&world)?;
    let turned_away = &status["listener"]["listeners"][0]["turned_away"];
    ensure!(*turned_away == refused, "{turned_away}");
    Ok(())
}

fn status(world: &World) -> Result<Value> {
    let settings = world.file("listener.toml");
    let mut command = world.command();
    command.arg("--listener-config").arg(settings);
    let answer = run(command.args(["--output", "json", "status"]))?;
    Ok(serde_json::from_str(&answer)?)
}

/// Starts a listener of somebody who may do nothing else.
fn listener(world: &World, devices: &[&Device<'_>]) -> Result<Child> {
    write_certificates(world)?;
    let folder = world.file("");
    let folder = folder.display().to_string();
    let folder = folder.trim_end_matches('/');
    let sockets = devices.iter().map(|device| {
        let (socket, name) = (device.socket(), device.name);
        format!("\"{socket}%{name}\"")
    });
    let sockets: Vec<String> = sockets.collect();
    let text = format!(
        r#"version = 1

[[listener]]
name = "one"
listen = [{}]
host = "swf"
certificates = [{{ chain = "{folder}/cert.pem", key = "{folder}/key.pem" }}]
upstream = "none"

[[upstream]]
name = "none"
addresses = ["http://127.0.0.1:5000"]
identity = "headers"

[paths]
run = "{folder}/run"
listener_run = "{folder}/listener-run"
state = "{folder}/listener-state"
keys = "{folder}/keys"
audit = "{folder}/log/audit.jsonl"
"#,
        sockets.join(", ")
    );
    let settings = world.file("listener.toml");
    fs::write(&settings, text)?;
    let mut rotate = world.command();
    rotate.arg("--listener-config").arg(&settings);
    run(rotate.args(["keys", "rotate"]))?;
    for name in ["listener-run", "listener-state", "log"] {
        fs::create_dir_all(world.file(name))?;
    }
    // The daemon's folder has a control socket, to which the listener may connect.
    for name in [
        "cert.pem",
        "key.pem",
        "keys",
        "listener-run",
        "listener-state",
        "log",
        "run",
    ] {
        give(&world.file(name))?;
    }
    fs::set_permissions(world.file(""), fs::Permissions::from_mode(0o755))?;

    let binary = world.command();
    let binary = binary.get_args().skip_while(|argument| *argument != "--");
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", world.host.path().display()))
        .args(["--setuid", NOBODY, "--setgid", NOBODY])
        .args(binary)
        .env("NO_COLOR", "1");
    command.arg("--listener-config").arg(settings);
    Child::spawn("listener", command.arg("listener"))
}

/// Gives a file, or a directory with what is in it, to somebody without privileges.
fn give(path: &Path) -> Result<()> {
    let nobody = NOBODY.parse()?;
    chown(path, Some(nobody), Some(nobody))
        .with_context(|| format!("cannot give `{}` away", path.display()))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path())?;
        }
    }
    Ok(())
}

const NOBODY: &str = "65534";
