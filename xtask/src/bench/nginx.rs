//! What tracing costs nginx at full speed.

use std::time::Duration;

use anyhow::Result;

use crate::bed::cpu::Watch;
use crate::bed::server::{Server, wrk};
use crate::bench::figure::{Figure, Target, as_f64};
use crate::bench::interleave::{Measured, Variant, interleaved};
use crate::bench::sink::Sink;
use crate::bench::statistics::{Aba, over};
use crate::step::Steps;

/// Runs with each variant.
const ROUNDS: usize = 6;

/// Length of a run.
const RUN: Duration = Duration::from_secs(3);

/// Of full speed before it: as long as the agent takes to notice that the machine has no time to spare.
const WARM_UP: Duration = Duration::from_secs(2);

/// What the agent is if nothing is said.
const SPARING: &str = "as it is installed";

/// Connections of `wrk`: enough to keep one worker busy.
const CONNECTIONS: u32 = 32;

/// Per cent of requests that the probes alone may cost.
const LIMIT_PROBES_PERCENT: f64 = 5.0;

/// Per cent of requests that the whole agent may cost, with export.
const LIMIT_PERCENT: f64 = 8.0;

/// A run at full speed.
#[derive(Clone, Copy, Debug)]
struct Run {
    requests: u64,
    per_second: f64,
    /// Processor time of nginx.
    server_seconds: f64,
}

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let nginx = Server::nginx()?;
    let sink = Sink::start()?;
    let url = format!("http://{}/", nginx.address());
    let only = nginx.selector();
    let server_only = ["--only", &only, "--except", "exe:wrk"];
    let variants = [
        Variant::sparing(SPARING, &server_only).with_environment(&sink.environment()),
        Variant::new("every request read", &server_only).with_environment(&sink.environment()),
        Variant::new("every request read, wrk traced too", &["--only", &only]).with_environment(&sink.environment()),
    ];
    let measured = interleaved("nginx at full speed", ROUNDS, &variants, steps, || {
        wrk(&url, CONNECTIONS, WARM_UP, &[])?;
        let watch = Watch::of(&[nginx.worker()?])?;
        let (requests, per_second) = wrk(&url, CONNECTIONS, RUN, &[])?;
        let server_seconds = watch.seconds()?;
        Ok(Run { requests, per_second, server_seconds })
    })?;
    let rates = measured.iter().flatten().map(|aba| aba.before.load.per_second).collect::<Vec<_>>();
    let mut figures = vec![
        Figure::spread(
            "requests per second without the agent",
            crate::bench::statistics::Spread::of(&rates),
            "/s",
            Target::None,
        ),
        // What the probes add to nginx's own time, whatever else runs on the machine.
        Figure::spread(
            "fewer requests per second of nginx's processor time: probes only",
            over(&measured[1], |aba| fewer(aba, |run| as_f64(run.load.requests) / run.load.server_seconds)),
            "%",
            Target::AtMost(LIMIT_PROBES_PERCENT),
        ),
    ];
    for (variant, measured) in variants.iter().zip(&measured) {
        let is_sparing = variant.name == SPARING;
        let target = if is_sparing { Target::AtMost(LIMIT_PERCENT) } else { Target::None };
        let fewer = over(measured, |aba| fewer(aba, |run| run.load.per_second));
        figures.push(Figure::spread(format!("fewer requests per second: {}", variant.name), fewer, "%", target));
        if is_sparing {
            let shed = over(measured, Aba::shed_percent);
            figures.push(Figure::spread(format!("requests left out, and counted: {SPARING}"), shed, "%", Target::None));
        }
    }
    let lost = measured.iter().flatten().map(Aba::lost).sum();
    figures.push(Figure::count("records lost in all runs", lost, Target::None));
    Ok(figures)
}

fn fewer(aba: &Aba<Measured<Run>>, rate: impl Fn(&Measured<Run>) -> f64) -> f64 {
    -aba.more_percent(rate)
}
