//! All connections: records find theirs by the socket's cookie, or make it.
//!
//! Everything is bounded. Nothing is done per connection that has nothing to do: timers are ordered by when they are
//! due, and connections by when they were last active, so that the one to evict is at hand.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt as _};
use wirespan_common::record::{Endpoint, Segment, Socket, reason, segment};

use super::closed::Closed;
use super::connection::Connection;
use super::fact::{self, Fact};
use super::listeners::Listeners;
use super::orphan::Orphans;
use super::queue::Queue;
use super::record::Record;
use super::{Consumer, Cookie, Ending, Facts, Nanos};
use crate::ledger::{Count, Ledger};

/// How long bytes wait for others that they overtook. Longer than five retransmissions of the same bytes one after the
/// other (200 + 400 + ... + 3200 ms): the kernel says that they are missing, so they come, unless the connection ends. Only
/// where the record of their coming was lost is it waited so long for nothing, and then only as long as no byte after them
/// or answer shows that they came.
const HOLD_NS: u64 = 10_000_000_000;
/// From something seen of a connection to its refresh, at most.
const ACTIVE_REFRESH_NS: u64 = 1_000_000_000;
/// Between two refreshes of an idle connection, so that long ones can be reported while they live.
const IDLE_REFRESH_NS: u64 = 10_000_000_000;

/// The connections of this machine, and what is built on each.
#[derive(Debug)]
pub struct Flows<C: Consumer> {
    by_cookie: HashMap<Cookie, u32>,
    slots: Vec<Option<Slot<C::State>>>,
    free: Vec<u32>,
    /// By last activity.
    idle: Queue,
    timers: BTreeSet<(Nanos, u32, Timer)>,
    /// No timer is due before.
    next_due: Nanos,
    orphans: Orphans,
    closed: Closed,
    listeners: Listeners,
    max_connections: usize,
    now: Nanos,
}

#[derive(Debug)]
struct Slot<S> {
    connection: Connection<S>,
    /// Brought forward when something is seen.
    refresh_due: Nanos,
    hold_due: Option<Nanos>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Hold,
    Refresh,
}

impl<C: Consumer> Flows<C> {
    /// An empty table for so many connections.
    #[must_use]
    pub fn new(max_connections: usize) -> Self {
        Self {
            by_cookie: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            idle: Queue::new(),
            timers: BTreeSet::new(),
            next_due: Nanos(u64::MAX),
            orphans: Orphans::default(),
            closed: Closed::default(),
            listeners: Listeners::default(),
            max_connections: max_connections.clamp(1, u32::MAX as usize - 1),
            now: Nanos(0),
        }
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_cookie.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_cookie.is_empty()
    }

    /// Takes a record.
    pub fn push(&mut self, record: &Record<'_>, consumer: &mut C, ledger: &Ledger) {
        self.tick(record.time(), consumer, ledger);
        match record {
            Record::Segment { segment, head, tail } if segment.flags & segment::LISTENER != 0 => {
                // A listener sends no payload.
                if segment.flags & segment::EGRESS == 0 {
                    let gone = self.orphans.keep(segment, head, tail);
                    ledger.add(Count::OrphanSegments, gone as u64);
                }
            }
            Record::Segment { segment, head, tail } => self.segment(segment, head, tail, consumer, ledger),
            Record::Socket(socket) => match socket.reason {
                reason::LISTEN => self.listeners.listens(socket.netns, socket.local.port, socket.opener.tgid),
                reason::UNLISTEN => self.listeners.listens_no_more(socket.netns, socket.local.port),
                _ => self.socket(socket, consumer, ledger),
            },
            Record::Fact { time, fact: Fact::Socket(old) } => self.old_socket(*time, old, consumer, ledger),
            Record::Fact { fact: Fact::Listener(listener), .. } => {
                self.listeners.listens(listener.netns, listener.local.port, listener.tgid);
            }
            Record::Touch(touch) => {
                if let Some(slot) = self.by_cookie.get(&Cookie(touch.cookie)).and_then(|&at| slot(&mut self.slots, at))
                {
                    slot.connection.touched(touch, consumer);
                }
            }
            Record::Fact { .. } | Record::Task(_) | Record::Relation(_) | Record::Routine(_) => {}
        }
    }

    /// Shows a connection to somebody, if it is there.
    pub fn visit(&mut self, cookie: Cookie, visitor: impl FnOnce(&mut Facts, &mut C::State)) {
        if let Some(slot) = self.by_cookie.get(&cookie).and_then(|&at| slot(&mut self.slots, at)) {
            slot.connection.visit(visitor);
        }
    }

