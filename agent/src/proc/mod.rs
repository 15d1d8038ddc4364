//! Who is this: processes, their containers, and the sockets that were there before us.
//!
//! - [`scan`]: all processes, once, at the start.
//! - [`describe`]: one process, in full; from [`stat`], [`cgroup`], [`environ`] and [`arguments`], which only parse.
//! - [`program`]: what it is written in, from its executable ([`elf`]), each of which is read once ([`programs`]).
//! - [`users`]: names of users.
//! - [`bounded`]: the same, for processes that do not want to be looked at.
//! - [`go`]: Go programs: where their goroutines and their HTTP client are.
//! - [`table`]: what we know of processes as the kernel's records report births, changes and ends.
//! - [`sockets`]: listening and established sockets of every network namespace, through [`diag`], with their owners.

pub mod arguments;
pub mod bounded;
pub mod cgroup;
pub mod describe;
pub mod diag;
pub mod elf;
pub mod environ;
pub mod go;
pub mod program;
pub mod programs;
pub mod scan;
pub mod sockets;
pub mod stat;
pub mod table;
pub mod users;
