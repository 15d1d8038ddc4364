//! HTTP/1 at its edges, both ends written by hand: what is on the wire is known to the byte.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use wirespan_tests::agent::{Agent, Pair};
use wirespan_tests::expect::{Exchange, is_exchange, is_joined};
use wirespan_tests::raw::{Wire, get, ok, reset};
use wirespan_tests::span::{Kind, Layer, Span, Value, Want, is};
use wirespan_tests::{expect, names};

/// One agent for all: each connection has a port of its own.
fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(Agent::start)
}

/// Clocks may differ by so much when a span's time is compared with the test's own.
const CLOCKS_DIFFER_NS: u64 = 5_000_000;

#[track_caller]
fn check(wire: &Wire, path: &str, method: &str, status: i64, request_body: i64, response_body: i64) -> Pair {
    let pair = agent().pair(wire.port, path);
    is_exchange(&pair, &Exchange { method, status, request_body, response_body });
    pair
}

/// The request spans of one kind on a connection, in the order in which they began.
fn requests(kind: Kind, port: u16) -> Vec<Arc<Span>> {
    let mut spans = agent().matching(|span| span.layer == Layer::L7 && span.kind == kind && span.is_on(port));
    spans.sort_by_key(|span| span.start_ns);
    spans
}

fn unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(now.as_nanos()).expect("nanoseconds of this century fit")
}

#[test]
fn a_request_may_be_split_at_any_byte() {
    agent();
    let mut wire = Wire::open();
    let request =
        |at: usize| format!("POST /split/{at:03} HTTP/1.1\r\nHost: wire.test\r\nContent-Length: 3\r\n\r\nabc");
    let len = request(0).len();
    for at in 1..len {
        let request = request(at);
        wire.ask(&request[..at]);
        wire.ask(&request[at..]);
        wire.answer(ok("four"));
    }
    for at in 1..len {
        check(&wire, &format!("/split/{at:03}"), "POST", 200, 3, 4);
    }
    assert_eq!(requests(Kind::Server, wire.port).len(), len - 1);
}

