//! Pods, from the API's objects to facts: what is used, up to bounds. What a tenant writes into his pod may be large or odd.

use std::collections::BTreeMap;

use super::objects::{ContainerSpec, ContainerStatus, PodObject};
use crate::flow::kubernetes::{Container, Owner, Pod};
use crate::redact;

/// Longest name, value of a label, or image that is kept, bytes. Names have 253 at most, labels 63.
const TEXT_BYTES: usize = 512;
/// Labels kept of a pod.
const MAX_LABELS: usize = 64;
/// Annotations kept of a pod,
const MAX_ANNOTATIONS: usize = 32;
/// up to this length each, bytes: what tools keep for themselves is longer.
const ANNOTATION_BYTES: usize = 1024;
/// Annotations with these beginnings are kept before others.
const PREFERRED: &[&str] = &["wirespan.io/", "resource.opentelemetry.io/"];
/// Containers kept of a pod, those that initialise it and those that debug it included.
const MAX_CONTAINERS: usize = 64;
/// Addresses kept of a pod: it has one of each family.
const MAX_ADDRESSES: usize = 4;

/// Label and annotation by which a pod or a namespace asks to be left alone.
pub(super) const TRACE_KEY: &str = "wirespan.io/trace";
/// What the kubelet says of a pod that it read from a file: how it calls it.
const STATIC_UID_KEY: &str = "kubernetes.io/config.hash";
/// And that it did.
const STATIC_KEY: &str = "kubernetes.io/config.mirror";

/// A pod. Who made the one that made it is not known yet.
pub(super) fn pod(object: PodObject) -> Option<Pod> {
    let PodObject { metadata, spec, status } = object;
    if metadata.uid.is_empty() || metadata.name.is_empty() {
        return None;
    }
    let static_uid = metadata.annotations.contains_key(STATIC_KEY);
    let static_uid = metadata.annotations.get(STATIC_UID_KEY).filter(|_| static_uid).map(|uid| cut(uid));
    let controller = metadata.owner_references.into_iter().find(|owner| owner.controller);
    let mut containers = Containers::default();
    containers.add(&spec.containers, &status.container_statuses);
    containers.add(&spec.init_containers, &status.init_container_statuses);
    containers.add(&spec.ephemeral_containers, &status.ephemeral_container_statuses);
    let mut addresses: Vec<_> = status.pod_ip.into_iter().chain(status.pod_ips.iter().filter_map(|ip| ip.ip)).collect();
    let mut seen = Vec::new();
    addresses.retain(|address| {
        !seen.contains(address) && seen.len() < MAX_ADDRESSES && {
            seen.push(*address);
            true
        }
    });
    Some(Pod {
        uid: cut(&metadata.uid),
        name: cut(&metadata.name),
        namespace: cut(&metadata.namespace),
        static_uid,
        node: some(&spec.node_name),
        addresses,
        host_network: spec.host_network,
        service_account: some(&spec.service_account_name),
        started: some(&status.start_time),
        owners: controller
            .map(|owner| Owner { kind: cut(&owner.kind), name: cut(&owner.name), uid: some(&owner.uid) })
            .into_iter()
            .collect(),
        is_cut: containers.is_cut || metadata.labels.len() > MAX_LABELS,
        containers: containers.list,
        opted_out: false,
        labels: pairs(&metadata.labels, MAX_LABELS, TEXT_BYTES, &[]),
        annotations: pairs(&metadata.annotations, MAX_ANNOTATIONS, ANNOTATION_BYTES, PREFERRED),
    })
}

/// Whether labels or annotations say that something is to be traced, or not. An annotation counts before a label.
pub(super) fn says_traced<'a>(annotation: Option<&'a str>, label: Option<&'a str>) -> Option<bool> {
    match annotation.or(label)? {
        "false" => Some(false),
        "true" => Some(true),
        _ => None,
    }
}

/// Whether it runs no more, so that its addresses are another's by now.
pub(super) fn is_over(object: &PodObject) -> bool {
    matches!(object.status.phase.as_str(), "Succeeded" | "Failed")
}

#[derive(Default)]
struct Containers {
    list: Vec<Container>,
    is_cut: bool,
}

impl Containers {
    fn add(&mut self, specs: &[ContainerSpec], statuses: &[ContainerStatus]) {
        for spec in specs {
            if self.list.len() >= MAX_CONTAINERS {
                self.is_cut = true;
                return;
            }
            let status = statuses.iter().find(|status| status.name == spec.name);
            let (runtime, id) = status.and_then(|status| status.container_id.split_once("://")).unzip();
            self.list.push(Container {
                name: cut(&spec.name),
                id: id.and_then(some),
                runtime: runtime.and_then(some),
                image: some(&spec.image),
                image_id: status.and_then(|status| some(&status.image_id)),
                restarts: status.map_or(0, |status| status.restart_count),
            });
        }
    }
}

fn pairs(all: &BTreeMap<String, String>, most: usize, bytes: usize, preferred: &[&str]) -> Vec<(String, String)> {
    let fits = |(key, value): &(&String, &String)| key.len() <= TEXT_BYTES && value.len() <= bytes;
    let is_preferred = |key: &str| preferred.iter().any(|beginning| key.starts_with(beginning));
    let first = all.iter().filter(|(key, _)| is_preferred(key));
    let then = all.iter().filter(|(key, _)| !is_preferred(key));
    first.chain(then).filter(fits).take(most).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| cut(text))
}

