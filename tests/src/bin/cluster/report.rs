//! Checks, and what came of them: a line each, as the suite goes.

use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use crate::stack::Stack;

/// Something that must hold, as a sentence, and how it is shown.
pub(crate) struct Check {
    /// The sentence.
    pub(crate) name: &'static str,
    /// Fails by a panic, whose message is printed.
    pub(crate) holds: fn(&Stack),
}

/// Runs those whose names have one of the `wanted` parts, all if there are none; how many failed.
pub(crate) fn run<'a>(checks: impl Iterator<Item = &'a Check>, wanted: &[String], stack: &Stack) -> usize {
    let is_wanted = |check: &&Check| wanted.is_empty() || wanted.iter().any(|part| check.name.contains(part.as_str()));
    let (mut failed, mut held) = (Vec::new(), 0);
    for check in checks.filter(is_wanted) {
        let begin = Instant::now();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| (check.holds)(stack)));
        let seconds = begin.elapsed().as_secs_f64();
        if outcome.is_ok() {
            held += 1;
            eprintln!("      ok  {seconds:>6.1} s  {}", check.name);
        } else {
            failed.push(check.name);
            eprintln!("  FAILED  {seconds:>6.1} s  {}", check.name);
        }
    }
    eprintln!("\n{held} hold, {} failed{}", failed.len(), if failed.is_empty() { "" } else { ":" });
    failed.iter().for_each(|name| eprintln!("    {name}"));
    failed.len()
}
