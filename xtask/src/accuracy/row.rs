//! A row of the table: a level of a runtime with one pool, in words, as JSON and as a row of the document.

use std::fmt;

use serde_json::{Value, json};

use crate::accuracy::calibration::Calibration;
use crate::accuracy::condition::Condition;
use crate::accuracy::ran::Ran;
use crate::accuracy::score::Score;
use crate::accuracy::target::{Accepted, Verdict};
use crate::bed::as_f64;

/// What the columns are called, behind those that name the row.
pub(super) const COLUMNS: [&str; 10] =
    ["reached", "requests", "failed", "right", "wrong", "abstained", "lost", "whole traces", "target", "links by"];

/// A level of a runtime with one pool.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The runtime's name.
    pub(super) runtime: &'static str,
    /// Connections that it may keep; 0 is no limit.
    pub(super) pool: u32,
    /// Under which condition.
    pub(super) condition: Condition,
    /// Requests that shall be in flight.
    pub(super) level: u32,
    /// Whether these are the first requests that the agent saw.
    pub(super) is_cold: bool,
    /// Whether records were left out of what the agent saw.
    pub(super) is_thinned: bool,
    /// Each time it ran.
    pub(super) repeats: Vec<Repeat>,
    /// Of a recording: what its links were when that was last accepted, and what they were with records left out.
    pub(super) accepted: [Option<Accepted>; 2],
}

/// One load.
#[derive(Clone, Debug)]
pub(super) struct Repeat {
    /// Requests that were in flight.
    pub(super) in_flight: f64,
    /// Requests that were answered otherwise than with 200, or not at all.
    failed: u64,
    /// Connections that each backend had at most.
    peak: [usize; 2],
    /// Its links.
    pub(super) score: Score,
}

impl Repeat {
    /// A load whose links are not yet judged.
    pub(super) fn of(ran: &Ran) -> Self {
        let failed = ran.requests.len() - ran.answered();
        Self {
            in_flight: ran.in_flight(),
            failed: u64::try_from(failed).unwrap_or(u64::MAX),
            peak: ran.peak,
            score: Score::default(),
        }
    }

    /// A load that was recorded: only what was answered is in it.
    pub(super) fn replayed(in_flight: f64) -> Self {
        Self { in_flight, failed: 0, peak: [0; 2], score: Score::default() }
    }
}

impl Row {
    /// All repeats together.
    pub(super) fn score(&self) -> Score {
        let mut sum = Score::default();
        self.repeats.iter().for_each(|repeat| sum += &repeat.score);
        sum
    }

    /// The same row with records left out, before it is replayed.
    pub(super) fn thinned(&self) -> Self {
        Self { is_thinned: true, repeats: Vec::new(), ..self.clone() }
    }

    /// What its links were when that was last accepted.
    pub(super) fn accepted(&self) -> Option<Accepted> {
        self.accepted[usize::from(self.is_thinned)]
    }

    /// Requests that shall be in flight, and whether they are the first.
    pub(super) fn in_flight(&self) -> String {
        let first = if self.is_cold { " (first)" } else { "" };
        let thinned = if self.is_thinned { " (lossy)" } else { "" };
        format!("{}{first}{thinned}", self.level)
    }

    /// What stands under [`COLUMNS`].
    pub(super) fn cells(&self) -> [String; 10] {
        let score = self.score();
        let repeats = as_f64(u64::try_from(self.repeats.len()).unwrap_or(u64::MAX));
        let reached = self.repeats.iter().map(|repeat| repeat.in_flight).sum::<f64>() / repeats;
        let failed = self.repeats.iter().map(|repeat| repeat.failed).sum::<u64>();
        let of_calls = |count| percent(count, score.calls);
        [
            format!("{reached:.1}"),
            score.requests.to_string(),
            failed.to_string(),
            of_calls(score.right),
            of_calls(score.wrong),
            of_calls(score.abstained),
            of_calls(score.lost),
            percent(score.whole, score.requests),
            Verdict::of(self).word().to_owned(),
            methods(&score),
        ]
    }

