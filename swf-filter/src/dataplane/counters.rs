//! Reads what the kernel counted.

use std::fs;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, IterableMap as _, MapData, MapError, MapInfo, PerCpuArray};
use aya::util::nr_cpus;
use swf_filter_common::abi::{COUNTER_PAGES, Count, PAGE_COUNTERS};
use swf_filter_common::reason::Reason;
use swf_filter_core::compile::Generation;
use swf_filter_core::compile::image::counters_of_a_cpu;

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

    /// Packets and bytes of each rule of a generation, in their order, as its slot has them. A slot that was emptied has zeros.
    pub fn of_rules(&self, slot: u8, generation: &Generation) -> Result<Vec<Count>> {
        let of_a_cpu = counters_of_a_cpu(generation) as usize;
        let words = self.words(slot, of_a_cpu * self.cpus as usize * COUNTER_WORDS)?;
        let (counters, _) = words.as_chunks();
        let mut counts = vec![Count::default(); generation.rules.len()];
        for of_cpu in counters.chunks(of_a_cpu.max(1)) {
            for (total, counter) in counts.iter_mut().zip(of_cpu) {
                *total = sum(*total, count(*counter));
            }
        }
        Ok(counts)
    }

    /// The first words of a slot's counters, as far as it has pages.
    fn words(&self, slot: u8, number: usize) -> Result<Vec<u64>> {
        let mut words = Vec::with_capacity(number);
        let first = u32::from(slot) * COUNTER_PAGES;
        for place in first..first + COUNTER_PAGES {
            let left = number - words.len();
            if left == 0 {
                break;
            }
            let page = match self.rules.get(&place, 0) {
                Ok(page) => page,
                Err(MapError::KeyNotFound) => break,
                // By its number, which is all that a map of maps tells.
                Err(error) => return Err(error).context("cannot open rule counters"),
            };
            let here = left.min(PAGE_COUNTERS as usize * COUNTER_WORDS);
            words.extend(bulk::words(page.map(), here).context("cannot read rule counters")?);
        }
        Ok(words)
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
