//! T1, answers handed back: who lets another thread make a call often waits until that has the answer, and is woken by it then. So
//! whoever answers a request was woken, since it last took or called anything itself, by those that took the answers to its calls.
//!
//! Threads wake each other for other reasons, too: an interpreter's lock is freed for whoever waits. So each lock has to prove what it is
//! worth, by calls of which it is known otherwise whose they are, and loses it again by what can't be: that the call is another's, or
//! was not made while the request was open. And only threads that do nothing else hand anything back: those that take requests or
//! answer them are busy with those. It is told of by the same records as who sets a thread to work ([`super::handover`]).

use super::THRESHOLD;
use super::align::SURE;
use super::busy::{Cause, Thread};
use super::evidence::{Decision, Evidence};
use super::handover::TELLING;
use super::locks::Locks;
use super::process::Process;
use crate::flow::Nanos;
use crate::slots::Key;
use crate::trace::ancestry::Node;
use crate::trace::link::Method;

/// What is known of answers that are handed back.
#[derive(Debug, Default)]
pub(super) struct Handbacks {
    /// Whether threads that were woken by whoever took an answer waited for it.
    pub(super) locks: Locks<1>,
    /// Answers that were handed to whom they seem to be for.
    count: u32,
    /// Calls about which others were as sure and said something else, and that are not counted yet.
    pub(super) contradictions: u64,
}

/// A thread was woken by one that had just taken an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// The futex that it slept on.
    lock: u64,
    /// The call that was answered.
    call: Key,
    by: By,
}

/// Who took an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Too little is known.
    Unknown,
    /// It takes no requests and answers none, but makes calls for others.
    Helper,
    /// It takes requests or answers some.
    Server,
}

/// To whom the answer to a call was handed.
#[derive(Clone, Copy, Debug)]
pub(super) enum HandedTo {
    /// The thread that was woken last.
    Thread(u32),
    /// The request that it answered then, without anything else in between; and the lock.
    Request(Key, u64),
}

/// Of what a thread was told since it last took or called anything so much is remembered.
const MAX_TOLD: usize = 16;
/// A thread that has taken so many answers, and neither took a request nor answered one, does so for others.
const HELPER: u32 = 8;
/// Where comparing says the same, what speaks against it counts for so much: both would have to be wrong in the same way.
pub(super) const AGREED: f64 = 0.5;
/// Of so many the last ones are compared with what others say, so that it is seen whether it stays so: one after the other, since
/// those around a call that is compared must not be given away because somebody was woken.
const ROUND: u32 = 128;
const COMPARED: u32 = 16;
/// Of so few requests chance finds the right one so often that a mistake stands for two.
pub(super) const SMALL_CROWD: usize = 3;

impl Process {
    /// A thread was woken by one that had just taken an answer, as far as it took anything.
    pub(super) fn told(&mut self, by: u32, to: u32, lock: u64, at: Nanos) {
        let Some((_, Cause::Answer(call))) = self.cause_at(by, at) else { return };
        // A condition variable has two futexes, side by side, that take turns.
        let lock = lock & !7;
        if !self.workers.are_waiting() || self.handbacks.locks.is_known_worthless(lock) {
            return;
        }
        let by = self.threads.get(&by).map_or(By::Unknown, |thread| By::of(thread, self.habit.is_proven()));
        let told = &mut self.thread(to).told;
        if told.len() < MAX_TOLD && !told.iter().any(|one| one.lock == lock && one.call == call) {
            told.push(Told { lock, call, by });
        }
        if let Some(call) = self.calls.get_mut(call)
            && !matches!(call.handed_to, Some(HandedTo::Request(..)))
        {
            call.handed_to = Some(HandedTo::Thread(to));
        }
    }

    /// A thread has answered a request: what it was told before that are the answers to the request's calls.
    pub(super) fn handed_back(&mut self, tid: u32, parent: Key) {
        let Some(told) = self.threads.get_mut(&tid).map(|thread| std::mem::take(&mut thread.told)) else { return };
        let Some(request) = self.parents.get(parent).filter(|_| !told.is_empty()) else { return };
        let (node, read, Some(answered)) = (request.node, request.read, request.answered) else { return };
        let mut possible = Vec::with_capacity(told.len());
        for one in told {
            let Some(call) = self.calls.get(one.call) else { continue };
            let is_in_time = call.made >= read && call.heard.is_some_and(|heard| heard <= answered);
            let decided = call.decision.and_then(|decision| decision.parent);
            let is_possible = is_in_time && decided.is_none_or(|decided| decided.parent == node);
            match one.by {
                By::Unknown | By::Helper if is_possible => possible.push(one),
                _ => self.handbacks.locks.learn_apart(one.lock, 0, false),
            }
        }
        for told in possible.iter().filter(|told| told.by == By::Helper) {
            self.hand_back(told, parent, node, self.are_too_many(told.call, &possible, parent));
        }
    }

