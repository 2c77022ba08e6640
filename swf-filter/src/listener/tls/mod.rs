//! TLS of one listener: which certificate a client is shown, and which handshakes are refused.
//!
//! TLS 1.2 and 1.3, with suites that have forward secrecy. There is no renegotiation and no early data: early data can be sent
//! again by anyone who saw it. Nothing here is a default of the process, so that no other part of it can change it.

mod hello;
mod load;
mod refusal;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::{self, Ticketer, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::{
    Accepted, ProducesTickets, ServerConnection, ServerSessionMemoryCache, StoresServerSessions,
};
use rustls::{CipherSuite, ProtocolVersion, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use self::hello::Alert;
pub use self::load::{Certificate, Doubt, TlsError};
use self::load::{Files, Names};
use self::refusal::Counts;
pub use self::refusal::Refusal;
use super::limits;
use super::reload::Standing;
use super::settings::{CertificateFiles, ClientCertificates, Http};
use crate::explain::to_hex;

/// TLS of one listener.
#[derive(Debug)]
pub struct Tls {
    certificates: Box<[CertificateFiles]>,
    clients: ClientCertificates,
    http: Http,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Loaded>,
    standing: Standing,
    /// Told whenever the authorities for client certificates are others.
    authorities: watch::Sender<()>,
    refused: Counts,
}

impl Tls {
    /// Reads the files.
    pub fn new(
        certificates: &[CertificateFiles],
        clients: &ClientCertificates,
        http: Http,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(CryptoProvider {
            kx_groups: GROUPS.to_vec(),
            ..aws_lc_rs::default_provider()
        });
        let files = Files::read(certificates, clients, &provider, Timestamp::now())?;
        let current = Loaded::new(files, http, &provider, Resumption::new()?)?;
        Ok(Self {
            certificates: certificates.into(),
            clients: clients.clone(),
            http,
            provider,
            current: ArcSwap::from_pointee(current),
            standing: Standing::default(),
            authorities: watch::Sender::new(()),
            refused: Counts::default(),
        })
    }

    /// Reads the files again. When anything is wrong with one of them, all stays as it was.
    ///
    /// Clients go on with sessions that they have, unless it is the authorities for client certificates that changed: who
    /// was let in by the old ones has to show a certificate again. So has who is connected (`authorities_changed`).
    pub fn reload(&self) -> Result<Reloaded, TlsError> {
        let files = Files::read(
            &self.certificates,
            &self.clients,
            &self.provider,
            Timestamp::now(),
        )?;
        let old = self.current.load();
        let changed: Vec<PathBuf> = files
            .digests
            .iter()
            .filter(|(path, digest)| old.files.digests.get(*path) != Some(*digest))
            .map(|(path, _)| path.clone())
            .collect();
        let authorities = self.clients.authorities();
        let are_others = authorities.is_some_and(|path| changed.iter().any(|one| one == path));
        let resumption = if are_others {
            Resumption::new()?
        } else {
            old.resumption.clone()
        };
        let new = Arc::new(Loaded::new(files, self.http, &self.provider, resumption)?);
        self.current.store(Arc::clone(&new));
        if are_others {
            self.authorities.send_replace(());
        }
        Ok(Reloaded {
            changed,
            loaded: new,
        })
    }

    /// What is in use.
    #[must_use]
    pub fn loaded(&self) -> Arc<Loaded> {
        self.current.load_full()
    }

    /// All files that are read, to watch them.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.certificates
            .iter()
            .flat_map(|files| [files.chain.as_path(), files.key.as_path()])
            .chain(self.clients.authorities())
    }

    /// Whether what is in use is what the files say.
    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Has a change once the authorities for client certificates are others than they are now. A connection whose handshake begins
    /// after this is asked for was then let in by old ones.
    pub(super) fn authorities_changed(&self) -> watch::Receiver<()> {
        self.authorities.subscribe()
    }

    /// The handshake, within [`limits::HANDSHAKE`]. A refusal is told to the peer as TLS has it, and counted.
    pub async fn accept<IO>(&self, stream: IO) -> Result<(TlsStream<IO>, Session), Refusal>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let result = tokio::time::timeout(limits::HANDSHAKE, self.shake_hands(stream))
            .await
            .unwrap_or(Err(Refusal::TimeOut));
        if let Err(refusal) = &result {
            self.refused.count(refusal);
        }
        result
    }

    /// How many handshakes were refused, by the name of each reason there is.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refused.all()
    }

    async fn shake_hands<IO>(&self, mut stream: IO) -> Result<(TlsStream<IO>, Session), Refusal>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = hello::read(&mut stream).await?;
        let loaded = self.current.load_full();
        let hello = accepted.client_hello();
        let name = hello.server_name();
        if !loaded.files.names.covers(name) {
            let name = name.unwrap_or_default().into();
            return Err(refuse_name(&mut stream, accepted, &loaded, name).await);
        }
        let suites = hello.cipher_suites().to_vec();
        let stream = StartHandshake::from_parts(accepted, stream)
            .into_stream(Arc::clone(&loaded.config))
            .await
            .map_err(|error| Refusal::from_stream(error, &suites))?;
        let session = Session::of(stream.get_ref().1);
        Ok((stream, session))
    }
}

