use std::fs;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::pin::Pin;
use std::task::{Context, Poll};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    AlertDescription, ClientConfig, Error, HandshakeKind, RootCertStore, SupportedProtocolVersion,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio_rustls::TlsConnector;

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A directory with certificates that one authority signed.
struct Site {
    directory: TempDir,
    authority: Authority,
}

impl Site {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            authority: authority("server authority"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn files(&self, name: &str) -> CertificateFiles {
        CertificateFiles {
            chain: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        }
    }

    /// Writes a certificate and its key.
    fn certificate(&self, name: &str, names: &[&str]) -> CertificateFiles {
        self.certificate_for(name, names, &PKCS_ECDSA_P256_SHA256)
    }

    fn certificate_for(
        &self,
        name: &str,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
    ) -> CertificateFiles {
        let (chain, key) = leaf(&self.authority, names, algorithm);
        self.write(&format!("{name}.pem"), &chain);
        self.write(&format!("{name}.key"), &key);
        self.files(name)
    }

    fn tls(&self, names: &[&str]) -> Tls {
        let files = self.certificate("one", names);
        Tls::new(&[files], &ClientCertificates::Off, Http::One).unwrap()
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        self.client_of(default_provider(), versions)
    }

    fn client_of(
        &self,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        self.client_builder(provider, versions)
            .with_no_client_auth()
    }

    fn client_builder(
        &self,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
    }

    /// A client with a certificate of an authority.
    fn client_with(
        &self,
        authority: &Authority,
        version: &'static SupportedProtocolVersion,
    ) -> ClientConfig {
        let (chain, key) = leaf(authority, &["worker"], &PKCS_ECDSA_P256_SHA256);
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        self.client_builder(default_provider(), &[version])
            .with_client_auth_cert(chain, key)
            .unwrap()
    }
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(
    authority: &Authority,
    names: &[&str],
    algorithm: &'static SignatureAlgorithm,
) -> (String, String) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    params.not_after = date_time_ymd(2999, 1, 1);
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
const EACH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// What the listener has of a handshake, and what the client has.
struct Outcome {
    server: Result<Session, Refusal>,
    client: Result<HandshakeKind, io::Error>,
    shown: Option<CertificateDer<'static>>,
}

impl Outcome {
    fn session(self) -> Session {
        self.client.unwrap();
        self.server.unwrap()
    }

    fn refusal(self) -> &'static str {
        self.server.unwrap_err().name()
    }

    /// The alert that the client was sent.
    fn alert(&self) -> AlertDescription {
        let error = self.client.as_ref().unwrap_err();
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(Error::AlertReceived(alert)) => *alert,
            other => panic!("no alert: {other:?} of {error}"),
        }
    }
}

async fn shake(tls: &Tls, client: &Arc<ClientConfig>, name: &str) -> Outcome {
    let (near, far) = duplex(1 << 16);
    shake_over(tls, client, name, near, far).await
}

async fn shake_over<Near, Far>(
    tls: &Tls,
    client: &Arc<ClientConfig>,
    name: &str,
    near: Near,
    far: Far,
) -> Outcome
where
    Near: AsyncRead + AsyncWrite + Unpin,
    Far: AsyncRead + AsyncWrite + Unpin,
{
    let server = async {
        let (mut stream, session) = tls.accept(near).await?;
        // A client of TLS 1.3 sees its tickets, and that it was refused, when it reads. It may be cut off by now.
        let _ = stream.write_all(b"!").await;
        let _ = stream.shutdown().await;
        Ok((session, stream))
    };
    let mut shown = None;
    let client = async {
        let name = ServerName::try_from(name).unwrap().to_owned();
        let connector = TlsConnector::from(Arc::clone(client));
        let mut stream = connector.connect(name, far).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        shown = certificates.and_then(|all| all.first().cloned());
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        Ok(stream.get_ref().1.handshake_kind().unwrap())
    };
    let (server, client) = tokio::join!(server, client);
    Outcome {
        server: server.map(|(session, _)| session),
        client,
        shown,
    }
}

