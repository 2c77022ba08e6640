//! Requests to hosts, judged by the documents of a policy.
//!
//! [`Judge`] is made once for a policy, and shared by all requests. It knows callers by their ARN only; that a request
//! really is theirs has to be made sure before.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::iam::authorize::{Decision, Index, Policies, Request, authorize};
use crate::iam::principal::{Caller, CallerKind};
use crate::iam::{Context, arn};
use crate::policy::{Host, HostDocuments, Identity, Policy, Vpc};
use crate::swf::Action;

/// The documents of a policy, ready to judge requests.
#[derive(Debug, Default)]
pub struct Judge {
    /// By the ARN of the user or role.
    identities: HashMap<Arc<str>, Known>,
    /// Organizations of accounts.
    organizations: HashMap<Arc<str>, Arc<str>>,
    /// Whether anybody whom documents name may exist.
    roster: Roster,
    /// In the order of the policy's hosts.
    hosts: Vec<Option<Attached>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Roster {
    /// There are the users and roles of the policy, and no others.
    Closed,
    /// No principals are configured.
    #[default]
    Open,
}

#[derive(Debug)]
struct Known {
    identity: Identity,
    policies: Index,
    boundary: Option<Index>,
}

#[derive(Debug)]
struct Attached {
    documents: HostDocuments,
    policies: Index,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network<'a> {
    /// From an address of the public network.
    Public(IpAddr),
    /// Through an endpoint of a VPC, from an address in it.
    Vpc {
        /// The VPC.
        id: &'a str,
        /// The endpoint, if it is known.
        endpoint: Option<&'a str>,
        /// The address.
        address: IpAddr,
    },
}

/// Why a request is not even judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// What it is about is no domain of SWF.
    #[error("`{arn}` is not the ARN of an SWF domain")]
    NotDomain {
        /// The ARN.
        arn: String,
    },
    /// The host has no documents.
    #[error("no policy document judges requests to this host")]
    NoDocuments,
    /// The caller is none of those that the policy has.
    #[error("no user or role of the policy is `{arn}`")]
    UnknownCaller {
        /// The ARN.
        arn: String,
    },
}

