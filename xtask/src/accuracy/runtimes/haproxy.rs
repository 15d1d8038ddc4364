//! `HAProxy` as a reverse proxy.

use crate::accuracy::runtimes::{FORWARDED, POOLS, Runtime, configured};
use crate::bed::install::{Recipe, Source, inside};
use crate::packages::Program;

pub(super) const RUNTIME: Runtime = Runtime {
    name: "haproxy",
    about: "HAProxy: reverse proxy with two threads, each an event loop, and `http-reuse always`: requests of all clients share the connections to the backend. Of a limited number they wait for one.",
    source: Source {
        folder: "tests/apps/haproxy",
        files: &["haproxy.cfg"],
        programs: &[Program { name: "haproxy", package: "haproxy" }],
        recipe: Recipe::Copy,
    },
    commands: |start| {
        // Requests are limited, and there may be one connection more than requests.
        let limit = start.pool.saturating_sub(1);
        let configuration = configured(start, "haproxy.cfg", &[("@LIMIT@", &limit.to_string())])?;
        let mut haproxy = inside("haproxy", start.scratch)?;
        haproxy.arg("-f").arg(configuration);
        Ok(vec![haproxy])
    },
    calls: FORWARDED,
    pools: POOLS,
};
