//! Behaviours that one agent shows, one after the other.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;

use wirespan_tests::child::Program;
use wirespan_tests::expect::{self, Exchange, is_exchange};
use wirespan_tests::netns::{self, Namespace};
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::span::{Kind, Layer, Want, is};
use wirespan_tests::temp::TempDir;
use wirespan_tests::{curl, harmless, kernel, names, port};

use crate::report::{Behaviour, Outcome};
use crate::scene::{Old, Scene};

/// In the order in which they run.
pub(crate) const ALL: &[Behaviour<Scene>] = &[
    Behaviour { name: "a request to nginx is one trace, and both processes are known", shows: nginx },
    Behaviour { name: "a file that is sent by sendfile is counted to the byte", shows: sendfile },
    Behaviour { name: "requests on a kept connection are seen one by one", shows: kept },
    Behaviour { name: "pipelined requests are seen one by one", shows: pipelined },
    Behaviour { name: "heads in several segments are read", shows: split },
    Behaviour { name: "IPv6", shows: six },
    Behaviour {
        name: "a connection tells who opened and closed it, how long that took, and its bytes",
        shows: connection,
    },
    Behaviour { name: "a refused connection is a span of its process", shows: refused },
    Behaviour { name: "connections that are older than the agent", shows: old },
    Behaviour { name: "processes that are gone at once have their names", shows: brief },
    Behaviour { name: "no program could change a packet or a process, or hooks a system call", shows: harmless },
    Behaviour { name: "lost segments change nothing but the count of retransmissions", shows: lossy },
];

fn nginx(scene: &Scene) -> Outcome {
    let transfer = curl::curl(&["--data-binary", "twelve bytes", &scene.nginx.url("/first?page=2")]);
    assert_eq!((transfer.code, transfer.number("response_code")), (0, 200));
    let pair = scene.agent.pair(scene.nginx.port, "/first");
    is_exchange(&pair, &Exchange { method: "POST", status: 200, request_body: 12, response_body: 5 });
    expect::is_of_process(&pair.client, transfer.pid, Path::new("/usr/bin/curl"));
    let worker = pair.server.process();
    assert!(expect::belongs_to(worker, scene.nginx.child.pid()), "{}", pair.server);
    expect::is_of_process(&pair.server, worker, &expect::executable(worker));
    Outcome::Holds
}

fn sendfile(scene: &Scene) -> Outcome {
    let transfer = curl::curl(&[&scene.nginx.url("/file")]);
    assert_eq!(transfer.number("size_download"), 100_000);
    let pair = scene.agent.pair(scene.nginx.port, "/file");
    is_exchange(&pair, &Exchange { method: "GET", status: 200, request_body: 0, response_body: 100_000 });
    Outcome::Holds
}

fn kept(scene: &Scene) -> Outcome {
    let mut wire = Wire::open();
    for number in 0..10 {
        let (path, body) = (format!("/kept/{number}"), "k".repeat(number));
        wire.exchange(get(&path), ok(&body));
    }
    for number in 0..10 {
        is_get(scene, wire.port, &format!("/kept/{number}"), number);
    }
    Outcome::Holds
}

fn pipelined(scene: &Scene) -> Outcome {
    let mut wire = Wire::open();
    wire.ask((0..5).map(|number| get(&format!("/piped/{number}"))).collect::<String>());
    wire.answer((0..5).map(|_| ok("piped")).collect::<String>());
    for number in 0..5 {
        is_get(scene, wire.port, &format!("/piped/{number}"), 5);
    }
    Outcome::Holds
}

fn split(scene: &Scene) -> Outcome {
    let mut wire = Wire::open();
    let (request, response) = (get("/split"), ok("split"));
    // Each piece has arrived before the next one is sent.
    request.as_bytes().chunks(17).for_each(|piece| wire.ask(piece));
    response.as_bytes().chunks(11).for_each(|piece| wire.answer(piece));
    is_get(scene, wire.port, "/split", 5);
    Outcome::Holds
}