/// Sends bytes as they are, and says what came back.
async fn send(tls: &Tls, bytes: &[u8]) -> (Refusal, Vec<u8>) {
    let (near, mut far) = duplex(1 << 17);
    far.write_all(bytes).await.unwrap();
    let refusal = tls.accept(near).await.map(|_| ()).unwrap_err();
    let mut answer = Vec::new();
    far.read_to_end(&mut answer).await.unwrap();
    (refusal, answer)
}

fn counted(tls: &Tls, name: &str) -> u64 {
    tls.refused().find(|(its, _)| *its == name).unwrap().1
}

/// A `ClientHello` by hand.
#[derive(Clone)]
struct Hello {
    record: u16,
    version: u16,
    suites: Vec<u16>,
    /// Extensions, each a number with a list of two-byte values and how many bytes its length takes.
    lists: Vec<(u16, usize, Vec<u16>)>,
    name: Option<&'static str>,
}

impl Hello {
    /// What a client of TLS 1.2 sends.
    fn new() -> Self {
        Self {
            record: 0x0301,
            version: 0x0303,
            suites: vec![0xc02b],
            lists: vec![(GROUPS, 2, vec![29, 23]), (SIGNATURES, 2, vec![0x0403])],
            name: Some("a.example"),
        }
    }

    fn suites(mut self, suites: &[u16]) -> Self {
        self.suites = suites.to_vec();
        self
    }

    fn list(mut self, extension: u16, width: usize, values: &[u16]) -> Self {
        self.lists.retain(|(its, ..)| *its != extension);
        self.lists.push((extension, width, values.to_vec()));
        self
    }

    fn without(mut self, extension: u16) -> Self {
        self.lists.retain(|(its, ..)| *its != extension);
        self
    }

    fn version(mut self, record: u16, version: u16) -> Self {
        (self.record, self.version) = (record, version);
        self
    }

    fn message(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        if let Some(name) = self.name {
            let entry = [&[0], &*sized(2, name.as_bytes())].concat();
            extensions.extend([0, 0]);
            extensions.extend(sized(2, &sized(2, &entry)));
        }
        for (extension, width, values) in &self.lists {
            extensions.extend(extension.to_be_bytes());
            extensions.extend(sized(2, &sized(*width, &pairs(values))));
        }
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.push(0);
        body.extend(sized(2, &pairs(&self.suites)));
        body.extend([1, 0]);
        body.extend(sized(2, &extensions));
        [&[1], &*sized(3, &body)].concat()
    }

    /// In records of `size` bytes.
    fn records(&self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in self.message().chunks(size) {
            bytes.push(22);
            bytes.extend(self.record.to_be_bytes());
            bytes.extend(sized(2, part));
        }
        bytes
    }

    fn bytes(&self) -> Vec<u8> {
        self.records(1 << 14)
    }
}

const GROUPS: u16 = 10;
const SIGNATURES: u16 = 13;
const VERSIONS: u16 = 43;

fn sized(width: usize, bytes: &[u8]) -> Vec<u8> {
    [&bytes.len().to_be_bytes()[8 - width..], bytes].concat()
}

fn pairs(values: &[u16]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

#[tokio::test]
async fn versions_and_suites_have_their_public_names() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    for (version, expected, suite) in [
        (&rustls::version::TLS13, "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        (
            &rustls::version::TLS12,
            "TLSv1.2",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        ),
    ] {
        let client = Arc::new(site.client(&[version]));
        let session = shake(&tls, &client, "A.example").await.session();
        assert_eq!((session.version, session.suite), (expected, suite));
        assert_eq!(session.server_name.as_deref(), Some("a.example"));
        assert_eq!(session.client_certificate, None);
        assert_eq!(session.http, Http::One);
    }
    assert!(tls.refused().all(|(_, count)| count == 0));
}

