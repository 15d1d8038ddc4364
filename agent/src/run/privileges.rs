//! The rights of a session: which files it trusts, what it is missing, and what it gives up once the probes are attached.

use std::env;
use std::panic;
use std::path::PathBuf;
use std::thread;

use rustix::process::{getpriority_process, setpriority_process};
use wirespan::export::otlp;
use wirespan::probe::Plane;
use wirespan::rights::{capability, confine, trusted};

use super::{say, variable};
use crate::exit::Failure;

/// The thread that empties the buffers goes before ordinary work, or it loses records when all CPUs are busy: it has some
/// tens of milliseconds before one is full, and a CPU with a queue of equals makes it wait as long. It runs for a few
/// percent of the time. The threads that export stay as they are.
const NICE: i32 = -10;

/// The priority that other threads are to have: the one that we were started with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ordinary(i32);

/// Fails if anybody may change a file that decides what we do. How many files that are.
pub(crate) fn check_files() -> Result<usize, Failure> {
    let mut files = otlp::Config::files(variable);
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

/// Says what will be missing, for want of capabilities.
pub(super) fn say_what_is_missing() {
    let held = capability::held().unwrap_or(rustix::thread::CapabilitySet::empty());
    for verdict in capability::verdicts(held) {
        say(&format_args!("probe: {verdict}"));
    }
}

/// Lets the calling thread go before ordinary work, if that is allowed.
pub(super) fn go_first() -> Ordinary {
    let ordinary = getpriority_process(None).unwrap_or(0);
    if let Err(error) = setpriority_process(None, NICE.min(ordinary)) {
        tracing::debug!("the priority of the core thread stays as it is: {error}");
    }
    Ordinary(ordinary)
}

/// Gives up every capability and system call that is not needed any more. To be called while there is only one thread.
pub(super) fn confine(plane: &mut Plane) -> Result<(), Failure> {
    let verdict = confine::confine(|| plane.can_write_maps()).map_err(|error| Failure::Other(error.to_string()))?;
    say(&format_args!("probe: {verdict}"));
    Ok(())
}

impl Ordinary {
    /// Does something that starts threads, which get this priority: a thread has that of the one that makes it.
    pub(super) fn run<R: Send>(self, work: impl FnOnce() -> R + Send) -> R {
        let lowered = move || {
            if let Err(error) = setpriority_process(None, self.0) {
                tracing::debug!("the priority of the other threads is that of the core thread: {error}");
            }
            work()
        };
        let done = thread::scope(|scope| scope.spawn(lowered).join());
        done.unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    }
}
