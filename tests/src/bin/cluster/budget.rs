//! What the agent asks of the API server, and that neither that nor the agent grows with the pods of other nodes.

use std::collections::BTreeMap;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use wirespan_tests::span::Kind;

use crate::audit::{self, Request};
use crate::bed::{POD_PATIENCE, Pod, poll, until};
use crate::bookinfo::drive;
use crate::life::process;
use crate::report::Check;
use crate::stack::{AGENT, AGENT_LABELS, Stack};

pub(crate) const ALL: &[Check] = &[
    Check {
        name: "an agent starts with five requests at most of each kind that it watches, and lists in pages",
        holds: start,
    },
    Check { name: "5 000 pods and 1 000 Services elsewhere cost the agent nothing", holds: crowd },
];

/// Requests of a kind that is watched, from the start of an agent until it names everything.
const MAX_START_REQUESTS: usize = 5;
/// How much more memory an agent may need beside a crowd.
const MAX_GROWTH_BYTES: f64 = 5.0 * 1024.0 * 1024.0;
/// Requests to Bookinfo after which an agent has what it needs for them.
const WARM_REQUESTS: usize = 30;

/// Namespace of pods that nobody runs.
const CROWD: &str = "crowd";
/// How many, on how many nodes.
const PODS: usize = 5_000;
const NODES: usize = 200;
/// Services beside them.
const SERVICES: usize = 1_000;
/// kubectls that make them at once: each asks 50 times a second at most.
const MAKERS: usize = 8;

fn start(stack: &Stack) {
    let mark = audit::mark(&stack.bed);
    let agent = start_anew(stack);
    warm_up(stack);
    let asked = audit::since(&stack.bed, mark);
    say(stack, &agent, &asked);
    for request in asked.iter().filter(|request| request.verb == "list") {
        assert!(request.target.contains("limit="), "a list without a limit: {request:?}");
    }
    for kind in ["pods", "namespaces"] {
        // Those of an address are look-ups, which have a bound of their own.
        let of_kind = asked.iter().filter(|request| request.kind == kind && !request.target.contains("podIP"));
        let count = of_kind.count();
        assert!((2..=MAX_START_REQUESTS).contains(&count), "{count} requests for {kind}: {asked:#?}");
    }
}

fn crowd(stack: &Stack) {
    let agent = start_anew(stack);
    let alone = warm_up(stack);
    let _crowd = Crowd::gather(stack);
    let mark = audit::mark(&stack.bed);
    let before = bytes(stack, &agent);
    let beside = warm_up(stack);
    let asked = audit::since(&stack.bed, mark);
    let read = bytes(stack, &agent) - before;
    eprintln!(
        "          {} requests, {read} bytes beside the crowd; resident {alone} bytes before, {beside} beside it",
        asked.len()
    );
    assert!(asked.len() < WARM_REQUESTS, "{asked:#?}");
    assert!(beside - alone <= MAX_GROWTH_BYTES, "it grew from {alone} to {beside} bytes");
    // One that begins beside it does not read it either.
    let mark = audit::mark(&stack.bed);
    let agent = start_again(stack, &agent);
    let anew = warm_up(stack);
    let asked = audit::since(&stack.bed, mark);
    say(stack, &agent, &asked);
    eprintln!("          resident {anew} bytes when it begins beside the crowd");
    assert!(anew - alone <= MAX_GROWTH_BYTES, "{anew} bytes, {alone} without the crowd");
}

/// Replaces the agent's pod.
#[track_caller]
fn start_anew(stack: &Stack) -> Pod {
    let before = stack.agent();
    stack.bed.kubectl(&["delete", "pod", "--namespace", AGENT, before.name()]);
    until("the next agent is ready", POD_PATIENCE, || {
        stack.bed.pods(AGENT, AGENT_LABELS).into_iter().find(|pod| pod.uid() != before.uid() && pod.is_ready())
    })
}

/// Starts the agent again in its pod: the controllers that would make another pod may be stopped.
#[track_caller]
fn start_again(stack: &Stack, agent: &Pod) -> Pod {
    let restarts = |pod: &Pod| pod.0.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64);
    let before = restarts(agent);
    let pid = process(agent).and_then(|process| process.file_name()?.to_str()?.parse().ok()).and_then(Pid::from_raw);
    kill_process(pid.expect("it runs"), Signal::TERM).expect("it runs");
    until("the agent runs again", POD_PATIENCE, || {
        let pod = stack.bed.pod(AGENT, agent.name());
        (restarts(&pod) > before && pod.is_ready()).then_some(pod)
    })
}

