//! The store of access keys: one sealed file that is replaced whole.

use std::fs::File;
use std::io::{self, Read};
use std::iter;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use swf_filter_core::iam::principal::{Caller, CallerKind};
use swf_filter_core::seal::SealingKey;
use swf_filter_core::sigv4::Secret;
use zeroize::Zeroizing;

use super::places::{KeyFile, Places, STORE_KEY, open_store};
use super::sealing::{
    StoreKey, lock, make_store_key, new_store_key, random, store_keys, write_store_keys,
};
use super::{Keys, KeysError, Status, UserKey};
use crate::files::{Stamp, write_whole};

/// Access keys of a user at most, as at AWS (quotas of IAM, access keys assigned to an IAM user).
pub const PER_USER: usize = 2;
/// First bytes of the file, which are sealed with it. The number is that of the format.
pub(super) const FORMAT: &[u8; 26] = b"swf-filter access keys 02\n";
/// Those of the format before, which had no ids of users.
pub(super) const FORMAT_1: &[u8; 26] = b"swf-filter access keys 01\n";
/// Bytes of the store at most: some 300,000 keys.
const MAX_BYTES: u64 = 64 << 20;
/// Bytes of `store.mark` at most: a number and an end of line.
const MARK_BYTES: usize = 21;
/// What the ids of users' access keys begin with (IAM identifiers, unique id prefixes).
const PREFIX: &str = "AKIA";
/// Bits of a character of base32, and its alphabet (RFC 4648, section 6).
const BASE32_BITS: usize = 5;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The store of access keys.
#[derive(Clone, Debug)]
pub struct Store {
    places: Places,
}

/// What may be told of an access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Its id.
    pub access_key_id: String,
    /// The ARN of its user.
    pub user: String,
    /// The unique id of the user that it is bound to; none if the policy stated none when it was made.
    pub user_id: Option<String>,
    /// Whether it may be used.
    pub status: Status,
    /// When it was made, RFC 3339.
    pub created: String,
}

/// An access key that was just made: the only time that its secret is told.
#[derive(Serialize)]
pub struct NewKey {
    /// What may be told of it later.
    #[serde(flatten)]
    pub info: KeyInfo,
    /// The secret access key.
    pub secret_access_key: Zeroizing<String>,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NewKey").field(&self.info).finish()
    }
}

/// What is sealed.
#[derive(Default, Serialize, Deserialize)]
struct Contents {
    /// How many changes came to this.
    number: u64,
    keys: Vec<Stored>,
}

/// A store that was opened.
#[derive(Default)]
struct Opened {
    contents: Contents,
    /// The key that opened it, and where that was read; none if there is no store.
    key: Option<(StoreKey, KeyFile)>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    id: String,
    user: String,
    user_id: Option<String>,
    secret: Zeroizing<String>,
    status: Status,
    /// In seconds of Unix time.
    created: i64,
}

/// What is sealed in [`FORMAT_1`].
#[derive(Deserialize)]
struct Contents1 {
    number: u64,
    keys: Vec<Stored1>,
}

#[derive(Deserialize)]
struct Stored1 {
    id: String,
    user: String,
    secret: Zeroizing<String>,
    status: Status,
    created: i64,
}

impl From<Contents1> for Contents {
    fn from(before: Contents1) -> Self {
        let keys = before.keys.into_iter().map(|key| Stored {
            id: key.id,
            user: key.user,
            user_id: None,
            secret: key.secret,
            status: key.status,
            created: key.created,
        });
        Self {
            number: before.number,
            keys: keys.collect(),
        }
    }
}

impl Stored {
    fn info(&self) -> KeyInfo {
        KeyInfo {
            access_key_id: self.id.clone(),
            user: self.user.clone(),
            user_id: self.user_id.clone(),
            status: self.status,
            created: Timestamp::from_second(self.created)
                .unwrap_or_default()
                .to_string(),
        }
    }
}

impl Store {
    /// The store at these places.
    #[must_use]
    pub fn new(places: Places) -> Self {
        Self { places }
    }

    /// All keys, in the order in which they were made.
    pub fn list(&self) -> Result<Vec<KeyInfo>, KeysError> {
        Ok(self
            .read()?
            .contents
            .keys
            .iter()
            .map(Stored::info)
            .collect())
    }

