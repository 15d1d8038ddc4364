//! Links inside a process: which request that a process answers is a call of it made for?
//!
//! A ladder of evidence. Each tier is one file; [`decide`] is where they meet:
//!
//! - T0 [`token`]: an id that came with the request leaves with the call.
//! - T1 [`goroutine`]: the goroutine that answers the request, or one that it started, makes the call. [`thread`]: the process
//!   answers each request on a thread of its own. [`worker`]: threads that answer what another took for them make their calls.
//!   [`handback`]: who waits for what others call for it is woken by the answer. [`idle`]: who has nothing to do is woken for work, or
//!   made for it.
//! - T2 and T3 [`align`]: what requests do and when, as [`plan`] has learnt it, with everything that is open compared: [`timeline`]
//!   is what a request did when, [`candidate`] who may have made a call, [`change`] another way to whom calls belong and [`gain`] how
//!   much likelier that is, [`mend`] what an answer says about it, [`company`] what those around a call say. [`lags`] are how long
//!   steps take. [`wait`] knows what waits for which answers, [`order`] who of those that wait for the same acts first, [`handover`]
//!   what it is worth who sets a thread to work, [`missed`] what was lost and shows by its answer. [`effort`] bounds what comparing
//!   costs, [`standing`] and [`memo`] keep what was worked out.
//!
//! [`process`] holds the requests and calls of a process, [`recent`] the calls in their order, [`busy`] what its threads do,
//! [`locks`] what it is worth who wakes them. Which processes that is of interest for, [`sides`] tells. T0 and T1 decide at
//! once, when a request is answered, or when what they need is proven; where they contradict each other nothing is linked, and
//! that is counted. The rest waits until the call's span is given away, so that what happens after the call can speak. A link
//! that is not sure enough is not made. What is told of all processes comes in here.

pub mod evidence;
pub mod sides;

mod align;
mod assignment;
mod busy;
mod candidate;
mod change;
mod company;
mod decide;
mod effort;
mod gain;
mod goroutine;
mod handback;
mod handover;
mod idle;
mod lags;
mod locks;
mod memo;
mod mend;
mod missed;
mod order;
mod plan;
mod process;
mod queue;
mod recent;
mod standing;
mod thread;
mod timeline;
mod token;
mod wait;
mod worker;

#[cfg(test)]
mod tests;

use foldhash::HashMap;
use wirespan_common::record::{Relation, Routine, TaskId, Touch, kind};

use self::busy::Cause;
use self::evidence::Decision;
use self::goroutine::Goroutines;
use self::handover::{MADE, UNUSED_NS};
pub use self::missed::{MissedCall, MissedRequest};
use self::process::{Calls, MAX_PARENTS, Parent, Process};
use self::standing::Standing;
use super::ancestry::Node;
use crate::flow::{Cookie, Nanos};
use crate::proto::ask::Ask;
use crate::slots::Key;

/// How sure a link must be to be made.
pub const THRESHOLD: f64 = 0.98;
/// Processes that are followed, the ones that were idle longest go first.
const MAX_PROCESSES: usize = 4_096;
/// A process that did nothing for so long is forgotten.
const IDLE_NS: u64 = 300_000_000_000;

/// So often it is looked which processes do nothing.
const LOOK_NS: u64 = 1_000_000_000;

/// A request or a call in the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    tgid: u32,
    key: Key,
}

/// A call, when it is made.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// The call.
    pub node: Node,
    /// The socket on which it is sent.
    pub socket: Cookie,
    /// Who sends it.
    pub task: TaskId,
    /// When it is sent.
    pub sent: Nanos,
    /// On a connection that was opened for it: when and by whom.
    pub opened: Option<(Nanos, TaskId)>,
    /// Since when the connection was free, where it was used before.
    pub free_since: Option<Nanos>,
    /// Where it goes, as a number.
    pub destination: u64,
}

/// What became of a call when it was made.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// It is decided: its process answers nobody, or there is proof.
    Decided(Decision),
    /// It has to be asked for again.
    Open(Handle),
}

/// All processes that answer requests.
#[derive(Debug, Default)]
pub struct Ladder {
    /// Nothing is linked.
    is_off: bool,
    processes: HashMap<u32, Process>,
    /// Of processes that tell which goroutine does what.
    goroutines: HashMap<u32, Goroutines>,
    contradictions: u64,
    evicted: u64,
    uncompared: u64,
    /// Processes of which it is to be told who makes and wakes which thread, or no longer.
    demands: Vec<(u32, bool)>,
    /// When it is looked next which processes do nothing.
    next_look: Nanos,
}

impl Ladder {
    /// A ladder that links, or does nothing.
    #[must_use]
    pub fn new(links: bool) -> Self {
        Self { is_off: !links, ..Self::default() }
    }

