//! T1, workers: threads that answer requests which others took for them (a reactor, an acceptor), one at a time, and wait for the
//! answer to each call that they make. Then what a thread called since its last answer is the next answer's, once that is sent.
//!
//! Who answers tells nothing in an event loop, nor where an executor runs whatever comes. So it has to be proven, by what happens
//! while several requests are open: that a thread's calls never overlap, and that before the answers to requests of a kind it makes
//! the same calls again and again.

use foldhash::HashMap;

use super::evidence::{Decision, Evidence};
use super::process::{MAX_FAN_OUT, Process};
use super::thread::Habit;
use crate::slots::Key;
use crate::trace::link::Method;

/// What was seen of the threads of a process that send answers.
#[derive(Debug, Default)]
pub(super) struct Workers {
    waiting: Habit,
    /// By the operation of the request.
    usual: HashMap<u64, Usual>,
}

/// What a thread did since its last answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Shift {
    /// Its calls, the oldest first.
    calls: Vec<Key>,
    /// The one whose answer it waits for.
    waits_for: Option<Key>,
}

/// The calls that a thread usually makes before it answers.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    calls: u64,
    habit: Habit,
}

/// How sure such a link is, once the habits are proven.
const STRENGTH: f64 = 0.99;
/// One in so many may have broken a habit: records may be lost.
const BROKEN_SHARE: u32 = 25;
/// Kinds of requests of one process.
const MAX_OPERATIONS: usize = 256;

impl Workers {
    /// Whether threads wait for the answer to each call that they make.
    pub(super) const fn are_waiting(&self) -> bool {
        self.waiting.is_kept_but_for(BROKEN_SHARE)
    }
}

impl Shift {
    /// The thread makes a call; whether it waited for the answer to the one before.
    fn called(&mut self, key: Key) -> bool {
        if self.calls.len() <= MAX_FAN_OUT {
            self.calls.push(key);
        }
        self.waits_for.replace(key).is_none()
    }
}

impl Usual {
    /// Whether these are the calls that are usual.
    fn note(&mut self, calls: u64) -> bool {
        let is_same = self.calls == calls;
        self.habit.note(is_same);
        if self.habit.is_broken() {
            *self = Self { calls, habit: Habit::default() };
        }
        is_same
    }
}

impl Process {
    /// A thread makes a call.
    pub(super) fn worker_called(&mut self, tid: u32, key: Key) {
        let is_telling = self.open.len() > 1;
        let thread = self.thread(tid);
        thread.woken.clear();
        thread.told.clear();
        let has_waited = thread.shift.called(key);
        if !has_waited && is_telling {
            self.workers.waiting.note(false);
        }
    }

    /// A thread takes the answer to a call that another, or it, has made.
    pub(super) fn worker_heard(&mut self, tid: u32, key: Key) {
        let is_telling = self.open.len() > 1;
        let is_own = self.threads.get_mut(&tid).is_some_and(|thread| {
            let is_own = thread.shift.waits_for == Some(key);
            if is_own {
                thread.shift.waits_for = None;
            }
            is_own
        });
        if is_telling {
            self.workers.waiting.note(is_own);
        }
    }

    /// A thread answers a request: what it called meanwhile may be known by that.
    pub(super) fn worker_answered(&mut self, tid: u32, parent: Key) {
        let is_telling = !self.open.is_empty();
        let Some(request) = self.parents.get(parent) else { return };
        let (operation, node, read, Some(answered)) = (request.operation, request.node, request.read, request.answered)
        else {
            return;
        };
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        thread.answered = answered;
        let seemed_idle = !std::mem::replace(&mut thread.serves, true);
        let mut shift = std::mem::take(&mut thread.shift);
        if seemed_idle {
            self.was_not_idle(&shift.calls);
        }
        let is_within = |&key: &Key| self.calls.get(key).is_some_and(|call| call.made >= read && call.made <= answered);
        let is_whole =
            shift.waits_for.is_none() && shift.calls.len() <= MAX_FAN_OUT && shift.calls.iter().all(is_within);
        let calls = if is_whole { self.fingerprint(&shift.calls) } else { 0 };
        if !self.workers.usual.contains_key(&operation) && self.workers.usual.len() >= MAX_OPERATIONS {
            return;
        }
        let usual = self.workers.usual.entry(operation).or_default();
        let is_usual = if is_telling { usual.note(calls) } else { usual.calls == calls };
        // Others know better.
        let is_anothers = |key: &Key| {
            let decided = self.calls.get(*key).and_then(|call| call.decision?.parent);
            decided.is_some_and(|evidence| evidence.parent != node)
        };
        if shift.calls.iter().any(is_anothers) {
            usual.habit.note(false);
        }
        let is_habit = usual.habit.is_kept_but_for(BROKEN_SHARE);
        let is_proven = self.workers.are_waiting() && is_habit;
        if is_whole && is_usual && is_proven {
            let evidence = Evidence { parent: node, tier: Method::Thread, strength: STRENGTH };
            shift.calls.iter().for_each(|&key| self.prove_late(key, parent, evidence));
        }
        // Its memory is used again.
        shift.calls.clear();
        self.thread(tid).shift.calls = shift.calls;
    }

    /// What calls ask, in their order.
    fn fingerprint(&self, calls: &[Key]) -> u64 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let operations = calls.iter().filter_map(|&key| self.calls.get(key)).map(|call| call.operation);
        operations.fold(1, |all, operation| (all ^ operation).wrapping_mul(GOLDEN).rotate_left(23))
    }

    /// It is proven whose a call is that was given to somebody by comparing.
    pub(super) fn prove_late(&mut self, key: Key, parent: Key, evidence: Evidence) {
        let Some(call) = self.calls.get(key) else { return };
        if call.is_settled() {
            return;
        }
        self.take_over(key, parent, &[key]);
        self.prove(key, parent, evidence);
        if let Some(call) = self.calls.get_mut(key) {
            call.strength = Some(evidence.strength);
        }
        self.decided(key, Decision { parent: Some(evidence), ..Decision::default() });
    }
}
