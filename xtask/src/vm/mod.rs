//! `cargo xtask vm`: one suite of behaviours on many kernels, and the table of what came of it.
//!
//! `machine` says which machines there are and runs them, `debian` gets their kernels, `initramfs` what they boot into
//! (`archive` writes it), `arch` says how they differ, `report` makes the table.

mod arch;
mod archive;
mod debian;
mod initramfs;
mod machine;
mod report;

use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Program};
use crate::step::Steps;
use crate::vm::initramfs::Bases;
use crate::vm::machine::{MACHINES, Machine, Run};
use crate::vm::report::Column;
use crate::{build, dist, workspace};

/// The machines that `cargo xtask test` runs the suite on: the oldest kernel, those of the last two stable releases, the newest.
pub(crate) const GATE: &[&str] = &["5.10", "6.1", "6.12", "sid"];

/// How many machines run at the same time: an emulated one mostly keeps one processor busy, whatever it has itself.
const AT_ONCE: usize = 2;

/// Programs that machines are made with, and those that run on them.
const PROGRAMS: &[Program] = &[
    Program { name: "busybox", package: "busybox-static" },
    Program { name: "depmod", package: "kmod" },
    Program { name: "dpkg-deb", package: "dpkg" },
    Program { name: "strip", package: "binutils" },
    Program { name: "xz", package: "xz-utils" },
    Program { name: "bpftool", package: "bpftool" },
    Program { name: "curl", package: "curl" },
    Program { name: "ip", package: "iproute2" },
    Program { name: "nft", package: "nftables" },
    Program { name: "nginx", package: "nginx" },
    Program { name: "setpriv", package: "util-linux" },
];

/// Runs the suite on the machines of these names, all if there are none, and prints the table; if it was run on all of them,
/// writes it to `docs/kernels.md`. Fails if anything failed anywhere.
pub(crate) fn vm(names: &[String], update: bool, steps: &mut Steps) -> Result<()> {
    let machines = selected(names)?;
    let emulators: Vec<_> = machines.iter().filter_map(|machine| Some(machine.source?.arch.emulator)).collect();
    let mut missing = packages::missing(&[PROGRAMS, &emulators].concat());
    if !Path::new(debian::KEYRING).is_file() {
        missing.push("debian-archive-keyring");
    }
    packages::install(&missing, "virtual machines are made with them", steps)?;
    if machines.iter().any(|machine| machine.source.is_none()) && !packages::is_root() {
        bail!("on the machine `host` the suite loads kernel programs: run it as root, or name the other machines");
    }
    fs::create_dir_all(folder()).with_context(|| folder().display().to_string())?;
    let (ours, foreign): (Vec<_>, Vec<_>) = machines
        .iter()
        .map(|machine| machine.source)
        .partition(|source| source.is_none_or(|source| source.arch.is_ours()));
    let suite = if ours.is_empty() {
        None
    } else {
        build::build(steps)?;
        Some(steps.step("building the suite", initramfs::build_suite)?)
    };
    if let Some(source) = foreign.into_iter().flatten().next() {
        dist::dist(source.arch.triple, steps)?;
        steps.step(&format!("building the suite for {}", source.arch.triple), || dist::suite(source.arch.triple))?;
    }
    let mut bases = Bases::new(suite.unwrap_or_default());
    let mut columns = Vec::new();
    for together in machines.chunks(AT_ONCE) {
        let names: Vec<_> = together.iter().map(|machine| machine.name).collect();
        let runs =
            steps.step(&format!("the suite on {}", names.join(" and ")), || run(together, &mut bases, update))?;
        for (name, run) in names.into_iter().zip(runs) {
            let column = Column::read(name, run);
            column.failures().iter().for_each(|failure| eprintln!("    FAILED {failure}"));
            columns.push(column);
        }
    }
    let document = report::document(&columns);
    eprintln!("\n{document}");
    if names.is_empty() {
        let path = workspace::root().join("docs/kernels.md");
        fs::write(&path, document).with_context(|| path.display().to_string())?;
    }
    match columns.iter().map(|column| column.failures().len()).sum() {
        0 => Ok(()),
        n => bail!("failed: {n}; the logs are in {}", folder().display()),
    }
}

/// Runs the suite on some machines at the same time.
fn run(machines: &[&Machine], bases: &mut Bases, update: bool) -> Result<Vec<Run>> {
    let made = machines.iter().map(|machine| machine.prepare(bases, update)).collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let running: Vec<_> = made.iter().map(|prepared| scope.spawn(|| prepared.run())).collect();
        running.into_iter().map(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

/// Where everything of this verb is kept.
fn folder() -> PathBuf {
    workspace::target().join("vm")
}

fn selected(names: &[String]) -> Result<Vec<&'static Machine>> {
    let known: Vec<_> = MACHINES.iter().map(|machine| machine.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no kernel `{unknown}`; known: {}", known.join(", "));
    }
    Ok(MACHINES.iter().filter(|machine| names.is_empty() || names.iter().any(|name| name == machine.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = selected(&["6.1".to_owned(), "2.6".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("there is no kernel `2.6`; known: 5.10, 6.1, 6.12, "), "{error}");
        assert_eq!(selected(&["6.1".to_owned()]).unwrap().len(), 1);
    }
}
