//! What is kept per connection besides its streams.

use std::collections::VecDeque;

use wirespan_common::mode::Order;
use wirespan_common::record::TaskId;

use super::identity::Said;
use super::recognise::Recognition;
use super::shed::Unread;
use crate::flow::{At, Direction, Facts, Nanos, Role};
use crate::ledger::Reason;
use crate::proto::ask::Ask;
use crate::proto::tls::Handshake;
use crate::proto::{Parser, Protocol};
use crate::trace::address::Addresses;
use crate::trace::ancestry::Node;
use crate::trace::connection::{Lineage, Reported};
use crate::trace::ids::Instance;
use crate::trace::join::Key;
use crate::trace::ladder::Handle;
use crate::trace::link::Tie;
use crate::trace::span::{SpanId, TraceId};

/// A connection, as the core sees it.
#[derive(Default)]
pub(super) struct State {
    /// When we met it; the ids depend on that, so it stays.
    pub(super) met: Option<Nanos>,
    pub(super) watch: Watch,
    /// Which end this is, where the bytes said so.
    pub(super) role: Option<Role>,
    pub(super) protocol: Option<&'static Protocol>,
    pub(super) tls: Option<Box<Handshake>>,
    /// Its addresses, written out for its requests.
    pub(super) addresses: Option<Addresses>,
    /// How far the streams got: sent, received.
    reached: [u64; 2],
    /// Requests that are not over, in order.
    pub(super) open: VecDeque<Request>,
    /// Decided when it is first needed, and the same from then on.
    pub(super) lineage: Option<Lineage>,
    /// The client's connection, if this is its other end.
    pub(super) other_end: Option<Tie>,
    /// The client's end can be found by the server's.
    pub(super) is_offered: bool,
    pub(super) segment: Segment,
    /// For whom the totals count the connection, and how much of it they know already.
    pub(super) counted: Option<(u32, Option<Role>, Reported)>,
    /// The process and the epoch of the process table for which the selection was asked.
    pub(super) asked: Option<(u32, u64)>,
    /// What the kernel was told last.
    pub(super) order: Option<Order>,
    /// The task that took the last message.
    pub(super) reader: TaskId,
    /// When the task took it, if no request was known then.
    pub(super) untaken: Option<Nanos>,
    /// When the last exchange was over, and its answer was taken.
    pub(super) free_since: Option<Nanos>,
    /// What was said last of who is at the other end.
    pub(super) peer: Option<Box<Said>>,
    /// The last call, if nobody was seen to take its answer yet.
    pub(super) unheard: Option<Handle>,
    /// Who took something last that nobody was seen to ask for.
    pub(super) took_unseen: Option<TaskId>,
}

/// What is done with the bytes.
pub(super) enum Watch {
    /// The protocol is not known yet.
    Guessing(Recognition),
    /// It is, and is read.
    Parsing(Box<dyn Parser>),
    /// It is, and its requests are left out.
    Shed(Unread),
    /// It is none of ours: only the connection is reported.
    Unknown,
    /// Not traced.
    Suppressed(Reason),
}

/// A request that has begun.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) number: u64,
    pub(super) began: At,
    /// How far the server's stream had got then.
    pub(super) server_pos: u64,
    pub(super) span_id: SpanId,
    /// Its trace, if nothing else is found out.
    pub(super) trace_id: TraceId,
    pub(super) keys: [Option<Key>; 2],
    /// A span of it is wanted.
    pub(super) is_wanted: bool,
    /// The client's span, if this is the server.
    pub(super) client: Option<Tie>,
    /// Its place among its ancestors.
    pub(super) node: Node,
    /// The client's end of it, if this is the server and that was found.
    pub(super) client_node: Option<Node>,
    /// The process of that end, 0 for unknown.
    pub(super) client_tgid: u32,
    /// Its place in the process that answers or makes it.
    pub(super) handle: Option<Handle>,
    /// What its head says, until a task has taken it.
    pub(super) ask: Option<Ask>,
    /// The process in which it has no such place, because that was not known to make calls; 0 for none.
    pub(super) unfollowed_by: u32,
}

/// The part of a connection that was not reported yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// `None` for the first: it begins with the connection.
    pub(super) start: Option<Nanos>,
    pub(super) before: Reported,
    pub(super) requests: u64,
}

impl Default for Watch {
    fn default() -> Self {
        Self::Guessing(Recognition::default())
    }
}

impl State {
    /// Which end of the connection this is. What the bytes said stays: a parser relies on it.
    pub(super) fn role(&self, facts: &Facts) -> Option<Role> {
        self.role.or(facts.role)
    }

    /// What names the connection in ids.
    pub(super) fn instance(&self, facts: &Facts) -> Instance {
        Instance { cookie: facts.cookie, met: self.met.unwrap_or(facts.first_seen) }
    }

    /// How far a stream got.
    pub(super) const fn reached(&self, way: Direction) -> u64 {
        self.reached[way as usize]
    }

    /// A stream got so far.
    pub(super) fn reach(&mut self, way: Direction, pos: u64) {
        let reached = &mut self.reached[way as usize];
        *reached = pos.max(*reached);
    }

    /// When the part that was not reported yet began.
    pub(super) fn segment_start(&self, facts: &Facts) -> Nanos {
        self.segment
            .start
            .unwrap_or_else(|| facts.connecting.or(facts.established).unwrap_or(facts.first_seen).min(facts.first_seen))
    }
}
