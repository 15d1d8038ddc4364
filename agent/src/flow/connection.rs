//! One connection: what records say about it, and its two streams.

use wirespan_common::record::{Endpoint, Segment, Socket, TaskId, reason, segment, socket};

use super::orphan::Orphan;
use super::stream::{Piece, Sink, Stream};
use super::{At, Chunk, Consumer, Cookie, Direction, Ending, Facts, Nanos, Role, Side, fact};
use crate::ledger::{Count, Ledger};

/// Payload that may wait for bytes missing before it, both directions together, with what it costs to keep it.
pub(super) const MAX_HELD_BYTES: usize = 64 * 1024;

/// Error numbers of Linux that say how a connection ended (`asm-generic/errno.h`).
mod errno {
    pub(super) const ENETUNREACH: u32 = 101;
    pub(super) const ECONNRESET: u32 = 104;
    pub(super) const ETIMEDOUT: u32 = 110;
    pub(super) const ECONNREFUSED: u32 = 111;
    pub(super) const EHOSTUNREACH: u32 = 113;
}

/// A connection, and what the consumer keeps for it.
#[derive(Debug)]
pub(super) struct Connection<S> {
    pub(super) facts: Facts,
    state: S,
    sent: Stream,
    received: Stream,
    /// The other end as the socket has it, which is what was dialled.
    socket_remote: Option<Endpoint>,
    /// The other end as packets that leave have it: behind any translation done on this machine.
    wire_remote: Option<Endpoint>,
    /// `facts.out_base` is from the handshake.
    sent_from_start: bool,
    /// `facts.in_base` is from the handshake.
    received_from_start: bool,
    /// It was established at some time.
    established: bool,
}

impl<S: Default> Connection<S> {
    pub(super) fn new(cookie: Cookie, local: Endpoint, remote: Endpoint, time: Nanos) -> Self {
        let facts = Facts {
            cookie,
            local,
            remote,
            dialled: None,
            role: None,
            task: TaskId::default(),
            netns: 0,
            connecting: None,
            established: None,
            first_seen: time,
            last_seen: time,
            out_base: None,
            in_base: None,
            from_start: false,
            sent: 0,
            received: 0,
            srtt_us: 0,
            retransmits: 0,
            closed_first: None,
            own: false,
        };
        Self {
            facts,
            state: S::default(),
            sent: Stream::default(),
            received: Stream::default(),
            socket_remote: None,
            wire_remote: None,
            sent_from_start: false,
            received_from_start: false,
            established: false,
        }
    }
}

impl<S> Connection<S> {
    /// Bytes of memory taken by what waits.
    pub(super) fn held_bytes(&self) -> usize {
        self.sent.held_bytes() + self.received.held_bytes()
    }

    /// Since when bytes wait for others.
    pub(super) fn held_since(&self) -> Option<Nanos> {
        [&self.sent, &self.received].into_iter().filter_map(Stream::held_since).min()
    }

    /// Whether payload that was seen before the connection existed could still be placed in it, and then its base.
    pub(super) fn adopts(&self) -> Option<u32> {
        self.facts.in_base.filter(|_| self.received.pos() == 0 && self.facts.role != Some(Role::Client))
    }

    /// Takes over what a segment says besides its payload.
    pub(super) fn learn(&mut self, segment: &Segment) {
        self.seen(Nanos(segment.header.time_ns));
        let flag = |flag| segment.flags & flag != 0;
        self.established |= !flag(segment::SYN);
        if flag(segment::ACTIVE) {
            self.facts.role = Some(Role::Client);
        } else if flag(segment::PASSIVE) {
            self.facts.role = Some(Role::Server);
        }
        self.facts.own |= flag(segment::SELF);
        let base = segment.seq.wrapping_sub(low(segment.offset));
        let peer_base =
            (segment.peer_next_seq != 0).then(|| segment.peer_next_seq.wrapping_sub(low(segment.peer_offset)));
        if flag(segment::EGRESS) {
            self.facts.out_base = Some(base);
            self.facts.in_base = self.facts.in_base.or(peer_base);
            self.sent_from_start |= flag(segment::FROM_START);
            self.wire_remote = Some(segment.remote);
        } else {
            // What arrives has the socket's addresses: translation is undone by then.
            self.facts.local = segment.local;
            self.socket_remote = self.socket_remote.or(Some(segment.remote));
            self.facts.in_base = Some(base);
            self.facts.out_base = self.facts.out_base.or(peer_base);
            self.received_from_start |= flag(segment::FROM_START);
        }
        self.facts.from_start = self.sent_from_start && self.received_from_start;
        self.note_remote();
        self.note_task(segment.sender, segment.reader, TaskId::default());
    }

