//! What a kubelet is told: alive, and ready while everything is traced and the configuration is good.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use wirespan_tests::PATIENCE;
use wirespan_tests::agent::{Launch, need_root};
use wirespan_tests::temp::TempDir;

/// Status and text of an answer.
#[track_caller]
fn ask(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("the agent listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\n\r\n").expect("the agent reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the agent answers");
    let (head, text) = answer.split_once("\r\n\r\n").expect("a whole answer");
    (head.split(' ').nth(1).unwrap_or_default().to_owned(), text.to_owned())
}

#[track_caller]
fn wait_for(address: SocketAddr, path: &str, status: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (is, text) = ask(address, path);
        if is == status {
            return text;
        }
        assert!(Instant::now() < deadline, "{path} answers {is}: {text}");
        thread::yield_now();
    }
}

#[test]
fn it_is_ready_while_it_traces_and_its_file_is_good() {
    need_root();
    let files = TempDir::new("health");
    let file = files.file("wirespan.yaml", "select: {exclude: [port: 9090]}\n");
    let agent = Launch::new().args(["--health-listen", "127.0.0.1:0"]).env("WIRESPAN_CONFIG", &file).start();
    let line = agent.child().wait_err("health: http://");
    let address = line.strip_prefix("health: http://").and_then(|rest| rest.strip_suffix("/readyz")?.parse().ok());
    let address: SocketAddr = address.unwrap_or_else(|| panic!("no address in {line}"));
    assert_eq!(wait_for(address, "/readyz", "200"), "ok\n");
    assert_eq!(ask(address, "/livez").0, "200");
    assert_eq!(ask(address, "/metrics").0, "404", "who asks for health need not see metrics");
    fs::write(&file, "selct: {}\n").expect("it is ours");
    let why = wait_for(address, "/readyz", "503");
    assert!(why.contains("wirespan.yaml:1") && why.contains("`select`"), "{why}");
    assert_eq!(ask(address, "/livez").0, "200", "a new start would not help");
    fs::write(&file, "select: {exclude: [port: 9091]}\n").expect("it is ours");
    let _ = wait_for(address, "/readyz", "200");
    agent.stop().ledger.balances();
}
