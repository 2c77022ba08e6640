//! Which domain a task token belongs to. A token is opaque, and calls that carry one name no domain; but the answer that
//! gave it out was to a poll of a domain.
//!
//! Tokens come from AWS, but which of them are learned is up to callers, so that the cache is bounded in entries and in
//! bytes, whatever they poll. Of a token only its hash is kept: a copy of the cache lets nobody answer a task.

use std::collections::{BTreeMap, HashMap};

use thiserror::Error;

/// Tokens that a cache holds unless told otherwise.
pub const DEFAULT_CAPACITY: usize = 65_536;
/// Bytes that the entries of a cache may take, whatever its capacity.
pub const MAX_BYTES: usize = 32 << 20;

/// The domains of task tokens, the oldest forgotten first.
#[derive(Clone, Debug)]
pub struct TokenCache {
    capacity: usize,
    budget: usize,
    bytes: usize,
    turn: u64,
    learned: HashMap<Hash, Learned>,
    /// Each entry once, by the turn it was learned in.
    order: BTreeMap<u64, Hash>,
}

type Hash = [u8; blake3::OUT_LEN];

#[derive(Clone, Debug)]
struct Learned {
    domain: Box<str>,
    turn: u64,
}

/// Why nothing was learned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenFault {
    /// The domain's name has a length that SWF gives none.
    #[error("the domain has {characters} characters, not 1 to {DOMAIN}")]
    DomainLength {
        /// Characters of the name.
        characters: usize,
    },
    /// The token has a length that SWF gives none.
    #[error("the task token has {characters} characters, not 1 to {TOKEN}")]
    TokenLength {
        /// Characters of the token.
        characters: usize,
    },
}

impl TokenCache {
    /// An empty cache for this many tokens.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self::bounded(capacity, MAX_BYTES)
    }

    /// An empty cache for this many tokens, in this many bytes.
    pub(super) fn bounded(capacity: usize, budget: usize) -> Self {
        Self {
            capacity,
            budget,
            bytes: 0,
            turn: 0,
            learned: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// Notes that a token was given out for a task of this domain. What it meant before is forgotten, and it is now the
    /// one learned last.
    pub fn learn(&mut self, token: &str, domain: &str) -> Result<(), TokenFault> {
        let characters = token.chars().count();
        if !(1..=TOKEN).contains(&characters) {
            return Err(TokenFault::TokenLength { characters });
        }
        let characters = domain.chars().count();
        if !(1..=DOMAIN).contains(&characters) {
            return Err(TokenFault::DomainLength { characters });
        }
        let hash = hash(token);
        self.remove(&hash);
        self.insert(hash, domain);
        while self.len() > self.capacity || self.bytes > self.budget {
            self.remove_oldest();
        }
        Ok(())
    }

    /// The domain that a token was last learned for.
    #[must_use]
    pub fn domain(&self, token: &str) -> Option<&str> {
        let learned = self.learned.get(&hash(token))?;
        Some(&learned.domain)
    }

    /// Forgets a token, as when its task is done.
    pub fn forget(&mut self, token: &str) {
        self.remove(&hash(token));
    }

    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.learned.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.learned.is_empty()
    }

    /// Bytes that all entries take, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn insert(&mut self, hash: Hash, domain: &str) {
        // INVARIANT: 2^64 turns are never reached.
        self.turn = self.turn.wrapping_add(1);
        self.bytes += cost(domain);
        self.order.insert(self.turn, hash);
        let learned = Learned {
            domain: domain.into(),
            turn: self.turn,
        };
        self.learned.insert(hash, learned);
    }

    fn remove(&mut self, hash: &Hash) {
        if let Some(learned) = self.learned.remove(hash) {
            self.order.remove(&learned.turn);
            self.bytes -= cost(&learned.domain);
        }
    }

    fn remove_oldest(&mut self) {
        if let Some((_, hash)) = self.order.pop_first() {
            self.remove(&hash);
        }
    }
}

/// A cache of [`DEFAULT_CAPACITY`].
impl Default for TokenCache {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

fn hash(token: &str) -> Hash {
    *blake3::hash(token.as_bytes()).as_bytes()
}

/// Bytes that an entry takes, about.
pub(super) fn cost(domain: &str) -> usize {
    ENTRY + domain.len()
}

/// Characters of the longest token that SWF gives out.
pub(super) const TOKEN: usize = 1_024;
/// Characters of the longest name that SWF lets a domain have.
pub(super) const DOMAIN: usize = 256;
/// What an entry takes besides its domain's name: the hash twice, the turn twice, and what the two maps add.
const ENTRY: usize = 192;
