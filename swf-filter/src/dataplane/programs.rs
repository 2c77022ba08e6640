//! The loaded programs: linked to interfaces, and run on made-up frames.
//!
//! A link is pinned under its interface's number. It is what keeps the filter on when the daemon is gone, and a new daemon
//! replaces the program inside it in one step, so that no packet passes unfiltered. Only removing the pin takes the filter off.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{
    ProgramError, ProgramInfo, TestRun, TestRunOptions, loaded_links, loaded_programs,
};
use swf_filter_common::abi::Explained;

use super::kernel::{self, EXPLAINER};
use super::preflight::driver_advice;
use super::{Interface, Pins};
use crate::config;
use crate::files::remove_if_there;

/// Longer than the kernel takes to let go of a link.
const GRACE: Duration = Duration::from_secs(2);
/// What the kernel returns for a packet that is dropped (`XDP_DROP` in `linux/bpf.h`).
const XDP_DROP: u32 = 1;

/// Why an interface has no filter.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Somebody else's program is there. It is not touched.
    #[error(
        "another XDP program is attached: `{name}` (id {id}); detach it first, or leave this interface out of config.toml"
    )]
    Foreign {
        /// The program's name.
        name: String,
        /// Its number.
        id: u32,
    },
    /// The kernel attached the program in a way that ends with the daemon.
    #[error("the kernel does not offer a link that outlives the daemon on this interface")]
    NoLink,
    /// The driver refused.
    #[error("driver mode does not work{}", advice.as_ref().map(|words| format!(": {words}")).unwrap_or_default())]
    Driver {
        /// What may help.
        advice: Option<String>,
        /// The kernel's word.
        #[source]
        error: Box<ProgramError>,
    },
    /// The kernel refused.
    #[error("the kernel refused to attach")]
    Kernel(#[source] Box<ProgramError>),
    /// The link cannot be pinned or read.
    #[error("cannot keep the link")]
    Link(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the loaded program does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Whether the attached program drops it.
    pub dropped: bool,
    /// What the explaining entry point says of it.
    pub explained: Explained,
}

/// The loaded programs.
pub struct Programs {
    ebpf: Ebpf,
    /// The one that is attached.
    name: &'static str,
    pins: Pins,
}

impl Programs {
    pub(super) fn new(ebpf: Ebpf, name: &'static str, pins: Pins) -> Self {
        Self { ebpf, name, pins }
    }

    /// Attaches to `interface`, or adopts what is attached there. Returns why it is in generic mode only, if driver mode was tried.
    pub fn attach(
        &mut self,
        interface: &Interface,
        mode: config::XdpMode,
    ) -> Result<Option<String>, AttachError> {
        if self.adopt(interface)? {
            return Ok(None);
        }
        if let Some(program) = interface.xdp {
            return Err(AttachError::Foreign {
                name: program_name(program.id),
                id: program.id,
            });
        }
        let note = match mode {
            config::XdpMode::Generic => {
                self.attach_new(interface, XdpMode::Skb)?;
                None
            }
            config::XdpMode::Driver => {
                self.attach_new(interface, XdpMode::Driver)
                    .map_err(|error| in_driver(interface, error))?;
                None
            }
            config::XdpMode::Auto => match self.attach_new(interface, XdpMode::Driver) {
                Ok(()) => None,
                Err(AttachError::Kernel(refusal)) => {
                    self.attach_new(interface, XdpMode::Skb)?;
                    let advice = driver_advice(&interface.name, interface.mtu);
                    Some(format!(
                        "driver mode was refused: {}{}",
                        chain(&refusal),
                        advice.map(|words| format!("; {words}")).unwrap_or_default()
                    ))
                }
                Err(error) => return Err(error),
            },
        };
        Ok(note)
    }

    /// Takes over a pinned link: brings its program up to date, if the link is alive.
    fn adopt(&mut self, interface: &Interface) -> Result<bool, AttachError> {
        let path = self.pins.link(interface.index);
        let Ok(pinned) = PinnedLink::from_pin(&path) else {
            return Ok(false);
        };
        let link = FdLink::from(pinned);
        let linked = link.info().map_err(link_error)?.program_id();
        if interface.xdp.map(|program| program.id) != Some(linked) {
            // The interface went away and another one has its number, or somebody forced the link off.
            fs::remove_file(&path).map_err(link_error)?;
            return Ok(false);
        }
        let program = kernel::program(&mut self.ebpf, self.name).map_err(kernel_error)?;
        let current = program.info().map_err(kernel_error)?;
        if same_program(linked, &current) {
            return Ok(true);
        }
        let link = XdpLink::try_from(link).map_err(link_error)?;
        // One step: packets meet the old program or the new one, never none.
        let id = program.attach_to_link(link).map_err(kernel_error)?;
        // Taken out of the program's care, which would detach it when the daemon ends. The pin keeps it.
        drop(program.take_link(id).map_err(kernel_error)?);
        tracing::info!(interface = %interface.name, "replaced the program in place");
        Ok(true)
    }

    fn attach_new(&mut self, interface: &Interface, mode: XdpMode) -> Result<(), AttachError> {
        let path = self.pins.link(interface.index);
        let program = kernel::program(&mut self.ebpf, self.name).map_err(kernel_error)?;
        let id = program
            .attach_to_if_index(interface.index, mode)
            .map_err(kernel_error)?;
        let link = program.take_link(id).map_err(kernel_error)?;
        // On some errors aya falls back to a way of attaching that cannot be pinned: then there is no `FdLink`, and
        // dropping what there is detaches again.
        let link = FdLink::try_from(link).map_err(|_| AttachError::NoLink)?;
        link.pin(path).map_err(link_error)?;
        Ok(())
    }

    /// Takes the filter off one interface.
    pub fn detach(&self, interface: u32) -> Result<()> {
        detach(&self.pins, interface)
    }

    /// Forgets the links of interfaces that are gone.
    pub fn sweep(&self, interfaces: &[Interface]) {
        for index in self.pins.linked() {
            if !interfaces.iter().any(|interface| interface.index == index) {
                let _gone = fs::remove_file(self.pins.link(index));
            }
        }
    }

    /// Whether the program on this interface is ours.
    #[must_use]
    pub fn is_attached(&self, interface: &Interface) -> bool {
        let linked = PinnedLink::from_pin(self.pins.link(interface.index))
            .ok()
            .and_then(|link| Some(FdLink::from(link).info().ok()?.program_id()));
        linked.is_some() && linked == interface.xdp.map(|program| program.id)
    }

    /// Pins the program itself, for tools that look for it.
    pub fn pin(&mut self) -> Result<()> {
        let path = self.pins.program();
        remove_if_there(&path).context("cannot remove the old program's pin")?;
        kernel::program(&mut self.ebpf, self.name)?
            .pin(&path)
            .context("cannot pin the program")
    }

    /// Instructions that the verifier walked through to accept the attached program.
    pub fn verified_instructions(&mut self) -> Result<Option<u32>> {
        Ok(kernel::program(&mut self.ebpf, self.name)?
            .info()?
            .verified_instruction_count())
    }

    /// Runs the attached program, and the explaining one, on a frame that comes in on `interface`.
    ///
    /// The run counts as one packet.
    pub fn probe(&mut self, frame: &[u8], interface: u32) -> Result<Probed> {
        let action = self.run(self.name, frame, interface)?;
        let explained = self.run(EXPLAINER, frame, interface)?;
        Ok(Probed {
            dropped: action == XDP_DROP,
            explained: Explained::from_bits(explained),
        })
    }

    fn run(&mut self, name: &str, frame: &[u8], interface: u32) -> Result<u32> {
        let program = kernel::program(&mut self.ebpf, name)?;
        let length = u32::try_from(frame.len()).context("the frame is too long")?;
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: Vec<u8> = [0, length, 0, interface, 0, 0]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let result = program
            .test_run(options)
            .with_context(|| format!("cannot run `{name}` on a frame"))?;
        Ok(result.return_value)
    }
}

/// Takes the filter off one interface.
pub(super) fn detach(pins: &Pins, interface: u32) -> Result<()> {
    let link = PinnedLink::from_pin(pins.link(interface))
        .context("nothing of swf-filter is attached there")?;
    let link = link.unpin().context("cannot remove the link's pin")?;
    let id = link.info()?.id();
    drop(link);
    wait_until_gone(id)
}

/// The pin's own reference goes after an RCU grace period, and the filter with it: whoever is told that it is off may rely on it.
fn wait_until_gone(link: u32) -> Result<()> {
    let end = Instant::now() + GRACE;
    while loaded_links().any(|known| known.is_ok_and(|known| known.id() == link)) {
        ensure!(
            Instant::now() < end,
            "its pin is gone, and still something holds the link"
        );
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Whether a running program is the same code over the same maps: then there is nothing to replace.
fn same_program(running: u32, current: &ProgramInfo) -> bool {
    let Some(running) = find_program(running) else {
        return false;
    };
    let maps = |info: &ProgramInfo| {
        let mut ids = info.map_ids().ok().flatten()?;
        ids.sort_unstable();
        Some(ids)
    };
    running.tag() == current.tag()
        && running.name() == current.name()
        && maps(&running) == maps(current)
}

fn find_program(id: u32) -> Option<ProgramInfo> {
    loaded_programs()
        .filter_map(Result::ok)
        .find(|info| info.id() == id)
}

fn program_name(id: u32) -> String {
    find_program(id)
        .and_then(|info| info.name_as_str().map(str::to_owned))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "(no name)".to_owned())
}

fn in_driver(interface: &Interface, error: AttachError) -> AttachError {
    match error {
        AttachError::Kernel(error) => AttachError::Driver {
            advice: driver_advice(&interface.name, interface.mtu),
            error,
        },
        other => other,
    }
}

fn kernel_error(error: ProgramError) -> AttachError {
    AttachError::Kernel(Box::new(error))
}

fn link_error(error: impl std::error::Error + Send + Sync + 'static) -> AttachError {
    AttachError::Link(Box::new(error))
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

/// A link that somebody opened or asked about and that is no more.
impl From<LinkError> for AttachError {
    fn from(error: LinkError) -> Self {
        link_error(error)
    }
}
