//! What VPCs claim, checked against each other.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ipnetwork::IpNetwork;

use super::super::limits::{CLAIMS, Limit, ZONES};
use super::super::{Claim, Fault, Problem, Problems, Vpc};
use super::names::Names;
use crate::prefix::{Address, Prefix};

/// Reports limits that are reached, and VPCs that make the same claim with ranges that overlap.
pub(super) fn check(vpcs: &[Vpc], names: &Names<'_>, problems: &mut Problems) {
    if let Some((index, limit)) = over_limit(vpcs) {
        report(limit.into(), index, None, names, problems);
        return;
    }
    let mut pairs = Pairs {
        vpcs,
        names,
        seen: HashSet::new(),
    };
    let mut v4 = claimed(vpcs, |vpc| &vpc.cidrs.v4);
    let mut v6 = claimed(vpcs, |vpc| &vpc.cidrs.v6);
    overlaps(&mut v4, |vpc, other, prefix| {
        pairs.check(vpc, other, prefix.into(), problems);
    });
    overlaps(&mut v6, |vpc, other, prefix| {
        pairs.check(vpc, other, prefix.into(), problems);
    });
}

/// The first VPC that is over a limit.
fn over_limit(vpcs: &[Vpc]) -> Option<(usize, Limit)> {
    let mut count = 0usize;
    for (index, vpc) in vpcs.iter().enumerate() {
        count = count.saturating_add(vpc.claim_count());
        if count > CLAIMS {
            return Some((index, Limit::Claims));
        }
    }
    let last = vpcs.iter().rposition(|vpc| !vpc.is_public())?;
    (zone_count(vpcs) > ZONES).then_some((last, Limit::Zones))
}

/// Zones, the public one included. Claims with the same members are one zone.
fn zone_count(vpcs: &[Vpc]) -> usize {
    let mut members: BTreeMap<Claim<'_>, Vec<usize>> = BTreeMap::new();
    for (index, vpc) in vpcs.iter().enumerate() {
        for claim in vpc.claims() {
            members.entry(claim).or_default().push(index);
        }
    }
    1 + members.into_values().collect::<BTreeSet<_>>().len()
}

/// The prefixes of each VPC that claims something.
fn claimed<A: Address>(
    vpcs: &[Vpc],
    prefixes: impl Fn(&Vpc) -> &Vec<Prefix<A>>,
) -> Vec<(Prefix<A>, usize)> {
    let claiming = vpcs.iter().enumerate().filter(|(_, vpc)| !vpc.is_public());
    claiming
        .flat_map(|(index, vpc)| prefixes(vpc).iter().map(move |prefix| (*prefix, index)))
        .collect()
}

/// Calls `found` for each prefix that lies in one of another VPC.
fn overlaps<A: Address>(
    prefixes: &mut [(Prefix<A>, usize)],
    mut found: impl FnMut(usize, usize, Prefix<A>),
) {
    prefixes.sort_unstable();
    // INVARIANT: each prefix of this stack covers those above it, and each VPC has at most one.
    let mut around: Vec<(Prefix<A>, usize)> = Vec::new();
    for &(prefix, vpc) in &*prefixes {
        while around.pop_if(|(outer, _)| !outer.covers(prefix)).is_some() {}
        for &(_, other) in around.iter().filter(|(_, other)| *other != vpc) {
            found(vpc, other, prefix);
        }
        if around.iter().all(|(_, other)| *other != vpc) {
            around.push((prefix, vpc));
        }
    }
}

/// Pairs of VPCs with ranges that overlap.
struct Pairs<'a> {
    vpcs: &'a [Vpc],
    names: &'a Names<'a>,
    seen: HashSet<(usize, usize)>,
}

impl Pairs<'_> {
    /// Reports the pair once, if it has a claim in common.
    fn check(&mut self, a: usize, b: usize, cidr: IpNetwork, problems: &mut Problems) {
        let (earlier, later) = (a.min(b), a.max(b));
        if !self.seen.insert((earlier, later)) {
            return;
        }
        let (Some(other), Some(vpc)) = (self.vpcs.get(earlier), self.vpcs.get(later)) else {
            return;
        };
        let claims: HashSet<Claim<'_>> = other.claims().collect();
        let shared = vpc.claims().find(|claim| claims.contains(claim));
        if let Some(claim) = shared {
            let fault = Fault::ClaimOverlap {
                vpc: vpc.id.to_string(),
                other: other.id.to_string(),
                claim: claim.to_string(),
                cidr,
            };
            report(fault, later, Some(earlier), self.names, problems);
        }
    }
}

fn report(
    fault: Fault,
    at: usize,
    other: Option<usize>,
    names: &Names<'_>,
    problems: &mut Problems,
) {
    let Some(at) = names.place(at) else { return };
    let problem = Problem::new(fault, at.clone());
    let other = other.and_then(|other| names.place(other)).cloned();
    problems.add(|| Problem { other, ..problem });
}
