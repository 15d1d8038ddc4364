//! C with one thread and epoll.

use crate::accuracy::runtimes::{CALLS, POOLS, Runtime};
use crate::bed::install::{Recipe, Source, inside};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "c-epoll",
    about: "C: one thread, epoll, sockets that never block. The pool is per host; a connection that becomes free is given to whoever has waited longest.",
    source: Source { folder: "tests/apps/c-epoll", files: &["app.c"], programs: &[], recipe: Recipe::C(&["app.c"]) },
    commands: |start| {
        let mut app = inside(start.folder.join("app"), start.scratch)?;
        app.args(start.arguments());
        Ok(vec![app])
    },
    calls: CALLS,
    pools: POOLS,
};
