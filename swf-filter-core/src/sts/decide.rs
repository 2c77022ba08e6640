//! What a call comes to: whether it is allowed, and the session that it makes.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Action;
use super::call::{AssumeRole, Call};
use super::fault::Fault;
use crate::credentials::{Prefix, access_key_id, secret};
use crate::iam::Context;
use crate::iam::principal::{Caller, CallerKind};
use crate::judge::Judge;
use crate::policy::Identity;
use crate::session::{Reach, Session, Tag};

/// Who calls, as the signature shows.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// With temporary credentials.
    Session(&'a Session),
    /// With an access key that lasts.
    User {
        /// The key.
        access_key_id: &'a str,
        /// The user.
        caller: &'a Caller,
    },
}

impl<'a> Asker<'a> {
    /// The user, or session of a role.
    #[must_use]
    pub fn caller(self) -> &'a Caller {
        match self {
            Self::Session(session) => &session.caller,
            Self::User { caller, .. } => caller,
        }
    }

    fn session(self) -> Option<&'a Session> {
        match self {
            Self::Session(session) => Some(session),
            Self::User { .. } => None,
        }
    }
}

/// Random bytes for a new access key. No two calls may have the same.
#[derive(Clone, Copy)]
pub struct Lots {
    /// For the id.
    pub id: [u8; 10],
    /// For the secret.
    pub secret: [u8; 30],
}

/// What a call comes to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A session of a role.
    AssumeRole {
        /// The session.
        session: Box<Session>,
        /// Its unique id.
        user_id: String,
        /// How much of their room policy and tags take, in percent; none if there are none.
        packed: Option<usize>,
    },
    /// Who the caller is.
    GetCallerIdentity {
        /// The caller.
        caller: Caller,
        /// Its unique id.
        user_id: String,
    },
    /// Temporary credentials for a user.
    GetSessionToken {
        /// The session.
        session: Box<Session>,
    },
}

impl Outcome {
    /// The session that was made, to be sealed.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        match self {
            Self::AssumeRole { session, .. } | Self::GetSessionToken { session } => Some(session),
            Self::GetCallerIdentity { .. } => None,
        }
    }
}

/// Decides a call.
///
/// `context` is that of [`Judge::context`] for the caller.
pub fn decide(
    judge: &Judge,
    call: &Call,
    asker: Asker<'_>,
    context: &Context<'_>,
    now: Timestamp,
    lots: Lots,
) -> Result<Outcome, Fault> {
    let caller = asker.caller();
    let session = asker.session();
    if session.is_some_and(|session| session.is_expired(now)) {
        return Err(Fault::Expired);
    }
    let identity = judge.identity(caller).ok_or(Fault::UnknownCaller)?;
    if session.is_some_and(|session| judge.check_id(caller, &session.unique_id).is_err()) {
        return Err(Fault::UnknownCaller);
    }
    match call {
        Call::AssumeRole(wish) => assume(judge, wish, asker, context, now, lots),
        Call::GetCallerIdentity => Ok(Outcome::GetCallerIdentity {
            caller: caller.clone(),
            user_id: judge.user_id(caller).into_owned(),
        }),
        Call::GetSessionToken { seconds } => match asker {
            Asker::Session(_) => Err(Fault::BySession),
            Asker::User {
                access_key_id: parent,
                caller,
            } => Ok(Outcome::GetSessionToken {
                session: Box::new(Session {
                    parent: Some(parent.into()),
                    ..new(caller.clone(), identity, *seconds, now, lots)
                }),
            }),
        },
    }
}

fn assume(
    judge: &Judge,
    wish: &AssumeRole,
    asker: Asker<'_>,
    context: &Context<'_>,
    now: Timestamp,
    lots: Lots,
) -> Result<Outcome, Fault> {
    let caller = asker.caller();
    let session = asker.session();
    let denied = |action, reason| Fault::AccessDenied {
        caller: Box::from(&**caller.arn()),
        action,
        role: wish.role.clone(),
        reason,
    };
    let role = judge.role(&wish.role);
    let role = role.ok_or_else(|| denied(Action::AssumeRole, None))?;
    let tags = tags(&wish.tags, session)?;
    let source_identity = source_identity(wish, session)?;
    let context = asked(wish, source_identity, role, context);
    let limit = session.and_then(Session::index);
    // What is handed on needs the permission as what is new does: IAM User Guide, "Pass session tags in AWS STS", and "Monitor
    // and control actions taken with assumed roles".
    let needed = [
        Some(Action::AssumeRole),
        source_identity.map(|_| Action::SetSourceIdentity),
        (!tags.is_empty()).then_some(Action::TagSession),
    ];
    for action in needed.into_iter().flatten() {
        let decision = judge.assume(caller, action, &wish.role, &context, limit.as_ref());
        let decision = decision.ok_or(Fault::UnknownCaller)?;
        if !decision.is_allowed() {
            return Err(denied(action, Some(decision.reason)));
        }
    }
    if caller.kind() == CallerKind::Session && wish.seconds > CHAINED_SECONDS {
        let seconds = wish.seconds;
        return Err(Fault::ChainedTooLong { seconds });
    }
    if wish.seconds > role.max_session_duration {
        return Err(Fault::AboveMaximum {
            most: role.max_session_duration,
        });
    }
    let packed = packed(wish.policy.as_deref(), &tags)?;
    let caller = caller_of(role, &wish.session_name).ok_or(Fault::UnknownCaller)?;
    Ok(Outcome::AssumeRole {
        user_id: judge.user_id(&caller).into_owned(),
        packed,
        session: Box::new(Session {
            policy: wish.policy.clone(),
            source_identity: source_identity.map(Box::from),
            tags,
            ..new(caller, role, wish.seconds, now, lots)
        }),
    })
}

