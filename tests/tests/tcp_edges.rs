//! HTTP on TCP at its edges: data in the SYN and on the handshake's ACK, probes, closed windows, loss, reordering,
//! duplicates, a sequence number that comes round.
//!
//! Each test has namespaces of its own, so that the kernel's counters there prove that the edge was really met.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use rustix::net::sockopt;
use wirespan_tests::agent::{Agent, binary, need_root};
use wirespan_tests::apps;
use wirespan_tests::child::Program;
use wirespan_tests::expect::{Exchange, is_exchange};
use wirespan_tests::names;
use wirespan_tests::netns::{self, Namespace};
use wirespan_tests::raw::{self, Wire, get, ok};
use wirespan_tests::recording;
use wirespan_tests::span::{Kind, Layer, is};
use wirespan_tests::temp::TempDir;

fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(Agent::start)
}

#[track_caller]
fn check(port: u16, path: &str, status: i64, request_body: i64, response_body: i64) {
    let pair = agent().pair(port, path);
    let method = if request_body > 0 { "POST" } else { "GET" };
    is_exchange(&pair, &Exchange { method, status, request_body, response_body });
}

#[test]
fn a_request_in_the_syn_is_seen_at_both_ends() {
    agent();
    let namespace = Namespace::new("tfo");
    // Client and server, data in the SYN without a cookie, for every listener (Documentation/networking/ip-sysctl).
    namespace.sysctl("ipv4/tcp_fastopen", "1543");
    let listener = namespace.listen(SocketAddr::from(([127, 0, 0, 1], 5001)));
    let address = listener.local_addr().expect("it is bound");
    let request = get("/fast/open");
    let client = namespace.run(|| raw::fast_open(address, request.as_bytes())).expect("fast open");
    let (mut server, _) = listener.accept().expect("a connection");
    assert_eq!(namespace.counter("TcpExt/TCPFastOpenPassive"), 1, "the data did not ride in the SYN");
    let mut got = vec![0; request.len()];
    server.read_exact(&mut got).expect("the request");
    let mut wire = Wire::of(client, server);
    wire.answer(ok("fast"));
    wire.exchange(get("/fast/second"), ok("x"));
    wire.close();
    check(5001, "/fast/open", 200, 0, 4);
    check(5001, "/fast/second", 200, 0, 1);
    let sent = request.len() + get("/fast/second").len();
    agent().connection(Kind::Client, 5001).expect([(names::SENT, is(sent))]);
    agent().connection(Kind::Server, 5001).expect([(names::RECEIVED, is(sent))]);
}

#[test]
fn a_request_on_the_ack_that_ends_the_handshake_is_seen_at_both_ends() {
    agent();
    let namespace = Namespace::new("ack");
    let listener = namespace.listen(SocketAddr::from(([127, 0, 0, 1], 5002)));
    let address = listener.local_addr().expect("it is bound");
    let before = namespace.counter("Tcp/OutSegs");
    let client = namespace.run(|| raw::connect_late_ack(address)).expect("a connection");
    let after_syn = namespace.counter("Tcp/OutSegs") - before;
    assert_eq!(after_syn, 2, "SYN and SYN-ACK, and the ACK is held back");
    let request = get("/late/ack");
    (&client).write_all(request.as_bytes()).expect("sending");
    let (mut server, _) = listener.accept().expect("a connection");
    let mut got = vec![0; request.len()];
    server.read_exact(&mut got).expect("the request");
    let mut wire = Wire::of(client, server);
    wire.answer(ok("late"));
    wire.exchange(get("/late/second"), ok("x"));
    check(5002, "/late/ack", 200, 0, 4);
    check(5002, "/late/second", 200, 0, 1);
}

#[test]
fn keep_alive_probes_are_no_payload() {
    agent();
    let namespace = Namespace::new("alive");
    let listener = namespace.listen(SocketAddr::from(([127, 0, 0, 1], 5003)));
    let address = listener.local_addr().expect("it is bound");
    let mut wire = Wire::through(&listener, || namespace.run(|| TcpStream::connect(address)));
    wire.exchange(get("/alive/before"), ok("x"));
    for end in [&wire.client, &wire.server] {
        sockopt::set_socket_keepalive(end, true).expect("SO_KEEPALIVE");
        sockopt::set_tcp_keepidle(end, Duration::from_secs(1)).expect("TCP_KEEPIDLE");
        sockopt::set_tcp_keepintvl(end, Duration::from_secs(1)).expect("TCP_KEEPINTVL");
    }
    // Idle for longer than that: nothing comes.
    wire.client.set_read_timeout(Some(Duration::from_millis(1500))).expect("a timeout");
    let nothing = wire.client.read(&mut [0]).expect_err("nobody sends");
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    assert!(namespace.counter("TcpExt/TCPKeepAlive") >= 1, "no probe was sent");
    wire.exchange(get("/alive/after"), ok("xy"));
    let sent = get("/alive/before").len() + get("/alive/after").len();
    wire.close();
    check(5003, "/alive/before", 200, 0, 1);
    check(5003, "/alive/after", 200, 0, 2);
    agent().connection(Kind::Client, 5003).expect([(names::SENT, is(sent))]);
    agent().connection(Kind::Server, 5003).expect([(names::RECEIVED, is(sent))]);
}