/// Lets an agent see requests until it names them; how much memory it needs then.
#[track_caller]
fn warm_up(stack: &Stack) -> f64 {
    let numbers: Vec<_> = (0..WARM_REQUESTS).map(|_| drive(stack)).collect();
    for number in numbers {
        stack.spans.request(Kind::Server, &format!("/productpage/{number}"));
    }
    stack.metrics(&stack.agent()).get("process_resident_memory_bytes")
}

#[track_caller]
fn bytes(stack: &Stack, agent: &Pod) -> f64 {
    stack.metrics(agent).sum("wirespan_kubernetes_read_bytes_total")
}

/// Says what a start costs.
#[track_caller]
fn say(stack: &Stack, agent: &Pod, asked: &[Request]) {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for request in asked {
        *counts.entry((&request.verb, &request.kind)).or_default() += 1;
    }
    let counts: Vec<_> = counts.iter().map(|((verb, kind), count)| format!("{count} {verb} {kind}")).collect();
    eprintln!("          a start: {}; {} bytes read", counts.join(", "), bytes(stack, agent));
}

/// Pods and Services that nobody runs; gone when it is dropped.
struct Crowd<'a> {
    stack: &'a Stack,
    controllers: Pid,
}

impl<'a> Crowd<'a> {
    #[track_caller]
    fn gather(stack: &'a Stack) -> Self {
        let bed = &stack.bed;
        bed.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CROWD}}).to_string());
        until("the namespace has its account", POD_PATIENCE, || {
            let account = bed.try_kubectl(&["get", "serviceaccount", "--namespace", CROWD, "default"]);
            account.status.success().then_some(())
        });
        // It would delete pods of nodes that are not there.
        let controllers = bed.daemon("controller-manager");
        kill_process(controllers, Signal::STOP).expect("it runs");
        let crowd = Self { stack, controllers };
        let objects: Vec<Value> = (0..PODS).map(pod).chain((0..SERVICES).map(service)).collect();
        thread::scope(|scope| {
            for (number, part) in objects.chunks(objects.len().div_ceil(MAKERS)).enumerate() {
                let list = json!({"apiVersion": "v1", "kind": "List", "items": part}).to_string();
                scope.spawn(move || bed.create(&format!("crowd-{number}.json"), &list));
            }
        });
        let list = bed.kubectl(&["get", "--raw", &format!("/api/v1/namespaces/{CROWD}/pods?limit=1")]);
        let list: Value = serde_json::from_str(&list).expect("JSON");
        assert_eq!(list["metadata"]["remainingItemCount"], PODS - 1);
        crowd
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        // A collection is deleted by one request each; what is left after a time-out is deleted by the next one.
        for kind in ["pods", "services"] {
            let path = format!("/api/v1/namespaces/{CROWD}/{kind}");
            // What is left goes with its namespace.
            let _ = poll(3 * POD_PATIENCE, || {
                let delete = ["delete", "--raw", &format!("{path}?gracePeriodSeconds=0")];
                let _ = self.stack.bed.try_kubectl(&delete);
                let left = self.stack.bed.try_kubectl(&["get", "--raw", &format!("{path}?limit=1")]).stdout;
                left.contains(r#""items":[]"#).then_some(())
            });
        }
        let _ = kill_process(self.controllers, Signal::CONT);
        let _ = self.stack.bed.try_kubectl(&["delete", "namespace", CROWD, "--wait=false"]);
    }
}

fn pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": format!("pod-{number}"), "namespace": CROWD, "labels": {"app": format!("app-{}", number / 10)}},
        "spec": {
            "nodeName": format!("elsewhere-{}", number % NODES),
            "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "wirespan.local/none:1"}],
        },
    })
}

fn service(number: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": format!("app-{number}"),
            "namespace": CROWD,
            // kube-proxy would make rules for each.
            "labels": {"service.kubernetes.io/service-proxy-name": "nobody"},
        },
        "spec": {"selector": {"app": format!("app-{number}")}, "ports": [{"port": 80}]},
    })
}
