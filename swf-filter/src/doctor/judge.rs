//! From what was seen of a machine to what is to be done about it. Nothing is looked at here.

#[cfg(test)]
mod tests;

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::facts::{
    Asked, Certificates, Directory, Door, Facts, Interface, Interfaces, Knock, Listener, Machine,
    Policy, Read, Room, Seen, Settings, Unit,
};
use super::{Finding, Grade};
use crate::config::XdpMode;
use crate::control::api::{AttachMode, Status};
use crate::dataplane::preflight::{ENA_MTU, OLDEST_KERNEL, missing, version};
use crate::listener::status::ListenerStatus;
use crate::report::counted;

/// All findings, in the order in which they are best mended.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = Findings::default();
    machine(&mut found, &facts.machine, facts.daemon.as_ref());
    settings(&mut found, &facts.config);
    if let Some(policy) = &facts.policy {
        self::policy(&mut found, policy);
    }
    if let Some(interfaces) = &facts.interfaces {
        self::interfaces(&mut found, interfaces, facts);
    }
    if let Some(daemon) = &facts.daemon {
        self::daemon(&mut found, daemon, facts);
    }
    for directory in &facts.directories {
        self::directory(&mut found, directory);
    }
    clock(&mut found, &facts.machine.synchronised);
    match &facts.listener {
        None => found.ok(
            "listener-config",
            "there is no listener.toml: no listener runs here",
        ),
        Some(listener) => self::listener(&mut found, listener, facts.now),
    }
    units(&mut found, &facts.units, facts.listener.is_some());
    found.0
}

/// What is known of drivers that take XDP programs under conditions only. Programs in several buffers (`xdp.frags`) lift the limit of most.
const DRIVERS: [Driver; 2] = [
    // Channels: github.com/amzn/amzn-drivers/issues/240.
    Driver {
        name: "ena",
        mtu: ENA_MTU,
        spare_channels: true,
    },
    // `max_mtu` in xennet_xdp_set of drivers/net/xen-netfront.c: a page without XDP_PACKET_HEADROOM.
    Driver {
        name: "vif",
        mtu: 3840,
        spare_channels: false,
    },
];

/// What a driver asks for.
struct Driver {
    name: &'static str,
    /// The largest packet.
    mtu: u32,
    /// Whether XDP needs as many channels again as are in use.
    spare_channels: bool,
}

/// Since Linux 5.11 the memory of maps is counted in control groups, and no limit of locked memory is asked.
const ACCOUNTED: (u32, u32) = (5, 11);
/// What maps take at least.
const LOCKED: u64 = 64 << 20;

/// Less room than this is short.
const LITTLE_ROOM: u64 = 200 << 20;
/// With less than this, the next generation or record may not fit.
const NO_ROOM: u64 = 10 << 20;
const FEW_FILES: u64 = 100;

const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
const VERY_SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

const AS_ROOT: &str =
    "run `swf-filter doctor` as root, on the machine itself, to have this looked at";

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, grade: Grade, check: &'static str, words: String, advice: Option<String>) {
        self.0.push(Finding {
            check,
            grade,
            words,
            advice,
        });
    }

    fn ok(&mut self, check: &'static str, words: impl Into<String>) {
        self.add(Grade::Ok, check, words.into(), None);
    }

    fn advise(&mut self, check: &'static str, words: impl Into<String>, what: impl Into<String>) {
        self.add(Grade::Advice, check, words.into(), Some(what.into()));
    }

    fn warn(&mut self, check: &'static str, words: impl Into<String>, what: impl Into<String>) {
        self.add(Grade::Warning, check, words.into(), Some(what.into()));
    }

    fn fail(&mut self, check: &'static str, words: impl Into<String>, what: impl Into<String>) {
        self.add(Grade::Failure, check, words.into(), Some(what.into()));
    }

    /// What was not seen is not judged, and this is said.
    fn unseen(&mut self, check: &'static str, what: &str, why: &str) {
        self.advise(check, format!("{what} was not looked at: {why}"), AS_ROOT);
    }

    fn wrong(&mut self, check: &'static str, lines: &[String], what: &str) {
        let words = match lines {
            [] => "it is refused".to_owned(),
            [only] => only.clone(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        };
        self.fail(check, words, what);
    }
}

