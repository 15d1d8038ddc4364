//! Containers, pods and units from cgroup paths. Pure.
//!
//! The kernel vouches for the path of a process' cgroup, and nothing else: who may write to a cgroup's directory gives those
//! below it what names he likes. So a path is read from the root on, and **the first container or pod counts**: what made that
//! cgroup was the host's runtime. What looks like another one further down was made up by somebody in the container, or is a
//! container that he runs; either way it is a claim. There are two exceptions, in which the outer one is a whole machine:
//!
//! - a container that is no pod's and has the kubelet's cgroups right below it: a Kubernetes node made of a container (kind,
//!   k3d, minikube). Pods in there count; the outer container is told, too.
//! - a system container (LXC, systemd-nspawn): containers and pods in there count likewise.
//!
//! A pod counts only where the kubelet puts pods: below slices or a cgroup that is called after the kubelet. A `kubepods` that
//! a user or a service made in its own part of the tree is a claim.

use crate::flow::fact::Place;

/// Length of the ids that Docker, containerd, CRI-O and Podman give, in hexadecimal digits.
const ID_DIGITS: usize = 64;
/// Length of a task id of AWS Fargate, in hexadecimal digits; `-` and a decimal number follow it.
const FARGATE_TASK_DIGITS: usize = 32;
/// Length of a pod's uid: a UUID.
const UID_BYTES: usize = 36;
/// Length of the uid of a pod that the kubelet read from a file: a hash in hexadecimal digits.
const STATIC_UID_DIGITS: usize = 32;
/// Bytes kept of a path. Of a pod's in a node made of a container there are 300; a tenant can make it 4 096.
const MAX_PATH_BYTES: usize = 1024;
/// What the kubelet's own cgroups are called.
const KUBELET: &[&str] = &["kubelet", "kubelet.slice", "kubepods", "kubepods.slice"];

/// What is in the cgroup path of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Id of its container.
    pub container_id: Option<String>,
    /// Everything else.
    pub place: Place,
}

/// Reads the text of `/proc/PID/cgroup`: of version 1, 2 or both at once.
#[must_use]
pub fn read(text: &str) -> Found {
    // hierarchy:controllers:path. The path may hold colons.
    let lines = || {
        text.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            Some((parts.next()?, parts.next()?, parts.next()?))
        })
    };
    // A container may show in one hierarchy only.
    let found = lines().map(|(_, _, path)| (path, walk(path))).find(|(_, walked)| walked.is_contained());
    let (path, walked) = found.unwrap_or_else(|| {
        // Units are systemd's: in its own hierarchy, or in that of version 2.
        let is_systemd =
            |&(number, controllers, _): &(&str, &str, &str)| number == "0" || controllers == "name=systemd";
        let path = lines().filter(is_systemd).map(|(_, _, path)| path).max_by_key(|path| path.len());
        let path = path.or_else(|| lines().next().map(|(_, _, path)| path)).unwrap_or_default();
        (path, walk(path))
    });
    let cgroup = (!path.is_empty()).then(|| crate::redact::cut(path, MAX_PATH_BYTES).to_owned());
    let Walked { unit, pod, container, outer, claimed } = walked;
    let is_contained = pod.is_some() || container.is_some();
    let (pod_uid, qos_class) = pod.map(|pod| (pod.uid, pod.qos.to_owned())).unzip();
    let (container_id, runtime) = container.map(|container| (container.id, container.runtime)).unzip();
    let place = Place {
        cgroup,
        unit: unit.filter(|_| !is_contained || pod_uid.is_none()),
        runtime: runtime.flatten().map(str::to_owned),
        pod_uid,
        qos_class,
        outer_container: outer.map(|outer| outer.id),
        claimed,
    };
    Found { container_id, place }
}

/// A path, read from the root on.
#[derive(Debug, Default)]
struct Walked {
    unit: Option<String>,
    pod: Option<Pod>,
    container: Option<Container>,
    outer: Option<Container>,
    claimed: Option<String>,
}

#[derive(Debug)]
struct Pod {
    uid: String,
    qos: &'static str,
}

#[derive(Debug)]
struct Container {
    id: String,
    /// Who made it, where the path says so.
    runtime: Option<&'static str>,
    /// Whether it runs a system of its own.
    is_machine: bool,
}

impl Walked {
    fn is_contained(&self) -> bool {
        self.pod.is_some() || self.container.is_some()
    }
}

/// Reads a path, seen from the root, or from another cgroup namespace (`/../..`).
fn walk(path: &str) -> Walked {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != "..").collect();
    // Where we are can't be seen from another namespace: what is seen first is taken for the kubelet's.
    walk_parts(&parts, path.starts_with("/.."))
}

fn walk_parts(parts: &[&str], is_relative: bool) -> Walked {
    let mut walked = Walked::default();
    // Whether only the system's own manager and the kubelet can have made what is above.
    let mut is_systems = true;
    for (at, part) in parts.iter().enumerate() {
        let above = &parts[..at];
        // `SLICE:RUNTIME:ID`: a runtime on the cgroupfs driver that was given a path for systemd. It names a pod, too.
        let slice = part.split(':').next().unwrap_or(part);
        if walked.pod.is_none()
            && let Some(pod) = pod_in(slice, above, is_relative)
        {
            if is_systems || part.contains(':') {
                walked.pod = Some(pod);
            } else {
                walked.claimed.get_or_insert(pod.uid);
            }
        }
        if let Some(container) = container_in(part, above) {
            let below = &parts[at + 1..];
            walked.nested(container, below);
            return walked;
        }
        if walked.unit.is_none() && is_unit(part) {
            walked.unit = Some((*part).to_owned());
        }
        is_systems &= part.ends_with(".slice") && *part != "user.slice" || is_kubelets(part) || is_relative;
    }
    walked
}

