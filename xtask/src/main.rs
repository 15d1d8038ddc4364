//! `cargo xtask`: the only build entry. One file per verb; this one is the command line.

#[cfg(unix)]
mod accuracy;
#[cfg(unix)]
mod bed;
#[cfg(unix)]
mod bench;
mod build;
#[cfg(unix)]
mod cluster;
mod command;
mod dist;
mod fuzz;
mod lint;
mod packages;
mod run;
mod setup;
mod step;
mod test;
mod toolchain;
#[cfg(unix)]
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::packages::NotInstalled;
use crate::step::Steps;

/// Builds, runs, tests and measures Wirespan.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "\
Everything is built and installed below target/, but for packages of the distribution, which only root may install.

Exit codes: 0 done; 1 it failed, or a target was missed; 2 wrong usage, or something is missing that may not \
be installed here (the commands to run are printed). `run` ends with the exit code of the agent.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install what building needs and this machine lacks. Does nothing the second time.
    ///
    /// The kernel programs need a compiler with the source of `core` and `bpf-linker`: a toolchain of rustup with
    /// `rust-src` and a `bpf-linker` in PATH are taken if they are there; else the distribution's packages are installed
    /// and bpf-linker is built into target/tools.
    Setup,
    /// Build target/release/wirespan with the kernel programs inside.
    Build,
    /// Build what is not fresh, then run the agent.
    Run {
        /// Arguments of `wirespan run`; `-- --help` lists them.
        #[arg(last = true, value_name = "AGENT ARGS")]
        arguments: Vec<String>,
    },
    /// Format, lints, unit tests, the chart, fuzz targets for some seconds, then end to end as root, here and on other kernels.
    Test {
        /// Stages to run: lint, unit, deploy, fuzz, links, e2e, vm, cluster. All but the last one if none is named.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Arguments of the test programs, such as a part of a test's name; of `cluster`, parts of its sentences.
        #[arg(last = true, value_name = "TEST ARGS")]
        filter: Vec<String>,
    },
    /// Measure, and print each figure beside its target. As root, on a machine that does nothing else.
    ///
    /// Each bench writes its part of docs/performance.md, and target/bench/NAME.json. All of them take about 15 minutes,
    /// besides what is built and installed the first time.
    Bench {
        /// Benches to run; an unknown name lists them. All of them if none is named.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Count right, wrong and missing links of requests within processes, against the truth. As root.
    ///
    /// Each runtime's model application in tests/apps is put under loads that arrive whatever the answers do (open loop); the
    /// truth is a token in the paths of the requests, where links are never looked for. All levels run beside one agent, in growing
    /// order. A run with the usual levels, pools, repeats and requests writes the runtimes' parts of docs/accuracy.md.
    Accuracy(
        #[cfg(unix)]
        #[command(flatten)]
        accuracy::Arguments,
    ),
    /// Run one suite of behaviours on many kernels in virtual machines, and make a table of it.
    ///
    /// Without names it runs on all of them, also on this one, as root, and writes docs/kernels.md. Kernels, logs and reports stay in target/vm.
    Vm {
        /// Machines to run it on; an unknown name lists them.
        #[arg(value_name = "KERNEL")]
        names: Vec<String>,
        /// Look for newer kernels than those that were fetched before.
        #[arg(long)]
        update: bool,
    },
    /// A real Kubernetes of one node on this machine, as root: what `cargo xtask test cluster` runs in.
    ///
    /// The first `up` builds etcd, Kubernetes and CoreDNS into the user's cache folder, which takes minutes; later ones take seconds.
    Cluster {
        #[cfg(unix)]
        #[command(subcommand)]
        action: cluster::Action,
    },
    /// Build what is carried elsewhere: the agent for another machine into target/dist/TARGET, or as a container image; or the
    /// manifests of the chart.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Dist {
        /// The target's triple; an unknown one lists the known ones.
        #[arg(long, value_name = "TRIPLE", required = true)]
        target: Option<String>,
        #[command(subcommand)]
        form: Option<Form>,
    },
    /// Check the format and lint all code with warnings denied.
    Lint,
    /// Run a fuzz target; an unknown name lists them. Findings stay in target/fuzz.
    Fuzz {
        /// The target.
        target: String,
        /// For how long.
        #[arg(long, default_value_t = 60, value_name = "N")]
        seconds: u32,
    },
}

