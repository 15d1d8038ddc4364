//! What was there before the agent: old connections, old processes; and what is gone before it can look.
//!
//! All old connections are made first, then one agent starts, then the tests go on with theirs.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::sync::{Mutex, OnceLock, PoisonError};

use wirespan_tests::agent::Agent;
use wirespan_tests::child::Program;
use wirespan_tests::expect::{self, Exchange, is_exchange};
use wirespan_tests::raw::{Wire, get, ok, reset};
use wirespan_tests::servers::{self, Server};
use wirespan_tests::span::{Kind, Want, is};
use wirespan_tests::temp::TempDir;
use wirespan_tests::{curl, names};

/// The agent, and what is older than it.
struct Scene {
    agent: Agent,
    nginx: Server,
    wires: Mutex<HashMap<&'static str, Wire>>,
    listeners: Vec<TcpListener>,
}

fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let nginx = servers::nginx(1);
        let mut wires = HashMap::new();
        let mut listeners = Vec::new();
        for name in ["idle", "unused", "six", "in a response", "in a request", "in a stream", "pipelined", "reset"] {
            let (wire, listener) = Wire::with_listener(if name == "six" {
                Ipv6Addr::LOCALHOST.into()
            } else {
                Ipv4Addr::LOCALHOST.into()
            });
            wires.insert(name, wire);
            listeners.push(listener);
        }
        // The listener of this one is closed at once.
        wires.insert("listener closed", Wire::open());
        for name in ["idle", "six", "listener closed", "pipelined"] {
            wire_of(&mut wires, name).exchange(get("/before"), ok("before"));
        }
        wire_of(&mut wires, "in a response").ask(get("/begun"));
        wire_of(&mut wires, "in a response").answer("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n0123456789");
        wire_of(&mut wires, "in a request").ask("POST /half HTTP/1.1\r\nHost: w\r\nContent-Len");
        wire_of(&mut wires, "in a stream").ask(get("/stream"));
        wire_of(&mut wires, "in a stream").answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        Scene { agent: Agent::start(), nginx, wires: Mutex::new(wires), listeners }
    })
}

fn wire_of<'a>(wires: &'a mut HashMap<&'static str, Wire>, name: &str) -> &'a mut Wire {
    wires.get_mut(name).expect("it was made")
}

/// The old connection of this name.
#[track_caller]
fn old(name: &str) -> Wire {
    let wire = scene().wires.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    wire.expect("each test takes its own connection, once")
}

#[track_caller]
fn the_first_request_is_captured(wire: &mut Wire) {
    let agent = &scene().agent;
    let (port, client_port) = (wire.port, wire.client_port);
    wire.exchange(get("/first"), ok("first"));
    let pair = agent.pair(port, "/first");
    for span in [&pair.client, &pair.server] {
        span.expect([
            ("http.request.method", is("GET")),
            ("http.response.status_code", is(200)),
            ("http.response.body.size", is(5)),
            ("server.address", is("wire.test")),
            ("error.type", Want::Absent),
        ]);
        expect::is_of_process(span, std::process::id(), &expect::executable(std::process::id()));
        expect::lies_on_its_connection_so_far(span);
    }
    pair.client.expect([("network.local.port", is(client_port)), ("network.peer.port", is(port))]);
    pair.server.expect([("network.local.port", is(port)), ("network.peer.port", is(client_port))]);
    assert_eq!(pair.server.trace_id, pair.client.trace_id);
    assert_eq!(pair.server.parent.as_deref(), Some(pair.client.span_id.as_str()), "{}", pair.server);
    pair.server.expect([(names::LINK_METHOD, is("tcp-seq"))]);
    wire.exchange(get("/second"), ok("second"));
    let pair = agent.pair(port, "/second");
    is_exchange_on_an_old_connection(&pair, 6);
    pair.server.expect([(names::RESYNCHRONISED, Want::Absent)]);
}

#[track_caller]
fn is_exchange_on_an_old_connection(pair: &wirespan_tests::agent::Pair, response_body: i64) {
    for span in [&pair.client, &pair.server] {
        span.expect([
            ("http.request.method", is("GET")),
            ("http.response.status_code", is(200)),
            ("http.response.body.size", is(response_body)),
            ("error.type", Want::Absent),
        ]);
    }
    assert_eq!(pair.server.parent.as_deref(), Some(pair.client.span_id.as_str()), "{}", pair.server);
}

#[test]
fn the_first_request_on_an_old_keep_alive_connection_is_captured() {
    scene();
    the_first_request_is_captured(&mut old("idle"));
}

#[test]
fn the_first_request_ever_on_an_old_connection_is_captured() {
    scene();
    the_first_request_is_captured(&mut old("unused"));
}

#[test]
fn an_old_connection_knows_its_ends_when_its_listener_is_gone() {
    scene();
    the_first_request_is_captured(&mut old("listener closed"));
}

#[test]
fn an_old_ipv6_connection_is_captured() {
    scene();
    the_first_request_is_captured(&mut old("six"));
}

