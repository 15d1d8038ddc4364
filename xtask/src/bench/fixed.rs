//! What the agent costs under a fixed load, both ends traced, its spans exported.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::bed::cpu::Watch;
use crate::bed::server::Server;
use crate::bench::figure::{Figure, Target, as_f64};
use crate::bench::interleave::{Measured, Variant, interleaved};
use crate::bench::paced::{Load, Paced};
use crate::bench::sink::Sink;
use crate::bench::statistics::{Aba, over};
use crate::step::Steps;

/// Connections that a load is spread over.
const CONNECTIONS: usize = 64;

/// Length of a run.
const RUN: Duration = Duration::from_secs(4);

/// Requests per second, and how many rounds.
const LOADS: [(u64, usize); 3] = [(1_000, 2), (TARGETED, 4), (20_000, 2)];

/// The load that has targets.
const TARGETED: u64 = 10_000;

/// Processors that the agent may use.
const LIMIT_CORES: f64 = 0.10;

/// What it may add to nginx's processor time, and to the time of 99 of 100 answers.
const LIMIT_PERCENT: f64 = 3.0;

/// Records of the kernel plane for a message, at one end.
const LIMIT_RECORDS: f64 = 2.0;

/// A request and its response, each seen at both ends.
const MESSAGES_AND_SIDES: f64 = 4.0;

/// A load and what it cost the server.
#[derive(Clone, Copy, Debug)]
struct Run {
    paced: Paced,
    server_seconds: f64,
}

type Measurement = Aba<Measured<Run>>;

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let nginx = Server::nginx()?;
    let sink = Sink::start()?;
    let only = nginx.selector();
    let ourselves = format!("pid:{}", std::process::id());
    let both = Variant::new("both ends traced", &["--only", &only]).with_environment(&sink.environment());
    let server = Variant::new("nginx traced, its client not", &["--only", &only, "--except", &ourselves])
        .with_environment(&sink.environment());
    let at_rest = steps.step("an agent at rest", || {
        both.beside(|| {
            thread::sleep(RUN);
            Ok(())
        })
    })?;
    let cores = at_rest.agent_seconds / RUN.as_secs_f64();
    let mut figures = vec![Figure::new("no requests: agent", cores, "cores", Target::None)];
    for (per_second, rounds) in LOADS {
        let is_targeted = per_second == TARGETED;
        let variants = if is_targeted { vec![both.clone(), server.clone()] } else { vec![both.clone()] };
        let name = format!("{per_second} requests per second");
        let load = Load::http(nginx.address(), CONNECTIONS, per_second, RUN);
        let measured = interleaved(&name, rounds, &variants, steps, || {
            let watch = Watch::of(&[nginx.worker()?])?;
            let paced = load.run()?;
            Ok(Run { paced, server_seconds: watch.seconds()? })
        })?;
        for (variant, measured) in variants.iter().zip(&measured) {
            // The harder way to trace has the targets.
            let has_targets = is_targeted && variant.name == both.name;
            figures.extend(of_load(&format!("{per_second}/s, {}", variant.name), measured, has_targets));
        }
    }
    Ok(figures)
}

fn of_load(name: &str, measured: &[Measurement], has_targets: bool) -> Vec<Figure> {
    let target = |target| if has_targets { target } else { Target::None };
    let percent = |what: &str, number: fn(&Run) -> f64, limit| {
        let more = over(measured, |aba| aba.more_percent(|run| number(&run.load)));
        Figure::spread(format!("{name}: {what}"), more, "%", limit)
    };
    let agent_cores = |aba: &Measurement| aba.with.agent_seconds / aba.with.load.paced.seconds;
    let agent_us = |aba: &Measurement| aba.with.agent_seconds * 1e6 / as_f64(aba.with.load.paced.requests);
    let server_us = |aba: &Measurement| aba.more(|run| run.load.server_seconds * 1e6 / as_f64(run.load.paced.requests));
    let p99 = over(measured, |aba| aba.before.load.paced.p99_us);
    let mut figures = vec![
        Figure::spread(
            format!("{name}: agent"),
            over(measured, agent_cores),
            "cores",
            target(Target::AtMost(LIMIT_CORES)),
        ),
        Figure::spread(format!("{name}: agent, per request"), over(measured, agent_us), "µs", Target::None),
        percent("more processor time of nginx", |run| run.server_seconds, target(Target::AtMost(LIMIT_PERCENT))),
        Figure::spread(format!("{name}: the same, per request"), over(measured, server_us), "µs", Target::None),
        percent("longer p50", |run| run.paced.p50_us, Target::None),
        percent("longer p99", |run| run.paced.p99_us, target(Target::AtMost(LIMIT_PERCENT))),
        percent("longer p99.9", |run| run.paced.p999_us, Target::None),
        Figure::spread(format!("{name}: p99 without the agent"), p99, "µs", Target::None),
    ];
    if has_targets {
        let lost = measured.iter().map(Aba::lost).sum();
        let per_message = |aba: &Measurement| {
            let observed = aba.with.records.map_or(0, |records| records.observed);
            as_f64(observed) / as_f64(aba.with.load.paced.requests) / MESSAGES_AND_SIDES
        };
        figures.push(Figure::count(format!("{name}: records lost"), lost, Target::Exactly(0)));
        figures.push(Figure::spread(
            format!("{name}: records per message and side"),
            over(measured, per_message),
            "",
            Target::AtMost(LIMIT_RECORDS),
        ));
    }
    figures
}
