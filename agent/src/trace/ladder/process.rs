//! The requests that a process answers and the calls that it makes, with what is known of each.

use std::cell::Cell;
use std::collections::VecDeque;

use foldhash::HashMap;
use smallvec::SmallVec;
use wirespan_common::record::TaskId;

use super::busy::{Cause, Thread};
use super::effort::Effort;
use super::evidence::{Decision, Doubt, Evidence};
use super::handback::{Handbacks, HandedTo};
use super::handover::{Best, CLASSES, Demand, Handover};
use super::idle::Sleepers;
use super::locks::Locks;
use super::missed::Kinds;
use super::order::Order;
use super::plan::Plans;
use super::recent::Recent;
use super::standing::Standing;
use super::thread::Habit;
use super::token::Tokens;
use super::wait::Waits;
use super::worker::Workers;
use crate::flow::{Cookie, Nanos};
use crate::slots::{Key, Slots};
use crate::trace::ancestry::Node;

/// A process.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// Requests that it answers, until nothing more can be learnt from them.
    pub(super) parents: Slots<Parent>,
    /// Those of them that are not answered, the oldest first.
    pub(super) open: Vec<Key>,
    /// Those of them that are answered, the oldest first.
    pub(super) closed: VecDeque<Key>,
    /// Calls that it makes, as long as the requests are kept that may have made them.
    pub(super) calls: Slots<Call>,
    pub(super) recent: Recent,
    /// What its threads did last.
    pub(super) threads: HashMap<u32, Thread>,
    pub(super) plans: Plans,
    pub(super) waits: Waits,
    pub(super) order: Order,
    pub(super) kinds: Kinds,
    /// When it was last found that something of it was not seen.
    pub(super) missed_at: Option<Nanos>,
    /// How often a call of an operation was made while the process answered nobody, and how often at all.
    pub(super) orphans: HashMap<u64, (u32, u32)>,
    /// The thread that makes most calls, how many it made, and how many others did.
    caller: Option<u32>,
    calls_by_one: u32,
    calls_by_others: u32,
    /// Requests from which was learnt.
    pub(super) lessons: u32,
    /// Of the last calls that were decided by comparing, the latest in the lowest bit, whether it was not sure whose they are.
    pub(super) unsure: u128,
    /// What comparing has cost lately.
    pub(super) effort: Effort,
    pub(super) tokens: Tokens,
    pub(super) habit: Habit,
    pub(super) workers: Workers,
    /// Whether threads that were set to work make a call for what the one was busy with who did it.
    pub(super) handovers: Locks<CLASSES>,
    pub(super) sleepers: Sleepers,
    pub(super) handbacks: Handbacks,
    pub(super) demand: Demand,
    pub(super) last_used: Nanos,
}

/// A request that a process answers.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) node: Node,
    /// The socket that it came on.
    pub(super) socket: Cookie,
    /// What kind of request it is; 0 while its head is not complete.
    pub(super) operation: u64,
    /// When a task took it.
    pub(super) read: Nanos,
    /// The task.
    pub(super) tid: u32,
    /// When its answer began to be sent.
    pub(super) answered: Option<Nanos>,
    /// Its calls as far as they are known or assumed, in the order in which they were made.
    pub(super) calls: Calls,
    /// Something about it was not seen, or it was learnt from already: nothing more is learnt from it.
    pub(super) is_blurred: bool,
    /// Nothing was seen of it but its answer: it has no span.
    pub(super) is_unseen: bool,
    /// It is not known when exactly it was taken.
    pub(super) is_vague: bool,
    pub(super) standing: Standing,
}

/// Calls of a request: most make few.
pub(super) type Calls = SmallVec<[Key; 6]>;

