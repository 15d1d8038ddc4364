//! A hostile process must not hold up the agent. In a program of its own: meanwhile every agent that starts knows less of
//! processes for some seconds.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};

use wirespan_tests::agent::{Launch, need_root};
use wirespan_tests::apps;
use wirespan_tests::child::Program;
use wirespan_tests::span::Kind;
use wirespan_tests::temp::TempDir;

#[test]
fn a_process_that_locks_its_memory_stalls_nobody() {
    need_root();
    let files = TempDir::new("stall");
    let directory = files.path().join("mount");
    fs::create_dir(&directory).expect("a directory");
    let hostile = Program::under(&["unshare", "--mount", "--"], "python3").arg(apps::file("stall.py")).arg(&directory);
    let hostile = hostile.start();
    let port: u16 =
        hostile.wait_out("listening on ").rsplit(' ').next().and_then(|port| port.parse().ok()).expect("a port");
    hostile.wait_out("stalled");
    // It is looked at in the first moment, because it listens.
    let agent = Launch::new().start();
    agent.fence();
    drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the kernel accepts for it"));
    agent.connection(Kind::Client, port);
    let said = agent.child().stderr();
    assert!(said.contains("could not be looked at within"), "it did not stall anybody:\n{said}");
    hostile.kill();
    agent.stop().ledger.balances();
}
