//! What can be told of this kernel without loading anything, also by those who may not.

use std::fs;

use super::attach::{PACKETS, SENDERS, TRACEPOINTS, WAKES};
use super::error::{BTF_PATH, LoadError};
use super::{btf, fields};

/// The kernel's type information, as far as the programs need it.
#[derive(Debug)]
pub struct Fields {
    /// Where it is.
    pub path: &'static str,
    /// Its size.
    pub bytes: usize,
    /// `structure.field` of what is missing but can be done without.
    pub missing: Vec<String>,
}

/// A place in the kernel to which a program is to be attached.
#[derive(Debug)]
pub struct Hook {
    /// What the probe is for.
    pub probe: &'static str,
    /// The name of the place.
    pub event: &'static str,
    /// What is lost without it.
    pub without: &'static str,
    /// Whether this kernel has it, if that can be told.
    pub exists: Option<bool>,
}

/// Reads the type information.
///
/// # Errors
///
/// If it can't be read, or a field is missing without which nothing can be traced.
pub fn fields() -> Result<Fields, LoadError> {
    let bytes = fs::read(BTF_PATH).map_err(|source| LoadError::NoBtf { source })?;
    let parsed = btf::Btf::parse(&bytes).map_err(|source| LoadError::BadBtf { source })?;
    let resolved = fields::resolve(&parsed).map_err(|field| LoadError::NoField { field })?;
    Ok(Fields { path: BTF_PATH, bytes: bytes.len(), missing: resolved.missing })
}

/// Every place to which `run` attaches a program.
#[must_use]
pub fn survey() -> Vec<Hook> {
    let types = fs::read(BTF_PATH).ok();
    let has = |event: &str| {
        // The type by which the kernel describes a tracepoint.
        let name = format!("\0btf_trace_{event}\0");
        types.as_ref().map(|types| memchr::memmem::find(types, name.as_bytes()).is_some())
    };
    let tracepoints = TRACEPOINTS.iter().map(|hook| (hook, has(hook.event)));
    // There are two other ways to see senders.
    let senders = (&SENDERS, has(SENDERS.event).filter(|exists| *exists));
    let packets = PACKETS.iter().map(|hook| (hook, None));
    tracepoints
        .chain([senders, (&WAKES, has(WAKES.event))])
        .chain(packets)
        .map(|(hook, exists)| Hook { probe: hook.probe, event: hook.event, without: hook.without, exists })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_is_told_of_once() {
        let hooks = survey();
        let mut names: Vec<_> = hooks.iter().map(|hook| hook.probe).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), hooks.len());
        assert_eq!(hooks.len(), TRACEPOINTS.len() + 4);
    }

    #[test]
    fn a_kernel_with_type_information_has_the_tracepoints_of_all_kernels() {
        let hooks = survey();
        let fork = hooks.iter().find(|hook| hook.event == "sched_process_fork").expect("it is in the table");
        assert_eq!(fork.exists.is_some(), std::path::Path::new(BTF_PATH).exists());
        assert_ne!(fork.exists, Some(false));
    }
}
