//! `cargo xtask dist`: the agent for one target, ready to be carried to another machine.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::KERNEL_ARGUMENTS;
use crate::command::{command, run};
use crate::packages::{self, Program};
use crate::step::Steps;
use crate::toolchain::Toolchain;
use crate::{setup, workspace};

/// Something that the agent is built for.
struct Target {
    triple: &'static str,
    /// Whose registers the kernel programs read, as `aya-ebpf` names it.
    arch: &'static str,
    /// The linker, which is also the compiler of what is written in C.
    linker: &'static str,
    /// `strip` for it.
    strip: &'static str,
    packages: &'static [Program],
}

const TARGETS: &[Target] = &[
    Target {
        triple: "x86_64-unknown-linux-gnu",
        arch: "x86_64",
        linker: "x86_64-linux-gnu-gcc",
        strip: "x86_64-linux-gnu-strip",
        packages: &[
            Program { name: "x86_64-linux-gnu-gcc", package: "gcc-x86-64-linux-gnu" },
            Program { name: "x86_64-linux-gnu-strip", package: "binutils-x86-64-linux-gnu" },
        ],
    },
    Target {
        triple: "aarch64-unknown-linux-gnu",
        arch: "aarch64",
        linker: "aarch64-linux-gnu-gcc",
        strip: "aarch64-linux-gnu-strip",
        packages: &[
            Program { name: "aarch64-linux-gnu-gcc", package: "gcc-aarch64-linux-gnu" },
            Program { name: "aarch64-linux-gnu-strip", package: "binutils-aarch64-linux-gnu" },
        ],
    },
];

/// Builds the agent for the target of this name and puts it into `target/dist/TARGET`.
pub(crate) fn dist(triple: &str, steps: &mut Steps) -> Result<()> {
    let target = find(triple)?;
    packages::install(&packages::missing(target.packages), &format!("they build for {triple}"), steps)?;
    // Its C library, which the compiler only recommends.
    let library = format!("/usr/{}-linux-gnu/include/stdio.h", target.arch);
    if target.arch != std::env::consts::ARCH && !std::path::Path::new(&library).is_file() {
        let package = format!("libc6-dev-{}-cross", if target.arch == "aarch64" { "arm64" } else { "amd64" });
        packages::install(&[&package], &format!("programs for {triple} are linked with it"), steps)?;
    }
    let toolchain = setup::setup(steps)?;
    let objects = steps
        .step(&format!("building the kernel programs for {}", target.arch), || kernel_programs(&toolchain, target))?;
    let binary = steps.step(&format!("building the agent and its standard library for {triple}"), || {
        agent(&toolchain, target, &objects)
    })?;
    let folder = workspace::target().join("dist").join(triple);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let place = folder.join("wirespan");
    run(command(target.strip).arg("--strip-debug").arg("-o").arg(&place).arg(&binary))?;
    eprintln!("{}", place.display());
    Ok(())
}

/// Builds the suite of behaviours for the target of this name.
pub(crate) fn suite(triple: &str) -> Result<()> {
    let toolchain = setup::setup(&mut Steps::default())?;
    run(cross(&toolchain, find(triple)?).args(["--package=wirespan-tests", "--bin=behaviours"]))
}

/// Where the agent and the suite for a target are, once they are built.
pub(crate) fn built(triple: &str) -> [PathBuf; 2] {
    let suite = workspace::target().join("dist-build").join(triple).join("release/behaviours");
    [workspace::target().join("dist").join(triple).join("wirespan"), suite]
}

fn find(triple: &str) -> Result<&'static Target> {
    let Some(target) = TARGETS.iter().find(|target| target.triple == triple) else {
        let known: Vec<_> = TARGETS.iter().map(|target| target.triple).collect();
        bail!("there is no target `{triple}`; known: {}", known.join(", "));
    };
    Ok(target)
}

/// The folder with the objects. The programs differ by architecture where they read the registers of a task.
fn kernel_programs(toolchain: &Toolchain, target: &Target) -> Result<PathBuf> {
    let folder = workspace::target().join(format!("bpf-{}", target.arch));
    let mut cargo = toolchain.command("cargo");
    cargo.arg("build").args(KERNEL_ARGUMENTS).arg("--target-dir").arg(&folder);
    run(cargo.env("AYA_BPF_TARGET_ARCH", target.arch))?;
    Ok(folder.join("bpfel-unknown-none/release"))
}

fn agent(toolchain: &Toolchain, target: &Target, objects: &PathBuf) -> Result<PathBuf> {
    run(cross(toolchain, target).arg("--package=wirespan").env("WIRESPAN_BPF_OBJECTS", objects))?;
    Ok(workspace::target().join("dist-build").join(target.triple).join("release/wirespan"))
}

/// A cargo that builds for a target, with a standard library that is built with it: so no toolchain for the target must be
/// installed.
fn cross(toolchain: &Toolchain, target: &Target) -> Command {
    let mut cargo = toolchain.command("cargo");
    cargo.args(["build", "--locked", "--release", "-Zbuild-std=std,panic_abort", "--target", target.triple]);
    cargo.arg("--target-dir").arg(workspace::target().join("dist-build"));
    // Those of the kernel programs.
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.env(format!("CARGO_TARGET_{}_LINKER", target.triple.to_uppercase().replace('-', "_")), target.linker);
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_is_answered_with_the_known_ones() {
        let error = find("mips").err().map(|error| error.to_string());
        let known = "there is no target `mips`; known: x86_64-unknown-linux-gnu, aarch64-unknown-linux-gnu";
        assert_eq!(error.as_deref(), Some(known));
        assert!(find("aarch64-unknown-linux-gnu").is_ok());
    }
}
