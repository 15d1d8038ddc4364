//! `cargo xtask lint`: format and clippy, warnings denied.

use anyhow::Result;

use crate::build::{KERNEL_ARGUMENTS, KERNEL_FOLDER};
use crate::command::{cargo, command, is_executable, run, succeeds, which};
use crate::packages::{self, NotInstalled};
use crate::step::Steps;
use crate::toolchain::{Origin, Toolchain};
use crate::{fuzz, setup, workspace};

/// Checks the format of all code, and lints it.
pub(crate) fn lint(steps: &mut Steps) -> Result<()> {
    components(steps)?;
    steps.step("checking the format", check_format)?;
    steps.step("clippy for user space", || {
        let workspace = ["--workspace", "--exclude=wirespan-ebpf", "--all-targets", "--locked"];
        run(cargo().arg("clippy").args(workspace).args(["--", "-D", "warnings"]))
    })?;
    let toolchain = setup::setup(steps)?;
    kernel_clippy(&toolchain, steps)?;
    steps.step("clippy for the kernel programs", || {
        let mut clippy = toolchain.command("cargo-clippy");
        run(clippy.arg("clippy").args(KERNEL_ARGUMENTS).args([KERNEL_FOLDER, "--", "-D", "warnings"]))
    })
}

fn check_format() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--", "--check"]))?;
    // Not members of the workspace, so not among `--all`.
    let others = [fuzz::manifest(), workspace::root().join("tests/apps/tokio/Cargo.toml")];
    others
        .iter()
        .try_for_each(|manifest| run(cargo().args(["fmt", "--manifest-path"]).arg(manifest).args(["--", "--check"])))
}

/// rustup's minimal profile has neither clippy nor rustfmt.
fn components(steps: &mut Steps) -> Result<()> {
    let missing: Vec<_> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(verb, _)| !succeeds(cargo().args([verb, "--version"])))
        .collect();
    let components: Vec<_> = missing.iter().map(|(_, component)| *component).collect();
    if components.is_empty() {
        return Ok(());
    }
    let Some(rustup) = which("rustup") else {
        let reason = format!("this cargo has no {}", components.join(" and no "));
        return Err(NotInstalled { reason, commands: packages::commands(&["rust-web-clippy", "rustfmt-web"]) }.into());
    };
    let say = format!("rustup component add {}, because this toolchain lacks it", components.join(" "));
    steps.step(&say, || run(command(rustup).args(["component", "add"]).args(&components)))
}

/// The kernel programs can only be linted by the clippy of the very compiler that builds them.
fn kernel_clippy(toolchain: &Toolchain, steps: &mut Steps) -> Result<()> {
    if is_executable(&toolchain.compiler.bin.join("cargo-clippy")) {
        return Ok(());
    }
    match &toolchain.compiler.origin {
        Origin::System => packages::install(&["rust-web-clippy"], "it lints the kernel programs", steps),
        Origin::Rustup(name) => {
            let say = format!("rustup component add clippy --toolchain {name}, because it lints the kernel programs");
            steps.step(&say, || run(command("rustup").args(["component", "add", "clippy", "--toolchain", name])))
        }
    }
}
