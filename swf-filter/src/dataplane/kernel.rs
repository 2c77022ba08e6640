//! Loads the program and opens its maps, adopting what is pinned.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{MapData, MapInfo};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader, VerifierLogLevel};
use swf_filter_common::fingerprint;

use super::{Counters, Events, Pins, Programs, Publisher};

/// The kernel program, as `cargo xtask build` made it. Empty if the binary was built without it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/swf-filter.o"));

/// The entry point that answers instead of dropping.
pub(super) const EXPLAINER: &str = "swf_filter_explain";

/// The map of the program's variables, of which it has one: the budget of events.
pub(super) const VARIABLES: &str = ".bss";

/// Maps that outlive the daemon, with the sizes of their keys and values.
pub(super) const MAPS: [(&str, u32, u32); 8] = [
    ("ACTIVE", 4, 4),
    ("TRIES_V4", 4, 4),
    ("TRIES_V6", 4, 4),
    ("FORESTS", 4, 4),
    ("RULES", 4, 4),
    ("REASONS", 4, 16),
    (VARIABLES, 4, 8),
    ("EVENTS", 0, 0),
];

/// Why the kernel side cannot be brought up.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The binary has no kernel program.
    #[error("this binary was built without the kernel program; build it with `cargo xtask build`")]
    NoObject,
    /// The kernel program was built from other layouts than the daemon.
    #[error("the kernel program in this binary is out of date; build it with `cargo xtask build`")]
    OtherLayout,
    /// The kernel refused a map or the object.
    #[error("cannot load the kernel program's maps")]
    Maps(#[source] EbpfError),
    /// The kernel's verifier, or something before it, refused the program.
    #[error("the kernel refused the program `{name}`")]
    Program {
        /// Which.
        name: &'static str,
        /// Why.
        #[source]
        error: Box<ProgramError>,
    },
}

/// The loaded kernel side, in parts that different tasks own.
pub struct Kernel {
    /// Runs the programs, and links them to interfaces.
    pub programs: Programs,
    /// Makes generations take effect.
    pub publisher: Publisher,
    /// Reads counters.
    pub counters: Counters,
    /// Receives events.
    pub events: Events,
    /// Log records of the tracing program, if that was asked for.
    pub trace: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
}

impl Kernel {
    /// Loads the program over the pinned maps, making those that are not there. Attaches nothing. `lock` is that of the pins.
    pub fn load(pins: &Pins, lock: File, trace: bool) -> Result<Self> {
        if OBJECT.is_empty() {
            return Err(LoadError::NoObject.into());
        }
        if fingerprint::of_object(OBJECT) != Some(fingerprint::FINGERPRINT) {
            return Err(LoadError::OtherLayout.into());
        }
        let mut loader = EbpfLoader::new();
        loader.verifier_log_level(VerifierLogLevel::STATS);
        for (name, key, value) in MAPS {
            check_pinned(&pins.map(name), key, value)?;
            loader.map_pin_path(name, pins.map(name));
        }
        let mut ebpf = loader.load(OBJECT).map_err(LoadError::Maps)?;
        let name = if trace {
            "swf_filter_trace"
        } else {
            "swf_filter"
        };
        load_program(&mut ebpf, name)?;
        load_program(&mut ebpf, EXPLAINER)?;
        let trace = if trace {
            Some(
                aya_log::EbpfLogger::init(&mut ebpf)
                    .context("cannot read the tracing program's log")?,
            )
        } else {
            None
        };
        Ok(Self {
            publisher: Publisher::new(&mut ebpf, pins)?,
            counters: Counters::new(&mut ebpf, pins)?,
            events: Events::new(&mut ebpf)?,
            programs: Programs::new(ebpf, name, pins.clone(), lock)?,
            trace,
        })
    }
}

/// Maps that are reused by path must have the shape that this version expects.
fn check_pinned(path: &Path, key: u32, value: u32) -> Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Ok(there) => ensure!(
            there.is_file(),
            "`{}` is in the place of a pinned map, and is none; remove it",
            path.display()
        ),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at {}", path.display()));
        }
    }
    let info = MapInfo::from_pin(path)
        .with_context(|| format!("cannot open the pinned map {}", path.display()))?;
    ensure!(
        info.key_size() == key && info.value_size() == value,
        "the pinned map {} does not have the shape of this version; `swf-filter detach` removes it, and with it the filter",
        path.display(),
    );
    Ok(())
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let failed = |error| LoadError::Program {
        name,
        error: Box::new(error),
    };
    let program: &mut Xdp = program(ebpf, name).map_err(failed)?;
    program.load().map_err(failed)
}

/// The program of this name.
pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, ProgramError> {
    ebpf.program_mut(name)
        .ok_or(ProgramError::NotLoaded)?
        .try_into()
}

/// Takes a map out of the loaded object.
pub(super) fn take(ebpf: &mut Ebpf, name: &str) -> Result<aya::maps::Map> {
    ebpf.take_map(name)
        .with_context(|| format!("the kernel program has no map `{name}`"))
}

/// Opens a pinned map a second time.
pub(super) fn open(pins: &Pins, name: &str) -> Result<MapData> {
    MapData::from_pin(pins.map(name))
        .with_context(|| format!("cannot open the pinned map `{name}`"))
}
