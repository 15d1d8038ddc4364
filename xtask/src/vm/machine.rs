//! The machines that the suite runs on: virtual ones by kernel and boot line, and this one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::arch::{AMD64, ARM64, Arch};
use super::debian::{Kernel, Source};
use super::folder;
use super::initramfs::Bases;
use crate::command::{command, line};
use crate::workspace;

/// A machine is ended after this time. Booting and the suite take 60 to 90 s with another machine beside it, three minutes on two
/// processors that ten others want.
const LIMIT: Duration = Duration::from_secs(600);
/// Memory of a machine, mebibytes. Its root, in memory, takes 150 of them.
const MEMORY_MIB: &str = "1536";
/// Processors of a machine: more than one, so that ring buffers and counters per processor are tried.
const PROCESSORS: &str = "2";

/// A machine that the suite runs on.
#[derive(Debug)]
pub(crate) struct Machine {
    /// What the command line calls it.
    pub(crate) name: &'static str,
    /// Its kernel; none for the one that runs here.
    pub(crate) source: Option<Source>,
    /// What is added to the kernel's command line.
    pub(crate) boot: &'static str,
}

const fn of(name: &'static str, suite: &'static str, begins: &'static str, boot: &'static str) -> Machine {
    Machine { name, source: Some(Source { suite, begins, arch: &AMD64 }), boot }
}

const fn arm(name: &'static str, suite: &'static str) -> Machine {
    Machine { name, source: Some(Source { suite, begins: "", arch: &ARM64 }), boot: "" }
}

/// All machines, in the order of the table.
pub(crate) const MACHINES: &[Machine] = &[
    of("5.10", "bullseye", "", ""),
    of("6.1", "bookworm", "", ""),
    of("6.12", "trixie", "", ""),
    of("6.16", "trixie-backports", "6.16.", ""),
    of("backports", "trixie-backports", "", ""),
    of("sid", "sid", "", ""),
    of("5.10-v1", "bullseye", "", "wirespan.cgroup=v1"),
    of("6.1-hybrid", "bookworm", "", "wirespan.cgroup=hybrid"),
    of("6.12-v1", "trixie", "", "wirespan.cgroup=v1"),
    of("6.12-integrity", "trixie", "", "lockdown=integrity"),
    of("6.12-confidentiality", "trixie", "", "lockdown=confidentiality"),
    arm("6.12-arm64", "trixie"),
    Machine { name: "host", source: None, boot: "" },
];

/// What came of a machine.
pub(crate) struct Run {
    /// What the suite reported, line by line.
    pub(crate) report: String,
    /// Why it did not come to its end, if so.
    pub(crate) broken: Option<String>,
    /// The kernel's package; empty for the host.
    pub(crate) package: String,
}

impl Machine {
    /// Where everything goes that is said on it and not part of the report.
    pub(crate) fn log(&self) -> PathBuf {
        folder().join(format!("{}.log", self.name))
    }

