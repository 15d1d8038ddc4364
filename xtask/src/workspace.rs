//! Where things are in the workspace.

use std::path::{Path, PathBuf};

/// The folder of the workspace's manifest.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// Everything that is built or installed goes below this folder.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// Tools that were installed for this workspace alone (`bin` below it).
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// A tool that was installed for this workspace alone, whether or not it is there.
pub(crate) fn tool(name: &str) -> PathBuf {
    tools().join("bin").join(name)
}

/// The folder of the kernel programs' objects, as built by `cargo xtask build`.
pub(crate) fn bpf_objects() -> PathBuf {
    target().join("bpf").join("bpfel-unknown-none").join("release")
}

/// The agent as built by `cargo xtask build`.
pub(crate) fn agent() -> PathBuf {
    target().join("release").join("wirespan")
}
