//! Kernels of Debian's suites: fetched by apt, which checks their signatures, and taken apart into what a virtual machine needs.
//!
//! apt runs with sources and state of its own below `target/vm`, so that the machine's own are left as they are. The mirror is
//! the one that the machine's apt uses.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::arch::Arch;
use super::folder;
use crate::command::{command, output, run};
use crate::packages::{self, NotInstalled};

/// The keys that Debian's suites are signed with; the package of the same name brings them.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Names a mirror where the machine's apt uses none of Debian's.
const MIRROR_VARIABLE: &str = "WIRESPAN_DEBIAN_MIRROR";
/// The suite that a userland comes from: what is built for it must find its C library there.
const USERLAND_SUITE: &str = "bookworm";
/// Modules that the suite needs and that Debian does not build in: looking for older sockets, a cable, loss.
const MODULES: &[&str] = &["inet_diag", "tcp_diag", "veth", "sch_netem"];
/// Lists beside the modules that `depmod` wants to see; some packages are without them.
const LISTS: &[&str] = &["modules.order", "modules.builtin", "modules.builtin.modinfo"];

/// A kernel, ready to boot.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The compressed kernel.
    pub(crate) image: PathBuf,
    /// What `uname -r` says there.
    pub(crate) release: String,
    /// Package and version.
    pub(crate) package: String,
    /// `lib/modules` is in it.
    pub(crate) root: PathBuf,
}

/// Where a kernel comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// The suite of Debian.
    pub(crate) suite: &'static str,
    /// How its release begins; empty for the suite's newest.
    pub(crate) begins: &'static str,
    /// What it runs on.
    pub(crate) arch: &'static Arch,
}

impl Kernel {
    /// The kernel of a source as it was fetched before, else from the mirror; `update` looks for a newer one.
    pub(crate) fn get(source: Source, update: bool) -> Result<Self> {
        let parts = [source.suite, source.begins, source.arch.debian];
        let name = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
        let kept = folder().join("kernels").join(name);
        if update || !kept.join("package").is_file() {
            Self::fetch(source, &kept).with_context(|| format!("the kernel of Debian's suite {}", source.suite))?;
        }
        let text = |file: &str| {
            let path = kept.join(file);
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let (release, package) = (text("release")?, text("package")?);
        Ok(Self { image: kept.join("vmlinuz"), release, package, root: kept.join("root") })
    }

    fn fetch(source: Source, kept: &Path) -> Result<()> {
        let apt = Apt::new(source.suite, source.arch)?;
        apt.update()?;
        let names = apt.packages_of(source)?;
        let fetched = folder().join("fetched");
        let unpacked = folder().join("unpacked");
        for scratch in [kept, &fetched, &unpacked] {
            renew(scratch)?;
        }
        run(apt.command("apt-get").current_dir(&fetched).args(["download", "--quiet=2"]).args(&names))?;
        for package in files(&fetched)? {
            run(command("dpkg-deb").arg("--extract").arg(package).arg(&unpacked))?;
        }
        let (release, modules) = modules_of(&unpacked)?;
        let image = find(&unpacked, &|name| name.starts_with("vmlinuz"))?;
        let image = image.first().with_context(|| format!("no vmlinuz in {}", names.join(", ")))?;
        fs::copy(image, kept.join("vmlinuz")).with_context(|| image.display().to_string())?;
        keep_modules(&modules, &kept.join("root/lib/modules").join(&release))?;
        run(command("depmod").arg("-b").arg(kept.join("root")).arg(&release))?;
        fs::write(kept.join("release"), &release)?;
        // Last: a folder without it is not complete.
        fs::write(kept.join("package"), apt.version(&names[0])?)?;
        for scratch in [&fetched, &unpacked] {
            fs::remove_dir_all(scratch)?;
        }
        Ok(())
    }
}

/// The programs of these packages, and all that they need, unpacked: for an architecture whose programs this machine has not.
pub(crate) fn userland(arch: &Arch, packages: &[&str]) -> Result<PathBuf> {
    let kept = folder().join(format!("userland-{}", arch.debian));
    if kept.join("complete").is_file() {
        return Ok(kept.join("root"));
    }
    let apt = Apt::new(USERLAND_SUITE, arch)?;
    apt.update()?;
    renew(&kept)?;
    // A machine on which nothing is installed yet: so everything is fetched.
    let status = kept.join("status");
    fs::write(&status, "")?;
    let archives = kept.join("archives");
    fs::create_dir_all(archives.join("partial"))?;
    let mut install = apt.command("apt-get");
    install.arg(format!("-oDir::State::status={}", status.display()));
    install.arg(format!("-oDir::Cache::archives={}", archives.display()));
    install.args(["install", "--download-only", "--yes", "--no-install-recommends", "--quiet=2"]).args(packages);
    run(install.stdout(Stdio::null()))?;
    for package in files(&archives)?.iter().filter(|file| file.extension().is_some_and(|extension| extension == "deb"))
    {
        run(command("dpkg-deb").arg("--extract").arg(package).arg(kept.join("root")))?;
    }
    fs::remove_dir_all(archives)?;
    fs::write(kept.join("complete"), "")?;
    Ok(kept.join("root"))
}

/// apt with one suite.
struct Apt {
    options: Vec<OsString>,
    arch: &'static str,
}

impl Apt {
    fn new(suite: &str, arch: &Arch) -> Result<Self> {
        let place = folder().join("apt").join(format!("{suite}-{}", arch.debian));
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(place.join(part)).with_context(|| place.display().to_string())?;
        }
        let sources = place.join("sources.list");
        fs::write(&sources, format!("deb [signed-by={KEYRING}] {} {suite} main\n", mirror()?))?;
        let mut options: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: &Path| {
            let mut text = OsString::from(format!("-o{name}="));
            text.push(value);
            options.push(text);
        };
        option("Dir::Etc::sourcelist", &sources);
        option("Dir::Etc::sourceparts", "/dev/null".as_ref());
        option("Dir::Etc::preferences", "/dev/null".as_ref());
        option("Dir::Etc::preferencesparts", "/dev/null".as_ref());
        option("Dir::State::lists", &place.join("lists"));
        option("Dir::Cache", &place.join("cache"));
        // apt would drop to a user who may not read our folders.
        option("APT::Sandbox::User", "root".as_ref());
        option("APT::Architecture", arch.debian.as_ref());
        option("APT::Architectures", arch.debian.as_ref());
        option("APT::Default-Release", "".as_ref());
        // Hooks of the machine's own are not for this.
        option("APT::Update::Post-Invoke-Success", "".as_ref());
        Ok(Self { options, arch: arch.debian })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.args(&self.options);
        command
    }

