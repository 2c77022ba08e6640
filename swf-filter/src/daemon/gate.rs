//! The packet gate as the daemon holds it: what is in force, and every way to change or ask it.
//!
//! Methods block, so callers on the runtime use a blocking thread. A change takes the publisher's lock for as long as it lasts;
//! questions only take short ones, and are answered while a reload is under way.

mod busiest;
mod change;
mod follow;
mod hour;
mod operator;
mod past;
mod trial;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use swf_filter_common::abi::{Count, Event, NONE_U16, NONE_U32};
use swf_filter_common::image::Engine;
use swf_filter_common::reason::Reason;
use swf_filter_core::compile::image::Placement;
use swf_filter_core::compile::{Forest, Generation, Hash, compile, difference, drop_everything};
use swf_filter_core::policy::{Origin, Policy};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

pub(super) use self::follow::Follower;

use self::change::{Cause, Standing};
use self::hour::Hour;
use super::seen::Reloads;
use super::{headers, listing};
use crate::config::{Config, EngineChoice, OnBootFailure};
use crate::control::api::{
    DiffReport, EventInfo, EventReport, Explanation, GenerationInfo, Milliseconds, Operator,
    PolicyInfo, PolicyReport, ReasonCount, ReloadReport, RuleCount, Status,
};
use crate::dataplane::interfaces::named;
use crate::dataplane::{Active, Counters, Interface, Programs, PublishError, Publisher};
use crate::files::{self, Loaded};
use crate::report::Rejected;
use crate::sources::Sources;
use crate::state::{By, How, Ledger, Order, RuleKey, Saved, State, keys};

/// Prefixes that a difference lists at most.
const MOST_DIFFERENCES: usize = 10_000;

/// How the warning begins that the state on disk could not be written.
const STATE_BEHIND: &str = "the state on disk is behind";

/// The packet gate of this daemon.
pub(super) struct Gate {
    path: PathBuf,
    state: State,
    started: Instant,
    publisher: Mutex<Publisher>,
    programs: Mutex<Programs>,
    counters: Counters,
    reloads: Reloads,
    view: Mutex<View>,
    /// Tells which policy is in force, whenever that changes.
    policy: watch::Sender<Option<PolicyInfo>>,
    /// What shall be in force, where the files do not say it. Changes only with the publisher's lock held.
    order: watch::Sender<Option<Order>>,
    /// What rules had counted when somebody asked last what they count now.
    reading: Mutex<Option<busiest::Reading>>,
    /// What happened lately.
    hour: Mutex<Hour>,
}

/// What is in force, for whoever asks.
struct View {
    config: Config,
    active: Option<Active>,
    since: Timestamp,
    generation: Arc<Generation>,
    /// What it was read from, with its hash; none if no policy is in force.
    sources: Option<(String, Arc<Sources>)>,
    /// The one before, whose last events may still be under way.
    previous: Option<(u64, Arc<Generation>)>,
    /// What comes back after the trial that is under way. The disk may lose it meanwhile.
    comes_back: Option<Saved>,
    /// What rules counted in earlier generations.
    ledger: Ledger,
    known: Vec<Interface>,
    /// Why an interface is not attached, or not as well as it could be.
    notes: BTreeMap<Arc<str>, String>,
    /// Interfaces that an operator took the filter off.
    detached: HashSet<Arc<str>>,
    warnings: Vec<String>,
    /// Followed files that are refused, and why.
    stale: BTreeMap<PathBuf, String>,
    received: u64,
    reported_before: u64,
}

/// What is to be brought into force.
struct Candidate {
    generation: Arc<Generation>,
    /// What it was compiled from, if there is a policy.
    sources: Option<Arc<Sources>>,
    from: Provenance,
    standing: Standing,
    cause: Cause,
}

/// Where a generation comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Provenance {
    /// A text that was read and compiled just now.
    Text,
    /// The state on disk, with this number.
    Disk(u64),
    /// What config.toml wants without a policy.
    Nothing,
}

