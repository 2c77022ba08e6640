//! What all connections of the process share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use swf_filter_core::iam::principal::Caller;
use swf_filter_core::judge::Judge;
use swf_filter_core::session::{Ring, Session};
use swf_filter_core::sigv4::{KeyCache, Secret};
use swf_filter_core::sts::Lots;
use swf_filter_core::swf::{DEFAULT_CAPACITY, TokenCache};

use super::audit::Audit;
use super::counters::Counters;
use super::crowd::Crowd;
use super::heavy::Heavy;
use super::limits;
use super::policy::Current;
use super::refusal::Refusal;
use super::reload::Standing;
use super::request::RequestId;
use super::settings::{self, Settings};
use super::tls::Tls;
use super::upstream::Upstream;
use crate::keys::{Keys, Status, UserKey};

/// Keys derived for a day and service that are remembered: 32 bytes each, and their names.
const DERIVED: usize = 16_384;

/// What all connections of the process share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    /// Bytes of large bodies that have come, and of small ones that are under way.
    pub(super) bodies: Arc<Crowd>,
    pub(super) light_bodies: Arc<Crowd>,
    /// Judges what takes long.
    pub(super) heavy: Heavy,
    pub(super) policy: Current,
    pub(super) audit: Audit,
    pub(super) counters: Counters,
    pub(super) started: Instant,
    /// Access keys, and what seals session tokens; both change when their files do.
    pub(super) keys: ArcSwap<Keys>,
    pub(super) ring: ArcSwap<Ring>,
    pub(super) keys_standing: Standing,
    pub(super) ring_standing: Standing,
    derived: Mutex<KeyCache>,
    tokens: Mutex<TokenCache>,
    /// Where ids of requests begin, drawn at the start, and how many there were.
    first_id: u128,
    ids: AtomicU64,
}

/// A `[[listener]]`, open.
pub(super) struct Fronting {
    pub(super) settings: settings::Listener,
    pub(super) tls: Tls,
    pub(super) upstream: Arc<Upstream>,
    pub(super) upstream_name: Arc<str>,
    pub(super) counters: ListenerCounters,
}

/// How many connections a listener had.
#[derive(Debug, Default)]
pub(super) struct ListenerCounters {
    pub(super) accepted: AtomicU64,
    pub(super) open: AtomicUsize,
    /// Handshakes that were done.
    pub(super) handshakes: AtomicU64,
    /// Connections that were closed before their handshake, by reason.
    pub(super) turned_away: [AtomicU64; TurnedAway::ALL.len()],
}

/// Why a connection is closed before its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnedAway {
    BadProxyHeader,
    NoPolicy,
    SourceNotAllowed,
    TooManyConnections,
    TooManyOfAddress,
    TooManyOfEndpoint,
    UntrustedProxy,
}

impl TurnedAway {
    pub(super) const ALL: [Self; 7] = [
        Self::BadProxyHeader,
        Self::NoPolicy,
        Self::SourceNotAllowed,
        Self::TooManyConnections,
        Self::TooManyOfAddress,
        Self::TooManyOfEndpoint,
        Self::UntrustedProxy,
    ];

    /// Its name. Names are stable.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::BadProxyHeader => "bad-proxy-header",
            Self::NoPolicy => "no-policy",
            Self::SourceNotAllowed => "source-not-allowed",
            Self::TooManyConnections => "too-many-connections",
            Self::TooManyOfAddress => "too-many-of-address",
            Self::TooManyOfEndpoint => "too-many-of-endpoint",
            Self::UntrustedProxy => "untrusted-proxy",
        }
    }
}

/// Credentials that there are. Whether a request was signed with them is still to be seen.
pub(super) enum Credentials {
    Session(Box<Session>),
    User(UserKey),
}

impl Credentials {
    pub(super) fn secret(&self) -> &Secret {
        match self {
            Self::Session(session) => &session.secret,
            Self::User(key) => &key.secret,
        }
    }

    /// The unique id of the user or role that they were made for, if they are bound to it.
    pub(super) fn unique_id(&self) -> Option<&str> {
        match self {
            Self::Session(session) => Some(&session.unique_id),
            Self::User(key) => key.user_id.as_deref(),
        }
    }

