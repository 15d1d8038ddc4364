//! Who a process is said to be.

use super::*;
use crate::flow::fact::{Place, Program};

fn text(resource: &Resource, key: &str) -> Option<String> {
    resource.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| match &attribute.value {
        Value::Str(text) => text.to_string(),
        other => format!("{other:?}"),
    })
}

fn process() -> Process {
    Process {
        tgid: 7,
        start_ns: 123_456_789,
        name: "python3.11".to_owned(),
        executable: Some("/usr/bin/python3.11".to_owned()),
        uid: Some(33),
        user: Some("www-data".to_owned()),
        parent: Some(1),
        program: Box::new(Program {
            arguments: vec!["python3".to_owned(), "REDACTED".to_owned()],
            language: Some("python".to_owned()),
            runtime: Some("cpython".to_owned()),
            runtime_version: Some("3.11.2".to_owned()),
            version: None,
        }),
        ..Process::default()
    }
}

fn declared(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn everything_that_is_known_is_said_by_its_conventional_name() {
    let process = Process {
        inner_pid: Some(2),
        pid_namespace: Some(4_026_532_000),
        container_id: Some("c0ffee".to_owned()),
        place: Box::new(Place {
            runtime: Some("containerd".to_owned()),
            pod_uid: Some("uid".to_owned()),
            qos_class: Some("Burstable".to_owned()),
            outer_container: Some("node".to_owned()),
            claimed: Some("other".to_owned()),
            ..Place::default()
        }),
        ..process()
    };
    let resource = resource("box", Some(&process));
    for (key, value) in [
        ("service.name", "python3.11"),
        ("service.instance.id", "box.7.12"),
        ("process.pid", "Int(7)"),
        ("process.parent_pid", "Int(1)"),
        ("process.vpid", "Int(2)"),
        ("process.owner", "www-data"),
        ("process.user.id", "Int(33)"),
        ("process.command", "python3"),
        ("process.command_args", "Strs([\"python3\", \"REDACTED\"])"),
        ("process.runtime.name", "cpython"),
        ("process.runtime.version", "3.11.2"),
        ("wirespan.process.language", "python"),
        ("wirespan.process.pid_namespace", "Int(4026532000)"),
        ("container.id", "c0ffee"),
        ("container.runtime.name", "containerd"),
        ("k8s.pod.uid", "uid"),
        ("wirespan.k8s.pod.qos_class", "Burstable"),
        ("wirespan.container.outer_id", "node"),
        ("wirespan.container.claimed", "other"),
    ] {
        assert_eq!(text(&resource, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(text(&resource, "telemetry.sdk.language").as_deref(), Some("rust"), "ours, not the process's");
}

#[test]
fn a_service_is_named_by_itself_then_by_its_unit_then_by_its_executable() {
    let unit = |unit: &str, process: Process| Process {
        place: Box::new(Place { unit: Some(unit.to_owned()), ..Place::default() }),
        ..process
    };
    let native = || Process { name: "nginx".to_owned(), ..Process::default() };
    let says = Process { service_name: Some("shop".to_owned()), ..process() };
    for (process, expect) in [
        (unit("billing.service", says), "shop"),
        (unit("billing.service", process()), "billing"),
        (unit("billing@2.service", process()), "billing"),
        (unit("user@1000.service", process()), "python3.11"),
        (unit("session-1.scope", process()), "python3.11"),
        (unit("web.service", native()), "nginx"),
        (native(), "nginx"),
        (Process::default(), "unknown_service"),
    ] {
        assert_eq!(resource("box", Some(&process)).service, expect);
    }
}

#[test]
fn an_instance_is_the_same_however_exactly_its_birth_is_known() {
    let rounded = Process { start_ns: 120_000_000, ..process() };
    let instance = |process: &Process| text(&resource("box", Some(process)), "service.instance.id");
    assert_eq!(instance(&process()), instance(&rounded));
    assert_ne!(instance(&process()), instance(&Process { start_ns: 130_000_000, ..process() }));
}

#[test]
fn a_process_says_what_it_is_called_but_not_where_it_is() {
    let claims = [
        ("service.version", "9"),
        ("service.namespace", "shop"),
        ("service.instance.id", "mine"),
        ("k8s.pod.uid", "another"),
        ("container.id", "another"),
        ("process.pid", "1"),
        ("wirespan.container.claimed", ""),
    ];
    let process = Process { resource_attributes: declared(&claims), container_id: Some("c".to_owned()), ..process() };
    let resource = resource("box", Some(&process));
    for (key, value) in [
        ("service.version", Some("9")),
        ("service.namespace", Some("shop")),
        ("service.instance.id", Some("mine")),
        ("k8s.pod.uid", None),
        ("container.id", Some("c")),
        ("process.pid", Some("Int(7)")),
        ("wirespan.container.claimed", None),
    ] {
        assert_eq!(text(&resource, key).as_deref(), value, "{key}");
    }
}
