//! Facts of Kubernetes: the cluster, its pods, and who has an address. What the API server says, cut down to what is used.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The cluster that this machine is a node of, and what is made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// `k8s.cluster.name`, from the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `k8s.cluster.uid`: that of the namespace `kube-system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Name of this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_uid: Option<String>,
    /// `istio.mesh_id`, from the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_id: Option<String>,
    /// How services are named.
    #[serde(default)]
    pub naming: Naming,
    /// Whether the labels `app.kubernetes.io/*` name services.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub well_known_labels: bool,
    /// Whether peers are looked up by their addresses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub peers: bool,
    /// How long a span waits for who it is of, nanoseconds after its last byte.
    #[serde(default)]
    pub wait_ns: u64,
}

/// How services are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Naming {
    /// By the rules of OpenTelemetry for Kubernetes.
    #[default]
    Otel,
    /// `CANONICAL-NAME.NAMESPACE`, as Istio does.
    Istio,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What its cgroup is called after, if not its uid: of a pod that the kubelet read from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_uid: Option<String>,
    /// The node that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its addresses, the first one before the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Whether its addresses are the node's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    /// The account that it runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// When the kubelet took it on (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// What it was made by, what made that, and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<Owner>,
    /// Its containers, of every kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
    /// Its annotations, the large ones left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<(String, String)>,
    /// It, or its namespace, asks not to be traced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opted_out: bool,
    /// It has more of something than is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
}

/// What a pod was made by, directly or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// `ReplicaSet`, `Deployment`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// Its id, without the runtime; `None` as long as it was not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What runs it: `containerd`, `cri-o`, `docker`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Its image, as the pod names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image that this came to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// How often it was started anew.
    #[serde(default)]
    pub restarts: u32,
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// A pod.
    Pod(Box<Pod>),
    /// A Service: whoever answers for it.
    Service {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
}

/// What was found out about an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Which.
    pub address: IpAddr,
    /// Who has it; `None` for nobody of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
    /// For how long that may be believed, nanoseconds.
    pub valid_ns: u64,
}

impl Pod {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        value(&self.labels, key)
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        value(&self.annotations, key)
    }

    /// The container of this id; while that was not told yet, the only one that there is.
    #[must_use]
    pub fn container(&self, id: Option<&str>) -> Option<&Container> {
        let known = self.containers.iter().find(|container| id.is_some() && container.id.as_deref() == id);
        known.or(match &self.containers[..] {
            [only] if !self.is_cut => Some(only),
            _ => None,
        })
    }

    /// The owner of this kind.
    #[must_use]
    pub fn owner(&self, kind: &str) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.kind == kind)
    }

    /// What it is one of: the last of its owners.
    #[must_use]
    pub fn workload(&self) -> Option<&Owner> {
        self.owners.last()
    }
}

fn value<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
}
