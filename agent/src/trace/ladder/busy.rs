//! What the threads of a process are busy with: what each took last, who has woken it since, and whether it takes requests at all.

use super::handback::Told;
use super::handover::Handover;
use super::process::Process;
use super::worker::Shift;
use crate::flow::Nanos;
use crate::slots::Key;

/// What a thread took last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A request.
    Request(Key),
    /// The answer to a call.
    Answer(Key),
}

/// A thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Thread {
    /// What it took last, the latest last.
    took: [Option<(Nanos, Cause)>; REMEMBERED],
    /// Requests that it took and that are not answered.
    pub(super) open: u32,
    pub(super) shift: Shift,
    /// Answers to calls that it took.
    pub(super) heard: u32,
    /// It takes requests, or answers some.
    pub(super) serves: bool,
    /// Whoever made it was busy with a request.
    pub(super) is_made_for_work: bool,
    /// When it last sent an answer.
    pub(super) answered: Nanos,
    /// Who has woken it since it last took or called anything.
    pub(super) woken: Vec<Handover>,
    /// Which answers those had taken.
    pub(super) told: Vec<Told>,
}

/// What a thread took is remembered so far back: a connection is opened some turns of an event loop before it is used.
const REMEMBERED: usize = 8;

/// Threads of a process that are remembered.
const MAX_THREADS: usize = 4_096;

impl Thread {
    /// What it took lately, and when: the latest first.
    pub(super) fn all_taken(&self) -> impl Iterator<Item = (Nanos, Cause)> {
        self.took.iter().rev().flatten().copied()
    }

    /// What it took last, and when.
    pub(super) const fn took(&self) -> Option<(Nanos, Cause)> {
        self.took[REMEMBERED - 1]
    }
}

impl Process {
    /// Whose request a cause stands for.
    #[must_use]
    pub(super) fn stands_for(&self, cause: Cause) -> Option<Key> {
        match cause {
            Cause::Request(request) => Some(request),
            Cause::Answer(answer) => self.calls.get(answer)?.owner,
        }
    }

    /// The request that a thread is busy with, by what it took last, if it is with no other.
    pub(super) fn only_request(&self, tid: u32, cause: Option<(Nanos, Cause)>) -> Option<Key> {
        let request = match cause?.1 {
            Cause::Request(request) => request,
            Cause::Answer(answer) => {
                let answer = self.calls.get(answer)?;
                answer.busy_with.or(answer.owner)?
            }
        };
        let is_only = self.threads.get(&tid)?.open == 1;
        let parent = self.parents.get(request)?;
        (is_only && parent.tid == tid && parent.answered.is_none()).then_some(request)
    }

    /// What is known of a thread.
    pub(super) fn thread(&mut self, tid: u32) -> &mut Thread {
        if self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&tid) {
            // Threads that are gone are not told about: begin anew.
            self.threads.clear();
        }
        self.threads.entry(tid).or_default()
    }

    /// A thread took something.
    pub(super) fn took(&mut self, tid: u32, cause: Cause, at: Nanos) {
        let thread = self.thread(tid);
        thread.took.rotate_left(1);
        thread.took[REMEMBERED - 1] = Some((at, cause));
        thread.woken.clear();
        thread.told.clear();
        match cause {
            Cause::Request(_) => {
                thread.open += 1;
                thread.serves = true;
            }
            Cause::Answer(_) => thread.heard = thread.heard.saturating_add(1),
        }
    }

    /// What a thread had taken last at a time.
    #[must_use]
    pub(super) fn cause_at(&self, tid: u32, at: Nanos) -> Option<(Nanos, Cause)> {
        let took = self.threads.get(&tid)?.took.iter().rev().flatten();
        took.into_iter().find(|(when, _)| *when <= at).copied()
    }
}
