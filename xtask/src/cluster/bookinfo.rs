//! Images of the Bookinfo application: its sources from `tests/apps/bookinfo`, on runtimes copied from this machine's packages.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::image::{self, Image, copy, make_folder};
use super::place::Place;
use crate::bed::go::GoProgram;
use crate::bed::install::{Recipe, Source};
use crate::command::{command, output, run, which};
use crate::packages::{self, Program};
use crate::step::Steps;
use crate::workspace;

/// Where the sources are.
const SOURCES: &str = "tests/apps/bookinfo";

/// What the runtimes are copied from.
const RUNTIMES: &[Program] = &[
    Program { name: "/usr/bin/python3", package: "python3" },
    Program { name: "node", package: "nodejs" },
    Program { name: "javac", package: "default-jdk-headless" },
    Program { name: "jlink", package: "default-jdk-headless" },
];

/// Parts of itself that Debian's Node reads at run time.
const NODE_PARTS: &[&str] = &["acorn", "acorn-walk", "cjs-module-lexer", "undici"];

/// `details`, which is one static program.
const DETAILS: Source = Source {
    folder: "tests/apps/bookinfo/details",
    files: &["go.mod", "main.go"],
    programs: &[],
    recipe: Recipe::GoStatic(&[GoProgram { name: "details", package: ".", flags: "" }]),
};

/// The language of an application, which decides what its image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runtime {
    Go,
    Java,
    Node,
    Python,
}

/// An application of one source file.
struct Application {
    name: &'static str,
    file: &'static str,
    runtime: Runtime,
    /// Tags of its image, all with the same content.
    tags: &'static [&'static str],
    entrypoint: &'static [&'static str],
}

const APPLICATIONS: &[Application] = &[
    Application {
        name: "productpage",
        file: "productpage.py",
        runtime: Runtime::Python,
        tags: &["v1"],
        entrypoint: &["/usr/bin/python3", "-u", "/app/productpage.py"],
    },
    Application {
        name: "details",
        file: "main.go",
        runtime: Runtime::Go,
        tags: &["v1"],
        entrypoint: &["/app/details"],
    },
    Application {
        name: "reviews",
        file: "Reviews.java",
        runtime: Runtime::Java,
        tags: &["v1", "v2", "v3"],
        entrypoint: &["/opt/java/bin/java", "-Xmx48m", "-XX:+UseSerialGC", "-cp", "/app", "Reviews"],
    },
    Application {
        name: "ratings",
        file: "ratings.js",
        runtime: Runtime::Node,
        tags: &["v1"],
        entrypoint: &["/usr/bin/node", "/app/ratings.js"],
    },
    Application {
        name: "peer",
        file: "peer.py",
        runtime: Runtime::Python,
        tags: &["1"],
        entrypoint: &["/usr/bin/python3", "-u", "/app/peer.py"],
    },
];

/// Makes and imports all images that this cluster does not have, as `wirespan.local/bookinfo-NAME:TAG`.
pub(crate) fn import(place: &Place, steps: &mut Steps) -> Result<()> {
    packages::install(&packages::missing(RUNTIMES), "Bookinfo's images are made of them", steps)?;
    let details = DETAILS.installed(steps)?.join("details");
    for application in APPLICATIONS {
        let source = workspace::root().join(SOURCES).join(application.name).join(application.file);
        let content = fs::read_to_string(&source).with_context(|| source.display().to_string())?;
        for tag in application.tags {
            let name = format!("wirespan.local/bookinfo-{}:{tag}", application.name);
            let image = Image { name: &name, entrypoint: application.entrypoint };
            image::import(place, &image, &content, |root| match application.runtime {
                Runtime::Go => copy(&details, &root.join("app/details")),
                Runtime::Java => java(&source, root),
                Runtime::Node => node(&source, root),
                Runtime::Python => python(&source, root),
            })?;
        }
    }
    Ok(())
}

/// The distribution's Python, whatever `PATH` says: another one may lie in a folder of its user.
fn python(source: &Path, root: &Path) -> Result<()> {
    let python = Path::new("/usr/bin/python3");
    let script = "import sysconfig; print(sysconfig.get_path('stdlib'))";
    let library = output(command(python).args(["-I", "-c", script]))?;
    copy_with_libraries(python, &root.join("usr/bin/python3"), root)?;
    copy_folder(Path::new(library.trim()), root)?;
    copy(source, &root.join("app/").join(file_name(source)?))
}

fn node(source: &Path, root: &Path) -> Result<()> {
    let node = which("node").context("node is not installed")?;
    copy_with_libraries(&node, &root.join("usr/bin/node"), root)?;
    for part in NODE_PARTS.iter().map(|part| Path::new("/usr/share/nodejs").join(part)).filter(|part| part.is_dir()) {
        copy_folder(&part, root)?;
    }
    copy(source, &root.join("app").join(file_name(source)?))
}

fn java(source: &Path, root: &Path) -> Result<()> {
    let home = root.join("opt/java");
    make_folder(&root.join("opt"))?;
    let mut jlink = command("jlink");
    jlink.args(["--add-modules", "java.base,jdk.httpserver", "--strip-debug", "--no-header-files", "--no-man-pages"]);
    run(jlink.arg("--output").arg(&home))?;
    let mut needed = BTreeSet::new();
    for file in
        ["bin/java", "lib/server/libjvm.so", "lib/libjava.so", "lib/libnet.so", "lib/libnio.so", "lib/libzip.so"]
    {
        needed.extend(libraries(&home.join(file))?);
    }
    for library in needed.iter().filter(|library| !library.starts_with(root)) {
        copy(library, &inside(root, library))?;
    }
    run(command("javac").args(["--release", "17", "-d"]).arg(root.join("app")).arg(source))
}

/// Copies a program, and the libraries that it is linked with to where they are on this machine.
fn copy_with_libraries(program: &Path, to: &Path, root: &Path) -> Result<()> {
    copy(program, to)?;
    libraries(program)?.iter().try_for_each(|library| copy(library, &inside(root, library)))
}

/// Copies a folder to where it is on this machine, links as links.
fn copy_folder(folder: &Path, root: &Path) -> Result<()> {
    let to = inside(root, folder);
    make_folder(to.parent().unwrap_or(root))?;
    run(command("cp").args(["--archive", "--no-target-directory"]).arg(folder).arg(to))
}

fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    Ok(output(command("ldd").arg(program))?.lines().filter_map(library).collect())
}

/// The path in a line of `ldd`: `libm.so.6 => /lib/x/libm.so.6 (0x7f)`, or `/lib64/ld-linux-x86-64.so.2 (0x7f)`.
fn library(line: &str) -> Option<PathBuf> {
    let path = line.split_once("=>").map_or(line, |(_, path)| path).split_whitespace().next()?;
    path.starts_with('/').then(|| path.into())
}

/// The same path below an image's root.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn file_name(path: &Path) -> Result<&std::ffi::OsStr> {
    path.file_name().with_context(|| format!("{} is no file", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let read = |line| library(line).map(|path| path.display().to_string());
        assert_eq!(
            read("\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f)").as_deref(),
            Some("/lib/x86_64-linux-gnu/libz.so.1")
        );
        assert_eq!(read("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)").as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(read("\tlinux-vdso.so.1 (0x00007f)"), None);
        assert_eq!(read("\tlibx.so => not found"), None);
    }
}