#[tokio::test]
async fn the_post_quantum_group_is_used_with_clients_that_have_it() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    let client = Arc::new(site.client(BOTH));
    let session = shake(&tls, &client, "a.example").await.session();
    assert_eq!(session.group, Some("X25519MLKEM768"));
    let provider = CryptoProvider {
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    };
    let client = Arc::new(site.client_of(provider, BOTH));
    let session = shake(&tls, &client, "a.example").await.session();
    assert_eq!(session.group, Some("X25519"));
}

#[tokio::test]
async fn a_handshake_may_come_byte_by_byte() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    for version in EACH {
        let client = Arc::new(site.client(&[version]));
        let (stream, far) = duplex(1 << 16);
        let near = Wire {
            stream,
            reads: 1,
            left: usize::MAX,
        };
        let outcome = shake_over(&tls, &client, "a.example", near, far).await;
        outcome.session();
    }
}

#[tokio::test]
async fn a_client_that_pauses_after_the_handshake_is_not_taken_for_gone() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    for version in EACH {
        let connector = TlsConnector::from(Arc::new(site.client(&[version])));
        let (near, far) = duplex(1 << 16);
        let (waits, waiting) = tokio::sync::oneshot::channel();
        let server = async {
            let (mut stream, _) = tls.accept(near).await.unwrap();
            let mut text = [0; 4];
            poll_fn(|cx| {
                let polled = Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut text));
                assert!(polled.is_pending(), "{polled:?}");
                Poll::Ready(())
            })
            .await;
            waits.send(()).unwrap();
            stream.read_exact(&mut text).await.unwrap();
            text
        };
        let client = async {
            let name = ServerName::try_from("a.example").unwrap();
            let mut stream = connector.connect(name, far).await.unwrap();
            waiting.await.unwrap();
            stream.write_all(b"text").await.unwrap();
            stream
        };
        let (text, _client) = tokio::join!(server, client);
        assert_eq!(&text, b"text");
    }
}

#[tokio::test]
async fn names_choose_certificates() {
    let site = Site::new();
    let files = [
        site.certificate("first", &["first.example"]),
        site.certificate("wild", &["*.wild.example"]),
        site.certificate("exact", &["Exact.wild.example"]),
    ];
    let tls = Tls::new(&files, &ClientCertificates::Off, Http::One).unwrap();
    let loaded = tls.loaded();
    let shown = async |name| {
        let client = Arc::new(site.client(BOTH));
        let shown = shake(&tls, &client, name).await.shown.unwrap();
        let sha256 = to_hex(&Sha256::digest(&shown));
        let mut all = loaded.certificates().iter();
        all.position(|certificate| *certificate.sha256 == *sha256)
    };
    assert_eq!(shown("first.example").await, Some(0));
    assert_eq!(shown("any.wild.example").await, Some(1));
    assert_eq!(shown("exact.wild.example").await, Some(2));
    for name in ["wild.example", "a.b.wild.example", "second.example"] {
        let client = Arc::new(site.client(BOTH));
        let outcome = shake(&tls, &client, name).await;
        assert_eq!(
            outcome.alert(),
            AlertDescription::UnrecognisedName,
            "{name}"
        );
        assert_eq!(outcome.refusal(), "no-certificate-for-name", "{name}");
    }
    assert_eq!(counted(&tls, "no-certificate-for-name"), 3);
}

#[tokio::test]
async fn a_client_that_names_no_server_is_shown_the_first_certificate() {
    let site = Site::new();
    let files = [
        site.certificate("first", &["first.example"]),
        site.certificate("second", &["second.example"]),
    ];
    let tls = Tls::new(&files, &ClientCertificates::Off, Http::One).unwrap();
    let mut client = site.client(BOTH);
    client.enable_sni = false;
    let client = Arc::new(client);
    let outcome = shake(&tls, &client, "first.example").await;
    assert_eq!(outcome.session().server_name, None);
    let outcome = shake(&tls, &client, "second.example").await;
    assert_eq!(outcome.refusal(), "refused-by-client");
}

