//! Programs that the tests bring along: where they are, and how they are built.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use crate::child::Program;

/// A Go build from nothing compiles the standard library too.
const GO_BUILD: Duration = Duration::from_secs(180);

/// A file below `tests/apps`.
#[must_use]
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/apps")).join(name)
}

/// The Go server's binary, built once per test file; Go's own cache makes the later ones quick.
#[must_use]
#[track_caller]
pub fn go_server() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let target = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/e2e")).join("go-server");
            let build =
                Program::new("go").args(["-C"]).arg(file("go-server")).args(["build", "-o"]).arg(&target).arg(".");
            let _ = build.env("GOFLAGS", "-mod=mod").env("CGO_ENABLED", "0").run_within(GO_BUILD).well();
            target
        })
        .clone()
}
