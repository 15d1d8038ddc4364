//! What the agent's user space costs per record and per request: the bench target of its crate, which needs no kernel.

use anyhow::{Context, Result, bail};

use crate::bench::divan::{self, Entry};
use crate::bench::figure::{Figure, Target};
use crate::step::Steps;

/// Microseconds per request, both ends, from the kernel's records to the bytes that are exported.
const LIMIT_US: f64 = 4.0;

/// Allocations for the same.
const LIMIT_ALLOCATIONS: f64 = 2.0;

/// The bench with targets.
const TARGETED: &str = "keep_alive_to_bytes";

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let entries = divan::run("records", steps)?;
    if !entries.iter().any(|entry| entry.name == TARGETED) {
        bail!("there is no bench {TARGETED}: {entries:?}");
    }
    let figures: Vec<_> = entries.iter().map(figures).collect::<Result<_>>()?;
    Ok(figures.into_iter().flatten().collect())
}

fn figures(entry: &Entry) -> Result<[Figure; 4]> {
    let target = |limit| if entry.name == TARGETED { Target::AtMost(limit) } else { Target::None };
    let name = entry.name.replace('_', " ");
    let requests: f64 = entry.argument.parse().with_context(|| format!("{} requests are no number", entry.argument))?;
    let each = |number: f64| number / requests;
    let allocations = entry.allocations + entry.growths;
    let records = entry.items_per_second * entry.nanoseconds / 1e9;
    Ok([
        Figure::new(format!("{name}, per request, both sides"), each(entry.nanoseconds) / 1e3, "µs", target(LIMIT_US)),
        Figure::new(
            format!("{name}, allocations per request, both sides"),
            each(allocations),
            "",
            target(LIMIT_ALLOCATIONS),
        ),
        Figure::new(format!("{name}, per record"), 1e9 / entry.items_per_second, "ns", Target::None),
        Figure::new(format!("{name}, allocations per record"), allocations / records, "", Target::None),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_request() {
        let entry = Entry {
            name: TARGETED.to_owned(),
            argument: "2000".to_owned(),
            nanoseconds: 22e6,
            items_per_second: 500e3,
            allocations: 4000.0,
            growths: 20.0,
        };
        let figures = figures(&entry).unwrap();
        let values: Vec<_> = figures.iter().map(|figure| (figure.value, figure.target)).collect();
        // 22 ms at 500 000 records a second are 11 000 of them.
        let per_record = 4020.0 / 11_000.0;
        let expected = [
            (11.0, Target::AtMost(LIMIT_US)),
            (2.01, Target::AtMost(LIMIT_ALLOCATIONS)),
            (2000.0, Target::None),
            (per_record, Target::None),
        ];
        assert_eq!(values, expected);
    }
}
