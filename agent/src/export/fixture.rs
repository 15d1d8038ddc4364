//! Spans for the tests of the exporters: a curl that asks an nginx, and the connection between them.

use std::sync::Arc;

use crate::trace::span::{Attribute, Kind, Link, Resource, Scope, Span, SpanId, Status, TraceId};

/// 14 November 2023, 22:13:20 UTC.
pub(super) const START_UNIX_NS: u64 = 1_700_000_000_000_000_000;

pub(super) fn resource(service: &str) -> Arc<Resource> {
    Arc::new(Resource {
        service: service.to_owned(),
        attributes: vec![
            Attribute { key: "service.name".into(), value: service.to_owned().into() },
            Attribute::new("process.pid", 4711),
        ],
    })
}

/// The request of trace `n` as curl sees it: a root of 1.32 ms.
pub(super) fn client(n: u8, resource: &Arc<Resource>) -> Span {
    Span {
        trace_id: TraceId([n; 16]),
        span_id: SpanId([n, 1, 0, 0, 0, 0, 0, 1]),
        parent: None,
        parent_is_remote: false,
        flags: 1,
        trace_state: String::new(),
        kind: Kind::Client,
        name: "GET".into(),
        start_unix_ns: START_UNIX_NS,
        end_unix_ns: START_UNIX_NS + 1_320_000,
        attributes: vec![
            Attribute::new("http.request.method", "GET"),
            Attribute::new("url.full", "http://127.0.0.1/index.html"),
            Attribute::new("http.response.status_code", 200),
            Attribute::new("http.response.body.size", 612),
            Attribute::new("wirespan.connection.id", "c1"),
        ],
        links: vec![Link { trace_id: TraceId([0xc0 | n; 16]), span_id: connection_id(n), attributes: Vec::new() }],
        status: Status::Unset,
        resource: Arc::clone(resource),
        scope: Scope::L7,
    }
}

/// The same request as nginx sees it.
pub(super) fn server(n: u8, resource: &Arc<Resource>) -> Span {
    let mut span = client(n, resource);
    span.span_id = SpanId([n, 2, 0, 0, 0, 0, 0, 2]);
    span.parent = Some(SpanId([n, 1, 0, 0, 0, 0, 0, 1]));
    span.parent_is_remote = true;
    span.kind = Kind::Server;
    span.start_unix_ns += 260_000;
    span.end_unix_ns -= 250_000;
    span.attributes[1] = Attribute::new("url.path", "/index.html");
    span.attributes.truncate(4);
    span.links.clear();
    span
}

/// The connection that the client's request lies on.
pub(super) fn connection(n: u8, resource: &Arc<Resource>) -> Span {
    Span {
        trace_id: TraceId([0xc0 | n; 16]),
        span_id: connection_id(n),
        name: "TCP connection".into(),
        start_unix_ns: START_UNIX_NS - 45_000,
        end_unix_ns: START_UNIX_NS + 1_500_000,
        attributes: vec![
            Attribute::new("wirespan.connection.id", "c1"),
            Attribute::new("wirespan.connection.role", "client"),
            Attribute::new("network.local.address", "127.0.0.1"),
            Attribute::new("network.local.port", 53412),
            Attribute::new("network.peer.address", "127.0.0.1"),
            Attribute::new("network.peer.port", 80),
            Attribute::new("server.address", "127.0.0.1"),
            Attribute::new("wirespan.tcp.connect_duration", 45e-6),
            Attribute::new("wirespan.tcp.srtt", 21e-6),
            Attribute::new("wirespan.tcp.sent", 78),
            Attribute::new("wirespan.tcp.received", 853),
            Attribute::new("wirespan.tcp.retransmits", 0),
            Attribute::new("wirespan.connection.end", "fin"),
            Attribute::new("wirespan.connection.closed_by", "client"),
        ],
        links: Vec::new(),
        kind: Kind::Internal,
        scope: Scope::L4,
        ..client(n, resource)
    }
}

fn connection_id(n: u8) -> SpanId {
    SpanId([n, 3, 0, 0, 0, 0, 0, 3])
}
