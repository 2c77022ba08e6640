//! The daemon: the only place that knows every part.
//!
//! It publishes the policy before it attaches, so that no interface ever carries the program without a generation, and leaves
//! everything in force when it ends, however that happens.

mod gate;
mod headers;
mod listing;
mod seen;

use std::fs;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use aya_log::EbpfLogger;
use futures_util::{Stream, StreamExt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{broadcast, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, sleep};
use tracing::{debug, error, info, warn};

use self::gate::{Follower, Gate, Upkept};
use self::seen::Sight;
use crate::config::{Config, Paths};
use crate::control::api::{InterfaceReport, PolicyInfo};
use crate::control::server::{self, Audience, Command, Control};
use crate::control::socket;
use crate::dataplane::interfaces::{self, Interfaces};
use crate::dataplane::{Events, Kernel, Pins, preflight};
use crate::lock::Lock;
use crate::state::{By, Moment, Order};
use crate::{confine, files, log, observe, service, state};

/// Stack of a thread: an image is half a MiB, and travels by value.
const STACK: usize = 16 << 20;
/// Events that a client may lag behind.
const EVENT_BACKLOG: usize = 1024;
/// Looks at the interfaces, at most, before attaching is left to the next change.
const MOST_LOOKS: usize = 8;
/// Between two looks at the clock while something is tried.
const LONGEST_NAP: Duration = Duration::from_secs(1);
/// How often followed set files are looked at.
const FOLLOW: Duration = Duration::from_secs(1);
/// How often filters and pins are looked after.
const UPKEEP: Duration = Duration::from_secs(1);
/// Between two attempts to write what the disk did not take, at first and at most.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// How often the budget of events is refilled.
const REFILLS_PER_SECOND: u32 = 10;

/// Runs until SIGTERM or SIGINT.
pub fn run(config: &Path) -> Result<()> {
    log::start("swf-filter")?;
    let config = Config::load(config)?;
    preflight::check()?;
    let pins = Pins::new(&config.paths.bpf);
    pins.prepare()?;
    prepare(&config.paths)?;
    confine::daemon(&config, &files::named(&config.paths.policy))?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK)
        .build()?
        .block_on(async { tokio::spawn(serve(config, pins)).await? })
}

/// Makes what has to be there before the daemon is confined to it.
fn prepare(paths: &Paths) -> Result<()> {
    fs::create_dir_all(&paths.run)
        .with_context(|| format!("cannot make {}", paths.run.display()))?;
    state::prepare(&paths.state)?;
    // A disk that cannot be written is told when something is to be written.
    let _unwritable = Lock::prepare(&paths.state);
    Ok(())
}

async fn serve(config: Config, pins: Pins) -> Result<()> {
    let kernel = Kernel::load(&pins, pins.lock()?, config.trace)?;
    let (interfaces, changes) = interfaces::open()?;
    let socket = socket(&config.paths.run);
    let listener = server::open(&socket)?;
    let observe = config.observe.clone();
    let rate = config.events_per_second;
    let (events, _) = broadcast::channel(EVENT_BACKLOG);
    let gate = Gate::new(
        config,
        kernel.publisher,
        kernel.programs,
        kernel.counters,
        interfaces.list().await?,
    )?;
    // Caught from here on: a signal during the start is not the end.
    let signals = Signals::catch()?;
    let daemon = Arc::new(Daemon {
        gate,
        interfaces,
        events,
    });
    daemon.run_blocking(Daemon::start).await?;
    pins.remove_other_versions();

    if let Some(trace) = kernel.trace {
        tokio::spawn(log_trace(trace)?);
    }
    tokio::spawn(pump(kernel.events, rate, Arc::clone(&daemon)));
    tokio::spawn(server::serve(listener, socket, Arc::clone(&daemon)));
    if let Some(observe) = observe {
        let sight = Arc::new(Sight::new(Arc::clone(&daemon), &observe));
        observe::server::start(&observe.listen, observe.dashboard, sight).await;
    }
    tokio::spawn(end_trials(Arc::clone(&daemon)));
    tokio::spawn(follow(Arc::clone(&daemon)));
    tokio::spawn(catch_up(Arc::clone(&daemon)));
    tokio::spawn(look_at_rules(Arc::clone(&daemon)));
    tokio::spawn(look_after(Arc::clone(&daemon)));
    service::ready(&enforcing(&daemon));
    until_told_to_end(daemon, changes, signals).await;
    service::stopping();
    info!("stopping; the filter stays on");
    Ok(())
}

