//! `cargo xtask accuracy`: how many links within processes are right, per runtime and number of requests in flight.
//!
//! `runtimes` has the application models, `site` what surrounds them, `plan` the loads, `score` the judgement; the other files hold
//! how a model runs and how it is said.

mod app;
mod busy;
mod calibration;
mod case;
mod condition;
mod document;
mod head;
mod measure;
mod plan;
mod ran;
mod recording;
mod row;
mod runtimes;
mod score;
mod scratch;
mod site;
mod spans;
mod table;
mod target;
mod token;

use std::fs;
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use crate::accuracy::calibration::{Bucket, Calibration};
use crate::accuracy::condition::Condition;
use crate::accuracy::measure::{Settings, Way};
use crate::accuracy::row::{Row, calibration_json};
use crate::accuracy::runtimes::{RUNTIMES, Runtime};
use crate::accuracy::target::Verdict;
use crate::bed::machine::Machine;
use crate::step::Steps;
use crate::{build, packages, workspace};

/// What the figures are written to, below the workspace.
const DOCUMENT: &str = "docs/accuracy.md";

/// In flight where `traceparent` is passed on: what is right there does not depend on how many.
const PASS_LEVEL: u32 = 16;

/// In flight on a busy machine.
const BUSY_LEVELS: [u32; 2] = [16, 64];

/// Requests with one in flight before all others: what the agent learns from them is a row of its own.
const FIRST: u32 = 100;

/// The levels, how often each is run, and with how many requests: a row is of 3 000 calls, of which 15 may be wrong, and all runtimes
/// take less than half an hour.
const USUAL: (&[u32], u32, u32) = (&[1, 4, 16, 64, 256], 3, 250);

/// The same of a recording, which shall be small.
const RECORDED: (&[u32], u32, u32) = (&[4, 16, 64], 1, 60);

const POOLS: [u32; 2] = [8, 0];

/// What to run, and where it is written.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Runtimes to run; an unknown name lists them. All of them if none is named.
    #[arg(value_name = "RUNTIME")]
    runtimes: Vec<String>,
    /// Requests in flight, on average [default: 1,4,16,64,256].
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    in_flight: Vec<u32>,
    /// Connections to the backends that the applications may keep; 0 is as many as they like.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = POOLS)]
    pool: Vec<u32>,
    /// Under which conditions; on a busy machine and with `traceparent` passed on with some of the levels and one pool only.
    #[arg(long, value_name = "CONDITION", value_delimiter = ',', default_values_t = Condition::ALL, value_enum)]
    condition: Vec<Condition>,
    /// How often each level is run [default: 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: Option<u32>,
    /// Requests of each level and repeat [default: 250].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    requests: Option<u32>,
    /// End a load after so many seconds, whatever is still missing.
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Save a recording of each runtime and pool into this folder, to be judged again with --replay: 100 first ones
    /// and 60 each with 4, 16 and 64 in flight, on a busy machine with 16 and 64, unless it is said otherwise.
    #[arg(long, value_name = "DIR", conflicts_with = "replay")]
    record: Option<PathBuf>,
    /// Judge what the agent makes of the recordings in this folder, against what was accepted; needs no rights, and takes
    /// seconds.
    #[arg(long, value_name = "DIR")]
    replay: Option<PathBuf>,
    /// Accept what the replays come to: later ones are held against it.
    #[arg(long, requires = "replay")]
    accept: bool,
    /// Print JSON lines to standard output instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs the runtimes.
