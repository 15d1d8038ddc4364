//! Where spans wait for the worker. The core hands some over every millisecond; to wake the worker each time would cost
//! both more than the spans do. So it is woken by the first that comes, by a full batch, and at the end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::export::batch::Batch;

/// The end where spans are put in. The worker is told when it is dropped.
#[derive(Debug)]
pub(super) struct Inlet(Arc<Inbox>);

/// The worker's end.
#[derive(Debug)]
pub(super) struct Outlet(Arc<Inbox>);

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// Spans that wait.
    pub(super) spans: usize,
    /// Whether more may come.
    pub(super) is_open: bool,
}

#[derive(Debug)]
struct Inbox {
    /// How many spans the worker is woken for.
    wake_spans: usize,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug)]
struct Waiting {
    batches: VecDeque<Batch>,
    level: Level,
}

/// An empty inbox. How much goes in is for the caller to bound.
pub(super) fn inbox(wake_spans: usize) -> (Inlet, Outlet) {
    let level = Level { spans: 0, is_open: true };
    let waiting = Mutex::new(Waiting { batches: VecDeque::new(), level });
    let inbox = Arc::new(Inbox { wake_spans, waiting, wake: Notify::new() });
    (Inlet(Arc::clone(&inbox)), Outlet(inbox))
}

impl Inlet {
    pub(super) fn put(&self, batch: Batch) {
        let mut waiting = self.0.locked();
        let before = waiting.level.spans;
        let now = before + batch.len();
        waiting.level.spans = now;
        waiting.batches.push_back(batch);
        drop(waiting);
        if before == 0 || (before < self.0.wake_spans && now >= self.0.wake_spans) {
            self.0.wake.notify_one();
        }
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.0.locked().level.is_open = false;
        self.0.wake.notify_one();
    }
}

impl Outlet {
    pub(super) fn level(&self) -> Level {
        self.0.locked().level
    }

    /// Comes when there is a reason to look at the level again. None is missed while nobody waits.
    pub(super) async fn changed(&self) {
        self.0.wake.notified().await;
    }

    /// Takes up to `count` spans, oldest first.
    pub(super) fn take(&self, count: usize) -> Vec<Batch> {
        let mut waiting = self.0.locked();
        let mut left = count.min(waiting.level.spans);
        waiting.level.spans -= left;
        let mut taken = Vec::new();
        while left > 0
            && let Some(front) = waiting.batches.front_mut()
        {
            let part = front.split_front(left);
            left -= part.len();
            if front.is_empty() {
                waiting.batches.pop_front();
            }
            taken.push(part);
        }
        taken
    }
}

impl Inbox {
    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::fixture;
    use crate::trace::span::Span;

    fn batch(spans: u8) -> Batch {
        let curl = fixture::resource("curl");
        (0..spans).map(|n| fixture::client(n, &curl)).collect::<Vec<Span>>().into()
    }

    /// Whether the worker would have been woken since the last time.
    fn woken(outlet: &Outlet) -> bool {
        let mut changed = std::pin::pin!(outlet.changed());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        changed.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn the_worker_is_woken_by_the_first_by_a_full_batch_and_at_the_end() {
        let (inlet, outlet) = inbox(4);
        let put = |spans| {
            inlet.put(batch(spans));
            woken(&outlet)
        };
        assert_eq!([put(1), put(2), put(1), put(9)], [true, false, true, false]);
        assert_eq!(outlet.level(), Level { spans: 13, is_open: true });
        outlet.take(12);
        assert!(!put(1), "what is left has been seen");
        outlet.take(2);
        assert!(put(5));
        drop(inlet);
        assert!(woken(&outlet));
        assert_eq!(outlet.level(), Level { spans: 5, is_open: false });
    }

    #[test]
    fn spans_come_out_in_order_and_as_many_as_asked_for() {
        let (inlet, outlet) = inbox(4);
        inlet.put(batch(3));
        inlet.put(batch(2));
        let take = |count| -> Vec<u8> {
            outlet.take(count).iter().flat_map(|batch| batch.iter()).map(|span| span.trace_id.0[0]).collect()
        };
        assert_eq!([take(4), take(0), take(9), take(9)], [vec![0, 1, 2, 0], vec![], vec![1], vec![]]);
    }
}
