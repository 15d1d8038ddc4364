//! Packages of the distribution: which are missing, and how they are installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::command::{command, run, succeeds, which};
use crate::step::Steps;

/// A program that something needs, and the Debian or Ubuntu package that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// File name of the executable.
    pub(crate) name: &'static str,
    /// Package.
    pub(crate) package: &'static str,
}

/// Something is missing that may not be installed here. The agent's exit code for it is 2, as for wrong usage: the user
/// has to do something first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotInstalled {
    /// Why it was not done.
    pub(crate) reason: String,
    /// The commands to run, as a person would type them.
    pub(crate) commands: Vec<String>,
}

impl std::fmt::Display for NotInstalled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; run this, then try again:", self.reason)?;
        self.commands.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

impl std::error::Error for NotInstalled {}

/// Services that Debian starts when their package is installed. Our tests and benches start their own servers on ports of
/// their own; a web server on port 80 that nobody asked for must not be left behind.
const SERVICES: &[&str] =
    &["nginx.service", "apache2.service", "containerd.service", "haproxy.service", "redis-server.service"];

/// Where systemd looks for units that hold until the next boot.
const RUNTIME_UNITS: &str = "/run/systemd/system";

/// The packages of the programs that are not on this machine, each once.
pub(crate) fn missing(programs: &[Program]) -> Vec<&'static str> {
    packages_of(programs, |name| which(name).is_some())
}

/// Installs packages, or says which commands would.
pub(crate) fn install(packages: &[&str], why: &str, steps: &mut Steps) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if let Some(reason) = refusal() {
        let reason = format!("{} not installed ({why}) and {reason}", listed(packages));
        return Err(NotInstalled { reason, commands: commands(packages) }.into());
    }
    if !all_known(packages) {
        steps.step("apt-get update, because apt does not know all packages that are needed", update)?;
    }
    steps.step(&format!("apt-get install {}, because {why}", packages.join(" ")), || {
        let _masks = Masks::new();
        let mut apt_get = apt_get();
        apt_get.args(["install", "--yes", "--no-install-recommends", "--quiet=2"]).args(packages);
        // Hundreds of lines of unpacking and setting up; what goes wrong is on standard error.
        run(apt_get.stdout(Stdio::null()))
    })
}

/// What a person would type to install packages.
pub(crate) fn commands(packages: &[&str]) -> Vec<String> {
    if which("apt-get").is_none() {
        let names = packages.join(" ");
        return vec![format!("(this distribution's way to install what Debian calls) {names}")];
    }
    vec!["sudo apt-get update".to_owned(), format!("sudo {}", install_line(packages))]
}

/// Why packages cannot be installed by us here, if so.
pub(crate) fn refusal() -> Option<&'static str> {
    if which("apt-get").is_none() {
        Some("this machine has no apt-get")
    } else if !is_root() {
        Some("only root may install them")
    } else {
        None
    }
}

/// Whether apt offers all these packages, as far as its lists tell now.
pub(crate) fn all_known(packages: &[&str]) -> bool {
    packages.iter().all(|package| is_known(package))
}

/// Fetches apt's lists anew.
pub(crate) fn update() -> Result<()> {
    run(apt_get().args(["update", "--quiet=2"]))
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    #[cfg(unix)]
    return rustix::process::geteuid().is_root();
    #[cfg(not(unix))]
    return false;
}

/// Services that are not installed yet cannot be started while one of these lives.
///
/// systemd refuses to start a unit that is masked, and the scripts of Debian's packages take that for an answer. A runtime
/// mask is a link to `/dev/null` in a folder that is gone at the next boot, so that even a killed `xtask` leaves
/// nothing for good. Where no init system runs (containers), Debian's scripts start nothing anyway.
struct Masks {
    links: Vec<PathBuf>,
}

impl Masks {
    fn new() -> Self {
        let is_installed = |unit: &str| {
            ["/lib/systemd/system", "/etc/systemd/system"].iter().any(|folder| Path::new(folder).join(unit).exists())
        };
        let links = SERVICES.iter().filter(|unit| !is_installed(unit)).map(|unit| Path::new(RUNTIME_UNITS).join(unit));
        #[cfg(unix)]
        let links = links.filter(|link| std::os::unix::fs::symlink("/dev/null", link).is_ok());
        let masks = Self { links: links.collect() };
        masks.reload();
        masks
    }

    fn reload(&self) {
        if !self.links.is_empty() {
            succeeds(command("systemctl").arg("daemon-reload"));
        }
    }
}

impl Drop for Masks {
    fn drop(&mut self) {
        for link in &self.links {
            if let Err(error) = std::fs::remove_file(link) {
                eprintln!("warning: {} stays until the next boot: {error}", link.display());
            }
        }
        self.reload();
        // Its package enabled it; it shall not come up at the next boot either.
        for unit in self.links.iter().filter_map(|link| link.file_name()) {
            succeeds(command("systemctl").arg("disable").arg(unit));
        }
    }
}

fn apt_get() -> Command {
    let mut command = command("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_known(package: &str) -> bool {
    // `policy` prints nothing at all for a name it has never seen, and `Candidate: (none)` for one it cannot install.
    let Ok(text) = crate::command::output(command("apt-cache").args(["policy", package])) else { return false };
    has_candidate(&text)
}

fn has_candidate(policy: &str) -> bool {
    policy.lines().any(|line| line.trim().strip_prefix("Candidate:").is_some_and(|version| version.trim() != "(none)"))
}

fn packages_of(programs: &[Program], is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for program in programs {
        if !is_there(program.name) && !packages.contains(&program.package) {
            packages.push(program.package);
        }
    }
    packages
}

fn install_line(packages: &[&str]) -> String {
    format!("apt-get install --yes --no-install-recommends {}", packages.join(" "))
}

fn listed(packages: &[&str]) -> String {
    let verb = if packages.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", packages.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_once_and_only_if_a_program_of_it_is_missing() {
        let programs = [("cc", "build-essential"), ("c++", "build-essential"), ("curl", "curl")];
        let programs = programs.map(|(name, package)| Program { name, package });
        assert_eq!(packages_of(&programs, |name| name == "curl"), ["build-essential"]);
        assert!(packages_of(&programs, |_| true).is_empty());
    }

    #[test]
    fn a_package_without_a_candidate_is_not_known() {
        assert!(has_candidate("wrk:\n  Installed: (none)\n  Candidate: 4.1.0-3\n"));
        assert!(!has_candidate("wrk:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }

    #[test]
    fn what_cannot_be_installed_is_given_as_commands() {
        let refused =
            NotInstalled { reason: "wrk is not installed".to_owned(), commands: vec![install_line(&["wrk"])] };
        let text = refused.to_string();
        assert!(text.ends_with("\n    apt-get install --yes --no-install-recommends wrk"), "{text}");
    }
}