#[tokio::test]
async fn of_two_certificates_for_a_name_a_client_is_shown_one_that_it_can_verify() {
    let site = Site::new();
    let files = [
        site.certificate("ecdsa", &["a.example"]),
        site.certificate_for("rsa", &["a.example"], &PKCS_RSA_SHA256),
    ];
    let tls = Tls::new(&files, &ClientCertificates::Off, Http::One).unwrap();
    let mut only = default_provider();
    only.cipher_suites.retain(|its| {
        let name = its.suite().as_str().unwrap();
        name.contains("_ECDHE_RSA_")
    });
    let client = Arc::new(site.client_of(only, &[&rustls::version::TLS12]));
    let session = shake(&tls, &client, "a.example").await.session();
    assert_eq!(session.suite, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384");
    let client = Arc::new(site.client(&[&rustls::version::TLS12]));
    let session = shake(&tls, &client, "a.example").await.session();
    assert_eq!(session.suite, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
}

#[tokio::test]
async fn http_2_is_offered_only_when_it_is_configured() {
    let site = Site::new();
    let files = [site.certificate("one", &["a.example"])];
    let mut client = site.client(BOTH);
    client.alpn_protocols = vec![b"h2".into()];
    let two_only = Arc::new(client.clone());
    client.alpn_protocols.push(b"http/1.1".into());
    let either = Arc::new(client);
    for (http, expected) in [(Http::One, None), (Http::Two, Some(Http::Two))] {
        let tls = Tls::new(&files, &ClientCertificates::Off, http).unwrap();
        let session = shake(&tls, &either, "a.example").await.session();
        assert_eq!(session.http, http);
        let outcome = shake(&tls, &two_only, "a.example").await;
        if let Some(http) = expected {
            assert_eq!(outcome.session().http, http);
        } else {
            assert_eq!(outcome.alert(), AlertDescription::NoApplicationProtocol);
            assert_eq!(outcome.refusal(), "no-common-protocol");
        }
    }
}

/// Sends a hello that is refused and counted for a reason, and told by an alert.
async fn refused(tls: &Tls, bytes: &[u8], reason: &str, alert: AlertDescription) {
    let before = counted(tls, reason);
    let (refusal, answer) = send(tls, bytes).await;
    assert_eq!(refusal.name(), reason, "{refusal}");
    assert_eq!(counted(tls, reason), before + 1);
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, alert.into()], "{refusal}");
}

#[tokio::test]
async fn clients_that_are_too_old_are_told_so() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    let old = Hello::new().version(0x0301, 0x0302);
    let other = Hello {
        name: Some("b.example"),
        ..old.clone()
    };
    let ssl = Hello {
        name: None,
        lists: Vec::new(),
        ..Hello::new().version(0x0300, 0x0300)
    };
    for hello in [
        // Most send no signatures, which came with TLS 1.2.
        old.clone().without(SIGNATURES),
        old,
        Hello::new().list(VERSIONS, 1, &[0x0302, 0x0301]),
        other.clone(),
        other.without(SIGNATURES),
        ssl,
    ] {
        let alert = AlertDescription::ProtocolVersion;
        refused(&tls, &hello.bytes(), "too-old", alert).await;
        refused(&tls, &hello.records(1), "too-old", alert).await;
    }
}

