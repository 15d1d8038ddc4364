//! As much of HTTP/1.1 as the load and the backends need: where a message ends, its first line, and a few headers.

use crate::accuracy::token::Token;

/// A message longer than this is none of the contract's, bytes.
const MOST_BYTES: usize = 64 << 10;

/// A whole message at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    head: &'a str,
    /// How long it is with its body.
    pub(super) bytes: usize,
}

/// What some bytes are so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    /// Not yet a message.
    Part,
    /// A message, perhaps with more behind it.
    Whole(Message<'a>),
    /// No message of the contract.
    Bad,
}

/// Reads a message: a request without a body, or a response with `Content-Length` or in chunks.
pub(super) fn read(bytes: &[u8]) -> Read<'_> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > MOST_BYTES { Read::Bad } else { Read::Part };
    };
    let Ok(head) = str::from_utf8(&bytes[..end]) else { return Read::Bad };
    let start = end + 4;
    let message = Message { head, bytes: start };
    let body = if message.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        match chunked(&bytes[start..]) {
            Ok(body) => body,
            Err(()) => return Read::Bad,
        }
    } else {
        match message.header("content-length").map(str::parse::<usize>) {
            None => Some(0),
            Some(Ok(length)) if length <= MOST_BYTES => Some(length).filter(|length| bytes.len() - start >= *length),
            Some(_) => return Read::Bad,
        }
    };
    body.map_or(Read::Part, |body| Read::Whole(Message { head, bytes: start + body }))
}

/// A request to the application, with a `traceparent` of these ids if there are any.
pub(super) fn request(token: Token, trace: Option<(u128, u64)>) -> String {
    let trace = trace.map(|(trace, parent)| format!("traceparent: 00-{trace:032x}-{parent:016x}-01\r\n"));
    format!("GET /work/{token} HTTP/1.1\r\nHost: app\r\nAccept: */*\r\n{}\r\n", trace.unwrap_or_default())
}

impl<'a> Message<'a> {
    /// The first line.
    pub(super) fn line(&self) -> &'a str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The value of a header, named in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All headers.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let lines = self.head.lines().skip(1);
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim()))
    }

    /// Whether the connection ends behind it.
    pub(super) fn closes(&self) -> bool {
        let connection = self.header("connection").unwrap_or_default();
        let is_old = self.line().starts_with("HTTP/1.0") || self.line().ends_with("HTTP/1.0");
        connection.eq_ignore_ascii_case("close") || (is_old && !connection.eq_ignore_ascii_case("keep-alive"))
    }
}

/// Length of a body in chunks, if all of it is there.
fn chunked(bytes: &[u8]) -> Result<Option<usize>, ()> {
    let mut at = 0;
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = str::from_utf8(&bytes[at..at + end]).map_err(|_| ())?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).map_err(|_| ())?;
        if size > MOST_BYTES || at > MOST_BYTES {
            return Err(());
        }
        at += end + 2 + size + 2;
        if at > bytes.len() {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Message<'_> {
        match read(bytes) {
            Read::Whole(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_message_ends_where_its_head_says() {
        let request = b"GET /a/1 HTTP/1.1\r\nHost: x\r\n\r\nGET";
        assert_eq!((whole(request).bytes, whole(request).line()), (30, "GET /a/1 HTTP/1.1"));
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\n\r\nokHTTP").bytes, 40);
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        assert_eq!(whole(chunks).bytes, chunks.len());
        assert_eq!(read(&chunks[..chunks.len() - 1]), Read::Part);
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"), Read::Part);
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n"), Read::Bad);
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"), Read::Bad);
    }

    #[test]
    fn a_connection_ends_if_either_side_says_so_or_is_of_another_age() {
        assert!(whole(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").closes());
        assert!(whole(b"GET / HTTP/1.0\r\n\r\n").closes());
        assert!(!whole(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n").closes());
        assert!(!whole(b"GET / HTTP/1.1\r\n\r\n").closes());
    }
}
