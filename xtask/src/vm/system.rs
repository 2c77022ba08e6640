//! A whole Debian 12 with the package installed: from boot to purge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::front;
use super::initrd::{self, Initrd};
use super::machine::Machine;
use super::traffic::{ALLOWED, HOST, Traffic};
use super::{KERNELS, folder};
use crate::build::Built;
use crate::command;
use crate::package::{Wish, pack};

/// Installs, upgrades, removes and purges the package in a Debian that does not run.
pub(crate) fn install(built: &Built) -> Result<()> {
    println!("vm: installing, upgrading, removing and purging the package");
    let root = debian("install")?;
    packages(built, &root)?;
    print!("{}", inside(&root, INSTALL)?);
    Ok(fs::remove_dir_all(root)?)
}

/// Boots it, and looks on.
pub(crate) fn run(built: &Built) -> Result<()> {
    let kernel = initrd::kernel(KERNELS[0])?;
    println!("vm: a system with {}", kernel.release);
    let root = debian("system")?;
    packages(built, &root)?;
    for (path, text) in FILES.iter().chain(&front::FILES) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        fs::write(path, text)?;
    }
    let policy = root.join("etc/swf-filter/policy.d");
    fs::create_dir_all(&policy)?;
    fs::write(
        policy.join("10-test.toml"),
        format!(
            "version = 1\n[[host]]\nname = \"test\"\naddresses = [\"{HOST}\"]\nallow = [\"{ALLOWED}\", \"{HOST}\"]\n\
             account = \"111122223333\"\n"
        ),
    )?;
    let modules = root.join("usr/lib/modules").join(&kernel.release);
    fs::create_dir_all(root.join("usr/lib/modules"))?;
    let from = kernel.root.join("lib/modules").join(&kernel.release);
    command::output(Command::new("cp").arg("-a").args([&from, &modules]))?;
    inside(&root, SET_UP)?;
    inside(&root, front::SET_UP)?;
    let disk = folder()?.join("disk.ext4");
    // What was there would be left in part.
    let _not_there = fs::remove_file(&disk);
    let mke2fs = command::find("mke2fs").context("no `mke2fs` here")?;
    command::output(
        Command::new(mke2fs)
            .args(["-q", "-t", "ext4", "-d"])
            .args([&root, &disk])
            .arg("2G"),
    )?;
    fs::remove_dir_all(root)?;
    let image = Initrd::new("system-initrd", &kernel, &MODULES)?.finish(SWITCH)?;
    let traffic = Traffic::start()?;
    let drive = format!("file={},format=raw,if=none,id=disk", disk.display());
    let machine = Machine::start(
        &kernel.image,
        &image,
        &[
            "-drive",
            &drive,
            "-device",
            "virtio-blk-pci,drive=disk",
            "-netdev",
            &traffic.card,
            "-device",
            "virtio-net-pci,netdev=net,mac=52:54:00:12:34:56",
        ],
    )?;
    let mut boots = Boots { machine, traffic };
    boots.all().inspect_err(|_| boots.tell_of_trouble())
}

/// The machine with what is sent to it.
pub(super) struct Boots {
    machine: Machine,
    traffic: Traffic,
}

impl Boots {
    fn all(&mut self) -> Result<()> {
        self.boot("first boot")?;
        self.only_the_allowed_source_gets_answers()?;
        self.says("systemctl is-active swf-filter.service", "active")?;
        // A first boot enables what no preset names.
        self.says(
            "systemctl is-enabled swf-filter-listener.socket",
            "disabled",
        )?;

        self.enable_the_listener()?;
        self.reboot("second boot")?;
        self.only_the_allowed_source_gets_answers()?;
        self.requests_are_judged()?;

        self.upgrade()?;
        self.only_the_allowed_source_gets_answers()?;
        self.requests_are_judged()?;
        self.disable_the_listener()?;

        self.trials()?;

        self.run("echo nonsense >/etc/swf-filter/policy.d/20-broken.toml")?;
        self.reboot("boot with broken files")?;
        self.only_the_allowed_source_gets_answers()?;
        self.says(
            "systemctl show -P StatusText swf-filter.service",
            "the last good one",
        )?;

        // The twin of all that: nothing to enforce, and the same packets get through.
        self.run("rm -r /var/lib/swf-filter/*")?;
        self.reboot("boot with broken files and nothing else")?;
        self.wait_until("the denied source gets answers", |boots| {
            boots.traffic.answers().denied > 0
        })?;
        self.says("systemctl is-failed swf-filter.service", "failed")?;

        self.run("sed -i '1i on_boot_failure = \"drop\"' /etc/swf-filter/config.toml")?;
        self.reboot("the same, with on_boot_failure = \"drop\"")?;
        self.says("systemctl is-active swf-filter.service", "active")?;
        self.says(
            "systemctl show -P StatusText swf-filter.service",
            "everything but always_allow is dropped",
        )?;
        self.nobody_gets_answers()?;

        let before = self.traffic.answers().denied;
        self.run("apt-get -q -y purge swf-filter")?;
        self.wait_until("the denied source gets answers", |boots| {
            boots.traffic.answers().denied > before
        })?;
        self.says(LEFT, "0")?;
        self.says(KEPT, "10-test.toml 20-broken.toml")?;
        self.says("ls /sys/fs/bpf | wc -l", "0")?;
        println!("vm: purged, and off");
        Ok(())
    }

