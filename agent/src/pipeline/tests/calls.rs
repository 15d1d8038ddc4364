//! Requests: their spans, and how the two ends of a call find each other.

use wirespan_common::record::{reason, segment};

use super::world::{Call, NGINX, US, World, print, text};
use crate::config::Options;
use crate::flow::{Role, Side};
use crate::ledger::Count;
use crate::trace::span::{Kind, Span};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn world() -> World {
    World::new(Options::default())
}

fn is_joined(client: &Span, server: &Span) -> bool {
    server.parent == Some(client.span_id) && server.trace_id == client.trace_id
}

#[test]
fn a_call_is_one_trace() {
    let mut world = world();
    Call::new(1).open(&mut world).get(&mut world, "/a?token=x").close(&mut world);
    insta::assert_snapshot!(print(&world.out.spans));
    assert_eq!(world.ledger.records.delivered(), world.records.len() as u64 - 3, "facts are not counted");
}

#[test]
fn requests_of_a_connection_are_joined_one_by_one() {
    let mut world = world();
    let mut call = Call::new(1);
    call.open(&mut world).get(&mut world, "/1").get(&mut world, "/2").get(&mut world, "/3");
    let (clients, servers) = (world.requests(Kind::Client), world.requests(Kind::Server));
    assert_eq!((clients.len(), servers.len()), (3, 3));
    for (client, server) in clients.iter().zip(&servers) {
        assert!(is_joined(client, server));
        assert_eq!(text(server, "wirespan.link.method").as_deref(), Some("tcp-seq"));
        assert_eq!(text(server, "wirespan.link.confidence").as_deref(), Some("Double(1.0)"));
        assert_eq!((client.parent, text(client, "wirespan.link.method")), (None, None));
        assert!(client.start_unix_ns <= server.start_unix_ns && server.end_unix_ns <= client.end_unix_ns);
    }
    assert_ne!(clients[0].trace_id, clients[1].trace_id);
}

#[test]
fn pipelined_requests_are_joined_too() {
    let mut world = world();
    let mut call = Call::new(1);
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    call.open(&mut world).request(&mut world, &get.repeat(3)).response(&mut world, &answer.repeat(3));
    let (clients, servers) = (world.requests(Kind::Client), world.requests(Kind::Server));
    assert_eq!(clients.len(), 3);
    assert!(clients.iter().zip(&servers).all(|(client, server)| is_joined(client, server)));
}

