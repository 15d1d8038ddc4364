//! Python with a thread per connection.

use crate::accuracy::runtimes::{CALLS, POOLS, Runtime};
use crate::bed::install::{Recipe, Source, inside};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "python-threads",
    about: "Python: `http.server.ThreadingHTTPServer`, a thread per connection; requests with one session for all threads; the two calls at the same time are submitted to a `ThreadPoolExecutor`. The pool is per host.",
    source: Source {
        folder: "tests/apps/python-threads",
        files: &["requirements.txt", "app.py"],
        programs: &[],
        recipe: Recipe::Pip,
    },
    commands: |start| {
        let mut app = inside(start.folder.join("venv/bin/python"), start.scratch)?;
        app.arg(start.folder.join("app.py")).args(start.arguments());
        Ok(vec![app])
    },
    calls: CALLS,
    pools: POOLS,
};
