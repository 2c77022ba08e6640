//! Whether the packet gate would let a source in, asked by whoever has no packet of it: the listener.
//!
//! For a connection that came straight from its client this is what the packet gate decided, in the generation in force now. For
//! one that came through a trusted proxy it is what the packet gate would have decided, had the client come by itself.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use swf_filter_common::abi::Class;
use swf_filter_common::verdict::Sources as _;

use crate::compile::{Generation, Ingress, List, Tables, Zone};
use crate::policy::{Effect, Entry, Host, Mode, Policy, Source, Vpc};
use crate::prefix::table::Numbered;

/// From where a source comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Through an endpoint of a VPC, given by its index. The address may be a balancer's.
    Endpoint {
        /// The VPC.
        vpc: usize,
        /// The address.
        address: IpAddr,
    },
    /// Into a zone, given by its index.
    Zone {
        /// The zone.
        zone: usize,
        /// The address.
        address: IpAddr,
    },
}

/// What becomes of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Whether it gets in.
    pub verdict: Effect,
    /// Whether it gets in only because the host is in audit mode.
    pub mode: Mode,
    /// What decides.
    pub list: List,
    /// As it is written.
    pub rule: Arc<str>,
}

/// A way that a packet may have come in: an interface, perhaps with a VLAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The interface, and those that it is a member of.
    pub interfaces: Vec<Arc<str>>,
    /// The VLAN.
    pub vlan: Option<u16>,
}

/// The zone of what comes in by a way, as an index.
#[must_use]
pub fn zone(generation: &Generation, way: &Way) -> usize {
    let ingress = |name: Option<&str>, vlan: Option<u16>| {
        let fits = |own: &&Ingress| own.interface.as_deref() == name && own.vlan == vlan;
        generation.ingresses.iter().find(fits)
    };
    let names = || way.interfaces.iter().map(|name| Some(&**name));
    let found = way
        .vlan
        .and_then(|vlan| names().find_map(|name| ingress(name, Some(vlan))))
        .or_else(|| names().find_map(|name| ingress(name, None)))
        .or_else(|| ingress(None, Some(way.vlan?)));
    found.map_or(0, |ingress| usize::from(ingress.zone))
}

/// Whether a host, given by its index, lets a source in. None if there is no such host or zone.
#[must_use]
pub fn admit(
    policy: &Policy,
    generation: &Generation,
    host: usize,
    entrance: Entrance,
) -> Option<Admission> {
    let own = policy.hosts.get(host)?;
    let (strict, list, rule) = match entrance {
        Entrance::Zone { zone, address } => by_table(generation, host, zone, address)?,
        Entrance::Endpoint { vpc, address } => {
            let Vpc { id, cidrs, .. } = policy.vpcs.get(vpc)?;
            let is_inside = cidrs.longest(address).is_some();
            let has_member = |zone: &Zone| zone.vpcs.contains(id);
            let zone = generation.zones.iter().position(has_member);
            match zone.filter(|_| is_inside) {
                Some(zone) => by_table(generation, host, zone, address)?,
                None => by_vpc(policy, own, vpc, address),
            }
        }
    };
    let is_spared = strict == Effect::Drop && own.mode == Mode::Audit;
    Some(Admission {
        verdict: if is_spared { Effect::Pass } else { strict },
        mode: if is_spared {
            Mode::Audit
        } else {
            Mode::Enforce
        },
        list,
        rule,
    })
}

type Decided = (Effect, List, Arc<str>);

