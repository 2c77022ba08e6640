//! The loaded programs: linked to interfaces, and run on made-up frames.
//!
//! A link is pinned under its interface's number. The pin is what keeps the filter on when the daemon is gone, and a new daemon
//! replaces the program inside it in one step, so that no packet passes unfiltered. While a daemon runs it holds links, maps and
//! program itself: removing pins takes nothing off, and they are made again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::programs::links::LinkInfo;
use aya::programs::{
    ProgramError, ProgramInfo, TestRun, TestRunOptions, Xdp, loaded_links, loaded_programs,
};
use swf_filter_common::abi::Explained;

use super::kernel::{self, EXPLAINER, MAPS};
use super::objects::{self, Identity, Kept};
use super::preflight::driver_advice;
use super::{Interface, Pins, bulk};
use crate::config::XdpMode;
use crate::files::identity;

/// Longer than the kernel takes to let go of a link.
const GRACE: Duration = Duration::from_secs(2);
/// What the kernel returns for a packet that is dropped (`XDP_DROP` in `linux/bpf.h`).
const XDP_DROP: u32 = 1;
/// Ways to attach (`linux/if_link.h`).
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

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
    /// The driver refused.
    #[error("driver mode does not work{}", advice.as_ref().map(|words| format!(": {words}")).unwrap_or_default())]
    Driver {
        /// What may help.
        advice: Option<String>,
        /// The kernel's word.
        #[source]
        error: io::Error,
    },
    /// The kernel refused.
    #[error("the kernel refused to attach")]
    Kernel(#[source] io::Error),
    /// The kernel does not tell what is loaded.
    #[error("cannot look at the program")]
    Program(#[from] ProgramError),
}

/// What this daemon knows of the filter on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is on, as this daemon left it.
    On,
    /// This daemon has put none on it, or took it off.
    Nothing,
    /// Somebody put another program into its link.
    Replaced,
    /// Somebody took it off.
    TakenOff,
}

/// What became of the pins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinLook {
    /// Those that somebody removed, and that are there again.
    pub again: Vec<PathBuf>,
    /// Those that are not there, and why.
    pub lost: Vec<String>,
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
    /// The directory of pins, which it keeps other daemons from.
    lock: File,
    /// Maps and the program, with their pins.
    objects: Vec<(PathBuf, OwnedFd)>,
    /// By the number of their interface.
    links: BTreeMap<u32, Link>,
}

/// A link that this daemon holds.
struct Link {
    link: OwnedFd,
    /// The number of the program in it.
    program: u32,
}

impl Programs {
    pub(super) fn new(ebpf: Ebpf, name: &'static str, pins: Pins, lock: File) -> Result<Self> {
        let mut programs = Self {
            ebpf,
            name,
            pins,
            lock,
            objects: Vec::new(),
            links: BTreeMap::new(),
        };
        for (name, ..) in MAPS {
            let path = programs.pins.map(name);
            let map = objects::open(&path)
                .with_context(|| format!("cannot open the pinned map `{name}`"))?;
            programs.objects.push((path, map));
        }
        Ok(programs)
    }

    /// Attaches to `interface`, or adopts what is attached there. Returns why it is in generic mode only, if driver mode was tried.
    pub fn attach(
        &mut self,
        interface: &Interface,
        mode: XdpMode,
    ) -> Result<Option<String>, AttachError> {
        match self.held(interface.index) {
            Held::On => return Ok(None),
            Held::Replaced => return self.replace(interface).map(|()| None),
            Held::Nothing if self.adopt(interface)? => return Ok(None),
            Held::Nothing => {}
            Held::TakenOff => {
                if let Some(held) = self.links.remove(&interface.index) {
                    // What stays there makes way for the next link's.
                    let _of_no_use = objects::unpin(&self.pins.link(interface.index), &held.link);
                }
            }
        }
        if let Some(program) = interface.xdp {
            return Err(AttachError::Foreign {
                name: program_name(program.id),
                id: program.id,
            });
        }
        let note = match mode {
            XdpMode::Generic => {
                self.attach_new(interface, XDP_FLAGS_SKB_MODE)?;
                None
            }
            XdpMode::Driver => {
                self.attach_new(interface, XDP_FLAGS_DRV_MODE)
                    .map_err(|error| in_driver(interface, error))?;
                None
            }
            XdpMode::Auto => match self.attach_new(interface, XDP_FLAGS_DRV_MODE) {
                Ok(()) => None,
                Err(AttachError::Kernel(refusal)) => {
                    self.attach_new(interface, XDP_FLAGS_SKB_MODE)?;
                    let advice = driver_advice(&interface.name, interface.mtu);
                    Some(format!(
                        "driver mode was refused: {refusal}{}",
                        advice.map(|words| format!("; {words}")).unwrap_or_default()
                    ))
                }
                Err(error) => return Err(error),
            },
        };
        Ok(note)
    }

    /// What is left of the filter that this daemon put on an interface.
    #[must_use]
    pub fn held(&self, interface: u32) -> Held {
        let Some(held) = self.links.get(&interface) else {
            return Held::Nothing;
        };
        match objects::facts(&held.link) {
            Ok(facts) if facts.interface != Some(interface) => Held::TakenOff,
            Ok(facts) if facts.program != Some(held.program) => Held::Replaced,
            // What cannot be looked at may be as it was.
            _ => Held::On,
        }
    }

