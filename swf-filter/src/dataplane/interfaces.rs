//! Network interfaces, as the kernel lists them over netlink, and word when they change.
//!
//! Netlink and not `/sys/class/net`: the latter shows the namespace that it was mounted in, not the caller's.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures_util::{Stream, StreamExt, TryStreamExt};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, LinkXdp, XdpAttached,
};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::sync::Mutex;

use crate::control::api::AttachMode;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Number of the bond or bridge that it is a member of.
    pub master: Option<u32>,
    /// What it is made on, if its packets are those of another interface.
    pub lower: Option<Lower>,
    /// Largest packet, without link header.
    pub mtu: u32,
    /// The XDP program that is attached, if one is.
    pub xdp: Option<Program>,
}

/// The interface that another one is made on: packets of the upper one arrive on it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lower {
    /// One of the same namespace.
    Here {
        /// Its number.
        index: u32,
        /// The VLAN that the upper one is, as its packets' tag on the lower one has it.
        vlan: Option<u16>,
    },
    /// One of another namespace, or one that the kernel does not tell.
    Unknown,
}

/// An attached XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its number.
    pub id: u32,
    /// How it is attached.
    pub mode: AttachMode,
}

/// Lists interfaces, and tells when to list them again.
pub struct Interfaces {
    /// One list at a time: the kernel refuses a second dump on the same socket (`EBUSY`) until the first one has ended.
    handle: Mutex<Handle>,
}

/// Opens a netlink connection. The stream has an item for each change to any interface.
pub fn open() -> Result<(Interfaces, impl Stream<Item = ()> + Unpin)> {
    let (connection, handle, messages) = new_multicast_connection(&[MulticastGroup::Link])
        .context("cannot open a netlink socket")?;
    tokio::spawn(connection);
    let handle = Mutex::new(handle);
    Ok((Interfaces { handle }, messages.map(|_| ())))
}

impl Interfaces {
    /// All interfaces.
    pub async fn list(&self) -> Result<Vec<Interface>> {
        let handle = self.handle.lock().await;
        let messages: Vec<LinkMessage> = handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .context("cannot list network interfaces")?;
        Ok(messages.into_iter().filter_map(interface).collect())
    }

    /// The name of the interface that has an address, if one has.
    pub async fn with_address(&self, address: IpAddr) -> Result<Option<Arc<str>>> {
        let addresses: Vec<AddressMessage> = {
            let handle = self.handle.lock().await;
            let listed = handle.address().get().execute().try_collect().await;
            listed.context("cannot list addresses")?
        };
        let found = addresses.iter().find(|message| {
            message.attributes.iter().any(|attribute| match attribute {
                AddressAttribute::Address(own) | AddressAttribute::Local(own) => *own == address,
                _ => false,
            })
        });
        let Some(index) = found.map(|message| message.header.index) else {
            return Ok(None);
        };
        let interfaces = self.list().await?;
        let interface = interfaces.into_iter().find(|one| one.index == index);
        Ok(interface.map(|interface| interface.name))
    }
}

fn interface(message: LinkMessage) -> Option<Interface> {
    let mut name = None;
    let mut master = None;
    let mut mtu = 0;
    let mut xdp = None;
    let lower = lower(&message.attributes);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name = Some(value),
            LinkAttribute::Controller(value) => master = Some(value),
            LinkAttribute::Mtu(value) => mtu = value,
            LinkAttribute::Xdp(values) => xdp = program(&values),
            _ => {}
        }
    }
    Some(Interface {
        index: message.header.index,
        name: name?.into(),
        master,
        lower,
        mtu,
        xdp,
    })
}

/// What an interface is made on. Peers (`IFLA_LINK` of veth) and carriers of tunnels are none: their packets are others.
fn lower(attributes: &[LinkAttribute]) -> Option<Lower> {
    let mut index = None;
    let mut namespace = None;
    let mut infos: &[LinkInfo] = &[];
    for attribute in attributes {
        match attribute {
            LinkAttribute::Link(value) => index = Some(*value),
            LinkAttribute::LinkNetNsId(value) => namespace = Some(*value),
            LinkAttribute::LinkInfo(values) => infos = values,
            _ => {}
        }
    }
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })?;
    let vlan = match kind {
        InfoKind::IpVlan | InfoKind::IpVtap | InfoKind::MacVlan | InfoKind::MacVtap => Some(None),
        InfoKind::Vlan => infos.iter().find_map(vlan).map(Some),
        _ => return None,
    };
    Some(match (index, namespace, vlan) {
        (Some(index), None, Some(vlan)) => Lower::Here { index, vlan },
        _ => Lower::Unknown,
    })
}

fn vlan(info: &LinkInfo) -> Option<u16> {
    let LinkInfo::Data(InfoData::Vlan(values)) = info else {
        return None;
    };
    values.iter().find_map(|value| match value {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })
}

