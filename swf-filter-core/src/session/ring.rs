//! Sealing sessions into tokens, with keys that rotate.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Reach, Session, Tag};
use crate::credentials::{Prefix, unique_id};
use crate::iam::principal::Caller;
use crate::seal::{NONCE, SealingKey};
use crate::sigv4::Secret;

/// The longest token there is. Proxies and servers take header fields of 8 KiB at least.
pub const LONGEST_TOKEN: usize = 6 << 10;

/// What a key is called in tokens.
pub type KeyId = u32;

/// Keys that seal sessions: the first seals, and all of them open, so that keys can be replaced one after the other.
#[derive(Clone, Debug)]
pub struct Ring {
    keys: Vec<(KeyId, SealingKey)>,
}

/// Why keys are no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingFault {
    /// There is no key.
    #[error("there is no key to seal sessions with")]
    Empty,
    /// Two keys have one id.
    #[error("two keys have the id {id}")]
    Repeated {
        /// The id.
        id: KeyId,
    },
}

/// Why a token is not taken. Clients are not told which of these it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// It came with an access key that it was not made for.
    #[error("the session token is not that of the access key")]
    AnotherKey,
    /// It was altered, or sealed with another key of the same id.
    #[error("the session token was altered, or sealed with another key of the same id")]
    Altered,
    /// It is no token of this form.
    #[error("it is no session token of this version")]
    Form,
    /// It is longer than any token.
    #[error("the session token has {length} bytes, more than {LONGEST_TOKEN}")]
    Long {
        /// Its length.
        length: usize,
    },
    /// It was sealed with a key that is not there.
    #[error("the session token was sealed with the key {id}, which is not there")]
    UnknownKey {
        /// The key's id.
        id: KeyId,
    },
}

impl Ring {
    /// A ring of keys, of which the first seals.
    pub fn new(keys: Vec<(KeyId, SealingKey)>) -> Result<Self, RingFault> {
        if keys.is_empty() {
            return Err(RingFault::Empty);
        }
        let mut ids: Vec<KeyId> = keys.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let mut next = ids.iter().skip(1);
        let repeated = ids.iter().find(|id| next.next() == Some(id));
        match repeated {
            Some(id) => Err(RingFault::Repeated { id: *id }),
            None => Ok(Self { keys }),
        }
    }

    /// The token of a session, for `X-Amz-Security-Token`. No nonce may be used twice.
    #[must_use]
    pub fn seal(&self, session: &Session, nonce: [u8; NONCE]) -> String {
        let Some((id, key)) = self.keys.first() else {
            unreachable!("a ring has a key");
        };
        let head = head(*id);
        let mut token = head.to_vec();
        token.extend(key.seal(&purpose(head), &Inside::write(session), nonce));
        STANDARD.encode(token)
    }

    /// The session in a token that came with an access key. Whether it has expired is another question.
    pub fn open(&self, token: &str, access_key_id: &str) -> Result<Session, TokenFault> {
        if token.len() > LONGEST_TOKEN {
            let length = token.len();
            return Err(TokenFault::Long { length });
        }
        let bytes = STANDARD.decode(token).map_err(|_| TokenFault::Form)?;
        let (head, sealed) = bytes.split_first_chunk::<HEAD>().ok_or(TokenFault::Form)?;
        let [version, id @ ..] = *head;
        if !matches!(version, UNBOUND | VERSION) {
            return Err(TokenFault::Form);
        }
        let id = KeyId::from_be_bytes(id);
        let own = self.keys.iter().find(|(own, _)| *own == id);
        let (_, key) = own.ok_or(TokenFault::UnknownKey { id })?;
        let text = key.open(&purpose(*head), sealed);
        let text = text.map_err(|_| TokenFault::Altered)?;
        let session = Inside::read(&text, version).ok_or(TokenFault::Form)?;
        let is_own = session
            .access_key_id
            .as_bytes()
            .ct_eq(access_key_id.as_bytes());
        if !bool::from(is_own) {
            return Err(TokenFault::AnotherKey);
        }
        Ok(session)
    }
}

/// What stands before what is sealed: the version of its layout, and the key's id, with the highest byte first.
const HEAD: usize = 1 + size_of::<KeyId>();
/// [`Inside`], and the unique id behind it.
const VERSION: u8 = 2;
/// [`Inside`] alone. An upgrade must not end sessions, so these are bound to the id that follows from the ARN: that of all users
/// and roles for which the policy states no other.
const UNBOUND: u8 = 1;

fn head(id: KeyId) -> [u8; HEAD] {
    let [a, b, c, d] = id.to_be_bytes();
    [VERSION, a, b, c, d]
}

