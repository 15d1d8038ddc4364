//! T1 for Go: which goroutine answers a request, and which one makes a call.
//!
//! A server of `net/http` has one goroutine per connection, which reads every request on it and answers it; what else reads
//! there (the first byte of a next request may be read in the background) was started by it. A handler calls from that
//! goroutine or from one that it started. A client of `net/http` never sends from the goroutine that calls: each of its
//! connections has a writer of its own. So the way back is: socket, the goroutine that writes to it, the connection that it
//! writes for, the last call handed to that connection, the goroutine that made it, and its ancestors, up to one that answers
//! a request. Other clients send from the goroutine that calls, which leaves out the middle.
//!
//! All tables are bounded. What was forgotten, or never told, gives no answer rather than another one.

use std::collections::VecDeque;
use std::hash::Hash;

use foldhash::{HashMap, HashMapExt as _};

use crate::flow::{Cookie, Nanos};

/// Goroutines, sockets and connections remembered of one process, in each of two generations, some 100 bytes each.
const MAX_REMEMBERED: usize = 8_192;
/// Goroutines between the one that answers and the one that calls, that one included.
const MAX_DISTANCE: u8 = 8;
/// Calls remembered of each connection: it is asked about the last, or the one before.
const CALLS: usize = 2;
/// A connection's writer may begin to run after the first call was handed to it; so long at most. Calls that are older were
/// made on another connection, whose memory this one uses.
const WRITER_DELAY_NS: u64 = 1_000_000_000;
/// A call is sent within so long after it was handed over. Only where it must be found out which connection a socket is of.
const SEND_DELAY_NS: u64 = 100_000_000;
/// A writer that was there before the probes is believed to write for a connection when no other was handed a call before
/// each of its sends, of which so many were seen.
const MIN_SENDS: u32 = 3;
/// Connections among which it is looked for.
const MAX_UNWRITTEN: usize = 256;
/// If more of them are possible at first, it is looked for later.
const MAX_POSSIBLE: usize = 64;

/// What is known of the goroutines of one process.
#[derive(Debug, Default)]
pub(super) struct Goroutines {
    /// Goroutines by their ids.
    family: Recent<u64, Family>,
    /// Sockets on which the process answers.
    served: Recent<Cookie, Server>,
    /// Sockets on which it calls.
    sending: Recent<Cookie, Sender>,
    /// Client connections of `net/http`, by their addresses.
    connections: Recent<u64, Connection>,
    /// Those to which calls were handed, but of whose writer nothing is known; the last used last.
    unwritten: VecDeque<u64>,
    /// Which connection a goroutine writes for.
    writers: Recent<u64, u64>,
    /// What writers may be that were there before the probes.
    suspicions: Recent<u64, Suspicion>,
}

/// Where a call comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The socket on which the process answers the request that the call is made for.
    pub(super) served: Cookie,
    /// It is the request that was answered there at this time: when the call was made, or when the goroutine was first seen
    /// that was started for it. If that request is over by now, the goroutine may have been put to another use.
    pub(super) since: Nanos,
    /// How many goroutines lie between: 0 for a call from the one that answers.
    pub(super) distance: u8,
}

#[derive(Clone, Copy, Debug)]
struct Family {
    /// 0 for unknown.
    parent: u64,
    first_seen: Nanos,
    /// The socket on which it answers.
    serves: Option<Cookie>,
    /// Whether it has called, so that it is no connection's own.
    calls: bool,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    goid: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sender {
    goid: u64,
    /// When it was last asked about.
    asked: Option<Nanos>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    is_written: bool,
    /// The last first.
    calls: [Option<Call>; CALLS],
}

#[derive(Clone, Copy, Debug)]
struct Call {
    goid: u64,
    at: Nanos,
}

#[derive(Clone, Debug, Default)]
struct Suspicion {
    /// Connections for which it may write.
    connections: Vec<u64>,
    /// How often it has sent.
    sends: u32,
}

impl Goroutines {
    /// A goroutine took what a request begins with from a socket on which the process answers.
    pub(super) fn took(&mut self, socket: Cookie, goid: u64, parent: u64, at: Nanos) {
        if goid == 0 {
            return;
        }
        self.meet(goid, parent, at);
        let Some(&mut Server { goid: known }) = self.served.get(&socket) else {
            return self.serves(socket, goid);
        };
        // One that was started by the one that answers reads for it. If nothing is known of who started it, the first one
        // stays until another answers.
        if known != goid && parent != 0 && parent != known {
            self.serves(socket, goid);
        }
    }

