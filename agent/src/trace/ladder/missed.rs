//! Calls and requests whose records were lost, and that show by their answers: an answer to nothing, or to a request that nobody
//! was seen to take.
//!
//! Where callers wait for the connections of a full pool, each would be taken for the one before it from then on. So what was
//! missed takes its place among the others as far as it is known, and whose the calls after it are is asked anew. What a missed
//! call asked is a guess: links around calls that then belong to nobody, or make a request strange, are doubted.

use foldhash::HashMap;
use wirespan_common::record::TaskId;

use super::process::{Call, Calls, KEPT_NS, Parent, Process};
use super::standing::Standing;
use super::{Handle, Ladder};
use crate::flow::{Cookie, Nanos};
use crate::slots::Key;
use crate::trace::ancestry::Node;

/// A call that was not seen, as its answer shows it.
#[derive(Clone, Copy, Debug)]
pub struct MissedCall {
    /// The process, and the thread as far as it is known.
    pub task: TaskId,
    /// When it was sent.
    pub sent: Nanos,
    /// On a connection that was opened for it: when and by whom.
    pub opened: Option<(Nanos, TaskId)>,
    /// Since when the connection was free, where it was used before.
    pub free_since: Option<Nanos>,
    /// Where it went, as a number.
    pub destination: u64,
    /// When its answer began to come.
    pub answered: Nanos,
}

/// A request that nobody was seen to take.
#[derive(Clone, Copy, Debug)]
pub struct MissedRequest {
    /// The request; `None` if nothing of it was seen.
    pub node: Option<Node>,
    /// The socket that it came on.
    pub socket: Cookie,
    /// Who took it, as far as that is known.
    pub task: TaskId,
    /// What kind of request it is; 0 for unknown.
    pub operation: u64,
    /// When it was taken, or came.
    pub read: Nanos,
    /// When its answer began to be sent.
    pub answered: Nanos,
}

/// What processes are seen to ask and to be asked.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    /// What is called, by where that is.
    calls: HashMap<u64, Vec<Kind>>,
    /// The operation of most requests, if there is one, and by how many more they are.
    request: (u64, u32),
}

/// What is called at a place, and how often by threads that take or answer requests themselves, and by others.
#[derive(Debug, Default)]
struct Kind {
    operation: u64,
    by_servers: u32,
    by_others: u32,
}

/// Places that a process calls and of which it is remembered what is called there.
const MAX_DESTINATIONS: usize = 256;
/// Operations of one destination.
const MAX_OPERATIONS: usize = 8;
/// Calls of which it is asked anew whose they are.
const MAX_AGAIN: usize = 512;
/// Requests that were answered since, and are compared again.
const MAX_COMPARED_AGAIN: usize = 64;

impl Kind {
    /// Whether such threads call this, more than seldom.
    const fn is_made_by(&self, servers: bool) -> bool {
        /// One in so many may be a mistake.
        const SELDOM: u32 = 16;
        let (such, others) =
            if servers { (self.by_servers, self.by_others) } else { (self.by_others, self.by_servers) };
        such >= others / SELDOM
    }
}