/// As the packet gate decides.
fn by_table(generation: &Generation, host: usize, zone: usize, address: IpAddr) -> Option<Decided> {
    let host = generation.hosts.get(host)?;
    let table = *host.tables.get(zone)?;
    let tables = Tables(generation);
    let leaf = match address {
        IpAddr::V4(address) => tables.leaf_v4(0, table, address.to_bits()),
        IpAddr::V6(address) => tables.leaf_v6(0, table, address.to_bits().into()),
    };
    let (ordinal, effect) = match leaf.map(|leaf| (leaf.ordinal(), leaf.class())) {
        None => (host.default_ordinal, host.default),
        Some((ordinal, Class::Deny)) => (ordinal, Effect::Drop),
        Some((ordinal, Class::Allow | Class::Audit | Class::AlwaysAllow)) => {
            (ordinal, Effect::Pass)
        }
    };
    let rule = generation.rule(host.first_rule.checked_add(ordinal)?)?;
    Some((effect, rule.list, Arc::clone(&rule.text)))
}

/// For whom no more than the VPC is known, and an address that is not in it: a balancer's perhaps, which opens nothing. What is
/// denied stays denied. What documents say of it is for the request.
fn by_vpc(policy: &Policy, host: &Host, vpc: usize, address: IpAddr) -> Decided {
    let Tabled { allow, deny } = host.lists.0.get_or_init(|| Tabled::of(host));
    let set = deny.sets.iter().find(|(_, set)| {
        let set = policy.sets.get(*set);
        set.is_some_and(|set| set.contains(address))
    });
    let of_vpc = deny.vpcs.get(&vpc).copied();
    let first = deny.prefixes.first(address).into_iter().chain(of_vpc);
    let first = first.chain(set.map(|(number, _)| *number)).min();
    if let Some(entry) = first.and_then(|number| host.deny.get(number)) {
        return (Effect::Drop, List::Deny, Arc::clone(&entry.text));
    }
    let first = allow.vpcs.get(&vpc);
    if let Some(entry) = first.and_then(|number| host.allow.get(*number)) {
        return (Effect::Pass, List::Allow, Arc::clone(&entry.text));
    }
    let effect = if host.documents.is_some() && host.allow.is_empty() {
        Effect::Pass
    } else {
        host.default
    };
    (effect, List::Default, "default".into())
}

/// A host's lists as [`by_vpc`] looks them up: made when that is first asked, as a host without endpoints never needs them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists(OnceLock<Tabled>);

#[derive(Clone, Debug)]
struct Tabled {
    allow: Entries,
    deny: Entries,
}

/// The entries of a list by their sources, each with its place in the list.
#[derive(Clone, Debug)]
struct Entries {
    prefixes: Numbered,
    /// Each set once, in the order of the list.
    sets: Vec<(usize, usize)>,
    /// Where each VPC stands first.
    vpcs: HashMap<usize, usize>,
}

impl Tabled {
    fn of(host: &Host) -> Self {
        Self {
            // Nothing is asked of it but its VPCs: what an address opens is for the packet gate.
            allow: Entries::of(&host.allow, |source| matches!(source, Source::Vpc(_))),
            deny: Entries::of(&host.deny, |_| true),
        }
    }
}

