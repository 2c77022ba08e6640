//! The listener: the process that faces the network.
//!
//! It terminates TLS, verifies who signed a request, asks the policy's documents, and forwards what they allow. It holds no
//! privilege of the kernel and no part of the packet gate; the daemon holds these, and never reads a byte from the network.

mod answer;
mod arrival;
pub mod audit;
mod counters;
mod crowd;
mod exchange;
pub mod guard;
mod heavy;
mod learning;
pub mod limits;
mod pace;
mod policy;
mod recording;
mod refusal;
mod reload;
pub mod request;
mod serve;
pub mod settings;
mod shared;
pub mod sockets;
pub mod status;
pub mod tls;
pub mod upstream;
pub mod watch;
mod ways;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use swf_filter_core::session::Ring;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinSet, block_in_place, spawn_blocking};
use tokio::time::timeout;
use tracing::{error, info, warn};

use self::audit::{Audit, Targets, Writing};
use self::reload::{Outcome, Turns};
use self::serve::Seats;
use self::settings::{Paths, Settings};
use self::shared::{Fronting, Shared};
use self::sockets::Inherited;
use self::tls::Tls;
use self::upstream::Upstream;
use self::watch::Watch;
use crate::control::api::ListenerCheckReport;
use crate::control::{server, socket};
use crate::keys::{self, Keys, Places};
use crate::observe::{self, Dashboard};
use crate::{confine, log, service};

/// Runs until SIGTERM or SIGINT, and then until requests under way are answered.
pub fn run(settings: &Path) -> Result<()> {
    log::start("swf-filter-listener")?;
    let inherited = Inherited::from_environment();
    let settings = Settings::load(settings)?;
    allow_descriptors(settings.limits.connections);
    prepare(&settings.paths)?;
    confine::listener(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async { tokio::spawn(serve(settings, inherited)).await? });
    // A disk that hangs must not keep the process from its end.
    runtime.shutdown_background();
    ended
}

/// Makes what has to be there before the listener is confined to it.
fn prepare(paths: &Paths) -> Result<()> {
    fs::create_dir_all(&paths.listener_run)
        .with_context(|| format!("cannot make {}", paths.listener_run.display()))?;
    let log = paths.audit.as_deref().and_then(Path::parent);
    let directories = [(Some(&*paths.state), 0o700), (log, 0o750)];
    for (directory, mode) in directories {
        let Some(directory) = directory else { continue };
        // What cannot be made is told when something is to be written.
        let _unwritable = DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(directory);
    }
    Ok(())
}

/// Takes as many descriptors as the system gives: most programs are started with 1024, because of `select(2)`. Without one left,
/// nobody is let in any more.
fn allow_descriptors(connections: usize) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!("the number of descriptors cannot be raised: {error}");
    }
    // A connection to the upstream for each of a client.
    let wanted = u64::try_from(2 * connections).unwrap_or(u64::MAX);
    if let Some(most) = getrlimit(Resource::Nofile).current
        && most < wanted
    {
        warn!(
            "{connections} connections may take {wanted} descriptors, and {most} are the most: raise `LimitNOFILE=`, or lower \
             `connections` in listener.toml"
        );
    }
}

/// Reads the settings, and whatever they name, and says what is wrong, or what there is.
pub fn check(settings: &Path) -> Result<ListenerCheckReport> {
    let settings = Settings::load(settings)?;
    for listener in &settings.listeners {
        tls(listener)?;
    }
    let places = Places::new(&settings.paths);
    let keys = Keys::load(&places)?;
    ring(&places)?;
    Ok(ListenerCheckReport {
        listeners: settings.listeners.len(),
        upstreams: settings.upstreams.len(),
        access_keys: keys.len(),
    })
}

async fn serve(settings: Settings, mut inherited: Inherited) -> Result<()> {
    let places = Places::new(&settings.paths);
    let signals = Signals::catch()?;
    let watches = Watches::new(&settings, &places);
    let mut upstreams = Vec::new();
    for upstream in &settings.upstreams {
        upstreams.push((Arc::clone(&upstream.name), Upstream::new(upstream).await?));
    }
    let mut open: Vec<(Arc<Fronting>, Vec<TcpListener>)> = Vec::new();
    for listener in &settings.listeners {
        let upstream = upstreams.get(listener.upstream);
        let (upstream_name, upstream) = upstream.context("a listener has no upstream")?;
        let fronting = Fronting {
            settings: listener.clone(),
            tls: tls(listener)?,
            upstream: Arc::clone(upstream),
            upstream_name: Arc::clone(upstream_name),
            counters: shared::ListenerCounters::default(),
        };
        let sockets = sockets::open(listener, &mut inherited)?;
        open.push((Arc::new(fronting), sockets));
    }
    for name in inherited.left() {
        warn!("no listener takes the socket `{name}` that systemd hands over");
    }
    let targets = Targets::new(&settings.paths);
    let (audit, writing) = Audit::start(&targets).context("the audit log cannot be opened")?;
    let daemon = socket(&settings.paths.run).into();
    let (policy, doubts) = policy::follow(daemon, policy::Places::new(&settings.paths)).await;
    let (keys, ring) = (Keys::load(&places)?, ring(&places)?);
    let shared = Arc::new(Shared::new(settings, policy, audit, keys, ring)?);
    let frontings: Arc<[_]> = open
        .iter()
        .map(|(fronting, _)| Arc::clone(fronting))
        .collect();
    let status = status::Source::new(
        Arc::clone(&shared),
        Arc::clone(&frontings),
        upstreams.into(),
        doubts,
    );
    let control = server::open(&socket(&shared.settings.paths.listener_run))?;
    let status = Arc::new(status);
    tokio::spawn(status::serve(control, Arc::clone(&status)));
    if let Some(listen) = &shared.settings.observe {
        observe::server::start(listen, Dashboard::Off, status).await;
    }

    let (stop, stopping) = tokio::sync::watch::channel(false);
    let seats = Arc::new(Seats::new(&shared.settings.limits));
    let mut listening = JoinSet::new();
    let ways = ways::follow(open.iter().flat_map(|(_, sockets)| sockets)).await?;
    let mut ways = ways.into_iter();
    for (fronting, sockets) in open {
        for socket in sockets {
            let ways = ways.next().context("a socket has no ways")?;
            info!(listener = %fronting.settings.name, address = ?socket.local_addr().ok(), "listening");
            listening.spawn(serve::listen(
                Arc::clone(&shared),
                Arc::clone(&fronting),
                Arc::clone(&seats),
                (socket, ways),
                stopping.clone(),
            ));
        }
    }
    service::ready(&enforcing(&shared));
    until_told_to_end(&shared, &frontings, &places, watches, signals).await;
    service::stopping();
    stop.send_replace(true);
    info!("stopping: no more connections, and requests under way are answered");
    if timeout(limits::DRAIN, async {
        while listening.join_next().await.is_some() {}
    })
    .await
    .is_err()
    {
        warn!("requests that were under way for too long are cut off");
        listening.shutdown().await;
    }
    finish(writing).await
}

