//! Runs that alternate: A B A C A B A ..., so that a machine that slows down meanwhile does not decide.

use anyhow::Result;

use crate::bed::agent::{Agent, Records};
use crate::bed::cpu::Watch;
use crate::bench::figure::as_f64;
use crate::bench::statistics::Aba;
use crate::step::Steps;

/// A way to run the agent beside a load.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    /// What it is called.
    pub(super) name: &'static str,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

/// What was measured of a load, with an agent or without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured<T> {
    /// What the load came to.
    pub(super) load: T,
    /// Seconds of processor time that the agent used meanwhile; 0 without one.
    pub(super) agent_seconds: f64,
    /// The account of the agent's records, if there was one.
    pub(super) records: Option<Records>,
}

impl Variant {
    /// An agent with these arguments that prints nothing, and reads everything even if the machine has no time for it.
    pub(super) fn new(name: &'static str, arguments: &[&str]) -> Self {
        Self::sparing(name, &[&["--shed-above", "100"], arguments].concat())
    }

    /// The same, but it leaves out what it leaves out if nothing is said.
    pub(super) fn sparing(name: &'static str, arguments: &[&str]) -> Self {
        let arguments = ["--format", "none"].iter().chain(arguments).map(|&argument| argument.to_owned()).collect();
        Self { name, arguments, environment: Vec::new() }
    }

    /// The same with this environment.
    pub(super) fn with_environment(mut self, environment: &[(&'static str, String)]) -> Self {
        self.environment.extend_from_slice(environment);
        self
    }

    /// Starts the agent.
    pub(super) fn start(&self) -> Result<Agent> {
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let environment: Vec<_> = self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Agent::start(&arguments, &environment)
    }

    /// Runs a load beside the agent.
    pub(super) fn beside<T>(&self, load: impl FnOnce() -> Result<T>) -> Result<Measured<T>> {
        let agent = self.start()?;
        let watch = Watch::of(&[agent.pid()])?;
        let load = load()?;
        let agent_seconds = watch.seconds()?;
        Ok(Measured { load, agent_seconds, records: Some(agent.stop()?.records) })
    }
}

impl<T> Aba<Measured<T>> {
    /// Per cent of the requests that the agent left out, of those with two records.
    pub(super) fn shed_percent(&self) -> f64 {
        let Some(records) = self.with.records else { return 0.0 };
        let (shed, read) = (as_f64(records.shed_requests), as_f64(records.observed) / 2.0);
        100.0 * shed / (shed + read).max(1.0)
    }

    /// Records that the agent lost.
    pub(super) fn lost(&self) -> u64 {
        self.with.records.map_or(0, |records| records.lost)
    }
}

/// Runs the load beside each variant, and before and after each without, for so many rounds. Gives the measurements of
/// each variant, in the variants' order.
pub(super) fn interleaved<T: Copy>(
    name: &str,
    rounds: usize,
    variants: &[Variant],
    steps: &mut Steps,
    mut load: impl FnMut() -> Result<T>,
) -> Result<Vec<Vec<Aba<Measured<T>>>>> {
    let order = (0..rounds).flat_map(|_| 0..variants.len());
    let say = format!("{name}: {} runs", rounds * variants.len() * 2 + 1);
    let measured = steps.step(&say, || {
        alternated(order, |variant| match variant {
            Some(variant) => variants[variant].beside(&mut load),
            None => Ok(Measured { load: load()?, agent_seconds: 0.0, records: None }),
        })
    })?;
    Ok((0..variants.len()).map(|wanted| of(&measured, wanted)).collect())
}

/// Measures things in this order, and nothing (`None`) before, between and after them.
pub(super) fn alternated<M: Copy>(
    order: impl IntoIterator<Item = usize>,
    mut measure: impl FnMut(Option<usize>) -> Result<M>,
) -> Result<Vec<(usize, Aba<M>)>> {
    let mut before = measure(None)?;
    let mut measured = Vec::new();
    for which in order {
        let with = measure(Some(which))?;
        let after = measure(None)?;
        measured.push((which, Aba { before, with, after }));
        before = after;
    }
    Ok(measured)
}

/// The measurements of one thing.
pub(super) fn of<M: Copy>(measured: &[(usize, Aba<M>)], wanted: usize) -> Vec<Aba<M>> {
    measured.iter().filter(|(which, _)| *which == wanted).map(|(_, measured)| *measured).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variant_stands_between_two_runs_without() {
        let mut run = 0.0;
        let mut order = Vec::new();
        let measured = alternated([0, 1, 0, 1], |which| {
            run += 1.0;
            order.push(which);
            Ok(run)
        })
        .unwrap();
        assert_eq!(order, [None, Some(0), None, Some(1), None, Some(0), None, Some(1), None]);
        let aba = |before| Aba { before, with: before + 1.0, after: before + 2.0 };
        assert_eq!(of(&measured, 1), [aba(3.0), aba(7.0)]);
    }
}
