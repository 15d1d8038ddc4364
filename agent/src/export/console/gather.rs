//! Spans to whole traces: spans of one trace arrive one by one, out of order, and a connection's span comes when the
//! connection ends, often after the requests on it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ids::{self, Recent, Secret};
use super::limit::Limit;
use crate::trace::span::{Scope, Span, Value};

/// A trace whose root has ended is complete after so long without another span.
const QUIET: Duration = Duration::from_millis(300);
/// A trace whose root has not been seen is shown after so long without another span; with the quiet time of the
/// joiner this stays below two seconds.
const ROOTLESS: Duration = Duration::from_millis(1_000);
/// A trace that never falls quiet is shown in pieces of this length.
const LONGEST: Duration = Duration::from_secs(5);
/// And of at most so many spans: about four screens.
const TRACE_SPANS: usize = 200;
/// A connection's span waits so long for the requests on it.
const CONNECTION_WAIT: Duration = Duration::from_millis(1_300);
/// Connection spans that wait at most, about 1.5 KiB each. When there is no room only those wait that a trace already
/// gathered lies on, up to twice as many: at more than 400 connections a second a request shown may lack its line about
/// the connection, if that ended long before.
const CONNECTIONS: usize = 512;
/// Traces shown per second, and at once after a pause: what a person can follow.
const TRACES_PER_SECOND: u32 = 10;
const TRACES_BURST: u32 = 20;
/// Connections without requests shown per second, and at once: a port scan must not hide the requests.
const CONNECTIONS_PER_SECOND: u32 = 5;
const CONNECTIONS_BURST: u32 = 10;
/// How many ids are remembered, as a power of two: a trace that is left out stays out, a connection that carried requests
/// is not shown as one without.
const REMEMBERED_BITS: u32 = 14;

/// What can be shown now, and what was left out since the last time.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pub(super) traces: Vec<Trace>,
    pub(super) connections: Vec<Arc<Span>>,
    pub(super) shown: usize,
    pub(super) left_out: LeftOut,
}

/// What is not shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// All spans, among them those of traces counted before.
    pub(super) spans: usize,
    /// Traces of which nothing is shown.
    pub(super) traces: usize,
    /// Connections on which nothing was asked.
    pub(super) lone_connections: usize,
    /// Connections on which something was asked, be it shown or not.
    pub(super) connections: usize,
}

/// The spans of a trace, each with the connection it lies on where that is known.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) spans: Vec<(Span, Option<Arc<Span>>)>,
}

#[derive(Debug)]
struct Open {
    spans: Vec<Span>,
    first: Instant,
    last: Instant,
    rooted: bool,
}

#[derive(Debug)]
struct Held {
    span: Arc<Span>,
    since: Instant,
    shown: bool,
}

#[derive(Debug)]
pub(super) struct Gather {
    open: HashMap<u128, Open, Secret>,
    /// Nothing in `open` is due before.
    open_due: Option<Instant>,
    held: VecDeque<Held>,
    /// Number of the first in `held`.
    held_from: u64,
    /// Connections in `held` by what requests link to.
    by_id: HashMap<u128, u64, Secret>,
    left_out: Recent,
    /// Connections that requests were seen on: those of traces gathered, and those that say so themselves.
    carriers: Recent,
    limits: Option<(Limit, Limit)>,
    /// When the first span came, and the time of the last with the seconds until then.
    first: Option<Instant>,
    last: Option<(Instant, u32)>,
    ready: Ready,
}

impl Gather {
    pub(super) fn new() -> Self {
        Self {
            limits: Some((
                Limit::new(TRACES_PER_SECOND, TRACES_BURST),
                Limit::new(CONNECTIONS_PER_SECOND, CONNECTIONS_BURST),
            )),
            ..Self::unlimited()
        }
    }

    /// Leaves nothing out: for spans that are all there already.
    pub(super) fn unlimited() -> Self {
        Self {
            open: HashMap::default(),
            open_due: None,
            held: VecDeque::new(),
            held_from: 0,
            by_id: HashMap::default(),
            left_out: Recent::new(REMEMBERED_BITS),
            carriers: Recent::new(REMEMBERED_BITS),
            limits: None,
            first: None,
            last: None,
            ready: Ready::default(),
        }
    }

    /// Takes a span into account. It is copied only if it may be shown.
    pub(super) fn push(&mut self, span: &Span, now: Instant) {
        match span.scope {
            Scope::L4 => self.hold(span, now),
            Scope::L7 => self.add(span, now),
        }
    }

    /// When something will be due, or may be.
    pub(super) fn due(&self) -> Option<Instant> {
        let oldest = self.held.front().map(|held| held.since + CONNECTION_WAIT);
        self.open_due.into_iter().chain(oldest).min()
    }

    /// What is due now.
    pub(super) fn advance(&mut self, now: Instant) -> Ready {
        if self.open_due.is_some_and(|due| due <= now) {
            self.take_traces(|open| open.due() <= now);
            self.open_due = self.open.values().map(Open::due).min();
        }
        while self.held.front().is_some_and(|held| held.since + CONNECTION_WAIT <= now) {
            self.release_oldest(now);
        }
        std::mem::take(&mut self.ready)
    }

