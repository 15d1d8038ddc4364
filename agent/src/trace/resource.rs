//! The OTLP resource of a process: who it is, as the semantic conventions write it.
//!
//! | attribute | from |
//! |---|---|
//! | `service.name` | [`Process::service`] |
//! | `service.version` | what is built into the executable |
//! | `service.instance.id` | host, process id and birth |
//! | `process.*` | `/proc` and the kernel's records |
//! | `container.*`, `k8s.pod.uid` | the path of its cgroup |
//! | `host.name` | the kernel |
//!
//! What the process itself declares (`OTEL_RESOURCE_ATTRIBUTES`) comes before all of that, but for what the kernel alone knows.

use super::attributes::Attributes;
use super::span::{Attribute, Resource, Value};
use crate::flow::fact::Process;
use crate::redact;

/// Attributes taken over from `OTEL_RESOURCE_ATTRIBUTES` of a process: the limit that SDKs have for a span.
const MAX_RESOURCE_ATTRIBUTES: usize = 128;
/// Longest value of a resource attribute, bytes.
const RESOURCE_VALUE_BYTES: usize = 1024;
/// `service.name` of a process whose name is not known (OpenTelemetry resource conventions).
const UNKNOWN_SERVICE: &str = "unknown_service";
/// Births are told to a hundredth of a second by `/proc` and exactly by records: an id must not depend on which it was.
const TICK_NS: u64 = 10_000_000;
/// What a process may not say of itself: its name is decided elsewhere, and who observes it, where it runs and which process
/// it is, others know better.
const NOT_ITS_TO_SAY: &[&str] =
    &["service.name", "telemetry.sdk.", "container.id", "k8s.pod.uid", "process.pid", "process.owner", "wirespan."];

/// The OTLP resource of a process. What the process itself declares comes before what we found out.
pub(super) fn resource(host: &str, process: Option<&Process>) -> Resource {
    let declared = process.map_or(&[][..], |process| &process.resource_attributes);
    let name = process.map_or("", Process::service);
    let service = redact::cut(if name.is_empty() { UNKNOWN_SERVICE } else { name }, RESOURCE_VALUE_BYTES).to_owned();

    let mut attributes = Attributes::with_capacity(24 + declared.len());
    attributes.put("service.name", service.clone());
    if let Some(process) = process {
        of_process(host, process, &mut attributes);
        of_place(process, &mut attributes);
    }
    if !host.is_empty() {
        attributes.put_text("host.name", host, RESOURCE_VALUE_BYTES);
    }
    attributes.put("telemetry.sdk.name", "wirespan");
    attributes.put("telemetry.sdk.language", "rust");
    attributes.put("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));

    let mut list = attributes.finish();
    for (key, value) in declared.iter().take(MAX_RESOURCE_ATTRIBUTES) {
        if key.is_empty() || is_not_its_to_say(key) {
            continue;
        }
        let value = redact::cut(value, RESOURCE_VALUE_BYTES).to_owned().into();
        match list.iter_mut().find(|attribute| attribute.key == key.as_str()) {
            Some(attribute) => attribute.value = value,
            None => list.push(Attribute { key: key.clone().into(), value }),
        }
    }
    Resource { service, attributes: list }
}

fn of_process(host: &str, process: &Process, attributes: &mut Attributes) {
    let mut text = |key, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            attributes.put_text(key, value, RESOURCE_VALUE_BYTES);
        }
    };
    let instance = format!("{host}.{}.{}", process.tgid, process.start_ns / TICK_NS);
    text("service.instance.id", Some(&instance));
    let program = &process.program;
    text("service.version", program.version.as_deref());
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
    for (key, value) in [
        ("container.id", &process.container_id),
        ("container.runtime.name", &place.runtime),
        ("k8s.pod.uid", &place.pod_uid),
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
fn is_not_its_to_say(key: &str) -> bool {
    NOT_ITS_TO_SAY.iter().any(|name| if name.ends_with('.') { key.starts_with(name) } else { key == *name })
}

#[cfg(test)]
#[path = "resource_tests.rs"]
mod tests;
