//! What the head of a request says that ties it to other requests: what kind of request it is, and the ids it carries.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use memchr::memchr2;

use crate::text::Text;

/// The head of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    /// What kind of request it is: equal for requests that do the same. Never 0.
    pub operation: u64,
    /// Ids in its headers, from the front on.
    pub tokens: [Option<Token>; MAX_TOKENS],
    /// Trace context that the application sent.
    pub context: Option<Box<Sent>>,
}

/// Trace context as received.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sent {
    /// `traceparent`, only if it was there exactly once.
    pub traceparent: Option<Text>,
    /// `b3`, or the single form of its several headers.
    pub b3: Option<Text>,
}

/// The value of a header that may be an id, as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Of the header's name.
    pub name: u32,
    /// Of its value.
    pub value: u64,
    /// Whether the header is known to carry ids.
    pub trust: Trust,
}

/// What is known about a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It carries trace context.
    Context,
    /// It carries the id of a request by convention.
    Known,
    /// Its values look like ids.
    Learnt,
}

/// Ids of one request, at most.
pub const MAX_TOKENS: usize = 6;
/// Shorter values are too likely to be equal by chance, bytes.
const MIN_ID_BYTES: usize = 16;
/// Longer values are no ids, bytes.
const MAX_ID_BYTES: usize = 256;

/// Headers that carry the whole context of a request.
const CONTEXT_HEADERS: &[&str] = &["traceparent", "b3"];
/// Headers that carry the id of a request by convention.
const ID_HEADERS: &[&str] =
    &["x-b3-traceid", "x-request-id", "x-correlation-id", "x-amzn-trace-id", "x-cloud-trace-context"];
/// Headers whose values look like ids and are those of something else: a client, a session, a version of a document.
const OTHER_HEADERS: &[&str] = &[
    "host",
    "user-agent",
    "cookie",
    "authorization",
    "proxy-authorization",
    "if-none-match",
    "if-match",
    "if-modified-since",
    "date",
    "referer",
    "origin",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-real-ip",
    "tracestate",
    "sec-websocket-key",
    "content-type",
    "accept",
    "accept-encoding",
    "accept-language",
    "x-b3-spanid",
    "x-b3-parentspanid",
];

impl std::hash::Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.value ^ u64::from(self.name));
    }
}

impl Ask {
    /// Notes a header, if it may carry an id.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        let is = |known: &&&str| name.eq_ignore_ascii_case(known.as_bytes());
        let trust = match name.len() {
            2 | 11 if CONTEXT_HEADERS.iter().any(|known| is(&known)) => Trust::Context,
            _ if ID_HEADERS.iter().any(|known| is(&known)) => Trust::Known,
            _ => Trust::Learnt,
        };
        let looks_like_one = match trust {
            Trust::Context | Trust::Known => !value.is_empty() && value.len() <= MAX_ID_BYTES,
            Trust::Learnt => {
                (MIN_ID_BYTES..=MAX_ID_BYTES).contains(&value.len())
                    && value.iter().any(u8::is_ascii_digit)
                    && !value.contains(&b' ')
                    && !OTHER_HEADERS.iter().any(|known| is(&known))
            }
        };
        let Some(place) = self.tokens.iter_mut().find(|place| place.is_none()).filter(|_| looks_like_one) else {
            return;
        };
        let mut hasher = FixedState::default().build_hasher();
        name.iter().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
        let name = hasher.finish() as u32;
        let mut hasher = FixedState::default().build_hasher();
        hasher.write(value);
        *place = Some(Token { name, value: hasher.finish(), trust });
    }

    /// Notes what is asked for: the method, and of the target the path, without those of its parts that look like ids.
    pub fn target(&mut self, method: &str, target: &str) {
        let target = target.as_bytes();
        let path_end = memchr2(b'?', b'#', target).unwrap_or(target.len());
        let mut hasher = FixedState::default().build_hasher();
        hasher.write(method.as_bytes());
        for part in target[..path_end].split(|&byte| byte == b'/') {
            hasher.write_u8(b'/');
            if !looks_like_an_id(part) {
                hasher.write(part);
            }
        }
        self.operation = hasher.finish().max(1);
    }
}

/// Whether a part of a path names one thing of many: numbers, hashes, long words.
fn looks_like_an_id(part: &[u8]) -> bool {
    /// Versions (`v1`) and the like are shorter, bytes.
    const SHORT: usize = 3;
    /// Words are shorter, bytes.
    const LONG: usize = 32;
    let has_digit = part.iter().any(u8::is_ascii_digit);
    (has_digit && (part.len() > SHORT || part.iter().all(u8::is_ascii_digit))) || part.len() > LONG
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(method: &str, target: &str) -> u64 {
        let mut ask = Ask::default();
        ask.target(method, target);
        ask.operation
    }

    #[test]
    fn requests_of_a_kind_differ_in_ids_only() {
        let one = operation("GET", "/orders/8d7f6a5b4c3d2e1f/items?page=3");
        for same in ["/orders/17/items", "/orders/a1b2c3d4/items#x", "/orders/2f1e/items?x/y"] {
            assert_eq!(operation("GET", same), one, "{same}");
        }
        for other in ["/orders", "/orders/17", "/orders/17/item", "/orders/v2/items", "/"] {
            assert_ne!(operation("GET", other), one, "{other}");
        }
        assert_ne!(operation("POST", "/orders/17/items"), one);
    }

    #[test]
    fn headers_that_may_carry_ids_are_noted() {
        let mut ask = Ask::default();
        for (name, value) in [
            ("X-Request-ID", "7"),
            ("User-Agent", "Mozilla/5.0(X11)Linux"),
            ("x-order", "8d7f6a5b4c3d2e1f"),
            ("x-short", "8d7f6a5b"),
            ("x-words", "no digits in this one"),
            ("x-request-id", ""),
        ] {
            ask.header(name.as_bytes(), value.as_bytes());
        }
        let trusts: Vec<Trust> = ask.tokens.iter().flatten().map(|token| token.trust).collect();
        assert_eq!(trusts, [Trust::Known, Trust::Learnt]);
        let mut same = Ask::default();
        same.header(b"x-request-id", b"7");
        assert_eq!(same.tokens[0], ask.tokens[0]);
    }

    #[test]
    fn ten_megabytes_of_headers_are_a_few_words() {
        let mut ask = Ask::default();
        for number in 0..10_000 {
            ask.header(format!("x-{number}").as_bytes(), "1".repeat(1000).as_bytes());
            ask.header(format!("x-{number}").as_bytes(), format!("{number:0>20}").as_bytes());
        }
        assert!(ask.tokens.iter().all(Option::is_some));
    }
}
