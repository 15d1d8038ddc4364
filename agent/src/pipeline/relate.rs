//! What requests and connections are to each other: ids, parents, and the two ends of a call on one machine.

use std::collections::VecDeque;
use std::sync::Arc;

use wirespan_common::record::Endpoint;

use super::family::Family;
use super::state::{Request, State};
use crate::config::Options;
use crate::flow::{At, Facts, Nanos, Role};
use crate::ledger::{Count, Ledger};
use crate::proto::http1::Http;
use crate::trace::connection::Lineage;
use crate::trace::context::{Context, SAMPLED};
use crate::trace::ids::{Ids, Subject};
use crate::trace::join::{End, Joiner, Key, MAX_KEYS, Match};
use crate::trace::link::{CERTAIN, Method, Tie};
use crate::trace::span::{SpanId, TraceId};

/// Ids, and ends that wait for their other end.
pub(super) struct Relations {
    pub(super) family: Family,
    ids: Ids,
    requests: Joiner,
    connections: Joiner,
    /// Connections of agents, this one or another: their other ends are not traced either.
    own: Joiner,
    /// Of those whose handshake was not seen: how their other ends see them. The oldest first.
    own_old: VecDeque<(Endpoint, Endpoint)>,
    ledger: Arc<Ledger>,
}

/// Where a request's span belongs.
pub(super) struct Place {
    pub(super) trace_id: TraceId,
    /// The parent, and how it was found.
    pub(super) parent: Option<Tie>,
    pub(super) flags: u8,
    pub(super) trace_state: String,
    /// The client's span on this machine, where the application named another parent.
    pub(super) beside: Option<Tie>,
}

/// Connections of agents that are remembered: each has a few at a time.
const MAX_OWN: usize = 256;
/// Those among them that are older than us. Few, because each record of a connection whose beginning was not seen is
/// compared with all of them.
const MAX_OWN_OLD: usize = 16;

impl Relations {
    pub(super) fn new(options: &Options, ledger: Arc<Ledger>) -> Self {
        Self {
            family: Family::new(options, Arc::clone(&ledger)),
            ids: Ids::default(),
            requests: Joiner::default(),
            connections: Joiner::with_room_for(MAX_KEYS / 4),
            own: Joiner::with_room_for(MAX_OWN),
            own_old: VecDeque::new(),
            ledger,
        }
    }

    pub(super) fn set_seed(&mut self, seed: u64) {
        self.ids = Ids::new(seed);
    }

    /// Requests and connections that were forgotten for want of room since the last call.
    pub(super) fn take_evicted(&mut self) -> u64 {
        self.requests.take_evicted() + self.connections.take_evicted()
    }

    /// A request has begun: it gets its ids, and its two ends find each other, if a span of it `is_wanted`.
    pub(super) fn began(
        &mut self,
        facts: &Facts,
        state: &State,
        role: Role,
        (number, at): (u64, At),
        is_wanted: bool,
    ) -> Request {
        let (of, subject) = (state.instance(facts), Subject::Exchange(number));
        let server_pos = state.reached(role.way_of_server());
        let keys = Key::of_request(facts, role, at.pos, server_pos);
        let (span_id, trace_id) = (self.ids.span(of, Some(role), subject), self.ids.trace(of, Some(role), subject));
        let node = self.family.born(span_id, trace_id);
        let mut request = Request {
            number,
            began: at,
            server_pos,
            span_id,
            trace_id,
            keys,
            is_wanted,
            client: None,
            node,
            client_node: None,
            client_tgid: 0,
            handle: None,
            ask: None,
            unfollowed_by: 0,
        };
        match role {
            Role::Client => self.offer(facts, &request),
            Role::Server => {
                self.find_client(facts, &mut request);
            }
        }
        request
    }

