//! What links inside processes cost user space: recordings of real applications, replayed with and without them.

use anyhow::{Result, bail};

use crate::bench::divan::{self, Entry};
use crate::bench::figure::{Figure, Target};
use crate::step::Steps;

/// Microseconds per request, with its calls.
const LIMIT_US: f64 = 2.0;

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let entries = divan::run("links", steps)?;
    let figures = figures(&entries);
    if figures.is_empty() {
        bail!("no recording was replayed with and without links: {entries:?}");
    }
    Ok(figures)
}

fn figures(entries: &[Entry]) -> Vec<Figure> {
    let per_request_us = |bench: &str, recording: &str| {
        let found = entries.iter().find(|entry| entry.name == bench && entry.argument == recording)?;
        Some(1e6 / found.items_per_second)
    };
    let recordings = entries.iter().filter(|entry| entry.name == "linked").map(|entry| entry.argument.as_str());
    let figure = |recording: &str| {
        let (with, without) = (per_request_us("linked", recording)?, per_request_us("unlinked", recording)?);
        let name = match recording.rsplit_once("-pool")? {
            (runtime, "0") => format!("{runtime}, no limit"),
            (runtime, pool) => format!("{runtime}, pool of {pool}"),
        };
        Some([
            Figure::new(format!("{name}: without links, per request"), without, "µs", Target::None),
            Figure::new(format!("{name}: more with links"), with - without, "µs", Target::AtMost(LIMIT_US)),
        ])
    };
    recordings.filter_map(figure).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_cost_what_replays_take_longer_with_them() {
        let entry = |name: &str, argument: &str, items_per_second| Entry {
            name: name.to_owned(),
            argument: argument.to_owned(),
            items_per_second,
            ..Entry::default()
        };
        let entries = [
            entry("linked", "java-pool-pool8", 50e3),
            entry("unlinked", "java-pool-pool8", 100e3),
            entry("linked", "c-pool0", 1.0),
        ];
        let figures = figures(&entries);
        let values: Vec<_> = figures.iter().map(|figure| (figure.name.as_str(), figure.value, figure.target)).collect();
        let expected = [
            ("java-pool, pool of 8: without links, per request", 10.0, Target::None),
            ("java-pool, pool of 8: more with links", 10.0, Target::AtMost(LIMIT_US)),
        ];
        assert_eq!(values, expected);
    }
}
