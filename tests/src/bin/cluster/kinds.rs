//! Pods of every kind, and what ends or changes in the middle of a request.

use std::sync::{Arc, Once};

use wirespan_tests::curl;
use wirespan_tests::span::{Kind, Span, Want, is};

use crate::bed::{POD_PATIENCE, Pod, until};
use crate::report::Check;
use crate::stack::Stack;

pub(crate) const ALL: &[Check] = &[
    Check { name: "a Job, and one that a CronJob makes, are named though they end at once", holds: jobs },
    Check { name: "a StatefulSet and a DaemonSet are named", holds: sets },
    Check { name: "two containers of a pod are told apart", holds: two_containers },
    Check { name: "a container that runs before the others is named", holds: init_container },
    Check { name: "a container that is added to a running pod is named", holds: ephemeral_container },
    Check { name: "a pod on the node's network is known by its container, not by its address", holds: host_network },
    Check { name: "a pod that crashes again and again is named each time", holds: crashing },
    Check { name: "annotations overrule what a pod is called", holds: annotated },
    Check {
        name: "a request that is cut off by the end of its pod is told by both sides with their names",
        holds: deleted,
    },
];

/// Their namespace.
const NAMESPACE: &str = "kinds";

/// Their image.
const PEER: &str = "wirespan.local/bookinfo-peer:1";

fn jobs(stack: &Stack) {
    pods(stack);
    let span = asked(stack, "/details/job");
    span.expect_resource([
        ("k8s.job.name", is("once")),
        ("k8s.cronjob.name", Want::Absent),
        ("k8s.container.name", is("works")),
        ("service.name", is("once")),
    ]);
    stack.bed.kubectl(&["create", "job", "--namespace", NAMESPACE, "--from=cronjob/yearly", "now"]);
    let span = asked(stack, "/details/cronjob");
    span.expect_resource([
        ("k8s.job.name", is("now")),
        ("k8s.cronjob.name", is("yearly")),
        ("service.name", is("yearly")),
    ]);
}

fn sets(stack: &Stack) {
    pods(stack);
    let pod = ready(stack, "stateful");
    let span = asks(&pod, 8004, "/stateful", stack);
    span.expect_resource([
        ("k8s.statefulset.name", is("stateful")),
        ("k8s.pod.name", is("stateful-0")),
        ("k8s.pod.uid", is(pod.uid())),
        ("service.name", is("stateful")),
    ]);
    let pod = ready(stack, "everywhere");
    let span = asks(&pod, 8005, "/everywhere", stack);
    span.expect_resource([("k8s.daemonset.name", is("everywhere")), ("k8s.pod.name", is(pod.name()))]);
}

fn two_containers(stack: &Stack) {
    pods(stack);
    let pod = ready(stack, "two");
    for (name, port) in [("left", 8001), ("right", 8002)] {
        let span = asks(&pod, port, &format!("/two/{name}"), stack);
        span.expect_resource([
            ("k8s.pod.uid", is(pod.uid())),
            ("k8s.container.name", is(name)),
            ("service.instance.id", is(format!("{NAMESPACE}.two.{name}"))),
        ]);
    }
}

fn init_container(stack: &Stack) {
    pods(stack);
    let span = asked(stack, "/details/init");
    span.expect_resource([("k8s.pod.name", is("early")), ("k8s.container.name", is("first"))]);
}

fn ephemeral_container(stack: &Stack) {
    pods(stack);
    let pod = ready(stack, "early");
    stack.bed.kubectl(&[
        "debug",
        "--namespace",
        NAMESPACE,
        "early",
        &format!("--image={PEER}"),
        "--container=added",
        "--",
        "/usr/bin/python3",
        "/app/peer.py",
        "ask",
        "http://details.bookinfo:9080/details/added",
    ]);
    let span = asked(stack, "/details/added");
    span.expect_resource([("k8s.pod.uid", is(pod.uid())), ("k8s.container.name", is("added"))]);
}

fn host_network(stack: &Stack) {
    pods(stack);
    let pod = ready(stack, "hostnet");
    let span = asks(&pod, 18099, "/outside", stack);
    span.expect_resource([
        ("k8s.pod.name", is("hostnet")),
        ("k8s.pod.uid", is(pod.uid())),
        ("k8s.container.name", is("outside")),
    ]);
    // Whoever asked has the same address, and is no pod.
    let client = stack.spans.request(Kind::Client, "/outside");
    client.expect_resource([("k8s.pod.name", Want::Absent), ("process.executable.name", is("curl"))]);
}