impl Judge {
    /// Takes the documents out of a policy.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let principals = &policy.principals;
        let known = principals
            .users
            .iter()
            .chain(&principals.roles)
            .map(|identity| {
                let known = Known {
                    identity: identity.clone(),
                    policies: Index::new(identity.policies.clone()),
                    boundary: identity
                        .boundary
                        .clone()
                        .map(|boundary| Index::new(vec![boundary])),
                };
                (Arc::clone(&identity.arn), known)
            });
        let organizations = principals.accounts.iter().filter_map(|account| {
            Some((
                Arc::clone(&account.id),
                Arc::clone(account.organization.as_ref()?),
            ))
        });
        let attached = policy.hosts.iter().map(|host: &Host| {
            let documents = host.documents.clone()?;
            Some(Attached {
                policies: Index::new(documents.policies.clone()),
                documents,
            })
        });
        Self {
            identities: known.collect(),
            organizations: organizations.collect(),
            roster: if principals.accounts.is_empty() {
                Roster::Open
            } else {
                Roster::Closed
            },
            hosts: attached.collect(),
        }
    }

    /// The ARN of a domain behind a host, given by its index, as `caller` asks for it.
    ///
    /// Where the host's account is not known, it is taken to be the caller's.
    #[must_use]
    pub fn domain(&self, host: usize, caller: &Caller, name: &str) -> Option<String> {
        let documents = &self.host(host)?.documents;
        Some(arn::domain(
            documents.region.as_deref().unwrap_or(DEFAULT_REGION),
            documents.account.as_ref().unwrap_or(caller.account()),
            name,
        ))
    }

    /// What is known of every request of `caller` to a host.
    #[must_use]
    pub fn context(&self, host: usize, caller: &Caller, network: Network<'_>) -> Context {
        let mut context = Context::default();
        if let Some(attached) = self.host(host) {
            let documents = &attached.documents;
            context.set(
                "aws:RequestedRegion",
                documents.region.as_deref().unwrap_or(DEFAULT_REGION),
            );
            let account = documents.account.as_ref().unwrap_or(caller.account());
            context.set("aws:ResourceAccount", &**account);
        }
        match network {
            Network::Public(address) => context.set("aws:SourceIp", address.to_string()),
            Network::Vpc {
                id,
                endpoint,
                address,
            } => {
                context.set("aws:SourceVpc", id);
                context.set("aws:VpcSourceIp", address.to_string());
                if let Some(endpoint) = endpoint {
                    context.set("aws:SourceVpce", endpoint);
                }
            }
        }
        context.set("aws:SecureTransport", "true");
        context.set("aws:ViaAWSService", "false");
        context.set("aws:PrincipalIsAWSService", "false");
        context.set("aws:PrincipalAccount", &**caller.account());
        context.set("aws:PrincipalType", caller.kind().principal_type());
        if let Some(organization) = self.organizations.get(caller.account()) {
            context.set("aws:PrincipalOrgID", &**organization);
        }
        let known = self.known(caller);
        let role = known.map(|known| &known.identity.arn).or(caller.role());
        context.set("aws:PrincipalArn", &**role.unwrap_or(caller.arn()));
        if let Some(Known { identity, .. }) = known {
            for (key, value) in &identity.tags {
                context.set(&format!("aws:PrincipalTag/{key}"), &**value);
            }
            let session = caller.arn().rsplit('/').next().unwrap_or_default();
            if let Some(id) = &identity.id {
                match caller.kind() {
                    CallerKind::Session => context.set("aws:userid", format!("{id}:{session}")),
                    CallerKind::Root | CallerKind::User => context.set("aws:userid", &**id),
                }
            }
        }
        if caller.kind() == CallerKind::User {
            let name = caller.arn().rsplit('/').next().unwrap_or_default();
            context.set("aws:username", name);
        }
        context
    }

    /// Judges one request to a host. The session policies, if any, came with the caller's credentials.
    pub fn decide(
        &self,
        host: usize,
        caller: &Caller,
        action: Action,
        resource: &str,
        context: &Context,
        session: Option<&Index>,
    ) -> Result<Decision, Refused> {
        let Attached {
            documents,
            policies,
        } = self.host(host).ok_or(Refused::NoDocuments)?;
        if !arn::is_domain(resource) {
            return Err(Refused::NotDomain {
                arn: resource.to_owned(),
            });
        }
        let known = self.known(caller);
        if known.is_none() && (self.roster == Roster::Closed || caller.kind() == CallerKind::Root) {
            return Err(Refused::UnknownCaller {
                arn: caller.arn().to_string(),
            });
        }
        let is_about = documents.domains.is_empty()
            || domain_of(resource)
                .is_some_and(|domain| documents.domains.iter().any(|own| **own == *domain));
        let policies = Policies {
            identity: known.map(|known| &known.policies),
            boundary: known.and_then(|known| known.boundary.as_ref()),
            session,
            resource: is_about.then_some(policies),
            account: documents.account.as_deref(),
        };
        let request = Request {
            caller,
            action,
            resource,
            context,
        };
        Ok(authorize(&policies, request))
    }

    fn host(&self, host: usize) -> Option<&Attached> {
        self.hosts.get(host)?.as_ref()
    }

    /// The user, or the role of the session.
    ///
    /// The ARN of a session has its role's name only, and names are unique in an account.
    fn known(&self, caller: &Caller) -> Option<&Known> {
        let arn = caller.role().unwrap_or(caller.arn());
        self.identities.get(arn).or_else(|| {
            let name = caller.role()?.rsplit('/').next()?;
            self.identities.values().find(|known| {
                known.identity.arn.contains(":role/")
                    && *known.identity.account == **caller.account()
                    && *known.identity.name == *name
            })
        })
    }

    /// The caller of an ARN, with the full ARN of its role.
    pub fn caller(&self, arn: &str) -> Result<Caller, crate::iam::principal::NotCaller> {
        let caller = Caller::from_arn(arn)?;
        let role = caller
            .role()
            .and_then(|_| self.known(&caller))
            .map(|known| Arc::clone(&known.identity.arn));
        Ok(match role {
            Some(role) => caller.with_role(role),
            None => caller,
        })
    }
}

/// Where a request from `address` comes from, if it comes in where the VPCs `members` do, and others do if `public`.
///
/// An endpoint decides on the VPC where there are several; it may be any of a VPC of which none is named. None if the
/// VPC cannot be told.
#[must_use]
pub fn network<'a>(
    members: &[&'a Vpc],
    public: bool,
    address: IpAddr,
    endpoint: Option<&'a str>,
) -> Option<Network<'a>> {
    let own = |vpc: &&&Vpc| vpc.cidrs.longest(address).is_some();
    let has_endpoint = |vpc: &&&Vpc| match endpoint {
        Some(endpoint) => {
            vpc.endpoints.is_empty() || vpc.endpoints.iter().any(|own| **own == *endpoint)
        }
        None => true,
    };
    let mut inside = members.iter().filter(own).filter(has_endpoint);
    let vpc = match inside.next() {
        Some(vpc) => vpc,
        None if public && endpoint.is_none() => return Some(Network::Public(address)),
        None if public => return None,
        None => {
            let mut any = members.iter().filter(has_endpoint);
            any.next().filter(|_| any.next().is_none())?
        }
    };
    let only = match &*vpc.endpoints {
        [only] => Some(&**only),
        _ => None,
    };
    Some(Network::Vpc {
        id: &vpc.id,
        endpoint: endpoint.or(only),
        address,
    })
}

fn domain_of(resource: &str) -> Option<&str> {
    resource.splitn(6, ':').nth(5)?.strip_prefix("/domain/")
}

/// The region of hosts that name none.
const DEFAULT_REGION: &str = "us-east-1";
