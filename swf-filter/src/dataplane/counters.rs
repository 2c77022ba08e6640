//! Reads what the kernel counted.

use std::fs;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, IterableMap as _, MapData, MapInfo, PerCpuArray};
use aya::util::nr_cpus;
use swf_filter_common::abi::{COUNTER_PAGES, Count, PAGE_COUNTERS};
use swf_filter_common::reason::Reason;

use super::kernel::{open, take};
use super::{Pins, bulk};

/// A number that is new with each boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Words of a counter: packets, then bytes.
const COUNTER_WORDS: usize = 2;

/// A page of rule counters.
pub(super) type CounterPage = Array<MapData, [u64; PAGE_COUNTERS as usize * COUNTER_WORDS]>;

/// Access to all counters.
pub struct Counters {
    reasons: PerCpuArray<MapData, [u64; 2]>,
    rules: ArrayOfMaps<MapData, CounterPage>,
    cpus: u32,
    life: String,
}

/// The rule counters of one slot, as they were when they were read.
pub struct RuleCounters {
    words: Vec<u64>,
    of_a_cpu: usize,
}

impl Counters {
    pub(super) fn new(ebpf: &mut Ebpf, pins: &Pins) -> Result<Self> {
        let rules = aya::maps::Map::ArrayOfMaps(open(pins, "RULES")?);
        let cpus = nr_cpus()
            .map_err(|(_, error)| error)
            .context("cannot count the CPUs")?;
        Ok(Self {
            reasons: take(ebpf, "REASONS")?.try_into()?,
            rules: rules.try_into()?,
            cpus: u32::try_from(cpus)?,
            life: life(pins)?,
        })
    }

    /// What changes when all counters begin anew: with a boot, or with new maps.
    #[must_use]
    pub fn life(&self) -> &str {
        &self.life
    }

    /// Number of CPUs that may have counted.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.cpus
    }

    /// Packets and bytes of each reason, since the maps were made.
    pub fn reasons(&self) -> Result<Vec<(Reason, Count)>> {
        Reason::ALL
            .into_iter()
            .map(|reason| {
                let of_cpus = self
                    .reasons
                    .get(&u32::from(reason.number()), 0)
                    .context("cannot read a counter")?;
                Ok((
                    reason,
                    of_cpus
                        .iter()
                        .copied()
                        .map(count)
                        .fold(Count::default(), sum),
                ))
            })
            .collect()
    }

    /// The rule counters of a slot, if it ever held a generation.
    #[must_use]
    pub fn rules(&self, slot: u8, of_a_cpu: u32) -> Option<RuleCounters> {
        let of_a_cpu = of_a_cpu as usize;
        let mut left = of_a_cpu * self.cpus as usize * COUNTER_WORDS;
        let mut words = Vec::with_capacity(left);
        let first = u32::from(slot) * COUNTER_PAGES;
        for page in first..first + COUNTER_PAGES {
            let page = self.rules.get(&page, 0).ok()?;
            let number = left.min(PAGE_COUNTERS as usize * COUNTER_WORDS);
            words.extend(bulk::words(page.map(), number).ok()?);
            left -= number;
            if left == 0 {
                break;
            }
        }
        Some(RuleCounters { words, of_a_cpu })
    }
}

impl RuleCounters {
    /// Packets and bytes of a rule. Zero for a rule that the generation of this slot does not have.
    #[must_use]
    pub fn get(&self, rule: u32) -> Count {
        let (counters, _) = self.words.as_chunks();
        let of_cpus = counters.iter().skip(rule as usize);
        of_cpus
            .step_by(self.of_a_cpu.max(1))
            .copied()
            .map(count)
            .fold(Count::default(), sum)
    }
}

fn life(pins: &Pins) -> Result<String> {
    let boot = fs::read_to_string(BOOT_ID).with_context(|| format!("cannot read {BOOT_ID}"))?;
    let map = MapInfo::from_pin(pins.map("REASONS")).context("cannot look at a pinned map")?;
    Ok(format!("{} {}", boot.trim(), map.id()))
}

fn count([packets, bytes]: [u64; 2]) -> Count {
    Count { packets, bytes }
}

/// Adds two counts.
#[must_use]
fn sum(a: Count, b: Count) -> Count {
    Count {
        packets: a.packets + b.packets,
        bytes: a.bytes + b.bytes,
    }
}
