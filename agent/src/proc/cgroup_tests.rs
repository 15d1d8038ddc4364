//! Cgroup paths as runtimes make them, and as tenants make them up.

use super::*;

const ID: &str = "3f0c0a9d5a9b4f5c8a1e7d6b2c4f8e9012a3b4c5d6e7f80912233445566778ab";
const OTHER: &str = "00000000000000000000000000000000000000000000000000000000000000ff";
const UID: &str = "1b2c3d4e-5f60-7182-93a4-b5c6d7e8f901";
const SLICE: &str = "pod1b2c3d4e_5f60_7182_93a4_b5c6d7e8f901";
const OTHER_UID: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";

/// What a path is to be read as: container, runtime, pod, class.
type Expect<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'a str>);

#[track_caller]
fn check(case: &str, text: &str, expect: Expect<'_>) {
    let Found { container_id, place } = read(text);
    let found =
        (container_id.as_deref(), place.runtime.as_deref(), place.pod_uid.as_deref(), place.qos_class.as_deref());
    assert_eq!(found, expect, "{case}: {text}");
    assert_eq!((place.claimed, place.outer_container), (None, None), "{case}: {text}");
}

#[test]
fn containers_of_each_runtime_and_driver() {
    let table: &[(&str, String, Option<&str>)] = &[
        ("docker, cgroupfs, v1", format!("12:pids:/docker/{ID}\n11:cpu,cpuacct:/docker/{ID}"), Some("docker")),
        ("docker, systemd, v2", format!("0::/system.slice/docker-{ID}.scope"), Some("docker")),
        ("docker, systemd, v1", format!("1:name=systemd:/system.slice/docker-{ID}.scope"), Some("docker")),
        (
            "docker, rootless",
            format!("0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope"),
            Some("docker"),
        ),
        ("nerdctl", format!("0::/system.slice/nerdctl-{ID}.scope"), Some("containerd")),
        ("Podman", format!("0::/machine.slice/libpod-{ID}.scope"), Some("podman")),
        (
            "Podman, a cgroup below the container's",
            format!("0::/machine.slice/libpod-{ID}.scope/container"),
            Some("podman"),
        ),
        ("Podman, split", format!("0::/user.slice/x.service/libpod-payload-{ID}"), Some("podman")),
        ("hybrid: the id only in one hierarchy", format!("0::/\n1:name=systemd:/docker/{ID}\n"), Some("docker")),
        (
            "hybrid: v2 holds nothing",
            format!("4:memory:/\n1:name=systemd:/\n0::/system.slice/docker-{ID}.scope"),
            Some("docker"),
        ),
        ("systemd inside a container", format!("0::/docker/{ID}/system.slice/nginx.service"), Some("docker")),
        (
            "systemd inside a container, as init",
            format!("0::/system.slice/docker-{ID}.scope/init.scope"),
            Some("docker"),
        ),
        ("ECS", format!("4:memory:/ecs/0a1b2c3d4e5f60718293a4b5c6d7e8f9/{ID}"), None),
    ];
    for (case, text, runtime) in table {
        check(case, text, (Some(ID), *runtime, None, None));
    }
    let fargate = "34dc0b5e626f2c5c4c5170e34b10e765-1234567890";
    let text = format!("9:perf_event:/ecs/34dc0b5e626f2c5c4c5170e34b10e765/{fargate}");
    check("Fargate", &text, (Some(fargate), None, None, None));
}

