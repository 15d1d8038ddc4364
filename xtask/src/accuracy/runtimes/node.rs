//! Node with its own http module.

use crate::accuracy::runtimes::{CALLS, POOLS, Runtime};
use crate::bed::install::{Recipe, Source, inside};
use crate::packages::Program;

pub(super) const RUNTIME: Runtime = Runtime {
    name: "node",
    about: "Node: `http.createServer` and `http.get` with one `http.Agent` that keeps connections; `Promise.all` for the two calls at the same time. The pool (`maxSockets`) is per host.",
    source: Source {
        folder: "tests/apps/node",
        files: &["app.js"],
        programs: &[Program { name: "node", package: "nodejs" }],
        recipe: Recipe::Copy,
    },
    commands: |start| {
        let mut app = inside("node", start.scratch)?;
        app.arg(start.folder.join("app.js")).args(start.arguments());
        Ok(vec![app])
    },
    calls: CALLS,
    pools: POOLS,
};
