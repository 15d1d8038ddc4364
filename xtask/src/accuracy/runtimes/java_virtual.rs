//! Java with virtual threads.

use crate::accuracy::runtimes::{CALLS, MEMORY, POOLS, Runtime};
use crate::bed::install::{JAVA_IN_VENV, Recipe, Source, inside};

pub(super) const RUNTIME: Runtime = Runtime {
    name: "java-virtual",
    about: "Java 25: the JDK's `HttpServer` and `HttpURLConnection`, a virtual thread per request and one for each of the two calls at the same time. A semaphore per host limits the connections.",
    source: Source {
        folder: "tests/apps/java-virtual",
        files: &["requirements.txt", "App.java"],
        programs: &[],
        recipe: Recipe::Java("App.java"),
    },
    commands: |start| {
        let mut java = inside(start.folder.join(JAVA_IN_VENV), start.scratch)?;
        java.args([MEMORY, "-cp"]).arg(start.folder.join("classes")).arg("App").args(start.arguments());
        Ok(vec![java])
    },
    calls: CALLS,
    pools: POOLS,
};