    /// Fetches the lists; fails where a signature is missing or wrong.
    fn update(&self) -> Result<()> {
        run(self.command("apt-get").args(["update", "--quiet=2", "--error-on=any"]))
    }

    /// The packages with a kernel and its modules, the kernel's first.
    fn packages_of(&self, source: Source) -> Result<Vec<String>> {
        let image = if source.begins.is_empty() {
            let depends = self.depends(&format!("linux-image-{}", self.arch))?;
            depends.into_iter().find(|name| name.starts_with("linux-image-"))
        } else {
            let pattern = format!("^linux-image-{}", source.begins.replace('.', "\\."));
            let found = output(self.command("apt-cache").args(["search", "--names-only", &pattern]))?;
            newest(found.lines().filter_map(|line| line.split(' ').next()), self.arch)
        };
        let image = image.with_context(|| format!("it has no kernel {}", source.begins))?;
        let mut names = vec![image.clone()];
        // Since 6.19 in packages of their own.
        let parts = self.depends(&image)?;
        names.extend(
            parts.into_iter().filter(|name| ["linux-binary-", "linux-modules-"].iter().any(|p| name.starts_with(p))),
        );
        Ok(names)
    }

    fn depends(&self, package: &str) -> Result<Vec<String>> {
        let shown = output(self.command("apt-cache").args(["show", "--no-all-versions", package]))?;
        let depends = shown.lines().find_map(|line| line.strip_prefix("Depends:")).unwrap_or_default();
        Ok(depends.split([',', '|']).filter_map(|part| part.trim().split(' ').next()).map(str::to_owned).collect())
    }

    fn version(&self, package: &str) -> Result<String> {
        let shown = output(self.command("apt-cache").args(["show", "--no-all-versions", package]))?;
        let version = shown.lines().find_map(|line| line.strip_prefix("Version:")).unwrap_or_default();
        Ok(format!("{package} {}", version.trim()))
    }
}

