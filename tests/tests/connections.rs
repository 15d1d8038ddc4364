//! TCP connections as spans: how they began, what they carried, how they ended, and those that never were.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};

use wirespan_tests::agent::{Agent, Launch};
use wirespan_tests::child::Program;
use wirespan_tests::netns::{self, Namespace};
use wirespan_tests::port;
use wirespan_tests::raw::{self, Wire, get, ok, reset};
use wirespan_tests::span::{Kind, Span, Want, is};
use wirespan_tests::temp::TempDir;
use wirespan_tests::{expect, names};

/// One agent for all: ports and namespaces keep the connections apart.
fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(Agent::start)
}

#[test]
fn a_connection_tells_what_it_carried_and_who_closed_it() {
    agent();
    for by_client in [true, false] {
        let mut wire = Wire::open();
        let (port, client_port) = (wire.port, wire.client_port);
        let (request, response) = (get("/carried"), ok(&"c".repeat(100_000)));
        wire.exchange(&request, &response);
        wire.exchange(&request, &response);
        if by_client {
            wire.close();
        } else {
            wire.close_by_server();
        }
        let client = agent().connection(Kind::Client, port);
        let server = agent().connection(Kind::Server, port);
        let (sent, received) = (2 * request.len(), 2 * response.len());
        for (span, sent, received, local, peer) in
            [(&client, sent, received, client_port, port), (&server, received, sent, port, client_port)]
        {
            assert_eq!((span.name.as_str(), span.failed), ("TCP connection", false), "{span}");
            span.expect([
                ("network.transport", is("tcp")),
                ("network.type", is("ipv4")),
                ("network.local.address", is("127.0.0.1")),
                ("network.local.port", is(local)),
                ("network.peer.address", is("127.0.0.1")),
                ("network.peer.port", is(peer)),
                ("server.address", is("127.0.0.1")),
                ("server.port", is(port)),
                ("network.protocol.name", is("http")),
                (names::SENT, is(sent)),
                (names::RECEIVED, is(received)),
                (names::RETRANSMITS, is(0)),
                (names::REQUESTS, is(2)),
                (names::END, is("fin")),
                (names::CLOSED_BY, is(if by_client { "client" } else { "server" })),
                (names::SEGMENT, Want::Absent),
                ("error.type", Want::Absent),
            ]);
            expect::is_of_process(span, std::process::id(), &expect::executable(std::process::id()));
            let rtt = span.double(names::RTT);
            assert!(rtt > 0.0 && rtt < 1.0, "{rtt} s round trip on\n{span}");
        }
        let connecting = client.double(names::CONNECT_DURATION);
        assert!(connecting > 0.0 && connecting < 1.0, "{client}");
        assert_eq!(server.trace_id, client.trace_id, "one connection, two traces");
        assert_eq!(server.parent.as_deref(), Some(client.span_id.as_str()), "{server}");
        server.expect([(names::LINK_METHOD, is("tcp-seq"))]);
    }
}

#[test]
fn a_connection_on_which_nothing_was_said_is_a_span_too() {
    agent();
    let wire = Wire::open();
    let port = wire.port;
    wire.close();
    for end in expect::ENDS {
        agent().connection(end, port).expect([
            (names::SENT, is(0)),
            (names::RECEIVED, is(0)),
            (names::END, is("fin")),
            (names::REQUESTS, Want::Absent),
        ]);
    }
}

#[test]
fn a_refused_connection_is_a_span() {
    agent();
    let port = port::unused();
    let error = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    never_was(&agent().connection(Kind::Client, port), "refused", "connection_refused");
    let six = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port::unused()));
    let error = TcpStream::connect(six).expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let span = agent().connection(Kind::Client, six.port());
    never_was(&span, "refused", "connection_refused");
    span.expect([("network.type", is("ipv6")), ("network.peer.address", is("::1"))]);
}

#[test]
fn an_unreachable_peer_is_a_span_also_when_nothing_was_ever_sent() {
    agent();
    let (here, there) = (Namespace::new("here"), Namespace::new("there"));
    let [device, _] = netns::join(&here, "10.91.0.1/24", &there, "10.91.0.2/24");
    // Nobody answers for this address, and the kernel soon gives up asking.
    here.sysctl(&format!("ipv4/neigh/{device}/retrans_time_ms"), "100");
    let nobody = SocketAddr::from(([10, 91, 0, 77], 4077));
    let error = here.run(|| TcpStream::connect(nobody)).expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{error}");
    let span = agent().connection(Kind::Client, 4077);
    never_was(&span, "unreachable", "host_unreachable");
    span.expect([("network.peer.address", is("10.91.0.77"))]);

    // And a router that says so.
    there.nft("type filter hook input priority 0", &["tcp dport 4078 reject with icmp type host-unreachable"]);
    let refused = SocketAddr::from(([10, 91, 0, 2], 4078));
    let error = here.run(|| TcpStream::connect(refused)).expect_err("it is rejected");
    assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{error}");
    never_was(&agent().connection(Kind::Client, 4078), "unreachable", "host_unreachable");
}

