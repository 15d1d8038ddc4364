//! What user space costs per record and per request: time and allocations, from the raw records of the kernel to the bytes
//! of an OTLP request. `cargo bench -p wirespan`; needs no rights and no kernel programs.
//!
//! The log is made here, the same each time: clients and servers on one machine, so that every message is recorded at both
//! ends, as `wirespan record` would have it.

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use wirespan::config::Options;
use wirespan::export::protobuf::write_request;
use wirespan::flow::Nanos;
use wirespan::flow::fact::{Fact, Host, Process};
use wirespan::flow::record::encode_fact;
use wirespan::ledger::Ledger;
use wirespan::pipeline::{Output, Pipeline};
use wirespan_common::record::{Endpoint, Header, Segment, Socket, TaskId, kind, reason, segment, socket};
use zerocopy::{FromZeros, IntoBytes};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Requests in the part of the log that is measured. `cargo xtask bench agent` reads it from the report and divides by it.
const REQUESTS: [u64; 1] = [2_000];

/// Requests before, which fill tables and allocate what is kept.
const REQUESTS_BEFORE: u64 = 1_000;

/// Connections that stay open.
const CONNECTIONS: usize = 64;

/// Spans that are encoded at once, as the exporter does.
const BATCH_SPANS: usize = 2_048;

const CLIENT: u32 = 101;
const SERVER: u32 = 102;

/// Nanoseconds from one packet to the next.
const STEP_NS: u64 = 5_000;

const REQUEST: &[u8] =
    b"GET /items/17?page=2 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: wirespan-bench/1\r\nAccept: */*\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Fri, 20 Nov 2026 12:00:00 GMT\r\n\
                          Content-Type: text/plain\r\nContent-Length: 16\r\nConnection: keep-alive\r\n\r\n0123456789abcdef";

fn main() {
    divan::main();
}

/// Records to spans, on connections that stay open.
#[divan::bench(args = REQUESTS)]
fn keep_alive_to_spans(bencher: Bencher<'_, '_>, requests: u64) {
    bench(bencher, requests, false, false);
}

/// Records to bytes, on connections that stay open.
#[divan::bench(args = REQUESTS)]
fn keep_alive_to_bytes(bencher: Bencher<'_, '_>, requests: u64) {
    bench(bencher, requests, false, true);
}

/// Records to bytes, each request on a connection of its own.
#[divan::bench(args = REQUESTS)]
fn churn_to_bytes(bencher: Bencher<'_, '_>, requests: u64) {
    bench(bencher, requests, true, true);
}

fn bench(bencher: Bencher<'_, '_>, requests: u64, churn: bool, encodes: bool) {
    let mut world = World::new();
    let opening = world.opening();
    let before = world.requests(REQUESTS_BEFORE, churn);
    let measured = world.requests(requests, churn);
    let records = measured.records.len();
    bencher
        .counter(ItemsCount::new(records))
        .with_inputs(|| {
            let mut consumer = Consumer::new(encodes);
            consumer.take(&opening);
            consumer.take(&before);
            consumer
        })
        .bench_local_refs(|consumer| consumer.take(&measured));
}

/// What the agent's main thread and its exporter do with records, but for threads and sockets.
struct Consumer {
    pipeline: Pipeline,
    output: Output,
    encodes: bool,
    bytes: Vec<u8>,
}

impl Consumer {
    fn new(encodes: bool) -> Self {
        let pipeline = Pipeline::new(Options::default(), Arc::new(Ledger::default()));
        Self { pipeline, output: Output::default(), encodes, bytes: Vec::new() }
    }

    fn take(&mut self, log: &Log) {
        for &(from, to) in &log.records {
            self.pipeline.push(&log.bytes[from..to], &mut self.output);
            if self.output.spans.len() >= BATCH_SPANS {
                self.send();
            }
        }
        self.send();
        self.output.steering.clear();
    }

    fn send(&mut self) {
        if self.encodes {
            self.bytes.clear();
            write_request(&self.output.spans, &mut self.bytes);
            divan::black_box(&self.bytes);
        }
        self.output.spans.clear();
    }
}

/// Records one after the other in memory, as they are in a ring buffer.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    /// Where each begins and ends.
    records: Vec<(usize, usize)>,
}

impl Log {
    fn push(&mut self, parts: &[&[u8]]) {
        let from = self.bytes.len();
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.records.push((from, self.bytes.len()));
    }
}

/// A machine with clients and servers.
struct World {
    now: u64,
    opened: u64,
    connections: Vec<Connection>,
}

/// A connection, and how far each side has got.
#[derive(Clone, Copy)]
struct Connection {
    number: u64,
    sent: u64,
    answered: u64,
    sent_ns: u64,
    answered_ns: u64,
}

/// An end of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

impl World {
    fn new() -> Self {
        Self { now: 1_000_000_000, opened: 0, connections: Vec::new() }
    }

    /// The machine, its processes, and the connections that stay open.
    fn opening(&mut self) -> Log {
        let mut log = Log::default();
        let host = Host { name: "box".to_owned(), boot_to_unix_ns: 0, seed: 42, own_tgid: 100 };
        let process = |tgid, name: &str| {
            Fact::Process(Process { tgid, start_ns: 1, name: name.to_owned(), ..Process::default() })
        };
        for fact in [Fact::Host(host), process(CLIENT, "client"), process(SERVER, "nginx")] {
            let mut bytes = Vec::new();
            encode_fact(Nanos(self.now), &fact, &mut bytes);
            log.push(&[&bytes]);
        }
        self.connections = (0..CONNECTIONS).map(|_| self.open(&mut log)).collect();
        log
    }

