//! Why the kernel plane can't be loaded, in words that a person can act on.

use std::io;

use aya::EbpfError;

use super::btf;
use super::verdict::Verdict;

/// Where the running kernel describes its types.
pub(super) const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Why nothing can be traced here. Each names the thing and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Built by plain cargo.
    #[error("this binary was built without its kernel programs: build it with `cargo xtask build`")]
    NoObject,
    /// Missing capabilities.
    #[error(
        "not allowed to load kernel programs: run as root, or with the capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (missing: {missing})"
    )]
    NotPrivileged {
        /// Their names.
        missing: String,
    },
    /// No type information.
    #[error(
        "{BTF_PATH} can't be read ({source}): the kernel must be built with CONFIG_DEBUG_INFO_BTF=y, and /sys must be mounted"
    )]
    NoBtf {
        /// Why.
        source: io::Error,
    },
    /// Damaged type information.
    #[error("{BTF_PATH} can't be understood: {source}")]
    BadBtf {
        /// Where.
        source: btf::Damaged,
    },
    /// A kernel unlike all we know.
    #[error("the kernel has no field `{field}`, which is needed: please report it with the output of `uname -a`")]
    NoField {
        /// Its name.
        field: String,
    },
    /// Kernel lockdown.
    #[error(
        "kernel lockdown is in confidentiality mode, which forbids reading kernel memory: boot with lockdown=integrity or none"
    )]
    Lockdown,
    /// No cgroup v2.
    #[error(
        "cgroup v2 is neither mounted nor can it be ({source}): mount it with `mount -t cgroup2 none /sys/fs/cgroup/unified`"
    )]
    NoCgroup {
        /// Why.
        source: io::Error,
    },
    /// The kernel refused the maps or the object.
    #[error("the kernel refused the programs' maps: {source}")]
    Refused {
        /// Why.
        source: Box<EbpfError>,
    },
    /// The memory shared with the programs could not be mapped.
    #[error("can't map the {bytes} bytes of memory that are shared with the kernel programs: {source}")]
    Exchange {
        /// How much.
        bytes: usize,
        /// Why.
        source: io::Error,
    },
    /// No thread to take records over with.
    #[error("can't start a thread ({source}): raise the limit of processes (`ulimit -u`, or pids.max of the cgroup)")]
    NoThread {
        /// Why.
        source: io::Error,
    },
    /// A ring buffer could not be made.
    #[error("can't make a ring buffer of {bytes} bytes for CPU {cpu}: {reason}")]
    Ring {
        /// Which CPU.
        cpu: u32,
        /// Its size.
        bytes: u32,
        /// Why.
        reason: String,
    },
    /// The payload probes are not there: nothing useful is left.
    #[error("no packet probe could be attached, so nothing can be traced: {}", .verdicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NothingWorks {
        /// What became of each probe.
        verdicts: Vec<Verdict>,
        /// Programs that the kernel's verifier did not take.
        refused: usize,
    },
}

/// An error with all its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let this = error.to_string();
        if !text.contains(&this) {
            text = format!("{text}: {this}");
        }
        cause = error.source();
    }
    text
}