impl Walked {
    /// A container was found: it is the one, or a machine with others in it.
    fn nested(&mut self, container: Container, below: &[&str]) {
        let has_kubelet = below.first().is_some_and(|part| KUBELET.contains(part));
        let inner = walk_parts(below, false);
        if inner.is_contained() && self.pod.is_none() && (container.is_machine || has_kubelet) {
            let Self { unit, claimed, .. } = std::mem::take(self);
            *self = Self { unit, claimed: claimed.or(inner.claimed), outer: Some(container), ..inner };
            return;
        }
        let claim = inner.pod.map(|pod| pod.uid).or(inner.container.map(|container| container.id)).or(inner.claimed);
        if self.claimed.is_none() {
            self.claimed = claim;
        }
        self.container = Some(container);
    }
}

/// `kubepods`, the classes in it, and what stands above it on some nodes.
fn is_kubelets(part: &str) -> bool {
    KUBELET.contains(&part) || matches!(part, "burstable" | "besteffort") || part.starts_with("pod")
}

/// The pod that a part of the path names: `kubepods-burstable-podUID.slice` (systemd), or `podUID` below
/// `kubepods/burstable` (cgroupfs).
fn pod_in(part: &str, above: &[&str], is_relative: bool) -> Option<Pod> {
    let class = |name: &str| match name {
        "burstable" => "Burstable",
        "besteffort" => "BestEffort",
        _ => "Guaranteed",
    };
    if let Some(name) = part.strip_suffix(".slice") {
        let (slices, uid) = name.rsplit_once("-pod")?;
        // The kubelet's root may lie in another slice: `kubelet-kubepods-burstable-podUID.slice`.
        let slices = slices.rsplit_once("kubepods").filter(|(root, _)| root.is_empty() || root.ends_with('-'))?.1;
        if !matches!(slices, "" | "-burstable" | "-besteffort") {
            return None;
        }
        return Some(Pod { uid: pod_uid(uid)?, qos: class(slices.trim_start_matches('-')) });
    }
    let uid = pod_uid(part.strip_prefix("pod")?)?;
    let (qos, root) = match above {
        [rest @ .., qos @ ("burstable" | "besteffort")] => (class(qos), rest.last()),
        rest => (class(""), rest.last()),
    };
    let is_there = root.is_some_and(|root| root.trim_end_matches(".slice") == "kubepods");
    (is_there || (is_relative && root.is_none())).then_some(Pod { uid, qos })
}

/// In names of slices, dashes become underscores.
fn pod_uid(text: &str) -> Option<String> {
    if is_hex(text, STATIC_UID_DIGITS) {
        return Some(text.to_owned());
    }
    let is_uuid = text.len() == UID_BYTES
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => matches!(byte, b'-' | b'_'),
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
    is_uuid.then(|| text.replace('_', "-"))
}

/// The container that a part of the path is the cgroup of: the bare id (cgroupfs driver), `RUNTIME-ID.scope` (systemd
/// driver), or `SLICE:RUNTIME:ID` (both).
fn container_in(part: &str, above: &[&str]) -> Option<Container> {
    let container = |id: &str, runtime| Container { id: id.to_owned(), runtime, is_machine: false };
    if let Some(machine) = machine_in(part, above) {
        return Some(machine);
    }
    let name = part.strip_suffix(".scope").unwrap_or(part);
    if is_fargate(name) {
        return Some(container(name, None));
    }
    let (runtime, id) = match name.rfind(['-', ':']) {
        Some(at) => (name[..at].rsplit(':').next().unwrap_or_default(), &name[at + 1..]),
        None => (above.last().copied().unwrap_or_default(), name),
    };
    // CRI-O and Podman run a monitor beside each container, in a cgroup of nearly the same name.
    if !is_hex(id, ID_DIGITS) || runtime.ends_with("conmon") {
        return None;
    }
    let runtime = match runtime {
        "docker" => Some("docker"),
        "cri-containerd" | "containerd" | "nerdctl" => Some("containerd"),
        "crio" => Some("cri-o"),
        _ if runtime.starts_with("libpod") => Some("podman"),
        _ => None,
    };
    Some(container(id, runtime))
}

/// A container that runs a system: `lxc.payload.NAME`, `lxc/NAME`, `machine-NAME.scope`, `systemd-nspawn@NAME.service`.
fn machine_in(part: &str, above: &[&str]) -> Option<Container> {
    let (name, runtime) = match above {
        [] => (part.strip_prefix("lxc.payload.")?, "lxc"),
        ["lxc" | "lxc.payload"] => (part, "lxc"),
        ["machine.slice"] => {
            let scope = part.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope"));
            // Virtual machines are registered in the same way, and LXC by libvirt.
            let scope = scope.filter(|name| !name.starts_with("qemu") && !name.starts_with("lxc"));
            let service = || part.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service"));
            (scope.or_else(service)?, "systemd-nspawn")
        }
        _ => return None,
    };
    // systemd writes dashes in names as `\x2d`.
    (!name.is_empty()).then(|| Container { id: name.replace("\\x2d", "-"), runtime: Some(runtime), is_machine: true })
}

/// Something that systemd starts or was told of. Slices hold units.
fn is_unit(part: &str) -> bool {
    [".service", ".scope", ".socket", ".mount"].iter().any(|kind| part.len() > kind.len() && part.ends_with(kind))
}

fn is_fargate(name: &str) -> bool {
    name.split_once('-').is_some_and(|(task, number)| {
        is_hex(task, FARGATE_TASK_DIGITS) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