#[test]
fn a_response_may_be_split_at_any_byte() {
    agent();
    let mut wire = Wire::open();
    let response = "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n";
    for at in 1..response.len() {
        wire.ask(get(&format!("/split/{at}")));
        wire.answer(&response[..at]);
        wire.answer(&response[at..]);
    }
    for at in 1..response.len() {
        check(&wire, &format!("/split/{at}"), "GET", 201, 0, 4);
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    agent();
    let mut wire = Wire::open();
    for byte in get("/bytewise").as_bytes() {
        wire.ask([*byte]);
    }
    for byte in ok("slow").as_bytes() {
        wire.answer([*byte]);
    }
    check(&wire, "/bytewise", "GET", 200, 0, 4);
}

#[test]
fn pipelined_requests_are_a_span_each_in_order() {
    agent();
    let mut wire = Wire::open();
    let statuses = [200, 404, 500, 200, 301];
    let asked: String = (0..5)
        .map(|n| format!("PUT /pipe/{n} HTTP/1.1\r\nHost: p\r\nContent-Length: {n}\r\n\r\n{}", "b".repeat(n)))
        .collect();
    wire.ask(asked);
    let answers: String = statuses
        .iter()
        .enumerate()
        .map(|(n, status)| format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{}", n * 10, "r".repeat(n * 10)))
        .collect();
    // Cut where no message ends.
    wire.answer(&answers[..100]);
    wire.answer(&answers[100..]);
    for (n, &status) in statuses.iter().enumerate() {
        let n64 = i64::try_from(n).expect("a small number");
        check(&wire, &format!("/pipe/{n}"), "PUT", status, n64, n64 * 10);
    }
    for kind in expect::ENDS {
        let spans = requests(kind, wire.port);
        let mut by_path: Vec<_> = spans.iter().map(|span| span.path().to_owned()).collect();
        by_path.sort();
        assert_eq!(by_path, (0..5).map(|n| format!("/pipe/{n}")).collect::<Vec<_>>());
        let ends: Vec<u64> =
            by_path.iter().map(|path| spans.iter().find(|s| s.path() == path).expect("it is there").end_ns).collect();
        assert!(ends.is_sorted(), "the responses ended in order: {ends:?}");
        assert!(spans.iter().all(|span| span.get(names::CONNECTION_ID) == spans[0].get(names::CONNECTION_ID)));
    }
}

#[test]
fn a_body_that_waits_for_100_continue_is_one_exchange() {
    agent();
    let mut wire = Wire::open();
    wire.ask("POST /continue HTTP/1.1\r\nHost: w\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n");
    wire.answer("HTTP/1.1 100 Continue\r\n\r\n");
    wire.ask("0123456789");
    wire.answer("HTTP/1.1 102 Processing\r\n\r\n");
    wire.answer(ok("done"));
    check(&wire, "/continue", "POST", 200, 10, 4);
    wire.exchange(get("/continue/after"), ok("x"));
    check(&wire, "/continue/after", "GET", 200, 0, 1);
    assert_eq!(requests(Kind::Server, wire.port).len(), 2);
}

#[test]
fn chunked_bodies_count_without_their_framing_and_end_with_their_last_chunk() {
    agent();
    let mut wire = Wire::open();
    wire.ask("POST /chunked HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n5;name=\"v;\\\"x\"\r\nhello\r\n");
    wire.ask("00A ; last\r\n0123456789\r\n0\r\nX-Trailer: t\r\nX-Other: u\r\n\r\n");
    wire.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    // Time passes while the response is under way.
    agent().fence();
    let before_the_last = unix_ns();
    wire.answer("1\r\nd\r\n0\r\nExpires: never\r\n\r\n");
    let after_the_last = unix_ns();
    let pair = check(&wire, "/chunked", "POST", 200, 15, 4);
    for span in [&pair.client, &pair.server] {
        assert!(span.end_ns + CLOCKS_DIFFER_NS >= before_the_last, "it ended before its last chunk: {span}");
        assert!(span.end_ns <= after_the_last + CLOCKS_DIFFER_NS, "it ended after its last chunk: {span}");
    }
    wire.exchange(get("/chunked/after"), ok("x"));
    check(&wire, "/chunked/after", "GET", 200, 0, 1);
}

#[test]
fn a_large_chunked_response_ends_with_its_last_chunk() {
    agent();
    let mut wire = Wire::open();
    wire.ask(get("/chunked/large"));
    let chunk = format!("{:x}\r\n{}\r\n", 50_000, "z".repeat(50_000));
    wire.answer(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}"));
    wire.answer(format!("{chunk}0\r\n\r\n"));
    let pair = agent().pair(wire.port, "/chunked/large");
    assert_eq!(pair.server.int("http.response.status_code"), 200);
    is_joined(&pair);
    wire.exchange(get("/chunked/large/after"), ok("x"));
    check(&wire, "/chunked/large/after", "GET", 200, 0, 1);
}

#[test]
fn an_event_stream_lasts_until_it_ends() {
    agent();
    let mut wire = Wire::open();
    let port = wire.port;
    wire.ask(get("/events"));
    wire.answer("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    for number in 0..3 {
        wire.answer(format!("data: {number}\n\n"));
        agent().fence();
        assert!(requests(Kind::Server, port).is_empty(), "the stream has not ended");
    }
    let before_the_end = unix_ns();
    wire.close_by_server();
    let pair = agent().pair(port, "/events");
    is_exchange(&pair, &Exchange { method: "GET", status: 200, request_body: 0, response_body: 27 });
    assert!(pair.client.end_ns + CLOCKS_DIFFER_NS >= before_the_end, "{}", pair.client);
    assert!(pair.server.end_ns + CLOCKS_DIFFER_NS >= before_the_end, "{}", pair.server);
}

#[test]
fn an_upgrade_ends_the_http_exchange_and_the_rest_belongs_to_the_connection() {
    agent();
    let mut wire = Wire::open();
    let port = wire.port;
    let request = "GET /ws HTTP/1.1\r\nHost: w\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let response = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    wire.exchange(request, response);
    let pair = agent().pair(port, "/ws");
    for span in [&pair.client, &pair.server] {
        span.expect([
            ("http.response.status_code", is(101)),
            ("wirespan.http.upgrade", is("websocket")),
            ("error.type", Want::Absent),
        ]);
    }
    is_joined(&pair);
    // What looks like HTTP is none any more.
    wire.exchange(get("/ws/not-http"), ok("not http either"));
    let (sent, received) = (request.len() + get("/ws/not-http").len(), response.len() + ok("not http either").len());
    wire.close();
    agent().connection(Kind::Client, port).expect([(names::SENT, is(sent)), (names::RECEIVED, is(received))]);
    agent().connection(Kind::Server, port).expect([(names::SENT, is(received)), (names::RECEIVED, is(sent))]);
    assert_eq!(requests(Kind::Server, port).len(), 1);
}

#[test]
fn a_connect_tunnel_is_one_exchange() {
    agent();
    let mut wire = Wire::open();
    let port = wire.port;
    wire.exchange(
        "CONNECT inner.test:443 HTTP/1.1\r\nHost: inner.test:443\r\n\r\n",
        "HTTP/1.1 200 Established\r\n\r\n",
    );
    wire.exchange(get("/in/the/tunnel"), ok("inside"));
    wire.close();
    agent().connection(Kind::Server, port);
    let pair = agent().pair(port, "");
    for span in [&pair.client, &pair.server] {
        span.expect([
            ("http.request.method", is("CONNECT")),
            ("http.response.status_code", is(200)),
            ("server.address", is("inner.test")),
            ("server.port", is(443)),
            ("wirespan.http.upgrade", is("connect")),
        ]);
    }
    assert_eq!(requests(Kind::Server, port).len(), 1, "the tunnel is not looked into");
}

#[test]
fn a_response_may_come_before_the_request_is_complete() {
    agent();
    let mut wire = Wire::open();
    let port = wire.port;
    wire.ask("POST /early HTTP/1.1\r\nHost: w\r\nContent-Length: 1000\r\n\r\nonly this");
    wire.answer("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
    wire.close_by_server();
    let pair = agent().pair(port, "/early");
    for span in [&pair.client, &pair.server] {
        span.expect([
            ("http.response.status_code", is(413)),
            ("http.request.body.size", is(9)),
            ("http.response.body.size", is(2)),
        ]);
    }
    pair.client.expect([("error.type", is("413"))]);
    pair.server.expect([("error.type", Want::Absent)]);
}

#[test]
fn http_1_0_closes_or_stays_as_it_is_asked() {
    agent();
    let mut wire = Wire::open();
    let port = wire.port;
    wire.ask("GET /old/stays HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    wire.answer("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\none");
    let pair = check(&wire, "/old/stays", "GET", 200, 0, 3);
    // Without Host, the socket says which server.
    pair.server.expect([
        ("network.protocol.version", is("1.0")),
        ("server.address", is("127.0.0.1")),
        ("server.port", is(port)),
    ]);
    wire.ask("GET /old/closes HTTP/1.0\r\n\r\n");
    wire.answer("HTTP/1.0 200 OK\r\n\r\nuntil the end");
    wire.close_by_server();
    let pair = agent().pair(port, "/old/closes");
    is_exchange(&pair, &Exchange { method: "GET", status: 200, request_body: 0, response_body: 13 });
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
fn responses_without_a_body_have_none_whatever_their_headers_say() {
    agent();
    let mut wire = Wire::open();
    wire.exchange("HEAD /bodiless/head HTTP/1.1\r\nHost: w\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    wire.exchange(get("/bodiless/304"), "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n");
    wire.exchange(get("/bodiless/204"), "HTTP/1.1 204 No Content\r\n\r\n");
    wire.exchange(get("/bodiless/after"), ok("body"));
    check(&wire, "/bodiless/head", "HEAD", 200, 0, 0);
    check(&wire, "/bodiless/304", "GET", 304, 0, 0);
    check(&wire, "/bodiless/204", "GET", 204, 0, 0);
    check(&wire, "/bodiless/after", "GET", 200, 0, 4);
}

#[test]
fn large_bodies_are_counted_to_the_byte() {
    agent();
    let mut wire = Wire::open();
    let mut body = "POST /large HTTP/1.1\r\nHost: w\r\nContent-Length: 1000003\r\n\r\n".as_bytes().to_vec();
    body.resize(body.len() + 1_000_003, 0);
    let mut response = "HTTP/1.1 200 OK\r\nContent-Length: 2000003\r\n\r\n".as_bytes().to_vec();
    // What looks like the beginning of a message is none within a body.
    response.extend(b"HTTP/1.1 500 No\r\n\r\n".iter().cycle().take(2_000_003));
    wire.exchange(&body, &response);
    check(&wire, "/large", "POST", 200, 1_000_003, 2_000_003);
    wire.exchange(get("/large/after"), ok("x"));
    check(&wire, "/large/after", "GET", 200, 0, 1);
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
        assert_eq!(pair.client.parent.as_deref(), Some("00f067aa0ba902b7"), "{}", pair.client);
        pair.client.expect([(names::LINK_METHOD, is("traceparent"))]);
        assert_eq!(pair.client.trace_state, "a=1");
        assert_eq!(pair.client.flags & 1, 1, "sampled\n{}", pair.client);
        assert_eq!(pair.server.parent.as_deref(), Some(pair.client.span_id.as_str()), "{}", pair.server);
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
fn a_request_cut_off_by_a_reset_says_so() {
    agent();
    for (path, request) in [
        ("/reset/waiting", get("/reset/waiting")),
        ("/reset/body", "POST /reset/body HTTP/1.1\r\nHost: w\r\nContent-Length: 100\r\n\r\nhalf".to_owned()),
    ] {
        let mut wire = Wire::open();
        wire.ask(request);
        let port = wire.port;
        reset(wire.client);
        for kind in expect::ENDS {
            let span = agent().request(kind, port, path);
            span.expect([("error.type", is("connection_reset")), ("http.response.status_code", Want::Absent)]);
            assert!(span.failed, "{span}");
        }
    }
}

#[test]
fn a_response_cut_off_by_a_reset_says_so() {
    agent();
    let mut wire = Wire::open();
    let port = wire.port;
    wire.ask(get("/reset/response"));
    wire.answer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot all");
    reset(wire.server);
    for kind in expect::ENDS {
        let span = agent().request(kind, port, "/reset/response");
        span.expect([
            ("error.type", is("connection_reset")),
            ("http.response.status_code", is(200)),
            ("http.response.body.size", is(7)),
        ]);
        assert!(span.failed, "{span}");
    }
}

#[test]
fn a_connection_that_closes_without_an_answer_says_so() {
    agent();
    let mut wire = Wire::open();
    let port = wire.port;
    wire.ask(get("/unanswered"));
    wire.close_by_server();
    for kind in expect::ENDS {
        let span = agent().request(kind, port, "/unanswered");
        span.expect([("error.type", is("connection_closed")), ("http.response.status_code", Want::Absent)]);
        assert!(span.failed, "{span}");
    }
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
    let listener = wirespan_tests::raw::bind("[::]:0".parse().expect("an address")).expect("a listener");
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