#[test]
fn a_peer_that_never_answers_is_a_timeout() {
    agent();
    let (here, there) = pair("10.92.0.1/24", "10.92.0.2/24");
    here.sysctl("ipv4/tcp_syn_retries", "1");
    there.nft("type filter hook input priority 0", &["tcp dport 4079 drop"]);
    let silent = SocketAddr::from(([10, 92, 0, 2], 4079));
    let error = here.run(|| TcpStream::connect(silent)).expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    let span = agent().connection(Kind::Client, 4079);
    never_was(&span, "timeout", "timeout");
    span.expect([(names::RETRANSMITS, is(i64::try_from(here.counter("Tcp/RetransSegs")).expect("few")))]);
    assert!(span.duration_ns() >= 1_000_000_000, "the first SYN alone waits for a second\n{span}");
}

#[test]
fn a_connection_given_up_while_connecting_is_a_span() {
    agent();
    let (here, there) = pair("10.93.0.1/24", "10.93.0.2/24");
    there.nft("type filter hook input priority 0", &["tcp dport 4080 drop"]);
    let silent = SocketAddr::from(([10, 93, 0, 2], 4080));
    here.run(|| drop(raw::connect_later(silent).expect("a socket that connects")));
    never_was(&agent().connection(Kind::Client, 4080), "aborted", "connection_aborted");
}

#[test]
fn a_reset_says_which_end_sent_it() {
    agent();
    for by_client in [true, false] {
        let mut wire = Wire::open();
        let port = wire.port;
        wire.exchange(get("/before/the/reset"), ok("x"));
        let Wire { client, server, .. } = wire;
        let (first, _second) = if by_client { (client, server) } else { (server, client) };
        reset(first);
        for end in expect::ENDS {
            let span = agent().connection(end, port);
            span.expect([
                (names::END, is("reset")),
                (names::CLOSED_BY, is(if by_client { "client" } else { "server" })),
                ("error.type", is("connection_reset")),
            ]);
            assert!(span.failed, "{span}");
        }
    }
}

/// Of what nobody reads the kernel looks at few packets. The last ones are in the same tick of its clock as the end.
#[test]
fn a_connection_of_an_unknown_protocol_tells_all_that_it_carried_however_it_ends() {
    const EXCHANGES: usize = 3_000;
    const SENT: usize = 70;
    const ANSWERED: usize = 300;
    agent();
    let endings: [(_, fn(Wire)); 4] = [
        ("fin", Wire::close),
        ("fin", Wire::close_by_server),
        ("reset", |wire| reset(wire.client)),
        ("reset", |wire| reset(wire.server)),
    ];
    for (how, end) in endings {
        let mut wire = Wire::open();
        let port = wire.port;
        (0..EXCHANGES).for_each(|_| wire.exchange([1; SENT], [2; ANSWERED]));
        end(wire);
        let (sent, answered) = (EXCHANGES * SENT, EXCHANGES * ANSWERED);
        for (end, sent, received) in [(Kind::Client, sent, answered), (Kind::Server, answered, sent)] {
            agent().connection(end, port).expect([
                (names::SENT, is(sent)),
                (names::RECEIVED, is(received)),
                (names::END, is(how)),
            ]);
        }
    }
}

#[test]
fn a_tls_handshake_is_seen_and_named() {
    agent();
    for (version, flag, cipher, is_1_2) in [
        ("1.3", "-tls1_3", "TLS_AES_256_GCM_SHA384", false),
        ("1.2", "-tls1_2", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", true),
    ] {
        let files = TempDir::new("tls");
        let (key, certificate) = (files.path().join("key"), files.path().join("certificate"));
        let make = Program::new("openssl").args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=sni.test",
        ]);
        let _ = make.arg("-keyout").arg(&key).arg("-out").arg(&certificate).run().well();
        let port = port::unused();
        let server = Program::new("openssl").args([
            "s_server",
            "-accept",
            &format!("127.0.0.1:{port}"),
            "-alpn",
            "http/1.1",
            "-www",
        ]);
        let server = server.arg("-key").arg(&key).arg("-cert").arg(&certificate).start();
        server.wait_out("ACCEPT");
        let client = Program::new("openssl").args(["s_client", "-connect", &format!("127.0.0.1:{port}")]);
        let client = client.args(["-servername", "sni.test", "-alpn", "h2,http/1.1", flag]);
        let client = if is_1_2 { client.args(["-cipher", "ECDHE-RSA-AES256-GCM-SHA384"]) } else { client };
        let ended = client.run();
        assert!(ended.stdout.contains("Cipher is "), "no handshake: {ended:?}");
        for end in expect::ENDS {
            let span = agent().connection(end, port);
            span.expect([
                ("server.address", is("sni.test")),
                ("server.port", is(port)),
                ("tls.protocol.name", is("tls")),
                ("tls.protocol.version", is(version)),
                ("tls.cipher", is(cipher)),
                ("wirespan.tls.offered_protocols", is(["h2", "http/1.1"])),
                ("tls.next_protocol", if is_1_2 { is("http/1.1") } else { Want::Absent }),
                (names::REQUESTS, Want::Absent),
            ]);
        }
    }
}

