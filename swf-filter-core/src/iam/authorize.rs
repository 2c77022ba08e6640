//! Whether a request is allowed, and which statements say so.
//!
//! IAM User Guide, "Policy evaluation logic". Statements are found through an [`Index`], so that a decision costs what
//! the statements cost that could apply to it. An index may offer too many; each is then judged in full.

use std::fmt;
use std::sync::Arc;

use super::context::Context;
pub use super::index::Index;
use super::lists::Principals;
use super::principal::{Caller, CallerKind, Principal, role_name};
use super::{Asked, Choice, Effect, Statement};
use crate::policy::Origin;

/// What is asked for, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// For what.
    pub action: Asked,
    /// On what: an ARN.
    pub resource: &'a str,
    /// What else is known of it.
    pub context: &'a Context<'a>,
}

/// The documents that a request is judged by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policies<'a> {
    /// Those of the user or role; none if it is not known which they are.
    pub identity: Option<&'a Index>,
    /// The permission boundary of the user or role.
    pub boundary: Option<&'a Index>,
    /// Those that a session was limited to when it was made.
    pub session: Option<&'a Index>,
    /// Those of the host.
    pub resource: Option<&'a Index>,
    /// The account that the host's resources belong to; that of the caller if none.
    pub account: Option<&'a str>,
}

/// An answer with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Why.
    pub reason: Reason,
    /// The statements that decided: those that deny, or else those that allow.
    pub statements: Vec<Decider>,
}

/// Why a request is allowed, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is allowed.
    Allowed,
    /// A statement denies it.
    ExplicitDeny,
    /// Neither a policy of the caller nor one of the host allows it.
    NoAllow,
    /// The boundary does not allow it.
    NoBoundaryAllow,
    /// No policy of the caller allows it, as it has to for a host of another account, and where the host's policy
    /// allows it to the caller's account only.
    NoIdentityAllow,
    /// No policy of the host allows it, as it has to for a caller of another account.
    NoResourceAllow,
    /// The session's policies do not allow it.
    NoSessionAllow,
    /// The role's trust policy does not allow it.
    NoTrust,
    /// Deciding it takes more work than its context's [`Meter`](super::Meter) has.
    TooCostly,
}

/// A statement that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decider {
    /// What its document is attached to.
    pub side: Side,
    /// What it says.
    pub effect: Effect,
    /// Its `Sid`.
    pub sid: Option<Arc<str>>,
    /// Where it stands.
    pub origin: Origin,
}

/// What a document is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The user or role, as a limit.
    Boundary,
    /// The user or role.
    Identity,
    /// The host.
    Resource,
    /// The session.
    Session,
}

impl Side {
    /// A word for reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boundary => "boundary",
            Self::Identity => "identity",
            Self::Resource => "resource",
            Self::Session => "session",
        }
    }
}

impl Decision {
    /// Whether the request is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.reason == Reason::Allowed
    }
}

impl Reason {
    /// A word for reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::ExplicitDeny => "explicit-deny",
            Self::NoAllow => "no-allow",
            Self::NoBoundaryAllow => "no-boundary-allow",
            Self::NoIdentityAllow => "no-identity-allow",
            Self::NoResourceAllow => "no-resource-allow",
            Self::NoSessionAllow => "no-session-allow",
            Self::NoTrust => "no-trust",
            Self::TooCostly => "too-costly",
        }
    }
}

/// In words, as in "denied: no policy of the caller allows it".
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allowed => "it is allowed",
            Self::ExplicitDeny => "a statement denies it",
            Self::NoAllow => "no policy of the caller or the host allows it",
            Self::NoBoundaryAllow => "the permission boundary does not allow it",
            Self::NoIdentityAllow => {
                "no policy of the caller allows it, and what the host's allow is for the caller's account to hand on"
            }
            Self::NoResourceAllow => {
                "no policy of the host, which is of another account, allows it"
            }
            Self::NoSessionAllow => "the session's policies do not allow it",
            Self::NoTrust => "the role's trust policy does not allow it",
            Self::TooCostly => "deciding it takes more work than one request may cause",
        })
    }
}

/// Judges one request.
#[must_use]
pub fn authorize(policies: &Policies<'_>, request: Request<'_>) -> Decision {
    let bounded = policies.boundary.is_some();
    let find = |side, index: Option<&Index>| {
        let mut found = Found::default();
        if let Some(index) = index {
            index.find(request, side, bounded, &mut found);
        }
        found
    };
    let identity = find(Side::Identity, policies.identity);
    let boundary = find(Side::Boundary, policies.boundary);
    let session = find(Side::Session, policies.session);
    let resource = find(Side::Resource, policies.resource);
    let sides = [&identity, &boundary, &session, &resource];
    if request.context.is_spent() {
        return Decision {
            reason: Reason::TooCostly,
            statements: Vec::new(),
        };
    }
    if sides.iter().any(|found| !found.deny.is_empty()) {
        return Decision {
            reason: Reason::ExplicitDeny,
            statements: sides
                .into_iter()
                .flat_map(|found| found.deny.clone())
                .collect(),
        };
    }
    let reason = judge(
        policies,
        request.caller,
        &identity,
        &boundary,
        &session,
        &resource,
    );
    let statements = if reason == Reason::Allowed {
        sides
            .into_iter()
            .flat_map(|found| found.allow.clone())
            .collect()
    } else {
        Vec::new()
    };
    Decision { reason, statements }
}