fn crashing(stack: &Stack) {
    pods(stack);
    for restarts in [0, 1, 2] {
        let span = stack.spans.one(&format!("the request of start {restarts}"), |span| {
            span.kind == Kind::Client
                && span.path() == "/details/crash"
                && span.resource.differences([("k8s.container.restart_count", is(restarts))]).is_empty()
        });
        span.expect_resource([
            ("k8s.deployment.name", is("crashing")),
            ("k8s.container.name", is("crashes")),
            ("service.name", is("crashing")),
        ]);
    }
}

fn annotated(stack: &Stack) {
    pods(stack);
    let pod = ready(stack, "annotated");
    asks(&pod, 8006, "/annotated", stack).expect_resource([
        ("service.name", is("shop")),
        ("service.version", is("7")),
        ("team", is("blue")),
        ("k8s.pod.name", is("annotated")),
    ]);
}

fn deleted(stack: &Stack) {
    pods(stack);
    let server = serves(stack, "held", 8007);
    let path = "/hold/deleted";
    run(stack, "holds", &["ask", &format!("http://{}:8007{path}", server.address())]);
    until("the request has come", POD_PATIENCE, || {
        let log = stack.bed.kubectl(&["logs", "--namespace", NAMESPACE, "held"]);
        log.contains(path).then_some(())
    });
    let client = stack.bed.pod(NAMESPACE, "holds");
    stack.bed.kubectl(&["delete", "pod", "--namespace", NAMESPACE, "--grace-period=0", "--force", "held"]);
    let span = stack.spans.request(Kind::Server, path);
    span.expect_resource([("k8s.pod.name", is("held")), ("k8s.pod.uid", is(server.uid()))]);
    span.expect([("error.type", Want::Present), ("http.response.status_code", Want::Absent)]);
    let span = stack.spans.request(Kind::Client, path);
    span.expect_resource([("k8s.pod.name", is("holds")), ("k8s.pod.uid", is(client.uid()))]);
    span.expect([("error.type", Want::Present)]);
}

/// Makes them all, once.
#[track_caller]
fn pods(stack: &Stack) {
    static MADE: Once = Once::new();
    MADE.call_once(|| {
        // Those of an earlier run have had their requests.
        stack.bed.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found"]);
        stack.bed.apply(include_str!("../../../cluster/kinds.yaml"));
    });
}

/// A pod of one of the manifest's workloads, when it is ready.
#[track_caller]
fn ready(stack: &Stack, app: &str) -> Pod {
    stack.bed.wait_ready(NAMESPACE, &format!("app={app}")).remove(0)
}

/// Starts a pod with the peer.
#[track_caller]
fn run(stack: &Stack, name: &str, words: &[&str]) {
    let (image, label) = (format!("--image={PEER}"), format!("--labels=app={name}"));
    stack
        .bed
        .kubectl(&[&["run", "--namespace", NAMESPACE, name, &image, &label, "--restart=Never", "--"], words].concat());
}

/// Starts a pod that serves on a port, and waits until it does.
#[track_caller]
fn serves(stack: &Stack, name: &str, port: u16) -> Pod {
    run(stack, name, &["serve", &port.to_string()]);
    let pod = ready(stack, name);
    until(&format!("{name} answers"), POD_PATIENCE, || (curl::curl(&[&url(&pod, port, "/")]).code == 0).then_some(()));
    pod
}

/// The client's span of a request that a pod makes by itself.
#[track_caller]
fn asked(stack: &Stack, path: &str) -> Arc<Span> {
    // Its pod has to be started first.
    stack.spans.one_within(POD_PATIENCE, &format!("what a pod asks for by itself: {path}"), |span| {
        span.kind == Kind::Client && span.path() == path
    })
}

/// Asks a pod from the node; the server's span.
#[track_caller]
fn asks(pod: &Pod, port: u16, path: &str, stack: &Stack) -> Arc<Span> {
    let transfer = curl::curl(&[&url(pod, port, path)]);
    assert_eq!((transfer.code, transfer.number("response_code")), (0, 200));
    stack.spans.request(Kind::Server, path)
}

fn url(pod: &Pod, port: u16, path: &str) -> String {
    format!("http://{}:{port}{path}", pod.address())
}