/// Signals that the daemon acts on.
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
    daemon: Arc<Daemon>,
    mut changes: impl Stream<Item = ()> + Unpin,
    mut signals: Signals,
) {
    let mut generations = daemon.generations();
    let mut late = daemon.gate.late();
    let mut alive = pin!(service::keep_alive());
    loop {
        tokio::select! {
            () = &mut alive => {}
            Ok(()) = generations.changed() => service::status(&enforcing(&daemon)),
            Ok(()) = late.changed() => service::status(&enforcing(&daemon)),
            _ = signals.hangup.recv() => {
                service::reloading();
                if let Err(error) = daemon.run_blocking(Daemon::hang_up).await {
                    error!("reload failed, the running policy stays in force: {error:#}");
                }
                service::ready(&enforcing(&daemon));
            }
            Some(()) = changes.next() => if let Err(error) = daemon.run_blocking(Daemon::interfaces_changed).await {
                error!("interfaces changed, and the filter cannot follow: {error:#}");
            },
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
        }
    }
}

/// Looks after filters and pins as long as the daemon runs.
async fn look_after(daemon: Arc<Daemon>) {
    let mut looks = tokio::time::interval(UPKEEP);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Err(error) = daemon.run_blocking(Daemon::look_after).await {
            error!("the filter cannot be looked after: {error:#}");
        }
    }
}

/// Looks at the counters of rules, for what is asked about the last hour.
async fn look_at_rules(daemon: Arc<Daemon>) {
    let mut minutes = tokio::time::interval(Duration::from_mins(1));
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        minutes.tick().await;
        let look = |daemon: &Daemon| {
            daemon.gate.look_at_rules();
            Ok(())
        };
        if let Err(error) = daemon.run_blocking(look).await {
            error!("counters of rules cannot be looked at: {error:#}");
        }
    }
}

/// Ends trials when their time is up.
async fn end_trials(daemon: Arc<Daemon>) {
    let mut orders = daemon.gate.orders();
    loop {
        let order = orders.borrow_and_update().clone();
        let Some(Order::Trial(trial)) = order else {
            if orders.changed().await.is_err() {
                return;
            }
            continue;
        };
        // Without a clock there is no telling, so it ends.
        let left = Moment::now().ok().and_then(|now| trial.left(&now));
        let pause = match left {
            // The runtime's clock stops while the machine is asleep.
            Some(left) => left.min(LONGEST_NAP),
            None => match daemon.run_blocking(|daemon| daemon.gate.end_trial()).await {
                Ok(()) => continue,
                Err(error) => {
                    error!("the trial cannot be ended, and goes on until it can: {error:#}");
                    LONGEST_NAP
                }
            },
        };
        // An error is an end of the daemon, which ends this too.
        let _woken = tokio::time::timeout(pause, orders.changed()).await;
    }
}

/// Writes what the disk did not take, once it does.
async fn catch_up(daemon: Arc<Daemon>) {
    let mut late = daemon.gate.late();
    let [shortest, longest] = RETRIES;
    let mut pause = shortest;
    while late.wait_for(Option::is_some).await.is_ok() {
        sleep(pause).await;
        let caught_up = daemon.run_blocking(|daemon| daemon.gate.catch_up()).await;
        pause = match caught_up {
            Ok(()) => shortest,
            Err(error) => {
                debug!("the state on disk is still behind: {error:#}");
                (2 * pause).min(longest)
            }
        };
    }
}

