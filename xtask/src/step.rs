//! Steps of a verb: said before they are done, timed, and summed up at the end.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;

/// The steps done so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    took: Duration,
    failed: bool,
}

impl Steps {
    /// Does something and prints one line before it and one after it.
    pub(crate) fn step<T>(&mut self, name: &str, does: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("==> {name}");
        self.quiet(name, does).inspect(|_| {
            if let Some(step) = self.done.last() {
                eprintln!("    done in {}", seconds(step.took));
            }
        })
    }

    /// Does something that speaks for itself.
    pub(crate) fn quiet<T>(&mut self, name: &str, does: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = does();
        self.done.push(Step { name: name.to_owned(), took: start.elapsed(), failed: result.is_err() });
        result
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.done {
            let verdict = if step.failed { "FAILED" } else { "ok" };
            writeln!(f, "{verdict:>8}  {:>8}  {}", seconds(step.took), step.name)?;
        }
        let total = self.done.iter().map(|step| step.took).sum();
        write!(f, "{:>8}  {:>8}  in all", "", seconds(total))
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn the_summary_has_a_line_per_step_and_says_which_failed() {
        let mut steps = Steps::default();
        steps.step("unit tests", || Ok(())).unwrap();
        steps.quiet("end to end", || -> Result<()> { bail!("no") }).unwrap_err();
        let text = steps.to_string();
        let lines: Vec<_> = text.lines().map(str::trim_start).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("ok") && lines[0].ends_with("unit tests"), "{text}");
        assert!(lines[1].starts_with("FAILED") && lines[1].ends_with("end to end"), "{text}");
    }
}
