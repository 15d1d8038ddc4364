//! What a request could do when, and how likely it is that it did what it is said to have done.

use super::busy::Cause;
use super::plan::{ANSWER, History, Idle, Step};
use super::process::{Call, Process};
use crate::flow::Nanos;
use crate::slots::Key;

/// What is less likely than this, as a natural logarithm, is not possible.
pub(super) const IMPOSSIBLE: f64 = -1e6;
/// Steps are usually as likely as others of their kind, more or less; a natural logarithm.
pub(super) const USUAL_SPREAD: f64 = 2.0;

/// An answer that is so much less likely than usual is no such request's, as far as delays are trusted; a natural logarithm. A
/// thread that is busy with others answers some ten times later than one that is not.
const PLAIN_SPREAD: f64 = 10.0;
/// The same where several threads make calls: they are not kept by each other from answering.
const PLAIN_SPREAD_THREADS: f64 = 8.0;

/// After so many more lessons, as a share of those before, it is looked anew whether it is plain what a request did.
const LESSONS_SHARE: u32 = 16;

/// What a request could do when, just before one of its steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ready {
    pub(super) history: History,
    pub(super) since: Nanos,
    pub(super) outstanding: usize,
}

impl Ready {
    /// Whether nothing was outstanding that it usually waits for: who is not due yet waits for nobody else.
    pub(super) const fn is_due(&self) -> bool {
        self.outstanding == 0
    }
}

impl Process {
    /// Since when a request could take an action at a time, after these calls.
    pub(super) fn ready_at(&self, parent: Key, calls: &[Key], action: u64, at: Option<Nanos>) -> Option<Ready> {
        let request = self.parents.get(parent)?;
        let mut ready = Ready { history: History::new(request.operation), since: request.read, outstanding: 0 };
        for &key in calls {
            let call = self.calls.get(key)?;
            if self.waits.is_free(request.operation, action, call.operation) {
                continue;
            }
            ready.history = ready.history.then(call.operation);
            match call.heard.filter(|&heard| at.is_none_or(|at| heard <= at)) {
                Some(heard) => ready.since = ready.since.max(heard),
                None => ready.outstanding += 1,
            }
        }
        Some(ready)
    }

    pub(super) fn calls_of(&self, parent: Key) -> &[Key] {
        self.parents.get(parent).map_or(&[], |parent| &parent.calls)
    }

    /// Where a call that was made then is among these.
    pub(super) fn place(&self, calls: &[Key], made: Nanos) -> usize {
        calls.partition_point(|&key| self.calls.get(key).is_some_and(|call| call.made <= made))
    }

    /// What it would be that a request with these calls before makes a call.
    pub(super) fn step(&self, call: &Call, (parent, before): (Key, &[Key]), ready: &Ready) -> Step {
        let trigger = call.cause.map(|(at, _)| at).max(call.free_since).filter(|&at| at >= ready.since);
        Step {
            handed: self.handed(call, parent, before),
            action: call.operation,
            lag_ns: call.made.0.saturating_sub(ready.since.0),
            trigger_ns: trigger.map(|at| call.made.0.saturating_sub(at.0)),
            idle: Idle::of(call.free_since.map(|at| call.made.0.saturating_sub(at.0))),
            beside: ready.outstanding > 0,
            adjacent: call.cause.map(|(_, cause)| match cause {
                Cause::Request(request) => request == parent,
                Cause::Answer(answer) => before.contains(&answer),
            }),
        }
    }

    /// How likely it is that a request made these calls, and its answer after them, without what so many of the calls add to it, the
    /// first ones.
    pub(super) fn likelihood_from(&self, parent: Key, calls: &[Key], from: usize) -> f64 {
        let step = |at: usize| {
            let (action, when) = match calls.get(at) {
                Some(&key) => self.calls.get(key).map(|call| (call.operation, Some(call.made)))?,
                None => (ANSWER, self.parents.get(parent)?.answered),
            };
            let ready = self.ready_at(parent, &calls[..at], action, when);
            self.step_likelihood(parent, calls, at, ready)
        };
        (from..=calls.len()).try_fold(0.0, |sum, at| Some(sum + step(at)?)).unwrap_or(IMPOSSIBLE)
    }

    /// How likely it is that a request made the call in this place, or after the last one its answer, when it could do so;
    /// `None` if it can't have.
    pub(super) fn step_likelihood(&self, parent: Key, calls: &[Key], at: usize, ready: Option<Ready>) -> Option<f64> {
        let request = self.parents.get(parent)?;
        let trust = self.trust();
        let Some(&key) = calls.get(at) else {
            let answered = request.answered.zip(ready);
            return Some(answered.map_or(0.0, |(answered, ready)| {
                let end = self.plans.likelihood(ready.history, &answer(answered, &ready), trust);
                end + self.rarity(parent, calls, &ready)
            }));
        };
        let (call, ready) = (self.calls.get(key)?, ready?);
        if call.made < request.read || request.answered.is_some_and(|answered| answered < call.made) {
            return None;
        }
        Some(self.plans.likelihood(ready.history, &self.step(call, (parent, &calls[..at]), &ready), trust))
    }

