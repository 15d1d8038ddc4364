//! Conversations of which every byte is seen.

use super::{Step, c, check, s, talk};
use crate::flow::{Ending, Side};
use crate::proto::http1::Http;
use crate::proto::{Appetite, Detail, Event, Oddity, Parser};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Conversations that must give the same exchanges however their bytes are cut. Each leaves nothing open.
pub(super) fn whole() -> Vec<(Vec<Step>, &'static str)> {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n";
    vec![
        // A request and its response; then another on the same connection, after empty lines.
        (
            vec![c(GET), s(OK), c(format!("\r\n\r\n{GET}")), s(OK)],
            "0 GET / 200 | 0/5 | 0+0 0 1 1 | complete
             1 GET / 200 | 0/5 | 2+31 2 3 3 | complete",
        ),
        // Any method, targets of every form, bare line feeds, folded lines.
        (
            vec![
                c("PROPFIND http://h/a HTTP/1.1\nHost: h\nX: a\n b\n\n"),
                s("HTTP/1.1 207 Multi-Status\nContent-Length: 1\n\nx"),
                c("OPTIONS * HTTP/1.0\r\n\r\n"),
                s("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
                c("MADE-UP /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"),
                s("HTTP/1.1 501 What\r\nContent-Length: 0\r\n\r\n"),
            ],
            "0 PROPFIND http://h/a 207 | 0/1 | 0+0 0 1 1 | complete
             1 OPTIONS * 200 | 0/0 | 2+46 2 3 3 | complete
             2 MADE-UP /b 501 | 2/0 | 4+68 4 5 5 | complete",
        ),
        // Pipelined: three requests at once, responses at once, and one later.
        (
            vec![
                c("GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\n\r\n"),
                s(format!("{OK}HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx")),
                s(OK),
            ],
            "0 GET /1 200 | 0/5 | 0+0 0 1 1 | complete
             1 POST /2 404 | 3/1 | 0+19 0 1 1 | complete
             2 GET /3 200 | 0/5 | 0+61 0 2 2 | complete",
        ),
        // Chunks over a longer time; the length that contradicts them does not count.
        (
            vec![
                c(GET),
                s(format!("{chunked}5;x=\"y\"\r\nhello\r\n")),
                s("A\r\n0123456789\r\n"),
                s("0\r\nTrailer: x\r\n\r\n"),
                c(GET),
                s(OK),
            ],
            "0 GET / 200 | 0/15 | 0+0 0 1 3 | complete
             1 GET / 200 | 0/5 | 4+27 4 5 5 | complete",
        ),
        // A chunked request.
        (
            vec![c("PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), c("0\r\n\r\n"), s(OK)],
            "0 PUT /a 200 | 3/5 | 0+0 1 2 2 | complete",
        ),
        // No body, whatever the head says.
        (
            vec![
                c("HEAD / HTTP/1.1\r\n\r\n"),
                s("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
                c(GET),
                s("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
                c(GET),
                s("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
            ],
            "0 HEAD / 200 | 0/0 | 0+0 0 1 1 | complete
             1 GET / 204 | 0/0 | 2+19 2 3 3 | complete
             2 GET / 304 | 0/0 | 4+46 4 5 5 | complete",
        ),
        // The client waits for leave to send its body.
        (
            vec![
                c("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"),
                s("HTTP/1.1 100 Continue\r\n\r\n"),
                c("body"),
                s("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
                s(OK),
            ],
            "0 POST / 200 | 4/5 | 0+0 2 4 4 | complete interim",
        ),
        // It is refused, and the client does not send the body on the connection that goes on.
        (
            vec![
                c("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"),
                s("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"),
                c(GET),
                s(OK),
            ],
            "0 POST / 417 | 0/0 | 0+0 0 1 1 | complete
             1 GET / 200 | 0/5 | 2+60 2 3 3 | complete",
        ),
        // The response comes before the request is complete.
        (
            vec![
                c("POST / HTTP/1.1\r\nContent-Length: 8\r\n\r\nbody"),
                s("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
                c("more"),
                c(GET),
                s(OK),
            ],
            "0 POST / 413 | 8/0 | 0+0 2 1 1 | complete
             1 GET / 200 | 0/5 | 3+46 3 4 4 | complete",
        ),
        // The end of the connection is the end of the body.
        (
            vec![c("GET / HTTP/1.0\r\n\r\n"), s("HTTP/1.0 200 OK\r\n\r\nsome"), s("more"), Step::SFin],
            "0 GET / 200 | 0/8 | 0+0 0 1 3 | complete",
        ),
        // HTTP/1.0 that keeps the connection.
        (
            vec![
                c("GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
                s("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab"),
                c("GET /2 HTTP/1.0\r\n\r\n"),
                s("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab"),
                Step::SFin,
            ],
            "0 GET /1 200 | 0/2 | 0+0 0 1 1 | complete
             1 GET /2 200 | 0/2 | 2+43 2 3 3 | complete",
        ),
        // Events until the client has enough.
        (
            vec![
                c(GET),
                s("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"),
                s("data: 1\n\n"),
                s("data: 2\n\n"),
                Step::End(Ending::ResetByRemote),
            ],
            "0 GET / 200 | 0/18 | 0+0 0 1 4 | cut ResetByRemote",
        ),
        // A tunnel; the client does not wait.
        (
            vec![
                c("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"),
                c("\x16\x03\x01\x02"),
                s("HTTP/1.1 200 Connection established\r\n\r\n\x16\x03\x03"),
                c("GET / HTTP/1.1\r\n\r\n"),
                s("HTTP/1.1 200 OK\r\n\r\n"),
                Step::End(Ending::Closed),
            ],
            "0 CONNECT h:443 200 | 0/0 | 0+0 0 2 2 | complete upgraded=connect",
        ),
        // No tunnel.
        (
            vec![
                c("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"),
                s("HTTP/1.1 407 Who are you\r\nContent-Length: 2\r\n\r\nno"),
                c(GET),
                s(OK),
            ],
            "0 CONNECT h:443 407 | 0/2 | 0+0 0 1 1 | complete
             1 GET / 200 | 0/5 | 2+39 2 3 3 | complete",
        ),
        // Another protocol.
        (
            vec![
                c("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
                s(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"),
                c(b"\x81\x85"),
                Step::End(Ending::Closed),
            ],
            "0 GET /ws 101 | 0/0 | 0+0 0 1 1 | complete upgraded=websocket",
        ),
        // Lengths that agree with themselves.
        (
            vec![c(GET), s("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\nhello"), c(GET), s(OK)],
            "0 GET / 200 | 0/5 | 0+0 0 1 1 | complete
             1 GET / 200 | 0/5 | 2+27 2 3 3 | complete",
        ),
        // The connection dies in mid-response, and with a request behind it.
        (
            vec![c(format!("{GET}{GET}")), s(&OK[..OK.len() - 1]), Step::SFin],
            "0 GET / 200 | 0/4 | 0+0 0 1 2 | cut Closed
             1 GET / - | 0/0 | 0+27 0 - 2 | cut Closed",
        ),
        // It dies before an answer, with half a request behind it.
        (
            vec![c(GET), c("POST /x HTTP/1.1\r\nHost: h\r\nX-Ha"), Step::End(Ending::ResetByLocal)],
            "0 GET / - | 0/0 | 0+0 0 - 2 | cut ResetByLocal
             1 POST /x - | 0/0 | 1+27 - - 2 | cut ResetByLocal",
        ),
        // The server answers half a request; the client has closed its direction.
        (
            vec![c("GET /x"), Step::CFin, s("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")],
            "0 GET /x 400 | 0/0 | 0+0 - 2 2 | complete",
        ),
        // A half-closed connection is answered.
        (
            vec![c("GET / HTTP/1.0\r\n\r\n"), Step::CFin, s("HTTP/1.0 200 OK\r\n\r\nx"), Step::SFin],
            "0 GET / 200 | 0/1 | 0+0 0 2 3 | complete",
        ),
    ]
}

#[test]
fn whole_conversations() {
    for (steps, expect) in whole() {
        check(&steps, expect);
    }
}

#[test]
fn every_place_to_cut_gives_the_same_exchanges() {
    for (steps, _) in whole() {
        let longest = steps.iter().map(|step| if let Step::C(bytes) | Step::S(bytes) = step { bytes.len() } else { 0 });
        let expect = talk(false, &steps).exchanges().into_iter().cloned().collect::<Vec<_>>();
        for cut in 1..longest.max().unwrap_or(0) {
            let mut cutting = super::Talk::new(false);
            for (time, step) in steps.iter().enumerate() {
                cutting.step(time as u64, step, &[cut]);
            }
            let exchanges: Vec<_> = cutting.exchanges().into_iter().cloned().collect();
            assert_eq!(exchanges, expect, "cut at {cut}: {steps:?}");
        }
    }
}

#[test]
fn a_request_is_announced_at_its_first_byte() {
    let talk = talk(false, &[c("\r\n\r\nG"), c("ET / HTTP/1.1\r\n\r\nX")]);
    let began: Vec<_> = talk
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Began { number, at } => Some((*number, at.time.0, at.pos)),
            _ => None,
        })
        .collect();
    assert_eq!(began, [(0, 0, 4), (1, 1, 22)]);
}

#[test]
fn the_first_byte_of_a_response_is_timed() {
    check(
        &[c(GET), s("H"), s("TTP/1.1 200 OK\r\nContent-Length: 1\r\n"), s("\r\n"), s("x")],
        "
        0 GET / 200 | 0/1 | 0+0 0 1 4 | complete",
    );
}

#[test]
fn headers_reach_the_exchange() {
    let head = "GET / HTTP/1.1\r\nHOST: h\r\nuser-agent: u\r\nTraceparent: 00-a-b-01\r\nX-B3-TraceId: 1\r\n\
                X-B3-SpanId: 2\r\nx-request-ID: r\r\nForwarded: for=a\r\nX-Forwarded-Proto: https\r\n\r\n";
    let talk = talk(false, &[c(head), s(OK)]);
    let Detail::Http(http) = &talk.exchanges()[0].detail;
    let some = |text: &'static str| Some(text.into());
    assert_eq!(
        *http,
        Http {
            method: "GET".into(),
            target: "/".into(),
            minor_version: 1,
            status: Some(200),
            host: some("h"),
            user_agent: some("u"),
            forwarded: some("for=a"),
            forwarded_proto: some("https"),
            traceparent: some("00-a-b-01"),
            b3: some("1-2"),
            request_id: some("r"),
            response_body: 5,
            ..Http::default()
        }
    );
}

#[test]
fn after_an_upgrade_nothing_more_is_wanted() {
    let mut talk = talk(false, &[c("GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n")]);
    assert_eq!(talk.parser.appetite(), Appetite::Heads { response_bytes: 0 });
    talk.step(1, &s("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"), &[]);
    assert_eq!(talk.parser.appetite(), Appetite::Nothing);
}

#[test]
fn lengths_that_contradict_each_other_leave_the_end_open() {
    check(
        &[c(GET), s("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), c(GET), s(OK)],
        "
        Malformed
        0 GET / 200 | 0/5 | 0+0 0 1 1 | complete end? body?
        1 GET / 200 | 0/5 | 2+27 2 3 3 | complete",
    );
}

#[test]
fn more_requests_than_are_kept_are_counted_and_their_responses_skipped() {
    let many = super::super::OPEN_REQUESTS + 2;
    let talk = talk(false, &[c(GET.repeat(many)), s(OK.repeat(many)), c(GET), s(OK)]);
    let count = |wanted| talk.events.iter().filter(|&event| *event == Event::Oddity(wanted)).count();
    assert_eq!(count(Oddity::TooManyOpen), 2);
    let exchanges = talk.exchanges();
    assert_eq!(exchanges.len(), many - 1);
    let last = exchanges[exchanges.len() - 1];
    assert_eq!((last.number, last.began.time.0, last.end.0), (many as u64 - 2, 2, 3));
}

#[test]
fn only_a_server_that_closes_ends_a_body_without_a_length() {
    let mut talk = talk(false, &[c("GET / HTTP/1.0\r\n\r\n"), s("HTTP/1.0 200 OK\r\n\r\nx"), Step::CFin]);
    assert!(talk.exchanges().is_empty());
    talk.parser.finished(Side::Server, crate::flow::Nanos(9), &mut talk.events);
    assert_eq!(talk.exchanges()[0].end.0, 9);
}
