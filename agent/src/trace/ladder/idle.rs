//! T1, idle threads: one that answers nobody sleeps on a lock of its own until somebody has work for it, or is made for that. Whoever
//! wakes or makes it then is busy with the request that the work is for.
//!
//! Locks on which several sleep tell much less: whoever comes first gets what there is, and interpreters free theirs for anybody
//! ([`super::handover`]). Nor is it certain of several threads that are woken at about the same time and look into a common queue then:
//! on a busy machine it is not the first one woken that runs first. And who goes on with other work at once may sleep for another
//! reason, as for a connection. So what it is worth has to be proven, by calls that are compared without it and of which it is sure
//! whose they are; some are compared so for good, so that it is seen whether it stays so. Whoever was not made for work must have shown
//! that it does it for others; who answers a request in the end was not idle, but busy with what another thread had taken.

use foldhash::HashMap;

use super::THRESHOLD;
use super::align::SURE;
use super::busy::Cause;
use super::evidence::{Decision, Evidence};
use super::handback::{AGREED, By, HandedTo, SMALL_CROWD};
use super::handover::{Class, Handover, MADE, TELLING};
use super::plan::ANSWER;
use super::process::{Call, Process};
use crate::flow::Nanos;
use crate::slots::Key;
use crate::trace::link::Method;

/// Who sleeps on which lock.
#[derive(Debug, Default)]
pub(super) struct Sleepers {
    by_lock: HashMap<u64, Sleeper>,
    /// Those that were woken lately and, as far as is known, have not begun with what they were woken for.
    woken: Vec<(Nanos, u32)>,
    /// How often one was woken again before it began, by another lock and by the same.
    by_other: u32,
    by_same: u32,
    /// Calls of threads that were idle.
    calls: u32,
}

#[derive(Clone, Copy, Debug)]
enum Sleeper {
    Only(u32),
    Several,
}

/// Locks that are remembered.
const MAX_LOCKS: usize = 4_096;
/// So many calls must have been judged: until then all are compared.
const ENOUGH: u32 = 128;
/// Of so many the last ones are compared from then on.
const ROUND: u32 = 128;
const COMPARED: u32 = 16;
/// A thread that was woken runs after so long, however busy the machine is.
const RUNS_NS: u64 = 100_000_000;
/// Threads that were woken so lately and are remembered.
const MAX_WOKEN: usize = 256;

impl Sleepers {
    /// A thread was woken: whether it is the only one that was ever seen to sleep there.
    fn woken(&mut self, lock: u64, tid: u32) -> bool {
        if self.by_lock.len() >= MAX_LOCKS && !self.by_lock.contains_key(&lock) {
            self.by_lock.clear();
        }
        let sleeper = self.by_lock.entry(lock).or_insert(Sleeper::Only(tid));
        let is_only = matches!(sleeper, Sleeper::Only(only) if *only == tid);
        if !is_only {
            *sleeper = Sleeper::Several;
        }
        is_only
    }

    /// Whether threads sleep on these locks only as long as there is no work: then it is a certain one that is woken for some work.
    /// Others sleep on the same lock whatever they wait for, and look into a common queue when they are woken.
    pub(super) const fn are_for_work(&self) -> bool {
        const FEW: u32 = 16;
        const SHARE: u32 = 8;
        self.by_other >= FEW && self.by_other >= self.by_same * SHARE
    }

    /// A thread that was woken is woken again before it has begun.
    const fn again(&mut self, is_same: bool) {
        const MAX_COUNT: u32 = 4_096;
        *if is_same { &mut self.by_same } else { &mut self.by_other } += 1;
        if self.by_same + self.by_other >= MAX_COUNT {
            (self.by_same, self.by_other) = (self.by_same / 2, self.by_other / 2);
        }
    }
}

impl Handover {
    /// Whether an idle thread was set to work.
    pub(super) const fn is_to_idle(&self) -> bool {
        matches!(self.class, Class::Own | Class::Made)
    }
}

impl Process {
    /// A thread is woken by a lock, or made: what that is.
    pub(super) fn class(&mut self, tid: u32, lock: u64) -> Class {
        if lock == MADE {
            return Class::Made;
        }
        // A condition variable has two futexes, side by side, that take turns.
        let lock = lock & !7;
        let is_own = self.sleepers.woken(lock, tid);
        let Some(thread) = self.threads.get(&tid) else { return Class::First };
        let is_helper = By::of(thread, self.habit.is_proven()) == By::Helper;
        match thread.woken.first() {
            Some(first) => {
                if is_helper && first.lock != MADE {
                    self.sleepers.again(first.lock & !7 == lock);
                }
                Class::Later
            }
            None if is_own && is_helper => Class::Own,
            None => Class::First,
        }
    }

    /// A thread that was idle is woken for something. If another was woken just before for something else and has not begun, whichever
    /// of them runs first takes what was there first: of neither it is known then what it works for.
    pub(super) fn race(&mut self, tid: u32, cause: Option<Cause>, at: Nanos) -> Class {
        if self.sleepers.are_for_work() {
            return Class::Own;
        }
        let earliest = Nanos(at.0.saturating_sub(RUNS_NS));
        let mut is_alone = true;
        self.sleepers.woken.retain(|&(woken, other)| {
            let first = self.threads.get_mut(&other).and_then(|thread| thread.woken.first_mut());
            let has_not_begun = |first: &&mut Handover| matches!(first.class, Class::Own | Class::Raced);
            let Some(first) = first.filter(has_not_begun).filter(|_| other != tid && woken >= earliest) else {
                return false;
            };
            if cause.is_some() && first.cause.is_some() && first.cause != cause {
                is_alone = false;
                first.class = Class::Raced;
            }
            true
        });
        let has_room = self.sleepers.woken.len() < MAX_WOKEN;
        if has_room {
            self.sleepers.woken.push((at, tid));
        }
        if is_alone && has_room { Class::Own } else { Class::Raced }
    }

