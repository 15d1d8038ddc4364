//! Programs that are built from Go modules, some of which take minutes: it is told how far they are.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bed::install::inside;
use crate::command::{line, output};

/// How often is told how far it is.
const TELL: Duration = Duration::from_secs(15);

/// A program that a module's folder can build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GoProgram {
    /// File name of what is built.
    pub(crate) name: &'static str,
    /// Its package: of the module, or of a module that this one requires.
    pub(crate) package: &'static str,
    /// Arguments of the linker.
    pub(crate) flags: &'static str,
}

/// Builds programs that need no library, into the folder of their module.
pub(crate) fn build(folder: &Path, programs: &[GoProgram]) -> Result<()> {
    programs.iter().try_for_each(|program| build_one(folder, program))
}

fn build_one(folder: &Path, program: &GoProgram) -> Result<()> {
    let packages = output(go(folder)?.args(["list", "-deps", program.package]))?.lines().count();
    let mut go = go(folder)?;
    go.args(["build", "-v", "-trimpath", "-ldflags", program.flags, "-o", program.name, program.package]);
    let mut child = go.stderr(Stdio::piped()).spawn().with_context(|| format!("`{}` cannot be started", line(&go)))?;
    let (mut compiled, mut said, mut told) = (0, Vec::new(), Instant::now());
    for text in BufReader::new(child.stderr.take().context("it is piped")?).lines().map_while(Result::ok) {
        if !is_package(&text) {
            said.push(text);
            continue;
        }
        compiled += 1;
        if told.elapsed() > TELL {
            eprintln!("    {}: {compiled} of at most {packages} packages are compiled", program.name);
            told = Instant::now();
        }
    }
    if !child.wait()?.success() {
        bail!("`{}` failed:\n{}", line(&go), said.join("\n"));
    }
    Ok(())
}

fn go(folder: &Path) -> Result<std::process::Command> {
    let mut go = inside("go", folder)?;
    // A folder of the cache is in no repository whose state could be told.
    go.env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false");
    Ok(go)
}

/// Whether a line of `go build -v` names a package that is compiled; everything else there is a remark or an error.
fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#') && !line.contains([' ', ':', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_told_from_what_else_go_says() {
        assert!(is_package("k8s.io/kubernetes/cmd/kubelet/app"));
        for line in ["go: downloading k8s.io/api v0.34.4", "# k8s.io/api", "./main.go:3:2: undefined: x", ""] {
            assert!(!is_package(line), "{line}");
        }
    }
}
