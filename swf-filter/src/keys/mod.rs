//! Access keys of users, and the keys that session tokens are sealed with.
//!
//! AWS gives out no secrets, so the listener can only verify keys that were made here. They are at rest in one file, sealed
//! with a key that lies elsewhere: whoever gets at a backup of the state has no secrets, and whoever can write the state
//! cannot put in a key, nor bring back a deleted one. The last is noticed by a number that counts changes, in the store and
//! beside the key: a database would not do it, and nobody has so many keys that one is needed.
//!
//! Nothing here guesses. A store that is damaged, altered or older than it should be is an error, and never an empty store.

mod places;
mod sealing;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swf_filter_core::sigv4::Secret;

pub use self::places::Places;
pub use self::sealing::{KEEP, rotate, session_keys};
pub use self::store::{KeyInfo, NewKey, PER_USER, Store};

/// Access keys as the listener looks them up.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    number: u64,
    keys: HashMap<Box<str>, UserKey>,
}

/// What is known of an access key id.
#[derive(Clone, Debug)]
pub struct UserKey {
    /// The ARN of the user.
    pub user: Arc<str>,
    /// The unique id that the policy stated for the user when the key was made, if it did.
    pub user_id: Option<Box<str>>,
    /// The secret access key.
    pub secret: Secret,
    /// Whether it may be used.
    pub status: Status,
}

/// Whether an access key may be used, in AWS's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It may.
    Active,
    /// It may not, until it is enabled again.
    Inactive,
}

/// Why keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The store does not open.
    #[error("`{}` was altered, or was sealed with another key than that in `{}`", path.display(), key.display())]
    Altered {
        /// The store.
        path: PathBuf,
        /// The key that it was tried with.
        key: PathBuf,
    },
    /// A file of keys is not as it has to be.
    #[error("`{}` is not {expected}", path.display())]
    BadKeys {
        /// The file.
        path: PathBuf,
        /// What it has to be.
        expected: &'static str,
    },
    /// Another command holds the lock.
    #[error("`{}` is being changed by another command", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// A secret can be read by others.
    #[error("`{}` can be read or changed by others than its owner: its mode is {mode:04o}, and has to be 0600", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// There is a store, but not its key.
    #[error("there is no `{}`, without which `{}` cannot be opened", path.display(), store.display())]
    NoKey {
        /// The key.
        path: PathBuf,
        /// The store.
        store: PathBuf,
    },
    /// There is a store, but not the file that tells an old one.
    #[error(
        "there is no `{}`, so `{}` may be an old one; if you know that it is not, write {found} into it",
        mark.display(),
        path.display()
    )]
    NoMark {
        /// The file that says how many changes were made.
        mark: PathBuf,
        /// The store.
        path: PathBuf,
        /// How many changes it has seen.
        found: u64,
    },
    /// There are no keys of session tokens.
    #[error("there is no `{}`; `swf-filter keys rotate` makes it", path.display())]
    NoSessionKeys {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else than a user cannot have access keys.
    #[error("`{text}` is not the ARN of a user")]
    NotUser {
        /// What was given.
        text: String,
    },
    /// A file belongs to somebody who has no business with keys.
    #[error("`{}` belongs to user {owner}, and has to be root's or its reader's own", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The system gives no random numbers.
    #[error("there are no random numbers: {0}")]
    Random(getrandom::Error),
    /// The store is older than it should be, or is gone.
    #[error(
        "`{}` has seen {found} changes, and {expected} were made: it was replaced by an older one, or is lost; if you did that, write {found} into `{}`",
        path.display(),
        mark.display()
    )]
    RolledBack {
        /// The store.
        path: PathBuf,
        /// How many changes it has seen.
        found: u64,
        /// How many were made.
        expected: u64,
        /// The file that says how many were made.
        mark: PathBuf,
    },
    /// A user has as many keys as there may be.
    #[error(
        "`{user}` has {PER_USER} access keys already, and there may not be more; delete one first"
    )]
    TooMany {
        /// The ARN of the user.
        user: String,
    },
    /// There is no such access key.
    #[error("there is no access key `{id}`")]
    Unknown {
        /// The id that was given.
        id: String,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

impl Keys {
    /// Reads all keys. There are none if none was ever made.
    pub fn load(places: &Places) -> Result<Self, KeysError> {
        Store::new(places.clone()).keys()
    }

    /// Reads all keys again. Refuses a store that is older than these are.
    pub fn reload(&self, places: &Places) -> Result<Self, KeysError> {
        let keys = Self::load(places)?;
        if keys.number < self.number {
            return Err(KeysError::RolledBack {
                path: places.store().to_owned(),
                found: keys.number,
                expected: self.number,
                mark: places.mark(),
            });
        }
        Ok(keys)
    }

    /// The key with an id.
    #[must_use]
    pub fn get(&self, access_key_id: &str) -> Option<&UserKey> {
        self.keys.get(access_key_id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
