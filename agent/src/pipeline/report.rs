//! What is told of a connection itself, besides the requests on it: spans of its parts, or its share of the totals.

use super::core::Core;
use super::identity;
use super::state::{Segment, State};
use crate::config::Connections;
use crate::flow::{Ending, Facts, Nanos};
use crate::trace::connection::{self, Part, Reported};

impl Core {
    /// A part of a connection is over: its span. `ending` is `None` where the connection goes on.
    pub(super) fn connection_span(&mut self, facts: &Facts, state: &mut State, ending: Option<Ending>, end: Nanos) {
        let lineage = self.relations.lineage(facts, state);
        let role = state.role(facts);
        let Segment { number, before, requests, .. } = state.segment;
        let part = Part {
            number,
            span_id: self.relations.segment_span(facts, state, &lineage),
            start: state.segment_start(facts),
            end,
            ending,
            before,
            requests,
            protocol: state.protocol.map(|protocol| protocol.name),
            tls: state.tls.as_deref(),
        };
        if self.processes.is_wanted(facts.task.tgid) {
            let resource = self.processes.resource(facts.task.tgid);
            let mut span = connection::span(facts, role, &lineage, &part, self.clock, resource);
            let question = role.map(|role| identity::question(facts, role));
            let subject = identity::Subject { tgid: facts.task.tgid, partner: 0, question, end };
            self.identity.tell(&mut span, subject, &mut state.peer, &self.processes);
            self.spans.push(span);
        }
        state.segment =
            Segment { number: number.saturating_add(1), start: Some(end), before: Reported::now(facts), requests: 0 };
    }

    /// A connection that lives long is reported while it lives. Segments in which nothing happened are not reported,
    /// but for the first, which makes the connection visible: 20 000 idle connections cost nothing.
    pub(super) fn report_segment(&mut self, facts: &Facts, state: &mut State, now: Nanos) {
        let age_ns = now.0.saturating_sub(state.segment_start(facts).0);
        let segment = &state.segment;
        let is_news = segment.number == 0 || segment.requests > 0 || segment.before != Reported::now(facts);
        if self.options.connections == Connections::Spans
            && self.options.segment_ns > 0
            && age_ns >= self.options.segment_ns
            && is_news
        {
            self.connection_span(facts, state, None, now);
        }
    }

    /// Adds what is new of a connection to the totals of its process.
    pub(super) fn count_connection(&mut self, facts: &Facts, state: &mut State, ending: Option<Ending>) {
        if self.options.connections != Connections::Metrics {
            return;
        }
        // Who listens stands in for who accepts, until somebody reads or sends: all that was counted goes with the socket.
        let (tgid, role) = (facts.task.tgid, state.role(facts));
        let resource = self.processes.resource(tgid);
        let before = match state.counted {
            Some((before_tgid, before_role, counted)) => {
                if (before_tgid, before_role) != (tgid, role) {
                    self.totals.taken_back(before_tgid, before_role, counted);
                    self.totals.taken_over(tgid, role, &resource, counted);
                }
                counted
            }
            None => {
                self.totals.opened(tgid, role, &resource);
                Reported::default()
            }
        };
        self.totals.moved(tgid, role, &resource, facts, before);
        state.counted = Some((tgid, role, Reported::now(facts)));
        if let Some(ending) = ending {
            self.totals.ended(tgid, role, &resource, ending);
        }
    }
}
