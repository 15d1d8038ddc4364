//! Both ends on this machine, but in different network namespaces: joined all the same, also over address translation.

use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;

use wirespan_tests::agent::{Agent, Launch};
use wirespan_tests::expect::{self, Exchange, is_exchange};
use wirespan_tests::netns::{self, Namespace};
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::servers;
use wirespan_tests::span::{Kind, is};
use wirespan_tests::{curl, names};

fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(Agent::start)
}

#[test]
fn a_request_from_one_namespace_to_another_is_one_trace() {
    agent();
    let (here, there) = (Namespace::new("veth"), Namespace::new("veth"));
    netns::join(&here, "10.97.0.1/24", &there, "10.97.0.2/24");
    let nginx = servers::nginx_in(&there, 8097);
    let transfer = curl::run(here.program("curl"), &["http://10.97.0.2:8097/veth"]);
    assert_eq!((transfer.code, transfer.number("response_code")), (0, 200));
    let pair = agent().pair(8097, "/veth");
    is_exchange(&pair, &Exchange { method: "GET", status: 200, request_body: 0, response_body: 5 });
    pair.client.expect([
        ("network.local.address", is("10.97.0.1")),
        ("network.peer.address", is("10.97.0.2")),
        ("server.address", is("10.97.0.2")),
        ("url.full", is("http://10.97.0.2:8097/veth")),
    ]);
    pair.server.expect([
        ("network.local.address", is("10.97.0.2")),
        ("network.peer.address", is("10.97.0.1")),
        ("client.address", is("10.97.0.1")),
    ]);
    assert_eq!(pair.client.process(), transfer.pid);
    assert!(expect::belongs_to(pair.server.process(), nginx.child.pid()), "{}", pair.server);
    expect::lies_on_its_connection(agent(), &pair.client);
    expect::lies_on_its_connection(agent(), &pair.server);
    connections_are_joined(8097, 8097);
}

#[test]
fn equal_addresses_in_different_namespaces_are_different_connections() {
    agent();
    let namespaces = [Namespace::new("same"), Namespace::new("same")];
    let address = SocketAddr::from(([127, 0, 0, 1], 8098));
    let mut wires: Vec<Wire> = namespaces
        .iter()
        .map(|namespace| {
            let listener = namespace.listen(address);
            Wire::through(&listener, || namespace.run(|| TcpStream::connect(address)))
        })
        .collect();
    for (number, wire) in wires.iter_mut().enumerate() {
        wire.ask(get(&format!("/same/{number}")));
    }
    for wire in &mut wires {
        wire.answer(ok("same"));
    }
    let pairs: Vec<_> = (0..2).map(|number| agent().pair(8098, &format!("/same/{number}"))).collect();
    for pair in &pairs {
        is_exchange(pair, &Exchange { method: "GET", status: 200, request_body: 0, response_body: 4 });
    }
    assert_ne!(pairs[0].server.get(names::CONNECTION_ID), pairs[1].server.get(names::CONNECTION_ID));
    assert_ne!(pairs[0].client.trace_id, pairs[1].client.trace_id);
}

#[test]
fn address_translation_on_the_way_changes_nothing_about_the_trace() {
    agent();
    let (inside, router, outside) = (Namespace::new("inside"), Namespace::new("router"), Namespace::new("outside"));
    netns::join(&inside, "10.98.1.2/24", &router, "10.98.1.1/24");
    netns::join(&router, "10.98.2.1/24", &outside, "10.98.2.2/24");
    inside.ip(&["route", "add", "default", "via", "10.98.1.1"]);
    router.sysctl("ipv4/ip_forward", "1");
    // Source and destination are both rewritten: the server sees the router, the client dials an address of a service.
    router.nft("type nat hook prerouting priority -100", &["ip daddr 10.98.9.9 tcp dport 80 dnat to 10.98.2.2:8099"]);
    router.nft("type nat hook postrouting priority 100", &["ip daddr 10.98.2.2 snat to 10.98.2.1"]);
    let _nginx = servers::nginx_in(&outside, 8099);
    let transfer = curl::run(inside.program("curl"), &["http://10.98.9.9/nat", "--header", "Host: service.test"]);
    assert_eq!((transfer.code, transfer.number("response_code")), (0, 200));
    let client = agent().span("the client's span", |span| {
        span.kind == Kind::Client
            && span.is_on(80)
            && span.path() == "/nat"
            && span.get("network.peer.address") == Some(&"10.98.9.9".into())
    });
    let server = agent().request(Kind::Server, 8099, "/nat");
    client.expect([
        ("network.local.address", is("10.98.1.2")),
        ("network.peer.port", is(80)),
        ("server.address", is("service.test")),
    ]);
    server.expect([("network.peer.address", is("10.98.2.1")), ("network.local.address", is("10.98.2.2"))]);
    let pair = wirespan_tests::agent::Pair { client, server };
    is_exchange(&pair, &Exchange { method: "GET", status: 200, request_body: 0, response_body: 5 });
    connections_are_joined(80, 8099);
    // A packet that is only forwarded is not seen twice.
    agent().fence();
    let seen = agent().matching(|span| span.path() == "/nat");
    assert_eq!(seen.len(), 2, "{seen:#?}");
}

