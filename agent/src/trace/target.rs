//! What a request asks for: its target and `Host` taken apart (RFC 9112 section 3.2, RFC 3986), nothing decoded.

use std::borrow::Cow;

use memchr::memchr;

/// A request target in its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target<'a> {
    /// Of an absolute-form target.
    pub scheme: Option<&'a str>,
    /// Whether an absolute-form target has user name or password in it.
    pub has_credentials: bool,
    /// Of an absolute-form target, or the whole target of CONNECT.
    pub authority: Option<Authority<'a>>,
    /// Path, `*` for the asterisk form; empty for CONNECT.
    pub path: &'a str,
    /// What follows the `?`.
    pub query: Option<&'a str>,
}

/// A host and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Name or address, without the brackets of an IPv6 literal.
    pub host: &'a str,
    /// The port, where one is given.
    pub port: Option<u16>,
}

/// Longest host name that is believed, bytes: a DNS name has at most 253, an IPv6 literal with a zone fits too.
const HOST_BYTES: usize = 255;

/// Bytes that a host may have; those that are not ASCII are the business of whoever resolves the name.
static IN_HOSTS: [bool; 256] = {
    let mut hosts = [true; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        hosts[byte as usize] =
            matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' | b'%' | b':');
        byte += 1;
    }
    hosts
};

impl<'a> Target<'a> {
    /// Takes a target apart. Anything that is of no known form is a path.
    #[must_use]
    pub fn parse(method: &str, target: &'a str) -> Self {
        // A fragment is never sent; where it is, it is not the server's business.
        let target = memchr(b'#', target.as_bytes()).map_or(target, |at| &target[..at]);
        if method == "CONNECT" {
            return Self { authority: Authority::parse(target), ..Self::default() };
        }
        // Most targets are a path, which is no scheme's beginning.
        let absolute = if target.starts_with('/') { None } else { target.split_once("://") };
        let Some((scheme, rest)) = absolute.filter(|(scheme, _)| is_scheme(scheme)) else {
            let (path, query) = split_query(target);
            return Self { path, query, ..Self::default() };
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (path, query) = split_query(rest);
        Self {
            scheme: Some(scheme),
            has_credentials: authority.contains('@'),
            authority: Authority::parse(authority),
            path: if path.is_empty() { "/" } else { path },
            query,
        }
    }
}

impl<'a> Authority<'a> {
    /// `host[:port]`, with or without `user:password@` before it. `None` where it names no host.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        // Short, nearly always: loops over its bytes are cheaper than searches that are good at long ones.
        let text = text.bytes().rposition(|byte| byte == b'@').map_or(text, |at| &text[at + 1..]).trim_ascii();
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':').unwrap_or_default())
        } else {
            let mut colons = text.bytes().enumerate().filter(|&(_, byte)| byte == b':').map(|(at, _)| at);
            match (colons.next(), colons.next()) {
                (Some(only), None) => (&text[..only], &text[only + 1..]),
                _ => (text, ""),
            }
        };
        let is_host =
            !host.is_empty() && host.len() <= HOST_BYTES && host.bytes().all(|byte| IN_HOSTS[usize::from(byte)]);
        is_host.then(|| Self { host, port: port.parse().ok().filter(|&port| port > 0) })
    }

    /// As it stands in a URL.
    #[must_use]
    pub fn bracketed(host: &str) -> Cow<'_, str> {
        if host.contains(':') { Cow::Owned(format!("[{host}]")) } else { Cow::Borrowed(host) }
    }
}

/// The port that a scheme implies.
#[must_use]
pub fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    memchr(b'?', text.as_bytes()).map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])))
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.len() <= 16
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(host: &str, port: Option<u16>) -> Option<Authority<'_>> {
        Some(Authority { host, port })
    }

    #[test]
    fn the_forms_of_a_target() {
        let origin = |path, query| Target { path, query, ..Target::default() };
        let absolute =
            |authority, path, query| Target { scheme: Some("http"), authority, path, query, ..Target::default() };
        for (method, target, expected) in [
            ("GET", "/", origin("/", None)),
            ("GET", "/a?b=c?d", origin("/a", Some("b=c?d"))),
            ("GET", "/a?", origin("/a", Some(""))),
            ("GET", "/a#b?c", origin("/a", None)),
            ("GET", "/http://x/", origin("/http://x/", None)),
            ("GET", "", origin("", None)),
            ("GET", "no-slash?x", origin("no-slash", Some("x"))),
            ("OPTIONS", "*", origin("*", None)),
            ("GET", "http://h", absolute(authority("h", None), "/", None)),
            ("GET", "http://h:81/a?b", absolute(authority("h", Some(81)), "/a", Some("b"))),
            ("GET", "http://h?b", absolute(authority("h", None), "/", Some("b"))),
            ("GET", "http://[::1]:81/", absolute(authority("::1", Some(81)), "/", None)),
            ("GET", "http:///x", absolute(None, "/x", None)),
            ("CONNECT", "h:443", Target { authority: authority("h", Some(443)), ..Target::default() }),
            (
                "CONNECT",
                "[2001:db8::1]:443",
                Target { authority: authority("2001:db8::1", Some(443)), ..Target::default() },
            ),
        ] {
            assert_eq!(Target::parse(method, target), expected, "{method} {target}");
        }
        let with_credentials = Target::parse("GET", "http://u:p@w@h:1/");
        assert!(with_credentials.has_credentials);
        assert_eq!(with_credentials.authority, authority("h", Some(1)));
    }

    #[test]
    fn hosts_and_ports() {
        for (text, expected) in [
            ("example.com", authority("example.com", None)),
            ("example.com:8080", authority("example.com", Some(8080))),
            (" h:1 ", authority("h", Some(1))),
            ("127.0.0.1:80", authority("127.0.0.1", Some(80))),
            ("[::1]", authority("::1", None)),
            ("[fe80::1%25eth0]:80", authority("fe80::1%25eth0", Some(80))),
            ("::1", authority("::1", None)),
            ("h:", authority("h", None)),
            ("h:0", authority("h", None)),
            ("h:99999", authority("h", None)),
            ("user:pw@h:1", authority("h", Some(1))),
            ("", None),
            (":80", None),
            ("[::1", None),
            ("a b", None),
            ("a/b", None),
            ("a\0b", None),
            ("<script>", None),
        ] {
            assert_eq!(Authority::parse(text), expected, "{text}");
        }
        assert_eq!(Authority::parse(&"x".repeat(256)), None);
    }
}
