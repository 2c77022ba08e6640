//! `config.toml`: how the daemon runs on this machine.
//!
//! Like a policy file it is taken whole or refused with all that is wrong with it.

mod fault;
mod read;

use std::path::{Path, PathBuf};

use swf_filter_core::policy::Entry;

use crate::files::read_file;
use crate::observe::Observe;
use crate::report::{Input, Rejected};
use crate::toml_reader::MAX_BYTES;

/// Events a second that may be asked for: each is a line of text, and more are not read by anyone.
const MAX_EVENTS: u32 = 1_000_000;
/// Texts that may be asked for.
const MAX_HISTORY: u32 = 1_000;
/// Bytes of an interface name with its final zero (include/uapi/linux/if.h).
pub(crate) const IFNAMSIZ: usize = 16;

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file itself.
    pub path: PathBuf,
    /// Names and globs of interfaces to attach to.
    pub interfaces: Vec<glob::Pattern>,
    /// How to attach.
    pub xdp_mode: XdpMode,
    /// What holds source tables in the kernel.
    pub engine: EngineChoice,
    /// Sources that no policy can lock out.
    pub always_allow: Vec<Entry>,
    /// What to do at start when there is no policy at all to enforce.
    pub on_boot_failure: OnBootFailure,
    /// Events a second at most.
    pub events_per_second: u32,
    /// Texts of earlier policies that are kept at most, to go back to.
    pub history: u32,
    /// Whether each judged packet is logged.
    pub trace: bool,
    /// Where metrics are served, if they are.
    pub observe: Option<Observe>,
    /// Where things are.
    pub paths: Paths,
}

/// How to attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// Driver mode, and generic with a warning where the driver cannot.
    #[default]
    Auto,
    /// Driver mode or nothing.
    Driver,
    /// Generic mode.
    Generic,
}

/// What holds source tables in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// The compiled engine, and LPM tries for what is too large for it.
    #[default]
    Auto,
    /// The compiled engine or nothing.
    Compiled,
    /// The kernel's LPM tries.
    LpmTrie,
}

/// What to do at start when the policy cannot be loaded, nothing is pinned, and there is no last good generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBootFailure {
    /// End with an error; traffic passes.
    #[default]
    Refuse,
    /// Drop all but the administrators, until a reload succeeds.
    Drop,
    /// Pass everything, until a reload succeeds.
    Pass,
}

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Policy files.
    pub policy: PathBuf,
    /// Pins, in a bpf file system.
    pub bpf: PathBuf,
    /// The control socket.
    pub run: PathBuf,
    /// The last good generation, and counts.
    pub state: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            policy: "/etc/swf-filter/policy.d".into(),
            bpf: "/sys/fs/bpf/swf-filter".into(),
            run: "/run/swf-filter".into(),
            state: "/var/lib/swf-filter".into(),
        }
    }
}

impl Config {
    /// Reads and checks `path`.
    pub fn load(path: &Path) -> Result<Self, Rejected> {
        let file = read_file(path, MAX_BYTES)
            .map_err(|error| Rejected::unreadable(Input::Settings, path, error))?;
        read::read(path, &file).map_err(Rejected::Problems)
    }

    /// The interface, if there is one entry and it is a name.
    #[must_use]
    pub fn only_interface(&self) -> Option<&str> {
        match self.interfaces.as_slice() {
            [only] if !only.as_str().contains(['*', '?', '[']) => Some(only.as_str()),
            _ => None,
        }
    }

    /// Whether an interface is one of those to attach to.
    #[must_use]
    pub fn names(&self, interface: &str) -> bool {
        self.interfaces
            .iter()
            .any(|pattern| pattern.matches(interface))
    }
}

#[cfg(test)]
mod tests;
