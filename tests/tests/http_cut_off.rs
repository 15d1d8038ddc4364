//! Requests and responses that are not complete: cut off by a reset or an early end, or not needed any more.

use std::sync::OnceLock;

use wirespan_tests::agent::Agent;
use wirespan_tests::expect::{self};
use wirespan_tests::raw::{Wire, get, ok, reset};
use wirespan_tests::span::{Want, is};

/// One agent for all: each connection has a port of its own.
fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(Agent::start)
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
fn a_body_that_goes_on_after_its_response_is_counted_and_the_next_request_is_seen() {
    agent();
    let mut wire = Wire::open();
    wire.ask("POST /overtaken HTTP/1.1\r\nHost: w\r\nContent-Length: 1000\r\n\r\nonly this");
    wire.answer(ok("early"));
    wire.ask(vec![b'b'; 991]);
    wire.exchange(get("/overtaken/after"), ok("x"));
    for kind in expect::ENDS {
        let span = agent().request(kind, wire.port, "/overtaken");
        span.expect([
            ("http.response.status_code", is(200)),
            ("http.request.body.size", is(1000)),
            ("http.response.body.size", is(5)),
            ("error.type", Want::Absent),
        ]);
        let after = agent().request(kind, wire.port, "/overtaken/after");
        after.expect([("http.request.body.size", is(0)), ("http.response.body.size", is(1))]);
    }
}

#[test]
fn a_body_that_was_asked_for_by_100_continue_is_counted_though_the_response_is_there_already() {
    agent();
    let mut wire = Wire::open();
    wire.ask("POST /hasty HTTP/1.1\r\nHost: w\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n");
    // What nginx does where it does not need the body.
    wire.answer(format!("HTTP/1.1 100 Continue\r\n\r\n{}", ok("hasty")));
    wire.ask(vec![b'b'; 1000]);
    wire.exchange(get("/hasty/after"), ok("x"));
    for kind in expect::ENDS {
        let span = agent().request(kind, wire.port, "/hasty");
        span.expect([("http.response.status_code", is(200)), ("http.request.body.size", is(1000))]);
        let after = agent().request(kind, wire.port, "/hasty/after");
        after.expect([("http.request.body.size", is(0)), ("http.response.body.size", is(1))]);
    }
}

#[test]
fn a_body_that_was_not_asked_for_is_not_waited_for() {
    agent();
    let mut wire = Wire::open();
    wire.ask("POST /unwanted HTTP/1.1\r\nHost: w\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n");
    wire.answer("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
    wire.exchange(get("/unwanted/after"), ok("x"));
    for kind in expect::ENDS {
        let span = agent().request(kind, wire.port, "/unwanted");
        span.expect([("http.response.status_code", is(417)), ("http.request.body.size", is(0))]);
        let after = agent().request(kind, wire.port, "/unwanted/after");
        after.expect([("http.response.status_code", is(200)), ("http.response.body.size", is(1))]);
    }
}
