//! A connection's span in one line: addresses, what it cost, what it carried, how it ended.

use std::fmt::Write as _;

use super::clean::{clean, clip, cut};
use super::style::{Ink, Style};
use super::units::{clock, duration, size};
use crate::trace::span::{Span, Status, Value};

/// Columns of an error or a server name at most.
const WORD_COLUMNS: usize = 40;
/// Columns of the parts around it, each with its gap.
const CLOCK_COLUMNS: usize = 13;
const SERVICE_COLUMNS: usize = 21;
const DURATION_COLUMNS: usize = 10;

/// A connection that no request is known to lie on: refused, encrypted, or of a protocol that is not read.
pub(super) fn draw_alone(style: Style, span: &Span, out: &mut String) {
    let service = cut(&clean(&span.resource.service), SERVICE_COLUMNS - 1).into_owned();
    let ink = if span.status == Status::Error { Ink::Bad } else { Ink::Plain };
    let took = duration(span.end_unix_ns.saturating_sub(span.start_unix_ns));
    let room = usize::from(style.columns).saturating_sub(CLOCK_COLUMNS + SERVICE_COLUMNS + DURATION_COLUMNS);
    writeln!(
        out,
        "{} {} {} {}",
        style.paint(Ink::Dim, clock(span.start_unix_ns)),
        style.paint(Ink::Strong, format_args!("{service:<width$}", width = SERVICE_COLUMNS - 1)),
        style.paint(ink, clip(&summary(span), room)),
        style.paint(Ink::Dim, took),
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
    if let Some(name) = server_name(span) {
        add(word(name));
    }
    if let Some(version) = text(span, "tls.protocol.version") {
        add(format!("TLS {}", word(version)));
    }
    if let Some(protocol) = text(span, "tls.next_protocol") {
        add(word(protocol));
    }
    if let (Some(sent), Some(received)) = (integer(span, keys::SENT_BYTES), integer(span, keys::RECEIVED_BYTES))
        && (sent, received) != (0, 0)
    {
        add(format!("sent {} received {}", size(sent), size(received)));
    }
    if let Some(seconds) = number(span, keys::RTT_SECONDS) {
        add(format!("rtt {}", duration(nanoseconds(seconds))));
    }
    if let Some(segments) = integer(span, keys::RETRANSMITS).filter(|segments| *segments > 0) {
        add(format!("{segments} retransmitted"));
    }
    if let Some(end) = ending(span) {
        add(end);
    }
    line
}

/// The name that was asked for, where it is not one of the addresses.
fn server_name(span: &Span) -> Option<&str> {
    let is_address = |name: &&str| {
        ["network.local.address", "network.peer.address"].iter().any(|key| text(span, key) == Some(*name))
    };
    text(span, "server.address").filter(|name| !is_address(name))
}

/// How it ended, unless the error says so already.
fn ending(span: &Span) -> Option<String> {
    let by = text(span, keys::CLOSED_BY).map(|side| format!(" by {}", word(side))).unwrap_or_default();
    match text(span, keys::END)? {
        "fin" => Some(format!("closed{by}")),
        "reset" => Some(format!("reset{by}")),
        "open" => Some("still open".to_owned()),
        _ if span.status == Status::Error => None,
        end => Some(word(end)),
    }
}

/// The attributes that the trace stage gives a connection's span.
mod keys {
    pub(super) const CONNECT_SECONDS: &str = "wirespan.tcp.connect_duration";
    pub(super) const SENT_BYTES: &str = "wirespan.tcp.sent";
    pub(super) const RECEIVED_BYTES: &str = "wirespan.tcp.received";
    pub(super) const RTT_SECONDS: &str = "wirespan.tcp.srtt";
    pub(super) const RETRANSMITS: &str = "wirespan.tcp.retransmits";
    pub(super) const END: &str = "wirespan.connection.end";
    pub(super) const CLOSED_BY: &str = "wirespan.connection.closed_by";
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