#[tokio::test]
async fn clients_with_nothing_in_common_are_told_apart() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    let hello = Hello::new;
    for (hello, reason) in [
        // Key exchange by RSA, with groups and without.
        (hello().suites(&[0x009c, 0x002f]), "no-forward-secrecy"),
        (
            hello().suites(&[0x009c, 0x00ff]).without(GROUPS),
            "no-forward-secrecy",
        ),
        // DHE.
        (hello().suites(&[0x009e, 0x0033, 0x002f]), "no-common-suite"),
        (hello().suites(&[0x009e]).without(GROUPS), "no-common-suite"),
        // CBC, and a suite for RSA certificates.
        (hello().suites(&[0xc009, 0x002f]), "no-common-suite"),
        (hello().suites(&[0xc02f]), "no-common-suite"),
        // P-521.
        (hello().list(GROUPS, 2, &[25]), "no-common-group"),
        // SHA-1.
        (
            hello().list(SIGNATURES, 2, &[0x0203]),
            "no-common-signature",
        ),
        (hello().without(SIGNATURES), "no-common-signature"),
    ] {
        let alert = AlertDescription::HandshakeFailure;
        refused(&tls, &hello.bytes(), reason, alert).await;
    }
    let hello = Hello {
        name: Some("b.example"),
        ..hello()
    };
    let alert = AlertDescription::UnrecognisedName;
    refused(&tls, &hello.bytes(), "no-certificate-for-name", alert).await;
}

#[tokio::test]
async fn a_hello_with_all_in_common_is_answered() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    let (near, mut far) = duplex(1 << 16);
    far.write_all(&Hello::new().bytes()).await.unwrap();
    let mut answer = [0; 6];
    tokio::select! {
        refusal = tls.accept(near) => panic!("{:?}", refusal.map(|_| ())),
        read = far.read_exact(&mut answer) => read.unwrap(),
    };
    // A record of the handshake with a `ServerHello`.
    assert_eq!((answer[0], answer[5]), (22, 2));
}

#[tokio::test]
async fn what_is_not_tls_is_told_from_what_breaks_it() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    for (bytes, reason) in [
        (&b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"[..], "not-tls"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not-tls"),
        // A hello of SSL 2, and a record of version 9.9.
        (&[0x80, 46, 1, 0, 2, 0, 21, 0, 0, 0, 16], "not-tls"),
        (&[22, 9, 9, 0, 1, 1], "not-tls"),
        // Data before the handshake, and a message of 16 MiB.
        (&[23, 3, 3, 0, 1, 1], "other"),
        (&[22, 3, 3, 0, 4, 1, 255, 255, 255], "other"),
    ] {
        let (refusal, _) = send(&tls, bytes).await;
        assert_eq!(refusal.name(), reason, "{bytes:?}: {refusal}");
    }
    let message_that_is_none = [22, 3, 3, 0, 4, 2, 0, 0, 0];
    let alert = AlertDescription::DecodeError;
    refused(&tls, &message_that_is_none, "other", alert).await;
}

#[tokio::test(start_paused = true)]
async fn peers_that_go_silent_are_given_up() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    let hello = Hello::new().bytes();
    for part in [&[][..], &hello[..1], &hello[..20], &hello] {
        let (near, mut far) = duplex(1 << 16);
        far.write_all(part).await.unwrap();
        let start = tokio::time::Instant::now();
        let refusal = tls.accept(near).await.map(|_| ()).unwrap_err();
        assert_eq!(refusal.name(), "time-out");
        assert_eq!(start.elapsed().as_secs(), limits::HANDSHAKE.as_secs());
    }
    assert_eq!(counted(&tls, "time-out"), 4);
}

