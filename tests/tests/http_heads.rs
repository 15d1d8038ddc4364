//! What is read from HTTP heads: methods, targets, contexts; and heads that are longer than what is copied.

use std::sync::OnceLock;

use wirespan_tests::agent::{Agent, Pair};
use wirespan_tests::expect::{Exchange, is_exchange, is_joined};
use wirespan_tests::names;
use wirespan_tests::raw::{self, Wire, get, ok};
use wirespan_tests::span::{Kind, Value, Want, is};

/// One agent for all: each connection has a port of its own.
fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(Agent::start)
}

#[track_caller]
fn check(wire: &Wire, path: &str, method: &str, status: i64, request_body: i64, response_body: i64) -> Pair {
    let pair = agent().pair(wire.port, path);
    is_exchange(&pair, &Exchange { method, status, request_body, response_body });
    pair
}

#[test]
fn an_absolute_target_names_scheme_host_and_no_credentials() {
    agent();
    let mut wire = Wire::open();
    wire.ask("GET http://user:secret@far.test:8080/abs?q=1 HTTP/1.1\r\nHost: ignored.test\r\n\r\n");
    wire.answer(ok("x"));
    let pair = check(&wire, "/abs", "GET", 200, 0, 1);
    pair.client.expect([
        ("url.full", is("http://REDACTED:REDACTED@far.test:8080/abs?q=1")),
        ("server.address", is("far.test")),
        ("server.port", is(8080)),
    ]);
    pair.server.expect([("url.path", is("/abs")), ("url.query", is("q=1")), ("server.address", is("far.test"))]);
}

#[test]
fn a_head_beyond_the_budget_is_parsed_as_far_as_it_goes_and_says_so() {
    agent();
    let mut wire = Wire::open();
    // Longer than what the kernel copies of a request; then a header of a mebibyte.
    for (path, filler) in [("/head/12k", 12 << 10), ("/head/1M", 1 << 20)] {
        let long = format!(
            "GET {path} HTTP/1.1\r\nHost: wire.test\r\nUser-Agent: early\r\nX-Filler: {}\r\nX-Late: 1\r\n\r\n",
            "f".repeat(filler)
        );
        wire.exchange(long, ok("long"));
        let pair = agent().pair(wire.port, path);
        for span in [&pair.client, &pair.server] {
            span.expect([
                ("http.request.method", is("GET")),
                ("http.response.status_code", is(200)),
                ("http.response.body.size", is(4)),
                ("user_agent.original", is("early")),
                ("server.address", is("wire.test")),
                ("wirespan.truncated", is(true)),
            ]);
        }
        is_joined(&pair);
        let after = format!("{path}/after");
        wire.exchange(get(&after), ok("x"));
        check(&wire, &after, "GET", 200, 0, 1);
    }
}

#[test]
fn any_token_is_a_method() {
    agent();
    let mut wire = Wire::open();
    for (number, method) in ["PROPFIND", "FROBNICATE", "M-SEARCH", "get", "X!#$%&'*+-.^_`|~9"].into_iter().enumerate() {
        let path = format!("/method/{number}");
        wire.exchange(format!("{method} {path} HTTP/1.1\r\nHost: w\r\n\r\n"), ok("x"));
        let pair = agent().pair(wire.port, &path);
        for span in [&pair.client, &pair.server] {
            assert_eq!(span.name, "HTTP", "{span}");
            span.expect([
                ("http.request.method", is("_OTHER")),
                ("http.request.method_original", is(method)),
                ("http.response.status_code", is(200)),
            ]);
        }
        is_joined(&pair);
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        let path = format!("/known/{method}");
        wire.exchange(format!("{method} {path} HTTP/1.1\r\nHost: w\r\n\r\n"), ok("x"));
        let pair = check(&wire, &path, method, 200, 0, 1);
        pair.server.expect([("http.request.method_original", Want::Absent)]);
    }
}

