use std::thread;

use super::*;
use crate::accuracy::plan::Shape;
use crate::accuracy::runtimes::CALLS;

/// What an application does otherwise than the contract says.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    OneAfterTheOther,
    TokenInHeader,
    Silence,
}

fn receive(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
        if let Read::Whole(_) = head::read(&bytes) {
            return String::from_utf8(bytes).ok();
        }
    }
}

/// An application with a thread, and a connection to each backend, per connection.
fn application(backends: [SocketAddr; 2], fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut backends = backends.map(|backend| TcpStream::connect(backend).unwrap());
                while let Some(request) = receive(&mut client) {
                    let token = request[10..26].to_owned();
                    let trace = request.lines().find(|line| line.starts_with("traceparent")).unwrap_or("X-Other: 1");
                    let betrayal = if fault == Fault::TokenInHeader { &token } else { "" };
                    let ask = |backend: &mut TcpStream, call: &str| {
                        let text = format!("GET /{call}/{token} HTTP/1.1\r\n{trace}\r\nX-Id: {betrayal}\r\n\r\n");
                        backend.write_all(text.as_bytes()).unwrap();
                    };
                    for (at, call) in [(0, "a"), (1, "b")] {
                        ask(&mut backends[at], call);
                        receive(&mut backends[at]);
                    }
                    ask(&mut backends[0], "c");
                    if fault == Fault::OneAfterTheOther {
                        receive(&mut backends[0]);
                    }
                    ask(&mut backends[1], "d");
                    if fault != Fault::OneAfterTheOther {
                        receive(&mut backends[0]);
                    }
                    receive(&mut backends[1]);
                    if fault != Fault::Silence {
                        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
                    }
                }
            });
        }
    });
    address
}

/// Runs a load on an application with this fault.
fn ran(fault: Fault, pass: bool, limit: Duration) -> Ran {
    let mut site = Site::new().unwrap();
    let server = application(site.backends().unwrap(), fault);
    let mut plan = Plan::new(4, 0, CALLS, 20, Shape::Uniform);
    plan.per_second = 400.0;
    plan.service = Duration::from_millis(4);
    site.run(&Load { server, plan, pass, seed: 1, limit }).unwrap()
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn an_application_that_keeps_the_contract_is_seen_to_do_so() {
    for pass in [false, true] {
        let ran = ran(Fault::None, pass, LONG);
        assert_eq!((ran.answered(), ran.unanswered()), (20, 0));
        ran.keeps_contract(CALLS, 0).unwrap();
        assert!(ran.in_flight() > 1.0 && ran.peak[0] > 1, "{} {:?}", ran.in_flight(), ran.peak);
    }
}

#[test]
fn an_application_that_does_not_is_told_why() {
    let why = |fault| ran(fault, false, LONG).keeps_contract(CALLS, 0).unwrap_err().to_string();
    let apart = why(Fault::OneAfterTheOther);
    assert!(apart.starts_with("calls c and d were made one after the other"), "{apart}");
    assert_eq!(why(Fault::TokenInHeader), "call a has the token in its header X-Id");
    let few = ran(Fault::None, false, LONG).keeps_contract(&CALLS[..2], 0).unwrap_err().to_string();
    assert!(few.starts_with("it made the calls"), "{few}");
    let pool = ran(Fault::None, false, LONG).keeps_contract(CALLS, 1).unwrap_err().to_string();
    assert!(pool.ends_with("connections to a backend, with a pool of 1"), "{pool}");
}

#[test]
fn a_load_that_is_not_answered_ends_at_its_limit() {
    let ran = ran(Fault::Silence, false, Duration::from_millis(300));
    assert_eq!((ran.answered(), ran.unanswered()), (0, ran.requests.len()));
}
