//! `cargo xtask bench`: one file per bench; `figure` says what a figure and its target are, the other files hold what
//! benches share. Ratios are of interleaved runs, so that a machine that slows down meanwhile does not decide.

mod agent;
mod burst;
mod client;
mod figure;
mod fixed;
mod kernel;
mod memory;
mod nginx;
mod plane;
mod server;
mod sink;

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::bench::figure::{Figure, Verdict};
use crate::packages::{self, Program};
use crate::step::Steps;
use crate::{build, workspace};

/// A named set of figures.
struct Bench {
    name: &'static str,
    measures: fn(&mut Steps) -> Result<Vec<Figure>>,
}

/// All benches, in the order in which they run.
const BENCHES: &[Bench] = &[
    Bench { name: "nginx", measures: nginx::measure },
    Bench { name: "fixed", measures: fixed::measure },
    Bench { name: "burst", measures: burst::measure },
    Bench { name: "kernel", measures: kernel::measure },
    Bench { name: "memory", measures: memory::measure },
];

/// Programs that benches use.
const PROGRAMS: &[Program] = &[
    Program { name: "nginx", package: "nginx" },
    Program { name: "wrk", package: "wrk" },
    Program { name: "bpftool", package: "bpftool" },
];

/// Runs the benches of these names, all if there are none. Fails if a target was missed.
pub(crate) fn bench(names: &[String], steps: &mut Steps) -> Result<()> {
    let benches = selected(names)?;
    if !packages::is_root() {
        bail!("benches load kernel programs: run them as root");
    }
    packages::install(&packages::missing(PROGRAMS), "benches use them", steps)?;
    build::build(steps)?;
    let mut missed = 0;
    for bench in benches {
        let figures = (bench.measures)(steps).with_context(|| format!("bench `{}`", bench.name))?;
        eprintln!("\n{}", bench.name);
        figures.iter().for_each(|figure| eprintln!("  {figure}"));
        eprintln!();
        save(bench.name, &figures)?;
        missed += figures.iter().filter(|figure| figure.verdict() == Verdict::Missed).count();
    }
    match missed {
        0 => Ok(()),
        n => bail!("targets missed: {n}"),
    }
}

fn selected(names: &[String]) -> Result<Vec<&'static Bench>> {
    let known: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no bench `{unknown}`; known: {}", known.join(", "));
    }
    Ok(BENCHES.iter().filter(|bench| names.is_empty() || names.iter().any(|name| name == bench.name)).collect())
}

/// Keeps the figures, and the machine they are of, as `target/bench/NAME.json`.
fn save(name: &str, figures: &[Figure]) -> Result<()> {
    let folder = workspace::target().join("bench");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let result = json!({
        "bench": name,
        "kernel": kernel.trim(),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "figures": figures.iter().map(Figure::to_json).collect::<Vec<_>>(),
    });
    let path = folder.join(format!("{name}.json"));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&path, format!("{result:#}\n")))
        .with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_bench_is_answered_with_the_known_ones() {
        let error = selected(&["nginx".to_owned(), "apache".to_owned()]).err().expect("an error").to_string();
        assert_eq!(error, "there is no bench `apache`; known: nginx, fixed, burst, kernel, memory");
    }
}
