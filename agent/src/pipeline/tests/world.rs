//! A machine with connections on it, of which either end may be seen.

use std::fmt::Write as _;

use wirespan_common::record::{Endpoint, Header, Segment, Socket, TaskId, kind, reason, segment, socket};
use zerocopy::IntoBytes;

use super::super::*;
use crate::flow::fact::{Host, Process};
use crate::flow::record::encode_fact;
use crate::flow::{Role, Side};
use crate::trace::span::{Kind, Scope, Value};

/// Process of the clients.
pub(super) const CURL: u32 = 101;
/// Process of the servers.
pub(super) const NGINX: u32 = 102;
/// Process of the agent.
pub(super) const AGENT: u32 = 100;
/// Nanoseconds per microsecond.
pub(super) const US: u64 = 1_000;
/// Nanoseconds per second.
pub(super) const S: u64 = 1_000_000_000;

/// A pipeline and what went through it.
pub(super) struct World {
    pub(super) pipeline: Pipeline,
    pub(super) out: Output,
    pub(super) ledger: Arc<Ledger>,
    pub(super) records: Vec<Vec<u8>>,
}

/// A connection from `10.0.0.1:40000` to `10.0.0.2:80`, which its server sees come from `10.0.0.9`.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Socket cookies of both ends; 0 where an end is not on this machine.
    pub(super) client: u64,
    pub(super) server: u64,
    pub(super) server_port: u16,
    /// First sequence numbers of client and server.
    pub(super) first_seq: [u32; 2],
    /// What each side has sent.
    pub(super) sent: [u64; 2],
    /// What each side had sent when the client's and the server's end were first seen.
    pub(super) joined_at: [Option<[u64; 2]>; 2],
    pub(super) tgids: [u32; 2],
    pub(super) time: u64,
    last_time: [u64; 2],
}

impl World {
    pub(super) fn new(options: Options) -> Self {
        let ledger = Arc::new(Ledger::default());
        let pipeline = Pipeline::new(options, Arc::clone(&ledger));
        let mut world = Self { pipeline, out: Output::default(), ledger, records: Vec::new() };
        let host = Host { name: "box".to_owned(), boot_to_unix_ns: 0, seed: 42, own_tgid: AGENT };
        world.fact(&Fact::Host(host));
        for (tgid, name) in [(CURL, "curl"), (NGINX, "nginx")] {
            world.fact(&Fact::Process(Process { tgid, start_ns: 1, name: name.to_owned(), ..Process::default() }));
        }
        world
    }

    pub(super) fn push(&mut self, record: Vec<u8>) {
        self.pipeline.push(&record, &mut self.out);
        self.records.push(record);
    }

    pub(super) fn fact(&mut self, fact: &Fact) {
        self.fact_at(0, fact);
    }

    pub(super) fn fact_at(&mut self, time: u64, fact: &Fact) {
        let mut record = Vec::new();
        encode_fact(Nanos(time), fact, &mut record);
        self.push(record);
    }

    pub(super) fn finish(&mut self) {
        self.pipeline.finish(&mut self.out);
    }

    /// The requests' spans of a kind, in the order in which they came out.
    pub(super) fn requests(&self, kind: Kind) -> Vec<&Span> {
        self.out.spans.iter().filter(|span| span.scope == Scope::L7 && span.kind == kind).collect()
    }

    /// The connections' spans of a role.
    pub(super) fn connections(&self, role: &str) -> Vec<&Span> {
        let is_it = |span: &&Span| text(span, "wirespan.connection.role").as_deref() == Some(role);
        self.out.spans.iter().filter(|span| span.scope == Scope::L4).filter(is_it).collect()
    }
}

impl Call {
    /// Both ends are on this machine.
    pub(super) fn new(number: u64) -> Self {
        Self {
            client: 10 * number + 1,
            server: 10 * number + 2,
            server_port: 80,
            first_seq: [1_000 * number as u32, 7_000 * number as u32],
            sent: [0, 0],
            joined_at: [None, None],
            tgids: [CURL, NGINX],
            time: 1_000 * US,
            last_time: [0, 0],
        }
    }

    /// The handshake.
    pub(super) fn open(&mut self, world: &mut World) -> &mut Self {
        let connect = self.time;
        self.time += 50 * US;
        for role in [Role::Client, Role::Server] {
            let mut record = self.socket(role, reason::OPEN);
            record.connect_ns = if role == Role::Client { connect } else { 0 };
            record.established_ns = self.time;
            self.emit(world, role, record);
        }
        self
    }

    pub(super) fn request(&mut self, world: &mut World, text: &str) -> &mut Self {
        self.send(world, Side::Client, text)
    }

    pub(super) fn response(&mut self, world: &mut World, text: &str) -> &mut Self {
        self.send(world, Side::Server, text)
    }