    /// Time has passed. Costs nothing while nothing is due.
    pub fn tick(&mut self, time: Nanos, consumer: &mut C, ledger: &Ledger) {
        self.now = self.now.max(time);
        while self.next_due <= self.now {
            let Some(&(due, at, timer)) = self.timers.first() else {
                self.next_due = Nanos(u64::MAX);
                break;
            };
            self.next_due = due;
            if due <= self.now {
                self.timers.pop_first();
                self.fire(due, at, timer, consumer, ledger);
            }
        }
        self.closed.expire(self.now);
        if !self.orphans.is_empty() {
            ledger.add(Count::OrphanSegments, self.orphans.expire(self.now) as u64);
        }
    }

    /// The agent ends: so does all that is known of connections that live on.
    pub fn finish(&mut self, time: Nanos, consumer: &mut C, ledger: &Ledger) {
        self.now = self.now.max(time);
        while let Some(at) = self.idle.front() {
            self.end(at, Ending::Forgotten, self.now, consumer, ledger);
        }
    }

    fn segment(&mut self, segment: &Segment, head: &[u8], tail: &[u8], consumer: &mut C, ledger: &Ledger) {
        let cookie = Cookie(segment.cookie);
        let time = Nanos(segment.header.time_ns);
        if self.closed.when(cookie).is_some() {
            ledger.count(Count::LateRecords);
            return;
        }
        let again = segment.flags & segment::AGAIN;
        if let Some(&at) = self.by_cookie.get(&cookie)
            && slot(&mut self.slots, at).is_some_and(|slot| slot.connection.again != again)
            && let Some(connection) = self.take(at)
        {
            connection.void(consumer);
        }
        let at = self.find_or_make(cookie, segment.local, segment.remote, time, consumer, ledger);
        let Some(slot) = slot(&mut self.slots, at) else { return };
        slot.connection.again = again;
        slot.connection.learn(segment);
        adopt(&mut slot.connection, &mut self.orphans, segment.local, segment.remote, consumer, ledger);
        slot.connection.segment(segment, head, tail, consumer, ledger);
        self.was_active(at);
    }

    fn socket(&mut self, socket: &Socket, consumer: &mut C, ledger: &Ledger) {
        let cookie = Cookie(socket.cookie);
        let time = Nanos(socket.header.time_ns);
        if let Some(ended) = self.closed.when(cookie) {
            // After a failed `connect` the same socket may try again.
            if socket.connect_ns <= ended.0 {
                ledger.count(Count::LateRecords);
                return;
            }
            self.closed.forget(cookie);
        }
        if socket.reason == reason::CLOSE && !self.by_cookie.contains_key(&cookie) {
            // All that we ever see of it: no other connection has to make room.
            let mut connection = Connection::new(cookie, socket.local, socket.remote, time);
            learn_socket(&mut connection, socket, &self.listeners);
            adopt(&mut connection, &mut self.orphans, socket.local, socket.remote, consumer, ledger);
            connection.reached(socket, consumer, ledger);
            let ending = connection.ending(socket);
            self.closed.remember(cookie, time);
            connection.end(ending, time, consumer, ledger);
            return;
        }
        let at = self.find_or_make(cookie, socket.local, socket.remote, time, consumer, ledger);
        let Some(slot) = slot(&mut self.slots, at) else { return };
        let connection = &mut slot.connection;
        learn_socket(connection, socket, &self.listeners);
        adopt(connection, &mut self.orphans, socket.local, socket.remote, consumer, ledger);
        if socket.reason == reason::OPEN {
            connection.refreshed(time, consumer);
        } else {
            connection.reached(socket, consumer, ledger);
        }
        if socket.reason == reason::CLOSE {
            let ending = connection.ending(socket);
            self.closed.remember(cookie, time);
            self.end(at, ending, time, consumer, ledger);
        } else {
            if socket.reason == reason::REPORT {
                connection.refreshed(time, consumer);
            }
            self.was_active(at);
        }
    }

    fn old_socket(&mut self, time: Nanos, old: &fact::Socket, consumer: &mut C, ledger: &Ledger) {
        let cookie = Cookie(old.cookie);
        if self.closed.when(cookie).is_some() {
            ledger.count(Count::LateRecords);
            return;
        }
        let at = self.find_or_make(cookie, old.local, old.remote, time, consumer, ledger);
        let Some(slot) = slot(&mut self.slots, at) else { return };
        slot.connection.learn_old(old);
        if let Some(tgid) = self.listeners.who(old.netns, old.local.port) {
            slot.connection.learn_listener(tgid);
        }
        slot.connection.refreshed(time, consumer);
    }

