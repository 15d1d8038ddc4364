//! What a user sees first: a `curl` of a local nginx is one trace, within two seconds.

use std::path::Path;
use std::time::SystemTime;

use wirespan_tests::agent::{Agent, Pair};
use wirespan_tests::span::{Kind, Layer, Want, is};
use wirespan_tests::{SPAN_DELAY, curl, expect, names, servers};

#[test]
fn a_curl_of_a_local_nginx_is_one_trace_within_two_seconds() {
    let nginx = servers::nginx(1);
    let agent = Agent::start();
    let began = unix_ns();
    let transfer = curl::curl(&["--data-binary", "twelve bytes", &nginx.url("/first?page=2")]);
    let ended = unix_ns();
    assert_eq!((transfer.code, transfer.number("response_code")), (0, 200));

    let both = agent.wait_within(SPAN_DELAY, "both spans of the first request", |spans| {
        let of = |kind| spans.iter().find(|s| s.layer == Layer::L7 && s.kind == kind && s.is_on(nginx.port)).cloned();
        Some(Pair { client: of(Kind::Client)?, server: of(Kind::Server)? })
    });
    let Pair { client, server } = &both;
    let client_port = transfer.number("local_port");
    let version = transfer.told("curl_version").trim_start_matches("libcurl/").to_owned();
    client.expect([
        ("url.full", is(nginx.url("/first?page=2"))),
        ("url.path", Want::Absent),
        ("server.address", is("127.0.0.1")),
        ("server.port", is(nginx.port)),
        ("network.transport", is("tcp")),
        ("network.type", is("ipv4")),
        ("network.protocol.version", is("1.1")),
        ("network.local.address", is("127.0.0.1")),
        ("network.local.port", is(client_port)),
        ("network.peer.address", is("127.0.0.1")),
        ("network.peer.port", is(nginx.port)),
        ("user_agent.original", is(format!("curl/{}", version.split(' ').next().unwrap_or_default()))),
        ("client.address", Want::Absent),
        (names::LINK_METHOD, Want::Absent),
    ]);
    server.expect([
        ("url.scheme", is("http")),
        ("url.path", is("/first")),
        ("url.query", is("page=2")),
        ("url.full", Want::Absent),
        ("client.address", is("127.0.0.1")),
        ("server.address", is("127.0.0.1")),
        ("server.port", is(nginx.port)),
        ("network.local.port", is(nginx.port)),
        ("network.peer.port", is(client_port)),
        ("network.protocol.version", is("1.1")),
    ]);
    assert_eq!(client.parent, None, "nobody is known to have caused it\n{client}");
    expect::is_exchange(&both, &expect::Exchange { method: "POST", status: 200, request_body: 12, response_body: 5 });

    // Whose: curl itself, and nginx's worker.
    expect::is_of_process(client, transfer.pid, Path::new("/usr/bin/curl"));
    let worker = server.process();
    assert!(worker != nginx.child.pid() && expect::belongs_to(worker, nginx.child.pid()), "{server}");
    expect::is_of_process(server, worker, &expect::executable(worker));

    // When: inside what the clock and curl say.
    const CLOCKS_DIFFER_NS: u64 = 20_000_000;
    assert!(client.start_ns + CLOCKS_DIFFER_NS >= began && client.end_ns <= ended + CLOCKS_DIFFER_NS, "{client}");
    let sending = transfer.nanoseconds("time_total") - transfer.nanoseconds("time_connect");
    assert!(
        client.duration_ns() > 0 && client.duration_ns() <= sending + 1_000_000,
        "curl took {sending} ns\n{client}"
    );
    assert!(server.duration_ns() > 0, "{server}");

    // On what: the TCP connection, at both ends, with what curl counted.
    for span in [client, server] {
        expect::lies_on_its_connection(&agent, span);
    }
    // So small a body goes with the head: curl counts it there.
    let sent = transfer.number("size_request");
    let received = transfer.number("size_header") + transfer.number("size_download");
    agent.connection(Kind::Client, nginx.port).expect([
        (names::SENT, is(sent)),
        (names::RECEIVED, is(received)),
        ("error.type", Want::Absent),
    ]);
    agent.connection(Kind::Server, nginx.port).expect([
        (names::SENT, is(received)),
        (names::RECEIVED, is(sent)),
        ("error.type", Want::Absent),
    ]);

    let stopped = agent.stop();
    stopped.ledger.balances();
    assert_eq!(stopped.ledger.records.dropped, 0, "{:?}", stopped.ledger);
}

#[test]
fn processes_that_start_later_are_seen_too() {
    let agent = Agent::start();
    let nginx = servers::nginx(2);
    for number in 0..10 {
        let path = format!("/later/{number}");
        assert_eq!(curl::curl(&[&nginx.url(&path)]).code, 0);
        let pair = agent.pair(nginx.port, &path);
        expect::is_exchange(&pair, &expect::Exchange { method: "GET", status: 200, request_body: 0, response_body: 5 });
        assert!(expect::belongs_to(pair.server.process(), nginx.child.pid()), "{}", pair.server);
    }
}

fn unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(now.as_nanos()).expect("nanoseconds of this century fit")
}
