//! The rights of a session: which files it trusts, what it is missing, and what it gives up once the probes are attached.

use std::env;
use std::path::PathBuf;

use wirespan::config::layers::Resolved;
use wirespan::probe::{Plane, Verdict};
use wirespan::rights::{capability, confine, trusted};

use crate::exit::Failure;
use crate::settings::files_of;

/// Fails if anybody may change a file that decides what we do. How many files that are.
pub(crate) fn check_files(resolved: &Resolved) -> Result<usize, Failure> {
    let mut files = files_of(resolved);
    // Where the certificates of trusted authorities are looked for, if no variable of the exporter says so.
    let directories = env::var_os("SSL_CERT_DIR").unwrap_or_default();
    let named = env::var_os("SSL_CERT_FILE").map(|file| ("SSL_CERT_FILE", file.into()));
    let named = named.into_iter().chain(env::split_paths(&directories).map(|path| ("SSL_CERT_DIR", path)));
    files.extend(named.map(|(name, path): (_, PathBuf)| (name.to_owned(), path)));
    files.retain(|(_, path)| !path.as_os_str().is_empty());
    files
        .iter()
        .try_for_each(|(setting, path)| trusted::check(setting, path))
        .map_err(|untrusted| Failure::Usage(untrusted.to_string()))?;
    Ok(files.len())
}

/// What will be missing, for want of capabilities.
pub(super) fn what_is_missing() -> impl Iterator<Item = Verdict> {
    let held = capability::held().unwrap_or(rustix::thread::CapabilitySet::empty());
    capability::verdicts(held).into_iter()
}

/// Gives up every capability and system call that is not needed any more. To be called before any thread is
/// started that would need more. What became of it.
pub(super) fn confine(plane: &mut Plane) -> Result<Verdict, Failure> {
    confine::confine(|| plane.can_write_maps()).map_err(|error| Failure::Other(error.to_string()))
}
