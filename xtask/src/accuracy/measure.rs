//! Runs a runtime's loads beside an agent, or one that records, and scores its links.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::accuracy::app::App;
use crate::accuracy::busy::Busy;
use crate::accuracy::case::{Case, Files};
use crate::accuracy::condition::Condition;
use crate::accuracy::plan::{Plan, Shape};
use crate::accuracy::ran::{Fate, Request};
use crate::accuracy::recording;
use crate::accuracy::row::{Repeat, Row};
use crate::accuracy::runtimes::Runtime;
use crate::accuracy::score::{Truth, score};
use crate::accuracy::scratch::Scratch;
use crate::accuracy::site::{Load, Site};
use crate::accuracy::spans;
use crate::accuracy::target::Accepted;
use crate::bed::agent::Agent;
use crate::command::{command, line};
use crate::step::Steps;
use crate::workspace;

/// How the times of backends are spread, repeat after repeat.
const SHAPES: [Shape; 2] = [Shape::Uniform, Shape::Exponential];

/// Of each recording so many are made with one record in [`ONE_IN`] left out.
const THINNED: u64 = 5;
/// See [`THINNED`].
const ONE_IN: u64 = 200;

/// Which loads are run.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Requests with one in flight before everything else, from which the agent can learn; 0 for none.
    pub(super) first: u32,
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
    /// Under which condition.
    pub(super) condition: Condition,
}

impl Way {
    /// Runs all levels beside one agent.
    pub(super) fn measure(self, settings: &Settings, steps: &mut Steps) -> Result<Vec<Row>> {
        let folder = self.runtime.source.installed(steps)?;
        let mut site = Site::new()?;
        let app = App::start(self.runtime, &folder, &mut site, self.pool, self.condition.passes())?;
        let mut arguments = selection(&app, &site)?;
        arguments.extend(["--format", "json"].map(str::to_owned));
        let agent = Agent::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[])?;
        let case = Loads::new(self, &app, &mut site, settings).run()?;
        let remains = agent.stop()?;
        if remains.records.lost > 0 {
            eprintln!("{}: {} records lost", self.runtime.name, remains.records.lost);
        }
        Ok(case.judged(self.runtime, &remains.spans)?.rows)
    }

    /// Records all levels, and accepts what the replay comes to.
    pub(super) fn record(self, into: &Path, settings: &Settings, steps: &mut Steps) -> Result<Vec<Row>> {
        let folder = self.runtime.source.installed(steps)?;
        let mut site = Site::new()?;
        let app = App::start(self.runtime, &folder, &mut site, self.pool, self.condition.passes())?;
        let scratch = Scratch::new(&format!("{}-recording", self.runtime.name))?;
        let raw = scratch.path().join("recording");
        let arguments = selection(&app, &site)?;
        let agent = Agent::record(&raw, &arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        let case = Loads::new(self, &app, &mut site, settings).run()?;
        let model = app.model(site.backends()?);
        agent.stop()?;
        let recorded = fs::read(&raw).with_context(|| format!("{} cannot be read", raw.display()))?;
        let files = self.files(into);
        files.write_recording(&model.only(&recorded)?)?;
        files.write_truth(&case)?;
        self.replay(into, true)
    }

    /// Judges what this agent makes of a recording, whole and with records left out, and accepts it if it is told to.
    pub(super) fn replay(self, from: &Path, accept: bool) -> Result<Vec<Row>> {
        let files = self.files(from);
        let recording = files.read_recording()?;
        let mut case = files.read_truth(self)?.judged(self.runtime, &self.spans_of(&recording)?)?;
        let mut thinned: Vec<Row> = case.rows.iter().map(Row::thinned).collect();
        for seed in 0..THINNED {
            let spans = self.spans_of(&recording::thinned(&recording, ONE_IN, seed)?)?;
            let rows = files.read_truth(self)?.judged(self.runtime, &spans)?.rows;
            thinned.iter_mut().zip(rows).for_each(|(row, more)| row.repeats.extend(more.repeats));
        }
        if accept {
            for (row, thinned) in case.rows.iter_mut().zip(&thinned) {
                row.accepted = [row.score(), thinned.score()]
                    .map(|score| Some(Accepted { right: score.right, wrong: score.wrong }));
            }
            files.write_truth(&case)?;
        }
        case.rows.extend(thinned);
        Ok(case.rows)
    }

    /// What this agent makes of a recording.
    fn spans_of(self, recording: &[u8]) -> Result<String> {
        let scratch = Scratch::new(&format!("{}-replay", self.runtime.name))?;
        let raw = scratch.path().join("recording");
        fs::write(&raw, recording).with_context(|| format!("{} cannot be written", raw.display()))?;
        let mut replay = command(workspace::agent());
        replay.arg("replay").arg(&raw).args(["--format", "json", "--connections", "off"]);
        let replayed = replay.output().context("the agent cannot be started")?;
        if !replayed.status.success() {
            bail!("`{}` failed: {}", line(&replay), String::from_utf8_lossy(&replayed.stderr).trim());
        }
        String::from_utf8(replayed.stdout).context("the agent printed something that is no text")
    }

    /// Where its recording is, in a folder.
    pub(super) fn files(self, folder: &Path) -> Files {
        Files::new(folder, self.runtime.name, self.pool, self.condition)
    }
}

