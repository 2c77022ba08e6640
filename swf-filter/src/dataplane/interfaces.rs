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