    /// Takes over what the kernel says about the socket.
    pub(super) fn learn_socket(&mut self, socket: &Socket) {
        self.seen(Nanos(socket.header.time_ns));
        let flag = |flag| socket.flags & flag != 0;
        let known = |time: u64| (time != 0).then_some(Nanos(time));
        self.established |= flag(socket::ESTABLISHED);
        if flag(socket::ACTIVE) {
            self.facts.role = Some(Role::Client);
        } else if flag(socket::PASSIVE) {
            self.facts.role = Some(Role::Server);
        }
        let facts = &mut self.facts;
        facts.own |= flag(socket::SELF);
        facts.connecting = facts.connecting.or(known(socket.connect_ns));
        facts.established = facts.established.or(known(socket.established_ns));
        facts.retransmits = facts.retransmits.max(socket.retransmits);
        for (fact, new) in [(&mut facts.netns, socket.netns), (&mut facts.srtt_us, socket.srtt_us)] {
            if new != 0 {
                *fact = new;
            }
        }
        if flag(socket::FROM_START) {
            facts.out_base = Some(socket.local_first_seq);
            facts.in_base = Some(socket.remote_first_seq);
            facts.from_start = true;
            self.sent_from_start = true;
            self.received_from_start = true;
        }
        // The kernel's own counters may include the SYN's and FIN's sequence numbers: offsets are better where they
        // count from the beginning.
        let (sent, received) = match facts.from_start {
            true => (socket.sent_offset, socket.received_offset),
            false => (socket.bytes_sent.max(socket.sent_offset), socket.bytes_received.max(socket.received_offset)),
        };
        facts.sent = facts.sent.max(sent);
        facts.received = facts.received.max(received);
        // A socket that was torn down may have lost its addresses.
        if socket.local.port != 0 {
            facts.local = socket.local;
        }
        if socket.remote.port != 0 {
            self.socket_remote = Some(socket.remote);
        }
        self.note_remote();
        self.note_task(socket.sender, socket.reader, socket.opener);
        let closed_first = [(socket::LOCAL_CLOSED_FIRST, Direction::Out), (socket::REMOTE_CLOSED_FIRST, Direction::In)];
        if let Some((_, way)) = closed_first.into_iter().find(|&(closed, _)| flag(closed)) {
            self.facts.closed_first = side(self.facts.role, way).or(self.facts.closed_first);
        }
    }

    /// Takes over what was found out about a connection that was there before.
    pub(super) fn learn_old(&mut self, old: &fact::Socket) {
        self.established = true;
        self.socket_remote = Some(old.remote);
        self.facts.role = self.facts.role.or(Some(if old.accepted { Role::Server } else { Role::Client }));
        if self.facts.netns == 0 {
            self.facts.netns = old.netns;
        }
        self.note_remote();
        self.note_task(TaskId::default(), TaskId::default(), TaskId { tid: 0, tgid: old.tgid });
    }

    /// Its local port is listened on, by this process if that is known.
    pub(super) fn learn_listener(&mut self, tgid: u32) {
        if self.facts.role.is_none() {
            self.facts.role = Some(Role::Server);
        }
        if self.facts.role == Some(Role::Server) {
            self.note_task(TaskId::default(), TaskId::default(), TaskId { tid: 0, tgid });
        }
    }

    fn seen(&mut self, time: Nanos) {
        self.facts.last_seen = self.facts.last_seen.max(time);
        self.facts.first_seen = self.facts.first_seen.min(time);
    }

