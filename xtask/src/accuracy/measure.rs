//! Runs a runtime's loads beside an agent, and scores its links.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::accuracy::app::App;
use crate::accuracy::plan::{Plan, Shape};
use crate::accuracy::ran::Fate;
use crate::accuracy::row::{Repeat, Row};
use crate::accuracy::runtimes::Runtime;
use crate::accuracy::score::{Truth, score};
use crate::accuracy::site::{Load, Site};
use crate::accuracy::spans;
use crate::bed::agent::Agent;
use crate::step::Steps;

/// How the times of backends are spread, repeat after repeat.
const SHAPES: [Shape; 2] = [Shape::Uniform, Shape::Exponential];

/// Which loads are run.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Requests in flight, growing.
    pub(super) levels: Vec<u32>,
    /// Loads of each level.
    pub(super) repeat: u32,
    /// Requests of each load.
    pub(super) requests: u32,
    /// How long a load may take.
    pub(super) limit: Duration,
}

/// Runs all levels of a runtime with one pool beside one agent.
pub(super) fn measure(
    runtime: &Runtime,
    pool: u32,
    pass: bool,
    settings: &Settings,
    steps: &mut Steps,
) -> Result<Vec<Row>> {
    let folder = runtime.source.installed(steps)?;
    let mut site = Site::new()?;
    let app = App::start(runtime, &folder, &mut site, pool, pass)?;
    let agent = agent(&app, &site)?;
    let mut rows: Vec<Row> = Vec::new();
    let mut truths = HashMap::new();
    let mut loads = 0;
    for &level in &settings.levels {
        let mut row = Row { runtime: runtime.name, pool, pass, level, repeats: Vec::new() };
        for (repeat, shape) in (0..settings.repeat).zip(SHAPES.into_iter().cycle()) {
            let plan = Plan::new(level, pool, runtime.calls, settings.requests, shape);
            let seed = u64::from(level) << 32 | u64::from(pool) << 16 | u64::from(repeat);
            let load = Load { server: app.listen(), plan, pass, seed, limit: settings.limit };
            let ran = site.run(&load)?;
            if let Some(peak) = ran.peak.iter().find(|peak| pool > 0 && **peak > pool as usize) {
                bail!("tests/apps/{} had {peak} connections to a backend, with a pool of {pool}", runtime.name);
            }
            let answered = ran.requests.iter().filter(|request| request.fate == Fate::Answered);
            truths.extend(answered.map(|request| (request.token, Truth { load: loads, sent: request.parent })));
            row.repeats.push(Repeat::of(&ran));
            loads += 1;
            if ran.answered() == 0 || ran.unanswered() > 0 {
                let why = ran.failure().unwrap_or("nothing came within the limit");
                eprintln!(
                    "{row}: {} of {} requests answered, {why}; more is not tried. It said: {}",
                    ran.answered(),
                    ran.requests.len(),
                    app.said()
                );
                rows.push(row);
                return finish(runtime, agent, rows, &truths, loads);
            }
        }
        rows.push(row);
    }
    finish(runtime, agent, rows, &truths, loads)
}

/// An agent that traces the connections of a model, and not who asks it or is called by it.
fn agent(app: &App, site: &Site) -> Result<Agent> {
    let ourselves = format!("pid:{}", std::process::id());
    let ports = app.ports(site.backends()?);
    let mut arguments = vec!["--format", "json", "--connections", "off", "--except", &ourselves];
    arguments.extend(ports.iter().flat_map(|port| ["--only", port]));
    Agent::start(&arguments, &[])
}

/// Ends the agent, and gives each load its score.
fn finish(
    runtime: &Runtime,
    agent: Agent,
    mut rows: Vec<Row>,
    truths: &HashMap<crate::accuracy::token::Token, Truth>,
    loads: usize,
) -> Result<Vec<Row>> {
    let remains = agent.stop()?;
    let spans = spans::read(&remains.spans).context("the spans cannot be judged")?;
    let (scores, tokenless) = score(&spans, truths, runtime.calls, loads);
    for (repeat, score) in rows.iter_mut().flat_map(|row| &mut row.repeats).zip(scores) {
        repeat.score = score;
    }
    if tokenless > 0 || remains.records.lost > 0 {
        eprintln!("{}: {tokenless} spans without a token, {} records lost", runtime.name, remains.records.lost);
    }
    Ok(rows)
}
