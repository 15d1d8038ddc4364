//! What the agent costs under a fixed load, both ends traced, its spans exported.

use std::time::Duration;

use anyhow::Result;

use crate::bench::agent::Agent;
use crate::bench::client::paced;
use crate::bench::figure::{Figure, Target, as_f64};
use crate::bench::server::Nginx;
use crate::bench::sink::Sink;
use crate::step::Steps;

/// The load.
const REQUESTS_PER_SECOND: u64 = 10_000;

/// Connections that it is spread over: each has 6.4 ms for an answer before it is used again.
const CONNECTIONS: usize = 64;

/// For how long.
const TIME: Duration = Duration::from_secs(20);

/// Processors that the agent may use.
const LIMIT_CORES: f64 = 0.15;

/// Records of the kernel plane for a message, at one end.
const LIMIT_RECORDS: f64 = 2.0;

/// A request and its response, each seen at both ends.
const MESSAGES_AND_SIDES: f64 = 4.0;

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let nginx = Nginx::start()?;
    let sink = Sink::start()?;
    let environment = sink.environment();
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let agent = Agent::start(&["--only", &nginx.selector()], &environment)?;
    let before = agent.cpu_seconds()?;
    let say = format!("{REQUESTS_PER_SECOND} requests per second for {} s", TIME.as_secs());
    let load = steps.step(&say, || paced(nginx.address(), CONNECTIONS, REQUESTS_PER_SECOND, TIME))?;
    let cores = (agent.cpu_seconds()? - before) / load.seconds;
    let records = agent.stop()?.records;
    let sent = as_f64(load.requests);
    let per_message = as_f64(records.observed) / sent / MESSAGES_AND_SIDES;
    Ok(vec![
        Figure::new("requests per second, both ends traced", sent / load.seconds, "/s", Target::None),
        Figure::new("processor time of the agent", cores, "cores", Target::AtMost(LIMIT_CORES)),
        Figure::count("records lost", records.lost, Target::Exactly(0)),
        Figure::new("records per message and side", per_message, "", Target::AtMost(LIMIT_RECORDS)),
    ])
}
