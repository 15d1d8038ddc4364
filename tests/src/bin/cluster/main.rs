//! The cluster suite: the agent as a DaemonSet on a real Kubernetes, with a real Collector and Tempo behind it.
//!
//! Not a test of cargo: its checks share one cluster and one agent and run one after the other (`cargo xtask test cluster`).
//! Arguments are parts of names: only such checks run. Ends with 1 if a check failed.
#![allow(clippy::panic, reason = "a failed expectation is a panic; the suite reports it and goes on")]

mod audit;
mod bed;
mod bookinfo;
mod budget;
mod faults;
mod kept;
mod kinds;
mod life;
mod report;
mod spans;
mod stack;

use std::process::ExitCode;

use crate::bed::Bed;
use crate::report::{Check, run};
use crate::stack::Stack;

/// In the order in which they run: those that disturb the agent or the API server come last.
const CHECKS: &[&[Check]] = &[bookinfo::ALL, kinds::ALL, life::ALL, budget::ALL, faults::ALL];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let stack = Stack::start(Bed::from_environment());
    let failed = run(CHECKS.iter().copied().flatten(), &wanted, &stack);
    stack.stop();
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