/// Forms in which the agent is carried elsewhere.
#[derive(Debug, Subcommand)]
enum Form {
    /// The container image as an OCI archive, with the list of what it is made of (CycloneDX), into target/dist/image.
    Image {
        /// For this target; without it for all of them, with an index over them.
        #[arg(long, value_name = "TRIPLE")]
        target: Option<String>,
        /// Build it again from a copy of the sources, and fail if it does not come out the same.
        #[arg(long)]
        twice: bool,
    },
    /// The chart with its default values as plain manifests, into deploy/manifests.
    Manifests,
}

fn main() -> ExitCode {
    match perform(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<NotInstalled>() { 2 } else { 1 })
        }
    }
}

impl Verb {
    /// Whether it puts loads on servers, beside which it must not count itself.
    fn puts_loads(&self) -> bool {
        match self {
            Self::Bench { .. } => true,
            #[cfg(unix)]
            Self::Accuracy(arguments) => arguments.puts_loads(),
            _ => false,
        }
    }
}

/// Becomes this program as the profile `loads` builds it, with the same arguments.
fn become_optimised() -> Result<()> {
    let mut cargo = command::cargo();
    // The user's folder, not the workspace's: arguments may name files.
    cargo.current_dir(std::env::current_dir().context("the current folder cannot be read")?);
    cargo.args(["run", "--quiet", "--locked", "--profile=loads", "--package=xtask", "--manifest-path"]);
    cargo.arg(workspace::root().join("Cargo.toml")).arg("--").args(std::env::args_os().skip(1));
    eprintln!("==> building xtask again, optimised, because it puts loads on servers");
    command::become_it(&mut cargo)
}

fn perform(verb: Verb) -> Result<()> {
    if cfg!(debug_assertions) && verb.puts_loads() {
        return become_optimised();
    }
    let steps = &mut Steps::default();
    match verb {
        Verb::Setup => setup::setup(steps).map(|toolchain| eprintln!("ready to build with {toolchain}")),
        Verb::Build => build::build(steps),
        Verb::Run { arguments } => run::run(&arguments, steps),
        Verb::Test { names, filter } => test::test(&names, &filter, steps),
        #[cfg(unix)]
        Verb::Bench { names } => bench::bench(&names, steps),
        #[cfg(not(unix))]
        Verb::Bench { .. } => anyhow::bail!("benches load kernel programs: run them on Linux"),
        #[cfg(unix)]
        Verb::Accuracy(arguments) => accuracy::accuracy(&arguments, steps),
        #[cfg(not(unix))]
        Verb::Accuracy() => anyhow::bail!("it loads kernel programs: run it on Linux"),
        #[cfg(unix)]
        Verb::Vm { names, update } => vm::vm(&names, update, steps),
        #[cfg(not(unix))]
        Verb::Vm { .. } => anyhow::bail!("virtual machines boot programs of this machine: run them on Linux"),
        #[cfg(unix)]
        Verb::Cluster { action } => cluster::cluster(action, steps),
        #[cfg(not(unix))]
        Verb::Cluster {} => anyhow::bail!("a cluster's nodes run Linux: run it there"),
        #[cfg(unix)]
        Verb::Dist { form: Some(Form::Image { target, twice }), .. } => {
            dist::image(target.as_deref(), twice, steps).map(drop)
        }
        #[cfg(unix)]
        Verb::Dist { form: Some(Form::Manifests), .. } => dist::manifests::manifests(steps),
        #[cfg(not(unix))]
        Verb::Dist { form: Some(_), .. } => anyhow::bail!("images and manifests are made on Linux"),
        Verb::Dist { target, form: None } => dist::dist(&target.unwrap_or_default(), steps),
        Verb::Lint => lint::lint(steps),
        Verb::Fuzz { target, seconds } => fuzz::fuzz(&target, seconds, steps),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn only_what_puts_loads_on_servers_is_built_for_speed() {
        let puts_loads = |line: &[&str]| Arguments::try_parse_from(line).unwrap().verb.puts_loads();
        assert!(puts_loads(&["cargo xtask", "bench", "kernel"]));
        assert!(puts_loads(&["cargo xtask", "accuracy", "--record", "folder"]));
        assert!(!puts_loads(&["cargo xtask", "accuracy", "--replay", "folder"]));
        assert!(!puts_loads(&["cargo xtask", "test"]));
    }

    #[test]
    fn everything_behind_two_dashes_goes_to_the_agent() {
        let parsed = Arguments::try_parse_from(["cargo xtask", "run", "--", "--help", "--only", "pid:1"]).unwrap();
        assert!(matches!(parsed.verb, Verb::Run { arguments } if arguments == ["--help", "--only", "pid:1"]));
    }
}
