//! `/proc/PID/stat` (proc_pid_stat(5)): the few fields that name a process.

/// Ticks per second in which the kernel reports times to user space (`USER_HZ`). It is 100 on every architecture that
/// we build for, whatever the kernel's own `HZ` is.
const TICKS_PER_SECOND: u64 = 100;

/// How far a start time from `/proc` may lie below the exact one: the kernel rounds down to a tick.
pub const START_ROUNDING_NS: u64 = 1_000_000_000 / TICKS_PER_SECOND;

/// What is taken from `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The task's name, up to 15 bytes.
    pub comm: String,
    /// Process id of the parent.
    pub parent: u32,
    /// Birth, nanoseconds since boot, rounded down to [`START_ROUNDING_NS`].
    pub start_ns: u64,
}

/// Whether two start times can be those of one process. Each may be exact or rounded.
#[must_use]
pub fn same_start(one_ns: u64, other_ns: u64) -> bool {
    one_ns.abs_diff(other_ns) < START_ROUNDING_NS
}

/// Reads the one line of the file. `None` if it is not of the known form.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Stat> {
    // The name stands in parentheses and may hold parentheses, spaces and line breaks itself: it ends at the last one.
    let open = line.iter().position(|&byte| byte == b'(')?;
    let close = line.iter().rposition(|&byte| byte == b')')?;
    let comm = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    // Fields count from 1; what follows the name is field 3.
    let mut fields = rest.split_ascii_whitespace();
    let parent = fields.nth(4 - 3)?.parse().ok()?;
    let ticks: u64 = fields.nth(22 - 5)?.parse().ok()?;
    Some(Stat { comm, parent, start_ns: ticks.checked_mul(START_ROUNDING_NS)? })
}

/// The process' id in its own pid namespace, from the text of `/proc/PID/status` (proc_pid_status(5), field `NSpid`). `None`
/// if that namespace is ours.
#[must_use]
pub fn inner_pid(status: &[u8]) -> Option<u32> {
    // The first line is a name that the process chose; line breaks in it are escaped.
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"))?;
    let mut pids = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let _ours = pids.next()?;
    pids.next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "S 1 812 812 0 -1 4194560 2041 0 5 0 11 7 0 0 20 0 1 0 4242 11165696 1024";

    #[test]
    fn the_name_may_hold_anything() {
        for name in ["nginx", "Web Content", "a) S 9 (b", "(sd-pam)", "", "two\nlines"] {
            let line = format!("812 ({name}) {TAIL}\n");
            let expect = Stat { comm: name.to_owned(), parent: 1, start_ns: 42_420_000_000 };
            assert_eq!(parse(line.as_bytes()), Some(expect), "{line}");
        }
    }

    #[test]
    fn a_process_in_a_namespace_of_its_own_has_two_ids() {
        assert_eq!(inner_pid(b"Name:\tx\nNSpid:\t812\t7\t1\nNSpgid:\t1\n"), Some(1));
        for ours in [&b"Name:\tx\nNSpid:\t812\n"[..], b"Name:\tx\n", b"", b"NSpid:\n", b"NSpid:\t1\t\xff\n"] {
            assert_eq!(inner_pid(ours), None);
        }
    }

    #[test]
    fn what_is_not_a_stat_line_gives_nothing() {
        for line in ["", "812", "812 (x", "812 )x( S 1", "812 (x) S 1 2 3", "812 (x) S one 812 812 0 -1 4194560"] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_rounded_start_is_the_exact_one() {
        assert!(same_start(42_420_000_000, 42_429_999_999));
        assert!(same_start(42_429_999_999, 42_420_000_000));
        assert!(!same_start(42_420_000_000, 42_430_000_000));
    }

    #[test]
    fn our_own_line_can_be_read() {
        let stat = parse(&std::fs::read("/proc/self/stat").expect("/proc is mounted")).expect("a stat line");
        assert_eq!(stat.parent, std::os::unix::process::parent_id());
        assert!(stat.start_ns > 0);
    }
}