/// A stream that reads so many bytes at a time, and breaks once so many are written.
struct Wire {
    stream: DuplexStream,
    reads: usize,
    left: usize,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut part = vec![0; self.reads.min(buffer.remaining())];
        let mut part = ReadBuf::new(&mut part);
        let result = Pin::new(&mut self.stream).poll_read(context, &mut part);
        buffer.put_slice(part.filled());
        result
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = bytes.len().min(self.left);
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.left -= count;
        Pin::new(&mut self.stream).poll_write(context, &bytes[..count])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[tokio::test]
async fn peers_may_go_away_at_any_byte() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    for version in EACH {
        let client = Arc::new(site.client(&[version]));
        let mut left = 0;
        loop {
            let (near, stream) = duplex(1 << 16);
            let far = Wire {
                stream,
                reads: usize::MAX,
                left,
            };
            let outcome = shake_over(&tls, &client, "a.example", near, far).await;
            match outcome.server {
                Ok(_) => break,
                Err(refusal) => {
                    let expected = if left == 0 { "probe" } else { "closed" };
                    assert_eq!(refusal.name(), expected, "after {left} bytes: {refusal}");
                }
            }
            // Not each byte of a post-quantum key has to be tried.
            left += 11;
            assert!(left < 1 << 14);
        }
        // A hello and the client's last flight went through.
        assert!(left > 200);
    }
    assert_eq!(counted(&tls, "probe"), 2);
}

#[tokio::test]
async fn clients_resume_before_and_after_a_reload() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    for version in EACH {
        let client = Arc::new(site.client(&[version]));
        let kind = async || shake(&tls, &client, "a.example").await.client.unwrap();
        assert_eq!(kind().await, HandshakeKind::Full);
        assert_eq!(kind().await, HandshakeKind::Resumed);
        site.certificate("one", &["a.example"]);
        let reloaded = tls.reload().unwrap();
        assert_eq!(reloaded.changed, [site.path("one.pem")]);
        assert_eq!(kind().await, HandshakeKind::Resumed);
        // Another client has nothing to resume.
        let other = Arc::new(site.client(&[version]));
        let outcome = shake(&tls, &other, "a.example").await;
        assert_eq!(outcome.client.unwrap(), HandshakeKind::Full);
    }
}

#[tokio::test]
async fn clients_of_tls_1_2_without_tickets_resume_too() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    let mut client = site.client(&[&rustls::version::TLS12]);
    client.resumption = rustls::client::Resumption::in_memory_sessions(8)
        .tls12_resumption(rustls::client::Tls12Resumption::SessionIdOnly);
    let client = Arc::new(client);
    let kind = async || shake(&tls, &client, "a.example").await.client.unwrap();
    assert_eq!(kind().await, HandshakeKind::Full);
    tls.reload().unwrap();
    assert_eq!(kind().await, HandshakeKind::Resumed);
}

#[tokio::test]
async fn a_reload_shows_the_new_certificate_and_names() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    let client = Arc::new(site.client(BOTH));
    let before = shake(&tls, &client, "a.example").await.shown.unwrap();
    assert!(tls.reload().unwrap().changed.is_empty());
    site.certificate("one", &["b.example"]);
    tls.reload().unwrap();
    let after = shake(&tls, &client, "b.example").await.shown.unwrap();
    assert_ne!(before, after);
    let outcome = shake(&tls, &client, "a.example").await;
    assert_eq!(outcome.refusal(), "no-certificate-for-name");
}

#[tokio::test]
async fn a_pair_that_is_half_written_changes_nothing() {
    let site = Site::new();
    let tls = site.tls(&["a.example"]);
    let client = Arc::new(site.client(BOTH));
    let old = tls.loaded().certificates().to_vec();
    let (chain, key) = leaf(&site.authority, &["a.example"], &PKCS_ECDSA_P256_SHA256);
    site.write("one.pem", &chain);
    let error = tls.reload().unwrap_err();
    assert!(matches!(error, TlsError::KeyMismatch { .. }), "{error}");
    assert_eq!(tls.loaded().certificates(), old);
    shake(&tls, &client, "a.example").await.session();
    site.write("one.key", &key[..key.len() / 2]);
    tls.reload().unwrap_err();
    shake(&tls, &client, "a.example").await.session();
    site.write("one.key", &key);
    tls.reload().unwrap();
    assert_ne!(tls.loaded().certificates(), old);
    shake(&tls, &client, "a.example").await.session();
}

