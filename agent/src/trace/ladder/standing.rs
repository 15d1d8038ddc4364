//! What was worked out about a request, kept until something of it or its calls changes: it is asked for far more often than that.

use std::cell::{Cell, RefCell, RefMut};

use super::plan::ANSWER;
use super::process::{MAX_FAN_OUT, Process};
use super::timeline::Ready;
use crate::flow::Nanos;
use crate::slots::Key;

/// What was worked out about a request.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Whether it is plain what it did, and after how many lessons that was found.
    pub(super) plain: Cell<Option<(u32, bool)>>,
    ready: RefCell<Readiness>,
}

/// What a request could do when.
#[derive(Debug, Default)]
struct Readiness {
    /// How often it had been found then that something waits for something, or does not.
    waits: u32,
    /// Before each of its calls, and before its answer.
    before: Vec<Option<Option<Ready>>>,
    /// After all of its calls, for each action that was asked about.
    next: Vec<(u64, Ready)>,
}

/// Actions that may be next which are remembered.
const MAX_NEXT: usize = 4;

impl Standing {
    /// Something of it is not as it was.
    pub(super) fn changed(&self) {
        self.plain.set(None);
        self.ready.borrow_mut().clear();
    }

    /// What was worked out about its readiness and holds still.
    fn readiness(&self, waits: u32) -> RefMut<'_, Readiness> {
        let mut ready = self.ready.borrow_mut();
        if ready.waits != waits {
            ready.clear();
            ready.waits = waits;
        }
        ready
    }
}

impl Readiness {
    fn clear(&mut self) {
        self.before.clear();
        self.next.clear();
    }
}

impl Process {
    /// What a request could do just before so many of its calls, or before its answer.
    pub(super) fn ready_for(&self, parent: Key, at: usize) -> Option<Ready> {
        let request = self.parents.get(parent)?;
        let waits = self.waits.changes();
        if let Some(&Some(ready)) = request.standing.readiness(waits).before.get(at) {
            return ready;
        }
        let (action, when) = match request.calls.get(at) {
            Some(&key) => self.calls.get(key).map(|call| (call.operation, Some(call.made)))?,
            None => (ANSWER, request.answered),
        };
        let ready = self.ready_at(parent, request.calls.get(..at)?, action, when);
        let mut known = request.standing.readiness(waits);
        if known.before.len() <= at {
            known.before.resize(request.calls.len() + 1, None);
        }
        known.before[at] = Some(ready);
        ready
    }

    /// What a request could do at a time, with the calls that it has now; `None` if it could do nothing.
    pub(super) fn ready(&self, parent: Key, action: u64, at: Nanos) -> Option<Ready> {
        let request = self.parents.get(parent)?;
        (request.read <= at && request.calls.len() < MAX_FAN_OUT).then_some(())?;
        let mut known = request.standing.readiness(self.waits.changes());
        let ready = match known.next.iter().find(|(known, _)| *known == action) {
            Some(&(_, ready)) => ready,
            None => {
                let ready = self.ready_at(parent, &request.calls, action, None)?;
                if known.next.len() < MAX_NEXT {
                    known.next.push((action, ready));
                }
                ready
            }
        };
        // An answer that is there now was not yet then.
        if ready.since > at { self.ready_at(parent, &request.calls, action, Some(at)) } else { Some(ready) }
    }
}
