//! By which ways connections come in, as the packet gate tells zones apart: by interface and VLAN.
//!
//! A socket that is bound to a device has connections of that device only, so its device tells. Asking each connection was
//! rejected: the kernel knows the interface (`IP_PKTOPTIONS`), but no safe interface to it exists, and of a bond or bridge it would
//! not be the member either. Interfaces are asked for over netlink, which needs no privilege; `/proc/net/vlan` is root's. A device
//! whose packets arrive elsewhere is never taken for the interface that they arrive on.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use arc_swap::{ArcSwap, Guard};
use futures_util::{FutureExt as _, StreamExt as _};
use socket2::SockRef;
use swf_filter_core::admission::Way;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::dataplane::Interface;
use crate::dataplane::interfaces::{self, Lower};

/// Interfaces on top of each other: the kernel takes no more (`MAX_NEST_DEV` in include/linux/netdevice.h).
const DEEPEST: usize = 8;
/// Between two attempts to ask for the interfaces.
const PAUSE: Duration = Duration::from_secs(1);

/// The ways by which connections of a socket may come in now. There are none if they cannot be told.
#[derive(Debug)]
pub(super) struct Ways(ArcSwap<Vec<Way>>);

impl Ways {
    pub(super) fn new(ways: Vec<Way>) -> Self {
        Self(ArcSwap::from_pointee(ways))
    }

    pub(super) fn now(&self) -> Guard<Arc<Vec<Way>>> {
        self.0.load()
    }
}

/// Ways of which nothing is known.
pub(super) fn unknown() -> Ways {
    Ways::new(Vec::new())
}

/// The ways of sockets, in their order, as the interfaces have them from now on. They are unknown for a socket that is bound to no
/// interface.
pub(super) async fn follow(
    sockets: impl IntoIterator<Item = &TcpListener>,
) -> Result<Vec<Arc<Ways>>> {
    let devices = sockets.into_iter().map(device);
    let devices: Vec<Option<String>> = devices.collect::<Result<_>>()?;
    let mut followed = Followed::default();
    if devices.iter().all(Option::is_none) {
        return Ok(devices.iter().map(|_| unknown().into()).collect());
    }
    let (netlink, _) = interfaces::open()?;
    let listed = netlink.list().await?;
    let ways = devices.iter().map(|device| match device {
        Some(device) => followed.add(device, &listed),
        None => Ok(unknown().into()),
    });
    let ways = ways.collect::<Result<_>>()?;
    followed.look(&listed);
    for (device, ways) in followed.0.values() {
        if ways.now().is_empty() {
            tell_unknown(device);
        }
    }
    tokio::spawn(followed.keep());
    Ok(ways)
}

/// The interface that a socket is bound to.
fn device(socket: &TcpListener) -> Result<Option<String>> {
    let name = SockRef::from(socket).device();
    let name = name.context("cannot ask which interface a socket is bound to")?;
    let name = name.map(|name| String::from_utf8_lossy(&name).into_owned());
    Ok(name.map(|name| name.trim_end_matches('\0').to_owned()))
}

/// Interfaces that sockets are bound to, by their numbers: a socket stays bound to one that gets another name.
#[derive(Debug, Default)]
struct Followed(HashMap<u32, (Box<str>, Arc<Ways>)>);

impl Followed {
    fn add(&mut self, device: &str, listed: &[Interface]) -> Result<Arc<Ways>> {
        let interface = listed.iter().find(|one| *one.name == *device);
        let Interface { index, .. } = interface.with_context(|| {
            format!("a socket is bound to interface `{device}`, which the kernel does not list")
        })?;
        let new = || (device.into(), Arc::new(unknown()));
        let (_, ways) = self.0.entry(*index).or_insert_with(new);
        Ok(Arc::clone(ways))
    }

    /// Takes what the interfaces are now.
    fn look(&self, listed: &[Interface]) {
        for (index, (device, ways)) in &self.0 {
            let new = ways_of(listed, *index, DEEPEST).unwrap_or_default();
            if **ways.now() == new {
                continue;
            }
            if new.is_empty() {
                tell_unknown(device);
            } else {
                info!(interface = %device, ways = ?new, "its connections come in by these ways");
            }
            ways.0.store(Arc::new(new));
        }
    }

    /// Follows the interfaces for ever.
    async fn keep(self) {
        loop {
            let Err(error) = self.until_lost().await;
            if self.0.values().any(|(_, ways)| !ways.now().is_empty()) {
                error!("the kernel does not tell of its interfaces any more: {error:#}");
            }
            self.look(&[]);
            sleep(PAUSE).await;
        }
    }

    async fn until_lost(&self) -> Result<Infallible> {
        let (netlink, mut changes) = interfaces::open()?;
        loop {
            self.look(&netlink.list().await?);
            let ended = "the netlink socket ended";
            changes.next().await.context(ended)?;
            // One list is enough for all that changed meanwhile.
            while let Some(change) = changes.next().now_or_never() {
                change.context(ended)?;
            }
        }
    }
}

fn tell_unknown(device: &str) {
    warn!(
        interface = device,
        "it cannot be told on which interface its packets arrive: its connections are refused where they come from the range of \
         a VPC that claims interfaces; listen on an interface that is made on others of this network namespace only"
    );
}

