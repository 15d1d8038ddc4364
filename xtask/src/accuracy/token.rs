//! The truth: a token per request, in the paths of all that belongs to it.

use std::fmt;

/// Digits of a token.
const DIGITS: usize = 16;

/// What tells a request from all others. It stands in paths, where links are never looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Token(pub(super) u64);

/// A path of the contract, `/CALL/TOKEN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// `work`, or which call it is.
    pub(super) call: &'a str,
    /// Of which request.
    pub(super) token: Token,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$x}", self.0)
    }
}

impl Token {
    /// Reads one as it is displayed.
    pub(super) fn read(text: &str) -> Option<Self> {
        let is_token = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_token).map(Self)
    }
}

impl<'a> Place<'a> {
    /// Reads a path, or a whole URL.
    pub(super) fn read(url: &'a str) -> Option<Self> {
        let path = match url.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/')?..],
            None => url,
        };
        let (call, token) = path.strip_prefix('/')?.split_once('/')?;
        if call.is_empty() {
            return None;
        }
        Token::read(token).map(|token| Self { call, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_a_path_and_from_a_url() {
        let place = Some(Place { call: "a", token: Token(0x12ab) });
        assert_eq!(Place::read("/a/00000000000012ab"), place);
        assert_eq!(Place::read("http://127.0.0.1:80/a/00000000000012ab"), place);
        assert_eq!(Token(0x12ab).to_string(), "00000000000012ab");
    }

    #[test]
    fn anything_else_has_no_token() {
        for url in
            ["/", "/a", "/a/12ab", "/a/+000000000012ab0", "//00000000000012ab", "http://h", "/a/00000000000012ab/"]
        {
            assert_eq!(Place::read(url), None, "{url}");
        }
    }
}
