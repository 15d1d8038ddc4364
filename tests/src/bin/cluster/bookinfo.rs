//! Bookinfo: who asked whom, by which Service, and who answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use wirespan_tests::curl;
use wirespan_tests::span::{Kind, Layer, Span, Value, Want, is};

use crate::bed::Pod;
use crate::report::Check;
use crate::stack::{BOOKINFO, Stack};

pub(crate) const ALL: &[Check] = &[
    Check { name: "every request to a part of Bookinfo names the pod that it came to", holds: servers },
    Check {
        name: "every call of Bookinfo names the pod that made it, and the Service that it dialled",
        holds: clients,
    },
];

/// The parts, with who calls them.
const CALLS: &[(&str, &str)] = &[("details", "productpage"), ("reviews", "productpage"), ("ratings", "reviews")];

fn servers(stack: &Stack) {
    let number = drive(stack);
    for service in ["productpage", "details", "reviews"] {
        let span = stack.spans.request(Kind::Server, &format!("/{service}/{number}"));
        is_of(&span, &pod_of(stack, &span), service);
    }
}

fn clients(stack: &Stack) {
    let number = drive(stack);
    for (service, caller) in CALLS.iter().filter(|(service, _)| *service != "ratings") {
        let span = stack.spans.request(Kind::Client, &format!("/{service}/{number}"));
        is_of(&span, &pod_of(stack, &span), caller);
        span.expect([("server.address", is(*service)), ("server.port", is(9080))]);
    }
}

/// Asks the front page once, from the node, and gives the number that all requests for it have.
#[track_caller]
pub(crate) fn drive(stack: &Stack) -> u32 {
    ask(stack.page())
}

/// The same, of a front page whose address is known.
#[track_caller]
pub(crate) fn ask(page: SocketAddr) -> u32 {
    let number = next_number();
    let transfer = curl::curl(&[&format!("http://{page}/productpage/{number}")]);
    assert_eq!((transfer.code, transfer.number("response_code")), (0, 200));
    number
}

/// A number that no request of this cluster has had: one run of the suite may follow another.
pub(crate) fn next_number() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed) + std::process::id() * 1000
}

/// The pod of a span, by the name that it says.
#[track_caller]
pub(crate) fn pod_of(stack: &Stack, span: &Arc<Span>) -> Pod {
    let Some(Value::Str(name)) = span.resource.0.get("k8s.pod.name") else { panic!("no k8s.pod.name on {span}") };
    stack.bed.pod(BOOKINFO, name)
}

/// A span says all of the pod of Bookinfo that it is of.
#[track_caller]
pub(crate) fn is_of(span: &Span, pod: &Pod, app: &str) {
    assert_eq!(span.layer, Layer::L7);
    let version = pod.text("/metadata/labels/version");
    assert_eq!(pod.text("/metadata/labels/app"), app, "{span}");
    span.expect_resource([
        ("k8s.pod.uid", is(pod.uid())),
        ("k8s.pod.ip", is(pod.address())),
        ("k8s.namespace.name", is(BOOKINFO)),
        ("k8s.container.name", is(app)),
        ("k8s.container.restart_count", is(0)),
        ("k8s.deployment.name", is(format!("{app}-{version}"))),
        ("k8s.replicaset.name", is(pod.text("/metadata/ownerReferences/0/name"))),
        ("k8s.node.name", is(pod.text("/spec/nodeName"))),
        ("k8s.node.uid", Want::Present),
        ("k8s.cluster.uid", Want::Present),
        ("service.name", is(format!("{app}-{version}"))),
        ("service.namespace", is(BOOKINFO)),
        ("service.version", is(version)),
        ("service.instance.id", is(format!("{BOOKINFO}.{}.{app}", pod.name()))),
        ("container.image.name", is(format!("wirespan.local/bookinfo-{app}"))),
        ("container.runtime.name", is("containerd")),
    ]);
}