#[test]
fn an_incoming_traceparent_decides_trace_and_parent_wherever_it_stands_in_the_head() {
    agent();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (path, before, name) in [("/tp/first", 0, "traceparent"), ("/tp/late", 5_000, "TraceParent")] {
        let mut wire = Wire::open();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: w\r\nX-Filler: {}\r\n{name}: 00-{trace}-00f067aa0ba902b7-01\r\ntracestate: a=1\r\n\r\n",
            "f".repeat(before)
        );
        // Cut within the header.
        let cut = request.len() - 50;
        wire.ask(&request[..cut]);
        wire.ask(&request[cut..]);
        wire.answer(ok("x"));
        let pair = agent().pair(wire.port, path);
        assert_eq!((pair.client.trace_id.as_str(), pair.server.trace_id.as_str()), (trace, trace));
        for span in [&pair.client, &pair.server] {
            assert_eq!(span.parent.as_deref(), Some("00f067aa0ba902b7"), "{span}");
            span.expect([(names::LINK_METHOD, is("traceparent"))]);
            assert_eq!(span.trace_state, "a=1");
            assert_eq!(span.flags & 1, 1, "sampled\n{span}");
        }
        // That they are the two ends of one request is said by a link.
        let link = pair.server.link_to(&pair.client);
        assert_eq!(link.attributes.0.get(names::LINK_METHOD), Some(&"tcp-seq".into()), "{}", pair.server);
    }
}

#[test]
fn b3_headers_decide_trace_and_parent_too() {
    agent();
    let trace = "463ac35c9f6413ad48485a3953bb6124";
    let single = format!("b3: {trace}-0020000000000001-1\r\n");
    let multi = format!("X-B3-TraceId: {trace}\r\nX-B3-SpanId: 0020000000000001\r\nX-B3-Sampled: 1\r\n");
    for (path, headers) in [("/b3/single", single), ("/b3/multi", multi)] {
        let mut wire = Wire::open();
        wire.exchange(format!("GET {path} HTTP/1.1\r\nHost: w\r\n{headers}\r\n"), ok("x"));
        let client = agent().request(Kind::Client, wire.port, path);
        assert_eq!((client.trace_id.as_str(), client.parent.as_deref()), (trace, Some("0020000000000001")));
        client.expect([(names::LINK_METHOD, is("b3"))]);
    }
}

#[test]
fn a_malformed_traceparent_is_ignored() {
    agent();
    for (number, value) in [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "nonsense",
    ]
    .into_iter()
    .enumerate()
    {
        let mut wire = Wire::open();
        let path = format!("/tp/bad/{number}");
        wire.exchange(
            format!("GET {path} HTTP/1.1\r\nHost: w\r\ntraceparent: {value}\r\ntracestate: a=1\r\n\r\n"),
            ok("x"),
        );
        let client = agent().request(Kind::Client, wire.port, &path);
        assert_eq!((client.parent.as_deref(), client.trace_state.as_str()), (None, ""), "{value}\n{client}");
        assert_ne!(client.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736", "{value}");
    }
}

#[test]
fn a_request_id_is_shown() {
    agent();
    let mut wire = Wire::open();
    wire.exchange("GET /id HTTP/1.1\r\nHost: w\r\nX-Request-Id: r-17\r\nX-Secret: s\r\n\r\n", ok("x"));
    let server = agent().request(Kind::Server, wire.port, "/id");
    server.expect([("http.request.header.x-request-id", is(["r-17"])), ("http.request.header.x-secret", Want::Absent)]);
}

#[test]
fn ipv6_and_mapped_ipv4_are_seen_as_what_they_are() {
    agent();
    let mut six = Wire::to("::1".parse().expect("an address"));
    six.exchange(get("/six"), ok("x"));
    let pair = check(&six, "/six", "GET", 200, 0, 1);
    for span in [&pair.client, &pair.server] {
        span.expect([
            ("network.type", is("ipv6")),
            ("network.peer.address", is("::1")),
            ("network.local.address", is("::1")),
        ]);
    }
    let listener = raw::bind("[::]:0".parse().expect("an address")).expect("a listener");
    let port = listener.local_addr().expect("it is bound").port();
    let mut mapped = Wire::through(&listener, || std::net::TcpStream::connect(("127.0.0.1", port)));
    mapped.exchange(get("/mapped"), ok("x"));
    let pair = check(&mapped, "/mapped", "GET", 200, 0, 1);
    for span in [&pair.client, &pair.server] {
        span.expect([
            ("network.type", is("ipv4")),
            ("network.peer.address", is("127.0.0.1")),
            ("network.local.address", is("127.0.0.1")),
        ]);
    }
}

#[test]
fn a_value_is_never_of_another_type() {
    agent();
    let mut wire = Wire::open();
    wire.exchange(get("/types?x=1"), ok("x"));
    let pair = agent().pair(wire.port, "/types");
    for span in [&pair.client, &pair.server] {
        assert!(
            matches!(span.get("wirespan.time_to_first_byte"), Some(Value::Double(s)) if *s > 0.0 && *s < 10.0),
            "{span}"
        );
        for (key, value) in span.attributes.0.iter().chain(&span.resource.0) {
            assert!(!matches!(value, Value::Other(_)), "{key} on {span}");
        }
    }
}
