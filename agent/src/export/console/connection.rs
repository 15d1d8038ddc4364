//! A connection's span in one line: addresses, what it cost, what it carried, how it ended.

use std::fmt::Write as _;

use super::clean::{clean, cut};
use super::style::{Ink, Style};
use super::waterfall::{clock, duration, size};
use crate::trace::span::{Span, Status, Value};

/// Columns of an error or a server name at most.
const WORD_COLUMNS: usize = 40;

/// A connection that no request is known to lie on: refused, encrypted, or of a protocol that is not read.
pub(super) fn draw_alone(style: Style, span: &Span, out: &mut String) {
    let service = cut(&clean(&span.resource.service), 20).into_owned();
    let failed = span.status == Status::Error;
    let ink = if failed { Ink::Bad } else { Ink::Plain };
    writeln!(
        out,
        "{} {} {} {}",
        style.paint(Ink::Dim, clock(span.start_unix_ns)),
        style.paint(Ink::Strong, format_args!("{service:<20}")),
        style.paint(ink, summary(span)),
        style.paint(Ink::Dim, duration(span.end_unix_ns.saturating_sub(span.start_unix_ns))),
    )
    .ok();
}

/// The connection in words, safe to print. Leaves out what is not known.
pub(super) fn summary(span: &Span) -> String {
    let local = endpoint(span, "network.local.address", "network.local.port");
    let peer = endpoint(span, "network.peer.address", "network.peer.port");
    let is_server = text(span, "wirespan.connection.role").is_some_and(|role| role == "server");
    // A connection is drawn in the direction in which it was opened.
    let (from, to) = if is_server { (peer, local) } else { (local, peer) };
    let mut line = format!("tcp {from} → {to}");
    let mut add = |part: String| {
        line.push_str(" · ");
        line.push_str(&part);
    };
    if span.status == Status::Error {
        add(format!("✗ {}", text(span, "error.type").map_or_else(|| "failed".to_owned(), word)));
    }
    if let Some(seconds) = number(span, keys::CONNECT_SECONDS) {
        add(format!("connect {}", duration(nanoseconds(seconds))));
    }
    if let Some(name) = text(span, "server.address").or_else(|| text(span, "tls.client.server_name")) {
        add(word(name));
    }
    if let Some(version) = text(span, "tls.protocol.version") {
        add(format!("TLS {}", word(version)));
    }
    if let Some(protocol) = text(span, "tls.next_protocol") {
        add(word(protocol));
    }
    if let (Some(sent), Some(received)) = (integer(span, keys::SENT_BYTES), integer(span, keys::RECEIVED_BYTES)) {
        add(format!("sent {} received {}", size(sent), size(received)));
    }
    if let Some(seconds) = number(span, keys::RTT_SECONDS) {
        add(format!("rtt {}", duration(nanoseconds(seconds))));
    }
    if let Some(segments) = integer(span, keys::RETRANSMITS).filter(|segments| *segments > 0) {
        add(format!("{segments} retransmitted"));
    }
    if let Some(end) = text(span, keys::END) {
        add(word(end));
    }
    line
}

/// The attributes that the trace stage gives a connection's span.
mod keys {
    pub(super) const CONNECT_SECONDS: &str = "wirespan.connection.connect_time";
    pub(super) const SENT_BYTES: &str = "wirespan.connection.sent_bytes";
    pub(super) const RECEIVED_BYTES: &str = "wirespan.connection.received_bytes";
    pub(super) const RTT_SECONDS: &str = "wirespan.connection.rtt";
    pub(super) const RETRANSMITS: &str = "wirespan.connection.retransmits";
    pub(super) const END: &str = "wirespan.connection.end";
}

fn endpoint(span: &Span, address: &str, port: &str) -> String {
    let address = text(span, address).map_or_else(|| "?".to_owned(), word);
    let port = integer(span, port).map_or_else(|| "?".to_owned(), |port| port.to_string());
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn word(text: &str) -> String {
    cut(&clean(text), WORD_COLUMNS).into_owned()
}

pub(super) fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    match span.get(key)? {
        Value::Str(text) => Some(text),
        _ => None,
    }
}

pub(super) fn integer(span: &Span, key: &str) -> Option<i64> {
    match span.get(key)? {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

fn number(span: &Span, key: &str) -> Option<f64> {
    match span.get(key)? {
        Value::Double(number) => Some(*number).filter(|number| number.is_finite() && *number >= 0.0),
        Value::Int(number) => u32::try_from(*number).ok().map(f64::from),
        _ => None,
    }
}

/// Saturates: a wild number is shown as a wild duration.
fn nanoseconds(seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; never negative")]
    let nanoseconds = (seconds * 1e9).round() as u64;
    nanoseconds
}
