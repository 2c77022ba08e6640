//! Certificates, keys and authorities as their files have them, checked before a client sees them.
//!
//! What cannot work is an error. What works today, but not for long or not for all, is a doubt: a listener that does not start
//! because a certificate ran out in the night is worse than one whose clients say so. Lists of revoked certificates are not
//! read: to take a client's certificate back, take its authority away.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustix::process::geteuid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::explain::to_hex;
use crate::files::open_regular;
use crate::listener::settings::{CertificateFiles, ClientCertificates};
use crate::trust::WRITABLE;

/// A certificate that clients are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The file that it is the first of.
    pub chain: PathBuf,
    /// The names that it covers, in lower case. `*.` stands for one label.
    pub names: Box<[Box<str>]>,
    /// When it begins to be valid.
    pub not_before: Timestamp,
    /// When it runs out.
    pub not_after: Timestamp,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: Box<str>,
}

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate cannot be read as one.
    #[error("`{}`: certificate {position} is malformed: {reason}", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// Which of its certificates, from 1.
        position: usize,
        /// What is wrong.
        reason: Box<str>,
    },
    /// A key cannot be used.
    #[error("`{}`: the key cannot be used: {error}; RSA from 2048 bits on, ECDSA on P-256, P-384 or P-521, and Ed25519 can", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        error: Error,
    },
    /// A file is not PEM.
    #[error("`{}` is not a PEM file: {error}", path.display())]
    BadPem {
        /// The file.
        path: PathBuf,
        /// Where it stops being one.
        error: pem::Error,
    },
    /// A key that only a passphrase opens.
    #[error("`{}`: the key is encrypted, and nobody is there to type the passphrase; write it in the clear with `openssl pkey`, and let the listener's user alone read it", .0.display())]
    KeyEncrypted(PathBuf),
    /// A key is another certificate's.
    #[error("`{}` is not the key of the first certificate in `{}`; the server's own certificate goes first, those that signed it after it", key.display(), chain.display())]
    KeyMismatch {
        /// The certificate.
        chain: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A key of somebody else.
    #[error("`{}` holds a key and belongs to user {owner}; it has to be root's or the listener's user's own", path.display())]
    KeyOwner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others may replace a key.
    #[error("`{}` holds a key, and others than its owner may write it: its mode is {mode:04o}; let the listener's user alone read it", path.display())]
    KeyWritable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file of authorities has none that can be used.
    #[error("`{}`: no authority can be used: {error}", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        error: VerifierBuilderError,
    },
    /// A file without what it is for.
    #[error("`{}` holds no certificate (`-----BEGIN CERTIFICATE-----`)", .0.display())]
    NoCertificate(PathBuf),
    /// A listener without certificates.
    #[error("no certificates: give at least one")]
    NoCertificates,
    /// A file without what it is for.
    #[error("`{}` holds no key (`-----BEGIN PRIVATE KEY-----`)", .0.display())]
    NoKey(PathBuf),
    /// What is made once cannot be made.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] Error),
    /// A file is longer than such files are.
    #[error("`{}` is longer than {} KiB", .0.display(), FILE / 1024)]
    TooLong(PathBuf),
    /// A file cannot be read.
    #[error("cannot read `{}`: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// What is doubtful about files that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// A certificate that did not sign the one before it.
    #[error("`{}`: certificate {position} did not sign the one before it; clients may not find the authority", path.display())]
    ChainBroken {
        /// The file.
        path: PathBuf,
        /// Which of its certificates, from 1.
        position: usize,
    },
    /// A certificate ran out.
    #[error("`{}`: certificate {position} ran out on {not_after}; clients refuse it", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// Which of its certificates, from 1.
        position: usize,
        /// When.
        not_after: Timestamp,
    },
    /// Others may read a key.
    #[error("`{}` holds a key, and its mode is {mode:04o}: {}", path.display(), who(*mode))]
    KeyOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A certificate without names.
    #[error("`{}` covers no DNS name; only the first certificate of a listener is of use without, for clients that name no server", .0.display())]
    NoNames(PathBuf),
    /// A certificate is not valid yet.
    #[error("`{}`: certificate {position} is valid from {not_before} on only; clients refuse it", path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// Which of its certificates, from 1.
        position: usize,
        /// From when on it is.
        not_before: Timestamp,
    },
}

/// All that the files hold.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) certificates: Vec<Certificate>,
    pub(super) doubts: Vec<Doubt>,
    pub(super) names: Arc<Names>,
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// What each file held, to know what changed. Keys are left out: a new key comes with a new certificate.
    pub(super) digests: HashMap<PathBuf, [u8; 32]>,
}

