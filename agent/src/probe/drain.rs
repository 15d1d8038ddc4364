//! The thread that takes records over from the kernel, in time.
//!
//! Their buffers there are full after five milliseconds at the highest speed and some tens at a usual one, and on a machine
//! whose CPUs are all busy a thread may wait as long for its turn. So this one does next to nothing, a copy of what there is,
//! and in return is due before ordinary work; what is done with the records, ten times the work, gives way to everybody. It
//! has no real-time priority: such a thread would push aside what runs on its CPU even if another CPU is idle.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::bell::Bell;
use super::block::Block;
use super::buffers::Buffers;
use super::clock::now;
use super::merge::Merge;
use crate::rights::confine;
use crate::system;

/// Records that were taken over and wait to be handed on take at most this much, bytes; then the rest stays with the kernel.
/// It is what a burst may bring while the core works on the beginning of it.
const WAITING_BYTES: usize = 16 << 20;
/// The pause between two turns is such that a turn brings about so much, bytes: little enough that it is still in the CPU's
/// cache when it is copied, and as much as can be, because each turn wakes this thread.
const TURN_BYTES: usize = 32 << 10;
/// Shortest pause.
const SHORTEST: Duration = Duration::from_micros(500);
/// Longest pause, also when nothing comes: a wake-up costs 40 us of processor time (measured). Should much come at once, or
/// something that must be looked at soon, the kernel programs call.
const LONGEST: Duration = Duration::from_millis(20);
/// Longest pause where they can't: the buffers of one CPU, a mebibyte, are full after 5 ms at the highest speed seen, nginx with
/// 70 000 answers of 1 KiB a second.
const LONGEST_UNCALLED: Duration = Duration::from_millis(5);
/// What was taken over waits at most so long to be handed on, together with what comes meanwhile: each time wakes the thread that
/// works on it, which finds nothing of what it needs in the CPU's cache any more.
const GATHERING: Duration = Duration::from_millis(5);
/// Unless it is so much, bytes: more would not be in the cache itself when it is worked on.
const GATHERED_BYTES: usize = 256 << 10;
/// Blocks of at most this size are kept to be used again; larger ones go back to the system, bytes.
const SPARE_BYTES: usize = 1 << 20;
/// And at most so many.
const SPARES: usize = 4;

/// Takes records over on a thread of its own, and hands them on in order of time.
pub(super) struct Drain {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Buffers>>,
    /// What the thread left when it ended.
    buffers: Option<Buffers>,
    merge: Merge,
    freed: Vec<Block>,
    /// More than what was handed over is ready.
    is_behind: bool,
}

#[derive(Default)]
struct Shared {
    taken: Mutex<Taken>,
    /// Told when something is to be handed on.
    due: Condvar,
    /// Bytes taken over and not handed on.
    held: AtomicUsize,
}

#[derive(Default)]
struct Taken {
    blocks: Vec<Block>,
    /// Up to this time nothing is missing in these and all earlier blocks.
    horizon_ns: u64,
    /// Since when something waits here to be handed on.
    since_ns: Option<u64>,
    /// It is to be handed on now.
    is_due: bool,
    spares: Vec<Block>,
    ends: bool,
}

impl Drain {
    /// Begins to take records over, also when the bell is rung.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub(super) fn start(buffers: Buffers, bell: Option<Bell>) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let begun = Arc::new(Barrier::new(2));
        let begins = Arc::clone(&begun);
        let thread = thread::Builder::new().name("drain".to_owned()).spawn(move || {
            if let Err(error) = system::go_first() {
                tracing::debug!("the thread that takes records over has no priority: {error}");
            }
            // Priority was the last thing that it needed a right for.
            if let Err(error) = confine::give_up_all() {
                tracing::warn!("the thread that takes records over keeps its capabilities: {error}");
            }
            begins.wait();
            of_thread.run(buffers, bell)
        })?;
        // The right to set priorities may be given up afterwards.
        begun.wait();
        let (merge, freed) = (Merge::default(), Vec::new());
        Ok(Self { shared, thread: Some(thread), buffers: None, merge, freed, is_behind: false })
    }

    /// Hands over, in order of time, what is ready. Nothing handed over later is older than the time returned.
    pub(super) fn poll(&mut self, sink: &mut dyn FnMut(&[u8])) -> u64 {
        let mut taken = self.shared.lock();
        taken.spares.append(&mut self.freed);
        taken.spares.truncate(SPARES);
        let (blocks, horizon_ns) = (std::mem::take(&mut taken.blocks), taken.horizon_ns);
        (taken.since_ns, taken.is_due) = (None, false);
        drop(taken);
        self.merge.add(blocks, horizon_ns);
        let (complete_ns, is_all) = self.merge.hand_over(&mut self.freed, sink);
        self.is_behind = !is_all;
        let freed: usize = self.freed.iter().map(Block::bytes).sum();
        self.shared.held.fetch_sub(freed, Ordering::Relaxed);
        self.freed.iter_mut().for_each(Block::clear);
        self.freed.retain(|block| block.capacity() <= SPARE_BYTES);
        complete_ns
    }

    /// Waits until there may be something to hand over, at most so long.
    pub(super) fn wait(&self, at_most: Duration) {
        if self.is_behind {
            return;
        }
        let taken = self.shared.lock();
        drop(self.shared.due.wait_timeout_while(taken, at_most, |taken| !taken.is_due));
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.lock().ends = true;
        // If it listens to the bell, it ends after its pause.
        thread.thread().unpark();
        // It does not panic; if it did, what it had not taken over would show as in flight.
        if let Ok(buffers) = thread.join() {
            let mut taken = self.shared.lock();
            self.merge.add(std::mem::take(&mut taken.blocks), taken.horizon_ns);
            self.buffers = Some(buffers);
        }
    }

    /// Ends the thread and hands over every record that is left, however young.
    pub(super) fn flush(&mut self, sink: &mut dyn FnMut(&[u8])) {
        self.end();
        if let Some(buffers) = &mut self.buffers {
            let mut block = Block::default();
            buffers.read(now().0, usize::MAX, &mut block);
            self.merge.add([block], u64::MAX);
        }
        while !self.merge.hand_over(&mut self.freed, sink).1 {}
        self.freed.clear();
    }

    /// Records that were handed over after younger ones.
    pub(super) fn late(&self) -> u64 {
        self.merge.late()
    }
}