    /// A client's request can be found by its server's end from now on.
    fn offer(&mut self, facts: &Facts, request: &Request) {
        if request.is_wanted {
            let Request { trace_id, span_id, began, keys, node, .. } = *request;
            let end = End {
                cookie: facts.cookie,
                trace_id,
                span_id,
                node: Some(node),
                tgid: facts.task.tgid,
                time: began.time,
            };
            keys.into_iter().flatten().for_each(|key| self.requests.offer(key, end, began.time));
        }
    }

    /// Where the span of a request belongs, now that it is over.
    pub(super) fn place(&mut self, facts: &Facts, role: Role, request: &mut Request, end: Nanos, http: &Http) -> Place {
        if role == Role::Server && request.keys[0].is_none() && facts.from_start {
            self.meet_again(facts, request);
        }
        match (role, request.client) {
            (Role::Client, _) => {
                request.keys.into_iter().flatten().for_each(|key| self.requests.release(key, facts.cookie, end));
            }
            // Who answers may not have been known when it was asked.
            (Role::Server, Some(_)) => {
                if let Some(node) = request.client_node {
                    self.family.answered_by(node, facts.task.tgid);
                }
            }
            // The client's end may have been told about after this one.
            (Role::Server, None) => {
                if self.find_client(facts, request) {
                    self.ledger.count(Count::AmbiguousJoins);
                }
            }
        }
        let client = request.client;
        // A context that was only passed on names no span of this side's client: the client's own span stands between.
        let is_passed_on = match role {
            Role::Client => self.family.passes_on(request.node),
            Role::Server => request.client_node.is_some_and(|client| self.family.passes_on(client)),
        };
        let context = Context::of(http);
        if is_passed_on && let Some(Context { trace_id, flags, state, .. }) = context {
            return Place { trace_id, parent: client, flags, trace_state: state, beside: None };
        }
        if let Some(context) = context {
            let parent = Tie {
                trace_id: context.trace_id,
                span_id: context.parent,
                method: context.method,
                confidence: CERTAIN,
            };
            // The client's end sent the same header: its span is in the same trace.
            let beside = client.map(|client| Tie { trace_id: context.trace_id, ..client });
            return Place {
                trace_id: context.trace_id,
                parent: Some(parent),
                flags: context.flags,
                trace_state: context.state,
                beside,
            };
        }
        let trace_id = client.map_or(request.trace_id, |client| client.trace_id);
        Place { trace_id, parent: client, flags: SAMPLED, trace_state: String::new(), beside: None }
    }

    /// The handshake became known after the request had begun: there is better evidence of its other end now.
    fn meet_again(&mut self, facts: &Facts, request: &mut Request) {
        request.keys = Key::of_request(facts, Role::Server, request.began.pos, request.server_pos);
        self.find_client(facts, request);
    }

    /// Looks for the client's end of a request that a server received; whether there were several.
    fn find_client(&mut self, facts: &Facts, request: &mut Request) -> bool {
        let (found, is_ambiguous) = self.client_of(facts, request);
        if let Some((end, key)) = found {
            request.client = Some(tie(end, key));
            request.client_node = end.node;
            request.client_tgid = end.tgid;
            if let Some(node) = end.node {
                self.family.join(request.node, node);
                self.family.answered_by(node, facts.task.tgid);
            }
        }
        is_ambiguous
    }

    /// The client's span of a request that a server received; and whether there were several.
    fn client_of(&mut self, facts: &Facts, request: &Request) -> (Option<(End, Key)>, bool) {
        let mut is_ambiguous = false;
        for key in request.keys.into_iter().flatten() {
            match self.requests.find(key, facts.cookie, request.began.time) {
                Match::One(end) => {
                    request.keys.into_iter().flatten().for_each(|key| self.requests.withdraw(key));
                    return (Some((end, key)), false);
                }
                Match::Ambiguous => is_ambiguous = true,
                Match::None => {}
            }
        }
        (None, is_ambiguous)
    }