fn machine(found: &mut Findings, machine: &Machine, daemon: Option<&Asked<Status>>) {
    let release = &machine.release;
    let version = version(release);
    let (major, minor) = OLDEST_KERNEL;
    match version {
        Some(version) if version >= OLDEST_KERNEL => {
            found.ok("kernel", format!("Linux {release}"));
        }
        Some(_) => found.fail(
            "kernel",
            format!("Linux {release} is too old: the filter needs {major}.{minor}"),
            format!("boot a kernel from {major}.{minor} on"),
        ),
        None => found.warn(
            "kernel",
            format!("`{release}` is no version that is understood"),
            format!("make sure that the kernel is {major}.{minor} or newer"),
        ),
    }
    if machine.btf {
        found.ok("btf", "the kernel tells its types");
    } else {
        found.advise(
            "btf",
            "the kernel does not tell its types; the filter works, `bpftool` shows less",
            "boot a kernel that was built with CONFIG_DEBUG_INFO_BTF",
        );
    }
    match &machine.capabilities {
        Err(why) => found.unseen("capabilities", "what this process may do", why),
        Ok(mask) => capabilities(found, *mask, daemon),
    }
    memory(found, machine, version);
    match machine.unprivileged.as_ref().map(|value| value.trim()) {
        Err(why) => found.unseen(
            "unprivileged-bpf",
            "who may load programs into the kernel",
            why,
        ),
        Ok("0") => found.warn(
            "unprivileged-bpf",
            "users without any privilege may load programs into the kernel",
            "`sysctl kernel.unprivileged_bpf_disabled=1`, and the same in /etc/sysctl.d",
        ),
        Ok(_) => found.ok(
            "unprivileged-bpf",
            "users without privilege may load no programs",
        ),
    }
    match machine.jit.as_ref().map(|value| value.trim()) {
        Err(why) => found.unseen("jit", "whether programs are compiled", why),
        Ok("1") => found.ok("jit", "programs are compiled"),
        Ok("0") => found.warn(
            "jit",
            "programs are interpreted, which costs each packet several times as much",
            "`sysctl net.core.bpf_jit_enable=1`, and the same in /etc/sysctl.d; restart the daemon",
        ),
        Ok(_) => found.warn(
            "jit",
            "programs are compiled, and written to the kernel's log, which is for finding faults in compilers",
            "`sysctl net.core.bpf_jit_enable=1`, and the same in /etc/sysctl.d",
        ),
    }
}

fn capabilities(found: &mut Findings, mask: u64, daemon: Option<&Asked<Status>>) {
    let missing = missing(mask);
    if missing.is_empty() {
        found.ok("capabilities", "this user may load and attach the filter");
        return;
    }
    let words = format!("this user lacks {}", missing.join(" and "));
    let what = match daemon {
        Some(Asked::Answered(_)) => "the daemon has them, or it would not have started",
        _ => "start the daemon as root, or by its unit",
    };
    found.advise("capabilities", words, what);
}

fn memory(found: &mut Findings, machine: &Machine, version: Option<(u32, u32)>) {
    let accounted = version.is_none_or(|version| version >= ACCOUNTED);
    match machine.locked {
        _ if accounted => found.ok("memlock", "this kernel asks for no limit of locked memory"),
        Some(bytes) if bytes < LOCKED => found.warn(
            "memlock",
            format!(
                "{} KiB may be locked, which maps count against",
                bytes >> 10
            ),
            "`LimitMEMLOCK=infinity` in the daemon's unit",
        ),
        _ => found.ok("memlock", "enough memory may be locked"),
    }
}

fn settings(found: &mut Findings, config: &Read<Settings>) {
    match config {
        Read::Unseen(why) => found.unseen("config", "config.toml", why),
        Read::Wrong(lines) => found.wrong(
            "config",
            lines,
            "mend config.toml, or name another with --config",
        ),
        Read::Right(settings) => {
            found.ok("config", "config.toml is right");
            bpf(found, &settings.pins, &settings.bpf, &settings.open);
        }
    }
}

