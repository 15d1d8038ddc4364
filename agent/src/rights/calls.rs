//! The system calls that are left when the agent has started. Anything else ends it at once.
//!
//! The kernel looks at numbers and plain arguments, never at memory: a path can't be judged here, but how a file is opened,
//! which command `bpf` is given, and what a new page may be used for can.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// `enum bpf_cmd` of `linux/bpf.h`: working with maps that are open, asking about objects that are, and attaching programs
/// that are loaded. No program can be loaded any more.
const BPF_COMMANDS: &[u64] = &[
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    15, // BPF_OBJ_GET_INFO_BY_FD
    17, // BPF_RAW_TRACEPOINT_OPEN: wake-ups are watched while somebody wants to know of them
    24, // BPF_MAP_LOOKUP_BATCH
    28, // BPF_LINK_CREATE: probes on programs that are started later
];

/// `PERF_EVENT_IOC_DISABLE` of `linux/perf_event.h`: how a kprobe is detached.
const PERF_EVENT_IOC_DISABLE: u64 = 0x2401;

/// `PR_SET_VMA` of `linux/prctl.h`: the C library names its memory.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// What stands beside a call.
enum Rule {
    /// However it is made.
    Any,
    /// One argument is one of these.
    OneOf(u8, &'static [u64]),
    /// These bits of one argument are not set.
    Without(u8, u64),
    /// These bits of one argument are all set.
    With(u8, u64),
    /// These bits of one argument are not both set.
    NotBoth(u8, u64, u64),
}
use Rule::{Any, NotBoth, OneOf, With, Without};

const PROT_WRITE: u64 = libc::PROT_WRITE as u64;
const PROT_EXEC: u64 = libc::PROT_EXEC as u64;
/// Opened so, a file is changed or made.
const OPENED_TO_WRITE: u64 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u64;

/// The list. What the C library calls for us is on it too: memory, threads, and the look-up of names with whatever modules
/// nsswitch.conf names, which ask local services, the kernel's interfaces and themselves a few harmless things.
static CALLS: &[(c_long, Rule)] = &[
    // Memory. A page may be run (the C library loads the modules of nsswitch.conf when it looks up a name), or written, but
    // not both.
    (libc::SYS_brk, Any),
    (libc::SYS_mmap, NotBoth(2, PROT_WRITE, PROT_EXEC)),
    (libc::SYS_mprotect, Without(2, PROT_EXEC)),
    (libc::SYS_munmap, Any),
    (libc::SYS_mremap, Any),
    (libc::SYS_madvise, Any),
    // Threads, but no processes: no call of `execve`, and `clone` for threads alone.
    (libc::SYS_clone, With(0, libc::CLONE_THREAD as u64)),
    (libc::SYS_exit, Any),
    (libc::SYS_exit_group, Any),
    (libc::SYS_futex, Any),
    (libc::SYS_getcpu, Any),
    (libc::SYS_getpid, Any),
    (libc::SYS_gettid, Any),
    (libc::SYS_prctl, OneOf(0, &[libc::PR_SET_NAME as u64, libc::PR_GET_NAME as u64, PR_SET_VMA])),
    (libc::SYS_rseq, Any),
    (libc::SYS_sched_getaffinity, Any),
    (libc::SYS_sched_yield, Any),
    (libc::SYS_set_robust_list, Any),
    // Signals.
    (libc::SYS_restart_syscall, Any),
    (libc::SYS_rt_sigaction, Any),
    (libc::SYS_rt_sigprocmask, Any),
    (libc::SYS_rt_sigreturn, Any),
    (libc::SYS_sigaltstack, Any),
    (libc::SYS_tgkill, Any),
    // Time, chance, and what the machine is.
    (libc::SYS_clock_getres, Any),
    (libc::SYS_clock_gettime, Any),
    (libc::SYS_clock_nanosleep, Any),
    (libc::SYS_nanosleep, Any),
    (libc::SYS_gettimeofday, Any),
    (libc::SYS_getrandom, Any),
    (libc::SYS_getppid, Any),
    (libc::SYS_getresgid, Any),
    (libc::SYS_getresuid, Any),
    (libc::SYS_getrusage, Any),
    (libc::SYS_getuid, Any),
    (libc::SYS_geteuid, Any),
    (libc::SYS_getgid, Any),
    (libc::SYS_getegid, Any),
    // Of ourselves alone.
    (libc::SYS_prlimit64, OneOf(0, &[0])),
    (libc::SYS_sysinfo, Any),
    (libc::SYS_uname, Any),
    // Files: to read.
    (libc::SYS_openat, Without(2, OPENED_TO_WRITE)),
    (libc::SYS_close, Any),
    (libc::SYS_dup, Any),
    (libc::SYS_dup3, Any),
    (libc::SYS_faccessat, Any),
    (libc::SYS_faccessat2, Any),
    (libc::SYS_fadvise64, Any),
    (libc::SYS_fcntl, Any),
    (libc::SYS_fstat, Any),
    (libc::SYS_fstatfs, Any),
    (libc::SYS_getcwd, Any),
    (libc::SYS_getdents64, Any),
    (libc::SYS_lseek, Any),
    (libc::SYS_newfstatat, Any),
    (libc::SYS_pread64, Any),
    (libc::SYS_read, Any),
    (libc::SYS_readv, Any),
    (libc::SYS_readlinkat, Any),
    (libc::SYS_statfs, Any),
    (libc::SYS_statx, Any),
    // And to what was opened to be written before: standard output, a recording.
    (libc::SYS_write, Any),
    (libc::SYS_writev, Any),
    (
        libc::SYS_ioctl,
        OneOf(
            1,
            &[
                libc::TCGETS,
                libc::TCGETS2,
                libc::TIOCGWINSZ,
                libc::FIONBIO,
                libc::FIONREAD,
                libc::FIOCLEX,
                libc::SIOCGIFCONF,
                libc::SIOCGIFFLAGS,
                libc::SIOCGIFINDEX,
                libc::SIOCGIFNAME,
                PERF_EVENT_IOC_DISABLE,
            ],
        ),
    ),
    // Sockets.
    (
        libc::SYS_socket,
        OneOf(0, &[libc::AF_UNIX as u64, libc::AF_INET as u64, libc::AF_INET6 as u64, libc::AF_NETLINK as u64]),
    ),
    (libc::SYS_socketpair, OneOf(0, &[libc::AF_UNIX as u64])),
    (libc::SYS_accept4, Any),
    (libc::SYS_bind, Any),
    (libc::SYS_connect, Any),
    (libc::SYS_getpeername, Any),
    (libc::SYS_getsockname, Any),
    (libc::SYS_getsockopt, Any),
    (libc::SYS_setsockopt, Any),
    (libc::SYS_listen, Any),
    (libc::SYS_recvfrom, Any),
    (libc::SYS_recvmmsg, Any),
    (libc::SYS_recvmsg, Any),
    (libc::SYS_sendmmsg, Any),
    (libc::SYS_sendmsg, Any),
    (libc::SYS_sendto, Any),
    (libc::SYS_shutdown, Any),
    // Waiting for them.
    (libc::SYS_epoll_create1, Any),
    (libc::SYS_epoll_ctl, Any),
    (libc::SYS_epoll_pwait, Any),
    (libc::SYS_epoll_pwait2, Any),
    (libc::SYS_eventfd2, Any),
    (libc::SYS_pipe2, Any),
    (libc::SYS_ppoll, Any),
    (libc::SYS_pselect6, Any),
    // Maps of the kernel programs.
    (libc::SYS_bpf, OneOf(0, BPF_COMMANDS)),
];

/// Calls that only this architecture has.
#[cfg(target_arch = "x86_64")]
static OLDER_CALLS: &[(c_long, Rule)] = &[
    (libc::SYS_access, Any),
    (libc::SYS_epoll_wait, Any),
    (libc::SYS_lstat, Any),
    (libc::SYS_open, Without(1, OPENED_TO_WRITE)),
    (libc::SYS_dup2, Any),
    (libc::SYS_poll, Any),
    (libc::SYS_readlink, Any),
    (libc::SYS_stat, Any),
    (libc::SYS_time, Any),
];
/// Calls that only this architecture has.
#[cfg(not(target_arch = "x86_64"))]
static OLDER_CALLS: &[(c_long, Rule)] = &[];

/// The architecture that this was built for, if the filter knows it.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<TargetArch> = Some(TargetArch::x86_64);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<TargetArch> = Some(TargetArch::aarch64);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: Option<TargetArch> = None;

/// The filters, in the order in which they are to be installed; the kernel asks all of them, and the strictest answer
/// counts. `None` where there is no list for this architecture.
///
/// # Errors
///
/// If the list does not make a program.
pub fn filters() -> Result<Option<[BpfProgram; 2]>, BackendError> {
    let Some(architecture) = ARCHITECTURE else { return Ok(None) };
    // Its flags lie in memory, where they can't be judged. When told that the kernel has no such call, the C library uses
    // `clone`.
    let no_clone3 = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
        architecture,
    )?;
    let mut rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    for (call, rule) in CALLS.iter().chain(OLDER_CALLS) {
        rules.insert(*call, rule.compile()?);
    }
    let listed = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?;
    Ok(Some([no_clone3.try_into()?, listed.try_into()?]))
}