    /// Everything that is left.
    pub(super) fn finish(&mut self) -> Ready {
        self.take_traces(|_| true);
        while let Some(held) = self.held.front() {
            let since = held.since;
            self.release_oldest(since);
        }
        std::mem::take(&mut self.ready)
    }

    fn add(&mut self, span: &Span, now: Instant) {
        let id = ids::of_trace(span.trace_id);
        if !self.open.contains_key(&id) && !self.admit(id, now) {
            self.ready.left_out.spans += 1;
            return;
        }
        let second = self.second(now);
        for link in span.links() {
            self.carriers.insert(ids::of_span(link.span_id), second);
        }
        let open =
            self.open.entry(id).or_insert_with(|| Open { spans: Vec::new(), first: now, last: now, rooted: false });
        open.last = now;
        open.rooted |= span.parent.is_none();
        open.spans.push(span.clone());
        let due = open.due();
        self.open_due = Some(self.open_due.map_or(due, |other| other.min(due)));
    }

    fn admit(&mut self, id: u128, now: Instant) -> bool {
        let second = self.second(now);
        let Some((traces, _)) = &mut self.limits else { return true };
        if self.left_out.contains(id, second) {
            return false;
        }
        if traces.pass(now) {
            return true;
        }
        self.left_out.insert(id, second);
        self.ready.left_out.traces += 1;
        false
    }

    fn hold(&mut self, span: &Span, now: Instant) {
        if self.limits.is_some() && self.held.len() >= CONNECTIONS {
            let second = self.second(now);
            let is_wanted = ids_of_connection(span).any(|id| self.carriers.contains(id, second));
            if !is_wanted || self.held.len() >= 2 * CONNECTIONS {
                return self.release(span, now, || Arc::new(span.clone()));
            }
        }
        let number = self.held_from + self.held.len() as u64;
        for id in ids_of_connection(span) {
            self.by_id.insert(id, number);
        }
        self.held.push_back(Held { span: Arc::new(span.clone()), since: now, shown: false });
    }

    /// The oldest connection has waited long enough.
    fn release_oldest(&mut self, now: Instant) {
        let Some(Held { span, shown, .. }) = self.held.pop_front() else { return };
        let number = self.held_from;
        self.held_from += 1;
        for id in ids_of_connection(&span) {
            if self.by_id.get(&id) == Some(&number) {
                self.by_id.remove(&id);
            }
        }
        if !shown {
            self.release(&span, now, || Arc::clone(&span));
        }
    }

    /// A connection that is shown with none of its requests is left out with them, or shown on its own.
    fn release(&mut self, span: &Span, now: Instant, take: impl FnOnce() -> Arc<Span>) {
        let second = self.second(now);
        let carried = matches!(span.get("wirespan.connection.requests"), Some(Value::Int(1..)))
            || ids_of_connection(span).any(|id| self.carriers.contains(id, second));
        if carried {
            // A later segment without any is still one of a connection that carried some.
            ids_of_connection(span).for_each(|id| self.carriers.insert(id, second));
            self.ready.left_out.spans += 1;
            self.ready.left_out.connections += 1;
        } else if self.limits.as_mut().is_none_or(|(_, connections)| connections.pass(now)) {
            self.ready.shown += 1;
            self.ready.connections.push(take());
        } else {
            self.ready.left_out.spans += 1;
            self.ready.left_out.lone_connections += 1;
        }
    }

    /// Seconds since the first span. Spans come many at a time, so it is mostly known already.
    fn second(&mut self, now: Instant) -> u32 {
        if let Some((last, second)) = self.last
            && last == now
        {
            return second;
        }
        let since = now.saturating_duration_since(*self.first.get_or_insert(now));
        let second = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
        self.last = Some((now, second));
        second
    }

    fn take_traces(&mut self, is_due: impl Fn(&Open) -> bool) {
        let mut due: Vec<Open> = self.open.extract_if(|_, open| is_due(open)).map(|(_, open)| open).collect();
        due.sort_by_key(|open| open.spans.iter().map(|span| (span.start_unix_ns, span.span_id)).min());
        for open in due {
            let mut spans = Vec::with_capacity(open.spans.len());
            for span in open.spans {
                let connection = self.connection_of(&span);
                spans.push((span, connection));
            }
            let trace = Trace { spans };
            self.ready.shown += trace.spans.len();
            self.ready.traces.push(trace);
        }
    }

    fn connection_of(&mut self, span: &Span) -> Option<Arc<Span>> {
        let number = span.links().find_map(|link| self.by_id.get(&ids::of_span(link.span_id)))?;
        let held = self.held.get_mut(usize::try_from(number - self.held_from).ok()?)?;
        if !held.shown {
            held.shown = true;
            self.ready.shown += 1;
        }
        Some(Arc::clone(&held.span))
    }
}

impl Open {
    fn due(&self) -> Instant {
        if self.spans.len() >= TRACE_SPANS {
            return self.first;
        }
        let quiet = self.last + if self.rooted { QUIET } else { ROOTLESS };
        quiet.min(self.first + LONGEST)
    }
}

/// What requests may link to when they mean this connection: its span, or that of its first segment.
fn ids_of_connection(span: &Span) -> impl Iterator<Item = u128> + '_ {
    std::iter::once(span.span_id).chain(span.links().map(|link| link.span_id)).map(ids::of_span)
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
