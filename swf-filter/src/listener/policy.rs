//! The policy that the listener enforces: the daemon's, as long as there is a daemon, and else the last one.
//!
//! A policy comes as text, is read and compiled here as it was there, and takes effect whole. Until there is one, nobody is let in.

mod kept;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::Method;
use swf_filter_core::admission::{self, Admission, Entrance, Way};
use swf_filter_core::compile::{Generation, Zone, compile};
use swf_filter_core::judge::{self, Judge, Network};
use swf_filter_core::policy::{Entry, Policy, Source, Vpc};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{error, info, warn};

pub(super) use self::kept::{Doubts, Places};

use self::kept::{Keeper, Kept};
use super::arrival::Arrival;
use crate::control::api::{PolicyInfo, PolicyReport};
use crate::control::client::{self, AskError};
use crate::explain::to_hex;

/// Between two attempts to reach the daemon.
const PAUSE: Duration = Duration::from_secs(1);

/// A policy in force.
#[derive(Debug)]
pub(super) struct Enforced {
    pub(super) info: PolicyInfo,
    pub(super) policy: Policy,
    pub(super) generation: Generation,
    pub(super) judge: Judge,
    /// For each zone, the VPCs that it stands for, by their index.
    members: Box<[Box<[usize]>]>,
    /// Whether it compiles to what the daemon compiled it to.
    pub(super) agreement: Agreement,
}

/// Whether listener and daemon make the same of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    /// They do not: they are of different versions.
    Differ,
    /// They do.
    Same,
}

impl Enforced {
    fn new(report: &PolicyReport) -> Result<Self> {
        let policy = report.sources.read()?;
        let generation = compile(&policy)?;
        let agreement = if to_hex(&generation.hash().0) == report.info.hash {
            Agreement::Same
        } else {
            Agreement::Differ
        };
        Ok(Self {
            info: report.info.clone(),
            judge: Judge::new(&policy),
            members: members(&policy, &generation),
            policy,
            generation,
            agreement,
        })
    }

    /// The index of a host.
    pub(super) fn host(&self, name: &str) -> Option<usize> {
        self.policy
            .hosts
            .iter()
            .position(|host| *host.name == *name)
    }

    /// From where a connection comes in. None if it names an endpoint that no VPC has, or if it comes from a range of a VPC that
    /// is told by its interface, and there is no telling which interface that was.
    pub(super) fn entrance(&self, arrival: &Arrival) -> Option<Entrance> {
        let address = arrival.source();
        if let Some(endpoint) = arrival.endpoint() {
            let has = |vpc: &Vpc| vpc.endpoints.iter().any(|own| **own == *endpoint);
            let vpc = self.policy.vpcs.iter().position(has)?;
            return Some(Entrance::Endpoint { vpc, address });
        }
        // Whoever a proxy speaks for did not come in where the proxy's packets do.
        let zone = arrival.ways().map_or(Some(0), |ways| self.zone(&ways));
        if zone.is_none() && self.is_claimed(address) {
            return None;
        }
        let zone = zone.unwrap_or_default();
        Some(Entrance::Zone { zone, address })
    }

    /// The zone that all of these ways lead to. None if there are several, or no ways are known.
    fn zone(&self, ways: &[Way]) -> Option<usize> {
        let mut zones = ways
            .iter()
            .map(|way| admission::zone(&self.generation, way));
        let zone = zones.next()?;
        zones.all(|other| other == zone).then_some(zone)
    }

    /// Whether an address is in a range of a VPC that claims interfaces or VLANs.
    fn is_claimed(&self, address: IpAddr) -> bool {
        let mut claiming = self.policy.vpcs.iter().filter(|vpc| !vpc.is_public());
        claiming.any(|vpc| vpc.cidrs.longest(address).is_some())
    }

    /// Whether a connection may be there. None if it cannot be told where it comes in, or if who tells is not trusted any more.
    pub(super) fn admit(&self, host: usize, arrival: &Arrival) -> Option<Admission> {
        if arrival.is_proxied() && !self.trusts(host, arrival.peer().ip()) {
            return None;
        }
        let entrance = self.entrance(arrival)?;
        admission::admit(&self.policy, &self.generation, host, entrance)
    }

    /// What requests of a connection show of their network. None if it cannot be told which VPC they come from.
    pub(super) fn network<'a>(&'a self, arrival: &'a Arrival) -> Option<Network<'a>> {
        match self.entrance(arrival)? {
            Entrance::Endpoint { vpc, address } => {
                let Vpc { id, cidrs, .. } = self.policy.vpcs.get(vpc)?;
                Some(Network::Vpc {
                    id,
                    endpoint: arrival.endpoint(),
                    address: cidrs.longest(address).map(|_| address),
                })
            }
            Entrance::Zone { zone, address } => {
                let public = self.generation.zones.get(zone)?.public;
                let members = self.members.get(zone)?.iter();
                let members: Vec<&Vpc> = members
                    .filter_map(|&vpc| self.policy.vpcs.get(vpc))
                    .collect();
                judge::network(&members, public, address, None)
            }
        }
    }

