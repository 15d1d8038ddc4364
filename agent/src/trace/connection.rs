//! A TCP connection as spans: one, or one per segment of a long life.
//!
//! The kind is always INTERNAL. Call graphs are made of CLIENT and SERVER spans, and the requests on a connection are
//! those; a second pair below them would count each call twice. The name is always the same: how a connection fared is
//! said by attributes, so that the name stays low in cardinality.
//!
//! | attribute | meaning |
//! |---|---|
//! | `wirespan.connection.id` | names the connection at this end; its requests carry it too |
//! | `wirespan.connection.role` | `client`: opened here; `server`: accepted here; absent: not known |
//! | `wirespan.connection.segment` | counts the segments from 0; only where there are several |
//! | `wirespan.connection.requests` | requests seen on it, in this segment |
//! | `wirespan.connection.end` | `fin`, `reset`, `timeout`, `refused`, `unreachable`, `aborted`, or `open`: not ended yet |
//! | `wirespan.connection.closed_by` | who ended it first: `client` or `server` |
//! | `wirespan.tcp.connect_duration` | seconds from `connect` to the end of the handshake |
//! | `wirespan.tcp.srtt` | smoothed round trip, seconds |
//! | `wirespan.tcp.sent`, `wirespan.tcp.received` | payload of this segment, bytes |
//! | `wirespan.tcp.retransmits` | TCP segments retransmitted by this end, in this segment |

use wirespan_common::record::Endpoint;

use super::address::{self, Addresses};
use super::attributes::Attributes;
use super::clock::{Clock, seconds_between};
use super::failure;
use super::link::{CERTAIN, Method, Tie};
use super::mesh;
use super::span::{Kind, Scope, Span, SpanId, Status, TraceId};
use super::tls;
use crate::flow::{Ending, Facts, Nanos, Role, Side};
use crate::proto::tls::Handshake;

/// Name of the spans.
pub const NAME: &str = "TCP connection";
/// Attribute that names a connection, on its spans and on those of its requests.
pub const ID_KEY: &str = "wirespan.connection.id";

/// Attributes that such a span usually has; the list grows if there are more.
const USUAL_ATTRIBUTES: usize = 24;
/// Longest server name (SNI) that is exported, bytes: the longest DNS name.
const SERVER_NAME_BYTES: usize = 255;

/// What the spans of one connection have in common.
#[derive(Clone, Copy, Debug)]
pub struct Lineage {
    /// The trace of the connection's spans.
    pub trace_id: TraceId,
    /// The connection's first span: its id is the connection's.
    pub first: SpanId,
    /// The client's first span, where both ends are on this machine.
    pub parent: Option<Tie>,
}

/// What had been reported of a connection before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// Payload sent and received, bytes.
    pub sent: u64,
    /// See [`Self::sent`].
    pub received: u64,
    /// Segments retransmitted.
    pub retransmits: u32,
}

/// One segment of a connection: all of it, mostly.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Counts from 0.
    pub number: u64,
    /// Its span.
    pub span_id: SpanId,
    /// When it began.
    pub start: Nanos,
    /// When it ended.
    pub end: Nanos,
    /// How the connection ended, if it did.
    pub ending: Option<Ending>,
    /// What had been reported before.
    pub before: Reported,
    /// Requests in it.
    pub requests: u64,
    /// What is spoken, where that is known.
    pub protocol: Option<&'static str>,
    /// What a TLS handshake showed.
    pub tls: Option<&'a Handshake>,
}

impl Reported {
    /// All that is known now.
    #[must_use]
    pub const fn now(facts: &Facts) -> Self {
        Self { sent: facts.sent, received: facts.received, retransmits: facts.retransmits }
    }
}

/// The span of a part of a connection.
#[must_use]
pub fn span(
    facts: &Facts,
    role: Option<Role>,
    lineage: &Lineage,
    part: &Part<'_>,
    clock: Clock,
    resource: std::sync::Arc<super::span::Resource>,
) -> Span {
    let refusal = part.tls.and_then(|handshake| handshake.alert).map(|_| failure::TLS_ALERT);
    let failure = part.ending.and_then(|ending| failure::of_connection(ending).or(refusal));
    let (start_unix_ns, end_unix_ns) = clock.span(part.start, part.end);
    let is_first = part.span_id == lineage.first;
    let first =
        Tie { trace_id: lineage.trace_id, span_id: lineage.first, method: Method::Segment, confidence: CERTAIN };
    Span {
        trace_id: lineage.trace_id,
        span_id: part.span_id,
        parent: lineage.parent.map(|tie| tie.span_id),
        parent_is_remote: lineage.parent.is_some(),
        flags: super::context::SAMPLED,
        trace_state: String::new(),
        kind: Kind::Internal,
        name: NAME.into(),
        start_unix_ns,
        end_unix_ns,
        attributes: attributes(facts, role, lineage, part, failure).finish(),
        links: [(!is_first).then_some(first), None],
        status: if failure.is_some() { Status::Error } else { Status::Unset },
        resource,
        scope: Scope::L4,
        awaits: None,
    }
}

