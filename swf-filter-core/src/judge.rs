//! Requests to hosts, judged by the documents of a policy.
//!
//! [`Judge`] is made once for a policy, and shared by all requests. It knows callers by their ARN only; that a request
//! really is theirs has to be made sure before.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::credentials::{Prefix, unique_id};
use crate::iam::authorize::{Decision, Index, Policies, Request, authorize, authorize_role};
use crate::iam::principal::{Caller, CallerKind, role_name};
use crate::iam::{Context, arn};
use crate::policy::{Host, HostDocuments, Identity, Policy, Vpc};
use crate::session::Session;
use crate::sts;
use crate::swf::{Action, Call, Keys, Scope};

/// The documents of a policy, ready to judge requests.
#[derive(Debug, Default)]
pub struct Judge {
    /// By the ARN of the user or role.
    identities: HashMap<Arc<str>, Known>,
    /// ARNs of roles, by account and name.
    roles: HashMap<Arc<str>, HashMap<Arc<str>, Arc<str>>>,
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
    /// None if it is a role, of which only sessions ask.
    caller: Option<Caller>,
    policies: Index,
    boundary: Option<Index>,
    /// Who may assume it, if it is a role.
    trust: Index,
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
        /// The address in it, if it is known: a balancer may tell the endpoint, and not the address.
        address: Option<IpAddr>,
    },
}

/// What is known of a request besides who makes it, where it comes from and what it asks for.
///
/// Whoever has requests judged names each field, so that none is forgotten; what cannot be told is left out.
#[derive(Clone, Debug, Default)]
pub struct Shown<'a> {
    /// When it comes.
    pub at: Option<Timestamp>,
    /// The `Referer` header fields.
    pub referers: Vec<Cow<'a, str>>,
    /// The temporary credentials that it is signed with.
    pub session: Option<&'a Session>,
    /// Version and cipher suite of TLS.
    pub tls: Option<[&'a str; 2]>,
    /// The `User-Agent` header fields.
    pub user_agents: Vec<Cow<'a, str>>,
}

/// What documents say of a whole call.
///
/// AWS answers a decision that is not allowed with an event in the workflow's history, which only AWS can write. Here the
/// whole call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// What the call is about: an ARN.
    pub resource: String,
    /// What they say of the operation.
    pub operation: Decision,
    /// What they say of each decision in it that needs a permission, up to the last that was looked at.
    pub decisions: Vec<Ruled>,
}

/// How many decisions of a call are refused before the rest is not looked at.
pub const REFUSED_DECISIONS: usize = 16;

/// What it costs to copy a key with its value, in looks at it.
const COPY: usize = 16;

/// A decision in a call, with what documents say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    /// Its place in the list of decisions, from 0.
    pub position: usize,
    /// The permission that it needs.
    pub action: Action,
    /// What they say. Decisions that ask the same have one answer.
    pub decision: Arc<Decision>,
}

impl Ruling {
    /// Whether the operation is allowed, and all that is in it.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.refused().is_none()
    }

    /// The first that is not allowed: the operation, or a decision in it.
    #[must_use]
    pub fn refused(&self) -> Option<(Option<&Ruled>, &Decision)> {
        if !self.operation.is_allowed() {
            return Some((None, &self.operation));
        }
        let mut refused = self
            .decisions
            .iter()
            .filter(|ruled| !ruled.decision.is_allowed());
        refused.next().map(|ruled| (Some(ruled), &*ruled.decision))
    }
}

