//! What the agent's process costs, under the names that every Prometheus client uses.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::proc::stat;

/// The process at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// User and system time of all threads, those that ended too, seconds.
    pub(super) cpu_seconds: f64,
    /// Memory that it has, bytes.
    pub(super) resident_bytes: u64,
    /// Addresses that it has, bytes.
    pub(super) virtual_bytes: u64,
    /// Descriptors that it may have; `None` for as many as it likes.
    pub(super) max_descriptors: Option<u64>,
    /// When it began, seconds since 1970.
    pub(super) start_seconds: f64,
}

/// Looks at this process.
pub(super) fn read() -> Process {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let [virtual_pages, resident_pages] = pages(&statm).unwrap_or_default();
    let page_bytes = rustix::param::page_size() as u64;
    let start_ns = fs::read("/proc/self/stat").ok().and_then(|line| stat::parse(&line)).map(|stat| stat.start_ns);
    Process {
        cpu_seconds: seconds(ClockId::ProcessCPUTime),
        resident_bytes: resident_pages.saturating_mul(page_bytes),
        virtual_bytes: virtual_pages.saturating_mul(page_bytes),
        max_descriptors: getrlimit(Resource::Nofile).current,
        start_seconds: start_ns
            .map_or(0.0, |start| seconds(ClockId::Realtime) - seconds(ClockId::Boottime) + start as f64 / 1e9),
    }
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The first two fields of `/proc/PID/statm` (proc_pid_statm(5)): size and resident, pages.
fn pages(statm: &str) -> Option<[u64; 2]> {
    let mut fields = statm.split_ascii_whitespace().map(str::parse);
    Some([fields.next()?.ok()?, fields.next()?.ok()?])
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn this_process_costs_something_and_began_before_now() {
        let process = read();
        assert!(process.cpu_seconds > 0.0);
        assert!(process.resident_bytes > 1 << 20 && process.virtual_bytes >= process.resident_bytes, "{process:?}");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
        assert!((now - 3600.0..=now + 1.0).contains(&process.start_seconds), "{process:?} {now}");
    }

    #[test]
    fn pages_are_the_first_two_fields() {
        assert_eq!(pages("5290 1893 1622 47 0 3311 0\n"), Some([5290, 1893]));
        assert_eq!((pages(""), pages("1"), pages("a b")), (None, None, None));
    }
}