fn bpf(found: &mut Findings, pins: &Path, seen: &Seen<bool>, open: &Seen<Option<String>>) {
    const USUAL: &str = "/sys/fs/bpf";
    let shown = pins.display();
    match seen {
        Err(why) => found.unseen("bpffs", &format!("`{shown}`"), why),
        Ok(true) => match open {
            Err(why) => found.unseen("bpffs", &format!("`{shown}`"), why),
            Ok(None) => found.ok("bpffs", format!("`{shown}` is in a bpf file system")),
            Ok(Some(why)) => found.fail("bpffs", why, "mend that; until then, the daemon does not start"),
        },
        Ok(false) if pins.starts_with(USUAL) => found.warn(
            "bpffs",
            format!("no bpf file system is mounted at {USUAL}"),
            "`mount -t bpf -o mode=0700 bpf /sys/fs/bpf`; the daemon does it too, but not from its unit, which lacks the privilege",
        ),
        Ok(false) => found.fail(
            "bpffs",
            format!("`{shown}` is in no bpf file system, so the daemon does not start"),
            format!("set `paths.bpf` in config.toml to a directory below {USUAL}"),
        ),
    }
}

fn policy(found: &mut Findings, policy: &Read<Policy>) {
    match policy {
        Read::Unseen(why) => found.unseen("policy", "the policy", why),
        Read::Wrong(lines) => found.wrong(
            "policy",
            lines,
            "`swf-filter check` shows where; until it is mended, reloads are refused",
        ),
        Read::Right(policy) if policy.doubts > 0 => found.advise(
            "policy",
            format!(
                "the policy is accepted, and {} things about it are doubtful",
                policy.doubts
            ),
            "`swf-filter check` shows them",
        ),
        Read::Right(_) => found.ok("policy", "the policy is accepted"),
    }
}

fn interfaces(found: &mut Findings, interfaces: &Seen<Interfaces>, facts: &Facts) {
    let interfaces = match interfaces {
        Err(why) => return found.unseen("interface", "the list of interfaces", why),
        Ok(interfaces) => interfaces,
    };
    for name in &interfaces.absent {
        found.fail(
            "interface",
            format!("there is no interface `{name}`, which config.toml names"),
            "`ip link` lists those that there are; mend `interfaces` in config.toml, and reload",
        );
    }
    for glob in &interfaces.unmatched {
        found.warn(
            "interface",
            format!("no interface fits `{glob}`, which config.toml names"),
            "`ip link` lists those that there are; one that comes later is filtered when it does",
        );
    }
    let mode = match &facts.config {
        Read::Right(settings) => settings.mode,
        _ => XdpMode::default(),
    };
    let vlans = matches!(&facts.policy, Some(Read::Right(policy)) if policy.vlans);
    for interface in &interfaces.present {
        attachment(found, interface, mode);
        driver(found, interface, mode);
        offloads(found, interface, vlans);
    }
}

fn attachment(found: &mut Findings, interface: &Interface, mode: XdpMode) {
    let name = &interface.name;
    let note = interface
        .told
        .as_ref()
        .and_then(|told| told.note.as_deref());
    let note = note.map_or_else(String::new, |note| format!(": {note}"));
    let Some(program) = interface.program else {
        return found.fail(
            "attached",
            format!("`{name}` has no filter{note}"),
            format!("start the daemon, or `swf-filter attach {name}`"),
        );
    };
    match &interface.ours {
        Ok(false) => {
            return found.fail(
                "attached",
                format!("`{name}` has another XDP program, number {}, in place of the filter", program.id),
                format!(
                    "`bpftool prog show id {}` says whose it is; take it off (`ip link set {name} xdp off`), then `swf-filter attach {name}`",
                    program.id
                ),
            );
        }
        Err(why) => {
            return found.unseen(
                "attached",
                &format!("whose the XDP program on `{name}` is"),
                why,
            );
        }
        Ok(true) => {}
    }
    match program.mode {
        AttachMode::Driver => found.ok("attached", format!("`{name}` is filtered, in its driver")),
        AttachMode::Generic if mode == XdpMode::Generic => found.ok(
            "attached",
            format!("`{name}` is filtered, in generic mode, as config.toml wants it"),
        ),
        AttachMode::Generic => found.warn(
            "attached",
            format!("`{name}` is filtered in generic mode, which costs more{note}"),
            format!(
                "see what is said of its driver; then `swf-filter detach {name}` and `swf-filter attach {name}`, between which nothing is filtered"
            ),
        ),
    }
}

