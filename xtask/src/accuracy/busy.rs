//! Other work for the machine's processors.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A thread computes for so long at a time, in microseconds, and pauses for so long.
const WORKS_US: std::ops::Range<u64> = 2_000..80_000;
const PAUSES_US: std::ops::Range<u64> = 0..20_000;

/// Threads that keep the processors busy, one for each, until this is dropped.
pub(super) struct Busy {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    /// Begins.
    pub(super) fn begin() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let count = thread::available_parallelism().map_or(1, usize::from);
        let begin = |seed: usize| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || work(&is_over, u64::try_from(seed).unwrap_or_default()))
        };
        let threads = (0..count).map(begin).collect();
        Self { is_over, threads }
    }
}

fn work(is_over: &AtomicBool, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    while !is_over.load(Ordering::Relaxed) {
        let until = Instant::now() + Duration::from_micros(random.u64(WORKS_US));
        while Instant::now() < until {
            spin_loop();
        }
        thread::sleep(Duration::from_micros(random.u64(PAUSES_US)));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has done no harm: it only computes.
            _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_thread_for_each_processor_until_it_is_dropped() {
        let busy = Busy::begin();
        assert_eq!(busy.threads.len(), thread::available_parallelism().map_or(1, usize::from));
        let is_over = Arc::clone(&busy.is_over);
        drop(busy);
        assert_eq!(Arc::strong_count(&is_over), 1, "each has ended");
    }
}
