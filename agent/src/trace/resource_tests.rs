//! Who a process is said to be.

use super::*;
use crate::flow::fact::{Place, Program};
use crate::flow::kubernetes::{Cluster, Container, Naming, Owner, Pod};

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
    let resource = resource("box", Some(&process), &Pods::default());
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
        assert_eq!(resource("box", Some(&process), &Pods::default()).service, expect);
    }
}

#[test]
fn an_instance_is_the_same_however_exactly_its_birth_is_known() {
    let rounded = Process { start_ns: 120_000_000, ..process() };
    let instance = |process: &Process| text(&resource("box", Some(process), &Pods::default()), "service.instance.id");
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
    let resource = resource("box", Some(&process), &Pods::default());
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

fn in_a_pod(annotations: &[(&str, &str)], claims: &[(&str, &str)], naming: Naming) -> String {
    let mut pods = Pods::default();
    pods.set_cluster(&Cluster {
        name: Some("east".to_owned()),
        uid: Some("uid-cluster".to_owned()),
        node: Some("node-1".to_owned()),
        node_uid: Some("uid-node".to_owned()),
        naming,
        wait_ns: 1,
        ..Cluster::default()
    });
    let owner = |kind: &str, name: &str, uid: &str| Owner {
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: Some(uid.to_owned()),
    };
    pods.learn(&Pod {
        uid: "uid-pod".to_owned(),
        name: "web-5d4f-x".to_owned(),
        namespace: "shop".to_owned(),
        addresses: vec!["10.0.0.7".parse().expect("one")],
        started: Some("2026-11-26T05:00:00Z".to_owned()),
        owners: vec![owner("ReplicaSet", "web-5d4f", "uid-rs"), owner("Deployment", "web", "uid-web")],
        containers: vec![
            Container {
                name: "server".to_owned(),
                id: Some("c0ffee".to_owned()),
                runtime: Some("cri-o".to_owned()),
                image: Some("registry:5000/web:7".to_owned()),
                image_id: Some("registry:5000/web@sha256:0".to_owned()),
                restarts: 3,
            },
            Container { name: "beside".to_owned(), ..Container::default() },
        ],
        labels: declared(&[("app", "web"), ("version", "v2")]),
        annotations: declared(annotations),
        ..Pod::default()
    });
    let place = Place { pod_uid: Some("uid-pod".to_owned()), ..Place::default() };
    let process = Process {
        container_id: Some("c0ffee".to_owned()),
        place: Box::new(place),
        resource_attributes: declared(claims),
        ..process()
    };
    let resource = resource("box", Some(&process), &pods);
    let line = |attribute: &Attribute| {
        let value = match &attribute.value {
            Value::Str(text) => text.to_string(),
            other => format!("{other:?}"),
        };
        format!("{} = {value}", attribute.key)
    };
    let lines = resource.attributes.iter().filter(|attribute| !attribute.key.starts_with("process.")).map(line);
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_pod_is_told_with_all_that_is_known_of_it() {
    insta::assert_snapshot!(in_a_pod(&[], &[], Naming::Otel));
    insta::assert_snapshot!(in_a_pod(&[], &[], Naming::Istio));
}

#[test]
fn annotations_come_before_what_is_found_out_and_the_process_before_them_but_nobody_before_the_cluster() {
    let annotations = [
        ("resource.opentelemetry.io/service.name", "annotated"),
        ("resource.opentelemetry.io/service.version", "annotated"),
        ("resource.opentelemetry.io/team", "blue"),
        ("resource.opentelemetry.io/k8s.pod.name", "another"),
        ("resource.opentelemetry.io/container.id", "another"),
    ];
    let claims = [
        ("service.version", "itself"),
        ("k8s.namespace.name", "another"),
        ("k8s.pod.name", "web-5d4f-x"),
        ("k8s.cluster.color", "green"),
    ];
    insta::assert_snapshot!(in_a_pod(&annotations, &claims, Naming::Otel));
}

#[test]
fn what_is_missing_of_an_identity_is_said() {
    let mut pods = Pods::default();
    let place = Place { pod_uid: Some("uid-pod".to_owned()), ..Place::default() };
    let process = Process { container_id: Some("c".to_owned()), place: Box::new(place), ..process() };
    let lacks = |pods: &Pods| resource("box", Some(&process), pods).lacks;
    assert_eq!(lacks(&pods), None, "nobody is asked");
    pods.set_cluster(&Cluster::default());
    assert_eq!(lacks(&pods), Some(Lack::Pod));
    let container = |name: &str| Container { name: name.to_owned(), ..Container::default() };
    let pod = Pod { uid: "uid-pod".to_owned(), containers: vec![container("a"), container("b")], ..Pod::default() };
    pods.learn(&pod);
    assert_eq!(lacks(&pods), Some(Lack::Container));
    pods.learn(&Pod { containers: vec![container("a")], ..pod });
    assert_eq!(lacks(&pods), None, "there is only one");
}
