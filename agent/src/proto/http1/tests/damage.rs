//! Conversations of which bytes are missing, and things that are no conversations.

use super::super::HEAD_BYTES;
use super::{Step, c, check, check_joined, s, talk};
use crate::flow::{Ending, Nanos};
use crate::proto::{Detail, Event, Oddity};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_gap_in_a_body_of_known_length_loses_nothing() {
    check(
        &[
            c("POST / HTTP/1.1\r\nContent-Length: 10000\r\n\r\nab"),
            Step::CGap(9990),
            c("tail8888"),
            s("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nab"),
            Step::SGap(999_998),
            c(GET),
            s(OK),
        ],
        "0 POST / 200 | 10000/1000000 | 0+0 2 3 4 | complete
         1 GET / 200 | 0/5 | 5+10042 5 6 6 | complete",
    );
}

#[test]
fn an_answer_to_a_request_that_was_lost_tells_of_it() {
    let talk = talk(false, &[c(GET), s(OK), Step::CGap(27), s(OK), c(GET), s(OK)]);
    let strays: Vec<_> = talk.events.iter().filter(|event| matches!(event, Event::Stray { .. })).collect();
    assert_eq!(strays, [&Event::Stray { asked: Some(Nanos(2)), answered: Nanos(3) }]);
    assert_eq!(talk.exchanges().len(), 2);
}

#[test]
fn an_exchange_that_was_lost_as_a_whole_shows_by_what_is_missing() {
    let talk = talk(false, &[c(GET), s(OK), Step::SGap(43), Step::CGap(27), c(GET), s(OK), c(GET), s(OK)]);
    let strays: Vec<_> = talk.events.iter().filter(|event| matches!(event, Event::Stray { .. })).collect();
    assert_eq!(strays, [&Event::Stray { asked: None, answered: Nanos(2) }]);
    assert_eq!(talk.exchanges().len(), 3);
}

#[test]
fn what_is_missing_of_an_answer_is_no_other_answer() {
    let half = s("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab");
    let asked: &[Step] = &[c(GET), Step::SGap(43), c(GET), s(OK)];
    let stray: &[Step] = &[c(GET), s(OK), Step::CGap(27), half, Step::SGap(98)];
    for (steps, expected) in [(asked, 0), (stray, 1)] {
        let talk = talk(false, steps);
        let strays = talk.events.iter().filter(|event| matches!(event, Event::Stray { .. })).count();
        assert_eq!(strays, expected, "{:?}", talk.events);
    }
}

#[test]
fn a_gap_within_a_chunk_loses_nothing() {
    check(
        &[c(GET), s(format!("{CHUNKED}100\r\nab")), Step::SGap(254), s("\r\n0\r\n\r\n")],
        "
        0 GET / 200 | 0/256 | 0+0 0 1 3 | complete",
    );
}

#[test]
fn the_tail_of_a_chunked_body_shows_its_end() {
    check(
        &[
            c(GET),
            s(format!("{CHUNKED}100\r\nab")),
            Step::SGap(5000),
            s("no end yet"),
            Step::SGap(300),
            s("the end\r\n0\r\n\r\n"),
            c(GET),
            s(OK),
        ],
        "0 GET / 200 | 0/5319 | 0+0 0 1 5 | complete body?
         1 GET / 200 | 0/5 | 6+27 6 7 7 | complete",
    );
}

#[test]
fn without_its_tail_the_next_request_ends_a_chunked_body() {
    check(
        &[c(GET), s(format!("{CHUNKED}100\r\nab")), Step::SGap(5000), s("no end"), c(GET), s(OK)],
        "0 GET / 200 | 0/5008 | 0+0 0 1 3 | complete end? body?
         1 GET / 200 | 0/5 | 4+27 4 5 5 | complete",
    );
}

#[test]
fn without_its_tail_the_end_of_the_connection_leaves_a_chunked_body_open() {
    check(
        &[c(GET), s(format!("{CHUNKED}100\r\nab")), Step::SGap(5000), s("no end"), Step::SFin],
        "
        0 GET / 200 | 0/5008 | 0+0 0 1 3 | unknown end? body?",
    );
}

