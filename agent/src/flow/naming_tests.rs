//! In which order names are found.

use super::*;
use crate::flow::kubernetes::Owner;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn owner(kind: &str, name: &str) -> Owner {
    Owner { kind: kind.to_owned(), name: name.to_owned(), uid: None }
}

fn pod() -> Pod {
    Pod { name: "web-5d4f-x".to_owned(), namespace: "shop".to_owned(), ..Pod::default() }
}

fn name(cluster: &Cluster, pod: &Pod) -> String {
    InCluster { cluster, pod }.service().into_owned()
}

#[test]
fn a_service_is_named_by_the_first_that_says_something() {
    let labels = Cluster { well_known_labels: true, ..Cluster::default() };
    let plain = Cluster::default();
    let mut everything = Pod {
        annotations: pairs(&[("resource.opentelemetry.io/service.name", "annotated")]),
        labels: pairs(&[
            ("app.kubernetes.io/instance", "instance"),
            ("app.kubernetes.io/name", "name"),
            ("app", "app"),
        ]),
        owners: vec![owner("ReplicaSet", "web-5d4f"), owner("Deployment", "web")],
        ..pod()
    };
    assert_eq!(name(&labels, &everything), "annotated");
    everything.annotations = pairs(&[("resource.opentelemetry.io/service.name", "")]);
    assert_eq!(name(&labels, &everything), "instance");
    assert_eq!(name(&plain, &everything), "web", "labels only if asked for");
    everything.labels.remove(0);
    assert_eq!(name(&labels, &everything), "name");
    everything.labels.clear();
    for (owners, expect) in [
        (vec![owner("ReplicaSet", "web-5d4f"), owner("Deployment", "web")], "web"),
        (vec![owner("ReplicaSet", "web-5d4f"), owner("Rollout", "web")], "web-5d4f"),
        (vec![owner("StatefulSet", "db")], "db"),
        (vec![owner("DaemonSet", "agent")], "agent"),
        (vec![owner("Job", "nightly-2811"), owner("CronJob", "nightly")], "nightly"),
        (vec![owner("Job", "once")], "once"),
        (vec![owner("Node", "node-1")], "web-5d4f-x"),
        (vec![], "web-5d4f-x"),
    ] {
        everything.owners = owners;
        assert_eq!(name(&labels, &everything), expect);
    }
}

#[test]
fn what_a_process_says_of_itself_comes_first() {
    let (cluster, pod) = (Cluster::default(), pod());
    let place = Some(InCluster { cluster: &cluster, pod: &pod });
    let says = Process { name: "python3".to_owned(), service_name: Some("itself".to_owned()), ..Process::default() };
    let silent = Process { name: "python3".to_owned(), ..Process::default() };
    assert_eq!(service(&says, place), "itself");
    assert_eq!(service(&silent, place), "web-5d4f-x");
    assert_eq!(service(&silent, None), "python3");
}

#[test]
fn istio_names_are_canonical_names_with_namespaces() {
    let cluster = Cluster { naming: Naming::Istio, ..Cluster::default() };
    let names = [("service.istio.io/canonical-name", "canonical"), ("app.kubernetes.io/name", "name"), ("app", "app")];
    let revisions =
        [("service.istio.io/canonical-revision", "r1"), ("app.kubernetes.io/version", "r2"), ("version", "r3")];
    for (first, service, revision) in
        [(0, "canonical.shop", "r1"), (1, "name.shop", "r2"), (2, "app.shop", "r3"), (3, "web.shop", LATEST)]
    {
        let labels = [&names[first..], &revisions[first..]].concat();
        let pod = Pod { labels: pairs(&labels), owners: vec![owner("Deployment", "web")], ..pod() };
        let place = InCluster { cluster: &cluster, pod: &pod };
        assert_eq!((&*place.service(), place.canonical_revision()), (service, revision));
        assert_eq!(place.version(None).as_deref(), Some(revision).filter(|&revision| revision != LATEST));
    }
}

#[test]
fn a_version_is_said_or_that_of_the_image() {
    let labels = Cluster { well_known_labels: true, ..Cluster::default() };
    let container = |image: &str| Container { image: Some(image.to_owned()), ..Container::default() };
    let version = |pod: &Pod, image: &str| {
        let container = container(image);
        InCluster { cluster: &labels, pod }.version(Some(&container)).map(Cow::into_owned)
    };
    let digest = "sha256:0123";
    for (image, expect) in [
        ("nginx", None),
        ("nginx:1.25", Some("1.25")),
        ("registry:5000/nginx", None),
        ("registry:5000/nginx:1.25", Some("1.25")),
        ("nginx@sha256:0123", Some(digest)),
        ("registry:5000/a/nginx:1.25@sha256:0123", Some("1.25@sha256:0123")),
    ] {
        assert_eq!(version(&pod(), image).as_deref(), expect, "{image}");
    }
    let labelled = Pod { labels: pairs(&[("app.kubernetes.io/version", "7")]), ..pod() };
    assert_eq!(version(&labelled, "nginx:1.25").as_deref(), Some("7"));
    let annotated = Pod { annotations: pairs(&[("resource.opentelemetry.io/service.version", "8")]), ..labelled };
    assert_eq!(version(&annotated, "nginx:1.25").as_deref(), Some("8"));
    assert_eq!(InCluster { cluster: &labels, pod: &pod() }.version(None), None);
}

#[test]
fn an_instance_is_a_container_of_a_pod() {
    let (cluster, plain) = (Cluster::default(), pod());
    let container = Container { name: "server".to_owned(), ..Container::default() };
    let place = InCluster { cluster: &cluster, pod: &plain };
    assert_eq!(place.instance(Some(&container)).as_deref(), Some("shop.web-5d4f-x.server"));
    assert_eq!(place.instance(None), None);
    assert_eq!(place.namespace(), "shop");
    let annotated = Pod {
        annotations: pairs(&[
            ("resource.opentelemetry.io/service.instance.id", "one"),
            ("resource.opentelemetry.io/service.namespace", "store"),
        ]),
        ..pod()
    };
    let place = InCluster { cluster: &cluster, pod: &annotated };
    assert_eq!((place.instance(None).as_deref(), place.namespace()), (Some("one"), "store"));
}

#[test]
fn an_image_is_taken_apart() {
    for (reference, name, tag, digest) in [
        ("nginx", "nginx", None, None),
        ("a:5000/b/nginx:1@sha256:0", "a:5000/b/nginx", Some("1"), Some("sha256:0")),
        ("", "", None, None),
        (":@", "", Some(""), Some("")),
    ] {
        assert_eq!(Image::parse(reference), Image { name, tag, digest }, "{reference}");
    }
}
