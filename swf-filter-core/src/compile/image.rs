//! Writes a generation's [image](swf_filter_common::image).

use std::sync::Arc;

use swf_filter_common::frame::V6;
use swf_filter_common::image::{
    self, ADDRESS_V6_WORDS, ADDRESSES_V4, ADDRESSES_V6, CLAIMS, Claims, Engine, HOST_WORDS, HOSTS,
    Lasts, MAX_PROBES, Options, PortRange, Tables, WORDS, header,
};

use super::{Generation, Hash, Host};
use crate::policy::{Effect, Mode, Ports};

/// What an image says of the machine that it is for.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Number of the generation.
    pub number: u64,
    /// Its hash, as [`Generation::hash`] computes it.
    pub hash: Hash,
    /// Which slot of the kernel's source tables and rule counters it uses: 0 or 1.
    pub slot: u8,
    /// Which engine's source tables it uses.
    pub engine: Engine,
    /// Number of CPUs that have counters.
    pub cpus: u32,
    /// Interface numbers by name, the members of a bond under the bond's name as well. A member's own claim wins over its
    /// bond's because it comes first here.
    pub interfaces: Vec<(Arc<str>, u32)>,
}

/// An image that cannot be laid out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Bonds have so many members that their claims do not fit.
    #[error(
        "claims lead to more than {} pairs of interface and VLAN",
        image::MAX_CLAIMS
    )]
    Claims,
    /// Nothing that was tried spreads the addresses or claims well enough. It would take a policy made for it.
    #[error("the addresses cannot be laid out with less than {MAX_PROBES} probes")]
    Collisions,
}

/// Rule counters of one CPU: a multiple of four, so that CPUs do not share a cache line.
#[must_use]
pub fn counters_of_a_cpu(generation: &Generation) -> u32 {
    u32::try_from(generation.rules.len())
        .unwrap_or(u32::MAX)
        .next_multiple_of(4)
}

/// Lays out the image of a generation.
pub fn write(generation: &Generation, placement: &Placement) -> Result<Vec<u64>, ImageError> {
    let claims = resolve_claims(generation, placement)?;
    // The first nearly always does. Keys that lie badly for one multiplier lie well for another, and better with more room.
    (0..64)
        .find_map(|attempt| {
            let lasts = lasts(generation, &claims, 4 << (attempt / 16));
            let writer = Writer::new(generation, placement, &claims);
            writer.finish(generation, &claims, lasts, multiplier(attempt))
        })
        .ok_or(ImageError::Collisions)
}

/// An odd number for each attempt: that of the golden ratio as in Fibonacci hashing, or others without a pattern (`SplitMix64`).
fn multiplier(attempt: u32) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut number = GOLDEN.wrapping_mul(u64::from(attempt) + 1);
    if attempt > 0 {
        number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^= number >> 31;
    }
    number | 1
}

/// A claim on this machine: interface number (0 for any), VLAN (0 for none) and zone.
type Resolved = (u32, u16, u16);

fn resolve_claims(
    generation: &Generation,
    placement: &Placement,
) -> Result<Vec<Resolved>, ImageError> {
    let mut resolved: Vec<Resolved> = Vec::new();
    // By interface first, in the order of the placement, so that a member's own claim is there before its bond's.
    for (name, number) in &placement.interfaces {
        for ingress in &generation.ingresses {
            let vlan = ingress.vlan.unwrap_or_default();
            let known = |(interface, known_vlan, _): &Resolved| {
                (*interface, *known_vlan) == (*number, vlan)
            };
            if ingress.interface.as_ref() == Some(name) && !resolved.iter().any(known) {
                resolved.push((*number, vlan, ingress.zone));
            }
        }
    }
    for ingress in &generation.ingresses {
        if ingress.interface.is_none() {
            resolved.push((0, ingress.vlan.unwrap_or_default(), ingress.zone));
        }
    }
    if resolved.len() > image::MAX_CLAIMS as usize {
        return Err(ImageError::Claims);
    }
    Ok(resolved)
}

struct Writer {
    words: Vec<u64>,
}

impl Writer {
    fn new(generation: &Generation, placement: &Placement, claims: &[Resolved]) -> Self {
        let mut writer = Self {
            words: vec![0; WORDS as usize],
        };
        writer.set(header::MAGIC, image::MAGIC);
        writer.set(header::GENERATION, placement.number);
        writer.set(
            header::OPTIONS,
            options(generation, placement, claims).to_word(),
        );
        let counters = counters_of_a_cpu(generation);
        writer.set(
            header::COUNTERS,
            u64::from(counters) | u64::from(placement.cpus) << 32,
        );
        for (at, bytes) in (header::HASH..).zip(placement.hash.0.as_chunks().0) {
            writer.set(at, u64::from_le_bytes(*bytes));
        }
        for (number, host) in (0..).zip(&generation.hosts) {
            writer.host(number, host);
        }
        writer
    }