/// What keeps the filter out of the driver.
fn driver(found: &mut Findings, interface: &Interface, mode: XdpMode) {
    if mode == XdpMode::Generic {
        return;
    }
    let Interface { name, mtu, .. } = interface;
    let called = match &interface.driver {
        Some(driver) => format!("`{name}` (driver `{driver}`)"),
        None => format!("`{name}`"),
    };
    let known = interface
        .driver
        .as_ref()
        .and_then(|driver| DRIVERS.iter().find(|known| known.name == driver));
    if let Some(known) = known {
        limits(found, interface, known, &called);
    }
    match &interface.native {
        Ok(true) => found.ok("driver", format!("{called}, MTU {mtu}, runs XDP programs")),
        Ok(false) if known.is_some() => {}
        Ok(false) => found.advise(
            "driver",
            format!("{called} does not run XDP programs, so the kernel does, after more work"),
            "nothing is wrong; a host with much traffic needs another network card",
        ),
        Err(why) => found.unseen(
            "driver",
            &format!("whether {called} runs XDP programs"),
            why,
        ),
    }
}

fn limits(found: &mut Findings, interface: &Interface, known: &Driver, called: &str) {
    let Interface { name, mtu, .. } = interface;
    if *mtu > known.mtu {
        found.warn(
            "mtu",
            format!(
                "{called} has MTU {mtu}, and takes XDP programs up to {} only",
                known.mtu
            ),
            format!(
                "`ip link set {name} mtu {}`, and the same where the network is configured",
                known.mtu
            ),
        );
    } else {
        found.ok(
            "mtu",
            format!(
                "{called} has MTU {mtu}, and takes XDP programs up to {}",
                known.mtu
            ),
        );
    }
    match interface.channels {
        Some(channels) if known.spare_channels && channels.combined > channels.most / 2 => {
            // An instance with one channel has none to spare.
            let half = (channels.most / 2).max(1);
            found.warn(
                "channels",
                format!(
                    "{called} uses {} of {} channels, and takes XDP programs with half of them only",
                    channels.combined, channels.most
                ),
                format!("`ethtool -L {name} combined {half}`, and the same where the network is configured"),
            );
        }
        Some(channels) if known.spare_channels => found.ok(
            "channels",
            format!(
                "{called} uses {} of {} channels",
                channels.combined, channels.most
            ),
        ),
        _ => {}
    }
}

/// Offloads of the names that the kernel gives them (net/ethtool/common.c), and what `ethtool -K` calls them.
fn offloads(found: &mut Findings, interface: &Interface, vlans: bool) {
    let name = &interface.name;
    let on = match &interface.offloads {
        Err(why) => return found.unseen("offloads", &format!("offloads of `{name}`"), why),
        Ok(on) => on,
    };
    let in_driver = interface
        .program
        .is_none_or(|program| program.mode == AttachMode::Driver);
    let hides = on.contains("rx-vlan-hw-parse") && in_driver;
    if hides && vlans {
        found.warn(
            "offloads",
            format!("`{name}` takes VLAN tags off before the filter sees them, and the policy tells VPCs by them"),
            format!("`ethtool -K {name} rxvlan off`, and the same where the network is configured"),
        );
    }
    let joins = on.contains("rx-lro") || on.contains("rx-gro-hw");
    if joins {
        found.warn(
            "offloads",
            format!("`{name}` joins packets before the filter sees them, which keeps drivers from running XDP programs, or makes them count too little"),
            format!("`ethtool -K {name} lro off rx-gro-hw off`, and the same where the network is configured"),
        );
    }
    if !(joins || hides && vlans) {
        found.ok(
            "offloads",
            format!("no offload of `{name}` hides anything from the filter"),
        );
    }
}

fn daemon(found: &mut Findings, daemon: &Asked<Status>, facts: &Facts) {
    let status = match daemon {
        Asked::Nobody(why) => {
            return found.fail(
                "daemon",
                format!("no daemon answers: {why}"),
                "`systemctl start swf-filter`, or `swf-filter daemon`; what is attached filters all the same",
            );
        }
        Asked::Unseen(why) => return found.unseen("daemon", "the daemon", why),
        Asked::Answered(status) => status,
    };
    found.ok(
        "daemon",
        format!(
            "the daemon enforces generation {}",
            status.generation.number
        ),
    );
    for warning in &status.warnings {
        found.warn(
            "daemon",
            warning.clone(),
            "mend what it says, then `swf-filter reload`",
        );
    }
    if status.version != env!("CARGO_PKG_VERSION") {
        found.warn(
            "daemon",
            format!(
                "the daemon is version {}, and this is {}",
                status.version,
                env!("CARGO_PKG_VERSION")
            ),
            "`systemctl restart swf-filter`; the filter stays on meanwhile",
        );
    }
    let Some(Read::Right(policy)) = &facts.policy else {
        return;
    };
    let reload = "`swf-filter diff` shows it, `swf-filter reload` brings it into force";
    match &facts.difference {
        _ if status.policy.as_ref() == Some(&policy.hash) => {
            found.ok("generation", "the files are those that are in force");
        }
        Some(Ok(0)) => found.advise(
            "generation",
            "the files were changed since the last reload, in nothing that the packet gate sees",
            "`swf-filter reload`, also for the listener",
        ),
        Some(Ok(hosts)) => {
            let hosts = counted(*hosts, "host", "hosts");
            found.warn(
                "generation",
                format!("the files were changed since the last reload, and would change {hosts}"),
                reload,
            );
        }
        Some(Err(why)) => found.warn(
            "generation",
            format!("the files are others than those in force, and what that changes cannot be told: {why}"),
            reload,
        ),
        None => found.warn("generation", "the files are others than those in force", reload),
    }
}

