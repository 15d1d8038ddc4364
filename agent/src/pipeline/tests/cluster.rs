//! Calls between pods: who they are of, whom they speak to, and how long they wait for that.

use super::world::{CURL, Call, NGINX, S, World, text};
use crate::config::Options;
use crate::flow::fact::{Fact, Place, Process};
use crate::flow::kubernetes::{Address, Cluster, Container, Owner, Party, Pod};
use crate::ledger::Count;
use crate::trace::span::{Kind, Span};

fn cluster() -> Fact {
    let node = Some("node-1".to_owned());
    Fact::Cluster(Cluster { node, peers: true, wait_ns: 2 * S, ..Cluster::default() })
}

fn in_pod(tgid: u32, pod: &str) -> Fact {
    let place = Place { pod_uid: Some(format!("uid-{pod}")), ..Place::default() };
    Fact::Process(Process {
        tgid,
        start_ns: 1,
        name: "python3".to_owned(),
        container_id: Some(format!("c-{pod}")),
        place: Box::new(place),
        ..Process::default()
    })
}

/// The client's is at `10.0.0.1`, and seen at `10.0.0.9` from outside.
fn pod(name: &str, address: &str) -> Fact {
    Fact::Pod(Box::new(Pod {
        uid: format!("uid-{name}"),
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        addresses: vec![address.parse().expect("an address")],
        owners: vec![Owner { kind: "StatefulSet".to_owned(), name: format!("set-{name}"), uid: None }],
        containers: vec![Container { name: "main".to_owned(), ..Container::default() }],
        ..Pod::default()
    }))
}

fn nobody(address: &str) -> Fact {
    told(address, None)
}

fn told(address: &str, party: Option<Party>) -> Fact {
    Fact::Address(Box::new(Address { address: address.parse().expect("one"), party, valid_ns: 60 * S }))
}

fn tick(world: &mut World, time: u64) {
    world.fact_at(time, &Fact::Tick);
}

fn resource(span: &Span, key: &str) -> Option<String> {
    let found = span.resource.attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match &found.value {
        crate::trace::span::Value::Str(text) => text.to_string(),
        other => format!("{other:?}"),
    })
}

/// A world of two pods, with one call from `front` to `back`, in which the server's address is a Service's.
fn world() -> World {
    let mut world = World::new(Options::default());
    world.fact(&cluster());
    world.fact(&in_pod(CURL, "front"));
    world.fact(&in_pod(NGINX, "back"));
    world
}

