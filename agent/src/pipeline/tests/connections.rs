//! Connections: their spans, what is traced, what the kernel is told.

use wirespan_common::mode::{Mode, Order};
use wirespan_common::record::{reason, segment, socket};
use zerocopy::IntoBytes;

use super::world::{AGENT, Call, NGINX, S, World, print, text};
use crate::config::{Connections, Options, Selection};
use crate::flow::fact::{Fact, Process};
use crate::flow::{Cookie, Role, Side};
use crate::ledger::{Count, Reason, Stage};
use crate::trace::span::{Kind, Scope, Status, Value};

fn world() -> World {
    World::new(Options::default())
}

/// The last thing that the kernel was told about a socket.
pub(super) fn mode(world: &World, cookie: u64) -> Option<Mode> {
    world.out.steering.iter().rev().find(|(told, _)| *told == Cookie(cookie)).map(|&(_, order)| order.mode)
}

#[test]
fn both_ends_of_a_connection_are_one_trace() {
    let mut world = world();
    Call::new(1).open(&mut world).close(&mut world);
    insta::assert_snapshot!(print(&world.out.spans));
    let (client, server) = (world.connections("client")[0], world.connections("server")[0]);
    assert_eq!((server.parent, server.trace_id), (Some(client.span_id), client.trace_id));
    assert_eq!(client.parent, None);
}

#[test]
fn a_connection_that_was_refused_is_a_span() {
    let mut world = world();
    let call = Call::new(1);
    let mut record = call.socket(Role::Client, reason::CLOSE);
    record.flags = socket::ACTIVE;
    record.error = 111;
    record.connect_ns = call.time - 500;
    call.emit(&mut world, Role::Client, record);
    let span = world.connections("client")[0];
    assert_eq!((span.status, text(span, "error.type").as_deref()), (Status::Error, Some("connection_refused")));
    assert_eq!(span.end_unix_ns - span.start_unix_ns, 500);
    assert!(world.out.steering.is_empty(), "it is gone");
}

#[test]
fn a_socket_that_tries_again_is_another_connection() {
    let mut world = world();
    let mut call = Call::new(1);
    for _ in 0..2 {
        let mut record = call.socket(Role::Client, reason::CLOSE);
        record.flags = socket::ACTIVE;
        record.error = 111;
        record.connect_ns = call.time;
        call.time += 500;
        call.emit(&mut world, Role::Client, record);
        call.time += S;
    }
    let spans = world.connections("client");
    assert_eq!(spans.len(), 2);
    assert_ne!((spans[0].span_id, spans[0].trace_id), (spans[1].span_id, spans[1].trace_id));
}

#[test]
fn a_long_connection_is_reported_in_segments() {
    let mut world = world();
    let mut call = Call::new(1);
    call.server = 0;
    call.open(&mut world).get(&mut world, "/1").report(&mut world);
    call.time = 61 * S;
    call.get(&mut world, "/2").report(&mut world);
    call.time = 62 * S;
    call.report(&mut world);
    call.time = 100 * S;
    call.close(&mut world);
    let spans = world.connections("client");
    let segments: Vec<_> = spans.iter().map(|span| text(span, "wirespan.connection.segment")).collect();
    assert_eq!(segments, [Some("Int(0)".to_owned()), Some("Int(1)".to_owned())]);
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id));
    assert!(spans.iter().all(|span| text(span, "wirespan.connection.id") == Some(spans[0].span_id.to_string())));
    assert_eq!(spans[1].links().map(|link| link.span_id).collect::<Vec<_>>(), [spans[0].span_id]);
    assert_eq!(spans[0].end_unix_ns, spans[1].start_unix_ns);
    let sum = |key| spans.iter().map(|span| if let Some(Value::Int(n)) = span.get(key) { *n } else { 0 }).sum::<i64>();
    assert_eq!(sum("wirespan.tcp.sent"), call.sent[0].cast_signed());
    assert_eq!(sum("wirespan.tcp.received"), call.sent[1].cast_signed());
    assert_eq!(sum("wirespan.connection.requests"), 2);
}