#[test]
fn a_request_is_joined_if_its_servers_end_is_told_about_first() {
    let mut world = world();
    let mut call = Call::new(1);
    call.open(&mut world);
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let at_server = call.segment(Role::Server, Side::Client, 0, get).expect("a server");
    call.time += 10 * US;
    let at_client = call.segment(Role::Client, Side::Client, 0, get).expect("a client");
    world.push(at_server);
    world.push(at_client);
    call.sent[0] = get.len() as u64;
    call.response(&mut world, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(is_joined(world.requests(Kind::Client)[0], world.requests(Kind::Server)[0]));
}

#[test]
fn sequence_numbers_may_wrap_between_and_in_requests() {
    let mut world = world();
    let mut call = Call::new(1);
    call.first_seq = [u32::MAX - 10, u32::MAX - 50];
    call.open(&mut world).get(&mut world, "/1").get(&mut world, "/2");
    let (clients, servers) = (world.requests(Kind::Client), world.requests(Kind::Server));
    assert!(is_joined(clients[0], servers[0]) && is_joined(clients[1], servers[1]));
}

#[test]
fn connections_joined_in_the_middle_are_joined_by_the_other_directions_number() {
    // What was seen of the connection before: by the client's end, by the server's end.
    for [client_saw_it, server_saw_it] in [[false, false], [false, true], [true, false]] {
        let mut world = world();
        let mut call = Call::new(1);
        let cookies = (call.client, call.server);
        if !client_saw_it {
            call.client = 0;
        }
        if !server_saw_it {
            call.server = 0;
        }
        call.open(&mut world).get(&mut world, "/before");
        call.joined_at = [(!client_saw_it).then_some(call.sent), (!server_saw_it).then_some(call.sent)];
        (call.client, call.server) = cookies;
        call.get(&mut world, "/1").get(&mut world, "/2");
        let last = |kind| world.requests(kind).split_off(world.requests(kind).len() - 2);
        for (client, server) in last(Kind::Client).iter().zip(last(Kind::Server)) {
            assert!(is_joined(client, server), "{client_saw_it} {server_saw_it}");
            assert_eq!(text(server, "wirespan.link.confidence").as_deref(), Some("Double(0.99)"));
        }
        let joined = if server_saw_it { Kind::Client } else { Kind::Server };
        assert_eq!(text(last(joined)[0], "wirespan.resynchronised").as_deref(), Some("Bool(true)"));
        assert_eq!(text(last(joined)[1], "wirespan.resynchronised"), None);
    }
}

/// The record of a segment without flags: as it is written before the handshake is known to be over.
fn without_flags(mut record: Vec<u8>, gone: u32) -> Vec<u8> {
    let flags = std::mem::offset_of!(wirespan_common::record::Segment, flags);
    let kept = u32::from_ne_bytes(record[flags..flags + 4].try_into().expect("four bytes")) & !gone;
    record[flags..flags + 4].copy_from_slice(&kept.to_ne_bytes());
    record
}

#[test]
fn a_response_is_not_taken_for_that_of_a_request_before_the_probes_were_all_there() {
    let mut world = world();
    let mut call = Call::new(1);
    call.server = 0;
    let client = call.client;
    // Requests are seen leaving; of the first responses only that they were acknowledged.
    for (path, is_answer_seen) in [("/1", false), ("/2", false), ("/3", false), ("/4", true)] {
        call.joined_at[0] = Some([0, call.sent[1]]);
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n");
        let mut record = call.segment(Role::Client, Side::Client, call.sent[0], request.as_bytes()).expect("a client");
        let peer_time = std::mem::offset_of!(wirespan_common::record::Segment, peer_time_ns);
        record[peer_time..peer_time + 8].fill(0);
        world.push(record);
        call.sent[0] += request.len() as u64;
        call.time += 100 * US;
        call.client = if is_answer_seen { client } else { 0 };
        call.response(&mut world, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        call.client = client;
    }
    call.get(&mut world, "/5");
    let seen: Vec<_> = world
        .requests(Kind::Client)
        .into_iter()
        .map(|span| {
            let path = text(span, "url.full").expect("a URL");
            (path.chars().next_back(), text(span, "http.response.status_code"), span.end_unix_ns - span.start_unix_ns)
        })
        .collect();
    let lost = |path| (Some(path), None, 240 * US);
    let answered = |path, status: &str, us| (Some(path), Some(format!("Int({status})")), us * US);
    assert_eq!(seen, [lost('1'), lost('2'), lost('3'), answered('4', "404", 140), answered('5', "200", 160)]);
}

#[test]
fn a_first_request_that_comes_before_the_record_of_its_connection_stands_on_firm_ground() {
    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop\r\n\r\n";
    for gone in [0, segment::FROM_START | segment::PASSIVE] {
        let mut world = world();
        let mut call = Call::new(1);
        call.server = 0;
        call.open(&mut world).request(&mut world, REQUEST);
        call.server = 12;
        let first = call.segment(Role::Server, Side::Client, 0, REQUEST.as_bytes()).expect("a server");
        world.push(without_flags(first, gone));
        if gone != 0 {
            // It follows at once. Where the flags are there, even its loss does no harm.
            let opened = call.socket(Role::Server, reason::OPEN);
            call.emit(&mut world, Role::Server, opened);
        }
        call.response(&mut world, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let (client, server) = (world.requests(Kind::Client)[0], world.requests(Kind::Server)[0]);
        assert!(is_joined(client, server), "{gone}");
        assert_eq!(text(server, "wirespan.resynchronised"), None, "{gone}");
        assert_eq!(text(server, "wirespan.link.confidence").as_deref(), Some("Double(1.0)"), "{gone}");
        assert_eq!(world.ledger.counted(Count::Resynchronised), 0, "{gone}");
    }
}

#[test]
fn a_request_in_the_syn_is_joined() {
    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop\r\n\r\n";
    let mut world = world();
    let mut call = Call::new(1);
    let asked = call.segment(Role::Client, Side::Client, 0, REQUEST.as_bytes()).expect("a client");
    let peer = std::mem::offset_of!(wirespan_common::record::Segment, peer_next_seq);
    let mut asked = without_flags(asked, segment::FROM_START);
    asked[peer..peer + 4].fill(0);
    world.push(asked);
    let client = std::mem::take(&mut call.client);
    call.open(&mut world).request(&mut world, REQUEST);
    call.client = client;
    let opened = call.socket(Role::Client, reason::OPEN);
    call.emit(&mut world, Role::Client, opened);
    call.response(&mut world, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let (client, server) = (world.requests(Kind::Client)[0], world.requests(Kind::Server)[0]);
    assert!(is_joined(client, server));
    assert_eq!(text(client, "wirespan.resynchronised"), None);
    assert_eq!(text(server, "wirespan.link.confidence").as_deref(), Some("Double(1.0)"));
}

#[test]
fn a_request_is_found_after_the_records_of_an_earlier_call_were_lost() {
    let mut world = world();
    let mut call = Call::new(1);
    let (client, server) = (call.client, call.server);
    call.open(&mut world);
    (call.client, call.server) = (0, 0);
    call.get(&mut world, "/lost");
    (call.client, call.server) = (client, server);
    call.get(&mut world, "/");
    let (client, server) = (world.requests(Kind::Client)[0], world.requests(Kind::Server)[0]);
    assert!(is_joined(client, server));
    assert_eq!(text(server, "url.path").as_deref(), Some("/"));
    assert_eq!(text(server, "wirespan.resynchronised").as_deref(), Some("Bool(true)"));
}

#[test]
fn two_clients_that_could_be_meant_are_no_parents() {
    let mut world = world();
    let (mut one, mut two) = (Call::new(1), Call::new(2));
    two.first_seq = one.first_seq;
    two.server = 0;
    for call in [&mut one, &mut two] {
        call.joined_at = [Some([500, 500]); 2];
        call.sent = [500, 500];
    }
    two.request(&mut world, "GET / HTTP/1.1\r\n\r\n");
    one.get(&mut world, "/");
    let server = world.requests(Kind::Server)[0];
    assert_eq!((server.parent, text(server, "wirespan.link.method")), (None, None));
    assert_eq!(world.ledger.counted(Count::AmbiguousJoins), 1);
}

#[test]
fn a_server_whose_client_is_elsewhere_is_a_root() {
    let mut world = world();
    let mut call = Call::new(1);
    call.client = 0;
    call.open(&mut world).get(&mut world, "/");
    assert_eq!(world.requests(Kind::Server)[0].parent, None);
}

#[test]
fn the_context_that_the_application_sent_decides() {
    let mut world = world();
    let mut call = Call::new(1);
    call.open(&mut world);
    call.request(
        &mut world,
        &format!("GET / HTTP/1.1\r\nHost: a\r\ntraceparent: {TRACEPARENT}\r\ntracestate: v=1\r\n\r\n"),
    );
    call.response(&mut world, "HTTP/1.1 204 No Content\r\n\r\n");
    let (client, server) = (world.requests(Kind::Client)[0], world.requests(Kind::Server)[0]);
    for span in [client, server] {
        assert_eq!(span.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(span.parent.map(|id| id.to_string()).as_deref(), Some("b7ad6b7169203331"));
        assert_eq!(text(span, "wirespan.link.method").as_deref(), Some("traceparent"));
        assert_eq!((span.flags, span.trace_state.as_str(), span.parent_is_remote), (1, "v=1", true));
    }
    let beside: Vec<_> = server.links().map(|link| (link.trace_id, link.span_id)).collect();
    assert!(beside.contains(&(client.trace_id, client.span_id)), "the local client is linked to");
}

#[test]
fn b3_decides_where_there_is_no_traceparent() {
    let mut world = world();
    let mut call = Call::new(1);
    call.open(&mut world);
    call.request(&mut world, "GET / HTTP/1.1\r\nb3: 0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\r\n\r\n");
    call.response(&mut world, "HTTP/1.1 204 No Content\r\n\r\n");
    let server = world.requests(Kind::Server)[0];
    assert_eq!(server.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((text(server, "wirespan.link.method").as_deref(), server.flags), (Some("b3"), 0));
}

#[test]
fn a_request_refers_to_its_connection() {
    let mut world = world();
    Call::new(1).open(&mut world).get(&mut world, "/").close(&mut world);
    for (kind, role) in [(Kind::Client, "client"), (Kind::Server, "server")] {
        let (request, connection) = (world.requests(kind)[0], world.connections(role)[0]);
        let link = request.links().next().expect("a link");
        assert_eq!((link.trace_id, link.span_id), (connection.trace_id, connection.span_id));
        assert_eq!(text(request, "wirespan.connection.id"), text(connection, "wirespan.connection.id"));
        assert_ne!(request.trace_id, connection.trace_id);
        assert!(connection.start_unix_ns <= request.start_unix_ns && request.end_unix_ns <= connection.end_unix_ns);
    }
}

#[test]
fn a_request_line_may_come_byte_by_byte() {
    let mut world = world();
    let mut call = Call::new(1);
    call.open(&mut world);
    for letter in "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n".chars() {
        call.request(&mut world, &letter.to_string());
    }
    call.response(&mut world, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let (client, server) = (world.requests(Kind::Client)[0], world.requests(Kind::Server)[0]);
    assert!(is_joined(client, server));
    assert_eq!(client.start_unix_ns, 1_000 * US + 50 * US + 20 * US, "begins with its first byte");
    assert_eq!(text(client, "wirespan.resynchronised"), None);
}

#[test]
fn a_request_that_dies_with_its_connection_says_how() {
    use wirespan_common::record::socket::{RESET_RECEIVED, RESET_SENT};
    let mut world = world();
    let mut call = Call::new(1);
    call.open(&mut world).request(&mut world, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    call.end(&mut world, [RESET_RECEIVED, RESET_SENT], 0);
    for kind in [Kind::Client, Kind::Server] {
        assert_eq!(text(world.requests(kind)[0], "error.type").as_deref(), Some("connection_reset"));
    }
    assert!(is_joined(world.requests(Kind::Client)[0], world.requests(Kind::Server)[0]));
}

#[test]
fn a_span_belongs_to_its_process() {
    let mut world = world();
    Call::new(1).open(&mut world).get(&mut world, "/");
    assert_eq!(world.requests(Kind::Client)[0].resource.service, "curl");
    let server = world.requests(Kind::Server)[0];
    assert_eq!(server.resource.service, "nginx");
    let pid = server.resource.attributes.iter().find(|attribute| attribute.key == "process.pid");
    assert_eq!(pid.map(|pid| pid.value.clone()), Some(i64::from(NGINX).into()));
}

/// What is said on a connection from its start, one message after the other, and the spans of both ends.
fn check(name: &str, messages: &[(Side, &str)]) {
    let mut world = world();
    let mut call = Call::new(1);
    call.open(&mut world);
    for (sender, text) in messages {
        call.send(&mut world, *sender, text);
    }
    call.close(&mut world);
    insta::assert_snapshot!(name, print(&world.out.spans));
}

#[test]
fn exchanges_of_all_kinds() {
    use Side::{Client, Server};
    check(
        "not_found",
        &[
            (Client, "GET /x HTTP/1.0\r\nUser-Agent: test/1\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"),
            (Server, "HTTP/1.0 404 Not Found\r\n\r\nno such thing"),
        ],
    );
    check(
        "odd_method_and_absolute_target",
        &[
            (
                Client,
                "PROPFIND http://u:p@dav.example:81/d?key=k HTTP/1.1\r\nHost: dav.example:81\r\nX-Request-Id: r1\r\n\r\n",
            ),
            (Server, "HTTP/1.1 207 Multi-Status\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        ],
    );
    check(
        "upgrade",
        &[
            (Client, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
            (Server, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
            (Server, "\u{1}frame"),
        ],
    );
    check(
        "tunnel",
        &[
            (Client, "CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\n\r\n"),
            (Server, "HTTP/1.1 200 OK\r\n\r\n"),
            (Client, "secret"),
        ],
    );
    check("no_response", &[(Client, "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")]);
}
