//! `config.toml`: how the daemon runs on this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use swf_filter_core::policy::{Entry, SourceFile, parse_always_allow};
use toml::Spanned;

use crate::files::{read_limited, unreadable};
use crate::report::{Rejected, Report};

/// Bytes of config.toml at most.
const MAX_BYTES: usize = 1 << 20;

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file itself.
    pub path: PathBuf,
    /// Names and globs of interfaces to attach to.
    pub interfaces: Vec<glob::Pattern>,
    /// How to attach.
    pub xdp_mode: XdpMode,
    /// Sources that no policy can lock out.
    pub always_allow: Vec<Entry>,
    /// What to do at start when there is no policy at all to enforce.
    pub on_boot_failure: OnBootFailure,
    /// Events a second at most.
    pub events_per_second: u32,
    /// Whether each judged packet is logged.
    pub trace: bool,
    /// Where things are.
    pub paths: Paths,
}

/// How to attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// Driver mode, and generic with a warning where the driver cannot.
    #[default]
    Auto,
    /// Driver mode or nothing.
    Driver,
    /// Generic mode.
    Generic,
}

/// What to do at start when the policy cannot be loaded, nothing is pinned, and there is no last good generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Paths {
    /// Policy files.
    pub policy: PathBuf,
    /// Pins, in a bpf file system.
    pub bpf: PathBuf,
    /// Lock and socket.
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

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    interfaces: Vec<String>,
    #[serde(default)]
    xdp_mode: XdpMode,
    #[serde(default)]
    always_allow: Vec<Spanned<String>>,
    #[serde(default)]
    on_boot_failure: OnBootFailure,
    #[serde(default = "events_per_second")]
    events_per_second: u32,
    #[serde(default)]
    trace: bool,
    #[serde(default)]
    paths: Paths,
}

fn events_per_second() -> u32 {
    100
}

impl Config {
    /// Reads and checks `path`.
    pub fn load(path: &Path) -> Result<Self, Rejected> {
        let bytes = read_limited(path, MAX_BYTES)
            .map_err(|error| unreadable("the settings", path, error))?;
        let file = SourceFile {
            name: path.to_string_lossy().into(),
            bytes: Arc::clone(&bytes),
        };
        let wrong = |message: String| Rejected::Problems(Report::of_settings(&file, message));
        let text =
            std::str::from_utf8(&bytes).map_err(|_| wrong("this is not UTF-8 text".to_owned()))?;
        let written: Written = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if written.version != 1 {
            return Err(wrong("this swf-filter reads `version = 1`".to_owned()));
        }
        if written.interfaces.is_empty() {
            return Err(wrong("`interfaces` names no interface".to_owned()));
        }
        let interfaces = written
            .interfaces
            .iter()
            .map(|pattern| {
                glob::Pattern::new(pattern)
                    .map_err(|error| wrong(format!("bad interface pattern `{pattern}`: {error}")))
            })
            .collect::<Result<_, _>>()?;
        let always_allow =
            parse_always_allow(&file, &written.always_allow).map_err(|problems| {
                Rejected::Problems(Report::new(&problems, std::slice::from_ref(&file)))
            })?;
        Ok(Self {
            path: path.to_owned(),
            interfaces,
            xdp_mode: written.xdp_mode,
            always_allow,
            on_boot_failure: written.on_boot_failure,
            events_per_second: written.events_per_second,
            trace: written.trace,
            paths: written.paths,
        })
    }

    /// Whether an interface is one of those to attach to.
    #[must_use]
    pub fn names(&self, interface: &str) -> bool {
        self.interfaces
            .iter()
            .any(|pattern| pattern.matches(interface))
    }
}
