//! Python's asyncio with aiohttp as server and client.

use crate::accuracy::runtimes::{CALLS, POOLS, Runtime};
use crate::bed::install::{Recipe, Source, inside};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "python-asyncio",
    about: "Python: aiohttp as server and client on one event loop; `asyncio.gather` for the two calls at the same time. The pool is one `TCPConnector` for both hosts.",
    source: Source {
        folder: "tests/apps/python-asyncio",
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