/// Why a request is not even judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The user or role that the credentials were made for had another unique id.
    #[error("the id of `{arn}` is `{id}`, and the credentials were made when it was `{before}`")]
    AnotherCaller {
        /// The ARN.
        arn: String,
        /// Its unique id, or that of its role.
        id: String,
        /// The one before.
        before: String,
    },
    /// What it is about is no domain of SWF.
    #[error("`{arn}` is not the ARN of an SWF domain")]
    NotDomain {
        /// The ARN.
        arn: String,
    },
    /// What it is about is not behind the host.
    #[error("`{arn}` is not behind this host, which has the domains `{domains}`")]
    Elsewhere {
        /// The ARN.
        arn: String,
        /// The ARN of all its domains.
        domains: String,
    },
    /// It is about the task of a token that no poll through here was answered with, as far as is remembered.
    #[error(
        "it cannot be told which domain the task token is of: no poll that was answered here gave it out"
    )]
    UnknownToken,
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
                    caller: Caller::from_arn(&identity.arn).ok(),
                    policies: Index::new(identity.policies.clone()),
                    boundary: identity
                        .boundary
                        .clone()
                        .map(|boundary| Index::new(vec![boundary])),
                    trust: Index::new(identity.trust.iter().cloned().collect()),
                };
                (Arc::clone(&identity.arn), known)
            });
        let mut roles: HashMap<Arc<str>, HashMap<Arc<str>, Arc<str>>> = HashMap::new();
        for role in &principals.roles {
            let own = roles.entry(Arc::clone(&role.account)).or_default();
            own.insert(Arc::clone(&role.name), Arc::clone(&role.arn));
        }
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
            roles,
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
            documents.region(),
            documents.account.as_ref().unwrap_or(caller.account()),
            name,
        ))
    }

    /// The condition keys of a request of `caller` to a host, but for those of what it asks for.
    #[must_use]
    pub fn context<'a>(
        &'a self,
        host: usize,
        caller: &'a Caller,
        network: Network<'a>,
        shown: Shown<'a>,
    ) -> Context<'a> {
        let mut context = Context::default();
        if let Some(attached) = self.host(host) {
            let documents = &attached.documents;
            context.set("aws:RequestedRegion", documents.region());
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
                if let Some(address) = address {
                    context.set("aws:VpcSourceIp", address.to_string());
                }
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
                context.add(format!("aws:PrincipalTag/{key}"), &**value);
            }
        }
        context.set("aws:userid", self.user_id(caller));
        if caller.kind() == CallerKind::User {
            context.set("aws:username", last_name(caller));
        }
        shown.extend(caller, &mut context);
        context
    }

    /// The unique id of a caller: what `aws:userid` is, and what `GetCallerIdentity` answers.
    #[must_use]
    pub fn user_id<'a>(&'a self, caller: &'a Caller) -> Cow<'a, str> {
        let id = |prefix, arn: &str| match self.known(caller) {
            Some(known) => Cow::Borrowed(&*known.identity.id),
            // Where no principals are configured, anybody may be there.
            None => Cow::Owned(unique_id(prefix, arn)),
        };
        match caller.kind() {
            CallerKind::Root => Cow::Borrowed(caller.account()),
            CallerKind::Session => {
                let role = caller.role().unwrap_or(caller.arn());
                format!("{}:{}", id(Prefix::Role, role), last_name(caller)).into()
            }
            CallerKind::User => id(Prefix::User, caller.arn()),
        }
    }

    /// Judges one request to a host. The session policies, if any, came with the caller's credentials.
    pub fn decide(
        &self,
        host: usize,
        caller: &Caller,
        action: Action,
        resource: &str,
        context: &Context<'_>,
        session: Option<&Index>,
    ) -> Result<Decision, Refused> {
        let Attached {
            documents,
            policies,
        } = self.host(host).ok_or(Refused::NoDocuments)?;
        let resource = &*located(resource, documents, caller)?;
        let known = self.known(caller);
        if known.is_none() && (self.roster == Roster::Closed || caller.kind() == CallerKind::Root) {
            return Err(Refused::UnknownCaller {
                arn: caller.arn().to_string(),
            });
        }
        let is_about = documents.domains.is_empty()
            || arn::domain_parts(resource)
                .is_some_and(|[.., domain]| documents.domains.iter().any(|own| **own == *domain));
        let policies = Policies {
            identity: known.map(|known| &known.policies),
            boundary: known.and_then(|known| known.boundary.as_ref()),
            session,
            resource: is_about.then_some(policies),
            account: documents.account.as_deref(),
        };
        let request = Request {
            caller,
            action: action.into(),
            resource,
            context,
        };
        Ok(authorize(&policies, request))
    }

    /// Judges whether `caller` may assume the role of an ARN, or do with it what else `action` is.
    ///
    /// `context` is that of [`Judge::context`], with what the request says. None if the policy has not both of them.
    #[must_use]
    pub fn assume(
        &self,
        caller: &Caller,
        action: sts::Action,
        role: &str,
        context: &Context<'_>,
        session: Option<&Index>,
    ) -> Option<Decision> {
        let known = self.known(caller)?;
        let role = self.identities.get(self.role(role)?.arn.as_ref())?;
        let policies = Policies {
            identity: Some(&known.policies),
            boundary: known.boundary.as_ref(),
            session,
            resource: Some(&role.trust),
            account: Some(&role.identity.account),
        };
        let request = Request {
            caller,
            action: action.into(),
            resource: &role.identity.arn,
            context,
        };
        Some(authorize_role(&policies, request))
    }

    /// Judges a whole call to a host: its operation, and each decision in it.
    ///
    /// `context` is that of [`Judge::context`]. `domain_of` knows the domains of task tokens. Once [`REFUSED_DECISIONS`]
    /// decisions are refused, no further one is looked at: the call is refused by then, and a body has room for tens of
    /// thousands.
    pub fn call(
        &self,
        host: usize,
        caller: &Caller,
        call: &Call,
        domain_of: impl FnOnce(&str) -> Option<String>,
        context: &Context<'_>,
        session: Option<&Index>,
    ) -> Result<Ruling, Refused> {
        let domain = |name: &str| self.domain(host, caller, name).ok_or(Refused::NoDocuments);
        let resource = match &call.scope {
            Scope::Domain(name) => domain(name)?,
            Scope::EveryDomain => domain("*")?,
            Scope::ResourceArn(arn) => {
                let Attached { documents, .. } = self.host(host).ok_or(Refused::NoDocuments)?;
                located(arn, documents, caller)?.into_owned()
            }
            Scope::TaskToken(token) => domain(&domain_of(token).ok_or(Refused::UnknownToken)?)?,
        };
        let decide = |action, context: &Context<'_>| {
            self.decide(host, caller, action, &resource, context, session)
        };
        let operation = decide(call.action, &with_keys(context, &call.keys))?;
        let mut decisions = Vec::new();
        // A call that is refused is refused, whatever is in it.
        if operation.is_allowed() && !call.decisions.is_empty() {
            let context = context.of_decision();
            let mut answers: HashMap<_, Arc<Decision>> = HashMap::new();
            let mut refused = 0;
            for one in &call.decisions {
                let decision = match answers.entry((one.action, &one.keys)) {
                    Entry::Occupied(answer) => Arc::clone(answer.get()),
                    Entry::Vacant(place) => {
                        // It is judged by a copy of what is known.
                        context.spend_looks(COPY);
                        let decided = decide(one.action, &with_keys(&context, &one.keys))?;
                        Arc::clone(place.insert(Arc::new(decided)))
                    }
                };
                refused += usize::from(!decision.is_allowed());
                decisions.push(Ruled {
                    position: one.position,
                    action: one.action,
                    decision,
                });
                if refused == REFUSED_DECISIONS {
                    break;
                }
            }
        }
        Ok(Ruling {
            resource,
            operation,
            decisions,
        })
    }

    /// The user that a caller is, or the role that it is a session of.
    #[must_use]
    pub fn identity(&self, caller: &Caller) -> Option<&Identity> {
        self.known(caller).map(|known| &known.identity)
    }

    /// Whether a caller is whom credentials were made for, that is, who had this unique id.
    ///
    /// Names of users and roles come back, and credentials made for one must not be those of the next. AWS tells them
    /// apart by their ids.
    pub fn check_id(&self, caller: &Caller, id: &str) -> Result<(), Refused> {
        let arn = || caller.arn().to_string();
        match self.identity(caller) {
            Some(identity) if *identity.id == *id => Ok(()),
            Some(identity) => Err(Refused::AnotherCaller {
                arn: arn(),
                id: identity.id.to_string(),
                before: id.to_owned(),
            }),
            None => Err(Refused::UnknownCaller { arn: arn() }),
        }
    }

    /// The role of an ARN, with its path.
    #[must_use]
    pub fn role(&self, arn: &str) -> Option<&Identity> {
        let identity = &self.identities.get(arn)?.identity;
        role_name(arn).map(|_| identity)
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
            let name = role_name(caller.role()?)?;
            let arn = self.roles.get(caller.account())?.get(name)?;
            self.identities.get(arn)
        })
    }

    /// The caller of an ARN, with the full ARN of its role.
    pub fn caller(&self, arn: &str) -> Result<Caller, crate::iam::principal::NotCaller> {
        let user = self.identities.get(arn);
        if let Some(caller) = user.and_then(|known| known.caller.clone()) {
            return Ok(caller);
        }
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

impl<'a> Shown<'a> {
    fn extend(self, caller: &Caller, context: &mut Context<'a>) {
        if let Some(at) = self.at {
            context.set("aws:CurrentTime", format!("{at:.0}"));
            context.set("aws:EpochTime", at.as_second().to_string());
        }
        // A field that is there twice has two values: a Deny on one of them is not passed by showing another first.
        for referer in self.referers {
            context.add("aws:Referer", referer);
        }
        for agent in self.user_agents {
            context.add("aws:UserAgent", agent);
        }
        if let Some([version, suite]) = self.tls {
            context.set("swf-filter:TlsVersion", version);
            context.set("swf-filter:TlsCipherSuite", suite);
        }
        if self.session.is_some() || caller.kind() == CallerKind::Session {
            // There is no MFA here. IAM User Guide, "AWS global condition context keys": only sessions have the key.
            context.set("aws:MultiFactorAuthPresent", "false");
            // A session of which no more is known than its name is taken to be a new one.
            if let Some(issued) = self.session.map(|session| session.issued).or(self.at) {
                context.set("aws:TokenIssueTime", format!("{issued:.0}"));
            }
        }
        let Some(session) = self.session else {
            return;
        };
        for tag in &session.tags {
            context.set(format!("aws:PrincipalTag/{}", tag.key), &*tag.value);
        }
        if let Some(identity) = &session.source_identity {
            context.set("aws:SourceIdentity", &**identity);
        }
    }
}

/// The name of a user, or of a session.
fn last_name(caller: &Caller) -> &str {
    caller.arn().rsplit('/').next().unwrap_or_default()
}

/// Why a request is refused of which [`network`] cannot tell the VPC, as audit logs and explanations have it.
pub const UNKNOWN_NETWORK: &str = "unknown-network";

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
        address: Some(address),
    })
}

/// The context, and what the call says itself.
fn with_keys<'a>(context: &Context<'a>, keys: &'a Keys) -> Context<'a> {
    let mut context = context.clone();
    for (key, values) in keys {
        context.remove(key);
        for value in values {
            context.add(&**key, value.as_str());
        }
    }
    context
}

/// The full ARN of what a request to a host is about. AWS prints ARNs of domains without their region, too.
fn located<'a>(
    arn: &'a str,
    documents: &HostDocuments,
    caller: &Caller,
) -> Result<Cow<'a, str>, Refused> {
    let Some([region, account, name]) = arn::domain_parts(arn) else {
        let arn = arn.to_owned();
        return Err(Refused::NotDomain { arn });
    };
    let own_account = documents.account.as_ref().unwrap_or(caller.account());
    let own_region = documents.region();
    if account == &**own_account && region == own_region {
        return Ok(Cow::Borrowed(arn));
    }
    if account == &**own_account && region.is_empty() {
        return Ok(Cow::Owned(arn::domain(own_region, own_account, name)));
    }
    Err(Refused::Elsewhere {
        arn: arn.to_owned(),
        domains: arn::domain(own_region, own_account, "*"),
    })
}

#[cfg(test)]
mod tests;