#[test]
fn an_upload_of_lost_framing_ends_with_the_response() {
    check(
        &[
            c("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nab"),
            Step::CGap(5000),
            c("tail"),
            s(OK),
            c(GET),
            s(OK),
        ],
        "0 PUT / 200 | 5006/5 | 0+0 2 3 3 | complete body?
         1 GET / 200 | 0/5 | 4+5057 4 5 5 | complete",
    );
}

#[test]
fn a_head_that_was_not_copied_whole_is_read_as_far_as_it_goes() {
    let steps = [
        c("GET /long HTTP/1.1\r\nHost: h\r\nCookie: part of"),
        Step::CGap(12_000),
        c("d: 7\r\n\r\n"),
        s("HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-"),
        Step::SGap(5000),
        s("and so on"),
        c(GET),
        s(OK),
    ];
    check(
        &steps,
        "0 GET /long 200 | 0/5009 | 0+0 2 3 5 | complete truncated end? body?
         1 GET / 200 | 0/5 | 6+12052 6 7 7 | complete",
    );
    let talk = talk(false, &steps);
    let Detail::Http(http) = &talk.exchanges()[0].detail;
    assert_eq!(http.host.as_deref(), Some("h"));
}

#[test]
fn the_length_in_a_head_that_was_not_copied_whole_limits_the_body() {
    check(
        &[c(GET), s("HTTP/1.1 200 OK\r\nContent-Length: 70\r\nSet-"), Step::SGap(5000), Step::SFin],
        "0 GET / 200 | 0/70 | 0+0 0 1 2 | complete truncated end? body?",
    );
}

#[test]
fn a_head_that_is_too_long_is_read_as_far_as_it_is_kept() {
    let long = "x".repeat(1 << 20);
    let head = format!("POST /big HTTP/1.1\r\nContent-Length: 3\r\nX-Long: {long}\r\nHost: late\r\n\r\nabc");
    let steps = [c(format!("{head}{GET}")), s(OK), s(OK)];
    check(
        &steps,
        "0 POST /big 200 | 3/5 | 0+0 0 1 1 | complete truncated
         1 GET / 200 | 0/5 | 0+1048642 0 2 2 | complete",
    );
    check(
        &[c(format!("GET /{long} HTTP/1.1\r\n\r\n{GET}")), s(OK), s(OK)],
        "
        0 GET /xxxxxxxxx... 200 | 0/5 | 0+0 0 1 1 | complete truncated
        1 GET / 200 | 0/5 | 0+1048594 0 2 2 | complete",
    );
}

#[test]
fn a_head_is_kept_within_its_bound() {
    let mut talk = talk(false, &[c("GET / HTTP/1.1\r\nX: ")]);
    for time in 1..1000 {
        talk.step(time, &c([b'x'; 1000]), &[]);
        assert!(talk.parser.kept() <= 2 * HEAD_BYTES, "{}", talk.parser.kept());
    }
}

#[test]
fn a_stream_joined_in_the_middle_waits_for_a_message() {
    check_joined(
        true,
        &[c("ody of something"), s("more of its response"), c(GET), s(OK), c(GET), s(OK)],
        "Resynchronised
         0 GET / 200 | 0/5 | 2+16 2 3 3 | complete resynchronised
         1 GET / 200 | 0/5 | 4+43 4 5 5 | complete",
    );
    check_joined(
        true,
        &[s(OK), c(GET), s(OK)],
        "Resynchronised
         0 GET / 200 | 0/5 | 1+0 1 2 2 | complete resynchronised",
    );
}

#[test]
fn a_response_to_nothing_is_skipped() {
    check(
        &[c(GET), s(OK), s("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n"), c(GET), s(OK)],
        "0 GET / 200 | 0/5 | 0+0 0 1 1 | complete
         Resynchronised
         1 GET / 200 | 0/5 | 3+27 3 4 4 | complete resynchronised",
    );
}

#[test]
fn a_request_whose_response_was_lost_is_not_given_the_next_one() {
    check(
        &[c(GET), Step::SGap(500), c(GET), s(OK)],
        "Hole
         0 GET / - | 0/0 | 0+0 0 - 1 | unknown end?
         1 GET / 200 | 0/5 | 2+27 2 3 3 | complete",
    );
    check(
        &[c(GET.repeat(2)), Step::SGap(500), s(OK), Step::End(Ending::Closed)],
        "Hole
         0 GET / - | 0/0 | 0+0 0 - 1 | unknown end?
         Resynchronised
         1 GET / 200 | 0/5 | 0+27 0 2 2 | complete resynchronised",
    );
    check(
        &[c(GET), Step::SGap(500), Step::SFin],
        "
        Hole
        0 GET / - | 0/0 | 0+0 0 - 1 | unknown end?",
    );
}

