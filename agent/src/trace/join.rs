//! Joining the two ends of a connection that are both on this machine, by TCP sequence numbers.
//!
//! The bytes of a request carry the same sequence numbers at the client's socket and at the server's, whatever address
//! translation or network namespaces lie between. A number alone says little: it has 32 bits and a machine has many
//! connections. So a key is the number of the request's first byte and a fingerprint of the connection that both ends
//! know.
//!
//! A key that two clients gave is no evidence at all: then nothing is joined, and that is counted.

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt as _};

use super::ancestry::Node;
use super::span::{SpanId, TraceId};
use crate::flow::{Cookie, Facts, Nanos, Role};

/// What both ends of a connection know about the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A request on a connection whose handshake was seen.
    Request {
        /// Sequence number of the request's first byte.
        seq: u32,
        /// First sequence number of the client, and of the server.
        connection: (u32, u32),
    },
    /// A request on a connection that was joined in the middle: in turns, the other direction stands still when the
    /// request is sent.
    Turn {
        /// Sequence number of the request's first byte.
        seq: u32,
        /// Sequence number that the server will use next.
        server_next: u32,
    },
    /// A connection whose handshake was seen.
    Connection {
        /// First sequence number of the client, and of the server.
        connection: (u32, u32),
    },
}

/// The client's side of an edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End {
    /// Its socket.
    pub cookie: Cookie,
    /// Its trace.
    pub trace_id: TraceId,
    /// Its span.
    pub span_id: SpanId,
    /// The request, if it is one that was made here.
    pub node: Option<Node>,
    /// Its process, 0 for unknown.
    pub tgid: u32,
    /// When the first byte left, or the connection was made.
    pub time: Nanos,
}

/// What a look-up gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Match {
    /// Nobody gave this key.
    None,
    /// One client did.
    One(End),
    /// More than one client did.
    Ambiguous,
}

/// Ends that wait for their other end. Bounded in number and in age.
#[derive(Debug)]
pub struct Joiner {
    waiting: HashMap<Key, Waiting>,
    /// Keys in the order in which they were given.
    order: VecDeque<(Key, Nanos)>,
    /// Keys whose ends are over, in that order, with the times at which they were given and released.
    released: VecDeque<(Key, Nanos, Nanos)>,
    max: usize,
    evicted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    end: End,
    given: Nanos,
    is_ambiguous: bool,
}

/// Keys kept at once, about 150 bytes each: at 10 000 calls a second with two keys each the last 1.6 s, and the other
/// end of a local call follows within milliseconds.
pub const MAX_KEYS: usize = 32_768;
/// How long a client's end waits for the server's: longer than TCP retransmits before a connection is given up for dead
/// by most programs.
const MAX_AGE_NS: u64 = 60_000_000_000;
/// How long the key of a call that is over is kept: its server's end has begun long ago, but records of several CPUs may
/// come in another order. Keys of calls to other machines, which nobody ever asks for, go by this.
const RELEASED_AGE_NS: u64 = 1_000_000_000;
/// How much earlier than the client a server may seem to see the same byte, as the two hooks read the clock at
/// different moments.
const SKEW_NS: u64 = 1_000_000;

/// How sure a join by the handshake's numbers is: 96 bits agree.
pub const BY_HANDSHAKE: f64 = super::link::CERTAIN;
/// How sure a join by the other direction's number is: 64 bits agree, and published captures match at 574 of 575
/// requests without a false one.
pub const BY_TURN: f64 = 0.99;

impl Key {
    /// The connection, by its handshake.
    #[must_use]
    pub fn connection(facts: &Facts, role: Role) -> Option<Self> {
        handshake(facts, role).map(|connection| Self::Connection { connection })
    }

    /// The keys of a request that begins at `pos` of the client's stream while the server's stream has got to
    /// `server_pos`, the surer one first.
    #[must_use]
    pub fn of_request(facts: &Facts, role: Role, pos: u64, server_pos: u64) -> [Option<Self>; 2] {
        let (client_base, server_base) = bases(facts, role);
        let Some(seq) = client_base.map(|base| advance(base, pos)) else { return [None, None] };
        [
            handshake(facts, role).map(|connection| Self::Request { seq, connection }),
            server_base.map(|base| Self::Turn { seq, server_next: advance(base, server_pos) }),
        ]
    }

    /// How sure a join by this key is.
    #[must_use]
    pub const fn confidence(&self) -> f64 {
        match self {
            Self::Request { .. } | Self::Connection { .. } => BY_HANDSHAKE,
            Self::Turn { .. } => BY_TURN,
        }
    }
}

impl Default for Joiner {
    fn default() -> Self {
        Self::with_room_for(MAX_KEYS)
    }
}

impl Joiner {
    /// A joiner that keeps so many keys.
    #[must_use]
    pub fn with_room_for(max: usize) -> Self {
        Self { waiting: HashMap::new(), order: VecDeque::new(), released: VecDeque::new(), max, evicted: 0 }
    }