impl Entries {
    fn of(list: &[Entry], is_asked: fn(&Source) -> bool) -> Self {
        let sources = list.iter().map(|entry| &entry.source).enumerate();
        let sources = sources.filter(|(_, source)| is_asked(source));
        let prefixes = sources.clone().filter_map(|(number, source)| match source {
            Source::Prefixes(prefixes) => Some((number, prefixes)),
            Source::Set(_) | Source::Vpc(_) => None,
        });
        let mut known = HashSet::new();
        let mut sets = Vec::new();
        let mut vpcs = HashMap::new();
        for (number, source) in sources.clone() {
            match source {
                Source::Set(set) if known.insert(*set) => sets.push((number, *set)),
                Source::Prefixes(_) | Source::Set(_) => {}
                Source::Vpc(vpc) => {
                    vpcs.entry(*vpc).or_insert(number);
                }
            }
        }
        Self {
            prefixes: Numbered::of(prefixes),
            sets,
            vpcs,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;
    use swf_filter_common::abi::NONE_U16;

    use super::*;
    use crate::compile::compile;
    use crate::policy::{SourceFile, parse};

    const TEXT: &str = r#"
        version = 1
        [[host]]
        name = "lists"
        addresses = ["198.51.100.10"]
        allow = ["203.0.113.0/24", "vpc:vpc-one"]
        deny = ["203.0.113.66"]
        [[host]]
        name = "audited"
        addresses = ["198.51.100.20"]
        mode = "audit"
        [[vpc]]
        id = "vpc-one"
        cidrs = ["10.0.0.0/16"]
        interfaces = ["eth1"]
        vlans = [120]
        [[vpc]]
        id = "vpc-two"
        cidrs = ["10.0.0.0/16"]
        interfaces = ["eth1"]
        [[vpc]]
        id = "vpc-three"
        cidrs = ["10.0.0.0/16"]
        vlans = [7]
    "#;

    fn world() -> (Policy, Generation) {
        let file = SourceFile {
            name: "a.toml".into(),
            bytes: TEXT.as_bytes().into(),
        };
        let policy = parse(&[file], &mut |_| Err(io::ErrorKind::NotFound.into())).unwrap();
        let generation = compile(&policy).unwrap();
        (policy, generation)
    }

    fn way(interfaces: &[&str], vlan: Option<u16>) -> Way {
        Way {
            interfaces: interfaces.iter().map(|name| Arc::from(*name)).collect(),
            vlan,
        }
    }

    #[test]
    fn the_most_specific_claim_gives_the_zone() {
        let (_, generation) = world();
        let name = |interfaces: &[&str], vlan| {
            generation.zones[zone(&generation, &way(interfaces, vlan))].name()
        };
        assert_eq!(name(&["eth1"], Some(120)), "vpc-one");
        assert_eq!(name(&["eth1"], Some(7)), "vpc-two");
        assert_eq!(name(&["eth1"], None), "vpc-two");
        assert_eq!(name(&["eth0", "eth1"], Some(120)), "vpc-one");
        assert_eq!(name(&["eth0"], Some(7)), "vpc-three");
        assert_eq!(name(&["eth0"], Some(120)), "public");
        assert_eq!(name(&[], None), "public");
        assert!(generation.zones.len() < usize::from(NONE_U16));
    }

    #[test]
    fn a_zone_is_asked_as_the_packet_gate_is() {
        let (policy, generation) = world();
        let one = zone(&generation, &way(&["eth1"], Some(120)));
        let verdict = |zone, address: &str| {
            let address = address.parse().unwrap();
            let admission = admit(&policy, &generation, 0, Entrance::Zone { zone, address });
            let admission = admission.unwrap();
            (admission.verdict, admission.list)
        };
        assert_eq!(verdict(0, "203.0.113.9"), (Effect::Pass, List::Allow));
        assert_eq!(verdict(0, "203.0.113.66"), (Effect::Drop, List::Deny));
        assert_eq!(verdict(0, "10.0.0.1"), (Effect::Drop, List::Default));
        assert_eq!(verdict(one, "10.0.0.1"), (Effect::Pass, List::Allow));
        assert_eq!(verdict(one, "10.1.0.1"), (Effect::Drop, List::Default));
        assert_eq!(verdict(0, "2001:db8::1"), (Effect::Drop, List::Default));
    }

    #[test]
    fn an_endpoint_stands_for_its_vpc_where_the_address_is_a_balancers() {
        let (policy, generation) = world();
        let verdict = |host, vpc, address: &str| {
            let address = address.parse().unwrap();
            let entrance = Entrance::Endpoint { vpc, address };
            let admission = admit(&policy, &generation, host, entrance).unwrap();
            (admission.verdict, admission.mode, admission.list)
        };
        let enforced = Mode::Enforce;
        assert_eq!(
            verdict(0, 0, "192.0.2.1"),
            (Effect::Pass, enforced, List::Allow)
        );
        assert_eq!(
            verdict(0, 0, "10.0.0.1"),
            (Effect::Pass, enforced, List::Allow)
        );
        let denied = (Effect::Drop, enforced, List::Deny);
        assert_eq!(verdict(0, 0, "203.0.113.66"), denied);
        assert_eq!(
            verdict(0, 0, "203.0.113.67"),
            (Effect::Pass, enforced, List::Allow)
        );
        assert_eq!(
            verdict(0, 1, "203.0.113.67"),
            (Effect::Drop, enforced, List::Default)
        );
        assert_eq!(
            verdict(0, 1, "10.0.0.1"),
            (Effect::Drop, enforced, List::Default)
        );
        assert_eq!(
            verdict(0, 1, "192.0.2.1"),
            (Effect::Drop, enforced, List::Default)
        );
        assert_eq!(
            verdict(1, 1, "192.0.2.1"),
            (Effect::Pass, Mode::Audit, List::Default)
        );
    }

    /// As the lists read, entry by entry.
    fn slow(policy: &Policy, host: &Host, vpc: usize, address: IpAddr) -> Decided {
        let is_own = |entry: &&Entry| entry.source == Source::Vpc(vpc);
        let is_address = |entry: &&Entry| match &entry.source {
            Source::Prefixes(prefixes) => prefixes.longest(address).is_some(),
            Source::Set(set) => policy.sets[*set].prefixes.longest(address).is_some(),
            Source::Vpc(_) => false,
        };
        let mut deny = host.deny.iter();
        if let Some(entry) = deny.find(|entry| is_own(entry) || is_address(entry)) {
            return (Effect::Drop, List::Deny, Arc::clone(&entry.text));
        }
        match host.allow.iter().find(is_own) {
            Some(entry) => (Effect::Pass, List::Allow, Arc::clone(&entry.text)),
            None => (host.default, List::Default, "default".into()),
        }
    }

    proptest! {
        #[test]
        fn a_vpc_is_asked_for_as_its_lists_read(
            allow in entries(),
            deny in entries(),
            vpc in 0..2usize,
            low in 0..8u8,
        ) {
            let text = format!(
                "version = 1\n[[host]]\nname = \"h\"\naddresses = [\"198.51.100.10\"]\n\
                 allow = {allow:?}\ndeny = {deny:?}\n\
                 [[set]]\nname = \"s\"\ncidrs = [\"192.0.2.2/31\", \"192.0.2.3\", \"2001:db8::4/126\"]\n\
                 [[set]]\nname = \"t\"\ncidrs = [\"192.0.2.6\"]\n\
                 [[vpc]]\nid = \"v\"\ncidrs = [\"10.0.0.0/16\"]\nvlans = [7]\n\
                 [[vpc]]\nid = \"w\"\ncidrs = [\"10.1.0.0/16\"]\nvlans = [8]\n"
            );
            let file = SourceFile {
                name: "a.toml".into(),
                bytes: text.into_bytes().into(),
            };
            let policy = parse(&[file], &mut |_| Err(io::ErrorKind::NotFound.into())).unwrap();
            let host = &policy.hosts[0];
            let v4 = IpAddr::from([192, 0, 2, low]);
            let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(low)]);
            for address in [v4, v6] {
                prop_assert_eq!(
                    by_vpc(&policy, host, vpc, address),
                    slow(&policy, host, vpc, address)
                );
            }
        }
    }

    fn entries() -> impl Strategy<Value = Vec<&'static str>> {
        let texts = [
            "192.0.2.0/30",
            "192.0.2.1",
            "192.0.2.1-192.0.2.5",
            "192.0.2.5",
            "2001:db8::/125",
            "2001:db8::1",
            "set:s",
            "set:t",
            "vpc:v",
            "vpc:w",
        ];
        prop::sample::subsequence(texts.to_vec(), 0..6).prop_shuffle()
    }
}