#[test]
fn pods_of_each_runtime_driver_and_class() {
    let table: &[(&str, String, Option<&str>, &str)] = &[
        (
            "containerd, systemd",
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{SLICE}.slice/cri-containerd-{ID}.scope"
            ),
            Some("containerd"),
            "Burstable",
        ),
        (
            "containerd, systemd, guaranteed",
            format!("0::/kubepods.slice/kubepods-{SLICE}.slice/cri-containerd-{ID}.scope"),
            Some("containerd"),
            "Guaranteed",
        ),
        ("containerd, cgroupfs", format!("0::/kubepods/besteffort/pod{UID}/{ID}"), None, "BestEffort"),
        ("containerd, cgroupfs, guaranteed, v1", format!("7:cpuset:/kubepods/pod{UID}/{ID}\n0::/"), None, "Guaranteed"),
        (
            "containerd, mixed drivers",
            format!("0::/system.slice/containerd.service/kubepods-burstable-{SLICE}.slice:cri-containerd:{ID}"),
            Some("containerd"),
            "Burstable",
        ),
        (
            "containerd, mixed drivers, at the root",
            format!("1:name=systemd:/kubepods-{SLICE}.slice:cri-containerd:{ID}"),
            Some("containerd"),
            "Guaranteed",
        ),
        (
            "CRI-O, systemd",
            format!("0::/kubepods.slice/kubepods-{SLICE}.slice/crio-{ID}.scope"),
            Some("cri-o"),
            "Guaranteed",
        ),
        (
            "CRI-O, a cgroup below the container's",
            format!("0::/kubepods.slice/kubepods-{SLICE}.slice/crio-{ID}.scope/container"),
            Some("cri-o"),
            "Guaranteed",
        ),
        ("CRI-O, cgroupfs", format!("0::/kubepods/burstable/pod{UID}/crio-{ID}"), Some("cri-o"), "Burstable"),
        (
            "Docker by cri-dockerd, systemd",
            format!("0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-{SLICE}.slice/docker-{ID}.scope"),
            Some("docker"),
            "BestEffort",
        ),
        (
            "the kubelet in a slice of its own",
            format!("0::/k8s.slice/k8s-kubepods.slice/k8s-kubepods-{SLICE}.slice/cri-containerd-{ID}.scope"),
            Some("containerd"),
            "Guaranteed",
        ),
        (
            "seen from a cgroup namespace in another pod, cgroupfs",
            format!("0::/../../besteffort/pod{UID}/{ID}"),
            None,
            "BestEffort",
        ),
        ("seen from one of the same class", format!("0::/../../pod{UID}/{ID}"), None, "Guaranteed"),
        (
            "seen from a cgroup namespace in another pod, systemd",
            format!("0::/../../../kubepods-burstable.slice/kubepods-burstable-{SLICE}.slice/cri-containerd-{ID}.scope"),
            Some("containerd"),
            "Burstable",
        ),
    ];
    for (case, text, runtime, class) in table {
        check(case, text, (Some(ID), *runtime, Some(UID), Some(class)));
    }
    let hash = "0123456789abcdef0123456789abcdef";
    check(
        "a pod from a file",
        &format!("0::/kubepods/pod{hash}/{ID}"),
        (Some(ID), None, Some(hash), Some("Guaranteed")),
    );
    check("a pod without a container", &format!("0::/kubepods/pod{UID}"), (None, None, Some(UID), Some("Guaranteed")));
}

#[test]
fn system_containers_have_names() {
    for (text, name, runtime) in [
        ("0::/lxc.payload.web/system.slice/nginx.service", "web", "lxc"),
        ("5:pids:/lxc/web/system.slice/nginx.service", "web", "lxc"),
        ("5:pids:/lxc.payload/web", "web", "lxc"),
        ("0::/machine.slice/machine-my\\x2dbox.scope/payload/system.slice", "my-box", "systemd-nspawn"),
        ("0::/machine.slice/systemd-nspawn@box.service/payload", "box", "systemd-nspawn"),
    ] {
        check("a system", text, (Some(name), Some(runtime), None, None));
    }
}

#[test]
fn a_node_made_of_a_container_has_pods() {
    for path in [
        format!("/docker/{OTHER}/kubelet/kubepods/{SLICE}/{ID}"),
        format!("/docker/{OTHER}/kubepods/burstable/pod{UID}/{ID}"),
        format!(
            "/system.slice/docker-{OTHER}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-{SLICE}.slice/cri-containerd-{ID}.scope"
        ),
        format!(
            "/machine.slice/libpod-{OTHER}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-{SLICE}.slice/crio-{ID}.scope"
        ),
    ] {
        let Found { container_id, place } = read(&format!("0::{path}"));
        assert_eq!((container_id.as_deref(), place.pod_uid.as_deref()), (Some(ID), Some(UID)), "{path}");
        assert_eq!((place.outer_container.as_deref(), place.claimed), (Some(OTHER), None), "{path}");
    }
    let Found { container_id, place } = read(&format!("0::/lxc.payload.node/system.slice/docker-{ID}.scope"));
    assert_eq!((container_id.as_deref(), place.outer_container.as_deref()), (Some(ID), Some("node")));
}