#[test]
fn connections_may_be_turned_off_or_only_counted() {
    for connections in [Connections::Off, Connections::Metrics] {
        let mut world = World::new(Options { connections, ..Options::default() });
        Call::new(1).open(&mut world).get(&mut world, "/").close(&mut world);
        assert!(world.out.spans.iter().all(|span| span.scope == Scope::L7 && span.links().next().is_none()));
        assert_eq!(world.out.spans.len(), 2);
        let totals: Vec<_> = world.pipeline.connection_totals().iter().collect();
        if connections == Connections::Metrics {
            assert_eq!(totals.len(), 2);
            assert!(totals.iter().all(|total| (total.opened, total.closed, total.failed) == (1, 1, 0)));
            assert_eq!((totals[0].sent, totals[0].received), (totals[1].received, totals[1].sent));
            assert!(totals[0].sent > 0);
        } else {
            assert!(totals.is_empty());
        }
    }
}

#[test]
fn a_connection_is_counted_for_the_process_that_accepts_it() {
    const WORKER: u32 = NGINX + 1;
    let mut world = World::new(Options { connections: Connections::Metrics, ..Options::default() });
    let mut call = Call::new(1);
    call.client = 0;
    call.open(&mut world).report(&mut world);
    call.tgids[1] = WORKER;
    call.get(&mut world, "/").close(&mut world);
    world.fact(&Fact::Process(Process { tgid: WORKER, start_ns: 1, name: "worker".to_owned(), ..Process::default() }));
    let totals: Vec<_> = world.pipeline.connection_totals().iter().collect();
    assert_eq!(totals.len(), 1, "{totals:?}");
    assert_eq!((totals[0].opened, totals[0].closed), (1, 1));
    assert_eq!((totals[0].received, totals[0].sent), (call.sent[0], call.sent[1]));
}

#[test]
fn the_kernel_is_told_how_much_to_copy() {
    let mut world = world();
    let mut call = Call::new(1);
    call.open(&mut world).get(&mut world, "/");
    assert_eq!((mode(&world, call.client), mode(&world, call.server)), (Some(Mode::Heads), Some(Mode::Heads)));

    let mut other = Call::new(2);
    other.open(&mut world);
    for _ in 0..4 {
        other.request(&mut world, "\0\u{1}binary").response(&mut world, "\0\u{2}binary");
    }
    assert_eq!(mode(&world, other.client), Some(Mode::Opaque));
    assert_eq!(world.ledger.counted(Count::UnknownProtocol), 2);

    let told = world.out.steering.len();
    call.get(&mut world, "/");
    assert_eq!(world.out.steering.len(), told, "once is enough");
}

