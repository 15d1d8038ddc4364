//! Room in a queue, counted in spans rather than in batches, so that the memory behind it has a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many more spans a queue may take. Clones share the same room.
#[derive(Clone, Debug)]
pub(super) struct Room {
    left: Arc<AtomicUsize>,
}

impl Room {
    pub(super) fn new(spans: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(spans)) }
    }

    /// Takes room for up to `wanted` spans and says for how many there was some.
    pub(super) fn take(&self, wanted: usize) -> usize {
        let before = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| Some(left.saturating_sub(wanted)))
            .unwrap_or(0);
        before.min(wanted)
    }

    /// How many more spans it may take now.
    pub(super) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    /// Gives back the room of spans that have left the queue.
    pub(super) fn give_back(&self, spans: usize) {
        self.left.fetch_add(spans, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_as_far_as_it_goes() {
        let room = Room::new(10);
        assert_eq!(room.take(7), 7);
        assert_eq!(room.take(7), 3);
        assert_eq!(room.take(1), 0);
        room.give_back(2);
        assert_eq!(room.take(5), 2);
    }
}
