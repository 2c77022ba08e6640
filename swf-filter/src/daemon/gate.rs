//! The packet gate as the daemon holds it: what is in force, and every way to change or ask it.
//!
//! Methods block, so callers on the runtime use a blocking thread. A change takes the publisher's lock for as long as it lasts;
//! questions only take short ones, and are answered while a reload is under way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use swf_filter_common::abi::{Count, Event, NONE_U16, NONE_U32};
use swf_filter_common::reason::Reason;
use swf_filter_core::compile::image::{Placement, counters_of_a_cpu};
use swf_filter_core::compile::{Generation, Hash, List, compile, difference, drop_everything};
use swf_filter_core::policy::{Origin, Policy};
use tracing::{debug, error, info, warn};

use super::headers;
use crate::config::{Config, OnBootFailure};
use crate::control::api::{
    DiffReport, EventInfo, EventReport, Explanation, GenerationInfo, InterfaceInfo, Milliseconds,
    ReasonCount, ReloadReport, RuleCount, Status,
};
use crate::dataplane::interfaces::named;
use crate::dataplane::{Active, Counters, Interface, Programs, Publisher};
use crate::files::{self, Loaded};
use crate::report::Rejected;

/// Prefixes that a difference lists at most.
const MOST_DIFFERENCES: usize = 10_000;

/// The packet gate of this daemon.
pub(super) struct Gate {
    path: PathBuf,
    started: Instant,
    publisher: Mutex<Publisher>,
    programs: Mutex<Programs>,
    counters: Counters,
    view: Mutex<View>,
}

/// What is in force, for whoever asks.
struct View {
    config: Config,
    active: Option<Active>,
    since: Timestamp,
    generation: Arc<Generation>,
    /// The one before, whose last events may still be under way.
    previous: Option<(u64, Arc<Generation>)>,
    /// What rules counted in earlier generations of this daemon.
    totals: HashMap<RuleKey, Count>,
    known: Vec<Interface>,
    /// Why an interface is not attached, or not as well as it could be.
    notes: BTreeMap<Arc<str>, String>,
    /// Interfaces that an operator took the filter off.
    detached: HashSet<Arc<str>>,
    warnings: Vec<String>,
    received: u64,
    reported_before: u64,
}

