//! Reports of bench targets that are made with divan.

use anyhow::{Context, Result};

use crate::command::{cargo, output};
use crate::step::Steps;
use crate::workspace;

/// A bench of the report.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// What it was run with.
    pub(super) argument: String,
    pub(super) nanoseconds: f64,
    pub(super) items_per_second: f64,
    pub(super) allocations: f64,
    /// Allocations that grew.
    pub(super) growths: f64,
}

/// Runs a bench target of the agent's crate, which needs no kernel.
pub(super) fn run(target: &str, steps: &mut Steps) -> Result<Vec<Entry>> {
    let report = steps.step(&format!("cargo bench, {target}"), || {
        let mut cargo = cargo();
        cargo.args(["bench", "--locked", "--package=wirespan", "--target-dir=target"]).arg(format!("--bench={target}"));
        // As the agent is built, so that neither build makes the other stale.
        output(cargo.env("WIRESPAN_BPF_OBJECTS", workspace::bpf_objects()))
    })?;
    entries(&report).with_context(|| format!("the report makes no sense:\n{report}"))
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
            let (name_of_row, median) = (label.trim_end(), column(rest, 2)?);
            if median.is_empty() {
                name = name_of_row;
                continue;
            }
            let nanoseconds = quantity(median, &[("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)])?;
            let rates = [("Kitem/s", 1e3), ("Mitem/s", 1e6), ("Gitem/s", 1e9), ("item/s", 1.0)];
            let items_per_second = quantity(column(lines.next()?.trim_start_matches(['│', ' ']), 2)?, &rates)?;
            let (name, argument) = (name.to_owned(), name_of_row.to_owned());
            entries.push(Entry { name, argument, nanoseconds, items_per_second, ..Entry::default() });
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
                argument: "2000".to_owned(),
                nanoseconds: 22e6,
                items_per_second: 500e3,
                allocations: 4000.0,
                growths: 20.0,
            },
            Entry {
                name: "spans".to_owned(),
                argument: "10".to_owned(),
                nanoseconds: 16.5e3,
                items_per_second: 2e6,
                ..Entry::default()
            },
        ];
        assert_eq!(entries(REPORT).unwrap(), expected);
        assert_eq!(entries(&REPORT.replace("22 ms", "soon")), None);
    }
}
