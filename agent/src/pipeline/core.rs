//! What happens with each connection that is traced: what is spoken on it, and which spans come of it.

use std::sync::Arc;

use wirespan_common::mode::{Mode, Order};
use wirespan_common::record::Touch;

use super::identity::{self, Identity};
use super::recognise::Finding;
use super::relate::{Place, Relations};
use super::shed::Shed;
use super::state::{State, Watch};
use crate::config::{Connections, Options, Selection};
use crate::flow::fact::Host;
use crate::flow::kubernetes::{Cluster, Pod};
use crate::flow::{At, Chunk, Consumer, Cookie, Direction, Ending, Facts, Nanos, Role, Side};
use crate::ledger::{Count, Ledger, Reason};
use crate::proto::{Appetite, Detail, Event, Exchange, Oddity, Protocol};
use crate::trace::address::Addresses;
use crate::trace::clock::Clock;
use crate::trace::connection;
use crate::trace::connection_totals::Totals;
use crate::trace::http;
use crate::trace::process::Processes;
use crate::trace::span::{Scope, Span};

/// All that is not per connection.
pub(super) struct Core {
    pub(super) processes: Processes,
    pub(super) relations: Relations,
    pub(super) identity: Identity,
    pub(super) totals: Totals,
    pub(super) shed: Shed,
    pub(super) spans: Vec<Span>,
    pub(super) steering: Vec<(Cookie, Order)>,
    pub(super) options: Options,
    ledger: Arc<Ledger>,
    pub(super) clock: Clock,
    pub(super) own_tgid: u32,
    /// What the parser says; kept for its memory.
    events: Vec<Event>,
    /// Connections that are not traced and were met since the last record.
    pub(super) dropped: Vec<(Cookie, Reason)>,
}

impl Core {
    pub(super) fn new(options: Options, ledger: Arc<Ledger>) -> Self {
        Self {
            processes: Processes::new(options.selection.clone()),
            relations: Relations::new(&options, Arc::clone(&ledger)),
            identity: Identity::new(Arc::clone(&ledger)),
            totals: Totals::default(),
            shed: Shed::default(),
            spans: Vec::new(),
            steering: Vec::new(),
            options,
            ledger,
            clock: Clock::default(),
            own_tgid: 0,
            events: Vec::new(),
            dropped: Vec::new(),
        }
    }

    pub(super) fn set_host(&mut self, host: &Host) {
        self.processes.set_host(&host.name);
        self.relations.set_seed(host.seed);
        self.own_tgid = host.own_tgid;
        self.set_clock(host.boot_to_unix_ns);
    }

    pub(super) fn set_clock(&mut self, boot_to_unix_ns: i64) {
        self.clock = Clock::new(boot_to_unix_ns);
    }

    /// Something else is traced from now on.
    pub(super) fn select(&mut self, selection: &Selection) {
        self.options.selection = selection.clone();
        self.processes.select(selection.clone());
    }

    /// This machine is a node of a cluster.
    pub(super) fn set_cluster(&mut self, cluster: &Cluster) {
        self.processes.set_cluster(cluster);
        self.identity.changed();
    }

    /// A pod of this machine is there, or has changed.
    pub(super) fn learn_pod(&mut self, pod: &Pod) {
        self.processes.learn_pod(pod);
        self.identity.changed();
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Nanos) {
        self.identity.tick(now, &mut self.processes, &mut self.spans);
    }

    /// Nothing more will come.
    pub(super) fn release_all(&mut self, now: Nanos) {
        self.identity.release_all(now, &mut self.processes, &mut self.spans);
    }

    pub(super) fn steer(&mut self, facts: &Facts, state: &mut State, order: Order) {
        if state.order != Some(order) {
            state.order = Some(order);
            self.steering.push((facts.cookie, order));
        }
    }

    /// Of a connection that is read the kernel copies and tells what can be of use.
    pub(super) fn feed(&mut self, facts: &Facts, state: &mut State, appetite: Appetite) {
        let order = match appetite {
            Appetite::Nothing => Mode::Opaque.into(),
            Appetite::Heads { response_bytes } => {
                let is_followed = self.relations.family.follows(facts.task.tgid);
                Order { mode: if is_followed { Mode::Heads } else { Mode::Quiet }, response_bytes }
            }
        };
        self.steer(facts, state, order);
    }

