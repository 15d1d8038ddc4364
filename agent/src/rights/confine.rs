//! The agent locks itself in: capabilities that are not needed any more are given up for good, and so are all system calls
//! that it has no use for.
//!
//! Capabilities belong to a thread, and a new thread gets those of the one that makes it. So this is done before threads are
//! started. One that must be started earlier gives up its own, all of them ([`give_up_all`]); one that does not is found out.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, gettid,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use seccompiler::{BackendError, apply_filter_all_threads};

use super::{calls, capability};
use crate::probe::{Standing, Verdict};

/// A thread that has ended may be listed for a moment still. It is waited for in so many rounds,
const LAST_THREAD_ROUNDS: usize = 200;
/// with this pause between them.
const LAST_THREAD_PAUSE: Duration = Duration::from_millis(1);
/// What `/proc` says before the set of capabilities that a thread may use.
const PERMITTED: &str = "CapPrm:";

/// The verdict's name.
const PROBE: &str = "confinement";

/// Why the agent could not lock itself in.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// A bug of ours.
    #[error("threads that were started early would keep their capabilities ({0}): please report it")]
    Threads(String),
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
    let kept = give_up_capabilities(maps_can_be_written)?;
    others_have_none()?;
    set_no_new_privs(true).map_err(io::Error::from)?;
    let kept = match capability::names(kept).as_slice() {
        [] => "no capability is left".to_owned(),
        names => format!("keeps {}", names.join(" and ")),
    };
    Ok(match filter_calls()? {
        None => Verdict {
            probe: PROBE,
            standing: Standing::Active,
            reason: format!("seccomp and no_new_privs are set; {kept}"),
        },
        Some(why) => Verdict {
            probe: PROBE,
            standing: Standing::Degraded,
            reason: format!("{kept}; system calls are not filtered: {why}"),
        },
    })
}

/// Gives up every capability of the calling thread.
///
/// # Errors
///
/// If the kernel refuses.
pub fn give_up_all() -> io::Result<()> {
    narrow(capabilities(None)?);
    set(CapabilitySet::empty(), CapabilitySet::empty())
}

/// Fails if another thread still has a capability.
fn others_have_none() -> Result<(), ConfineError> {
    let mut holders = Vec::new();
    for _ in 0..LAST_THREAD_ROUNDS {
        holders = holders_besides_us()?;
        if holders.is_empty() {
            return Ok(());
        }
        thread::sleep(LAST_THREAD_PAUSE);
    }
    Err(ConfineError::Threads(holders.join(", ")))
}

/// The names of the other threads that have a capability.
fn holders_besides_us() -> io::Result<Vec<String>> {
    let own = gettid().as_raw_nonzero().to_string();
    let mut holders = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        // A thread that is gone by now holds nothing.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map_or("", str::trim);
        if task.file_name().to_str() != Some(&own) && field(PERMITTED).bytes().any(|digit| digit != b'0') {
            holders.push(field("Name:").to_owned());
        }
    }
    Ok(holders)
}

/// What is left.
fn give_up_capabilities(maps_can_be_written: impl FnOnce() -> bool) -> io::Result<CapabilitySet> {
    let held = capabilities(None)?;
    narrow(held);
    let mut kept = held.permitted & capability::always();
    // On kernels before 5.8 the older one was needed to load, and is needed for maps.
    let for_maps = held.permitted & CapabilitySet::BPF;
    let for_maps = if for_maps.is_empty() { held.permitted & CapabilitySet::SYS_ADMIN } else { for_maps };
    set(kept, kept | for_maps)?;
    if !maps_can_be_written() {
        kept |= for_maps;
    }
    set(kept, kept)?;
    Ok(kept)
}

/// Takes out of the sets from which programs would get theirs what is not needed after the start.
fn narrow(held: CapabilitySets) {
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for one in (CapabilitySet::all() - capability::always()).iter() {
            // The kernel may be older than some of them.
            let _unknown = remove_capability_from_bounding_set(one);
        }
    }
    let _too_old = clear_ambient_capability_set();
}

fn set(effective: CapabilitySet, permitted: CapabilitySet) -> io::Result<()> {
    Ok(set_capabilities(None, CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() })?)
}

/// Why system calls are not filtered, if so.
fn filter_calls() -> Result<Option<String>, BackendError> {
    let Some(filters) = calls::filters()? else {
        return Ok(Some("there is no list of them for this architecture".to_owned()));
    };
    for filter in &filters {
        if let Err(error) = apply_filter_all_threads(filter) {
            return Ok(Some(format!("{error}; the kernel must be built with CONFIG_SECCOMP_FILTER=y")));
        }
    }
    Ok(None)
}
