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
use super::plan::ANSWER;
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
/// The same where a request has done what none was seen to do: some of it may be another's.
const STRANGE: f64 = 0.2;
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
        let trust = self.trust();
        let mut candidates: Vec<(Key, f64, Option<Nanos>)> = Vec::new();
        for &parent in &self.open {
            let Some(ready) = self.ready(parent, call.operation, call.made) else { continue };
            let step = self.step(&call, (parent, self.calls_of(parent)), &ready);
            // It can be its turn only if this is what such requests do then.
            let is_due = ready.outstanding == 0 && self.plans.is_known(ready.history, call.operation);
            let turn = is_due.then_some(ready.since);
            candidates.push((parent, self.plans.likelihood(ready.history, &step, trust), turn));
        }
        candidates.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        // Of those that are about as likely the one whose turn it is.
        let mut best = 0;
        for (at, &(_, likelihood, turn)) in candidates.iter().enumerate().skip(1) {
            let (_, most, first) = candidates[best];
            let (Some(turn), Some(first)) = (turn, first) else { continue };
            if likelihood - most + self.first(turn, first, call.made) > 0.0 {
                best = at;
            }
        }
        if best < candidates.len() {
            candidates.swap(0, best);
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
        if self.is_exhausted()
            || self.calls_of(parent).len() > MAX_COMPARED
            || (self.is_usual(parent) && self.is_plain(parent))
        {
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
        let ready = self.ready_at(owner, &parent.calls[..at], call.operation, Some(call.made))?;
        let step = self.step(call, (owner, &parent.calls[..at]), &ready);
        // The less usual a step is, the likelier there is something else to it.
        let surprise = self.plans.surprise(ready.history, &step, self.trust()).unwrap_or(0.0) - USUAL_SPREAD;
        let mut odds = DOUBT * surprise.max(0.0).exp();
        if parent.answered.is_some() && self.plans.is_settled(parent.operation) && !self.is_plain(owner) {
            odds += STRANGE;
        }
        for change in self.changes(key) {
            odds += self.gain(&change).total.min(0.0).exp();
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

    /// How much counts of what speaks for or against.
    pub(super) fn trust(&self) -> f64 {
        if self.has_many_callers() { TRUST_THREADS } else { TRUST }
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
        let (operation, calls) = (request.operation, request.calls.clone());
        let mut steps = Vec::with_capacity(calls.len() + 1);
        for (at, &key) in calls.iter().enumerate() {
            let Some(call) = self.calls.get(key) else { return };
            let Some(ready) = self.ready_at(parent, &calls[..at], call.operation, Some(call.made)) else { return };
            steps.push((ready.history, self.step(call, (parent, &calls[..at]), &ready)));
        }
        if let Some(ready) = self.ready_at(parent, &calls, ANSWER, Some(answered)) {
            steps.push((ready.history, answer(answered, &ready)));
        }
        if let Some(request) = self.parents.get_mut(parent) {
            request.is_blurred = true;
        }
        self.learn_waits(operation, &calls, answered);
        let trust = self.trust();
        for (history, step) in &steps {
            self.plans.note_usual(*history, step, trust);
        }
        for (history, step) in steps {
            self.plans.learn(history, &step);
        }
    }

    /// What a request did tells what waits for what.
    fn learn_waits(&mut self, operation: u64, calls: &[Key], answered: Nanos) {
        let known: Vec<_> = calls.iter().filter_map(|&key| self.calls.get(key)).collect();
        let later = known.iter().map(|call| (call.operation, call.made)).chain([(ANSWER, answered)]);
        for (at, (action, taken)) in later.enumerate() {
            for call in &known[..at] {
                let is_heard = call.heard.is_some_and(|heard| heard <= taken);
                self.waits.learn(operation, action, call.operation, is_heard);
            }
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
