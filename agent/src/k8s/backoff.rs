//! Pauses between tries, so that thousands of agents do not come back at once.

use std::time::Duration;

/// First pause; it doubles up to [`LONGEST`].
pub(super) const FIRST: Duration = Duration::from_millis(500);
/// A server that was down is found again within this time.
pub(super) const LONGEST: Duration = Duration::from_secs(30);
/// What is not allowed is asked for again after so long: somebody may have allowed it.
pub(super) const DENIED: Duration = Duration::from_secs(60);
/// A server may ask for a pause, but for no longer than that.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Pauses that grow, with jitter.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// How long to pause now: between half and all of what it has grown to. What the server asked for is never undercut, and
    /// spread over as much again.
    pub(super) fn pause(&mut self, asked: Option<Duration>, jitter: f64) -> Duration {
        let own = self.next.mul_f64(0.5 + jitter / 2.0);
        self.next = self.next.saturating_mul(2).min(LONGEST);
        match asked.map(|asked| asked.min(LONGEST_ASKED)) {
            Some(asked) => (asked + asked.mul_f64(jitter)).max(own),
            None => own,
        }
    }

    /// All is well again.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// A pause of that length, up to half of it more.
pub(super) fn spread(pause: Duration) -> Duration {
    pause.mul_f64(1.0 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_spread() {
        let mut backoff = Backoff::default();
        let longest: Vec<u128> = (0..8).map(|_| backoff.pause(None, 1.0).as_millis()).collect();
        assert_eq!(longest, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(backoff.pause(None, 0.0), LONGEST / 2);
        backoff.reset();
        assert_eq!(backoff.pause(None, 1.0), FIRST);
    }

    #[test]
    fn what_the_server_asks_for_is_kept_to_within_reason() {
        let asked = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(Backoff::default().pause(asked(7), 0.0), Duration::from_secs(7));
        assert_eq!(Backoff::default().pause(asked(7), 1.0), Duration::from_secs(14));
        assert_eq!(Backoff::default().pause(asked(u64::MAX), 0.0), LONGEST_ASKED);
        assert_eq!(Backoff::default().pause(asked(0), 1.0), FIRST);
    }
}
