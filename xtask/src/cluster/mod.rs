//! `cargo xtask cluster`: a real Kubernetes of one node on this machine, for the cluster suite and for trying things out.
//!
//! Everything listens on loopback or on bridges of its own. Programs are built once into the user's cache folder; state is in
//! a folder beside them, which `down` removes.

mod backends;
mod bookinfo;
mod control;
mod daemon;
mod host;
mod image;
mod keys;
mod node;
mod place;
mod program;
mod suite;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use rustix::process::{Pid, Signal, kill_process};

use self::daemon::Daemon;
use self::place::{NODE, Place};
use self::program::Programs;
pub(crate) use self::suite::test;
use crate::bed::cpu;
use crate::command::{command, output, succeeds};
use crate::packages;
use crate::step::Steps;

/// What to do with the cluster.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Action {
    /// Start what does not run. The first time it builds Kubernetes, which takes minutes.
    Up,
    /// End it and put the machine back as it was. What was built is kept.
    Down,
    /// Say what runs.
    Status,
}

/// The daemons, in the order in which they are started.
const DAEMONS: &[&str] =
    &["etcd", "containerd", "apiserver", "controller-manager", "scheduler", "coredns", "kubelet", "kube-proxy"];

/// How long a daemon may take until it answers, on a machine that is busy.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Folders below [`Place::run`] that daemons expect.
const FOLDERS: &[&str] = &["pid", "log", "containerd", "kubelet"];

/// Does it.
pub(crate) fn cluster(action: Action, steps: &mut Steps) -> Result<()> {
    let place = Place::find()?;
    match action {
        Action::Up => up(&place, steps),
        Action::Down => down(&place, steps),
        Action::Status => status(&place),
    }
}

/// Starts what does not run, and waits until pods can be started.
fn up(place: &Place, steps: &mut Steps) -> Result<()> {
    need_root()?;
    let programs = Programs::installed(steps)?;
    for folder in FOLDERS {
        let folder = place.run.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    host::prepare(place)?;
    keys::make(place)?;
    let daemon = |name| Daemon::new(place, name);
    let kubectl = |words: &[&str]| succeeds(kubectl(place, &programs).args(words));
    control::etcd(place, &programs)?;
    node::containerd(place)?;
    control::api_server(place, &programs)?;
    steps.step("waiting for the API server", || {
        daemon("apiserver").wait("it answered", START_LIMIT, || kubectl(&["get", "--raw", "/readyz"]))
    })?;
    control::controllers(place, &programs)?;
    node::dns(place, &programs)?;
    steps.step("waiting for containerd, and importing the images of every cluster", || {
        let answers = || succeeds(image::ctr(place).arg("version"));
        daemon("containerd").wait("it answered", START_LIMIT, answers)?;
        image::import_own(place, &programs)
    })?;
    node::kubelet(place, &programs)?;
    node::kube_proxy(place, &programs)?;
    steps.step("waiting for the node to be ready", || {
        let ready = ["wait", "--for=condition=Ready", "--timeout=5s", &format!("node/{NODE}")];
        daemon("kubelet").wait("the node was ready", START_LIMIT, || kubectl(&ready))?;
        let account = ["get", "serviceaccount", "default"];
        daemon("controller-manager").wait("the default service account was made", START_LIMIT, || kubectl(&account))
    })?;
    eprintln!("the cluster is up:\n    export KUBECONFIG={}", place.kubeconfig("admin"));
    eprintln!("    alias kubectl={}", programs.kubernetes("kubectl"));
    Ok(())
}

/// Ends everything and removes what is left.
fn down(place: &Place, steps: &mut Steps) -> Result<()> {
    need_root()?;
    if !place.run.is_dir() {
        eprintln!("there is no cluster");
        return Ok(());
    }
    let daemon = |name| Daemon::new(place, name);
    // Nothing makes new pods from here on.
    daemon("controller-manager").stop()?;
    daemon("scheduler").stop()?;
    if ["apiserver", "kubelet", "containerd"].iter().all(|name| daemon(name).pid().is_some()) {
        steps.step("deleting all pods", || {
            let programs = Programs::installed(&mut Steps::default())?;
            let mut delete = kubectl(place, &programs);
            // What does not go by itself is killed below.
            succeeds(delete.args(["delete", "pods", "--all", "--all-namespaces", "--grace-period=1", "--timeout=30s"]));
            Ok(())
        })?;
    }
    steps.step("ending its daemons", || {
        for name in ["kubelet", "kube-proxy", "coredns"] {
            daemon(name).stop()?;
        }
        if daemon("containerd").pid().is_some() {
            kill_containers(place)?;
        }
        for name in DAEMONS.iter().rev() {
            daemon(name).stop()?;
        }
        kill_shims(place)
    })?;
    steps.step("putting back what it changed on this machine", || host::restore(place))?;
    fs::remove_dir_all(&place.run).with_context(|| format!("{} cannot be removed", place.run.display()))
}

/// Says what runs, and how many pods are ready.
fn status(place: &Place) -> Result<()> {
    for name in DAEMONS {
        match Daemon::new(place, name).pid() {
            Some(pid) => {
                let mebibytes = cpu::resident_bytes(pid).unwrap_or(0) / (1 << 20);
                eprintln!("{name:<20} runs as process {pid}, {mebibytes} MiB");
            }
            None => eprintln!("{name:<20} does not run"),
        }
    }
    if Daemon::new(place, "apiserver").pid().is_some() {
        let programs = Programs::installed(&mut Steps::default())?;
        for what in ["nodes", "pods"] {
            let list = output(kubectl(place, &programs).args(["get", what, "--all-namespaces", "--output=wide"]))?;
            eprintln!("\n{}", list.trim_end());
        }
    }
    Ok(())
}

fn need_root() -> Result<()> {
    if packages::is_root() {
        return Ok(());
    }
    bail!("the cluster makes bridges, mounts and containers: run it as root")
}

/// kubectl, as the cluster's owner.
fn kubectl(place: &Place, programs: &Programs) -> std::process::Command {
    let mut kubectl = command(programs.kubernetes("kubectl"));
    kubectl.env("KUBECONFIG", place.kubeconfig("admin")).env("KUBECACHEDIR", place.inside("kubectl"));
    kubectl.arg("--request-timeout=10s");
    kubectl
}

/// What the kubelet did not end in time.
fn kill_containers(place: &Place) -> Result<()> {
    let list = |what: &str| output(image::ctr(place).args([what, "list", "--quiet"]));
    for task in list("tasks")?.lines() {
        succeeds(image::ctr(place).args(["tasks", "delete", "--force", task]));
    }
    for container in list("containers")?.lines() {
        succeeds(image::ctr(place).args(["containers", "delete", container]));
    }
    Ok(())
}

/// The processes between containerd and its containers, which outlive it.
fn kill_shims(place: &Place) -> Result<()> {
    let socket = place.containerd();
    for entry in fs::read_dir("/proc").context("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // It may be gone since it was listed.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        let is_shim = words.first().is_some_and(|program| program.ends_with(b"containerd-shim-runc-v2"));
        if is_shim && words.contains(&socket.as_bytes()) {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
    Ok(())
}
