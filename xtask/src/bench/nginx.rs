//! What tracing costs nginx at full speed.

use std::time::Duration;

use anyhow::Result;

use crate::bench::agent::Agent;
use crate::bench::figure::{Figure, Target, median};
use crate::bench::server::{Nginx, wrk};
use crate::step::Steps;

/// Pairs of a run without the agent and one with it.
const PAIRS: usize = 5;

/// Length of a run.
const RUN: Duration = Duration::from_secs(5);

/// Connections of `wrk`: enough to keep one worker busy.
const CONNECTIONS: u32 = 32;

/// Per cent of requests per second that tracing nginx alone may cost.
const LIMIT_PERCENT: f64 = 8.0;

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let nginx = Nginx::start()?;
    let url = format!("http://{}/", nginx.address());
    let only = nginx.selector();
    let server = pairs(&url, &["--only", &only, "--except", "exe:wrk"], "nginx traced, wrk not", steps)?;
    let both = pairs(&url, &["--only", &only], "nginx and wrk traced", steps)?;
    Ok(vec![
        Figure::new("requests per second without the agent, median", server.without, "/s", Target::None),
        Figure::new(
            "fewer with nginx traced, median of the pairs",
            server.loss_percent,
            "%",
            Target::AtMost(LIMIT_PERCENT),
        ),
        Figure::new("fewer with nginx and wrk traced, median of the pairs", both.loss_percent, "%", Target::None),
    ])
}

/// What pairs of runs come to.
struct Pairs {
    without: f64,
    loss_percent: f64,
}

fn pairs(url: &str, arguments: &[&str], name: &str, steps: &mut Steps) -> Result<Pairs> {
    let without = || wrk(url, CONNECTIONS, RUN, &[]);
    let with = || {
        let agent = Agent::start(arguments, &[])?;
        let rate = wrk(url, CONNECTIONS, RUN, &[])?;
        agent.stop().map(|_| rate)
    };
    let mut rates = Vec::new();
    for pair in 0..PAIRS {
        steps.quiet(name, || {
            // Every other pair the other way round: what the first of two runs has in advance cancels out.
            let (plain, traced) = if pair % 2 == 0 {
                let plain = without()?;
                (plain, with()?)
            } else {
                let traced = with()?;
                (without()?, traced)
            };
            eprintln!("    {name}, pair {} of {PAIRS}: {plain:.0}/s without, {traced:.0}/s with", pair + 1);
            rates.push((plain, traced));
            Ok(())
        })?;
    }
    let ratios: Vec<_> = rates.iter().map(|(plain, traced)| traced / plain).collect();
    let plain: Vec<_> = rates.iter().map(|(plain, _)| *plain).collect();
    Ok(Pairs { without: median(&plain), loss_percent: (1.0 - median(&ratios)) * 100.0 })
}
