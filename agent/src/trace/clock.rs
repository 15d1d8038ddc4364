//! From the kernel's time to the world's.

use crate::flow::Nanos;

/// Turns nanoseconds since boot into nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    boot_to_unix_ns: i64,
}

impl Clock {
    /// `boot_to_unix_ns` is added to a time since boot.
    #[must_use]
    pub const fn new(boot_to_unix_ns: i64) -> Self {
        Self { boot_to_unix_ns }
    }

    /// Nanoseconds since 1970; the nearest that can be said where that is out of range.
    #[must_use]
    pub const fn unix_ns(self, time: Nanos) -> u64 {
        time.0.saturating_add_signed(self.boot_to_unix_ns)
    }

    /// Start and end since 1970, the end not before the start.
    #[must_use]
    pub fn span(self, start: Nanos, end: Nanos) -> (u64, u64) {
        (self.unix_ns(start), self.unix_ns(end.max(start)))
    }
}

/// Seconds between two times; 0 where the second is the earlier one.
#[must_use]
pub fn seconds_between(start: Nanos, end: Nanos) -> f64 {
    std::time::Duration::from_nanos(end.0.saturating_sub(start.0)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_never_ends_before_it_starts() {
        assert_eq!(Clock::new(100).span(Nanos(5), Nanos(3)), (105, 105));
        assert_eq!(Clock::new(100).span(Nanos(5), Nanos(8)), (105, 108));
    }

    #[test]
    fn times_out_of_range_are_cut_off() {
        assert_eq!(Clock::new(i64::MIN).unix_ns(Nanos(5)), 0);
        assert_eq!(Clock::new(i64::MAX).unix_ns(Nanos(u64::MAX)), u64::MAX);
        assert!(seconds_between(Nanos(9), Nanos(3)).abs() < f64::EPSILON);
        assert!((seconds_between(Nanos(0), Nanos(1_500_000_000)) - 1.5).abs() < 1e-12);
    }
}