    /// Prints what the machine has to say of the filter.
    fn tell_of_trouble(&mut self) {
        println!("vm: answers: {:?}", self.traffic.answers());
        for command in [
            "swf-filter status",
            "swf-filter rules",
            "journalctl --no-pager -b -n 40 -u swf-filter.service -u swf-filter-listener.service",
        ] {
            let told = self.run(command);
            let told = told.unwrap_or_else(|error| error.to_string());
            println!("vm: {command}:\n{told}");
        }
    }

    fn boot(&mut self, which: &str) -> Result<()> {
        let start = Instant::now();
        self.machine.wait_for("vm-ready", BOOT)?;
        println!("vm: {which}: {} s", start.elapsed().as_secs());
        Ok(())
    }

    fn reboot(&mut self, which: &str) -> Result<()> {
        self.machine.type_line("systemctl reboot")?;
        self.boot(which)
    }

    /// Runs a command, and gives what it printed.
    pub(super) fn run(&mut self, line: &str) -> Result<String> {
        // What is typed is not what is waited for, in case it is echoed.
        self.machine
            .type_line(&format!("{line}; echo vm-\"\"ended $?"))?;
        let (code, before) = self.machine.wait_for("vm-ended ", COMMAND)?;
        let printed = before.join("\n");
        let told_by_code = line.starts_with("systemctl is-");
        ensure!(
            code == "0" || told_by_code,
            "`{line}` ended with {code}:\n{printed}"
        );
        Ok(printed)
    }

    pub(super) fn says(&mut self, line: &str, expected: &str) -> Result<()> {
        let printed = self.run(line)?;
        let said = printed
            .lines()
            .any(|line| line == expected || (expected.contains(' ') && line.contains(expected)));
        ensure!(said, "`{line}` says `{printed}`, not `{expected}`");
        println!("vm: {line}: {expected}");
        Ok(())
    }

    /// Waits for answers to the allowed source, and makes sure that the denied one has never got one.
    fn only_the_allowed_source_gets_answers(&mut self) -> Result<()> {
        let before = self.traffic.answers().allowed;
        self.wait_until("the allowed source gets answers", |boots| {
            boots.traffic.answers().allowed > before + ENOUGH
        })?;
        let answers = self.traffic.answers();
        ensure!(
            answers.denied == 0,
            "{} unfiltered packets got answers",
            answers.denied
        );
        println!(
            "vm: of {} packets from each source: {} answers to the allowed one, none to the other",
            self.traffic.sent(),
            answers.allowed
        );
        Ok(())
    }

    fn nobody_gets_answers(&mut self) -> Result<()> {
        // The first ones may still be answers to what was sent before, and a busy machine has some of that before it.
        let mut before = self.traffic.answers();
        for _ in 0..MOST_BEHIND {
            self.more_is_sent()?;
            let after = self.traffic.answers();
            if after == before {
                break;
            }
            before = after;
        }
        for _ in 0..QUIET {
            self.more_is_sent()?;
            // The machine does something, and so has seen what was sent.
            self.run("true")?;
        }
        let after = self.traffic.answers();
        ensure!(
            after == before,
            "somebody got answers: {after:?}, after {before:?}"
        );
        Ok(())
    }

    fn more_is_sent(&mut self) -> Result<()> {
        let before = self.traffic.sent();
        self.wait_until("more is sent", |boots| {
            boots.traffic.sent() > before + ENOUGH
        })
    }