/// What is in force, in a line, and what is wrong with that.
fn enforcing(daemon: &Daemon) -> String {
    let generation = daemon
        .generations()
        .borrow()
        .as_ref()
        .map(|info| info.generation);
    // Other lines show where in which file; the unit's status has room for one.
    let warning = daemon.gate.warning().unwrap_or_default();
    match (generation, warning.lines().next()) {
        (Some(generation), None) => format!("enforcing generation {generation}"),
        (Some(generation), Some(warning)) => {
            format!("enforcing generation {generation}: {warning}")
        }
        (None, Some(warning)) => warning.to_owned(),
        (None, None) => "enforcing the generation that was pinned".to_owned(),
    }
}

/// Hands events to whoever listens, and refills their budget.
async fn pump(mut events: Events, rate: u32, daemon: Arc<Daemon>) {
    let mut refill = tokio::time::interval(Duration::from_secs(1) / REFILLS_PER_SECOND);
    let mut credit = 0;
    loop {
        tokio::select! {
            _ = refill.tick() => {
                credit += rate;
                let whole = credit / REFILLS_PER_SECOND;
                credit %= REFILLS_PER_SECOND;
                if let Err(error) = events.refill(whole) {
                    warn!("cannot refill the budget of events: {error:#}");
                }
            }
            received = events.receive(|event| daemon.report(event)) => if let Err(error) = received {
                error!("cannot receive events any more: {error:#}");
                return;
            },
        }
    }
}

/// Looks at followed set files as long as the daemon runs.
async fn follow(daemon: Arc<Daemon>) {
    let mut looks = tokio::time::interval(FOLLOW);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut follower = Follower::default();
    loop {
        looks.tick().await;
        let daemon = Arc::clone(&daemon);
        let look = spawn_blocking(move || {
            follower.look(&daemon.gate);
            follower
        });
        follower = look.await.unwrap_or_else(|error| {
            error!("a look at followed files failed: {error:#}");
            Follower::default()
        });
    }
}

/// Logs what the tracing program says.
#[expect(
    deprecated,
    reason = "its successor is unsafe; the logger keeps its descriptor open, which is all it asks for"
)]
fn log_trace(
    logger: EbpfLogger<&'static dyn ::log::Log>,
) -> Result<impl Future<Output = ()> + Send> {
    let mut logger = AsyncFd::with_interest(logger, Interest::READABLE)?;
    Ok(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    })
}

/// The running daemon.
struct Daemon {
    gate: Gate,
    interfaces: Interfaces,
    events: broadcast::Sender<Arc<str>>,
}

impl Daemon {
    async fn run_blocking(self: &Arc<Self>, work: fn(&Self) -> Result<()>) -> Result<()> {
        let daemon = Arc::clone(self);
        spawn_blocking(move || work(&daemon)).await?
    }

    fn start(&self) -> Result<()> {
        self.gate.start()?;
        self.attach(None)
    }

    fn hang_up(&self) -> Result<()> {
        self.gate.reload(By::hangup(), None)?;
        self.attach(None)
    }

    /// Attaches, until nothing has changed meanwhile.
    fn attach(&self, only: Option<&str>) -> Result<()> {
        let mut changed = self.look_at_interfaces()?;
        for _ in 0..MOST_LOOKS {
            if changed && let Err(error) = self.gate.renumber() {
                error!("zones do not follow the interfaces: {error:#}");
            }
            self.gate.attach(only)?;
            changed = self.look_at_interfaces()?;
            if !changed {
                return Ok(());
            }
        }
        warn!("interfaces keep changing; the next change will tell");
        Ok(())
    }

    fn detach(&self, only: Option<&str>) -> Result<()> {
        self.gate.detach(only)?;
        self.look_at_interfaces().map(drop)
    }

