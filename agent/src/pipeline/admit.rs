//! Whether a connection is traced: the agent's own are not, nor those that nobody asked for.

use wirespan_common::mode::Mode;

use super::core::Core;
use super::state::{State, Watch};
use crate::flow::record::Record;
use crate::flow::{Cookie, Facts, Nanos};
use crate::ledger::Reason;

impl Core {
    /// Why a record is of no use to anyone, if it is.
    pub(super) fn take_dropped(&mut self, record: &Record<'_>) -> Option<Reason> {
        let cookie = match record {
            Record::Segment { segment, .. } => Some(Cookie(segment.cookie)),
            Record::Socket(socket) => Some(Cookie(socket.cookie)),
            Record::Touch(touch) => Some(Cookie(touch.cookie)),
            Record::Task(_) | Record::Relation(_) | Record::Routine(_) | Record::Fact { .. } => None,
        };
        let dropped = self.dropped.iter().find(|(met, _)| Some(*met) == cookie).map(|&(_, reason)| reason);
        self.dropped.clear();
        dropped
    }

    /// Whether a connection is traced. Once it is not, it never is: where its process is selected again, the kernel tells of
    /// another in its place.
    pub(super) fn admits(&mut self, facts: &Facts, state: &mut State, now: Nanos) -> bool {
        state.met.get_or_insert(facts.first_seen);
        if !matches!(state.watch, Watch::Suppressed(_))
            && let Some(reason) = self.objection(facts, state, now)
        {
            self.end_shedding(state);
            state.watch = Watch::Suppressed(reason);
            state.open.drain(..).for_each(|request| self.relations.family.drop(&request));
            if let Some((tgid, role, counted)) = state.counted.take() {
                self.totals.taken_back(tgid, role, counted);
            }
            // The kernel looks again at whose process is not selected. Of ports it knows nothing.
            let is_its_process = reason == Reason::Deselected && self.processes.is_deselected(facts.task.tgid);
            let mode = if is_its_process { Mode::Unselected } else { Mode::Off };
            self.steer(facts, state, mode.into());
        }
        if let Watch::Suppressed(reason) = state.watch {
            self.dropped.push((facts.cookie, reason));
            if reason == Reason::Own
                && !state.is_offered
                && self.is_an_agents(facts)
                && let Some(role) = state.role(facts)
            {
                state.is_offered = self.relations.note_own(facts, role, now);
            }
        }
        !matches!(state.watch, Watch::Suppressed(_))
    }

    fn objection(&mut self, facts: &Facts, state: &mut State, now: Nanos) -> Option<Reason> {
        let tgid = facts.task.tgid;
        if self.is_our_own(facts) || self.relations.talks_to_us(facts, state.role(facts), now) {
            return Some(Reason::Own);
        }
        let remote = facts.dialled.unwrap_or(facts.remote);
        if !self.options.selection.takes_ports(facts.local.port, remote.port) {
            return Some(Reason::Deselected);
        }
        // Asked again only when the answer may be another.
        let question = Some((tgid, self.processes.epoch()));
        if state.asked != question {
            state.asked = question;
            if self.processes.is_agent(tgid) {
                return Some(Reason::Own);
            }
            return self.processes.is_deselected(tgid).then_some(Reason::Deselected);
        }
        None
    }

    fn is_our_own(&self, facts: &Facts) -> bool {
        let tgid = facts.task.tgid;
        facts.own || (tgid != 0 && tgid == self.own_tgid)
    }

    /// Whether this is an agent's end of a connection. Two agents on a machine that traced each other would never come to
    /// rest: the spans of what the one sends would be what the other sends.
    fn is_an_agents(&self, facts: &Facts) -> bool {
        self.is_our_own(facts) || self.processes.is_agent(facts.task.tgid)
    }
}