/// The mirror of Debian that this machine's apt uses.
fn mirror() -> Result<String> {
    if let Some(mirror) = std::env::var_os(MIRROR_VARIABLE) {
        return mirror.into_string().ok().with_context(|| format!("{MIRROR_VARIABLE} is no text"));
    }
    let find = || -> Result<Option<String>> {
        let format = "$(CREATED_BY)\t$(ORIGIN)\t$(LABEL)\t$(REPO_URI)";
        Ok(debian_in(&output(command("apt-get").args(["indextargets", "--format", format]))?))
    };
    if let Some(mirror) = find()? {
        return Ok(mirror);
    }
    // Who a source is of, apt knows only once it has its lists.
    if packages::refusal().is_none() {
        packages::update()?;
        if let Some(mirror) = find()? {
            return Ok(mirror);
        }
    }
    let reason = "this machine's apt uses no mirror of Debian, from which the kernels come".to_owned();
    Err(NotInstalled { reason, commands: vec![format!("{MIRROR_VARIABLE}=URI cargo xtask vm")] }.into())
}

/// The first source of Debian's main archive: those for security and backports have other labels.
fn debian_in(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
        ["Packages", "Debian", "Debian", uri] => Some(uri.to_owned()),
        _ => None,
    })
}

/// Of packages for one kernel in several builds the newest; not those for special machines.
fn newest<'a>(packages: impl Iterator<Item = &'a str>, arch: &str) -> Option<String> {
    let plain = |name: &&str| {
        let flavour = name.rsplit('-').take(2).collect::<Vec<_>>();
        flavour[0] == arch && !["cloud", "rt"].contains(&flavour[1])
    };
    let numbers = |name: &&str| -> Vec<u32> {
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
    };
    packages.filter(plain).max_by_key(numbers).map(str::to_owned)
}

/// The release of the unpacked kernel, and where its modules are.
fn modules_of(unpacked: &Path) -> Result<(String, PathBuf)> {
    for place in ["lib/modules", "usr/lib/modules"] {
        for folder in files(&unpacked.join(place)).unwrap_or_default() {
            if folder.join("kernel").is_dir() {
                let release = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
                return Ok((release.context("a release that is no text")?, folder));
            }
        }
    }
    bail!("the packages have no modules")
}

fn keep_modules(modules: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for list in LISTS {
        let from = modules.join(list);
        let text = if from.is_file() { fs::read(from)? } else { Vec::new() };
        fs::write(to.join(list), text)?;
    }
    let wanted = |name: &str| name.split_once(".ko").is_some_and(|(module, _)| MODULES.contains(&module));
    for module in find(modules, &wanted)? {
        let Some(name) = module.file_name() else { continue };
        fs::copy(&module, to.join(name))?;
        if module.extension().is_some_and(|extension| extension == "xz") {
            run(command("xz").arg("--decompress").arg(to.join(name)))?;
        }
    }
    Ok(())
}

/// An empty folder.
fn renew(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}

/// What is in a folder, in order of its names.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Files below a folder whose names are wanted. Links are not followed.
fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in files(folder)? {
        if path.is_dir() && !path.is_symlink() {
            found.extend(find(&path, wanted)?);
        } else if path.is_file() && path.file_name().and_then(|name| name.to_str()).is_some_and(wanted) {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_debians_main_archive() {
        let targets = "Sources\tDebian\tDebian\thttp://src.test/debian/\n\
                       Packages\tDebian\tDebian-Security\thttp://a.test/debian-security/\n\
                       Packages\tother\tother\thttp://b.test/\n\
                       Packages\tDebian\tDebian\thttp://c.test/debian/\n";
        assert_eq!(debian_in(targets).as_deref(), Some("http://c.test/debian/"));
        assert_eq!(debian_in("Packages\tUbuntu\tUbuntu\thttp://u.test/ubuntu/\n"), None);
    }

    #[test]
    fn the_newest_build_of_the_plain_flavour_is_taken() {
        let names = [
            "linux-image-6.16.3+deb13-amd64",
            "linux-image-6.16.12+deb13-amd64",
            "linux-image-6.16.13+deb13-cloud-amd64",
            "linux-image-6.16.12+deb13-rt-amd64",
            "linux-image-6.16.12+deb13-amd64-dbg",
        ];
        assert_eq!(newest(names.into_iter(), "amd64").as_deref(), Some("linux-image-6.16.12+deb13-amd64"));
        assert_eq!(newest(["linux-image-6.16.3+deb13-arm64"].into_iter(), "amd64"), None);
    }
}
