//! One connection: its two streams, and what is known about it.

mod learn;

use wirespan_common::record::{Endpoint, Segment, Socket, TaskId, Touch, reason, segment};

use super::orphan::Orphan;
use super::stream::{Piece, Sink, Stream};
use super::{At, Chunk, Consumer, Cookie, Direction, Ending, Facts, Nanos, Role, Side};
use crate::ledger::{Count, Ledger};

/// Payload that may wait for bytes missing before it, both directions together, with what it costs to keep it.
pub(super) const MAX_HELD_BYTES: usize = 64 * 1024;

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
    /// What its segments say of [`segment::AGAIN`].
    pub(super) again: u32,
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
            opener: TaskId::default(),
            sender: TaskId::default(),
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
            again: 0,
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
        self.catch_up(segment, other, time, consumer);
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
            turn: flag(segment::TURN),
        };
        let (stream, mut tap) = self.stream(way, consumer, ledger);
        stream.push(&piece, room, &mut tap);
        self.note_offsets();
    }

    /// Where nothing was seen of the other direction, a segment still acknowledges how far it has got. This is so for a few
    /// milliseconds on a connection that is older than the agent, whose probes are not attached all at once: requests are
    /// seen, and their responses are not. The first response that is seen must not be taken for that of the first request.
    fn catch_up<C: Consumer<State = S>>(&mut self, segment: &Segment, other: Direction, time: Nanos, consumer: &mut C) {
        let (stream, base) = match other {
            Direction::Out => (&self.sent, &mut self.facts.out_base),
            Direction::In => (&self.received, &mut self.facts.in_base),
        };
        let unseen = segment.peer_time_ns == 0 && segment.peer_offset == 0 && segment.flags & segment::FROM_START == 0;
        let Some(known) = base.filter(|_| unseen && stream.pos() == 0 && segment.peer_next_seq != 0) else { return };
        if let Ok(len @ 1..) = u64::try_from(segment.peer_next_seq.wrapping_sub(known).cast_signed()) {
            *base = Some(segment.peer_next_seq);
            consumer.missed(&mut self.facts, &mut self.state, other, time, len);
        }
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
        let piece = Piece { time, offset, len, head, tail, ahead: false, fin: orphan.fin(), turn: orphan.turn() };
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

    pub(super) fn touched<C: Consumer<State = S>>(&mut self, touch: &Touch, consumer: &mut C) {
        consumer.touched(&mut self.facts, &mut self.state, touch);
    }

    pub(super) fn visit(&mut self, visitor: impl FnOnce(&mut Facts, &mut S)) {
        visitor(&mut self.facts, &mut self.state);
    }

    pub(super) fn refreshed<C: Consumer<State = S>>(&mut self, time: Nanos, consumer: &mut C) {
        consumer.refreshed(&mut self.facts, &mut self.state, time);
    }

    /// What is known of it says nothing any more.
    pub(super) fn void<C: Consumer<State = S>>(mut self, consumer: &mut C) {
        consumer.void(&mut self.facts, self.state);
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

    fn turned(&mut self) {
        self.consumer.turned(self.state, self.way);
    }

    fn finished(&mut self, time: Nanos) {
        if self.first && self.facts.closed_first.is_none() {
            self.facts.closed_first = self.facts.role.map(|role| Side::sending(role, self.way));
        }
        self.consumer.finished(self.facts, self.state, self.way, time);
    }

    fn hole(&mut self, len: u64) {
        self.ledger.count(Count::Holes);
        self.ledger.add(Count::HoleBytes, len);
    }
}