    /// Attaches to interfaces that came, and gives zones the numbers that their interfaces have now.
    fn interfaces_changed(&self) -> Result<()> {
        self.attach(None)
    }

    /// Puts back what somebody else took off.
    fn look_after(&self) -> Result<()> {
        match self.gate.look_after() {
            Upkept::Amiss => self.attach(None),
            Upkept::Well => Ok(()),
        }
    }

    /// Whether interfaces have come, gone or changed since the last look.
    fn look_at_interfaces(&self) -> Result<bool> {
        let listed = Handle::current().block_on(self.interfaces.list())?;
        Ok(self.gate.learn(listed))
    }

    fn report(&self, event: &swf_filter_common::abi::Event) {
        let report = self.gate.describe(event);
        if let Ok(line) = serde_json::to_string(&report) {
            // Nobody may be listening.
            drop(self.events.send(format!("{line}\n").into()));
        }
    }
}

impl Control for Daemon {
    fn answer(&self, command: Command, by: By, audience: Audience) -> Result<Vec<u8>> {
        Ok(match command {
            Command::Status => serde_json::to_vec(&self.gate.status(audience)?)?,
            Command::Rules => serde_json::to_vec(&self.gate.rules()?)?,
            Command::Busiest(most) => serde_json::to_vec(&self.gate.busiest(most, audience)?)?,
            Command::Diff => serde_json::to_vec(&self.gate.diff()?)?,
            Command::Policy => serde_json::to_vec(&self.gate.policy()?)?,
            Command::Explain(request) => {
                let frame = crate::explain::from_hex(&request.frame)
                    .context("`frame` is not hexadecimal")?;
                let answer = self.gate.explain(&frame, request.interface.as_deref())?;
                serde_json::to_vec(&answer)?
            }
            Command::History => serde_json::to_vec(&self.gate.history()?)?,
            Command::Apply(request) => {
                let operator = request.operator.as_ref();
                serde_json::to_vec(&self.gate.apply(request.sources, by, operator)?)?
            }
            Command::Confirm => serde_json::to_vec(&self.gate.confirm(by)?)?,
            Command::Preview(request) => {
                let report = self
                    .gate
                    .preview(request.sources, request.operator.as_ref())?;
                serde_json::to_vec(&report)?
            }
            Command::Reload(request) => {
                let report = self.gate.reload(by, request.operator.as_ref());
                let report = report.inspect_err(|error| {
                    error!("reload failed, the running policy stays in force: {error:#}");
                })?;
                self.attach(None)?;
                serde_json::to_vec(&report)?
            }
            Command::Rollback(request) => {
                let operator = request.operator.as_ref();
                serde_json::to_vec(&self.gate.rollback(request.generation, by, operator)?)?
            }
            Command::Settle => serde_json::to_vec(&self.gate.settle()?)?,
            Command::Try(request) => {
                let length = Duration::from_secs(request.seconds);
                let operator = request.operator.as_ref();
                let report = self.gate.try_out(request.sources, length, by, operator)?;
                serde_json::to_vec(&report)?
            }
            Command::Attach(request) => {
                if request.interface.is_none() {
                    self.gate.forget_detached();
                }
                self.attach(request.interface.as_deref())?;
                self.interface_report()?
            }
            Command::Detach(request) => {
                self.detach(request.interface.as_deref())?;
                self.interface_report()?
            }
        })
    }

    fn events(&self) -> broadcast::Receiver<Arc<str>> {
        self.events.subscribe()
    }

    fn generations(&self) -> watch::Receiver<Option<PolicyInfo>> {
        self.gate.follow()
    }
}

impl Daemon {
    fn interface_report(&self) -> Result<Vec<u8>> {
        let interfaces = self.gate.status(Audience::Owners)?.interfaces;
        Ok(serde_json::to_vec(&InterfaceReport { interfaces })?)
    }
}