impl Gate {
    pub(super) fn new(
        config: Config,
        publisher: Publisher,
        programs: Programs,
        counters: Counters,
        known: Vec<Interface>,
    ) -> Result<Self> {
        let reported_before = reported(&counters)?;
        Ok(Self {
            path: config.path.clone(),
            state: State::new(&config.paths.state),
            started: Instant::now(),
            publisher: Mutex::new(publisher),
            programs: Mutex::new(programs),
            counters,
            reloads: Reloads::default(),
            view: Mutex::new(View {
                config,
                active: None,
                since: Timestamp::now(),
                generation: Arc::default(),
                sources: None,
                previous: None,
                comes_back: None,
                ledger: Ledger::default(),
                known,
                notes: BTreeMap::new(),
                detached: HashSet::new(),
                warnings: Vec::new(),
                stale: BTreeMap::new(),
                received: 0,
                reported_before,
            }),
            policy: watch::Sender::default(),
            order: watch::Sender::default(),
            reading: Mutex::default(),
            hour: Mutex::default(),
        })
    }

    /// Brings a generation into force: the one that is ordered, or the files', or if they are wrong the pinned one, the last good
    /// one, or none.
    pub(super) fn start(&self) -> Result<()> {
        lock(&self.programs).pin()?;
        let pinned = lock(&self.publisher).active();
        match pinned {
            Some(active) => self.adopt(active),
            None => self.view().ledger = Ledger::new(self.counters.life(), 0),
        }
        if self.resume() {
            return Ok(());
        }
        let Err(reason) = self.reload(By::start(), None) else {
            return Ok(());
        };
        if let Some(active) = pinned {
            error!(
                generation = active.number,
                "the policy cannot be loaded, the pinned generation stays in force: {reason:#}"
            );
            self.view().warnings = vec![format!(
                "generation {} was pinned by an earlier daemon, and the files cannot be loaded since: {reason:#}",
                active.number
            )];
            return Ok(());
        }
        match self.state.newest() {
            Some(saved) => self.boot_with_last_good(saved, &reason),
            None => self.boot_without_policy(reason),
        }
    }

    /// Takes over what the kernel enforces, with what is on disk about it.
    fn adopt(&self, active: Active) {
        info!(generation = active.number, "adopting the pinned generation");
        let saved = self.state.load(active.number).and_then(|saved| {
            ensure!(
                saved.generation.hash() == active.hash,
                "the one on disk is another"
            );
            Ok(saved)
        });
        let saved = saved
            .inspect_err(|error| {
                warn!(
                    generation = active.number,
                    "it is enforced, and its rules have no names until the files are read: {error:#}"
                );
            })
            .ok();
        let ledger = self.ledger_of(active, saved.as_ref());
        let mut view = self.view();
        view.active = Some(active);
        view.ledger = ledger;
        if let Some(saved) = saved {
            view.since = saved.since();
            view.generation = saved.generation;
            view.sources = Some((saved.sources.hash(), saved.sources));
        }
        self.announce(&view);
    }

    /// The ledger on disk, brought up to the generation in force.
    fn ledger_of(&self, active: Active, saved: Option<&Saved>) -> Ledger {
        let life = self.counters.life();
        let ledger = match self.state.load_ledger() {
            Ok(ledger) => ledger.filter(|ledger| ledger.is_of(life)),
            Err(error) => {
                warn!("counts of earlier generations are lost: {error:#}");
                None
            }
        };
        let Some(mut ledger) = ledger else {
            return Ledger::new(life, active.number);
        };
        if ledger.before() != active.number
            && let Some(saved) = saved
        {
            // An earlier daemon died between the flip and the ledger: the old slot still has the counts.
            let previous = Some(ledger.before()).filter(|before| saved.after == Some(*before));
            let counts = previous
                .and_then(|number| self.state.load(number).ok())
                .map(|previous| self.counts(1 - active.slot, &previous.generation));
            let counts = counts
                .unwrap_or_else(|| Ok(Vec::new()))
                .unwrap_or_else(lost);
            ledger.fold(counts, active.number, &saved.generation);
        }
        ledger
    }

    /// Reads the files and flips to what they say. An error leaves everything as it was.
    pub(super) fn reload(&self, by: By, operator: Option<&Operator>) -> Result<ReloadReport> {
        self.reloads.count(self.read_and_flip(by, operator))
    }

