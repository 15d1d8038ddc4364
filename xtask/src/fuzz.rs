//! `cargo xtask fuzz`: runs a fuzz target of `tests/fuzz`. What was found stays in `target/fuzz`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, command, output, run};
use crate::packages::{self, Program};
use crate::step::Steps;
use crate::workspace;

/// `cargo-fuzz` as it is installed into `target/tools`.
const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// An input that takes longer than this counts as a hang. Parsers here take microseconds.
const INPUT_TIMEOUT_SECONDS: u32 = 10;

/// Runs a target for so many seconds.
pub(crate) fn fuzz(target: &str, seconds: u32, steps: &mut Steps) -> Result<()> {
    let known = targets()?;
    if !known.iter().any(|name| name == target) {
        bail!("there is no fuzz target `{target}`; known: {}", known.join(", "));
    }
    tools(steps)?;
    steps.step(&format!("fuzzing {target} for {seconds} s"), || run_target(target, seconds))
}

/// All targets, by the manifest of `tests/fuzz`.
pub(crate) fn targets() -> Result<Vec<String>> {
    let path = manifest();
    let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(binaries(&text))
}

/// The manifest of the fuzz targets, which are no member of the workspace.
pub(crate) fn manifest() -> PathBuf {
    folder().join("Cargo.toml")
}

fn folder() -> PathBuf {
    workspace::root().join("tests").join("fuzz")
}

fn tools(steps: &mut Steps) -> Result<()> {
    let programs = [Program { name: "c++", package: "build-essential" }];
    packages::install(&packages::missing(&programs), "the fuzzing engine is C++", steps)?;
    let tool = workspace::tool("cargo-fuzz");
    if output(command(&tool).arg("--version")).is_ok_and(|text| text.trim().ends_with(CARGO_FUZZ_VERSION)) {
        return Ok(());
    }
    let say = format!("building cargo-fuzz {CARGO_FUZZ_VERSION} into target/tools, because it runs the fuzz targets");
    steps.step(&say, || {
        let mut cargo = cargo();
        // Not optimised: it only calls others, and building it takes half as long.
        cargo.args(["install", "cargo-fuzz", "--version", CARGO_FUZZ_VERSION, "--locked", "--quiet", "--debug"]);
        run(cargo.arg("--root").arg(workspace::tools()))
    })
}

fn run_target(target: &str, seconds: u32) -> Result<()> {
    let work = workspace::target().join("fuzz");
    let corpus = work.join("corpus").join(target);
    let artifacts = work.join("artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    let mut fuzz = command(workspace::tool("cargo-fuzz"));
    // Sanitizers are behind a switch of unstable options; with this variable a stable compiler has it too, so that no
    // nightly is needed.
    fuzz.env("RUSTC_BOOTSTRAP", "1");
    fuzz.arg("run").arg("--fuzz-dir").arg(folder()).arg("--target-dir").arg(&work).arg(target).arg(&corpus);
    // Inputs kept in the repository, if the target has any.
    fuzz.args(Some(folder().join("seeds").join(target)).filter(|seeds| seeds.is_dir()));
    fuzz.arg("--").arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={INPUT_TIMEOUT_SECONDS}"));
    // A separator at the end makes it a folder.
    fuzz.arg(format!("-artifact_prefix={}/", artifacts.display())).arg("-print_final_stats=1");
    run(&mut fuzz)
}

/// Names of the `[[bin]]` tables of a manifest.
fn binaries(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut in_binary = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            in_binary = line == "[[bin]]";
        } else if let Some(value) = line.strip_prefix("name").filter(|_| in_binary) {
            let name = value.trim_start().trim_start_matches('=').trim().trim_matches('"');
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_binaries_of_the_manifest_and_nothing_else() {
        let manifest = "[package]\nname = \"fuzz\"\n[[bin]]\nname = \"http1\"\ntest = false\n[dependencies]\nname = \"x\"\n\
                        [[bin]]\npath = \"f.rs\"\nname=\"flow\"\n";
        assert_eq!(binaries(manifest), ["http1", "flow"]);
    }
}