#[test]
fn an_old_connection_may_pipeline() {
    let scene = scene();
    let mut wire = old("pipelined");
    wire.ask((0..3).map(|n| get(&format!("/old/{n}"))).collect::<String>());
    wire.answer((0..3).map(|_| ok("piped")).collect::<String>());
    for n in 0..3 {
        is_exchange_on_an_old_connection(&scene.agent.pair(wire.port, &format!("/old/{n}")), 5);
    }
}

#[test]
fn an_old_connection_that_is_reset_ends_at_both_ends() {
    let Wire { client, server, port, .. } = old("reset");
    // Nothing of it ever passes but the reset.
    reset(client);
    for end in expect::ENDS {
        scene().agent.connection(end, port).expect([(names::END, is("reset")), (names::REQUESTS, Want::Absent)]);
    }
    drop(server);
}

#[test]
fn a_connection_joined_in_a_response_resynchronises_at_the_next_message_and_says_so() {
    joined_in_the_middle("in a response", |wire| wire.answer("0123456789"));
}

#[test]
fn a_connection_joined_in_a_request_resynchronises_at_the_next_message_and_says_so() {
    joined_in_the_middle("in a request", |wire| {
        wire.ask("gth: 4\r\n\r\nbody");
        wire.answer(ok("halved"));
    });
}

#[test]
fn a_connection_joined_in_a_chunked_stream_resynchronises_at_the_next_message_and_says_so() {
    joined_in_the_middle("in a stream", |wire| {
        wire.answer("6\r\nHTTP/1\r\n");
        wire.answer("0\r\n\r\n");
    });
}

#[track_caller]
fn joined_in_the_middle(name: &str, rest: impl FnOnce(&mut Wire)) {
    let agent = &scene().agent;
    let mut wire = old(name);
    rest(&mut wire);
    wire.exchange(get("/next"), ok("next"));
    let pair = agent.pair(wire.port, "/next");
    is_exchange_on_an_old_connection(&pair, 4);
    pair.client.expect([(names::RESYNCHRONISED, is(true))]);
    pair.server.expect([(names::RESYNCHRONISED, is(true))]);
    wire.exchange(get("/after"), ok("after"));
    let pair = agent.pair(wire.port, "/after");
    is_exchange_on_an_old_connection(&pair, 5);
    pair.server.expect([(names::RESYNCHRONISED, Want::Absent)]);
}

#[test]
fn a_new_connection_to_an_old_server_is_seen_from_its_beginning() {
    let scene = scene();
    let transfer = curl::curl(&[&scene.nginx.url("/new")]);
    assert_eq!(transfer.code, 0);
    let pair = scene.agent.pair(scene.nginx.port, "/new");
    is_exchange(&pair, &Exchange { method: "GET", status: 200, request_body: 0, response_body: 5 });
    assert!(expect::belongs_to(pair.server.process(), scene.nginx.child.pid()));
    let address = scene.listeners[0].local_addr().expect("it is bound");
    let mut wire = Wire::through(&scene.listeners[0], || TcpStream::connect(address));
    wire.exchange(get("/new/wire"), ok("x"));
    is_exchange(
        &scene.agent.pair(wire.port, "/new/wire"),
        &Exchange { method: "GET", status: 200, request_body: 0, response_body: 1 },
    );
}

#[test]
fn a_process_that_is_gone_at_once_still_has_its_name() {
    let scene = scene();
    // Copies of curl under other names: each lives for as long as one transfer takes, and nobody has seen it before.
    let files = TempDir::new("brief");
    for number in 0..20 {
        let name = format!("brief-{number}");
        let copy = files.program("/usr/bin/curl".as_ref(), &name);
        let path = format!("/brief/{number}");
        let transfer = curl::run(Program::new(&copy), &[&scene.nginx.url(&path)]);
        assert_eq!(transfer.code, 0);
        fs::remove_file(&copy).expect("it is removed");
        let client = scene.agent.request(Kind::Client, scene.nginx.port, &path);
        client.expect_resource([
            ("process.pid", is(transfer.pid)),
            ("process.executable.name", is(&name)),
            ("service.name", is(&name)),
        ]);
    }
}

#[test]
fn a_process_says_itself_what_service_it_is() {
    let scene = scene();
    let program = Program::new("curl")
        .env("OTEL_SERVICE_NAME", "shop front")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.version=1.2");
    // Long enough to be looked at: the response comes after the agent has seen the request's connection.
    let mut listening = program.args(["--silent", "--max-time", "15"]);
    let listener = wirespan_tests::port::listen(Ipv4Addr::LOCALHOST.into());
    let port = listener.local_addr().expect("it is bound").port();
    listening = listening.arg(format!("http://127.0.0.1:{port}/named"));
    let child = listening.start();
    let (mut server, _) = listener.accept().expect("curl connects");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut server, &mut byte).expect("a request");
        head.push(byte[0]);
    }
    scene.agent.fence();
    std::io::Write::write_all(&mut server, ok("named").as_bytes()).expect("answering");
    let _ = child.wait().well();
    let client = scene.agent.request(Kind::Client, port, "/named");
    client.expect_resource([
        ("service.name", is("shop front")),
        ("deployment.environment.name", is("test")),
        ("service.version", is("1.2")),
        ("process.executable.name", is("curl")),
    ]);
}
