//! Takes the kernel programs into the agent.
//!
//! `cargo xtask build` says by `WIRESPAN_BPF_OBJECTS` where they are. A plain `cargo build`, `check` or `test` has none:
//! the agent then builds all the same, on any OS, but can only replay.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

/// Path of the folder with the objects that hold the kernel programs.
const OBJECTS: &str = "WIRESPAN_BPF_OBJECTS";
/// The objects, and what they are called here.
const NAMES: [(&str, &str); 2] = [("wirespan-ebpf", "exchange.bpf.o"), ("wirespan-ebpf-ring", "ring.bpf.o")];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OBJECTS}");
    println!("cargo::rustc-check-cfg=cfg(wirespan_bpf_object)");
    let Some(objects) = env::var_os(OBJECTS) else {
        println!("cargo::warning=built without the kernel programs: it can't trace; use `cargo xtask build`");
        return Ok(());
    };
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    for (name, embedded) in NAMES {
        let object = Path::new(&objects).join(name);
        println!("cargo::rerun-if-changed={}", object.display());
        fs::copy(&object, Path::new(&out).join(embedded))
            .map_err(|error| format!("{} (in {OBJECTS}) cannot be taken: {error}", object.display()))?;
    }
    println!("cargo::rustc-cfg=wirespan_bpf_object");
    Ok(())
}
