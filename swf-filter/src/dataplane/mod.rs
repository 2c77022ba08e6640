//! The packet gate's kernel side: loading, pinning, attaching, publishing generations, counting.
//!
//! Whatever the kernel must keep when the daemon dies is pinned under a directory of the bpf file system that carries the
//! version of the ABI. What is pinned is held as well, and pinned again when somebody removes a pin. This module never decides what a policy means, and never talks to an operator.

mod bulk;
mod counters;
mod events;
pub mod interfaces;
mod kernel;
mod objects;
mod pins;
pub mod preflight;
mod programs;
mod publish;

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};

pub use self::counters::Counters;
pub use self::events::Events;
pub use self::interfaces::Interface;
pub use self::kernel::{Kernel, LoadError};
pub use self::pins::{Pins, PlaceError};
pub use self::programs::{AttachError, Held, PinLook, Probed, Programs};
pub use self::publish::{Active, PublishError, Publisher};
use crate::config::Paths;

/// Takes the filter off without a daemon: off one interface, or off all, and then forgets the maps too.
///
/// Gives the numbers of the interfaces that it was on.
pub fn detach_pinned(paths: &Paths, interface: Option<&str>) -> Result<Vec<u32>> {
    let pins = Pins::new(&paths.bpf);
    let index = interface.map(index_of).transpose()?;
    if !paths.bpf.exists() {
        ensure!(index.is_none(), "nothing of swf-filter is attached");
        return Ok(Vec::new());
    }
    pins.ensure_own()?;
    let _lock = pins
        .lock()
        .context("a daemon is running but does not answer; stop it first")?;
    let Some(index) = index else {
        let linked = pins.linked();
        for index in &linked {
            if let Err(error) = programs::detach(&pins, *index) {
                // Removing all pins, links among them, is what counts.
                tracing::warn!("interface {index}: {error:#}");
            }
        }
        pins.remove_all()?;
        return Ok(linked);
    };
    programs::detach(&pins, index)?;
    Ok(vec![index])
}

fn index_of(interface: &str) -> Result<u32> {
    rustix::net::netdevice::name_to_index(inet_socket()?, interface)
        .with_context(|| format!("there is no interface `{interface}`"))
}

/// The name of an interface, if there is one of that number.
#[must_use]
pub fn interface_name(index: u32) -> Option<String> {
    let name = rustix::net::netdevice::index_to_name(inet_socket().ok()?, index).ok()?;
    Some(name)
}

/// Any socket will do to ask the kernel about interfaces.
fn inet_socket() -> Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketType, socket};
    Ok(socket(AddressFamily::INET, SocketType::DGRAM, None)?)
}