#[test]
fn a_window_that_closes_and_opens_again_changes_nothing() {
    agent();
    let namespace = Namespace::new("window");
    let listener = namespace.listen(SocketAddr::from(([127, 0, 0, 1], 5004)));
    sockopt::set_socket_recv_buffer_size(listener.as_fd(), 8 << 10).expect("SO_RCVBUF");
    let address = listener.local_addr().expect("it is bound");
    let mut wire = Wire::through(&listener, || namespace.run(|| TcpStream::connect(address)));
    const BODY_BYTES: usize = 300_000;
    let mut request = format!("POST /window HTTP/1.1\r\nHost: w\r\nContent-Length: {BODY_BYTES}\r\n\r\n").into_bytes();
    request.resize(request.len() + BODY_BYTES, b'w');
    // The client writes for longer than the probe timer takes to ask, then the server begins to read.
    let mut client = wire.client.try_clone().expect("a second handle");
    let sent = request.clone();
    let writer = thread::spawn(move || client.write_all(&sent));
    wire.client.set_read_timeout(Some(Duration::from_millis(700))).expect("a timeout");
    let nothing = wire.client.read(&mut [0]).expect_err("nobody answers yet");
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    assert!(namespace.counter("TcpExt/TCPWinProbe") >= 1, "the window was never closed");
    let mut got = vec![0; request.len()];
    wire.server.read_exact(&mut got).expect("the whole request");
    writer.join().expect("the writing thread").expect("sending");
    wire.client.set_read_timeout(Some(wirespan_tests::PATIENCE)).expect("a timeout");
    wire.answer(ok("open"));
    wire.exchange(get("/window/after"), ok("x"));
    check(5004, "/window", 200, BODY_BYTES as i64, 4);
    check(5004, "/window/after", 200, 0, 1);
}

#[test]
fn lost_and_reordered_segments_change_nothing_but_the_count_of_retransmissions() {
    agent();
    let (here, there) = (Namespace::new("lossy"), Namespace::new("lossy"));
    let devices = netns::join(&here, "10.94.0.1/24", &there, "10.94.0.2/24");
    // One packet per segment; every 7th that carries payload is lost on arrival, so what follows overtakes it.
    for (namespace, device) in [&here, &there].into_iter().zip(&devices) {
        namespace.ip(&["link", "set", "dev", device, "gso_max_segs", "1"]);
        let lose = "meta l4proto tcp meta length > 100 numgen inc mod 7 == 3 drop";
        namespace.nft("type filter hook prerouting priority -300", &[lose]);
    }
    let address = SocketAddr::from(([10, 94, 0, 2], 5005));
    let listener = there.listen(address);
    let mut wire = Wire::through(&listener, || here.run(|| TcpStream::connect(address)));
    // Rounds of requests in flight at once, each a segment of its own, few enough that a round's heads are all copied.
    const ROUNDS: usize = 10;
    const AT_ONCE: usize = 15;
    const REQUESTS: usize = ROUNDS * AT_ONCE;
    let request = |n: usize| {
        format!("POST /lossy/{n} HTTP/1.1\r\nHost: lossy.test\r\nContent-Length: {n}\r\n\r\n{}", "b".repeat(n))
    };
    let (mut asked, mut answered) = (0, 0);
    for round in 0..ROUNDS {
        let numbers = round * AT_ONCE..(round + 1) * AT_ONCE;
        asked += pour(&mut wire.client, &mut wire.server, numbers.clone().map(request));
        answered += pour(&mut wire.server, &mut wire.client, numbers.map(|n| ok(&"r".repeat(n))));
    }
    wire.close();
    let overtaken = here.counter("TcpExt/TCPOFOQueue") + there.counter("TcpExt/TCPOFOQueue");
    assert!(overtaken > 3, "nothing was overtaken");
    for n in 0..REQUESTS {
        let pair = agent().pair(5005, &format!("/lossy/{n}"));
        is_exchange(&pair, &Exchange { method: "POST", status: 200, request_body: n as i64, response_body: n as i64 });
    }
    let spans = agent().matching(|span| span.layer == Layer::L7 && span.is_on(5005));
    assert_eq!(spans.len(), 2 * REQUESTS, "a retransmission was taken for a request");
    for (end, namespace, sent, received) in
        [(Kind::Client, &here, asked, answered), (Kind::Server, &there, answered, asked)]
    {
        let retransmitted = namespace.counter("Tcp/RetransSegs");
        assert!(retransmitted > 3, "nothing was lost: the rule does not work here");
        agent().connection(end, 5005).expect([
            (names::SENT, is(sent)),
            (names::RECEIVED, is(received)),
            (names::RETRANSMITS, is(i64::try_from(retransmitted).expect("few"))),
        ]);
    }
}

