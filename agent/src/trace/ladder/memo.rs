//! What requests are said to have done, worked out once as long as nothing of it changes: the ways to whom a call could belong are
//! many, and most of them have to do with the same few requests.

use super::plan::ANSWER;
use super::process::Process;
use super::timeline::{IMPOSSIBLE, Ready};
use crate::slots::Key;

/// Of the requests of a process what was asked for.
pub(super) struct Memo<'a> {
    process: &'a Process,
    /// A request, and its calls in order with its answer after them.
    requests: Vec<(Key, Vec<Known>)>,
}

/// What is known of a step; `None` where it was not asked for.
#[derive(Clone, Copy, Default)]
struct Known {
    ready: Option<Option<Ready>>,
    likelihood: Option<Option<f64>>,
}

impl<'a> Memo<'a> {
    pub(super) const fn new(process: &'a Process) -> Self {
        Self { process, requests: Vec::new() }
    }

    /// What a request could do before so many of its calls.
    pub(super) fn ready(&mut self, parent: Key, at: usize) -> Option<Ready> {
        let known = self.known(parent, at)?;
        if let Some(ready) = known.ready {
            return ready;
        }
        let ready = self.work_out(parent, at);
        self.known(parent, at)?.ready = Some(ready);
        ready
    }

    /// How likely the call in this place is, or after the last one the answer; `None` if it is not possible.
    pub(super) fn step(&mut self, parent: Key, at: usize) -> Option<f64> {
        let known = self.known(parent, at)?;
        if let Some(likelihood) = known.likelihood {
            return likelihood;
        }
        let ready = self.ready(parent, at);
        let likelihood = self.process.step_likelihood(parent, self.process.calls_of(parent), at, ready);
        self.known(parent, at)?.likelihood = Some(likelihood);
        likelihood
    }

    /// How likely it is that a request did what it is said to have done, without what so many of its calls add to it, the first ones.
    pub(super) fn likelihood_from(&mut self, parent: Key, from: usize) -> f64 {
        (from..=self.process.calls_of(parent).len())
            .try_fold(0.0, |sum, at| Some(sum + self.step(parent, at)?))
            .unwrap_or(IMPOSSIBLE)
    }

    /// What it makes of a request that it does not have the call in this place, or none from it on: a natural logarithm.
    pub(super) fn loss(&mut self, parent: Key, at: usize, and_all_after: bool) -> f64 {
        let (before, from) = self.process.calls_of(parent).split_at_checked(at).unwrap_or_default();
        let rest = if and_all_after { &[] } else { from.get(1..).unwrap_or_default() };
        self.process.likelihood_from(parent, &[before, rest].concat(), at) - self.likelihood_from(parent, at)
    }

    fn work_out(&self, parent: Key, at: usize) -> Option<Ready> {
        let calls = self.process.calls_of(parent);
        match calls.get(at) {
            Some(&key) => {
                let call = self.process.calls.get(key)?;
                self.process.ready_at(parent, &calls[..at], call.operation, Some(call.made))
            }
            None => self.process.ready_at(parent, calls, ANSWER, self.process.parents.get(parent)?.answered),
        }
    }

    fn known(&mut self, parent: Key, at: usize) -> Option<&mut Known> {
        let place = match self.requests.iter().position(|(known, _)| *known == parent) {
            Some(place) => place,
            None => {
                let steps = self.process.parents.get(parent)?.calls.len() + 1;
                self.requests.push((parent, vec![Known::default(); steps]));
                self.requests.len() - 1
            }
        };
        self.requests.get_mut(place)?.1.get_mut(at)
    }
}
