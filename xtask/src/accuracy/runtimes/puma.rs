//! Ruby's Puma.

use crate::accuracy::runtimes::{CALLS, POOLS, Runtime};
use crate::bed::install::{Recipe, Source, inside};
use crate::packages::Program;

pub(super) const RUNTIME: Runtime = Runtime {
    name: "puma",
    about: "Ruby: Puma with 400 threads beside its reactor, and `Net::HTTP` connections that stay open, in a queue per host. Each of the two calls at the same time has a new thread.",
    source: Source {
        folder: "tests/apps/puma",
        files: &["app.rb"],
        programs: &[
            Program { name: "ruby", package: "ruby" },
            Program { name: "puma", package: "puma" },
            Program { name: "rackup", package: "ruby-rack" },
        ],
        recipe: Recipe::Copy,
    },
    commands: |start| {
        let mut ruby = inside("ruby", start.scratch)?;
        ruby.arg(start.folder.join("app.rb")).args(start.arguments());
        Ok(vec![ruby])
    },
    calls: CALLS,
    pools: POOLS,
};
