//! Living with others: another agent, other programs on the same hooks, a death at any time, an upgrade, receivers that
//! hang.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use wirespan_tests::agent::{Agent, Launch, Stopped, binary, need_root};
use wirespan_tests::child::{Child, Program};
use wirespan_tests::kernel::{self, Held};
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::receiver::{Got, Protocol, Receiver};
use wirespan_tests::scrape::{address, scrape};
use wirespan_tests::span::{Kind, Layer, Span};
use wirespan_tests::watch::Watch;
use wirespan_tests::{PATIENCE, apps, expect, port, servers};

/// The promise: nothing is left in the kernel so long after a kill.
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// The promise: an agent that is told to end has ended after so long, whatever its receiver does.
const FAREWELL: Duration = Duration::from_secs(5);
/// What either may take besides, on a machine that is busy with other things.
const SLACK: Duration = Duration::from_secs(2);
/// How often the agent is killed.
const KILLS: usize = 50;

/// One client that asks all the time: on a connection that stays, and on one of its own every fourth time.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<Watch<usize>>,
    client: JoinHandle<Vec<String>>,
}

/// Pause after each request: about a thousand a second, so that the agents keep up beside them on a small machine.
const PACE: Duration = Duration::from_millis(1);

impl Load {
    fn start(port: u16, path: &'static str) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(Watch::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&done));
        let client = thread::spawn(move || {
            let mut kept = connect(port);
            let mut errors = Vec::new();
            while errors.is_empty() && !stopped.load(Ordering::Relaxed) {
                let number = count.read(|count| *count);
                let path = format!("{path}/{number}");
                let asked = match number % 4 {
                    0 => connect(port).and_then(|mut own| ask(&mut own, &path)),
                    _ => kept.as_mut().map_err(|error| error.to_string()).and_then(|kept| ask(kept, &path)),
                };
                errors.extend(asked.err());
                count.update(|count| *count += 1);
                thread::sleep(PACE);
            }
            errors
        });
        Self { stop, done, client }
    }

    /// How many requests were made.
    fn done(&self) -> usize {
        self.done.read(|done| *done)
    }

    /// Returns when so many more were made.
    #[track_caller]
    fn go_on(&self, more: usize) {
        let target = self.done() + more;
        let came = self.done.wait(PATIENCE, |done| (*done >= target).then_some(()));
        assert!(came.is_some(), "the application stands still at {} of {target}", self.done());
    }

    /// Ends it; all must have been answered. Gives how many there were.
    #[track_caller]
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let errors = self.client.join().expect("the client");
        let done = self.done.read(|done| *done);
        assert!(errors.is_empty(), "after {done} requests: {errors:?}");
        done
    }
}

fn connect(port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_nodelay(true))
        .map_err(|error| error.to_string())?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, path: &str) -> Result<(), String> {
    stream.write_all(get(path).as_bytes()).map_err(|error| format!("{path}: {error}"))?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"\r\n\r\nhello") {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(format!("{path}: closed")),
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) => return Err(format!("{path}: {error}")),
        }
    }
    Ok(())
}

/// Another program's filter: drops datagrams to `port`.
struct Filter {
    child: Child,
    id: u64,
    port: u16,
}

impl Filter {
    #[track_caller]
    fn start(how: &str) -> Self {
        need_root();
        let port = port::unused();
        let child =
            Program::new("/usr/bin/python3").arg(apps::file("filter.py")).args([how, &port.to_string()]).start();
        let line = child.wait_out("attached ");
        let id = line.rsplit(' ').next().and_then(|id| id.parse().ok()).expect("an id");
        Self { child, id, port }
    }

    /// Its verdict counts: what it drops is dropped, what it lets pass passes.
    #[track_caller]
    fn is_honoured(&self) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let dropped = socket.send_to(b"x", (Ipv4Addr::LOCALHOST, self.port)).map_err(|error| error.kind());
        assert_eq!(dropped, Err(std::io::ErrorKind::PermissionDenied), "the other program's verdict is lost");
        let to_itself = socket.local_addr().expect("an address");
        socket.send_to(b"x", to_itself).expect("what nobody drops passes");
    }

    #[track_caller]
    fn stop(self) {
        let _ = self.child.stop().well();
    }
}

/// Where the agent says that it is attached.
#[track_caller]
fn group_of(agent: &Agent) -> String {
    let line = agent.child().wait_err("cgroup_skb/egress on ");
    line.rsplit(" on ").next().expect("a place").to_owned()
}