impl Rule {
    /// The alternatives under which the call is allowed; none means always.
    fn compile(&self) -> Result<Vec<SeccompRule>, BackendError> {
        let when = |argument, operator, value| {
            // The kernel passes on all 64 bits, of which the call uses the lower half.
            SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?])
        };
        match *self {
            Any => Ok(Vec::new()),
            OneOf(argument, values) => values.iter().map(|&value| when(argument, SeccompCmpOp::Eq, value)).collect(),
            Without(argument, bits) => Ok(vec![when(argument, SeccompCmpOp::MaskedEq(bits), 0)?]),
            With(argument, bits) => Ok(vec![when(argument, SeccompCmpOp::MaskedEq(bits), bits)?]),
            NotBoth(argument, one, other) => Ok(vec![
                when(argument, SeccompCmpOp::MaskedEq(one), 0)?,
                when(argument, SeccompCmpOp::MaskedEq(other), 0)?,
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_each_call_once_and_makes_a_program() {
        let mut numbers: Vec<_> = CALLS.iter().chain(OLDER_CALLS).map(|(call, _)| *call).collect();
        let listed = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), listed);
        assert!(filters().expect("it makes a program").is_some());
    }

    #[test]
    fn nothing_on_the_list_starts_a_program_or_changes_another() {
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_getfd,
            libc::SYS_kill,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_mount,
            libc::SYS_open_by_handle_at,
            libc::SYS_openat2,
            libc::SYS_capset,
            libc::SYS_seccomp,
            libc::SYS_init_module,
            libc::SYS_unlinkat,
            libc::SYS_renameat2,
            libc::SYS_pwrite64,
        ] {
            assert!(CALLS.iter().chain(OLDER_CALLS).all(|(listed, _)| *listed != call), "{call}");
        }
    }

    /// Names of what the child of the next test does, and whether it may.
    const TRIED: &[(&str, bool)] = &[
        ("read a file", true),
        ("start a thread", true),
        ("look up a name", true),
        ("list a directory", true),
        ("write a file", false),
        ("open a file for both", false),
        ("start a program", false),
        ("talk to a device", false),
        ("enter a namespace", false),
        ("end a process", false),
    ];

    /// Runs in a process of its own, behind the filters.
    fn attempt(name: &str) {
        use std::net::ToSocketAddrs;

        use rustix::fs::{Mode, OFlags};
        use rustix::net::{AddressFamily, SocketType};

        for filter in filters().expect("a program").into_iter().flatten() {
            seccompiler::apply_filter(&filter).expect("the kernel takes it");
        }
        let file = std::env::temp_dir().join("wirespan-calls");
        match name {
            "read a file" => drop(std::fs::read("/proc/self/stat").expect("it is there")),
            "start a thread" => std::thread::spawn(|| ()).join().expect("it ends"),
            "look up a name" => drop("localhost:1".to_socket_addrs()),
            "list a directory" => drop(std::fs::read_dir("/proc").expect("it is there").count()),
            "write a file" => drop(std::fs::File::create(file)),
            "open a file for both" => drop(rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())),
            "start a program" => drop(std::process::Command::new("true").spawn()),
            "talk to a device" => drop(rustix::net::socket(AddressFamily::PACKET, SocketType::DGRAM, None)),
            "enter a namespace" => {
                let own = std::fs::File::open("/proc/self/ns/net").expect("it is there");
                let _refused = rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&own), None);
            }
            "end a process" => drop(rustix::process::kill_process(
                rustix::process::Pid::from_raw(i32::MAX).expect("a number that no process has"),
                rustix::process::Signal::TERM,
            )),
            other => unreachable!("{other}"),
        }
        std::process::exit(0);
    }

    #[test]
    fn what_is_not_on_the_list_ends_the_process_with_sigsys() {
        use std::os::unix::process::ExitStatusExt;

        const ATTEMPT: &str = "WIRESPAN_TEST_ATTEMPT";
        if let Ok(name) = std::env::var(ATTEMPT) {
            attempt(&name);
        }
        let this = std::thread::current().name().expect("a test's thread has its name").to_owned();
        for (name, allowed) in TRIED {
            let mut again = std::process::Command::new(std::env::current_exe().expect("it has a path"));
            let ended = again.args(["--exact", &this]).env(ATTEMPT, name).output().expect("it can be started");
            let expect = if *allowed { (Some(0), None) } else { (None, Some(libc::SIGSYS)) };
            assert_eq!((ended.status.code(), ended.status.signal()), expect, "{name}: {ended:?}");
        }
    }
}