/// Judges one request for a role, whose trust policy stands in for the documents of a host.
///
/// A document of the caller's is not enough here, not even within an account: who may assume a role is the role's to say.
/// IAM User Guide, "Policy evaluation logic", on role trust policies and key policies.
#[must_use]
pub fn authorize_role(policies: &Policies<'_>, request: Request<'_>) -> Decision {
    let decision = authorize(policies, request);
    let is_trusted = decision
        .statements
        .iter()
        .any(|decider| decider.side == Side::Resource);
    match decision.reason {
        Reason::Allowed if !is_trusted => Decision {
            reason: Reason::NoTrust,
            statements: Vec::new(),
        },
        Reason::NoAllow | Reason::NoResourceAllow => Decision {
            reason: Reason::NoTrust,
            ..decision
        },
        _ => decision,
    }
}

/// What allows come to, when nothing denies.
fn judge(
    policies: &Policies<'_>,
    caller: &Caller,
    identity: &Found,
    boundary: &Found,
    session: &Found,
    resource: &Found,
) -> Reason {
    let same_account = policies
        .account
        .is_none_or(|account| account == &**caller.account());
    if same_account && resource.names_caller {
        return Reason::Allowed;
    }
    let is_root = caller.kind() == CallerKind::Root;
    let by_identity = is_root || !identity.allow.is_empty();
    let by_resource = !resource.allow.is_empty();
    if same_account {
        let granted = resource.grants || by_resource && policies.identity.is_none();
        if !by_identity && !granted {
            return if by_resource {
                Reason::NoIdentityAllow
            } else {
                Reason::NoAllow
            };
        }
    } else if !by_resource {
        return Reason::NoResourceAllow;
    } else if !by_identity {
        return Reason::NoIdentityAllow;
    }
    if !is_root && policies.boundary.is_some() && boundary.allow.is_empty() {
        return Reason::NoBoundaryAllow;
    }
    if policies.session.is_some() && session.allow.is_empty() {
        return Reason::NoSessionAllow;
    }
    Reason::Allowed
}

/// The statements of one side that match.
#[derive(Default)]
struct Found {
    allow: Vec<Decider>,
    deny: Vec<Decider>,
    /// Whether one that allows means the caller by more than its account.
    grants: bool,
    /// Whether one that allows names the caller itself.
    names_caller: bool,
}

impl Index {
    fn find(&self, request: Request<'_>, side: Side, bounded: bool, found: &mut Found) {
        for statement in self.candidates(request, bounded) {
            if request.context.is_spent() {
                return;
            }
            if !statement.applies(request, bounded) {
                continue;
            }
            let decider = Decider {
                side,
                effect: statement.effect,
                sid: statement.sid.clone(),
                origin: statement.origin.clone(),
            };
            match statement.effect {
                Effect::Allow => {
                    request.context.spend(Principals::work(request.caller));
                    found.allow.push(decider);
                    found.grants |= statement.grants(request.caller);
                    found.names_caller |= statement.names(request.caller);
                }
                Effect::Deny => found.deny.push(decider),
            }
        }
    }
}

impl Statement {
    /// Whether it is about a request, and all its conditions hold. The caller may be bounded by a permission boundary.
    pub(super) fn applies(&self, request: Request<'_>, bounded: bool) -> bool {
        let Request {
            caller,
            action,
            resource,
            context,
        } = request;
        context.spend(STATEMENT);
        if self.principals.is_some() {
            context.spend(Principals::work(caller));
        }
        self.actions.contains(action)
            && self.is_about(caller, bounded)
            && self
                .resources
                .as_ref()
                .is_none_or(|choice| choice.meets(|patterns| patterns.matches(resource, context)))
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(context))
    }

    /// Whether it is about requests of a caller, who may be bounded by a permission boundary.
    pub(crate) fn is_about(&self, caller: &Caller, bounded: bool) -> bool {
        // IAM User Guide, "IAM JSON policy elements: NotPrincipal": whoever has a boundary is denied even if named.
        let denies_bounded =
            self.effect == Effect::Deny && matches!(self.principals, Some(Choice::Not(_)));
        bounded && denies_bounded
            || self
                .principals
                .as_ref()
                .is_none_or(|choice| choice.meets(|principals| principals.match_caller(caller)))
    }

    /// Whether the caller is meant by more than its account.
    pub(crate) fn grants(&self, caller: &Caller) -> bool {
        match &self.principals {
            Some(Choice::Of(principals)) => principals.grant(caller),
            _ => true,
        }
    }

    /// Whether its `Principal` is the caller as a user or session.
    pub(crate) fn names(&self, caller: &Caller) -> bool {
        match &self.principals {
            Some(Choice::Of(principals)) => principals.name(caller),
            _ => false,
        }
    }
}

/// What a statement costs by itself, in units of work.
const STATEMENT: usize = 16;

/// What to look a statement up by for its callers; none means any.
pub(crate) fn principals_of(statement: &Statement) -> Vec<Option<&str>> {
    let Some(Choice::Of(principals)) = &statement.principals else {
        return vec![None];
    };
    let names: Option<Vec<_>> = principals
        .iter()
        .map(|principal| name_of(principal).map(Some))
        .collect();
    names.unwrap_or_else(|| vec![None])
}

fn name_of(principal: &Principal) -> Option<&str> {
    match principal {
        Principal::Account { id, .. } => Some(id),
        Principal::Arn(arn) => Some(role_name(arn).unwrap_or(arn)),
        // It matches nobody, so it may stand anywhere that is not looked up often.
        Principal::Other { text, .. } => Some(text),
        Principal::Anyone => None,
    }
}

/// What statements about a caller are looked up by.
pub(crate) fn principals_for(caller: &Caller) -> impl Iterator<Item = Option<&str>> + Clone {
    let role = caller.role().map(|role| role_name(role));
    let principals = [None, Some(&**caller.arn()), Some(&**caller.account())];
    principals.into_iter().chain(role)
}
