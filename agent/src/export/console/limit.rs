//! How much a person can follow: a token bucket.

use std::time::{Duration, Instant};

/// Lets through `burst` at once and `per_second` in the long run.
#[derive(Debug)]
pub(super) struct Limit {
    tokens: f64,
    burst: f64,
    per_second: f64,
    refilled: Option<Instant>,
}

impl Limit {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        Self { tokens: f64::from(burst), burst: f64::from(burst), per_second: f64::from(per_second), refilled: None }
    }

    /// Whether one more may pass now.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        // Spans come many at a time.
        if self.refilled != Some(now) {
            let since = self.refilled.map_or(Duration::ZERO, |then| now.saturating_duration_since(then));
            self.refilled = Some(now);
            self.tokens = (self.tokens + since.as_secs_f64() * self.per_second).min(self.burst);
        }
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let mut limit = Limit::new(10, 20);
        let start = Instant::now();
        assert_eq!((0..100).filter(|_| limit.pass(start)).count(), 20);
        let mut passed = 0;
        for tick in 1..=100_u64 {
            passed += usize::from(limit.pass(start + Duration::from_millis(10 * tick)));
        }
        assert!((9..=10).contains(&passed), "{passed} in one second");
    }
}
