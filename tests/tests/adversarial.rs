//! Applications that make it hard to tell who answers whom and for whom a call is made: nothing may be linked wrongly, and who
//! takes a request must be named.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use wirespan_tests::agent::{Agent, binary};
use wirespan_tests::child::{Child, Program};
use wirespan_tests::raw::Wire;
use wirespan_tests::span::{Kind, Span};
use wirespan_tests::temp::TempDir;
use wirespan_tests::{PATIENCE, apps, kernel, port, recording};

/// Clients that ask at the same time, and how often each asks.
const CLIENTS: usize = 10;
const REQUESTS: usize = 12;
/// The backend takes so long, and up to three times as long for some.
const BACKEND: Duration = Duration::from_millis(1);

/// How far the clock is set on, for a moment: longer than anything takes, and too short for the rest of the machine to mind.
const STEP_SECONDS: i64 = 60;

/// The time of day is set on, until it is dropped.
struct Stepped(i64);

impl Stepped {
    fn by(seconds: i64) -> Self {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
        clock_settime(ClockId::Realtime, Timespec { tv_sec: tv_sec + seconds, tv_nsec })
            .expect("root may set the clock");
        Self(seconds)
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        std::mem::forget(Self::by(-self.0));
    }
}

/// An application of `adversarial.py` with its backend.
struct Site {
    app: Child,
    port: u16,
    backend: u16,
}

impl Site {
    #[track_caller]
    fn start(how: &str) -> Self {
        let listener = port::listen(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let backend = listener.local_addr().expect("it is bound").port();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || answer_all(stream));
            }
        });
        let app = Program::new("/usr/bin/python3").arg(apps::file("adversarial.py"));
        let app = app.args([how, &backend.to_string()]).start();
        let said = app.wait_out("listening on");
        let port = said.rsplit(' ').next().and_then(|port| port.trim().parse().ok()).expect("a port");
        Self { app, port, backend }
    }

    /// All clients ask at the same moment, again and again. Gives for each path the process that took it, as the answer says.
    #[track_caller]
    fn load(&self) -> Vec<(String, u32)> {
        self.load_again(0)
    }

    /// The same, with paths of their own for each round.
    #[track_caller]
    fn load_again(&self, round: usize) -> Vec<(String, u32)> {
        let (port, barrier) = (self.port, Arc::new(Barrier::new(CLIENTS)));
        let client = |client: usize| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
                stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                (0..REQUESTS)
                    .map(|number| {
                        let path = format!("/work/{round}-{client}-{number}");
                        barrier.wait();
                        write!(stream, "GET {path} HTTP/1.1\r\nHost: app\r\n\r\n").expect("it reads");
                        (path, body(&mut stream).parse().expect("a process id"))
                    })
                    .collect::<Vec<_>>()
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        clients.into_iter().flat_map(|client| client.join().expect("all are answered")).collect()
    }
}

/// How calls are linked.
#[derive(Debug, Default, PartialEq)]
struct Links {
    right: usize,
    wrong: usize,
    none: usize,
}

/// Runs an application under load: how the calls are linked. Who took each request is named.
#[track_caller]
fn links(how: &str, calls: usize) -> Links {
    let site = Site::start(how);
    let agent = Agent::start();
    let answered = site.load();
    let last = |spans: &[Arc<Span>]| {
        let of = |kind, port| spans.iter().filter(|span| span.kind == kind && span.is_on(port)).count();
        let all = of(Kind::Client, site.backend) >= calls && of(Kind::Server, site.port) >= answered.len();
        all.then_some(())
    };
    let requests = |span: &Span| !span.path().is_empty();
    agent.wait("all requests and calls", |spans| {
        let spans: Vec<_> = spans.iter().filter(|span| requests(span)).cloned().collect();
        last(&spans)
    });
    let servers = agent.requests(Kind::Server, site.port);
    for (path, pid) in &answered {
        let span = servers.iter().find(|span| span.path() == path).expect("each has a span");
        assert_eq!(span.process(), *pid, "{how}: {path} was taken by {pid}\n{span}");
    }
    let mut links = Links::default();
    for call in agent.requests(Kind::Client, site.backend) {
        let parent = servers.iter().find(|server| Some(&server.span_id) == call.parent.as_ref());
        let name = |span: &Span| span.path().rsplit('/').next().map(str::to_owned);
        match parent {
            Some(parent) if name(parent) == name(&call) => {
                assert_eq!(parent.process(), call.process(), "{how}: {call}");
                links.right += 1;
            }
            Some(parent) => {
                eprintln!("{how}: {} is linked to {}\n{call}", call.path(), parent.path());
                links.wrong += 1;
            }
            None => links.none += 1,
        }
    }
    agent.stop().ledger.balances();
    links
}

