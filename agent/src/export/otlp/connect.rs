//! Connections to the receiver: TCP, and TLS where the scheme asks for it. Both transports use the same.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::config::{Config, Protocol, Tls};

/// TLS that cannot work as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of certificates or a key.
    #[error("cannot use {}: {source}; it must be a readable PEM file", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// A file without a certificate in it.
    #[error("{} holds no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The system trusts nobody.
    #[error(
        "no trusted certificates found on this system ({0}); install ca-certificates or set OTEL_EXPORTER_OTLP_CERTIFICATE"
    )]
    NoRoots(io::Error),
    /// The certificates do not fit.
    #[error("the certificates cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// Makes connections for the configured transport.
pub(super) fn connector(config: &Config) -> Result<HttpsConnector<HttpConnector>, TlsError> {
    let tls = if config.endpoint.scheme_str() == Some("https") {
        client_config(&config.tls)?
    } else {
        // Never used: a request to http does not reach for it.
        builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(Duration::from_secs(60)));
    let schemes = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    Ok(match config.protocol {
        Protocol::Grpc => schemes.enable_http2().wrap_connector(tcp),
        Protocol::HttpProtobuf | Protocol::HttpJson => schemes.enable_http1().wrap_connector(tcp),
    })
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions()
}

fn client_config(tls: &Tls) -> Result<ClientConfig, TlsError> {
    let trusting = match &tls.certificate {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            builder()?.with_root_certificates(roots)
        }
        None => builder()?.with_native_roots().map_err(TlsError::NoRoots)?,
    };
    match (&tls.client_certificate, &tls.client_key) {
        (Some(certificate), Some(key)) => {
            let secret =
                PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File { path: key.clone(), source })?;
            Ok(trusting.with_client_auth_cert(certificates(certificate)?, secret)?)
        }
        _ => Ok(trusting.with_no_client_auth()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned() });
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let mut config = Config::new("https://localhost:4318/v1/traces".parse().unwrap(), Protocol::HttpProtobuf);
        config.tls.certificate = Some("/nonexistent/ca.pem".into());
        let error = connector(&config).unwrap_err().to_string();
        assert!(error.starts_with("cannot use /nonexistent/ca.pem: "), "{error}");
        config.tls.certificate = Some("/dev/null".into());
        assert_eq!(connector(&config).unwrap_err().to_string(), "/dev/null holds no certificate");
    }
}
