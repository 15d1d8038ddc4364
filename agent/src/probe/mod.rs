//! The kernel plane from user space: load, attach, say what works and what does not, read the ring buffers.

pub mod btf;
pub mod cgroup;
pub mod fields;
pub mod load;
pub mod plane;
pub mod ring;
pub mod verdict;

pub use load::{LoadError, Settings};
pub use plane::{Counts, Plane};
pub use verdict::{Standing, Verdict};
