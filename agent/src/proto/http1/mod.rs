//! HTTP/1.0 and HTTP/1.1 (RFC 9112).
//!
//! `guess` tells HTTP from other protocols; `stream` cuts one direction into messages (`head` and `fields` read their
//! heads, `framing` and `chunked` find the ends of their bodies, `heads` says how much of responses is needed); `parser` pairs requests with responses, and `open`
//! is a request that waits for the rest of its exchange.

mod b3;
mod chunked;
mod fields;
mod framing;
mod guess;
mod head;
mod heads;
mod open;
mod parser;
mod stream;
#[cfg(test)]
mod tests;

use super::Protocol;
use crate::text::Text;

pub use parser::Http1;

/// The row of the table.
pub const PROTOCOL: Protocol =
    Protocol { name: "http", guess: guess::guess, parser: |joined| Box::new(Http1::new(joined)) };

/// How much of one message head is kept and read, bytes: the 8 KiB that are copied of a request, and half as much
/// again for streams that are known whole. What is longer counts as truncated.
pub const HEAD_BYTES: usize = 12 * 1024;

/// How many requests of one connection may wait for their responses. Clients that pipeline send some tens.
pub const OPEN_REQUESTS: usize = 256;

/// How much text the waiting requests of one connection may hold before further ones are not kept, bytes. The request
/// that passes the limit is still kept, so that there may be [`HEAD_BYTES`] more.
pub const OPEN_BYTES: usize = 64 * 1024;

/// What was said in an HTTP exchange. Header values are as received, without the white space around them; bytes that
/// are not UTF-8 are replaced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http {
    /// The method token, whatever it is.
    pub method: Text,
    /// The request target as it was sent.
    pub target: Text,
    /// Minor version of the request: 0 or 1.
    pub minor_version: u8,
    /// Status of the final response.
    pub status: Option<u16>,
    /// `Host`.
    pub host: Option<Text>,
    /// `User-Agent`.
    pub user_agent: Option<Text>,
    /// `Forwarded`, else `X-Forwarded-For`: its first address is the client as proxies say.
    pub forwarded: Option<Text>,
    /// `X-Forwarded-Proto`.
    pub forwarded_proto: Option<Text>,
    /// `traceparent`, only if it was there exactly once.
    pub traceparent: Option<Text>,
    /// `tracestate`, several joined by commas.
    pub tracestate: Option<Text>,
    /// `b3`, or the single form of `X-B3-TraceId`, `X-B3-SpanId`, `X-B3-Sampled` and `X-B3-Flags`.
    pub b3: Option<Text>,
    /// `X-Request-Id`.
    pub request_id: Option<Text>,
    /// Bytes of the request's body, without framing, as far as they passed.
    pub request_body: u64,
    /// Bytes of the response's body, without framing, as far as they passed.
    pub response_body: u64,
    /// What the connection was switched to: the `Upgrade` of a 101, or `connect` for a tunnel.
    pub upgraded: Option<Text>,
    /// Whether a `100 Continue` (or another interim response) came first.
    pub interim: bool,
}

impl Http {
    /// Bytes of text in it.
    fn text_len(&self) -> usize {
        let Self { method, target, host, user_agent, forwarded, forwarded_proto, .. } = self;
        let Self { traceparent, tracestate, b3, request_id, upgraded, .. } = self;
        let headers = [host, user_agent, forwarded, forwarded_proto, traceparent, tracestate, b3, request_id, upgraded];
        method.len() + target.len() + headers.into_iter().flatten().map(Text::len).sum::<usize>()
    }
}
