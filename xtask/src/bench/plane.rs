//! The kernel plane of a running agent, as the kernel accounts for it: its maps' memory and its programs' run time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{command, output};

/// Where run times of programs are switched on.
const STATS_SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel objects that a process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plane {
    /// Bytes of each map, by its id: several descriptors may hold one.
    maps: BTreeMap<u64, u64>,
    /// Ids of programs, held directly or by their links.
    programs: BTreeSet<u64>,
}

/// What a program cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunTime {
    /// Its name.
    pub(super) name: String,
    /// How often it ran while times were taken.
    pub(super) runs: u64,
    /// Nanoseconds of all runs.
    pub(super) nanoseconds: u64,
}

/// While it lives, the kernel takes the run time of every program.
pub(super) struct RunTimes {
    before: String,
}

impl Plane {
    /// Of the process with this id.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/fdinfo");
        let entries = fs::read_dir(&folder).with_context(|| format!("{folder} cannot be read"))?;
        let mut plane = Self::default();
        // A descriptor that is closed meanwhile is none of the plane's.
        entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()).for_each(|text| plane.add(&text));
        Ok(plane)
    }

    /// Bytes of all its maps.
    pub(super) fn map_bytes(&self) -> u64 {
        self.maps.values().sum()
    }

    /// What its programs cost so far.
    pub(super) fn run_times(&self) -> Result<Vec<RunTime>> {
        let listed = output(command("bpftool").args(["--json", "prog", "show"]))?;
        let listed: Vec<Value> = serde_json::from_str(&listed).context("bpftool's list of programs makes no sense")?;
        let own = |program: &&Value| program["id"].as_u64().is_some_and(|id| self.programs.contains(&id));
        Ok(listed.iter().filter(own).filter_map(run_time).collect())
    }

    fn add(&mut self, fdinfo: &str) {
        let field = |name: &str| {
            fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse::<u64>().ok())
        };
        if let (Some(id), Some(bytes)) = (field("map_id"), field("memlock")) {
            self.maps.insert(id, bytes);
        }
        self.programs.extend(field("prog_id"));
    }
}

impl RunTime {
    /// What was added to an earlier time of the same program, if there is one.
    pub(super) fn since(self, before: &[Self]) -> Self {
        let before = before.iter().find(|before| before.name == self.name);
        let (runs, nanoseconds) = before.map_or((0, 0), |before| (before.runs, before.nanoseconds));
        Self { runs: self.runs - runs, nanoseconds: self.nanoseconds - nanoseconds, name: self.name }
    }
}

impl RunTimes {
    /// Switches them on.
    pub(super) fn on() -> Result<Self> {
        let path = Path::new(STATS_SWITCH);
        let before = fs::read_to_string(path).with_context(|| format!("{STATS_SWITCH} cannot be read"))?;
        fs::write(path, "1").with_context(|| format!("{STATS_SWITCH} cannot be written"))?;
        Ok(Self { before })
    }
}

impl Drop for RunTimes {
    fn drop(&mut self) {
        if let Err(error) = fs::write(STATS_SWITCH, &self.before) {
            eprintln!("warning: {STATS_SWITCH} stays on: {error}");
        }
    }
}

/// Programs that never ran have no times.
fn run_time(program: &Value) -> Option<RunTime> {
    let name = program["name"].as_str()?.to_owned();
    Some(RunTime { name, runs: program["run_cnt"].as_u64()?, nanoseconds: program["run_time_ns"].as_u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_held_twice_counts_once_and_links_name_their_programs() {
        let mut plane = Plane::default();
        let map = "pos:\t0\nmap_type:\t27\nmemlock:\t4096\nmap_id:\t7\n";
        let link = "link_type:\tcgroup\nlink_id:\t3\nprog_tag:\tab\nprog_id:\t9\n";
        for fdinfo in [map, map, link, "pos:\t0\n"] {
            plane.add(fdinfo);
        }
        assert_eq!(plane.map_bytes(), 4096);
        assert_eq!(plane.programs, BTreeSet::from([9]));
    }

    #[test]
    fn a_program_that_ran_has_times() {
        let text = r#"{"id":5,"name":"egress","run_time_ns":900,"run_cnt":3}"#;
        let program = serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(run_time(&program), Some(RunTime { name: "egress".to_owned(), runs: 3, nanoseconds: 900 }));
        assert_eq!(run_time(&serde_json::json!({ "id": 6, "name": "exit" })), None);
    }

    #[test]
    fn what_ran_before_does_not_count() {
        let time = |name: &str, runs, nanoseconds| RunTime { name: name.to_owned(), runs, nanoseconds };
        assert_eq!(time("read", 5, 500).since(&[time("send", 1, 1), time("read", 3, 310)]), time("read", 2, 190));
        assert_eq!(time("read", 5, 500).since(&[]), time("read", 5, 500));
    }
}