fn directory(found: &mut Findings, directory: &Directory) {
    let Directory { what, path, room } = directory;
    let called = format!("{what} `{}`", path.display());
    let Room {
        writable,
        root,
        read_only,
        bytes,
        files,
    } = match room {
        Err(why) => return found.unseen("room", &called, why),
        Ok(room) => *room,
    };
    let mib = bytes >> 20;
    if read_only || (root && !writable) {
        found.fail(
            "room",
            format!("{called} cannot be written to"),
            "mount its file system for writing, or name another directory",
        );
    } else if bytes < NO_ROOM || files == Some(0) {
        found.fail(
            "room",
            format!("{called} has {mib} MiB left"),
            "free space there",
        );
    } else if bytes < LITTLE_ROOM || files.is_some_and(|files| files < FEW_FILES) {
        found.warn(
            "room",
            format!("{called} has {mib} MiB left"),
            "free space there",
        );
    } else if writable {
        found.ok(
            "room",
            format!("{called} can be written to, and has {mib} MiB left"),
        );
    } else {
        found.unseen(
            "room",
            &format!("whether {called} can be written to"),
            "it is not this user's",
        );
    }
}

fn clock(found: &mut Findings, synchronised: &Seen<bool>) {
    match synchronised {
        Ok(true) => found.ok("clock", "the clock is kept right"),
        Ok(false) => found.warn(
            "clock",
            "nothing keeps the clock right, and signatures are refused once it is 15 minutes off",
            "`systemctl enable --now chrony`, or `timedatectl set-ntp true`",
        ),
        Err(why) => found.advise(
            "clock",
            format!("whether the clock is kept right was not looked at: {why}"),
            "make sure that it is: signatures are refused once it is 15 minutes off",
        ),
    }
}

fn listener(found: &mut Findings, listener: &Read<Listener>, now: Timestamp) {
    let listener = match listener {
        Read::Unseen(why) => return found.unseen("listener-config", "listener.toml", why),
        Read::Wrong(lines) => {
            return found.wrong(
                "listener-config",
                lines,
                "mend listener.toml; `swf-filter listener --check` shows all that is wrong",
            );
        }
        Read::Right(listener) => listener,
    };
    found.ok("listener-config", "listener.toml is right");
    for certificates in &listener.certificates {
        self::certificates(found, certificates, now);
    }
    match &listener.keys {
        Read::Unseen(why) => found.unseen("keys", "access keys", why),
        Read::Wrong(lines) => found.wrong(
            "keys",
            lines,
            "docs/operations.md, \"Access keys\", says what each file is",
        ),
        Read::Right(()) => found.ok(
            "keys",
            "access keys and those of session tokens can be read, by their owner alone",
        ),
    }
    match &listener.status {
        Asked::Answered(status) => self::status(found, status),
        Asked::Unseen(why) => found.unseen("listener", "the listener", why),
        Asked::Nobody(why) => found.fail(
            "listener",
            format!("no listener answers: {why}"),
            "`systemctl start swf-filter-listener`, or `swf-filter listener`; its log says why it ended",
        ),
    }
    for door in &listener.doors {
        self::door(found, door);
    }
}

