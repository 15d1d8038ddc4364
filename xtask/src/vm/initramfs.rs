//! What a virtual machine boots into: busybox, the agent, the suite, and the programs that the suite starts, each with its
//! libraries from this machine. Nothing else, and no disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::arch::Arch;
use super::archive::Archive;
use super::debian::{Kernel, files, userland};
use super::folder;
use crate::command::{command, output, run, which};
use crate::{dist, workspace};

const INIT: &str = include_str!("init.sh");

/// Programs of this machine that the suite starts, and that busybox has not or not as the suite needs them.
const PROGRAMS: &[&str] = &["bpftool", "curl", "install", "ip", "nginx", "nsenter", "setpriv", "tc"];

/// Files that programs look things up in.
const TEXTS: &[(&str, &str)] = &[
    ("/etc/passwd", "root:x:0:0:root:/tmp:/bin/sh\n"),
    ("/etc/group", "root:x:0:\n"),
    ("/etc/hosts", "127.0.0.1 localhost machine\n::1 localhost\n"),
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];

/// Debian's packages with them, for an architecture whose programs this machine has not.
const PACKAGES: &[&str] =
    &["bpftool", "busybox-static", "coreutils", "curl", "iproute2", "libgcc-s1", "nginx", "util-linux"];

/// Folders of packages that no program needs to run.
const SUPERFLUOUS: &[&str] = &["usr/share", "usr/include", "var", "usr/lib/systemd", "lib/systemd", "usr/lib/locale"];

/// The part that is the same for every kernel of an architecture, made once for each.
pub(crate) struct Bases {
    suite: PathBuf,
    made: Vec<(&'static str, Base)>,
}

impl Bases {
    /// None yet; the suite as it was built for this machine.
    pub(crate) fn new(suite: PathBuf) -> Self {
        Self { suite, made: Vec::new() }
    }

    /// The suite for this machine.
    pub(crate) fn suite(&self) -> &Path {
        &self.suite
    }

    /// That of an architecture.
    pub(crate) fn of(&mut self, arch: &'static Arch) -> Result<&Base> {
        let at = match self.made.iter().position(|(name, _)| *name == arch.debian) {
            Some(at) => at,
            None => {
                let base = if arch.is_ours() { Base::gather(&self.suite)? } else { Base::fetch(arch)? };
                self.made.push((arch.debian, base));
                self.made.len() - 1
            }
        };
        Ok(&self.made[at].1)
    }
}

/// Programs and libraries.
pub(crate) struct Base {
    files: Vec<(String, Vec<u8>)>,
    links: Vec<(String, String)>,
}

impl Base {
    /// Programs of this machine and their libraries.
    fn gather(suite: &Path) -> Result<Self> {
        let mut programs = vec![(workspace::agent(), "/usr/bin/wirespan".to_owned())];
        programs.push((suite.to_owned(), "/usr/bin/behaviours".to_owned()));
        programs.push((busybox()?, "/usr/bin/busybox".to_owned()));
        for name in PROGRAMS {
            let path = which(name).with_context(|| format!("there is no {name} in PATH"))?;
            let place = text(&path)?.to_owned();
            programs.push((path, place));
        }
        let mut libraries = BTreeSet::new();
        let mut files = Vec::new();
        for (path, place) in programs {
            libraries.extend(libraries_of(&path)?);
            files.push((place, stripped(&path)?));
        }
        for library in libraries {
            let content = fs::read(&library).with_context(|| library.display().to_string())?;
            files.push((text(&library)?.to_owned(), content));
        }
        Ok(Self { files, links: Vec::new() })
    }

