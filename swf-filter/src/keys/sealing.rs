//! Keys to seal with: that of the store, and those of session tokens.

use std::collections::HashSet;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::geteuid;
use swf_filter_core::seal::{KEY, SealingKey};
use zeroize::Zeroizing;

use super::KeysError;
use super::places::{KeyFile, Places, SESSION_KEYS, STORE_KEY};
use crate::files::write_whole;
use crate::lock::{Afterwards, Lock};

/// How many keys of session tokens that were replaced are kept, if nothing else is asked for.
///
/// A token lives 36 hours at most (`GetSessionToken` in the API reference of STS): with two, keys can be replaced every 18
/// hours without ending a session.
pub const KEEP: usize = 2;
/// How many keys of session tokens there may be.
const MOST_KEYS: usize = 64;
/// How many keys the store may have.
const STORE_KEYS: usize = 2;
/// Bytes of a line of `session.keys` at most: a number, a blank, base64, an end of line.
const LINE: usize = 10 + 1 + KEY.div_ceil(3) * 4 + 1;
/// How long another command may hold a lock.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is tried to take one.
const GLANCE: Duration = Duration::from_millis(5);

/// The keys of session tokens with their numbers. The first seals, all open.
pub fn session_keys(places: &Places) -> Result<Vec<(u32, SealingKey)>, KeysError> {
    let file = places.key_file(SESSION_KEYS);
    let keys = read_session_keys(&file)?.ok_or_else(|| KeysError::NoSessionKeys {
        path: file.path().to_owned(),
    })?;
    let sealing = keys
        .iter()
        .map(|(number, key)| (*number, SealingKey::new(**key)));
    Ok(sealing.collect())
}

/// Puts a new key before those of session tokens, and drops all but `keep` of these. Gives the numbers of those there are now.
pub fn rotate(places: &Places, keep: usize) -> Result<Vec<u32>, KeysError> {
    let _lock = lock(places.keys())?;
    let path = places.keys().join(SESSION_KEYS);
    let mut keys = read_session_keys(&KeyFile::Own(path.clone()))?.unwrap_or_default();
    let highest = keys.iter().map(|(number, _)| *number).max();
    let next = highest
        .map_or(Some(1), |number| number.checked_add(1))
        .ok_or_else(|| KeysError::BadKeys {
            path: path.clone(),
            expected: "numbered so that there is a higher number",
        })?;
    keys.insert(0, (next, Zeroizing::new(random()?)));
    keys.truncate(keep.saturating_add(1).min(MOST_KEYS));
    let mut text = Zeroizing::new(String::with_capacity(keys.len() * LINE));
    for (number, key) in &keys {
        let encoded = Zeroizing::new(STANDARD.encode(**key));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{number} {}", *encoded);
    }
    write_whole(&path, &[text.as_bytes()])
        .map_err(|error| KeysError::Unwritable { path, error })?;
    Ok(keys.iter().map(|(number, _)| *number).collect())
}

/// A key of session tokens with its number.
type Numbered = (u32, Zeroizing<[u8; KEY]>);

fn read_session_keys(file: &KeyFile) -> Result<Option<Vec<Numbered>>, KeysError> {
    let Some(bytes) = file.read(MOST_KEYS * LINE)? else {
        return Ok(None);
    };
    let mut numbers = HashSet::new();
    let keys: Option<Vec<Numbered>> = std::str::from_utf8(&bytes).ok().and_then(|text| {
        let keys = text.lines().map(|line| {
            let (number, encoded) = line.split_once(' ')?;
            let number = number.parse().ok()?;
            let mut key = Zeroizing::new([0; KEY]);
            let length = STANDARD.decode_slice(encoded, &mut *key).ok()?;
            (length == KEY && numbers.insert(number)).then_some((number, key))
        });
        keys.collect()
    });
    match keys {
        Some(keys) if !keys.is_empty() && bytes.len() <= MOST_KEYS * LINE => Ok(Some(keys)),
        _ => Err(KeysError::BadKeys {
            path: file.path().to_owned(),
            expected: "a list of different numbers, each followed by 32 bytes in base64, a line each",
        }),
    }
}

/// A key of the store.
pub(super) type StoreKey = Zeroizing<[u8; KEY]>;

/// The keys of the store, and where they were read. The first seals, all open: there are two while one replaces the other.
pub(super) fn store_keys(places: &Places) -> Result<(Vec<StoreKey>, KeyFile), KeysError> {
    let file = places.key_file(STORE_KEY);
    let bytes = file
        .read(STORE_KEYS * KEY)?
        .ok_or_else(|| KeysError::NoKey {
            path: file.path().to_owned(),
            store: places.store().to_owned(),
        })?;
    let (keys, rest) = bytes.as_chunks::<KEY>();
    if !rest.is_empty() || !(1..=STORE_KEYS).contains(&keys.len()) {
        return Err(KeysError::BadKeys {
            path: file.path().to_owned(),
            expected: "32 bytes, or 64 while one key replaces another",
        });
    }
    Ok((keys.iter().copied().map(Zeroizing::new).collect(), file))
}

/// Makes the key of the store if there is none.
pub(super) fn make_store_key(places: &Places) -> Result<(), KeysError> {
    if places.key_file(STORE_KEY).path().exists() {
        return Ok(());
    }
    write_store_keys(places, &[&new_store_key()?])
}

/// A new key of the store.
pub(super) fn new_store_key() -> Result<StoreKey, KeysError> {
    Ok(Zeroizing::new(random()?))
}

/// Writes the keys of the store.
pub(super) fn write_store_keys(places: &Places, keys: &[&StoreKey]) -> Result<(), KeysError> {
    let path = places.key_file(STORE_KEY).path().to_owned();
    let parts: Vec<&[u8]> = keys.iter().map(|key| key.as_slice()).collect();
    write_whole(&path, &parts).map_err(|error| KeysError::Unwritable { path, error })
}

/// Random bytes.
pub(super) fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], KeysError> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).map_err(KeysError::Random)?;
    Ok(bytes)
}

/// Keeps other commands out of a directory until the answer is dropped. Readers need no lock: files are replaced whole.
///
/// Its owner can lock it, too, who may be the listener's user. Root has waited for long enough after a while, and goes on: whoever took the
/// listener over shall not keep its keys from being replaced.
pub(super) fn lock(directory: &Path) -> Result<Option<Lock>, KeysError> {
    let unwritable = |error| KeysError::Unwritable {
        path: directory.to_owned(),
        error,
    };
    let end = Instant::now() + PATIENCE;
    loop {
        match Lock::alone(directory, Afterwards::Gone).map_err(unwritable)? {
            Some(lock) => return Ok(Some(lock)),
            None if Instant::now() < end => sleep(GLANCE),
            None => break,
        }
    }
    let owner = fs::metadata(directory).map_err(unwritable)?.uid();
    if geteuid().is_root() && owner != 0 {
        return Ok(None);
    }
    Err(KeysError::Busy {
        path: directory.to_owned(),
    })
}
