//! Whether links are as sure as they say: right and wrong ones by confidence.

use std::ops::AddAssign;

use crate::bed::as_f64;

/// Where the buckets begin; each ends where the next one begins, the last one with 1.
const FROM: [f64; 9] = [0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99];
/// Of fewer links it can't be told.
const ENOUGH: u64 = 100;

/// Links by confidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Calibration {
    counts: [[u64; 2]; FROM.len()],
}

/// Links of about the same confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    /// The least confidence.
    pub(super) from: f64,
    /// What it ends with.
    pub(super) to: f64,
    /// Right links.
    pub(super) right: u64,
    /// Wrong ones.
    pub(super) wrong: u64,
}

impl Calibration {
    /// Counts a link. One that does not say how sure it is does not count.
    pub(super) fn note(&mut self, confidence: f64, is_right: bool) {
        if let Some(bucket) = FROM.iter().rposition(|from| confidence >= *from) {
            self.counts[bucket][usize::from(!is_right)] += 1;
        }
    }

    /// The buckets that have links.
    pub(super) fn buckets(&self) -> impl Iterator<Item = Bucket> {
        let ends = FROM.iter().skip(1).copied().chain([1.0]);
        let buckets = FROM.iter().zip(ends).zip(&self.counts);
        buckets
            .map(|((&from, to), &[right, wrong])| Bucket { from, to, right, wrong })
            .filter(|bucket| bucket.links() > 0)
    }
}

impl Bucket {
    /// Whether fewer of them are right than the least of their confidences says.
    pub(super) fn is_overstated(&self) -> bool {
        self.links() >= ENOUGH && self.share() < self.from
    }

    /// How many links.
    pub(super) fn links(&self) -> u64 {
        self.right + self.wrong
    }

    /// The part of them that is right.
    pub(super) fn share(&self) -> f64 {
        as_f64(self.right) / as_f64(self.links())
    }
}

impl AddAssign<&Self> for Calibration {
    fn add_assign(&mut self, other: &Self) {
        for (sum, counts) in self.counts.iter_mut().zip(&other.counts) {
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_counts_where_its_confidence_begins() {
        let mut calibration = Calibration::default();
        for (confidence, is_right) in [(0.9, true), (0.94, false), (0.95, true), (1.0, true), (f64::NAN, true)] {
            calibration.note(confidence, is_right);
        }
        let buckets: Vec<_> = calibration.buckets().map(|b| (b.from, b.to, b.right, b.wrong)).collect();
        assert_eq!(buckets, [(0.9, 0.95, 1, 1), (0.95, 0.98, 1, 0), (0.99, 1.0, 1, 0)]);
        let mut sum = calibration.clone();
        sum += &calibration;
        assert_eq!(sum.buckets().map(|bucket| bucket.links()).sum::<u64>(), 8);
    }

    #[test]
    fn links_that_are_less_often_right_than_they_say_are_found() {
        let bucket = |right, wrong| Bucket { from: 0.98, to: 0.99, right, wrong };
        assert!(bucket(97, 3).is_overstated() && !bucket(98, 2).is_overstated());
        assert!(!bucket(90, 9).is_overstated(), "too few to tell");
    }
}
