//! Kernel tests on other kernels: does the program load, attach, drop, flip, and is it adopted after a restart?

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::initrd::{Initrd, Kernel};
use super::machine::Machine;
use crate::{build, command};

/// A program of tests, and which of them to run there.
pub(crate) struct Test {
    name: &'static str,
    which: &'static str,
    program: PathBuf,
}

/// Builds the test programs, and finds them.
pub(crate) fn tests() -> Result<Vec<Test>> {
    let mut cargo = command::cargo("test");
    cargo.args([
        "--package",
        "swf-filter-tests",
        "--no-run",
        "--message-format=json",
    ]);
    for (name, _) in TESTS {
        cargo.args(["--test", name]);
    }
    println!("vm: building tests");
    let printed = command::output(build::with_bpf_object(&mut cargo))?;
    // A line for each thing built. Its name is in the name of the file.
    let programs = printed.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        Some(PathBuf::from(rest.split_once('"')?.0))
    });
    let programs: Vec<PathBuf> = programs.collect();
    TESTS
        .iter()
        .map(|(name, which)| {
            let prefix = format!("{name}-");
            let is_it = |path: &&PathBuf| {
                let file = path.file_name().unwrap_or_default();
                file.to_string_lossy().starts_with(&prefix)
            };
            let program = programs.iter().find(is_it);
            Ok(Test {
                name,
                which,
                program: program
                    .with_context(|| format!("no test `{name}`"))?
                    .clone(),
            })
        })
        .collect()
}

/// Starts the daemon on a kernel, and runs tests there.
pub(crate) fn run(kernel: &Kernel, tests: &[Test], binary: &Path) -> Result<()> {
    println!("vm: kernel tests on {}", kernel.release);
    let initrd = Initrd::new("kernel-tests", kernel, &MODULES)?;
    initrd.add_program(binary, "bin/swf-filter")?;
    for name in PROGRAMS {
        let program = command::find(name).with_context(|| format!("no `{name}` here"))?;
        initrd.add_program(&program, &format!("usr/sbin/{name}"))?;
    }
    let mut script = SCRIPT.to_owned();
    for Test {
        name,
        which,
        program,
    } in tests
    {
        initrd.add_program(program, &format!("tests/{name}"))?;
        let run = format!("/tests/{name} --test-threads=1 {which}");
        script.extend([&run, "; echo \"vm-ended ", name, " $?\"\n"]);
    }
    script += "echo vm-done\npoweroff -f\n";
    let image = initrd.finish(&script)?;
    let mut machine = Machine::start(&kernel.image, &image, &["-no-reboot"])?;
    let deadline = Instant::now() + TIME;
    let mut failed = Vec::new();
    loop {
        let line = machine.line(deadline)?;
        let line = line.context("the machine ended before the tests did")?;
        if line.contains("vm-done") {
            break;
        }
        if let Some((_, ended)) = line.split_once("vm-ended ") {
            if !ended.ends_with(" 0") {
                failed.push(ended.to_owned());
            }
        } else if !line.is_empty() {
            println!("    {line}");
        }
    }
    ensure!(
        failed.is_empty(),
        "on {}: failed: {}",
        kernel.release,
        failed.join(", ")
    );
    Ok(())
}

/// The program loads, attaches, drops, is adopted after a restart and flips; and it judges as the same code on the host. The listener
/// tells VLANs of the kernel, which not every kernel has.
/// Reloads of tries under traffic are left out: each takes seconds there, and a change of engine has some.
const TESTS: [(&str, &str); 5] = [
    ("agreement", ""),
    ("atomic", "compiled engine"),
    ("gate", ""),
    ("state", ""),
    ("ways", ""),
];

/// Programs that tests run, of which `BusyBox` has none or one that can do less.
const PROGRAMS: [&str; 2] = ["ip", "nsenter"];

const MODULES: [&str; 6] = ["8021q", "bonding", "bridge", "dummy", "macvlan", "veth"];

/// All tests on one kernel.
const TIME: Duration = Duration::from_mins(30);

const SCRIPT: &str = r#"
mount -t bpf bpf /sys/fs/bpf
mkdir -p /etc/swf-filter/policy.d /run/netns /var/lib
ip link set lo up
export CI=true NO_COLOR=1 SWF_FILTER_PATIENCE=10 SWF_FILTER_BIN=/bin/swf-filter SWF_FILTER_SKIP_LOG=/tmp/skipped RUST_BACKTRACE=0

printf 'version = 1\n[[host]]\nname = "a"\naddresses = ["192.0.2.1"]\n' >/etc/swf-filter/policy.d/a.toml
ip link add first type veth peer name second
for trace in false true; do
    printf 'version = 1\ninterfaces = ["first"]\ntrace = %s\n' $trace >/etc/swf-filter/config.toml
    swf-filter daemon &
    until swf-filter status; do
        [ -d /proc/$! ] || break
        sleep 1
    done 2>/dev/null
    swf-filter status | grep -q '^first *driver'
    echo "vm-ended load with trace = $trace: $?"
    grep -h verified_insns /proc/$!/fdinfo/*
    kill $! && wait $!
    swf-filter detach
done
"#;