/// A call that a process makes.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// What is called: never 0.
    pub(super) operation: u64,
    /// When it was decided upon: when it was sent, or for the first one on a connection when that was opened.
    pub(super) made: Nanos,
    /// The task that made it.
    pub(super) tid: u32,
    /// Since when its connection was free; `None` for the first call on a connection.
    pub(super) free_since: Option<Nanos>,
    /// What the thread was busy with when it made the call.
    pub(super) cause: Option<(Nanos, Cause)>,
    /// Who had made or woken the thread since it last did anything.
    pub(super) woken: Vec<Handover>,
    /// It is compared without that, so that it is seen what that is worth, if its thread was idle.
    pub(super) is_blind: bool,
    /// What that was worth, and after how many lessons.
    pub(super) best_handover: Cell<Option<(u32, Best)>>,
    /// The request that its thread was busy with, if that was the only one.
    pub(super) busy_with: Option<Key>,
    /// Requests that were open then.
    pub(super) crowd: usize,
    /// To whom its answer was handed.
    pub(super) handed_to: Option<HandedTo>,
    /// When a task took its answer.
    pub(super) heard: Option<Nanos>,
    pub(super) is_over: bool,
    /// Whose it is assumed to be.
    pub(super) owner: Option<Key>,
    /// Others whose it might be.
    pub(super) rivals: [Option<Key>; MAX_RIVALS],
    /// Evidence that needs no comparing.
    pub(super) proof: Option<Evidence>,
    /// What was decided; nothing changes any more.
    pub(super) decision: Option<Decision>,
    /// It was decided before its request was answered.
    pub(super) is_early: bool,
    /// How sure its link is by what was seen.
    pub(super) strength: Option<f64>,
    /// What spoke against it when it was decided.
    pub(super) doubt: Option<Doubt>,
    /// Where it went, if only its answer was seen: its operation is a guess then, and 0 if there is none.
    pub(super) missed: Option<u64>,
}

/// Other candidates of a call that are remembered.
pub(super) const MAX_RIVALS: usize = 4;

/// Requests that a process may answer at once and be followed. More are not linked, and counted.
pub(super) const MAX_PARENTS: usize = 4_096;
/// Calls of a process that are kept.
pub(super) const MAX_CALLS: usize = 16_384;
/// Calls of one request that are compared. The rest of a larger fan-out is linked by proof only.
pub(super) const MAX_FAN_OUT: usize = 64;
/// Operations of calls that are counted.
const MAX_OPERATIONS: usize = 1_024;
/// So long after its answer a request is compared with others: the wait before a call's span is given away, and what
/// overlaps it.
pub(super) const KEPT_NS: u64 = 3_000_000_000;

impl Parent {
    /// Whether it was there at a time and not yet answered.
    pub(super) fn is_open_at(&self, at: Nanos) -> bool {
        self.read <= at && self.answered.is_none_or(|answered| answered >= at)
    }
}

impl Call {
    /// Whether it is proven or decided whose it is.
    pub(super) const fn is_settled(&self) -> bool {
        self.proof.is_some() || self.decision.is_some()
    }
}

impl Process {
    /// A call about which nothing is known yet but who makes it, when, and what the thread was busy with.
    ///
    /// A connection that was opened for it was opened when it was decided upon. But a thread that opens a connection and only then
    /// takes the one request that it is busy with has opened it in advance, for no request that was there.
    pub(super) fn begin(
        &self,
        operation: u64,
        task: TaskId,
        sent: Nanos,
        opened: Option<(Nanos, TaskId)>,
        free_since: Option<Nanos>,
    ) -> Call {
        let is_in_advance = |at: Nanos, opener: u32| {
            let is_only = self.threads.get(&task.tid).is_some_and(|thread| thread.open == 1);
            let took_since = matches!(self.cause_at(task.tid, sent), Some((took, Cause::Request(_))) if took > at);
            opener == task.tid && is_only && took_since
        };
        let (made, tid) = match opened {
            Some((at, opener)) if opener.tid != 0 && !is_in_advance(at, opener.tid) => (at, opener.tid),
            _ => (sent, task.tid),
        };
        let cause = self.cause_at(tid, made);
        Call {
            operation,
            made,
            tid,
            free_since,
            cause,
            busy_with: self.only_request(tid, cause),
            crowd: self.open.len(),
            woken: self.threads.get(&tid).map(|thread| thread.woken.clone()).unwrap_or_default(),
            is_blind: false,
            best_handover: Cell::new(None),
            handed_to: None,
            heard: None,
            is_over: false,
            owner: None,
            rivals: [None; MAX_RIVALS],
            proof: None,
            decision: None,
            is_early: false,
            strength: None,
            doubt: None,
            missed: None,
        }
    }

    /// A call, among the others in the order in which they were made.
    pub(super) fn add(&mut self, call: Call) -> Key {
        let (made, operation) = (call.made, call.operation);
        let key = self.calls.insert(call);
        self.recent.add(key, made, operation);
        key
    }

