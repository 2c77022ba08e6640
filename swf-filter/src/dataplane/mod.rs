//! The packet gate's kernel side: loading, pinning, attaching, publishing generations, counting.
//!
//! Whatever the kernel must keep when the daemon dies is pinned under a directory of the bpf file system that carries the
//! version of the ABI. This module never decides what a policy means, and never talks to an operator.

mod counters;
mod events;
pub mod interfaces;
mod kernel;
mod pins;
pub mod preflight;
mod programs;
mod publish;

use anyhow::{Context, Result};

pub use self::counters::{Counters, RuleCounters};
pub use self::events::Events;
pub use self::interfaces::Interface;
pub use self::kernel::{Kernel, LoadError};
pub use self::pins::Pins;
pub use self::programs::{AttachError, Probed, Programs};
pub use self::publish::{Active, PublishError, Publisher};
use crate::config::Paths;

/// Takes the filter off without a daemon: off one interface, or off all, and then forgets the maps too.
///
/// Returns what was removed, in words.
pub fn detach_pinned(paths: &Paths, interface: Option<&str>) -> Result<Vec<String>> {
    let pins = Pins::new(&paths.bpf);
    let _lock = crate::daemon::lock(&paths.run)
        .context("a daemon is running but does not answer; stop it first")?;
    let Some(name) = interface else {
        return pins.remove_all();
    };
    let index = rustix::net::netdevice::name_to_index(
        rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::DGRAM,
            None,
        )?,
        name,
    )
    .with_context(|| format!("there is no interface `{name}`"))?;
    programs::detach(&pins, index).with_context(|| format!("cannot detach from `{name}`"))?;
    Ok(vec![format!("detached from {name}")])
}