    /// A request and its answer.
    pub(super) fn get(&mut self, world: &mut World, path: &str) -> &mut Self {
        self.request(world, &format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n"));
        self.response(world, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    }

    /// Leaves one end and arrives at the other 20 microseconds later.
    pub(super) fn send(&mut self, world: &mut World, sender: Side, text: &str) -> &mut Self {
        let at = self.sent[sender as usize];
        let ends = match sender {
            Side::Client => [Role::Client, Role::Server],
            Side::Server => [Role::Server, Role::Client],
        };
        for role in ends {
            self.time += 20 * US;
            if let Some(record) = self.segment(role, sender, at, text.as_bytes()) {
                world.push(record);
            }
        }
        self.sent[sender as usize] += text.len() as u64;
        self.last_time[sender as usize] = self.time;
        self.time += 100 * US;
        self
    }

    /// The record that an end writes about payload of a side.
    pub(super) fn segment(&self, role: Role, sender: Side, at: u64, payload: &[u8]) -> Option<Vec<u8>> {
        let cookie = self.cookie(role)?;
        let peer = 1 - sender as usize;
        let joined = self.joined_at[role as usize];
        let start = joined.unwrap_or_default();
        let is_egress = (role == Role::Client) == (sender == Side::Client);
        let (local, remote) = self.endpoints(role);
        let mut flags = segment::TURN | if role == Role::Client { segment::ACTIVE } else { segment::PASSIVE };
        flags |= if is_egress { segment::EGRESS } else { 0 };
        flags |= if joined.is_none() { segment::FROM_START } else { 0 };
        let len = u32::try_from(payload.len()).expect("a short payload");
        let segment = Segment {
            header: self.header(kind::SEGMENT, size_of::<Segment>() as u32 + len),
            cookie,
            offset: at - start[sender as usize],
            peer_time_ns: self.last_time[peer],
            peer_offset: self.sent[peer] - start[peer],
            local,
            remote,
            seq: self.first_seq[sender as usize].wrapping_add(at as u32),
            peer_next_seq: self.first_seq[peer].wrapping_add(self.sent[peer] as u32),
            len,
            captured: len,
            tail: 0,
            flags,
            sender: self.task(role),
            reader: self.task(role),
        };
        Some([segment.as_bytes(), payload].concat())
    }

    /// Both ends close, the client first.
    pub(super) fn close(&mut self, world: &mut World) -> &mut Self {
        self.end(world, [socket::LOCAL_CLOSED_FIRST, socket::REMOTE_CLOSED_FIRST], 0)
    }

    pub(super) fn end(&mut self, world: &mut World, flags: [u32; 2], error: u32) -> &mut Self {
        for (role, flags) in [Role::Client, Role::Server].into_iter().zip(flags) {
            let mut record = self.socket(role, reason::CLOSE);
            record.flags |= flags;
            record.error = error;
            self.time += 10 * US;
            self.emit(world, role, record);
        }
        self
    }

    pub(super) fn report(&mut self, world: &mut World) -> &mut Self {
        for role in [Role::Client, Role::Server] {
            let record = self.socket(role, reason::REPORT);
            self.emit(world, role, record);
        }
        self
    }

    pub(super) fn socket(&self, role: Role, reason: u32) -> Socket {
        let (local, remote) = self.endpoints(role);
        let (out, received) = if role == Role::Client { (0, 1) } else { (1, 0) };
        let from_start = self.joined_at[role as usize].is_none();
        let opened = if role == Role::Client { socket::ACTIVE } else { socket::PASSIVE };
        Socket {
            header: self.header(kind::SOCKET, size_of::<Socket>() as u32),
            cookie: self.cookie(role).unwrap_or_default(),
            connect_ns: 0,
            established_ns: 0,
            sent_ns: self.last_time[out],
            received_ns: self.last_time[received],
            bytes_sent: self.sent[out],
            bytes_received: self.sent[received],
            sent_offset: self.sent[out] - self.joined_at[role as usize].unwrap_or_default()[out],
            received_offset: self.sent[received] - self.joined_at[role as usize].unwrap_or_default()[received],
            local,
            remote,
            reason,
            flags: opened | socket::ESTABLISHED | if from_start { socket::FROM_START } else { 0 },
            error: 0,
            netns: 1,
            local_first_seq: if from_start { self.first_seq[out] } else { 0 },
            remote_first_seq: if from_start { self.first_seq[received] } else { 0 },
            srtt_us: 40,
            retransmits: 0,
            opener: self.task(role),
            sender: self.task(role),
            reader: self.task(role),
        }
    }

    pub(super) fn emit(&self, world: &mut World, role: Role, mut record: Socket) {
        if self.cookie(role).is_some() {
            record.header.time_ns = self.time;
            world.push(record.as_bytes().to_vec());
        }
    }

    fn header(&self, kind: u16, len: u32) -> Header {
        Header { time_ns: self.time, len, kind, cpu: 0 }
    }

    fn cookie(&self, role: Role) -> Option<u64> {
        let cookie = if role == Role::Client { self.client } else { self.server };
        (cookie != 0).then_some(cookie)
    }

    fn task(&self, role: Role) -> TaskId {
        let tgid = self.tgids[role as usize];
        TaskId { tid: tgid, tgid }
    }

    fn endpoints(&self, role: Role) -> (Endpoint, Endpoint) {
        let endpoint = |host, port| crate::trace::fixture::endpoint(host, port);
        match role {
            Role::Client => (endpoint(1, 40_000), endpoint(2, self.server_port)),
            Role::Server => (endpoint(2, self.server_port), endpoint(9, 40_000)),
        }
    }
}

/// An attribute as text.
pub(super) fn text(span: &Span, key: &str) -> Option<String> {
    span.get(key).map(|value| match value {
        Value::Str(text) => text.to_string(),
        other => format!("{other:?}"),
    })
}

/// Spans as a person reads them.
pub(super) fn print(spans: &[Span]) -> String {
    let mut out = String::new();
    for span in spans {
        let Span { trace_id, span_id, parent, kind, name, start_unix_ns, end_unix_ns, status, resource, .. } = span;
        let _ = writeln!(out, "{kind:?} {name} of {} in trace {trace_id}", resource.service);
        let _ = writeln!(out, "  id {span_id} parent {parent:?} flags {} state {:?}", span.flags, span.trace_state);
        let _ = writeln!(out, "  {start_unix_ns} to {end_unix_ns} {status:?}");
        for attribute in &span.attributes {
            let _ = writeln!(out, "  {} = {:?}", attribute.key, attribute.value);
        }
        for link in span.links() {
            let _ = writeln!(out, "  -> {} {} {:?}", link.trace_id, link.span_id, link.attributes()[0].value);
        }
    }
    out
}
