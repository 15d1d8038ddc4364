//! Anything at all as records through the connections and streams.
//!
//! The input is a sequence of steps: a byte that says what kind of record, then either the record as it is, or a few
//! bytes of which a record is made that belongs to one of a few connections, so that streams get somewhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wirespan::flow::record::decode;
use wirespan::flow::table::Flows;
use wirespan::flow::{At, Chunk, Consumer, Direction, Ending, Facts, Nanos};
use wirespan::ledger::Ledger;
use wirespan_common::record::{Endpoint, Header, Segment, Socket, TaskId, kind};
use zerocopy::IntoBytes;

/// Fewer than the connections of the input, so that some are evicted.
const CONNECTIONS: usize = 3;
/// Bytes of input that a made record takes.
const STEP_BYTES: usize = 7;

fuzz_target!(|input: &[u8]| {
    let (mut flows, mut checker, ledger) = (Flows::new(CONNECTIONS), Checker, Ledger::default());
    let (mut rest, mut time) = (input, 0);
    while let Some((&what, after)) = rest.split_first() {
        let record = if what == 0xff {
            let (record, after) = after.split_at(after.len().min(usize::from(u8::MAX)));
            rest = after;
            record.to_vec()
        } else {
            let Some((step, after)) = after.split_first_chunk::<STEP_BYTES>() else { break };
            rest = after;
            // From one nanosecond to a second and more.
            time += 1 << (step[0] & 31);
            if what & 1 == 0 { segment(what, *step, time) } else { socket(what, *step, time) }
        };
        if let Ok(record) = decode(&record) {
            flows.push(&record, &mut checker, &ledger);
        }
        assert!(flows.len() <= CONNECTIONS, "{} connections", flows.len());
    }
    flows.tick(Nanos(time), &mut checker, &ledger);
    flows.finish(Nanos(time), &mut checker, &ledger);
    assert!(flows.is_empty());
});

/// Believes nothing that a consumer is promised.
struct Checker;

/// What came before on a connection.
#[derive(Debug, Default)]
struct Before {
    ways: [Way; 2],
}

#[derive(Debug, Default)]
struct Way {
    next: Option<u64>,
    time: Nanos,
    over: bool,
}

impl Consumer for Checker {
    type State = Before;

    fn chunk(&mut self, _facts: &mut Facts, state: &mut Before, way: Direction, at: At, chunk: Chunk<'_>) {
        let way = state.way(way);
        assert!(!way.over, "bytes after the end");
        assert!(!chunk.is_empty(), "an empty chunk");
        assert!(way.next.is_none_or(|next| next == at.pos), "a chunk at {} where {:?} was due", at.pos, way.next);
        assert!(at.time >= way.time, "time went back");
        way.next = Some(at.pos + chunk.len());
        way.time = at.time;
    }

    fn finished(&mut self, _facts: &mut Facts, state: &mut Before, way: Direction, time: Nanos) {
        let way = state.way(way);
        assert!(!way.over, "ended twice");
        assert!(time >= way.time, "time went back");
        way.over = true;
    }

    fn refreshed(&mut self, _facts: &mut Facts, _state: &mut Before, _time: Nanos) {}

    fn ended(&mut self, facts: &mut Facts, _state: Before, _ending: Ending, _time: Nanos) {
        assert!(facts.first_seen <= facts.last_seen, "seen last before it was seen first");
    }
}

impl Before {
    fn way(&mut self, way: Direction) -> &mut Way {
        &mut self.ways[usize::from(way == Direction::In)]
    }
}

/// Payload near the beginning of a stream: in order, overlapping, ahead or with holes, as the input will have it.
fn segment(what: u8, [_, from, len, copied, flags, peer, seq]: [u8; STEP_BYTES], time_ns: u64) -> Vec<u8> {
    let (len, cookie) = (u32::from(len) * 8, u64::from(what >> 1 & 7));
    let captured = len.min(u32::from(copied));
    let tail = (len - captured).min(u32::from(copied >> 5));
    let segment = Segment {
        header: Header {
            time_ns,
            len: size_of::<Segment>() as u32 + captured + tail,
            kind: kind::SEGMENT,
            cpu: u16::from(what >> 4),
        },
        cookie,
        offset: u64::from(from) * 8,
        peer_time_ns: time_ns.saturating_sub(u64::from(peer)),
        peer_offset: u64::from(peer) * 8,
        local: endpoint(0),
        remote: endpoint(cookie),
        seq: u32::from(from) * 8 + u32::from(seq),
        peer_next_seq: u32::from(peer) * 8,
        len,
        captured,
        tail,
        flags: u32::from(flags) | u32::from(seq & 3) << 8,
        sender: TaskId::default(),
        reader: TaskId::default(),
    };
    let mut record = segment.as_bytes().to_vec();
    record.resize(record.len() + (captured + tail) as usize, what);
    record
}

fn socket(what: u8, [_, sent, received, reason, flags, error, seq]: [u8; STEP_BYTES], time_ns: u64) -> Vec<u8> {
    let cookie = u64::from(what >> 1 & 7);
    let (sent, received) = (u64::from(sent) * 8, u64::from(received) * 8);
    Socket {
        header: Header { time_ns, len: size_of::<Socket>() as u32, kind: kind::SOCKET, cpu: u16::from(what >> 4) },
        cookie,
        connect_ns: time_ns.saturating_sub(u64::from(error) << 4),
        established_ns: time_ns.saturating_sub(u64::from(error)),
        sent_ns: time_ns.saturating_sub(u64::from(seq)),
        received_ns: time_ns.saturating_sub(u64::from(seq) * 2),
        bytes_sent: sent,
        bytes_received: received,
        sent_offset: sent,
        received_offset: received,
        local: endpoint(0),
        remote: endpoint(cookie),
        reason: u32::from(reason % 6),
        flags: u32::from(flags) | u32::from(seq & 1) << 8,
        error: u32::from(error),
        netns: 1,
        local_first_seq: u32::from(seq),
        remote_first_seq: u32::from(seq),
        srtt_us: 0,
        retransmits: 0,
        opener: TaskId::default(),
        sender: TaskId::default(),
        reader: TaskId::default(),
    }
    .as_bytes()
    .to_vec()
}

fn endpoint(number: u64) -> Endpoint {
    Endpoint { addr: [0; 16], port: 1000 + number as u16, pad: 0 }
}