    /// Makes a key for a user, given by ARN, and what it is sealed with if that is not there. With the unique id of the
    /// user, the key is for nobody else who has that ARN later.
    pub fn create(
        &self,
        user: &str,
        user_id: Option<&str>,
        now: Timestamp,
    ) -> Result<NewKey, KeysError> {
        let is_user = Caller::from_arn(user).is_ok_and(|caller| caller.kind() == CallerKind::User);
        if !is_user {
            return Err(KeysError::NotUser { text: user.into() });
        }
        self.change(|keys| {
            if keys.iter().filter(|key| key.user == user).count() >= PER_USER {
                return Err(KeysError::TooMany { user: user.into() });
            }
            let secret: Zeroizing<[u8; 30]> = Zeroizing::new(random()?);
            let key = Stored {
                id: key_id(random()?),
                user: user.to_owned(),
                user_id: user_id.map(str::to_owned),
                secret: Zeroizing::new(STANDARD.encode(*secret)),
                status: Status::Active,
                created: now.as_second(),
            };
            let new = NewKey {
                info: key.info(),
                secret_access_key: key.secret.clone(),
            };
            keys.push(key);
            Ok(new)
        })
    }

    /// Enables or disables a key.
    pub fn set_status(&self, id: &str, status: Status) -> Result<KeyInfo, KeysError> {
        self.change(|keys| {
            let place = place(keys, id)?;
            keys[place].status = status;
            Ok(keys[place].info())
        })
    }

    /// Deletes a key.
    pub fn delete(&self, id: &str) -> Result<KeyInfo, KeysError> {
        self.change(|keys| Ok(keys.remove(place(keys, id)?).info()))
    }

    /// Seals the store with a new key, and forgets the one before. Gives how many access keys are in it.
    ///
    /// Both are in `store.key` while the store is replaced, so that wherever this ends, what is there opens. The next
    /// change of the store, or this once more, then does what is left.
    pub fn rekey(&self) -> Result<usize, KeysError> {
        let own = Self::new(self.places.own());
        let _lock = lock(own.places.state())?;
        let Opened { contents, key } = own.read()?;
        let new = new_store_key()?;
        let old = key.iter().map(|(old, _)| old);
        write_store_keys(
            &own.places,
            &iter::once(&new).chain(old).collect::<Vec<_>>(),
        )?;
        let count = contents.keys.len();
        own.replace(contents)?;
        Ok(count)
    }

    /// All keys, for looking up.
    pub(super) fn keys(&self) -> Result<Keys, KeysError> {
        let Opened { contents, .. } = self.read()?;
        let keys = contents.keys.iter().map(|key| {
            let known = UserKey {
                user: Arc::from(&*key.user),
                user_id: key.user_id.as_deref().map(Box::from),
                secret: Secret::new(String::clone(&key.secret)),
                status: key.status,
            };
            (Box::from(&*key.id), known)
        });
        Ok(Keys {
            number: contents.number,
            keys: keys.collect(),
        })
    }

