//! Bad input and faults: the agent counts them and goes on, and when it dies nothing of it is left.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::OnceLock;

use wirespan_tests::agent::Agent;
use wirespan_tests::child::Program;
use wirespan_tests::expect::{self, Exchange, is_exchange};
use wirespan_tests::kernel::{self};
use wirespan_tests::names;
use wirespan_tests::netns::Namespace;
use wirespan_tests::raw::{Wire, get, ok, reset};
use wirespan_tests::servers;
use wirespan_tests::span::{Kind, Layer, Want, is};
use wirespan_tests::{PATIENCE, curl};

fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(Agent::start)
}

/// Bytes that look like nothing: the same every time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| byte()).collect()
}

#[test]
fn garbage_makes_no_request_and_loses_no_byte_of_the_count() {
    let before = agent().ledger();
    let nuls = vec![0; 5000];
    for garbage in [noise(20_000), nuls, b"\r\n\r\n\r\n\r\n".to_vec(), b"HELO mail.test\r\n".to_vec(), vec![0xff; 100]]
    {
        let mut wire = Wire::open();
        let port = wire.port;
        wire.exchange(&garbage, noise(3000));
        wire.exchange(&garbage, &garbage);
        wire.close();
        for end in expect::ENDS {
            let span = agent().connection(end, port);
            let (asked, answered) = (2 * garbage.len(), 3000 + garbage.len());
            let (sent, received) = if end == Kind::Client { (asked, answered) } else { (answered, asked) };
            span.expect([
                (names::SENT, is(sent)),
                (names::RECEIVED, is(received)),
                (names::REQUESTS, Want::Absent),
                ("error.type", Want::Absent),
            ]);
        }
        agent().fence();
        let requests = agent().matching(|span| span.layer == Layer::L7 && span.is_on(port));
        assert!(requests.is_empty(), "garbage was taken for a request: {requests:#?}");
    }
    let after = agent().ledger();
    after.balances();
    let counted = |ledger: &wirespan_tests::ledger::Ledger| ledger.count("garbage") + ledger.count("unknown_protocol");
    assert!(counted(&after) >= counted(&before) + 5, "garbage is not counted: {:?}", after.counts);
}

#[test]
fn a_head_that_breaks_the_rules_is_counted_and_the_agent_goes_on() {
    let before = agent().ledger();
    for bad in [
        &b"GET /nul HTTP/1.1\r\nHost: a\0b\0\r\n\0: \0\r\n\r\n"[..],
        b"GET /no-colon HTTP/1.1\r\nthis is no header\r\n\r\n",
        b"POST /lengths HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
        b"POST /chunk HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\nhello\r\n",
        b"POST /huge HTTP/1.1\r\nContent-Length: 99999999999999999999999999\r\n\r\nx",
    ] {
        let mut wire = Wire::open();
        let port = wire.port;
        wire.exchange(bad, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        wire.close_by_server();
        agent().connection(Kind::Server, port).expect([(names::RECEIVED, is(bad.len()))]);
    }
    agent().fence();
    let after = agent().ledger();
    after.balances();
    let counted = |ledger: &wirespan_tests::ledger::Ledger| ledger.count("garbage") + ledger.count("malformed_heads");
    assert!(counted(&after) > counted(&before), "nothing of it is counted: {:?}", after.counts);
}

#[test]
fn half_a_request_and_a_reset_harm_nobody() {
    agent();
    let request = get("/half");
    for at in 1..request.len() {
        let mut wire = Wire::open();
        wire.ask(&request[..at]);
        let port = wire.port;
        reset(wire.client);
        agent().connection(Kind::Server, port).expect([(names::END, is("reset")), (names::RECEIVED, is(at))]);
    }
    agent().fence();
}

#[test]
fn a_port_scan_is_a_span_per_port() {
    let namespace = Namespace::new("scan");
    let open = namespace.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 1500)));
    const PORTS: std::ops::Range<u16> = 1000..3000;
    // An agent of its own: its spans are counted.
    let agent = Agent::start();
    namespace.run(|| {
        for port in PORTS {
            let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            assert_eq!(connected.is_ok(), port == 1500, "port {port}: {connected:?}");
        }
    });
    drop(open);
    agent.wait("the last port", |spans| {
        spans.iter().any(|span| span.is_connection(Kind::Client) && span.is_on(PORTS.end - 1)).then_some(())
    });
    let stopped = agent.stop();
    let mut by_port: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for span in stopped.spans.iter().filter(|span| span.is_connection(Kind::Client)) {
        let port = span.int("network.peer.port");
        if PORTS.contains(&(port as u16)) && span.process() == std::process::id() {
            by_port.entry(port).or_default().push(span.str(names::END).to_owned());
        }
    }
    assert_eq!(by_port.len(), PORTS.len(), "some ports have no span");
    for (port, ends) in by_port {
        let wanted = if port == 1500 { &["fin", "reset"][..] } else { &["refused"] };
        assert!(ends.len() == 1 && wanted.contains(&ends[0].as_str()), "port {port}: {ends:?}");
    }
    stopped.ledger.balances();
}