impl Files {
    /// Reads all files, as of a time.
    pub(super) fn read(
        certificates: &[CertificateFiles],
        clients: &ClientCertificates,
        provider: &Arc<CryptoProvider>,
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        let mut reader = Reader {
            now,
            doubts: Vec::new(),
            digests: HashMap::new(),
        };
        let mut names = HashMap::<_, Vec<_>>::new();
        let mut first = None;
        let mut read = Vec::new();
        for files in certificates {
            let (certificate, key) = reader.pair(files, provider)?;
            let key = Arc::new(key);
            for name in &certificate.names {
                let keys = names.entry(name.clone()).or_default();
                keys.push(Arc::clone(&key));
            }
            first.get_or_insert(key);
            read.push(certificate);
        }
        let verifier = match clients {
            ClientCertificates::Off => WebPkiClientVerifier::no_client_auth(),
            ClientCertificates::Optional { authorities } => {
                reader.verifier(authorities, Presence::Optional, provider)?
            }
            ClientCertificates::Required { authorities } => {
                reader.verifier(authorities, Presence::Required, provider)?
            }
        };
        Ok(Self {
            certificates: read,
            doubts: reader.doubts,
            names: Arc::new(Names {
                first: first.ok_or(TlsError::NoCertificates)?,
                names,
            }),
            verifier,
            digests: reader.digests,
        })
    }
}

/// Which certificate is for which name.
#[derive(Debug)]
pub(super) struct Names {
    /// For clients that name no server.
    first: Arc<CertifiedKey>,
    names: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
}

impl Names {
    /// Whether a client that asks for a name is served.
    pub(super) fn covers(&self, name: Option<&str>) -> bool {
        name.is_none_or(|name| !self.of(name).is_empty())
    }

    /// Certificates for a name: its own, or else those of `*.` and the rest of it (RFC 9525, 6.3).
    fn of(&self, name: &str) -> &[Arc<CertifiedKey>] {
        let wildcard = || {
            let (_, rest) = name.split_once('.')?;
            self.names.get(&*format!("*.{rest}"))
        };
        self.names
            .get(name)
            .or_else(wildcard)
            .map_or(&[], Vec::as_slice)
    }
}

/// Of several certificates for a name, the first is taken whose signatures the client can verify.
impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = hello.server_name() else {
            return Some(Arc::clone(&self.first));
        };
        let keys = self.of(name);
        let schemes = hello.signature_schemes();
        keys.iter()
            .find(|key| key.key.choose_scheme(schemes).is_some())
            .or(keys.first())
            .cloned()
    }
}

#[derive(Clone, Copy)]
enum Presence {
    Optional,
    Required,
}

struct Reader {
    now: Timestamp,
    doubts: Vec<Doubt>,
    digests: HashMap<PathBuf, [u8; 32]>,
}

