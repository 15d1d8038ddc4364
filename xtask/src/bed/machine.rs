//! What figures are of: the machine, its kernel, and the commit that was built.

use std::fs;

use serde_json::{Value, json};

use crate::command::{command, output};

/// A machine and a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Its processors, in words.
    pub(crate) processor: String,
    /// How many of them.
    pub(crate) cpus: usize,
    /// Memory, MiB.
    pub(crate) memory_mib: u64,
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// How many processes wanted to run, on average of the last minute: of a busy machine figures mean little.
    pub(crate) load: String,
    /// Short hash of the commit, and whether files differ from it.
    pub(crate) commit: String,
    /// The day, as `YYYY-MM-DD`.
    pub(crate) day: String,
}

impl Machine {
    /// This one.
    pub(crate) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let hash = output(command("git").args(["rev-parse", "--short=12", "HEAD"])).unwrap_or_default();
        // The documents that benches write do not change what was measured.
        let changes = output(command("git").args(["status", "--porcelain", "--untracked-files=no", ":!docs"]));
        let changed = if changes.is_ok_and(|changes| changes.trim().is_empty()) { "" } else { " with changes" };
        Self {
            processor: processor(&read("/proc/cpuinfo")).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory_mib(&read("/proc/meminfo")).unwrap_or(0),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            commit: format!("{}{changed}", hash.trim()),
            day: output(command("date").args(["--utc", "+%F"])).unwrap_or_default().trim().to_owned(),
        }
    }

    /// As it is kept in a file.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "processor": self.processor,
            "cpus": self.cpus,
            "memory_mib": self.memory_mib,
            "kernel": self.kernel,
            "load_before": self.load,
            "commit": self.commit,
            "day": self.day,
        })
    }

    /// As a sentence.
    pub(crate) fn line(&self) -> String {
        let Self { processor, cpus, memory_mib, kernel, load, commit, day } = self;
        let gib = memory_mib.div_ceil(1024);
        format!("{day}, commit {commit}, Linux {kernel}, {cpus} CPUs ({processor}), {gib} GiB, load before {load}.")
    }
}

fn processor(cpuinfo: &str) -> Option<String> {
    let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'))?.1;
    Some(name.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn memory_mib(meminfo: &str) -> Option<u64> {
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))?;
    kib.parse::<u64>().ok().map(|kib| kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_described_in_a_line() {
        let machine = Machine {
            processor: processor("processor\t: 0\nmodel name\t: Some  CPU @ 2 GHz\n").unwrap(),
            cpus: 2,
            memory_mib: memory_mib("MemTotal:       24685568 kB\nMemFree: 1 kB\n").unwrap(),
            kernel: "6.18.0".to_owned(),
            load: "0.25".to_owned(),
            commit: "0123456789ab".to_owned(),
            day: "2026-11-20".to_owned(),
        };
        assert_eq!(
            machine.line(),
            "2026-11-20, commit 0123456789ab, Linux 6.18.0, 2 CPUs (Some CPU @ 2 GHz), 24 GiB, load before 0.25."
        );
        assert_eq!(processor(""), None);
    }
}
