//! A burst: nothing is lost, nothing is counted twice.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::thread;

use wirespan_tests::agent::Agent;
use wirespan_tests::raw::get;
use wirespan_tests::servers;
use wirespan_tests::span::{Kind, Layer};

/// Connections at once.
const CONNECTIONS: usize = 64;
/// Requests on each.
const REQUESTS: usize = 100;

#[test]
fn six_thousand_four_hundred_requests_over_64_connections_are_as_many_server_spans() {
    let nginx = servers::nginx(2);
    let agent = Agent::start();
    let start = Arc::new(Barrier::new(CONNECTIONS));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let (start, port) = (Arc::clone(&start), nginx.port);
            thread::spawn(move || talk(connection, port, &start))
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("a client"));
    let is_server_span = |span: &wirespan_tests::span::Span| {
        span.layer == Layer::L7 && span.kind == Kind::Server && span.is_on(nginx.port)
    };
    agent.wait("all server spans", |spans| {
        (spans.iter().filter(|span| is_server_span(span)).count() >= CONNECTIONS * REQUESTS).then_some(())
    });
    let stopped = agent.stop();
    let mut by_path: HashMap<&str, usize> = HashMap::new();
    for span in stopped.spans.iter().filter(|span| is_server_span(span)) {
        *by_path.entry(span.path()).or_default() += 1;
        assert_eq!(span.int("http.response.status_code"), 200, "{span}");
        assert_eq!(span.int("http.response.body.size"), 5, "{span}");
        assert!(span.parent.is_some(), "not joined with its client\n{span}");
    }
    assert_eq!(by_path.len(), CONNECTIONS * REQUESTS, "some requests have no span");
    assert!(by_path.values().all(|&count| count == 1), "some requests have two spans");
    stopped.ledger.balances();
    assert_eq!((stopped.ledger.records.dropped, stopped.ledger.records.in_flight), (0, 0), "{:?}", stopped.ledger);
    assert_eq!(stopped.ledger.spans["console"].dropped, 0, "{:?}", stopped.ledger);
    assert_eq!(stopped.ledger.spans["console"].delivered, i64::try_from(stopped.spans.len()).expect("few"));
}

/// As fast as the server answers, with nothing between the requests.
fn talk(connection: usize, port: u16, start: &Barrier) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("nginx accepts");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream.set_read_timeout(Some(wirespan_tests::PATIENCE)).expect("a timeout");
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    start.wait();
    for request in 0..REQUESTS {
        stream.write_all(get(&format!("/burst/{connection}/{request}")).as_bytes()).expect("sending");
        answer.clear();
        while !answer.ends_with(b"\r\n\r\nhello") {
            let read = stream.read(&mut buffer).expect("an answer");
            assert!(read > 0, "nginx closed the connection");
            answer.extend_from_slice(&buffer[..read]);
        }
    }
}