#[test]
fn translation_on_the_clients_own_host_keeps_what_was_dialled() {
    agent();
    let namespace = Namespace::new("dnat");
    namespace.ip(&["addr", "add", "10.99.9.1/32", "dev", "lo"]);
    let translate = "ip daddr 10.99.9.9 tcp dport 80 dnat to 10.99.9.1:8100";
    namespace.nft("type nat hook output priority -100", &[translate]);
    namespace.ip(&["route", "add", "10.99.9.9/32", "dev", "lo"]);
    let listener = namespace.listen(SocketAddr::from(([10, 99, 9, 1], 8100)));
    let mut wire = Wire::through(&listener, || namespace.run(|| TcpStream::connect(("10.99.9.9", 80))));
    wire.exchange("GET /dialled HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx");
    let server = agent().request(Kind::Server, 8100, "/dialled");
    let client = agent().span("the client's span", |span| span.kind == Kind::Client && span.path() == "/dialled");
    client.expect([("server.address", is("10.99.9.9")), ("server.port", is(80))]);
    assert_eq!(server.trace_id, client.trace_id);
    assert_eq!(server.parent.as_deref(), Some(client.span_id.as_str()), "{server}");
}

#[track_caller]
fn connections_are_joined(client_port: u16, server_port: u16) {
    let client = agent().connection(Kind::Client, client_port);
    let server = agent().connection(Kind::Server, server_port);
    assert_eq!(server.trace_id, client.trace_id, "{client}\n{server}");
    assert_eq!(server.parent.as_deref(), Some(client.span_id.as_str()), "{server}");
}

/// Runs what follows it in a cgroup of its own, `$1`, and in a cgroup namespace that begins there, after the command `$2`.
const IN_A_CGROUP_NAMESPACE: &str = r#"
    group=$1 before=$2; shift 2
    mkdir "$group" && echo $$ >"$group/cgroup.procs" && exec unshare --cgroup --mount sh -c "$before"' && exec "$@"' sh "$@"
"#;

/// A cgroup that is gone with this, if nobody is in it any more.
struct Cgroup(String);

impl Cgroup {
    fn new(label: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
        let root = mounts.lines().find(|line| line.starts_with("cgroup2 ") || line.contains(" cgroup2 "));
        let root = root.and_then(|line| line.split(' ').nth(1)).expect("cgroup2 is mounted").to_owned();
        Self(format!("{root}/wirespan-tests-{label}-{}", std::process::id()))
    }

    fn root(&self) -> &str {
        self.0.rsplit_once('/').map_or("/", |(root, _)| root)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn from_a_cgroup_namespace_the_whole_machine_is_seen_where_its_cgroups_are_mounted() {
    let group = Cgroup::new("whole");
    let wrappers = ["sh", "-c", IN_A_CGROUP_NAMESPACE, "sh", &group.0, "true"];
    let agent = Launch::under(&wrappers).start();
    assert!(!agent.child().stderr().contains("cgroup namespace only"), "{}", agent.child().stderr());
    let mut wire = Wire::open();
    wire.exchange(get("/from/a/cgroup/namespace"), ok("seen"));
    agent.pair(wire.port, "/from/a/cgroup/namespace");
    agent.stop().ledger.balances();
}

#[test]
fn in_a_cgroup_namespace_of_its_own_the_agent_says_that_the_rest_is_unseen() {
    let group = Cgroup::new("part");
    let before = format!("umount {}", group.root());
    let wrappers = ["sh", "-c", IN_A_CGROUP_NAMESPACE, "sh", &group.0, &before];
    let agent = Launch::under(&wrappers).start();
    let said = agent.child().stderr();
    let degraded = said.lines().filter(|line| line.contains("degraded") && line.contains("cgroup namespace only"));
    assert_eq!(degraded.count(), 2, "{said}");
    agent.stop().ledger.balances();
}