fn six(scene: &Scene) -> Outcome {
    let mut wire = Wire::to(Ipv6Addr::LOCALHOST.into());
    wire.exchange(get("/six"), ok("six"));
    is_get(scene, wire.port, "/six", 3);
    scene.agent.request(Kind::Server, wire.port, "/six").expect([
        ("network.type", is("ipv6")),
        ("network.peer.address", is("::1")),
        ("network.local.address", is("::1")),
    ]);
    Outcome::Holds
}

fn connection(scene: &Scene) -> Outcome {
    for by_client in [true, false] {
        let mut wire = Wire::open();
        let (port, client_port) = (wire.port, wire.client_port);
        let (request, response) = (get("/carried"), ok(&"c".repeat(100_000)));
        wire.exchange(&request, &response);
        if by_client {
            wire.close();
        } else {
            wire.close_by_server();
        }
        let ends = expect::ENDS.map(|end| scene.agent.connection(end, port));
        for (span, sent, received, local, peer) in [
            (&ends[0], request.len(), response.len(), client_port, port),
            (&ends[1], response.len(), request.len(), port, client_port),
        ] {
            span.expect([
                ("network.local.port", is(local)),
                ("network.peer.port", is(peer)),
                (names::SENT, is(sent)),
                (names::RECEIVED, is(received)),
                (names::REQUESTS, is(1)),
                (names::END, is("fin")),
                (names::CLOSED_BY, is(if by_client { "client" } else { "server" })),
                ("error.type", Want::Absent),
            ]);
            expect::is_of_process(span, std::process::id(), &expect::executable(std::process::id()));
        }
        assert!(ends[0].double(names::CONNECT_DURATION) > 0.0, "{}", ends[0]);
    }
    Outcome::Holds
}

fn refused(scene: &Scene) -> Outcome {
    for address in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        let address = SocketAddr::new(address, port::unused());
        let error = TcpStream::connect(address).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let span = scene.agent.connection(Kind::Client, address.port());
        span.expect([(names::END, is("refused")), ("error.type", is("connection_refused")), (names::SENT, is(0))]);
        assert!(span.failed, "{span}");
        expect::is_of_process(&span, std::process::id(), &expect::executable(std::process::id()));
    }
    Outcome::Holds
}

fn old(scene: &Scene) -> Outcome {
    for kind in [Old::Used, Old::Unused, Old::Six] {
        let mut wire = scene.old(kind);
        wire.exchange(get("/old"), ok("old"));
        let pair = scene.agent.pair(wire.port, "/old");
        for span in [&pair.client, &pair.server] {
            span.expect([("http.response.status_code", is(200)), ("http.response.body.size", is(3))]);
            expect::is_of_process(span, std::process::id(), &expect::executable(std::process::id()));
        }
        // By one sequence number, and not by the pair that begins a connection: nearly sure.
        pair.server.expect([(names::LINK_METHOD, is("tcp-seq"))]);
        assert_eq!(pair.server.parent.as_deref(), Some(pair.client.span_id.as_str()), "{}", pair.server);
        wire.exchange(get("/old/second"), ok("again"));
        scene.agent.pair(wire.port, "/old/second").server.expect([(names::RESYNCHRONISED, Want::Absent)]);
    }
    Outcome::Holds
}

fn brief(scene: &Scene) -> Outcome {
    // Copies of curl under other names: each lives for as long as one transfer takes, and nobody has seen it before.
    let files = TempDir::new("brief");
    for number in 0..5 {
        let name = format!("brief-{number}");
        let copy = files.program(Path::new("/usr/bin/curl"), &name);
        let path = format!("/brief/{number}");
        let transfer = curl::run(Program::new(&copy), &[&scene.nginx.url(&path)]);
        assert_eq!(transfer.code, 0);
        std::fs::remove_file(&copy).expect("it is removed");
        scene.agent.request(Kind::Client, scene.nginx.port, &path).expect_resource([
            ("process.pid", is(transfer.pid)),
            ("process.executable.name", is(&name)),
            ("service.name", is(&name)),
        ]);
    }
    Outcome::Holds
}

