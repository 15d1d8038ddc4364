//! What is loaded in the kernel, as `bpftool` tells: an opinion that is not the agent's own.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::child::Program;

/// Ids of all BPF programs that are loaded.
#[must_use]
#[track_caller]
pub fn programs() -> BTreeSet<u64> {
    ids("prog")
}

/// Ids of all BPF maps that exist.
#[must_use]
#[track_caller]
pub fn maps() -> BTreeSet<u64> {
    ids("map")
}

/// Ids of all BPF links that exist.
#[must_use]
#[track_caller]
pub fn links() -> BTreeSet<u64> {
    ids("link")
}

/// Ids of the BPF programs and maps that a process holds.
#[must_use]
#[track_caller]
pub fn held_by(pid: u32) -> usize {
    let directory = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let is_bpf =
        |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().contains("bpf"));
    entries.filter_map(Result::ok).filter(is_bpf).count()
}

/// Sum over the CPUs of one slot of a per-CPU array of 64-bit counters, found by its name among the maps that the
/// process holds.
#[must_use]
#[track_caller]
pub fn per_cpu_sum(pid: u32, map: &str, slot: u32) -> u64 {
    let id = held_maps(pid).into_iter().find(|id| bpftool(&["map", "show", "id", id])["name"].as_str() == Some(map));
    let id = id.unwrap_or_else(|| panic!("process {pid} holds no map {map}"));
    let dump = bpftool(&["map", "dump", "id", &id]);
    let row = &dump[slot as usize];
    let values = row["values"].as_array().unwrap_or_else(|| panic!("map {map} is not per CPU: {row}"));
    values.iter().map(|value| little_endian(&value["value"])).sum()
}

/// Ids of the maps that a process has open.
fn held_maps(pid: u32) -> BTreeSet<String> {
    let directory = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let map_id = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        text.lines().find_map(|line| line.strip_prefix("map_id:")).map(|id| id.trim().to_owned())
    };
    entries.filter_map(Result::ok).filter_map(map_id).collect()
}

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

/// `bpftool -j` prints values without BTF as an array of texts like `"0x1f"`.
fn little_endian(value: &Value) -> u64 {
    let bytes = value.as_array().map_or(&[][..], Vec::as_slice);
    let byte = |text: &Value| {
        let digits = text.as_str().unwrap_or_default().trim_start_matches("0x");
        u64::from_str_radix(digits, 16).unwrap_or_default()
    };
    bytes.iter().rev().fold(0, |sum, text| (sum << 8) | byte(text))
}