#[tokio::test]
async fn client_certificates_are_asked_for_as_configured() {
    let site = Site::new();
    let files = [site.certificate("one", &["a.example"])];
    let (good, bad) = (authority("client authority"), authority("client authority"));
    let authorities = site.write("clients.pem", &good.pem());
    let optional = ClientCertificates::Optional {
        authorities: authorities.clone(),
    };
    let required = ClientCertificates::Required { authorities };
    for version in EACH {
        let without = Arc::new(site.client(&[version]));
        let with = Arc::new(site.client_with(&good, version));
        let wrong = Arc::new(site.client_with(&bad, version));
        for (clients, need) in [
            (&ClientCertificates::Off, "off"),
            (&optional, "optional"),
            (&required, "required"),
        ] {
            let tls = Tls::new(&files, clients, Http::One).unwrap();
            let outcome = shake(&tls, &with, "a.example").await;
            let shown = outcome.session().client_certificate;
            if need == "off" {
                assert_eq!(shown, None);
                shake(&tls, &wrong, "a.example").await.session();
            } else {
                assert_eq!(&*shown.unwrap().subject, "CN=leaf");
                let outcome = shake(&tls, &wrong, "a.example").await;
                assert_eq!(outcome.refusal(), "bad-client-certificate");
            }
            let outcome = shake(&tls, &without, "a.example").await;
            if need == "required" {
                assert_eq!(outcome.refusal(), "no-client-certificate");
            } else {
                assert_eq!(outcome.session().client_certificate, None);
            }
        }
    }
}

#[tokio::test]
async fn sessions_of_clients_end_when_authorities_change() {
    let site = Site::new();
    let files = [site.certificate("one", &["a.example"])];
    let (old, new) = (authority("old"), authority("new"));
    let authorities = site.write("clients.pem", &old.pem());
    let clients = ClientCertificates::Required { authorities };
    for version in EACH {
        site.write("clients.pem", &old.pem());
        let tls = Tls::new(&files, &clients, Http::One).unwrap();
        let client = Arc::new(site.client_with(&old, version));
        shake(&tls, &client, "a.example").await.session();
        let told = tls.authorities_changed();
        tls.reload().unwrap();
        assert!(!told.has_changed().unwrap());
        let outcome = shake(&tls, &client, "a.example").await;
        assert_eq!(outcome.client.unwrap(), HandshakeKind::Resumed);
        site.write("clients.pem", &new.pem());
        tls.reload().unwrap();
        assert!(told.has_changed().unwrap());
        let outcome = shake(&tls, &client, "a.example").await;
        assert_eq!(outcome.refusal(), "bad-client-certificate");
    }
}

#[test]
fn files_that_cannot_work_are_refused_by_name() {
    let site = Site::new();
    let one = site.certificate("one", &["a.example"]);
    let two = site.certificate("two", &["b.example"]);
    let chain = fs::read_to_string(&one.chain).unwrap();
    let pair = |chain: &Path, key: &Path| CertificateFiles {
        chain: chain.into(),
        key: key.into(),
    };
    let no_file = site.path("none.pem");
    let empty = site.write("empty.pem", "");
    let noise = site.write("noise.pem", &chain.replace("MII", "MIJ"));
    let encrypted = site.write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let strange = site.write(
        "strange.key",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let long = site.write("long.pem", &"#".repeat((1 << 20) + 1));
    let cut = site.write("cut.pem", &chain[..chain.len() - 30]);
    for (files, words) in [
        (pair(&one.chain, &two.key), "is not the key of"),
        (pair(&no_file, &one.key), "cannot read"),
        (pair(site.directory.path(), &one.key), "cannot read"),
        (pair(&empty, &one.key), "holds no certificate"),
        (pair(&one.key, &one.key), "holds no certificate"),
        (pair(&noise, &one.key), "certificate 1 is malformed"),
        (pair(&cut, &one.key), "is not a PEM file"),
        (pair(&long, &one.key), "is longer than 1024 KiB"),
        (pair(&one.chain, &one.chain), "holds no key"),
        (pair(&one.chain, &encrypted), "the key is encrypted"),
        (pair(&one.chain, &strange), "the key cannot be used"),
    ] {
        let error = Tls::new(&[files], &ClientCertificates::Off, Http::One).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(words), "{message}");
        let directory = site.directory.path().to_str().unwrap();
        assert!(message.contains(directory), "{message}");
    }
    let clients = ClientCertificates::Required { authorities: empty };
    Tls::new(std::slice::from_ref(&one), &clients, Http::One).unwrap_err();
    let error = Tls::new(&[], &ClientCertificates::Off, Http::One).unwrap_err();
    assert!(matches!(error, TlsError::NoCertificates));
    Tls::new(&[one], &ClientCertificates::Off, Http::One).unwrap();
}

