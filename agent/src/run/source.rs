//! Where records come from: the kernel plane, or a test.

use std::time::Duration;

use wirespan::flow::{Cookie, Nanos};
use wirespan_common::mode::Order;

/// Takes raw records, one at a time.
pub(crate) type Receive<'a> = &'a mut dyn FnMut(&[u8]);

/// What the agent reads and steers.
pub(crate) trait Source {
    /// Hands over what has come, merged by time. Nothing that is handed over later is older than what is returned.
    fn poll(&mut self, receive: Receive<'_>) -> Nanos;

    /// Waits until something may have come, at most so long.
    fn wait(&mut self, at_most: Duration);

    /// Detaches everything and hands over all that is left.
    fn finish(&mut self, receive: Receive<'_>);

    /// How much is to be copied of a connection from now on.
    fn steer(&mut self, cookie: Cookie, order: Order);

    /// Whether a process is traced from now on.
    fn select(&mut self, tgid: u32, taken: bool);

    /// Something else is traced from now on: what was not may be.
    fn reconsider(&mut self);

    /// A process has something to do with what is traced: what its program shows by itself is to be told.
    fn meet(&mut self, tgid: u32);

    /// Waits until that is found out of all that were met, at most so long.
    fn settle(&mut self, at_most: Duration);

    /// Whether it is to be told of a process which thread makes and wakes which.
    fn watch_threads(&mut self, tgid: u32, is_wanted: bool);

    /// A process has ended, or runs another program from now on.
    fn part(&mut self, tgid: u32);

    /// The kernel's counters, all CPUs together, since the start.
    fn counts(&mut self) -> Counts;
}

/// Values of the kernel's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Records that programs wanted to emit.
    pub attempted: u64,
    /// Records refused by a full ring buffer.
    pub ring_full: u64,
    /// Packets that made no sense.
    pub bad_packets: u64,
    /// Sockets without room for our state.
    pub no_storage: u64,
    /// Payloads that could not be copied.
    pub copy_failed: u64,
    /// Requests of connections whose requests are left out.
    pub shed_requests: u64,
    /// Runs of a program that the kernel left out.
    pub missed_runs: u64,
    /// Processes of Go programs whose goroutines can't be read.
    pub unread_goroutines: u64,
}