    /// A client's end can be found by this key from now on.
    pub fn offer(&mut self, key: Key, end: End, now: Nanos) {
        self.expire(now);
        match self.waiting.get_mut(&key) {
            Some(waiting) if waiting.end.cookie != end.cookie => waiting.is_ambiguous = true,
            // The same socket again: its sequence numbers came round, or it was told twice.
            Some(waiting) => *waiting = Waiting { end, given: now, is_ambiguous: waiting.is_ambiguous },
            None => {
                self.waiting.insert(key, Waiting { end, given: now, is_ambiguous: false });
            }
        }
        self.order.push_back((key, now));
        while self.order.len() > self.max {
            self.evicted += u64::from(self.drop_first());
        }
    }

    /// The client's end of what a server's socket saw at `seen`. The end stays: [`Self::withdraw`] takes it away.
    #[must_use]
    pub fn find(&self, key: Key, cookie: Cookie, seen: Nanos) -> Match {
        match self.waiting.get(&key) {
            Some(waiting) if waiting.end.cookie == cookie => Match::None,
            Some(Waiting { is_ambiguous: true, .. }) => Match::Ambiguous,
            Some(Waiting { end, .. })
                if end.time.0 <= seen.0.saturating_add(SKEW_NS) && seen.0.saturating_sub(end.time.0) <= MAX_AGE_NS =>
            {
                Match::One(*end)
            }
            _ => Match::None,
        }
    }

    /// Nobody else will ask for this key: it was answered, or its owner is gone.
    pub fn withdraw(&mut self, key: Key) {
        self.waiting.remove(&key);
    }

