//! C with a thread per connection.

use crate::accuracy::runtimes::{CALLS, POOLS, Runtime};
use crate::bed::install::{Recipe, Source, inside};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "c-threads",
    about: "C: a thread per connection, blocking sockets, a pool of its own behind a mutex. Of the two calls at the same time both requests are written, then both answers read.",
    source: Source { folder: "tests/apps/c-threads", files: &["app.c"], programs: &[], recipe: Recipe::C(&["app.c"]) },
    commands: |start| {
        let mut app = inside(start.folder.join("app"), start.scratch)?;
        app.args(start.arguments());
        Ok(vec![app])
    },
    calls: CALLS,
    pools: POOLS,
};
