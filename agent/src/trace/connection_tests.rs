//! What becomes of a connection.

use std::sync::Arc;

use super::*;
use crate::trace::fixture;
use crate::trace::span::{Resource, Value};

const LINEAGE: Lineage = Lineage { trace_id: TraceId([1; 16]), first: SpanId([2; 8]), parent: None };

fn part(ending: Option<Ending>) -> Part<'static> {
    Part {
        number: 0,
        span_id: LINEAGE.first,
        start: Nanos(1_000),
        end: Nanos(5_000),
        ending,
        before: Reported::default(),
        requests: 0,
        protocol: None,
        tls: None,
    }
}

fn build(facts: &Facts, part: &Part<'_>) -> Span {
    span(facts, facts.role, &LINEAGE, part, Clock::new(0), Arc::new(Resource::default()))
}

fn text(span: &Span, key: &str) -> Option<String> {
    span.get(key).map(|value| match value {
        Value::Str(text) => text.to_string(),
        other => format!("{other:?}"),
    })
}

#[test]
fn how_it_ended_and_who_ended_it() {
    let closed = |role| Facts { closed_first: Some(Side::Client), ..fixture::facts(role) };
    for (role, ending, end, by, error) in [
        (Role::Client, Ending::Closed, "fin", Some("client"), None),
        (Role::Server, Ending::Closed, "fin", Some("client"), None),
        (Role::Client, Ending::ResetByLocal, "reset", Some("client"), Some("connection_reset")),
        (Role::Client, Ending::ResetByRemote, "reset", Some("server"), Some("connection_reset")),
        (Role::Server, Ending::ResetByLocal, "reset", Some("server"), Some("connection_reset")),
        (Role::Client, Ending::TimedOut, "timeout", None, Some("timeout")),
        (Role::Client, Ending::Refused, "refused", None, Some("connection_refused")),
        (Role::Client, Ending::Unreachable, "unreachable", None, Some("host_unreachable")),
        (Role::Client, Ending::Aborted, "aborted", None, Some("connection_aborted")),
        (Role::Client, Ending::Forgotten, "open", None, None),
    ] {
        let span = build(&closed(role), &part(Some(ending)));
        assert_eq!(text(&span, "wirespan.connection.end").as_deref(), Some(end));
        assert_eq!(text(&span, "wirespan.connection.closed_by").as_deref(), by, "{role:?} {ending:?}");
        assert_eq!(text(&span, "error.type").as_deref(), error);
        assert_eq!(span.status == Status::Error, error.is_some());
        assert_eq!((span.kind, span.name.as_ref()), (Kind::Internal, NAME));
    }
}

#[test]
fn what_was_measured() {
    let facts = Facts {
        connecting: Some(Nanos(1_000)),
        established: Some(Nanos(2_001_000)),
        sent: 100,
        received: 70,
        retransmits: 3,
        srtt_us: 250,
        ..fixture::facts(Role::Client)
    };
    let span = build(&facts, &part(Some(Ending::Closed)));
    assert_eq!(span.get("wirespan.tcp.connect_duration"), Some(&Value::Double(0.002)));
    assert_eq!(span.get("wirespan.tcp.srtt"), Some(&Value::Double(0.000_25)));
    assert_eq!(span.get("wirespan.tcp.sent"), Some(&Value::Int(100)));
    assert_eq!(span.get("wirespan.tcp.received"), Some(&Value::Int(70)));
    assert_eq!(span.get("wirespan.tcp.retransmits"), Some(&Value::Int(3)));
    assert_eq!(span.get("wirespan.connection.segment"), None);
    assert_eq!(text(&span, "server.address").as_deref(), Some("10.0.0.2"));
}

#[test]
fn a_segment_says_what_is_new_and_refers_to_the_first() {
    let facts = Facts { sent: 100, received: 70, retransmits: 3, ..fixture::facts(Role::Server) };
    let before = Reported { sent: 60, received: 70, retransmits: 1 };
    let later = Part { number: 1, span_id: SpanId([3; 8]), before, ..part(None) };
    let span = build(&facts, &later);
    assert_eq!(span.get("wirespan.tcp.sent"), Some(&Value::Int(40)));
    assert_eq!(span.get("wirespan.tcp.received"), Some(&Value::Int(0)));
    assert_eq!(span.get("wirespan.tcp.retransmits"), Some(&Value::Int(2)));
    assert_eq!(span.get("wirespan.connection.segment"), Some(&Value::Int(1)));
    assert_eq!(text(&span, ID_KEY), Some(LINEAGE.first.to_string()));
    let links: Vec<_> = span.links().map(|link| (link.trace_id, link.span_id)).collect();
    assert_eq!((links, span.trace_id), (vec![(LINEAGE.trace_id, LINEAGE.first)], LINEAGE.trace_id));
    assert_eq!(build(&facts, &part(None)).links().count(), 0);
}

#[test]
fn what_a_handshake_shows() {
    let handshake = Handshake {
        server_name: Some("shop.example".to_owned()),
        offered: vec!["h2".to_owned(), "http/1.1".to_owned()],
        version: Some(0x0304),
        cipher: Some(0x1302),
        ..Handshake::default()
    };
    let span = build(
        &fixture::facts(Role::Client),
        &Part { tls: Some(&handshake), protocol: Some("tls"), ..part(Some(Ending::Closed)) },
    );
    assert_eq!(text(&span, "server.address").as_deref(), Some("shop.example"));
    assert_eq!(text(&span, "tls.protocol.version").as_deref(), Some("1.3"));
    assert_eq!(text(&span, "tls.cipher").as_deref(), Some("TLS_AES_256_GCM_SHA384"));
    assert_eq!(text(&span, "tls.next_protocol"), None, "TLS 1.3 chooses in secret");
    let odd = Handshake { version: Some(0x0305), cipher: Some(0xffff), chosen: Some("h2".to_owned()), ..handshake };
    let span = build(&fixture::facts(Role::Client), &Part { tls: Some(&odd), ..part(None) });
    assert_eq!(text(&span, "tls.protocol.version").as_deref(), Some("0x0305"));
    assert_eq!(text(&span, "tls.cipher").as_deref(), Some("0xffff"));
    assert_eq!(text(&span, "tls.next_protocol").as_deref(), Some("h2"));
    let refused = Handshake { alert: Some(40), ..Handshake::default() };
    for (ending, error) in [(Ending::Closed, "tls_alert"), (Ending::ResetByRemote, "connection_reset")] {
        let span = build(&fixture::facts(Role::Client), &Part { tls: Some(&refused), ..part(Some(ending)) });
        assert_eq!((text(&span, "error.type").as_deref(), span.status), (Some(error), Status::Error));
        assert_eq!(text(&span, "wirespan.tls.alert").as_deref(), Some("Int(40)"));
    }
}
