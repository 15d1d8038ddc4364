//! Container ids from cgroup paths. Pure.
//!
//! Every runtime names the cgroup of a container after its id, in one of a few ways: the bare id (cgroupfs driver), or
//! `RUNTIME-ID.scope` (systemd driver), or `SLICE:RUNTIME:ID` (a runtime on the cgroupfs driver that was given a path for
//! systemd). Works for cgroup v1, v2 and both at once, because only the path's parts count.

/// Length of the ids that Docker, containerd, CRI-O and Podman give, in hexadecimal digits.
const ID_DIGITS: usize = 64;
/// Length of a task id of AWS Fargate, in hexadecimal digits; `-` and a decimal number follow it.
const FARGATE_TASK_DIGITS: usize = 32;

/// The id of the container that a process is in, from the text of its `/proc/PID/cgroup`.
///
/// Of nested containers, the innermost.
#[must_use]
pub fn container_id(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        // hierarchy:controllers:path. The path may hold colons.
        let path = line.splitn(3, ':').nth(2)?;
        path.rsplit('/').find_map(id_in_part)
    })
}

/// The id in one part of the path.
fn id_in_part(part: &str) -> Option<&str> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    if is_fargate(name) {
        return Some(name);
    }
    let (runtime, id) = match name.rfind(['-', ':']) {
        Some(at) => (&name[..at], &name[at + 1..]),
        None => ("", name),
    };
    // CRI-O and Podman run a monitor beside each container, in a cgroup of nearly the same name.
    (is_hex(id, ID_DIGITS) && !runtime.ends_with("conmon")).then_some(id)
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
mod tests {
    use super::*;

    const ID: &str = "3f0c0a9d5a9b4f5c8a1e7d6b2c4f8e9012a3b4c5d6e7f80912233445566778ab";
    const OUTER: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

    #[test]
    fn each_runtime_and_driver() {
        let pod = "pod1b2c3d4e_5f60_7182_93a4_b5c6d7e8f901";
        let table: &[(&str, String)] = &[
            ("docker, cgroupfs, v1", format!("12:pids:/docker/{ID}\n11:cpu,cpuacct:/docker/{ID}")),
            ("docker, systemd, v2", format!("0::/system.slice/docker-{ID}.scope")),
            ("docker, systemd, v1", format!("1:name=systemd:/system.slice/docker-{ID}.scope")),
            (
                "docker, rootless",
                format!("0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope"),
            ),
            (
                "containerd, systemd, kubernetes",
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{pod}.slice/cri-containerd-{ID}.scope"
                ),
            ),
            ("containerd, cgroupfs, kubernetes", format!("0::/kubepods/besteffort/{pod}/{ID}")),
            (
                "containerd, mixed drivers",
                format!("0::/system.slice/containerd.service/kubepods-burstable-{pod}.slice:cri-containerd:{ID}"),
            ),
            ("CRI-O, systemd", format!("0::/kubepods.slice/kubepods-{pod}.slice/crio-{ID}.scope")),
            (
                "CRI-O, a cgroup below the container's",
                format!("0::/kubepods.slice/kubepods-{pod}.slice/crio-{ID}.scope/container"),
            ),
            ("CRI-O, cgroupfs", format!("0::/kubepods/burstable/{pod}/crio-{ID}")),
            ("Podman", format!("0::/machine.slice/libpod-{ID}.scope")),
            ("Podman, a cgroup below the container's", format!("0::/machine.slice/libpod-{ID}.scope/container")),
            ("Podman, split", format!("0::/user.slice/x.service/libpod-payload-{ID}")),
            ("hybrid: the id only in one hierarchy", format!("0::/\n1:name=systemd:/docker/{ID}\n")),
            ("systemd inside a container", format!("0::/docker/{ID}/system.slice/nginx.service")),
            ("kind: a pod in a node that is a container", format!("0::/docker/{OUTER}/kubelet/kubepods/{pod}/{ID}")),
            ("seen from another cgroup namespace", format!("0::/../../{pod}/{ID}")),
            ("ECS", format!("4:memory:/ecs/0a1b2c3d4e5f60718293a4b5c6d7e8f9/{ID}")),
        ];
        for (case, text) in table {
            assert_eq!(container_id(text), Some(ID), "{case}");
        }
    }

    #[test]
    fn fargate_ids_are_of_their_own_form() {
        let id = "34dc0b5e626f2c5c4c5170e34b10e765-1234567890";
        assert_eq!(container_id(&format!("9:perf_event:/ecs/34dc0b5e626f2c5c4c5170e34b10e765/{id}")), Some(id));
    }

    #[test]
    fn what_is_no_container_has_no_id() {
        let table: &[(&str, String)] = &[
            ("empty", String::new()),
            ("the root", "0::/".to_owned()),
            ("a service", "0::/system.slice/nginx.service".to_owned()),
            ("a session", "0::/user.slice/user-0.slice/session-1.scope".to_owned()),
            ("the monitor of CRI-O", format!("0::/kubepods.slice/crio-conmon-{ID}.scope")),
            ("the monitor of Podman", format!("0::/machine.slice/libpod-conmon-{ID}.scope")),
            ("too short", format!("0::/docker/{}", &ID[1..])),
            ("too long", format!("0::/docker/{ID}0")),
            ("not hexadecimal", format!("0::/docker/{}g", &ID[1..])),
            ("no path", "0:".to_owned()),
            ("letters that are not ASCII", "0::/docker-é:ü".to_owned()),
        ];
        for (case, text) in table {
            assert_eq!(container_id(text), None, "{case}");
        }
    }
}
