//! Why a handshake was refused, and how often: names for metrics and logs that stay as they are.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::{AlertDescription, CipherSuite, Error, InvalidMessage, PeerIncompatible};

/// Why a handshake was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A client certificate that no authority signed, that is out of date, or whose key the client does not have.
    #[error("the client's certificate is refused: {0}")]
    BadClientCertificate(Error),
    /// The peer went away in the midst of the handshake.
    #[error("the peer went away before the handshake was done")]
    Closed,
    /// No certificate covers the name that the client asked for.
    #[error("no certificate for `{0}`")]
    NoCertificateForName(Box<str>),
    /// Client certificates are required, and there was none.
    #[error("the client showed no certificate")]
    NoClientCertificate,
    /// The client speaks none of our groups for key exchange.
    #[error("no group for key exchange in common")]
    NoCommonGroup,
    /// The client offered protocols by ALPN, and HTTP as it is configured is not among them.
    #[error("no protocol in common: the client offers no version of HTTP that is configured")]
    NoCommonProtocol,
    /// The client can verify no signature that the certificate's key makes.
    #[error("no signature scheme in common")]
    NoCommonSignature,
    /// The client offers forward secrecy, but none of our cipher suites: DHE, or CBC.
    #[error("no cipher suite in common")]
    NoCommonSuite,
    /// Not one suite of the client has forward secrecy.
    #[error("the client offers no cipher suite with forward secrecy")]
    NoForwardSecrecy,
    /// The first bytes are none of TLS, such as plain HTTP.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// Anything else that is against the protocol.
    #[error("{0}")]
    Other(Error),
    /// The peer went away without a byte, as health checks of balancers do.
    #[error("the peer closed without a byte")]
    Probe,
    /// The client refused us by an alert, mostly since it does not trust the certificate.
    #[error("the client refused the handshake: {0:?}")]
    RefusedByClient(AlertDescription),
    /// The handshake took too long.
    #[error("the handshake took too long")]
    TimeOut,
    /// TLS 1.1 is the newest that the client offers, or older.
    #[error("the client offers no version from TLS 1.2 on")]
    TooOld,
}

impl Refusal {
    /// Its name in metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAMES[self.index()]
    }

    fn index(&self) -> usize {
        match self {
            Self::BadClientCertificate(_) => 0,
            Self::Closed => 1,
            Self::NoCertificateForName(_) => 2,
            Self::NoClientCertificate => 3,
            Self::NoCommonGroup => 4,
            Self::NoCommonProtocol => 5,
            Self::NoCommonSignature => 6,
            Self::NoCommonSuite => 7,
            Self::NoForwardSecrecy => 8,
            Self::NotTls => 9,
            Self::Other(_) => 10,
            Self::Probe => 11,
            Self::RefusedByClient(_) => 12,
            Self::TimeOut => 13,
            Self::TooOld => 14,
        }
    }

    /// What an error of rustls means. `suites` are those that the client offers.
    pub(super) fn from_tls(error: Error, suites: &[CipherSuite]) -> Self {
        match error {
            Error::AlertReceived(alert) => Self::RefusedByClient(alert),
            Error::InvalidCertificate(_) => Self::BadClientCertificate(error),
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            Error::NoApplicationProtocol => Self::NoCommonProtocol,
            Error::NoCertificatesPresented => Self::NoClientCertificate,
            Error::PeerIncompatible(incompatible) => match incompatible {
                // Clients that have RSA only send no groups, and rustls looks at groups first.
                PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoKxGroupsInCommon
                    if !suites.iter().copied().any(has_forward_secrecy) =>
                {
                    Self::NoForwardSecrecy
                }
                PeerIncompatible::NoKxGroupsInCommon if suites.iter().copied().any(is_elliptic) => {
                    Self::NoCommonGroup
                }
                PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoKxGroupsInCommon => {
                    Self::NoCommonSuite
                }
                PeerIncompatible::NoSignatureSchemesInCommon
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired => Self::NoCommonSignature,
                PeerIncompatible::Tls12NotOffered | PeerIncompatible::Tls12NotOfferedOrEnabled => {
                    Self::TooOld
                }
                other => Self::Other(Error::PeerIncompatible(other)),
            },
            other => Self::Other(other),
        }
    }

    /// What an error of a stream means.
    pub(super) fn from_stream(error: io::Error, suites: &[CipherSuite]) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => Self::from_tls(error, suites),
            Err(_) => Self::Closed,
        }
    }
}

/// How many handshakes were refused, by reason.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; NAMES.len()]);

impl Counts {
    pub(super) fn count(&self, refusal: &Refusal) {
        self.0[refusal.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        NAMES.into_iter().zip(counts)
    }
}

/// All suites of TLS 1.3 have it, and of older ones those with an ephemeral exchange.
fn has_forward_secrecy(suite: CipherSuite) -> bool {
    let name = suite.as_str().unwrap_or_default();
    is_elliptic(suite) || name.contains("_DHE_")
}

fn is_elliptic(suite: CipherSuite) -> bool {
    let name = suite.as_str().unwrap_or_default();
    name.starts_with("TLS13_") || name.contains("_ECDHE_")
}

/// By [`Refusal::index`].
const NAMES: [&str; 15] = [
    "bad-client-certificate",
    "closed",
    "no-certificate-for-name",
    "no-client-certificate",
    "no-common-group",
    "no-common-protocol",
    "no-common-signature",
    "no-common-suite",
    "no-forward-secrecy",
    "not-tls",
    "other",
    "probe",
    "refused-by-client",
    "time-out",
    "too-old",
];
