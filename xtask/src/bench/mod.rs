//! `cargo xtask bench`: one file per bench; `figure` says what a figure and its target are, `interleave` how runs with and
//! without the agent alternate, `document` how `docs/performance.md` is written; the other files hold what benches share.

mod bulk;
mod burst;
mod churn;
mod client;
mod divan;
mod document;
mod exchange;
mod figure;
mod fixed;
mod interleave;
mod kernel;
mod links;
mod memory;
mod nginx;
mod paced;
mod peers;
mod plane;
mod redis;
mod sink;
mod spans;
mod statistics;
mod unrelated;
mod user_space;

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::bed::machine::Machine;
use crate::bed::parts::Parts;
use crate::bench::document::Part;
use crate::bench::figure::{Figure, Verdict};
use crate::packages::{self, Program};
use crate::step::Steps;
use crate::{build, workspace};

/// A named set of figures.
struct Bench {
    name: &'static str,
    /// What it measures and how, for the document.
    about: &'static str,
    measures: fn(&mut Steps) -> Result<Vec<Figure>>,
}

/// All benches, in the order in which they run and stand in the document.
const BENCHES: &[Bench] = &[
    Bench {
        name: "kernel",
        about: "Nanoseconds per run of each kernel program (`bpf_stats`), both ends traced. Messages of each size go to and fro over one connection on loopback; \
                those called *HTTP* are read and their heads copied, the others are of a protocol that is not known (`Opaque`).",
        measures: kernel::measure,
    },
    Bench {
        name: "unrelated",
        about: "System calls that have nothing to do with TCP, beside an agent that traces everything.",
        measures: unrelated::measure,
    },
    Bench {
        name: "nginx",
        about: "nginx with one worker that serves 1 KiB, and `wrk` with one thread and 32 connections, as fast as they can. nginx is traced, `wrk` is not unless it is said, and spans are exported over OTLP. \
                The machine has little time to spare then, so an agent *as it is installed* leaves requests out (`--shed-above`); *every request read* is one that does not. \
                *Probes only* is by nginx's own processor time per request, which has all that the kernel programs add to it and nothing of what the agent does.",
        measures: nginx::measure,
    },
    Bench {
        name: "fixed",
        about: "A client that sends requests at fixed times whatever happens (open loop), over 64 connections that stay open; each answer's time counts from when its \
                request was due. Spans are exported over OTLP.",
        measures: fixed::measure,
    },
    Bench {
        name: "redis",
        about: "`SET` of 64 bytes at a fixed rate over 50 connections, both ends traced. The protocol is not known to Wirespan.",
        measures: redis::measure,
    },
    Bench {
        name: "bulk",
        about: "10 GB from one thread to another over one connection on loopback, both ends traced.",
        measures: bulk::measure,
    },
    Bench {
        name: "churn",
        about: "Connect, send a request to nginx, read the answer, close; both ends traced, spans exported over OTLP.",
        measures: churn::measure,
    },
    Bench {
        name: "burst",
        about: "Whether a burst comes through whole: 64 connections at once, 100 requests on each as fast as they are answered.",
        measures: burst::measure,
    },
    Bench {
        name: "memory",
        about: "What the agent holds: its resident memory, and its maps as the kernel accounts for them. A connection counts at each end that is traced.",
        measures: memory::measure,
    },
    Bench {
        name: "agent",
        about: "User space alone, on a log of records that is made the same each time (`cargo bench -p wirespan`; needs no rights): 64 connections, both ends on this \
                machine, so four records and two spans for a request. *To bytes* includes the encoding for OTLP, *churn* opens and closes a connection for each request. The figures are medians; \
                counting the allocations is part of the time.",
        measures: user_space::measure,
    },
    Bench {
        name: "links",
        about: "What links inside processes cost user space: recordings of the applications of [accuracy.md](accuracy.md), with up to 64 requests in flight, replayed with and without \
                them (`cargo bench -p wirespan --bench links`; needs no rights). Only the application is traced. Of a proxy's requests each makes one call, of all others four.",
        measures: links::measure,
    },
    Bench {
        name: "peers",
        about: "The same small application untraced, with OpenTelemetry's auto-instrumentation from npm, PyPI and Maven Central (traces only, otherwise as shipped), and \
                beside Wirespan, each exporting to a receiver on the same machine. At full speed: `wrk` with 16 connections. CPU (application and agent together), memory and \
                p99: 1 500 requests per second for Node, 500 for Python, 2 000 for Java. Spans at the process boundary are those of kind SERVER, CLIENT, PRODUCER and CONSUMER, Wirespan's \
                spans of connections left out.",
        measures: peers::measure,
    },
];