    fn read_and_flip(&self, by: By, operator: Option<&Operator>) -> Result<ReloadReport> {
        let mut publisher = lock(&self.publisher);
        self.ensure_no_trial()?;
        let start = Instant::now();
        let config = Config::load(&self.path)?;
        let loaded = files::load(&config.paths.policy, &config.always_allow)?;
        let times = Milliseconds {
            read: milliseconds(loaded.read),
            parse: milliseconds(start.elapsed().saturating_sub(loaded.read)),
            ..Milliseconds::default()
        };
        let cause = Cause::new(by, How::Reload);
        let publisher = &mut publisher;
        let from = (loaded, times);
        self.bring(publisher, from, config, (Standing::Files, cause), operator)
    }

    /// Compiles what was read, and brings it into force.
    fn bring(
        &self,
        publisher: &mut Publisher,
        (loaded, times): (Loaded, Milliseconds),
        config: Config,
        (standing, cause): (Standing, Cause),
        operator: Option<&Operator>,
    ) -> Result<ReloadReport> {
        for problem in &loaded.doubts.problems {
            if problem.severity == "warning" {
                warn!("{}", problem.line());
            } else {
                debug!("{}", problem.line());
            }
        }
        let start = Instant::now();
        let generation = Arc::new(loaded.compile()?);
        let compile = milliseconds(start.elapsed());
        self.ensure_not_cut(&generation, &config, operator)?;
        let candidate = Candidate {
            generation,
            sources: Some(Arc::new(loaded.sources)),
            from: Provenance::Text,
            standing,
            cause,
        };
        let (changed, steps) = self.publish(publisher, candidate, config)?;
        let view = self.view();
        Ok(ReloadReport {
            changed,
            generation: view.info(),
            warnings: view.warnings.clone(),
            milliseconds: Milliseconds {
                read: times.read,
                parse: times.parse,
                compile,
                ..steps
            },
            doubts: loaded.doubts,
            trial: self.trial(),
        })
    }

    /// Brings a generation into force. Says whether it means something else than the one before.
    fn publish(
        &self,
        publisher: &mut Publisher,
        candidate: Candidate,
        config: Config,
    ) -> Result<(bool, Milliseconds)> {
        let Candidate {
            generation,
            sources,
            from,
            standing,
            cause,
        } = candidate;
        let active = publisher.active();
        let hash = generation.hash();
        let same = active.filter(|active| active.hash == hash);
        let (engine, forest) = engine(config.engine, same, &generation);
        let changed = same.is_none_or(|same| same.engine != engine)
            || self.needs_a_number(standing, sources.as_deref());
        let mut placement = self.placement(active, hash, !changed, from);
        placement.engine = engine;
        let mut saved = Ok(());
        if from == Provenance::Text
            && let Some(sources) = &sources
        {
            saved = self.state.save(&Saved {
                number: placement.number,
                after: active.filter(|_| changed).map(|active| active.number),
                since: self.since(changed).as_millisecond(),
                generation: Arc::clone(&generation),
                sources: Arc::clone(sources),
            });
        }
        let numbers = (placement.number, active.map(|active| active.number));
        let order = self.order_for(standing, numbers, &cause)?;
        let earlier = self.order.borrow().clone();
        let ordered = self.give(standing, order.as_ref(), saved);
        let ordered =
            self.only_if_on_disk(standing, earlier.as_ref(), placement.number, ordered)?;
        let flipped = flip(
            publisher,
            (&generation, forest),
            &mut placement,
            changed,
            &config,
        );
        let times = flipped.inspect_err(|_| {
            self.take_back(standing, earlier.as_ref());
            if changed {
                self.state.forget(placement.number);
            }
        })?;
        let now = Active {
            number: placement.number,
            hash,
            slot: placement.slot,
            engine: placement.engine,
            table_bytes: publisher.table_bytes(placement.slot, placement.engine),
        };
        let before = self.view().enforced();
        let ledger = self.now_in_force(now, (generation, sources), config, !changed);
        self.order.send_replace(order);
        let recorded = match from {
            Provenance::Text => self.record(before, changed, cause),
            Provenance::Disk(_) | Provenance::Nothing => Ok(()),
        };
        let saved = ordered.and_then(|()| self.state.save_ledger(&ledger));
        if let Err(error) = saved.and(recorded) {
            let words = format!(
                "{STATE_BEHIND}, and a boot with broken files would not enforce this generation; mend that, and `swf-filter reload` writes it: {error:#}"
            );
            warn!("{words}");
            self.view().warnings.push(words);
        } else if changed && from == Provenance::Text {
            let before = active.map_or(placement.number, |active| active.number);
            self.state.keep(&[placement.number, before]);
        }
        if let Some(old) = active.filter(|_| changed) {
            publisher.release(old.slot);
        }
        Ok((changed, times))
    }

