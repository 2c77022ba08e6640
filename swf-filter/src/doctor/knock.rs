//! Connects to sockets of the listener as a client would, as far as the handshake.
//!
//! It believes any certificate, since it sends nothing: it only tells whether the one that is shown is among those in the files. So it is for
//! this machine's own addresses, and whoever calls sees to that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::facts::Knock;
use crate::explain::to_hex;

/// For each of connecting and shaking hands, on this machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// Connects, and goes no further.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, Knock> {
    let refused = |why: String| Knock::Refused(address, why);
    match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(refused(error.to_string())),
        Err(_) => Err(refused("no answer".to_owned())),
    }
}

/// Connects and shakes hands, asking for a name. `known` are the SHA-256 of certificates that may be shown.
pub(super) async fn knock(address: SocketAddr, name: Option<&str>, known: &[String]) -> Knock {
    let stream = match connect(address).await {
        Ok(stream) => stream,
        Err(knock) => return knock,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map(|builder| {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
                .with_no_client_auth()
        });
    let config = match config {
        Ok(config) => config,
        Err(error) => return Knock::Untried(error.to_string()),
    };
    let name = name
        .and_then(|name| ServerName::try_from(name.to_owned()).ok())
        .unwrap_or_else(|| ServerName::from(address.ip()));
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = match timeout(PATIENCE, shaken).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Knock::Closed(error.to_string()),
        Err(_) => return Knock::Closed("no answer".to_owned()),
    };
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(<[_]>::first);
    let shown = shown.map(|der| to_hex(&Sha256::digest(der)));
    if shown.is_some_and(|shown| known.contains(&shown)) {
        Knock::Opened
    } else {
        Knock::OtherCertificate
    }
}

/// Believes any certificate, but checks that whoever shows it has its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