fn harmless(scene: &Scene) -> Outcome {
    let programs = kernel::programs_of(scene.agent.pid());
    assert!(programs.len() >= 10, "{programs:?}");
    harmless::calls_nothing_else(&programs);
    harmless::hooks_no_system_call(&programs);
    let calls = programs.iter().flat_map(|program| &program.helpers).collect::<BTreeSet<_>>().len();
    Outcome::HoldsBy(format!("{} programs call {calls} functions of the kernel", programs.len()))
}

fn lossy(scene: &Scene) -> Outcome {
    /// Requests between two looks at what was lost: one segment in ten is, so nearly always something is at the first look.
    const ROUND: usize = 40;
    const MAX_REQUESTS: usize = 10 * ROUND;
    let (here, there) = (Namespace::new("lossy"), Namespace::new("lossy"));
    let devices = netns::join(&here, "10.93.0.1/24", &there, "10.93.0.2/24");
    let port = port::unused();
    let address = SocketAddr::from(([10, 93, 0, 2], port));
    let listener = there.listen(address);
    let mut wire = Wire::through(&listener, || here.run(|| TcpStream::connect(address)));
    // Not before: the neighbours must find each other.
    let way = lose([&here, &there], &devices);
    let retransmitted = |namespace: &Namespace| namespace.counter("Tcp/RetransSegs");
    let size_of = |number: usize| number % ROUND * 50;
    let (mut asked, mut answered, mut requests) = (0, 0, 0);
    while requests < MAX_REQUESTS && retransmitted(&here) + retransmitted(&there) == 0 {
        for number in requests..requests + ROUND {
            let (request, response) = (get(&format!("/lossy/{number}")), ok(&"r".repeat(size_of(number))));
            asked += request.len();
            answered += response.len();
            wire.exchange(request, response);
        }
        requests += ROUND;
    }
    wire.close();
    for number in 0..requests {
        is_get(scene, port, &format!("/lossy/{number}"), size_of(number));
    }
    let spans = scene.agent.matching(|span| span.layer == Layer::L7 && span.is_on(port));
    assert_eq!(spans.len(), 2 * requests, "a retransmission was taken for a request");
    let mut lost = 0;
    for (end, namespace, sent, received) in
        [(Kind::Client, &here, asked, answered), (Kind::Server, &there, answered, asked)]
    {
        // Once it is closed: its last segment may be lost, too.
        let connection = scene.agent.connection(end, port);
        let count = retransmitted(namespace);
        lost += count;
        connection.expect([
            (names::SENT, is(sent)),
            (names::RECEIVED, is(received)),
            (names::RETRANSMITS, is(i64::try_from(count).expect("few"))),
        ]);
    }
    assert!(lost > 0, "nothing was lost in {requests} requests: {way} does not work here");
    Outcome::HoldsBy(format!("{lost} retransmissions by {way}"))
}

/// Makes the cable between two namespaces lose segments, and says by what: netem where the kernel has it, else a rule of
/// nftables.
fn lose(namespaces: [&Namespace; 2], devices: &[String; 2]) -> &'static str {
    let netem = |namespace: &Namespace, device: &str| {
        let words = ["qdisc", "add", "dev", device, "root", "netem", "loss", "10%"];
        namespace.program("tc").args(words).run().status.success()
    };
    if namespaces.iter().zip(devices).all(|(namespace, device)| netem(namespace, device)) {
        return "netem";
    }
    for namespace in namespaces {
        let lose = "meta l4proto tcp meta length > 100 numgen inc mod 7 == 3 drop";
        namespace.nft("type filter hook prerouting priority -300", &[lose]);
    }
    "nftables"
}

/// Both spans of a GET without a body that was answered with 200 and so many bytes.
#[track_caller]
fn is_get(scene: &Scene, port: u16, path: &str, body: usize) {
    let body = i64::try_from(body).expect("a small body");
    let pair = scene.agent.pair(port, path);
    is_exchange(&pair, &Exchange { method: "GET", status: 200, request_body: 0, response_body: body });
}