    /// Enforces the newest generation on disk.
    fn boot_with_last_good(&self, saved: Saved, reason: &anyhow::Error) -> Result<()> {
        let words = format!(
            "the policy cannot be loaded; generation {} of {:.0}, the last good one, is enforced until a reload: {reason:#}",
            saved.number,
            saved.since()
        );
        error!(generation = saved.number, "{words}");
        let config = self.view().config.clone();
        let candidate = Candidate {
            generation: saved.generation,
            sources: Some(saved.sources),
            from: Provenance::Disk(saved.number),
            standing: Standing::Ordered,
            cause: Cause::new(By::start(), How::Reload),
        };
        self.publish(&mut lock(&self.publisher), candidate, config)?;
        self.view().warnings.push(words);
        Ok(())
    }

    /// Does what config.toml wants where the files are wrong and nothing is pinned.
    fn boot_without_policy(&self, reason: anyhow::Error) -> Result<()> {
        let config = self.view().config.clone();
        let generation = match config.on_boot_failure {
            OnBootFailure::Refuse => return Err(reason),
            OnBootFailure::Drop => drop_everything(
                config.always_allow.clone(),
                Origin {
                    file: config.path.to_string_lossy().into(),
                    line: 1,
                    column: 1,
                },
            )
            .map_err(Rejected::TooLarge)?,
            OnBootFailure::Pass => compile(&Policy::default()).map_err(Rejected::TooLarge)?,
        };
        let does = match config.on_boot_failure {
            OnBootFailure::Drop => "everything but always_allow is dropped",
            OnBootFailure::Refuse | OnBootFailure::Pass => "everything passes",
        };
        error!("the policy cannot be loaded, and until a reload {does}: {reason:#}");
        let candidate = Candidate {
            generation: Arc::new(generation),
            sources: None,
            from: Provenance::Nothing,
            standing: Standing::Ordered,
            cause: Cause::new(By::start(), How::Reload),
        };
        self.publish(&mut lock(&self.publisher), candidate, config)?;
        self.view().warnings = vec![format!(
            "the policy could not be loaded at start, and until a reload {does}: {reason:#}"
        )];
        Ok(())
    }

    fn placement(
        &self,
        active: Option<Active>,
        hash: Hash,
        unchanged: bool,
        from: Provenance,
    ) -> Placement {
        let (number, slot) = match active {
            Some(active) if unchanged => (active.number, active.slot),
            Some(active) => (active.number + 1, 1 - active.slot),
            None => (self.first_number(from), 0),
        };
        Placement {
            number,
            hash,
            slot,
            engine: active.map(|active| active.engine).unwrap_or_default(),
            cpus: self.counters.cpus(),
            interfaces: named(&self.view().known),
        }
    }

    /// The number of a generation that replaces none: higher than any before, or the one it had.
    fn first_number(&self, from: Provenance) -> u64 {
        match from {
            Provenance::Disk(number) => number,
            Provenance::Text | Provenance::Nothing => self.state.highest().unwrap_or_default() + 1,
        }
    }

    fn since(&self, changed: bool) -> Timestamp {
        if changed {
            Timestamp::now()
        } else {
            self.view().since
        }
    }

