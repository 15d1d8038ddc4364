//! `docs/performance.md`: one part per bench.

use std::fmt::Write as _;

use crate::bed::machine::Machine;
use crate::bench::figure::Figure;

/// What a document starts with that is not there yet.
pub(super) const HEAD: &str = "\
# Performance

Written by `cargo xtask bench [NAME...]`, as root, on a machine that does nothing else. Each bench writes its own part, with what it ran on; text outside of the
marks stays. The same figures are in `target/bench/NAME.json`.

A figure in per cent is the median of runs with Wirespan, each against the mean of the runs just before and just after it without (A/B/A); in parentheses stand the
lowest and the highest. Nanoseconds per run of a kernel program are the kernel's own count (`bpf_stats`), which adds some tens of nanoseconds to each run:
what is called *above an empty program* has the time of a program that does nothing, attached to the same hook at the same time, taken off. A missed target is
shown as missed.
";

/// What a bench has to say.
pub(super) struct Part<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// What it does, in a sentence or two.
    pub(super) about: &'a str,
    /// What it ran on.
    pub(super) machine: &'a Machine,
    /// How long it took, seconds.
    pub(super) seconds: u64,
    /// What it measured.
    pub(super) figures: &'a [Figure],
}

impl Part<'_> {
    /// Its text, without the marks.
    pub(super) fn text(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.name, self.about);
        text.push_str("| figure | value | lowest to highest | target | |\n|---|---:|---:|---:|---|\n");
        for figure in self.figures {
            let _ = writeln!(text, "| {} |", figure.row().map(|cell| cell.replace('|', "\\|")).join(" | "));
        }
        let _ = write!(text, "\n{} It took {} s.\n", self.machine.line(), self.seconds);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figure::Target;

    #[test]
    fn a_part_is_a_table_with_what_it_ran_on() {
        let machine = Machine {
            processor: "CPU".to_owned(),
            cpus: 2,
            memory_mib: 1024,
            kernel: "6.18".to_owned(),
            load: "0.1".to_owned(),
            commit: "abc".to_owned(),
            day: "2026-11-20".to_owned(),
        };
        let figures = [Figure::new("fewer", 9.0, "%", Target::AtMost(8.0))];
        let part = Part { name: "nginx", about: "What it does.", machine: &machine, seconds: 9, figures: &figures };
        assert_eq!(
            part.text(),
            "## nginx\n\nWhat it does.\n\n\
             | figure | value | lowest to highest | target | |\n|---|---:|---:|---:|---|\n\
             | fewer | 9 % |  | ≤ 8 % | **missed** |\n\n\
             2026-11-20, commit abc, Linux 6.18, 2 CPUs (CPU), 1 GiB, load before 0.1. It took 9 s.\n"
        );
    }
}
