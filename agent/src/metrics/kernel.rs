//! What the kernel says of the agent's programs and maps under `/proc/self/fdinfo` (`bpf_prog_show_fdinfo` and
//! `bpf_map_show_fdinfo` in `kernel/bpf/syscall.c`).

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::RawFd;

const FDINFO: &str = "/proc/self/fdinfo";
const STATS_SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Maps, programs and open descriptors at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Objects {
    /// Bytes of all maps of a type, by its name.
    pub(super) map_bytes: BTreeMap<&'static str, u64>,
    /// Programs by name.
    pub(super) programs: BTreeMap<String, Program>,
    /// Whether the kernel takes run times; `None` where it does not tell.
    pub(super) takes_times: Option<bool>,
    /// Open descriptors of the process.
    pub(super) descriptors: u64,
}

/// What a program did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Program {
    /// Runs while times were taken.
    pub(super) runs: u64,
    /// Nanoseconds of those.
    pub(super) run_ns: u64,
    /// Runs that the kernel left out, because the program was running on that CPU already.
    pub(super) missed: u64,
}

/// Looks at the descriptors of this process. What is not there any more is left out.
pub(super) fn read(programs: &[(String, RawFd)]) -> Objects {
    let mut objects = Objects { takes_times: takes_times(), ..Objects::default() };
    // Several descriptors may hold one map.
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(FDINFO).into_iter().flatten().flatten() {
        objects.descriptors += 1;
        if let Ok(text) = fs::read_to_string(entry.path())
            && let Some((id, kind, bytes)) = map(&text)
        {
            maps.insert(id, (kind, bytes));
        }
    }
    for (kind, bytes) in maps.into_values() {
        *objects.map_bytes.entry(kind).or_default() += bytes;
    }
    let programs = programs.iter().filter_map(|(name, descriptor)| {
        let text = fs::read_to_string(format!("{FDINFO}/{descriptor}")).ok()?;
        Some((name.clone(), program(&text)?))
    });
    objects.programs = programs.collect();
    objects
}

fn takes_times() -> Option<bool> {
    Some(fs::read_to_string(STATS_SWITCH).ok()?.trim() != "0")
}

/// Id, type and bytes of a map, if the descriptor is one.
fn map(fdinfo: &str) -> Option<(u64, &'static str, u64)> {
    Some((field(fdinfo, "map_id")?, type_name(field(fdinfo, "map_type")?), field(fdinfo, "memlock")?))
}

/// What a program did, if the descriptor is one. Old kernels do not tell everything.
fn program(fdinfo: &str) -> Option<Program> {
    field(fdinfo, "prog_type")?;
    let field = |name| field(fdinfo, name).unwrap_or(0);
    Some(Program { runs: field("run_cnt"), run_ns: field("run_time_ns"), missed: field("recursion_misses") })
}

fn field(fdinfo: &str, name: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

/// The types of our maps (`enum bpf_map_type` in `include/uapi/linux/bpf.h`), as `bpftool` names them.
const fn type_name(number: u64) -> &'static str {
    match number {
        1 => "hash",
        2 => "array",
        6 => "percpu_array",
        9 => "lru_hash",
        12 => "array_of_maps",
        24 => "sk_storage",
        27 => "ringbuf",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "pos:\t0\nflags:\t02000002\nmap_type:\t27\nkey_size:\t0\nmax_entries:\t524288\nmemlock:\t536904\n\
                       map_id:\t91\nfrozen:\t0\n";
    const PROGRAM: &str = "pos:\t0\nprog_type:\t26\nprog_jited:\t1\nprog_tag:\t11\nmemlock:\t8192\nprog_id:\t43\n\
                           run_time_ns:\t9000\nrun_cnt:\t30\nrecursion_misses:\t2\nverified_insns:\t1500\n";
    const LINK: &str = "pos:\t0\nlink_type:\ttracing\nlink_id:\t3\nprog_tag:\tab\nprog_id:\t9\n";

    #[test]
    fn a_descriptor_is_a_map_a_program_or_neither() {
        assert_eq!(map(MAP), Some((91, "ringbuf", 536_904)));
        assert_eq!(program(PROGRAM), Some(Program { runs: 30, run_ns: 9000, missed: 2 }));
        assert_eq!((map(PROGRAM), map(LINK), program(MAP), program(LINK)), (None, None, None, None));
        assert_eq!(program("prog_type:\t8\n"), Some(Program::default()));
        assert_eq!((map(""), program("prog_type")), (None, None));
    }

    #[test]
    fn what_is_no_program_any_more_is_left_out() {
        let own = fs::File::open("/proc/self/exe").expect("it runs");
        let objects = read(&[("gone".to_owned(), std::os::fd::AsRawFd::as_raw_fd(&own)), ("never".to_owned(), -1)]);
        assert!(objects.programs.is_empty());
        assert!(objects.descriptors >= 3, "{objects:?}");
    }
}
