//! Records for tests, made in one line each.

use wirespan_common::record::{Endpoint, Header, Segment, Socket, TaskId, kind, reason, segment, socket};
use zerocopy::IntoBytes;

use super::fact::{self, Fact};
use super::{Nanos, record};

pub(crate) const LOCAL: Endpoint = v4(1, 8080);
pub(crate) const REMOTE: Endpoint = v4(2, 40_000);

/// `10.0.0.host:port`
pub(crate) const fn v4(host: u8, port: u16) -> Endpoint {
    Endpoint { addr: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, host], port, pad: 0 }
}

/// A record under construction.
pub(crate) trait Building {
    fn bytes(&self) -> Vec<u8>;
}

#[derive(Clone, Debug)]
pub(crate) struct Seg {
    pub(crate) segment: Segment,
    payload: Vec<u8>,
    base: u32,
}

/// A segment that arrives at time 0, of a stream that is known from its start.
pub(crate) fn seg(cookie: u64) -> Seg {
    Seg {
        segment: Segment {
            header: Header { time_ns: 0, len: 0, kind: kind::SEGMENT, cpu: 0 },
            cookie,
            offset: 0,
            peer_time_ns: 0,
            peer_offset: 0,
            local: LOCAL,
            remote: REMOTE,
            seq: 0,
            peer_next_seq: 0,
            len: 0,
            captured: 0,
            tail: 0,
            flags: segment::FROM_START,
            sender: TaskId::default(),
            reader: TaskId::default(),
        },
        payload: Vec::new(),
        base: 0,
    }
}

impl Seg {
    /// Its offset and the payload that was copied.
    pub(crate) fn at(mut self, offset: u64, payload: &[u8]) -> Self {
        self.segment.offset = offset;
        self.segment.seq = self.base.wrapping_add(offset as u32);
        self.segment.len = u32::try_from(payload.len()).unwrap();
        self.segment.captured = self.segment.len;
        self.payload = payload.to_vec();
        self
    }

    /// After what was copied come `len` bytes that were not, and a tail.
    pub(crate) fn uncopied(mut self, len: u32, tail: &[u8]) -> Self {
        self.segment.tail = u32::try_from(tail.len()).unwrap();
        self.segment.len += len + self.segment.tail;
        self.payload.extend_from_slice(tail);
        self
    }

    /// Sequence number of offset 0.
    pub(crate) fn base(mut self, base: u32) -> Self {
        self.base = base;
        self.segment.seq = base.wrapping_add(self.segment.offset as u32);
        self
    }

    pub(crate) fn seq(mut self, seq: u32) -> Self {
        self.segment.seq = seq;
        self
    }

    pub(crate) fn time(mut self, time: u64) -> Self {
        self.segment.header.time_ns = time;
        self
    }

    /// Of a connection that is joined in the middle.
    pub(crate) fn anew(mut self) -> Self {
        self.segment.flags &= !segment::FROM_START;
        self
    }

    /// Flags in addition.
    pub(crate) fn flags(mut self, flags: u32) -> Self {
        self.segment.flags |= flags;
        self
    }

    /// It leaves.
    pub(crate) fn out(self) -> Self {
        self.flags(segment::EGRESS)
    }

    /// How far, and when, the other direction had got.
    pub(crate) fn peer(mut self, offset: u64, time: u64) -> Self {
        self.segment.peer_offset = offset;
        self.segment.peer_time_ns = time;
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Segment)) -> Self {
        change(&mut self.segment);
        self
    }

    /// Its bytes with whatever its header says.
    pub(crate) fn raw(&self) -> Vec<u8> {
        [self.segment.as_bytes(), &self.payload].concat()
    }
}

impl Building for Seg {
    fn bytes(&self) -> Vec<u8> {
        let mut whole = self.clone();
        whole.segment.header.len = u32::try_from(size_of::<Segment>() + whole.payload.len()).unwrap();
        whole.raw()
    }
}

fn sock(cookie: u64, reason: u32, flags: u32) -> Socket {
    Socket {
        header: Header { time_ns: 0, len: size_of::<Socket>() as u32, kind: kind::SOCKET, cpu: 0 },
        cookie,
        connect_ns: 0,
        established_ns: 0,
        sent_ns: 0,
        received_ns: 0,
        bytes_sent: 0,
        bytes_received: 0,
        sent_offset: 0,
        received_offset: 0,
        local: LOCAL,
        remote: REMOTE,
        reason,
        flags,
        error: 0,
        netns: 1,
        local_first_seq: 0,
        remote_first_seq: 0,
        srtt_us: 0,
        retransmits: 0,
        opener: TaskId::default(),
        sender: TaskId::default(),
        reader: TaskId::default(),
    }
}

/// A server side connection opens.
pub(crate) fn open(cookie: u64) -> Socket {
    sock(cookie, reason::OPEN, socket::PASSIVE | socket::ESTABLISHED | socket::FROM_START)
}

/// A connection reports.
pub(crate) fn report(cookie: u64) -> Socket {
    sock(cookie, reason::REPORT, socket::ESTABLISHED)
}

/// An established connection ends.
pub(crate) fn close(cookie: u64) -> Socket {
    sock(cookie, reason::CLOSE, socket::ESTABLISHED)
}

/// A socket starts to listen on [`LOCAL`].
pub(crate) fn listen(tgid: u32) -> Socket {
    Socket { opener: TaskId { tid: tgid, tgid }, ..sock(0, reason::LISTEN, 0) }
}

impl Building for Socket {
    fn bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

/// A connection that was there before.
pub(crate) fn old_socket(cookie: u64) -> fact::Socket {
    fact::Socket { cookie, local: LOCAL, remote: REMOTE, netns: 1, accepted: Some(true), tgid: 77 }
}

/// A fact as a record.
pub(crate) fn fact(time: u64, fact: &Fact) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::encode_fact(Nanos(time), fact, &mut bytes);
    bytes
}

/// Nothing happened until then.
pub(crate) fn tick(time: u64) -> Vec<u8> {
    fact(time, &Fact::Tick)
}
