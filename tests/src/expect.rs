//! What must hold for every request that was seen at both ends, whoever made and answered it.

use std::fs;
use std::path::Path;

use crate::agent::{Agent, Pair};
use crate::names;
use crate::span::{Kind, Link, Span, Value, Want, is};

/// What was asked and answered, by an opinion that is not the agent's.
#[derive(Clone, Debug)]
pub struct Exchange<'a> {
    /// The method.
    pub method: &'a str,
    /// Status of the response.
    pub status: i64,
    /// Bytes of the request's body.
    pub request_body: i64,
    /// Bytes of the response's body.
    pub response_body: i64,
}

/// A chunked body whose framing is not copied is estimated: too much by less than this part of it (Go's chunks of
/// 2 KiB have 8 bytes of framing each), and never too little.
const ESTIMATE_WITHIN: i64 = 100;

/// The same where the framing of a long chunked response body is not copied: its size is an estimate and says so.
#[track_caller]
pub fn is_exchange_with_estimated_body(pair: &Pair, wanted: &Exchange<'_>) {
    let mut seen = wanted.clone();
    for span in [&pair.client, &pair.server] {
        span.expect([(names::BODY_ESTIMATED, is(true))]);
        seen.response_body = span.int("http.response.body.size");
        let surplus = seen.response_body - wanted.response_body;
        assert!((0..wanted.response_body / ESTIMATE_WITHIN).contains(&surplus), "{surplus} bytes too much\n{span}");
    }
    is_exchange(pair, &seen);
}

/// Both spans say what the exchange was, and the server's span is the child of the client's.
#[track_caller]
pub fn is_exchange(pair: &Pair, wanted: &Exchange<'_>) {
    for (span, fails_from) in [(&pair.client, 400), (&pair.server, 500)] {
        assert_eq!(span.name, wanted.method, "{span}");
        let fails = wanted.status >= fails_from;
        span.expect([
            ("http.request.method", is(wanted.method)),
            ("http.response.status_code", is(wanted.status)),
            ("http.request.body.size", is(wanted.request_body)),
            ("http.response.body.size", is(wanted.response_body)),
            ("error.type", if fails { is(wanted.status.to_string()) } else { Want::Absent }),
            ("wirespan.truncated", Want::Absent),
            ("wirespan.incomplete", Want::Absent),
        ]);
        assert_eq!(span.failed, fails, "{span}");
    }
    is_joined(pair);
}

/// The server's span is the child of the client's, found by sequence number, and lies within it.
#[track_caller]
pub fn is_joined(pair: &Pair) {
    let Pair { client, server } = pair;
    assert_eq!(server.trace_id, client.trace_id, "two traces\n{client}\n{server}");
    assert_eq!(server.parent.as_deref(), Some(client.span_id.as_str()), "the parent is another\n{client}\n{server}");
    server.expect([(names::LINK_METHOD, is("tcp-seq")), (names::LINK_CONFIDENCE, Want::Is(Value::Double(1.0)))]);
    const IS_REMOTE: u32 = 0x300;
    assert_eq!(server.flags & IS_REMOTE, IS_REMOTE, "the parent is in another process\n{server}");
    assert!(client.start_ns <= server.start_ns, "the server began first\n{client}\n{server}");
    assert!(server.end_ns <= client.end_ns, "the server ended last\n{client}\n{server}");
}

/// The request's span refers to the span of the connection that it was made on, which the agent shows too.
#[track_caller]
pub fn lies_on_its_connection(agent: &Agent, span: &Span) {
    let id = span.get(names::CONNECTION_ID).unwrap_or_else(|| panic!("no connection id on\n{span}"));
    let connection = agent.span(&format!("the {:?} connection {id:?}", span.kind), |other| {
        other.is_connection(span.kind) && other.get(names::CONNECTION_ID) == Some(id)
    });
    let link = span.link_to(&connection);
    assert_eq!(link.attributes.0.get(names::LINK_METHOD), Some(&Value::from("connection")), "{span}");
    for key in ["network.local.address", "network.local.port", "network.peer.address", "network.peer.port"] {
        assert_eq!(span.get(key), connection.get(key), "{key} of\n{span}\nand\n{connection}");
    }
    assert!(connection.start_ns <= span.start_ns && span.end_ns <= connection.end_ns, "outside its connection: {span}");
}

/// The request's span names its connection, which may live on: its span is not shown yet, but its id is linked to.
#[track_caller]
pub fn lies_on_its_connection_so_far(span: &Span) {
    let id = span.str(names::CONNECTION_ID);
    let is_it = |link: &&Link| {
        link.span_id == id && link.attributes.0.get(names::LINK_METHOD) == Some(&Value::from("connection"))
    };
    assert!(span.links.iter().any(|link| is_it(&link)), "no link to its connection {id}: {span}");
}

/// The resource is that process: pid, executable, name, host.
#[track_caller]
pub fn is_of_process(span: &Span, pid: u32, executable: &Path) {
    let name = executable.file_name().expect("an executable has a name").to_string_lossy().into_owned();
    span.expect_resource([
        ("process.pid", is(pid)),
        ("process.executable.name", is(&name)),
        ("process.executable.path", is(executable.to_string_lossy().into_owned())),
        ("service.name", is(&name)),
        ("host.name", is(host_name())),
    ]);
}

/// The executable of a running process.
#[must_use]
#[track_caller]
pub fn executable(pid: u32) -> std::path::PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_else(|error| panic!("process {pid}: {error}"))
}

/// Whether a process is this one or a child of it.
#[must_use]
#[track_caller]
pub fn belongs_to(pid: u32, ancestor: u32) -> bool {
    if pid == ancestor {
        return true;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|parent| parent.trim() == ancestor.to_string()))
}

/// This machine's name.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The kinds of both ends.
pub const ENDS: [Kind; 2] = [Kind::Client, Kind::Server];