    /// A task took a request.
    pub fn received(&mut self, node: Node, socket: Cookie, task: TaskId, at: Nanos) -> Option<Handle> {
        if task.tgid == 0 || self.is_off {
            return None;
        }
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&task.tgid) {
            self.make_room(at);
        }
        let process = self.processes.entry(task.tgid).or_default();
        process.last_used = at;
        process.demand.is_there();
        if process.open.len() >= MAX_PARENTS {
            self.evicted += 1;
            return None;
        }
        let parent = Parent {
            node,
            socket,
            operation: 0,
            read: at,
            tid: task.tid,
            answered: None,
            calls: Calls::new(),
            is_blurred: false,
            is_unseen: false,
            is_vague: false,
            standing: Standing::default(),
        };
        let key = process.parents.insert(parent);
        process.open.push(key);
        process.took(task.tid, Cause::Request(key), at);
        Some(Handle { tgid: task.tgid, key })
    }

    /// The head of a request that was received is complete.
    pub fn asked(&mut self, handle: Handle, ask: &Ask) {
        let Some(process) = self.processes.get_mut(&handle.tgid) else { return };
        let Some(parent) = process.parents.get_mut(handle.key) else { return };
        parent.operation = ask.operation;
        parent.standing.changed();
        process.kinds.asked(ask.operation);
        let node = parent.node;
        for &token in ask.tokens.iter().flatten() {
            process.tokens.came(token, node);
        }
    }

    /// A process makes a call.
    pub fn called(&mut self, made: &Made, ask: &Ask) -> Outcome {
        let Some(process) = self.processes.get_mut(&made.task.tgid) else {
            return Outcome::Decided(Decision::default());
        };
        process.last_used = made.sent;
        let operation = (ask.operation ^ made.destination.rotate_left(13)).max(1);
        process.count_call(operation, made.task.tid);
        let mut call = process.begin(operation, made.task, made.sent, made.opened, made.free_since);
        call.is_blind = process.is_blind(&call.woken);
        let at = call.made;
        let is_by_server = process.threads.get(&made.task.tid).is_some_and(|thread| thread.serves);
        process.kinds.called(made.destination, operation, is_by_server);
        let origin = self.goroutines.get_mut(&made.task.tgid).and_then(|known| known.origin(made.socket, made.sent));
        let proofs = [
            process.by_id(&ask.tokens),
            origin.and_then(|origin| process.by_goroutine(&origin)),
            process.by_thread(&call),
        ];
        let proof = proofs.into_iter().flatten().next();
        let is_contradiction =
            proofs.into_iter().flatten().any(|(parent, _)| Some(parent) != proof.map(|proof| proof.0));
        let key = process.add(call);
        process.worker_called(made.task.tid, key);
        let handle = Handle { tgid: made.task.tgid, key };
        process.effort.note(proof.is_some() && !is_contradiction);
        if is_contradiction {
            self.contradictions += 1;
            let decision = Decision { candidate: proof.map(|(_, evidence)| evidence), ..Decision::default() };
            process.decided(key, decision);
            return Outcome::Open(handle);
        }
        match proof {
            Some((parent, evidence)) => {
                process.prove(key, parent, evidence);
                if let Some(call) = process.calls.get_mut(key) {
                    call.strength = Some(evidence.strength);
                }
                let is_background =
                    process.parents.get(parent).is_some_and(|parent| parent.answered.is_some_and(|end| end <= at));
                process.decided(key, Decision { parent: Some(evidence), candidate: None, is_background });
            }
            None => self.uncompared += u64::from(!process.assign(key)),
        }
        Outcome::Open(handle)
    }

    /// A task took the answer to a call.
    pub fn heard(&mut self, call: Handle, task: TaskId, at: Nanos) {
        if let Some(process) = self.processes.get_mut(&call.tgid) {
            process.heard(call.key, at);
            process.worker_heard(task.tid, call.key);
            process.took(task.tid, Cause::Answer(call.key), at);
        }
    }

    /// A goroutine takes from a socket on which its process answers, or (`is_sent`) sends on one.
    pub fn goroutine(&mut self, touch: &Touch, is_sent: bool) {
        let &Touch { cookie, task, context, parent, .. } = touch;
        let at = Nanos(touch.header.time_ns);
        if context != 0
            && let Some(goroutines) = self.goroutines_of(task.tgid)
        {
            if is_sent {
                goroutines.sent(Cookie(cookie), context, parent, at);
            } else {
                goroutines.took(Cookie(cookie), context, parent, at);
            }
        }
    }

    /// A goroutine hands a call to a client connection, or begins to write for one.
    pub fn routine(&mut self, routine: &Routine) {
        let &Routine { header, task, goid, parent_goid, connection } = routine;
        let at = Nanos(header.time_ns);
        if let Some(goroutines) = self.goroutines_of(task.tgid) {
            if header.kind == kind::GO_CALL {
                goroutines.call(goid, parent_goid, connection, at);
            } else {
                goroutines.writer(goid, connection, at);
            }
        }
    }

    /// A thread makes or wakes another of its process.
    pub fn related(&mut self, relation: &Relation) {
        let &Relation { header, task, other_tid, futex, .. } = relation;
        if let Some(process) = self.processes.get_mut(&task.tgid) {
            let lock = if header.kind == kind::THREAD { MADE } else { futex };
            process.handed_over(task.tid, other_tid, lock, Nanos(header.time_ns));
            self.demands.extend(process.demand.take_change().map(|is_on| (task.tgid, is_on)));
        }
    }

    /// Time has passed: of processes that do nothing it need not be told any more who wakes whom.
    pub fn tick(&mut self, now: Nanos) {
        if now < self.next_look {
            return;
        }
        self.next_look = Nanos(now.0.saturating_add(LOOK_NS));
        for (&tgid, process) in &mut self.processes {
            if now.0.saturating_sub(process.last_used.0) > UNUSED_NS {
                process.demand.stop();
                self.demands.extend(process.demand.take_change().map(|is_on| (tgid, is_on)));
            }
        }
    }

    /// Processes of which it is to be told from now on who makes and wakes which thread, or no longer.
    pub fn take_demands(&mut self, demands: &mut Vec<(u32, bool)>) {
        demands.append(&mut self.demands);
    }

    /// A socket is gone.
    pub fn closed(&mut self, tgid: u32, socket: Cookie) {
        if let Some(goroutines) = self.goroutines.get_mut(&tgid) {
            goroutines.closed(socket);
        }
    }

    /// A process has ended, or runs another program.
    pub fn parted(&mut self, tgid: u32) {
        self.goroutines.remove(&tgid);
        if let Some(process) = self.processes.get_mut(&tgid) {
            process.demand.part();
        }
    }

    fn goroutines_of(&mut self, tgid: u32) -> Option<&mut Goroutines> {
        if self.is_off {
            return None;
        }
        if self.goroutines.len() >= MAX_PROCESSES && !self.goroutines.contains_key(&tgid) {
            self.evicted += 1;
            return None;
        }
        Some(self.goroutines.entry(tgid).or_default())
    }

    /// A call is over.
    pub fn call_over(&mut self, call: Handle, at: Nanos) {
        if let Some(process) = self.processes.get_mut(&call.tgid)
            && let Some(call) = process.calls.get_mut(call.key)
        {
            // An answer that nobody was seen to take.
            call.heard.get_or_insert(at);
            call.is_over = true;
            let owner = call.owner;
            process.changed(owner);
        }
    }

    /// A request was answered, or will never be. `sender` is the task that did it, `began` when it began to.
    pub fn answered(&mut self, request: Handle, sender: TaskId, began: Option<Nanos>, now: Nanos) {
        let Some(process) = self.processes.get_mut(&request.tgid) else { return };
        process.last_used = now;
        process.answered(request.key, sender.tid, began, now);
        process.forget(now);
    }

    /// Whose call it is, as far as that can be told now. It stays so.
    pub fn decide(&mut self, call: Handle) -> Decision {
        let Some(process) = self.processes.get_mut(&call.tgid) else { return Decision::default() };
        self.uncompared += u64::from(process.is_exhausted());
        let decision = process.decide(call.key);
        self.contradictions += std::mem::take(&mut process.handbacks.contradictions);
        self.demands.extend(process.demand.take_change().map(|is_on| (call.tgid, is_on)));
        decision
    }

    /// What was decided already.
    #[must_use]
    pub fn decision(&self, call: Handle) -> Option<Decision> {
        self.processes.get(&call.tgid)?.calls.get(call.key)?.decision
    }

    /// Calls since the last question whose proofs contradicted each other.
    pub fn take_contradictions(&mut self) -> u64 {
        std::mem::take(&mut self.contradictions)
    }

    /// Calls since the last question that were not linked because too much had to be compared.
    pub fn take_uncompared(&mut self) -> u64 {
        std::mem::take(&mut self.uncompared)
    }

    /// Requests since the last question that were not followed for want of room.
    pub fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    fn make_room(&mut self, now: Nanos) {
        let is_idle = |process: &Process| now.0.saturating_sub(process.last_used.0) > IDLE_NS;
        let mut gone: Vec<_> = self.processes.extract_if(|_, process| is_idle(process)).collect();
        if self.processes.len() >= MAX_PROCESSES
            && let Some((_, oldest)) = self.processes.iter().map(|(&tgid, process)| (process.last_used, tgid)).min()
        {
            gone.extend(self.processes.remove_entry(&oldest));
            self.evicted += 1;
        }
        // Nobody wants to know any more what the kernel was asked for.
        for (tgid, mut process) in gone {
            process.demand.stop();
            self.demands.extend(process.demand.take_change().map(|is_on| (tgid, is_on)));
        }
    }
}
