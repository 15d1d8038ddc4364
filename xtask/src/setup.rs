//! `cargo xtask setup`: installs what building needs and this machine lacks.

use anyhow::{Context, Result};

use crate::command::{self, run};
use crate::packages::{self, NotInstalled, Program};
use crate::step::Steps;
use crate::toolchain::{Found, LINKER_LLVM, LINKER_VERSION, Toolchain};
use crate::workspace;

/// Compilers and linkers of C and C++: every Rust program here is linked by `cc`; `bpf-linker` and the fuzz targets hold
/// C++ code.
const NATIVE: &[Program] =
    &[Program { name: "cc", package: "build-essential" }, Program { name: "c++", package: "build-essential" }];

/// The distribution's compiler with the source of its library (Debian 12 and later).
const COMPILER_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

/// What our `bpf-linker` is built with; its name holds [`LINKER_LLVM`].
const LLVM_PACKAGE: &str = "llvm-22-dev";

/// Where Debian puts it.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Something to do before the kernel programs can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// The distribution's compiler.
    Compiler,
    /// LLVM's libraries.
    Llvm,
    /// Our own `bpf-linker`.
    Linker,
}

/// Installs what is missing and returns what builds the kernel programs. Does nothing if nothing is missing.
pub(crate) fn setup(steps: &mut Steps) -> Result<Toolchain> {
    packages::install(&packages::missing(NATIVE), "programs are linked with it", steps)?;
    if let Some(toolchain) = Found::look().choose() {
        return Ok(toolchain);
    }
    let needs = needs(&Found::look(), std::path::Path::new(LLVM_PREFIX).join("bin/llvm-config").is_file());
    install(&needs, steps)?;
    Found::look().choose().with_context(|| {
        format!(
            "the kernel programs still cannot be built after installing {needs:?}: no compiler has the source of `core`"
        )
    })
}

/// What is needed, in the order in which it must be done.
fn needs(found: &Found, has_llvm: bool) -> Vec<Need> {
    let mut needs = Vec::new();
    if !found.has_compiler_for_own_linker() {
        needs.push(Need::Compiler);
    }
    if !found.linkers.iter().any(|linker| linker.own) {
        if !has_llvm {
            needs.push(Need::Llvm);
        }
        needs.push(Need::Linker);
    }
    needs
}

fn install(needs: &[Need], steps: &mut Steps) -> Result<()> {
    let wanted = packages_for(needs);
    if !wanted.is_empty() {
        if let Some(reason) = packages::refusal() {
            let commands = if packages::all_known(&wanted) { apt_commands(&wanted) } else { rustup_commands() };
            let reason = format!("the kernel programs cannot be built yet and {reason}");
            return Err(NotInstalled { reason, commands }.into());
        }
        if !packages::all_known(&wanted) {
            steps.step("apt-get update, because apt does not know the packages that are needed", packages::update)?;
        }
        if !packages::all_known(&wanted) {
            let lacking = format!("this distribution has no {}", wanted.join(", "));
            return Err(NotInstalled { reason: lacking, commands: rustup_commands() }.into());
        }
        let why = "the kernel programs need a compiler with the source of `core` and a linker built on LLVM";
        packages::install(&wanted, why, steps)?;
    }
    if needs.contains(&Need::Linker) {
        let say =
            format!("building bpf-linker {LINKER_VERSION} into target/tools, because it links the kernel programs");
        steps.step(&say, install_linker)?;
    }
    Ok(())
}

fn install_linker() -> Result<()> {
    let feature = format!("llvm-{LINKER_LLVM}");
    let mut cargo = command::cargo();
    // Not optimised: what works in it is LLVM's library, which it is linked with, and building it takes half as long.
    cargo.args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--quiet", "--debug"]);
    cargo.args(["--no-default-features", "--features", &feature]).arg("--root").arg(workspace::tools());
    run(cargo.env("LLVM_PREFIX", LLVM_PREFIX))
}

fn packages_for(needs: &[Need]) -> Vec<&'static str> {
    let packages = |need| match need {
        Need::Compiler => COMPILER_PACKAGES,
        Need::Llvm => &[LLVM_PACKAGE][..],
        Need::Linker => &[],
    };
    needs.iter().copied().flat_map(packages).copied().collect()
}

/// What a person would have to type in our place.
fn apt_commands(wanted: &[&str]) -> Vec<String> {
    let mut commands = packages::commands(wanted);
    commands.push("cargo xtask setup".to_owned());
    commands
}

/// The way that needs no packages of a distribution: a nightly with its source, and a linker that carries its own LLVM.
fn rustup_commands() -> Vec<String> {
    let archive = format!("bpf-linker-{}-unknown-linux-musl.tar.zst", std::env::consts::ARCH);
    let tools = workspace::tools().join("bin");
    vec![
        "rustup toolchain install nightly --profile minimal --component rust-src".to_owned(),
        format!("curl -LO https://github.com/aya-rs/bpf-linker/releases/latest/download/{archive}"),
        format!("tar --zstd -xf {archive} -C ~/.cargo/bin    # or any other folder of PATH but {}", tools.display()),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::toolchain::{Compiler, Linker, Origin};

    fn compiler(llvm: u32) -> Compiler {
        Compiler { origin: Origin::System, bin: PathBuf::from("/usr/bin"), release: (1, 96), llvm, has_core: true }
    }

    #[test]
    fn a_bare_machine_needs_everything_in_order() {
        let needs = needs(&Found::default(), false);
        assert_eq!(needs, [Need::Compiler, Need::Llvm, Need::Linker]);
        assert_eq!(packages_for(&needs), ["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"]);
    }

    #[test]
    fn what_is_there_is_not_installed_again() {
        let found = Found { compilers: vec![compiler(LINKER_LLVM)], linkers: Vec::new() };
        assert_eq!(needs(&found, true), [Need::Linker]);
        let own = Linker { path: PathBuf::from("bpf-linker"), own: true };
        assert_eq!(needs(&Found { compilers: Vec::new(), linkers: vec![own] }, false), [Need::Compiler]);
    }

    #[test]
    fn a_compiler_too_new_for_our_linker_is_not_relied_on() {
        let found = Found { compilers: vec![compiler(LINKER_LLVM + 1)], linkers: Vec::new() };
        assert_eq!(needs(&found, true), [Need::Compiler, Need::Linker]);
    }

    #[test]
    fn the_names_of_llvm_agree_with_the_linkers_version() {
        assert_eq!(LLVM_PACKAGE, format!("llvm-{LINKER_LLVM}-dev"));
        assert_eq!(LLVM_PREFIX, format!("/usr/lib/llvm-{LINKER_LLVM}"));
    }
}
