//! How the kernel programs wake the thread that takes records over, which else looks only now and then.

use std::thread;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wirespan_common::exchange::Call;

/// After a call for something that may be gone soon no call is heard for so long: on a machine that starts programs all the time
/// each would be a wake-up, 40 us of processor time (measured).
const DEAF: Duration = Duration::from_millis(5);

/// Hears the calls of the programs.
pub(super) struct Bell {
    calls: RingBuf<MapData>,
    is_deaf: bool,
}

impl Bell {
    pub(super) fn new(calls: RingBuf<MapData>) -> Self {
        Self { calls, is_deaf: false }
    }

    /// Waits until it is called, at most so long.
    pub(super) fn wait(&mut self, at_most: Duration) {
        let deaf = if self.is_deaf { at_most.min(DEAF) } else { Duration::ZERO };
        if !deaf.is_zero() {
            thread::park_timeout(deaf);
        }
        self.listen(at_most - deaf);
        self.is_deaf = false;
        while let Some(call) = self.calls.next() {
            self.is_deaf |= *call == (Call::Fleeting as u64).to_ne_bytes();
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