/// Answers requests, with nothing, until the connection ends.
fn answer_all(mut stream: TcpStream) {
    while let Some(head) = head(&mut stream) {
        // Not all the same: who called first is not always answered first.
        thread::sleep(BACKEND * (1 + head.len() as u32 % 3));
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

fn head(stream: &mut TcpStream) -> Option<String> {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        seen.extend(byte);
    }
    String::from_utf8(seen).ok()
}

fn body(stream: &mut TcpStream) -> String {
    let head = head(stream).expect("an answer");
    let length = head.rsplit("Content-Length: ").next().and_then(|rest| rest.trim().parse().ok()).expect("a length");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    String::from_utf8(body).expect("text")
}

#[test]
fn a_thread_for_each_connection_whose_requests_come_at_the_same_moment() {
    let links = links("threads", CLIENTS * REQUESTS);
    assert!(links.wrong == 0 && links.right > CLIENTS * REQUESTS / 2, "{links:?}");
}

#[test]
fn a_connection_that_is_passed_to_another_process() {
    assert_eq!(links("passes", CLIENTS * REQUESTS).wrong, 0);
}

#[test]
fn a_connection_that_a_program_inherits() {
    let links = links("execs", CLIENTS * REQUESTS);
    assert!(links.wrong == 0 && links.right > CLIENTS * REQUESTS / 2, "{links:?}");
}

#[test]
fn a_process_that_forks_while_it_answers() {
    // Nobody sees that the child does it for its parent's request.
    assert_eq!(links("forks", CLIENTS * REQUESTS), Links { none: CLIENTS * REQUESTS, ..Links::default() });
}

#[test]
fn a_request_that_one_thread_reads_and_another_answers() {
    assert_eq!(links("splits", CLIENTS * REQUESTS).wrong, 0);
}

#[test]
fn one_connection_to_the_backend_for_everybody() {
    assert_eq!(links("shares", CLIENTS * REQUESTS).wrong, 0);
}

#[test]
fn a_call_that_is_made_for_ten_requests_is_nobodys() {
    assert_eq!(links("batches", REQUESTS), Links { none: REQUESTS, ..Links::default() });
}

#[test]
fn an_executor_whose_threads_others_set_to_work() {
    assert_eq!(links("executes", CLIENTS * REQUESTS).wrong, 0);
}

/// Whoever waits for an executor's call is woken by the thread that has taken the answer. That has to prove itself first.
#[test]
fn an_executor_whose_threads_hand_answers_back() {
    let site = Site::start("executes");
    let agent = Agent::start();
    // It takes some seconds, and several times as long on a busy machine.
    let deadline = Instant::now() + 3 * PATIENCE;
    for round in 0.. {
        assert!(Instant::now() < deadline, "after {round} rounds it is still not believed who is woken");
        site.load_again(round);
        let calls = agent.wait("all calls", |spans| {
            let prefix = format!("/call/{round}-");
            let is_of_round = |span: &&Arc<Span>| {
                span.kind == Kind::Client && span.is_on(site.backend) && span.path().starts_with(&prefix)
            };
            let calls: Vec<_> = spans.iter().filter(is_of_round).cloned().collect();
            (calls.len() == CLIENTS * REQUESTS).then_some(calls)
        });
        let servers = agent.requests(Kind::Server, site.port);
        let is_right = |call: &Span| {
            let parent = servers.iter().find(|server| Some(&server.span_id) == call.parent.as_ref())?;
            Some(parent.path().strip_prefix("/work/") == call.path().strip_prefix("/call/"))
        };
        let links: Vec<_> = calls.iter().filter_map(|call| is_right(call)).collect();
        assert!(links.iter().all(|&is_right| is_right), "in round {round}");
        let by_thread =
            calls.iter().filter(|call| call.parent.is_some() && call.str("wirespan.link.method") == "thread");
        if by_thread.count() > CLIENTS * REQUESTS * 9 / 10 {
            return;
        }
    }
}

#[test]
fn who_wakes_whom_is_told_of_an_executor_while_it_lives_and_of_nobody_else() {
    let site = Site::start("executes");
    let files = TempDir::new("executor");
    let file = files.path().join("session");
    // This process would be watched as well: it answers and calls.
    let only = format!("pid:{}", site.app.pid());
    let recorder = Program::new(binary()).args(["record", "--only", &only]).arg(&file).start();
    recorder.wait_err("ready:");
    let before = kernel::links(recorder.pid());
    // Whose the calls are is not sure: all are made at the same moment, by threads that take no requests.
    let deadline = Instant::now() + PATIENCE;
    while kernel::links(recorder.pid()) == before {
        assert!(Instant::now() < deadline, "nobody asked for it");
        site.load();
    }
    assert_eq!(kernel::links(recorder.pid()), before + 1);
    site.load();
    let app = site.app.pid();
    let _ = site.app.stop();
    kernel::wait_for_links(recorder.pid(), before);
    let _ = recorder.stop().well();
    assert!(recording::count(&file, recording::WAKE, app) > 0);
}

#[test]
fn a_step_of_the_clock_while_a_request_is_answered() {
    let agent = Agent::start();
    let mut wire = Wire::open();
    wire.ask("GET /step HTTP/1.1\r\nHost: clock\r\n\r\n");
    let stepped = Stepped::by(STEP_SECONDS);
    wire.answer("HTTP/1.1 204 No Content\r\n\r\n");
    drop(stepped);
    let port = wire.port;
    wire.close();
    let pair = agent.pair(port, "/step");
    for span in [&pair.client, &pair.server] {
        assert!(span.duration_ns() < STEP_SECONDS.unsigned_abs() * 1_000_000_000, "{span}");
    }
    assert!(
        pair.client.start_ns <= pair.server.start_ns && pair.server.end_ns <= pair.client.end_ns,
        "{pair:?}",
        pair = pair.server
    );
}
