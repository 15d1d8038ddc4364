//! Processor time and memory of processes that are measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::bed::as_f64;

/// The processor time that some processes use, to the nanosecond, from when this is made. What a thread uses that ends
/// meanwhile is not counted: servers keep theirs.
pub(crate) struct Watch {
    pids: Vec<u32>,
    before: BTreeMap<u32, u64>,
}

impl Watch {
    /// Begins to watch these processes, of which each must live.
    pub(crate) fn of(pids: &[u32]) -> Result<Self> {
        let mut before = BTreeMap::new();
        for pid in pids {
            before.extend(threads(*pid)?);
        }
        Ok(Self { pids: pids.to_vec(), before })
    }

    /// Seconds of processor time since.
    pub(crate) fn seconds(&self) -> Result<f64> {
        let mut nanoseconds = 0;
        for pid in &self.pids {
            let used = threads(*pid)?.into_iter().map(|(id, used)| used - self.before.get(&id).unwrap_or(&0));
            nanoseconds += used.sum::<u64>();
        }
        Ok(as_f64(nanoseconds) / 1e9)
    }
}

/// Bytes of memory that a process holds now.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let (path, text) = read(pid, "status")?;
    let kib =
        text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).with_context(|| format!("{path} has no VmRSS"))
}

/// A process and all that descend from it, as far as they live.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<_> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse::<u32>().ok()?;
            Some((pid, parent(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect();
    descendants(pid, &parents)
}

/// The parent's process id from `/proc/PID/stat`. The name in parentheses may hold anything, so counting starts behind it.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn descendants(pid: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        let children = parents.iter().filter(|(child, of)| *of == parent && !family.contains(child));
        let children: Vec<_> = children.map(|(child, _)| *child).collect();
        family.extend(children);
        next += 1;
    }
    family
}

/// The threads that a process has now, with the nanoseconds that each has used.
fn threads(pid: u32) -> Result<Vec<(u32, u64)>> {
    let folder = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&folder).with_context(|| format!("{folder} cannot be read"))?.flatten();
    let used = |path: &Path| fs::read_to_string(path).ok()?.split_ascii_whitespace().next()?.parse().ok();
    // A thread that ends just now has no time any more.
    let thread =
        |entry: fs::DirEntry| Some((entry.file_name().to_str()?.parse().ok()?, used(&entry.path().join("schedstat"))?));
    Ok(threads.filter_map(thread).collect())
}

fn read(pid: u32, name: &str) -> Result<(String, String)> {
    let path = format!("/proc/{pid}/{name}");
    let text = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    Ok((path, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent("7 (a) b) S 1 7 7 0 -1"), Some(1));
        assert_eq!(parent("7 (x) S"), None);
    }

    #[test]
    fn a_family_is_a_process_with_its_children_and_theirs() {
        assert_eq!(descendants(5, &[(1, 0), (5, 1), (8, 6), (6, 5), (7, 5), (9, 1)]), [5, 6, 7, 8]);
    }

    #[test]
    fn a_thread_that_works_uses_processor_time() {
        let watch = Watch::of(&[std::process::id()]).unwrap();
        while watch.seconds().unwrap() <= 0.0 {}
    }
}