fn certificates(found: &mut Findings, certificates: &Certificates, now: Timestamp) {
    let name = &certificates.listener;
    let loaded = match &certificates.loaded {
        Read::Unseen(why) => {
            return found.unseen(
                "certificate",
                &format!("certificates of listener `{name}`"),
                why,
            );
        }
        Read::Wrong(lines) => {
            return found.wrong(
                "certificate",
                lines,
                "mend the file; the listener keeps what it has read last",
            );
        }
        Read::Right(loaded) => loaded,
    };
    for doubt in &loaded.doubts {
        found.warn(
            "certificate",
            doubt.clone(),
            "mend the file; the listener notices by itself",
        );
    }
    for (path, end) in &loaded.ends {
        let path = path.display();
        let left = end.duration_since(now);
        let renew = "renew it; the listener takes the new file by itself";
        let words = format!("`{path}` of listener `{name}` runs out on {end:.0}");
        if left <= SignedDuration::ZERO {
            found.fail(
                "certificate",
                format!("`{path}` of listener `{name}` ran out on {end:.0}: clients refuse it"),
                renew,
            );
        } else if left < VERY_SOON {
            found.warn("certificate", words, renew);
        } else if left < SOON {
            found.advise("certificate", words, renew);
        } else {
            found.ok("certificate", words);
        }
    }
}

fn status(found: &mut Findings, status: &ListenerStatus) {
    match &status.policy {
        Some(policy) => found.ok("listener", format!("the listener enforces generation {}", policy.generation)),
        None => found.fail(
            "listener",
            "the listener has no policy, and lets nobody in",
            "start the daemon; `ls -l /run/swf-filter` shows whether the listener's user may ask it",
        ),
    }
    // These two are said with what is known of files and upstreams here.
    let said = |warning: &&String| {
        !warning.starts_with("a certificate of listener")
            && !warning.starts_with("no policy is in force")
    };
    for warning in status.warnings.iter().filter(said) {
        found.warn(
            "listener",
            warning.clone(),
            "docs/operations.md, \"When something is wrong\", says what it means",
        );
    }
    if status.audit_lost > 0 {
        found.warn(
            "audit",
            format!(
                "{} audit records were lost since the listener started",
                status.audit_lost
            ),
            "free space for the audit log, or give it a faster disk",
        );
    }
    for upstream in &status.upstreams {
        let called = format!("upstream `{}` at {}", upstream.name, upstream.address);
        match (&upstream.last_error, upstream.healthy) {
            (_, true) => found.ok("upstream", format!("{called} is up")),
            (error, false) => found.fail(
                "upstream",
                format!("{called} is down: {}", error.as_deref().unwrap_or("it has not answered")),
                "see whether this machine reaches it: routes, name service, its certificate, credentials",
            ),
        }
    }
}

fn door(found: &mut Findings, door: &Door) {
    let called = format!("`{}` of listener `{}`", door.socket, door.listener);
    match &door.knock {
        Knock::Opened => found.ok("reachable", format!("{called} answers with its certificate")),
        Knock::OtherCertificate => found.warn(
            "reachable",
            format!("{called} answers with a certificate that is in none of its files"),
            "`systemctl reload swf-filter-listener`; is it another program that listens there?",
        ),
        Knock::Listening(why) => found.ok("reachable", format!("{called} takes connections; {why}")),
        Knock::Closed(why) => found.advise(
            "reachable",
            format!("{called} takes connections, and closes those from this machine: {why}"),
            "nothing is wrong if the policy does not let this machine's own address in; `swf-filter status` counts it as turned away",
        ),
        Knock::Refused(address, why) => found.fail(
            "reachable",
            format!("{called} takes no connections at {address}: {why}"),
            "is the listener running? `swf-filter status`, and its log",
        ),
        Knock::Untried(why) => found.advise(
            "reachable",
            format!("{called} was not tried: {why}"),
            "try it from a client",
        ),
    }
}

fn units(found: &mut Findings, units: &Seen<Vec<Unit>>, has_listener: bool) {
    let units = match units {
        Err(why) => {
            return found.advise(
                "units",
                format!("units were not looked at: {why}"),
                "make sure that the daemon is started when the machine is",
            );
        }
        Ok(units) => units,
    };
    let needed = units
        .iter()
        .filter(|unit| has_listener || !unit.name.contains("listener"));
    for unit in needed {
        let name = unit.name;
        if unit.enabled {
            found.ok("units", format!("{name} is started when the machine is"));
        } else if unit.installed {
            found.warn(
                "units",
                format!("{name} is not enabled: after the next boot it does not run"),
                format!("`systemctl enable {name}`"),
            );
        } else {
            found.advise(
                "units",
                format!("{name} is not installed"),
                "docs/operations.md, \"As services\", says how; or make sure that something else starts it",
            );
        }
    }
}
