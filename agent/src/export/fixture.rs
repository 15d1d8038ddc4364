//! Spans for the tests of the exporters: a curl that asks an nginx, and the connection between them.

use std::sync::Arc;

use proptest::prelude::*;

use crate::trace::link::{CERTAIN, Method, Tie};
use crate::trace::span::{Attribute, Kind, MAX_LINKS, Resource, Scope, Span, SpanId, Status, TraceId, Value};

/// 14 November 2023, 22:13:20 UTC.
pub(super) const START_UNIX_NS: u64 = 1_700_000_000_000_000_000;

pub(super) fn resource(service: &str) -> Arc<Resource> {
    Arc::new(Resource {
        service: service.to_owned(),
        attributes: vec![
            Attribute { key: "service.name".into(), value: service.to_owned().into() },
            Attribute::new("process.pid", 4711),
        ],
        ..Resource::default()
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
        links: [Some(on_connection(n)), None],
        status: Status::Unset,
        resource: Arc::clone(resource),
        scope: Scope::L7,
        awaits: None,
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
    span.links = [None; MAX_LINKS];
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
        links: [None; MAX_LINKS],
        kind: Kind::Internal,
        scope: Scope::L4,
        awaits: None,
        ..client(n, resource)
    }
}

fn on_connection(n: u8) -> Tie {
    Tie {
        trace_id: TraceId([0xc0 | n; 16]),
        span_id: connection_id(n),
        method: Method::Connection,
        confidence: CERTAIN,
    }
}

fn connection_id(n: u8) -> SpanId {
    SpanId([n, 3, 0, 0, 0, 0, 0, 3])
}

/// Batches that hold every kind of value, link, flag, parent, status and grouping, and the odd ones among them.
pub(super) fn every_kind() -> Vec<Vec<Span>> {
    let (curl, nginx) = (resource("curl"), resource("nginx"));
    let values = [
        Value::from(""),
        Value::from("text"),
        Value::from("\"\\/\u{8}\u{c}\n\r\t\0\u{1f}\u{7f}\u{80}\u{2028}\u{fffd}\u{10ffff}".to_owned()),
        Value::Int(0),
        Value::Int(127),
        Value::Int(128),
        Value::Int(-1),
        Value::Int(i64::MIN),
        Value::Int(i64::MAX),
        Value::Double(0.0),
        Value::Double(-0.0),
        Value::Double(1.0),
        Value::Double(45e-6),
        Value::Double(f64::MAX),
        Value::Double(f64::MIN_POSITIVE),
        Value::Double(f64::NAN),
        Value::Double(f64::INFINITY),
        Value::Double(f64::NEG_INFINITY),
        Value::Bool(true),
        Value::Bool(false),
        Value::Strs(Box::default()),
        Value::Strs([String::new()].into()),
        Value::Strs(["one".to_owned(), "x".repeat(200)].into()),
    ];
    let all: Vec<Attribute> =
        values.into_iter().map(|value| Attribute { key: format!("{value:?}").into(), value }).collect();
    let mut full = server(1, &nginx);
    full.trace_state = "ot=th:8,other=1".to_owned();
    full.status = Status::Error;
    full.flags = 0xff;
    full.attributes.clone_from(&all);
    let unsure = Tie { method: Method::TcpSeq, confidence: f64::NAN, ..on_connection(1) };
    full.links = [Some(on_connection(1)), Some(unsure)];
    let mut bare = client(2, &Arc::new(Resource::default()));
    bare.attributes = vec![Attribute::new("", "")];
    (bare.name, bare.flags, bare.start_unix_ns, bare.end_unix_ns) = ("".into(), 0, 0, 0);
    let mut backwards = client(3, &Arc::new(Resource { attributes: all, ..Resource::default() }));
    backwards.parent = Some(SpanId([7; 8]));
    backwards.end_unix_ns = backwards.start_unix_ns - 1;
    let mut local_parent = server(4, &nginx);
    local_parent.parent_is_remote = false;
    let mut remote_without_parent = client(5, &curl);
    remote_without_parent.parent_is_remote = true;
    let mixed = vec![
        client(1, &curl),
        full.clone(),
        connection(1, &curl),
        connection(1, &nginx),
        bare.clone(),
        client(2, &curl),
        backwards.clone(),
        local_parent,
        remote_without_parent,
    ];
    vec![Vec::new(), vec![full], vec![bare], vec![backwards], mixed]
}

/// Spans of up to three processes that are whatever the types allow.
pub(super) fn any_spans() -> impl Strategy<Value = Vec<Span>> {
    let attributes = || prop::collection::vec(any_attribute(), 0..6);
    let resources =
        prop::collection::vec(attributes().prop_map(|attributes| Resource { attributes, ..Resource::default() }), 3);
    let methods = vec![Method::Traceparent, Method::B3, Method::TcpSeq, Method::Connection, Method::Segment];
    let link = (any::<[u8; 16]>(), any::<[u8; 8]>(), prop::sample::select(methods), prop::num::f64::ANY);
    let link = link.prop_map(|(trace, span, method, confidence)| Tie {
        trace_id: TraceId(trace),
        span_id: SpanId(span),
        method,
        confidence,
    });
    let links = [prop::option::of(link.clone()), prop::option::of(link)];
    let ids = (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<Option<[u8; 8]>>(), any::<bool>(), any::<u8>());
    let words = (any::<String>(), any::<String>(), any::<u64>(), any::<u64>());
    let choices = (0..3_usize, any::<bool>(), any::<bool>(), 0..3_usize);
    let span = (ids, words, choices, attributes(), links);
    (resources, prop::collection::vec(span, 0..8)).prop_map(|(resources, spans)| {
        let resources: Vec<_> = resources.into_iter().map(Arc::new).collect();
        let span = |(ids, words, choices, attributes, links)| {
            let (trace, id, parent, parent_is_remote, flags): ([u8; 16], [u8; 8], Option<[u8; 8]>, bool, u8) = ids;
            let (name, trace_state, start_unix_ns, end_unix_ns): (String, String, u64, u64) = words;
            let (kind, is_error, is_connection, resource): (usize, bool, bool, usize) = choices;
            Span {
                trace_id: TraceId(trace),
                span_id: SpanId(id),
                parent: parent.map(SpanId),
                parent_is_remote,
                flags,
                trace_state,
                kind: [Kind::Internal, Kind::Server, Kind::Client][kind],
                name: name.into(),
                start_unix_ns,
                end_unix_ns,
                attributes,
                links,
                status: if is_error { Status::Error } else { Status::Unset },
                resource: Arc::clone(&resources[resource]),
                scope: if is_connection { Scope::L4 } else { Scope::L7 },
                awaits: None,
            }
        };
        spans.into_iter().map(span).collect()
    })
}

fn any_attribute() -> impl Strategy<Value = Attribute> {
    let value = prop_oneof![
        any::<String>().prop_map(Value::from),
        any::<i64>().prop_map(Value::Int),
        prop::num::f64::ANY.prop_map(Value::Double),
        any::<bool>().prop_map(Value::Bool),
        prop::collection::vec(any::<String>(), 0..4).prop_map(|texts| Value::Strs(texts.into())),
    ];
    (any::<String>(), value).prop_map(|(key, value)| Attribute { key: key.into(), value })
}