#[test]
fn what_a_tenant_makes_up_is_a_claim() {
    let pod = format!("/kubepods.slice/kubepods-{SLICE}.slice/cri-containerd-{ID}.scope");
    let other_slice = OTHER_UID.replace('-', "_");
    let table: &[(&str, String, Expect<'_>, &str)] = &[
        (
            "another pod below one's own container",
            format!("{pod}/kubepods.slice/kubepods-pod{other_slice}.slice/cri-containerd-{OTHER}.scope"),
            (Some(ID), Some("containerd"), Some(UID), Some("Guaranteed")),
            OTHER_UID,
        ),
        (
            "the same, cgroupfs",
            format!("/kubepods/pod{UID}/{ID}/kubepods/pod{OTHER_UID}/{OTHER}"),
            (Some(ID), None, Some(UID), Some("Guaranteed")),
            OTHER_UID,
        ),
        (
            "the same, with the names of mixed drivers",
            format!("{pod}/kubepods-pod{other_slice}.slice:cri-containerd:{OTHER}"),
            (Some(ID), Some("containerd"), Some(UID), Some("Guaranteed")),
            OTHER_UID,
        ),
        (
            "a container in a pod's container",
            format!("{pod}/docker/{OTHER}"),
            (Some(ID), Some("containerd"), Some(UID), Some("Guaranteed")),
            OTHER,
        ),
        (
            "a container in a container",
            format!("/docker/{ID}/docker/{OTHER}"),
            (Some(ID), Some("docker"), None, None),
            OTHER,
        ),
        (
            "a pod deep in a container",
            format!("/docker/{ID}/x/kubepods/pod{OTHER_UID}/{OTHER}"),
            (Some(ID), Some("docker"), None, None),
            OTHER,
        ),
        (
            "a system in a pod's container",
            format!("{pod}/lxc.payload.x/docker/{OTHER}"),
            (Some(ID), Some("containerd"), Some(UID), Some("Guaranteed")),
            OTHER,
        ),
        (
            "a pod in a service's part of the tree",
            format!("/system.slice/evil.service/kubepods/pod{OTHER_UID}"),
            (None, None, None, None),
            OTHER_UID,
        ),
        (
            "a pod in a user's part of the tree",
            format!("/user.slice/user-1000.slice/user@1000.service/kubepods.slice/kubepods-pod{other_slice}.slice"),
            (None, None, None, None),
            OTHER_UID,
        ),
        (
            "below a pod seen from another cgroup namespace",
            format!("/../../pod{UID}/{ID}/kubepods/pod{OTHER_UID}/{OTHER}"),
            (Some(ID), None, Some(UID), Some("Guaranteed")),
            OTHER_UID,
        ),
    ];
    for (case, path, expect, claim) in table {
        let Found { container_id, place } = read(&format!("0::{path}"));
        let found =
            (container_id.as_deref(), place.runtime.as_deref(), place.pod_uid.as_deref(), place.qos_class.as_deref());
        assert_eq!(found, *expect, "{case}: {path}");
        assert_eq!(place.claimed.as_deref(), Some(*claim), "{case}: {path}");
        assert_eq!(place.outer_container, None, "{case}: {path}");
    }
}

#[test]
fn units_of_plain_hosts() {
    for (text, unit) in [
        ("0::/system.slice/nginx.service", Some("nginx.service")),
        ("0::/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service")),
        ("0::/system.slice/shop.service/workers/1", Some("shop.service")),
        ("0::/user.slice/user-0.slice/session-1.scope", Some("session-1.scope")),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/fake.service", Some("user@1000.service")),
        ("4:memory:/x.service\n1:name=systemd:/system.slice/cron.service\n0::/", Some("cron.service")),
        ("0::/", None),
        ("4:memory:/x.service", Some("x.service")),
        ("", None),
    ] {
        let Found { container_id, place } = read(text);
        assert_eq!((place.unit.as_deref(), container_id), (unit, None), "{text}");
    }
    let split = read(&format!("0::/system.slice/web.service/libpod-payload-{ID}"));
    assert_eq!((split.place.unit.as_deref(), split.container_id.as_deref()), (Some("web.service"), Some(ID)));
}

#[test]
fn what_is_no_container_has_no_id() {
    let table: &[(&str, String)] = &[
        ("empty", String::new()),
        ("the root", "0::/".to_owned()),
        ("a service", "0::/system.slice/nginx.service".to_owned()),
        ("the monitor of CRI-O", format!("0::/kubepods.slice/crio-conmon-{ID}.scope")),
        ("the monitor of Podman", format!("0::/machine.slice/libpod-conmon-{ID}.scope")),
        ("the monitor of LXC", "0::/lxc.monitor.web".to_owned()),
        ("a virtual machine", "0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope".to_owned()),
        ("too short", format!("0::/docker/{}", &ID[1..])),
        ("too long", format!("0::/docker/{ID}0")),
        ("not hexadecimal", format!("0::/docker/{}g", &ID[1..])),
        ("no path", "0:".to_owned()),
        ("letters that are not ASCII", "0::/docker-é:ü".to_owned()),
        ("a pod of no known form", "0::/kubepods/podé".to_owned()),
        ("a slice that only ends so", format!("0::/notkubepods-{SLICE}.slice")),
    ];
    for (case, text) in table {
        check(case, text, (None, None, None, None));
    }
}

#[test]
fn the_path_itself_is_kept_and_bounded() {
    assert_eq!(read("0::/system.slice/x.service").place.cgroup.as_deref(), Some("/system.slice/x.service"));
    let deep = format!("0::/{}", "x/".repeat(2048));
    assert_eq!(read(&deep).place.cgroup.map(|path| path.len()), Some(MAX_PATH_BYTES));
}

proptest::proptest! {
    #[test]
    fn no_path_panics_and_what_is_below_a_container_changes_nothing(below in "[a-z0-9/:.@é-]{0,200}") {
        let own = read(&format!("0::/kubepods/pod{UID}/{ID}"));
        let found = read(&format!("0::/kubepods/pod{UID}/{ID}/{below}"));
        proptest::prop_assert_eq!(found.container_id, own.container_id);
        proptest::prop_assert_eq!(found.place.pod_uid, own.place.pod_uid);
        let _ = read(&format!("0::{below}"));
    }
}
