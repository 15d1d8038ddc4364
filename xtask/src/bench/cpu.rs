//! Processor time and memory of processes that are measured.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Clock ticks of `/proc/PID/stat`: `USER_HZ`, 100 on every architecture that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time that a process has used so far, those of its ended threads included; in steps of 10 ms.
pub(super) fn seconds(pid: u32) -> Result<f64> {
    let (path, text) = read(pid, "stat")?;
    stat(&text)
        .map(|stat| crate::bench::figure::as_f64(stat.ticks) / TICKS_PER_SECOND)
        .with_context(|| format!("{path} makes no sense"))
}

/// Seconds of processor time of the threads that a process has now, to the nanosecond.
pub(super) fn seconds_of_threads(pid: u32) -> Result<f64> {
    let folder = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&folder).with_context(|| format!("{folder} cannot be read"))?;
    let nanoseconds = threads.flatten().filter_map(|thread| on_cpu(&thread.path().join("schedstat"))).sum::<u64>();
    Ok(crate::bench::figure::as_f64(nanoseconds) / 1e9)
}

/// Bytes of memory that a process holds now.
pub(super) fn resident_bytes(pid: u32) -> Result<u64> {
    let (path, text) = read(pid, "status")?;
    let kib =
        text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).with_context(|| format!("{path} has no VmRSS"))
}

/// A process and all that descend from it, as far as they live.
pub(super) fn family(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<_> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse::<u32>().ok()?;
            Some((pid, stat(&fs::read_to_string(entry.path().join("stat")).ok()?)?.parent))
        })
        .collect();
    descendants(pid, &parents)
}

struct Stat {
    parent: u32,
    ticks: u64,
}

/// From `/proc/PID/stat`. The name in parentheses may hold anything, so counting starts behind it.
fn stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks: number(11)? + number(12)? })
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

/// The first field of `schedstat`: nanoseconds on a processor.
fn on_cpu(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_ascii_whitespace().next()?.parse().ok()
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
    fn processor_time_is_found_behind_any_name() {
        let stat = super::stat("7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 3 4 20 0 1 0 9 9 9").unwrap();
        assert_eq!((stat.parent, stat.ticks), (1, 200));
        assert!(super::stat("7 (x) S").is_none());
    }

    #[test]
    fn a_family_is_a_process_with_its_children_and_theirs() {
        assert_eq!(descendants(5, &[(1, 0), (5, 1), (8, 6), (6, 5), (7, 5), (9, 1)]), [5, 6, 7, 8]);
    }

    #[test]
    fn a_thread_that_works_uses_processor_time() {
        let pid = std::process::id();
        let before = seconds_of_threads(pid).unwrap();
        while seconds_of_threads(pid).unwrap() <= before {}
    }
}
