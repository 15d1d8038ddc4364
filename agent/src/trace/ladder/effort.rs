//! What comparing the ways to whom calls belong costs, and its bound.

use std::cell::Cell;

use super::process::Process;
use crate::flow::Nanos;
use crate::slots::Key;

/// How many ways to whom calls belong were compared in a second.
#[derive(Debug, Default)]
pub(super) struct Effort {
    since: Nanos,
    compared: Cell<u32>,
    /// Calls in a row of which it was known when they were made whose they are.
    proven: u32,
}

/// Ways to whom calls belong that are compared for one process in a second: some microseconds each.
const MAX_COMPARED: u32 = 10_000;
/// After so many calls in a row whose proof came with them there is nothing to compare.
const NEEDLESS: u32 = 128;

impl Effort {
    /// So many more ways were compared.
    pub(super) fn spend(&self, ways: usize) {
        self.compared.set(self.compared.get().saturating_add(u32::try_from(ways).unwrap_or(u32::MAX)));
    }

    /// A call is made, and it is known whose it is, or not.
    pub(super) const fn note(&mut self, is_proven: bool) {
        self.proven = if is_proven { self.proven.saturating_add(1) } else { 0 };
    }

    /// Whether enough was compared in this second.
    fn is_spent(&mut self, now: Nanos) -> bool {
        const PERIOD_NS: u64 = 1_000_000_000;
        if now.0.saturating_sub(self.since.0) >= PERIOD_NS {
            (self.since, self.compared) = (now, Cell::new(0));
        }
        self.compared.get() >= MAX_COMPARED
    }
}

impl Process {
    /// Whether nothing more may be compared for now.
    pub(super) fn is_exhausted(&mut self) -> bool {
        self.effort.is_spent(self.last_used)
    }

    /// Whether there is nothing that could be compared of a request: its calls are proven, and so were all others lately.
    pub(super) fn is_beyond_compare(&self, parent: Key) -> bool {
        let is_proven = |&key: &Key| self.calls.get(key).is_some_and(|call| call.proof.is_some());
        self.effort.proven >= NEEDLESS && self.calls_of(parent).iter().all(is_proven)
    }
}
