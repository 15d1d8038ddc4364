//! The agent locks itself in: capabilities that are not needed any more are given up for good, and so are all system calls
//! that it has no use for.
//!
//! Capabilities belong to a thread, and a new thread gets those of the one that makes it. So this is done while there is but one
//! thread; whoever starts threads earlier is told.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};
use seccompiler::{BackendError, apply_filter};

use super::{calls, capability};
use crate::probe::{Standing, Verdict};

/// A thread that has ended may be listed for a moment still. It is waited for in so many rounds,
const LAST_THREAD_ROUNDS: usize = 200;
/// with this pause between them.
const LAST_THREAD_PAUSE: Duration = Duration::from_millis(1);

/// The verdict's name.
const PROBE: &str = "confinement";

/// Why the agent could not lock itself in.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// A bug of ours.
    #[error("{0} threads run before the capabilities were given up, and would keep them: please report it")]
    Threads(usize),
    /// The kernel refused.
    #[error("cannot give up capabilities: {0}")]
    Capabilities(#[from] io::Error),
    /// A bug of ours.
    #[error("the list of system calls makes no filter: {0}; please report it")]
    Filter(#[from] BackendError),
}

/// Gives up what is not needed after the start, for good. `maps_can_be_written` tries to change a map of the kernel
/// programs: some kernels want CAP_BPF for that, others an open descriptor alone.
///
/// # Errors
///
/// If capabilities can't be given up. A kernel without system call filters is a degraded verdict and no error.
pub fn confine(maps_can_be_written: impl FnOnce() -> bool) -> Result<Verdict, ConfineError> {
    be_alone()?;
    let kept = give_up_capabilities(maps_can_be_written)?;
    set_no_new_privs(true).map_err(io::Error::from)?;
    let kept = match capability::names(kept).as_slice() {
        [] => "no capability is left".to_owned(),
        names => format!("keeps {}", names.join(" and ")),
    };
    Ok(match filter_calls()? {
        None => Verdict {
            probe: PROBE,
            standing: Standing::Active,
            reason: format!("{kept}; what is not on the list of system calls ends the agent"),
        },
        Some(why) => Verdict {
            probe: PROBE,
            standing: Standing::Degraded,
            reason: format!("{kept}; system calls are not filtered: {why}"),
        },
    })
}

fn be_alone() -> Result<(), ConfineError> {
    let threads = || Ok::<_, io::Error>(std::fs::read_dir("/proc/self/task")?.count());
    for _ in 0..LAST_THREAD_ROUNDS {
        if threads()? <= 1 {
            return Ok(());
        }
        thread::sleep(LAST_THREAD_PAUSE);
    }
    Err(ConfineError::Threads(threads()?))
}

/// What is left.
fn give_up_capabilities(maps_can_be_written: impl FnOnce() -> bool) -> io::Result<CapabilitySet> {
    let held = capabilities(None)?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for one in (CapabilitySet::all() - capability::always()).iter() {
            // The kernel may be older than some of them.
            let _unknown = remove_capability_from_bounding_set(one);
        }
    }
    let _too_old = clear_ambient_capability_set();
    let mut kept = held.permitted & capability::always();
    // On kernels before 5.8 the older one was needed to load, and is needed for maps.
    let for_maps = held.permitted & CapabilitySet::BPF;
    let for_maps = if for_maps.is_empty() { held.permitted & CapabilitySet::SYS_ADMIN } else { for_maps };
    let set = |effective, permitted| {
        set_capabilities(None, CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() })
    };
    set(kept, kept | for_maps)?;
    if !maps_can_be_written() {
        kept |= for_maps;
    }
    set(kept, kept)?;
    Ok(kept)
}

/// Why system calls are not filtered, if so.
fn filter_calls() -> Result<Option<String>, BackendError> {
    let Some(filters) = calls::filters()? else {
        return Ok(Some("there is no list of them for this architecture".to_owned()));
    };
    for filter in &filters {
        if let Err(error) = apply_filter(filter) {
            return Ok(Some(format!("{error}; the kernel must be built with CONFIG_SECCOMP_FILTER=y")));
        }
    }
    Ok(None)
}
