//! A machine without time to spare: requests are left out, all are accounted for, and when it is over all are read again. Alone in its
//! file, because it keeps every CPU busy.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;
use wirespan_tests::PATIENCE;
use wirespan_tests::agent::Launch;
use wirespan_tests::raw::get;
use wirespan_tests::servers;
use wirespan_tests::span::Kind;

/// Connections at once: of sixteen hardly all are read if one in sixteen is to be.
const CONNECTIONS: usize = 16;
/// For so long at most.
const LOAD: Duration = Duration::from_secs(10);
/// It goes on until so many requests were left out.
const MANY: u64 = 5_000;

#[test]
fn without_time_to_spare_requests_are_left_out_and_counted() {
    let nginx = servers::nginx(1);
    let only = format!("port:{}", nginx.port);
    let agent = Launch::new()
        .args(["--shed-above", "0", "--only", &only, "--except", &format!("pid:{}", std::process::id())])
        .start();
    let is_over = Arc::new(AtomicBool::new(false));
    let idlers: Vec<_> = (0..thread::available_parallelism().expect("a number").get())
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || take_what_is_idle(&is_over))
        })
        .collect();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (is_over, port) = (Arc::clone(&is_over), nginx.port);
            thread::spawn(move || talk(port, &is_over))
        })
        .collect();
    agent.child().wait_err("shedding: the machine has no time to spare");
    let begun = Instant::now();
    while agent.ledger().count("shed_requests") < MANY {
        assert!(begun.elapsed() < PATIENCE, "hardly any request is left out: {:?}", agent.ledger());
    }
    is_over.store(true, Ordering::Relaxed);
    let (streams, sent): (Vec<_>, Vec<_>) = clients.into_iter().map(|client| client.join().expect("a client")).unzip();
    let sent: u64 = sent.into_iter().sum();
    idlers.into_iter().for_each(|idler| idler.join().expect("an idler"));

    // Of each connection, whether it was left out or not.
    agent.child().wait_err("shedding: over");
    for (number, mut stream) in streams.into_iter().enumerate() {
        let path = format!("/after/{number}");
        ask(&mut stream, &path);
        agent.request(Kind::Server, nginx.port, &path);
    }
    let stopped = agent.stop();
    stopped.ledger.balances();
    assert_eq!(stopped.ledger.records.in_flight, 0, "{:?}", stopped.ledger);
    let is_ours = |span: &wirespan_tests::span::Span| span.kind == Kind::Server && span.is_on(nginx.port);
    let read = stopped.spans.iter().filter(|span| is_ours(span) && span.path() == "/load").count() as u64;
    let shed = stopped.ledger.count("shed_requests");
    // Of a request and its answer one may have been recorded before the kernel obeyed.
    let between = u64::try_from(stopped.ledger.records.losses.get("trace, shed").copied().unwrap_or(0))
        .expect("none is negative");
    assert!(
        read + shed <= sent && sent <= read + shed + between,
        "{sent} sent, {read} read, {shed} shed, {between} between"
    );
    assert!(stopped.ledger.records.losses.keys().all(|why| !why.starts_with("kernel")), "{:?}", stopped.ledger);
}

/// Asks and asks, until it is over. Gives how often.
fn talk(port: u16, is_over: &AtomicBool) -> (TcpStream, u64) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("nginx accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let (begun, mut sent) = (Instant::now(), 0);
    while !is_over.load(Ordering::Relaxed) && begun.elapsed() < LOAD {
        ask(&mut stream, "/load");
        sent += 1;
    }
    (stream, sent)
}

fn ask(stream: &mut TcpStream, path: &str) {
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    stream.write_all(get(path).as_bytes()).expect("sending");
    while !answer.ends_with(b"\r\n\r\nhello") {
        let read = stream.read(&mut buffer).expect("an answer");
        assert!(read > 0, "nginx closed the connection");
        answer.extend_from_slice(&buffer[..read]);
    }
}

/// Runs where nobody else wants to.
fn take_what_is_idle(is_over: &AtomicBool) {
    setpriority_process(None, 19).expect("anybody may be nicer");
    while !is_over.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}
