//! TLS on the listener: which certificate is shown, and the handshake.
//!
//! Invariant: TLS 1.2 and 1.3 with the one crypto provider; a handshake has a deadline and counts
//! against the limits on connections from its first byte. A certificate is replaced for the
//! connections that come after; those that are open keep theirs. Where the files are is not known here.

use super::connection::Connection;
use axum_server::accept::Accept;
use axum_server::tls::TlsService;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 22;
/// What somebody is told who speaks plain HTTP here.
const PLAIN: &str = "this port speaks TLS: use https://\n";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is none in it.
    #[error("the certificate file has no certificate in PEM form")]
    NoCertificate,
    /// There is none in it, or it is protected by a password.
    #[error("the key file has no private key in PEM form that can be read without a password")]
    NoKey,
    /// They do not fit, or the algorithm is not supported.
    #[error("the certificate and the key cannot be used together: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The certificate that new connections are shown; clones share it.
#[derive(Clone)]
pub struct Tls(RustlsConfig);

impl Tls {
    /// Starts with a chain of certificates and its key, as texts in PEM form.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn new(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        Ok(Self(RustlsConfig::from_config(Arc::new(configuration(chain, key)?))))
    }

    /// Shows another certificate from here on.
    ///
    /// # Errors
    /// [`CertificateError`]; then the one before stays.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), CertificateError> {
        self.0.reload_from_config(Arc::new(configuration(chain, key)?));
        Ok(())
    }

    pub(super) fn acceptor(&self, handshake: Duration) -> Acceptor {
        let tls = RustlsAcceptor::new(self.0.clone()).handshake_timeout(handshake);
        Acceptor { tls, handshake }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn configuration(chain: &[u8], key: &[u8]) -> Result<ServerConfig, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|_| CertificateError::NoCertificate)?;
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::NoKey)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut configuration = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    configuration.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(configuration)
}

/// Shakes hands, or tells those who speak plain HTTP that this is not the place.
#[derive(Clone, Debug)]
pub(super) struct Acceptor {
    tls: RustlsAcceptor,
    handshake: Duration,
}

impl<S: Send + 'static> Accept<Connection, S> for Acceptor {
    type Stream = <RustlsAcceptor as Accept<Connection, S>>::Stream;
    type Service = TlsService<S>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, mut connection: Connection, service: S) -> Self::Future {
        let Self { tls, handshake } = self.clone();
        Box::pin(async move {
            let first = tokio::time::timeout(handshake, connection.first_byte()).await??;
            if first.is_some_and(|byte| byte != HANDSHAKE) {
                let refused = async {
                    connection.write_all(refusal().as_bytes()).await?;
                    connection.shutdown().await
                };
                tokio::time::timeout(handshake, refused).await??;
                return Err(io::Error::new(io::ErrorKind::InvalidData, "plain HTTP"));
            }
            tls.accept(connection, service).await
        })
    }
}

fn refusal() -> String {
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{PLAIN}",
        PLAIN.len()
    )
}
