//! What Kubernetes says of a process: the attributes of its pod, container, workload, node and cluster.
//!
//! | attribute | from |
//! |---|---|
//! | `k8s.cluster.name`, `istio.mesh_id` | the configuration |
//! | `k8s.cluster.uid` | the uid of the namespace `kube-system` |
//! | `k8s.node.*`, `k8s.namespace.name`, `k8s.pod.*` | the pod, the node |
//! | `k8s.container.*`, `container.image.*` | the pod's container of this id |
//! | `k8s.deployment.*`, `k8s.replicaset.*`, ... | the owners of the pod |
//! | `service.namespace`, `.version`, `.instance.id` | [`naming`](crate::flow::naming) |
//! | `istio.*` | labels, with `kubernetes.naming: istio` |

use super::attributes::Attributes;
use super::span::Value;
use crate::flow::kubernetes::{Cluster, Container, Naming, Pod};
use crate::flow::naming::{ATTRIBUTE_ANNOTATION, Image, InCluster};

/// Longest value of an attribute, bytes. Names are at most 253.
const VALUE_BYTES: usize = 1024;
/// What Istio says where nothing is configured.
const UNKNOWN: &str = "unknown";

/// Kinds of owners that have attributes of their own, with these.
const OWNERS: &[(&str, &str, &str)] = &[
    ("Deployment", "k8s.deployment.name", "k8s.deployment.uid"),
    ("ReplicaSet", "k8s.replicaset.name", "k8s.replicaset.uid"),
    ("StatefulSet", "k8s.statefulset.name", "k8s.statefulset.uid"),
    ("DaemonSet", "k8s.daemonset.name", "k8s.daemonset.uid"),
    ("Job", "k8s.job.name", "k8s.job.uid"),
    ("CronJob", "k8s.cronjob.name", "k8s.cronjob.uid"),
    ("ReplicationController", "k8s.replicationcontroller.name", "k8s.replicationcontroller.uid"),
];

/// Says who a container of a pod is; the pod alone, where the container is not known.
pub(super) fn put(place: InCluster<'_>, container: Option<&Container>, attributes: &mut Attributes) {
    let InCluster { cluster, pod } = place;
    let version = place.version(container);
    let instance = place.instance(container);
    let mut text = |key, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            attributes.put_text(key, value, VALUE_BYTES);
        }
    };
    text("service.namespace", Some(place.namespace()));
    text("service.version", version.as_deref());
    text("service.instance.id", instance.as_deref());
    text("k8s.namespace.name", Some(&pod.namespace));
    text("k8s.pod.name", Some(&pod.name));
    text("k8s.pod.uid", Some(&pod.uid));
    text("k8s.pod.start_time", pod.started.as_deref());
    let address = pod.addresses.first().map(ToString::to_string);
    text("k8s.pod.ip", address.as_deref());
    for (kind, name_key, uid_key) in OWNERS {
        if let Some(owner) = pod.owner(kind) {
            text(name_key, Some(&owner.name));
            text(uid_key, owner.uid.as_deref());
        }
    }
    if cluster.naming == Naming::Istio {
        text("istio.canonical_service", Some(place.canonical_name()));
        text("istio.canonical_revision", Some(place.canonical_revision()));
        text("istio.namespace", Some(&pod.namespace));
        text("istio.mesh_id", Some(cluster.mesh_id.as_deref().unwrap_or(UNKNOWN)));
        text("istio.cluster_id", Some(cluster.name.as_deref().unwrap_or(UNKNOWN)));
    }
    put_node(cluster, attributes);
    if let Some(container) = container {
        put_container(container, attributes);
    }
}

/// Says on which node of which cluster this is.
pub(super) fn put_node(cluster: &Cluster, attributes: &mut Attributes) {
    for (key, value) in [
        ("k8s.cluster.name", &cluster.name),
        ("k8s.cluster.uid", &cluster.uid),
        ("k8s.node.name", &cluster.node),
        ("k8s.node.uid", &cluster.node_uid),
    ] {
        if let Some(value) = value {
            attributes.put_text(key, value, VALUE_BYTES);
        }
    }
}

fn put_container(container: &Container, attributes: &mut Attributes) {
    attributes.put_text("k8s.container.name", &container.name, VALUE_BYTES);
    attributes.put("k8s.container.restart_count", i64::from(container.restarts));
    // Where the path of the cgroup says it too, that counts.
    if let Some(runtime) = &container.runtime {
        attributes.put_text("container.runtime.name", runtime, VALUE_BYTES);
    }
    let image = container.image.as_deref().map(Image::parse).unwrap_or_default();
    if !image.name.is_empty() {
        attributes.put_text("container.image.name", image.name, VALUE_BYTES);
    }
    if let Some(tag) = image.tag {
        attributes.put("container.image.tags", Value::Strs([tag.to_owned()].into()));
    }
    if let Some(id) = &container.image_id {
        attributes.put_text("container.image.id", id, VALUE_BYTES);
        if id.contains('@') {
            attributes.put("container.image.repo_digests", Value::Strs([id.clone()].into()));
        }
    }
}

/// What the annotations of a pod say of its resource.
pub(super) fn annotated(pod: &Pod) -> impl Iterator<Item = (&str, &str)> {
    pod.annotations.iter().filter_map(|(key, value)| Some((key.strip_prefix(ATTRIBUTE_ANNOTATION)?, value.as_str())))
}