/// Writes what is left of the audit log, unless its disk hangs.
async fn finish(writing: Writing) -> Result<()> {
    let finished = timeout(limits::FLUSH, spawn_blocking(move || writing.finish())).await;
    let Ok(finished) = finished else {
        error!("the audit log takes no records: those that wait to be written are lost");
        return Ok(());
    };
    Ok(finished?)
}

fn tls(listener: &settings::Listener) -> Result<Tls> {
    let tls = Tls::new(&listener.certificates, &listener.clients, listener.http)
        .with_context(|| format!("listener `{}`", listener.name))?;
    for doubt in tls.loaded().doubts() {
        warn!(listener = %listener.name, "{doubt}");
    }
    Ok(tls)
}

/// What seals session tokens.
fn ring(places: &Places) -> Result<Ring> {
    Ok(Ring::new(keys::session_keys(places)?)?)
}

/// Files that are read again when they change. What belongs together settles together.
struct Watches {
    certificates: Turns,
    keys: Turns,
}

impl Watches {
    /// To be made before the files are read, so that no change is missed.
    fn new(settings: &Settings, places: &Places) -> Self {
        let certificates = settings.listeners.iter().flat_map(|listener| {
            let files = listener.certificates.iter();
            let files = files.flat_map(|files| [files.chain.as_path(), &files.key]);
            files.chain(listener.clients.authorities())
        });
        Self {
            certificates: Turns::new(Watch::new(certificates)),
            keys: Turns::new(Watch::new(places.watched())),
        }
    }
}

/// Signals that the listener acts on.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

async fn until_told_to_end(
    shared: &Shared,
    frontings: &[Arc<Fronting>],
    places: &Places,
    mut watches: Watches,
    mut signals: Signals,
) {
    let mut policy = shared.policy.clone();
    let mut alive = pin!(service::keep_alive());
    loop {
        tokio::select! {
            () = &mut alive => {}
            Ok(()) = policy.changed() => service::status(&enforcing(shared)),
            () = watches.certificates.next() => {
                let read = block_in_place(|| reload_certificates(frontings));
                watches.certificates.done(read);
            }
            () = watches.keys.next() => {
                let read = block_in_place(|| reload_keys(shared, places));
                watches.keys.done(read);
            }
            _ = signals.hangup.recv() => {
                shared.audit.reopen();
                block_in_place(|| {
                    watches.certificates.done(reload_certificates(frontings));
                    watches.keys.done(reload_keys(shared, places));
                });
            }
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
        }
    }
}

/// What is in force, in a line.
fn enforcing(shared: &Shared) -> String {
    match shared.policy.borrow().as_deref() {
        Some(policy) => format!("enforcing generation {}", policy.info.generation),
        None => "without a policy, so that nobody is let in".to_owned(),
    }
}

/// Reads certificates again. What is wrong leaves in use what was right.
fn reload_certificates(frontings: &[Arc<Fronting>]) -> Outcome {
    let mut all = Outcome::Read;
    for fronting in frontings {
        let listener = &*fronting.settings.name;
        let read = fronting.tls.reload();
        let read = read.map(|reloaded| {
            if reloaded.changed.is_empty() {
                return;
            }
            info!(listener, "new certificates are in use");
            for doubt in reloaded.loaded.doubts() {
                warn!(listener, "{doubt}");
            }
        });
        let read = read.map_err(|error| error.to_string());
        let standing = fronting.tls.standing();
        all = all.and(standing.note("certificates", Some(listener), read));
    }
    all
}

/// Reads access keys, and those of session tokens, again. What is wrong leaves in use what was right.
fn reload_keys(shared: &Shared, places: &Places) -> Outcome {
    let keys = shared.keys.load().reload(places);
    let keys = keys.map(|keys| shared.replace_keys(keys));
    let keys = keys.map_err(|error| format!("{:#}", anyhow::Error::from(error)));
    let ring = ring(places).map(|ring| shared.ring.store(Arc::new(ring)));
    let ring = ring.map_err(|error| format!("{error:#}"));
    let keys = shared.keys_standing.note("access keys", None, keys);
    let ring = shared
        .ring_standing
        .note("keys of session tokens", None, ring);
    keys.and(ring)
}