/// A response of which every segment is a packet of its own, and the first, with its head, is lost so many times.
fn overtake(port: u16, network: &str, body: usize, losses: u64) {
    agent();
    let (here, there) = (Namespace::new("unlucky"), Namespace::new("unlucky"));
    let [left, right] = ["1", "2"].map(|host| format!("{network}.{host}"));
    let devices = netns::join(&here, &format!("{left}/24"), &there, &format!("{right}/24"));
    there.ip(&["link", "set", "dev", &devices[1], "gso_max_segs", "1"]);
    let lose = format!("meta l4proto tcp meta length > 1000 numgen inc mod 1000 < {losses} drop");
    here.nft("type filter hook prerouting priority -300", &[&lose]);
    let listener = there.listen(format!("{right}:{port}").parse().expect("an address"));
    let address = listener.local_addr().expect("it is bound");
    let mut wire = Wire::through(&listener, || here.run(|| TcpStream::connect(address)));
    wire.exchange(get("/unlucky"), ok(&"r".repeat(body)));
    wire.exchange(get("/unlucky/after"), ok("x"));
    assert!(there.counter("Tcp/RetransSegs") >= losses, "it was not lost: the rule does not work here");
    assert!(here.counter("TcpExt/TCPOFOQueue") > 0, "nothing was overtaken");
    check(port, "/unlucky", 200, 0, body as i64);
    check(port, "/unlucky/after", 200, 0, 1);
}

#[test]
fn a_head_that_is_lost_again_and_again_is_waited_for() {
    // The other segment is too short to be lost.
    overtake(5008, "10.96.0", 1_850, 5);
}

#[test]
fn a_head_that_a_long_body_overtakes_is_read() {
    // More than is copied of a message comes before its head.
    overtake(5009, "10.97.0", 13_000, 1);
}

#[test]
fn what_is_lost_of_a_body_is_neither_copied_nor_waited_for() {
    // What is lost is far behind all that is copied of a message.
    const COPIED_BYTES: usize = 8_000;
    const BULK_BYTES: usize = 2_000_000;
    need_root();
    let files = TempDir::new("bulk");
    let file = files.path().join("session");
    let recorder = Program::new(binary()).args(["record", "--only", "port:5010"]).arg(&file).start();
    recorder.wait_err("ready:");
    let (here, there) = (Namespace::new("bulk"), Namespace::new("bulk"));
    let devices = netns::join(&here, "10.98.0.1/24", &there, "10.98.0.2/24");
    there.ip(&["link", "set", "dev", &devices[1], "gso_max_segs", "1"]);
    let address = SocketAddr::from(([10, 98, 0, 2], 5010));
    let listener = there.listen(address);
    let mut wire = Wire::through(&listener, || here.run(|| TcpStream::connect(address)));
    let length = COPIED_BYTES + BULK_BYTES;
    let begin = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "b".repeat(COPIED_BYTES));
    wire.exchange(get("/bulk"), begin);
    let lose = "meta l4proto tcp meta length > 1000 numgen inc mod 10 == 9 drop";
    here.nft("type filter hook prerouting priority -300", &[lose]);
    wire.answer(vec![b'b'; BULK_BYTES]);
    wire.close();
    assert!(there.counter("Tcp/RetransSegs") > 100, "nothing was lost: the rule does not work here");
    let _ = recorder.stop().well();
    let mut late = recording::segments(&file);
    late.retain(|segment| segment.offset > COPIED_BYTES as u64 * 2);
    assert!(late.len() >= 2, "both ends saw the end of it: {late:?}");
    let copied = late.iter().find(|segment| segment.captured > 0 || segment.is_ahead);
    assert!(copied.is_none(), "copied, or waited for: {copied:?} of {}", late.len());
}

