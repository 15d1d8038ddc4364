//! Java with a fixed pool of threads and a client that blocks.

use crate::accuracy::runtimes::{CALLS, MEMORY, POOLS, Runtime};
use crate::bed::install::{Recipe, Source, inside};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "java-pool",
    about: "Java: the JDK's `HttpServer` with a fixed pool of 400 threads, Apache HttpClient with a pool per host, which blocks. The two calls at the same time are made by threads of a second executor.",
    source: Source {
        folder: "tests/apps/java-pool",
        files: &["pom.xml", "src/main/java/app/App.java"],
        programs: &[],
        recipe: Recipe::Maven,
    },
    commands: |start| {
        let mut java = inside("java", start.scratch)?;
        let target = start.folder.join("target");
        let classes = format!("{0}/app.jar:{0}/lib/*", target.display());
        java.args([MEMORY, "-cp", &classes, "app.App"]).args(start.arguments());
        Ok(vec![java])
    },
    calls: CALLS,
    pools: POOLS,
};
