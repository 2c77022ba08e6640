//! The packet gate as the daemon holds it: what is in force, and every way to change or ask it.
//!
//! Methods block, so callers on the runtime use a blocking thread. A change takes the publisher's lock for as long as it lasts;
//! questions only take short ones, and are answered while a reload is under way.

mod answers;
mod boot;
mod busiest;
mod change;
mod follow;
mod hour;
mod interfaces;
mod late;
mod operator;
mod past;
mod trial;
mod upkeep;
mod warning;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::Timestamp;
use swf_filter_common::image::Engine;
use swf_filter_core::compile::image::Placement;
use swf_filter_core::compile::{Forest, Generation, Hash};
use tokio::sync::watch;
use tracing::{debug, info, warn};

pub(super) use self::follow::Follower;
pub(super) use self::upkeep::Upkept;

use self::change::{Cause, Standing};
use self::hour::Hour;
use self::late::Late;
use self::upkeep::Upkeep;
use self::warning::Warning;
use super::seen::Reloads;
use crate::config::{Config, EngineChoice};
use crate::control::api::{GenerationInfo, Milliseconds, Operator, PolicyInfo, ReloadReport};
use crate::control::server::Audience;
use crate::dataplane::interfaces::named;
use crate::dataplane::{Active, Counters, Interface, Programs, PublishError, Publisher};
use crate::files::{self, Loaded};
use crate::sources::Sources;
use crate::state::{By, How, Ledger, Order, Saved, State, Via};

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
    /// What the disk has not taken yet. Changes only with the publisher's lock held.
    late: watch::Sender<Option<Late>>,
    /// What rules had counted when somebody asked last what they count now.
    readings: busiest::Readings,
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
    /// What somebody else took off or removed.
    upkeep: Upkeep,
    warnings: Vec<Warning>,
    /// Which counts of earlier generations were lost first, and why.
    lost: Option<String>,
    /// Followed files that are refused, and why.
    stale: BTreeMap<PathBuf, Warning>,
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
                upkeep: Upkeep::default(),
                warnings: Vec::new(),
                lost: None,
                stale: BTreeMap::new(),
                received: 0,
                reported_before,
            }),
            policy: watch::Sender::default(),
            order: watch::Sender::default(),
            late: watch::Sender::default(),
            readings: busiest::Readings::default(),
            hour: Mutex::default(),
        })
    }

    /// Reads the files and flips to what they say. An error leaves everything as it was.
    pub(super) fn reload(&self, by: By, operator: Option<&Operator>) -> Result<ReloadReport> {
        self.reloads.count(self.read_and_flip(by, operator))
    }

    fn read_and_flip(&self, by: By, operator: Option<&Operator>) -> Result<ReloadReport> {
        let mut publisher = lock(&self.publisher);
        self.ensure_no_trial()?;
        // A start goes on whatever else runs: without the order that a writer leaves, there is nothing better than the files.
        let _still = (by.via != Via::Start)
            .then(|| self.state.keep_files_still())
            .transpose()?;
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
            warnings: view.told(Audience::Owners),
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
    ///
    /// What a start of the daemon would need is on disk before the flip, and what tells of it after: the ledger, which takes up what the
    /// generation before counted until then, and the history. So a kill at any time leaves what was in force or what was to be.
    fn publish(
        &self,
        publisher: &mut Publisher,
        candidate: Candidate,
        config: Config,
    ) -> Result<(bool, Milliseconds)> {
        let active = publisher.active();
        let hash = candidate.generation.hash();
        let same = active.filter(|active| active.hash == hash);
        let (engine, forest) = engine(config.engine, same, &candidate.generation);
        let changed = same.is_none_or(|same| same.engine != engine)
            || self.needs_a_number(candidate.standing, candidate.sources.as_deref());
        let mut placement = self.placement(active, hash, !changed, candidate.from);
        placement.engine = engine;
        let replaced = active.filter(|_| changed);
        let ahead = self.write_ahead(&candidate, placement.number, active, changed)?;
        let Candidate {
            generation,
            sources,
            from,
            standing,
            cause,
        } = candidate;
        let flipped = flip(
            publisher,
            (&generation, forest),
            &mut placement,
            changed,
            &config,
        );
        let times = flipped.inspect_err(|_| {
            self.restore_order(standing, ahead.earlier.as_ref());
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
        self.order.send_replace(ahead.order);
        let recorded = self.record(before.clone(), cause.clone());
        let counted = self.state.save_ledger(&ledger);
        let kept = (changed && from == Provenance::Text).then(|| {
            let before = replaced.map_or(placement.number, |replaced| replaced.number);
            [placement.number, before]
        });
        let late = match ahead.on_disk.and(counted).and(recorded) {
            Ok(()) => {
                if let Some(kept) = kept {
                    self.state.keep(&kept);
                }
                None
            }
            Err(error) => {
                let words = format!(
                    "{STATE_BEHIND}, and a boot may not enforce this generation; mend that: it is written as soon as that can be done: {error:#}"
                );
                warn!("{words}");
                self.view().warnings.push(words.into());
                Some(Late::new(ahead.saved, (before, cause), kept))
            }
        };
        self.late.send_replace(late);
        if let Some(replaced) = replaced {
            publisher.release(replaced.slot);
        }
        Ok((changed, times))
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
            let counts = self.live(&view);
            let counts = view.or_lost("what rules of the generation before counted", counts);
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

    fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.view)
    }
}

impl View {
    /// What is wrong with what is in force.
    fn told(&self, audience: Audience) -> Vec<String> {
        let warnings = self.warnings.iter();
        warnings
            .map(|warning| warning.to(audience).to_owned())
            .collect()
    }

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

    /// Counts of earlier generations, or none if they cannot be read. What is lost stays lost, and is told for as long as this daemon
    /// runs.
    fn or_lost<T: Default>(&mut self, what: &str, counts: Result<T>) -> T {
        counts.unwrap_or_else(|error| {
            let words = format!("{what} is lost: {error:#}");
            warn!("{words}");
            self.lost.get_or_insert(words);
            T::default()
        })
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

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
