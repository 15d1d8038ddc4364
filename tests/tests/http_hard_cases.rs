//! HTTP/1 at its edges, both ends written by hand: what is on the wire is known to the byte.

use std::sync::OnceLock;
use std::time::SystemTime;

use wirespan_tests::agent::{Agent, Pair};
use wirespan_tests::expect::{Exchange, is_exchange, is_joined};
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::span::{Kind, Want, is};
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
    assert_eq!(agent().requests(Kind::Server, wire.port).len(), len - 1);
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
        let spans = agent().requests(kind, wire.port);
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
    assert_eq!(agent().requests(Kind::Server, wire.port).len(), 2);
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
        assert!(agent().requests(Kind::Server, port).is_empty(), "the stream has not ended");
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
    assert_eq!(agent().requests(Kind::Server, port).len(), 1);
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
    assert_eq!(agent().requests(Kind::Server, port).len(), 1, "the tunnel is not looked into");
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
