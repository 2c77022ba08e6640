//! `config.toml`: how the daemon runs on this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use swf_filter_core::policy::{Entry, SourceFile, parse_always_allow};
use toml::Spanned;

use crate::files::read_limited;
use crate::report;

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
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            policy: "/etc/swf-filter/policy.d".into(),
            bpf: "/sys/fs/bpf/swf-filter".into(),
            run: "/run/swf-filter".into(),
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
    paths: Paths,
}

impl Config {
    /// Reads and checks `path`.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = read_limited(path, MAX_BYTES)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let file = SourceFile {
            name: path.to_string_lossy().into(),
            bytes: Arc::clone(&bytes),
        };
        let text = std::str::from_utf8(&bytes)
            .with_context(|| format!("{} is not UTF-8", path.display()))?;
        let written: Written =
            toml::from_str(text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        ensure!(
            written.version == 1,
            "{}: this swf-filter reads `version = 1`",
            path.display()
        );
        ensure!(
            !written.interfaces.is_empty(),
            "{}: `interfaces` names no interface",
            path.display()
        );
        let interfaces = written
            .interfaces
            .iter()
            .map(|pattern| {
                glob::Pattern::new(pattern)
                    .with_context(|| format!("bad interface pattern `{pattern}`"))
            })
            .collect::<Result<_>>()?;
        let always_allow =
            parse_always_allow(&file, &written.always_allow).map_err(|problems| {
                anyhow!("{}", report::render(&problems, std::slice::from_ref(&file)))
            })?;
        Ok(Self {
            path: path.to_owned(),
            interfaces,
            xdp_mode: written.xdp_mode,
            always_allow,
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