fn cut(text: &str) -> String {
    redact::cut(text, TEXT_BYTES).to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use serde_json::{Value, json};

    use super::*;

    fn read(object: &Value) -> Option<Pod> {
        pod(serde_json::from_value(object.clone()).expect("it is one"))
    }

    fn some_pod() -> Value {
        json!({
            "metadata": {
                "name": "web-5d4f-x", "namespace": "shop", "uid": "u", "creationTimestamp": null,
                "labels": {"app": "web", "pod-template-hash": "5d4f"},
                "annotations": {"wirespan.io/trace": "true"},
                "ownerReferences": [
                    {"kind": "Other", "name": "o", "uid": "1"},
                    {"kind": "ReplicaSet", "name": "web-5d4f", "uid": "2", "controller": true}
                ],
                "managedFields": [{"manager": "kubelet"}]
            },
            "spec": {
                "nodeName": "node-1", "serviceAccountName": "web", "hostNetwork": false,
                "containers": [{"name": "server", "image": "web:7", "env": [{"name": "PASSWORD", "value": "secret"}]}],
                "initContainers": [{"name": "init", "image": "init:1"}],
                "ephemeralContainers": null
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}, {"ip": "odd"}],
                "startTime": "2026-11-26T05:00:00Z",
                "containerStatuses": [{"name": "server", "containerID": "containerd://c1", "imageID": "web@sha256:0", "restartCount": 3}]
            }
        })
    }

    #[test]
    fn what_is_used_is_kept_and_nothing_else() {
        let pod = read(&some_pod()).expect("a pod");
        assert_eq!(
            serde_json::to_value(&pod).expect("it is text"),
            json!({
                "uid": "u", "name": "web-5d4f-x", "namespace": "shop", "node": "node-1",
                "addresses": ["10.0.0.7", "fd00::7"], "service_account": "web", "started": "2026-11-26T05:00:00Z",
                "owners": [{"kind": "ReplicaSet", "name": "web-5d4f", "uid": "2"}],
                "containers": [
                    {"name": "server", "id": "c1", "runtime": "containerd", "image": "web:7", "image_id": "web@sha256:0", "restarts": 3},
                    {"name": "init", "image": "init:1", "restarts": 0}
                ],
                "labels": [["app", "web"], ["pod-template-hash", "5d4f"]],
                "annotations": [["wirespan.io/trace", "true"]]
            })
        );
    }

    #[test]
    fn a_pod_of_a_file_is_known_by_what_the_kubelet_calls_it() {
        let mut object = some_pod();
        object["metadata"]["annotations"]["kubernetes.io/config.hash"] = json!("hash");
        assert_eq!(read(&object).expect("a pod").static_uid, None, "anybody can write that");
        object["metadata"]["annotations"]["kubernetes.io/config.mirror"] = json!("hash");
        assert_eq!(read(&object).expect("a pod").static_uid.as_deref(), Some("hash"));
    }

    #[test]
    fn a_hundred_containers_and_large_annotations_are_cut() {
        let mut object = some_pod();
        let many: Vec<Value> = (0..100).map(|number| json!({"name": format!("c{number}"), "image": "i"})).collect();
        object["spec"]["containers"] = json!(many);
        let labels: BTreeMap<String, String> =
            (0..100).map(|number| (format!("l{number}"), "ü".repeat(31) + "x")).collect();
        object["metadata"]["labels"] = json!(labels);
        let mut annotations: BTreeMap<String, String> =
            (0..100).map(|number| (format!("a{number}"), "x".to_owned())).collect();
        annotations.insert("large".to_owned(), "x".repeat(256 * 1024));
        annotations.insert("wirespan.io/trace".to_owned(), "false".to_owned());
        annotations.insert("resource.opentelemetry.io/service.name".to_owned(), "named".to_owned());
        object["metadata"]["annotations"] = json!(annotations);
        let pod = read(&object).expect("a pod");
        assert_eq!((pod.containers.len(), pod.labels.len(), pod.annotations.len()), (64, 64, 32));
        assert!(pod.is_cut);
        assert_eq!(pod.annotation("wirespan.io/trace"), Some("false"));
        assert_eq!(pod.annotation("resource.opentelemetry.io/service.name"), Some("named"));
        assert_eq!(pod.annotation("large"), None);
        assert!(pod.container(Some("none")).is_none());
    }

    #[test]
    fn what_has_no_uid_is_no_pod_and_null_is_nothing() {
        assert!(read(&json!({"metadata": {}})).is_none());
        assert!(read(&json!({"metadata": {"name": "a", "uid": "u"}, "spec": null, "status": null})).is_some());
        let nulls = json!({"metadata": {"name": "a", "uid": "u", "labels": null, "annotations": null, "ownerReferences": null},
            "spec": {"containers": null}, "status": {"podIPs": null, "podIP": "no address", "startTime": null}});
        assert_eq!(read(&nulls).expect("a pod").addresses, Vec::<IpAddr>::new());
    }

    #[test]
    fn an_annotation_counts_before_a_label_and_anything_else_says_nothing() {
        for (annotation, label, expect) in [
            (None, None, None),
            (Some("false"), None, Some(false)),
            (None, Some("false"), Some(false)),
            (Some("true"), Some("false"), Some(true)),
            (Some("no"), Some("false"), None),
        ] {
            assert_eq!(says_traced(annotation, label), expect, "{annotation:?} {label:?}");
        }
    }
}