/// What is in use.
#[derive(Debug)]
pub struct Loaded {
    files: Files,
    config: Arc<ServerConfig>,
    resumption: Resumption,
}

impl Loaded {
    /// The certificates, in the order of the settings.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        &self.files.certificates
    }

    /// What was doubtful when they were read.
    #[must_use]
    pub fn doubts(&self) -> &[Doubt] {
        &self.files.doubts
    }

    fn new(
        files: Files,
        http: Http,
        provider: &Arc<CryptoProvider>,
        resumption: Resumption,
    ) -> Result<Self, TlsError> {
        let names: Arc<Names> = Arc::clone(&files.names);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(Arc::clone(&files.verifier))
            .with_cert_resolver(names);
        config.alpn_protocols = match http {
            Http::One => vec![HTTP_1.into()],
            Http::Two => vec![HTTP_2.into(), HTTP_1.into()],
        };
        config.session_storage = Arc::clone(&resumption.sessions);
        config.ticketer = Arc::clone(&resumption.tickets);
        Ok(Self {
            files,
            config: Arc::new(config),
            resumption,
        })
    }
}

/// What came of reading the files again.
#[derive(Debug)]
pub struct Reloaded {
    /// Files of certificates and authorities that are not what they were.
    pub changed: Vec<PathBuf>,
    /// What is in use now.
    pub loaded: Arc<Loaded>,
}

/// What a handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `TLSv1.3` or `TLSv1.2`, as `CloudTrail` writes it.
    pub version: &'static str,
    /// The suite, by IANA's name.
    pub suite: &'static str,
    /// The group of the key exchange, by IANA's name. A resumed session of TLS 1.2 has none.
    pub group: Option<&'static str>,
    /// The server that the client named, in lower case.
    pub server_name: Option<Box<str>>,
    /// The client's certificate, if it showed one.
    pub client_certificate: Option<ClientCertificate>,
    /// What is spoken inside.
    pub http: Http,
}

impl Session {
    fn of(connection: &ServerConnection) -> Self {
        let suite = connection
            .negotiated_cipher_suite()
            .map(|suite| suite.suite());
        Self {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            suite: match suite {
                // rustls has names of its own for these.
                Some(CipherSuite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
                Some(CipherSuite::TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
                Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
                suite => suite.and_then(|suite| suite.as_str()).unwrap_or_default(),
            },
            group: connection
                .negotiated_key_exchange_group()
                .and_then(|group| group.name().as_str()),
            server_name: connection.server_name().map(Into::into),
            client_certificate: connection
                .peer_certificates()
                .and_then(<[_]>::first)
                .map(|der| ClientCertificate::of(der)),
            http: match connection.alpn_protocol() {
                Some(HTTP_2) => Http::Two,
                _ => Http::One,
            },
        }
    }
}

/// A client's certificate, which an authority of the settings signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject, to read. Names within are as the authority let them be, commas and all: compare `sha256`, never this.
    pub subject: Box<str>,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: Box<str>,
}

impl ClientCertificate {
    fn of(der: &[u8]) -> Self {
        let subject = X509Certificate::from_der(der)
            .map(|(_, certificate)| certificate.subject().to_string())
            .unwrap_or_default();
        Self {
            subject: subject.into(),
            sha256: to_hex(&Sha256::digest(der)).into(),
        }
    }
}

/// What lets clients go on with a session that they had: keys of tickets, which change every six hours, and sessions of
/// clients of TLS 1.2 that take no tickets. Each listener has its own, since each trusts other client certificates.
#[derive(Clone, Debug)]
struct Resumption {
    sessions: Arc<dyn StoresServerSessions>,
    tickets: Arc<dyn ProducesTickets>,
}

impl Resumption {
    fn new() -> Result<Self, TlsError> {
        Ok(Self {
            sessions: ServerSessionMemoryCache::new(SESSIONS),
            tickets: Ticketer::new()?,
        })
    }
}

/// Refuses a name that no certificate covers. rustls is asked what else it would refuse, since a client that is too old
/// is better told that.
async fn refuse_name<IO: AsyncWrite + Unpin>(
    stream: &mut IO,
    accepted: Accepted,
    loaded: &Loaded,
    name: Box<str>,
) -> Refusal {
    if let Err((error, alert)) = accepted.into_connection(Arc::clone(&loaded.config)) {
        let refusal = Refusal::from_tls(error, &[]);
        if matches!(refusal, Refusal::TooOld) {
            hello::send_chosen(stream, alert).await;
            return refusal;
        }
    }
    hello::send(stream, Alert::UnrecognizedName).await;
    Refusal::NoCertificateForName(name)
}

/// Groups for key exchange, best first. Of those that it knows, a client's own order decides.
const GROUPS: [&dyn SupportedKxGroup; 4] = [
    kx_group::X25519MLKEM768,
    kx_group::X25519,
    kx_group::SECP256R1,
    kx_group::SECP384R1,
];

/// IANA's names of protocols for ALPN.
const HTTP_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";

/// Sessions that are remembered, some 1 MiB. Nearly all clients take tickets instead, which need no memory.
const SESSIONS: usize = 4096;
