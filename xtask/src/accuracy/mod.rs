//! `cargo xtask accuracy`: how many links within processes are right, per runtime and number of requests in flight.
//!
//! `runtimes` has the application models, `site` what surrounds them, `plan` the loads, `score` the judgement; the other files hold
//! how a model runs and how it is said.

mod app;
mod calibration;
mod document;
mod head;
mod measure;
mod plan;
mod ran;
mod row;
mod runtimes;
mod score;
mod site;
mod spans;
mod table;
mod token;

use std::io::{Write as _, stdout};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::accuracy::calibration::Calibration;
use crate::accuracy::measure::Settings;
use crate::accuracy::row::{Row, calibration_json};
use crate::accuracy::runtimes::{RUNTIMES, Runtime};
use crate::bed::machine::Machine;
use crate::step::Steps;
use crate::{build, packages, workspace};

/// What the figures are written to, below the workspace.
const DOCUMENT: &str = "docs/accuracy.md";

/// In flight where `traceparent` is passed on: what is right there does not depend on how many.
const PASS_LEVEL: u32 = 16;

const LEVELS: [u32; 5] = [1, 4, 16, 64, 256];
const POOLS: [u32; 2] = [8, 0];
const PASSES: [Pass; 2] = [Pass::None, Pass::Traceparent];
const REPEAT: u32 = 3;
const REQUESTS: u32 = 600;

/// What to run, and where it is written.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Runtimes to run; an unknown name lists them. All of them if none is named.
    #[arg(value_name = "RUNTIME")]
    runtimes: Vec<String>,
    /// Requests in flight, on average.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = LEVELS, value_parser = clap::value_parser!(u32).range(1..=1024))]
    in_flight: Vec<u32>,
    /// Connections to the backends that the applications may keep; 0 is as many as they like.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = POOLS)]
    pool: Vec<u32>,
    /// Headers that come in and are passed on by the applications; with `traceparent` at one level only.
    #[arg(long, value_name = "HEADER", value_delimiter = ',', default_values_t = PASSES, value_enum)]
    pass: Vec<Pass>,
    /// How often each level is run.
    #[arg(long, value_name = "N", default_value_t = REPEAT, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Requests of each level and repeat.
    #[arg(long, value_name = "N", default_value_t = REQUESTS, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    requests: u32,
    /// End a load after so many seconds, whatever is still missing.
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Print JSON lines to standard output instead of a table.
    #[arg(long)]
    json: bool,
}

/// A header that applications pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pass {
    None,
    Traceparent,
}

/// Runs the runtimes.
pub(crate) fn accuracy(arguments: &Arguments, steps: &mut Steps) -> Result<()> {
    let runtimes = selected(&arguments.runtimes)?;
    if !packages::is_root() {
        bail!("links are looked for in what kernel programs see: run it as root");
    }
    build::build(steps)?;
    let machine = Machine::look();
    let mut calibration = Calibration::default();
    let mut failed = Vec::new();
    for runtime in &runtimes {
        let start = Instant::now();
        match arguments.run(runtime, steps) {
            Ok(rows) => {
                rows.iter().for_each(|row| calibration += &row.score().calibration);
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
    if failed.is_empty() { Ok(()) } else { bail!("not measured: {}", failed.join(", ")) }
}

impl Arguments {
    /// Runs all loads of a runtime, and says what they came to.
    fn run(&self, runtime: &Runtime, steps: &mut Steps) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (pool, pass) in self.ways(runtime) {
            let mut levels = if pass { vec![PASS_LEVEL] } else { self.in_flight.clone() };
            levels.sort_unstable();
            levels.dedup();
            let limit = Duration::from_secs(self.seconds);
            let settings = Settings { levels, repeat: self.repeat, requests: self.requests, limit };
            let measured = measure::measure(runtime, pool, pass, &settings, steps)?;
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

    /// Pools of a runtime, and whether `traceparent` is passed on: that is run with one of them.
    fn ways(&self, runtime: &Runtime) -> Vec<(u32, bool)> {
        let pools: Vec<_> = self.pool.iter().copied().filter(|pool| runtime.pools.contains(pool)).collect();
        let mut ways = Vec::new();
        if self.pass.contains(&Pass::None) {
            ways.extend(pools.iter().map(|pool| (*pool, false)));
        }
        if self.pass.contains(&Pass::Traceparent) {
            ways.extend(pools.last().map(|pool| (*pool, true)));
        }
        ways
    }

    /// Whether these are the loads that the document is about.
    fn is_usual(&self) -> bool {
        (&self.in_flight[..], &self.pool[..], &self.pass[..]) == (&LEVELS, &POOLS, &PASSES)
            && self.repeat >= REPEAT
            && self.requests >= REQUESTS
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
    use super::*;

    #[test]
    fn an_unknown_runtime_is_answered_with_the_known_ones() {
        let error = selected(&["c-threads".to_owned(), "cobol".to_owned()]).err().expect("an error").to_string();
        assert!(error.starts_with("there is no runtime `cobol`; known: c-threads, "), "{error}");
    }
}