    /// Takes note of the generation that is in force now, and gives the ledger that goes with it.
    fn now_in_force(
        &self,
        now: Active,
        (generation, sources): (Arc<Generation>, Option<Arc<Sources>>),
        config: Config,
        unchanged: bool,
    ) -> Ledger {
        let mut view = self.view();
        if !unchanged {
            // The kernel has returned from the flip: nothing counts in the old slot any more.
            let counts = self.live(&view).unwrap_or_else(lost);
            view.ledger.fold(counts, now.number, &generation);
            view.since = Timestamp::now();
            let old = std::mem::take(&mut view.generation);
            view.previous = view.active.map(|active| (active.number, old));
        }
        view.active = Some(now);
        view.generation = generation;
        view.sources = sources.map(|sources| (sources.hash(), sources));
        view.config = config;
        view.warnings.clear();
        self.announce(&view);
        view.ledger.clone()
    }

    /// Tells whoever follows which policy is in force.
    fn announce(&self, view: &View) {
        let now = view.policy_info();
        self.policy.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
    }

    /// Follows which policy is in force.
    pub(super) fn follow(&self) -> watch::Receiver<Option<PolicyInfo>> {
        self.policy.subscribe()
    }

    /// The policy in force, as it was read.
    pub(super) fn policy(&self) -> Result<PolicyReport> {
        let view = self.view();
        let (Some(info), Some((_, sources))) = (view.policy_info(), &view.sources) else {
            bail!("no policy is in force that this daemon has read");
        };
        let sources = Arc::clone(sources);
        drop(view);
        Ok(PolicyReport { info, sources })
    }

    /// What each rule has counted in the generation in force, in the order of rules.
    fn live(&self, view: &View) -> Result<Vec<(RuleKey, Count)>> {
        view.active.map_or_else(
            || Ok(Vec::new()),
            |active| self.counts(active.slot, &view.generation),
        )
    }

    /// What each rule of a generation has counted in its slot.
    fn counts(&self, slot: u8, generation: &Generation) -> Result<Vec<(RuleKey, Count)>> {
        let counts = self.counters.of_rules(slot, generation)?;
        Ok(keys(generation).into_iter().zip(counts).collect())
    }

    /// Attaches to the interfaces that config.toml names, or to the one that is asked for.
    pub(super) fn attach(&self, only: Option<&str>) -> Result<()> {
        let mut programs = lock(&self.programs);
        let mut view = self.view();
        if let Some(name) = only {
            ensure!(
                view.known.iter().any(|interface| &*interface.name == name),
                "there is no interface `{name}`"
            );
            ensure!(
                view.config.names(name),
                "config.toml does not name `{name}`; add it to `interfaces` and reload"
            );
        }
        programs.sweep(&view.known);
        let known = view.known.clone();
        let chosen = |interface: &&Interface| {
            view.config.names(&interface.name)
                && only.map_or(!view.detached.contains(&interface.name), |name| {
                    *interface.name == *name
                })
        };
        let chosen: Vec<&Interface> = known.iter().filter(chosen).collect();
        let mode = view.config.xdp_mode;
        for interface in chosen {
            view.detached.remove(&interface.name);
            let before = programs.is_attached(interface);
            match programs.attach(interface, mode) {
                Ok(None) if before => debug!(interface = %interface.name, "still attached"),
                Ok(None) => {
                    info!(interface = %interface.name, "attached");
                    view.notes.remove(&interface.name);
                }
                Ok(Some(note)) => {
                    warn!(interface = %interface.name, "attached in generic mode, which is slower: {note}");
                    view.notes.insert(Arc::clone(&interface.name), note);
                }
                Err(error) => {
                    let note = format!("{:#}", anyhow::Error::from(error));
                    error!(interface = %interface.name, "not attached: {note}");
                    view.notes.insert(Arc::clone(&interface.name), note);
                }
            }
        }
        Ok(())
    }

    /// Lets [`attach`](Self::attach) put the filter on again where an operator took it off.
    pub(super) fn forget_detached(&self) {
        self.view().detached.clear();
    }