    /// Who has them. To be asked once a signature was verified.
    pub(super) fn into_caller(
        self,
        judge: &Judge,
    ) -> Result<(Caller, Option<Box<Session>>), Refusal> {
        match self {
            // Told after a wrong signature, as AWS does.
            Self::Session(session) if session.is_expired(Timestamp::now()) => {
                Err(Refusal::ExpiredToken)
            }
            Self::Session(session) => Ok((session.caller.clone(), Some(session))),
            Self::User(key) => Ok((judge.caller(&key.user)?, None)),
        }
    }
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        policy: Current,
        audit: Audit,
        keys: Keys,
        ring: Ring,
    ) -> anyhow::Result<Self> {
        let mut first_id = [0; 16];
        getrandom::fill(&mut first_id)?;
        Ok(Self {
            settings,
            policy,
            audit,
            counters: Counters::default(),
            started: Instant::now(),
            keys: ArcSwap::from_pointee(keys),
            ring: ArcSwap::from_pointee(ring),
            keys_standing: Standing::default(),
            ring_standing: Standing::default(),
            bodies: Crowd::new(limits::BODIES_OF_ONE, limits::BODIES),
            light_bodies: Crowd::new(limits::LIGHT_BODIES_OF_ONE, limits::LIGHT_BODIES),
            heavy: Heavy::start(limits::HEAVY)?,
            derived: Mutex::new(KeyCache::new(DERIVED)),
            tokens: Mutex::new(TokenCache::new(DEFAULT_CAPACITY)),
            first_id: u128::from_le_bytes(first_id),
            ids: AtomicU64::new(0),
        })
    }

    /// An id that no other request of this process has, nor, as good as sure, of any other.
    pub(super) fn next_id(&self) -> RequestId {
        // The golden ratio of 2^128: multiples of an odd number are all different, and look it.
        const STEP: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        let number = u128::from(self.ids.fetch_add(1, Ordering::Relaxed));
        RequestId(self.first_id.wrapping_add(number.wrapping_mul(STEP)))
    }

    /// The generation of the policy in force; 0 if there is none.
    pub(super) fn generation(&self) -> u64 {
        let policy = self.policy.borrow();
        policy.as_deref().map_or(0, |policy| policy.info.generation)
    }

    /// Keys that were derived from secrets.
    pub(super) fn derived(&self) -> MutexGuard<'_, KeyCache> {
        lock(&self.derived)
    }

    /// Domains of task tokens.
    pub(super) fn tokens(&self) -> MutexGuard<'_, TokenCache> {
        lock(&self.tokens)
    }

    /// The token of a session.
    pub(super) fn seal(&self, session: &Session) -> Result<String, Refusal> {
        Ok(self.ring.load().seal(session, random()?))
    }

    /// Takes the access keys as they are now. Whoever has one that is gone is not known any more.
    pub(super) fn replace_keys(&self, keys: Keys) {
        self.keys.store(Arc::new(keys));
        self.derived().clear();
    }

    /// The credentials of an access key id, with the session token that came with it.
    pub(super) fn credentials(
        &self,
        access_key_id: &str,
        token: Option<&str>,
    ) -> Result<Credentials, Refusal> {
        let Some(token) = token else {
            let keys = self.keys.load();
            let key = keys.get(access_key_id);
            let key = key.filter(|key| key.status == Status::Active);
            let access_key_id = access_key_id.into();
            let key = key.ok_or(Refusal::UnknownKey { access_key_id })?;
            return Ok(Credentials::User(key.clone()));
        };
        let session = self.ring.load().open(token, access_key_id)?;
        // AWS lets a session outlive the key that asked for it. Whoever disables a key here wants its sessions gone, too.
        if let Some(parent) = &session.parent
            && !self.is_active(parent)
        {
            let access_key_id = parent.clone();
            return Err(Refusal::UnknownKey { access_key_id });
        }
        Ok(Credentials::Session(Box::new(session)))
    }

    fn is_active(&self, access_key_id: &str) -> bool {
        let keys = self.keys.load();
        let key = keys.get(access_key_id);
        key.is_some_and(|key| key.status == Status::Active)
    }
}

/// What a new access key is made of.
pub(super) fn lots() -> Result<Lots, Refusal> {
    Ok(Lots {
        id: random()?,
        secret: random()?,
    })
}

fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Refusal::NoRandomness)?;
    Ok(bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
