//! What the suite reported, of one machine and of all of them as a table.

use std::fmt::Write as _;

use serde_json::Value;

use super::machine::Run;

/// A machine's column of the tables.
#[derive(Debug, Default)]
pub(crate) struct Column {
    name: String,
    release: String,
    package: String,
    cgroups: String,
    lockdown: String,
    probes: Vec<Probe>,
    cells: Vec<Cell>,
    broken: Option<String>,
}

/// What the agent said of one of its probes.
#[derive(Debug, PartialEq, Eq)]
struct Probe {
    name: String,
    standing: String,
    reason: String,
}

/// Whether a machine has a behaviour.
#[derive(Debug)]
struct Cell {
    behaviour: String,
    result: Result,
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Result {
    /// As it must be.
    Holds,
    /// It cannot be so there, and the agent says why.
    Verdict,
    /// Anything else.
    Failed,
}

impl Column {
    /// Reads what the suite printed on a machine.
    pub(crate) fn read(name: &str, run: Run) -> Self {
        let mut column = Self { name: name.to_owned(), package: run.package, broken: run.broken, ..Self::default() };
        let mut ended = false;
        for line in run.report.lines() {
            // A machine that is ended in the middle of a line leaves half of it.
            let Ok(value) = serde_json::from_str::<Value>(line.trim()) else { continue };
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            if value["release"].is_string() {
                column.release = text("release");
                column.cgroups = text("cgroups");
                column.lockdown = text("lockdown");
            } else if value["probe"].is_string() {
                column.probes.push(Probe::read(&text("probe")));
            } else if value["behaviour"].is_string() {
                let result = match value["result"].as_str() {
                    Some("ok") => Result::Holds,
                    Some("verdict") => Result::Verdict,
                    _ => Result::Failed,
                };
                column.cells.push(Cell { behaviour: text("behaviour"), result, reason: text("reason") });
            }
            ended |= value["end"].is_boolean();
        }
        if !ended && column.broken.is_none() {
            column.broken = Some(format!("the suite did not come to its end; see target/vm/{name}.log"));
        }
        column
    }

    /// What went wrong, a line for each.
    pub(crate) fn failures(&self) -> Vec<String> {
        let cells = self.cells.iter().filter(|cell| cell.result == Result::Failed);
        let cells = cells.map(|cell| format!("{}: {}: {}", self.name, cell.behaviour, cell.reason));
        self.broken.iter().map(|why| format!("{}: {why}", self.name)).chain(cells).collect()
    }

    fn cell(&self, behaviour: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.behaviour == behaviour)
    }
}

impl Probe {
    /// From a line of the agent: `NAME  STANDING  REASON`, in columns.
    fn read(line: &str) -> Self {
        let mut parts = line.splitn(2, "  ");
        let name = parts.next().unwrap_or_default().trim();
        let rest = parts.next().unwrap_or_default().trim();
        let (standing, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        Self { name: name.to_owned(), standing: standing.to_owned(), reason: reason.trim().to_owned() }
    }
}

/// Numbered remarks below a table; the same text has one number.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn mark(&mut self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let text = one_line(text);
        let known = self.0.iter().position(|note| *note == text);
        let number = known.unwrap_or_else(|| {
            self.0.push(text);
            self.0.len() - 1
        });
        format!(" ({})", number + 1)
    }

    fn write(&self, out: &mut String) {
        for (number, note) in self.0.iter().enumerate() {
            let _infallible = writeln!(out, "{}. {note}", number + 1);
        }
    }
}