    /// Reads the store, changes it, and writes it, while no other command does.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Stored>) -> Result<T, KeysError>,
    ) -> Result<T, KeysError> {
        let _lock = lock(self.places.state())?;
        let Opened { mut contents, .. } = self.read()?;
        let answer = change(&mut contents.keys)?;
        make_store_key(&self.places)?;
        self.replace(contents)?;
        Ok(answer)
    }

    /// Writes what is now in the store, as one change more.
    fn replace(&self, mut contents: Contents) -> Result<(), KeysError> {
        contents.number += 1;
        // First what is certain now, then the store, then the new number: wherever this ends, what is there is accepted.
        if self.mark()?.is_none() {
            self.write_mark(contents.number - 1)?;
        }
        let (keys, file) = store_keys(&self.places)?;
        let Some((sealing, others)) = keys.split_first() else {
            unreachable!("there is no file without a key");
        };
        self.write(&contents, &SealingKey::new(**sealing))?;
        self.write_mark(contents.number)?;
        match file {
            KeyFile::Own(_) if !others.is_empty() => write_store_keys(&self.places, &[sealing]),
            KeyFile::Credential(_) | KeyFile::Own(_) => Ok(()),
        }
    }

    /// What is in the store: nothing, if there never was one.
    fn read(&self) -> Result<Opened, KeysError> {
        loop {
            let before = self.stamps();
            match self.read_once() {
                // Another command replaced the key between two looks.
                Err(KeysError::Altered { .. }) if self.stamps() != before => {}
                read => return read,
            }
        }
    }

    fn stamps(&self) -> [Stamp; 2] {
        let key = self.places.key_file(STORE_KEY);
        [self.places.store(), key.path()].map(Stamp::of)
    }

    fn read_once(&self) -> Result<Opened, KeysError> {
        // Before the store, which another command may replace meanwhile: it then is newer than the number, never older.
        let mark = self.mark()?;
        let opened = match open_store(self.places.store())? {
            None => Opened::default(),
            Some(file) => self.open(file)?,
        };
        let found = opened.contents.number;
        let expected = match (mark, &opened.key) {
            (Some(expected), _) => expected,
            // The number is written before the first store is: it was in the meantime, or somebody removed it.
            (None, Some((_, KeyFile::Own(_)))) if self.mark()?.is_none() => {
                return Err(KeysError::NoMark {
                    mark: self.places.mark(),
                    path: self.places.store().to_owned(),
                    found,
                });
            }
            // A unit that gets its key as a credential may not be able to see the directory of keys.
            (None, _) => 0,
        };
        if found < expected {
            return Err(KeysError::RolledBack {
                path: self.places.store().to_owned(),
                found,
                expected,
                mark: self.places.mark(),
            });
        }
        Ok(opened)
    }

    fn open(&self, file: File) -> Result<Opened, KeysError> {
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.unreadable(error))?;
        let bad = |expected| KeysError::BadKeys {
            path: self.places.store().to_owned(),
            expected,
        };
        let (format, sealed) = [FORMAT, FORMAT_1]
            .into_iter()
            .find_map(|format| Some((format, bytes.strip_prefix(format)?)))
            .ok_or_else(|| bad("a store of access keys of this version"))?;
        let (keys, file) = store_keys(&self.places)?;
        let mut opened = keys
            .into_iter()
            .filter_map(|key| Some((SealingKey::new(*key).open(format, sealed).ok()?, key)));
        let (text, key) = opened.next().ok_or_else(|| KeysError::Altered {
            path: self.places.store().to_owned(),
            key: file.path().to_owned(),
        })?;
        let contents = if format == FORMAT {
            postcard::from_bytes(&text)
        } else {
            postcard::from_bytes::<Contents1>(&text).map(Contents::from)
        };
        let contents =
            contents.map_err(|_| bad("a store of access keys that this version can read"))?;
        let key = Some((key, file));
        Ok(Opened { contents, key })
    }

    fn write(&self, contents: &Contents, key: &SealingKey) -> Result<(), KeysError> {
        // With room for all of it: a vector that grows would leave copies of secrets behind.
        let room = contents.keys.iter().fold(16, |room, key| {
            let user_id = key.user_id.as_deref().map_or(0, str::len);
            room + key.id.len() + key.user.len() + user_id + key.secret.len() + 32
        });
        let text = postcard::to_extend(contents, Vec::with_capacity(room));
        let text = Zeroizing::new(text.map_err(|error| self.unwritable(io::Error::other(error)))?);
        let sealed = key.seal(FORMAT, &text, random()?);
        write_whole(self.places.store(), &[FORMAT, &sealed]).map_err(|error| self.unwritable(error))
    }

    /// How many changes were made at least, if that is known.
    fn mark(&self) -> Result<Option<u64>, KeysError> {
        let path = self.places.mark();
        let bytes = match KeyFile::Own(path.clone()).read(MARK_BYTES) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(KeysError::Unreadable { error, .. })
                if error.kind() == io::ErrorKind::PermissionDenied && self.is_credential() =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let number = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.trim_end().parse().ok());
        number.map(Some).ok_or(KeysError::BadKeys {
            path,
            expected: "a number",
        })
    }

    fn is_credential(&self) -> bool {
        let file = self.places.key_file(STORE_KEY);
        matches!(file, KeyFile::Credential(_))
    }

    fn write_mark(&self, number: u64) -> Result<(), KeysError> {
        let path = self.places.mark();
        write_whole(&path, &[format!("{number}\n").as_bytes()])
            .map_err(|error| KeysError::Unwritable { path, error })
    }

    fn unreadable(&self, error: io::Error) -> KeysError {
        KeysError::Unreadable {
            path: self.places.store().to_owned(),
            error,
        }
    }

    fn unwritable(&self, error: io::Error) -> KeysError {
        KeysError::Unwritable {
            path: self.places.store().to_owned(),
            error,
        }
    }
}

fn place(keys: &[Stored], id: &str) -> Result<usize, KeysError> {
    let place = keys.iter().position(|key| key.id == id);
    place.ok_or_else(|| KeysError::Unknown { id: id.to_owned() })
}

/// An access key id: the prefix, and 80 bits as 16 characters.
fn key_id(bits: [u8; 10]) -> String {
    let all = bits
        .iter()
        .fold(0, |all: u128, byte| all << 8 | u128::from(*byte));
    let characters = (0..16).rev().map(|place| {
        // Five bits are an index into 32 characters.
        let index = (all >> (place * BASE32_BITS)) & 0b1_1111;
        char::from(BASE32[usize::try_from(index).unwrap_or_default()])
    });
    PREFIX.chars().chain(characters).collect()
}