    /// Takes the filter off one interface, or off all.
    pub(super) fn detach(&self, only: Option<&str>) -> Result<()> {
        let programs = lock(&self.programs);
        let mut view = self.view();
        let chosen: Vec<Interface> = view
            .known
            .iter()
            .filter(|interface| only.is_none_or(|name| *interface.name == *name))
            .filter(|interface| programs.is_attached(interface))
            .cloned()
            .collect();
        ensure!(
            only.is_none() || !chosen.is_empty(),
            "nothing of swf-filter is attached to `{}`",
            only.unwrap_or_default()
        );
        for interface in chosen {
            programs
                .detach(interface.index)
                .with_context(|| format!("cannot detach from `{}`", interface.name))?;
            warn!(interface = %interface.name, "detached: its traffic is not filtered");
            // One that is named again later is to be filtered again.
            if view.config.names(&interface.name) {
                let note = "detached by an operator, until `swf-filter attach`";
                view.notes
                    .insert(Arc::clone(&interface.name), note.to_owned());
                view.detached.insert(interface.name);
            }
        }
        Ok(())
    }

    /// Takes note of the interfaces that there are. Whether any has come, gone or got another number or bond.
    pub(super) fn learn(&self, listed: Vec<Interface>) -> bool {
        let mut view = self.view();
        let identities = |list: &[Interface]| {
            list.iter()
                .map(|i| (i.index, Arc::clone(&i.name), i.master))
                .collect::<Vec<_>>()
        };
        let changed = identities(&listed) != identities(&view.known);
        view.known = listed;
        changed
    }

    /// Gives zones the numbers that their interfaces have now.
    pub(super) fn renumber(&self) -> Result<()> {
        let mut publisher = lock(&self.publisher);
        let (generation, active) = {
            let view = self.view();
            (Arc::clone(&view.generation), view.active)
        };
        let Some(active) = active.filter(|active| active.hash == generation.hash()) else {
            // A generation that an earlier daemon pinned: only its files can tell its zones.
            drop(publisher);
            return self.reload(By::start(), None).map(drop);
        };
        let placement = self.placement(Some(active), active.hash, true, Provenance::Text);
        Ok(publisher.publish_image(&generation, &placement)?)
    }