    /// Whether an address is one of a host's trusted proxies.
    pub(super) fn trusts(&self, host: usize, proxy: IpAddr) -> bool {
        let is_proxy = |entry: &Entry| match &entry.source {
            Source::Prefixes(prefixes) => prefixes.longest(proxy).is_some(),
            // `trusted_proxies` takes neither.
            Source::Set(_) | Source::Vpc(_) => false,
        };
        let host = self.policy.hosts.get(host);
        host.is_some_and(|host| host.trusted_proxies.iter().any(is_proxy))
    }
}

/// For each zone, the VPCs that it stands for. Requests do not look for them: there may be thousands.
fn members(policy: &Policy, generation: &Generation) -> Box<[Box<[usize]>]> {
    let ids = policy.vpcs.iter().map(|vpc| &vpc.id).zip(0..);
    let indices: HashMap<_, usize> = ids.collect();
    let of_zone = |zone: &Zone| {
        let ids = zone.vpcs.iter();
        ids.filter_map(|id| indices.get(id).copied()).collect()
    };
    generation.zones.iter().map(of_zone).collect()
}

/// What is known of the daemon's policy.
pub(super) type Current = watch::Receiver<Option<Arc<Enforced>>>;

/// Starts with the last policy that was enforced here, and follows the daemon for ever. Tells, too, what is doubtful about the one on
/// disk.
///
/// The last policy is in force when this returns, so that who connects right after a restart is not turned away.
pub(super) async fn follow(
    socket: Arc<Path>,
    places: Places,
) -> (Current, watch::Receiver<Doubts>) {
    let keeper = Keeper::start(places);
    let (sender, current) = watch::channel(start(&keeper).await);
    let doubts = keeper.doubts();
    tokio::spawn(async move {
        let mut is_away = false;
        loop {
            let Err(error) = follow_daemon(&socket, &keeper, &sender).await;
            if !is_away || error.is::<Left>() {
                warn!("the daemon is away, the last policy stays in force: {error:#}");
            }
            is_away = true;
            sleep(PAUSE).await;
        }
    });
    (current, doubts)
}

/// The policy to start with.
async fn start(keeper: &Keeper) -> Option<Arc<Enforced>> {
    let kept = Arc::new(keeper.load().await?);
    let read = Arc::clone(&kept);
    let enforced = spawn_blocking(move || Enforced::new(&read.report)).await;
    match enforced.map_err(Into::into).flatten() {
        Ok(enforced) => {
            keeper.mark(&kept).await;
            Some(Arc::new(enforced))
        }
        Err(error) => {
            keeper.refuse(&error);
            None
        }
    }
}

/// The daemon was there, and is not any more.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Left(AskError);

/// Enforces what the daemon tells, until it ends.
async fn follow_daemon(
    socket: &Path,
    keeper: &Keeper,
    sender: &watch::Sender<Option<Arc<Enforced>>>,
) -> Result<Infallible> {
    let mut lines = client::follow(socket, "/v1/generations").await?;
    loop {
        let info: PolicyInfo = lines.next().await.map_err(Left)?;
        if is_enforced(sender, &info) {
            keeper.told();
            continue;
        }
        let bytes = client::ask(socket, Method::GET, "/v1/policy", &()).await?;
        match spawn_blocking(move || take(&bytes)).await? {
            Ok((enforced, kept)) => {
                keeper.mark(&kept).await;
                keeper.keep(kept).await;
                info!(generation = enforced.info.generation, "new policy in force");
                sender.send_replace(Some(Arc::new(enforced)));
                keeper.told();
            }
            Err(error) => error!(
                generation = info.generation,
                "the daemon's policy cannot be enforced, the last one stays in force: {error:#}"
            ),
        }
    }
}

fn is_enforced(sender: &watch::Sender<Option<Arc<Enforced>>>, info: &PolicyInfo) -> bool {
    let current = sender.borrow();
    current
        .as_ref()
        .is_some_and(|current| current.info == *info)
}

fn take(json: &[u8]) -> Result<(Enforced, Arc<Kept>)> {
    let report: PolicyReport = serde_json::from_slice(json).context("it cannot be read")?;
    let enforced = Enforced::new(&report)?;
    Ok((enforced, Arc::new(Kept::now(report))))
}

#[cfg(test)]
pub(in crate::listener) mod tests;
