//! What benches and the accuracy of links share: the agent as a child, servers, applications that are installed once, processor
//! time, the machine, and documents of marked parts; and what clusters and images are made with.

pub(crate) mod agent;
pub(crate) mod cpu;
pub(crate) mod go;
pub(crate) mod helm;
pub(crate) mod install;
pub(crate) mod machine;
pub(crate) mod parts;
pub(crate) mod server;

/// Counts and nanoseconds here are far below 2^53, where this begins to round.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}
