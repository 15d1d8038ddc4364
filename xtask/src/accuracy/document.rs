//! `docs/accuracy.md`: a part per runtime, and one for how sure the links of all of them are.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use crate::accuracy::calibration::Calibration;
use crate::accuracy::row::{COLUMNS, Row};
use crate::accuracy::runtimes::{RUNTIMES, Runtime};
use crate::accuracy::table;
use crate::bed::machine::Machine;
use crate::bed::parts::Parts;

/// The part about all runtimes together.
const ALL: &str = "calibration";

/// What the document starts with if it is not there yet.
const HEAD: &str = "\
# Accuracy of links

Written by `cargo xtask accuracy [RUNTIME...]`, as root. Each runtime has its own part, with what it ran on; text outside of the marks stays.

Each runtime's model application (`tests/apps/NAME`) is asked for `/work/TOKEN`. It calls `/a/TOKEN` at a first backend, computes for 50 to 100 microseconds, calls
`/b/TOKEN` at a second one, then `/c/TOKEN` and `/d/TOKEN` at both at the same time, and answers: HTTP/1.1 on connections that stay open, no header of any kind in common.
Requests arrive whatever the answers do (open loop), independently of each other; backends take a random time for each call, which is chosen so that as many requests are in flight
as the row says (*reached* is how many were, on average). Where a pool of connections would be too small for that it is always full, and requests that arrive
while as many are in flight as shall be do not come in. Each row is the sum of its repeats: of every two, one has backends' times between half of the mean and one and a half of it, the other
exponentially distributed ones. One agent sees all rows of a pool, in the order of the table, and nothing before; what it makes
of the very first requests is a row of its own (*first*), without a target. It does not trace the clients and the backends.

The truth is the token, which is different for each request and stands only in paths, where links are never looked for. Per cent are of the calls that must have been made:

- *right*: the call's span is below the span of its own request;
- *wrong*: it is below another one;
- *abstained*: it has no parent in the process;
- *lost*: there is no span of the call or of its request.

A *whole trace* is a request with all its calls right. *Target*: whether as many are right, and as few wrong, as shall be:

| | wrong | right with up to 16 in flight | with up to 64 |
|---|---:|---:|---:|
| c-threads, c-epoll, nginx, apache, python-threads, java-pool, haproxy | ≤ 0.5 % | ≥ 99 % | ≥ 99 % |
| go | ≤ 0.1 % | ≥ 99.5 % | ≥ 99.5 % |
| node | ≤ 0.5 % | ≥ 98 % | ≥ 95 % |
| all others | ≤ 0.5 % | ≥ 95 % | ≥ 85 % |
| with `traceparent` passed on | 0 | 100 % | 100 % |

With more than 64 in flight, and on a *busy machine*, only wrong links count. On a busy machine a thread for each processor computes most of the time, so that others do not run when they could, nor
in the order in which they were woken. *Links by* says how many links each kind of evidence gave (`wirespan.link.method`). How sure the links say to be (`wirespan.link.confidence`)
and how many of them are right stands at the end.
";

/// Writes the part of a runtime.
pub(super) fn write(path: &Path, runtime: &Runtime, rows: &[Row], machine: &Machine, seconds: u64) -> Result<()> {
    parts(|parts| parts.write(path, runtime.name, &part(runtime.name, runtime.about, rows, machine, seconds)))
}

/// Writes the part about all runtimes.
pub(super) fn write_calibration(path: &Path, calibration: &Calibration, machine: &Machine) -> Result<()> {
    parts(|parts| parts.write(path, ALL, &calibration_part(calibration, machine)))
}

fn parts<T>(does: impl FnOnce(&Parts<'_>) -> T) -> T {
    let order: Vec<_> = RUNTIMES.iter().map(|runtime| runtime.name).chain([ALL]).collect();
    does(&Parts { head: HEAD, kind: "accuracy", order: &order })
}

fn part(name: &str, about: &str, rows: &[Row], machine: &Machine, seconds: u64) -> String {
    let mut text = format!("## {name}\n\n{about}\n\n| connections | in flight | {} |\n", COLUMNS.join(" | "));
    let _ = writeln!(text, "|---|{}---|", "---:|".repeat(COLUMNS.len()));
    for row in rows {
        let cells = table::names(row).into_iter().chain(row.cells());
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    let _ = writeln!(text, "\n{} It took {seconds} s.", machine.line());
    text
}

fn calibration_part(calibration: &Calibration, machine: &Machine) -> String {
    let mut text = "## How sure the links are\n\nAll runtimes, all levels.\n\n".to_owned();
    text.push_str("| confidence | links | right |\n|---|---:|---:|\n");
    for bucket in calibration.buckets() {
        let (from, to, share) = (bucket.from, bucket.to, bucket.share() * 100.0);
        let _ = writeln!(text, "| {from:.2} to {to:.2} | {} | {share:.2} % |", bucket.links());
    }
    let _ = writeln!(text, "\n{}", machine.line());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::condition::Condition;

    #[test]
    fn a_part_has_a_row_for_each_level() {
        let machine = Machine {
            processor: "CPU".to_owned(),
            cpus: 2,
            memory_mib: 1024,
            kernel: "6.18".to_owned(),
            load: "0.1".to_owned(),
            commit: "abc".to_owned(),
            day: "2026-11-20".to_owned(),
        };
        let row = |condition| Row {
            runtime: "go",
            pool: 8,
            condition,
            level: 4,
            is_cold: false,
            is_thinned: false,
            repeats: Vec::new(),
            accepted: [None; 2],
        };
        let text = part("go", "Go.", &[row(Condition::Plain), row(Condition::Traceparent)], &machine, 9);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[4].split('|').count(), lines[5].split('|').count(), "{text}");
        assert!(lines[6].starts_with("| pool of 8 | 4 | "), "{text}");
        assert!(lines[7].starts_with("| pool of 8, `traceparent` passed on | 4 | "), "{text}");
        assert!(
            text.ends_with("commit abc, Linux 6.18, 2 CPUs (CPU), 1 GiB, load before 0.1. It took 9 s.\n"),
            "{text}"
        );
    }

    #[test]
    fn every_runtime_has_a_name_and_a_folder_of_its_own() {
        for (at, runtime) in RUNTIMES.iter().enumerate() {
            assert!(RUNTIMES[..at].iter().all(|other| other.name != runtime.name), "{}", runtime.name);
            assert_eq!(runtime.source.folder, format!("tests/apps/{}", runtime.name));
            assert!(!runtime.pools.is_empty() && runtime.calls.is_sorted(), "{}", runtime.name);
        }
    }
}
