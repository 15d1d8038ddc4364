//! The OTLP resource of a process: who it is, as the semantic conventions write it.
//!
//! | attribute | from |
//! |---|---|
//! | `service.name` | [`naming::service`] |
//! | `service.version` | its pod, else what is built into the executable |
//! | `service.instance.id` | its pod and container, else host, process id and birth |
//! | `process.*` | `/proc` and the kernel's records |
//! | `container.*`, `k8s.*` | the path of its cgroup, and what Kubernetes says of that ([`super::kubernetes`]) |
//! | `host.name` | the kernel |
//!
//! What the process itself declares (`OTEL_RESOURCE_ATTRIBUTES`) comes before all of that, and what the annotations of its pod
//! declare before what is found out, but for what the kernel or Kubernetes alone know.

use super::attributes::Attributes;
use super::kubernetes;
use super::mesh::Mesh;
use super::pods::Pods;
use super::span::{Attribute, Lack, Resource, Value};
use crate::flow::fact::Process;
use crate::flow::naming;
use crate::redact;

/// Attributes taken over from `OTEL_RESOURCE_ATTRIBUTES` of a process: the limit that SDKs have for a span.
const MAX_RESOURCE_ATTRIBUTES: usize = 128;
/// Longest value of a resource attribute, bytes.
const RESOURCE_VALUE_BYTES: usize = 1024;
/// `service.name` of a process whose name is not known (OpenTelemetry resource conventions).
const UNKNOWN_SERVICE: &str = "unknown_service";
/// Births are told to a hundredth of a second by `/proc` and exactly by records: an id must not depend on which it was.
const TICK_NS: u64 = 10_000_000;
/// What nobody may say of himself: his name is decided elsewhere, and who observes him, where he runs and which process
/// he is, others know better.
const NOT_ITS_TO_SAY: &[&str] =
    &["service.name", "telemetry.sdk.", "container.id", "k8s.pod.uid", "process.pid", "process.owner", "wirespan."];
/// What is taken over only where nobody knows better, and marked.
const CLAIMS: &[&str] = &["k8s.", "container."];
/// Names of attributes that were claimed without proof.
const CLAIMED_KEY: &str = "wirespan.resource.claimed";
/// What is missing of a pod's identity.
const INCOMPLETE_KEY: &str = "wirespan.k8s.incomplete";

