//! The packet gate as a user meets it: the built daemon, real interfaces, real connections.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use swf_filter_tests::link::{self, End, Mac};
use swf_filter_tests::net::{self, Echo};
use swf_filter_tests::netns::Namespace;
use swf_filter_tests::process::{Child, run};
use swf_filter_tests::require;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);
const REFUSED_AFTER: Duration = Duration::from_millis(700);
const SERVICE: &str = "10.20.0.1:443";
const OTHER_SERVICE: &str = "10.30.0.1:443";

/// A host with two interfaces, and a client behind each.
struct World {
    host: Namespace,
    one: Namespace,
    two: Namespace,
    services: Vec<Echo>,
    folder: TempDir,
    pins: PathBuf,
    binary: PathBuf,
}

impl World {
    /// `None`, said loudly, where the machine or the build cannot do it.
    fn new(name: &str) -> Result<Option<Self>> {
        if !require::root() {
            return Ok(None);
        }
        let Some(binary) = env::var_os("SWF_FILTER_BIN").map(PathBuf::from) else {
            require::skip("needs SWF_FILTER_BIN: run `cargo xtask test`");
            return Ok(None);
        };
        let (host, one, two) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        for (client, name, macs, addresses) in [
            (&one, "eth1", (1, 2), ["10.20.0.2/24", "10.20.0.1/24"]),
            (&two, "eth2", (3, 4), ["10.30.0.2/24", "10.30.0.1/24"]),
        ] {
            link::connect(
                End {
                    namespace: client,
                    name: "eth0",
                    mac: Mac::local(macs.0),
                    addresses: &addresses[..1],
                },
                End {
                    namespace: &host,
                    name,
                    mac: Mac::local(macs.1),
                    addresses: &addresses[1..],
                },
            )?;
        }
        let services = [SERVICE, OTHER_SERVICE]
            .iter()
            .map(|text| Echo::tcp(&host, address(text)))
            .collect::<Result<_, _>>()?;
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("policy.d"))?;
        let pins = Path::new("/sys/fs/bpf").join(format!("swf-filter-test-{}-{name}", id()));
        let world = Self {
            host,
            one,
            two,
            services,
            folder,
            pins,
            binary,
        };
        fs::write(world.config(), world.config_text())?;
        Ok(Some(world))
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    fn config_text(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            "version = 1\ninterfaces = [\"eth*\"]\n[paths]\npolicy = \"{folder}/policy.d\"\nrun = \"{folder}/run\"\n\
             bpf = \"{}\"\n",
            self.pins.display()
        )
    }

    /// A policy that protects both services and lets in what `allow` says.
    fn write_policy(&self, allow: &str) -> Result<()> {
        let text = format!(
            "version = 1\n[[host]]\nname = \"swf\"\naddresses = [\"10.20.0.1\", \"10.30.0.1\"]\nallow = [{allow}]\n\
             [[vpc]]\nid = \"vpc-one\"\ncidrs = [\"10.0.0.0/8\"]\ninterfaces = [\"eth1\"]\n\
             [[vpc]]\nid = \"vpc-two\"\ncidrs = [\"10.0.0.0/8\"]\ninterfaces = [\"eth2\"]\n"
        );
        Ok(fs::write(
            self.folder.path().join("policy.d/10.toml"),
            text,
        )?)
    }

    fn command(&self) -> Command {
        let mut command = self.host.command(&self.binary);
        command.arg("--config").arg(self.config());
        command
    }

    fn daemon(&self) -> Result<Child> {
        Child::spawn(
            "swf-filter",
            self.command().arg("daemon").env("NO_COLOR", "1"),
        )
    }

    /// Which of the two clients get an answer.
    fn reached(&self) -> (bool, bool) {
        let reach = |client, text| net::echo_tcp(client, address(text), REFUSED_AFTER).is_ok();
        (reach(&self.one, SERVICE), reach(&self.two, OTHER_SERVICE))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.services.clear();
        // Also after a failed test: links end with their interfaces, but maps would stay.
        let _may_be_gone = fs::remove_dir_all(&self.pins);
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

#[test]
fn policy_is_enforced_reloaded_and_outlives_the_daemon() -> Result<()> {
    let Some(world) = World::new("life")? else {
        return Ok(());
    };
    ensure!(
        world.reached() == (true, true),
        "both clients reach an unfiltered host"
    );

    world.write_policy("\"vpc:vpc-one\"")?;
    let mut daemon = world.daemon()?;
    daemon.wait_for_output(DEADLINE, "interface=eth2");
    ensure!(
        world.reached() == (true, false),
        "one range behind two interfaces is two VPCs"
    );

    world.write_policy("\"vpc:vpc-two\"")?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_output(DEADLINE, "generation=2");
    ensure!(world.reached() == (false, true), "a reload takes effect");

    fs::write(
        world.folder.path().join("policy.d/20.toml"),
        b"version = 1\n\xff\x00[[",
    )?;
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_output(DEADLINE, "reload failed");
    ensure!(
        world.reached() == (false, true),
        "a bad file changes nothing"
    );

    daemon.kill()?;
    ensure!(
        world.reached() == (false, true),
        "the filter outlives kill -9"
    );

    let daemon = world.daemon()?;
    daemon.wait_for_output(DEADLINE, "the pinned generation stays in force");
    ensure!(
        world.reached() == (false, true),
        "a restart over bad files keeps what is pinned"
    );

    let mut second = world.daemon()?;
    ensure!(
        !second.wait(DEADLINE).success(),
        "a second daemon refuses to start"
    );
    drop(daemon);

    run(world.command().arg("detach")).context("detach works without a daemon")?;
    ensure!(
        world.reached() == (true, true),
        "only detach takes the filter off"
    );
    Ok(())
}

#[test]
fn reloads_back_and_forth_never_lock_out_the_allowed_client() -> Result<()> {
    /// Reloads back and forth.
    const RELOADS: usize = 40;
    let Some(world) = World::new("atomic")? else {
        return Ok(());
    };
    world.write_policy("\"vpc:vpc-one\"")?;
    let daemon = world.daemon()?;
    daemon.wait_for_output(DEADLINE, "interface=eth2");
    for generation in 2..RELOADS + 2 {
        let one = generation % 2 == 1;
        world.write_policy(if one {
            "\"vpc:vpc-one\""
        } else {
            "\"vpc:vpc-two\""
        })?;
        daemon.signal(Signal::HUP)?;
        daemon.wait_for_output(DEADLINE, &format!("generation={generation} "));
        let allowed = if one {
            (&world.one, SERVICE)
        } else {
            (&world.two, OTHER_SERVICE)
        };
        net::echo_tcp(allowed.0, address(allowed.1), DEADLINE).with_context(|| {
            format!("generation {generation} locks out the client that it allows")
        })?;
    }
    Ok(())
}
