//! What records say about a connection besides its payload.

use wirespan_common::record::{Segment, Socket, TaskId, segment, socket};

use super::Connection;
use crate::flow::{Direction, Ending, Nanos, Role, Side, fact};

/// Error numbers of Linux that say how a connection ended (`asm-generic/errno.h`).
mod errno {
    pub(super) const ENETUNREACH: u32 = 101;
    pub(super) const ECONNRESET: u32 = 104;
    pub(super) const ETIMEDOUT: u32 = 110;
    pub(super) const ECONNREFUSED: u32 = 111;
    pub(super) const EHOSTUNREACH: u32 = 113;
}

impl<S> Connection<S> {
    /// Takes over what a segment says besides its payload.
    pub(in crate::flow) fn learn(&mut self, segment: &Segment) {
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
        // The kernel programs say so of the socket: both directions are known from the handshake on. Each base that the
        // record has is then one of the handshake, whether the record of its opening was seen or not.
        let from_start = flag(segment::FROM_START);
        let peer_from_start = from_start && peer_base.is_some();
        if flag(segment::EGRESS) {
            self.facts.out_base = Some(base);
            self.facts.in_base = self.facts.in_base.or(peer_base);
            self.sent_from_start |= from_start;
            self.received_from_start |= peer_from_start;
            self.wire_remote = Some(segment.remote);
        } else {
            // What arrives has the socket's addresses: translation is undone by then.
            self.facts.local = segment.local;
            self.socket_remote = self.socket_remote.or(Some(segment.remote));
            self.facts.in_base = Some(base);
            self.facts.out_base = self.facts.out_base.or(peer_base);
            self.received_from_start |= from_start;
            self.sent_from_start |= peer_from_start;
        }
        self.facts.from_start = self.sent_from_start && self.received_from_start;
        self.note_remote();
        self.note_task(segment.sender, segment.reader, TaskId::default());
    }

    /// Takes over what the kernel says about the socket.
    pub(in crate::flow) fn learn_socket(&mut self, socket: &Socket) {
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
            self.facts.closed_first = self.facts.role.map(|role| Side::sending(role, way)).or(self.facts.closed_first);
        }
    }

    /// Takes over what was found out about a connection that was there before.
    pub(in crate::flow) fn learn_old(&mut self, old: &fact::Socket) {
        self.established = true;
        self.socket_remote = Some(old.remote);
        let role = old.accepted.map(|accepted| if accepted { Role::Server } else { Role::Client });
        self.facts.role = self.facts.role.or(role);
        if self.facts.netns == 0 {
            self.facts.netns = old.netns;
        }
        self.note_remote();
        self.note_task(TaskId::default(), TaskId::default(), TaskId { tid: 0, tgid: old.tgid });
    }

    /// Its local port is listened on, by this process if that is known.
    pub(in crate::flow) fn learn_listener(&mut self, tgid: u32) {
        if self.facts.role.is_none() {
            self.facts.role = Some(Role::Server);
        }
        if self.facts.role == Some(Role::Server) {
            self.note_task(TaskId::default(), TaskId::default(), TaskId { tid: 0, tgid });
        }
    }

    pub(super) fn seen(&mut self, time: Nanos) {
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

    /// A server's work is done by who reads (or at least sends), a client's by who sends. Who opened the socket, or listens,
    /// stands in until one of them is known.
    fn note_task(&mut self, sender: TaskId, reader: TaskId, opener: TaskId) {
        let known = |tasks: [TaskId; 2]| tasks.into_iter().find(|task| task.tgid != 0);
        let (working, stands_in) = match self.facts.role {
            Some(Role::Client) => (known([sender, sender]), known([opener, reader])),
            Some(Role::Server) | None => (known([reader, sender]), known([opener, opener])),
        };
        for (fact, new) in [(&mut self.facts.sender, sender), (&mut self.facts.opener, opener)] {
            if new.tid != 0 {
                *fact = new;
            }
        }
        let current = Some(self.facts.task).filter(|task| task.tgid != 0);
        self.facts.task = working.or(current).or(stands_in).unwrap_or_default();
    }

    /// What the kernel's last words about it mean.
    pub(in crate::flow) fn ending(&self, close: &Socket) -> Ending {
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

/// Sequence numbers are the low half of a stream offset.
fn low(offset: u64) -> u32 {
    (offset & u64::from(u32::MAX)) as u32
}
