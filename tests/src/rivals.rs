//! Two policies that differ in hosts, zones and source tables at once, so that no mixture of them goes unseen.
//!
//! Both protect the same service for one source that may always come, and against one that may never. But the host that has the service
//! changes places with a decoy that lets in whom the service does not. So the service's source table under one policy is the decoy's
//! under the other: hosts of one with tables of the other give, on every packet, a verdict that neither gives.

use std::net::IpAddr;

use crate::{frames::Frame, link::Mac, traffic::Stream};

/// One of the two policies, by the client that it lets reach the service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rival {
    /// The client behind `eth1`.
    One,
    /// The client behind `eth2`.
    Two,
}

impl Rival {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::One => Self::Two,
            Self::Two => Self::One,
        }
    }

    /// The policy's text. Both its lists also have `more` entries.
    #[must_use]
    pub fn policy(self, more: &str) -> String {
        let (here, there) = match self {
            Self::One => ("vpc-one", "vpc-two"),
            Self::Two => ("vpc-two", "vpc-one"),
        };
        let service = ("service", SERVICE, here, ALWAYS);
        let decoy = ("decoy", DECOY, there, NEVER);
        let hosts = match self {
            Self::One => [service, decoy],
            Self::Two => [decoy, service],
        };
        let hosts = hosts.map(|(name, addresses, vpc, sources)| {
            let [v4, v6] = sources;
            format!(
                "[[host]]\nname = \"{name}\"\naddresses = {addresses:?}\n\
                 allow = [\"vpc:{vpc}\", \"{v4}\", \"{v6}\"{more}]\n"
            )
        });
        let vpcs = [("vpc-one", "eth1"), ("vpc-two", "eth2")].map(|(id, interface)| {
            format!(
                "[[vpc]]\nid = \"{id}\"\ncidrs = {SOMETIMES:?}\ninterfaces = [\"{interface}\"]\n"
            )
        });
        ["version = 1\n".to_owned(), hosts.concat(), vpcs.concat()].concat()
    }
}

/// One frame of each stream in each family.
#[must_use]
pub fn round(source: Mac, destination: Mac) -> Vec<(Stream, Frame)> {
    [0, 1]
        .into_iter()
        .flat_map(|family| {
            [
                (Stream::Sometimes, SOMETIMES[family]),
                (Stream::Never, NEVER[family]),
                (Stream::Always, ALWAYS[family]),
            ]
            .map(|(stream, from)| (stream, frame(from, SERVICE[family])))
        })
        .map(|(stream, frame)| (stream, frame.macs(source.0, destination.0)))
        .collect()
}

fn frame(from: &str, to: &str) -> Frame {
    Frame::ip(address(from), address(to)).udp(40_000, 443)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The protected address of each family.
const SERVICE: [&str; 2] = ["198.51.100.10", "2001:db8::10"];
const DECOY: [&str; 2] = ["198.51.100.20", "2001:db8::20"];
/// One source behind both interfaces: only the zone keeps the two apart.
const SOMETIMES: [&str; 2] = ["10.0.0.1", "fd00::1"];
const ALWAYS: [&str; 2] = ["192.0.2.1", "2001:db8:1::1"];
const NEVER: [&str; 2] = ["192.0.2.66", "2001:db8:1::66"];
