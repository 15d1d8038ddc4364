//! Runs a runtime's loads beside an agent, or one that records, and scores its links.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::accuracy::app::App;
use crate::accuracy::plan::{Plan, Shape};
use crate::accuracy::ran::Fate;
use crate::accuracy::recording::{Case, paths};
use crate::accuracy::row::{Repeat, Row};
use crate::accuracy::runtimes::Runtime;
use crate::accuracy::score::{Truth, score};
use crate::accuracy::site::{Load, Site};
use crate::accuracy::spans;
use crate::bed::agent::Agent;
use crate::command::{command, line};
use crate::step::Steps;
use crate::workspace;

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

/// A model, and how it is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// The model.
    pub(super) runtime: &'static Runtime,
    /// Connections that it may keep; 0 is no limit.
    pub(super) pool: u32,
    /// Whether it passes `traceparent` on.
    pub(super) pass: bool,
}

impl Way {
    /// Runs all levels beside one agent.
    pub(super) fn measure(self, settings: &Settings, steps: &mut Steps) -> Result<Vec<Row>> {
        let folder = self.runtime.source.installed(steps)?;
        let mut site = Site::new()?;
        let app = App::start(self.runtime, &folder, &mut site, self.pool, self.pass)?;
        let mut arguments = selection(&app, &site)?;
        arguments.extend(["--format", "json"].map(str::to_owned));
        let agent = Agent::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[])?;
        let case = self.load(&app, &mut site, settings)?;
        let remains = agent.stop()?;
        if remains.records.lost > 0 {
            eprintln!("{}: {} records lost", self.runtime.name, remains.records.lost);
        }
        case.judged(self.runtime, &remains.spans)
    }

    /// Records all levels, and judges the replay.
    pub(super) fn record(self, into: &Path, settings: &Settings, steps: &mut Steps) -> Result<Vec<Row>> {
        let folder = self.runtime.source.installed(steps)?;
        let mut site = Site::new()?;
        let app = App::start(self.runtime, &folder, &mut site, self.pool, self.pass)?;
        let [file, truth] = paths(into, self.runtime.name, self.pool);
        let arguments = selection(&app, &site)?;
        let agent = Agent::record(&file, &arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        let case = self.load(&app, &mut site, settings)?;
        let model = app.model(site.backends()?);
        agent.stop()?;
        let recorded = fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        fs::write(&file, model.only(&recorded)?).with_context(|| format!("{} cannot be written", file.display()))?;
        case.write(&truth)?;
        self.replay(into)
    }

    /// Whether there is a recording of it.
    pub(super) fn is_recorded(self, folder: &Path) -> bool {
        paths(folder, self.runtime.name, self.pool).iter().all(|path| path.exists())
    }

    /// Judges what this agent makes of a recording.
    pub(super) fn replay(self, from: &Path) -> Result<Vec<Row>> {
        let [file, truth] = paths(from, self.runtime.name, self.pool);
        let case = Case::read(&truth, self.runtime.name)?;
        let mut replay = command(workspace::agent());
        replay.arg("replay").arg(&file).args(["--format", "json", "--connections", "off"]);
        let replayed = replay.output().context("the agent cannot be started")?;
        if !replayed.status.success() {
            bail!("`{}` failed: {}", line(&replay), String::from_utf8_lossy(&replayed.stderr).trim());
        }
        let spans = String::from_utf8(replayed.stdout).context("the agent printed something that is no text")?;
        case.judged(self.runtime, &spans)
    }

    fn load(self, app: &App, site: &mut Site, settings: &Settings) -> Result<Case> {
        let Self { runtime, pool, pass } = self;
        let mut case = Case { rows: Vec::new(), truths: HashMap::new() };
        let mut loads = 0;
        for &level in &settings.levels {
            case.rows.push(Row { runtime: runtime.name, pool, pass, level, repeats: Vec::new() });
            for (repeat, shape) in (0..settings.repeat).zip(SHAPES.into_iter().cycle()) {
                let plan = Plan::new(level, pool, runtime.calls, settings.requests, shape);
                let seed = u64::from(level) << 32 | u64::from(pool) << 16 | u64::from(repeat);
                let ran = site.run(&Load { server: app.listen(), plan, pass, seed, limit: settings.limit })?;
                if let Some(peak) = ran.peak.iter().find(|peak| pool > 0 && **peak > pool as usize) {
                    bail!("tests/apps/{} had {peak} connections to a backend, with a pool of {pool}", runtime.name);
                }
                let answered = ran.requests.iter().filter(|request| request.fate == Fate::Answered);
                case.truths
                    .extend(answered.map(|request| (request.token, Truth { load: loads, sent: request.parent })));
                loads += 1;
                let Some(row) = case.rows.last_mut() else { break };
                row.repeats.push(Repeat::of(&ran));
                if ran.answered() == 0 || ran.unanswered() > 0 {
                    let (answered, all) = (ran.answered(), ran.requests.len());
                    let why = ran.failure().unwrap_or("nothing came within the limit");
                    eprintln!(
                        "{row}: {answered} of {all} requests answered, {why}; more is not tried. It said: {}",
                        app.said()
                    );
                    return Ok(case);
                }
            }
        }
        Ok(case)
    }
}

impl Case {
    /// The loads with their scores.
    fn judged(mut self, runtime: &Runtime, spans: &str) -> Result<Vec<Row>> {
        let spans = spans::read(spans).context("the spans cannot be judged")?;
        let loads = self.rows.iter().map(|row| row.repeats.len()).sum();
        let (scores, tokenless) = score(&spans, &self.truths, runtime.calls, loads);
        for (repeat, score) in self.rows.iter_mut().flat_map(|row| &mut row.repeats).zip(scores) {
            repeat.score = score;
        }
        if tokenless > 0 {
            eprintln!("{}: {tokenless} spans without a token", runtime.name);
        }
        Ok(self.rows)
    }
}

/// Arguments of an agent that traces the connections of a model, and not who asks it or is called by it.
fn selection(app: &App, site: &Site) -> Result<Vec<String>> {
    let model = app.model(site.backends()?);
    let ports = model.listens.iter().chain(&model.calls).map(|address| format!("port:{}", address.port()));
    let ourselves = format!("pid:{}", std::process::id());
    let words = ["--connections", "off", "--except", &ourselves].map(str::to_owned);
    Ok(words.into_iter().chain(ports.flat_map(|port| ["--only".to_owned(), port])).collect())
}
