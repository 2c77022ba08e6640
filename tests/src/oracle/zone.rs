//! The zone a packet belongs to, and which VPCs are members of it.

use super::Ingress;
use crate::model::{Model, Vpc};

/// The zone of a packet: the claim that it belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Zone {
    /// An interface, whatever the VLAN.
    Interface(String),
    /// An interface and a VLAN.
    InterfaceAndVlan(String, u16),
    /// No claim fits.
    Public,
    /// A VLAN on any interface.
    Vlan(u16),
}

/// The zone of a packet that came in at `ingress` with `vlan`.
///
/// Reading: the kind of claim comes first, and of two claims of the same kind the one on the member goes before the one on its bond.
#[must_use]
pub fn zone_of(policy: &Model, ingress: &Ingress, vlan: Option<u16>) -> Zone {
    let interfaces: Vec<_> = [Some(&ingress.interface), ingress.bond.as_ref()]
        .into_iter()
        .flatten()
        .collect();
    let mut candidates = Vec::new();
    if let Some(vlan) = vlan {
        for interface in &interfaces {
            candidates.push(Zone::InterfaceAndVlan((*interface).clone(), vlan));
        }
    }
    for interface in &interfaces {
        candidates.push(Zone::Interface((*interface).clone()));
    }
    if let Some(vlan) = vlan {
        candidates.push(Zone::Vlan(vlan));
    }
    let is_claimed = |zone: &Zone| policy.vpcs().any(|vpc| claims(vpc).contains(zone));
    candidates
        .into_iter()
        .find(is_claimed)
        .unwrap_or(Zone::Public)
}

/// The zones that a VPC claims; none if it claims nothing.
#[must_use]
pub fn claims(vpc: &Vpc) -> Vec<Zone> {
    let mut zones = Vec::new();
    if vpc.interfaces.is_empty() {
        zones.extend(vpc.vlans.iter().map(|vlan| Zone::Vlan(*vlan)));
    }
    for interface in &vpc.interfaces {
        if vpc.vlans.is_empty() {
            zones.push(Zone::Interface(interface.clone()));
        }
        for vlan in &vpc.vlans {
            zones.push(Zone::InterfaceAndVlan(interface.clone(), *vlan));
        }
    }
    zones
}

pub(super) fn is_member(vpc: &Vpc, zone: &Zone) -> bool {
    let claims = claims(vpc);
    if claims.is_empty() {
        *zone == Zone::Public
    } else {
        claims.contains(zone)
    }
}