/// Loads on a model that runs.
struct Loads<'a> {
    way: Way,
    app: &'a App,
    site: &'a mut Site,
    settings: &'a Settings,
    case: Case,
    /// How many were run.
    count: usize,
}

impl<'a> Loads<'a> {
    fn new(way: Way, app: &'a App, site: &'a mut Site, settings: &'a Settings) -> Self {
        let case = Case { rows: Vec::new(), truths: HashMap::new() };
        Self { way, app, site, settings, case, count: 0 }
    }

    /// Runs all of them. Ends after one that was not answered.
    fn run(mut self) -> Result<Case> {
        let Settings { first, repeat, requests, .. } = *self.settings;
        let _other_work = (self.way.condition == Condition::Busy).then(Busy::begin);
        let mut goes_on = first == 0 || self.row(1, true, 1, first)?;
        for &level in &self.settings.levels {
            goes_on = goes_on && self.row(level, false, repeat, requests)?;
        }
        Ok(self.case)
    }

    /// Runs a level. Gives whether everything was answered.
    fn row(&mut self, level: u32, is_cold: bool, repeat: u32, requests: u32) -> Result<bool> {
        let Way { runtime, pool, condition } = self.way;
        let mut row = Row {
            runtime: runtime.name,
            pool,
            condition,
            level,
            is_cold,
            is_thinned: false,
            repeats: Vec::new(),
            accepted: [None; 2],
        };
        let mut goes_on = true;
        for (number, shape) in (0..repeat).zip(SHAPES.into_iter().cycle()) {
            let plan = Plan::new(level, pool, runtime.calls, requests, shape);
            let seed = u64::from(level) << 32 | u64::from(pool) << 16 | u64::from(number);
            let load =
                Load { server: self.app.listen(), plan, pass: condition.passes(), seed, limit: self.settings.limit };
            let ran = self.site.run(&load)?;
            if let Some(peak) = ran.peak.iter().find(|peak| pool > 0 && **peak > pool as usize) {
                bail!("tests/apps/{} had {peak} connections to a backend, with a pool of {pool}", runtime.name);
            }
            let answered = ran.requests.iter().filter(|request| request.fate == Fate::Answered);
            let truth = |request: &Request| (request.token, Truth { load: self.count, sent: request.parent });
            self.case.truths.extend(answered.map(truth));
            self.count += 1;
            row.repeats.push(Repeat::of(&ran));
            if ran.answered() == 0 || ran.unanswered() > 0 {
                let (answered, all, said) = (ran.answered(), ran.requests.len(), self.app.said());
                let why = ran.failure().unwrap_or("nothing came within the limit");
                eprintln!("{row}: {answered} of {all} requests answered, {why}; more is not tried. It said: {said}");
                goes_on = false;
                break;
            }
        }
        self.case.rows.push(row);
        Ok(goes_on)
    }
}

impl Case {
    /// The loads with their scores.
    fn judged(mut self, runtime: &Runtime, spans: &str) -> Result<Self> {
        let spans = spans::read(spans).context("the spans cannot be judged")?;
        let loads = self.rows.iter().map(|row| row.repeats.len()).sum();
        let (scores, tokenless) = score(&spans, &self.truths, runtime.calls, loads);
        for (repeat, score) in self.rows.iter_mut().flat_map(|row| &mut row.repeats).zip(scores) {
            repeat.score = score;
        }
        if tokenless > 0 {
            eprintln!("{}: {tokenless} spans without a token", runtime.name);
        }
        Ok(self)
    }
}

/// Arguments of an agent that traces the connections of a model, and not who asks it or is called by it.
fn selection(app: &App, site: &Site) -> Result<Vec<String>> {
    let model = app.model(site.backends()?);
    let ports = [model.listens].into_iter().chain(model.calls).map(|address| format!("port:{}", address.port()));
    let ourselves = format!("pid:{}", std::process::id());
    let words = ["--connections", "off", "--except", &ourselves].map(str::to_owned);
    Ok(words.into_iter().chain(ports.flat_map(|port| ["--only".to_owned(), port])).collect())
}