pub(crate) fn accuracy(arguments: &Arguments, steps: &mut Steps) -> Result<()> {
    let runtimes = selected(&arguments.runtimes)?;
    if arguments.replay.is_none() && !packages::is_root() {
        bail!("links are looked for in what kernel programs see: run it as root");
    }
    build::build(steps)?;
    let machine = Machine::look();
    let mut calibration = Calibration::default();
    let mut failed = Vec::new();
    let mut missed = Vec::new();
    for runtime in runtimes.iter().copied() {
        let start = Instant::now();
        match arguments.run(runtime, steps) {
            Ok(rows) => {
                rows.iter().for_each(|row| calibration += &row.score().calibration);
                missed.extend(rows.iter().filter(|row| arguments.is_missed(row)).map(Row::to_string));
                if arguments.is_usual() {
                    let path = workspace::root().join(DOCUMENT);
                    document::write(&path, runtime, &rows, &machine, start.elapsed().as_secs())?;
                }
            }
            // The others take minutes and do not depend on it.
            Err(error) => {
                eprintln!("\n{} failed: {error:#}\n", runtime.name);
                failed.push(runtime.name);
            }
        }
    }
    arguments.say_calibration(&calibration)?;
    if arguments.is_usual() && failed.is_empty() && runtimes.len() == RUNTIMES.len() {
        document::write_calibration(&workspace::root().join(DOCUMENT), &calibration, &machine)?;
    }
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    let overstated = calibration.buckets().find(Bucket::is_overstated);
    if let Some(Bucket { from, to, right, wrong }) = overstated {
        bail!("links say that they are surer than they are: from {from} to {to} {right} are right and {wrong} wrong");
    }
    if !missed.is_empty() {
        let what = if arguments.replay.is_some() { "worse than what was accepted" } else { "targets missed" };
        bail!("{what}: {}\n  {}", missed.len(), missed.join("\n  "));
    }
    Ok(())
}

/// Judges what the agent makes of the recordings in a folder, against what was accepted.
pub(crate) fn replay(folder: &Path, steps: &mut Steps) -> Result<()> {
    let arguments = Arguments {
        runtimes: Vec::new(),
        in_flight: Vec::new(),
        pool: POOLS.to_vec(),
        condition: vec![Condition::Plain, Condition::Busy],
        repeat: None,
        requests: None,
        seconds: 120,
        record: None,
        replay: Some(folder.to_owned()),
        accept: false,
        json: false,
    };
    accuracy(&arguments, steps)
}

impl Arguments {
    /// Whether applications are run, and not only what was recorded of them.
    pub(crate) fn puts_loads(&self) -> bool {
        self.replay.is_none()
    }

    /// Runs all loads of a runtime, or replays them, and says what they came to.
    fn run(&self, runtime: &'static Runtime, steps: &mut Steps) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for way in self.ways(runtime) {
            let measured = match (&self.record, &self.replay) {
                // Who names no runtime means those that were recorded.
                (_, Some(folder)) if self.runtimes.is_empty() && !way.files(folder).exist() => continue,
                (_, Some(folder)) => way.replay(folder, self.accept)?,
                (Some(folder), None) => {
                    let made = fs::create_dir_all(folder);
                    made.with_context(|| format!("{} cannot be made", folder.display()))?;
                    way.record(folder, &self.settings(way.condition), steps)?
                }
                (None, None) => way.measure(&self.settings(way.condition), steps)?,
            };
            if rows.is_empty() && !self.json {
                say(&format!("\n{}", table::head()))?;
            }
            for row in &measured {
                if self.json {
                    row.to_json().try_for_each(|object| say(&object.to_string()))?;
                } else {
                    say(&table::row(row))?;
                }
            }
            rows.extend(measured);
        }
        Ok(rows)
    }

    fn settings(&self, condition: Condition) -> Settings {
        let (levels, repeat, requests) = if self.record.is_some() { RECORDED } else { USUAL };
        let mut levels = match condition {
            Condition::Traceparent => vec![PASS_LEVEL],
            _ if !self.in_flight.is_empty() => self.in_flight.clone(),
            Condition::Busy => BUSY_LEVELS.to_vec(),
            Condition::Plain => levels.to_vec(),
        };
        levels.sort_unstable();
        levels.dedup();
        Settings {
            first: FIRST,
            levels,
            repeat: self.repeat.unwrap_or(repeat),
            requests: self.requests.unwrap_or(requests),
            limit: Duration::from_secs(self.seconds),
        }
    }

    /// The pools of a runtime, the first once more on a busy machine, and the last with `traceparent` passed on, which is not recorded.
    fn ways(&self, runtime: &'static Runtime) -> Vec<Way> {
        let mut pools: Vec<_> = self.pool.iter().copied().filter(|pool| runtime.pools.contains(pool)).collect();
        if pools.is_empty() {
            // Its clients know no such limit: it has the pools that it has.
            pools = runtime.pools.to_vec();
        }
        let is_recording = self.record.is_some() || self.replay.is_some();
        let mut ways = Vec::new();
        let mut add = |condition, pools: &[u32]| {
            if self.condition.contains(&condition) {
                ways.extend(pools.iter().map(|&pool| Way { runtime, pool, condition }));
            }
        };
        add(Condition::Plain, &pools);
        add(Condition::Busy, &pools[..pools.len().min(1)]);
        if !is_recording {
            add(Condition::Traceparent, &pools[pools.len().saturating_sub(1)..]);
        }
        ways
    }

    /// Whether these are the loads that the document is about.
    fn is_usual(&self) -> bool {
        self.record.is_none()
            && self.replay.is_none()
            && self.in_flight.is_empty()
            && (&self.pool[..], &self.condition[..]) == (&POOLS, &Condition::ALL)
            && self.repeat.is_none_or(|repeat| repeat >= USUAL.1)
            && self.requests.is_none_or(|requests| requests >= USUAL.2)
    }

    /// Whether a row is a failure. A recording is too small to be held against the target.
    fn is_missed(&self, row: &Row) -> bool {
        match (&self.record, &self.replay) {
            (Some(_), _) => false,
            (None, Some(_)) => row.accepted().is_some_and(|accepted| !accepted.is_kept(row)),
            (None, None) => Verdict::of(row) == Verdict::Missed,
        }
    }

    fn say_calibration(&self, calibration: &Calibration) -> Result<()> {
        if self.json {
            return say(&json!({"calibration": calibration_json(calibration)}).to_string());
        }
        let lines = table::calibration(calibration);
        if lines.is_empty() {
            return Ok(());
        }
        say("\nlinks by how sure they are")?;
        lines.iter().try_for_each(|line| say(&format!("  {line}")))
    }
}