    /// Programs of Debian for another architecture, with ours built for it.
    fn fetch(arch: &Arch) -> Result<Self> {
        let root = userland(arch, PACKAGES)?;
        let mut base = Self { files: Vec::new(), links: Vec::new() };
        base.take(&root, &root)?;
        let [agent, suite] = dist::built(arch.triple);
        base.files
            .push(("/usr/bin/wirespan".to_owned(), fs::read(&agent).with_context(|| agent.display().to_string())?));
        base.files
            .push(("/usr/bin/behaviours".to_owned(), fs::read(&suite).with_context(|| suite.display().to_string())?));
        base.links.push(("/usr/bin/busybox".to_owned(), "/bin/busybox".to_owned()));
        Ok(base)
    }

    fn take(&mut self, root: &Path, folder: &Path) -> Result<()> {
        for path in files(folder)? {
            let place = path.strip_prefix(root)?;
            if SUPERFLUOUS.iter().any(|folder| place == Path::new(folder)) {
                continue;
            }
            let place = format!("/{}", text(place)?);
            if path.is_symlink() {
                self.links.push((place, text(&fs::read_link(&path)?)?.to_owned()));
            } else if path.is_dir() {
                self.take(root, &path)?;
            } else {
                self.files.push((place, fs::read(&path).with_context(|| path.display().to_string())?));
            }
        }
        Ok(())
    }

    /// Writes the archive for a kernel: this, and its modules.
    pub(crate) fn archive(&self, kernel: &Kernel, path: &Path) -> Result<()> {
        let mut archive = Archive::default();
        archive.file("/init", 0o755, INIT.as_bytes());
        for (path, content) in &self.files {
            archive.file(path, 0o755, content);
        }
        // After the packages' own.
        for (path, content) in TEXTS {
            archive.file(path, 0o644, content.as_bytes());
        }
        for (path, to) in &self.links {
            archive.link(path, to);
        }
        archive.folder("/bin");
        // Where the kernel calls it when it wants a module.
        if !self.links.iter().any(|(path, _)| path == "/sbin/modprobe") {
            archive.link("/sbin/modprobe", "/usr/bin/busybox");
        }
        let modules = format!("/lib/modules/{}", kernel.release);
        for module in files(&kernel.root.join(&modules[1..]))? {
            let name = module.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            archive.file(&format!("{modules}/{name}"), 0o644, &fs::read(&module)?);
        }
        fs::write(path, archive.finish()).with_context(|| path.display().to_string())
    }
}

/// The one that needs no libraries.
fn busybox() -> Result<PathBuf> {
    let path = which("busybox").context("there is no busybox in PATH")?;
    if libraries_of(&path)?.is_empty() {
        return Ok(path);
    }
    bail!("{} needs libraries: install the package busybox-static", path.display())
}

/// Without debug information, which would only make the machine's memory full.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let path = folder().join("stripped");
    run(command("strip").arg("--strip-debug").arg("-o").arg(&path).arg(program))?;
    fs::read(&path).with_context(|| path.display().to_string())
}

/// The libraries that a program is linked with, and its loader.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    // For a static program it prints so and fails, or prints one line.
    let listed = command("ldd").arg(program).output().context("ldd cannot be started")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    if let Some(missing) = listed.lines().find(|line| line.contains("not found")) {
        bail!("{} cannot run here: {}", program.display(), missing.trim());
    }
    Ok(paths_in(&listed))
}

/// The absolute paths that `ldd` prints, one a line at most.
fn paths_in(listed: &str) -> Vec<PathBuf> {
    listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(Into::into)
        .collect()
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

/// Builds the suite and says where it is.
pub(crate) fn build_suite() -> Result<PathBuf> {
    let mut cargo = crate::command::cargo();
    run(cargo.args(["build", "--locked", "--package=wirespan-tests", "--bin=behaviours", "--target-dir=target"]))?;
    let path = workspace::target().join("debug/behaviours");
    output(command("ldd").arg(&path)).map(|_| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_prints() {
        let listed = "\tlinux-vdso.so.1 (0x00007fff)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(paths_in(listed), paths);
        assert!(paths_in("\tnot a dynamic executable\n").is_empty());
    }
}
