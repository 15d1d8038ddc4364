//! The listener, from outside.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;

use super::*;
use crate::ledger::Count;

fn sources(ledger: &Arc<Ledger>) -> Sources {
    let ledger = Arc::clone(ledger);
    Sources {
        ledger,
        verdicts: Vec::new(),
        programs: Vec::new(),
        queues: Vec::new(),
        max_connections: 9,
        kubernetes: None,
    }
}

fn any_port() -> Listener {
    Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port")
}

/// Sends some bytes and reads until the end.
fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    answer
}

#[test]
fn a_scrape_shows_the_ledger_and_what_the_core_says() {
    let ledger = Arc::new(Ledger::default());
    ledger.records.observe(3);
    ledger.count(Count::Garbage);
    let listener = any_port();
    let address = listener.address().expect("it has one");
    let desk = listener.serve(sources(&ledger)).expect("a thread");
    let core = thread::spawn(move || {
        loop {
            if let Some(question) = desk.question() {
                return question.answer(CoreState { connections: 5, addresses: 0, totals: Vec::new() });
            }
            thread::yield_now();
        }
    });
    let answer = talk(address, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    core.join().expect("the core");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{answer}"
    );
    for line in ["wirespan_records_in_flight 3", "wirespan_garbage_total 1", "wirespan_connections 5"] {
        assert!(answer.lines().any(|other| other == line), "{line}\n{answer}");
    }
}

#[test]
fn only_one_page_can_be_read_and_nothing_written() {
    let listener = any_port();
    let address = listener.address().expect("it has one");
    // The core has ended: what is left is said without it.
    drop(listener.serve(sources(&Arc::default())).expect("a thread"));
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        ("GET /metrics/x HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "405"),
        ("GET /metrics?name=x HTTP/1.0\r\n\r\n", "200"),
        ("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answer = talk(address, request);
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request:?}: {answer}");
        assert_eq!(answer.contains("wirespan_"), request.starts_with("GET /metrics?"), "{request:?}: {answer}");
    }
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let taken = any_port();
    let address = taken.address().expect("it has one");
    let error = Listener::bind(address).expect_err("somebody has it").to_string();
    assert!(error.contains(&address.to_string()) && error.contains("--metrics-listen"), "{error}");
}
