//! What a request can show of the network that it comes from, and what conditions make of it.

use std::collections::HashSet;

use crate::iam::addresses::{AddressSet, Ranges};
use crate::iam::condition::{Condition, Sense, Test, TextForm, Values};
use crate::iam::key::{self, Presence};
use crate::iam::{ArnPattern, Context, Pattern};
use crate::policy::{Policy, Vpc};
use crate::prefix::{Prefix, PrefixList};

use super::known::{Known, Value};
use crate::compile::zone::Zone;

/// One way in which requests from some sources of a zone can look.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    /// The sources.
    pub(super) sources: AddressSet,
    network: Network<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Network<'a> {
    Public,
    Vpc { id: &'a str, endpoint: Endpoint<'a> },
}

#[derive(Clone, Copy, Debug)]
enum Endpoint<'a> {
    /// It is not told.
    Missing,
    /// It is this one.
    Known(&'a str),
    /// It may be any, or not told: the policy names none of the VPC's endpoints.
    Unknown,
}

/// From where a statement's conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// From where they hold for some request.
    pub(super) possible: AddressSet,
    /// From where they hold for every request.
    pub(super) sure: AddressSet,
}

/// The ways in which requests can come out of a zone.
pub(super) fn views<'a>(policy: &'a Policy, zone: &Zone) -> Vec<View<'a>> {
    let ids: HashSet<&str> = zone.vpcs.iter().map(|id| &**id).collect();
    let members: Vec<&Vpc> = policy
        .vpcs
        .iter()
        .filter(|vpc| ids.contains(&*vpc.id))
        .collect();
    let own: Vec<AddressSet> = members
        .iter()
        .map(|vpc| AddressSet::of(&vpc.cidrs))
        .collect();
    let outside = AddressSet::union(&own).complement();
    let several = members.len() > 1;
    let mut views = Vec::new();
    for (vpc, own) in members.into_iter().zip(own) {
        let sources = if zone.public {
            own.clone()
        } else {
            // What comes in where only VPCs are is from one of them, whatever its address.
            AddressSet::union([&own, &outside])
        };
        let named = vpc
            .endpoints
            .iter()
            .map(|endpoint| Endpoint::Known(endpoint));
        // Of a single one, it goes without saying.
        let unnamed = match vpc.endpoints.len() {
            0 => Some(Endpoint::Unknown),
            1 => None,
            _ => Some(Endpoint::Missing),
        };
        views.extend(named.chain(unnamed).map(|endpoint| View {
            sources: match endpoint {
                // Neither address nor endpoint tells which VPC it is from.
                Endpoint::Missing if several => own.clone(),
                _ => sources.clone(),
            },
            network: Network::Vpc {
                id: &vpc.id,
                endpoint,
            },
        }));
    }
    if zone.public {
        views.push(View {
            sources: outside,
            network: Network::Public,
        });
    }
    views
}

impl View<'_> {
    /// Whether requests do not come out of a VPC.
    pub(super) fn is_public(&self) -> bool {
        matches!(self.network, Network::Public)
    }

    /// From where all of `conditions` hold.
    pub(super) fn reach(&self, conditions: &[Condition], known: Known<'_>) -> Reach {
        let mut whole = Reach::always(true);
        for condition in conditions {
            let part = self.reach_of(condition, known);
            whole = Reach {
                possible: whole.possible.intersection(&part.possible),
                sure: whole.sure.intersection(&part.sure),
            };
        }
        whole
    }

    fn reach_of(&self, condition: &Condition, known: Known<'_>) -> Reach {
        let single = |value: Option<&str>| {
            if value.is_none() || !has_variables(&condition.values) {
                Reach::always(condition.holds_for(value.into_iter(), &Context::default()))
            } else {
                Reach::unknown()
            }
        };
        match (condition.key.name(), self.network) {
            (key::SOURCE_IP, Network::Public) | (key::VPC_SOURCE_IP, Network::Vpc { .. }) => {
                by_address(condition)
            }
            (key::SOURCE_VPC, Network::Vpc { id, .. }) => single(Some(id)),
            (
                key::SOURCE_VPCE,
                Network::Vpc {
                    endpoint: Endpoint::Known(endpoint),
                    ..
                },
            ) => single(Some(endpoint)),
            (
                key::SOURCE_VPCE,
                Network::Vpc {
                    endpoint: Endpoint::Unknown,
                    ..
                },
            ) => Reach::unknown(),
            (
                key::SOURCE_VPCE,
                Network::Vpc {
                    endpoint: Endpoint::Missing,
                    ..
                },
            ) => single(None),
            (key::SOURCE_IP, Network::Vpc { .. })
            | (key::SOURCE_VPC | key::SOURCE_VPCE | key::VPC_SOURCE_IP, Network::Public) => {
                single(None)
            }
            _ if condition.key.presence() == Presence::Never => single(None),
            (key, _) => match known.value(key) {
                Value::Is(value) => single(Some(value)),
                Value::Missing => single(None),
                Value::Open => Reach::unknown(),
            },
        }
    }
}

impl Reach {
    fn always(holds: bool) -> Self {
        Self::exactly(AddressSet::all_if(holds))
    }

    fn exactly(set: AddressSet) -> Self {
        Self {
            possible: set.clone(),
            sure: set,
        }
    }

    fn unknown() -> Self {
        Self {
            possible: AddressSet::all(),
            sure: AddressSet::default(),
        }
    }
}

/// From where a condition on the source address holds, which is there and single.
fn by_address(condition: &Condition) -> Reach {
    let matched = match (&condition.values, condition.operator.test) {
        (Values::Addresses(set), _) => set.clone(),
        (Values::Missing(wanted), _) => AddressSet::all_if(wanted.contains(&false)),
        (Values::Texts(patterns), Test::Text(form, _)) => match texts(patterns, form) {
            Some(set) => set,
            None => return Reach::unknown(),
        },
        _ => return Reach::unknown(),
    };
    Reach::exactly(match condition.operator.test.sense() {
        Sense::Plain => matched,
        Sense::Negated => matched.complement(),
    })
}

/// The addresses that read like one of `patterns`, if that can be told.
fn texts(patterns: &[Pattern], form: TextForm) -> Option<AddressSet> {
    let mut list = PrefixList::default();
    for pattern in patterns {
        if form == TextForm::Like && pattern.matches_all() {
            return Some(AddressSet::all());
        }
        let text = pattern.as_literal()?;
        match text.parse() {
            // An address is written in one way only, which has no capitals.
            Ok(std::net::IpAddr::V4(address)) if address.to_string() == text => {
                list.v4.push(Prefix::containing(address.to_bits(), 32));
            }
            Ok(std::net::IpAddr::V6(address)) if address.to_string() == text => {
                list.v6.push(Prefix::containing(address.to_bits(), 128));
            }
            _ => {}
        }
    }
    Some(AddressSet {
        v4: Ranges::of(&list.v4),
        v6: Ranges::of(&list.v6),
    })
}

fn has_variables(values: &Values) -> bool {
    match values {
        Values::Arns(patterns) => patterns
            .iter()
            .flat_map(ArnPattern::variables)
            .next()
            .is_some(),
        Values::Texts(patterns) => patterns
            .iter()
            .flat_map(Pattern::variables)
            .next()
            .is_some(),
        _ => false,
    }
}
