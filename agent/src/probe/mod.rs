//! The kernel plane from user space: load, attach, say what works and what does not, read the records.

mod attach;
mod bell;
mod block;
pub mod btf;
mod buffers;
pub mod cgroup;
mod clock;
mod drain;
mod error;
mod exchange;
pub mod fields;
mod inspect;
pub mod link;
pub mod load;
mod merge;
pub mod plane;
mod ring;
pub mod survey;
mod uprobe;
pub mod verdict;

pub use error::LoadError;
pub use load::Settings;
pub use plane::{Counts, Plane};
pub use verdict::{Standing, Verdict};
