//! What shall be reached: how many calls are right at least, and wrong at most, per runtime and level.

use crate::accuracy::condition::Condition;
use crate::accuracy::row::Row;
use crate::accuracy::score::Score;
use crate::bed::as_f64;

/// Per cent of calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Target {
    /// Right at least.
    pub(super) right: f64,
    /// Wrong at most.
    pub(super) wrong: f64,
}

/// Calls of a recording that were right and wrong when that was last accepted: what later agents are held against, far as it may
/// be from the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Right ones.
    pub(super) right: u64,
    /// Wrong ones.
    pub(super) wrong: u64,
}

/// Whether a row reaches what it shall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does.
    Met,
    /// It does not.
    Missed,
    /// Nothing is asked of it.
    None,
}

/// Wrong at most, whatever the runtime, the level and the pool.
const WRONG: f64 = 0.5;

/// Per cent of calls that may be right no more since it was accepted: a rule that helps others can cost a call.
const SLACK_RIGHT: f64 = 1.0;

/// Per cent of calls that may have become wrong.
const SLACK_WRONG: f64 = 0.25;

/// Runtimes where a thread or a connection shows whom a call is for.
const PLAIN: &[&str] = &["c-threads", "c-epoll", "nginx", "apache", "python-threads", "java-pool", "haproxy"];

impl Target {
    /// The target of a row; none while the agent still learns.
    pub(super) fn of(row: &Row) -> Option<Self> {
        if row.is_cold {
            return None;
        }
        if row.condition.passes() {
            return Some(Self { right: 100.0, wrong: 0.0 });
        }
        let wrong = if row.runtime == "go" && row.level <= 64 { 0.1 } else { WRONG };
        let right = match (row.runtime, row.level) {
            _ if row.condition == Condition::Busy => 0.0,
            (_, 65..) => 0.0,
            ("go", _) => 99.5,
            ("node", 0..=16) => 98.0,
            ("node", _) => 95.0,
            (runtime, _) if PLAIN.contains(&runtime) => 99.0,
            (_, 0..=16) => 95.0,
            (_, _) => 85.0,
        };
        Some(Self { right, wrong })
    }

    fn is_met(self, score: &Score) -> bool {
        let percent = |count| as_f64(count) / as_f64(score.calls) * 100.0;
        // Without a call nothing is reached.
        score.calls > 0 && percent(score.right) >= self.right && percent(score.wrong) <= self.wrong
    }
}

impl Accepted {
    /// Whether a recording is as good as it was. Where records were left out, no more than the target may be wrong.
    pub(super) fn is_kept(self, row: &Row) -> bool {
        let score = row.score();
        let percent = |count| as_f64(count) / as_f64(score.calls) * 100.0;
        let wrong = if row.is_thinned { WRONG } else { percent(self.wrong) + SLACK_WRONG };
        Target { right: percent(self.right) - SLACK_RIGHT, wrong }.is_met(&score)
    }
}

impl Verdict {
    /// Of a row.
    pub(super) fn of(row: &Row) -> Self {
        Target::of(row).map_or(Self::None, |target| if target.is_met(&row.score()) { Self::Met } else { Self::Missed })
    }

    /// In a word.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::None => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::row::Repeat;

    fn row(runtime: &'static str, level: u32, right: u64, wrong: u64) -> Row {
        let mut repeat = Repeat::replayed(1.0);
        repeat.score = Score { calls: 1000, right, wrong, ..Score::default() };
        Row {
            runtime,
            pool: 8,
            condition: Condition::Plain,
            level,
            is_cold: false,
            is_thinned: false,
            repeats: vec![repeat],
            accepted: [None; 2],
        }
    }

    #[test]
    fn what_is_asked_depends_on_the_runtime_and_the_level() {
        assert_eq!(Verdict::of(&row("c-threads", 64, 990, 5)), Verdict::Met);
        assert_eq!(Verdict::of(&row("c-threads", 64, 989, 0)), Verdict::Missed);
        assert_eq!(Verdict::of(&row("c-threads", 256, 0, 5)), Verdict::Met);
        assert_eq!(Verdict::of(&row("go", 64, 996, 2)), Verdict::Missed);
        assert_eq!(Verdict::of(&row("node", 64, 950, 0)), Verdict::Met);
        assert_eq!(Verdict::of(&row("tokio", 16, 949, 0)), Verdict::Missed);
        assert_eq!(Verdict::of(&row("tokio", 64, 850, 6)), Verdict::Missed);
    }

    #[test]
    fn a_recording_is_held_against_what_was_accepted() {
        let kept = |right, wrong, is_thinned| {
            let row = Row { is_thinned, ..row("node", 64, right, wrong) };
            Accepted { right: 500, wrong: 10 }.is_kept(&row)
        };
        assert_eq!(
            [(490, 12), (489, 0), (600, 13)].map(|(right, wrong)| kept(right, wrong, false)),
            [true, false, false]
        );
        assert_eq!([(490, 5), (489, 0), (600, 6)].map(|(right, wrong)| kept(right, wrong, true)), [true, false, false]);
    }

    #[test]
    fn a_header_that_is_passed_on_leaves_no_excuse_and_learning_is_one() {
        let passed = |right| Row { condition: Condition::Traceparent, ..row("tokio", 16, right, 0) };
        assert_eq!([passed(1000), passed(999)].map(|row| Verdict::of(&row)), [Verdict::Met, Verdict::Missed]);
        assert_eq!(Verdict::of(&Row { is_cold: true, ..row("go", 1, 0, 0) }), Verdict::None);
        let empty = Row { repeats: Vec::new(), ..row("c-threads", 256, 0, 0) };
        assert_eq!(Verdict::of(&empty), Verdict::Missed);
    }
}
