//! T2, hand-over between threads: who made a thread, or woke it, before it makes a call.
//!
//! A thread of an executor sleeps until somebody has work for it: whoever wakes it then is often busy with the request that the work
//! is for. But interpreter locks and the queues of pools wake whoever waits. So it is evidence among other evidence, worth as much as
//! each lock has proven: the kernel tells by the futex which one it was. Where threads do not wait for the calls that they make
//! ([`super::worker`]), as those of an event loop, who wakes whom says nothing of requests. Threads that sleep on a lock of their own
//! until there is work are another matter ([`super::idle`]).
//!
//! To be told of it costs each wake-up of the machine some tens of nanoseconds, so it is asked for only where links are missing, and
//! given up again where it costs too much or tells nothing.

use super::busy::{Cause, Thread};
use super::idle::Sleepers;
use super::locks::Locks;
use super::process::{Call, Process};
use crate::flow::Nanos;
use crate::slots::Key;

/// A thread was made or woken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handover {
    /// The futex that it slept on; [`MADE`] for one that was made.
    pub(super) lock: u64,
    pub(super) class: Class,
    /// What the one who did it was busy with.
    pub(super) cause: Option<Cause>,
}

/// Which one sets a thread to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Not the first one since the thread last took or sent anything.
    Later,
    /// The first one, which rather tells for whom.
    First,
    /// The first one of a thread that answers nobody, by a lock on which no other sleeps.
    Own,
    /// As [`Self::Own`], but another such thread may have taken what it was woken for.
    Raced,
    /// Whoever made it.
    Made,
}

/// Classes whose worth is learnt apart: an idle thread is woken or made for the same reason.
pub(super) const CLASSES: usize = 3;

/// Whether it is to be told of a process.
#[derive(Debug, Default)]
pub(super) struct Demand {
    is_on: bool,
    /// What became of calls lately.
    decided: u32,
    unsure: u32,
    /// Not asked for before.
    pause_until: Nanos,
    /// What came in this second.
    since: Nanos,
    records: u32,
    /// The process is gone, as far as is known.
    is_gone: bool,
    change: Option<bool>,
}

/// No address of a futex: whoever made a thread.
pub(super) const MADE: u64 = 1;

/// Of what comes before a call so many wake-ups are remembered, the first ones.
const MAX_REMEMBERED: usize = 8;
/// The most that who sets a thread to work can be worth.
const MOST: f64 = 0.98;
/// It tells something where so many requests are open: of two chance is right half of the time, which is well below [`LEAST`].
pub(super) const TELLING: usize = 2;
/// Asked for when so many calls were not sure,
const UNSURE: u32 = 20;
/// and one in so many.
const UNSURE_SHARE: u32 = 20;
/// Counts are halved then.
const MAX_DECIDED: u32 = 400;
/// Records of one process in a second: more cost more than links are worth.
const MAX_RECORDS: u32 = 20_000;
const SECOND_NS: u64 = 1_000_000_000;
/// So long it is not asked for again.
const PAUSE_NS: u64 = 300 * SECOND_NS;
/// Of a process that answers nobody and calls nobody for so long nothing is to be told.
pub(super) const UNUSED_NS: u64 = 10 * SECOND_NS;
/// Who sets a thread to work by such a lock hands over what it is busy with.
const STRONG: f64 = 0.97;
/// Calls that were made while a request was open, and are looked through.
const MAX_FOLLOWED: usize = 512;
impl Class {
    /// Where its worth is learnt.
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Later => 0,
            Self::First | Self::Raced => 1,
            Self::Own | Self::Made => 2,
        }
    }
}

impl Demand {
    /// What became of a call.
    fn note(&mut self, is_sure: bool) {
        self.decided += 1;
        self.unsure += u32::from(!is_sure);
        if self.decided >= MAX_DECIDED {
            (self.decided, self.unsure) = (self.decided / 2, self.unsure / 2);
        }
    }

    fn set(&mut self, is_on: bool) {
        if self.is_on != is_on {
            (self.is_on, self.change) = (is_on, Some(is_on));
        }
    }