#[test]
fn a_pipelined_response_that_was_not_copied_leaves_its_request_open() {
    check(
        &[
            c(GET.repeat(2)),
            s("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
            Step::SGap(6000),
            s("the end of the second"),
            c(GET),
            s(OK),
        ],
        "0 GET / 200 | 0/5000 | 0+0 0 1 2 | complete
         Hole
         1 GET / - | 0/0 | 0+27 0 - 3 | unknown end?
         2 GET / 200 | 0/5 | 4+54 4 5 5 | complete",
    );
}

#[test]
fn after_a_lost_request_the_next_one_is_marked() {
    check(
        &[c(GET), s(OK), Step::CGap(100), s(OK), c(GET), s(OK)],
        "0 GET / 200 | 0/5 | 0+0 0 1 1 | complete
         Hole
         Resynchronised
         1 GET / 200 | 0/5 | 4+127 4 5 5 | complete resynchronised",
    );
}

#[test]
fn garbage_makes_no_exchange() {
    for garbage in [&b"\x16\x03\x01\x02\0\x01"[..], b"\0\0\0\0", b"*1\r\n$4\r\nPING\r\n", b"hello\r\n", b"GET /\r\n"] {
        check(
            &[c(garbage), s("-ERR\r\n"), Step::End(Ending::Closed)],
            "
            Garbage
            Garbage",
        );
        check(&[c(garbage), s("HTTP/1.1 400 Bad\r\n\r\n"), Step::SFin], "Garbage");
        check(
            &[c(garbage), c(GET), s(OK)],
            "Garbage
             Resynchronised
             0 GET / 200 | 0/5 | 1+GARBAGE 1 2 2 | complete resynchronised"
                .replace("GARBAGE", &garbage.len().to_string())
                .as_str(),
        );
    }
}

#[test]
fn a_beginning_that_turns_to_garbage_is_withdrawn() {
    check(&[c("GET /x"), c("\0\0"), Step::End(Ending::Closed)], "Garbage");
    check(
        &[c("GET /x"), s("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"), c("\0\0"), Step::End(Ending::Closed)],
        "
        0   400 | 0/0 | 0+0 - 1 1 | complete
        Garbage",
    );
}

#[test]
fn a_response_that_is_none_leaves_the_request_unanswered() {
    check(
        &[c(GET), s("SSH-2.0-x\r\n"), Step::End(Ending::Closed)],
        "
        Garbage
        0 GET / - | 0/0 | 0+0 0 - 1 | unknown end?",
    );
}

#[test]
fn chunks_that_break_the_rules_leave_the_end_open() {
    check(
        &[c(GET), s(format!("{CHUNKED}2\r\nabX")), s("rest"), c(GET), s(OK)],
        "Malformed
         0 GET / 200 | 0/7 | 0+0 0 1 2 | complete end? body?
         1 GET / 200 | 0/5 | 3+27 3 4 4 | complete",
    );
}

#[test]
fn bad_header_lines_are_counted_and_do_not_hide_good_ones() {
    let steps = [c(b"GET / HTTP/1.1\r\nno colon\r\n\0\xff\r\nHost: h\r\n\r\n"), s(OK)];
    let talk = talk(false, &steps);
    assert_eq!(talk.events.iter().filter(|event| **event == Event::Oddity(Oddity::Malformed)).count(), 1);
    let Detail::Http(http) = &talk.exchanges()[0].detail;
    assert_eq!(http.host.as_deref(), Some("h"));
}

#[test]
fn a_tail_that_could_begin_a_request_is_not_joined_with_the_next_one() {
    check(
        &[
            c("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nab"),
            Step::CGap(5000),
            s("HTTP/1.1 100 Continue\r\n\r\n"),
            c("abcdef"),
            s(OK),
            c("late"),
            s("x"),
            c(GET),
            s(OK),
        ],
        "0 PUT / 200 | 5008/5 | 0+0 3 4 4 | complete interim body?
         Garbage
         1 GET / 200 | 0/5 | 7+5063 7 8 8 | complete",
    );
}