    /// Whether a request was told answers to more calls of a kind than it seems to have made.
    fn are_too_many(&self, key: Key, told: &[Told], parent: Key) -> bool {
        let mut calls: Vec<Key> =
            told.iter().map(|one| one.call).filter(|&other| self.is_same_kind(key, other)).collect();
        calls.sort_unstable();
        calls.dedup();
        let made = self.calls_of(parent).iter().filter(|&&other| self.is_same_kind(key, other)).count();
        calls.len() > made.max(1)
    }

    fn hand_back(&mut self, told: &Told, parent: Key, node: Node, is_contradiction: bool) {
        let is_guess = self.calls.get(told.call).is_some_and(|call| call.owner == Some(parent));
        self.judge(told, is_guess || !is_contradiction);
        let Some(call) = self.calls.get_mut(told.call).filter(|call| call.decision.is_none()) else { return };
        if is_contradiction && !is_guess {
            return;
        }
        call.handed_to = Some(HandedTo::Request(parent, told.lock));
        self.handbacks.count = self.handbacks.count.wrapping_add(1);
        if self.handbacks.count % ROUND < ROUND - COMPARED {
            self.believe(told, parent, node);
        }
    }

    /// A call is decided before its request is answered: whoever was told its answer may still wait for others.
    pub(super) fn hand_back_early(&mut self, key: Key) {
        let Some(call) = self.calls.get(key) else { return };
        let (made, Some(HandedTo::Thread(tid))) = (call.made, call.handed_to) else { return };
        let Some(thread) = self.threads.get(&tid) else { return };
        // What it was busy with all that time, if that is sure.
        let parent = thread.took().and_then(|(_, cause)| match cause {
            Cause::Request(request) => Some(request),
            Cause::Answer(answer) => self.calls.get(answer).filter(|answer| answer.proof.is_some())?.owner,
        });
        let open = parent.and_then(|parent| Some((parent, self.parents.get(parent)?)));
        let Some((parent, request)) = open.filter(|(_, open)| open.answered.is_none() && open.read <= made) else {
            return;
        };
        let node = request.node;
        let told: Vec<Told> =
            thread.told.iter().filter(|one| one.call == key && one.by == By::Helper).copied().collect();
        told.iter().for_each(|one| self.believe(one, parent, node));
    }

    /// Takes a call for the request's who was told its answer, if that is sure enough.
    fn believe(&mut self, told: &Told, parent: Key, node: Node) {
        let Some(worth) = self.handbacks.locks.worth(told.lock, 0) else { return };
        let is_guess = self.calls.get(told.call).is_some_and(|call| call.owner == Some(parent));
        let strength = if is_guess { 1.0 - (1.0 - worth) * AGREED } else { worth };
        if strength >= THRESHOLD {
            self.prove_late(told.call, parent, Evidence { parent: node, tier: Method::Thread, strength });
        }
    }

    /// What comparing says about whose a call is, is held against to whom its answer was handed: where one of them is not sure, the other
    /// decides; where both are and do not agree, it is nobody's.
    pub(super) fn settle(&mut self, key: Key, compared: Option<Evidence>) {
        let Some(call) = self.calls.get(key) else { return };
        let Some(HandedTo::Request(parent, lock)) = call.handed_to else { return };
        let Some(node) = self.parents.get(parent).map(|request| request.node) else { return };
        let told = Told { lock, call: key, by: By::Helper };
        if call.strength.is_some_and(|strength| strength >= SURE) {
            let is_right = call.owner == Some(parent);
            self.judge(&told, is_right);
        }
        match compared.filter(|compared| compared.strength >= THRESHOLD) {
            Some(compared) if compared.parent == node => {}
            None => self.believe(&told, parent, node),
            Some(compared) if self.handbacks.locks.worth(lock, 0).is_some_and(|worth| worth >= THRESHOLD) => {
                self.handbacks.contradictions += 1;
                self.decided(key, Decision { candidate: Some(compared), ..Decision::default() });
            }
            Some(_) => {}
        }
    }

    /// Whether a thread was told rightly.
    fn judge(&mut self, told: &Told, is_right: bool) {
        let crowd = self.calls.get(told.call).map_or(0, |call| call.crowd);
        if crowd < TELLING {
            return;
        }
        for _ in 0..1 + usize::from(!is_right && crowd <= SMALL_CROWD) {
            self.handbacks.locks.learn_apart(told.lock, 0, is_right);
        }
    }
}

impl By {
    /// Where each request is answered by the thread that took it, it shows at once who takes none.
    pub(super) const fn of(thread: &Thread, is_thread_per_request: bool) -> Self {
        if thread.serves {
            Self::Server
        } else if is_thread_per_request || thread.is_made_for_work || thread.heard >= HELPER {
            Self::Helper
        } else {
            Self::Unknown
        }
    }
}