    fn note_remote(&mut self) {
        let Some(remote) = self.wire_remote.filter(|_| self.facts.role != Some(Role::Server)).or(self.socket_remote)
        else {
            return;
        };
        self.facts.remote = remote;
        self.facts.dialled =
            self.socket_remote.filter(|&dialled| dialled != remote && self.facts.role == Some(Role::Client));
    }

    /// A server's work is done by who reads, a client's by who sends. Who opened or listens stands in until one of them
    /// is known.
    fn note_task(&mut self, sender: TaskId, reader: TaskId, opener: TaskId) {
        let (first, second) = match self.facts.role {
            Some(Role::Client) => (sender, opener),
            Some(Role::Server) | None => (reader, sender),
        };
        let stands_in = [second, opener, sender, reader].into_iter().find(|task| task.tgid != 0);
        if first.tgid != 0 {
            self.facts.task = first;
        } else if self.facts.task.tgid == 0
            && let Some(task) = stands_in
        {
            self.facts.task = task;
        }
    }

    fn note_offsets(&mut self) {
        self.facts.sent = self.facts.sent.max(self.sent.pos());
        self.facts.received = self.facts.received.max(self.received.pos());
    }

    /// The stream of one direction, and where it goes.
    fn stream<'a, C: Consumer<State = S>>(
        &'a mut self,
        way: Direction,
        consumer: &'a mut C,
        ledger: &'a Ledger,
    ) -> (&'a mut Stream, Tap<'a, C>) {
        let (stream, other) = match way {
            Direction::Out => (&mut self.sent, &self.received),
            Direction::In => (&mut self.received, &self.sent),
        };
        let first = !other.finished();
        (stream, Tap { consumer, facts: &mut self.facts, state: &mut self.state, ledger, way, first })
    }

    /// Delivers a segment's payload, and before it what it proves about the other direction.
    pub(super) fn segment<C: Consumer<State = S>>(
        &mut self,
        segment: &Segment,
        head: &[u8],
        tail: &[u8],
        consumer: &mut C,
        ledger: &Ledger,
    ) {
        let flag = |flag| segment.flags & flag != 0;
        let time = Nanos(segment.header.time_ns);
        let (way, other) =
            if flag(segment::EGRESS) { (Direction::Out, Direction::In) } else { (Direction::In, Direction::Out) };
        let peer_time = if segment.peer_time_ns == 0 { time } else { Nanos(segment.peer_time_ns) };
        let (stream, mut tap) = self.stream(other, consumer, ledger);
        stream.advance(segment.peer_offset, peer_time, flag(segment::TURN), &mut tap);

        let room = MAX_HELD_BYTES.saturating_sub(self.held_bytes());
        let piece = Piece {
            time,
            offset: segment.offset,
            len: u64::from(segment.len),
            head,
            tail,
            ahead: flag(segment::AHEAD),
            fin: flag(segment::FIN),
        };
        let (stream, mut tap) = self.stream(way, consumer, ledger);
        stream.push(&piece, room, &mut tap);
        self.note_offsets();
    }

    /// Delivers payload that was seen before the connection existed.
    pub(super) fn adopt<C: Consumer<State = S>>(
        &mut self,
        offset: u64,
        orphan: &Orphan,
        consumer: &mut C,
        ledger: &Ledger,
    ) {
        let time = Nanos(orphan.segment.header.time_ns);
        self.seen(time);
        let (head, tail) = orphan.parts();
        let len = u64::from(orphan.segment.len);
        let piece = Piece { time, offset, len, head, tail, ahead: false, fin: orphan.fin() };
        let (stream, mut tap) = self.stream(Direction::In, consumer, ledger);
        stream.push(&piece, 0, &mut tap);
        self.note_offsets();
    }

    /// Delivers what a report or the end proves about both directions, the one that stopped earlier first.
    pub(super) fn reached<C: Consumer<State = S>>(&mut self, socket: &Socket, consumer: &mut C, ledger: &Ledger) {
        let closed = socket.reason == reason::CLOSE;
        let time = |ns: u64| if ns == 0 { Nanos(socket.header.time_ns) } else { Nanos(ns) };
        let mut ends = [
            (Direction::Out, socket.sent_offset, time(socket.sent_ns)),
            (Direction::In, socket.received_offset, time(socket.received_ns)),
        ];
        ends.sort_by_key(|end| end.2);
        for (way, offset, time) in ends {
            let (stream, mut tap) = self.stream(way, consumer, ledger);
            if closed {
                stream.give_up(&mut tap);
            }
            stream.advance(offset, time, closed, &mut tap);
        }
        self.note_offsets();
    }

    /// Waits no longer for what has been missing since then.
    pub(super) fn give_up<C: Consumer<State = S>>(&mut self, since: Nanos, consumer: &mut C, ledger: &Ledger) {
        for way in [Direction::In, Direction::Out] {
            let (stream, mut tap) = self.stream(way, consumer, ledger);
            if stream.held_since().is_some_and(|held| held <= since) {
                stream.give_up(&mut tap);
            }
        }
        self.note_offsets();
    }

    pub(super) fn refreshed<C: Consumer<State = S>>(&mut self, time: Nanos, consumer: &mut C) {
        consumer.refreshed(&mut self.facts, &mut self.state, time);
    }

    /// It is over.
    pub(super) fn end<C: Consumer<State = S>>(
        mut self,
        ending: Ending,
        time: Nanos,
        consumer: &mut C,
        ledger: &Ledger,
    ) {
        self.give_up(Nanos(u64::MAX), consumer, ledger);
        consumer.ended(&mut self.facts, self.state, ending, time);
    }

    /// What the kernel's last words about it mean.
    pub(super) fn ending(&self, close: &Socket) -> Ending {
        let flag = |flag| close.flags & flag != 0;
        let reset_received = flag(socket::RESET_RECEIVED) || close.error == errno::ECONNRESET;
        if !self.established {
            return match close.error {
                errno::ETIMEDOUT => Ending::TimedOut,
                errno::EHOSTUNREACH | errno::ENETUNREACH => Ending::Unreachable,
                errno::ECONNREFUSED => Ending::Refused,
                _ if reset_received => Ending::Refused,
                _ => Ending::Aborted,
            };
        }
        match close.error {
            errno::ETIMEDOUT => Ending::TimedOut,
            // A socket that got a reset may answer late data with one of its own.
            _ if reset_received => Ending::ResetByRemote,
            _ if flag(socket::RESET_SENT) => Ending::ResetByLocal,
            _ => Ending::Closed,
        }
    }
}

