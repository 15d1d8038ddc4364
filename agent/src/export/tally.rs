//! The span account of one output, kept exact even when a writer is stuck and has to be left behind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ledger::{Account, Ledger, Reason, Stage};

/// Whose account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Console,
    /// The OTLP receiver.
    Otlp,
}

impl Output {
    /// As it is printed and exported.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Otlp => "otlp",
        }
    }
}

/// Counts the spans of one output. After [`Tally::close`] nothing more is counted: what a thread that was left behind
/// still does has been accounted for already.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    ledger: Arc<Ledger>,
    output: Output,
    closed: Arc<Mutex<bool>>,
}

impl Tally {
    pub(super) fn new(ledger: Arc<Ledger>, output: Output) -> Self {
        Self { ledger, output, closed: Arc::default() }
    }

    pub(super) fn account(&self) -> &Account {
        match self.output {
            Output::Console => &self.ledger.console,
            Output::Otlp => &self.ledger.otlp,
        }
    }

    pub(super) fn observe(&self, spans: usize) {
        self.counted(|account| account.observe(spans as u64));
    }

    pub(super) fn deliver(&self, spans: usize) {
        self.counted(|account| account.deliver(spans as u64));
    }

    pub(super) fn lose(&self, stage: Stage, reason: Reason, spans: usize) {
        self.counted(|account| account.lose(stage, reason, spans as u64));
    }

    /// Ends the account: what is still in flight is lost to the shutdown.
    pub(super) fn close(&self) {
        let mut closed = self.locked();
        if !*closed {
            *closed = true;
            let account = self.account();
            account.lose(Stage::Export, Reason::Shutdown, u64::try_from(account.in_flight()).unwrap_or(0));
        }
    }

    /// Whether all that was taken on has arrived: what found the queue full was never taken on, what was summarised
    /// was left out on purpose.
    pub(super) fn kept_its_promise(&self) -> bool {
        self.account().losses().all(|(_, reason, _)| matches!(reason, Reason::QueueFull | Reason::Summarised))
    }

    fn counted(&self, count: impl FnOnce(&Account)) {
        let closed = self.locked();
        if !*closed {
            count(self.account());
        }
    }

    fn locked(&self) -> MutexGuard<'_, bool> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stuck_writer_does_after_the_end_is_not_counted_twice() {
        let ledger = Arc::new(Ledger::default());
        let tally = Tally::new(Arc::clone(&ledger), Output::Console);
        tally.observe(5);
        tally.deliver(2);
        tally.close();
        tally.deliver(3);
        tally.close();
        assert_eq!(ledger.console.delivered(), 2);
        assert_eq!(ledger.console.dropped(Stage::Export, Reason::Shutdown), 3);
        assert_eq!(ledger.console.in_flight(), 0);
        assert!(!tally.kept_its_promise());
    }

    #[test]
    fn a_summary_or_a_full_queue_breaks_no_promise() {
        let tally = Tally::new(Arc::default(), Output::Otlp);
        tally.observe(2);
        tally.lose(Stage::Export, Reason::Summarised, 1);
        tally.lose(Stage::Queue, Reason::QueueFull, 1);
        assert!(tally.kept_its_promise());
    }
}
