//! Addresses as attributes: of the socket, and of the client as proxies name it.

use std::net::{IpAddr, Ipv6Addr};

use wirespan_common::record::Endpoint;

use super::attributes::Attributes;
use crate::flow::Facts;
use crate::text::Text;

/// The addresses of a connection as text. A connection has many requests, and its addresses seldom change.
#[derive(Clone, Debug)]
pub struct Addresses {
    local: Endpoint,
    remote: Endpoint,
    /// This end.
    pub local_text: Text,
    /// The other end.
    pub remote_text: Text,
    /// `network.type`.
    kind: &'static str,
}

impl Addresses {
    /// Those of a connection.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        Self {
            local: facts.local,
            remote: facts.remote,
            local_text: text(&facts.local),
            remote_text: text(&facts.remote),
            kind: if ip(&facts.remote).is_ipv4() { "ipv4" } else { "ipv6" },
        }
    }

    /// Those of a connection, which are in `known` already if they have not changed.
    pub fn cached<'a>(known: &'a mut Option<Self>, facts: &Facts) -> &'a Self {
        if known.as_ref().is_none_or(|known| known.local != facts.local || known.remote != facts.remote) {
            *known = None;
        }
        known.get_or_insert_with(|| Self::of(facts))
    }

    /// `network.*` of the connection.
    pub fn put(&self, attributes: &mut Attributes) {
        attributes.put("network.transport", "tcp");
        attributes.put("network.type", self.kind);
        attributes.put("network.local.address", self.local_text.clone());
        attributes.put("network.local.port", i64::from(self.local.port));
        attributes.put("network.peer.address", self.remote_text.clone());
        attributes.put("network.peer.port", i64::from(self.remote.port));
    }
}

/// An endpoint as one number: equal for equal endpoints, and the same on every machine.
#[must_use]
pub fn number(endpoint: Endpoint) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = endpoint.addr.into_iter().chain(endpoint.port.to_be_bytes());
    // FNV-1a (Fowler, Noll and Vo).
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// The address of an endpoint; IPv4 where the socket speaks IPv4, mapped or not.
#[must_use]
pub fn ip(endpoint: &Endpoint) -> IpAddr {
    Ipv6Addr::from(endpoint.addr).to_canonical()
}

/// The address of an endpoint as text.
#[must_use]
pub fn text(endpoint: &Endpoint) -> Text {
    Text::of(&ip(endpoint))
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
    fn addresses_that_changed_are_written_again() {
        let mut known = None;
        let mut facts = crate::trace::fixture::facts(crate::flow::Role::Client);
        assert_eq!(Addresses::cached(&mut known, &facts).remote_text.as_str(), "10.0.0.2");
        facts.remote = crate::trace::fixture::endpoint(7, 8080);
        assert_eq!(Addresses::cached(&mut known, &facts).remote_text.as_str(), "10.0.0.7");
        facts.local = crate::trace::fixture::endpoint(8, 8080);
        assert_eq!(Addresses::cached(&mut known, &facts).local_text.as_str(), "10.0.0.8");
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        let mapped = Endpoint { addr: Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1]).octets(), port: 1, pad: 0 };
        assert_eq!(ip(&mapped).to_string(), "127.0.0.1");
    }
}