/// The ways by which packets of an interface may have come in. Packets of what is made on another interface, and of a bond or
/// bridge, are judged where they still have their tag: on the one that they arrived on. None if there is no telling.
fn ways_of(listed: &[Interface], index: u32, deepest: usize) -> Option<Vec<Way>> {
    let deeper = deepest.checked_sub(1)?;
    let own = listed.iter().find(|one| one.index == index)?;
    let mut ways = Vec::new();
    match own.lower {
        Some(Lower::Here { index, vlan }) => {
            ways = ways_of(listed, index, deeper)?;
            // The outermost tag counts, which is on the lowest interface. One with id 0 is passed over.
            let vlan = vlan.filter(|id| *id != 0);
            for way in &mut ways {
                way.vlan = way.vlan.or(vlan);
            }
        }
        Some(Lower::Unknown) => return None,
        None => {
            let members = listed.iter().filter(|one| one.master == Some(index));
            for member in members {
                ways.extend(ways_of(listed, member.index, deeper)?);
            }
            if ways.is_empty() {
                let interfaces = Vec::new();
                let vlan = None;
                ways.push(Way { interfaces, vlan });
            }
        }
    }
    let names = interfaces::names(listed, index);
    for way in &mut ways {
        let known = &mut way.interfaces;
        let new = names.iter().filter(|name| !known.contains(name));
        let new: Vec<Arc<str>> = new.cloned().collect();
        known.extend(new);
    }
    Some(ways)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str) -> Interface {
        Interface {
            index,
            name: name.into(),
            master: None,
            lower: None,
            mtu: 1500,
            xdp: None,
        }
    }

    fn on(lower: u32, vlan: Option<u16>, own: Interface) -> Interface {
        let index = lower;
        let lower = Some(Lower::Here { index, vlan });
        Interface { lower, ..own }
    }

    fn member(master: u32, own: Interface) -> Interface {
        let master = Some(master);
        Interface { master, ..own }
    }

    /// Each way as its interfaces and its VLAN.
    fn told(listed: &[Interface], index: u32) -> Option<Vec<(String, Option<u16>)>> {
        let ways = ways_of(listed, index, DEEPEST)?;
        let told = |way: &Way| (way.interfaces.join(" "), way.vlan);
        Some(ways.iter().map(told).collect())
    }

    fn one(interfaces: &str, vlan: Option<u16>) -> Vec<(String, Option<u16>)> {
        vec![(interfaces.to_owned(), vlan)]
    }

    #[test]
    fn a_vlan_is_its_outermost_tag_on_the_lowest_interface() {
        let listed = [
            interface(1, "eth1"),
            on(1, Some(120), interface(2, "eth1.120")),
            on(2, Some(30), interface(3, "eth1.120.30")),
            on(1, Some(0), interface(4, "eth1.0")),
            on(4, Some(30), interface(5, "eth1.0.30")),
            on(2, None, interface(6, "mac")),
        ];
        assert_eq!(told(&listed, 1), Some(one("eth1", None)));
        assert_eq!(told(&listed, 2), Some(one("eth1 eth1.120", Some(120))));
        assert_eq!(
            told(&listed, 3),
            Some(one("eth1 eth1.120 eth1.120.30", Some(120)))
        );
        assert_eq!(told(&listed, 4), Some(one("eth1 eth1.0", None)));
        assert_eq!(
            told(&listed, 5),
            Some(one("eth1 eth1.0 eth1.0.30", Some(30)))
        );
        assert_eq!(told(&listed, 6), Some(one("eth1 eth1.120 mac", Some(120))));
    }

    #[test]
    fn what_comes_in_by_a_bond_or_bridge_came_in_by_one_of_its_members() {
        let listed = [
            member(3, interface(1, "eth1")),
            member(3, interface(2, "eth2")),
            interface(3, "bond0"),
            member(5, on(3, Some(7), interface(4, "bond0.7"))),
            interface(5, "br0"),
        ];
        let bond = |name: &str| (format!("{name} bond0"), None);
        assert_eq!(told(&listed, 3), Some(vec![bond("eth1"), bond("eth2")]));
        let bridge = |name: &str| (format!("{name} bond0 bond0.7 br0"), Some(7));
        assert_eq!(told(&listed, 5), Some(vec![bridge("eth1"), bridge("eth2")]));
        assert_eq!(told(&listed, 1), Some(one("eth1 bond0", None)));
        assert_eq!(told(&listed[2..3], 3), Some(one("bond0", None)));
    }

    #[test]
    fn what_is_below_and_not_to_be_seen_leaves_the_way_unknown() {
        let elsewhere = Interface {
            lower: Some(Lower::Unknown),
            ..interface(1, "eth1.120")
        };
        let listed = [
            elsewhere,
            on(1, Some(30), interface(2, "eth1.120.30")),
            on(9, Some(120), interface(3, "eth2.120")),
            // Two lists in one, as if the kernel's changed in the midst.
            on(5, Some(1), interface(4, "a")),
            on(4, Some(1), interface(5, "b")),
        ];
        for index in 1..=6 {
            assert_eq!(told(&listed, index), None, "{index}");
        }
    }

    #[test]
    fn ways_change_with_the_interfaces() {
        let mut followed = Followed::default();
        let alone = [interface(1, "eth1")];
        let ways = followed.add("eth1", &alone).unwrap();
        assert!(followed.add("eth2", &alone).is_err());
        let now = |listed: &[Interface]| {
            followed.look(listed);
            let names = |way: &Way| way.interfaces.join(" ");
            ways.now().iter().map(names).collect::<Vec<_>>()
        };
        assert_eq!(now(&alone), ["eth1"]);
        let bonded = [member(2, interface(1, "eth1")), interface(2, "bond0")];
        assert_eq!(now(&bonded), ["eth1 bond0"]);
        assert_eq!(now(&[]), [""; 0]);
        assert_eq!(now(&[interface(1, "wan")]), ["wan"]);
    }

    #[tokio::test]
    async fn a_socket_without_device_tells_no_way() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ways = follow([&socket]).await.unwrap();
        assert!(ways.iter().all(|ways| ways.now().is_empty()));
    }
}
