//! Real servers, real clients: whatever a server is written in, its requests are seen as curl saw them.

use std::sync::OnceLock;

use wirespan_tests::agent::{Agent, Pair};
use wirespan_tests::child::Program;
use wirespan_tests::servers::{self, Server};
use wirespan_tests::span::{Kind, Layer, Span, Value, is};
use wirespan_tests::temp::TempDir;
use wirespan_tests::{curl, expect};

/// More than is copied of any message; curl asks `Expect: 100-continue` before it sends so much.
const LARGE_BODY_BYTES: usize = 2 << 20;

#[test]
fn nginx_is_seen() {
    every_request_is_seen_as_curl_saw_it(
        &servers::nginx(1),
        &["/through", "/hello", "/file", "/status/404", "/status/503"],
    );
}

#[test]
fn nginx_with_two_workers_is_seen() {
    every_request_is_seen_as_curl_saw_it(
        &servers::nginx(2),
        &["/through", "/hello", "/file", "/status/404", "/status/503"],
    );
}

#[test]
fn apache_is_seen() {
    every_request_is_seen_as_curl_saw_it(&servers::apache(), &["/hello", "/nothing/there"]);
}

#[test]
fn python_is_seen() {
    every_request_is_seen_as_curl_saw_it(
        &servers::python(),
        &["/hello", "/bytes/300000", "/status/404", "/status/503"],
    );
}

#[test]
fn node_is_seen() {
    every_request_is_seen_as_curl_saw_it(&servers::node(), &["/hello", "/bytes/300000", "/status/404", "/status/503"]);
}

#[test]
fn go_is_seen() {
    every_request_is_seen_as_curl_saw_it(&servers::go(), &["/hello", "/bytes/300000", "/status/404", "/status/503"]);
}

#[test]
fn every_request_of_wrk_is_a_span() {
    agent();
    // Slow enough that each request can be printed and read here: how fast it may go is the benches' business.
    let server = servers::python();
    let wrk = Program::new("wrk").args([
        "--threads",
        "1",
        "--connections",
        "4",
        "--duration",
        "1s",
        &server.url("/wrk/slow"),
    ]);
    let said = wrk.run().well().stdout;
    let counted = said.lines().find_map(|line| line.trim().split_once(" requests in "));
    let counted: usize = counted.and_then(|(number, _)| number.parse().ok()).expect("wrk says how many");
    // At its end wrk leaves a request open on each connection, which the server may still answer.
    let is_answered = |span: &Span| {
        span.layer == Layer::L7
            && span.kind == Kind::Server
            && span.is_on(server.port)
            && span.get("http.response.status_code") == Some(&Value::Int(200))
    };
    agent().wait("all requests that wrk counted", |spans| {
        (spans.iter().filter(|span| is_answered(span)).count() >= counted).then_some(())
    });
    agent().fence();
    let seen = agent().matching(is_answered).len();
    assert!(counted > 100 && (counted..=counted + 4).contains(&seen), "wrk counted {counted}, {seen} spans");
}

/// One agent for all: the servers' ports keep them apart.
fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(Agent::start)
}

/// Makes GET, HEAD and POST requests; spans and curl must agree on each field.
#[track_caller]
fn every_request_is_seen_as_curl_saw_it(server: &Server, paths: &[&str]) {
    agent();
    let files = TempDir::new("bodies");
    let large = format!("@{}", files.file("large", vec![b'u'; LARGE_BODY_BYTES]).display());
    let executable = expect::executable(server.child.pid());
    let ways: [(&str, &[&str]); 4] = [
        ("GET", &[]),
        ("HEAD", &["--head"]),
        ("POST", &["--data-binary", "some small body"]),
        ("POST", &["--data-binary", &large, "--header", "Content-Type: application/octet-stream"]),
    ];
    for (number, (method, args)) in ways.into_iter().enumerate() {
        // A refused upload is cut off wherever it happens to be: the large body goes to the first path alone.
        let paths = if number == 3 { &paths[..1] } else { paths };
        for path in paths {
            // Path and way, which is in the query, are of one request alone: a client's port may come again.
            let url = server.url(&format!("{path}?way={number}"));
            let mut all = args.to_vec();
            all.push(&url);
            let transfer = curl::curl(&all);
            assert_eq!(transfer.code, 0, "curl failed on {url}");
            let pair = pair_of(server.port, transfer.number("local_port"), &url);
            let wanted = expect::Exchange {
                method,
                status: transfer.number("response_code"),
                request_body: transfer.number("size_upload"),
                response_body: if method == "HEAD" { 0 } else { transfer.number("size_download") },
            };
            // Go sends a long body in chunks, of whose framing nothing is copied but the first.
            let is_long_and_chunked =
                executable.ends_with("go-server") && path.starts_with("/bytes/") && method != "HEAD";
            if is_long_and_chunked {
                expect::is_exchange_with_estimated_body(&pair, &wanted);
            } else {
                expect::is_exchange(&pair, &wanted);
            }
            pair.client.expect([("url.full", is(&url)), ("network.peer.port", is(server.port))]);
            pair.server.expect([("url.path", is(*path)), ("url.query", is(format!("way={number}")))]);
            expect::is_of_process(&pair.client, transfer.pid, std::path::Path::new("/usr/bin/curl"));
            let worker = pair.server.process();
            assert!(expect::belongs_to(worker, server.child.pid()), "{}", pair.server);
            expect::is_of_process(&pair.server, worker, &executable);
            expect::lies_on_its_connection(agent(), &pair.client);
            expect::lies_on_its_connection(agent(), &pair.server);
        }
    }
}

/// The two spans of the one request of a curl, which its port and its URL name.
#[track_caller]
fn pair_of(port: u16, client_port: i64, url: &str) -> Pair {
    let of = |kind, key: &str| {
        agent().span(&format!("{kind:?} span between ports {client_port} and {port} of {url}"), |span| {
            span.layer == Layer::L7
                && span.kind == kind
                && span.is_on(port)
                && span.get(key) == Some(&Value::Int(client_port))
                && asks_for(span, url)
        })
    };
    let [client, server] = expect::ENDS;
    Pair { client: of(client, "network.local.port"), server: of(server, "network.peer.port") }
}

/// Whether the request of the span is for this URL, which a server's span has in parts.
fn asks_for(span: &Span, url: &str) -> bool {
    let text = |key| match span.get(key) {
        Some(Value::Str(text)) => text.as_str(),
        _ => "",
    };
    match span.kind {
        Kind::Client => text("url.full") == url,
        _ => url.ends_with(&format!("{}?{}", text("url.path"), text("url.query"))),
    }
}
