//! The daemon: the only place that knows every part.
//!
//! It publishes the policy before it attaches, so that no interface ever carries the program without a generation, and leaves
//! everything in force when it ends, however that happens.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use rustix::fs::{FlockOperation, flock};
use swf_filter_core::compile::image::Placement;
use swf_filter_core::compile::{Generation, compile};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{debug, error, info, warn};

use crate::config::Config;
use crate::dataplane::interfaces::{self, Interfaces, named};
use crate::dataplane::{Interface, Kernel, Pins, preflight};
use crate::files;

/// Stack of a thread: an image is half a MiB, and travels by value.
const STACK: usize = 16 << 20;

/// Runs until SIGTERM or SIGINT.
pub fn run(config: &Path) -> Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK)
        .build()?
        .block_on(async { tokio::spawn(serve(config.to_owned())).await? })
}

/// Makes sure that no other daemon works on the same pins, as long as the file is open.
pub fn lock(directory: &Path) -> Result<File> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let path = directory.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another swf-filter daemon holds {}", path.display());
    }
    Ok(file)
}

async fn serve(path: std::path::PathBuf) -> Result<()> {
    let config = Config::load(&path)?;
    let _lock = lock(&config.paths.run)?;
    preflight::check()?;
    let pins = Pins::new(&config.paths.bpf);
    pins.prepare()?;
    let kernel = Kernel::load(&pins, false)?;
    let (interfaces, mut changes) = interfaces::open()?;
    let mut daemon = Daemon {
        config,
        kernel,
        generation: Generation::default(),
        known: interfaces.list().await?,
    };
    daemon.start()?;
    daemon.attach(&interfaces).await?;
    daemon.kernel.programs.pin()?;
    pins.remove_other_versions();

    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = hangup.recv() => match daemon.reload() {
                Ok(()) => {}
                Err(error) => error!("reload failed, the running policy stays in force: {error:#}"),
            },
            Some(()) = changes.next() => daemon.interfaces_changed(&interfaces).await?,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    info!("stopping; the filter stays on");
    Ok(())
}

struct Daemon {
    config: Config,
    kernel: Kernel,
    generation: Generation,
    known: Vec<Interface>,
}

impl Daemon {
    /// Brings a generation into force, or keeps the pinned one if the files are wrong.
    fn start(&mut self) -> Result<()> {
        let Some(active) = self.kernel.publisher.active() else {
            return self.reload();
        };
        info!(generation = active.number, "adopting the pinned generation");
        if let Err(error) = self.reload() {
            error!("the policy cannot be loaded, the pinned generation stays in force: {error:#}");
        }
        Ok(())
    }

    /// Reads the files and flips to what they say.
    fn reload(&mut self) -> Result<()> {
        let config = Config::load(&self.config.path)?;
        let files::Loaded { policy, doubts } =
            files::load(&config.paths.policy, &config.always_allow)?;
        for line in doubts.lines() {
            warn!("{line}");
        }
        let generation = compile(&policy)?;
        let active = self.kernel.publisher.active();
        let hash = generation.hash();
        let unchanged = active.filter(|active| active.hash == hash);
        let placement = Placement {
            number: unchanged.map_or(active.map_or(1, |active| active.number + 1), |active| {
                active.number
            }),
            hash,
            slot: unchanged.map_or(active.map_or(0, |active| 1 - active.slot), |active| {
                active.slot
            }),
            cpus: self.kernel.counters.cpus(),
            interfaces: named(&self.known),
        };
        if unchanged.is_some() {
            self.kernel
                .publisher
                .publish_image(&generation, &placement)?;
            info!(
                generation = placement.number,
                "the policy means what it meant before"
            );
        } else {
            let durations = self.kernel.publisher.publish(&generation, &placement)?;
            info!(
                generation = placement.number,
                hosts = generation.hosts.len(),
                prefixes = generation.prefixes(),
                fill = ?durations.fill,
                flip = ?durations.flip,
                "new generation in force"
            );
            if let Some(old) = active
                && let Err(error) = self.kernel.publisher.release(old.slot)
            {
                warn!("cannot free the old generation: {error}");
            }
        }
        self.generation = generation;
        self.config = config;
        Ok(())
    }

    async fn attach(&mut self, interfaces: &Interfaces) -> Result<()> {
        self.kernel.programs.sweep(&self.known);
        for interface in self
            .known
            .iter()
            .filter(|interface| self.config.names(&interface.name))
        {
            let before = self.kernel.programs.is_attached(interface);
            match self.kernel.programs.attach(interface, self.config.xdp_mode) {
                Ok(None) if before => debug!(interface = %interface.name, "still attached"),
                Ok(None) => info!(interface = %interface.name, "attached"),
                Ok(Some(note)) => warn!(interface = %interface.name, "attached in {note}"),
                Err(error) => {
                    error!(interface = %interface.name, "not attached: {:#}", anyhow::Error::from(error));
                }
            }
        }
        self.known = interfaces.list().await?;
        Ok(())
    }

    /// Attaches to interfaces that came, and gives zones the numbers that their interfaces have now.
    async fn interfaces_changed(&mut self, interfaces: &Interfaces) -> Result<()> {
        let listed = interfaces.list().await?;
        let numbers = |list: &[Interface]| {
            list.iter()
                .map(|i| (i.index, i.name.clone(), i.master))
                .collect::<Vec<_>>()
        };
        if numbers(&listed) == numbers(&self.known) {
            return Ok(());
        }
        self.known = listed;
        if let Err(error) = self.reload() {
            error!("interfaces changed, and the policy cannot be loaded: {error:#}");
        }
        self.attach(interfaces).await
    }
}