    /// From now on a goroutine sends on a socket.
    pub(super) fn sent(&mut self, socket: Cookie, goid: u64, parent: u64, at: Nanos) {
        if goid == 0 {
            return;
        }
        self.meet(goid, parent, at);
        if let Some(&mut Server { goid: known }) = self.served.get(&socket) {
            let parent_of_known = self.parent(known);
            if parent_of_known == 0 || parent_of_known == goid {
                self.serves(socket, goid);
            }
            return;
        }
        self.sending.insert(socket, Sender { goid, asked: None });
    }

    /// A goroutine hands a call to a client connection of `net/http`.
    pub(super) fn call(&mut self, goid: u64, parent: u64, connection: u64, at: Nanos) {
        if goid == 0 || connection == 0 {
            return;
        }
        self.meet(goid, parent, at);
        if let Some(family) = self.family.get(&goid) {
            family.calls = true;
        }
        let known = self.connections.or_default(connection);
        known.calls = [Some(Call { goid, at }), known.calls[0]];
        if !known.is_written {
            self.unwritten.retain(|unwritten| *unwritten != connection);
            if self.unwritten.len() >= MAX_UNWRITTEN {
                self.unwritten.pop_front();
            }
            self.unwritten.push_back(connection);
        }
    }

    /// A goroutine begins to write for a client connection of `net/http`.
    pub(super) fn writer(&mut self, goid: u64, connection: u64, at: Nanos) {
        if goid == 0 || connection == 0 {
            return;
        }
        self.writers.insert(goid, connection);
        let known = self.connections.or_default(connection);
        known.is_written = true;
        for call in &mut known.calls {
            *call = call.filter(|call| at.0.saturating_sub(call.at.0) < WRITER_DELAY_NS);
        }
        self.unwritten.retain(|unwritten| *unwritten != connection);
    }

    /// A socket is gone.
    pub(super) fn closed(&mut self, socket: Cookie) {
        self.sending.remove(&socket);
        if let Some(Server { goid }) = self.served.remove(&socket)
            && let Some(family) = self.family.get(&goid)
            && family.serves == Some(socket)
        {
            family.serves = None;
        }
    }

    /// Where the call comes from whose first byte was sent on this socket at this time. To be asked once for each call, in
    /// the order of their times.
    pub(super) fn origin(&mut self, socket: Cookie, at: Nanos) -> Option<Origin> {
        let sender = self.sending.get(&socket)?;
        let (writer, asked) = (sender.goid, sender.asked.replace(at));
        let caller = match self.writers.get(&writer).copied().or_else(|| self.find_connection(writer, asked, at)) {
            Some(connection) => {
                let calls = self.connections.get(&connection)?.calls;
                let call = calls.into_iter().flatten().find(|call| call.at <= at)?;
                // Of one that was sent before, nothing was told of this one.
                if asked.is_some_and(|asked| call.at <= asked) {
                    return None;
                }
                call.goid
            }
            None => writer,
        };
        self.ancestor(caller, at)
    }

    /// The one that answers a request, among a goroutine and its ancestors.
    fn ancestor(&mut self, caller: u64, at: Nanos) -> Option<Origin> {
        let (mut goid, mut since) = (caller, at);
        for distance in 0..=MAX_DISTANCE {
            let &mut Family { parent, first_seen, serves, .. } = self.family.get(&goid)?;
            if let Some(served) = serves {
                return Some(Origin { served, since, distance });
            }
            (goid, since) = (parent, first_seen);
            if parent == 0 {
                return None;
            }
        }
        None
    }

    /// The connection that a goroutine writes for which began to before the probes: the one that was handed exactly one call
    /// before each send.
    fn find_connection(&mut self, writer: u64, sent_before: Option<Nanos>, at: Nanos) -> Option<u64> {
        if self.unwritten.is_empty()
            || self.family.get(&writer).is_none_or(|family| family.calls || family.serves.is_some())
        {
            return None;
        }
        let since = sent_before.unwrap_or(Nanos(at.0.saturating_sub(SEND_DELAY_NS)));
        let connections = &mut self.connections;
        let mut is_possible = |address: &u64| {
            let Some(&mut Connection { is_written: false, calls: [Some(last), before] }) = connections.get(address)
            else {
                return false;
            };
            // Before the first send that is seen, any number may have been sent.
            last.at > since && last.at <= at && (sent_before.is_none() || before.is_none_or(|call| call.at <= since))
        };
        let suspicion = self.suspicions.or_default(writer);
        if suspicion.connections.is_empty() {
            suspicion.sends = 0;
            suspicion
                .connections
                .extend(self.unwritten.iter().copied().filter(&mut is_possible).take(MAX_POSSIBLE + 1));
            if suspicion.connections.len() > MAX_POSSIBLE {
                suspicion.connections = Vec::new();
                return None;
            }
        } else {
            suspicion.connections.retain(&mut is_possible);
        }
        suspicion.sends += 1;
        let &[connection] = suspicion.connections.as_slice() else { return None };
        if suspicion.sends < MIN_SENDS {
            return None;
        }
        self.suspicions.remove(&writer);
        self.writer(writer, connection, at);
        Some(connection)
    }

