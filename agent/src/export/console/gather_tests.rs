//! What is gathered, what is left out, and when.

use super::*;
use crate::export::fixture;

fn at(base: Instant, ms: u64) -> Instant {
    base + Duration::from_millis(ms)
}

#[test]
fn a_trace_is_shown_once_its_root_has_ended_and_it_is_quiet() {
    let (curl, nginx, base) = (fixture::resource("curl"), fixture::resource("nginx"), Instant::now());
    let mut gather = Gather::new();
    gather.push(&fixture::server(1, &nginx), base);
    gather.push(&fixture::client(1, &curl), at(base, 100));
    assert!(gather.advance(at(base, 399)).traces.is_empty());
    assert_eq!(gather.due(), Some(at(base, 400)));
    let ready = gather.advance(at(base, 400));
    assert_eq!((ready.traces.len(), ready.shown), (1, 2));
    assert_eq!(gather.due(), None);
}

#[test]
fn a_trace_without_its_root_is_shown_after_a_second() {
    let (nginx, base) = (fixture::resource("nginx"), Instant::now());
    let mut gather = Gather::new();
    gather.push(&fixture::server(1, &nginx), base);
    assert!(gather.advance(at(base, 999)).traces.is_empty());
    assert_eq!(gather.advance(at(base, 1_000)).traces.len(), 1);
}

#[test]
fn a_trace_that_never_falls_quiet_is_shown_in_pieces() {
    let (curl, base) = (fixture::resource("curl"), Instant::now());
    let mut gather = Gather::new();
    let pieces = (0..=100_u64)
        .map(|tick| {
            gather.push(&fixture::client(1, &curl), at(base, tick * 100));
            gather.advance(at(base, tick * 100)).traces.len()
        })
        .sum::<usize>();
    assert_eq!(pieces, 1, "one after five seconds, the second one second short");
}

#[test]
fn a_connection_is_shown_with_its_request_or_on_its_own() {
    let (curl, base) = (fixture::resource("curl"), Instant::now());
    let mut gather = Gather::new();
    gather.push(&fixture::client(1, &curl), base);
    gather.push(&fixture::connection(1, &curl), at(base, 1));
    let mut alone = fixture::connection(2, &curl);
    alone.attributes.clear();
    gather.push(&alone, at(base, 1));
    let ready = gather.advance(at(base, 300));
    assert!(ready.traces[0].spans[0].1.is_some());
    assert_eq!((ready.shown, ready.connections.len()), (2, 0));
    let ready = gather.advance(at(base, 1_301));
    assert_eq!((ready.shown, ready.left_out.spans, ready.connections.len()), (1, 0, 1));
}

#[test]
fn a_connection_whose_requests_were_shown_before_is_not_shown_as_one_without() {
    let (curl, base) = (fixture::resource("curl"), Instant::now());
    let mut gather = Gather::new();
    gather.push(&fixture::client(1, &curl), base);
    assert_eq!(gather.advance(at(base, 300)).shown, 1);
    gather.push(&fixture::connection(1, &curl), at(base, 60_000));
    let ready = gather.advance(at(base, 62_000));
    assert_eq!((ready.shown, ready.left_out.spans), (0, 1));
}

#[test]
fn what_is_too_much_is_left_out_and_every_span_is_accounted_for() {
    let (curl, nginx, base) = (fixture::resource("curl"), fixture::resource("nginx"), Instant::now());
    let mut gather = Gather::new();
    for n in 0..100 {
        gather.push(&fixture::client(n, &curl), base);
        gather.push(&fixture::server(n, &nginx), base);
    }
    for n in 100..200 {
        let mut alone = fixture::connection(n, &curl);
        alone.attributes.clear();
        gather.push(&alone, base);
    }
    let first = gather.advance(at(base, 300));
    assert_eq!((first.traces.len(), first.left_out.traces), (20, 80));
    let second = gather.advance(at(base, 1_300));
    assert_eq!((second.connections.len(), second.left_out.lone_connections), (10, 90));
    assert_eq!(first.shown + first.left_out.spans + second.shown + second.left_out.spans, 300);
}

#[test]
fn a_trace_is_shown_whole_or_not_at_all() {
    let (curl, nginx, base) = (fixture::resource("curl"), fixture::resource("nginx"), Instant::now());
    let mut gather = Gather::new();
    for n in 0..100 {
        gather.push(&fixture::server(n, &nginx), base);
    }
    assert_eq!(gather.advance(base).left_out, LeftOut { spans: 80, traces: 80, ..LeftOut::default() });
    // There is room for two more traces by now, but not for one of those left out before.
    for n in 0..100 {
        gather.push(&fixture::client(n, &curl), at(base, 200));
    }
    let ready = gather.advance(at(base, 500));
    assert!(ready.traces.iter().all(|trace| trace.spans.len() == 2));
    assert_eq!((ready.traces.len(), ready.left_out.spans, ready.left_out.traces), (20, 80, 0));
}

#[test]
fn connections_that_wait_are_bounded_and_those_of_gathered_traces_come_first() {
    let (curl, base) = (fixture::resource("curl"), Instant::now());
    let mut gather = Gather::new();
    gather.push(&fixture::client(1, &curl), base);
    let mut other = fixture::connection(2, &curl);
    other.attributes.clear();
    for n in 0..5_000_u16 {
        other.span_id.0[..2].copy_from_slice(&n.to_be_bytes());
        gather.push(&other, base);
    }
    assert_eq!(gather.held.len(), CONNECTIONS);
    gather.push(&fixture::connection(1, &curl), base);
    let ready = gather.advance(at(base, 300));
    assert!(ready.traces[0].spans[0].1.is_some());
    let rest = gather.finish();
    assert_eq!(ready.shown + ready.left_out.spans + rest.shown + rest.left_out.spans, 5_002);
    assert!(gather.by_id.is_empty());
}
