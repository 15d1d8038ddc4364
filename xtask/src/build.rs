//! `cargo xtask build`: the kernel programs, then the agent with them inside. What is fresh is left alone: both builds are
//! cargo's own.

use anyhow::Result;

use crate::command::{cargo, run};
use crate::step::Steps;
use crate::toolchain::Toolchain;
use crate::{setup, workspace};

/// Sets up what is missing and builds `target/release/wirespan`.
pub(crate) fn build(steps: &mut Steps) -> Result<()> {
    let toolchain = setup::setup(steps)?;
    steps.step(&format!("building the kernel programs with {toolchain}"), || build_kernel_programs(&toolchain))?;
    steps.step("building the agent around them: target/release/wirespan", build_agent)
}

/// Arguments of every cargo that builds, or checks, the kernel programs.
pub(crate) const KERNEL_ARGUMENTS: &[&str] =
    &["--locked", "--release", "-Zbuild-std=core", "--package=wirespan-ebpf", "--target=bpfel-unknown-none"];

/// Where it builds them, for this machine.
pub(crate) const KERNEL_FOLDER: &str = "--target-dir=target/bpf";

fn build_kernel_programs(toolchain: &Toolchain) -> Result<()> {
    run(toolchain.command("cargo").arg("build").args(KERNEL_ARGUMENTS).arg(KERNEL_FOLDER))
}

fn build_agent() -> Result<()> {
    let mut cargo = cargo();
    cargo.args(["build", "--locked", "--release", "--package=wirespan", "--target-dir=target"]);
    run(cargo.env("WIRESPAN_BPF_OBJECTS", workspace::bpf_objects()))
}