    /// Takes over a pinned link: brings its program up to date, if the link is alive.
    fn adopt(&mut self, interface: &Interface) -> Result<bool, AttachError> {
        let Some(link) = self.pinned_link(interface) else {
            // The interface went away and another one has its number, or somebody took the link off.
            return Ok(false);
        };
        let program = link.program;
        self.links.insert(interface.index, link);
        if same_program(program, &self.program()?.info()?) {
            return Ok(true);
        }
        self.replace(interface)?;
        tracing::info!(interface = %interface.name, "replaced the program in place");
        Ok(true)
    }

    /// The pinned link that is on an interface, if there is one.
    fn pinned_link(&self, interface: &Interface) -> Option<Link> {
        let link = objects::open(&self.pins.link(interface.index)).ok()?;
        let facts = objects::facts(&link).ok()?;
        let program = facts.program?;
        let is_on = facts.interface == Some(interface.index)
            && interface.xdp.map(|running| running.id) == Some(program);
        is_on.then_some(Link { link, program })
    }

    /// Puts this daemon's program into a link that it holds.
    fn replace(&mut self, interface: &Interface) -> Result<(), AttachError> {
        let program = kernel::program(&mut self.ebpf, self.name)?;
        let number = program.info()?.id();
        let program = program.fd()?.as_fd();
        if let Some(held) = self.links.get_mut(&interface.index) {
            bulk::replace(held.link.as_fd(), program).map_err(AttachError::Kernel)?;
            held.program = number;
        }
        Ok(())
    }

    fn attach_new(&mut self, interface: &Interface, flags: u32) -> Result<(), AttachError> {
        let program = self.program()?;
        let number = program.info()?.id();
        let link = bulk::link(program.fd()?.as_fd(), interface.index, flags)
            .map_err(AttachError::Kernel)?;
        // If that fails, whoever looks after pins tells of it; the link is held all the same.
        let _told_later = objects::keep(&self.pins.link(interface.index), &link);
        let held = Link {
            link,
            program: number,
        };
        self.links.insert(interface.index, held);
        Ok(())
    }

    fn program(&mut self) -> Result<&mut Xdp, ProgramError> {
        kernel::program(&mut self.ebpf, self.name)
    }

    /// Takes the filter off one interface.
    pub fn detach(&mut self, interface: u32) -> Result<()> {
        let Some(held) = self.links.get(&interface) else {
            return detach(&self.pins, interface);
        };
        objects::unpin(&self.pins.link(interface), &held.link)
            .context("cannot remove the link's pin")?;
        let facts = objects::facts(&held.link);
        self.links.remove(&interface);
        wait_until_gone(facts?.identity)
    }

    /// Forgets the links of interfaces that are gone.
    pub fn sweep(&mut self, interfaces: &[Interface]) {
        let is_there = |index: u32| interfaces.iter().any(|interface| interface.index == index);
        for index in self.pins.linked() {
            if !is_there(index) {
                let _gone = fs::remove_file(self.pins.link(index));
            }
        }
        self.links.retain(|index, _| is_there(*index));
    }

    /// Whether the program on this interface is ours.
    #[must_use]
    pub fn is_attached(&self, interface: &Interface) -> bool {
        match self.held(interface.index) {
            Held::On => true,
            Held::Replaced | Held::TakenOff => false,
            Held::Nothing => self.pinned_link(interface).is_some(),
        }
    }

    /// Pins the program itself, for tools that look for it.
    pub fn pin(&mut self) -> Result<()> {
        let path = self.pins.program();
        let program = self.program()?.fd()?.as_fd().try_clone_to_owned()?;
        objects::keep(&path, &program).context("cannot pin the program")?;
        self.objects.push((path, program));
        Ok(())
    }

    /// Makes the pins again that somebody removed, or put something else in the place of, and their directories.
    pub fn keep_pins(&mut self) -> PinLook {
        let mut look = PinLook::default();
        if let Err(error) = self.keep_place() {
            look.lost.push(format!("{error:#}"));
            return look;
        }
        let links = self.links.iter();
        // One that somebody took off is of no use any more.
        let links = links.filter(|(index, _)| self.held(**index) != Held::TakenOff);
        let links = links.map(|(index, held)| (self.pins.link(*index), &held.link));
        let objects = self.objects.iter();
        let objects = objects.map(|(path, object)| (path.clone(), object));
        for (path, object) in objects.chain(links) {
            match objects::keep(&path, object) {
                Ok(Kept::Again) => look.again.push(path),
                Ok(Kept::Still) => {}
                Err(error) => look.lost.push(format!("`{}`: {error}", path.display())),
            }
        }
        look
    }

    /// Makes sure that the directories are there, and that no other daemon works in them.
    fn keep_place(&mut self) -> Result<()> {
        self.pins.make()?;
        let locked = identity(&self.lock.metadata()?);
        if !self.pins.is_at(locked) {
            // Somebody removed the directory that was locked.
            self.lock = self.pins.try_lock()?;
        }
        Ok(())
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

/// Takes the filter off one interface, where no daemon holds the link.
pub(super) fn detach(pins: &Pins, interface: u32) -> Result<()> {
    let path = pins.link(interface);
    let link = objects::open(&path).context("nothing of swf-filter is attached there")?;
    let link = objects::facts(link)?.identity;
    fs::remove_file(&path).context("cannot remove the link's pin")?;
    wait_until_gone(link)
}

/// The pin's own reference goes after an RCU grace period, and the filter with it: whoever is told that it is off may rely on it.
fn wait_until_gone(link: Identity) -> Result<()> {
    let end = Instant::now() + GRACE;
    let is_it = |known: LinkInfo| Identity::Link(known.id()) == link;
    while loaded_links().any(|known| known.is_ok_and(is_it)) {
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