    fn wait_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + COMMAND;
        while !holds(self) {
            ensure!(Instant::now() < deadline, "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Tries a policy that locks everybody out, and has nobody who could end that.
    fn trials(&mut self) -> Result<()> {
        self.run(TRIAL)?;

        self.run("swf-filter try /trial --timeout 1m")?;
        let start = Instant::now();
        self.nobody_gets_answers()?;
        self.run("kill -9 $(systemctl show -P MainPID swf-filter.service)")?;
        ensure!(
            start.elapsed() < Duration::from_mins(1),
            "the trial may have ended before its daemon did"
        );
        self.only_the_allowed_source_gets_answers()?;
        println!(
            "vm: a trial of 60 s, whose daemon was killed: over after {} s",
            start.elapsed().as_secs()
        );

        self.run("swf-filter try /trial --timeout 1h")?;
        self.nobody_gets_answers()?;
        self.reboot("third boot, in the middle of a trial")?;
        self.only_the_allowed_source_gets_answers()?;
        println!("vm: {}", self.run("swf-filter history")?);
        Ok(())
    }

    /// Installs the next version while packets come in.
    fn upgrade(&mut self) -> Result<()> {
        let process = "systemctl show -P MainPID swf-filter.service";
        let (first, before) = (self.run(process)?, self.counted()?);
        let _since_now = self.traffic.gap();
        self.run("dpkg -i /packages/next.deb")?;
        self.says("dpkg-query -W -f '${Version}\\n' swf-filter", NEXT)?;
        let (second, after) = (self.run(process)?, self.counted()?);
        ensure!(first != second, "the daemon was not restarted");
        ensure!(after > before, "counters were {before}, and are {after}");
        println!(
            "vm: upgraded; counters went from {before} to {after}; longest time between answers: {} ms",
            self.traffic.gap().as_millis()
        );
        Ok(())
    }

    /// Packets that all rules counted.
    fn counted(&mut self) -> Result<u64> {
        let printed = self.run("swf-filter rules --output json")?;
        let counts = printed.split("\"packets\":").skip(1).map(|rest| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
            digits.unwrap_or_default().parse::<u64>()
        });
        let sum = counts.sum::<Result<u64, _>>();
        sum.with_context(|| format!("cannot read counts from `{printed}`"))
    }
}

/// Makes a Debian, with systemd and little else.
fn debian(name: &str) -> Result<PathBuf> {
    let folder = folder()?;
    let archive = folder.join("debian.tar");
    let list = folder.join("debian.packages");
    // One that was made with other packages is of no use.
    if !archive.exists() || fs::read_to_string(&list).ok().as_deref() != Some(PACKAGES) {
        println!("vm: getting Debian 12");
        let made = folder.join("debian.tar.new");
        command::output(
            Command::new("mmdebstrap")
                .args(["--quiet", "--variant=minbase", "--format=tar"])
                .arg(format!("--include={PACKAGES}"))
                .arg("bookworm")
                .arg(&made),
        )?;
        fs::rename(made, &archive)?;
        fs::write(list, PACKAGES)?;
    }
    let root = folder.join(name);
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::create_dir_all(&root)?;
    command::output(
        Command::new("tar")
            .arg("-xf")
            .args([&archive, Path::new("-C"), &root]),
    )?;
    Ok(root)
}

/// Runs a script in the file system of a Debian that does not run.
fn inside(root: &Path, script: &str) -> Result<String> {
    // Mounts of the new namespace end with it.
    let mounted = "mount -t proc proc \"$1/proc\"; exec chroot \"$1\" sh -eu -c \"$2\"";
    command::output(
        Command::new("unshare")
            .args(["--mount", "sh", "-eu", "-c", mounted, "sh"])
            .arg(root)
            .arg(script),
    )
}

/// Packs two versions, and puts them into `/packages`.
fn packages(built: &Built, root: &Path) -> Result<()> {
    let folder = root.join("packages");
    fs::create_dir_all(&folder)?;
    for (name, version) in [("this", THIS), ("next", NEXT)] {
        let wish = Wish::read(&["--debug", "--version", version])?;
        fs::rename(
            pack(&built.binary, &wish)?,
            folder.join(format!("{name}.deb")),
        )?;
    }
    Ok(())
}

/// What the machine has beside the least that Debian is.
const PACKAGES: &str = "systemd-sysv,udev,kmod,iproute2,logrotate,ca-certificates,openssl,curl";

const THIS: &str = "0.1.0-1";
const NEXT: &str = "0.1.1-1";

/// From one line of text to the next, when the machine is busy.
const COMMAND: Duration = Duration::from_mins(6);
/// From the power switch to a shell.
const BOOT: Duration = Duration::from_mins(10);
/// How many times [`ENOUGH`] packets may be sent before the last of earlier ones is answered.
const MOST_BEHIND: u32 = 20;
/// How many times as many may be sent without an answer, after that.
const QUIET: u32 = 3;
/// Packets that come through on their way show whether others would.
const ENOUGH: u64 = 50;

const MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "ext4"];