    /// The protocol is known: what was kept of the message goes to its parser first.
    fn begin_parsing(
        &mut self,
        facts: &Facts,
        state: &mut State,
        way: Direction,
        (protocol, role, is_joined): (&'static Protocol, Role, bool),
    ) {
        let mut parser = (protocol.parser)(is_joined);
        if let Watch::Guessing(recognition) = &state.watch {
            for (at, bytes) in recognition.kept() {
                parser.push(Side::sending(role, way), at, Chunk::Bytes(bytes), &mut self.events);
            }
        }
        state.role = Some(role);
        state.protocol = Some(protocol);
        self.feed(facts, state, parser.appetite());
        state.watch = Watch::Parsing(parser);
    }

    /// Makes something of what the parser said.
    fn react(&mut self, facts: &Facts, state: &mut State) {
        let mut events = std::mem::take(&mut self.events);
        let mut over = None;
        if let Some(role) = state.role(facts) {
            for event in &mut events {
                match event {
                    &mut Event::Began { number, at } => {
                        let is_wanted = self.processes.is_wanted(facts.task.tgid);
                        let request = self.relations.began(facts, state, role, (number, at), is_wanted);
                        state.open.push_back(request);
                    }
                    Event::Asked { number, ask } => {
                        self.relations.family.asked(facts, state, role, *number, std::mem::take(ask));
                    }
                    Event::Exchange(exchange) => {
                        over = Some(exchange.end);
                        self.exchange(facts, state, role, exchange);
                    }
                    &mut Event::Stray { asked, answered } => {
                        self.relations.family.strayed(facts, state, role, (asked, answered));
                    }
                    Event::Tls(handshake) => state.tls = Some(handshake.clone()),
                    &mut Event::Oddity(oddity) => self.odd(oddity),
                }
            }
        }
        events.clear();
        self.events = events;
        if let Watch::Parsing(parser) = &state.watch {
            let appetite = parser.appetite();
            // What is wanted otherwise changes with what a request was answered.
            if over.is_some() || appetite == Appetite::Nothing {
                self.feed(facts, state, appetite);
            }
            if let Some(now) = over
                && state.open.is_empty()
                && appetite != Appetite::Nothing
            {
                self.consider_shedding(facts, state, now);
            }
        }
    }

    fn odd(&self, oddity: Oddity) {
        let count = match oddity {
            Oddity::Garbage => Count::Garbage,
            Oddity::Malformed => Count::MalformedHeads,
            Oddity::TooManyOpen => Count::TooManyOpen,
            // Bytes that were not copied are no loss; those that were lost are counted where they were missed. Where
            // reading went on is counted with the exchange: the handshake may turn out to be known after all.
            Oddity::Hole | Oddity::Resynchronised => return,
        };
        self.ledger.count(count);
    }

    /// A request is over: its span.
    fn exchange(&mut self, facts: &Facts, state: &mut State, role: Role, exchange: &mut Exchange) {
        let known = state.open.iter().position(|request| request.number == exchange.number);
        let mut request = match known.and_then(|at| state.open.remove(at)) {
            Some(request) => request,
            None => self.relations.began(facts, state, role, (exchange.number, exchange.began), true),
        };
        state.segment.requests += 1;
        self.relations.family.over(facts, state, role, &mut request, exchange);
        // What is said first on a connection needs no firm ground, even if the record of its opening came a little later.
        exchange.marks.resynchronised &= !(facts.from_start && exchange.began.pos == 0);
        if exchange.marks.resynchronised {
            self.ledger.count(Count::Resynchronised);
        }
        if exchange.marks.truncated {
            self.ledger.count(Count::TruncatedHeads);
        }
        if !self.processes.is_wanted(facts.task.tgid) {
            self.relations.family.drop(&request);
            return;
        }
        let Detail::Http(http) = &exchange.detail;
        let addresses = Addresses::cached(&mut state.addresses, facts);
        let description = http::describe(exchange, http, facts, addresses, role, self.options.legacy_http_names);
        let Place { trace_id, parent, flags, trace_state, beside } =
            self.relations.place(facts, role, &mut request, exchange.end, http);

        let mut attributes = description.attributes;
        let on = self.relations.connection_of(facts, state);
        let lineage = self.relations.lineage(facts, state);
        attributes.put(connection::ID_KEY, lineage.first.text());
        if let Some(parent) = &parent {
            attributes.extend(parent.attributes());
        }
        let has_connection_span = self.options.connections == Connections::Spans;
        let (start_unix_ns, end_unix_ns) = self.clock.span(exchange.began.time, exchange.end);
        let mut span = Span {
            trace_id,
            span_id: request.span_id,
            parent: parent.map(|parent| parent.span_id),
            parent_is_remote: parent.is_some(),
            flags,
            trace_state,
            kind: description.kind,
            name: description.name.into(),
            start_unix_ns,
            end_unix_ns,
            attributes: attributes.finish(),
            links: [has_connection_span.then_some(on), beside],
            status: description.status,
            resource: self.processes.resource(facts.task.tgid),
            scope: Scope::L7,
            awaits: None,
        };
        let partner = match role {
            Role::Client => self.relations.family.who_answered(request.node),
            Role::Server => request.client_tgid,
        };
        let question = Some(identity::question(facts, role));
        let subject = identity::Subject { tgid: facts.task.tgid, partner, question, end: exchange.end };
        self.identity.tell(&mut span, subject, &mut state.peer, &self.processes);
        self.relations.family.finish(request.node, span, exchange.end, &mut self.spans);
    }

    /// A traced connection is over.
    fn end(&mut self, facts: &Facts, state: &mut State, ending: Ending, time: Nanos) {
        self.relations.meet(facts, state, time);
        match &mut state.watch {
            Watch::Parsing(parser) => {
                parser.ended(ending, time, &mut self.events);
                self.react(facts, state);
            }
            Watch::Guessing(recognition) if recognition.has_failed() => self.ledger.count(Count::UnknownProtocol),
            Watch::Guessing(_) | Watch::Shed(_) | Watch::Unknown | Watch::Suppressed(_) => {}
        }
        self.count_connection(facts, state, Some(ending));
        if self.options.connections == Connections::Spans {
            self.connection_span(facts, state, Some(ending), time);
        }
    }
}

impl Consumer for Core {
    type State = State;

