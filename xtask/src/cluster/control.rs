//! The control plane: etcd, API server, controller manager, scheduler.

use std::fs;

use anyhow::{Context, Result};
use serde_json::json;

use super::daemon::Daemon;
use super::place::{API_PORT, NODE_ADDRESS, PODS, Place, SERVICES};
use super::program::Programs;

/// etcd's address for its only client.
const ETCD: &str = "http://127.0.0.1:2379";

/// etcd's address for its peers, of which there are none.
const ETCD_PEER: &str = "http://127.0.0.1:2380";

/// Starts etcd.
pub(crate) fn etcd(place: &Place, programs: &Programs) -> Result<()> {
    let mut arguments = flags(&[
        ("name", "default"),
        ("listen-client-urls", ETCD),
        ("advertise-client-urls", ETCD),
        ("listen-peer-urls", ETCD_PEER),
        ("initial-advertise-peer-urls", ETCD_PEER),
        ("initial-cluster", &format!("default={ETCD_PEER}")),
        ("data-dir", &place.inside("etcd")),
    ]);
    // What a crash of the machine would cost is a cluster that is made in seconds.
    arguments.push("--unsafe-no-fsync".to_owned());
    Daemon::new(place, "etcd").start(&programs.etcd(), &arguments)
}

/// Starts the API server, which writes down what service accounts ask of it.
pub(crate) fn api_server(place: &Place, programs: &Programs) -> Result<()> {
    let policy = place.run.join("audit-policy.json");
    let text = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
            {"level": "None"},
        ],
    });
    fs::write(&policy, text.to_string()).with_context(|| policy.display().to_string())?;
    let (address, port) = (NODE_ADDRESS.to_string(), API_PORT.to_string());
    let arguments = flags(&[
        ("etcd-servers", ETCD),
        ("bind-address", &address),
        ("advertise-address", &address),
        ("secure-port", &port),
        ("client-ca-file", &place.key("ca.crt")),
        ("tls-cert-file", &place.key("apiserver.crt")),
        ("tls-private-key-file", &place.key("apiserver.key")),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        ("service-account-key-file", &place.key("tokens.pub")),
        ("service-account-signing-key-file", &place.key("tokens.key")),
        ("service-cluster-ip-range", SERVICES),
        ("authorization-mode", "Node,RBAC"),
        ("enable-admission-plugins", "NodeRestriction"),
        ("allow-privileged", "true"),
        ("kubelet-client-certificate", &place.key("api-to-kubelet.crt")),
        ("kubelet-client-key", &place.key("api-to-kubelet.key")),
        ("kubelet-preferred-address-types", "InternalIP"),
        ("endpoint-reconciler-type", "lease"),
        ("audit-policy-file", &policy.display().to_string()),
        ("audit-log-path", &place.audit().display().to_string()),
        // Whoever counts requests must find those that were answered.
        ("audit-log-mode", "blocking"),
        // Without this a stopped server waits for watches that never end.
        ("shutdown-delay-duration", "0s"),
    ]);
    Daemon::new(place, "apiserver").start(&programs.kubernetes("kube-apiserver"), &arguments)
}

/// Starts the controller manager and the scheduler.
pub(crate) fn controllers(place: &Place, programs: &Programs) -> Result<()> {
    let config = place.kubeconfig("controller-manager");
    let arguments = flags(&[
        ("kubeconfig", &config),
        ("authentication-kubeconfig", &config),
        ("authorization-kubeconfig", &config),
        ("bind-address", "127.0.0.1"),
        ("service-account-private-key-file", &place.key("tokens.key")),
        ("root-ca-file", &place.key("ca.crt")),
        ("cluster-signing-cert-file", &place.key("ca.crt")),
        ("cluster-signing-key-file", &place.key("ca.key")),
        ("use-service-account-credentials", "true"),
        ("leader-elect", "false"),
        ("allocate-node-cidrs", "true"),
        ("cluster-cidr", PODS),
        ("service-cluster-ip-range", SERVICES),
        ("flex-volume-plugin-dir", &place.inside("kubelet/plugins")),
    ]);
    let manager = Daemon::new(place, "controller-manager");
    manager.start(&programs.kubernetes("kube-controller-manager"), &arguments)?;
    let config = place.kubeconfig("scheduler");
    let arguments = flags(&[
        ("kubeconfig", &config),
        ("authentication-kubeconfig", &config),
        ("authorization-kubeconfig", &config),
        ("bind-address", "127.0.0.1"),
        ("leader-elect", "false"),
    ]);
    Daemon::new(place, "scheduler").start(&programs.kubernetes("kube-scheduler"), &arguments)
}

/// `--name=value` for each.
pub(crate) fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}
