//! Proof that the harness does what the end-to-end tests take for granted.

use std::{
    net::SocketAddr,
    panic,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use swf_filter_tests::{
    frames::Frame,
    link::{self, End, Mac, Vlan},
    net::{self, Echo},
    netns::{Namespace, sweep},
    packet::PacketSocket,
    process::{Child, run},
    require,
    wait::{holds_within, wait_until},
};

const DEADLINE: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_millis(200);

const CLIENT: [&str; 2] = ["10.9.0.1/24", "fd09::1/64"];
const SERVER: [&str; 2] = ["10.9.0.2/24", "fd09::2/64"];
const SERVER_V4: &str = "10.9.0.2:443";
const SERVER_V6: &str = "[fd09::2]:443";

/// Two machines with a cable between them.
struct Pair {
    client: Namespace,
    server: Namespace,
}

impl Pair {
    fn new() -> Result<Self> {
        let pair = Self {
            client: Namespace::new()?,
            server: Namespace::new()?,
        };
        link::connect(pair.client_end(), pair.server_end())?;
        Ok(pair)
    }

    fn client_end(&self) -> End<'_> {
        End {
            namespace: &self.client,
            name: "eth0",
            mac: Mac::local(1),
            addresses: &CLIENT,
        }
    }

    fn server_end(&self) -> End<'_> {
        End {
            namespace: &self.server,
            name: "eth1",
            mac: Mac::local(2),
            addresses: &SERVER,
        }
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

#[test]
fn tcp_and_udp_get_through_in_both_families() -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let pair = Pair::new()?;
    for text in [SERVER_V4, SERVER_V6] {
        let tcp = Echo::tcp(&pair.server, address(text))?;
        let udp = Echo::udp(&pair.server, address(text))?;
        net::echo_tcp(&pair.client, tcp.address(), DEADLINE)?;
        net::echo_udp(&pair.client, udp.address(), DEADLINE)?;
    }
    Ok(())
}

#[test]
fn dropped_server_lets_its_clients_go_and_its_port() -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let pair = Pair::new()?;
    let echo = Echo::tcp(&pair.server, address(SERVER_V4))?;
    let _idle = net::connect(&pair.client, echo.address(), DEADLINE)?;
    drop(echo);
    let refused = net::connect(&pair.client, address(SERVER_V4), DEADLINE);
    ensure!(refused.is_err(), "somebody still listens");
    Ok(())
}

#[test]
fn connecting_to_nobody_ends_in_time() -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let pair = Pair::new()?;
    // The client has been told who has the address, so nothing but the missing answer can end the attempt.
    let nobody = address("10.9.0.9:443");
    let mac = Mac::local(9).to_string();
    pair.client.add_neighbor("eth0", "10.9.0.9", &mac)?;
    let start = Instant::now();
    let connected = net::connect(&pair.client, nobody, SOON);
    ensure!(connected.is_err() && start.elapsed() < DEADLINE);
    Ok(())
}

#[test]
fn introduced_neighbors_do_not_ask_for_each_other() -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let pair = Pair::new()?;
    link::introduce(pair.client_end(), pair.server_end())?;
    let asked = PacketSocket::open(&pair.server, "eth1")?;
    let echo = Echo::tcp(&pair.server, address(SERVER_V4))?;
    net::echo_tcp(&pair.client, echo.address(), DEADLINE)?;
    let is_arp = |frame: &[u8]| frame[12..14] == [0x08, 0x06];
    ensure!(asked.receive_wanted(SOON, is_arp)?.is_none());
    Ok(())
}

#[test]
fn vlan_carries_tcp_and_udp_to_its_own_id_only() -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let pair = Pair::new()?;
    let client = Vlan::add(pair.client_end(), 5, &["10.5.0.1/24", "fd05::1/64"])?;
    let server = Vlan::add(pair.server_end(), 5, &["10.5.0.2/24", "fd05::2/64"])?;
    println!(
        "{} by the kernel: {}",
        server.name(),
        server.is_of_the_kernel()
    );
    let tagged = PacketSocket::open_vlan(&pair.server, "eth1", 5)?;
    let other = PacketSocket::open_vlan(&pair.server, "eth1", 6)?;
    for text in ["10.5.0.2:443", "[fd05::2]:443"] {
        let tcp = Echo::tcp(&pair.server, address(text))?;
        let udp = Echo::udp(&pair.server, address(text))?;
        net::echo_tcp(&pair.client, tcp.address(), DEADLINE)?;
        net::echo_udp(&pair.client, udp.address(), DEADLINE)?;
    }
    ensure!(tagged.receive(DEADLINE)?.is_some(), "no frame had the tag");
    ensure!(other.receive(SOON)?.is_none(), "a frame had another tag");
    drop(client);
    Ok(())
}

