//! Requests whose records were lost in part, as their answers show them: what the ladder is told of them.

use wirespan_common::record::TaskId;

use super::family::Family;
use super::state::{Request, State};
use crate::flow::{Facts, Nanos, Role};
use crate::proto::Exchange;
use crate::trace::address;
use crate::trace::ladder::{MissedCall, MissedRequest};
use crate::trace::span::{SpanId, TraceId};

impl Family {
    /// An answer came to a request of which nothing was seen.
    pub(super) fn strayed(
        &mut self,
        facts: &Facts,
        state: &mut State,
        role: Role,
        (asked, answered): (Option<Nanos>, Nanos),
    ) {
        if !self.sides.may_join(facts.task.tgid) || self.sides.is_blind(facts.task.tgid) {
            return;
        }
        match role {
            Role::Client => {
                let taken_by = state.took_unseen.take();
                let is_first = state.free_since.is_none() && facts.from_start;
                let free_since = state.free_since.replace(answered);
                let missed = self.ladder.missed_call(&MissedCall {
                    task: taken_by.unwrap_or(facts.task),
                    sent: asked.or(free_since).unwrap_or(answered),
                    opened: facts.connecting.filter(|_| is_first).map(|at| (at, facts.opener)),
                    free_since,
                    destination: address::number(facts.dialled.unwrap_or(facts.remote)),
                    answered,
                });
                state.unheard = missed.filter(|_| taken_by.is_none());
            }
            Role::Server => {
                let missed = MissedRequest {
                    node: None,
                    socket: facts.cookie,
                    task: state.reader,
                    operation: 0,
                    read: state.untaken.take().or(asked).unwrap_or(answered),
                    answered,
                };
                self.missed(&missed);
            }
        }
    }

    /// A request was answered that nobody was seen to take.
    pub(super) fn untaken(&mut self, facts: &Facts, request: &Request, exchange: &Exchange) {
        let (Some(answered), Some(ask)) = (exchange.response_began, &request.ask) else { return };
        let missed = MissedRequest {
            node: Some(request.node),
            socket: facts.cookie,
            task: TaskId { tid: facts.sender.tid, tgid: facts.task.tgid },
            operation: ask.operation,
            read: request.began.time,
            answered,
        };
        self.missed(&missed);
    }

    fn missed(&mut self, missed: &MissedRequest) {
        let ancestry = &mut self.ancestry;
        self.ladder.missed_request(missed, || {
            let node = ancestry.born(SpanId([0; 8]), TraceId([0; 16]));
            ancestry.over(node);
            node
        });
    }
}
