//! What is told when all is well.

use super::*;
use crate::k8s::check;
use crate::k8s::tally::{Ending, Kind};

fn of_pods(pods: impl IntoIterator<Item = Value>) -> Server {
    let server = Server::with([
        ("namespaces", namespace("kube-system", None)),
        ("namespaces", namespace("shop", None)),
        ("namespaces", namespace("quiet", Some("false"))),
        ("nodes", json!({"metadata": {"name": NODE, "uid": "uid-node"}})),
        (
            "replicasets",
            json!({"metadata": {"name": "web-5d4f", "uid": "uid-web-5d4f", "ownerReferences": [
                {"kind": "Deployment", "name": "web", "uid": "uid-web", "controller": true}]}}),
        ),
    ]);
    pods.into_iter().for_each(|pod| server.put("pods", pod));
    server
}

#[tokio::test(start_paused = true)]
async fn pods_of_this_node_are_told_with_their_owners_and_the_cluster() {
    let mut elsewhere = pod("other", "shop");
    elsewhere["spec"]["nodeName"] = json!("node-2");
    let mut kept = Kept::start(of_pods([pod("web-1", "shop"), pod("hidden", "quiet"), elsewhere]));
    kept.after(1.0).await;
    let web = kept.pod("web-1").expect("it is told");
    let owners: Vec<_> = web.owners.iter().map(|owner| (owner.name.as_str(), owner.uid.as_deref())).collect();
    assert_eq!(owners, [("web-5d4f", Some("uid-web-5d4f")), ("web", Some("uid-web"))]);
    assert!(!web.opted_out && kept.pod("hidden").expect("it is told").opted_out);
    assert!(kept.pod("other").is_none());
    let cluster = kept.told.iter().rev().find_map(|fact| match fact {
        Fact::Cluster(cluster) => Some(cluster),
        _ => None,
    });
    let cluster = cluster.expect("it is told");
    assert_eq!((cluster.uid.as_deref(), cluster.node_uid.as_deref()), (Some("uid-kube-system"), Some("uid-node")));
    // A list and a watch of each kind, and one question for the one ReplicaSet.
    for (kind, number) in [("pods", 2), ("namespaces", 2), ("nodes", 1), ("replicasets", 1), ("services", 0)] {
        assert_eq!(kept.server.asked(kind).len(), number, "{kind}");
    }
    assert_eq!(kept.tally.requests(Kind::Pods, Ending::Ok), 1);
    assert!(kept.tally.bytes(Kind::Pods) > 500);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_lives_for_three_seconds_is_told_and_kept_for_a_minute() {
    let mut kept = Kept::start(of_pods([]));
    kept.after(1.0).await;
    kept.server.put("pods", pod("brief", "shop"));
    kept.after(0.2).await;
    assert!(kept.pod("brief").is_some(), "at once");
    kept.server.remove("pods", "brief");
    kept.after(55.0).await;
    assert!(!kept.is_gone("brief"));
    kept.after(10.0).await;
    assert!(kept.is_gone("brief"));
}

#[tokio::test(start_paused = true)]
async fn what_came_and_went_in_one_breath_is_told_too() {
    let mut kept = Kept::start(of_pods([]));
    kept.after(1.0).await;
    kept.server.say("pods", &json!({"type": "DELETED", "object": pod("breath", "shop")}).to_string());
    kept.after(0.2).await;
    assert!(kept.pod("breath").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_a_pod_and_its_namespace_say_of_tracing_is_obeyed_while_it_runs() {
    let mut kept = Kept::start(of_pods([pod("web-1", "shop")]));
    kept.after(1.0).await;
    let opted_out = |kept: &Kept| kept.pod("web-1").expect("it is told").opted_out;
    assert!(!opted_out(&kept));
    kept.server.put("namespaces", namespace("shop", Some("false")));
    kept.after(0.2).await;
    assert!(opted_out(&kept), "its namespace says so");
    let mut insists = pod("web-1", "shop");
    insists["metadata"]["annotations"] = json!({"wirespan.io/trace": "true"});
    kept.server.put("pods", insists);
    kept.after(0.2).await;
    assert!(!opted_out(&kept), "it knows better");
    let mut refuses = pod("web-1", "shop");
    refuses["metadata"]["labels"]["wirespan.io/trace"] = json!("false");
    kept.server.put("pods", refuses);
    kept.server.put("namespaces", namespace("shop", None));
    kept.after(0.2).await;
    assert!(opted_out(&kept));
}

#[tokio::test(start_paused = true)]
async fn what_changes_nothing_is_not_told() {
    let mut kept = Kept::start(of_pods([pod("web-1", "shop")]));
    kept.after(1.0).await;
    let told = kept.told.len();
    for round in 0..10 {
        let mut same = pod("web-1", "shop");
        same["status"]["conditions"] = json!([{"type": "Ready", "lastProbeTime": round}]);
        kept.server.put("pods", same);
    }
    kept.after(200.0).await;
    assert_eq!(kept.told.len(), told);
}

#[tokio::test(start_paused = true)]
async fn a_long_list_comes_in_pages() {
    let server = of_pods((0..450).map(|number| pod(&format!("web-{number}"), "shop")));
    let mut kept = Kept::start(server);
    kept.after(1.0).await;
    assert!((0..450).all(|number| kept.pod(&format!("web-{number}")).is_some()));
    let lists: Vec<String> = kept.server.asked("pods").into_iter().filter(|asked| !asked.contains("watch")).collect();
    assert_eq!(lists.len(), 3);
    assert!(lists.iter().all(|asked| asked.contains("limit=200") && asked.contains("spec.nodeName%3Dnode-1")));
    assert_eq!(lists.iter().filter(|asked| asked.contains("continue=")).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_told_when_it_is_known_whose_it_is_or_can_no_longer_be_waited_for() {
    let job = |name: &str| {
        let mut job = pod(name, "shop");
        job["metadata"]["labels"] = json!({});
        job["metadata"]["ownerReferences"] =
            json!([{"kind": "Job", "name": "nightly-1", "uid": "j", "controller": true}]);
        job
    };
    let server = of_pods([job("known")]);
    server.put(
        "jobs",
        json!({"metadata": {"name": "nightly-1", "uid": "j", "ownerReferences": [
            {"kind": "CronJob", "name": "nightly", "uid": "c", "controller": true}]}}),
    );
    let mut kept = Kept::start(server);
    kept.after(1.0).await;
    let first = kept.told.iter().find_map(|fact| match fact {
        Fact::Pod(pod) => Some(pod),
        _ => None,
    });
    assert_eq!(first.expect("it is told").owners.last().map(|owner| owner.name.as_str()), Some("nightly"));
    let server = of_pods([job("unknown")]);
    server.trouble("jobs", Some(server::Trouble::Silent));
    let mut kept = Kept::start(server);
    kept.after(0.3).await;
    assert!(kept.pod("unknown").is_none());
    kept.after(1.0).await;
    assert_eq!(kept.pod("unknown").expect("it is told").owners.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn addresses_are_told_apart() {
    let server = of_pods([pod("web-1", "shop")]);
    let mut elsewhere = pod("far", "shop");
    elsewhere["spec"]["nodeName"] = json!("node-2");
    elsewhere["status"]["podIP"] = json!("10.244.2.9");
    server.put("pods", elsewhere.clone());
    let mut over = elsewhere;
    over["metadata"]["name"] = json!("over");
    over["status"]["phase"] = json!("Succeeded");
    server.put("pods", over);
    let mut of_node = pod("proxy", "kube-system");
    of_node["spec"]["hostNetwork"] = json!(true);
    of_node["spec"]["nodeName"] = json!("node-3");
    of_node["status"]["podIP"] = json!("192.168.0.3");
    server.put("pods", of_node);
    server.put(
        "services",
        json!({"metadata": {"name": "front", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.9"}}),
    );
    let mut kept = Kept::start(server);
    kept.after(1.0).await;
    for address in ["10.244.2.9", "10.96.0.9", "192.168.0.3", "10.244.7.7"] {
        kept.ask(address).await;
    }
    let Some(Some(Party::Pod(far))) = kept.party("10.244.2.9") else { panic!("it is a pod") };
    assert_eq!((far.name.as_str(), far.owners.last().map(|owner| owner.name.as_str())), ("far", Some("web")));
    let Some(Some(Party::Service { name, namespace })) = kept.party("10.96.0.9") else { panic!("it is a Service") };
    assert_eq!((name.as_str(), namespace.as_str()), ("front", "shop"));
    assert!(matches!((kept.party("192.168.0.3"), kept.party("10.244.7.7")), (Some(None), Some(None))));
}

#[tokio::test(start_paused = true)]
async fn whether_a_pod_still_has_its_address_is_asked_by_its_node() {
    let server = of_pods([]);
    let far = |name: &str, node: &str| {
        let mut far = pod(name, "shop");
        far["spec"]["nodeName"] = json!(node);
        far["status"]["podIP"] = json!("10.244.2.9");
        far
    };
    server.put("pods", far("far", "node-2"));
    let mut kept = Kept::start(server);
    kept.after(1.0).await;
    let by_address = |kept: &Kept| {
        let asked = kept.server.asked("pods").into_iter().filter(|target| target.contains("podIP"));
        asked.map(|target| target.contains("nodeName%3Dnode-2%2C")).collect::<Vec<_>>()
    };
    let name = |kept: &Kept| match kept.party("10.244.2.9") {
        Some(Some(Party::Pod(pod))) => pod.name.clone(),
        other => panic!("it is a pod: {other:?}"),
    };
    for by_node in [false, true] {
        kept.ask("10.244.2.9").await;
        assert_eq!((name(&kept), by_address(&kept)), ("far".to_owned(), vec![by_node]));
    }
    // The address is another's, on another node.
    kept.server.remove("pods", "far");
    kept.server.put("pods", far("next", "node-3"));
    kept.ask("10.244.2.9").await;
    assert_eq!((name(&kept), by_address(&kept)), ("next".to_owned(), vec![true, false]));
}

#[tokio::test(start_paused = true)]
async fn what_may_be_asked_is_found_out() {
    let server = of_pods([]);
    let api = Api::new(client(&server), Arc::default());
    assert!(check::findings(&api, NODE).await.iter().all(|finding| finding.problem.is_none()));
    server.trouble("services", Some(server::Trouble::Status(403)));
    let findings = check::findings(&api, "node-9").await;
    let problems: Vec<_> =
        findings.iter().filter_map(|finding| Some((finding.kind, finding.problem.as_deref()?))).collect();
    assert_eq!(
        problems,
        [("services", "not allowed: HTTP 403 Forbidden: trouble"), ("nodes", "no node is called `node-9`")]
    );
    server.trouble("pods", Some(server::Trouble::Status(500)));
    assert_eq!(check::findings(&api, NODE).await.len(), 1, "one answer of that kind is enough");
}