/// What the benches' figures are written to, below the workspace.
const DOCUMENT: &str = "docs/performance.md";

/// Programs that benches use.
const PROGRAMS: &[Program] = &[
    Program { name: "nginx", package: "nginx" },
    Program { name: "wrk", package: "wrk" },
    Program { name: "bpftool", package: "bpftool" },
    Program { name: "redis-server", package: "redis-server" },
];

/// Runs the benches of these names, all if there are none. Fails if a target was missed.
pub(crate) fn bench(names: &[String], steps: &mut Steps) -> Result<()> {
    let benches = selected(names)?;
    if !packages::is_root() {
        bail!("benches load kernel programs: run them as root");
    }
    packages::install(&packages::missing(PROGRAMS), "benches use them", steps)?;
    build::build(steps)?;
    let machine = Machine::look();
    let mut missed = Vec::new();
    let mut failed = None;
    for bench in benches {
        match measured(bench, &machine, steps) {
            Ok(figures) => missed.extend(figures.into_iter().filter(|figure| figure.verdict() == Verdict::Missed)),
            // The others take minutes and do not depend on it.
            Err(error) => {
                eprintln!("\nbench `{}` failed: {error:#}\n", bench.name);
                failed.get_or_insert(error.context(format!("bench `{}`", bench.name)));
            }
        }
    }
    if !missed.is_empty() {
        eprintln!("missed:");
        missed.iter().for_each(|figure| eprintln!("  {figure}"));
    }
    match (failed, missed.len()) {
        (Some(error), _) => Err(error),
        (None, 0) => Ok(()),
        (None, n) => bail!("targets missed: {n}"),
    }
}

/// Runs a bench, prints its figures, and writes them down.
fn measured(bench: &Bench, machine: &Machine, steps: &mut Steps) -> Result<Vec<Figure>> {
    let start = Instant::now();
    let figures = (bench.measures)(steps)?;
    let seconds = start.elapsed().as_secs();
    eprintln!("\n{}, in {seconds} s", bench.name);
    figures.iter().for_each(|figure| eprintln!("  {figure}"));
    eprintln!();
    let part = Part { name: bench.name, about: bench.about, machine, seconds, figures: &figures };
    save(&part)?;
    write_document(&part)?;
    Ok(figures)
}

fn selected(names: &[String]) -> Result<Vec<&'static Bench>> {
    let known: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no bench `{unknown}`; known: {}", known.join(", "));
    }
    Ok(BENCHES.iter().filter(|bench| names.is_empty() || names.iter().any(|name| name == bench.name)).collect())
}

/// Keeps the figures, and the machine they are of, as `target/bench/NAME.json`.
fn save(part: &Part<'_>) -> Result<()> {
    let folder = workspace::target().join("bench");
    let result = json!({
        "bench": part.name,
        "machine": part.machine.to_json(),
        "seconds": part.seconds,
        "figures": part.figures.iter().map(Figure::to_json).collect::<Vec<_>>(),
    });
    let path = folder.join(format!("{}.json", part.name));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&path, format!("{result:#}\n")))
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Puts the part into its place in the document.
fn write_document(part: &Part<'_>) -> Result<()> {
    let order: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
    let parts = Parts { head: document::HEAD, kind: "bench", order: &order };
    parts.write(&workspace::root().join(DOCUMENT), part.name, &part.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_bench_is_answered_with_the_known_ones() {
        let error = selected(&["nginx".to_owned(), "apache".to_owned()]).err().expect("an error").to_string();
        assert!(error.starts_with("there is no bench `apache`; known: kernel, unrelated, nginx, "), "{error}");
    }
}