/// What is bound to what is sealed, so that neither can be exchanged.
fn purpose(head: [u8; HEAD]) -> Vec<u8> {
    [b"swf-filter session token", head.as_slice()].concat()
}

/// What is sealed. Another layout is another [`VERSION`].
#[derive(Serialize, Deserialize)]
struct Inside<'a> {
    access_key_id: &'a str,
    secret: &'a str,
    caller: &'a str,
    role: Option<&'a str>,
    parent: Option<&'a str>,
    /// Seconds since 1970.
    issued: i64,
    expires: i64,
    policy: Option<&'a str>,
    source_identity: Option<&'a str>,
    #[serde(borrow)]
    tags: Vec<(&'a str, &'a str, bool)>,
}

impl Inside<'_> {
    fn write(session: &Session) -> Zeroizing<Vec<u8>> {
        let tags = session.tags.iter();
        let inside = Inside {
            access_key_id: &session.access_key_id,
            secret: session.secret.expose(),
            caller: session.caller.arn(),
            role: session.caller.role().map(|role| &**role),
            parent: session.parent.as_deref(),
            issued: session.issued.as_second(),
            expires: session.expires.as_second(),
            policy: session.policy.as_deref(),
            source_identity: session.source_identity.as_deref(),
            tags: tags
                .map(|tag| (&*tag.key, &*tag.value, tag.reach == Reach::Transitive))
                .collect(),
        };
        // Growing would leave copies of the secret behind.
        let room = Vec::with_capacity(LONGEST_TOKEN);
        match postcard::to_extend(&(inside, &*session.unique_id), room) {
            Ok(text) => Zeroizing::new(text),
            // Writing texts and numbers to memory does not fail.
            Err(error) => unreachable!("{error}"),
        }
    }

    fn read(text: &[u8], version: u8) -> Option<Session> {
        let (inside, rest) = postcard::take_from_bytes::<Inside<'_>>(text).ok()?;
        let (id, rest) = if version == UNBOUND {
            (None, rest)
        } else {
            let (id, rest) = postcard::take_from_bytes::<&str>(rest).ok()?;
            (Some(id), rest)
        };
        if !rest.is_empty() {
            return None;
        }
        let caller = Caller::from_arn(inside.caller).ok()?;
        let caller = match inside.role {
            Some(role) => caller.with_role(Arc::from(role)),
            None => caller,
        };
        let tags = inside.tags.into_iter().map(|(key, value, lasts)| Tag {
            key: key.into(),
            value: value.into(),
            reach: if lasts { Reach::Transitive } else { Reach::Own },
        });
        Some(Session {
            access_key_id: inside.access_key_id.into(),
            secret: Secret::new(inside.secret.to_owned()),
            unique_id: match (id, caller.role()) {
                (Some(id), _) => id.into(),
                (None, Some(role)) => unique_id(Prefix::Role, role).into(),
                (None, None) => unique_id(Prefix::User, caller.arn()).into(),
            },
            caller,
            parent: inside.parent.map(Box::from),
            issued: Timestamp::from_second(inside.issued).ok()?,
            expires: Timestamp::from_second(inside.expires).ok()?,
            policy: inside.policy.map(Box::from),
            source_identity: inside.source_identity.map(Box::from),
            tags: tags.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_the_version_before_is_bound_to_the_id_that_follows_from_the_arn() {
        let role = "arn:aws:iam::111122223333:role/worker";
        let inside = |role| Inside {
            access_key_id: "ASIAAAAAAAAAAAAAAAAA",
            secret: "of no use",
            caller: match role {
                Some(_) => "arn:aws:sts::111122223333:assumed-role/worker/one",
                None => "arn:aws:iam::111122223333:user/alice",
            },
            role,
            parent: None,
            issued: 1_700_000_000,
            expires: 1_700_003_600,
            policy: None,
            source_identity: None,
            tags: Vec::new(),
        };
        let ring = Ring::new(vec![(7, SealingKey::new([7; 32]))]).unwrap();
        let [_, id @ ..] = head(7);
        let [a, b, c, d] = id;
        let head = [UNBOUND, a, b, c, d];
        let (_, key) = &ring.keys[0];
        let user = "arn:aws:iam::111122223333:user/alice";
        for (role, id) in [
            (Some(role), unique_id(Prefix::Role, role)),
            (None, unique_id(Prefix::User, user)),
        ] {
            let text = postcard::to_stdvec(&inside(role)).unwrap();
            let mut token = head.to_vec();
            token.extend(key.seal(&purpose(head), &text, [0; NONCE]));
            let token = STANDARD.encode(&token);
            let session = ring.open(&token, "ASIAAAAAAAAAAAAAAAAA").unwrap();
            assert_eq!(*session.unique_id, *id);
        }
    }
}
