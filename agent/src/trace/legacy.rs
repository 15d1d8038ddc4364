//! Attribute names of before the stable HTTP conventions, for receivers that know no others
//! (`OTEL_SEMCONV_STABILITY_OPT_IN=http/dup`).

use super::attributes::Attributes;
use super::span::{Attribute, Value};
use crate::flow::Role;

/// New name, old name at a client, old name at a server; empty where there was none.
const NAMES: &[(&str, &str, &str)] = &[
    ("http.request.method", "http.method", "http.method"),
    ("http.response.status_code", "http.status_code", "http.status_code"),
    ("url.full", "http.url", ""),
    ("url.scheme", "", "http.scheme"),
    ("server.address", "net.peer.name", "net.host.name"),
    ("server.port", "net.peer.port", "net.host.port"),
    ("client.address", "", "http.client_ip"),
    ("user_agent.original", "http.user_agent", "http.user_agent"),
    ("network.protocol.version", "http.flavor", "http.flavor"),
    ("network.peer.address", "net.sock.peer.addr", "net.sock.peer.addr"),
    ("network.peer.port", "net.sock.peer.port", "net.sock.peer.port"),
    ("network.local.address", "net.sock.host.addr", "net.sock.host.addr"),
    ("network.local.port", "net.sock.host.port", "net.sock.host.port"),
    ("http.request.body.size", "http.request_content_length", "http.request_content_length"),
    ("http.response.body.size", "http.response_content_length", "http.response_content_length"),
];

/// Adds the old names beside the new ones. `http.target` joins path and query again.
pub fn add(attributes: &mut Attributes, role: Role) {
    let old: Vec<Attribute> = NAMES
        .iter()
        .filter_map(|&(new, client, server)| {
            let name = match role {
                Role::Client => client,
                Role::Server => server,
            };
            let value = attributes.get(new).filter(|_| !name.is_empty())?;
            Some(Attribute { key: name.into(), value: value.clone() })
        })
        .collect();
    if let Some(Value::Str(path)) = attributes.get("url.path") {
        let target = match attributes.get("url.query") {
            Some(Value::Str(query)) => format!("{path}?{query}"),
            _ => path.to_string(),
        };
        attributes.put("http.target", target);
    }
    attributes.extend(old);
}
