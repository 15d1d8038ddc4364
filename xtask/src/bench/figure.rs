//! A measured figure, its target, and what statistics there are.

use std::fmt;

use serde_json::{Value, json};

/// One measured number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    /// What was measured, in words.
    pub(super) name: String,
    /// The number.
    pub(super) value: f64,
    /// Its unit; empty for a plain count.
    pub(super) unit: &'static str,
    /// What it should be.
    pub(super) target: Target,
}

/// What a figure should be, in its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// Not more than this.
    AtMost(f64),
    /// This very count.
    Exactly(u64),
    /// Reported only.
    None,
}

/// Whether the target was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was.
    Met,
    /// It was not.
    Missed,
    /// There is none.
    Reported,
}

impl Figure {
    /// A figure.
    pub(super) fn new(name: impl Into<String>, value: f64, unit: &'static str, target: Target) -> Self {
        Self { name: name.into(), value, unit, target }
    }

    /// A count, without a unit.
    pub(super) fn count(name: impl Into<String>, value: u64, target: Target) -> Self {
        Self::new(name, as_f64(value), "", target)
    }

    /// Whether the target was met. What could not be measured (NaN) was not.
    pub(super) fn verdict(&self) -> Verdict {
        let met = match self.target {
            Target::AtMost(limit) => self.value <= limit,
            Target::Exactly(count) => (self.value - as_f64(count)).abs() < 0.5,
            Target::None => return Verdict::Reported,
        };
        if met { Verdict::Met } else { Verdict::Missed }
    }

    /// As it is kept in a file.
    pub(super) fn to_json(&self) -> Value {
        let target = match self.target {
            Target::AtMost(limit) => json!({ "at_most": limit }),
            Target::Exactly(count) => json!({ "exactly": count }),
            Target::None => Value::Null,
        };
        let verdict = self.verdict().to_string();
        json!({ "name": self.name, "value": self.value, "unit": self.unit, "target": target, "verdict": verdict })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.unit.is_empty() { "" } else { " " };
        write!(f, "{:<60} {:>12}{space}{}", self.name, Rounded(self.value), self.unit)?;
        match self.target {
            Target::AtMost(limit) => {
                write!(f, "   target <= {}{space}{}: {}", Rounded(limit), self.unit, self.verdict())
            }
            Target::Exactly(count) => write!(f, "   target {count}: {}", self.verdict()),
            Target::None => Ok(()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Reported => "reported",
        })
    }
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

/// Counts and nanoseconds here are far below 2^53, where this begins to round.
#[allow(clippy::cast_precision_loss)]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Whole numbers as such, others with as many digits as mean something.
struct Rounded(f64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0.abs() {
            value if value.fract() == 0.0 || value >= 1000.0 => 0,
            value if value >= 10.0 => 1,
            _ => 3,
        };
        f.pad(&format!("{:.digits$}", self.0))
    }
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
    fn a_figure_is_judged_by_its_target() {
        let verdict = |value, target| Figure::new("", value, "", target).verdict();
        assert_eq!(verdict(8.0, Target::AtMost(8.0)), Verdict::Met);
        assert_eq!(verdict(8.1, Target::AtMost(8.0)), Verdict::Missed);
        assert_eq!(verdict(f64::NAN, Target::AtMost(8.0)), Verdict::Missed);
        assert_eq!(verdict(6400.0, Target::Exactly(6400)), Verdict::Met);
        assert_eq!(verdict(6399.0, Target::Exactly(6400)), Verdict::Missed);
        assert_eq!(verdict(1.0, Target::None), Verdict::Reported);
    }

    #[test]
    fn a_figure_is_printed_beside_its_target() {
        let text = Figure::new("loss", 7.25, "%", Target::AtMost(8.0)).to_string();
        assert!(text.ends_with("7.250 %   target <= 8 %: met"), "{text}");
        let text = Figure::count("spans", 6399, Target::Exactly(6400)).to_string();
        assert!(text.ends_with("6399   target 6400: MISSED"), "{text}");
    }
}