    /// The client's end is over: if nobody asked for it by now, soon nobody will.
    pub fn release(&mut self, key: Key, cookie: Cookie, now: Nanos) {
        if let Some(waiting) = self.waiting.get(&key).filter(|waiting| waiting.end.cookie == cookie) {
            self.released.push_back((key, waiting.given, now));
        }
        while let Some(&(key, given, released)) = self.released.front() {
            if self.released.len() <= self.max && now.0.saturating_sub(released.0) <= RELEASED_AGE_NS {
                break;
            }
            self.released.pop_front();
            self.drop_one(key, given);
        }
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Keys that were dropped for want of room since the last call.
    pub fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    fn expire(&mut self, now: Nanos) {
        while self.order.front().is_some_and(|(_, given)| now.0.saturating_sub(given.0) > MAX_AGE_NS) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) -> bool {
        self.order.pop_front().is_some_and(|(key, given)| self.drop_one(key, given))
    }

    /// Drops a key, unless it was given again since.
    fn drop_one(&mut self, key: Key, given: Nanos) -> bool {
        let is_it = self.waiting.get(&key).is_some_and(|waiting| waiting.given == given);
        is_it && self.waiting.remove(&key).is_some()
    }
}

/// Sequence numbers of offset 0 of the client's stream and of the server's.
fn bases(facts: &Facts, role: Role) -> (Option<u32>, Option<u32>) {
    match role {
        Role::Client => (facts.out_base, facts.in_base),
        Role::Server => (facts.in_base, facts.out_base),
    }
}

/// First sequence numbers of both streams, where the handshake was seen.
fn handshake(facts: &Facts, role: Role) -> Option<(u32, u32)> {
    let (client, server) = bases(facts, role);
    facts.from_start.then_some(())?;
    client.zip(server)
}

/// Sequence numbers wrap (RFC 9293 section 3.4).
#[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 is meant")]
const fn advance(base: u32, pos: u64) -> u32 {
    base.wrapping_add(pos as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::fixture;

    fn end(cookie: u64, time: u64) -> End {
        End {
            cookie: Cookie(cookie),
            trace_id: TraceId([1; 16]),
            span_id: SpanId([cookie as u8; 8]),
            node: None,
            tgid: 0,
            time: Nanos(time),
        }
    }

    const KEY: Key = Key::Turn { seq: 1, server_next: 2 };
    const SERVER: Cookie = Cookie(99);

    #[test]
    fn both_ends_make_the_same_keys_whatever_their_addresses_are() {
        let client = Facts { out_base: Some(1000), in_base: Some(7), from_start: true, ..fixture::facts(Role::Client) };
        let server = Facts { in_base: Some(1000), out_base: Some(7), from_start: true, ..fixture::facts(Role::Server) };
        assert_ne!(client.local, server.remote, "there is address translation between them");
        assert_eq!(Key::of_request(&client, Role::Client, 5, 3), Key::of_request(&server, Role::Server, 5, 3));
        assert_eq!(Key::connection(&client, Role::Client), Key::connection(&server, Role::Server));
    }

    #[test]
    fn a_stream_joined_in_the_middle_has_other_offsets_but_the_same_numbers() {
        let client = Facts { out_base: Some(1000), in_base: Some(7), from_start: true, ..fixture::facts(Role::Client) };
        let server =
            Facts { in_base: Some(1500), out_base: Some(57), from_start: false, ..fixture::facts(Role::Server) };
        let by_client = Key::of_request(&client, Role::Client, 600, 60);
        let by_server = Key::of_request(&server, Role::Server, 100, 10);
        assert_eq!(by_server, [None, Some(Key::Turn { seq: 1600, server_next: 67 })]);
        assert_eq!(by_client[1], by_server[1]);
        assert_eq!(Key::connection(&server, Role::Server), None);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let facts =
            Facts { out_base: Some(u32::MAX - 1), in_base: None, from_start: false, ..fixture::facts(Role::Client) };
        assert_eq!(Key::of_request(&facts, Role::Client, 5, 0), [None, None]);
        let facts = Facts { in_base: Some(u32::MAX), ..facts };
        let expected = Key::Turn { seq: 3, server_next: 0 };
        assert_eq!(Key::of_request(&facts, Role::Client, 5, 1)[1], Some(expected));
        assert_eq!(Key::of_request(&facts, Role::Client, 5 + (1 << 32), 1 + (1 << 33))[1], Some(expected));
    }

    #[test]
    fn what_was_offered_is_found_until_it_is_withdrawn() {
        let mut joiner = Joiner::default();
        assert_eq!(joiner.find(KEY, SERVER, Nanos(5)), Match::None);
        joiner.offer(KEY, end(1, 10), Nanos(10));
        assert_eq!(joiner.find(KEY, SERVER, Nanos(12)), Match::One(end(1, 10)));
        joiner.withdraw(KEY);
        assert_eq!(joiner.find(KEY, SERVER, Nanos(12)), Match::None);
    }

    #[test]
    fn a_key_of_two_clients_joins_nobody() {
        let mut joiner = Joiner::default();
        joiner.offer(KEY, end(1, 10), Nanos(10));
        joiner.offer(KEY, end(2, 11), Nanos(11));
        assert_eq!(joiner.find(KEY, SERVER, Nanos(12)), Match::Ambiguous);
        joiner.offer(KEY, end(1, 13), Nanos(13));
        assert_eq!(joiner.find(KEY, SERVER, Nanos(14)), Match::Ambiguous);
    }

    #[test]
    fn a_socket_is_not_its_own_other_end() {
        let mut joiner = Joiner::default();
        joiner.offer(KEY, end(1, 10), Nanos(10));
        assert_eq!(joiner.find(KEY, Cookie(1), Nanos(12)), Match::None);
    }

    #[test]
    fn an_end_that_comes_after_its_other_end_or_long_before_it_is_another_one() {
        let mut joiner = Joiner::default();
        joiner.offer(KEY, end(1, 10_000_000), Nanos(10_000_000));
        assert_eq!(joiner.find(KEY, SERVER, Nanos(1_000_000)), Match::None);
        assert_eq!(joiner.find(KEY, SERVER, Nanos(9_500_000)), Match::One(end(1, 10_000_000)));
        assert_eq!(joiner.find(KEY, SERVER, Nanos(10_000_001 + MAX_AGE_NS)), Match::None);
    }

    #[test]
    fn an_end_that_is_over_is_kept_a_little_longer() {
        let mut joiner = Joiner::default();
        joiner.offer(KEY, end(1, 10), Nanos(10));
        joiner.release(KEY, Cookie(2), Nanos(20));
        assert!(joiner.released.is_empty(), "it is another's");
        joiner.release(KEY, Cookie(1), Nanos(20));
        assert_eq!(joiner.find(KEY, SERVER, Nanos(12)), Match::One(end(1, 10)));
        let other = Key::Turn { seq: 7, server_next: 7 };
        joiner.offer(other, end(1, 30), Nanos(30));
        joiner.release(other, Cookie(1), Nanos(21 + RELEASED_AGE_NS));
        assert_eq!(joiner.find(KEY, SERVER, Nanos(12)), Match::None);
        assert_eq!((joiner.waiting.len(), joiner.released.len()), (1, 1));
    }

    #[test]
    fn the_table_is_bounded_in_number_and_age_and_counts_what_it_drops_for_room() {
        let mut joiner = Joiner::with_room_for(2);
        let key = |seq| Key::Turn { seq, server_next: 0 };
        joiner.offer(key(1), end(1, 1), Nanos(1));
        joiner.offer(key(2), end(1, 2), Nanos(2));
        joiner.withdraw(key(1));
        joiner.offer(key(3), end(1, 3), Nanos(3));
        assert_eq!((joiner.take_evicted(), joiner.waiting.len()), (0, 2), "what was answered is not missed");
        joiner.offer(key(4), end(1, 4), Nanos(4));
        assert_eq!((joiner.take_evicted(), joiner.waiting.len()), (1, 2));
        joiner.offer(key(5), end(1, 5), Nanos(5 + MAX_AGE_NS));
        assert_eq!((joiner.take_evicted(), joiner.waiting.len(), joiner.order.len()), (0, 1, 1));
    }
}