    fn chunk(&mut self, facts: &mut Facts, state: &mut State, way: Direction, at: At, chunk: Chunk<'_>) {
        if !self.admits(facts, state, at.time) {
            return;
        }
        self.relations.meet(facts, state, at.time);
        if let Watch::Guessing(recognition) = &mut state.watch {
            match recognition.push(state.role.or(facts.role), facts.from_start, way, at, chunk) {
                Finding::Open => {}
                Finding::Unknown => {
                    state.watch = Watch::Unknown;
                    self.ledger.count(Count::UnknownProtocol);
                    self.steer(facts, state, Mode::Opaque.into());
                }
                Finding::Known { protocol, sender, is_joined } => {
                    let role = Role::where_sends(sender, way);
                    self.begin_parsing(facts, state, way, (protocol, role, is_joined));
                }
            }
        }
        match (&mut state.watch, state.role) {
            (Watch::Parsing(parser), Some(role)) => {
                parser.push(Side::sending(role, way), at, chunk, &mut self.events);
                self.react(facts, state);
            }
            // It was on its way when the connection was left out.
            (Watch::Shed(_), _) if matches!(chunk, Chunk::Bytes(_)) => self.dropped.push((facts.cookie, Reason::Shed)),
            _ => {}
        }
        state.reach(way, at.pos.saturating_add(chunk.len()));
    }

    fn touched(&mut self, facts: &mut Facts, state: &mut State, touch: &Touch) {
        if self.admits(facts, state, Nanos(touch.header.time_ns)) && !matches!(state.watch, Watch::Shed(_)) {
            self.relations.family.touched(facts, state, touch);
        }
    }

    fn turned(&mut self, state: &mut State, _way: Direction) {
        if let Watch::Guessing(recognition) = &mut state.watch {
            recognition.turned();
        }
    }

    fn missed(&mut self, facts: &mut Facts, state: &mut State, way: Direction, time: Nanos, len: u64) {
        if self.admits(facts, state, time)
            && let (Watch::Parsing(parser), Some(role)) = (&mut state.watch, state.role)
        {
            parser.push(Side::sending(role, way), At { time, pos: 0 }, Chunk::Gap(len), &mut self.events);
            self.react(facts, state);
        }
    }

    fn finished(&mut self, facts: &mut Facts, state: &mut State, way: Direction, time: Nanos) {
        if !self.admits(facts, state, time) {
            return;
        }
        if let (Watch::Parsing(parser), Some(role)) = (&mut state.watch, state.role) {
            parser.finished(Side::sending(role, way), time, &mut self.events);
            self.react(facts, state);
        }
    }

    fn refreshed(&mut self, facts: &mut Facts, state: &mut State, time: Nanos) {
        if self.admits(facts, state, time) {
            self.relations.meet(facts, state, time);
            self.count_connection(facts, state, None);
            self.report_segment(facts, state, time);
        }
    }

    fn ended(&mut self, facts: &mut Facts, mut state: State, ending: Ending, time: Nanos) {
        if self.admits(facts, &mut state, time) {
            self.end(facts, &mut state, ending, time);
        }
        self.void(facts, state);
    }

    fn void(&mut self, facts: &mut Facts, mut state: State) {
        self.end_shedding(&mut state);
        state.open.drain(..).for_each(|request| self.relations.family.drop(&request));
        self.relations.family.closed(facts);
        // The kernel forgets the socket by itself, or what was ordered for it.
        self.steering.retain(|(cookie, _)| *cookie != facts.cookie);
    }
}