impl Kinds {
    pub(super) fn called(&mut self, destination: u64, operation: u64, is_by_server: bool) {
        if self.calls.len() >= MAX_DESTINATIONS && !self.calls.contains_key(&destination) {
            return;
        }
        let known = self.calls.entry(destination).or_default();
        let at = known.iter().position(|kind| kind.operation == operation).unwrap_or(known.len());
        if at == known.len() && at < MAX_OPERATIONS {
            known.push(Kind { operation, ..Kind::default() });
        }
        if let Some(kind) = known.get_mut(at) {
            let count = if is_by_server { &mut kind.by_servers } else { &mut kind.by_others };
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn asked(&mut self, operation: u64) {
        let (most, more) = &mut self.request;
        match *more {
            _ if *most == operation => *more = more.saturating_add(1),
            0 => self.request = (operation, 1),
            _ => *more -= 1,
        }
    }
}

impl Ladder {
    /// A call was made that was not seen.
    pub fn missed_call(&mut self, missed: &MissedCall) -> Option<Handle> {
        let process = self.processes.get_mut(&missed.task.tgid)?;
        let begun = process.begin(0, missed.task, missed.sent, missed.opened, missed.free_since);
        let made = begun.made;
        let key = process.add(Call {
            woken: Vec::new(),
            crowd: 0,
            heard: Some(missed.answered),
            is_over: true,
            missed: Some(missed.destination),
            ..begun
        });
        process.missed_at = Some(missed.answered);
        process.ask_again(made);
        Some(Handle { tgid: missed.task.tgid, key })
    }

    /// A request was answered that nobody was seen to take.
    pub fn missed_request(&mut self, missed: &MissedRequest, stand_in: impl FnOnce() -> Node) {
        let Some(process) = self.processes.get_mut(&missed.task.tgid) else { return };
        let operation = if missed.operation == 0 { process.kinds.request.0 } else { missed.operation };
        let key = process.parents.insert(Parent {
            node: missed.node.unwrap_or_else(stand_in),
            socket: missed.socket,
            operation,
            read: missed.read,
            tid: missed.task.tid,
            answered: Some(missed.answered),
            calls: Calls::new(),
            is_blurred: true,
            is_unseen: missed.node.is_none(),
            is_vague: true,
            standing: Standing::default(),
        });
        process.closed.push_back(key);
        process.missed_at = Some(missed.answered);
        process.ask_again(missed.read);
        process.forget(missed.answered);
    }
}

impl Process {
    /// Whether something that matters for a call made at a time may not have been seen.
    pub(super) fn may_have_missed(&self, made: Nanos) -> bool {
        self.missed_at.is_some_and(|missed| made.0 <= missed.0.saturating_add(KEPT_NS))
    }

    /// Asks anew whose all calls are that were made since.
    fn ask_again(&mut self, since: Nanos) {
        let is_free =
            |key: &Key| self.calls.get(*key).is_some_and(|call| call.proof.is_none() && call.decision.is_none());
        let calls: Vec<Key> = self.recent.since(since).filter(is_free).take(MAX_AGAIN).collect();
        calls.iter().for_each(|&key| self.give(key, None));
        for &key in &calls {
            if self.is_exhausted() {
                return;
            }
            // To ask whether a request may have made a call takes a part of what comparing two takes.
            self.effort.spend(self.open.len() / 4 + 1);
            self.name(key);
            let missed = self.calls.get(key).filter(|call| call.missed.is_some());
            match missed.and_then(|call| self.by_thread(call)) {
                Some((parent, evidence)) => self.prove(key, parent, evidence),
                None => _ = self.assign(key),
            }
        }
        let answered = self.closed.iter().rev().copied().take(MAX_COMPARED_AGAIN).filter(|&key| {
            self.parents.get(key).is_some_and(|parent| parent.answered.is_some_and(|answered| answered >= since))
        });
        let answered: Vec<Key> = answered.collect();
        answered.into_iter().rev().for_each(|key| self.improve(key));
    }

    /// What a call asks that was not seen: what somebody was most likely to ask there, of what such threads ask.
    fn name(&mut self, key: Key) {
        let Some(call) = self.calls.get(key) else { return };
        let Some(destination) = call.missed else { return };
        let is_by_server = self.threads.get(&call.tid).is_some_and(|thread| thread.serves);
        let own = self.by_thread(call).map(|(parent, _)| parent);
        let all = self.kinds.calls.get(&destination).map_or(&[][..], Vec::as_slice);
        let has_such = all.iter().any(|kind| kind.is_made_by(is_by_server));
        let mut best = None;
        for kind in all.iter().filter(|kind| !has_such || kind.is_made_by(is_by_server)) {
            let call = Call { operation: kind.operation, ..call.clone() };
            let candidates = self.candidates(&call);
            let first = candidates.iter().find(|candidate| own.is_none_or(|own| own == candidate.request));
            if let Some(&first) = first
                && best.is_none_or(|(_, other)| self.is_before(&first, &other, call.acted()))
            {
                best = Some((kind.operation, first));
            }
        }
        if let (Some((operation, _)), Some(call)) = (best, self.calls.get_mut(key)) {
            call.operation = operation;
            self.recent.rename(key, call.made, operation);
        }
    }
}
