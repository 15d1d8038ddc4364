//! The one table of capabilities: what each is for, and what is lost without it.

use std::io;

use rustix::thread::{CapabilitySet, capabilities};

use crate::probe::{Standing, Verdict};

/// A capability that the agent has a use for.
#[derive(Clone, Copy, Debug)]
pub struct Capability {
    /// As capabilities(7) names it.
    pub name: &'static str,
    /// Its bit.
    pub set: CapabilitySet,
    /// What it is used for.
    pub purpose: &'static str,
    /// How much depends on it.
    pub need: Need,
}

/// How much depends on a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing can be traced without it.
    Required,
    /// Something is missing without it.
    Helpful {
        /// The name of the verdict that says so.
        probe: &'static str,
        /// What is missing.
        without: &'static str,
        /// Whether it is needed after the start, too.
        always: bool,
    },
}

/// All that the agent has a use for, in the order in which they are shown.
pub const CAPABILITIES: &[Capability] = &[
    Capability {
        name: "CAP_BPF",
        set: CapabilitySet::BPF,
        purpose: "load kernel programs and make their maps",
        need: Need::Required,
    },
    Capability {
        name: "CAP_PERFMON",
        set: CapabilitySet::PERFMON,
        purpose: "load programs that read kernel memory",
        need: Need::Required,
    },
    Capability {
        name: "CAP_NET_ADMIN",
        set: CapabilitySet::NET_ADMIN,
        purpose: "load and attach programs that see packets",
        need: Need::Required,
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        set: CapabilitySet::SYS_PTRACE,
        purpose: "see which program a process runs, its environment and its sockets",
        need: Need::Helpful {
            probe: "processes",
            without: "processes that the agent has no power over have neither executable path, nor service name and \
                      attributes of their own, nor sockets from before the start",
            always: true,
        },
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        set: CapabilitySet::DAC_READ_SEARCH,
        purpose: "read files in /proc that belong to other users",
        need: Need::Helpful {
            probe: "other users",
            without: "processes of other users have no service name and attributes of their own, and their sockets \
                      from before the start no owner",
            always: true,
        },
    },
    Capability {
        name: "CAP_SYS_ADMIN",
        set: CapabilitySet::SYS_ADMIN,
        purpose: "look once into other network namespaces, at the start",
        need: Need::Helpful {
            probe: "namespaces",
            without: "connections that were open in other network namespaces before the start are known by what is sent \
                      on them only",
            always: false,
        },
    },
    Capability {
        name: "CAP_SYS_NICE",
        set: CapabilitySet::SYS_NICE,
        purpose: "let the thread that takes records over go before ordinary work",
        need: Need::Helpful { probe: "priority", without: "records may be lost when all CPUs are busy", always: false },
    },
];

/// The capabilities that are in effect for the calling thread.
///
/// # Errors
///
/// If the kernel does not tell.
pub fn held() -> io::Result<CapabilitySet> {
    Ok(capabilities(None)?.effective)
}

/// Whether the power of `capability` is held, by itself or by the older one that stands for it.
#[must_use]
pub fn covers(held: CapabilitySet, capability: &Capability) -> bool {
    let younger = CapabilitySet::BPF | CapabilitySet::PERFMON;
    held.contains(capability.set) || (younger.contains(capability.set) && held.contains(CapabilitySet::SYS_ADMIN))
}

/// The names of the required capabilities that are not held.
#[must_use]
pub fn missing(held: CapabilitySet) -> Vec<&'static str> {
    let required = CAPABILITIES.iter().filter(|capability| capability.need == Need::Required);
    required.filter(|capability| !covers(held, capability)).map(|capability| capability.name).collect()
}

/// What is lost without the helpful capabilities that are not held.
#[must_use]
pub fn verdicts(held: CapabilitySet) -> Vec<Verdict> {
    let lost = |capability: &Capability| match capability.need {
        Need::Helpful { probe, without, .. } if !covers(held, capability) => Some(Verdict {
            probe,
            standing: Standing::Degraded,
            reason: format!("without {}, {without}", capability.name),
        }),
        _ => None,
    };
    CAPABILITIES.iter().filter_map(lost).collect()
}

/// What is needed after the start.
#[must_use]
pub fn always() -> CapabilitySet {
    CAPABILITIES
        .iter()
        .filter(|capability| matches!(capability.need, Need::Helpful { always: true, .. }))
        .fold(CapabilitySet::empty(), |all, capability| all | capability.set)
}

/// The names of those in a set that the agent has a use for.
#[must_use]
pub fn names(set: CapabilitySet) -> Vec<&'static str> {
    CAPABILITIES.iter().filter(|capability| set.contains(capability.set)).map(|capability| capability.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_capability_stands_for_the_younger_ones_alone() {
        assert_eq!(missing(CapabilitySet::SYS_ADMIN), ["CAP_NET_ADMIN"]);
        assert_eq!(missing(CapabilitySet::empty()), ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]);
        let without_two = CapabilitySet::all() - CapabilitySet::SYS_PTRACE - CapabilitySet::BPF;
        assert!(missing(without_two).is_empty());
        assert_eq!(verdicts(without_two).len(), 1);
    }

    #[test]
    fn each_helpful_capability_has_a_verdict_of_its_own() {
        let verdicts = verdicts(CapabilitySet::empty());
        let mut names: Vec<_> = verdicts.iter().map(|verdict| verdict.probe).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), verdicts.len());
        let helpful = CAPABILITIES.iter().filter(|capability| capability.need != Need::Required).count();
        assert_eq!(verdicts.len(), helpful);
    }

    #[test]
    fn what_stays_is_what_reading_proc_needs() {
        assert_eq!(names(always()), ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]);
    }
}
