//! Temporary credentials, which nobody keeps: all that is to be known of them is in their token, sealed.
//!
//! Any host that holds a key of the [`Ring`] can open a token, and none has to remember it. So a session cannot be taken
//! back before it expires, but for what it rests on: without its user or role in the policy, nobody is let in with it. It
//! is to the unique id of these that it is bound, since another may have the name later.
//! A store of sessions was the alternative; it would have to be shared by all hosts, and asked for each request.

mod ring;

use std::sync::Arc;

use jiff::Timestamp;

pub use self::ring::{KeyId, LONGEST_TOKEN, Ring, RingFault, TokenFault};
use crate::iam::authorize::Index;
use crate::iam::principal::Caller;
use crate::iam::{Kind, parse};
use crate::policy::{Problems, SourceFile};
use crate::sigv4::Secret;

/// Temporary credentials, and what is to be known of who has them.
#[derive(Clone, Debug)]
pub struct Session {
    /// `ASIA...`
    pub access_key_id: Box<str>,
    /// What requests are signed with.
    pub secret: Secret,
    /// A session of a role, with the role's full ARN; or the user that asked for them.
    pub caller: Caller,
    /// The unique id that the user or role had when they were made, for [`Judge::check_id`](crate::judge::Judge::check_id).
    pub unique_id: Box<str>,
    /// The access key of the user that asked for them. AWS lets a session outlive that key; whoever keeps keys may end it.
    /// None for a session of a role.
    pub parent: Option<Box<str>>,
    /// When they were made, to the second.
    pub issued: Timestamp,
    /// From when they are void, to the second.
    pub expires: Timestamp,
    /// The document that limits what they are good for.
    pub policy: Option<Box<str>>,
    /// Who is behind the session, as was said when the first of a chain was made.
    pub source_identity: Option<Box<str>>,
    /// Tags, which win over those of the role.
    pub tags: Vec<Tag>,
}

/// A tag of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its key, which compares without case.
    pub key: Box<str>,
    /// Its value.
    pub value: Box<str>,
    /// Whether it is handed on.
    pub reach: Reach,
}

/// Whether sessions that are made with a session have a tag, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// They do not.
    Own,
    /// They do.
    Transitive,
}

impl Session {
    /// Whether they are void.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires
    }

    /// The document that limits the session, for [`Judge::call`](crate::judge::Judge::call). One that cannot be read, as
    /// it may be after a change of version, denies everything.
    #[must_use]
    pub fn index(&self) -> Option<Index> {
        let policy = self.policy.as_deref()?;
        let document = limit(policy).or_else(|_| limit(NOTHING));
        match document {
            Ok(index) => Some(index),
            Err(problems) => unreachable!("{problems}"),
        }
    }
}

/// Reads the document that limits a session.
pub(crate) fn limit(policy: &str) -> Result<Index, Problems> {
    let file = SourceFile {
        name: "session policy".into(),
        bytes: policy.as_bytes().into(),
    };
    let mut problems = Problems::default();
    let document = parse(&file, Kind::Identity, &mut problems).ok_or(problems)?;
    Ok(Index::new(vec![Arc::new(document)]))
}

const NOTHING: &str = r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}"#;

#[cfg(test)]
mod tests;
