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
    overlaps(
        vpcs,
        |vpc| !vpc.is_public(),
        |earlier, later, cidr| {
            check_pair(vpcs, names, (earlier, later), cidr, problems);
        },
    );
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

/// Calls `found` once for each two of the chosen VPCs with ranges that overlap, the earlier one first.
pub(in super::super) fn overlaps(
    vpcs: &[Vpc],
    chosen: impl Fn(&Vpc) -> bool,
    mut found: impl FnMut(usize, usize, IpNetwork),
) {
    let mut seen = HashSet::new();
    let mut once = |a: usize, b: usize, cidr: IpNetwork| {
        let pair = (a.min(b), a.max(b));
        if seen.insert(pair) {
            found(pair.0, pair.1, cidr);
        }
    };
    let numbered = || vpcs.iter().enumerate().filter(|(_, vpc)| chosen(vpc));
    let mut v4 = owned(numbered().map(|(number, vpc)| (number, vpc.cidrs.v4.as_slice())));
    let mut v6 = owned(numbered().map(|(number, vpc)| (number, vpc.cidrs.v6.as_slice())));
    overlaps_of(&mut v4, &mut once);
    overlaps_of(&mut v6, &mut once);
}

/// Each prefix with the number of its VPC.
fn owned<'a, A: Address>(
    vpcs: impl Iterator<Item = (usize, &'a [Prefix<A>])>,
) -> Vec<(Prefix<A>, usize)> {
    vpcs.flat_map(|(number, prefixes)| prefixes.iter().map(move |prefix| (*prefix, number)))
        .collect()
}

/// Calls `found` for each prefix that lies in one of another VPC.
fn overlaps_of<A: Address>(
    prefixes: &mut [(Prefix<A>, usize)],
    found: &mut impl FnMut(usize, usize, IpNetwork),
) where
    IpNetwork: From<Prefix<A>>,
{
    prefixes.sort_unstable();
    // INVARIANT: each prefix of this stack covers those above it, and each VPC has at most one.
    let mut around: Vec<(Prefix<A>, usize)> = Vec::new();
    for &(prefix, vpc) in &*prefixes {
        while around.pop_if(|(outer, _)| !outer.covers(prefix)).is_some() {}
        for &(_, other) in around.iter().filter(|(_, other)| *other != vpc) {
            found(vpc, other, prefix.into());
        }
        if around.iter().all(|(_, other)| *other != vpc) {
            around.push((prefix, vpc));
        }
    }
}

/// Reports two VPCs whose ranges overlap, if they have a claim in common.
fn check_pair(
    vpcs: &[Vpc],
    names: &Names<'_>,
    (earlier, later): (usize, usize),
    cidr: IpNetwork,
    problems: &mut Problems,
) {
    let (Some(other), Some(vpc)) = (vpcs.get(earlier), vpcs.get(later)) else {
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
        report(fault, later, Some(earlier), names, problems);
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