    fn meet(&mut self, goid: u64, parent: u64, at: Nanos) {
        if self.family.get(&goid).is_none() {
            self.family.insert(goid, Family { parent, first_seen: at, serves: None, calls: false });
        }
    }

    fn parent(&mut self, goid: u64) -> u64 {
        self.family.get(&goid).map_or(0, |family| family.parent)
    }

    fn serves(&mut self, socket: Cookie, goid: u64) {
        if let Some(before) = self.served.remove(&socket)
            && let Some(family) = self.family.get(&before.goid)
            && family.serves == Some(socket)
        {
            family.serves = None;
        }
        self.served.insert(socket, Server { goid });
        if let Some(family) = self.family.get(&goid) {
            family.serves = Some(socket);
        }
    }
}

/// A map that forgets what was not asked for since about [`MAX_REMEMBERED`] other entries.
#[derive(Debug)]
struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    fn get(&mut self, key: &K) -> Option<&mut V> {
        if let Some(value) = self.old.remove(key) {
            self.insert(*key, value);
        }
        self.young.get_mut(key)
    }

    fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= MAX_REMEMBERED && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        if self.get(&key).is_none() {
            self.insert(key, V::default());
        }
        self.young.entry(key).or_default()
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Cookie = Cookie(1);
    const OTHER: Cookie = Cookie(2);
    const CLIENT: Cookie = Cookie(10);
    const CONNECTION: u64 = 0xc000;
    /// Started by the program.
    const MAIN: u64 = 1;

    fn at(us: u64) -> Nanos {
        Nanos(1_000_000_000_000 + us * 1000)
    }

    /// Two connections are served, by goroutines 7 and 8; goroutine 30 writes for the connection of the client's socket.
    fn world() -> Goroutines {
        let mut world = Goroutines::default();
        world.took(SERVER, 7, MAIN, at(0));
        world.took(OTHER, 8, MAIN, at(1));
        world.writer(30, CONNECTION, at(2));
        world.sent(CLIENT, 30, 29, at(3));
        world
    }

    fn origin(world: &mut Goroutines, us: u64) -> Option<(Cookie, u64, u8)> {
        let Origin { served, since, distance } = world.origin(CLIENT, at(us))?;
        Some((served, (since.0 - at(0).0) / 1000, distance))
    }

    #[test]
    fn a_call_belongs_to_the_goroutine_that_handed_it_over() {
        let mut world = world();
        world.call(8, MAIN, CONNECTION, at(10));
        assert_eq!(origin(&mut world, 11), Some((OTHER, 11, 0)));
        world.call(7, MAIN, CONNECTION, at(20));
        assert_eq!(origin(&mut world, 21), Some((SERVER, 21, 0)));
    }

    #[test]
    fn a_call_may_come_from_a_goroutine_that_the_handler_started() {
        let mut world = world();
        world.call(50, 8, CONNECTION, at(10));
        assert_eq!(origin(&mut world, 11), Some((OTHER, 10, 1)));
        // And from one that such a one started, which has called before itself. It counts when that was.
        world.call(51, 50, CONNECTION, at(20));
        assert_eq!(origin(&mut world, 21), Some((OTHER, 10, 2)));
        // Of this one's parent nothing is known.
        world.call(52, 49, CONNECTION, at(30));
        assert_eq!(origin(&mut world, 31), None);
    }

    #[test]
    fn the_writer_may_begin_to_run_after_the_call_was_handed_over() {
        let mut world = Goroutines::default();
        world.took(SERVER, 7, MAIN, at(0));
        world.call(7, MAIN, CONNECTION, at(10));
        world.writer(30, CONNECTION, at(11));
        world.sent(CLIENT, 30, 29, at(12));
        assert_eq!(origin(&mut world, 12), Some((SERVER, 12, 0)));
    }

    #[test]
    fn a_call_that_was_not_told_is_not_taken_for_the_one_before() {
        let mut world = world();
        world.call(8, MAIN, CONNECTION, at(10));
        assert!(origin(&mut world, 11).is_some());
        assert_eq!(origin(&mut world, 20), None);
        // The memory of a connection is used again for another: what was called on the first does not count.
        world.writer(31, CONNECTION, at(5_000_000));
        world.sent(CLIENT, 31, 29, at(5_000_001));
        assert_eq!(origin(&mut world, 5_000_002), None);
    }