/// The pause after a turn that brought so many bytes after that pause.
fn next_pause(pause: Duration, bytes: usize, longest: Duration) -> Duration {
    if bytes == 0 {
        return (pause * 2).min(longest);
    }
    #[expect(clippy::cast_precision_loss, reason = "it need not be exact")]
    let factor = TURN_BYTES as f64 / bytes as f64;
    pause.mul_f64(factor).clamp(SHORTEST, longest)
}

/// Whether what has waited so long, and is so much, is handed on now and not after the next pause.
fn is_due(waited: Duration, pause: Duration, bytes: usize) -> bool {
    waited + pause >= GATHERING || bytes >= GATHERED_BYTES
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn run(&self, mut buffers: Buffers, mut bell: Option<Bell>) -> Buffers {
        let longest = if bell.is_some() { LONGEST } else { LONGEST_UNCALLED };
        let mut pause = longest;
        let mut was_idle = true;
        let mut block = Block::default();
        loop {
            let room = WAITING_BYTES.saturating_sub(self.held.load(Ordering::Relaxed));
            let now_ns = now().0;
            let horizon_ns = buffers.read(now_ns, room, &mut block);
            let is_idle = block.is_empty();
            let mut taken = self.lock();
            if taken.ends {
                // What was read in this very round must not be lost.
                taken.blocks.push(block);
                return buffers;
            }
            taken.horizon_ns = horizon_ns;
            pause = next_pause(pause, block.bytes(), longest);
            if !is_idle {
                self.held.fetch_add(block.bytes(), Ordering::Relaxed);
                let next = taken.spares.pop().unwrap_or_default();
                taken.blocks.push(std::mem::replace(&mut block, next));
            }
            // Also after the last: what came during the turn that brought it is complete now.
            if !is_idle || !was_idle {
                let since_ns = *taken.since_ns.get_or_insert(now_ns);
                let waited = Duration::from_nanos(now_ns.saturating_sub(since_ns));
                taken.is_due |= is_idle || is_due(waited, pause, self.held.load(Ordering::Relaxed));
            }
            let is_due = taken.is_due;
            drop(taken);
            if is_due {
                self.due.notify_one();
            }
            was_idle = is_idle;
            match &mut bell {
                Some(bell) => bell.wait(pause),
                None => thread::park_timeout(pause),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_follow_what_comes() {
        let pause = |millis, bytes| next_pause(Duration::from_millis(millis), bytes, LONGEST);
        assert_eq!(pause(15, 0), LONGEST);
        assert_eq!(pause(1, 0), Duration::from_millis(2));
        assert_eq!(pause(5, 100), LONGEST);
        assert_eq!(next_pause(LONGEST, 100, LONGEST_UNCALLED), LONGEST_UNCALLED);
        assert_eq!(pause(5, 2 * TURN_BYTES), Duration::from_micros(2_500));
        assert_eq!(pause(2, TURN_BYTES), Duration::from_millis(2));
        assert_eq!(pause(2, TURN_BYTES / 2), Duration::from_millis(4));
        assert_eq!(pause(1, 1 << 20), SHORTEST);
    }

    #[test]
    fn what_comes_in_quick_turns_is_handed_on_together_and_a_slow_turn_alone() {
        let is_due = |waited, pause, bytes| is_due(Duration::from_millis(waited), Duration::from_millis(pause), bytes);
        assert!(is_due(0, 5, 1), "the next turn would be too late");
        assert_eq!([0, 2, 4].map(|waited| is_due(waited, 2, 1)), [false, false, true]);
        assert!(is_due(0, 1, GATHERED_BYTES));
    }
}
