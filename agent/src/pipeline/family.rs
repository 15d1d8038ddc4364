//! The family of requests: which call was made for which request, and the spans that wait until that is decided.
//!
//! A span whose trace may still change waits, the configured time at most. What is not decided by then is decided with what is
//! known.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use wirespan_common::mode::Mode;
use wirespan_common::record::{Relation, Routine, Touch, kind};

use super::state::{Request, State};
use crate::config::Options;
use crate::flow::{Facts, Nanos, Role};
use crate::ledger::{Count, Ledger};
use crate::proto::Exchange;
use crate::proto::ask::Ask;
use crate::trace::address;
use crate::trace::ancestry::{Ancestry, Node, Parent};
use crate::trace::context;
use crate::trace::ladder::evidence::{Decision, Evidence};
use crate::trace::ladder::sides::Sides;
use crate::trace::ladder::{Handle, Ladder, Made, Outcome};
use crate::trace::link::{Method, Tie};
use crate::trace::span::{Attribute, Span, SpanId, TraceId};

/// Spans that wait at once, about 1.5 KiB each. The oldest go first, decided by what is known.
const MAX_HELD: usize = 65_536;

/// Attribute that says that a call was made after the request it belongs to was answered.
const BACKGROUND_KEY: &str = "wirespan.link.background";

/// All requests of this machine that are not over.
pub(super) struct Family {
    pub(super) ancestry: Ancestry,
    pub(super) ladder: Ladder,
    pub(super) sides: Sides,
    /// Calls of processes that answer requests, until their spans are given away.
    calls: HashMap<Node, Call>,
    /// Spans that wait, in the order in which they ended.
    held: VecDeque<Held>,
    wait_ns: u64,
    ledger: Arc<Ledger>,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    handle: Handle,
    decision: Option<Decision>,
}

struct Held {
    until: Nanos,
    node: Node,
    span: Span,
}

impl Family {
    pub(super) fn new(options: &Options, ledger: Arc<Ledger>) -> Self {
        let (ancestry, ladder, sides) = (Ancestry::default(), Ladder::new(options.links), Sides::default());
        let wait_ns = options.link_wait_ns;
        Self { ancestry, ladder, sides, calls: HashMap::new(), held: VecDeque::new(), wait_ns, ledger }
    }

    /// A request begins.
    pub(super) fn born(&mut self, span_id: SpanId, trace_id: TraceId) -> Node {
        self.ancestry.born(span_id, trace_id)
    }

    /// The client's end of a request that a server received is known.
    pub(super) fn join(&mut self, server: Node, client: Node) {
        // The trace that the application named stays.
        if self.ancestry.parent(server) == Some(Parent::None) {
            self.ancestry.set_parent(server, Parent::Request(client));
        }
    }

    /// A process of this machine received a client's request.
    pub(super) fn answered_by(&mut self, client: Node, tgid: u32) {
        self.ancestry.set_answered_by(client, tgid);
    }

    /// The process of this machine that received a client's request, 0 for unknown.
    pub(super) fn who_answered(&self, client: Node) -> u32 {
        self.ancestry.answered_by(client)
    }

    /// A request will have no span, or its connection is gone.
    pub(super) fn drop(&mut self, request: &Request) {
        self.unfollow(request);
        self.calls.remove(&request.node);
        self.ancestry.over(request.node);
    }

    /// The head of a request is complete.
    pub(super) fn asked(&mut self, facts: &Facts, state: &mut State, role: Role, number: u64, ask: Ask) {
        let Some(at) = state.open.iter().position(|request| request.number == number) else { return };
        let told = ask.context.as_deref().and_then(context::trace_of);
        // Of requests that were sent one behind the other only the first is seen to be taken.
        let before = at.checked_sub(1).and_then(|before| state.open.get(before)?.handle);
        let (reader, free_since) = (state.reader, state.free_since);
        let is_quiet = state.order.is_some_and(|order| order.mode == Mode::Quiet);
        let Some(request) = state.open.get_mut(at) else { return };
        self.sides.note(facts.task.tgid, role);
        if let Some(trace_id) = told {
            self.ancestry.set_parent(request.node, Parent::Told(trace_id));
        }
        match role {
            Role::Server => {
                if request.handle.is_none() && (is_quiet || !self.sides.may_join(facts.task.tgid)) {
                    request.unfollowed_by = facts.task.tgid;
                    self.sides.open_unfollowed(facts.task.tgid);
                    return;
                }
                if request.handle.is_none() && before.is_some() {
                    request.handle = self.ladder.received(request.node, facts.cookie, reader, request.began.time);
                }
                request.ask = Some(ask);
                self.tell_head(request, reader.tgid);
            }
            Role::Client => {
                state.took_unseen = None;
                let opened = (request.number == 0 && request.began.pos == 0)
                    .then(|| facts.connecting.map(|at| (at, facts.opener)))
                    .flatten();
                let made = Made {
                    node: request.node,
                    socket: facts.cookie,
                    task: facts.task,
                    sent: request.began.time,
                    opened,
                    free_since,
                    destination: address::number(facts.dialled.unwrap_or(facts.remote)),
                };
                self.called(request, &made, &ask, told.is_some());
            }
        }
    }

