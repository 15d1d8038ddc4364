//! Spans to whole traces: spans of one trace arrive one by one, out of order, and a connection's span comes when the
//! connection ends, often after the requests on it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::limit::Limit;
use crate::trace::span::{Scope, Span, SpanId, TraceId, Value};

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
/// Connection spans that wait at most, about 1.5 KiB each; the oldest goes first.
const CONNECTIONS: usize = 4_096;
/// Traces shown per second, and at once after a pause: what a person can follow.
const TRACES_PER_SECOND: u32 = 10;
const TRACES_BURST: u32 = 20;
/// Connections without requests shown per second, and at once: a port scan must not hide the requests.
const CONNECTIONS_PER_SECOND: u32 = 5;
const CONNECTIONS_BURST: u32 = 10;
/// How long, and how many, ids are remembered: a trace that is left out stays out, a connection that carried requests
/// is not shown as one without. About 40 bytes each, twice.
const REMEMBER: Duration = Duration::from_secs(120);
const REMEMBERED: usize = 16_384;

/// What can be shown now, and what was left out since the last time.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pub(super) traces: Vec<Trace>,
    pub(super) connections: Vec<Span>,
    pub(super) shown: usize,
    pub(super) summarised: usize,
    pub(super) traces_left_out: usize,
    pub(super) connections_left_out: usize,
}

/// The spans of a trace, each with the connection it lies on where that is known.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) spans: Vec<(Span, Option<Arc<Span>>)>,
}

/// By what a request and a connection find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Name {
    /// The connection's span: what the request's span links to.
    Span(SpanId),
    /// `wirespan.connection.id`: for connections reported in segments.
    Id(u64),
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
    open: HashMap<TraceId, Open>,
    held: VecDeque<Held>,
    /// Number of the first in `held`.
    held_from: u64,
    by_name: HashMap<Name, u64>,
    left_out: Remembered<TraceId>,
    carriers: Remembered<Name>,
    limits: Option<(Limit, Limit)>,
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
            open: HashMap::new(),
            held: VecDeque::new(),
            held_from: 0,
            by_name: HashMap::new(),
            left_out: Remembered::default(),
            carriers: Remembered::default(),
            limits: None,
            ready: Ready::default(),
        }
    }

    pub(super) fn push(&mut self, span: Span, now: Instant) {
        match span.scope {
            Scope::L4 => self.hold(span, now),
            Scope::L7 => self.add(span, now),
        }
    }

    /// When something will be due at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        let oldest = self.held.front().map(|held| held.since + CONNECTION_WAIT);
        self.open.values().map(Open::due).chain(oldest).min()
    }

    /// What is due now.
    pub(super) fn advance(&mut self, now: Instant) -> Ready {
        self.take_traces(|open| open.due() <= now);
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

    fn add(&mut self, span: Span, now: Instant) {
        for name in names_of_connections(&span) {
            self.carriers.insert(name, now);
        }
        let id = span.trace_id;
        if !self.open.contains_key(&id) && !self.admit(id, now) {
            self.ready.summarised += 1;
            return;
        }
        let open =
            self.open.entry(id).or_insert_with(|| Open { spans: Vec::new(), first: now, last: now, rooted: false });
        open.last = now;
        open.rooted |= span.parent.is_none();
        open.spans.push(span);
    }

    fn admit(&mut self, id: TraceId, now: Instant) -> bool {
        let Some((traces, _)) = &mut self.limits else { return true };
        if self.left_out.contains(&id) {
            return false;
        }
        if traces.pass(now) {
            return true;
        }
        self.left_out.insert(id, now);
        self.ready.traces_left_out += 1;
        false
    }

    fn hold(&mut self, span: Span, now: Instant) {
        if self.limits.is_some() && self.held.len() >= CONNECTIONS {
            self.release_oldest(now);
        }
        let number = self.held_from + self.held.len() as u64;
        for name in names_of_itself(&span) {
            self.by_name.insert(name, number);
        }
        self.held.push_back(Held { span: Arc::new(span), since: now, shown: false });
    }

    /// The oldest connection has waited long enough: shown with its requests, left out with them, or on its own.
    fn release_oldest(&mut self, now: Instant) {
        let Some(held) = self.held.pop_front() else { return };
        let number = self.held_from;
        self.held_from += 1;
        let mut carried = matches!(held.span.get("wirespan.connection.requests"), Some(Value::Int(1..)));
        for name in names_of_itself(&held.span) {
            carried |= self.carriers.contains(&name);
            if self.by_name.get(&name) == Some(&number) {
                self.by_name.remove(&name);
            }
        }
        if held.shown {
            return;
        }
        if carried {
            self.ready.summarised += 1;
        } else if self.limits.as_mut().is_none_or(|(_, connections)| connections.pass(now)) {
            self.ready.shown += 1;
            // Nothing else holds one that was not shown; were it so, a copy does as well.
            self.ready.connections.push(Arc::unwrap_or_clone(held.span));
        } else {
            self.ready.summarised += 1;
            self.ready.connections_left_out += 1;
        }
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
        let number = names_of_connections(span).find_map(|name| self.by_name.get(&name))?;
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

/// What a request may call the connections it lies on.
fn names_of_connections(request: &Span) -> impl Iterator<Item = Name> + '_ {
    request.links.iter().map(|link| Name::Span(link.span_id)).chain(name_by_id(request))
}

/// What a connection's span may be called by.
fn names_of_itself(connection: &Span) -> impl Iterator<Item = Name> + '_ {
    std::iter::once(Name::Span(connection.span_id)).chain(name_by_id(connection))
}

