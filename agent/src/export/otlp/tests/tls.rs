//! Over TLS, with certificates made for the test.

use std::fs;
use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tonic::transport::{Identity, ServerTlsConfig};

use super::*;

/// A certificate that signs itself, and its files. They go with the value.
struct Pair {
    certificate: rcgen::Certificate,
    key: KeyPair,
    certificate_file: PathBuf,
    key_file: PathBuf,
}

impl Pair {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let file = |kind: &str| std::env::temp_dir().join(format!("wirespan-{}-{name}.{kind}", std::process::id()));
        let pair = Self { certificate_file: file("crt"), key_file: file("key"), certificate, key };
        fs::write(&pair.certificate_file, pair.certificate.pem()).unwrap();
        fs::write(&pair.key_file, pair.key.serialize_pem()).unwrap();
        pair
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        fs::remove_file(&self.certificate_file).ok();
        fs::remove_file(&self.key_file).ok();
    }
}

fn server(own: &Pair, client: Option<&Pair>) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let mut roots = RootCertStore::empty();
            roots.add(client.certificate.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
    builder.with_single_cert(vec![own.certificate.der().clone()], key).unwrap()
}

#[test]
fn http_over_tls_with_a_certificate_of_our_own() {
    let (own, ours) = (Pair::new("http-server"), Pair::new("http-client"));
    let receiver = receiver::http_on(Vec::new(), Some(server(&own, Some(&ours))));
    let endpoint = format!("https://localhost:{}/v1/traces", receiver.address.port());
    let bench = Bench::start(&endpoint, Protocol::HttpProtobuf, |config| {
        config.tls.certificate = Some(own.certificate_file.clone());
        config.tls.client_certificate = Some(ours.certificate_file.clone());
        config.tls.client_key = Some(ours.key_file.clone());
    });
    bench.send(2);
    assert_eq!(receiver.next().path, "/v1/traces");
    assert_eq!(account(&bench.finish().0), (2, 2, vec![]));
}

#[test]
fn a_receiver_that_is_not_trusted_gets_nothing() {
    let (own, other) = (Pair::new("untrusted"), Pair::new("trusted"));
    let receiver = receiver::http_on(Vec::new(), Some(server(&own, None)));
    let endpoint = format!("https://localhost:{}/v1/traces", receiver.address.port());
    let bench = Bench::start(&endpoint, Protocol::HttpProtobuf, |config| {
        config.tls.certificate = Some(other.certificate_file.clone());
        config.give_up = Duration::from_millis(1);
    });
    bench.send(1);
    assert_eq!(account(&bench.finish().0), (1, 0, vec![(Stage::Export, Reason::Unreachable, 1)]));
    assert_eq!(receiver.rest(), 0);
}

#[test]
fn grpc_over_tls() {
    let own = Pair::new("grpc-server");
    let identity = Identity::from_pem(own.certificate.pem(), own.key.serialize_pem());
    let receiver = receiver::grpc_on(Vec::new(), Some(ServerTlsConfig::new().identity(identity)));
    let endpoint = format!("https://localhost:{}", receiver.address.port());
    let bench = Bench::start(&endpoint, Protocol::Grpc, |config| {
        config.tls.certificate = Some(own.certificate_file.clone());
    });
    bench.send(2);
    receiver.next();
    assert_eq!(account(&bench.finish().0), (2, 2, vec![]));
}
