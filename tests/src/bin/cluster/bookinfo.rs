//! Bookinfo: who asked whom, by which Service, and who answered.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use wirespan_tests::child::Program;
use wirespan_tests::curl;
use wirespan_tests::span::{Kind, Layer, Span, Value, Want, is};

use crate::bed::{Pod, until};
use crate::report::Check;
use crate::stack::{BACKENDS, BOOKINFO, Stack};

pub(crate) const ALL: &[Check] = &[
    Check { name: "every request to a part of Bookinfo names the pod that it came to", holds: servers },
    Check {
        name: "every call of Bookinfo names who made it, the Service that it dialled and the pod that answered",
        holds: clients,
    },
    Check {
        name: "the three versions of reviews are told apart, and v1 alone does not ask for ratings",
        holds: versions,
    },
    Check { name: "a trace of Bookinfo that is read from Tempo goes from the front page to ratings", holds: tempo },
];

/// How many requests are made until each version of reviews has had one: a third of them is for each.
const TRIES: u32 = 60;

/// How long a trace may take until Tempo gives it.
const TEMPO_PATIENCE: Duration = Duration::from_secs(60);

fn servers(stack: &Stack) {
    let number = drive(stack);
    for service in ["productpage", "details", "reviews"] {
        let span = stack.spans.request(Kind::Server, &format!("/{service}/{number}"));
        is_of(&span, &pod_of(stack, &span), service);
    }
}

fn clients(stack: &Stack) {
    let number = drive(stack);
    for service in ["details", "reviews"] {
        called(stack, number, "productpage", service);
    }
}

fn versions(stack: &Stack) {
    let mut seen = BTreeSet::new();
    for _ in 0..TRIES {
        let number = drive(stack);
        let reviews = stack.spans.request(Kind::Server, &format!("/reviews/{number}"));
        let pod = pod_of(stack, &reviews);
        is_of(&reviews, &pod, "reviews");
        let version = pod.text("/metadata/labels/version").to_owned();
        if version == "v1" {
            let path = format!("/ratings/{number}");
            assert!(stack.spans.matching(|span| span.path() == path).is_empty(), "v1 asked for ratings");
        } else {
            called(stack, number, "reviews", "ratings");
        }
        seen.insert(version);
        if seen.len() == 3 {
            return;
        }
    }
    panic!("{TRIES} requests came to {seen:?} only");
}

fn tempo(stack: &Stack) {
    // The first calls of a process are made when it is not known yet how it works.
    for _ in 0..TRIES {
        let number = drive(stack);
        let page = stack.spans.request(Kind::Server, &format!("/productpage/{number}"));
        stack.spans.request(Kind::Server, &format!("/reviews/{number}"));
        let of_trace = |path: &str| {
            let path = format!("{path}/{number}");
            !stack
                .spans
                .matching(|span| span.kind == Kind::Server && span.path() == path && span.trace_id == page.trace_id)
                .is_empty()
        };
        if ["/details", "/reviews", "/ratings"].into_iter().all(of_trace) {
            return is_in_tempo(stack, &page.trace_id);
        }
    }
    panic!("of {TRIES} requests none was one trace up to ratings");
}

/// Reads a trace from Tempo, and finds in it who asked whom.
#[track_caller]
fn is_in_tempo(stack: &Stack, trace: &str) {
    let url = format!("http://{}:3200/api/traces/{trace}", stack.bed.service_address(BACKENDS, "tempo"));
    let expected = [("details-v1", "productpage-v1"), ("ratings-v1", "reviews-v"), ("reviews-v", "productpage-v1")];
    until("the whole trace is in Tempo", TEMPO_PATIENCE, || {
        let answer =
            Program::new("curl").args(["--silent", "--header", "Accept: application/json", &url]).run().well().stdout;
        let Ok(answer) = serde_json::from_str::<serde_json::Value>(&answer) else { return None };
        let spans = in_tempo(&answer);
        // Each is asked by a call of the other.
        let is_there = |(asked, asker): &(&str, &str)| {
            spans.iter().any(|span| {
                let parent = spans.iter().find(|parent| parent.id == span.parent);
                span.service.starts_with(asked) && parent.is_some_and(|parent| parent.service.starts_with(asker))
            })
        };
        expected.iter().all(is_there).then_some(())
    });
}

/// A span as Tempo gives it.
struct Stored {
    id: String,
    parent: String,
    service: String,
}

fn in_tempo(answer: &serde_json::Value) -> Vec<Stored> {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut stored = Vec::new();
    for of_resource in list(&answer["batches"]) {
        let attributes = list(&of_resource["resource"]["attributes"]);
        let service = attributes.iter().find(|attribute| attribute["key"] == "service.name");
        let service = service.map(|attribute| text(&attribute["value"]["stringValue"])).unwrap_or_default();
        for span in list(&of_resource["scopeSpans"]).iter().flat_map(|scope| list(&scope["spans"])) {
            let (id, parent) = (text(&span["spanId"]), text(&span["parentSpanId"]));
            stored.push(Stored { id, parent, service: service.clone() });
        }
    }
    stored
}

/// A call of this request names both its ends.
#[track_caller]
fn called(stack: &Stack, number: u32, caller: &str, service: &str) {
    let path = format!("/{service}/{number}");
    let (client, server) = (stack.spans.request(Kind::Client, &path), stack.spans.request(Kind::Server, &path));
    is_of(&client, &pod_of(stack, &client), caller);
    let pod = pod_of(stack, &server);
    is_of(&server, &pod, service);
    let workload = format!("{service}-{}", pod.text("/metadata/labels/version"));
    client.expect([
        ("server.address", is(service)),
        ("server.port", is(9080)),
        ("peer.service", is(&workload)),
        ("service.peer.name", is(&workload)),
        ("service.peer.namespace", is(BOOKINFO)),
        ("wirespan.peer.k8s.service.name", is(service)),
        ("wirespan.peer.k8s.pod.name", is(pod.name())),
        ("wirespan.peer.k8s.pod.uid", is(pod.uid())),
        ("wirespan.peer.k8s.node.name", is(pod.text("/spec/nodeName"))),
        ("wirespan.peer.k8s.workload.kind", is("Deployment")),
        ("wirespan.peer.k8s.workload.name", is(&workload)),
        ("wirespan.peer.service.version", is(pod.text("/metadata/labels/version"))),
    ]);
    let asker = pod_of(stack, &client);
    server.expect([
        ("wirespan.peer.k8s.pod.name", is(asker.name())),
        ("wirespan.peer.k8s.pod.uid", is(asker.uid())),
        ("wirespan.peer.k8s.namespace.name", is(BOOKINFO)),
    ]);
    assert_eq!((&server.trace_id, &server.parent), (&client.trace_id, &Some(client.span_id.clone())), "{server}");
}

/// Asks the front page once, from the node, and gives the number that all requests for it have.
#[track_caller]
pub(crate) fn drive(stack: &Stack) -> u32 {
    ask(stack.page())
}

/// The same, of a front page whose address is known.
#[track_caller]
pub(crate) fn ask(page: SocketAddr) -> u32 {
    let (number, status) = try_ask(page);
    assert_eq!(status, Some(200));
    number
}

/// The same, whatever the answer is; its status, if there is one.
pub(crate) fn try_ask(page: SocketAddr) -> (u32, Option<i64>) {
    let number = next_number();
    let transfer = curl::curl(&[&format!("http://{page}/productpage/{number}")]);
    (number, (transfer.code == 0).then(|| transfer.number("response_code")))
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
