//! T2 and T3: which request a call belongs to, by what requests of its kind do and when.
//!
//! A request with its calls and its answer has a likelihood ([`super::plan`]): from each moment at which it could act (it was
//! read, or the last answer that it waited for was) to what it did next. A call is first given to the request for which it
//! is most likely, the longest waiting one where several would do: connection pools and event loops are queues. Later
//! events show mistakes: an answer that comes too early, a call that nobody was ready for. So when a request was answered
//! its calls are compared with those of the requests around it, and exchanged where that is likelier, one by one or with all
//! that followed. What remains of the alternatives in the end is how unsure the link is.

use super::change::{Change, MAX_COMPARED};
use super::evidence::{Doubt, Evidence, NEXT};
use super::memo::Memo;
use super::plan::{ANSWER, History};
use super::process::{Call, MAX_FAN_OUT, MAX_RIVALS, Process};
use super::timeline::{USUAL_SPREAD, answer, position};
use crate::flow::Nanos;
use crate::slots::Key;
use crate::trace::link::Method;

/// Of more requests that are open at once it is not asked which one makes a call.
pub(super) const MAX_CANDIDATES: usize = 512;
/// What is so unlikely is not looked at any further, where all else is as usual; a natural logarithm.
const UNHEARD_OF: f64 = -10.0;
/// How sure a link may be at most that was found by comparing.
const MAX_STRENGTH: f64 = 0.99;
/// What is learnt of a step's delay, its thread and its place is not independent of each other: how much of what speaks
/// against an alternative counts.
const TRUST: f64 = 0.4;
/// The same where several threads make calls: what one did last says less about the next.
const TRUST_THREADS: f64 = 0.25;
/// What the model itself may be wrong about, per link: alternatives that it does not know.
pub(super) const DOUBT: f64 = 0.01;
/// The same where a request has done what none was seen to do: some of it may be another's.
pub(super) const STRANGE: f64 = 0.2;
/// How much the logarithm of [`DOUBT`] grows with how unusual a step is: threads are held up now and then, and there is nothing else
/// to it.
const SURPRISE: f64 = 0.5;
/// Of what speaks against a link, where those that follow from it would stay as they are: how much speaks against them. A
/// request that has another's call is ready at another time for the next.
const ALONE: f64 = 0.1;
/// How sure a link can be where nothing is known about what such requests do, and others were open.
const UNKNOWN_STRENGTH: f64 = 0.5;
/// A call of which it is at least so sure whose it is, as far as its own request tells, can be learnt from.
pub(super) const SURE: f64 = 0.95;