    pub(super) fn status(&self) -> Result<Status> {
        let reasons = self.counters.reasons()?;
        let reported_now = reported(&self.counters)?;
        let lost = self.lost_history();
        let programs = lock(&self.programs);
        let view = self.view();
        let interfaces = listing::list(&view.config, &view.known, &view.notes, |interface| {
            programs.is_attached(interface)
        });
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            generation: view.info(),
            policy: view.policy_info().map(|info| info.policy),
            interfaces,
            reasons: reasons
                .into_iter()
                .map(|(reason, count)| ReasonCount {
                    reason: reason.name().to_owned(),
                    drops: reason.drops(),
                    packets: count.packets,
                    bytes: count.bytes,
                })
                .collect(),
            events: EventInfo {
                received: view.received,
                lost: reported_now
                    .saturating_sub(view.reported_before)
                    .saturating_sub(view.received),
            },
            reloads: self.reloads.info(),
            warnings: self.warnings(&view).into_iter().chain(lost).collect(),
            trial: self.trial(),
            held: self.held(),
        })
    }

    /// What is wrong with what is in force, if anything is.
    pub(super) fn warning(&self) -> Option<String> {
        self.view().warnings.first().cloned()
    }

    /// Packets and bytes of each rule.
    pub(super) fn rules(&self) -> Result<Vec<RuleCount>> {
        let view = self.view();
        let generation = view.in_force()?;
        let live = self.live(&view)?;
        let counts = (0..)
            .zip(generation.rules.iter().zip(live))
            .map(|(number, (rule, (key, live)))| {
                let before = view.ledger.get(&key);
                RuleCount {
                    number,
                    host: key.host,
                    list: rule.list,
                    rule: Arc::clone(&rule.text),
                    origin: rule.origin.clone(),
                    packets: before.packets + live.packets,
                    bytes: before.bytes + live.bytes,
                }
            })
            .collect();
        Ok(counts)
    }

    /// What the kernel enforces, with the names of its rules, if it enforces anything.
    pub(super) fn known_in_force(&self) -> Result<Option<(Active, Arc<Generation>)>> {
        let view = self.view();
        let generation = Arc::clone(view.in_force()?);
        Ok(view.active.map(|active| (active, generation)))
    }

    /// What rules counted in earlier generations.
    pub(super) fn counted_before(&self, rules: &[RuleKey]) -> Vec<Count> {
        let view = self.view();
        rules.iter().map(|rule| view.ledger.get(rule)).collect()
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What a reload would change.
    pub(super) fn diff(&self) -> Result<DiffReport> {
        let config = Config::load(&self.path)?;
        let loaded = files::load(&config.paths.policy, &config.always_allow)?;
        let after = loaded.compile()?;
        let before = Arc::clone(self.view().in_force()?);
        let (difference, cut) = difference(&before, &after, MOST_DIFFERENCES);
        Ok(DiffReport { difference, cut })
    }

    /// Runs the loaded program on a frame.
    pub(super) fn explain(&self, frame: &[u8], interface: Option<&str>) -> Result<Explanation> {
        // Between a flip and the view's word of it, a rule's number would get another generation's name.
        let _no_flip = lock(&self.publisher);
        let mut programs = lock(&self.programs);
        let view = self.view();
        let number = match interface {
            None => 0,
            Some(name) => {
                view.known
                    .iter()
                    .find(|interface| *interface.name == *name)
                    .with_context(|| format!("there is no interface `{name}`"))?
                    .index
            }
        };
        let probed = programs.probe(frame, number)?;
        let reason = probed
            .explained
            .reason()
            .context("the program gives a reason that this version does not know")?;
        ensure!(
            probed.dropped == reason.drops(),
            "the attached program and its explanation differ: reason `{}`, dropped: {}",
            reason.name(),
            probed.dropped
        );
        let rule = probed
            .explained
            .rule()
            .and_then(|number| view.generation.rule(number));
        Ok(Explanation {
            interface: interface.map(str::to_owned),
            dropped: probed.dropped,
            reason: reason.name().to_owned(),
            host: rule
                .and_then(|rule| view.generation.host_of(rule))
                .map(|host| Arc::clone(&host.name)),
            zone: None,
            rule: rule.map(|rule| Arc::clone(&rule.text)),
            list: rule.map(|rule| rule.list),
            origin: rule.map(|rule| rule.origin.clone()),
            prefix: None,
            set_line: None,
            request: None,
            trial: self.trial(),
            held: self.held(),
        })
    }

    /// Puts words to an event.
    pub(super) fn describe(&self, event: &Event) -> EventReport {
        let mut view = self.view();
        view.received += 1;
        let generation = match (&view.previous, view.active) {
            (_, Some(active)) if active.number == event.generation => {
                Some(Arc::clone(&view.generation))
            }
            (Some((number, previous)), _) if *number == event.generation => {
                Some(Arc::clone(previous))
            }
            _ => None,
        };
        let interface = view
            .known
            .iter()
            .find(|interface| interface.index == event.interface)
            .map_or_else(
                || format!("#{}", event.interface),
                |interface| interface.name.to_string(),
            );
        drop(view);
        let reason = Reason::from_number(event.reason);
        let rule = generation
            .as_ref()
            .filter(|_| event.rule != NONE_U32)
            .and_then(|generation| generation.rule(event.rule));
        let host = generation
            .as_ref()
            .filter(|_| event.host != NONE_U16)
            .and_then(|generation| generation.hosts.get(usize::from(event.host)));
        let zone = generation
            .as_ref()
            .filter(|_| rule.is_some())
            .and_then(|generation| generation.zones.get(usize::from(event.zone)));
        let length = usize::try_from(event.length).unwrap_or(usize::MAX);
        let seen = headers::read(event.head.get(..length).unwrap_or(&event.head));
        let report = EventReport {
            time: format!("{:.3}", Timestamp::now()),
            generation: event.generation,
            reason: reason.map_or("unknown", Reason::name).to_owned(),
            dropped: reason.is_some_and(Reason::drops),
            host: host.map(|host| Arc::clone(&host.name)),
            zone: zone.map(swf_filter_core::compile::Zone::name),
            interface,
            vlan: (event.vlan != 0).then_some(event.vlan),
            source: seen.source,
            source_port: seen.source_port,
            destination: seen.destination,
            destination_port: seen.destination_port,
            protocol: seen.protocol,
            length: event.length,
            rule: rule.map(|rule| Arc::clone(&rule.text)),
            origin: rule.map(|rule| rule.origin.clone()),
        };
        self.see(&report);
        report
    }

    fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.view)
    }
}

