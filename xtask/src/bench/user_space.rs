//! What the agent's user space costs per record and per request: the bench target of its crate, which needs no kernel.

use anyhow::{Context, Result, bail};

use crate::bench::figure::{Figure, Target};
use crate::command::{cargo, output};
use crate::step::Steps;
use crate::workspace;

/// Microseconds per request, both ends, from the kernel's records to the bytes that are exported.
const LIMIT_US: f64 = 4.0;

/// Allocations for the same.
const LIMIT_ALLOCATIONS: f64 = 2.0;

/// The bench with targets.
const TARGETED: &str = "keep_alive_to_bytes";

/// A bench of the report.
#[derive(Clone, Debug, Default, PartialEq)]
struct Entry {
    name: String,
    requests: f64,
    nanoseconds: f64,
    records_per_second: f64,
    allocations: f64,
    /// Allocations that grew.
    growths: f64,
}

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let report = steps.step("cargo bench, of user space on a made log", || {
        let mut cargo = cargo();
        cargo.args(["bench", "--locked", "--package=wirespan", "--bench=records", "--target-dir=target"]);
        // As the agent is built, so that neither build makes the other stale.
        output(cargo.env("WIRESPAN_BPF_OBJECTS", workspace::bpf_objects()))
    })?;
    let entries = entries(&report).with_context(|| format!("the report makes no sense:\n{report}"))?;
    if !entries.iter().any(|entry| entry.name == TARGETED) {
        bail!("the report has no {TARGETED}:\n{report}");
    }
    Ok(entries.iter().flat_map(figures).collect())
}

fn figures(entry: &Entry) -> [Figure; 4] {
    let target = |limit| if entry.name == TARGETED { Target::AtMost(limit) } else { Target::None };
    let name = entry.name.replace('_', " ");
    let each = |number: f64| number / entry.requests;
    let allocations = entry.allocations + entry.growths;
    let records = entry.records_per_second * entry.nanoseconds / 1e9;
    [
        Figure::new(format!("{name}, per request, both sides"), each(entry.nanoseconds) / 1e3, "µs", target(LIMIT_US)),
        Figure::new(
            format!("{name}, allocations per request, both sides"),
            each(allocations),
            "",
            target(LIMIT_ALLOCATIONS),
        ),
        Figure::new(format!("{name}, per record"), 1e9 / entry.records_per_second, "ns", Target::None),
        Figure::new(format!("{name}, allocations per record"), allocations / records, "", Target::None),
    ]
}

/// Reads divan's report: a tree of benches with their arguments, columns behind `│`, medians in the third.
fn entries(report: &str) -> Option<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut name = "";
    let mut lines = report.lines();
    while let Some(line) = lines.next() {
        let text = line.trim_start_matches(['│', ' ']);
        if let Some(row) = text.strip_prefix("├─").or_else(|| text.strip_prefix("╰─")) {
            let (label, rest) = row.trim_start().split_once(' ').unwrap_or((row.trim_start(), ""));
            let Ok(requests) = label.parse() else {
                name = label;
                continue;
            };
            let nanoseconds = quantity(column(rest, 2)?, &[("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)])?;
            let rates = [("Kitem/s", 1e3), ("Mitem/s", 1e6), ("Gitem/s", 1e9), ("item/s", 1.0)];
            let records_per_second = quantity(column(lines.next()?.trim_start_matches(['│', ' ']), 2)?, &rates)?;
            let name = name.to_owned();
            entries.push(Entry { name, requests, nanoseconds, records_per_second, ..Entry::default() });
        } else if let Some(entry) = entries.last_mut() {
            let slot = match column(text, 0) {
                Some("alloc:") => &mut entry.allocations,
                Some("grow:") => &mut entry.growths,
                _ => continue,
            };
            *slot = column(lines.next()?.trim_start_matches(['│', ' ']), 2)?.parse().ok()?;
        }
    }
    Some(entries)
}

fn column(row: &str, number: usize) -> Option<&str> {
    row.split('│').nth(number).map(str::trim)
}

/// A number with one of these units, each with its size. Longer units come first.
fn quantity(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, size) = units.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)))?;
    number.trim().parse::<f64>().ok().map(|number| number * size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
Timer precision: 20 ns
records                 fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ keep_alive_to_bytes                │               │               │               │         │
│  ╰─ 2000              13.45 ms      │ 48.65 ms      │ 22 ms         │ 21.56 ms      │ 100     │ 100
│                       594.4 Kitem/s │ 164.4 Kitem/s │ 500 Kitem/s   │ 371 Kitem/s   │         │
│                       max alloc:    │               │               │               │         │
│                         7173        │ 7173          │ 7173          │ 7173          │         │
│                         2.665 MB    │ 2.665 MB      │ 2.665 MB      │ 2.665 MB      │         │
│                       alloc:        │               │               │               │         │
│                         4000        │ 4000          │ 4000          │ 4000          │         │
│                         6.706 MB    │ 6.706 MB      │ 6.706 MB      │ 6.706 MB      │         │
│                       grow:         │               │               │               │         │
│                         34          │ 34            │ 20            │ 34            │         │
│                         180 KB      │ 180 KB        │ 180 KB        │ 180 KB        │         │
╰─ spans                              │               │               │               │         │
   ╰─ 10                10.38 µs      │ 25.13 µs      │ 16.5 µs       │ 16 µs         │ 100     │ 100
                        1.5 Mitem/s   │ 318.3 Kitem/s │ 2 Mitem/s     │ 499.7 Kitem/s │         │
";

    #[test]
    fn medians_are_read_from_the_report() {
        let expected = [
            Entry {
                name: "keep_alive_to_bytes".to_owned(),
                requests: 2000.0,
                nanoseconds: 22e6,
                records_per_second: 500e3,
                allocations: 4000.0,
                growths: 20.0,
            },
            Entry {
                name: "spans".to_owned(),
                requests: 10.0,
                nanoseconds: 16.5e3,
                records_per_second: 2e6,
                ..Entry::default()
            },
        ];
        assert_eq!(entries(REPORT).unwrap(), expected);
        assert_eq!(entries(&REPORT.replace("22 ms", "soon")), None);
    }

    #[test]
    fn figures_are_per_request() {
        let figures = figures(&entries(REPORT).unwrap()[0]);
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