fn attributes(
    facts: &Facts,
    role: Option<Role>,
    lineage: &Lineage,
    part: &Part<'_>,
    failure: Option<&'static str>,
) -> Attributes {
    let mut attributes = Attributes::with_capacity(USUAL_ATTRIBUTES);
    attributes.put(ID_KEY, lineage.first.text());
    attributes.put_some("wirespan.connection.role", role.map(role_name));
    Addresses::of(facts).put(&mut attributes);
    put_server(&mut attributes, facts, role, part.tls);
    attributes.put_some("network.protocol.name", part.protocol);
    if let Some(handshake) = part.tls {
        tls::put(&mut attributes, handshake);
        if let Some(server) = server(facts, role) {
            mesh::put_tunnel(&mut attributes, server.port, handshake);
        }
    }
    if let (Some(connecting), Some(established), true) = (facts.connecting, facts.established, part.number == 0) {
        attributes.put("wirespan.tcp.connect_duration", seconds_between(connecting, established));
    }
    if facts.srtt_us > 0 {
        attributes.put("wirespan.tcp.srtt", f64::from(facts.srtt_us) / 1e6);
    }
    attributes.put_count("wirespan.tcp.sent", facts.sent.saturating_sub(part.before.sent));
    attributes.put_count("wirespan.tcp.received", facts.received.saturating_sub(part.before.received));
    attributes.put("wirespan.tcp.retransmits", i64::from(facts.retransmits.saturating_sub(part.before.retransmits)));
    if part.requests > 0 {
        attributes.put_count("wirespan.connection.requests", part.requests);
    }
    if part.number > 0 || part.ending.is_none() {
        attributes.put_count("wirespan.connection.segment", part.number);
    }
    attributes.put("wirespan.connection.end", part.ending.map_or("open", end_name));
    let closed_by = part.ending.and_then(|ending| closed_by(facts, role, ending));
    attributes.put_some("wirespan.connection.closed_by", closed_by.map(side_name));
    attributes.put_some("error.type", failure);
    if let Some(tie) = &lineage.parent {
        attributes.extend(tie.attributes());
    }
    attributes
}

/// `server.*`: by the name in the ClientHello where there is one, else the address that was dialled.
fn put_server(attributes: &mut Attributes, facts: &Facts, role: Option<Role>, tls: Option<&Handshake>) {
    let Some(server) = server(facts, role) else { return };
    match tls.and_then(|handshake| handshake.server_name.as_deref()) {
        Some(name) => attributes.put_text("server.address", name, SERVER_NAME_BYTES),
        None => attributes.put("server.address", address::text(&server)),
    }
    attributes.put("server.port", i64::from(server.port));
}

/// The end that serves: what was dialled, where address translation hides it from the packets.
fn server(facts: &Facts, role: Option<Role>) -> Option<Endpoint> {
    Some(match role? {
        Role::Client => facts.dialled.unwrap_or(facts.remote),
        Role::Server => facts.local,
    })
}

fn closed_by(facts: &Facts, role: Option<Role>, ending: Ending) -> Option<Side> {
    let (local, remote) = match role {
        Some(Role::Client) => (Some(Side::Client), Some(Side::Server)),
        Some(Role::Server) => (Some(Side::Server), Some(Side::Client)),
        None => (None, None),
    };
    match ending {
        Ending::ResetByLocal => local,
        Ending::ResetByRemote => remote,
        Ending::Closed => facts.closed_first,
        _ => None,
    }
}

const fn end_name(ending: Ending) -> &'static str {
    match ending {
        Ending::Closed => "fin",
        Ending::ResetByLocal | Ending::ResetByRemote => "reset",
        Ending::TimedOut => "timeout",
        Ending::Refused => "refused",
        Ending::Unreachable => "unreachable",
        Ending::Aborted => "aborted",
        Ending::Forgotten => "open",
    }
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

const fn side_name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
