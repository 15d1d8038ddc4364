//! What requests are said to have done, worked out once as long as nothing of it changes: the ways to whom a call could belong are
//! many, and most of them have to do with the same few requests.

use smallvec::SmallVec;

use super::process::Process;
use super::timeline::IMPOSSIBLE;
use crate::slots::Key;

/// Of the requests of a process what was asked for.
pub(super) struct Memo<'a> {
    process: &'a Process,
    /// Requests, and where their steps begin.
    requests: SmallVec<[(Key, usize); REQUESTS]>,
    /// Of each request its calls in order with its answer after them.
    steps: SmallVec<[Known; STEPS]>,
    /// Where in `requests` one of such an index was last.
    hints: [u16; HINTS],
}

const HINTS: usize = 32;
/// Requests and steps for which there is room from the beginning.
const REQUESTS: usize = 16;
const STEPS: usize = 64;

/// What is known of a step; `None` where it was not asked for.
#[derive(Clone, Copy, Default)]
struct Known {
    likelihood: Option<Option<f64>>,
    /// Without this one call.
    loss: Option<f64>,
}

impl<'a> Memo<'a> {
    pub(super) fn new(process: &'a Process) -> Self {
        Self { process, requests: SmallVec::new(), steps: SmallVec::new(), hints: [0; HINTS] }
    }

    /// How likely the call in this place is, or after the last one the answer; `None` if it is not possible.
    pub(super) fn step(&mut self, parent: Key, at: usize) -> Option<f64> {
        let known = self.known(parent, at)?;
        if let Some(likelihood) = known.likelihood {
            return likelihood;
        }
        let ready = self.process.ready_for(parent, at);
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

    /// What it makes of a request that it does not have the call in this place: a natural logarithm.
    pub(super) fn loss(&mut self, parent: Key, at: usize) -> f64 {
        if let Some(loss) = self.known(parent, at).and_then(|known| known.loss) {
            return loss;
        }
        let (before, from) = self.process.calls_of(parent).split_at_checked(at).unwrap_or_default();
        let loss = self.loss_with(parent, at, &[before, from.get(1..).unwrap_or_default()].concat());
        if let Some(known) = self.known(parent, at) {
            known.loss = Some(loss);
        }
        loss
    }

    /// The same of all calls from this place on.
    pub(super) fn loss_from(&mut self, parent: Key, at: usize) -> f64 {
        self.loss_with(parent, at, self.process.calls_of(parent).get(..at).unwrap_or_default())
    }

    fn loss_with(&mut self, parent: Key, at: usize, calls: &[Key]) -> f64 {
        self.process.likelihood_from(parent, calls, at) - self.likelihood_from(parent, at)
    }

    fn known(&mut self, parent: Key, at: usize) -> Option<&mut Known> {
        let count = self.process.parents.get(parent)?.calls.len() + 1;
        let hint = parent.index() % HINTS;
        let place = usize::from(self.hints[hint]);
        let place = if self.requests.get(place).is_some_and(|(known, _)| *known == parent) {
            place
        } else {
            let place = self.requests.iter().position(|(known, _)| *known == parent).unwrap_or_else(|| {
                self.requests.push((parent, self.steps.len()));
                self.steps.resize(self.steps.len() + count, Known::default());
                self.requests.len() - 1
            });
            self.hints[hint] = u16::try_from(place).unwrap_or_default();
            place
        };
        let (_, begin) = self.requests.get(place)?;
        (at < count).then(|| self.steps.get_mut(begin + at))?
    }
}