/// What is known of a request for a role.
fn asked<'a>(
    wish: &'a AssumeRole,
    source_identity: Option<&'a str>,
    role: &'a Identity,
    context: &Context<'a>,
) -> Context<'a> {
    let mut context = context.clone();
    context.set("aws:ResourceAccount", &*role.account);
    for (key, value) in &role.tags {
        context.set(format!("iam:ResourceTag/{key}"), &**value);
    }
    context.set("sts:RoleSessionName", &*wish.session_name);
    if let Some(id) = &wish.external_id {
        context.set("sts:ExternalId", &**id);
    }
    if let Some(identity) = source_identity {
        context.set("sts:SourceIdentity", identity);
    }
    for tag in &wish.tags {
        context.set(format!("aws:RequestTag/{}", tag.key), &*tag.value);
        context.add("aws:TagKeys", &*tag.key);
        if tag.reach == Reach::Transitive {
            context.add("sts:TransitiveTagKeys", &*tag.key);
        }
    }
    context
}

/// The tags of the new session: those that are asked for, and those that the caller's session hands on.
fn tags(asked: &[Tag], session: Option<&Session>) -> Result<Vec<Tag>, Fault> {
    let mut tags = asked.to_vec();
    let own = session.map_or(&[][..], |session| &session.tags);
    for tag in own.iter().filter(|tag| tag.reach == Reach::Transitive) {
        let key = &tag.key;
        if asked
            .iter()
            .any(|asked| asked.key.eq_ignore_ascii_case(key))
        {
            return Err(Fault::TagKeys {
                wrong: "One of the specified tag keys is a transitive tag of the calling session, and cannot be changed.",
            });
        }
        tags.push(tag.clone());
    }
    Ok(tags)
}

/// Who is behind the new session. Once it is said, it stays.
fn source_identity<'a>(
    wish: &'a AssumeRole,
    session: Option<&'a Session>,
) -> Result<Option<&'a str>, Fault> {
    let own = session.and_then(|session| session.source_identity.as_deref());
    match (own, wish.source_identity.as_deref()) {
        (Some(own), Some(asked)) if own != asked => Err(Fault::SourceIdentity),
        (own, asked) => Ok(own.or(asked)),
    }
}

/// How much of their room policy and tags take, in percent.
fn packed(policy: Option<&str>, tags: &[Tag]) -> Result<Option<usize>, Fault> {
    if policy.is_none() && tags.is_empty() {
        return Ok(None);
    }
    // Two lengths and whether it is handed on take five bytes at most.
    let tags = tags.iter().map(|tag| tag.key.len() + tag.value.len() + 5);
    let size = policy.map_or(0, str::len) + tags.sum::<usize>();
    let percent = (size * 100).div_ceil(PACKED);
    if percent > 100 {
        return Err(Fault::Packed { percent });
    }
    Ok(Some(percent))
}

/// The caller that a session of a role is.
fn caller_of(role: &Identity, session_name: &str) -> Option<Caller> {
    let partition = role.arn.split(':').nth(1)?;
    let arn = format!(
        "arn:{partition}:sts::{}:assumed-role/{}/{session_name}",
        role.account, role.name
    );
    Some(
        Caller::from_arn(&arn)
            .ok()?
            .with_role(Arc::clone(&role.arn)),
    )
}

/// A session of a user or role, without anything that was asked for.
fn new(caller: Caller, identity: &Identity, seconds: i64, now: Timestamp, lots: Lots) -> Session {
    let issued = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let until = issued.saturating_add(SignedDuration::from_secs(seconds));
    Session {
        access_key_id: access_key_id(Prefix::Temporary, lots.id).into(),
        secret: secret(lots.secret),
        caller,
        unique_id: Box::from(&*identity.id),
        parent: None,
        issued,
        expires: until.unwrap_or(issued),
        policy: None,
        source_identity: None,
        tags: Vec::new(),
    }
}

/// IAM User Guide, "Roles terms and concepts", role chaining.
const CHAINED_SECONDS: i64 = 3_600;

/// Bytes for the policy and tags of a session, so that tokens stay below
/// [`LONGEST_TOKEN`](crate::session::LONGEST_TOKEN).
const PACKED: usize = 3_072;
