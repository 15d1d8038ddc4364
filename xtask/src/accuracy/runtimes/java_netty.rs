//! Spring `WebFlux` on Netty.

use crate::accuracy::runtimes::{CALLS, MEMORY, POOLS, Runtime};
use crate::bed::install::{Recipe, Source, inside};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "java-netty",
    about: "Java: Spring WebFlux and its WebClient on Netty, on the same few event loops; `Mono.when` for the two calls at the same time. A connection belongs to the loop that opened it, not to a request; the pool is per host.",
    source: Source {
        folder: "tests/apps/java-netty",
        files: &["pom.xml", "src/main/java/app/App.java"],
        programs: &[],
        recipe: Recipe::Maven,
    },
    commands: |start| {
        let mut java = inside("java", start.scratch)?;
        java.args([MEMORY, "-jar"]).arg(start.folder.join("target/app.jar")).args(start.arguments());
        Ok(vec![java])
    },
    calls: CALLS,
    pools: POOLS,
};
