//! Who is this: processes, their containers, and the sockets that were there before us.
//!
//! - [`scan`]: all processes, once, at the start.
//! - [`describe`]: one process, in full; from [`stat`], [`cgroup`] and [`environ`], which only parse.
//! - [`bounded`]: the same, for processes that do not want to be looked at.
//! - [`table`]: what we know of processes as the kernel's records report births, changes and ends.
//! - [`sockets`]: listening and established sockets of every network namespace, through [`diag`], with their owners.

pub mod bounded;
pub mod cgroup;
pub mod describe;
pub mod diag;
pub mod environ;
pub mod scan;
pub mod sockets;
pub mod stat;
pub mod table;
