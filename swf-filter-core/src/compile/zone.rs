//! Zones: which VPCs' packets may come in where.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::TooLarge;
use crate::policy::limits::{self, Limit};
use crate::policy::{Claim, Policy};

/// Where a packet can come from: the set of VPCs whose packets come in there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Members, in the order of the policy.
    pub vpcs: Vec<Arc<str>>,
    /// Whether this is the public zone.
    pub public: bool,
}

impl Zone {
    /// How it is called in reports.
    #[must_use]
    pub fn name(&self) -> String {
        if self.public {
            "public".to_owned()
        } else {
            self.vpcs.join("+")
        }
    }
}

/// A way into a zone: a pair of interface and VLAN that VPCs claim. What is not named may be anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingress {
    /// The interface that packets arrive on.
    pub interface: Option<Arc<str>>,
    /// The VLAN that they carry.
    pub vlan: Option<u16>,
    /// The zone, as an index.
    pub zone: u16,
}

/// The zones of a policy, the public one first, and the ways into them. Claims with the same members share a zone.
pub(super) fn zones(policy: &Policy) -> Result<(Vec<Zone>, Vec<Ingress>), TooLarge> {
    let mut members: BTreeMap<Claim<'_>, Vec<Arc<str>>> = BTreeMap::new();
    let mut unclaimed = Vec::new();
    for vpc in &policy.vpcs {
        if vpc.is_public() {
            unclaimed.push(Arc::clone(&vpc.id));
        }
        for claim in vpc.claims() {
            members.entry(claim).or_default().push(Arc::clone(&vpc.id));
        }
    }
    if members.len() > limits::CLAIMS {
        return Err(TooLarge {
            limit: Limit::Claims,
        });
    }
    let mut zones = vec![Zone {
        vpcs: unclaimed,
        public: true,
    }];
    let mut ingresses = Vec::with_capacity(members.len());
    for (claim, vpcs) in members {
        let known = zones
            .iter()
            .position(|zone| !zone.public && zone.vpcs == vpcs);
        let number = known.unwrap_or_else(|| {
            zones.push(Zone {
                vpcs,
                public: false,
            });
            zones.len() - 1
        });
        let zone = u16::try_from(number).map_err(|_| TooLarge {
            limit: Limit::Zones,
        })?;
        ingresses.push(Ingress {
            interface: claim.interface.map(Into::into),
            vlan: claim.vlan,
            zone,
        });
    }
    if zones.len() > limits::ZONES {
        return Err(TooLarge {
            limit: Limit::Zones,
        });
    }
    Ok((zones, ingresses))
}
