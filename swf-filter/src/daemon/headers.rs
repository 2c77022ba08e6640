//! VLAN, addresses and ports of a frame's first bytes, read by the parser that the kernel program uses.

use std::net::IpAddr;

use swf_filter_common::frame::{self, Network, Transport, TransportKind, UNKNOWN_PROTOCOL};

/// What could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) vlan: Option<u16>,
    pub(super) source: Option<IpAddr>,
    pub(super) destination: Option<IpAddr>,
    pub(super) protocol: Option<u8>,
    pub(super) source_port: Option<u16>,
    pub(super) destination_port: Option<u16>,
}

/// Reads the start of a frame.
pub(super) fn read(head: &[u8]) -> Headers {
    let Ok(link) = frame::link(head) else {
        return Headers::default();
    };
    let seen = match link.network {
        Network::V4 => frame::header_v4(head, link).ok().map(|header| {
            Headers::new(
                IpAddr::V4(header.source.into()),
                IpAddr::V4(header.destination.into()),
                frame::transport_v4(head),
            )
        }),
        Network::V6 => frame::header_v6(head, link).ok().map(|header| {
            Headers::new(
                IpAddr::V6(u128::from(header.source).into()),
                IpAddr::V6(u128::from(header.destination).into()),
                frame::transport_v6(head),
            )
        }),
        Network::Other => None,
    };
    Headers {
        vlan: (link.vlan != 0).then_some(link.vlan),
        ..seen.unwrap_or_default()
    }
}

impl Headers {
    fn new(source: IpAddr, destination: IpAddr, transport: Transport) -> Self {
        let has_ports = transport.kind == TransportKind::Ports;
        Self {
            vlan: None,
            source: Some(source),
            destination: Some(destination),
            protocol: (transport.protocol != UNKNOWN_PROTOCOL).then_some(transport.protocol),
            source_port: has_ports.then_some(transport.source_port),
            destination_port: has_ports.then_some(transport.destination_port),
        }
    }
}