    /// A task took the answer to a call.
    pub(super) fn heard(&mut self, key: Key, at: Nanos) {
        if let Some(call) = self.calls.get_mut(key) {
            call.heard = Some(at);
            let owner = call.owner;
            self.changed(owner);
        }
    }

    /// Something about a request or its calls is not as it was.
    pub(super) fn changed(&self, parent: Option<Key>) {
        if let Some(parent) = parent.and_then(|parent| self.parents.get(parent)) {
            parent.standing.changed();
        }
    }

    /// A request is answered: what it did can be compared with what others did.
    pub(super) fn answered(&mut self, key: Key, sender: u32, began: Option<Nanos>, now: Nanos) {
        let Some(at) = self.open.iter().position(|&open| open == key) else { return };
        self.open.remove(at);
        self.closed.push_back(key);
        let Some(parent) = self.parents.get_mut(key) else { return };
        parent.answered = Some(began.unwrap_or(now));
        parent.standing.changed();
        parent.is_blurred |= began.is_none();
        let tid = parent.tid;
        if let Some(thread) = self.threads.get_mut(&tid) {
            let is_kept = sender == tid && thread.open == 1;
            thread.open = thread.open.saturating_sub(1);
            if began.is_some() {
                self.habit.note(is_kept);
            }
        }
        if began.is_some() {
            self.worker_answered(sender, key);
            self.handed_back(sender, key);
        }
        if self.is_beyond_compare(key) {
            return;
        }
        self.follow_handovers(key);
        self.mend(key);
        self.realign(key);
        self.improve(key);
        self.learn_order(key);
    }

    /// Whether calls are made by several threads at once.
    pub(super) fn has_many_callers(&self) -> bool {
        /// A thread for start-up or clean-up does not count.
        const OTHERS_SHARE: u32 = 20;
        self.calls_by_others * OTHERS_SHARE > self.calls_by_one
    }

    /// Counts a call, and whether anybody could have made it.
    pub(super) fn count_call(&mut self, operation: u64, tid: u32) {
        match self.caller {
            Some(caller) if caller == tid => self.calls_by_one = self.calls_by_one.saturating_add(1),
            Some(_) if self.calls_by_others <= self.calls_by_one => {
                self.calls_by_others = self.calls_by_others.saturating_add(1);
            }
            _ => (self.caller, self.calls_by_one, self.calls_by_others) = (Some(tid), 1, 0),
        }
        if self.orphans.len() >= MAX_OPERATIONS && !self.orphans.contains_key(&operation) {
            return;
        }
        let is_orphan = u32::from(self.open.is_empty());
        let (orphans, all) = self.orphans.entry(operation).or_default();
        *orphans += is_orphan;
        *all += 1;
    }

    /// How likely a call of this operation is made for nobody.
    #[must_use]
    pub(super) fn orphan_share(&self, operation: u64) -> f64 {
        /// What is expected before anything was seen, and as how many sightings it counts.
        const EXPECTED: f64 = 0.01;
        let (orphans, all) = self.orphans.get(&operation).copied().unwrap_or_default();
        (f64::from(orphans) + EXPECTED) / (f64::from(all) + 1.0)
    }

    /// Takes what is too old to matter out.
    pub(super) fn forget(&mut self, now: Nanos) {
        while let Some(&oldest) = self.closed.front() {
            let answered = self.parents.get(oldest).and_then(|parent| parent.answered);
            let is_old = answered.is_none_or(|answered| now.0.saturating_sub(answered.0) > KEPT_NS);
            if !is_old && self.closed.len() <= MAX_PARENTS {
                break;
            }
            self.closed.pop_front();
            self.parents.remove(oldest);
        }
        while let Some(oldest) = self.recent.oldest() {
            let Some(call) = self.calls.get(oldest) else {
                self.recent.forget_oldest();
                continue;
            };
            let has_owner = call.owner.is_some_and(|owner| self.parents.get(owner).is_some());
            let is_done = call.is_over && (call.decision.is_some() || call.missed.is_some()) && !has_owner;
            let is_old = now.0.saturating_sub(call.made.0) > KEPT_NS;
            if !(is_done && is_old) && self.recent.len() <= MAX_CALLS {
                break;
            }
            self.recent.forget_oldest();
            self.calls.remove(oldest);
        }
    }
}
