//! The clocks of this machine. Only the rim reads them.

use rustix::time::{ClockId, Timespec, clock_gettime};
use wirespan::flow::Nanos;

/// How often the two clocks are read one after the other; the reading that was disturbed least counts.
const READINGS: usize = 5;

/// What the agent needs to know of time.
pub(crate) trait Clock {
    /// Nanoseconds of `CLOCK_BOOTTIME`, as in the records.
    fn now(&self) -> Nanos;

    /// Add to nanoseconds since boot to get nanoseconds since 1970.
    fn boot_to_unix_ns(&self) -> i64;
}

/// The kernel's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Nanos {
        Nanos(read(ClockId::Boottime).cast_unsigned())
    }

    fn boot_to_unix_ns(&self) -> i64 {
        let reading = || {
            let before = read(ClockId::Boottime);
            let unix = read(ClockId::Realtime);
            let after = read(ClockId::Boottime);
            (after - before, unix - (before + (after - before) / 2))
        };
        (0..READINGS).map(|_| reading()).min().map_or(0, |(_, offset)| offset)
    }
}

/// Nanoseconds; an `i64` of them lasts until 2262.
fn read(clock: ClockId) -> i64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    tv_sec.saturating_mul(1_000_000_000).saturating_add(tv_nsec)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn time_since_boot_and_the_difference_make_the_time_of_day() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
        let ours = i128::from(SystemClock.now().0) + i128::from(SystemClock.boot_to_unix_ns());
        let after = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
        // The difference is known to within a fraction of the time that reading it took.
        let slack = 1_000_000;
        assert!((before as i128 - slack..=after as i128 + slack).contains(&ours), "{before} {ours} {after}");
    }
}