#[test]
fn duplicated_segments_are_seen_once() {
    agent();
    let (here, router, there) = (Namespace::new("twice"), Namespace::new("router"), Namespace::new("twice"));
    netns::join(&here, "10.95.1.2/24", &router, "10.95.1.1/24");
    netns::join(&router, "10.95.2.1/24", &there, "10.95.2.2/24");
    for (namespace, gateway) in [(&here, "10.95.1.1"), (&there, "10.95.2.1")] {
        namespace.ip(&["route", "add", "default", "via", gateway]);
    }
    router.sysctl("ipv4/ip_forward", "1");
    let twice = ["10.95.1.2", "10.95.2.2"].map(|to| format!("ip daddr {to} meta length > 60 dup to {to}"));
    router.nft("type filter hook forward priority 0", &[&twice[0], &twice[1]]);
    let address = SocketAddr::from(([10, 95, 2, 2], 5006));
    let listener = there.listen(address);
    let mut wire = Wire::through(&listener, || here.run(|| TcpStream::connect(address)));
    let mut total = 0;
    for n in 0..20 {
        let request = get(&format!("/twice/{n}"));
        total += request.len();
        wire.exchange(request, ok("twice"));
    }
    wire.close();
    let duplicates = here.counter("TcpExt/TCPDSACKOldSent") + there.counter("TcpExt/TCPDSACKOldSent");
    assert!(duplicates > 10, "nothing came twice");
    for n in 0..20 {
        check(5006, &format!("/twice/{n}"), 200, 0, 5);
    }
    assert_eq!(agent().matching(|span| span.layer == Layer::L7 && span.is_on(5006)).len(), 40);
    agent().connection(Kind::Server, 5006).expect([(names::RECEIVED, is(total))]);
}

#[test]
fn a_sequence_number_may_come_round() {
    agent();
    let namespace = Namespace::new("wrap");
    // The script gives its socket a sequence number shortly before 2^32 and talks across it.
    let child = namespace.program("/usr/bin/python3").arg(apps::file("wrap.py")).start();
    let line = child.wait_out("requests on port ");
    let words: Vec<&str> = line.split(' ').collect();
    let (number, port): (usize, u16) = (words[0].parse().expect("a number"), words[4].parse().expect("a port"));
    let _ = child.wait().well();
    for n in 0..number {
        let pair = agent().pair(port, &format!("/wrap/{n}"));
        is_exchange(&pair, &Exchange { method: "POST", status: 200, request_body: 1000, response_body: 4 });
    }
    let sent = line.rsplit(' ').next().and_then(|bytes| bytes.parse::<i64>().ok()).expect("a number of bytes");
    agent().connection(Kind::Client, port).expect([(names::SENT, is(sent)), (names::REQUESTS, is(number))]);
    agent().connection(Kind::Server, port).expect([(names::RECEIVED, is(sent))]);
}

#[test]
fn ipv6_between_namespaces_is_seen_at_both_ends() {
    agent();
    let (here, there) = (Namespace::new("six"), Namespace::new("six"));
    netns::join(&here, "fd00:96::1/64", &there, "fd00:96::2/64");
    let address: SocketAddr = "[fd00:96::2]:5007".parse().expect("an address");
    let listener = there.listen(address);
    let mut wire = Wire::through(&listener, || here.run(|| TcpStream::connect(address)));
    wire.exchange(get("/six"), ok("x"));
    check(5007, "/six", 200, 0, 1);
    agent().request(Kind::Server, 5007, "/six").expect([
        ("network.type", is("ipv6")),
        ("network.peer.address", is("fd00:96::1")),
        ("network.local.address", is("fd00:96::2")),
    ]);
}

/// Sends the pieces one by one without waiting, while the other end reads them all. Gives the number of bytes.
#[track_caller]
fn pour(from: &mut TcpStream, to: &mut TcpStream, pieces: impl Iterator<Item = String>) -> usize {
    let pieces: Vec<String> = pieces.collect();
    let mut got = vec![0; pieces.iter().map(String::len).sum()];
    thread::scope(|scope| {
        let writer = scope.spawn(|| pieces.iter().try_for_each(|piece| from.write_all(piece.as_bytes())));
        to.read_exact(&mut got).expect("everything arrives in the end");
        writer.join().expect("the writing thread").expect("sending");
    });
    assert!(got == pieces.concat().into_bytes(), "it arrived changed");
    got.len()
}
