//! Apache as a reverse proxy.

use std::os::unix::process::CommandExt as _;

use crate::accuracy::runtimes::{FORWARDED, Runtime, configured};
use crate::bed::install::{Recipe, Source, inside};
use crate::packages::Program;

pub(super) const RUNTIME: Runtime = Runtime {
    name: "apache",
    about: "Apache: reverse proxy with prefork and mod_proxy_http, a process per connection. Each has one connection of its own to the backend, so that a limit would mean nothing.",
    source: Source {
        folder: "tests/apps/apache",
        files: &["apache.conf"],
        programs: &[Program { name: "apache2", package: "apache2-bin" }],
        recipe: Recipe::Copy,
    },
    commands: |start| {
        let folder = start.scratch.to_string_lossy();
        let configuration = configured(start, "apache.conf", &[("@FOLDER@", &folder)])?;
        let mut apache = inside("setpriv", start.scratch)?;
        apache.args(["--pdeathsig=TERM", "apache2", "-DFOREGROUND", "-f"]).arg(configuration);
        // When it ends it signals its whole process group, which would be ours. In one of its own nothing that is typed
        // reaches it, so it ends when we do.
        apache.process_group(0);
        Ok(vec![apache])
    },
    calls: FORWARDED,
    pools: &[0],
};
