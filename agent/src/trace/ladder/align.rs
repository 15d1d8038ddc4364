//! T2 and T3: which request a call belongs to, by what requests of its kind do and when.
//!
//! A request with its calls and its answer has a likelihood ([`super::plan`]): from each moment at which it could act (it was
//! read, or the last answer that it waited for was) to what it did next. A call is first given to the request for which it
//! is most likely, the longest waiting one where several would do: connection pools and event loops are queues. Later
//! events show mistakes: an answer that comes too early, a call that nobody was ready for. So when a request was answered
//! its calls are compared with those of the requests around it, and exchanged where that is likelier, one by one or with all
//! that followed. What remains of the alternatives in the end is how unsure the link is.

use super::change::MAX_COMPARED;
use super::evidence::Evidence;
use super::process::{Call, MAX_FAN_OUT, MAX_RIVALS, Process};
use super::timeline::{USUAL_SPREAD, answer, position};
use crate::flow::Nanos;
use crate::slots::Key;
use crate::trace::link::Method;

/// Of more requests that are open at once it is not asked which one makes a call.
const MAX_CANDIDATES: usize = 512;
/// How sure a link may be at most that was found by comparing.
const MAX_STRENGTH: f64 = 0.99;
/// What is learnt of a step's delay, its thread and its place is not independent of each other: how much of what speaks
/// against an alternative counts.
const TRUST: f64 = 0.4;
/// The same where several threads make calls: what one did last says less about the next.
const TRUST_THREADS: f64 = 0.25;
/// What the model itself may be wrong about, per link: alternatives that it does not know.
const DOUBT: f64 = 0.01;
/// How sure a link can be where nothing is known about what such requests do, and others were open.
const UNKNOWN_STRENGTH: f64 = 0.5;
/// Links from which plans are learnt are at least so sure.
const LEARN_FROM: f64 = super::THRESHOLD;

impl Process {
    /// Gives a call to the request for which it is most likely.
    ///
    /// `false` if too many requests are open to ask that.
    pub(super) fn assign(&mut self, key: Key) -> bool {
        if self.open.len() > MAX_CANDIDATES {
            return false;
        }
        let Some(call) = self.calls.get(key).cloned() else { return true };
        let mut candidates: Vec<(Key, f64, Option<Nanos>)> = Vec::new();
        for &parent in &self.open {
            let Some(ready) = self.ready(parent, call.made) else { continue };
            let step = self.step(&call, (parent, self.calls_of(parent)), &ready);
            // Of whom nothing is known it can't be said that it is its turn.
            let turn = (self.plans.seen(ready.history) > 0).then_some(ready.since);
            candidates.push((parent, self.plans.likelihood(ready.history, &step), turn));
        }
        candidates.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        // Of those that are about as likely the one that could act first.
        if let Some(&(_, best, Some(since))) = candidates.first() {
            let near = candidates.iter().enumerate().take_while(|(_, candidate)| candidate.1 > best - self.order());
            let first = near.filter_map(|(at, candidate)| Some((candidate.2?, at))).min();
            if let Some((_, at)) = first.filter(|&(turn, _)| turn < since) {
                candidates.swap(0, at);
            }
        }
        let nobody = self.nobodys(&call);
        let owner = candidates.first().filter(|best| best.1 > nobody).map(|best| best.0);
        let mut rivals = [None; MAX_RIVALS];
        let others = candidates.iter().filter(|candidate| Some(candidate.0) != owner);
        for (place, other) in rivals.iter_mut().zip(others) {
            *place = Some(other.0);
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.rivals = rivals;
        }
        self.give(key, owner);
        true
    }

    /// Gives a call to a request, or to nobody.
    pub(super) fn give(&mut self, key: Key, owner: Option<Key>) {
        let Some((made, before)) =
            self.calls.get_mut(key).map(|call| (call.made, std::mem::replace(&mut call.owner, owner)))
        else {
            return;
        };
        if let Some(parent) = before.and_then(|before| self.parents.get_mut(before)) {
            parent.calls.retain(|&other| other != key);
        }
        let at = owner.and_then(|owner| self.parents.get(owner)).map(|parent| {
            let is_earlier = |&other: &Key| self.calls.get(other).is_some_and(|other| other.made <= made);
            parent.calls.partition_point(is_earlier)
        });
        if let (Some(at), Some(parent)) = (at, owner.and_then(|owner| self.parents.get_mut(owner))) {
            if parent.calls.len() >= MAX_FAN_OUT {
                parent.is_blurred = true;
            } else {
                parent.calls.insert(at, key);
            }
        }
    }