#[test]
fn frame_arrives_as_it_was_sent() -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let pair = Pair::new()?;
    let sender = PacketSocket::open(&pair.client, "eth0")?;
    let receiver = PacketSocket::open(&pair.server, "eth1")?;
    let payload = b"a frame made by hand";
    let (from, to) = ("192.0.2.1".parse()?, "198.51.100.1".parse()?);
    let frame = Frame::ip(from, to).udp(1, 2).payload(payload);
    sender.send(&frame.to_bytes())?;
    let is_ours = |frame: &[u8]| frame.ends_with(payload);
    let arrived = receiver.receive_wanted(DEADLINE, is_ours)?;
    assert_eq!(arrived, Some(frame.to_bytes()));
    ensure!(sender.receive_wanted(SOON, is_ours)?.is_none(), "an echo");
    Ok(())
}

#[test]
fn outermost_tag_chooses_the_receiver() -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let pair = Pair::new()?;
    let sender = PacketSocket::open(&pair.client, "eth0")?;
    let five = PacketSocket::open_vlan(&pair.server, "eth1", 5)?;
    let six = PacketSocket::open_vlan(&pair.server, "eth1", 6)?;
    let (from, to) = ("192.0.2.1".parse()?, "198.51.100.1".parse()?);
    let frame = Frame::ip(from, to).udp(1, 2);
    let tagged = frame.clone().tag(0x88a8, 5).vlan(6);
    sender.send(&tagged.to_bytes())?;
    let without_outermost = frame.vlan(6).to_bytes();
    assert_eq!(five.receive(DEADLINE)?, Some(without_outermost));
    ensure!(six.receive(SOON)?.is_none());
    Ok(())
}

#[test]
fn commands_run_inside_and_see_bpffs_as_it_is() -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let pair = Pair::new()?;
    let links = run(pair.client.command("ip").args(["-o", "link"]))?;
    ensure!(links.contains("eth0") && !links.contains("eth1"));
    let inside = run(pair.client.command("readlink").arg("/proc/self/ns/mnt"))?;
    let outside = run(Command::new("readlink").arg("/proc/self/ns/mnt"))?;
    assert_eq!(inside, outside);
    Ok(())
}

#[test]
fn failed_command_says_what_it_said() {
    let failed = run(Command::new("sh").args(["-c", "echo no >&2; exit 3"]));
    let error = failed.expect_err("exit 3 is a failure").to_string();
    assert!(error.contains("no"), "{error}");
}

#[test]
fn namespace_goes_with_its_guard_also_by_a_panic() -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let namespace = Namespace::new()?;
    let path = namespace.path();
    ensure!(path.exists());
    drop(namespace);
    ensure!(!path.exists());

    let namespace = Namespace::new()?;
    let path = namespace.path();
    let unwound = panic::catch_unwind(move || {
        let _guard = namespace;
        panic::resume_unwind(Box::new("as a failed assertion would"));
    });
    ensure!(unwound.is_err() && !path.exists());
    Ok(())
}

#[test]
fn sweep_removes_what_the_dead_have_left_and_nothing_else() -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let alive = Namespace::new()?;
    // A process that has ended and been reaped; its id is free, and not taken again so soon.
    let mut dead = Command::new("true").spawn()?;
    dead.wait()?;
    let name = format!("swft-{}-0", dead.id());
    run(Command::new("ip").args(["netns", "add", &name]))?;
    sweep();
    ensure!(!Path::new("/run/netns").join(&name).exists());
    ensure!(alive.path().exists());
    Ok(())
}

#[test]
fn child_dies_with_its_guard() -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let namespace = Namespace::new()?;
    let child = Child::spawn("sleep", namespace.command("sleep").arg("600"))?;
    let process = Path::new("/proc").join(child.id().to_string());
    // `nsenter` becomes the program, so that the id is that of the program itself.
    wait_until(DEADLINE, "the program", || {
        std::fs::read_to_string(process.join("comm")).is_ok_and(|comm| comm.trim() == "sleep")
    });
    drop(child);
    ensure!(!process.exists());
    Ok(())
}

#[test]
fn child_can_be_heard_signalled_and_killed() -> Result<()> {
    let script = "trap 'echo bye; exit 7' TERM; echo hello; while :; do sleep 0.01; done";
    let shell = || Child::spawn("shell", Command::new("sh").args(["-c", script]));
    let mut polite = shell()?;
    polite.wait_for_output(DEADLINE, "hello");
    polite.signal(rustix::process::Signal::TERM)?;
    assert_eq!(polite.wait(DEADLINE).code(), Some(7));
    assert_eq!(polite.stdout(), "hello\nbye\n");

    let mut stubborn = shell()?;
    assert!(stubborn.status()?.is_none());
    assert_eq!(stubborn.kill()?.code(), None);
    Ok(())
}

#[test]
fn work_inside_a_namespace_panics_outside() -> Result<()> {
    if !require::root() {
        return Ok(());
    }
    let namespace = Namespace::new()?;
    let work = || namespace.run(|| panic::resume_unwind(Box::new("inside")));
    let unwound = panic::catch_unwind(panic::AssertUnwindSafe(work));
    ensure!(unwound.is_err());
    ensure!(!holds_within(SOON, || namespace.run(|| false)));
    Ok(())
}