    #[test]
    fn a_background_reader_does_not_answer() {
        let mut world = world();
        world.took(SERVER, 60, 7, at(5));
        world.call(7, MAIN, CONNECTION, at(10));
        assert_eq!(origin(&mut world, 11), Some((SERVER, 11, 0)));
    }

    #[test]
    fn on_a_connection_from_before_the_probes_a_background_reader_may_be_seen_first() {
        let mut world = world();
        world.took(Cookie(3), 60, 9, at(5));
        world.sent(Cookie(3), 9, MAIN, at(6));
        world.call(9, MAIN, CONNECTION, at(10));
        assert_eq!(origin(&mut world, 11), Some((Cookie(3), 11, 0)));
    }

    #[test]
    fn without_parents_the_goroutine_that_answers_is_the_one() {
        let mut world = Goroutines::default();
        // Before Go 1.21.
        world.took(SERVER, 60, 0, at(0));
        world.sent(SERVER, 7, 0, at(1));
        world.took(SERVER, 61, 0, at(2));
        world.writer(30, CONNECTION, at(3));
        world.sent(CLIENT, 30, 0, at(4));
        world.call(7, 0, CONNECTION, at(4));
        assert_eq!(origin(&mut world, 5), Some((SERVER, 5, 0)));
    }

    #[test]
    fn other_clients_send_from_the_goroutine_that_calls() {
        let mut world = world();
        world.sent(CLIENT, 8, MAIN, at(10));
        assert_eq!(origin(&mut world, 10), Some((OTHER, 10, 0)));
        world.sent(CLIENT, 70, 7, at(20));
        assert_eq!(origin(&mut world, 20), Some((SERVER, 20, 1)));
    }

    #[test]
    fn a_goroutine_that_serves_another_connection_now_answers_there() {
        let mut world = world();
        world.took(Cookie(4), 8, MAIN, at(5));
        world.call(8, MAIN, CONNECTION, at(10));
        assert_eq!(origin(&mut world, 11), Some((Cookie(4), 11, 0)));
        world.closed(Cookie(4));
        world.call(8, MAIN, CONNECTION, at(20));
        assert_eq!(origin(&mut world, 21), None);
    }

    #[test]
    fn a_writer_from_before_the_probes_is_known_by_the_calls_that_only_it_can_send() {
        let mut world = Goroutines::default();
        world.took(SERVER, 7, MAIN, at(0));
        world.took(OTHER, 8, MAIN, at(1));
        world.sent(CLIENT, 30, 29, at(9));
        let mut call = |us, others: &[u64]| {
            world.call(7, MAIN, CONNECTION, at(us));
            others.iter().for_each(|other| world.call(8, MAIN, *other, at(us + 1)));
            origin(&mut world, us + 2)
        };
        assert_eq!(call(10, &[1, 2]), None);
        // 1 was handed nothing meanwhile, 2 twice as much.
        assert_eq!(call(100, &[2, 2]), None);
        assert_eq!(call(200, &[1]), Some((SERVER, 202, 0)));
        // From now on it is known, whatever else happens.
        assert_eq!(call(300, &[1, 2]), Some((SERVER, 302, 0)));
    }

    #[test]
    fn one_that_calls_itself_writes_for_no_connection() {
        let mut world = Goroutines::default();
        world.took(SERVER, 7, MAIN, at(0));
        world.sent(CLIENT, 7, MAIN, at(1));
        for round in 1..10 {
            world.call(8, MAIN, CONNECTION, at(100 * round));
            assert_eq!(origin(&mut world, 100 * round + 1), Some((SERVER, 100 * round + 1, 0)));
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let mut world = world();
        for number in 0..100_000 {
            world.call(1_000 + number, 999, 0x10_0000 + number * 64, at(10 + number));
            world.took(Cookie(100 + number), 200_000 + number, MAIN, at(10 + number));
            world.took(SERVER, 7, MAIN, at(10 + number));
        }
        for entries in [world.family.len(), world.connections.len(), world.served.len()] {
            assert!(entries <= 2 * MAX_REMEMBERED, "{entries}");
        }
        assert!(world.unwritten.len() <= MAX_UNWRITTEN);
        world.writer(31, CONNECTION, at(200_000));
        world.sent(CLIENT, 31, 29, at(200_000));
        world.call(7, MAIN, CONNECTION, at(200_001));
        assert_eq!(origin(&mut world, 200_002), Some((SERVER, 200_002, 0)));
    }
}
