//! Go with net/http.

use crate::accuracy::runtimes::{CALLS, POOLS, Runtime};
use crate::bed::install::{Recipe, Source, inside};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "go",
    about: "Go: net/http as server and client with one `Transport`; two goroutines for the two calls at the same time. The pool (`MaxConnsPerHost`) is per host.",
    source: Source { folder: "tests/apps/go", files: &["go.mod", "main.go"], programs: &[], recipe: Recipe::Go },
    commands: |start| {
        let mut app = inside(start.folder.join("app"), start.scratch)?;
        app.args(start.arguments());
        Ok(vec![app])
    },
    calls: CALLS,
    pools: POOLS,
};