/// All that was found, as Markdown.
pub(crate) fn document(columns: &[Column]) -> String {
    let mut out = String::from(
        "# Kernels\n\n\
         Written by `cargo xtask vm`, which boots each of these machines (but `host`, the development machine itself) under QEMU\n\
         without hardware acceleration and runs the same suite on it (`tests/src/bin/behaviours`). The kernels are Debian's own\n\
         packages.\n\n\
         ## Machines\n\n",
    );
    let row = |out: &mut String, cells: &[String]| {
        let _infallible = writeln!(out, "| {} |", cells.join(" | "));
    };
    row(&mut out, &["machine", "kernel", "package", "cgroups", "lockdown"].map(str::to_owned));
    row(&mut out, &["---"; 5].map(str::to_owned));
    for column in columns {
        let cells = [&column.name, &column.release, &column.package, &column.cgroups, &column.lockdown];
        row(&mut out, &cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell.clone() }));
    }
    out.push_str("\n## Probes\n\nHow the agent attached each probe; `-` where it did not try.\n\n");
    let mut notes = Notes::default();
    table(&mut out, columns, &names(columns, |c| &c.probes, |p| &p.name), |column, name| {
        match column.probes.iter().find(|probe| probe.name == name) {
            None => "-".to_owned(),
            // The hook, without the place where it is: that is the same as in the table of machines.
            Some(probe) if probe.standing == "active" => {
                let hook = probe.reason.split(' ').next().filter(|hook| hook.contains('/'));
                hook.map_or_else(|| format!("active{}", notes.mark(&probe.reason)), |hook| format!("`{hook}`"))
            }
            Some(probe) => format!("{}{}", probe.standing, notes.mark(&probe.reason)),
        }
    });
    out.push('\n');
    notes.write(&mut out);
    out.push_str("\n## Behaviours\n\n");
    let mut notes = Notes::default();
    table(&mut out, columns, &names(columns, |c| &c.cells, |c| &c.behaviour), |column, name| match column.cell(name) {
        Some(Cell { result: Result::Holds, .. }) => "ok".to_owned(),
        Some(cell) if cell.result == Result::Verdict => format!("verdict{}", notes.mark(&cell.reason)),
        Some(cell) => format!("**failed**{}", notes.mark(&cell.reason)),
        None => format!("**failed**{}", notes.mark(column.broken.as_deref().unwrap_or("it was not tried"))),
    });
    out.push('\n');
    notes.write(&mut out);
    ways(&mut out, columns);
    out
}

/// By what a behaviour was shown, where there are several ways.
fn ways(out: &mut String, columns: &[Column]) {
    out.push_str("\n## Shown by\n\n");
    for column in columns {
        for cell in column.cells.iter().filter(|cell| cell.result == Result::Holds && !cell.reason.is_empty()) {
            let _infallible = writeln!(out, "- {}, {}: {}", column.name, cell.behaviour, one_line(&cell.reason));
        }
    }
}

/// A row for each name, a column for each machine.
fn table(out: &mut String, columns: &[Column], names: &[String], mut cell: impl FnMut(&Column, &str) -> String) {
    let heads: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    let _infallible = writeln!(out, "| | {} |\n|---{}|", heads.join(" | "), "|---".repeat(heads.len()));
    for name in names {
        let cells: Vec<_> = columns.iter().map(|column| cell(column, name)).collect();
        let _infallible = writeln!(out, "| {name} | {} |", cells.join(" | "));
    }
}

/// All names in the columns, in the order in which they first come.
fn names<T>(columns: &[Column], rows: fn(&Column) -> &Vec<T>, name: fn(&T) -> &String) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for row in columns.iter().flat_map(rows) {
        if !names.contains(name(row)) {
            names.push(name(row).clone());
        }
    }
    names
}

/// A reason may be as long as a failed expectation is.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/");
    if line.chars().count() <= LONGEST {
        return line;
    }
    format!("{} ...", line.chars().take(LONGEST).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(report: &str, broken: Option<&str>) -> Column {
        let run = Run { report: report.to_owned(), broken: broken.map(str::to_owned), package: String::new() };
        Column::read("m", run)
    }

    const REPORT: &str = "{\"release\":\"6.1\",\"cgroups\":\"v2\",\"lockdown\":\"none\"}\n\
        {\"probe\":\"packets sent       active      cgroup_skb/egress on /x\"}\r\n\
        {\"behaviour\":\"IPv6\",\"result\":\"ok\",\"reason\":\"\"}\n\
        {\"behaviour\":\"loss\",\"result\":\"verdict\",\"reason\":\"no\\nnetem\"}\n";

    #[test]
    fn a_complete_report_is_a_column_without_failures() {
        let column = column(&format!("{REPORT}{{\"end\":true}}\n"), None);
        assert!(column.failures().is_empty(), "{column:?}");
        let document = document(&[column]);
        for line in ["| packets sent | `cgroup_skb/egress` |", "| IPv6 | ok |", "| loss | verdict (1) |", "1. no netem"]
        {
            assert!(document.lines().any(|other| other == line), "{line} is missing in\n{document}");
        }
    }

    #[test]
    fn a_report_without_its_end_is_a_failure() {
        let cut = column(&format!("{REPORT}{{\"behaviour\":\"kil"), Some("it was ended after 300 s"));
        assert_eq!(cut.failures(), ["m: it was ended after 300 s"]);
        assert_eq!(column(REPORT, None).failures(), ["m: the suite did not come to its end; see target/vm/m.log"]);
    }
}