#[test]
fn files_that_are_doubtful_are_used_and_told() {
    let site = Site::new();
    let doubts = |files: &CertificateFiles| {
        let files = std::slice::from_ref(files);
        let tls = Tls::new(files, &ClientCertificates::Off, Http::One).unwrap();
        tls.loaded().doubts().to_vec()
    };
    let one = site.certificate("one", &["a.example"]);
    assert_eq!(doubts(&one), []);

    fs::set_permissions(&one.key, fs::Permissions::from_mode(0o640)).unwrap();
    let path = one.key.clone();
    assert_eq!(doubts(&one), [Doubt::KeyOpen { path, mode: 0o640 }]);

    let two = site.certificate("two", &["10.0.0.1"]);
    assert_eq!(doubts(&two), [Doubt::NoNames(two.chain.clone())]);

    let chain = fs::read_to_string(&two.chain).unwrap();
    let three = site.certificate("three", &["a.example"]);
    let own = fs::read_to_string(&three.chain).unwrap();
    site.write("three.pem", &[&*own, &site.authority.pem()].concat());
    assert_eq!(doubts(&three), []);
    site.write("three.pem", &[own, chain].concat());
    let (path, position) = (three.chain.clone(), 2);
    assert_eq!(doubts(&three), [Doubt::ChainBroken { path, position }]);
}

#[test]
fn a_certificate_says_when_it_runs_out() {
    let site = Site::new();
    let files = [site.certificate("one", &["A.example", "*.b.example"])];
    let provider = Arc::new(default_provider());
    let read = |time: &str| {
        let now = time.parse().unwrap();
        Files::read(&files, &ClientCertificates::Off, &provider, now).unwrap()
    };
    let good = read("2998-12-31T23:59:59Z");
    let certificate = &good.certificates[0];
    assert_eq!(certificate.not_before.to_string(), "1975-01-01T00:00:00Z");
    assert_eq!(certificate.not_after.to_string(), "2999-01-01T00:00:00Z");
    assert_eq!(certificate.sha256.len(), 64);
    assert_eq!(
        *certificate.names,
        ["a.example", "*.b.example"].map(Box::<str>::from)
    );
    assert_eq!(good.doubts, []);
    let late = read("2999-01-01T00:00:01Z");
    assert!(matches!(
        late.doubts[..],
        [Doubt::Expired { position: 1, .. }]
    ));
    let early = read("1974-12-31T23:59:59Z");
    assert!(matches!(
        early.doubts[..],
        [Doubt::NotYetValid { position: 1, .. }]
    ));
}

#[test]
fn all_files_that_are_read_are_told() {
    let site = Site::new();
    let one = site.certificate("one", &["a.example"]);
    let authorities = site.write("clients.pem", &site.authority.pem());
    let clients = ClientCertificates::Optional {
        authorities: authorities.clone(),
    };
    let tls = Tls::new(std::slice::from_ref(&one), &clients, Http::One).unwrap();
    assert_eq!(
        tls.files().collect::<Vec<_>>(),
        [one.chain, one.key, authorities]
    );
}