#[test]
fn two_agents_see_everything_and_neither_traces_the_other() {
    let receivers = [Receiver::start(Protocol::Http), Receiver::start(Protocol::Grpc)];
    let launch = |receiver: &Receiver, protocol: &str| {
        Launch::new()
            .args(["--metrics-listen", "127.0.0.1:0"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .start()
    };
    let first = launch(&receivers[0], "http/protobuf");
    // Its connection to the receiver is older than the second agent.
    let early = Wire::told("/early");
    receivers[0].span("an early request", |span| span.is_on(early));
    let agents = [first, launch(&receivers[1], "grpc")];
    let metrics = [address(&agents[0]), address(&agents[1])];
    let ports: Vec<u16> = (0..10).map(|number| Wire::told(&format!("/both/{number}"))).collect();
    for (agent, receiver) in agents.iter().zip(&receivers) {
        for (number, &port) in ports.iter().enumerate() {
            expect::is_joined(&agent.pair(port, &format!("/both/{number}")));
            let _ = agent.connection(Kind::Server, port);
        }
        let last = ports[ports.len() - 1];
        receiver.span("the last request", |span| span.is_on(last));
    }
    for address in metrics {
        let _ = scrape(address);
    }
    agents.iter().for_each(Agent::fence);
    let pids = agents.each_ref().map(|agent| i64::from(agent.pid()));
    let own_ports = [receivers[0].port(), receivers[1].port(), metrics[0].port(), metrics[1].port()];
    for agent in agents {
        let Stopped { spans, ledger, .. } = agent.stop();
        for span in &spans {
            assert!(!own_ports.iter().any(|&port| span.is_on(port)), "an agent's connection is traced\n{span}");
            let process = span.resource.0.get("process.pid");
            assert!(!pids.iter().any(|&pid| process == Some(&pid.into())), "an agent is traced\n{span}");
        }
        ledger.balances();
        assert_eq!(ledger.spans["otlp"].delivered, i64::try_from(spans.len()).expect("few"), "{ledger:?}");
    }
    for (receiver, own) in receivers.into_iter().zip([0, 1]) {
        let Got { batches, bad, .. } = receiver.stop();
        assert!(bad.is_empty() && !batches.is_empty(), "receiver {own}: {bad:?}");
    }
}

#[test]
fn other_programs_on_the_same_hook_keep_their_order_and_their_verdict() {
    for how in ["link", "multi"] {
        let first = Filter::start(how);
        first.is_honoured();
        let agent = Agent::start();
        let group = group_of(&agent);
        first.is_honoured();
        let second = Filter::start(how);
        second.is_honoured();
        let port = Wire::told("/among/others");
        agent.pair(port, "/among/others");
        let ours = kernel::held_by(agent.pid());
        let is_ours = |id: &u64| ours.contains(&("prog", *id));
        let order = |wanted: &dyn Fn(&u64) -> bool| -> Vec<u64> {
            kernel::attached_to_egress(&group).into_iter().filter(wanted).collect()
        };
        let all = order(&|id| *id == first.id || *id == second.id || is_ours(id));
        assert_eq!(all.len(), 3, "{how}: {all:?}");
        assert!(all[0] == first.id && is_ours(&all[1]) && all[2] == second.id, "{how}: the order is lost: {all:?}");
        agent.stop().ledger.balances();
        first.is_honoured();
        second.is_honoured();
        assert_eq!(order(&|id| *id == first.id || *id == second.id), [first.id, second.id], "{how}");
        // What was there before the agent may also go before it.
        let agent = Agent::start();
        first.stop();
        second.is_honoured();
        let port = Wire::told("/after/others");
        agent.pair(port, "/after/others");
        let _ = agent.stop();
        second.stop();
    }
}

#[test]
fn fifty_kills_under_load_harm_nobody_and_leave_nothing() {
    need_root();
    let nginx = servers::nginx(1);
    let load = Load::start(nginx.port, "/killed");
    let mut held = Held::new();
    let mut last_kill = Instant::now();
    for number in 0..KILLS {
        let agent = Program::new(binary()).args(["run", "--format", "none"]).start();
        // Killed at different times: while it loads, while it attaches, when it has just begun, after some traffic.
        match number % 4 {
            0 => load.go_on(1 + number),
            1 => drop(agent.wait_err("probe: ")),
            2 => drop(agent.wait_err("ready: ")),
            _ => {
                agent.wait_err("ready: ");
                load.go_on(100);
            }
        }
        // It can take nothing more while it is looked at.
        agent.signal(Signal::STOP);
        held.extend(kernel::held_by(agent.pid()));
        agent.kill();
        last_kill = Instant::now();
        load.go_on(10);
    }
    kernel::wait_gone_within((GONE_WITHIN + SLACK).saturating_sub(last_kill.elapsed()), &held);
    for what in ["prog", "map", "link"] {
        assert!(held.iter().filter(|object| object.0 == what).count() >= KILLS / 2, "few of {what}: {held:?}");
    }
    let done = load.stop();
    assert!(done > 10 * KILLS, "{done} requests");
}

#[test]
fn an_upgrade_in_place_misses_no_request() {
    let nginx = servers::nginx(1);
    let load = Load::start(nginx.port, "/upgraded");
    let old = Agent::start();
    let from = load.done() + 1;
    load.go_on(200);
    let new = Agent::start();
    let overlap = load.done() + 1;
    load.go_on(200);
    let old = old.stop();
    load.go_on(200);
    let until = load.stop();
    let last = format!("/upgraded/{}", until - 1);
    for kind in expect::ENDS {
        new.request(kind, nginx.port, &last);
    }
    let new = new.stop();
    for span in new
        .spans
        .iter()
        .filter(|s| s.is_on(nginx.port) && s.layer == Layer::L7 && s.span_id.starts_with('0'))
        .rev()
        .take(3)
    {
        println!("{span}");
    }
    println!("{:?}\n{:?}", old.ledger, new.ledger);
    assert!(from + 200 < overlap && overlap + 400 <= until, "{from} {overlap} {until}");
    for kind in expect::ENDS {
        let of = |stopped: &Stopped| numbers(&stopped.spans, kind, nginx.port);
        let (old, new) = (of(&old), of(&new));
        let missing: Vec<usize> =
            (from..until).filter(|number| !old.contains(number) && !new.contains(number)).collect();
        assert!(missing.is_empty(), "{kind:?}: nobody saw {missing:?} of {from}..{until}");
        // Who begins sees all from then on.
        let missing: Vec<usize> = (overlap..until).filter(|number| !new.contains(number)).collect();
        assert!(missing.is_empty(), "{kind:?}: the new one did not see {missing:?} of {overlap}..{until}");
    }
    for stopped in [old, new] {
        stopped.ledger.balances();
        assert_eq!(stopped.ledger.records.losses.get("kernel, ring_full"), None, "{:?}", stopped.ledger);
    }
}

/// The numbers at the ends of the paths that were seen with an answer.
fn numbers(spans: &[Arc<Span>], kind: Kind, port: u16) -> BTreeSet<usize> {
    let requests = spans.iter().filter(|span| span.layer == Layer::L7 && span.kind == kind && span.is_on(port));
    let answered = requests.filter(|span| span.get("http.response.status_code").is_some());
    answered.filter_map(|span| span.path().rsplit('/').next()?.parse().ok()).collect()
}

#[track_caller]
fn a_receiver_that_hangs_holds_up_the_end_for_five_seconds(protocol: &str) {
    // The kernel accepts for it; nobody ever reads.
    let listener = port::listen(Ipv4Addr::LOCALHOST.into());
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let agent = Launch::new()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .stopped_by(Signal::TERM)
        .start();
    let port = Wire::told("/never/sent");
    agent.pair(port, "/never/sent");
    let began = Instant::now();
    let stopped = agent.stop_whatever_it_says();
    let took = began.elapsed();
    assert!(took < FAREWELL + SLACK, "it took {took:?}");
    assert_eq!(stopped.ended.code(), Some(4), "{}", stopped.ended.stderr);
    stopped.ledger.balances();
    let spans = i64::try_from(stopped.spans.len()).expect("few");
    let account = &stopped.ledger.spans["otlp"];
    assert!(spans >= 4, "two requests and two connections: {spans}");
    assert_eq!((account.observed, account.delivered, account.in_flight), (spans, 0, 0), "{account:?}");
    assert_eq!(account.losses.get("export, shutdown"), Some(&spans), "{account:?}");
    drop(listener);
}

#[test]
fn a_receiver_that_hangs_holds_up_the_end_for_five_seconds_by_http() {
    a_receiver_that_hangs_holds_up_the_end_for_five_seconds("http/protobuf");
}

#[test]
fn a_receiver_that_hangs_holds_up_the_end_for_five_seconds_by_grpc() {
    a_receiver_that_hangs_holds_up_the_end_for_five_seconds("grpc");
}

#[test]
fn sigterm_sends_what_waits() {
    let receiver = Receiver::start(Protocol::Http);
    let listener = port::listen(Ipv4Addr::LOCALHOST.into());
    let server = listener.local_addr().expect("an address");
    let agent = Launch::new()
        // What others do on this machine would fill a request.
        .args(["--only", &format!("port:{}", server.port())])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())
        // Nothing is sent before the end.
        .env("OTEL_BSP_SCHEDULE_DELAY", "600000")
        .stopped_by(Signal::TERM)
        .start();
    let mut wire = Wire::through(&listener, || TcpStream::connect(server));
    wire.exchange(get("/at/last"), ok("told"));
    wire.close();
    agent.pair(server.port(), "/at/last");
    assert!(receiver.got().read(|got| got.batches.is_empty()), "sent too early");
    let began = Instant::now();
    let stopped = agent.stop();
    assert!(began.elapsed() < FAREWELL + SLACK, "it took {:?}", began.elapsed());
    stopped.ledger.balances();
    let got = receiver.stop();
    assert_eq!(got.spans().count(), stopped.spans.len());
    assert_eq!(stopped.ledger.spans["otlp"].dropped, 0, "{:?}", stopped.ledger);
}