#[test]
fn a_long_connection_is_reported_in_segments_that_share_a_link() {
    let agent = Launch::new().args(["--segment", "1"]).start();
    let mut wire = Wire::open();
    let port = wire.port;
    let of = |end: Kind, spans: &[Arc<Span>]| -> Vec<Arc<Span>> {
        spans.iter().filter(|span| span.is_connection(end) && span.is_on(port)).cloned().collect()
    };
    let (request, response) = (get("/long"), ok("lasting"));
    for segments in 1..=2 {
        wire.exchange(&request, &response);
        for end in expect::ENDS {
            agent.wait("another segment", |spans| (of(end, spans).len() >= segments).then_some(()));
        }
    }
    let number = 3;
    wire.exchange(&request, &response);
    wire.close();
    for end in expect::ENDS {
        let is_last = |span: &Span| span.get(names::END) == Some(&"fin".into());
        let mut segments = agent.wait("the last segment", |spans| {
            let all = of(end, spans);
            all.iter().any(|span| is_last(span)).then_some(all)
        });
        segments.sort_by_key(|span| span.int(names::SEGMENT));
        let first = Arc::clone(&segments[0]);
        assert!(segments.len() >= 3, "{} segments", segments.len());
        for (n, segment) in segments.iter().enumerate() {
            segment.expect([
                (names::SEGMENT, is(n)),
                (names::CONNECTION_ID, Want::Is(first.get(names::CONNECTION_ID).expect("an id").clone())),
                (names::END, is(if n + 1 == segments.len() { "fin" } else { "open" })),
                ("error.type", Want::Absent),
            ]);
            assert_eq!(segment.trace_id, first.trace_id);
            if n > 0 {
                let link = segment.link_to(&first);
                assert_eq!(link.attributes.0.get(names::LINK_METHOD), Some(&"segment".into()), "{segment}");
                assert!(segment.start_ns >= segments[n - 1].end_ns, "segments overlap\n{}\n{segment}", segments[n - 1]);
            }
        }
        let total = |key: &str| segments.iter().map(|span| span.int(key)).sum::<i64>();
        let (asked, answered) = (number * request.len() as i64, number * response.len() as i64);
        let (sent, received) = if end == Kind::Client { (asked, answered) } else { (answered, asked) };
        assert_eq!((total(names::SENT), total(names::RECEIVED)), (sent, received));
        let requests: i64 = segments
            .iter()
            .filter(|span| span.get(names::REQUESTS).is_some())
            .map(|span| span.int(names::REQUESTS))
            .sum();
        assert_eq!(requests, number);
    }
}

#[test]
fn a_connection_that_outlives_the_agent_is_shown_as_open() {
    let agent = Agent::start();
    let mut wire = Wire::open();
    wire.exchange(get("/outlives"), ok("x"));
    agent.pair(wire.port, "/outlives");
    let stopped = agent.stop();
    for end in expect::ENDS {
        let span = stopped.spans.iter().find(|span| span.is_connection(end) && span.is_on(wire.port));
        let span = span.unwrap_or_else(|| panic!("{end:?}: the connection was forgotten"));
        span.expect([(names::END, is("open")), ("error.type", Want::Absent)]);
    }
    // It never noticed.
    wire.exchange(get("/after"), ok("x"));
}

/// Two namespaces with a cable between them.
#[track_caller]
fn pair(left: &str, right: &str) -> (Namespace, Namespace) {
    let (here, there) = (Namespace::new("here"), Namespace::new("there"));
    netns::join(&here, left, &there, right);
    (here, there)
}

#[track_caller]
fn never_was(span: &Span, end: &str, error: &str) {
    span.expect([
        (names::END, is(end)),
        ("error.type", is(error)),
        (names::SENT, is(0)),
        (names::RECEIVED, is(0)),
        (names::CONNECT_DURATION, Want::Absent),
        (names::REQUESTS, Want::Absent),
    ]);
    assert!(span.failed, "{span}");
    expect::is_of_process(span, std::process::id(), &expect::executable(std::process::id()));
}

#[test]
fn a_listener_is_no_connection() {
    agent();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    agent().fence();
    assert!(agent().matching(|span| span.is_on(port)).is_empty());
}