    /// What a thread was set to work for that was idle and sets another to work before it does anything else; `None` if it was not.
    /// What it makes another for is the same; whom it wakes is for somebody else, whose work it found besides its own.
    pub(super) fn errand(&self, tid: u32, class: Class) -> Option<Option<Cause>> {
        let thread = self.threads.get(&tid).filter(|thread| !thread.serves)?;
        let first = thread.woken.first().filter(|first| first.is_to_idle())?;
        match class {
            Class::Made => Some(first.cause),
            Class::Own | Class::Raced => Some(None),
            Class::First | Class::Later => None,
        }
    }

    /// A thread made these calls before it answered a request that another took: nobody set it to work for others.
    pub(super) fn was_not_idle(&mut self, calls: &[Key]) {
        for &key in calls {
            let Some(call) = self.calls.get_mut(key) else { continue };
            call.woken.retain(|handover| !handover.is_to_idle());
            call.best_handover.set(None);
            let owner = call.owner;
            self.changed(owner);
        }
    }

    /// Whether the next call of a thread that was set to work is compared without that.
    pub(super) fn is_blind(&mut self, woken: &[Handover]) -> bool {
        let Some(first) = woken.first().filter(|first| first.is_to_idle()) else { return false };
        self.sleepers.calls = self.sleepers.calls.wrapping_add(1);
        self.handovers.seen_of(first.class.index()) < ENOUGH || self.sleepers.calls % ROUND >= ROUND - COMPARED
    }

    /// The request that a call's thread was set to work for, if it was idle, that is certain and it was not answered yet; and who did.
    fn work_of(&self, call: &Call) -> Option<(Key, Handover)> {
        let first = call.woken.first().filter(|first| first.is_to_idle() && self.workers.are_waiting())?;
        let request = match first.cause? {
            Cause::Request(request) => request,
            Cause::Answer(answer) => {
                let answer = self.calls.get(answer)?;
                let is_sure =
                    answer.proof.is_some() || answer.decision.is_some_and(|decision| decision.parent.is_some());
                answer.owner.filter(|_| is_sure)?
            }
        };
        let parent = self.parents.get(request).filter(|parent| parent.is_open_at(call.made))?;
        let is_heard = |answered: Nanos| call.heard.is_some_and(|heard| heard <= answered);
        // A request that waits for such calls is not answered before they are.
        let is_possible =
            parent.answered.is_none_or(is_heard) || self.waits.is_free(parent.operation, ANSWER, call.operation);
        is_possible.then_some((request, *first))
    }

    /// A request is answered: a call of a thread that was set to work for it is its own, if that is sure enough.
    pub(super) fn worked_for(&mut self, key: Key, parent: Key) {
        let Some(call) = self.calls.get(key).filter(|call| !call.is_blind && call.decision.is_none()) else { return };
        if matches!(call.handed_to, Some(HandedTo::Request(other, _)) if other != parent) {
            return;
        }
        let Some((request, by)) = self.work_of(call).filter(|(request, _)| *request == parent) else { return };
        let Some(strength) = self.handovers.worth(by.lock, by.class.index()).filter(|&worth| worth >= THRESHOLD) else {
            return;
        };
        if let Some(node) = self.parents.get(request).map(|request| request.node) {
            self.prove_late(key, request, Evidence { parent: node, tier: Method::Thread, strength });
        }
    }

    /// What comparing says about whose a call is, is held against whom its thread was set to work for: where comparing is not sure,
    /// that decides; where both are and do not agree, it is nobody's.
    pub(super) fn settle_work(&mut self, key: Key, compared: Option<Evidence>) {
        let Some(call) = self.calls.get(key).filter(|call| call.decision.is_none()) else { return };
        let Some((request, by)) = self.work_of(call) else { return };
        let Some(node) = self.parents.get(request).map(|request| request.node) else { return };
        let (crowd, is_blind, is_guess) = (call.crowd, call.is_blind, call.owner == Some(request));
        if is_blind && crowd >= TELLING && call.strength.is_some_and(|strength| strength >= SURE) {
            for _ in 0..1 + usize::from(!is_guess && crowd <= SMALL_CROWD) {
                self.handovers.learn_apart(by.lock, by.class.index(), is_guess);
            }
        }
        let Some(worth) = self.handovers.worth(by.lock, by.class.index()) else { return };
        match compared.filter(|compared| compared.strength >= THRESHOLD) {
            Some(compared) if compared.parent == node || worth < THRESHOLD => {}
            Some(compared) => {
                self.handbacks.contradictions += 1;
                self.decided(key, Decision { candidate: Some(compared), ..Decision::default() });
            }
            None => {
                let strength = if is_blind && is_guess { 1.0 - (1.0 - worth) * AGREED } else { worth };
                if strength >= THRESHOLD {
                    self.prove_late(key, request, Evidence { parent: node, tier: Method::Thread, strength });
                }
            }
        }
    }
}
