//! The programs that the cluster is made of: built once from Go's modules, or the distribution's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::node::CNI_PLUGINS;
use crate::bed::go::GoProgram;
use crate::bed::install::{Recipe, Source};
use crate::command::{command, output};
use crate::packages::{self, Program};
use crate::step::Steps;

/// What the node runs that is not built here, and how the host is prepared for it.
const PACKAGES: &[Program] = &[
    Program { name: "containerd", package: "containerd" },
    Program { name: "runc", package: "runc" },
    Program { name: "iptables", package: "iptables" },
    Program { name: "nft", package: "nftables" },
    Program { name: "conntrack", package: "conntrack" },
    Program { name: "ip", package: "iproute2" },
    Program { name: "sysctl", package: "procps" },
    Program { name: "tar", package: "tar" },
    Program { name: "setsid", package: "util-linux" },
    Program { name: "bash", package: "bash" },
];

/// A plugin of the package that has all of them, which are in no `PATH`.
const CNI_PLUGIN: Program = Program { name: "bridge", package: "containernetworking-plugins" };

/// Debian's shell and tools in one file that needs no library.
pub(crate) const BUSYBOX: Program = Program { name: "busybox", package: "busybox-static" };

/// The oldest Go that the modules can be built with.
const OLDEST_GO: (u32, u32) = (1, 24);

/// Links the version into the binary, which the programs tell each other.
const KUBERNETES_FLAGS: &str = "-s -w \
    -X k8s.io/component-base/version.gitVersion=v1.34.4 -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=34 -X k8s.io/component-base/version.gitTreeState=clean \
    -X k8s.io/client-go/pkg/version.gitVersion=v1.34.4 -X k8s.io/client-go/pkg/version.gitMajor=1 \
    -X k8s.io/client-go/pkg/version.gitMinor=34 -X k8s.io/client-go/pkg/version.gitTreeState=clean";

/// Files of a Go module with one file of its own.
const MODULE: &[&str] = &["go.mod", "go.sum", "main.go"];

/// Kubernetes 1.34.4 and etcd 3.6.4; versions are those of its `go.mod`.
const KUBERNETES: Source = Source {
    folder: "xtask/cluster/kubernetes",
    files: MODULE,
    programs: &[],
    recipe: Recipe::GoStatic(&[
        GoProgram { name: "kubernetes", package: ".", flags: KUBERNETES_FLAGS },
        GoProgram { name: "etcd", package: "go.etcd.io/etcd/server/v3", flags: "-s -w" },
    ]),
};

/// CoreDNS 1.12.4.
const COREDNS: Source = Source {
    folder: "xtask/cluster/coredns",
    files: MODULE,
    programs: &[],
    recipe: Recipe::GoStatic(&[GoProgram { name: "coredns", package: ".", flags: "-s -w" }]),
};

/// The process that holds a pod's namespaces.
const PAUSE: Source = Source {
    folder: "xtask/cluster/pause",
    files: &["go.mod", "main.go"],
    programs: &[],
    recipe: Recipe::GoStatic(&[GoProgram { name: "pause", package: ".", flags: "-s -w" }]),
};

/// Names by which the one binary of Kubernetes is called.
const KUBERNETES_NAMES: &[&str] =
    &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"];

/// Where the programs are, all of which are there.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    kubernetes: PathBuf,
    coredns: PathBuf,
    pause: PathBuf,
}

impl Programs {
    /// Installs and builds what is missing.
    pub(crate) fn installed(steps: &mut Steps) -> Result<Self> {
        let mut missing = packages::missing(PACKAGES);
        if !Path::new(CNI_PLUGINS).join(CNI_PLUGIN.name).is_file() {
            missing.push(CNI_PLUGIN.package);
        }
        if !is_static_busybox() {
            missing.push(BUSYBOX.package);
        }
        packages::install(&missing, "the cluster runs on them", steps)?;
        packages::install(&packages::missing(Recipe::GO), "the control plane is built with it", steps)?;
        check_go()?;
        let kubernetes = KUBERNETES.installed(steps)?;
        for name in KUBERNETES_NAMES {
            let link = kubernetes.join(name);
            if !link.exists() {
                symlink("kubernetes", &link).with_context(|| format!("{} cannot be made", link.display()))?;
            }
        }
        Ok(Self { kubernetes, coredns: COREDNS.installed(steps)?, pause: PAUSE.installed(steps)?.join("pause") })
    }

    /// A program of Kubernetes.
    pub(crate) fn kubernetes(&self, name: &str) -> String {
        self.kubernetes.join(name).display().to_string()
    }

    /// etcd.
    pub(crate) fn etcd(&self) -> String {
        self.kubernetes("etcd")
    }

    /// CoreDNS.
    pub(crate) fn coredns(&self) -> String {
        self.coredns.join("coredns").display().to_string()
    }

    /// The program of the image that holds a pod's namespaces.
    pub(crate) fn pause(&self) -> &Path {
        &self.pause
    }
}

/// Debian's busybox is either one, under the same name; images can only do with the static one.
fn is_static_busybox() -> bool {
    let Some(busybox) = crate::command::which(BUSYBOX.name) else { return false };
    // The path of the program that loads libraries is in the file of a program that needs one.
    let loader = b"/ld-linux";
    fs::read(busybox).is_ok_and(|file| !file.windows(loader.len()).any(|bytes| bytes == loader))
}

fn check_go() -> Result<()> {
    let text = output(command("go").args(["env", "GOVERSION"]))?;
    let (major, minor) = OLDEST_GO;
    match go_version(&text) {
        Some(version) if version < OLDEST_GO => bail!(
            "the control plane is built with Go {major}.{minor} or newer, and the one in PATH is {}: install a newer one \
             from https://go.dev/dl",
            text.trim()
        ),
        _ => Ok(()),
    }
}

fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix("go")?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn versions_of_go_are_compared_as_numbers() {
        assert_eq!(go_version("go1.26.8\n"), Some((1, 26)));
        assert!(go_version("go1.9.1").is_some_and(|version| version < OLDEST_GO));
        assert_eq!(go_version("devel +abc"), None);
    }

    #[test]
    fn the_version_that_is_linked_in_is_the_modules() {
        let text = fs::read_to_string(workspace::root().join(KUBERNETES.folder).join("go.mod")).unwrap();
        let version = text.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes ")).unwrap();
        assert!(KUBERNETES_FLAGS.contains(&format!("gitVersion={version} ")), "{version}");
    }
}