#[test]
fn a_server_killed_in_mid_request_leaves_spans_that_say_so() {
    agent();
    let server = servers::python();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("python accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(get("/killed/hang").as_bytes()).expect("sending");
    server.child.wait_out("hanging");
    server.child.kill();
    let read = stream.read(&mut [0; 100]);
    let error = match read {
        Ok(0) => "connection_closed",
        Ok(_) => "an answer",
        Err(_) => "connection_reset",
    };
    for end in expect::ENDS {
        let span = agent().request(end, server.port, "/killed/hang");
        span.expect([("error.type", is(error)), ("http.response.status_code", Want::Absent)]);
        assert!(span.failed, "{span}");
    }
    let span = agent().request(Kind::Server, server.port, "/killed/hang");
    assert_eq!(span.process(), server.child.pid());
}

#[test]
fn a_client_killed_in_mid_request_leaves_spans_that_say_so() {
    agent();
    let server = servers::python();
    let client = Program::new("curl").args(["--silent", "--max-time", "15", &server.url("/abandoned/hang")]).start();
    server.child.wait_out("hanging");
    client.kill();
    // The server never answers, so its end is open until it is killed too.
    let span = agent().request(Kind::Client, server.port, "/abandoned/hang");
    span.expect([("error.type", is("connection_closed")), ("http.response.status_code", Want::Absent)]);
    assert_eq!(span.process(), client.pid());
    server.child.kill();
    let span = agent().request(Kind::Server, server.port, "/abandoned/hang");
    assert!(span.failed, "{span}");
}

#[test]
fn killing_the_agent_leaves_nothing_in_the_kernel() {
    let nginx = servers::nginx(1);
    let agent = Agent::start();
    let held = kernel::held_by(agent.pid());
    assert!(held.iter().any(|object| object.0 == "map") && held.iter().any(|object| object.0 == "link"), "{held:?}");
    agent.child().kill();
    kernel::wait_gone(&held);
    assert_eq!(curl::curl(&[&nginx.url("/unharmed")]).number("response_code"), 200);
}

#[test]
fn an_orderly_end_leaves_nothing_in_the_kernel_either() {
    let agent = Agent::start();
    let held = kernel::held_by(agent.pid());
    let stopped = agent.stop();
    kernel::wait_gone(&held);
    stopped.ledger.balances();
    assert_eq!(stopped.ledger.records.in_flight, 0, "{:?}", stopped.ledger);
}

#[test]
fn a_connection_between_two_faults_is_as_good_as_ever() {
    agent();
    let mut wire = Wire::open();
    wire.exchange(get("/calm"), ok("calm"));
    let pair = agent().pair(wire.port, "/calm");
    is_exchange(&pair, &Exchange { method: "GET", status: 200, request_body: 0, response_body: 4 });
}