    /// Tells the ladder what a request asks, once both its head and who took it are known.
    fn tell_head(&mut self, request: &mut Request, tgid: u32) {
        let Some(handle) = request.handle else { return };
        if let Some(mut ask) = request.ask.take() {
            // What a process asked of itself came with nobody's request.
            if request.client_tgid == tgid {
                ask.tokens = Default::default();
            }
            self.ladder.asked(handle, &ask);
        }
    }

    fn called(&mut self, request: &mut Request, made: &Made, ask: &Ask, is_told: bool) {
        if self.sides.is_blind(made.task.tgid) {
            self.ledger.count(Count::UncomparedLinks);
            return;
        }
        match self.ladder.called(made, ask) {
            Outcome::Decided(_) => {}
            Outcome::Open(handle) => {
                request.handle = Some(handle);
                let decision = self.ladder.decision(handle);
                self.calls.insert(made.node, Call { handle, decision });
                let parent = match decision {
                    // The application named the parent itself, unless it only passed on what it was told.
                    _ if is_told && !decision.is_some_and(is_passed_on) => return,
                    None => Parent::Undecided,
                    Some(Decision { parent: Some(evidence), .. }) => Parent::Request(evidence.parent),
                    Some(_) => Parent::None,
                };
                self.ancestry.set_parent(made.node, parent);
            }
        }
    }

    /// A task took the first bytes of a message.
    pub(super) fn touched(&mut self, facts: &Facts, state: &mut State, touch: &Touch) {
        let at = Nanos(touch.header.time_ns);
        let Some(role) = state.role(facts) else { return };
        let is_sent = touch.header.kind == kind::SEND;
        if is_sent || role == Role::Server {
            self.ladder.goroutine(touch, is_sent);
        }
        if is_sent {
            return;
        }
        state.reader = touch.task;
        match role {
            Role::Server => {
                state.untaken = state.open.is_empty().then_some(at);
                for request in
                    state.open.iter_mut().filter(|request| request.handle.is_none() && request.unfollowed_by == 0)
                {
                    request.handle = self.ladder.received(request.node, facts.cookie, touch.task, at);
                    self.tell_head(request, touch.task.tgid);
                }
            }
            Role::Client => {
                // An answer that came in one piece was over before anybody took it.
                state.free_since = state.free_since.map(|since| since.max(at));
                let front = || state.open.front().and_then(|request| request.handle);
                match state.unheard.take().or_else(front) {
                    Some(handle) => self.ladder.heard(handle, touch.task, at),
                    None if state.open.is_empty() => state.took_unseen = Some(touch.task),
                    None => {}
                }
            }
        }
    }

    /// A goroutine hands a call to a client connection, or begins to write for one.
    pub(super) fn routine(&mut self, routine: &Routine) {
        self.ladder.routine(routine);
    }

    /// A thread makes or wakes another.
    pub(super) fn related(&mut self, relation: &Relation) {
        self.ladder.related(relation);
    }

    /// A connection is over.
    pub(super) fn closed(&mut self, facts: &Facts) {
        self.ladder.closed(facts.task.tgid, facts.cookie);
    }

    /// A process has ended, or runs another program.
    pub(super) fn parted(&mut self, tgid: u32) {
        self.sides.parted(tgid);
        self.ladder.parted(tgid);
    }

    /// A request is over.
    pub(super) fn over(
        &mut self,
        facts: &Facts,
        state: &mut State,
        role: Role,
        request: &mut Request,
        exchange: &Exchange,
    ) {
        self.unfollow(request);
        let is_unfollowed = request.unfollowed_by != 0;
        request.unfollowed_by = 0;
        state.free_since = Some(exchange.end);
        let Some(handle) = request.handle else {
            if role == Role::Server && !is_unfollowed {
                self.untaken(facts, request, exchange);
            }
            return;
        };
        match role {
            Role::Server => self.ladder.answered(handle, facts.sender, exchange.response_began, exchange.end),
            Role::Client => {
                self.ladder.call_over(handle, exchange.end);
                state.unheard = Some(handle);
            }
        }
    }

    /// Whether it is to be told who takes the messages of a process.
    pub(super) fn follows(&self, tgid: u32) -> bool {
        self.sides.may_join(tgid)
    }

    fn unfollow(&mut self, request: &Request) {
        if request.unfollowed_by != 0 {
            self.sides.close_unfollowed(request.unfollowed_by);
        }
    }