    /// A connection's handshake may be known now: its ends find each other.
    pub(super) fn meet(&mut self, facts: &Facts, state: &mut State, now: Nanos) {
        let Some(role) = state.role(facts) else { return };
        let Some(key) = Key::connection(facts, role) else { return };
        match role {
            Role::Client if !state.is_offered => {
                state.is_offered = true;
                let lineage = self.lineage(facts, state);
                let time = facts.connecting.unwrap_or(facts.first_seen).min(facts.first_seen);
                let (trace_id, span_id) = (lineage.trace_id, lineage.first);
                self.connections.offer(
                    key,
                    End { cookie: facts.cookie, trace_id, span_id, node: None, tgid: 0, time },
                    now,
                );
                // What was asked in the SYN began before there was anything to know it by.
                for request in state.open.iter_mut().filter(|request| request.keys[0].is_none()) {
                    request.keys = Key::of_request(facts, role, request.began.pos, request.server_pos);
                    self.offer(facts, request);
                }
            }
            Role::Server if state.lineage.is_none() && state.other_end.is_none() => {
                if let Match::One(end) = self.connections.find(key, facts.cookie, now) {
                    self.connections.withdraw(key);
                    state.other_end = Some(tie(end, key));
                }
            }
            Role::Client | Role::Server => {}
        }
    }

    /// The trace of a connection and the id of its first span. From now on they stay.
    pub(super) fn lineage(&mut self, facts: &Facts, state: &mut State) -> Lineage {
        if let Some(lineage) = state.lineage {
            return lineage;
        }
        let role = state.role(facts);
        let (of, subject) = (state.instance(facts), Subject::Connection(0));
        let parent = state.other_end;
        let lineage = Lineage {
            trace_id: parent.map_or_else(|| self.ids.trace(of, role, subject), |parent| parent.trace_id),
            first: self.ids.span(of, role, subject),
            parent,
        };
        state.lineage = Some(lineage);
        lineage
    }

    /// The id of the span of a connection's current segment.
    pub(super) fn segment_span(&self, facts: &Facts, state: &State, lineage: &Lineage) -> SpanId {
        match state.segment.number {
            0 => lineage.first,
            number => self.ids.span(state.instance(facts), state.role(facts), Subject::Connection(number)),
        }
    }

    /// The connection that a request is seen on, as a tie.
    pub(super) fn connection_of(&mut self, facts: &Facts, state: &mut State) -> Tie {
        let lineage = self.lineage(facts, state);
        let span_id = self.segment_span(facts, state, &lineage);
        Tie { trace_id: lineage.trace_id, span_id, method: Method::Connection, confidence: CERTAIN }
    }

    /// One end of a connection is an agent's: the other end is to be recognised. Whether it surely can be, by now.
    pub(super) fn note_own(&mut self, facts: &Facts, role: Role, now: Nanos) -> bool {
        let Some(key) = Key::connection(facts, role) else {
            // One that is older than us, in all likelihood: its addresses have to do.
            let other = (facts.remote, facts.local);
            if !self.own_old.contains(&other) {
                if self.own_old.len() >= MAX_OWN_OLD {
                    self.own_old.pop_front();
                }
                self.own_old.push_back(other);
            }
            return false;
        };
        let time = facts.first_seen.min(now);
        // Only who it is matters: it has no span.
        let end = End {
            cookie: facts.cookie,
            trace_id: TraceId([0; 16]),
            span_id: SpanId([0; 8]),
            node: None,
            tgid: 0,
            time,
        };
        self.own.offer(key, end, now);
        true
    }

    /// Whether the other end of a connection is an agent's.
    pub(super) fn talks_to_us(&self, facts: &Facts, role: Option<Role>, now: Nanos) -> bool {
        match role.and_then(|role| Key::connection(facts, role)) {
            Some(key) => !self.own.is_empty() && self.own.find(key, facts.cookie, now) != Match::None,
            None => self.own_old.contains(&(facts.local, facts.remote)),
        }
    }
}

fn tie(end: End, key: Key) -> Tie {
    Tie { trace_id: end.trace_id, span_id: end.span_id, method: Method::TcpSeq, confidence: key.confidence() }
}
