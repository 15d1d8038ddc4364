//! What is done to the agent and to the API server while Bookinfo is in use, and what pods ask of the agent at run time.

use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use wirespan_tests::span::{Kind, Want, is};

use crate::bed::{POD_PATIENCE, until};
use crate::bookinfo::{ask, drive, is_of, pod_of, try_ask};
use crate::kept::KeptConnection;
use crate::report::Check;
use crate::stack::{AGENT, AGENT_LABELS, BOOKINFO, Stack};

pub(crate) const ALL: &[Check] = &[
    Check {
        name: "a pod that asks not to be traced is not, from then on, until it asks for it again",
        holds: opted_out,
    },
    Check { name: "an agent that is killed costs no request, and the next one knows the connections", holds: killed },
    Check { name: "an API server that is gone for a minute costs no name", holds: api_server_gone },
    Check { name: "an agent that may ask nothing goes on, and knows the pods again when it may", holds: not_allowed },
];

/// How long the API server is gone.
const GONE: Duration = Duration::from_secs(60);

/// How long a change of a pod's annotations may take until it holds in the kernel.
const CHANGE_PATIENCE: Duration = Duration::from_secs(30);

fn opted_out(stack: &Stack) {
    let details = stack.bed.wait_ready(BOOKINFO, "app=details").remove(0);
    let annotate = |value: &str| {
        stack.bed.kubectl(&["annotate", "pod", "--namespace", BOOKINFO, details.name(), "--overwrite", value]);
    };
    let is_told = |number: u32| {
        // The page's own span is the last of the request's: those of details would have come before.
        stack.spans.request(Kind::Server, &format!("/productpage/{number}"));
        let path = format!("/details/{number}");
        !stack.spans.matching(|span| span.kind == Kind::Server && span.path() == path).is_empty()
    };
    assert!(is_told(drive(stack)), "details is not traced before");
    annotate("wirespan.io/trace=false");
    until("details is not traced any more", CHANGE_PATIENCE, || (!is_told(drive(stack))).then_some(()));
    annotate("wirespan.io/trace=true");
    until("details is traced again", CHANGE_PATIENCE, || is_told(drive(stack)).then_some(()));
}

fn killed(stack: &Stack) {
    let before = stack.agent();
    let kept = KeptConnection::open(stack);
    let number = kept.ask();
    stack.spans.request(Kind::Server, &format!("/productpage/{number}"));
    stack.bed.kubectl(&["delete", "pod", "--namespace", AGENT, "--grace-period=0", "--force", before.name()]);
    // Every answer in between must be one.
    until("the next agent is ready", POD_PATIENCE, || {
        kept.ask();
        let pods = stack.bed.pods(AGENT, AGENT_LABELS);
        pods.iter().any(|pod| pod.uid() != before.uid() && pod.is_ready()).then_some(())
    });
    let number = kept.ask();
    let span = stack.spans.request(Kind::Server, &format!("/productpage/{number}"));
    is_of(&span, &pod_of(stack, &span), "productpage");
}

fn api_server_gone(stack: &Stack) {
    kill_process(stack.bed.daemon("apiserver"), Signal::KILL).expect("it runs");
    let begin = Instant::now();
    while begin.elapsed() < GONE {
        // It can't be asked who has which name: the span must tell by itself.
        let number = ask(stack.page());
        let span = stack.spans.request(Kind::Server, &format!("/productpage/{number}"));
        span.expect_resource([("service.name", is("productpage-v1")), ("k8s.namespace.name", is(BOOKINFO))]);
    }
    stack.bed.up();
    // The watch goes on: a pod that is made now is known.
    stack.bed.kubectl(&["delete", "pods", "--namespace", BOOKINFO, "--selector=app=details"]);
    stack.bed.wait_ready(BOOKINFO, "app=details");
    // kube-proxy, too, has to find the API server again before it knows the new pod. The agent asks within half a minute: what came
    // before is known by the pod's uid alone.
    let span = until("the new pod is known", POD_PATIENCE, || {
        let (number, status) = try_ask(stack.page());
        if status != Some(200) {
            return None;
        }
        let span = stack.spans.request(Kind::Server, &format!("/details/{number}"));
        span.resource.differences([("k8s.pod.name", Want::Present)]).is_empty().then_some(span)
    });
    is_of(&span, &pod_of(stack, &span), "details");
}

fn not_allowed(stack: &Stack) {
    stack.bed.kubectl(&["delete", "clusterrolebinding", "--selector=app.kubernetes.io/name=wirespan"]);
    let agent = stack.agent();
    stack.bed.kubectl(&["delete", "pod", "--namespace", AGENT, agent.name()]);
    until("an agent that may ask nothing is ready", POD_PATIENCE, || {
        stack.bed.pods(AGENT, AGENT_LABELS).iter().any(|pod| pod.uid() != agent.uid() && pod.is_ready()).then_some(())
    });
    let number = drive(stack);
    let span = stack.spans.request(Kind::Server, &format!("/productpage/{number}"));
    span.expect_resource([("k8s.pod.uid", is(stack.bed.wait_ready(BOOKINFO, "app=productpage")[0].uid()))]);
    stack.install_agent(&[]);
    // What was refused is asked again after a minute or more.
    until("the pods are known again", POD_PATIENCE + GONE, || {
        let number = drive(stack);
        let span = stack.spans.request(Kind::Server, &format!("/productpage/{number}"));
        span.resource.differences([("service.name", is("productpage-v1"))]).is_empty().then_some(())
    });
}