fn program(attributes: &[LinkXdp]) -> Option<Program> {
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(AttachMode::Generic),
        LinkXdp::Attached(XdpAttached::None) => None,
        LinkXdp::Attached(_) => Some(AttachMode::Driver),
        _ => None,
    })?;
    let id = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    Some(Program { id, mode })
}

/// The number of each interface under its own name and its bond's, own names first: a claim on a member wins over one on
/// its bond, and packets always carry the member's number.
#[must_use]
pub fn named(interfaces: &[Interface]) -> Vec<(Arc<str>, u32)> {
    let own = interfaces
        .iter()
        .map(|interface| (Arc::clone(&interface.name), interface.index));
    let masters = interfaces.iter().filter_map(|interface| {
        let master = interfaces
            .iter()
            .find(|other| Some(other.index) == interface.master)?;
        Some((Arc::clone(&master.name), interface.index))
    });
    own.chain(masters).collect()
}

/// The names of one interface in that order, by its number; none if it is gone.
#[must_use]
pub fn names(interfaces: &[Interface], index: u32) -> Vec<Arc<str>> {
    let own = interfaces
        .iter()
        .find(|interface| interface.index == index)
        .map(|own| Arc::clone(&own.name));
    let masters = own.iter().flat_map(|own| masters(interfaces, own));
    own.iter().cloned().chain(masters).collect()
}

/// The names of the bonds that an interface is a member of.
#[must_use]
pub fn masters(interfaces: &[Interface], name: &str) -> Vec<Arc<str>> {
    let member = interfaces.iter().find(|interface| *interface.name == *name);
    let master = member.and_then(|member| member.master);
    interfaces
        .iter()
        .filter(|interface| Some(interface.index) == master)
        .map(|interface| Arc::clone(&interface.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::Parseable;

    use super::*;

    /// An attribute as the kernel lays it out, to a multiple of four bytes (include/uapi/linux/netlink.h).
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// What the kernel tells of interface 7, in `RTM_NEWLINK`.
    fn told(attributes: &[Vec<u8>]) -> Interface {
        // struct ifinfomsg: family, padding, type ARPHRD_ETHER, index, flags, change.
        let mut bytes = [0; 16];
        bytes[2..4].copy_from_slice(&1_u16.to_ne_bytes());
        bytes[4..8].copy_from_slice(&7_i32.to_ne_bytes());
        let mut bytes = bytes.to_vec();
        bytes.extend(attribute(3, b"eth1.120\0"));
        bytes.extend(attributes.concat());
        interface(LinkMessage::parse(&bytes).unwrap()).unwrap()
    }

    fn link(index: u32) -> Vec<u8> {
        attribute(5, &index.to_ne_bytes())
    }

    /// `IFLA_LINKINFO` of a kind, with its data.
    fn info(kind: &str, data: &[Vec<u8>]) -> Vec<u8> {
        let mut told = attribute(1, format!("{kind}\0").as_bytes());
        if !data.is_empty() {
            told.extend(attribute(2, &data.concat()));
        }
        attribute(18, &told)
    }

    /// As `vlan_fill_info` in `net/8021q/vlan_netlink.c` has it.
    fn vlan_120() -> Vec<Vec<u8>> {
        let flags = [1_u32.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat();
        vec![
            attribute(5, &0x8100_u16.to_be_bytes()),
            attribute(1, &120_u16.to_ne_bytes()),
            attribute(2, &flags),
        ]
    }

    #[test]
    fn what_an_interface_is_made_on_is_told_by_its_kind() {
        let here = |vlan| Some(Lower::Here { index: 3, vlan });
        let elsewhere = attribute(37, &0_i32.to_ne_bytes());
        for (attributes, lower) in [
            (vec![link(3), info("vlan", &vlan_120())], here(Some(120))),
            (vec![info("vlan", &vlan_120()), link(3)], here(Some(120))),
            (vec![link(3), info("macvlan", &[])], here(None)),
            (vec![link(3), info("ipvlan", &[])], here(None)),
            // A peer, and what carries a tunnel.
            (vec![link(3), info("veth", &[])], None),
            (vec![link(3), info("gre", &[])], None),
            (vec![link(3), info("bridge", &[])], None),
            (vec![link(3)], None),
            (
                vec![link(3), elsewhere.clone(), info("vlan", &vlan_120())],
                Some(Lower::Unknown),
            ),
            (
                vec![link(3), elsewhere, info("macvlan", &[])],
                Some(Lower::Unknown),
            ),
            (vec![info("vlan", &vlan_120())], Some(Lower::Unknown)),
            (vec![link(3), info("vlan", &[])], Some(Lower::Unknown)),
        ] {
            assert_eq!(told(&attributes).lower, lower, "{attributes:?}");
        }
        let told = told(&[link(3), attribute(10, &9_u32.to_ne_bytes())]);
        assert_eq!(
            (told.index, &*told.name, told.master),
            (7, "eth1.120", Some(9))
        );
    }
}