    /// The slot of a connection. A new one may have to push out the one that was idle longest.
    fn find_or_make(
        &mut self,
        cookie: Cookie,
        local: Endpoint,
        remote: Endpoint,
        time: Nanos,
        consumer: &mut C,
        ledger: &Ledger,
    ) -> u32 {
        if let Some(&at) = self.by_cookie.get(&cookie) {
            return at;
        }
        if self.by_cookie.len() >= self.max_connections
            && let Some(oldest) = self.idle.front()
        {
            ledger.count(Count::EvictedConnections);
            self.end(oldest, Ending::Forgotten, self.now, consumer, ledger);
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // At most `max_connections`, which fits.
            (self.slots.len() - 1) as u32
        });
        let refresh_due = later(self.now, ACTIVE_REFRESH_NS);
        let connection = Connection::new(cookie, local, remote, time);
        self.slots[at as usize] = Some(Slot { connection, refresh_due, hold_due: None });
        self.by_cookie.insert(cookie, at);
        self.idle.touch(at);
        self.set_timer(refresh_due, at, Timer::Refresh);
        at
    }

    /// Something was seen of a connection: it moves back in the order of eviction, and its timers follow.
    fn was_active(&mut self, at: u32) {
        self.idle.touch(at);
        let Some(slot) = slot(&mut self.slots, at) else { return };
        let was_due = slot.refresh_due;
        slot.refresh_due = was_due.min(later(self.now, ACTIVE_REFRESH_NS));
        let refresh_due = slot.refresh_due;
        if refresh_due != was_due {
            self.timers.remove(&(was_due, at, Timer::Refresh));
            self.set_timer(refresh_due, at, Timer::Refresh);
        }
        self.time_hold(at);
    }

    /// Sets the timer of what waits in a connection.
    fn time_hold(&mut self, at: u32) {
        let Some(slot) = slot(&mut self.slots, at) else { return };
        let was_held = slot.hold_due;
        slot.hold_due = slot.connection.held_since().map(|since| later(since, HOLD_NS));
        let hold_due = slot.hold_due;
        if hold_due != was_held {
            if let Some(was_held) = was_held {
                self.timers.remove(&(was_held, at, Timer::Hold));
            }
            if let Some(hold_due) = hold_due {
                self.set_timer(hold_due, at, Timer::Hold);
            }
        }
    }

    fn set_timer(&mut self, due: Nanos, at: u32, timer: Timer) {
        self.timers.insert((due, at, timer));
        self.next_due = self.next_due.min(due);
    }

    /// A timer was due, and has been taken out.
    fn fire(&mut self, due: Nanos, at: u32, timer: Timer, consumer: &mut C, ledger: &Ledger) {
        let now = self.now;
        let Some(slot) = slot(&mut self.slots, at) else { return };
        match timer {
            Timer::Hold => {
                slot.hold_due = None;
                let since = if due == Nanos(u64::MAX) { due } else { Nanos(due.0.saturating_sub(HOLD_NS)) };
                slot.connection.give_up(since, consumer, ledger);
                self.time_hold(at);
            }
            Timer::Refresh => {
                slot.connection.refreshed(now, consumer);
                slot.refresh_due = later(now, IDLE_REFRESH_NS);
                let due = slot.refresh_due;
                // At the end of time nothing comes later.
                if due > now {
                    self.set_timer(due, at, Timer::Refresh);
                }
            }
        }
    }

    /// Takes a connection out and ends it.
    fn end(&mut self, at: u32, ending: Ending, time: Nanos, consumer: &mut C, ledger: &Ledger) {
        if let Some(connection) = self.take(at) {
            connection.end(ending, time, consumer, ledger);
        }
    }

    fn take(&mut self, at: u32) -> Option<Connection<C::State>> {
        self.idle.remove(at);
        let slot = self.slots.get_mut(at as usize).and_then(Option::take)?;
        self.free.push(at);
        self.timers.remove(&(slot.refresh_due, at, Timer::Refresh));
        if let Some(due) = slot.hold_due {
            self.timers.remove(&(due, at, Timer::Hold));
        }
        self.by_cookie.remove(&slot.connection.facts.cookie);
        Some(slot.connection)
    }
}

fn slot<S>(slots: &mut [Option<Slot<S>>], at: u32) -> Option<&mut Slot<S>> {
    slots.get_mut(at as usize).and_then(Option::as_mut)
}

fn learn_socket<S>(connection: &mut Connection<S>, socket: &Socket, listeners: &Listeners) {
    connection.learn_socket(socket);
    if let Some(tgid) = listeners.who(socket.netns, socket.local.port) {
        connection.learn_listener(tgid);
    }
}

/// Gives a connection the payload that was seen before it existed.
fn adopt<C: Consumer>(
    connection: &mut Connection<C::State>,
    orphans: &mut Orphans,
    local: Endpoint,
    remote: Endpoint,
    consumer: &mut C,
    ledger: &Ledger,
) {
    if orphans.is_empty() {
        return;
    }
    let Some(base) = connection.adopts() else { return };
    while let Some((offset, orphan)) = orphans.take(local, remote, base) {
        connection.adopt(offset, &orphan, consumer, ledger);
    }
}

fn later(time: Nanos, by_ns: u64) -> Nanos {
    Nanos(time.0.saturating_add(by_ns))
}

#[cfg(test)]
mod tests;
