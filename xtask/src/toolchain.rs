//! The compiler and the linker of the kernel programs: which of those on this machine can build them.
//!
//! `bpfel-unknown-none` has no prebuilt `core`, so a compiler serves only together with the library's source. Such a
//! compiler is found by that source, not by its name: a nightly without `rust-src` is of no use, and a stable one with
//! it is (`RUSTC_BOOTSTRAP=1` unlocks `-Z build-std`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{command, is_executable, output, succeeds, which};
use crate::workspace;

/// `bpf-linker` as it is installed into `target/tools`.
pub(crate) const LINKER_VERSION: &str = "0.13.0";

/// The LLVM that our own `bpf-linker` is built with. It reads the bitcode of this major version and of older ones.
pub(crate) const LINKER_LLVM: u32 = 22;

/// The oldest compiler that the workspace's edition, lints and dependencies work with: `rust-version` of the workspace.
const OLDEST_RUST: (u32, u32) = (1, 95);

/// A compiler with its cargo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// Who installed it.
    pub(crate) origin: Origin,
    /// The folder of `rustc` and `cargo`.
    pub(crate) bin: PathBuf,
    /// Major and minor version.
    pub(crate) release: (u32, u32),
    /// Major version of its LLVM.
    pub(crate) llvm: u32,
    /// Whether the source of `core` is there.
    pub(crate) has_core: bool,
}

/// Who installed a compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// rustup, under this name.
    Rustup(String),
    /// The distribution.
    System,
}

/// A `bpf-linker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Linker {
    /// The executable.
    pub(crate) path: PathBuf,
    /// Ours in `target/tools`, whose LLVM is known; else one that the user installed, which is taken to be new enough.
    pub(crate) own: bool,
}

/// What builds the kernel programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// The compiler.
    pub(crate) compiler: Compiler,
    /// The linker.
    pub(crate) linker: Linker,
}

/// What was found on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Compilers that could serve.
    pub(crate) compilers: Vec<Compiler>,
    /// Linkers, the preferred one first.
    pub(crate) linkers: Vec<Linker>,
}

impl Found {
    /// Looks at this machine.
    pub(crate) fn look() -> Self {
        Self { compilers: rustup_compilers().into_iter().chain(system_compiler()).collect(), linkers: linkers() }
    }

    /// The first pair that fits together: a nightly, another toolchain of rustup, the distribution's.
    pub(crate) fn choose(&self) -> Option<Toolchain> {
        self.usable_compilers().into_iter().find_map(|compiler| {
            let linker = self.linkers.iter().find(|linker| linker.reads(compiler))?;
            Some(Toolchain { compiler: compiler.clone(), linker: linker.clone() })
        })
    }

    /// Whether there is a compiler for which our own linker would do.
    pub(crate) fn has_compiler_for_own_linker(&self) -> bool {
        self.usable_compilers().iter().any(|compiler| compiler.llvm <= LINKER_LLVM)
    }

    fn usable_compilers(&self) -> Vec<&Compiler> {
        let mut usable: Vec<_> = self.compilers.iter().filter(|compiler| compiler.is_usable()).collect();
        usable.sort_by_key(|compiler| match &compiler.origin {
            Origin::Rustup(name) if name.starts_with("nightly") => 0,
            Origin::Rustup(_) => 1,
            Origin::System => 2,
        });
        usable
    }
}

impl Compiler {
    fn is_usable(&self) -> bool {
        self.has_core && self.release >= OLDEST_RUST
    }
}

impl Linker {
    fn reads(&self, compiler: &Compiler) -> bool {
        !self.own || compiler.llvm <= LINKER_LLVM
    }
}

impl Toolchain {
    /// A command of this toolchain's cargo (or a sibling of it, such as `cargo-clippy`) that builds for BPF.
    pub(crate) fn command(&self, program: &str) -> Command {
        let bin = &self.compiler.bin;
        let mut command = command(bin.join(program));
        match &self.compiler.origin {
            Origin::Rustup(name) => command.env("RUSTUP_TOOLCHAIN", name),
            Origin::System => command.env_remove("RUSTUP_TOOLCHAIN"),
        };
        let linker = format!("-Clinker={}", self.linker.path.display());
        command.env("CARGO", bin.join("cargo")).env("RUSTC", bin.join("rustc")).env("RUSTC_BOOTSTRAP", "1").env(
            "CARGO_ENCODED_RUSTFLAGS",
            [&linker, "-Clink-arg=--btf", "-Cdebuginfo=2", "-Ctarget-cpu=v3"].join("\x1f"),
        );
        command
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.compiler.release;
        match &self.compiler.origin {
            Origin::Rustup(name) => write!(f, "rustup's {name}")?,
            Origin::System => write!(f, "{}", self.compiler.bin.join("rustc").display())?,
        }
        write!(f, " ({major}.{minor}, LLVM {}) and {}", self.compiler.llvm, self.linker.path.display())
    }
}

fn rustup_compilers() -> Vec<Compiler> {
    let Some(rustup) = which("rustup") else { return Vec::new() };
    let Ok(list) = output(command(rustup).args(["toolchain", "list", "--verbose"])) else { return Vec::new() };
    let described = list.lines().filter_map(rustup_toolchain);
    described.filter_map(|(name, sysroot)| compiler(Origin::Rustup(name), &sysroot)).collect()
}

