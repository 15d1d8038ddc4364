//! `cargo xtask test`: everything that must hold, in stages.

use anyhow::{Result, bail};

use crate::command::{cargo, run};
use crate::packages::{self, Program};
use crate::step::Steps;
use crate::{build, fuzz, lint, workspace};

/// How long each fuzz target runs as a smoke test. Enough to run every seed and some hundred thousand mutations.
const FUZZ_SMOKE_SECONDS: u32 = 10;

/// How many end-to-end tests run at the same time. They mostly wait: for programs to start, and for spans that are held back.
const TESTS_PER_PROCESSOR: usize = 2;

/// Recordings of the applications in `tests/apps`, made by `cargo xtask accuracy --record`.
#[cfg(unix)]
const RECORDINGS: &str = "tests/replay";

/// Real programs that the end-to-end tests observe.
///
/// Apache comes as `apache2-bin`: the package `apache2` would also bring a service that starts by itself.
const PEERS: &[Program] = &[
    Program { name: "nginx", package: "nginx" },
    Program { name: "apache2", package: "apache2-bin" },
    Program { name: "curl", package: "curl" },
    Program { name: "wrk", package: "wrk" },
    Program { name: "ip", package: "iproute2" },
    Program { name: "python3", package: "python3" },
    Program { name: "strace", package: "strace" },
    Program { name: "nft", package: "nftables" },
    Program { name: "openssl", package: "openssl" },
    Program { name: "bpftool", package: "bpftool" },
    Program { name: "setpriv", package: "util-linux" },
    Program { name: "node", package: "nodejs" },
    Program { name: "go", package: "golang-go" },
];

/// A stage, in the order in which they run: what fails fast comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Format and clippy.
    Lint,
    /// Unit, property, snapshot and replay tests: any OS, no rights.
    Unit,
    /// Every fuzz target for some seconds.
    Fuzz,
    /// Helm's chart and the manifests that are made of it.
    Deploy,
    /// Recordings of applications: how many of the links that the agent makes of them are right.
    Links,
    /// Real programs on the real kernel, as root.
    EndToEnd,
    /// The suite of behaviours on other kernels, in virtual machines.
    Machines,
    /// The agent on a real Kubernetes.
    Cluster,
}

impl Stage {
    const ALL: &[Self] =
        &[Self::Lint, Self::Unit, Self::Deploy, Self::Fuzz, Self::Links, Self::EndToEnd, Self::Machines, Self::Cluster];

    /// Whether it runs only if it is named: building a cluster's programs takes longer than all other stages.
    const fn is_on_demand(self) -> bool {
        matches!(self, Self::Cluster)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Unit => "unit",
            Self::Deploy => "deploy",
            Self::Fuzz => "fuzz",
            Self::Links => "links",
            Self::EndToEnd => "e2e",
            Self::Machines => "vm",
            Self::Cluster => "cluster",
        }
    }

    fn run(self, filter: &[String]) -> Result<()> {
        let steps = &mut Steps::default();
        match self {
            Self::Lint => lint::lint(steps),
            Self::Unit => unit(filter),
            Self::Deploy => deploy(steps),
            Self::Fuzz => fuzz::targets()?.iter().try_for_each(|target| fuzz::fuzz(target, FUZZ_SMOKE_SECONDS, steps)),
            Self::Links => links(steps),
            Self::EndToEnd => end_to_end(filter, steps),
            Self::Machines => machines(steps),
            Self::Cluster => cluster(filter, steps),
        }
    }
}

/// Runs the stages of these names, all if there are none, and prints a line for each. `filter` goes to the test programs.
pub(crate) fn test(names: &[String], filter: &[String], steps: &mut Steps) -> Result<()> {
    let stages = selected(names)?;
    let ended = stages.iter().try_for_each(|stage| steps.quiet(stage.name(), || stage.run(filter)));
    eprintln!("\n{steps}");
    ended
}

/// The stages of these names, in their own order.
fn selected(names: &[String]) -> Result<Vec<Stage>> {
    let known: Vec<_> = Stage::ALL.iter().map(|stage| stage.name()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there are no tests named `{unknown}`; known: {}", known.join(", "));
    }
    Ok(Stage::ALL
        .iter()
        .copied()
        .filter(|stage| match names {
            [] => !stage.is_on_demand(),
            names => names.iter().any(|name| name == stage.name()),
        })
        .collect())
}

fn unit(filter: &[String]) -> Result<()> {
    let mut cargo = cargo();
    cargo.args(["test", "--locked", "--workspace", "--exclude=wirespan-ebpf", "--exclude=wirespan-tests"]);
    run(cargo.arg("--").args(filter))
}

fn end_to_end(filter: &[String], steps: &mut Steps) -> Result<()> {
    if !packages::is_root() {
        bail!("the end-to-end tests load kernel programs and make network namespaces: run them as root");
    }
    packages::install(&packages::missing(PEERS), "the end-to-end tests observe these programs", steps)?;
    build::build(steps)?;
    let mut cargo = cargo();
    cargo.args(["test", "--locked", "--package=wirespan-tests"]).env("WIRESPAN_BIN", workspace::agent());
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        cargo.env("RUST_TEST_THREADS", (TESTS_PER_PROCESSOR * processors).to_string());
    }
    run(cargo.arg("--").args(filter))
}

#[cfg(unix)]
fn deploy(steps: &mut Steps) -> Result<()> {
    crate::dist::manifests::check(steps)
}

#[cfg(not(unix))]
fn deploy(_: &mut Steps) -> Result<()> {
    bail!("Helm is built for Linux: run it there")
}

#[cfg(unix)]
fn links(steps: &mut Steps) -> Result<()> {
    crate::accuracy::replay(&workspace::root().join(RECORDINGS), steps)
}

#[cfg(not(unix))]
fn links(_: &mut Steps) -> Result<()> {
    bail!("the agent that replays recordings is built for Linux: run it there")
}

#[cfg(unix)]
fn machines(steps: &mut Steps) -> Result<()> {
    let names: Vec<_> = crate::vm::GATE.iter().map(|&name| name.to_owned()).collect();
    crate::vm::vm(&names, false, steps)
}

#[cfg(not(unix))]
fn machines(_: &mut Steps) -> Result<()> {
    bail!("virtual machines boot programs of this machine: run them on Linux")
}

#[cfg(unix)]
fn cluster(filter: &[String], steps: &mut Steps) -> Result<()> {
    crate::cluster::test(filter, steps)
}

#[cfg(not(unix))]
fn cluster(_: &[String], _: &mut Steps) -> Result<()> {
    bail!("a cluster's nodes run Linux: run it there")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Result<Vec<Stage>> {
        selected(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn without_names_everything_quick_runs_and_names_keep_the_order_of_the_stages() {
        let all = named(&[]).unwrap();
        assert_eq!(all, Stage::ALL[..all.len()]);
        assert!(!all.contains(&Stage::Cluster), "its programs are built in minutes: only if it is named");
        assert_eq!(named(&["e2e", "lint"]).unwrap(), [Stage::Lint, Stage::EndToEnd]);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = named(&["unit", "moon"]).unwrap_err().to_string();
        assert_eq!(error, "there are no tests named `moon`; known: lint, unit, deploy, fuzz, links, e2e, vm, cluster");
    }
}