fn selected(names: &[String]) -> Result<Vec<&'static Runtime>> {
    let known: Vec<_> = RUNTIMES.iter().map(|runtime| runtime.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no runtime `{unknown}`; known: {}", known.join(", "));
    }
    Ok(RUNTIMES.iter().filter(|runtime| names.is_empty() || names.iter().any(|name| name == runtime.name)).collect())
}

fn say(line: &str) -> Result<()> {
    writeln!(stdout(), "{line}").context("standard output cannot be written")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn an_unknown_runtime_is_answered_with_the_known_ones() {
        let error = selected(&["c-threads".to_owned(), "cobol".to_owned()]).expect_err("an error").to_string();
        assert!(error.starts_with("there is no runtime `cobol`; known: c-threads, "), "{error}");
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(line: &str) -> Arguments {
        Line::parse_from(["accuracy"].into_iter().chain(line.split_whitespace())).arguments
    }

    #[test]
    fn a_runtime_runs_with_the_pools_that_it_has() {
        let ways = |line, name: &str| {
            let runtime = RUNTIMES.iter().find(|runtime| runtime.name == name).unwrap();
            arguments(line).ways(runtime).iter().map(|way| (way.pool, way.condition.short())).collect::<Vec<_>>()
        };
        assert_eq!(ways("", "go"), [(8, ""), (0, ""), (8, "busy"), (0, "tp")]);
        assert_eq!(ways("--pool 8 --condition plain", "go"), [(8, "")]);
        assert_eq!(ways("--pool 8", "nginx"), [(0, ""), (0, "busy"), (0, "tp")]);
        assert_eq!(ways("--replay somewhere", "go"), [(8, ""), (0, ""), (8, "busy")]);
    }

    #[test]
    fn only_a_run_of_everything_usual_is_for_the_document() {
        assert!(arguments("").is_usual() && arguments("go --repeat 4 --seconds 60").is_usual());
        for line in [
            "--in-flight 1",
            "--pool 8",
            "--condition plain",
            "--repeat 1",
            "--requests 10",
            "--record x",
            "--replay x",
        ] {
            assert!(!arguments(line).is_usual(), "{line}");
        }
    }

    #[test]
    fn levels_grow_and_a_header_is_passed_on_at_one_of_them() {
        let given = arguments("--in-flight 64,1,64");
        let levels = Condition::ALL.map(|condition| given.settings(condition).levels);
        assert_eq!(levels, [vec![1, 64], vec![1, 64], vec![PASS_LEVEL]]);
        assert_eq!(arguments("").settings(Condition::Busy).levels, BUSY_LEVELS);
        assert_eq!(arguments("--record x").settings(Condition::Plain).requests, RECORDED.2);
    }
}
