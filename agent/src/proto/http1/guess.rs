//! Whether bytes are the beginning of an HTTP/1 message.

use memchr::memchr_iter;

use crate::flow::Side;
use crate::proto::Guess;

/// Longest method that is believed, bytes. The longest registered one (`UPDATEREDIRECTREF`) has 17.
const METHOD_BYTES: usize = 64;

/// How many bytes may pass without the version that ends a request line, before the method must do as evidence.
const UNDECIDED_BYTES: usize = 4 * 1024;

/// Empty lines that may come before a request (RFC 9112, 2.2), bytes.
const LEADING_BYTES: usize = 16;

/// Methods that are believed although the version was never seen, because the target is too long.
const WELL_KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];

const VERSION: &[u8] = b"HTTP/1.";

/// Judges the first bytes of a message.
pub(super) fn guess(side: Side, bytes: &[u8]) -> Guess {
    match side {
        Side::Client => request(bytes),
        Side::Server => response(bytes),
    }
}

/// A byte that may stand in a method or a header name (RFC 9110, 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    TOKENS[usize::from(byte)]
}

/// The answers of [`is_token`]: it is asked of each byte of each name.
static TOKENS: [bool; 256] = {
    let mut tokens = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        tokens[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    tokens
};

/// The method, if it is one of those that everybody uses.
pub(super) fn well_known(method: &[u8]) -> Option<&'static str> {
    WELL_KNOWN.into_iter().find(|known| known.as_bytes() == method)
}

fn request(bytes: &[u8]) -> Guess {
    let leading = bytes.iter().take(LEADING_BYTES).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let bytes = &bytes[leading..];
    let method = bytes.iter().take(METHOD_BYTES).take_while(|&&byte| is_token(byte)).count();
    match bytes.get(method) {
        None => return Guess::Unsure,
        Some(b' ') if method > 0 => (),
        Some(_) => return Guess::No,
    }
    let (method, rest) = (&bytes[..method], &bytes[method + 1..]);
    let version = memchr_iter(b' ', rest).find(|&space| rest[space + 1..].starts_with(VERSION));
    let line = &rest[..version.unwrap_or(rest.len())];
    if line.iter().fold(false, |found, &byte| found | (byte < b' ') | (byte == 0x7f)) {
        return Guess::No;
    }
    if version.is_some() {
        return Guess::Yes;
    }
    if bytes.len() < UNDECIDED_BYTES {
        return Guess::Unsure;
    }
    let plausible = well_known(method).is_some() && (line.starts_with(b"/") || line.starts_with(b"http"));
    if plausible { Guess::Yes } else { Guess::No }
}

fn response(bytes: &[u8]) -> Guess {
    if bytes.starts_with(VERSION) {
        Guess::Yes
    } else if VERSION.starts_with(bytes) {
        Guess::Unsure
    } else {
        Guess::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(side: Side, bytes: impl AsRef<[u8]>, expect: Guess) {
        let bytes = bytes.as_ref();
        assert_eq!(guess(side, bytes), expect, "{side:?} {:?}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn any_method_token_makes_a_request() {
        for method in ["GET", "PROPFIND", "CONNECT", "M-SEARCH", "x", "!#$%&'*+-.^_`|~09"] {
            check(Side::Client, format!("{method} * HTTP/1.1\r\n"), Guess::Yes);
        }
    }

    #[test]
    fn every_prefix_of_a_request_line_leaves_it_open() {
        let line = "\r\nPROPFIND /a?b=c HTTP/1.";
        for cut in 0..line.len() {
            check(Side::Client, &line[..cut], Guess::Unsure);
        }
        check(Side::Client, line, Guess::Yes);
    }

    #[test]
    fn other_protocols_are_not_taken_for_requests() {
        for bytes in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"*1\r\n$4\r\nPING\r\n",
            b"GET key\r\n",
            b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"OPTIONS rtsp://host/a RTSP/1.0\r\n",
            b"GET /\r\n",
            b"EHLO there\r\n",
            b" GET / HTTP/1.1\r\n",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\x10\x20MQTT",
            b"GET /\x01 HTTP/1.1\r\n",
        ] {
            check(Side::Client, bytes, Guess::No);
        }
        check(Side::Client, "m".repeat(METHOD_BYTES + 1), Guess::No);
    }

    #[test]
    fn a_very_long_target_is_believed_with_a_well_known_method_only() {
        let long = "a".repeat(UNDECIDED_BYTES);
        check(Side::Client, format!("GET /{long}"), Guess::Yes);
        check(Side::Client, format!("MADEUP /{long}"), Guess::No);
        check(Side::Client, format!("GET {long}"), Guess::No);
    }

    #[test]
    fn a_response_begins_with_the_version() {
        check(Side::Server, "", Guess::Unsure);
        check(Side::Server, "HTTP/", Guess::Unsure);
        check(Side::Server, "HTTP/1.0 200", Guess::Yes);
        check(Side::Server, "HTTP/2", Guess::No);
        check(Side::Server, "http/1.1", Guess::No);
        check(Side::Server, "220 ready", Guess::No);
    }
}