    /// Whether a call passed on the context that its process was told: then it is that request's child.
    pub(super) fn passes_on(&self, client: Node) -> bool {
        self.calls.get(&client).and_then(|call| call.decision).is_some_and(is_passed_on)
    }

    /// Gives a span away, now or when its trace is decided. It has its parent already if that is no matter of the ladder.
    pub(super) fn finish(&mut self, node: Node, span: Span, now: Nanos, out: &mut Vec<Span>) {
        if self.ancestry.undecided(node).is_none() && self.held.is_empty() {
            self.release(node, span, out);
            return;
        }
        let until = match self.ancestry.undecided(node) {
            Some(_) => Nanos(now.0.saturating_add(self.wait_ns)),
            None => now,
        };
        if until <= now {
            self.release(node, span, out);
            return;
        }
        self.held.push_back(Held { until, node, span });
        if self.held.len() > MAX_HELD {
            self.ledger.count(Count::HurriedLinks);
            self.release_first(out);
        }
    }

    /// Time has passed: spans that have waited long enough go.
    pub(super) fn tick(&mut self, now: Nanos, out: &mut Vec<Span>) {
        self.ladder.tick(now);
        while self.held.front().is_some_and(|held| held.until <= now) {
            self.release_first(out);
        }
    }

    /// Nothing more will come.
    pub(super) fn release_all(&mut self, out: &mut Vec<Span>) {
        while !self.held.is_empty() {
            self.release_first(out);
        }
    }

    /// Counts what happened since the last call.
    pub(super) fn count(&mut self) {
        for (count, n) in [
            (Count::LinkContradictions, self.ladder.take_contradictions()),
            (Count::EvictedLinks, self.ladder.take_evicted()),
            (Count::UncomparedLinks, self.ladder.take_uncompared()),
        ] {
            if n > 0 {
                self.ledger.add(count, n);
            }
        }
    }

    fn release_first(&mut self, out: &mut Vec<Span>) {
        if let Some(Held { node, span, .. }) = self.held.pop_front() {
            self.release(node, span, out);
        }
    }

    fn release(&mut self, node: Node, mut span: Span, out: &mut Vec<Span>) {
        /// Each decision decides one ancestor; there are not more of them.
        const ANCESTORS: usize = 64;
        for _ in 0..ANCESTORS {
            let Some(undecided) = self.ancestry.undecided(node) else { break };
            self.decide(undecided);
        }
        if let Some(trace_id) = self.ancestry.trace_id(node) {
            span.trace_id = trace_id;
        }
        if let Some(decision) = self.calls.remove(&node).and_then(|call| call.decision) {
            self.describe(node, decision, &mut span);
        }
        self.ancestry.settle(node);
        out.push(span);
    }

    /// Decides whose a call is with what is known now.
    fn decide(&mut self, node: Node) {
        let parent = match self.calls.get_mut(&node) {
            Some(call) => {
                let decision = self.ladder.decide(call.handle);
                call.decision = Some(decision);
                decision.parent.map_or(Parent::None, |evidence| Parent::Request(evidence.parent))
            }
            None => Parent::None,
        };
        self.ancestry.set_parent(node, parent);
    }

    /// Says on a call's span whose it is, or may be.
    fn describe(&self, node: Node, decision: Decision, span: &mut Span) {
        // What the application said is on it already.
        if span.parent.is_some() {
            return;
        }
        let tie = |evidence: Evidence| {
            let trace_id = self.ancestry.trace_id(evidence.parent)?;
            let span_id = self.ancestry.span_id(evidence.parent)?;
            Some(Tie { trace_id, span_id, method: evidence.tier, confidence: round(evidence.strength) })
        };
        match decision {
            Decision { parent: Some(evidence), is_background, .. } => {
                let is_it = self.ancestry.parent(node) == Some(Parent::Request(evidence.parent));
                if let Some(tie) = tie(evidence).filter(|_| is_it) {
                    span.parent = Some(tie.span_id);
                    span.attributes.extend(tie.attributes());
                    if is_background {
                        span.attributes.push(Attribute::new(BACKGROUND_KEY, true));
                    }
                }
            }
            Decision { candidate: Some(evidence), .. } => {
                if let Some(place) = span.links.iter_mut().find(|place| place.is_none()) {
                    *place = tie(evidence);
                    self.ledger.count(Count::UnsureLinks);
                }
            }
            Decision { .. } => {}
        }
    }
}

/// Whether a call carries the very context that came with the request it was made for.
fn is_passed_on(decision: Decision) -> bool {
    decision.parent.is_some_and(|evidence| evidence.tier == Method::Traceparent)
}

/// Three digits: more would differ between machines, and mean nothing.
fn round(strength: f64) -> f64 {
    (strength * 1000.0).round() / 1000.0
}
