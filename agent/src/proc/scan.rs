//! All processes, once, at the start.

use std::fs;
use std::io;

use super::describe::executable_path;
use super::stat;

/// A process that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Process id.
    pub tgid: u32,
    /// Process id of its parent.
    pub parent: u32,
    /// Birth, nanoseconds since boot, rounded down to a clock tick.
    pub start_ns: u64,
    /// The task's name.
    pub comm: String,
    /// Path of its executable; kernel threads have none.
    pub executable: Option<String>,
}

/// Every process that is there, in the order of their numbers. One that ends meanwhile is left out.
///
/// # Errors
///
/// If `/proc` can't be read at all.
pub fn running() -> io::Result<Vec<Running>> {
    Ok(ids()?.into_iter().filter_map(look_at).collect())
}

/// The ids of every process that is there, in order.
///
/// # Errors
///
/// If `/proc` can't be read at all.
pub fn ids() -> io::Result<Vec<u32>> {
    let mut ids: Vec<u32> =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    Ok(ids)
}

fn look_at(tgid: u32) -> Option<Running> {
    let stat = stat::parse(&fs::read(format!("/proc/{tgid}/stat")).ok()?)?;
    let executable = fs::read_link(format!("/proc/{tgid}/exe")).ok().map(|target| executable_path(target.as_os_str()));
    Some(Running { tgid, parent: stat.parent, start_ns: stat.start_ns, comm: stat.comm, executable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_among_those_that_run() {
        let own = std::process::id();
        let running = running().expect("/proc is mounted");
        let us = running.iter().find(|process| process.tgid == own).expect("we run");
        assert_eq!(us.parent, std::os::unix::process::parent_id());
        assert_eq!(us.executable.as_deref(), std::env::current_exe().expect("it has a path").to_str());
        assert!(running.is_sorted_by_key(|process| process.tgid));
    }
}
