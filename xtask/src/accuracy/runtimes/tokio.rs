//! Rust's tokio with several worker threads.

use crate::accuracy::runtimes::{CALLS, POOLS, Runtime};
use crate::bed::install::{Recipe, Source, inside};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "tokio",
    about: "Rust: axum as server and reqwest as client on tokio's multi-thread runtime; `try_join!` for the two calls at the same time. Connections are tasks of their own; a semaphore per host limits them.",
    source: Source {
        folder: "tests/apps/tokio",
        files: &["Cargo.toml", "Cargo.lock", "src/main.rs"],
        programs: &[],
        recipe: Recipe::Cargo,
    },
    commands: |start| {
        let mut app = inside(start.folder.join("target/release/app"), start.scratch)?;
        app.args(start.arguments());
        Ok(vec![app])
    },
    calls: CALLS,
    pools: POOLS,
};
