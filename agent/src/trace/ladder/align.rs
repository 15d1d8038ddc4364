//! T2 and T3: which request a call belongs to, by what requests of its kind do and when.
//!
//! A request with its calls and its answer has a likelihood ([`super::plan`]): from each moment at which it could act (it was
//! read, or the last answer that it waited for was) to what it did next. A call is first given to the request for which it
//! is most likely, the longest waiting one where several would do: connection pools and event loops are queues. Later
//! events show mistakes: an answer that comes too early, a call that nobody was ready for. So when a request was answered
//! its calls are compared with those of the requests around it, and exchanged where that is likelier, one by one or with all
//! that followed. What remains of the alternatives in the end is how unsure the link is.

use super::evidence::Evidence;
use super::plan::{ANSWER, History, Step};
use super::process::{Call, Cause, MAX_FAN_OUT, MAX_RIVALS, Process};
use crate::flow::Nanos;
use crate::slots::Key;
use crate::trace::link::Method;

/// Calls of the same kind that one is compared with, earlier and later ones each.
const MAX_NEIGHBOURS: usize = 8;
/// Requests with more calls are not compared with others: what it takes grows with the square.
const MAX_COMPARED: usize = 16;
/// Calls of any kind that are looked through for them.
const MAX_LOOKED_AT: usize = 128;
/// What it costs that a request acts before one that could act earlier, as a natural logarithm: queues keep their order.
const OUT_OF_ORDER: f64 = 2.5;
/// The same where several threads make calls: each may be held up by itself.
const OUT_OF_ORDER_THREADS: f64 = 0.5;
/// Where calls are so much less likely in each other's place, what follows from them can't make up for it; a natural logarithm.
const HOPELESS: f64 = -15.0;
/// What is less likely than this, as a natural logarithm, is not possible.
const IMPOSSIBLE: f64 = -1e6;
/// How sure a link may be at most that was found by comparing.
const MAX_STRENGTH: f64 = 0.99;
/// Steps are usually as likely as others of their kind, more or less; a natural logarithm.
const USUAL_SPREAD: f64 = 4.0;
/// What is learnt of a step's delay, its thread and its place is not independent of each other: how much of what speaks
/// against an alternative counts.
const TRUST: f64 = 0.4;
/// The same where several threads make calls: what one did last says less about the next.
const TRUST_THREADS: f64 = 0.25;
/// What the model itself may be wrong about, per link: alternatives that it does not know.
const DOUBT: f64 = 0.01;

/// What a request could do when, just before one of its steps.
#[derive(Clone, Copy, Debug)]
struct Ready {
    history: History,
    since: Nanos,
    outstanding: usize,
}