/// The machine's last step before systemd.
const SWITCH: &str = "
mkdir /disk
mount -t ext4 /dev/vda /disk
mount --move /dev /disk/dev
umount /run /tmp /sys /proc
exec switch_root /disk /sbin/init
";

/// Files of the machine: its network as a machine of a cloud has it, and a shell on the serial line.
const FILES: [(&str, &str); 4] = [
    (
        "etc/systemd/network/eth0.network",
        "[Match]\nName=eth0\n[Network]\nAddress=198.51.100.10/24\nGateway=198.51.100.1\nLinkLocalAddressing=no\n\
         [Neighbor]\nAddress=198.51.100.1\nLinkLayerAddress=52:54:00:aa:bb:cc\n",
    ),
    (
        "etc/systemd/system/console.service",
        "[Unit]\nAfter=multi-user.target\n[Service]\nEnvironment=HOME=/ PS1= DEBIAN_FRONTEND=noninteractive\n\
         ExecStart=/bin/sh /etc/console\nStandardInput=tty\nTTYPath=/dev/ttyS0\nStandardOutput=tty\nStandardError=tty\n\
         [Install]\nWantedBy=multi-user.target\n",
    ),
    ("etc/console", "stty -echo\necho vm-ready\nexec sh\n"),
    ("etc/hostname", "machine\n"),
];

/// Counts what is left of the package, but for what an administrator wrote.
const LEFT: &str = "find / -xdev '(' -path /packages -o -path /etc/swf-filter -o -path '/etc/systemd/system/*.d' ')' -prune -o -name '*swf-filter*' -print | wc -l";

/// Names what is left of settings.
const KEPT: &str = "find /etc/swf-filter/policy.d -type f -printf '%f\\n' | sort | xargs";

/// Makes a policy that lets nobody in.
const TRIAL: &str = "mkdir /trial && sed 's/^allow = .*/deny = [\"0.0.0.0\\/0\"]/' /etc/swf-filter/policy.d/10-test.toml >/trial/10-test.toml";

/// Run in the machine's file system before its first boot, as an administrator would after it.
const SET_UP: &str = "
dpkg -i /packages/this.deb
systemctl enable swf-filter.service console.service systemd-networkd.service
systemctl disable getty@tty1.service
systemctl mask serial-getty@ttyS0.service systemd-networkd-wait-online.service
rm -f /etc/machine-id; echo uninitialized >/etc/machine-id
";

/// Run where there is no service manager, as in an image that is being built.
const INSTALL: &str = r#"
export DEBIAN_FRONTEND=noninteractive
unit_is_off() { [ "$(systemctl is-enabled "$1" 2>&1)" = disabled ]; }

dpkg -i /packages/this.deb
unit_is_off swf-filter.service
unit_is_off swf-filter-listener.service
unit_is_off swf-filter-listener.socket
getent passwd swf-listener >/dev/null
[ "$(stat -c '%U %a' /etc/swf-filter/keys)" = "swf-listener 700" ]
[ "$(stat -c '%U %a' /var/lib/swf-filter-listener)" = "swf-listener 700" ]
swf-filter check
swf-filter keys rotate
[ "$(stat -c '%U %a' /etc/swf-filter/keys/session.keys)" = "swf-listener 600" ]

# An administrator's settings survive an upgrade, and so does what is enabled.
systemctl enable swf-filter.service
echo '# mine' >>/etc/swf-filter/config.toml
dpkg -i /packages/next.deb
tail -n 1 /etc/swf-filter/config.toml | grep -qx '# mine'
[ "$(systemctl is-enabled swf-filter.service)" = enabled ]
unit_is_off swf-filter-listener.service

dpkg -r swf-filter
grep -qx '# mine' /etc/swf-filter/config.toml
[ -e /etc/swf-filter/keys/session.keys ]
[ ! -e /usr/bin/swf-filter ]

# Once more, as if nothing had been.
dpkg -i /packages/next.deb
[ "$(systemctl is-enabled swf-filter.service)" = enabled ]
dpkg -P swf-filter
for left in /etc/swf-filter /var/lib/swf-filter /var/lib/swf-filter-listener /var/log/swf-filter /etc/logrotate.d/swf-filter \
    /usr/share/doc/swf-filter /etc/systemd/system/swf-filter.service; do
    [ ! -e "$left" ] || { echo "left: $left"; exit 1; }
done
[ -z "$(find / -xdev -path /packages -prune -o -path /proc -prune -o -name '*swf-filter*' -print)" ]
echo "vm: the package installs, upgrades, removes and purges cleanly"
"#;
