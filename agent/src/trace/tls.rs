//! What a TLS handshake shows, as attributes of its connection.

use std::borrow::Cow;

use super::attributes::Attributes;
use crate::proto::tls::Handshake;

/// Longest protocol name (ALPN) that is exported, bytes. RFC 7301 allows 255; those in use have fewer than 16.
const ALPN_BYTES: usize = 64;
/// Offered protocols that are exported.
const MAX_OFFERED: usize = 8;

/// Cipher suites in use today, by their IANA numbers and names.
const CIPHERS: &[(u16, &str)] = &[
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0x1302, "TLS_AES_256_GCM_SHA384"),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    (0x1304, "TLS_AES_128_CCM_SHA256"),
    (0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    (0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    (0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    (0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    (0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    (0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256"),
    (0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384"),
];

/// Adds what the handshake says; the server's name is the caller's business.
pub fn put(attributes: &mut Attributes, handshake: &Handshake) {
    // Before the server has chosen there is no version, only an offer.
    if let Some(version) = handshake.version {
        attributes.put("tls.protocol.name", if version == 0x0300 { "ssl" } else { "tls" });
        attributes.put("tls.protocol.version", version_name(version));
    }
    attributes.put_some("tls.cipher", handshake.cipher.map(cipher_name));
    if let Some(chosen) = &handshake.chosen {
        attributes.put_text("tls.next_protocol", chosen, ALPN_BYTES);
    }
    if !handshake.offered.is_empty() {
        let offered = handshake.offered.iter().take(MAX_OFFERED);
        let offered = offered.map(|name| crate::redact::cut(name, ALPN_BYTES).to_owned()).collect();
        attributes.put("wirespan.tls.offered_protocols", super::span::Value::Strs(offered));
    }
    attributes.put_some("tls.resumed", handshake.resumed);
    attributes.put_some("wirespan.tls.alert", handshake.alert.map(i64::from));
}

/// RFC 8446 section 4.2.1.
fn version_name(version: u16) -> super::span::Value {
    match version {
        0x0300 => "3.0".into(),
        0x0301 => "1.0".into(),
        0x0302 => "1.1".into(),
        0x0303 => "1.2".into(),
        0x0304 => "1.3".into(),
        other => format!("0x{other:04x}").into(),
    }
}

fn cipher_name(cipher: u16) -> super::span::Value {
    let known = CIPHERS.iter().find(|&&(number, _)| number == cipher);
    super::span::Value::Str(
        known.map_or_else(|| Cow::Owned(format!("0x{cipher:04x}")), |&(_, name)| Cow::Borrowed(name)),
    )
}
