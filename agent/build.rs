//! Takes the kernel programs into the agent.
//!
//! `cargo xtask build` says by `WIRESPAN_BPF_OBJECT` where they are. A plain `cargo build`, `check` or `test` has none:
//! the agent then builds all the same, on any OS, but can only replay.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

/// Path of the object that holds the kernel programs.
const OBJECT: &str = "WIRESPAN_BPF_OBJECT";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OBJECT}");
    println!("cargo::rustc-check-cfg=cfg(wirespan_bpf_object)");
    let Some(object) = env::var_os(OBJECT) else {
        println!("cargo::warning=built without the kernel programs: it can't trace; use `cargo xtask build`");
        return Ok(());
    };
    let object = Path::new(&object);
    println!("cargo::rerun-if-changed={}", object.display());
    let embedded = Path::new(&env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("wirespan.bpf.o");
    fs::copy(object, embedded)
        .map_err(|error| format!("{} (from {OBJECT}) cannot be taken: {error}", object.display()))?;
    println!("cargo::rustc-cfg=wirespan_bpf_object");
    Ok(())
}
