//! The agent: records from the kernel become streams, exchanges, spans and traces.
//!
//! Data flows one way: [`probe`] -> [`flow`] -> [`proto`] -> [`trace`] -> [`export`], with [`proc`] answering "who is
//! this" at the side. `flow`, `proto`, `trace`, `redact`, `text` and `config` are the core: no input or output, no clock, any OS.
//! The others are the rim.

pub mod config;
pub mod flow;
pub mod ledger;
pub mod pipeline;
pub mod proto;
pub mod redact;
pub mod slots;
pub mod text;
pub mod trace;

#[cfg(all(target_os = "linux", feature = "rim"))]
pub mod export;
#[cfg(all(target_os = "linux", feature = "rim"))]
pub mod health;
#[cfg(all(target_os = "linux", feature = "rim"))]
pub mod k8s;
#[cfg(all(target_os = "linux", feature = "rim"))]
pub mod metrics;
#[cfg(all(target_os = "linux", feature = "rim"))]
pub mod probe;
#[cfg(all(target_os = "linux", feature = "rim"))]
pub mod proc;
#[cfg(all(target_os = "linux", feature = "rim"))]
pub mod rights;
#[cfg(all(target_os = "linux", feature = "rim"))]
pub mod system;
#[cfg(all(target_os = "linux", feature = "rim"))]
mod web;
