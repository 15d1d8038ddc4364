//! On a node of a cluster: who pods are, by an API server of ours; cgroups as the kubelet makes them.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value as Json, json};
use wirespan_tests::PATIENCE;
use wirespan_tests::agent::{Agent, Launch};
use wirespan_tests::api_server::ApiServer;
use wirespan_tests::cgroup::Cgroup;
use wirespan_tests::child::Program;
use wirespan_tests::raw::ok;
use wirespan_tests::scrape::Scrape;
use wirespan_tests::span::{Kind, Span, Want, is};
use wirespan_tests::temp::TempDir;
use wirespan_tests::{port, scrape};

const NODE: &str = "node-of-the-test";

/// Ids of a pod and its container, of which no other test has any.
fn ids(number: u8) -> (String, String) {
    let uid = format!("5eed11{number:02x}-1234-4321-8888-0123456789ab");
    let id = format!("5eed{number:02x}9d5a9b4f5c8a1e7d6b2c4f8e9012a3b4c5d6e7f80912233445566778ab");
    (uid, id)
}

fn pod(number: u8) -> Json {
    let (uid, id) = ids(number);
    json!({
        "metadata": {
            "name": "web-5d4f-x", "namespace": "shop", "uid": uid,
            "labels": {"pod-template-hash": "5d4f"},
            "annotations": {"resource.opentelemetry.io/team": "blue"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d4f", "uid": "uid-rs", "controller": true}]
        },
        "spec": {
            "nodeName": NODE,
            "containers": [{"name": "server", "image": "web:7"}, {"name": "beside", "image": "beside:1"}]
        },
        "status": {
            "podIP": "10.244.1.7",
            "containerStatuses": [{"name": "server", "containerID": format!("containerd://{id}"), "restartCount": 2}]
        }
    })
}

fn namespace(trace: Option<&str>) -> Json {
    let annotations = trace.map_or_else(|| json!({}), |trace| json!({"wirespan.io/trace": trace}));
    json!({"metadata": {"name": "shop", "uid": "uid-shop", "annotations": annotations}})
}

/// A cluster that knows the node, and an agent on it.
struct Node {
    server: ApiServer,
    group: Cgroup,
    agent: Agent,
    _files: TempDir,
}

impl Node {
    #[track_caller]
    fn start(number: u8, args: &[&str]) -> Self {
        let (uid, id) = ids(number);
        let server = ApiServer::start();
        server.put("namespaces", namespace(None));
        server.put("namespaces", json!({"metadata": {"name": "kube-system", "uid": "uid-cluster"}}));
        server.put("nodes", json!({"metadata": {"name": NODE, "uid": "uid-node"}}));
        let owner = json!([{"kind": "Deployment", "name": "web", "uid": "uid-web", "controller": true}]);
        server.put("replicasets", json!({"metadata": {"name": "web-5d4f", "uid": "uid-rs", "ownerReferences": owner}}));
        let files = TempDir::new(&format!("kubernetes-{number}"));
        let kubeconfig = files.file("kubeconfig", server.kubeconfig());
        let launch = Launch::new().args(args).env("WIRESPAN_KUBERNETES_KUBECONFIG", &kubeconfig);
        let agent = launch.env("NODE_NAME", NODE).env("WIRESPAN_KUBERNETES_CLUSTER_NAME", "east").start();
        Self { server, group: Cgroup::new(&format!("kubepods/burstable/pod{uid}/{id}")), agent, _files: files }
    }

    /// A request of curl's, in the pod or outside of it.
    #[track_caller]
    fn ask(&self, is_in_pod: bool, path: &str) -> u16 {
        let listener = port::listen(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let port = listener.local_addr().expect("it is bound").port();
        let wrappers = if is_in_pod { self.group.enter() } else { Vec::new() };
        let wrappers: Vec<&str> = wrappers.iter().map(String::as_str).collect();
        let curl = Program::under(&wrappers, "curl").arg("--silent");
        let child = curl.arg(format!("http://127.0.0.1:{port}{path}")).start();
        let (mut stream, _) = listener.accept().expect("somebody connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            seen.extend(byte);
        }
        // Whose pod it is stands in `/proc` no longer than it lives.
        self.agent.fence();
        stream.write_all(ok("x").as_bytes()).expect("the program reads");
        let _ = child.wait().well();
        port
    }

    #[track_caller]
    fn span(&self, path: &str) -> Arc<Span> {
        let port = self.ask(true, path);
        self.agent.request(Kind::Client, port, path)
    }
}

#[test]
fn a_pod_is_named_by_the_cluster_by_an_agent_that_has_given_up_its_rights() {
    let node = Node::start(1, &["--metrics-listen", "127.0.0.1:0"]);
    node.server.put("pods", pod(1));
    let span = node.span("/named");
    span.expect_resource([
        ("service.name", is("web")),
        ("service.namespace", is("shop")),
        ("service.version", is("7")),
        ("service.instance.id", is("shop.web-5d4f-x.server")),
        ("k8s.pod.name", is("web-5d4f-x")),
        ("k8s.pod.uid", is(ids(1).0)),
        ("k8s.pod.ip", is("10.244.1.7")),
        ("k8s.namespace.name", is("shop")),
        ("k8s.deployment.name", is("web")),
        ("k8s.replicaset.uid", is("uid-rs")),
        ("k8s.container.name", is("server")),
        ("k8s.container.restart_count", is(2)),
        ("k8s.node.name", is(NODE)),
        ("k8s.cluster.name", is("east")),
        ("team", is("blue")),
        ("wirespan.k8s.incomplete", Want::Absent),
    ]);
    let asked = node.server.asked();
    let lists = asked
        .iter()
        .filter(|target| ["/api/v1/pods?", "/api/v1/namespaces?"].iter().any(|path| target.starts_with(path)));
    let lists: Vec<_> = lists.filter(|target| !target.contains("watch=true")).collect();
    assert!(lists.len() == 2 && lists.iter().all(|target| target.contains("limit=")), "{asked:?}");
    let of_node = format!("fieldSelector=spec.nodeName%3D{NODE}");
    assert!(asked.iter().filter(|target| target.starts_with("/api/v1/pods")).all(|target| target.contains(&of_node)));
    let Scrape(samples) = scrape::scrape(scrape::address(&node.agent));
    let sample = |name: &str| samples.get(name).copied();
    assert_eq!(sample("wirespan_kubernetes_pods"), Some(1.0));
    assert_eq!(sample("wirespan_kubernetes_requests_total{kind=\"pods\",result=\"ok\"}"), Some(1.0));
    node.agent.stop().ledger.balances();
}

#[test]
fn a_span_waits_for_a_pod_that_is_told_late_but_not_for_ever() {
    let node = Node::start(2, &[]);
    let port = node.ask(true, "/late");
    assert!(node.agent.requests(Kind::Client, port).is_empty());
    node.server.put("pods", pod(2));
    node.agent.request(Kind::Client, port, "/late").expect_resource([("k8s.pod.name", is("web-5d4f-x"))]);
    let other = Node::start(3, &[]);
    let span = other.span("/never");
    span.expect_resource([
        ("k8s.pod.uid", is(ids(3).0)),
        ("wirespan.k8s.incomplete", is("pod")),
        ("k8s.pod.name", Want::Absent),
        ("service.name", is("curl")),
    ]);
    assert!(other.agent.ledger().count("unidentified_spans") > 0);
}

#[test]
fn a_namespace_turns_tracing_of_its_pods_off_and_on_while_the_agent_runs() {
    let node = Node::start(4, &[]);
    node.server.put("pods", pod(4));
    let _ = node.span("/before");
    for (trace, is_wanted) in [(Some("false"), false), (None, true)] {
        node.server.put("namespaces", namespace(trace));
        let since = Instant::now();
        let is_seen = |path: &str| {
            let port = node.ask(true, path);
            // What is told of another program later shows that nothing more is told of this one.
            let outside = node.ask(false, path);
            let _ = node.agent.request(Kind::Client, outside, path);
            node.agent.fence();
            !node.agent.requests(Kind::Client, port).is_empty()
        };
        let mut number = 0;
        while is_seen(&format!("/trace/{number}")) != is_wanted {
            number += 1;
            assert!(since.elapsed() < PATIENCE, "{trace:?} is not obeyed");
        }
    }
    node.agent.stop().ledger.balances();
}