impl View {
    fn policy_info(&self) -> Option<PolicyInfo> {
        let (active, (policy, _)) = self.active.zip(self.sources.as_ref())?;
        Some(PolicyInfo {
            generation: active.number,
            hash: crate::explain::to_hex(&active.hash.0),
            policy: policy.clone(),
        })
    }

    /// What is enforced, with the hash of its text.
    fn enforced(&self) -> Option<(Arc<Generation>, String)> {
        let (text, _) = self.sources.as_ref()?;
        Some((Arc::clone(&self.generation), text.clone()))
    }

    /// The generation that the kernel enforces, unless only an earlier daemon knew it.
    fn in_force(&self) -> Result<&Arc<Generation>> {
        let known = self.generation.hash();
        if let Some(active) = self.active.filter(|active| active.hash != known) {
            bail!(
                "generation {} was pinned by an earlier daemon, and its rules have no names; mend the files and reload",
                active.number
            );
        }
        Ok(&self.generation)
    }

    fn info(&self) -> GenerationInfo {
        let Some(active) = self.active else {
            return GenerationInfo::default();
        };
        GenerationInfo {
            number: active.number,
            hash: crate::explain::to_hex(&active.hash.0),
            since: format!("{:.3}", self.since),
            hosts: self.generation.hosts.len(),
            zones: self.generation.zones.len(),
            rules: self.generation.rules.len(),
            prefixes: self.generation.prefixes(),
            engine: engine_name(active.engine).to_owned(),
            table_bytes: active.table_bytes,
        }
    }
}

/// Has the kernel enforce a generation.
fn flip(
    publisher: &mut Publisher,
    (generation, forest): (&Generation, Option<Forest>),
    placement: &mut Placement,
    changed: bool,
    config: &Config,
) -> Result<Milliseconds> {
    if !changed {
        publisher.publish_image(generation, placement)?;
        info!(
            generation = placement.number,
            "the policy means what it meant before"
        );
        return Ok(Milliseconds::default());
    }
    let mut outcome = publisher.publish(generation, forest, placement);
    if let Err(PublishError::Forest(reason)) = &outcome
        && config.engine == EngineChoice::Auto
    {
        warn!("{reason}; the kernel's LPM tries are used, which cost each packet more");
        placement.engine = Engine::LpmTrie;
        outcome = publisher.publish(generation, None, placement);
    }
    let durations = outcome?;
    info!(
        generation = placement.number,
        hosts = generation.hosts.len(),
        prefixes = generation.prefixes(),
        engine = engine_name(placement.engine),
        build = ?durations.build,
        fill = ?durations.fill,
        flip = ?durations.flip,
        "new generation in force"
    );
    Ok(Milliseconds {
        build: milliseconds(durations.build),
        fill: milliseconds(durations.fill),
        flip: milliseconds(durations.flip),
        ..Milliseconds::default()
    })
}

/// The engine for a generation, of which `same` may be in force already, and its forest, if that had to be built to know.
fn engine(
    choice: EngineChoice,
    same: Option<Active>,
    generation: &Generation,
) -> (Engine, Option<Forest>) {
    match choice {
        EngineChoice::Compiled => (Engine::Compiled, None),
        EngineChoice::LpmTrie => (Engine::LpmTrie, None),
        // Tries may be there because it was too large, and would be again.
        EngineChoice::Auto => match same.map(|same| same.engine) {
            Some(Engine::LpmTrie) => match Forest::build(generation) {
                Ok(forest) => (Engine::Compiled, Some(forest)),
                Err(_) => (Engine::LpmTrie, None),
            },
            _ => (Engine::Compiled, None),
        },
    }
}

fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Compiled => "compiled",
        Engine::LpmTrie => "lpm-trie",
    }
}

/// Packets so far that were worth an event.
fn reported(counters: &Counters) -> Result<u64> {
    let counts = counters.reasons()?;
    Ok(counts
        .iter()
        .filter(|(reason, _)| reason.reported())
        .map(|(_, count)| count.packets)
        .sum())
}

/// Goes on without what rules of an earlier generation counted.
fn lost(error: anyhow::Error) -> Vec<(RuleKey, Count)> {
    warn!("counts of the generation before are lost: {error:#}");
    Vec::new()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