impl Reader {
    fn pair(
        &mut self,
        files: &CertificateFiles,
        provider: &CryptoProvider,
    ) -> Result<(Certificate, CertifiedKey), TlsError> {
        let chain = self.certificates(&files.chain)?;
        let certificate = self.examine(&files.chain, &chain)?;
        let key = self.key(&files.key)?;
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| TlsError::BadKey {
                path: files.key.clone(),
                error,
            })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok((certificate, certified)),
            Err(Error::InconsistentKeys(_)) => Err(TlsError::KeyMismatch {
                chain: files.chain.clone(),
                key: files.key.clone(),
            }),
            Err(error) => Err(malformed(&files.chain, 0, &error)),
        }
    }

    /// Looks at each certificate of a chain, and describes the first.
    fn examine(
        &mut self,
        path: &Path,
        chain: &[CertificateDer<'_>],
    ) -> Result<Certificate, TlsError> {
        let parsed: Vec<_> = chain
            .iter()
            .enumerate()
            .map(|(index, der)| {
                let (_, certificate) = X509Certificate::from_der(der)
                    .map_err(|error| malformed(path, index, &error))?;
                let validity = certificate.validity();
                let time = |time: x509_parser::time::ASN1Time| {
                    Timestamp::from_second(time.timestamp())
                        .map_err(|error| malformed(path, index, &error))
                };
                let not_before = time(validity.not_before)?;
                let not_after = time(validity.not_after)?;
                Ok((certificate, not_before, not_after))
            })
            .collect::<Result<_, TlsError>>()?;
        for (position, (_, not_before, not_after)) in (1..).zip(&parsed) {
            let path = path.to_owned();
            if *not_after < self.now {
                self.doubts.push(Doubt::Expired {
                    path,
                    position,
                    not_after: *not_after,
                });
            } else if *not_before > self.now {
                self.doubts.push(Doubt::NotYetValid {
                    path,
                    position,
                    not_before: *not_before,
                });
            }
        }
        for (position, pair) in (2..).zip(parsed.windows(2)) {
            if pair[0].0.issuer() != pair[1].0.subject() {
                self.doubts.push(Doubt::ChainBroken {
                    path: path.to_owned(),
                    position,
                });
            }
        }
        let (Some((certificate, not_before, not_after)), Some(der)) =
            (parsed.first(), chain.first())
        else {
            return Err(TlsError::NoCertificate(path.to_owned()));
        };
        let names = dns_names(certificate).map_err(|error| malformed(path, 0, &error))?;
        if names.is_empty() {
            self.doubts.push(Doubt::NoNames(path.to_owned()));
        }
        Ok(Certificate {
            chain: path.to_owned(),
            names,
            not_before: *not_before,
            not_after: *not_after,
            sha256: to_hex(&Sha256::digest(der)).into(),
        })
    }

    fn verifier(
        &mut self,
        path: &Path,
        presence: Presence,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        for (index, authority) in self.certificates(path)?.into_iter().enumerate() {
            roots
                .add(authority)
                .map_err(|error| malformed(path, index, &error))?;
        }
        let builder =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
        match presence {
            Presence::Optional => builder.allow_unauthenticated(),
            Presence::Required => builder,
        }
        .build()
        .map_err(|error| TlsError::NoAuthority {
            path: path.to_owned(),
            error,
        })
    }

    /// All certificates of a file, of which there is one at least.
    fn certificates(&mut self, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let bytes = read(path)?;
        let digest = Sha256::digest(&bytes).into();
        self.digests.insert(path.to_owned(), digest);
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| TlsError::BadPem {
                path: path.to_owned(),
                error,
            })?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate(path.to_owned()));
        }
        Ok(certificates)
    }

    fn key(&mut self, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
        let opened = open_regular(path).map_err(|error| unreadable(path, error))?;
        // Root looks after the keys of another user's listener.
        if let Some(owner) = opened.other().filter(|_| !geteuid().is_root()) {
            return Err(TlsError::KeyOwner {
                path: path.to_owned(),
                owner,
            });
        }
        let metadata = opened.file.metadata();
        let mode = metadata.map_err(|error| unreadable(path, error))?;
        let mode = mode.permissions().mode() & 0o777;
        if mode & WRITABLE != 0 {
            return Err(TlsError::KeyWritable {
                path: path.to_owned(),
                mode,
            });
        }
        let bytes = read_opened(opened.file, path)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
            let path = path.to_owned();
            // `BEGIN ENCRYPTED PRIVATE KEY`, and `Proc-Type: 4,ENCRYPTED` of RFC 1421.
            if bytes.windows(9).any(|word| word == b"ENCRYPTED") {
                TlsError::KeyEncrypted(path)
            } else if matches!(error, pem::Error::NoItemsFound) {
                TlsError::NoKey(path)
            } else {
                TlsError::BadPem { path, error }
            }
        })?;
        if mode & 0o077 != 0 {
            self.doubts.push(Doubt::KeyOpen {
                path: path.to_owned(),
                mode,
            });
        }
        Ok(key)
    }
}

/// Names that clients look at: a subject's common name is none of them (RFC 9525, 2).
fn dns_names(
    certificate: &X509Certificate<'_>,
) -> Result<Box<[Box<str>]>, x509_parser::error::X509Error> {
    let names = certificate.subject_alternative_name()?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
            _ => None,
        })
        .collect())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let opened = open_regular(path).map_err(|error| unreadable(path, error))?;
    read_opened(opened.file, path)
}

fn read_opened(file: File, path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let read = file.take(FILE as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(path, error))?;
    if bytes.len() > FILE {
        return Err(TlsError::TooLong(path.to_owned()));
    }
    Ok(bytes)
}

/// Who else than its owner can use a file.
fn who(mode: u32) -> &'static str {
    match mode & 0o007 {
        0 => "its group can use it",
        _ => "everyone can use it",
    }
}

fn unreadable(path: &Path, error: io::Error) -> TlsError {
    TlsError::Unreadable {
        path: path.to_owned(),
        error,
    }
}

fn malformed(path: &Path, index: usize, reason: &impl ToString) -> TlsError {
    TlsError::BadCertificate {
        path: path.to_owned(),
        position: index + 1,
        reason: reason.to_string().into(),
    }
}

/// Bytes of a file at most. All authorities that browsers trust are some 220 KiB.
const FILE: usize = 1 << 20;
