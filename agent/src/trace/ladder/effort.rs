//! What comparing the ways to whom calls belong costs, and its bound.

use std::cell::Cell;

use super::process::Process;
use crate::flow::Nanos;

/// How many ways to whom calls belong were compared in a second.
#[derive(Debug, Default)]
pub(super) struct Effort {
    since: Nanos,
    compared: Cell<u32>,
}

/// Ways to whom calls belong that are compared for one process in a second: some microseconds each.
const MAX_COMPARED: u32 = 10_000;

impl Effort {
    /// So many more ways were compared.
    pub(super) fn spend(&self, ways: usize) {
        self.compared.set(self.compared.get().saturating_add(u32::try_from(ways).unwrap_or(u32::MAX)));
    }

    /// Whether enough was compared in this second.
    fn is_spent(&mut self, now: Nanos) -> bool {
        const PERIOD_NS: u64 = 1_000_000_000;
        if now.0.saturating_sub(self.since.0) >= PERIOD_NS {
            *self = Self { since: now, compared: Cell::new(0) };
        }
        self.compared.get() >= MAX_COMPARED
    }
}

impl Process {
    /// Whether nothing more may be compared for now.
    pub(super) fn is_exhausted(&mut self) -> bool {
        self.effort.is_spent(self.last_used)
    }
}