#[test]
fn spans_wait_for_their_pods_and_for_who_is_at_the_other_end() {
    let mut world = world();
    let mut call = Call::new(1);
    call.open(&mut world).get(&mut world, "/").close(&mut world);
    let end = call.time;
    assert!(world.out.spans.is_empty(), "nothing is known of anybody");
    let asked: Vec<String> = world.out.asks.iter().map(ToString::to_string).collect();
    assert!(asked.contains(&"10.0.0.2".to_owned()), "{asked:?}");
    world.fact_at(end, &pod("front", "10.0.0.1"));
    world.fact_at(end, &pod("back", "10.0.0.2"));
    world.fact_at(end, &nobody("10.0.0.9"));
    tick(&mut world, end + S / 5);
    assert!(!world.out.spans.is_empty());
    let [client] = world.requests(Kind::Client)[..] else { panic!("one client") };
    let [server] = world.requests(Kind::Server)[..] else { panic!("one server") };
    assert_eq!(client.resource.service, "set-front");
    for (key, value) in [
        ("k8s.pod.name", "front"),
        ("k8s.namespace.name", "shop"),
        ("k8s.statefulset.name", "set-front"),
        ("k8s.container.name", "main"),
        ("k8s.node.name", "node-1"),
        ("k8s.pod.ip", "10.0.0.1"),
        ("service.instance.id", "shop.front.main"),
    ] {
        assert_eq!(resource(client, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(text(client, "peer.service").as_deref(), Some("set-back"));
    assert_eq!(text(client, "wirespan.peer.method").as_deref(), Some("process"));
    assert_eq!(text(server, "service.peer.name").as_deref(), Some("set-front"), "behind address translation, too");
    assert_eq!(world.ledger.counted(Count::UnidentifiedSpans), 0);
}

#[test]
fn what_does_not_become_known_is_not_waited_for_longer_than_was_said() {
    let mut world = world();
    let mut call = Call::new(1);
    call.open(&mut world).get(&mut world, "/").close(&mut world);
    let end = call.time;
    tick(&mut world, end + 2 * S - S / 2);
    assert!(world.out.spans.is_empty());
    tick(&mut world, end + 2 * S + S / 10);
    assert_eq!(world.requests(Kind::Client).len(), 1);
    let client = world.requests(Kind::Client)[0];
    assert_eq!(resource(client, "k8s.pod.uid").as_deref(), Some("uid-front"), "the kernel vouches for that");
    assert_eq!(resource(client, "wirespan.k8s.incomplete").as_deref(), Some("pod"));
    assert_eq!(world.ledger.counted(Count::UnidentifiedSpans), 4, "two requests, two connections");
    assert!(world.ledger.counted(Count::UnknownPeers) > 0);
}

#[test]
fn at_the_end_nothing_is_waited_for() {
    let mut world = world();
    Call::new(1).open(&mut world).get(&mut world, "/").close(&mut world);
    world.finish();
    assert_eq!((world.requests(Kind::Client).len(), world.requests(Kind::Server).len()), (1, 1));
}

#[test]
fn the_service_that_was_dialled_is_told_beside_the_pod_that_answered() {
    let mut world = world();
    world.fact(&pod("front", "10.0.0.1"));
    world.fact(&pod("back", "10.0.0.77"));
    let service = Party::Service { name: "back-service".to_owned(), namespace: "shop".to_owned() };
    world.fact(&told("10.0.0.2", Some(service)));
    Call::new(1).open(&mut world).get(&mut world, "/").close(&mut world);
    world.finish();
    let [client] = world.requests(Kind::Client)[..] else { panic!("one client") };
    for (key, value) in [
        ("peer.service", "set-back"),
        ("wirespan.peer.k8s.service.name", "back-service"),
        ("wirespan.peer.k8s.pod.name", "back"),
    ] {
        assert_eq!(text(client, key).as_deref(), Some(value), "{key}");
    }
}

#[test]
fn outside_of_a_cluster_nothing_is_waited_for_or_asked() {
    let mut world = World::new(Options::default());
    world.fact(&in_pod(CURL, "front"));
    Call::new(1).open(&mut world).get(&mut world, "/").close(&mut world);
    assert_eq!(world.requests(Kind::Client).len(), 1);
    assert!(world.out.asks.is_empty());
    assert_eq!(text(world.requests(Kind::Client)[0], "peer.service"), None);
}

#[test]
fn a_replay_knows_what_was_known() {
    let mut world = world();
    let mut call = Call::new(1);
    call.open(&mut world).get(&mut world, "/");
    world.fact_at(call.time, &pod("front", "10.0.0.1"));
    world.fact_at(call.time, &pod("back", "10.0.0.2"));
    call.get(&mut world, "/again").close(&mut world);
    tick(&mut world, call.time + S / 10);
    tick(&mut world, call.time + 3 * S);
    world.finish();
    assert_eq!(super::robustness::replay(&world.records), world.out.spans);
}

#[test]
fn the_legs_of_an_ambient_call_are_no_calls_of_their_own() {
    let mut world = world();
    world.fact(&pod("front", "10.0.0.1"));
    world.fact(&told("10.0.0.2", Some(Party::Service { name: "back".to_owned(), namespace: "shop".to_owned() })));
    // What answers the client is the node's proxy.
    let Fact::Process(process) = in_pod(NGINX, "zt") else { unreachable!() };
    world.fact(&Fact::Process(Process { name: "ztunnel".to_owned(), ..process }));
    let Fact::Pod(zt) = pod("zt", "10.0.0.88") else { unreachable!() };
    let labels = vec![("app".to_owned(), "ztunnel".to_owned())];
    world.fact(&Fact::Pod(Box::new(Pod { labels, ..*zt })));
    Call::new(1).open(&mut world).get(&mut world, "/").close(&mut world);
    world.finish();
    assert!(world.requests(Kind::Server).is_empty());
    let legs = world.requests(Kind::Internal);
    assert_eq!(legs.iter().filter_map(|span| text(span, "wirespan.mesh.leg")).collect::<Vec<_>>(), ["answers"]);
    assert_eq!(resource(legs[0], "wirespan.mesh.role").as_deref(), Some("ztunnel"));
    let [client] = world.requests(Kind::Client)[..] else { panic!("one client") };
    assert_eq!(text(client, "peer.service").as_deref(), Some("back"), "who is meant, not who passes it on");
    assert_eq!(text(client, "wirespan.mesh.via").as_deref(), Some("ztunnel"));
    assert_eq!(text(client, "wirespan.peer.k8s.pod.name"), None);
}
