//! Addresses as attributes: of the socket, and of the client as proxies name it.

use std::net::{IpAddr, Ipv6Addr};

use wirespan_common::record::Endpoint;

use super::attributes::Attributes;

/// The address of an endpoint; IPv4 where the socket speaks IPv4, mapped or not.
#[must_use]
pub fn ip(endpoint: &Endpoint) -> IpAddr {
    Ipv6Addr::from(endpoint.addr).to_canonical()
}

/// `network.*` of a connection.
pub fn network(attributes: &mut Attributes, local: &Endpoint, remote: &Endpoint) {
    let (local_ip, remote_ip) = (ip(local), ip(remote));
    attributes.put("network.transport", "tcp");
    attributes.put("network.type", if remote_ip.is_ipv4() { "ipv4" } else { "ipv6" });
    attributes.put("network.local.address", local_ip.to_string());
    attributes.put("network.local.port", i64::from(local.port));
    attributes.put("network.peer.address", remote_ip.to_string());
    attributes.put("network.peer.port", i64::from(remote.port));
}

/// The client as the first proxy saw it, from the value of `Forwarded` (RFC 7239) or of `X-Forwarded-For`.
///
/// Only an address counts: `unknown` and made-up identifiers (RFC 7239 section 6.3) say nothing about where.
#[must_use]
pub fn forwarded_client(value: &str) -> Option<IpAddr> {
    let first = value.split(',').next()?;
    let is_forwarded = first.contains('=');
    let node = if is_forwarded {
        let named = |pair: &str| {
            let (name, node) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| node.trim().trim_matches('"').to_owned())
        };
        first.split(';').find_map(named)?
    } else {
        first.trim().to_owned()
    };
    let without_port = match node.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None if node.bytes().filter(|&byte| byte == b':').count() == 1 => node.split_once(':')?.0,
        None => &node,
    };
    without_port.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_first_address_that_proxies_name() {
        for (value, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1, 10.0.0.1", Some("192.0.2.1")),
            ("192.0.2.1:4711", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]:80, x", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("for=192.0.2.43", Some("192.0.2.43")),
            ("For=\"[2001:db8:cafe::17]:4711\"", Some("2001:db8:cafe::17")),
            ("proto=http; for=192.0.2.60 ;by=203.0.113.43, for=1.1.1.1", Some("192.0.2.60")),
            ("for=\"192.0.2.1:99\"", Some("192.0.2.1")),
            ("for=unknown", None),
            ("for=_hidden, for=192.0.2.1", None),
            ("proto=http", None),
            ("unknown", None),
            ("evil<script>", None),
            ("[::1", None),
            ("", None),
        ] {
            assert_eq!(forwarded_client(value).map(|ip| ip.to_string()).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        let mapped = Endpoint { addr: Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1]).octets(), port: 1, pad: 0 };
        assert_eq!(ip(&mapped).to_string(), "127.0.0.1");
    }
}