    /// Gets what it runs.
    pub(crate) fn prepare(&self, bases: &mut Bases, update: bool) -> Result<Prepared<'_>> {
        let Some(source) = self.source else {
            return Ok(Prepared { machine: self, way: Way::Here { suite: bases.suite().to_owned() } });
        };
        let kernel = Kernel::get(source, update)?;
        let archive = folder().join(format!("{}.cpio", self.name));
        bases.of(source.arch)?.archive(&kernel, &archive)?;
        Ok(Prepared { machine: self, way: Way::Boot { arch: source.arch, kernel, archive } })
    }

    fn boot(&self, arch: &Arch, kernel: &Kernel, archive: &Path, report: &Path) -> Result<Option<String>> {
        let mut qemu = command(arch.emulator.name);
        qemu.args(["-accel", "tcg,thread=multi", "-smp", PROCESSORS, "-m", MEMORY_MIB]);
        qemu.args(["-nodefaults", "-no-reboot", "-display", "none"]);
        qemu.arg("-serial").arg(format!("file:{}", self.log().display()));
        qemu.arg("-chardev").arg(format!("file,id=report,path={}", report.display()));
        qemu.args(arch.arguments);
        qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(archive);
        let (console, report) = (arch.console, arch.report);
        let boot = format!("console={console} quiet panic=-1 wirespan.report={report} {} {}", arch.boot, self.boot);
        qemu.arg("-append").arg(boot);
        self.finish(&mut qemu)
    }

    fn here(&self, suite: &Path, report: &Path) -> Result<Option<String>> {
        let log = File::create(self.log()).with_context(|| self.log().display().to_string())?;
        let mut suite = command(suite);
        suite.env("WIRESPAN_BIN", workspace::agent()).stdout(File::create(report)?).stderr(log);
        self.finish(&mut suite)
    }

    /// Waits for the end of a machine, or ends it. Why, if it did not end well.
    fn finish(&self, command: &mut std::process::Command) -> Result<Option<String>> {
        let text = line(command);
        let child = command.stdin(Stdio::null()).spawn();
        let mut child = child.with_context(|| format!("`{text}` cannot be started"))?;
        let pid = rustix::process::Pid::from_child(&child);
        let (ended, end) = mpsc::channel();
        let waits = thread::spawn(move || ended.send(child.wait()));
        let status = end.recv_timeout(LIMIT);
        if status.is_err() {
            // Nobody has waited for it yet, so that its id is still its own.
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        }
        let _sent = waits.join();
        Ok(match status {
            Ok(Ok(status)) if status.success() => None,
            Ok(Ok(status)) => Some(format!("it ended with {status}; see {}", self.log().display())),
            Ok(Err(error)) => Some(format!("it could not be waited for: {error}")),
            Err(_) => Some(format!("it was ended after {} s; see {}", LIMIT.as_secs(), self.log().display())),
        })
    }
}

/// A machine and what it runs.
pub(crate) struct Prepared<'a> {
    machine: &'a Machine,
    way: Way,
}

enum Way {
    Boot { arch: &'static Arch, kernel: Kernel, archive: PathBuf },
    Here { suite: PathBuf },
}

impl Prepared<'_> {
    /// Runs the suite on it.
    pub(crate) fn run(&self) -> Result<Run> {
        let machine = self.machine;
        let report = folder().join(format!("{}.jsonl", machine.name));
        fs::write(&report, "").with_context(|| report.display().to_string())?;
        let (broken, package) = match &self.way {
            Way::Boot { arch, kernel, archive } => {
                let mut broken = machine.boot(arch, kernel, archive, &report)?;
                if has_stumbled(&fs::read(machine.log()).unwrap_or_default()) {
                    eprintln!("    {}: its kernel stumbled over its own patching (emulated): once more", machine.name);
                    broken = machine.boot(arch, kernel, archive, &report)?;
                }
                fs::remove_file(archive)?;
                (broken, kernel.package.clone())
            }
            Way::Here { suite } => (machine.here(suite, &report)?, String::new()),
        };
        let report = fs::read(&report).with_context(|| report.display().to_string())?;
        Ok(Run { report: String::from_utf8_lossy(&report).into_owned(), broken, package })
    }
}

/// Whether the kernel of an emulated machine ran into the breakpoint by which it replaces an instruction of its own (of a tracepoint
/// that is attached or detached), and took it for a stranger's. Seen once, where several processors are emulated at the same time: the
/// instruction had been replaced already.
fn has_stumbled(log: &[u8]) -> bool {
    const OOPS: &[u8] = b"Oops: int3:";
    log.windows(OOPS.len()).any(|bytes| bytes == OOPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_emulators_own_fault_is_forgiven() {
        assert!(has_stumbled(b"[   73.654982] Oops: int3: 0000 [#1] SMP NOPTI\n"));
        assert!(!has_stumbled(b"[   73.654982] Oops: general protection fault: 0000 [#1] SMP NOPTI\n"));
        assert!(!has_stumbled(b""));
    }

    #[test]
    fn names_are_unique() {
        for (number, machine) in MACHINES.iter().enumerate() {
            assert!(MACHINES[..number].iter().all(|other| other.name != machine.name), "{}", machine.name);
        }
    }
}