impl Process {
    /// Gives a call to the request for which it is most likely.
    pub(super) fn assign(&mut self, key: Key) {
        let Some(call) = self.calls.get(key).cloned() else { return };
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
        if self.calls_of(parent).len() > MAX_COMPARED || self.is_usual(parent) {
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

    /// How sure it is whose a call is, and who it is; or who it may be.
    #[must_use]
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

    /// What a request could do at a time, with the calls that it has now; `None` if it could do nothing.
    fn ready(&self, parent: Key, at: Nanos) -> Option<Ready> {
        let request = self.parents.get(parent)?;
        (request.read <= at && request.calls.len() < MAX_FAN_OUT).then_some(())?;
        self.ready_at(parent, &request.calls, Some(at))
    }

    fn ready_before(&self, parent: Key, calls: &[Key], key: Key) -> Option<Ready> {
        let at = calls.iter().position(|&other| other == key)?;
        self.ready_at(parent, &calls[..at], Some(self.calls.get(key)?.made))
    }

    /// Since when a request could act at a time, after these calls.
    fn ready_at(&self, parent: Key, calls: &[Key], at: Option<Nanos>) -> Option<Ready> {
        let request = self.parents.get(parent)?;
        let mut ready = Ready { history: History::new(request.operation), since: request.read, outstanding: 0 };
        for &key in calls {
            let call = self.calls.get(key)?;
            ready.history = ready.history.then(call.operation);
            match call.heard.filter(|&heard| at.is_none_or(|at| heard <= at)) {
                Some(heard) => ready.since = ready.since.max(heard),
                None => ready.outstanding += 1,
            }
        }
        Some(ready)
    }

    fn calls_of(&self, parent: Key) -> &[Key] {
        self.parents.get(parent).map_or(&[], |parent| &parent.calls)
    }

    /// What it would be that a request with these calls before makes a call.
    fn step(&self, call: &Call, (parent, before): (Key, &[Key]), ready: &Ready) -> Step {
        let trigger = call.cause.map(|(at, _)| at).max(call.free_since).filter(|&at| at >= ready.since);
        Step {
            action: call.operation,
            lag_ns: call.made.0.saturating_sub(ready.since.0),
            trigger_ns: trigger.map(|at| call.made.0.saturating_sub(at.0)),
            beside: ready.outstanding > 0,
            adjacent: call.cause.map(|(_, cause)| match cause {
                Cause::Request(request) => request == parent,
                Cause::Answer(answer) => before.contains(&answer),
            }),
        }
    }

    /// How likely it is that a request made these calls, and its answer after them.
    fn likelihood(&self, parent: Key, calls: &[Key]) -> f64 {
        let Some(request) = self.parents.get(parent) else { return IMPOSSIBLE };
        let mut sum = 0.0;
        for (at, &key) in calls.iter().enumerate() {
            let Some(call) = self.calls.get(key) else { return IMPOSSIBLE };
            let Some(ready) = self.ready_at(parent, &calls[..at], Some(call.made)) else { return IMPOSSIBLE };
            if call.made < request.read || request.answered.is_some_and(|answered| answered < call.made) {
                return IMPOSSIBLE;
            }
            sum += self.plans.likelihood(ready.history, &self.step(call, (parent, &calls[..at]), &ready));
        }
        if let Some(answered) = request.answered
            && let Some(ready) = self.ready_at(parent, calls, Some(answered))
        {
            sum += self.plans.likelihood(ready.history, &answer(answered, &ready));
        }
        sum
    }

    fn order(&self) -> f64 {
        if self.has_many_callers() { OUT_OF_ORDER_THREADS } else { OUT_OF_ORDER }
    }

    /// How likely a call is made for nobody.
    fn nobodys(&self, call: &Call) -> f64 {
        /// Such calls come at any time: once in ten seconds, say.
        const LOG_PERIOD_NS: f64 = 23.0;
        self.orphan_share(call.operation).ln() - LOG_PERIOD_NS
    }

    /// Other ways to whom a call and those around it belong.
    fn changes(&self, key: Key) -> Vec<Change> {
        let Some((call, owner)) = self.calls.get(key).and_then(|call| Some((call, call.owner?))) else {
            return Vec::new();
        };
        let Some(mine) = self.parents.get(owner) else { return Vec::new() };
        let mut changes = Vec::new();
        for rival in call.rivals.into_iter().flatten().filter(|&rival| rival != owner) {
            changes.push(Change::Move { key, to: rival, and_all_after: false });
            if mine.calls.last() != Some(&key) && self.is_free_from(&mine.calls, key) {
                changes.push(Change::Move { key, to: rival, and_all_after: true });
            }
        }
        let Some(ready) = self.ready_before(owner, &mine.calls, key) else { return changes };
        let at =
            self.recent.partition_point(|&other| self.calls.get(other).is_some_and(|other| other.made < call.made));
        let earlier = self.recent.range(..at).rev().take(MAX_LOOKED_AT);
        let later = self.recent.range(at..).take(MAX_LOOKED_AT);
        let mut neighbours = 0;
        for other in earlier.take_while(|&&other| self.calls.get(other).is_some_and(|other| other.made >= ready.since))
        {
            neighbours += usize::from(self.exchanges(key, owner, *other, &mut changes));
            if neighbours >= MAX_NEIGHBOURS {
                break;
            }
        }
        neighbours = 0;
        for &other in later.filter(|&&other| other != key) {
            neighbours += usize::from(self.exchanges(key, owner, other, &mut changes));
            if neighbours >= MAX_NEIGHBOURS {
                break;
            }
        }
        changes
    }

    /// Adds the ways in which a call can be exchanged with another; whether they are of the same kind.
    fn exchanges(&self, key: Key, owner: Key, other_key: Key, changes: &mut Vec<Change>) -> bool {
        let (Some(call), Some(other)) = (self.calls.get(key), self.calls.get(other_key)) else { return false };
        if other.operation != call.operation || other.proof.is_some() {
            return false;
        }
        let Some(theirs) = other.owner.filter(|&theirs| theirs != owner) else { return false };
        let (Some(mine), Some(their)) = (self.parents.get(owner), self.parents.get(theirs)) else { return false };
        if mine.calls.len().max(their.calls.len()) > MAX_COMPARED {
            return false;
        }
        // Each must have been ready for the other's call.
        let (Some(my_ready), Some(their_ready)) =
            (self.ready_before(owner, &mine.calls, key), self.ready_before(theirs, &their.calls, other_key))
        else {
            return false;
        };
        if my_ready.since > other.made || their_ready.since > call.made {
            return true;
        }
        // Most others are out of the question at once.
        let before = self.here(owner, &mine.calls, key, call) + self.here(theirs, &their.calls, other_key, other);
        let after = self.here(owner, &mine.calls, key, other) + self.here(theirs, &their.calls, other_key, call);
        if after - before < HOPELESS {
            return true;
        }
        changes.push(Change::Exchange { key, with: other_key, and_all_after: false });
        let (mine_at, their_at) = (position(&mine.calls, key), position(&their.calls, other_key));
        let (rest, their_rest) = (&mine.calls[mine_at..], &their.calls[their_at..]);
        let are_free = self.is_free_from(&mine.calls, key) && self.is_free_from(&their.calls, other_key);
        if rest.len() + their_rest.len() > 2 && are_free {
            changes.push(Change::Exchange { key, with: other_key, and_all_after: true });
        }
        true
    }

    /// How likely a request makes this call in the place of another.
    fn here(&self, parent: Key, calls: &[Key], place: Key, call: &Call) -> f64 {
        let before = &calls[..position(calls, place)];
        let Some(ready) = self.ready_at(parent, before, Some(call.made)) else { return IMPOSSIBLE };
        self.plans.likelihood(ready.history, &self.step(call, (parent, before), &ready))
    }

    /// Whether everything that a request did is what such requests usually do.
    fn is_usual(&self, parent: Key) -> bool {
        let Some(request) = self.parents.get(parent) else { return true };
        request.calls.iter().all(|&key| {
            let Some(call) = self.calls.get(key) else { return true };
            let usual = self.plans.usual(call.operation);
            usual.is_some_and(|usual| self.here(parent, &request.calls, key, call) > usual - USUAL_SPREAD)
        })
    }

    /// Whether nothing is proven about a call and those after it.
    fn is_free_from(&self, calls: &[Key], key: Key) -> bool {
        let mut rest = calls.iter().skip_while(|&&other| other != key);
        rest.all(|&key| self.calls.get(key).is_some_and(|call| call.proof.is_none()))
    }

    /// How much likelier everything is after a change, as a natural logarithm.
    fn gain(&self, change: &Change) -> f64 {
        let Some(Outcome { one, one_calls, other, other_calls }) = self.outcome(change) else { return IMPOSSIBLE };
        let (Some(first), Some(second)) = (self.parents.get(one), self.parents.get(other)) else { return IMPOSSIBLE };
        let before = self.likelihood(one, &first.calls) + self.likelihood(other, &second.calls);
        let after = self.likelihood(one, &one_calls) + self.likelihood(other, &other_calls);
        let made = |key| self.calls.get(key).map(|call| call.made);
        let since = |parent, key| {
            let calls = self.calls_of(parent);
            let before = calls.partition_point(|&other| made(other) < made(key));
            Some(self.ready_at(parent, &calls[..before], made(key))?.since)
        };
        let (key, with) = match *change {
            Change::Exchange { key, with, .. } => (key, Some(with)),
            Change::Move { key, .. } => (key, None),
        };
        let (mine, theirs) = (since(one, key), since(other, with.unwrap_or(key)));
        // Who is given the earlier of two calls, and one who is not given any gets a later one.
        let is_in_order = (mine < theirs) == with.is_none_or(|with| made(key) < made(with));
        let order = match (mine == theirs, is_in_order) {
            (true, _) => 0.0,
            (false, true) => -self.order(),
            (false, false) => self.order(),
        };
        after - before + order
    }

    fn best_change(&self, key: Key) -> Option<Change> {
        /// Gains below are noise.
        const WORTH: f64 = 0.01;
        let call = self.calls.get(key)?;
        if call.proof.is_some() || call.decision.is_some() {
            return None;
        }
        let mut best = (WORTH, None);
        for change in self.changes(key) {
            let gain = self.gain(&change);
            if gain > best.0 && !self.is_decided(&change) {
                best = (gain, Some(change));
            }
        }
        best.1
    }

    /// Whether a change would change what was decided.
    fn is_decided(&self, change: &Change) -> bool {
        let is_decided = |&key: &Key| self.calls.get(key).is_some_and(|call| call.decision.is_some());
        let rest = |key| {
            let owner = self.calls.get(key).and_then(|call| call.owner);
            let calls = owner.map_or(&[][..], |owner| self.calls_of(owner));
            calls[position(calls, key)..].iter()
        };
        match *change {
            Change::Move { and_all_after: false, .. } => false,
            Change::Move { key, .. } => rest(key).any(is_decided),
            Change::Exchange { with, and_all_after: false, .. } => is_decided(&with),
            Change::Exchange { key, with, .. } => rest(key).chain(rest(with)).any(is_decided),
        }
    }

    fn apply(&mut self, change: Change) {
        let Some(Outcome { one, one_calls, other, other_calls }) = self.outcome(&change) else { return };
        for (parent, calls) in [(one, one_calls), (other, other_calls)] {
            for &key in &calls {
                if let Some(call) = self.calls.get_mut(key) {
                    call.owner = Some(parent);
                }
            }
            if let Some(parent) = self.parents.get_mut(parent) {
                parent.calls = calls;
            }
        }
    }

    /// Who has which calls after a change.
    fn outcome(&self, change: &Change) -> Option<Outcome> {
        let by_time = |mut calls: Vec<Key>| {
            calls.sort_by_key(|&key| self.calls.get(key).map(|call| call.made));
            calls
        };
        match *change {
            Change::Move { key, to, and_all_after } => {
                let one = self.calls.get(key)?.owner?;
                let (mine, theirs) = (self.calls_of(one), self.calls_of(to));
                let at = position(mine, key);
                let moving = mine.get(at..if and_all_after { mine.len() } else { at + 1 })?;
                let one_calls = mine.iter().copied().filter(|key| !moving.contains(key)).collect();
                let other_calls = by_time(theirs.iter().chain(moving).copied().collect());
                Some(Outcome { one, one_calls, other: to, other_calls })
            }
            Change::Exchange { key, with, and_all_after } => {
                let (one, other) = (self.calls.get(key)?.owner?, self.calls.get(with)?.owner?);
                let (mine, theirs) = (&self.parents.get(one)?.calls, &self.parents.get(other)?.calls);
                let (at, their_at) = (position(mine, key), position(theirs, with));
                let (end, their_end) = if and_all_after { (mine.len(), theirs.len()) } else { (at + 1, their_at + 1) };
                let (moving, their_moving) = (mine.get(at..end)?, theirs.get(their_at..their_end)?);
                let mix = |kept: &[Key], gone: &[Key], new: &[Key]| {
                    by_time(kept.iter().filter(|key| !gone.contains(key)).chain(new).copied().collect())
                };
                let (one_calls, other_calls) = (mix(mine, moving, their_moving), mix(theirs, their_moving, moving));
                Some(Outcome { one, one_calls, other, other_calls })
            }
        }
    }
}

/// How sure a link can be where nothing is known about what such requests do, and others were open.
const UNKNOWN_STRENGTH: f64 = 0.5;
/// Links from which plans are learnt are at least so sure.
const LEARN_FROM: f64 = super::THRESHOLD;

/// Another way to whom calls belong.
#[derive(Clone, Copy, Debug)]
enum Change {
    Move { key: Key, to: Key, and_all_after: bool },
    Exchange { key: Key, with: Key, and_all_after: bool },
}

struct Outcome {
    one: Key,
    one_calls: Vec<Key>,
    other: Key,
    other_calls: Vec<Key>,
}

fn answer(answered: Nanos, ready: &Ready) -> Step {
    Step {
        action: ANSWER,
        lag_ns: answered.0.saturating_sub(ready.since.0),
        trigger_ns: None,
        beside: ready.outstanding > 0,
        adjacent: None,
    }
}

fn position(calls: &[Key], key: Key) -> usize {
    calls.iter().position(|&other| other == key).unwrap_or(calls.len())
}
