//! Bursts: nothing is lost, nothing is counted twice, and memory stays within its bounds. One after the other, so that
//! each has the machine for itself.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;

use wirespan_tests::PATIENCE;
use wirespan_tests::agent::Agent;
use wirespan_tests::netns::Namespace;
use wirespan_tests::raw::{get, reset};
use wirespan_tests::servers;
use wirespan_tests::span::{Kind, Layer, Span};

/// Connections at once.
const CONNECTIONS: usize = 64;
/// Requests on each.
const REQUESTS: usize = 100;

/// One burst at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Memory that the agent may use at most, whatever it sees (issue: 200 MiB with its maps).
const MAX_RSS_KIB: u64 = 200 * 1024;

#[test]
fn six_thousand_four_hundred_requests_over_64_connections_are_as_many_server_spans() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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
    let is_server_span = |span: &Span| span.layer == Layer::L7 && span.kind == Kind::Server && span.is_on(nginx.port);
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
    let disorder = ["late_records", "resynchronised"].map(|count| stopped.ledger.count(count));
    assert_eq!(disorder, [0, 0], "records came out of order: {:?}", stopped.ledger);
    assert_eq!(stopped.ledger.spans["console"].dropped, 0, "{:?}", stopped.ledger);
    assert_eq!(stopped.ledger.spans["console"].delivered, i64::try_from(stopped.spans.len()).expect("few"));
}

#[test]
fn ten_thousand_connections_opened_and_closed_in_seconds_are_all_counted() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    const CONNECTIONS: usize = 10_000;
    let namespace = Namespace::new("many");
    let listener = namespace.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 1600)));
    let agent = Agent::start();
    namespace.run(|| {
        for number in 0..CONNECTIONS {
            let client = TcpStream::connect((Ipv4Addr::LOCALHOST, 1600)).expect("a connection");
            let (server, _) = listener.accept().expect("a connection");
            if number % 2 == 0 {
                reset(client);
            }
            drop(server);
        }
    });
    let of = |end: Kind, spans: &[Arc<Span>]| {
        spans.iter().filter(|span| span.is_connection(end) && span.is_on(1600)).count()
    };
    agent.wait_within(3 * PATIENCE, "a span for each end of each connection", |spans| {
        (of(Kind::Client, spans) >= CONNECTIONS && of(Kind::Server, spans) >= CONNECTIONS).then_some(())
    });
    let peak = peak_rss_kib(agent.pid());
    assert!(peak <= MAX_RSS_KIB, "the agent used {peak} KiB");
    let stopped = agent.stop();
    assert_eq!((of(Kind::Client, &stopped.spans), of(Kind::Server, &stopped.spans)), (CONNECTIONS, CONNECTIONS));
    stopped.ledger.balances();
    assert_eq!(stopped.ledger.records.dropped, 0, "{:?}", stopped.ledger);
}

/// As fast as the server answers, with nothing between the requests.
fn talk(connection: usize, port: u16, start: &Barrier) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("nginx accepts");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
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

/// The most memory that a process has used, KiB.
#[track_caller]
fn peak_rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