/// The OTLP resource of a process. What the process itself declares comes before what we found out.
pub(super) fn resource(host: &str, process: Option<&Process>, pods: &Pods) -> Resource {
    let declared = process.map_or(&[][..], |process| &process.resource_attributes);
    let place = process.and_then(|process| pods.place_of(process));
    let name = process.map_or_else(Default::default, |process| naming::service(process, place));
    let service = redact::cut(if name.is_empty() { UNKNOWN_SERVICE } else { &name }, RESOURCE_VALUE_BYTES).to_owned();
    let container =
        process.zip(place).and_then(|(process, place)| place.pod.container(process.container_id.as_deref()));
    let lacks = match (process, place) {
        (Some(process), None) if pods.cluster().is_some() && process.place.pod_uid.is_some() => Some(Lack::Pod),
        (Some(process), Some(_)) if container.is_none() && process.container_id.is_some() => Some(Lack::Container),
        _ => None,
    };

    let mesh = process.zip(place).and_then(|(process, place)| Mesh::of(process, place.pod, container));

    let mut attributes = Attributes::with_capacity(48 + declared.len());
    attributes.put("service.name", service.clone());
    if let Some(process) = process {
        if let Some(place) = place {
            kubernetes::put(place, container, &mut attributes);
        } else if let Some(cluster) = pods.cluster() {
            kubernetes::put_node(cluster, &mut attributes);
        }
        of_process(host, process, &mut attributes);
        of_place(process, &mut attributes);
    }
    if !host.is_empty() {
        attributes.put_text("host.name", host, RESOURCE_VALUE_BYTES);
    }
    attributes.put("telemetry.sdk.name", "wirespan");
    attributes.put("telemetry.sdk.language", "rust");
    attributes.put("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
    attributes.put_some(INCOMPLETE_KEY, lacks.map(Lack::text));
    attributes.put_some("wirespan.mesh.role", mesh.map(Mesh::text));

    let mut claims = Claims { list: attributes.finish(), unproven: Vec::new() };
    if let Some(place) = place {
        kubernetes::annotated(place.pod).for_each(|(key, value)| claims.take(key, value));
    }
    declared.iter().take(MAX_RESOURCE_ATTRIBUTES).for_each(|(key, value)| claims.take(key, value));
    Resource { service, lacks, mesh, attributes: claims.finish() }
}

/// A list of attributes, and what somebody says of himself.
struct Claims {
    list: Vec<Attribute>,
    unproven: Vec<String>,
}

impl Claims {
    fn take(&mut self, key: &str, value: &str) {
        if key.is_empty() || is_one_of(key, NOT_ITS_TO_SAY) {
            return;
        }
        let value: Value = redact::cut(value, RESOURCE_VALUE_BYTES).to_owned().into();
        let known = self.list.iter_mut().find(|attribute| attribute.key == key);
        let is_claim = is_one_of(key, CLAIMS);
        if is_claim
            && known.as_ref().is_none_or(|known| known.value != value)
            && !self.unproven.iter().any(|k| k == key)
        {
            self.unproven.push(key.to_owned());
        }
        match known {
            Some(known) if !is_claim => known.value = value,
            Some(_) => {}
            None => self.list.push(Attribute { key: key.to_owned().into(), value }),
        }
    }

    fn finish(mut self) -> Vec<Attribute> {
        if !self.unproven.is_empty() {
            self.list.push(Attribute::new(CLAIMED_KEY, Value::Strs(self.unproven.into())));
        }
        self.list
    }
}

fn of_process(host: &str, process: &Process, attributes: &mut Attributes) {
    let has_instance = attributes.get("service.instance.id").is_some();
    let has_version = attributes.get("service.version").is_some();
    let mut text = |key, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            attributes.put_text(key, value, RESOURCE_VALUE_BYTES);
        }
    };
    let program = &process.program;
    if !has_instance {
        let instance = format!("{host}.{}.{}", process.tgid, process.start_ns / TICK_NS);
        text("service.instance.id", Some(&instance));
    }
    if !has_version {
        text("service.version", program.version.as_deref());
    }
    text("process.executable.name", Some(&process.name));
    text("process.executable.path", process.executable.as_deref());
    text("process.command", program.arguments.first().map(String::as_str));
    text("process.owner", process.user.as_deref());
    text("process.runtime.name", program.runtime.as_deref());
    text("process.runtime.version", program.runtime_version.as_deref());
    text("wirespan.process.language", program.language.as_deref());
    attributes.put("process.pid", i64::from(process.tgid));
    attributes.put_some("process.parent_pid", process.parent.map(i64::from));
    attributes.put_some("process.vpid", process.inner_pid.map(i64::from));
    attributes.put_some("wirespan.process.pid_namespace", process.pid_namespace.map(u64::cast_signed));
    attributes.put_some("process.user.id", process.uid.map(i64::from));
    if !program.arguments.is_empty() {
        let cut = |text: &String| redact::cut(text, RESOURCE_VALUE_BYTES).to_owned();
        attributes.put("process.command_args", Value::Strs(program.arguments.iter().map(cut).collect()));
    }
}

fn of_place(process: &Process, attributes: &mut Attributes) {
    let place = &process.place;
    // A pod that Kubernetes told us of may have another uid than its cgroup.
    if attributes.get("k8s.pod.uid").is_none()
        && let Some(uid) = &place.pod_uid
    {
        attributes.put_text("k8s.pod.uid", uid, RESOURCE_VALUE_BYTES);
    }
    for (key, value) in [
        ("container.id", &process.container_id),
        ("container.runtime.name", &place.runtime),
        ("wirespan.k8s.pod.qos_class", &place.qos_class),
        ("wirespan.container.outer_id", &place.outer_container),
        ("wirespan.container.claimed", &place.claimed),
        ("wirespan.systemd.unit", &place.unit),
    ] {
        if let Some(value) = value {
            attributes.put_text(key, value, RESOURCE_VALUE_BYTES);
        }
    }
}

/// Names that end with a dot stand for all that begin with them.
fn is_one_of(key: &str, names: &[&str]) -> bool {
    names.iter().any(|name| if name.ends_with('.') { key.starts_with(name) } else { key == *name })
}

#[cfg(test)]
#[path = "resource_tests.rs"]
mod tests;
