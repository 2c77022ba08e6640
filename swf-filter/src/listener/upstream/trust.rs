//! Whose certificates are believed.

use std::sync::Arc;

use hyper::http::uri::Scheme;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::UpstreamError;
use crate::listener::settings;

/// TLS for the addresses that want it; none if none does.
pub(super) fn client(settings: &settings::Upstream) -> Result<Option<TlsConnector>, UpstreamError> {
    let wants = |uri: &hyper::Uri| uri.scheme() == Some(&Scheme::HTTPS);
    if !settings.addresses.iter().any(wants) {
        return Ok(None);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(settings)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

fn roots(settings: &settings::Upstream) -> Result<RootCertStore, UpstreamError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &settings.authorities else {
        // One that cannot be read is one that signed nothing here; none at all is an error.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(UpstreamError::NoAuthorities);
        }
        return Ok(roots);
    };
    let refused = |error| UpstreamError::Authorities {
        path: path.clone(),
        error,
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(refused)? {
        roots.add(certificate.map_err(refused)?)?;
    }
    if roots.is_empty() {
        return Err(refused(pem::Error::NoItemsFound));
    }
    Ok(roots)
}