    fn requests(&mut self, requests: u64, churn: bool) -> Log {
        let mut log = Log::default();
        for number in 0..requests {
            if churn {
                let mut connection = self.open(&mut log);
                self.request(&mut connection, &mut log);
                self.end(&connection, &mut log);
            } else {
                let at = usize::try_from(number).expect("few") % self.connections.len();
                let mut connection = self.connections[at];
                self.request(&mut connection, &mut log);
                self.connections[at] = connection;
            }
        }
        log
    }

    fn open(&mut self, log: &mut Log) -> Connection {
        self.opened += 1;
        let connection = Connection { number: self.opened, sent: 0, answered: 0, sent_ns: 0, answered_ns: 0 };
        self.life(&connection, reason::OPEN, log);
        connection
    }

    fn end(&mut self, connection: &Connection, log: &mut Log) {
        self.life(connection, reason::CLOSE, log);
    }

    /// A request and its response, each leaving one end and arriving at the other.
    fn request(&mut self, connection: &mut Connection, log: &mut Log) {
        for end in [End::Client, End::Server] {
            self.segment(connection, end, End::Client, REQUEST, log);
        }
        (connection.sent, connection.sent_ns) = (connection.sent + REQUEST.len() as u64, self.now);
        for end in [End::Server, End::Client] {
            self.segment(connection, end, End::Server, RESPONSE, log);
        }
        (connection.answered, connection.answered_ns) = (connection.answered + RESPONSE.len() as u64, self.now);
    }

    fn segment(&mut self, connection: &Connection, end: End, sender: End, payload: &[u8], log: &mut Log) {
        self.now += STEP_NS;
        let (local, remote) = connection.endpoints(end);
        let (at, peer_at, peer_ns) = match sender {
            End::Client => (connection.sent, connection.answered, connection.answered_ns),
            End::Server => (connection.answered, connection.sent, connection.sent_ns),
        };
        let len = u32::try_from(payload.len()).expect("short");
        let mut record = Segment::new_zeroed();
        record.header = header(kind::SEGMENT, self.now, size_of::<Segment>() as u32 + len);
        record.cookie = connection.cookie(end);
        record.offset = at;
        record.peer_time_ns = peer_ns;
        record.peer_offset = peer_at;
        (record.local, record.remote) = (local, remote);
        record.seq = connection.first_seq(sender).wrapping_add(at as u32);
        record.peer_next_seq = connection.first_seq(sender.other()).wrapping_add(peer_at as u32);
        (record.len, record.captured) = (len, len);
        record.flags = segment::TURN | segment::FROM_START;
        record.flags |= if end == sender { segment::EGRESS } else { 0 };
        record.flags |= if end == End::Client { segment::ACTIVE } else { segment::PASSIVE };
        (record.sender, record.reader) = (end.task(), end.task());
        log.push(&[record.as_bytes(), payload]);
    }

    fn life(&mut self, connection: &Connection, reason: u32, log: &mut Log) {
        for end in [End::Client, End::Server] {
            self.now += STEP_NS;
            let (local, remote) = connection.endpoints(end);
            let mut record = Socket::new_zeroed();
            record.header = header(kind::SOCKET, self.now, size_of::<Socket>() as u32);
            record.cookie = connection.cookie(end);
            record.connect_ns = if end == End::Client { self.now } else { 0 };
            record.established_ns = self.now;
            let (sent, received) = match end {
                End::Client => (connection.sent, connection.answered),
                End::Server => (connection.answered, connection.sent),
            };
            (record.bytes_sent, record.bytes_received) = (sent, received);
            (record.sent_offset, record.received_offset) = (sent, received);
            (record.local, record.remote) = (local, remote);
            record.reason = reason;
            record.flags = socket::ESTABLISHED | socket::FROM_START;
            record.flags |= if end == End::Client { socket::ACTIVE } else { socket::PASSIVE };
            record.netns = 1;
            record.local_first_seq = connection.first_seq(end);
            record.remote_first_seq = connection.first_seq(end.other());
            record.srtt_us = 40;
            (record.opener, record.sender, record.reader) = (end.task(), end.task(), end.task());
            log.push(&[record.as_bytes()]);
        }
    }
}

impl Connection {
    fn cookie(&self, end: End) -> u64 {
        self.number * 2 + u64::from(end == End::Server)
    }

    fn first_seq(&self, sender: End) -> u32 {
        let mix = if sender == End::Client { 2_654_435_761 } else { 2_246_822_519 };
        (self.number as u32).wrapping_mul(mix)
    }

    fn endpoints(&self, end: End) -> (Endpoint, Endpoint) {
        let client = v4(1 + (self.number / 28_000) as u8, 32_768 + (self.number % 28_000) as u16);
        let server = v4(200, 80);
        if end == End::Client { (client, server) } else { (server, client) }
    }
}

impl End {
    fn other(self) -> Self {
        if self == Self::Client { Self::Server } else { Self::Client }
    }

    fn task(self) -> TaskId {
        let tgid = if self == Self::Client { CLIENT } else { SERVER };
        TaskId { tid: tgid, tgid }
    }
}

fn v4(host: u8, port: u16) -> Endpoint {
    Endpoint { addr: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, host], port, pad: 0 }
}

fn header(kind: u16, time_ns: u64, len: u32) -> Header {
    Header { time_ns, len, kind, cpu: 0 }
}
