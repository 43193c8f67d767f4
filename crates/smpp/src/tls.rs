//! TLS configurations from PEM text, with the ring provider, so that no process-wide default is needed.

use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};

/// Why the PEM text does not make a configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or without the kind of section needed.
    #[error("cannot read the PEM text: {0}")]
    Pem(#[from] pem::Error),
    /// No certificate in it.
    #[error("the PEM text has no certificate")]
    Empty,
    /// Refused by the TLS library: a key that does not fit its certificate, for one.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// A certificate with its chain, and its key.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate first, then those that sign it.
    pub chain_pem: &'a [u8],
    /// PKCS#8, PKCS#1 or SEC1.
    pub key_pem: &'a [u8],
}

impl std::fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() { Err(TlsError::Empty) } else { Ok(certificates) }
}

/// For a client that trusts the certificates in `roots_pem` (a carrier's self-signed one may stand there itself), and shows `identity` where the
/// carrier asks for one.
///
/// # Errors
/// [`TlsError`]
pub fn client(roots_pem: &[u8], identity: Option<Identity<'_>>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(roots_pem)? {
        roots.add(certificate)?;
    }
    with_roots(roots, identity)
}

/// As [`client`], trusting what the machine trusts: for carriers whose certificate a public authority has issued.
///
/// # Errors
/// [`TlsError`]; [`TlsError::Empty`] where the machine trusts nothing.
pub fn client_with_platform_roots(identity: Option<Identity<'_>>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    // One certificate of the machine's that cannot be read must not cost the others.
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 { Err(TlsError::Empty) } else { with_roots(roots, identity) }
}

fn with_roots(roots: RootCertStore, identity: Option<Identity<'_>>) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem)?;
            builder.with_client_auth_cert(certificates(identity.chain_pem)?, key)?
        }
    }))
}

/// For a server that shows `identity`.
///
/// # Errors
/// [`TlsError`]
pub fn server(identity: Identity<'_>) -> Result<Arc<ServerConfig>, TlsError> {
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates(identity.chain_pem)?, key)?;
    Ok(Arc::new(config))
}
