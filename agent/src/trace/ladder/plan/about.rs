//! What is known of one action, to be asked of many requests at once: most that are open have done the same as others.

use smallvec::SmallVec;

use super::{Action, History, NEITHER, Plans, Step, share};
use crate::trace::ladder::timeline::USUAL_SPREAD;

/// What is known of an action of requests.
pub(in crate::trace::ladder) struct About<'a> {
    plans: &'a Plans,
    action: u64,
    usual: Option<f64>,
    /// Of each history that was asked about.
    known: SmallVec<[(History, Option<&'a Action>); HISTORIES]>,
}

/// Requests that are open have mostly one of so many histories.
const HISTORIES: usize = 8;

/// What is known of an action of requests with a history.
#[derive(Clone, Copy)]
pub(in crate::trace::ladder) struct Known<'a> {
    plans: &'a Plans,
    action: &'a Action,
    operation: u64,
    usual: Option<f64>,
}

impl<'a> About<'a> {
    /// What is known of requests with this history; `None` if none was seen to take the action.
    pub(in crate::trace::ladder) fn known(&mut self, history: History) -> Option<Known<'a>> {
        let action = match self.known.iter().find(|(known, _)| *known == history) {
            Some(&(_, action)) => action,
            None => {
                let action = self.plans.action(history, self.action);
                if self.known.len() < HISTORIES {
                    self.known.push((history, action));
                }
                action
            }
        };
        Some(Known { plans: self.plans, action: action?, operation: history.operation, usual: self.usual })
    }
}

impl Known<'_> {
    /// How likely such a request takes this step: a natural logarithm; and whether it is likelier that something else set it off than
    /// that it could be taken.
    pub(in crate::trace::ladder) fn weigh(&self, step: &Step, trust: f64) -> (f64, bool) {
        self.plans.weigh_known(self.action, step, trust)
    }

    /// Whether the thread that takes the action was almost always busy with the request just before.
    pub(in crate::trace::ladder) fn is_mostly_adjacent(&self) -> bool {
        const MOSTLY: f64 = 0.9;
        let [not, is] = self.action.prompt.adjacent;
        share(is, not + is, NEITHER) > MOSTLY
    }

    /// Whether a step that is so likely, and did not have to wait, is about as likely as they are.
    pub(in crate::trace::ladder) fn is_usual(&self, likelihood: f64) -> bool {
        self.usual.is_some_and(|usual| usual - likelihood < USUAL_SPREAD) && self.plans.is_settled(self.operation)
    }
}

impl Plans {
    /// What is known of an action of requests, whatever they did before: to be asked of many.
    pub(in crate::trace::ladder) fn about(&self, action: u64) -> About<'_> {
        About { plans: self, action, usual: self.usual.get(&(action, false)).copied(), known: SmallVec::new() }
    }
}