/// What makes a rule the same rule in another generation: host, list, text, and which of the equal ones.
type RuleKey = (Arc<str>, List, Arc<str>, u32);

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
            started: Instant::now(),
            publisher: Mutex::new(publisher),
            programs: Mutex::new(programs),
            counters,
            view: Mutex::new(View {
                config,
                active: None,
                since: Timestamp::now(),
                generation: Arc::default(),
                previous: None,
                totals: HashMap::new(),
                known,
                notes: BTreeMap::new(),
                detached: HashSet::new(),
                warnings: Vec::new(),
                received: 0,
                reported_before,
            }),
        })
    }

    /// Brings a generation into force, or keeps the pinned one if the files are wrong.
    pub(super) fn start(&self) -> Result<()> {
        lock(&self.programs).pin()?;
        let pinned = lock(&self.publisher).active();
        let Some(active) = pinned else {
            return match self.reload() {
                Ok(_) => Ok(()),
                Err(error) => self.boot_without_policy(error),
            };
        };
        info!(generation = active.number, "adopting the pinned generation");
        self.view().active = Some(active);
        if let Err(error) = self.reload() {
            error!("the policy cannot be loaded, the pinned generation stays in force: {error:#}");
            self.view().warnings = vec![format!(
                "generation {} was pinned by an earlier daemon, and the files cannot be loaded since: {error:#}",
                active.number
            )];
        }
        Ok(())
    }

    /// Reads the files and flips to what they say. An error leaves everything as it was.
    pub(super) fn reload(&self) -> Result<ReloadReport> {
        let mut publisher = lock(&self.publisher);
        let start = Instant::now();
        let config = Config::load(&self.path)?;
        let Loaded { policy, doubts } = files::load(&config.paths.policy, &config.always_allow)?;
        for problem in &doubts.problems {
            if problem.severity == "warning" {
                warn!("{}", problem.line());
            } else {
                debug!("{}", problem.line());
            }
        }
        let parse = milliseconds(start);
        let start = Instant::now();
        let generation = Arc::new(compile(&policy).map_err(Rejected::TooLarge)?);
        drop(policy);
        let compile = milliseconds(start);
        let (changed, times) = self.publish(&mut publisher, generation, config)?;
        Ok(ReloadReport {
            changed,
            generation: self.view().info(),
            milliseconds: Milliseconds {
                parse,
                compile,
                ..times
            },
            doubts,
        })
    }

    /// Brings a generation into force. Says whether it means something else than the one before.
    fn publish(
        &self,
        publisher: &mut Publisher,
        generation: Arc<Generation>,
        config: Config,
    ) -> Result<(bool, Milliseconds)> {
        let active = publisher.active();
        let hash = generation.hash();
        let changed = active.is_none_or(|active| active.hash != hash);
        let placement = self.placement(active, hash, !changed);
        let mut times = Milliseconds::default();
        if changed {
            let durations = publisher.publish(&generation, &placement)?;
            times.fill = u64::try_from(durations.fill.as_millis()).unwrap_or(u64::MAX);
            times.flip = u64::try_from(durations.flip.as_millis()).unwrap_or(u64::MAX);
            info!(
                generation = placement.number,
                hosts = generation.hosts.len(),
                prefixes = generation.prefixes(),
                fill = ?durations.fill,
                flip = ?durations.flip,
                "new generation in force"
            );
        } else {
            publisher.publish_image(&generation, &placement)?;
            info!(
                generation = placement.number,
                "the policy means what it meant before"
            );
        }
        self.now_in_force(&placement, generation, config, !changed);
        if let Some(old) = active.filter(|_| changed)
            && let Err(error) = publisher.release(old.slot)
        {
            warn!("cannot free the old generation: {error}");
        }
        Ok((changed, times))
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
        self.publish(&mut lock(&self.publisher), Arc::new(generation), config)?;
        self.view().warnings = vec![format!(
            "the policy could not be loaded at start, and until a reload {does}: {reason:#}"
        )];
        Ok(())
    }

    fn placement(&self, active: Option<Active>, hash: Hash, unchanged: bool) -> Placement {
        let (number, slot) = match active {
            Some(active) if unchanged => (active.number, active.slot),
            Some(active) => (active.number + 1, 1 - active.slot),
            None => (1, 0),
        };
        Placement {
            number,
            hash,
            slot,
            cpus: self.counters.cpus(),
            interfaces: named(&self.view().known),
        }
    }

    fn now_in_force(
        &self,
        placement: &Placement,
        generation: Arc<Generation>,
        config: Config,
        unchanged: bool,
    ) {
        let mut view = self.view();
        if !unchanged {
            // The kernel has returned from the flip: nothing counts in the old slot any more.
            view.totals = self.totals(&view);
            view.since = Timestamp::now();
            let old = std::mem::take(&mut view.generation);
            view.previous = view.active.map(|active| (active.number, old));
        }
        view.active = Some(Active {
            number: placement.number,
            hash: placement.hash,
            slot: placement.slot,
        });
        view.generation = generation;
        view.config = config;
        view.warnings.clear();
    }

    /// What each rule has counted, those of earlier generations included.
    fn totals(&self, view: &View) -> HashMap<RuleKey, Count> {
        let mut totals = view.totals.clone();
        for (key, count) in self.live(view) {
            let total = totals.entry(key).or_default();
            total.packets += count.packets;
            total.bytes += count.bytes;
        }
        totals
    }

    /// What each rule has counted in the generation in force, in the order of rules.
    fn live(&self, view: &View) -> Vec<(RuleKey, Count)> {
        let Some(active) = view.active else {
            return Vec::new();
        };
        let counters = self
            .counters
            .rules(active.slot, counters_of_a_cpu(&view.generation));
        let mut seen: HashMap<(Arc<str>, List, Arc<str>), u32> = HashMap::new();
        (0..)
            .zip(&view.generation.rules)
            .map(|(number, rule)| {
                let host = view
                    .generation
                    .host_of(rule)
                    .map_or_else(|| "".into(), |host| Arc::clone(&host.name));
                let times = seen
                    .entry((Arc::clone(&host), rule.list, Arc::clone(&rule.text)))
                    .or_default();
                let key = (host, rule.list, Arc::clone(&rule.text), *times);
                *times += 1;
                let count = counters
                    .as_ref()
                    .map_or_else(Count::default, |counters| counters.get(number));
                (key, count)
            })
            .collect()
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
                Ok(None) => {
                    if before {
                        debug!(interface = %interface.name, "still attached");
                    } else {
                        info!(interface = %interface.name, "attached");
                    }
                    view.notes.remove(&interface.name);
                }
                Ok(Some(note)) => {
                    warn!(interface = %interface.name, "attached in {note}");
                    view.notes.insert(Arc::clone(&interface.name), note);
                }
                Err(error) => {
                    let note = format!("not attached: {:#}", anyhow::Error::from(error));
                    error!(interface = %interface.name, "{note}");
                    view.notes.insert(Arc::clone(&interface.name), note);
                }
            }
        }
        Ok(())
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
            view.notes.insert(
                Arc::clone(&interface.name),
                "detached by an operator".to_owned(),
            );
            view.detached.insert(interface.name);
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
            return self.reload().map(drop);
        };
        let placement = self.placement(Some(active), active.hash, true);
        Ok(publisher.publish_image(&generation, &placement)?)
    }

    pub(super) fn status(&self) -> Result<Status> {
        let reasons = self.counters.reasons()?;
        let reported_now = reported(&self.counters)?;
        let programs = lock(&self.programs);
        let view = self.view();
        let named = |interface: &&Interface| {
            view.config.names(&interface.name) || programs.is_attached(interface)
        };
        let interfaces = view.known.iter().filter(named).map(|interface| {
            let mode = interface.xdp.map(|program| program.mode);
            InterfaceInfo {
                name: interface.name.to_string(),
                index: Some(interface.index),
                mode: mode.filter(|_| programs.is_attached(interface)),
                note: view.notes.get(&interface.name).cloned(),
            }
        });
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            generation: view.info(),
            interfaces: interfaces.collect(),
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
            warnings: view.warnings.clone(),
        })
    }

    pub(super) fn rules(&self) -> Vec<RuleCount> {
        let view = self.view();
        let live = self.live(&view);
        (0..)
            .zip(view.generation.rules.iter().zip(live))
            .map(|(number, (rule, (key, live)))| {
                let before = view.totals.get(&key).copied().unwrap_or_default();
                RuleCount {
                    number,
                    host: key.0,
                    list: rule.list,
                    rule: Arc::clone(&rule.text),
                    origin: rule.origin.clone(),
                    packets: before.packets + live.packets,
                    bytes: before.bytes + live.bytes,
                }
            })
            .collect()
    }

    /// What a reload would change.
    pub(super) fn diff(&self) -> Result<DiffReport> {
        let config = Config::load(&self.path)?;
        let loaded = files::load(&config.paths.policy, &config.always_allow)?;
        let after = compile(&loaded.policy).map_err(Rejected::TooLarge)?;
        let before = Arc::clone(&self.view().generation);
        let (difference, cut) = difference(&before, &after, MOST_DIFFERENCES);
        Ok(DiffReport { difference, cut })
    }

    /// Runs the loaded program on a frame.
    pub(super) fn explain(&self, frame: &[u8], interface: Option<&str>) -> Result<Explanation> {
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
        EventReport {
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
        }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.view)
    }
}

impl View {
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
        }
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

fn milliseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