fn system_compiler() -> Option<Compiler> {
    compiler(Origin::System, Path::new("/usr"))
}

fn compiler(origin: Origin, sysroot: &Path) -> Option<Compiler> {
    let bin = sysroot.join("bin");
    if !["rustc", "cargo"].iter().all(|program| is_executable(&bin.join(program))) {
        return None;
    }
    let (release, llvm) = versions(&output(command(bin.join("rustc")).arg("-vV")).ok()?)?;
    let has_core = sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file();
    Some(Compiler { origin, bin, release, llvm, has_core })
}

fn linkers() -> Vec<Linker> {
    let own = workspace::tool("bpf-linker");
    let is_pinned = output(command(&own).arg("--version")).is_ok_and(|text| text.trim().ends_with(LINKER_VERSION));
    let theirs = which("bpf-linker").filter(|path| succeeds(command(path).arg("--version")));
    let own = is_pinned.then_some(Linker { path: own, own: true });
    own.into_iter().chain(theirs.map(|path| Linker { path, own: false })).collect()
}

/// Name and folder from a line of `rustup toolchain list --verbose`, such as `stable-x86_64 (active, default) /home/..`.
fn rustup_toolchain(line: &str) -> Option<(String, PathBuf)> {
    let (name, rest) = line.split_once(char::is_whitespace)?;
    let path = rest.get(rest.find('/')?..)?;
    Some((name.to_owned(), PathBuf::from(path.trim())))
}

/// Release and LLVM's major version from `rustc -vV`.
fn versions(text: &str) -> Option<((u32, u32), u32)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let mut release = field("release")?.split('.').map(str::parse);
    let major = release.next()?.ok()?;
    let minor = release.next()?.ok()?;
    let llvm = field("LLVM version")?.split('.').next()?.parse().ok()?;
    Some(((major, minor), llvm))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(name: &str, minor: u32, llvm: u32, has_core: bool) -> Compiler {
        let origin = if name == "system" { Origin::System } else { Origin::Rustup(name.to_owned()) };
        Compiler { origin, bin: PathBuf::from("/").join(name).join("bin"), release: (1, minor), llvm, has_core }
    }

    fn linker(own: bool) -> Linker {
        Linker { path: PathBuf::from(if own { "own" } else { "theirs" }), own }
    }

    fn chosen(compilers: &[Compiler], linkers: &[Linker]) -> Option<(Origin, bool)> {
        let found = Found { compilers: compilers.to_vec(), linkers: linkers.to_vec() };
        found.choose().map(|toolchain| (toolchain.compiler.origin, toolchain.linker.own))
    }

    #[test]
    fn a_nightly_without_the_source_of_core_is_passed_over() {
        let compilers = [compiler("nightly-x", 97, 22, false), compiler("system", 96, 22, true)];
        assert_eq!(chosen(&compilers, &[linker(true)]), Some((Origin::System, true)));
    }

    #[test]
    fn a_nightly_with_it_is_preferred_wherever_it_is_listed() {
        let nightly = compiler("nightly-x", 97, 22, true);
        let compilers = [compiler("stable-x", 96, 22, true), compiler("system", 96, 22, true), nightly.clone()];
        assert_eq!(chosen(&compilers, &[linker(true)]), Some((nightly.origin, true)));
    }

    #[test]
    fn our_linker_is_not_given_bitcode_newer_than_its_llvm() {
        let newer = [compiler("nightly-x", 99, LINKER_LLVM + 1, true)];
        assert_eq!(chosen(&newer, &[linker(true)]), None);
        assert_eq!(chosen(&newer, &[linker(true), linker(false)]), Some((newer[0].origin.clone(), false)));
    }

    #[test]
    fn an_old_compiler_or_a_missing_linker_is_no_toolchain() {
        assert_eq!(chosen(&[compiler("system", 63, 14, true)], &[linker(true)]), None);
        assert_eq!(chosen(&[compiler("system", 96, 22, true)], &[]), None);
    }

    #[test]
    fn rustups_list_is_read_with_and_without_remarks() {
        let read = |line| rustup_toolchain(line).map(|(name, path)| (name, path.display().to_string()));
        let expected = |name: &str| Some((name.to_owned(), "/home/a b/.rustup/toolchains/x".to_owned()));
        assert_eq!(read("stable-x (active, default) /home/a b/.rustup/toolchains/x"), expected("stable-x"));
        assert_eq!(read("nightly-x\t/home/a b/.rustup/toolchains/x"), expected("nightly-x"));
        assert_eq!(read("no installed toolchains"), None);
    }

    #[test]
    fn the_compilers_versions_are_read() {
        let text = "rustc 1.97.0-nightly\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        assert_eq!(versions(text), Some(((1, 97), 22)));
        assert_eq!(versions("rustc 1.97.0\n"), None);
    }

    #[test]
    fn the_oldest_compiler_is_that_of_the_manifest() {
        let (major, minor) = OLDEST_RUST;
        assert_eq!(env!("CARGO_PKG_RUST_VERSION"), format!("{major}.{minor}"));
    }
}
