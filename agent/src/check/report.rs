//! What was found, as text for people and as JSON for programs.

use std::fmt;

use serde::Serialize;
use wirespan::probe::{Standing, Verdict};

use crate::exit;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    result: Outcome,
    exit_code: u8,
    /// Why nothing can be traced, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    host: Vec<Item>,
    probes: Vec<Item>,
    output: Vec<Item>,
}

/// All of it in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// Everything works.
    All,
    /// Something is missing.
    Degraded,
    /// Nothing can be traced.
    Nothing,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Item {
    name: String,
    state: State,
    says: String,
}

/// How it is with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// Something is lost.
    Degraded,
    /// The kernel does not have it. What is lost is not everything.
    Unsupported,
    /// It should work and does not. What is lost is not everything.
    Broken,
    /// `run` does not start.
    Missing,
    /// It could not be found out.
    Unknown,
}

/// What came of the attempt to attach everything.
#[derive(Debug)]
pub(super) struct Attempt {
    /// A line for each probe.
    pub(super) probes: Vec<Item>,
    /// Why nothing can be traced, if so.
    pub(super) failed: Option<String>,
}

impl Report {
    pub(super) fn new(host: Vec<Item>, attempt: Attempt, output: Vec<Item>) -> Self {
        let Attempt { probes, failed } = attempt;
        let has = |state| [&host, &probes, &output].into_iter().flatten().any(|item| item.state == state);
        // An unknown thing is no reason for alarm: what matters of it shows in the attempt.
        let result = if failed.is_some() || has(State::Missing) {
            Outcome::Nothing
        } else if has(State::Degraded) || has(State::Unsupported) || has(State::Broken) {
            Outcome::Degraded
        } else {
            Outcome::All
        };
        let version = env!("CARGO_PKG_VERSION");
        Self { version, result, exit_code: result.exit_code(), reason: failed, host, probes, output }
    }

    pub(super) fn result(&self) -> Outcome {
        self.result
    }
}

impl Outcome {
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::All => 0,
            Self::Degraded => exit::FAILED,
            Self::Nothing => exit::CANNOT_TRACE,
        }
    }
}

impl Item {
    pub(super) fn new(name: impl Into<String>, state: State, says: impl Into<String>) -> Self {
        Self { name: name.into(), state, says: says.into() }
    }
}

impl From<&Verdict> for Item {
    fn from(verdict: &Verdict) -> Self {
        let state = match verdict.standing {
            Standing::Active => State::Ok,
            Standing::Degraded => State::Degraded,
            Standing::Unsupported => State::Unsupported,
            Standing::Broken => State::Broken,
        };
        Self::new(verdict.probe, state, &verdict.reason)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unsupported => "unsupported",
            Self::Broken => "broken",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:<19} {:<11} {}", self.name, self.state, self.says)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, items) in [("host", &self.host), ("probes", &self.probes), ("output", &self.output)] {
            writeln!(f, "{title}")?;
            items.iter().try_for_each(|item| writeln!(f, "{item}"))?;
        }
        f.write_str(match self.result {
            Outcome::All => "Everything works here.",
            Outcome::Degraded => "Tracing works here, but for what is said above.",
            Outcome::Nothing => "Nothing can be traced here",
        })?;
        match (&self.reason, self.result) {
            (Some(reason), _) => write!(f, ": {reason}"),
            (None, Outcome::Nothing) => f.write_str(": `wirespan run` ends with what is missing above."),
            (None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(states: &[State], failed: Option<&str>) -> Report {
        let items = states.iter().map(|&state| Item::new("thing", state, "says so")).collect();
        Report::new(items, Attempt { probes: Vec::new(), failed: failed.map(str::to_owned) }, Vec::new())
    }

    #[test]
    fn the_worst_decides() {
        for (states, failed, outcome, code) in [
            (&[State::Ok, State::Unknown][..], None, Outcome::All, 0),
            (&[State::Ok, State::Degraded], None, Outcome::Degraded, 1),
            (&[State::Broken], None, Outcome::Degraded, 1),
            (&[State::Unsupported], None, Outcome::Degraded, 1),
            (&[State::Degraded, State::Missing], None, Outcome::Nothing, 3),
            (&[State::Ok], Some("no"), Outcome::Nothing, 3),
        ] {
            let report = report(states, failed);
            assert_eq!((report.result(), report.exit_code), (outcome, code), "{states:?} {failed:?}");
        }
    }

    #[test]
    fn a_person_reads_it_line_by_line_and_a_program_by_name() {
        let report = report(&[State::Degraded], Some("no rights"));
        let text = report.to_string();
        assert!(text.starts_with("host\n  thing               degraded    says so\nprobes\n"), "{text}");
        assert!(text.ends_with("Nothing can be traced here: no rights"), "{text}");
        let json = serde_json::to_value(&report).expect("it is JSON");
        assert_eq!(json["result"], "nothing");
        assert_eq!(json["exit_code"], 3);
        assert_eq!(json["host"][0], serde_json::json!({"name": "thing", "state": "degraded", "says": "says so"}));
    }
}
