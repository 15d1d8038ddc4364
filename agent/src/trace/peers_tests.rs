//! Who is said to be at the other end.

use super::*;
use crate::flow::kubernetes::{Cluster, Owner};
use crate::trace::span::Value;

const POD: &str = "10.1.0.7";
const SERVICE: &str = "10.96.0.10";
const SECOND: u64 = 1_000_000_000;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn pod(name: &str, address: &str) -> Pod {
    Pod {
        uid: format!("uid-{name}"),
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        node: Some("node-2".to_owned()),
        addresses: vec![ip(address)],
        owners: vec![Owner { kind: "Deployment".to_owned(), name: "web".to_owned(), uid: None }],
        ..Pod::default()
    }
}

fn told(address: &str, party: Option<Party>) -> Address {
    Address { address: ip(address), party, valid_ns: 60 * SECOND }
}

fn service() -> Party {
    Party::Service { name: "front".to_owned(), namespace: "shop".to_owned() }
}

fn world(naming: Naming) -> (Pods, Peers) {
    let mut pods = Pods::default();
    pods.set_cluster(&Cluster { naming, peers: true, ..Cluster::default() });
    (pods, Peers::default())
}

fn said(found: &Found, role: Role, pods: &Pods) -> Vec<String> {
    let text = |attribute: &Attribute| match &attribute.value {
        Value::Str(text) => format!("{}={text}", attribute.key),
        other => format!("{}={other:?}", attribute.key),
    };
    found.attributes(role, pods).iter().map(text).collect()
}

fn ask(question: &Question, pods: &Pods, peers: &mut Peers) -> Found {
    let mut found = Found::default();
    found.look_up(question, pods, peers, Nanos(SECOND));
    found
}

#[test]
fn an_address_is_asked_for_once_and_believed_for_a_time() {
    let mut peers = Peers::default();
    assert!(matches!(peers.find(ip(POD), Nanos(1)), Answer::Asked));
    assert!(matches!(peers.find(ip(POD), Nanos(2)), Answer::Asked));
    let mut asks = Vec::new();
    peers.take_asks(&mut asks);
    assert_eq!(asks, [ip(POD)]);
    peers.learn(Nanos(3), &told(POD, Some(Party::Pod(Box::new(pod("web-1", POD))))));
    assert!(matches!(peers.find(ip(POD), Nanos(29 * SECOND)), Answer::Told(Some(_))));
    peers.take_asks(&mut asks);
    assert_eq!(asks.len(), 1);
    for _ in 0..2 {
        assert!(matches!(peers.find(ip(POD), Nanos(31 * SECOND)), Answer::Told(Some(_))));
    }
    peers.take_asks(&mut asks);
    assert_eq!(asks.len(), 2, "it is asked for while it is believed");
    assert!(matches!(peers.find(ip(POD), Nanos(61 * SECOND)), Answer::Asked), "it is believed no longer");
    peers.take_asks(&mut asks);
    assert_eq!(asks.len(), 3);
    assert!(matches!(peers.find(ip(POD), Nanos(61 * SECOND + ASK_AGAIN_NS)), Answer::Asked));
    peers.take_asks(&mut asks);
    assert_eq!(asks.len(), 4, "nobody answered");
}

#[test]
fn a_service_and_nobody_stay_until_something_else_is_known() {
    let mut peers = Peers::default();
    peers.learn(Nanos(1), &told(SERVICE, Some(service())));
    peers.learn(Nanos(1), &told(POD, None));
    let mut asks = Vec::new();
    for minutes in 2..5 {
        let now = Nanos(minutes * 60 * SECOND);
        assert!(matches!(peers.find(ip(SERVICE), now), Answer::Told(Some(_))));
        assert!(matches!(peers.find(ip(POD), now), Answer::Told(None)));
        peers.take_asks(&mut asks);
    }
    assert_eq!(asks.len(), 6, "they are asked for each time");
}

#[test]
fn addresses_of_no_cluster_are_not_asked_for() {
    let mut peers = Peers::default();
    for address in ["127.0.0.1", "8.8.8.8", "169.254.1.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "2001:db8::1"] {
        assert!(matches!(peers.find(ip(address), Nanos(1)), Answer::Told(None)), "{address}");
    }
    for address in ["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fd00::1"] {
        assert!(matches!(peers.find(ip(address), Nanos(1)), Answer::Asked), "{address}");
    }
}