    /// How likely a request makes this call in the place of another.
    pub(super) fn here(&self, parent: Key, calls: &[Key], place: Key, call: &Call) -> f64 {
        let before = &calls[..position(calls, place)];
        let Some(ready) = self.ready_at(parent, before, call.operation, Some(call.made)) else { return IMPOSSIBLE };
        self.plans.likelihood(ready.history, &self.step(call, (parent, before), &ready), self.trust())
    }

    /// Whether everything that a request did is what such requests usually do.
    pub(super) fn is_usual(&self, parent: Key) -> bool {
        let Some(request) = self.parents.get(parent) else { return true };
        request.calls.iter().enumerate().all(|(at, &key)| {
            let Some(call) = self.calls.get(key) else { return true };
            let before = &request.calls[..at];
            let Some(ready) = self.ready_for(parent, at) else { return true };
            let step = self.step(call, (parent, before), &ready);
            let surprise = self.plans.surprise(ready.history, &step, self.trust());
            surprise.is_some_and(|surprise| surprise < USUAL_SPREAD)
        })
    }

    /// Whether it is plain what a request did: nothing that no such request was seen to do, and its answer about when it is usual.
    ///
    /// That is asked of each request many times. A few more lessons do not change it.
    pub(super) fn is_plain(&self, parent: Key) -> bool {
        let Some(request) = self.parents.get(parent) else { return false };
        if let Some((lessons, is_plain)) = request.standing.plain.get()
            && self.lessons.wrapping_sub(lessons) <= lessons / LESSONS_SHARE
        {
            return is_plain;
        }
        let is_plain = self.is_plain_with(parent, &request.calls);
        request.standing.plain.set(Some((self.lessons, is_plain)));
        is_plain
    }

    /// Whether it would be, if it had these calls.
    pub(super) fn is_plain_with(&self, parent: Key, calls: &[Key]) -> bool {
        let answered = self.parents.get(parent).and_then(|request| request.answered);
        let Some((answered, ready)) =
            answered.and_then(|at| Some((at, self.ready_at(parent, calls, ANSWER, Some(at))?)))
        else {
            return false;
        };
        let surprise = self.plans.surprise(ready.history, &answer(answered, &ready), self.trust());
        let spread = if self.has_many_callers() { PLAIN_SPREAD_THREADS } else { PLAIN_SPREAD };
        let rarity = self.rarity(parent, calls, &ready);
        surprise.is_some_and(|surprise| surprise - rarity < spread * self.trust()) && self.are_known(parent, calls)
    }

    /// Whether such requests were seen to make each of these calls after those before it, when their answers were there.
    pub(super) fn are_known(&self, parent: Key, calls: &[Key]) -> bool {
        calls.iter().enumerate().all(|(at, &key)| {
            let Some(call) = self.calls.get(key) else { return false };
            let ready = self.ready_at(parent, &calls[..at], call.operation, Some(call.made));
            ready.is_some_and(|ready| ready.is_due() && self.plans.is_known(ready.history, call.operation))
        })
    }

    /// How likely it is that a request ends with these calls and no other, of those that made each of them: what is made at the same
    /// time is no step after the other that could be missing.
    fn rarity(&self, parent: Key, calls: &[Key], end: &Ready) -> f64 {
        /// Where more than one in so many ends so it is not asked, nor before so many were seen.
        const RARE: u32 = 16;
        const KNOWN: u32 = 64;
        /// As if so many more had, of both.
        const UNSEEN: f64 = 1.0;
        let Some(request) = self.parents.get(parent) else { return 0.0 };
        let all = self.plans.seen(History::new(request.operation));
        let seen = self.plans.seen(end.history);
        if all < KNOWN || seen.saturating_mul(RARE) >= all {
            return 0.0;
        }
        let reached = |(at, &key): (usize, &Key)| {
            let call = self.calls.get(key)?;
            let ready = self.ready_at(parent, &calls[..at], call.operation, Some(call.made))?;
            Some(self.plans.count(ready.history, call.operation))
        };
        let reached = calls.iter().enumerate().filter_map(reached).min().unwrap_or(all);
        ((f64::from(seen) + UNSEEN) / (f64::from(reached) + UNSEEN)).ln().min(0.0)
    }

    /// How likely a call is made for nobody.
    pub(super) fn nobodys(&self, call: &Call) -> f64 {
        /// Such calls come at any time: once in ten seconds, say.
        const LOG_PERIOD_NS: f64 = 23.0;
        self.orphan_share(call.operation).ln() - self.trust() * LOG_PERIOD_NS + self.handed_by_nobody(call)
    }
}

pub(super) fn answer(answered: Nanos, ready: &Ready) -> Step {
    Step {
        handed: 0.0,
        action: ANSWER,
        lag_ns: answered.0.saturating_sub(ready.since.0),
        trigger_ns: None,
        idle: Idle::default(),
        beside: ready.outstanding > 0,
        adjacent: None,
    }
}

pub(super) fn position(calls: &[Key], key: Key) -> usize {
    calls.iter().position(|&other| other == key).unwrap_or(calls.len())
}
