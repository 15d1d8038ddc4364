//! What a TLS handshake shows, as attributes of its connection.

use super::attributes::Attributes;
use super::span::Value;
use crate::proto::tls::{Handshake, cipher_name, version_name};
use crate::redact;

/// Longest protocol name (ALPN) that is exported, bytes. RFC 7301 allows 255; those in use have fewer than 16.
const ALPN_BYTES: usize = 64;
/// Offered protocols that are exported.
const MAX_OFFERED: usize = 8;

/// Adds what the handshake says; the server's name is the caller's business.
pub fn put(attributes: &mut Attributes, handshake: &Handshake) {
    // Before the server has chosen there is no version, only an offer.
    if let Some(version) = handshake.version {
        attributes.put("tls.protocol.name", if version == 0x0300 { "ssl" } else { "tls" });
        attributes.put("tls.protocol.version", number_or(version_name(version), version));
    }
    attributes.put_some("tls.cipher", handshake.cipher.map(|cipher| number_or(cipher_name(cipher), cipher)));
    if let Some(chosen) = &handshake.chosen {
        attributes.put_text("tls.next_protocol", chosen, ALPN_BYTES);
    }
    if !handshake.offered.is_empty() {
        let offered = handshake.offered.iter().take(MAX_OFFERED);
        let offered = offered.map(|name| redact::cut(name, ALPN_BYTES).to_owned()).collect();
        attributes.put("wirespan.tls.offered_protocols", Value::Strs(offered));
    }
    attributes.put_some("tls.resumed", handshake.resumed);
    attributes.put_some("wirespan.tls.alert", handshake.alert.map(i64::from));
}

/// The name, or the number on the wire where it has none that we know.
fn number_or(name: Option<&'static str>, number: u16) -> Value {
    name.map_or_else(|| format!("0x{number:04x}").into(), Value::from)
}
