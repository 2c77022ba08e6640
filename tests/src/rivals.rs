//! Two policies that differ in hosts, zones and source tables at once, so that no mixture of them goes unseen.
//!
//! Both protect the same service for one source that may always come, and against one that may never. But the host that has the service
//! changes places with a decoy that lets in whom the service does not. So the service's source table under one policy is the decoy's
//! under the other: hosts of one with tables of the other give, on every packet, a verdict that neither gives.

use std::{net::IpAddr, time::Instant};

use anyhow::{Result, ensure};

use crate::{
    frames::Frame,
    link::Mac,
    traffic::{Fate, Record, Stream},
    wire::Wire,
};

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

    /// The policy's text.
    #[must_use]
    pub fn policy(self) -> String {
        self.policy_and("")
    }

    /// The policy's text, with entries at the end of both allow lists: each begins with a comma.
    #[must_use]
    pub fn policy_and(self, more: &str) -> String {
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

/// A reload from one rival to the other, as the one who asks for it sees it.
#[derive(Clone, Copy, Debug)]
pub struct Flip {
    /// Before it was asked for.
    pub asked: Instant,
    /// After it was said to be in force.
    pub confirmed: Instant,
}

/// A change of the verdict: the last frame of the old policy, and the first of the new one.
#[derive(Clone, Copy, Debug)]
pub struct Switch {
    /// Judged by the old policy.
    pub old: Fate,
    /// Judged by the new policy.
    pub new: Fate,
}

/// Follows the frames of a client, of both families in their order, through reloads that began from [`Rival::One`].
///
/// Fails unless each reload is one step, and that within its time.
pub fn switches(record: &Record, client: Rival, flips: &[Flip]) -> Result<Vec<Switch>> {
    let fates: Vec<Fate> = record.fates(Stream::Sometimes).collect();
    let judged_by = |fate: &Fate| {
        if fate.passed { client } else { client.other() }
    };
    ensure!(fates.first().map(judged_by) == Some(Rival::One));
    let switches: Vec<Switch> = fates
        .iter()
        .zip(&fates[1..])
        .filter(|(old, new)| judged_by(old) != judged_by(new))
        .map(|(old, new)| Switch {
            old: *old,
            new: *new,
        })
        .collect();
    ensure!(
        switches.len() == flips.len(),
        "client {client:?}: {} reloads, but {} changes of the verdict",
        flips.len(),
        switches.len()
    );
    for (number, (flip, switch)) in flips.iter().zip(&switches).enumerate() {
        ensure!(
            switch.old.after <= flip.confirmed,
            "client {client:?}, reload {number}: a packet sees the old policy {:?} after the new one was confirmed",
            switch.old.after - flip.confirmed
        );
        ensure!(
            switch.new.before >= flip.asked,
            "client {client:?}, reload {number}: a packet sees the new policy {:?} before it was asked for",
            flip.asked - switch.new.before
        );
    }
    Ok(switches)
}

/// Which policy judges, on both clients' wires and for both families alike.
///
/// Fails if it is a mixture, or none.
pub fn enforced(one: &Wire, two: &Wire) -> Result<Rival> {
    let mut seen = Vec::new();
    for (client, wire) in [(Rival::One, one), (Rival::Two, two)] {
        for (stream, frame) in round(wire.macs()) {
            let passed = wire.passes(&frame.to_bytes())?;
            match stream {
                Stream::Always => ensure!(passed, "client {client:?}: always allowed, but dropped"),
                Stream::Never => ensure!(!passed, "client {client:?}: never allowed, but passed"),
                Stream::Sometimes => seen.push(if passed { client } else { client.other() }),
            }
        }
    }
    ensure!(
        seen.iter().all(|rival| *rival == seen[0]),
        "a mixture is enforced: {seen:?}"
    );
    Ok(seen[0])
}

/// One frame of each stream in each family, between these MAC addresses.
#[must_use]
pub fn round([source, destination]: [Mac; 2]) -> Vec<(Stream, Frame)> {
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
