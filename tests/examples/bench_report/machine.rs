//! What a run was made on, and beside what.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::Serialize;

/// A machine.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    /// Tasks that were ready to run in the last minutes: a busy machine measures badly.
    pub(crate) load: String,
    pub(crate) versions: BTreeMap<String, String>,
}

/// What is named, and what tells its version.
const PROGRAMS: [(&str, &str, &str); 8] = [
    ("commit", "git", "describe --always --dirty"),
    ("haproxy", "haproxy", "-v"),
    ("ipset", "ipset", "--version"),
    ("iptables", "iptables", "--version"),
    ("nftables", "nft", "--version"),
    ("nginx", "nginx", "-v"),
    ("rustc", "rustc", "--version"),
    // xdp-filter itself does not say.
    ("xdp-filter", "dpkg-query", "--show xdp-tools"),
];

impl Machine {
    pub(crate) fn this() -> Self {
        let cpu = read("/proc/cpuinfo");
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model
            .unwrap_or_default()
            .trim_start_matches([' ', '\t', ':']);
        let versions = PROGRAMS
            .into_iter()
            .filter_map(|(name, program, arguments)| {
                Some((name.to_owned(), version(program, arguments)?))
            });
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: model.to_owned(),
            cpus: cpu
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            load: read("/proc/loadavg").trim().to_owned(),
            versions: versions.collect(),
        }
    }
}

/// The first line that a program says.
fn version(program: &str, arguments: &str) -> Option<String> {
    let output = Command::new(program)
        .args(arguments.split(' '))
        .output()
        .ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    said.lines().next().map(|line| line.trim().to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