/// Hands a stream to the consumer.
struct Tap<'a, C: Consumer> {
    consumer: &'a mut C,
    facts: &'a mut Facts,
    state: &'a mut C::State,
    ledger: &'a Ledger,
    way: Direction,
    /// The other direction has not ended.
    first: bool,
}

impl<C: Consumer> Sink for Tap<'_, C> {
    fn chunk(&mut self, at: At, chunk: Chunk<'_>) {
        self.consumer.chunk(self.facts, self.state, self.way, at, chunk);
    }

    fn finished(&mut self, time: Nanos) {
        if self.first && self.facts.closed_first.is_none() {
            self.facts.closed_first = side(self.facts.role, self.way);
        }
        self.consumer.finished(self.facts, self.state, self.way, time);
    }

    fn hole(&mut self, len: u64) {
        self.ledger.count(Count::Holes);
        self.ledger.add(Count::HoleBytes, len);
    }
}

/// Which end sends this way.
fn side(role: Option<Role>, way: Direction) -> Option<Side> {
    Some(match (role?, way) {
        (Role::Client, Direction::Out) | (Role::Server, Direction::In) => Side::Client,
        (Role::Client, Direction::In) | (Role::Server, Direction::Out) => Side::Server,
    })
}

/// Sequence numbers are the low half of a stream offset.
fn low(offset: u64) -> u32 {
    (offset & u64::from(u32::MAX)) as u32
}