#[test]
fn as_many_addresses_are_kept_as_there_is_room_for() {
    let mut peers = Peers::default();
    for number in 0..2 * MAX_ADDRESSES as u32 {
        let address = IpAddr::V4((0x0a00_0000 + number).into());
        peers.learn(Nanos(1), &Address { address, party: None, valid_ns: 1 });
    }
    assert_eq!((peers.len(), peers.order.len()), (MAX_ADDRESSES, MAX_ADDRESSES));
    let mut asks = Vec::new();
    for number in 0..2 * MAX_ASKS as u32 {
        peers.find(IpAddr::V4((0x0a80_0000 + number).into()), Nanos(1));
    }
    peers.take_asks(&mut asks);
    assert!(asks.len() <= MAX_ASKS);
}

#[test]
fn a_client_says_which_service_it_dialled_and_which_pod_answered() {
    let (pods, mut peers) = world(Naming::Otel);
    peers.learn(Nanos(1), &told(SERVICE, Some(service())));
    peers.learn(Nanos(1), &told(POD, Some(Party::Pod(Box::new(pod("web-1", POD))))));
    let question = Question { role: Role::Client, address: ip(SERVICE), behind: Some(ip(POD)) };
    let found = ask(&question, &pods, &mut peers);
    assert!(!found.is_open);
    assert_eq!(
        said(&found, Role::Client, &pods),
        [
            "peer.service=web",
            "service.peer.name=web",
            "service.peer.namespace=shop",
            "wirespan.peer.k8s.service.name=front",
            "wirespan.peer.k8s.namespace.name=shop",
            "wirespan.peer.k8s.pod.name=web-1",
            "wirespan.peer.k8s.pod.uid=uid-web-1",
            "wirespan.peer.k8s.node.name=node-2",
            "wirespan.peer.k8s.workload.kind=Deployment",
            "wirespan.peer.k8s.workload.name=web",
            "wirespan.peer.method=address",
        ]
    );
}

#[test]
fn where_the_pod_is_not_known_the_service_stands_for_it() {
    for (naming, name) in [(Naming::Otel, "front"), (Naming::Istio, "front.shop")] {
        let (pods, mut peers) = world(naming);
        peers.learn(Nanos(1), &told(SERVICE, Some(service())));
        let question = Question { role: Role::Client, address: ip(SERVICE), behind: None };
        let said = said(&ask(&question, &pods, &mut peers), Role::Client, &pods);
        assert!(said.contains(&format!("peer.service={name}")), "{said:?}");
        assert!(said.contains(&"wirespan.peer.k8s.service.name=front".to_owned()), "{said:?}");
    }
}

#[test]
fn a_server_says_who_called_it_and_not_by_the_name_for_graphs() {
    let (mut pods, mut peers) = world(Naming::Otel);
    pods.learn(&pod("local", POD));
    let question = Question { role: Role::Server, address: ip(POD), behind: None };
    let found = ask(&question, &pods, &mut peers);
    let said = said(&found, Role::Server, &pods);
    assert!(said.contains(&"service.peer.name=web".to_owned()), "{said:?}");
    assert!(!said.iter().any(|text| text.starts_with("peer.service")), "{said:?}");
    assert!(peers.is_empty(), "pods of this machine are not asked for");
}

#[test]
fn the_process_at_the_other_end_is_believed_before_its_address() {
    let (pods, mut peers) = world(Naming::Otel);
    peers.learn(Nanos(1), &told(SERVICE, Some(service())));
    let question = Question { role: Role::Client, address: ip(SERVICE), behind: Some(ip(POD)) };
    let by_process = Found { pod: Some(Arc::new(pod("here", POD))), is_by_process: true, ..Found::default() };
    let mut found = by_process.clone();
    found.look_up(&question, &pods, &mut peers, Nanos(SECOND));
    let texts = said(&found, Role::Client, &pods);
    assert!(texts.contains(&"wirespan.peer.k8s.pod.name=here".to_owned()), "{texts:?}");
    assert!(texts.contains(&"wirespan.peer.k8s.service.name=front".to_owned()), "{texts:?}");
    assert!(texts.contains(&"wirespan.peer.method=process".to_owned()), "{texts:?}");
    // Dialled directly: nothing is to be asked for.
    let mut found = by_process;
    let direct = Question { role: Role::Client, address: ip(POD), behind: None };
    found.look_up(&direct, &pods, &mut peers, Nanos(SECOND));
    assert!(!found.is_open);
}

#[test]
fn what_is_being_asked_for_is_open() {
    let (pods, mut peers) = world(Naming::Otel);
    let question = Question { role: Role::Server, address: ip(POD), behind: None };
    let found = ask(&question, &pods, &mut peers);
    assert!(found.is_open && said(&found, Role::Server, &pods).is_empty());
    peers.learn(Nanos(2), &told(POD, None));
    let found = ask(&question, &pods, &mut peers);
    assert!(!found.is_open && said(&found, Role::Server, &pods).is_empty());
}