    /// No longer. It is asked for again where links are missing,
    pub(super) fn stop(&mut self) {
        self.set(false);
        (self.decided, self.unsure) = (0, 0);
    }

    /// but not before some time.
    fn pause(&mut self, now: Nanos) {
        self.stop();
        self.pause_until = Nanos(now.0.saturating_add(PAUSE_NS));
    }

    /// The process has ended, or runs another program: the kernel has been told.
    pub(super) fn part(&mut self) {
        *self = Self { is_gone: true, ..Self::default() };
    }

    /// It answers a request.
    pub(super) const fn is_there(&mut self) {
        self.is_gone = false;
    }

    /// Whether it is to be told from now on, if that has changed.
    pub(super) const fn take_change(&mut self) -> Option<bool> {
        self.change.take()
    }
}

/// What the likeliest one was busy with who set a thread to work, and how likely it is for that.
pub(super) type Best = Option<(Cause, f64)>;

impl Process {
    /// A thread made another, or woke it.
    pub(super) fn handed_over(&mut self, by: u32, to: u32, lock: u64, at: Nanos) {
        if at.0.saturating_sub(self.demand.since.0) >= SECOND_NS {
            (self.demand.since, self.demand.records) = (at, 0);
        }
        self.demand.records += 1;
        if self.demand.is_on && self.demand.records > MAX_RECORDS {
            self.demand.pause(at);
        }
        let answered = self.threads.get(&by).map_or(Nanos(0), |thread| thread.answered);
        let own = self.cause_at(by, at).filter(|(when, _)| *when >= answered).map(|(_, cause)| cause);
        // Who was woken for the same may pass it on.
        let passed = self.threads.get(&by).and_then(|thread| thread.woken.iter().find(|one| one.lock == lock));
        let passed = passed.map(|passed| passed.cause);
        if lock == MADE {
            *self.thread(to) = Thread::default();
        }
        let class = self.class(to, lock);
        let cause = passed.or_else(|| self.errand(by, class)).unwrap_or(own);
        let class = if class == Class::Own { self.race(to, cause, at) } else { class };
        let is_certain = self.sleepers.are_for_work();
        let thread = self.thread(to);
        thread.is_made_for_work |= class == Class::Made && cause.is_some();
        if let Some(before) = thread.woken.iter_mut().find(|one| one.lock == lock) {
            // It was woken for nothing before, or now.
            if before.class == Class::Own && before.cause != cause && !is_certain {
                before.class = Class::Raced;
            }
            before.cause = cause;
        } else if thread.woken.len() < MAX_REMEMBERED {
            thread.woken.push(Handover { lock, class, cause });
        }
        self.told(by, to, lock, at);
    }

    /// What the one was busy with who set the thread to work that makes a call, and how likely the call is made for that.
    fn best_handover(&self, call: &Call) -> Best {
        if call.woken.is_empty() || !self.workers.are_waiting() {
            return None;
        }
        // Asked for far more often than something is learnt.
        if let Some((lessons, best)) = call.best_handover.get()
            && lessons == self.lessons
        {
            return best;
        }
        let seen = call.woken.iter().filter(|handover| !(call.is_blind && handover.is_to_idle()));
        let known = seen.filter_map(|handover| {
            Some((handover.cause?, self.handovers.worth(handover.lock, handover.class.index())?.min(MOST)))
        });
        let best = known.max_by(|(_, one), (_, other)| one.total_cmp(other));
        call.best_handover.set(Some((self.lessons, best)));
        best
    }

    /// How likely a request makes a call, by who set its thread to work: a natural logarithm.
    pub(super) fn handed(&self, call: &Call, parent: Key, before: &[Key]) -> f64 {
        self.handed_if(call, |cause| is_for(cause, parent, before))
    }

    /// The same of a call that is made for nobody.
    pub(super) fn handed_by_nobody(&self, call: &Call) -> f64 {
        self.handed_if(call, |_| false)
    }