    /// Each repeat as an object.
    pub(super) fn to_json(&self) -> impl Iterator<Item = Value> {
        self.repeats.iter().enumerate().map(|(number, Repeat { in_flight, failed, peak, score })| {
            let methods: serde_json::Map<_, _> = score
                .methods
                .iter()
                .map(|(method, [right, wrong])| (method.clone(), json!({"right": right, "wrong": wrong})))
                .collect();
            json!({
                "runtime": self.runtime,
                "pool": self.pool,
                "condition": self.condition.words().unwrap_or("plain"),
                "level": self.level,
                "cold": self.is_cold,
                "lossy": self.is_thinned,
                "repeat": number + 1,
                "in_flight": in_flight,
                "requests": score.requests,
                "failed": failed,
                "connections": peak,
                "calls": score.calls,
                "right": score.right,
                "wrong": score.wrong,
                "abstained": score.abstained,
                "lost": score.lost,
                "again": score.again,
                "whole": score.whole,
                "methods": methods,
                "calibration": calibration_json(&score.calibration),
            })
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {} in flight", self.runtime, pool(self.pool), self.in_flight())?;
        self.condition.words().map_or(Ok(()), |words| write!(f, ", {words}"))
    }
}

/// A pool in words.
pub(super) fn pool(pool: u32) -> String {
    if pool == 0 { "no limit".to_owned() } else { format!("pool of {pool}") }
}

/// Buckets as objects.
pub(super) fn calibration_json(calibration: &Calibration) -> Vec<Value> {
    let object = |bucket: crate::accuracy::calibration::Bucket| json!({"from": bucket.from, "to": bucket.to, "right": bucket.right, "wrong": bucket.wrong});
    calibration.buckets().map(object).collect()
}

/// How links were found, the most frequent way first.
fn methods(score: &Score) -> String {
    let mut methods: Vec<_> = score.methods.iter().collect();
    methods.sort_by_key(|(_, [right, wrong])| std::cmp::Reverse(right + wrong));
    let words = methods.into_iter().map(|(method, [right, wrong])| match wrong {
        0 => format!("{method} {right}"),
        _ => format!("{method} {right} ({wrong} wrong)"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// A part of a whole. No part of nothing is everything or nothing.
fn percent(part: u64, whole: u64) -> String {
    match (part, whole) {
        (_, 0) => "-".to_owned(),
        (0, _) => "0 %".to_owned(),
        _ if part == whole => "100 %".to_owned(),
        // Of 7 200 calls one is 0.014 %: what is not all and not nothing shall not look so.
        _ => format!("{:.2} %", as_f64(part) / as_f64(whole) * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeat(right: u64, wrong: u64) -> Repeat {
        let methods = [("thread".to_owned(), [right, wrong])].into();
        let score = Score { requests: 100, calls: 400, right, wrong, methods, whole: 50, ..Score::default() };
        Repeat { in_flight: 4.0, failed: 1, peak: [3, 4], score }
    }

    #[test]
    fn repeats_come_together_in_a_row_and_are_objects_of_their_own() {
        let row = Row {
            runtime: "go",
            pool: 8,
            condition: Condition::Plain,
            level: 4,
            is_cold: false,
            is_thinned: false,
            repeats: vec![repeat(400, 0), repeat(399, 1)],
            accepted: [None; 2],
        };
        let cells = ["4.0", "200", "2", "99.88 %", "0.12 %", "0 %", "0 %", "50.00 %", "missed", "thread 799 (1 wrong)"];
        assert_eq!(row.cells(), cells);
        let objects: Vec<_> = row.to_json().collect();
        assert_eq!(
            (&objects[1]["right"], &objects[1]["repeat"], &objects[1]["condition"]),
            (&json!(399), &json!(2), &json!("plain"))
        );
        assert_eq!(row.to_string(), "go, pool of 8, 4 in flight");
    }
}