impl Process {
    /// Gives a call to the request for which it is most likely.
    ///
    /// `false` if too many requests are open to ask that.
    pub(super) fn assign(&mut self, key: Key) -> bool {
        if self.open.len() > MAX_CANDIDATES {
            return false;
        }
        let Some(call) = self.calls.get(key).cloned() else { return true };
        let candidates = self.candidates(&call);
        let nobody = self.nobodys(&call);
        let owner = candidates.first().filter(|best| best.likelihood > nobody).map(|best| best.request);
        let mut rivals = [None; MAX_RIVALS];
        let others = candidates.iter().filter(|candidate| Some(candidate.request) != owner);
        for (place, other) in rivals.iter_mut().zip(others) {
            *place = Some(other.request);
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
            parent.calls.retain(|other| *other != key);
            parent.standing.changed();
        }
        let at = owner.map(|owner| self.place(self.calls_of(owner), made));
        if let (Some(at), Some(parent)) = (at, owner.and_then(|owner| self.parents.get_mut(owner))) {
            if parent.calls.len() >= MAX_FAN_OUT {
                parent.is_blurred = true;
            } else {
                parent.calls.insert(at, key);
                parent.standing.changed();
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
            let mut calls = self.calls_of(parent).to_vec().into_iter();
            let mut is_better = false;
            while let Some(change) = self.next_change(&mut calls) {
                self.apply(change);
                is_better = true;
            }
            if !is_better {
                break;
            }
        }
    }

    /// What is better for the first of these calls for which anything is.
    fn next_change(&self, calls: &mut impl Iterator<Item = Key>) -> Option<Change> {
        let mut memo = Memo::new(self);
        calls.find_map(|key| self.best_change(key, &mut memo))
    }

    /// How sure it is whose a call is.
    pub(super) fn weigh(&self, key: Key) -> Option<(Evidence, Doubt)> {
        let call = self.calls.get(key)?;
        let owner = call.owner?;
        let parent = self.parents.get(owner)?;
        let at = position(&parent.calls, key);
        let doubt = self.doubt(key)?;
        // Whatever was learnt of such requests may be wrong, and only those that are alone show it.
        if self.is_nobody_elses(call) {
            let strength = (1.0 / (1.0 + DOUBT + self.orphan_share(call.operation))).min(MAX_STRENGTH);
            return Some((Evidence { parent: parent.node, tier: Method::Alignment, strength }, doubt));
        }
        let mut odds = doubt.here;
        if parent.answered.is_some() && self.plans.is_settled(parent.operation) && !self.is_plain(owner) {
            odds += STRANGE;
        }
        // What follows from earlier links is not surer than that.
        odds += self.doubt_from(&parent.calls[..at]);
        let ready = self.ready_for(owner, at)?;
        let step = self.step(call, (owner, &parent.calls[..at]), &ready);
        if step.adjacent != Some(true) {
            odds += self.among_strangers(parent.operation, call.crowd);
        }
        let mut strength = (1.0 / (1.0 + odds)).min(MAX_STRENGTH);
        // Where callers wait, what a request did in the end shows whether it was the one; and who was given a call before that was
        // known may keep the place of another.
        let is_early = parent.answered.is_none() && self.plans.has_waited(ready.history, &step);
        if is_early || parent.calls[..at].iter().any(|&before| self.was_unsure_early(before)) {
            strength = strength.min(1.0 / (1.0 + STRANGE));
        }
        // Nothing was ever seen of what such requests do: there is nothing that could contradict.
        if self.plans.seen(ready.history) == 0 {
            strength = strength.min(UNKNOWN_STRENGTH);
        }
        Some((Evidence { parent: parent.node, tier: Method::Alignment, strength }, doubt))
    }

    /// What speaks against a link that only delays and the order tell, among so many requests, as long as hardly any such request was
    /// seen: the first ones look more alike than they are, and what is learnt from a mistake confirms it.
    fn among_strangers(&self, operation: u64, crowd: usize) -> f64 {
        /// For each other one, as if one had been seen.
        const STRANGER: f64 = 0.07;
        /// Before any was seen.
        const NONE: f64 = 0.25;
        let seen = f64::from(self.plans.seen(History::new(operation)));
        STRANGER * crowd.saturating_sub(1) as f64 / (seen * seen + NONE)
    }

    /// Whether it was not sure whose a call was when that was decided, before its request was answered.
    fn was_unsure_early(&self, key: Key) -> bool {
        let Some(call) = self.calls.get(key) else { return false };
        call.is_early && call.decision.is_some_and(|decision| decision.parent.is_none())
    }

    /// What speaks against that a call is whose it is assumed to be, whatever was said of those before.
    pub(super) fn doubt(&self, key: Key) -> Option<Doubt> {
        let call = self.calls.get(key)?;
        let owner = call.owner?;
        let parent = self.parents.get(owner)?;
        let at = position(&parent.calls, key);
        let ready = self.ready_for(owner, at)?;
        let step = self.step(call, (owner, &parent.calls[..at]), &ready);
        // The less usual a step is, the likelier there is something else to it.
        let surprise = self.plans.surprise(ready.history, &step, self.trust()).unwrap_or(0.0) - USUAL_SPREAD;
        let (mut others, mut alone, mut after, mut memo) = (0.0, 0.0, [0.0; NEXT], Memo::new(self));
        for change in self.changes(key, &mut memo) {
            let odds = self.gain(&change, &mut memo).total.min(0.0).exp();
            others += odds;
            match change.moved() {
                1 => alone += odds,
                moved => after.iter_mut().take(moved - 1).for_each(|after| *after += odds),
            }
        }
        let nobodys = match self.nobodys(call) {
            // A request that did all that is usual is no likelier without a call.
            nobodys if nobodys < UNHEARD_OF && self.is_plain(owner) => 0.0,
            nobodys => (memo.loss(owner, at) + nobodys).exp(),
        };
        let here = DOUBT * (SURPRISE * surprise.max(0.0)).exp() + others + nobodys;
        Some(Doubt { here, after: after.map(|after| after + ALONE * alone) })
    }

    /// What those before it cast on the next call of a request.
    fn doubt_from(&self, calls: &[Key]) -> f64 {
        let doubt = |(distance, &before): (usize, &Key)| {
            let Some(call) = self.calls.get(before) else { return 0.0 };
            let doubt = match (call.proof, call.doubt) {
                (Some(_), _) => None,
                (None, Some(doubt)) => Some(doubt),
                (None, None) => self.doubt(before),
            };
            doubt.map_or(0.0, |doubt| doubt.after[distance.min(NEXT - 1)])
        };
        calls.iter().rev().enumerate().map(doubt).sum()
    }

    /// How much counts of what speaks for or against.
    pub(super) fn trust(&self) -> f64 {
        if self.has_many_callers() { TRUST_THREADS } else { TRUST }
    }

    /// What a request did is known now: what others do can be judged by it.
    pub(super) fn learn(&mut self, parent: Key) {
        let Some(request) = self.parents.get(parent) else { return };
        let (Some(answered), false) = (request.answered, request.is_blurred || request.operation == 0) else { return };
        let is_sure = |&key: &Key| {
            let Some(call) = self.calls.get(key) else { return false };
            call.strength.is_some_and(|strength| strength >= SURE)
        };
        if !request.calls.iter().all(is_sure) {
            return;
        }
        let (operation, calls) = (request.operation, request.calls.clone());
        let mut steps = Vec::with_capacity(calls.len() + 1);
        for (at, &key) in calls.iter().enumerate() {
            let Some(call) = self.calls.get(key) else { return };
            let Some(ready) = self.ready_for(parent, at) else { return };
            steps.push((ready.history, self.step(call, (parent, &calls[..at]), &ready)));
        }
        for (at, &key) in calls.iter().enumerate() {
            self.learn_handover(key, parent, &calls[..at]);
        }
        if let Some(ready) = self.ready_for(parent, calls.len()) {
            steps.push((ready.history, answer(answered, &ready)));
        }
        if let Some(request) = self.parents.get_mut(parent) {
            request.is_blurred = true;
        }
        self.lessons = self.lessons.wrapping_add(1);
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

    /// Whether nobody else could have made a call than its owner.
    pub(super) fn is_nobody_elses(&self, call: &Call) -> bool {
        let others = self.open.iter().chain(&self.closed).filter(|&&other| Some(other) != call.owner);
        call.crowd == 1
            && call.owner.is_some()
            && !others.filter_map(|&other| self.parents.get(other)).any(|other| other.is_open_at(call.made))
    }
}
