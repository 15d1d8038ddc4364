//! `cargo xtask dist`: the agent for one target, ready to be carried to another machine; as a container image; and the manifests
//! that run it on a cluster.

#[cfg(unix)]
mod bom;
#[cfg(unix)]
mod image;
#[cfg(unix)]
pub(crate) mod manifests;
#[cfg(unix)]
mod oci;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::KERNEL_ARGUMENTS;
use crate::command::{command, run, which};
use crate::packages::{self, Program};
use crate::step::Steps;
use crate::toolchain::Toolchain;
use crate::{setup, workspace};

#[cfg(unix)]
pub(crate) use self::image::{image, own_image};

/// Something that the agent is built for.
struct Target {
    triple: &'static str,
    /// Whose registers the kernel programs read, as `aya-ebpf` names it.
    arch: &'static str,
    /// The same, as container images name it.
    image_arch: &'static str,
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
        image_arch: "amd64",
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
        image_arch: "arm64",
        linker: "aarch64-linux-gnu-gcc",
        strip: "aarch64-linux-gnu-strip",
        packages: &[
            Program { name: "aarch64-linux-gnu-gcc", package: "gcc-aarch64-linux-gnu" },
            Program { name: "aarch64-linux-gnu-strip", package: "binutils-aarch64-linux-gnu" },
        ],
    },
];

/// How the agent is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Linkage {
    /// With the C library of the machine that it runs on, and its ways to look up names.
    Dynamic,
    /// With nothing: it runs in an empty root, and looks up names in `/etc/hosts` and by DNS. No path of this machine is left in
    /// it, so that the same source gives the same bytes wherever it lies.
    Static,
}

/// Builds the agent for the target of this name and puts it into `target/dist/TARGET`.
pub(crate) fn dist(triple: &str, steps: &mut Steps) -> Result<()> {
    let folder = workspace::target().join("dist").join(triple);
    let place = folder.join("wirespan");
    build(find(triple)?, Linkage::Dynamic, &place, steps)?;
    eprintln!("{}", place.display());
    Ok(())
}

/// Builds the agent and puts it there.
fn build(target: &Target, linkage: Linkage, place: &Path, steps: &mut Steps) -> Result<()> {
    let triple = target.triple;
    packages::install(&packages::missing(target.packages), &format!("they build for {triple}"), steps)?;
    // Its C library, which the compiler only recommends.
    let library = format!("/usr/{}-linux-gnu/include/stdio.h", target.arch);
    if target.arch != std::env::consts::ARCH && !Path::new(&library).is_file() {
        let package = format!("libc6-dev-{}-cross", if target.arch == "aarch64" { "arm64" } else { "amd64" });
        packages::install(&[&package], &format!("programs for {triple} are linked with it"), steps)?;
    }
    let toolchain = setup::setup(steps)?;
    let objects = steps.step(&format!("building the kernel programs for {}", target.arch), || {
        kernel_programs(&toolchain, target, linkage)
    })?;
    let binary = steps.step(&format!("building the agent and its standard library for {triple}"), || {
        agent(&toolchain, target, linkage, &objects)
    })?;
    let folder = place.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    run(command(target.strip).arg("--strip-debug").arg("-o").arg(place).arg(&binary))
}

/// Builds the suite of behaviours for the target of this name.
pub(crate) fn suite(triple: &str) -> Result<()> {
    let toolchain = setup::setup(&mut Steps::default())?;
    run(cross(&toolchain, find(triple)?, Linkage::Dynamic).args(["--package=wirespan-tests", "--bin=behaviours"]))
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
fn kernel_programs(toolchain: &Toolchain, target: &Target, linkage: Linkage) -> Result<PathBuf> {
    let folder = workspace::target().join(match linkage {
        Linkage::Dynamic => format!("bpf-{}", target.arch),
        Linkage::Static => format!("image-bpf-{}", target.arch),
    });
    let mut cargo = toolchain.command("cargo");
    cargo.arg("build").args(KERNEL_ARGUMENTS).arg("--target-dir").arg(&folder);
    if linkage == Linkage::Static {
        const FLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";
        let set = cargo.get_envs().find(|(name, _)| *name == FLAGS).and_then(|(_, flags)| flags?.to_str());
        let flags = set.map(str::to_owned).into_iter().chain(remapped(toolchain)).collect::<Vec<_>>().join("\x1f");
        cargo.env(FLAGS, flags);
    }
    run(cargo.env("AYA_BPF_TARGET_ARCH", target.arch))?;
    Ok(folder.join("bpfel-unknown-none/release"))
}

fn agent(toolchain: &Toolchain, target: &Target, linkage: Linkage, objects: &Path) -> Result<PathBuf> {
    run(cross(toolchain, target, linkage).arg("--package=wirespan").env("WIRESPAN_BPF_OBJECTS", objects))?;
    Ok(folder_of(linkage).join(target.triple).join("release/wirespan"))
}

fn folder_of(linkage: Linkage) -> PathBuf {
    workspace::target().join(if linkage == Linkage::Static { "image-build" } else { "dist-build" })
}

/// A cargo that builds for a target, with a standard library that is built with it: so no toolchain for the target must be
/// installed.
fn cross(toolchain: &Toolchain, target: &Target, linkage: Linkage) -> Command {
    let mut cargo = toolchain.command("cargo");
    cargo.args(["build", "--locked", "--release", "-Zbuild-std=std,panic_abort", "--target", target.triple]);
    cargo.arg("--target-dir").arg(folder_of(linkage));
    // Those of the kernel programs.
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS");
    let variable = |target: &Target| format!("CARGO_TARGET_{}", target.triple.to_uppercase().replace('-', "_"));
    // That of this machine is always said: what is built for it, such as macros, is built anew when its linker changes, and
    // everything after it.
    for one in TARGETS {
        if one.triple == target.triple || one.arch == std::env::consts::ARCH && which(one.linker).is_some() {
            cargo.env(format!("{}_LINKER", variable(one)), one.linker);
        }
    }
    if linkage == Linkage::Static {
        let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
        flags.extend(remapped(toolchain));
        cargo.env(format!("{}_RUSTFLAGS", variable(target)), flags.join(" "));
    }
    cargo
}

/// Flags that take the folders of this machine out of what is built.
fn remapped(toolchain: &Toolchain) -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    // The distribution's is a link.
    let source = toolchain.compiler.bin.join("../lib/rustlib/src/rust").canonicalize().ok();
    let folders = [(home, "/cargo"), (Some(workspace::root().to_owned()), "/wirespan"), (source, "/rust")];
    folders.into_iter().filter_map(|(from, to)| Some(format!("--remap-path-prefix={}={to}", from?.display()))).collect()
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