    fn finish(
        mut self,
        generation: &Generation,
        claims: &[Resolved],
        lasts: Lasts,
        multiplier: u64,
    ) -> Option<Vec<u64>> {
        self.set(header::LASTS, lasts.to_word());
        self.set(header::MULTIPLIER, multiplier);
        for (interface, vlan, zone) in claims {
            let last = lasts.last_claim();
            let start = image::claim_slot(*interface, *vlan, multiplier, last);
            let slot = self.free(start, last, |slot| CLAIMS + slot)?;
            self.set(CLAIMS + slot, image::claim_word(*interface, *vlan, *zone));
        }
        for (number, host) in (0u16..).zip(&generation.hosts) {
            for address in &host.addresses_v4 {
                let last = lasts.last_v4();
                let start = image::address_v4_slot(*address, multiplier, last);
                let slot = self.free(start, last, |slot| ADDRESSES_V4 + slot)?;
                let word = image::address_v4_word(*address, number);
                self.set(ADDRESSES_V4 + slot, word);
                if self.word(header::FIRST_V4) == 0 {
                    self.set(header::FIRST_V4, word);
                }
            }
            for address in &host.addresses_v6 {
                let address: V6 = (*address).into();
                let last = lasts.last_v6();
                let start = image::address_v6_slot(address, multiplier, last);
                let at = |slot| ADDRESSES_V6 + slot * ADDRESS_V6_WORDS;
                let slot = self.free(start, last, at)?;
                self.set_v6(at(slot), number, address);
                if self.word(header::FIRST_V6) == 0 {
                    self.set_v6(header::FIRST_V6, number, address);
                }
            }
        }
        Some(self.words)
    }

    /// The first free slot from `start` on, if it is near enough for a lookup to find. After the `last` comes the first one.
    fn free(&self, start: u32, last: u32, at: impl Fn(u32) -> u32) -> Option<u32> {
        // One less than a lookup probes, so that a search for what is not there ends at a free slot, too.
        (0..MAX_PROBES - 1)
            .map(|probe| (start + probe) & last)
            .find(|slot| self.word(at(*slot)) == 0)
    }

    fn host(&mut self, number: u32, host: &Host) {
        let ranges: &[(u16, u16)] = match &host.ports {
            Ports::All => &[],
            Ports::Ranges(ranges) => ranges,
        };
        let record = image::Host {
            first_rule: host.first_rule,
            default_ordinal: host.default_ordinal,
            default_passes: host.default == Effect::Pass,
            audit: host.mode == Mode::Audit,
            all_ports: host.ports == Ports::All,
            port_ranges: u8::try_from(ranges.len()).unwrap_or(u8::MAX),
            first_range: ranges
                .first()
                .map_or(PortRange::NONE, |(first, last)| PortRange {
                    first: *first,
                    last: *last,
                }),
            table: host.tables.first().copied().unwrap_or_default(),
            tables: tables(host),
        };
        for (at, word) in (HOSTS + number * HOST_WORDS..).zip(record.to_words()) {
            self.set(at, word);
        }
        for (range, (first, last)) in (0..image::MAX_PORT_RANGES).zip(ranges) {
            let (word, bit) = image::port_range_at(number, range);
            let range = PortRange {
                first: *first,
                last: *last,
            };
            self.set(word, self.word(word) | u64::from(range.bits()) << bit);
        }
        for (zone, table) in (0..image::MAX_ZONES).zip(&host.tables) {
            let (word, bit) = image::table_at(number, zone);
            self.set(word, self.word(word) | u64::from(*table) << bit);
        }
    }

    fn set_v6(&mut self, at: u32, host: u16, address: V6) {
        self.set(at, u64::from(host) + 1);
        self.set(at + 1, address.high);
        self.set(at + 2, address.low);
    }

    fn word(&self, at: u32) -> u64 {
        self.words.get(at as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, at: u32, value: u64) {
        if let Some(word) = self.words.get_mut(at as usize) {
            *word = value;
        }
    }
}

fn lasts(generation: &Generation, claims: &[Resolved], of_an_entry: u32) -> Lasts {
    let hosts = generation.hosts.iter();
    let v4 = hosts.clone().map(|host| host.addresses_v4.len()).sum();
    let v6 = hosts.map(|host| host.addresses_v6.len()).sum();
    Lasts::of(claims.len(), v4, v6, of_an_entry)
}

fn tables(host: &Host) -> Tables {
    let mut tables = host.tables.iter();
    let first = tables.next();
    if tables.all(|table| first == Some(table)) {
        Tables::One
    } else {
        Tables::ByZone
    }
}

fn options(generation: &Generation, placement: &Placement, claims: &[Resolved]) -> Options {
    let kinds = claims
        .iter()
        .map(|(interface, vlan, _)| match (interface, vlan) {
            (0, _) => Claims::BY_VLAN,
            (_, 0) => Claims::BY_INTERFACE,
            _ => Claims::BY_BOTH,
        });
    Options {
        slot: placement.slot,
        engine: placement.engine,
        hosts: u16::try_from(generation.hosts.len()).unwrap_or(u16::MAX),
        claims: kinds.fold(Claims::default(), Claims::with),
        audit_unreadable: generation.hosts.iter().all(|host| host.mode == Mode::Audit),
        catch_all: generation.catch_all,
    }
}
