//! The pairs of interface and VLAN that VPCs claim. `docs/policy.md`, "Zones", has the rules.

use std::fmt;

use super::Vpc;

/// A pair of interface and VLAN; what is not named may be anything. At least one of the two is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim<'a> {
    /// The interface that packets arrive on.
    pub interface: Option<&'a str>,
    /// The VLAN that they carry.
    pub vlan: Option<u16>,
}

impl fmt::Display for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.interface, self.vlan) {
            (Some(interface), Some(vlan)) => write!(f, "interface `{interface}` with VLAN {vlan}"),
            (Some(interface), None) => write!(f, "interface `{interface}`"),
            (None, Some(vlan)) => write!(f, "VLAN {vlan}"),
            (None, None) => f.write_str("nothing"),
        }
    }
}

impl Vpc {
    /// Each of its interfaces with each of its VLANs. None if it names neither: it is a member of the public zone.
    pub fn claims(&self) -> impl Iterator<Item = Claim<'_>> {
        let interfaces = or_any(self.interfaces.iter().map(|name| &**name).collect());
        let vlans = or_any(self.vlans.clone());
        interfaces
            .into_iter()
            .flat_map(move |interface| {
                vlans
                    .clone()
                    .into_iter()
                    .map(move |vlan| Claim { interface, vlan })
            })
            .filter(|claim| claim.interface.is_some() || claim.vlan.is_some())
    }

    /// How many claims there are.
    #[must_use]
    pub fn claim_count(&self) -> usize {
        match (self.interfaces.len(), self.vlans.len()) {
            (count, 0) | (0, count) => count,
            (interfaces, vlans) => interfaces.saturating_mul(vlans),
        }
    }

    /// Whether it claims nothing, and so is a member of the public zone.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.claim_count() == 0
    }
}

fn or_any<T>(named: Vec<T>) -> Vec<Option<T>> {
    if named.is_empty() {
        vec![None]
    } else {
        named.into_iter().map(Some).collect()
    }
}
