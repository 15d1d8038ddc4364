//! nginx as a reverse proxy.

use crate::accuracy::runtimes::{FORWARDED, Runtime, configured};
use crate::bed::install::{Recipe, Source, inside};
use crate::packages::Program;

pub(super) const RUNTIME: Runtime = Runtime {
    name: "nginx",
    about: "nginx: reverse proxy with two workers, each an event loop. A worker opens as many connections as it needs, and keeps up to 16 that nobody uses.",
    source: Source {
        folder: "tests/apps/nginx",
        files: &["nginx.conf"],
        programs: &[Program { name: "nginx", package: "nginx" }],
        recipe: Recipe::Copy,
    },
    commands: |start| {
        let configuration = configured(start, "nginx.conf", &[])?;
        let mut nginx = inside("nginx", start.scratch)?;
        nginx.arg("-p").arg(start.scratch).arg("-c").arg(configuration).args(["-e", "error.log"]);
        Ok(vec![nginx])
    },
    calls: FORWARDED,
    pools: &[0],
};