    fn handed_if(&self, call: &Call, is_it: impl FnOnce(Cause) -> bool) -> f64 {
        let Some((cause, worth)) = self.best_handover(call) else { return 0.0 };
        // One of the others has made it, if they are wrong. Some of those are out of the question, so that it is not one of all.
        let others = (call.crowd.max(1) as f64).sqrt();
        (if is_it(cause) { worth } else { (1.0 - worth) / others }).ln()
    }

    /// A request was answered, and it may be known only now which calls it made itself: those that were made by threads that it set
    /// to work are rather its own, too.
    pub(super) fn follow_handovers(&mut self, parent: Key) {
        if self.handovers.is_empty() {
            return;
        }
        let Some(request) = self.parents.get(parent) else { return };
        let (read, Some(answered), own) = (request.read, request.answered, &request.calls) else { return };
        let is_handed = |key: &Key| {
            let open = self.calls.get(*key).filter(|call| call.proof.is_none() && call.decision.is_none());
            let best = open.and_then(|call| self.best_handover(call)).filter(|&(_, worth)| worth >= STRONG);
            best.is_some_and(|(cause, _)| is_for(cause, parent, own))
        };
        let since = self.recent.since(read).take(MAX_FOLLOWED);
        let since = since.take_while(|&key| self.calls.get(key).is_none_or(|call| call.made <= answered));
        let handed: Vec<Key> = since.filter(is_handed).collect();
        for &key in &handed {
            self.worked_for(key, parent);
            self.take_over(key, parent, &handed);
        }
    }

    /// Gives a call to a request. What was taken for it is rather the one's who seemed to have made it.
    pub(super) fn take_over(&mut self, key: Key, parent: Key, kept: &[Key]) {
        let Some(call) = self.calls.get(key).filter(|call| call.owner != Some(parent)) else { return };
        let (before, operation, made) = (call.owner, call.operation, call.made);
        let is_taken_for_it = |other: &Key| {
            !kept.contains(other)
                && self.calls.get(*other).is_some_and(|other| {
                    other.operation == operation && other.proof.is_none() && other.decision.is_none()
                })
        };
        let mistaken = self.calls_of(parent).iter().copied().find(is_taken_for_it);
        self.give(key, Some(parent));
        if let (Some(before), Some(mistaken)) = (before, mistaken)
            && self.parents.get(before).is_some_and(|before| before.read <= made)
        {
            self.give(mistaken, Some(before));
        }
    }

    /// Whose a call is, is known now.
    pub(super) fn learn_handover(&mut self, key: Key, parent: Key, before: &[Key]) {
        let Some(call) = self.calls.get(key).filter(|call| !call.woken.is_empty()) else { return };
        if call.crowd < TELLING {
            return;
        }
        let woken = call.woken.clone();
        for handover in woken.iter().filter(|handover| !handover.is_to_idle()) {
            if let Some(cause) = handover.cause {
                self.handovers.learn(handover.lock, handover.class.index(), is_for(cause, parent, before));
            }
        }
    }

    /// Whether a call could be linked by what was known.
    pub(super) fn note_decision(&mut self, is_sure: bool, now: Nanos) {
        self.demand.note(is_sure);
        let Demand { is_on, is_gone, unsure, decided, pause_until, .. } = self.demand;
        if is_on {
            if (self.handovers.is_worthless() && !self.handbacks.locks.has_good()) || !self.workers.are_waiting() {
                self.demand.pause(now);
            }
        } else if !is_gone
            && now >= pause_until
            && unsure >= UNSURE
            && unsure * UNSURE_SHARE >= decided
            && self.workers.are_waiting()
            && self.has_many_callers()
        {
            (self.handovers, self.sleepers) = (Locks::default(), Sleepers::default());
            self.demand.set(true);
        }
    }
}

/// Whether one who was busy with this was busy with a request that had made these calls.
fn is_for(cause: Cause, parent: Key, before: &[Key]) -> bool {
    match cause {
        Cause::Request(request) => request == parent,
        Cause::Answer(answer) => before.contains(&answer),
    }
}
