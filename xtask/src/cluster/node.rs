//! The node: containerd, kubelet, kube-proxy, and the cluster's DNS, which is a process of the node.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::control::flags;
use super::daemon::Daemon;
use super::place::{NODE, NODE_ADDRESS, NODE_PODS, POD_BRIDGE, PODS, Place};
use super::program::Programs;

/// Where Debian puts the CNI plugins.
pub(crate) const CNI_PLUGINS: &str = "/usr/lib/cni";

/// The image of the process that holds a pod's namespaces.
pub(crate) const PAUSE: &str = "wirespan.local/pause:1";

/// Domain of the cluster's names.
const DOMAIN: &str = "cluster.local";

/// Starts containerd with a state of its own, beside the machine's containerd, should that run.
pub(crate) fn containerd(place: &Place) -> Result<()> {
    let config = place.run.join("containerd.toml");
    write(&config, &containerd_config(place))?;
    let network = place.run.join("cni");
    fs::create_dir_all(&network).with_context(|| network.display().to_string())?;
    let plugins = json!({
        "cniVersion": "1.0.0",
        "name": "wirespan",
        "plugins": [
            {
                "type": "bridge",
                "bridge": POD_BRIDGE,
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": NODE_PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": place.inside("addresses"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ],
    });
    write(&network.join("10-wirespan.conflist"), &plugins.to_string())?;
    let arguments = ["--config".to_owned(), config.display().to_string()];
    Daemon::new(place, "containerd").start("containerd", &arguments)
}

/// Starts the DNS server of the cluster.
pub(crate) fn dns(place: &Place, programs: &Programs) -> Result<()> {
    let config = place.run.join("Corefile");
    let kubeconfig = place.kubeconfig("admin");
    let text = format!(
        ".:53 {{\n    bind {NODE_ADDRESS}\n    errors\n    ready {NODE_ADDRESS}:8181\n    \
         kubernetes {DOMAIN} in-addr.arpa {{\n        kubeconfig {kubeconfig}\n        pods insecure\n    }}\n    \
         forward . /etc/resolv.conf\n    cache 5\n    loadbalance\n}}\n"
    );
    write(&config, &text)?;
    Daemon::new(place, "coredns").start(&programs.coredns(), &["-conf".to_owned(), config.display().to_string()])
}

/// Starts the kubelet.
pub(crate) fn kubelet(place: &Place, programs: &Programs) -> Result<()> {
    let config = place.run.join("kubelet.json");
    write(&config, &kubelet_config(place).to_string())?;
    let arguments = flags(&[
        ("config", &config.display().to_string()),
        ("kubeconfig", &place.kubeconfig("kubelet")),
        ("root-dir", &place.inside("kubelet")),
        ("cert-dir", &place.inside("kubelet/keys")),
        ("hostname-override", NODE),
        ("node-ip", &NODE_ADDRESS.to_string()),
    ]);
    Daemon::new(place, "kubelet").start(&programs.kubernetes("kubelet"), &arguments)
}

/// Starts kube-proxy.
pub(crate) fn kube_proxy(place: &Place, programs: &Programs) -> Result<()> {
    let config = place.run.join("kube-proxy.json");
    let settings = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": place.kubeconfig("kube-proxy")},
        "hostnameOverride": NODE,
        "clusterCIDR": PODS,
        "mode": "iptables",
        "iptables": {"localhostNodePorts": false},
        "oomScoreAdj": 0,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        // The machine's own limits stay.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    });
    write(&config, &settings.to_string())?;
    let arguments = flags(&[("config", &config.display().to_string())]);
    Daemon::new(place, "kube-proxy").start(&programs.kubernetes("kube-proxy"), &arguments)
}

fn containerd_config(place: &Place) -> String {
    let root = place.inside("containerd");
    let socket = place.containerd();
    let network = place.inside("cni");
    format!(
        r#"version = 2
root = "{root}/root"
state = "{root}/state"
oom_score = 0
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # Without CAP_SYS_RESOURCE the score of a process can't be made better than its parent's.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{network}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#
    )
}

fn kubelet_config(place: &Place) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS.to_string(),
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": place.key("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": format!("unix://{}", place.containerd()),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,
        "maxOpenFiles": 20_000,
        "resolvConf": "/etc/resolv.conf",
        "clusterDNS": [NODE_ADDRESS.to_string()],
        "clusterDomain": DOMAIN,
        "podLogsDir": place.inside("pod-logs"),
        "volumePluginDir": place.inside("kubelet/plugins"),
        // There is no registry to fetch them from again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%",
        },
        "nodeStatusUpdateFrequency": "4s",
        "syncFrequency": "10s",
        "makeIPTablesUtilChains": false,
        // Pods that crash are tried again soon: a test that waits for it is short.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},
        "featureGates": {"KubeletCrashLoopBackOffMax": true},
    })
}

/// Leaves a file alone that says this already: kube-proxy ends when its own is written.
fn write(path: &std::path::Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
