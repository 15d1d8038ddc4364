//! What many numbers come to: medians, quantiles, and ratios of what was measured alternately.

/// The middle of some measurements and how far they went to either side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// The middle one.
    pub(super) median: f64,
    /// The lowest.
    pub(super) low: f64,
    /// The highest.
    pub(super) high: f64,
}

impl Spread {
    /// Of these measurements; NaN all over if there are none.
    pub(super) fn of(values: &[f64]) -> Self {
        let edge = |choose: fn(f64, f64) -> f64| values.iter().copied().reduce(choose).unwrap_or(f64::NAN);
        Self { median: median(values), low: edge(f64::min), high: edge(f64::max) }
    }
}

/// Something measured with a variant (B), and before and after it without (A).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Aba<T> {
    /// Without, before.
    pub(super) before: T,
    /// With.
    pub(super) with: T,
    /// Without, after.
    pub(super) after: T,
}

impl<T> Aba<T> {
    /// How much larger the number is with the variant than without, in per cent of the mean of before and after.
    pub(super) fn more_percent(&self, number: impl Fn(&T) -> f64) -> f64 {
        let without = f64::midpoint(number(&self.before), number(&self.after));
        (number(&self.with) / without - 1.0) * 100.0
    }

    /// How much larger the number is, as such.
    pub(super) fn more(&self, number: impl Fn(&T) -> f64) -> f64 {
        number(&self.with) - f64::midpoint(number(&self.before), number(&self.after))
    }

    /// How far apart the two measurements without were, in per cent of their mean: what the machine does by itself.
    pub(super) fn noise_percent(&self, number: impl Fn(&T) -> f64) -> f64 {
        let (before, after) = (number(&self.before), number(&self.after));
        (after - before).abs() / f64::midpoint(before, after) * 100.0
    }
}

/// The spread of something over several A/B/A measurements.
pub(super) fn over<T>(measured: &[Aba<T>], number: impl Fn(&Aba<T>) -> f64) -> Spread {
    Spread::of(&measured.iter().map(number).collect::<Vec<_>>())
}

/// The middle one of some numbers; the mean of the middle two if their number is even; NaN of none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => f64::NAN,
        (1, Some(&value)) => value,
        (_, Some(&upper)) => f64::midpoint(sorted[middle - 1], upper),
    }
}

/// The number below which so many thousandths of the sorted numbers are; `None` of none.
pub(super) fn quantile(sorted: &[u64], thousandths: usize) -> Option<u64> {
    let rank = (sorted.len() * thousandths).div_ceil(1000);
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_spread_goes_from_the_lowest_to_the_highest() {
        assert_eq!(Spread::of(&[2.0, -1.0, 7.0]), Spread { median: 2.0, low: -1.0, high: 7.0 });
        assert!(Spread::of(&[]).low.is_nan());
    }

    #[test]
    fn what_a_machine_does_by_itself_is_not_what_the_variant_does() {
        // It slows down evenly all the time: 100, 90, 80.
        let measured = Aba { before: 100.0, with: 90.0, after: 80.0 };
        assert_eq!(measured.more_percent(|&rate| rate), 0.0);
        assert!((measured.noise_percent(|&rate| rate) - 22.2).abs() < 0.1);
        let measured = Aba { before: 100.0, with: 90.0, after: 100.0 };
        assert!((measured.more_percent(|&rate| rate) + 10.0).abs() < 1e-9);
        assert_eq!(measured.more(|&rate| rate), -10.0);
    }

    #[test]
    fn a_quantile_is_one_of_the_numbers() {
        let numbers: Vec<_> = (1..=1000).collect();
        assert_eq!(quantile(&numbers, 500), Some(500));
        assert_eq!(quantile(&numbers, 990), Some(990));
        assert_eq!(quantile(&numbers, 999), Some(999));
        assert_eq!(quantile(&[7], 500), Some(7));
        assert_eq!(quantile(&[], 500), None);
    }
}