fn name_by_id(span: &Span) -> Option<Name> {
    let mut hasher = DefaultHasher::new();
    match span.get("wirespan.connection.id")? {
        Value::Str(id) => id.hash(&mut hasher),
        Value::Int(id) => id.hash(&mut hasher),
        _ => return None,
    }
    Some(Name::Id(hasher.finish()))
}

/// A set that forgets what is old, in two generations.
#[derive(Debug)]
struct Remembered<T> {
    new: HashSet<T>,
    old: HashSet<T>,
    since: Option<Instant>,
}

impl<T: Eq + Hash> Remembered<T> {
    fn insert(&mut self, id: T, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if self.new.len() >= REMEMBERED || now.saturating_duration_since(since) >= REMEMBER {
            self.old = std::mem::take(&mut self.new);
            self.since = Some(now);
        }
        self.new.insert(id);
    }

    fn contains(&self, id: &T) -> bool {
        self.new.contains(id) || self.old.contains(id)
    }
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { new: HashSet::new(), old: HashSet::new(), since: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::fixture;

    fn at(base: Instant, ms: u64) -> Instant {
        base + Duration::from_millis(ms)
    }

    #[test]
    fn a_trace_is_shown_once_its_root_has_ended_and_it_is_quiet() {
        let (curl, nginx, base) = (fixture::resource("curl"), fixture::resource("nginx"), Instant::now());
        let mut gather = Gather::new();
        gather.push(fixture::server(1, &nginx), base);
        gather.push(fixture::client(1, &curl), at(base, 100));
        assert!(gather.advance(at(base, 399)).traces.is_empty());
        assert_eq!(gather.due(), Some(at(base, 400)));
        let ready = gather.advance(at(base, 400));
        assert_eq!((ready.traces.len(), ready.shown), (1, 2));
        assert_eq!(gather.due(), None);
    }

    #[test]
    fn a_trace_without_its_root_is_shown_after_a_second() {
        let (nginx, base) = (fixture::resource("nginx"), Instant::now());
        let mut gather = Gather::new();
        gather.push(fixture::server(1, &nginx), base);
        assert!(gather.advance(at(base, 999)).traces.is_empty());
        assert_eq!(gather.advance(at(base, 1_000)).traces.len(), 1);
    }

    #[test]
    fn a_trace_that_never_falls_quiet_is_shown_in_pieces() {
        let (curl, base) = (fixture::resource("curl"), Instant::now());
        let mut gather = Gather::new();
        let pieces = (0..=100_u64)
            .map(|tick| {
                gather.push(fixture::client(1, &curl), at(base, tick * 100));
                gather.advance(at(base, tick * 100)).traces.len()
            })
            .sum::<usize>();
        assert_eq!(pieces, 1, "one after five seconds, the second one second short");
    }

    #[test]
    fn a_connection_is_shown_with_its_request_or_on_its_own() {
        let (curl, base) = (fixture::resource("curl"), Instant::now());
        let mut gather = Gather::new();
        gather.push(fixture::client(1, &curl), base);
        gather.push(fixture::connection(1, &curl), at(base, 1));
        let mut alone = fixture::connection(2, &curl);
        alone.attributes.clear();
        gather.push(alone, at(base, 1));
        let ready = gather.advance(at(base, 300));
        assert!(ready.traces[0].spans[0].1.is_some());
        assert_eq!((ready.shown, ready.connections.len()), (2, 0));
        let ready = gather.advance(at(base, 1_301));
        assert_eq!((ready.shown, ready.summarised, ready.connections.len()), (1, 0, 1));
    }

    #[test]
    fn a_connection_whose_requests_were_shown_before_is_not_shown_as_one_without() {
        let (curl, base) = (fixture::resource("curl"), Instant::now());
        let mut gather = Gather::new();
        gather.push(fixture::client(1, &curl), base);
        assert_eq!(gather.advance(at(base, 300)).shown, 1);
        gather.push(fixture::connection(1, &curl), at(base, 60_000));
        let ready = gather.advance(at(base, 62_000));
        assert_eq!((ready.shown, ready.summarised), (0, 1));
    }

    #[test]
    fn what_is_too_much_is_left_out_and_every_span_is_accounted_for() {
        let (curl, nginx, base) = (fixture::resource("curl"), fixture::resource("nginx"), Instant::now());
        let mut gather = Gather::new();
        for n in 0..100 {
            gather.push(fixture::client(n, &curl), base);
            gather.push(fixture::server(n, &nginx), base);
        }
        for n in 100..200 {
            let mut alone = fixture::connection(n, &curl);
            alone.attributes.clear();
            gather.push(alone, base);
        }
        let first = gather.advance(at(base, 300));
        assert_eq!((first.traces.len(), first.traces_left_out), (20, 80));
        let second = gather.advance(at(base, 1_300));
        assert_eq!((second.connections.len(), second.connections_left_out), (10, 90));
        assert_eq!(first.shown + first.summarised + second.shown + second.summarised, 300);
    }
}
