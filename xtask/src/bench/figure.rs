//! A measured figure, its spread and its target, and how it is written.

use std::fmt;

use serde_json::{Value, json};

pub(super) use crate::bed::as_f64;
use crate::bench::statistics::Spread;

/// One measured number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    /// What was measured, in words.
    pub(super) name: String,
    /// The number.
    pub(super) value: f64,
    /// Its unit; empty for a plain count.
    pub(super) unit: &'static str,
    /// The lowest and the highest of the measurements that it is the median of, if there were several.
    pub(super) range: Option<(f64, f64)>,
    /// What it should be.
    pub(super) target: Target,
}

/// What a figure should be, in its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
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
        Self { name: name.into(), value, unit, range: None, target }
    }

    /// A count, without a unit.
    pub(super) fn count(name: impl Into<String>, value: u64, target: Target) -> Self {
        Self::new(name, as_f64(value), "", target)
    }

    /// The median of several measurements, with the lowest and the highest of them.
    pub(super) fn spread(name: impl Into<String>, spread: Spread, unit: &'static str, target: Target) -> Self {
        Self { range: Some((spread.low, spread.high)), ..Self::new(name, spread.median, unit, target) }
    }

    /// Whether the target was met. What could not be measured (NaN) was not.
    pub(super) fn verdict(&self) -> Verdict {
        let met = match self.target {
            Target::AtMost(limit) => self.value <= limit,
            Target::AtLeast(limit) => self.value >= limit,
            Target::Exactly(count) => (self.value - as_f64(count)).abs() < 0.5,
            Target::None => return Verdict::Reported,
        };
        if met { Verdict::Met } else { Verdict::Missed }
    }

    /// As it is kept in a file.
    pub(super) fn to_json(&self) -> Value {
        let target = match self.target {
            Target::AtMost(limit) => json!({ "at_most": limit }),
            Target::AtLeast(limit) => json!({ "at_least": limit }),
            Target::Exactly(count) => json!({ "exactly": count }),
            Target::None => Value::Null,
        };
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "range": self.range.map(|(low, high)| json!([low, high])),
            "target": target,
            "verdict": self.verdict().to_string(),
        })
    }

    /// As a row of a table: name, value, range, target, verdict.
    pub(super) fn row(&self) -> [String; 5] {
        let range = self.range.map(|(low, high)| format!("{} to {}", Rounded(low), Rounded(high)));
        let verdict = match self.verdict() {
            Verdict::Met => "met",
            Verdict::Missed => "**missed**",
            Verdict::Reported => "",
        };
        [
            self.name.clone(),
            self.with_unit(Rounded(self.value)),
            range.unwrap_or_default(),
            self.wanted().unwrap_or_default(),
            verdict.to_owned(),
        ]
    }

    fn wanted(&self) -> Option<String> {
        match self.target {
            Target::AtMost(limit) => Some(format!("≤ {}", self.with_unit(Rounded(limit)))),
            Target::AtLeast(limit) => Some(format!("≥ {}", self.with_unit(Rounded(limit)))),
            Target::Exactly(count) => Some(self.with_unit(count)),
            Target::None => None,
        }
    }

    fn with_unit(&self, number: impl fmt::Display) -> String {
        let space = if self.unit.is_empty() { "" } else { " " };
        format!("{number}{space}{}", self.unit)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<72} {:>16}", self.name, self.with_unit(Rounded(self.value)))?;
        if let Some((low, high)) = self.range {
            write!(f, " ({} to {})", Rounded(low), Rounded(high))?;
        }
        match self.wanted() {
            Some(wanted) => write!(f, "   target {wanted}: {}", self.verdict()),
            None => Ok(()),
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

/// Whole numbers as such, others with as many digits as mean something.
struct Rounded(f64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0.abs() {
            value if value.fract() == 0.0 || value >= 1000.0 => 0,
            value if value >= 10.0 => 1,
            value if value >= 1.0 => 2,
            _ => 3,
        };
        f.pad(&format!("{:.digits$}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_by_its_target() {
        let verdict = |value, target| Figure::new("", value, "", target).verdict();
        assert_eq!(verdict(8.0, Target::AtMost(8.0)), Verdict::Met);
        assert_eq!(verdict(8.1, Target::AtMost(8.0)), Verdict::Missed);
        assert_eq!(verdict(1.9, Target::AtLeast(2.0)), Verdict::Missed);
        assert_eq!(verdict(f64::NAN, Target::AtMost(8.0)), Verdict::Missed);
        assert_eq!(verdict(f64::NAN, Target::AtLeast(8.0)), Verdict::Missed);
        assert_eq!(verdict(6400.0, Target::Exactly(6400)), Verdict::Met);
        assert_eq!(verdict(6399.0, Target::Exactly(6400)), Verdict::Missed);
        assert_eq!(verdict(1.0, Target::None), Verdict::Reported);
    }

    #[test]
    fn a_figure_is_printed_beside_its_target() {
        let text = Figure::new("loss", 7.25, "%", Target::AtMost(8.0)).to_string();
        assert!(text.ends_with("7.25 %   target ≤ 8 %: met"), "{text}");
        let text = Figure::count("spans", 6399, Target::Exactly(6400)).to_string();
        assert!(text.ends_with("6399   target 6400: MISSED"), "{text}");
    }

    #[test]
    fn a_row_shows_the_spread_and_marks_what_was_missed() {
        let spread = Spread { median: 9.5, low: -0.25, high: 12.0 };
        let row = Figure::spread("fewer", spread, "%", Target::AtMost(8.0)).row();
        assert_eq!(row, ["fewer", "9.50 %", "-0.250 to 12", "≤ 8 %", "**missed**"]);
        assert_eq!(Figure::count("spans", 3, Target::None).row(), ["spans", "3", "", "", ""]);
    }
}
