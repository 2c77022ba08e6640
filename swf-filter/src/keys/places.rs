//! Where keys are, and how files of keys are read: by their owner only, and never more than they may hold.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::KeysError;
use crate::files::open_regular;
use crate::listener::settings::Paths;
use crate::trust::{Opened, WRITABLE};

/// The directory that systemd puts the credentials of a unit into (systemd.exec(5), `LoadCredential=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// The store in the state directory.
const STORE: &str = "access-keys";
/// The key of the store.
pub(super) const STORE_KEY: &str = "store.key";
/// How many changes of the store were made.
const MARK: &str = "store.mark";
/// The keys of session tokens.
pub(super) const SESSION_KEYS: &str = "session.keys";
/// Bits of a mode that let others in.
const OTHERS: u32 = 0o077;
/// All bits of a mode that say who may do what.
const PERMISSIONS: u32 = 0o7777;

/// Where keys are.
#[derive(Clone, Debug)]
pub struct Places {
    store: PathBuf,
    keys: PathBuf,
    credentials: Option<PathBuf>,
}

impl Places {
    /// The places that settings name. What systemd hands to this process as a credential comes before a file.
    #[must_use]
    pub fn new(paths: &Paths) -> Self {
        Self::with_credentials(paths, std::env::var_os(CREDENTIALS).map(PathBuf::from))
    }

    /// The same, with the directory of credentials.
    #[must_use]
    pub fn with_credentials(paths: &Paths, credentials: Option<PathBuf>) -> Self {
        Self {
            store: paths.state.join(STORE),
            keys: paths.keys.clone(),
            credentials,
        }
    }

    /// The store of access keys.
    #[must_use]
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The files that change when keys do.
    #[must_use]
    pub fn watched(&self) -> [PathBuf; 3] {
        let [store_key, session_keys] =
            [STORE_KEY, SESSION_KEYS].map(|name| self.key_file(name).path().to_owned());
        [self.store.clone(), store_key, session_keys]
    }

    /// The same places without what systemd hands over, which cannot be changed.
    pub(super) fn own(&self) -> Self {
        Self {
            credentials: None,
            ..self.clone()
        }
    }

    /// The directory of the store.
    pub(super) fn state(&self) -> &Path {
        self.store.parent().unwrap_or(Path::new("/"))
    }

    /// The directory of keys.
    pub(super) fn keys(&self) -> &Path {
        &self.keys
    }

    /// The file that says how many changes of the store were made.
    pub(super) fn mark(&self) -> PathBuf {
        self.keys.join(MARK)
    }

    /// Where a file of keys is read from: the credential, if there is one.
    pub(super) fn key_file(&self, name: &str) -> KeyFile {
        let credential = self.credentials.as_ref().map(|folder| folder.join(name));
        match credential.filter(|path| path.exists()) {
            Some(path) => KeyFile::Credential(path),
            None => KeyFile::Own(self.keys.join(name)),
        }
    }
}

/// A file of keys.
#[derive(Clone, Debug)]
pub(super) enum KeyFile {
    /// One that systemd made. It lets the unit's user in by an access list, which looks like a group's bits in the mode.
    Credential(PathBuf),
    /// One whose mode has to be right.
    Own(PathBuf),
}

impl KeyFile {
    /// Its path.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Credential(path) | Self::Own(path) => path,
        }
    }

    /// Reads it, one byte more than `limit` at most. None if it is not there.
    pub(super) fn read(&self, limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>, KeysError> {
        let path = self.path();
        let unreadable = |error| KeysError::Unreadable {
            path: path.to_owned(),
            error,
        };
        let opened = match open_regular(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(unreadable)?,
        };
        let closed_to = match self {
            Self::Credential(_) => 0,
            Self::Own(_) => OTHERS,
        };
        let file = owned(opened, path, closed_to)?;
        // A vector that grows would leave copies of secrets behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
        let read = file.take(limit as u64 + 1).read_to_end(&mut bytes);
        read.map_err(unreadable)?;
        Ok(Some(bytes))
    }
}

/// The store, to be read. It is sealed, so others may read it; they may not write it.
pub(super) fn open_store(path: &Path) -> Result<Option<File>, KeysError> {
    match open_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(KeysError::Unreadable {
            path: path.to_owned(),
            error,
        }),
        Ok(opened) => owned(opened, path, WRITABLE).map(Some),
    }
}

/// A file that nobody else can have put there, and whose mode has none of the bits that it has to be closed to.
fn owned(opened: Opened, path: &Path, closed_to: u32) -> Result<File, KeysError> {
    if let Some(owner) = opened.stranger() {
        return Err(KeysError::Owner {
            path: path.to_owned(),
            owner,
        });
    }
    let mode = opened.file.metadata().map(|file| file.mode());
    let mode = mode.map_err(|error| KeysError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    if mode & closed_to != 0 {
        return Err(KeysError::Mode {
            path: path.to_owned(),
            mode: mode & PERMISSIONS,
        });
    }
    Ok(opened.file)
}
