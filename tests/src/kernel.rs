//! What is loaded in the kernel, as `bpftool` tells: an opinion that is not the agent's own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::PATIENCE;
use crate::child::Program;

/// Objects of the kernel that a process holds: `prog`, `map` or `link`, and the id.
pub type Held = BTreeSet<(&'static str, u64)>;

/// The BPF objects that a process has open.
#[must_use]
#[track_caller]
pub fn held_by(pid: u32) -> Held {
    let directory = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let texts = entries.filter_map(Result::ok).filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.flat_map(|text| text.lines().filter_map(object).collect::<Vec<_>>()).collect()
}

/// The most instructions that the kernel went through to verify a program that a process holds; `None` where it does not tell
/// (before 5.16).
#[must_use]
#[track_caller]
pub fn most_verified(pid: u32) -> Option<u64> {
    let directory = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let texts = entries.filter_map(Result::ok).filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let told = |text: String| text.lines().find_map(|line| line.strip_prefix("verified_insns:")?.trim().parse().ok());
    texts.filter_map(told).max()
}

/// How many links a process holds: what is attached.
#[must_use]
#[track_caller]
pub fn links(pid: u32) -> usize {
    held_by(pid).iter().filter(|(what, _)| *what == "link").count()
}

/// Waits until a process holds so many.
#[track_caller]
pub fn wait_for_links(pid: u32, expect: usize) {
    let deadline = Instant::now() + PATIENCE;
    while links(pid) != expect {
        assert!(Instant::now() < deadline, "{} links instead of {expect}", links(pid));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until none of these objects exists any more. The kernel frees them a moment after their last user is gone.
#[track_caller]
pub fn wait_gone(held: &Held) {
    wait_gone_within(PATIENCE, held);
}

/// The same, for so long.
#[track_caller]
pub fn wait_gone_within(patience: Duration, held: &Held) {
    let deadline = Instant::now() + patience;
    loop {
        let left: Vec<_> = ["prog", "map", "link"]
            .into_iter()
            .flat_map(|what| ids(what).into_iter().map(move |id| (what, id)))
            .filter(|object| held.contains(object))
            .collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still in the kernel: {left:?}");
    }
}

/// Programs attached to a control group for packets that leave, in the order in which they run.
#[must_use]
#[track_caller]
pub fn attached_to_egress(group: &str) -> Vec<u64> {
    let shown = bpftool(&["cgroup", "show", group]);
    let attached = shown.as_array().map_or(&[][..], Vec::as_slice).iter();
    let egress = attached.filter(|entry| entry["attach_type"] == "cgroup_inet_egress");
    egress.filter_map(|entry| entry["id"].as_u64()).collect()
}

/// A program that a process holds.
#[derive(Debug)]
pub struct Loaded {
    /// Its name.
    pub name: String,
    /// Its type, as `bpftool` names it.
    pub kind: String,
    /// The functions of the kernel that it calls.
    pub helpers: BTreeSet<String>,
}

/// The programs that a process holds.
#[must_use]
#[track_caller]
pub fn programs_of(pid: u32) -> Vec<Loaded> {
    let held = held_by(pid);
    let shown = bpftool(&["prog", "show"]);
    let shown = shown.as_array().map_or(&[][..], Vec::as_slice);
    let ours = shown.iter().filter_map(|program| Some((program["id"].as_u64()?, program)));
    ours.filter(|(id, _)| held.contains(&("prog", *id)))
        .map(|(id, program)| {
            let text = |key: &str| program[key].as_str().unwrap_or_default().to_owned();
            let code = bpftool(&["prog", "dump", "xlated", "id", &id.to_string()]).to_string();
            Loaded { name: text("name"), kind: text("type"), helpers: helpers(&code) }
        })
        .collect()
}

/// Names after `call`, without the program's own functions (`call pc+17#bpf_prog_..`).
fn helpers(code: &str) -> BTreeSet<String> {
    let called = code.split("call ").skip(1).filter_map(|rest| rest.split(['#', '"', '\\', ' ']).next());
    called.filter(|name| !name.starts_with("pc+") && !name.starts_with("pc-")).map(str::to_owned).collect()
}

/// The map with this name that the process holds.
#[track_caller]
fn map_of(pid: u32, name: &str) -> String {
    let maps = held_by(pid).into_iter().filter(|object| object.0 == "map").map(|object| object.1.to_string());
    let has_name = |id: &String| bpftool(&["map", "show", "id", id])["name"].as_str() == Some(name);
    maps.into_iter().find(has_name).unwrap_or_else(|| panic!("process {pid} holds no map {name}"))
}

/// Waits until the programs of an agent leave out what that process does.
#[track_caller]
pub fn wait_until_deselected(agent: u32, pid: u32) {
    let map = map_of(agent, "DESELECTED");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let dump = bpftool(&["map", "dump", "id", &map]);
        let entries = dump.as_array().map_or(&[][..], Vec::as_slice);
        if entries.iter().any(|entry| little_endian(&entry["key"]) == i64::from(pid)) {
            return;
        }
        assert!(Instant::now() < deadline, "process {pid} is not deselected: {dump}");
    }
}

/// A per-CPU array of 64-bit counters that outlives the process that made it, because it is pinned.
#[derive(Debug)]
pub struct PinnedCounters(PathBuf);

impl PinnedCounters {
    /// Pins the map with this name that the process holds.
    #[must_use]
    #[track_caller]
    pub fn of(pid: u32, name: &str) -> Self {
        let id = map_of(pid, name);
        let path = Path::new("/sys/fs/bpf").join(format!("wirespan-tests-{}", process::id()));
        let _ = Program::new("bpftool").args(["map", "pin", "id", &id]).arg(&path).run().well();
        Self(path)
    }

    /// The sum over the CPUs of one slot.
    #[must_use]
    #[track_caller]
    pub fn sum(&self, slot: u32) -> i64 {
        let dump = bpftool(&["map", "dump", "pinned", &self.0.to_string_lossy()]);
        let row = &dump[slot as usize];
        let values = row["values"].as_array().unwrap_or_else(|| panic!("not per CPU: {row}"));
        values.iter().map(|value| little_endian(&value["value"])).sum()
    }
}

impl Drop for PinnedCounters {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A line of a descriptor's information that names an object.
fn object(line: &str) -> Option<(&'static str, u64)> {
    let (key, id) = line.split_once(':')?;
    let what = match key {
        "prog_id" => "prog",
        "map_id" => "map",
        "link_id" => "link",
        _ => return None,
    };
    Some((what, id.trim().parse().ok()?))
}

/// Ids of all objects of a kind.
#[track_caller]
fn ids(what: &str) -> BTreeSet<u64> {
    let shown = bpftool(&[what, "show"]);
    shown.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(|entry| entry["id"].as_u64()).collect()
}

#[track_caller]
fn bpftool(args: &[&str]) -> Value {
    let ended = Program::new("bpftool").arg("-j").args(args).run().well();
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("bpftool {args:?}: {error}: {}", ended.stdout))
}

/// `bpftool -j` prints a value as an array of texts like `"0x1f"`.
fn little_endian(value: &Value) -> i64 {
    let bytes = value.as_array().map_or(&[][..], Vec::as_slice);
    let byte = |text: &Value| {
        let digits = text.as_str().unwrap_or_default().trim_start_matches("0x");
        i64::from_str_radix(digits, 16).unwrap_or_default()
    };
    bytes.iter().rev().fold(0, |sum, text| (sum << 8) | byte(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_machine_writes_them() {
        assert_eq!(little_endian(&serde_json::json!(["0x01", "0x02", "0x00", "0x00"])), 0x201);
    }

    #[test]
    fn a_programs_own_functions_are_no_helpers() {
        let code = r#"{"disasm":"call bpf_sk_fullsock#1021"},{"disasm":"call pc+12#bpf_prog_x"},{"disasm":"r0 = 1"}"#;
        assert_eq!(helpers(code), BTreeSet::from(["bpf_sk_fullsock".to_owned()]));
    }

    #[test]
    fn a_descriptors_information_names_its_object() {
        assert_eq!(object("map_id:\t17"), Some(("map", 17)));
        assert_eq!(object("flags:\t02"), None);
    }
}
