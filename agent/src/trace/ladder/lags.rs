//! How long steps take: delays, counted in buckets, and how likely one is.

/// Delays in buckets of half an octave, from a microsecond to 17 seconds.
const BUCKETS: usize = 48;
/// The first bucket ends at twice this many nanoseconds, to the power of two.
const FIRST_BUCKET_LOG2: u32 = 10;

/// Delays, counted in buckets.
#[derive(Debug)]
pub(super) struct Lags {
    pub(super) seen: u32,
    /// Between two that stay empty: each has neighbours.
    buckets: [u16; BUCKETS + 2],
}

impl Lags {
    pub(super) const NONE: Self = Self { seen: 0, buckets: [0; BUCKETS + 2] };

    fn bucket(lag_ns: u64) -> usize {
        let lag = lag_ns.max(1 << FIRST_BUCKET_LOG2);
        let octave = lag.ilog2();
        let half = usize::from((lag >> (octave - 1)) & 1 == 1);
        (((octave - FIRST_BUCKET_LOG2) as usize) * 2 + half).min(BUCKETS - 1)
    }

    /// Nanoseconds that each bucket spans.
    const WIDTHS: [f64; BUCKETS] = {
        let mut widths = [0.0; BUCKETS];
        let mut bucket = 0;
        while bucket < BUCKETS {
            widths[bucket] = (1_u64 << (FIRST_BUCKET_LOG2 as usize - 1 + bucket / 2)) as f64;
            bucket += 1;
        }
        widths
    };

    /// Of each bucket what is expected before anything was seen: the longer the rarer.
    const EXPECTED: [f64; BUCKETS] = {
        const DECAY: f64 = 0.85;
        let mut expected = [1.0 - DECAY; BUCKETS];
        let mut bucket = 1;
        while bucket < BUCKETS {
            expected[bucket] = expected[bucket - 1] * DECAY;
            bucket += 1;
        }
        expected
    };

    /// Per nanosecond.
    pub(super) fn density(&self, lag_ns: u64) -> f64 {
        /// As many take any time as if nothing had been seen, however many did not: a thread that has more to do than ever is later than
        /// ever.
        const UNUSUAL: f64 = 0.01;
        let bucket = Self::bucket(lag_ns);
        let [before, at, after] = [self.buckets[bucket], self.buckets[bucket + 1], self.buckets[bucket + 2]];
        let near = 0.5 * f64::from(at) + 0.25 * (f64::from(before) + f64::from(after));
        let weight = (f64::from(self.seen) * UNUSUAL).max(1.0);
        (near + weight * Self::EXPECTED[bucket]) / ((f64::from(self.seen) + weight) * Self::WIDTHS[bucket])
    }

    pub(super) fn learn(&mut self, lag_ns: u64) {
        let count = &mut self.buckets[Self::bucket(lag_ns) + 1];
        *count = count.saturating_add(1);
        self.seen += 1;
    }

    pub(super) fn halve(&mut self) {
        self.buckets.iter_mut().for_each(|count| *count /= 2);
        self.seen = self.buckets.iter().map(|&count| u32::from(count)).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    #[test]
    fn the_more_were_prompt_the_less_likely_is_a_late_one_but_not_without_end() {
        let surprise = |seen: u32| {
            let mut lags = Lags::NONE;
            (0..seen).for_each(|_| lags.learn(10 * US));
            (lags.density(10 * US) / lags.density(100 * US)).ln()
        };
        assert!(surprise(100) > surprise(10) + 1.0);
        assert!(surprise(3_000) < surprise(300) + 0.1);
    }
}