#[test]
fn of_a_process_that_only_answers_the_kernel_tells_no_readers_and_copies_heads_alone() {
    const MANY: usize = 256;
    let order = |world: &World, cookie| {
        world.out.steering.iter().rev().find(|(told, _)| *told == Cookie(cookie)).map(|&(_, order)| order)
    };
    let mut world = world();
    let mut call = Call::new(1);
    call.open(&mut world);
    (1..MANY).for_each(|_| _ = call.get(&mut world, "/"));
    assert_eq!(order(&world, call.server), Some(Order { mode: Mode::Heads, response_bytes: 256 }));
    call.get(&mut world, "/");
    let quiet = Order { mode: Mode::Quiet, response_bytes: 256 };
    assert_eq!((order(&world, call.client), order(&world, call.server)), (Some(quiet), Some(quiet)));
    let mut next = Call::new(2);
    next.open(&mut world).get(&mut world, "/");
    assert_eq!(mode(&world, next.server), Some(Mode::Quiet), "new connections of it, too");

    // It makes a call after all, while it answers a request that was not followed.
    call.request(&mut world, "GET /new HTTP/1.1\r\nHost: shop\r\n\r\n");
    let mut own = Call::new(3);
    (own.tgids, own.server, own.time) = ([NGINX, 0], 0, call.time);
    own.open(&mut world).get(&mut world, "/stock");
    assert_eq!(world.ledger.counted(Count::UncomparedLinks), 1);
    assert_eq!(mode(&world, own.client), Some(Mode::Heads));
    call.time = own.time;
    call.response(&mut world, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(mode(&world, call.server), Some(Mode::Heads), "from now on there may be something to join");
    own.get(&mut world, "/stock");
    assert_eq!(world.ledger.counted(Count::UncomparedLinks), 1, "nothing is open that is not followed");
}

/// A TLS record with a handshake message in it. Everything stays below 128, so that it is text too.
fn handshake(kind: u8, version_to_extensions: &[u8]) -> String {
    let message_len = u8::try_from(version_to_extensions.len()).expect("a short message");
    let mut record = vec![0x16, 3, 1, 0, message_len + 4, kind, 0, 0, message_len];
    record.extend_from_slice(version_to_extensions);
    String::from_utf8(record).expect("text")
}

#[test]
fn a_tls_connection_says_what_its_handshake_showed() {
    let random = [b'r'; 32];
    let server_name = [&[0, 0, 0, 9, 0, 7, 0, 0, 4][..], b"shop"].concat();
    let client =
        [&[3, 3][..], &random, &[0, 0, 2, 0x13, 1, 1, 0, 0, 20], &server_name, &[0, 0x2b, 0, 3, 2, 3, 4]].concat();
    let server = [&[3, 3][..], &random, &[0, 0x13, 1, 0, 0, 6, 0, 0x2b, 0, 2, 3, 4]].concat();
    let mut world = world();
    let mut call = Call::new(1);
    call.open(&mut world).request(&mut world, &handshake(1, &client)).response(&mut world, &handshake(2, &server));
    assert_eq!((mode(&world, call.client), mode(&world, call.server)), (Some(Mode::Opaque), Some(Mode::Opaque)));
    call.close(&mut world);
    for role in ["client", "server"] {
        let span = world.connections(role)[0];
        assert_eq!(text(span, "server.address").as_deref(), Some("shop"));
        assert_eq!(text(span, "tls.protocol.version").as_deref(), Some("1.3"));
        assert_eq!(text(span, "tls.cipher").as_deref(), Some("TLS_AES_128_GCM_SHA256"));
        assert_eq!(text(span, "network.protocol.name").as_deref(), Some("tls"));
    }
}

#[test]
fn the_agents_own_connections_are_not_traced_at_either_end() {
    let mut world = world();
    let mut call = Call::new(1);
    call.tgids[0] = AGENT;
    call.open(&mut world).get(&mut world, "/v1/traces").close(&mut world);
    assert!(world.out.spans.is_empty(), "{:?}", world.out.spans);
    let records = &world.ledger.records;
    assert_eq!(records.dropped(Stage::Trace, Reason::Own) + records.delivered(), world.records.len() as u64 - 3);
    assert_eq!(records.delivered(), 0);
}

#[test]
fn who_reads_the_agents_metrics_is_not_traced_at_either_end() {
    let mut world = World::new(Options { connections: Connections::Metrics, ..Options::default() });
    let mut call = Call::new(1);
    call.tgids[1] = AGENT;
    call.open(&mut world).get(&mut world, "/metrics").close(&mut world);
    assert!(world.out.spans.is_empty(), "{:?}", world.out.spans);
    // The client's end is the first to be seen: what was counted of it by then is taken back.
    assert_eq!(world.pipeline.connection_totals().iter().count(), 0);
    assert_eq!(mode(&world, call.client), Some(Mode::Off));
    Call::new(2).open(&mut world).get(&mut world, "/").close(&mut world);
    assert_eq!(world.requests(Kind::Client).len(), 1, "others are traced as ever");
}

#[test]
fn another_agents_connections_are_not_traced_at_either_end() {
    let mut world = world();
    let other = |tgid: u32, executable: &str| Process {
        tgid,
        start_ns: 1,
        name: "wirespan".to_owned(),
        executable: Some(executable.to_owned()),
        ..Process::default()
    };
    world.fact(&Fact::Process(other(200, "/opt/older/wirespan")));
    world.fact(&Fact::Process(other(201, "/opt/wirespan/shop")));
    for (tgid, spans) in [(200, 0), (201, 2)] {
        let mut call = Call::new(u64::from(tgid));
        call.tgids[0] = tgid;
        call.open(&mut world).get(&mut world, "/v1/traces").close(&mut world);
        assert_eq!(world.requests(Kind::Client).len() + world.requests(Kind::Server).len(), spans, "process {tgid}");
    }
}

#[test]
fn who_gets_another_agents_spans_on_a_connection_older_than_us_is_not_traced() {
    let mut world = world();
    let other = Process { tgid: 200, start_ns: 1, name: "wirespan".to_owned(), ..Process::default() };
    world.fact(&Fact::Process(other));
    let mut call = Call::new(1);
    call.tgids[0] = 200;
    call.joined_at = [Some([0, 0]); 2];
    // No address translation: both ends see the same addresses.
    let untranslated = |record: &mut Vec<u8>| {
        let remote = std::mem::offset_of!(wirespan_common::record::Segment, remote);
        let client = crate::trace::fixture::endpoint(1, 40_000);
        record[remote..remote + 20].copy_from_slice(client.as_bytes());
    };
    let request = b"POST /v1/traces HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
    for role in [Role::Client, Role::Server] {
        let mut record = call.segment(role, Side::Client, 0, request).expect("it is here");
        if role == Role::Server {
            untranslated(&mut record);
        }
        world.push(record);
    }
    world.finish();
    assert!(world.out.spans.is_empty(), "{:?}", world.out.spans);
    assert_eq!(mode(&world, call.server), Some(Mode::Off));
}

#[test]
fn a_socket_that_the_kernel_marks_as_ours_is_not_traced() {
    let mut world = world();
    let mut call = Call::new(1);
    call.server = 0;
    let mut record = call.segment(Role::Client, Side::Client, 0, b"GET / HTTP/1.1\r\n\r\n").expect("a client");
    let flags = std::mem::offset_of!(wirespan_common::record::Segment, flags);
    let marked = u32::from_ne_bytes(record[flags..flags + 4].try_into().expect("four bytes")) | segment::SELF;
    record[flags..flags + 4].copy_from_slice(&marked.to_ne_bytes());
    world.push(record);
    assert_eq!(mode(&world, call.client), Some(Mode::Off));
    call.time += S;
    call.close(&mut world);
    assert!(world.out.spans.is_empty());
}

#[test]
fn ports_and_processes_that_were_not_asked_for_are_not_traced() {
    let except = |what: &str| Selection { except: vec![what.parse().expect("a selector")], ..Selection::default() };
    let mut by_port = World::new(Options { selection: except("port:80"), ..Options::default() });
    let mut call = Call::new(1);
    call.open(&mut by_port).get(&mut by_port, "/");
    // Whoever else is selected again, the kernel does not ask for this one again.
    assert_eq!(mode(&by_port, call.server), Some(Mode::Off));
    call.close(&mut by_port);
    assert!(by_port.out.spans.is_empty());
    assert!(by_port.ledger.records.dropped(Stage::Trace, Reason::Deselected) > 0);
    assert_eq!(by_port.ledger.records.delivered(), 0);

    let mut by_process = world();
    let nginx = Process { tgid: NGINX, start_ns: 1, name: "nginx".to_owned(), deselected: true, ..Process::default() };
    by_process.fact(&Fact::Process(nginx));
    let mut call = Call::new(1);
    call.open(&mut by_process).get(&mut by_process, "/");
    assert_eq!(mode(&by_process, call.server), Some(Mode::Unselected));
    call.close(&mut by_process);
    assert_eq!(by_process.requests(Kind::Client).len(), 1);
    assert!(by_process.requests(Kind::Server).is_empty() && by_process.connections("server").is_empty());
}

#[test]
fn what_is_open_at_the_end_is_reported() {
    let mut world = world();
    Call::new(1).open(&mut world).request(&mut world, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    world.finish();
    let client = world.requests(Kind::Client)[0];
    assert_eq!((client.status, text(client, "wirespan.incomplete").as_deref()), (Status::Unset, Some("Bool(true)")));
    assert_eq!(text(world.connections("client")[0], "wirespan.connection.end").as_deref(), Some("open"));
}
