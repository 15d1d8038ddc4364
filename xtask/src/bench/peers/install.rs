//! The applications, and what they are made of, in the user's cache folder: installed once by their own package managers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};

use crate::command::{command, run, succeeds, which};
use crate::packages::{self, Program};
use crate::step::Steps;
use crate::workspace;

/// What the package managers are.
const PROGRAMS: &[Program] = &[
    Program { name: "node", package: "nodejs" },
    Program { name: "npm", package: "npm" },
    Program { name: "python3", package: "python3" },
    Program { name: "java", package: "default-jdk-headless" },
    Program { name: "javac", package: "default-jdk-headless" },
    Program { name: "mvn", package: "maven" },
];

/// Has what makes virtual environments; no executable tells whether it is there.
const VENV_PACKAGE: &str = "python3-venv";

/// Says what was installed; in the installed folder.
const STAMP: &str = "installed";

/// An application in the source tree.
pub(super) struct Source {
    /// Its folder's name.
    pub(super) folder: &'static str,
    /// Its files.
    files: &'static [&'static str],
    /// Makes it ready to run, in a folder that holds these files.
    install: fn(&Path) -> Result<()>,
}

/// Node and Express; OpenTelemetry from npm.
pub(super) const NODE: Source =
    Source { folder: "node", files: &["package.json", "package-lock.json", "server.js"], install: with_npm };

/// Flask and gunicorn; OpenTelemetry from `PyPI`.
pub(super) const PYTHON: Source =
    Source { folder: "python", files: &["requirements.txt", "server.py"], install: with_pip };

/// Spring Boot; OpenTelemetry from Maven Central.
pub(super) const JAVA: Source =
    Source { folder: "java", files: &["pom.xml", "src/main/java/bench/Peer.java"], install: with_maven };

/// Installs the package managers that are missing.
pub(super) fn package_managers(steps: &mut Steps) -> Result<()> {
    packages::install(&packages::missing(PROGRAMS), "the applications to compare with are installed by them", steps)?;
    if succeeds(command("python3").args(["-c", "import ensurepip"])) {
        return Ok(());
    }
    packages::install(&[VENV_PACKAGE], "Flask is installed into a virtual environment", steps)
}

impl Source {
    /// Where it is ready to run. Installs it unless these very files were installed before.
    pub(super) fn installed(&self, steps: &mut Steps) -> Result<PathBuf> {
        let folder = cache()?.join("peers").join(self.folder);
        let source = workspace::root().join("xtask").join("peers").join(self.folder);
        let read = |file: &&str| {
            let path = source.join(file);
            fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
        };
        let texts = self.files.iter().map(read).collect::<Result<Vec<_>>>()?;
        let stamp = folder.join(STAMP);
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == texts.concat()) {
            return Ok(folder);
        }
        steps.step(&format!("installing the {} application into {}", self.folder, folder.display()), || {
            for (file, text) in self.files.iter().zip(&texts) {
                write(&folder.join(file), text)?;
            }
            (self.install)(&folder)?;
            write(&stamp, &texts.concat())
        })?;
        Ok(folder)
    }
}

fn with_npm(folder: &Path) -> Result<()> {
    // No package of these has to run anything to be installed.
    let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    run(inside("npm", folder)?.args(arguments))
}

fn with_pip(folder: &Path) -> Result<()> {
    run(inside("python3", folder)?.args(["-m", "venv", "--clear", "venv"]))?;
    let pip = folder.join("venv/bin/pip");
    run(inside(pip, folder)?.args(["install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]))
}

fn with_maven(folder: &Path) -> Result<()> {
    run(inside("mvn", folder)?.args(["--quiet", "--batch-mode", "-Dstyle.color=never", "package"]))
}

fn inside(program: impl AsRef<Path>, folder: &Path) -> Result<Command> {
    let program = program.as_ref();
    let found = if program.is_absolute() { Some(program.to_owned()) } else { program.to_str().and_then(which) };
    let mut command = command(found.with_context(|| format!("{} is not installed", program.display()))?);
    command.current_dir(folder);
    Ok(command)
}

fn cache() -> Result<PathBuf> {
    let given = env::var_os("XDG_CACHE_HOME").filter(|path| Path::new(path).is_absolute()).map(PathBuf::from);
    let usual = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    Ok(given.or_else(usual).context("neither XDG_CACHE_HOME nor HOME is set")?.join("wirespan"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("{} cannot be written", path.display()))
}
