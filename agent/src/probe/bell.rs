//! How the kernel programs wake the thread that takes records over, which else looks only now and then.

use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wirespan_common::exchange::{Call, HURRY_NS};

/// After a call for something that may be gone soon the next pause is no longer than this: for the next such thing nobody calls.
const HURRIED: Duration = Duration::from_nanos(HURRY_NS);

/// Hears the calls of the programs.
pub(super) struct Bell {
    calls: RingBuf<MapData>,
    is_hurried: bool,
}

impl Bell {
    pub(super) fn new(calls: RingBuf<MapData>) -> Self {
        Self { calls, is_hurried: false }
    }

    /// Waits until it is called, at most so long.
    pub(super) fn wait(&mut self, at_most: Duration) {
        self.listen(if self.is_hurried { at_most.min(HURRIED) } else { at_most });
        self.is_hurried = false;
        while let Some(call) = self.calls.next() {
            self.is_hurried |= *call == (Call::Fleeting as u64).to_ne_bytes();
        }
    }

    fn listen(&self, at_most: Duration) {
        // Longest pauses are far below what the kernel's time can hold.
        let at_most = Timespec::try_from(at_most).unwrap_or_default();
        let mut calls = [PollFd::new(&self.calls, PollFlags::IN)];
        if let Err(error) = poll(&mut calls, Some(&at_most)) {
            // A signal; anything else would only make it look more often.
            tracing::trace!("waiting for a call of the programs ended early: {error}");
        }
    }
}