    /// Exchanges calls of a request with those of others where that is likelier.
    pub(super) fn improve(&mut self, parent: Key) {
        /// Each pass mends what the one before made visible.
        const PASSES: usize = 2;
        if self.is_exhausted() || self.calls_of(parent).len() > MAX_COMPARED || self.is_usual(parent) {
            return;
        }
        for _ in 0..PASSES {
            let calls = self.parents.get(parent).map(|parent| parent.calls.clone()).unwrap_or_default();
            let mut is_better = false;
            for key in calls {
                if let Some(change) = self.best_change(key) {
                    self.apply(change);
                    is_better = true;
                }
            }
            if !is_better {
                break;
            }
        }
    }

    pub(super) fn weigh(&self, key: Key) -> Option<Evidence> {
        let call = self.calls.get(key)?;
        let owner = call.owner?;
        let parent = self.parents.get(owner)?;
        let at = position(&parent.calls, key);
        let ready = self.ready_at(owner, &parent.calls[..at], Some(call.made))?;
        let likelihood = self.plans.likelihood(ready.history, &self.step(call, (owner, &parent.calls[..at]), &ready));
        // The less usual a step is, the likelier there is something else to it.
        let surprise = self.plans.usual(call.operation).map_or(0.0, |usual| usual - likelihood - USUAL_SPREAD);
        let mut odds = DOUBT * surprise.max(0.0).exp();
        let trust = if self.has_many_callers() { TRUST_THREADS } else { TRUST };
        for change in self.changes(key) {
            odds += (trust * self.gain(&change).min(0.0)).exp();
        }
        let without: Vec<Key> = parent.calls.iter().copied().filter(|&other| other != key).collect();
        let lost = self.likelihood(owner, &without) - self.likelihood(owner, &parent.calls);
        odds += (lost + self.nobodys(call)).exp();
        let mut strength = (1.0 / (1.0 + odds)).min(MAX_STRENGTH);
        // What follows from an earlier link is not surer than that.
        if let Some(before) = at.checked_sub(1).and_then(|before| parent.calls.get(before)) {
            strength *= self.strength(*before);
        }
        // Nothing was ever seen of what such requests do: there is nothing that could contradict.
        if self.plans.seen(ready.history) == 0 && !self.is_alone(owner, call) {
            strength = strength.min(UNKNOWN_STRENGTH);
        }
        Some(Evidence { parent: parent.node, tier: Method::Alignment, strength })
    }

    /// How sure it is whose a call is, relative to the surest that such a link can be.
    fn strength(&self, key: Key) -> f64 {
        let Some(call) = self.calls.get(key) else { return 1.0 };
        let evidence = match (call.proof, call.decision) {
            (Some(_), _) => return 1.0,
            (None, Some(decision)) => decision.parent.or(decision.candidate),
            (None, None) => self.weigh(key),
        };
        evidence.map_or(1.0, |evidence| (evidence.strength / MAX_STRENGTH).min(1.0))
    }

    /// What a request did is known now: what others do can be judged by it.
    pub(super) fn learn(&mut self, parent: Key) {
        let Some(request) = self.parents.get(parent) else { return };
        let (Some(answered), false) = (request.answered, request.is_blurred || request.operation == 0) else { return };
        let is_sure = |&key: &Key| {
            let call = self.calls.get(key);
            call.and_then(|call| call.decision?.parent).is_some_and(|evidence| evidence.strength >= LEARN_FROM)
        };
        if !request.calls.iter().all(is_sure) {
            return;
        }
        let calls = request.calls.clone();
        let mut steps = Vec::with_capacity(calls.len() + 1);
        for (at, &key) in calls.iter().enumerate() {
            let (Some(call), Some(ready)) = (self.calls.get(key), self.ready_at(parent, &calls[..at], None)) else {
                return;
            };
            let ready = self.ready_at(parent, &calls[..at], Some(call.made)).unwrap_or(ready);
            steps.push((ready.history, self.step(call, (parent, &calls[..at]), &ready)));
        }
        if let Some(ready) = self.ready_at(parent, &calls, Some(answered)) {
            steps.push((ready.history, answer(answered, &ready)));
        }
        if let Some(request) = self.parents.get_mut(parent) {
            request.is_blurred = true;
        }
        for (history, step) in &steps {
            self.plans.note_usual(*history, step);
        }
        for (history, step) in steps {
            self.plans.learn(history, &step);
        }
    }

    /// Whether nobody else could have made a call.
    fn is_alone(&self, owner: Key, call: &Call) -> bool {
        let others = self.open.iter().chain(&self.closed).filter(|&&other| other != owner);
        !others
            .filter_map(|&other| self.parents.get(other))
            .any(|other| other.read <= call.made && other.answered.is_none_or(|answered| answered >= call.made))
    }
}
