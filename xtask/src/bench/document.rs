//! `docs/performance.md`: one part per bench between marks, so that a bench that ran replaces its part alone and what
//! people wrote beside the parts stays.

use std::fmt::Write as _;

use crate::bed::machine::Machine;
use crate::bench::figure::Figure;

/// What a document starts with that is not there yet.
const HEAD: &str = "\
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
    fn text(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.name, self.about);
        text.push_str("| figure | value | lowest to highest | target | |\n|---|---:|---:|---:|---|\n");
        for figure in self.figures {
            let _ = writeln!(text, "| {} |", figure.row().map(|cell| cell.replace('|', "\\|")).join(" | "));
        }
        let _ = write!(text, "\n{} It took {} s.\n", self.machine.line(), self.seconds);
        text
    }
}

/// The document with this part in its place: where its marks are, or else behind the last part that comes before it in
/// `order`.
pub(super) fn updated(document: &str, part: &Part<'_>, order: &[&str]) -> String {
    let document = if document.trim().is_empty() { HEAD } else { document };
    let (begin, end) = marks(part.name);
    let whole = format!("{begin}\n{}{end}", part.text());
    if let Some((before, rest)) = document.split_once(&begin)
        && let Some((_, after)) = rest.split_once(&end)
    {
        return format!("{before}{whole}{after}");
    }
    let earlier = order.iter().rev().skip_while(|name| **name != part.name).skip(1);
    let behind = earlier.filter_map(|name| {
        let end = marks(name).1;
        document.find(&end).map(|at| at + end.len())
    });
    match behind.max() {
        Some(at) => format!("{}\n\n{whole}{}", &document[..at], &document[at..]),
        // The first of all: behind the head, before what other benches wrote.
        None => {
            let first = order.iter().filter_map(|name| document.find(&marks(name).0)).min();
            let (before, after) = document.split_at(first.unwrap_or(document.len()));
            let gap = if after.is_empty() { "\n" } else { "\n\n" };
            format!("{}\n\n{whole}{gap}{after}", before.trim_end())
        }
    }
}

/// What stands before and behind the part of a bench.
fn marks(name: &str) -> (String, String) {
    (format!("<!-- bench {name} -->"), format!("<!-- end of bench {name} -->"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figure::Target;

    const ORDER: &[&str] = &["kernel", "nginx", "fixed"];

    fn written(document: &str, name: &str, loss: f64) -> String {
        let machine = Machine {
            processor: "CPU".to_owned(),
            cpus: 2,
            memory_mib: 1024,
            kernel: "6.18".to_owned(),
            load: "0.1".to_owned(),
            commit: "abc".to_owned(),
            day: "2026-11-20".to_owned(),
        };
        let figures = [Figure::new("fewer", loss, "%", Target::AtMost(8.0))];
        let part = Part { name, about: "What it does.", machine: &machine, seconds: 9, figures: &figures };
        updated(document, &part, ORDER)
    }

    #[test]
    fn a_part_is_a_table_with_what_it_ran_on() {
        let text = written("", "nginx", 9.0);
        assert!(text.starts_with(HEAD), "{text}");
        let part = text.strip_prefix(HEAD).unwrap();
        assert_eq!(
            part,
            "\n<!-- bench nginx -->\n## nginx\n\nWhat it does.\n\n\
             | figure | value | lowest to highest | target | |\n|---|---:|---:|---:|---|\n\
             | fewer | 9 % |  | ≤ 8 % | **missed** |\n\n\
             2026-11-20, commit abc, Linux 6.18, 2 CPUs (CPU), 1 GiB, load before 0.1. It took 9 s.\n<!-- end of bench nginx -->\n"
        );
    }

    #[test]
    fn a_part_replaces_itself_and_leaves_everything_else() {
        let before = format!("{}\nWhy it was missed.\n", written(&written("", "nginx", 9.0), "fixed", 1.0));
        let after = written(&before, "nginx", 7.0);
        assert_eq!(after, before.replace("9 %", "7 %").replace("**missed**", "met"));
    }

    #[test]
    fn parts_stand_in_the_order_of_the_benches_whatever_ran_first() {
        let text = ["fixed", "nginx", "kernel"].iter().fold(String::new(), |text, name| written(&text, name, 1.0));
        let places: Vec<_> = ORDER.iter().map(|name| text.find(&marks(name).0).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
        assert!(text.starts_with(HEAD));
    }
}
