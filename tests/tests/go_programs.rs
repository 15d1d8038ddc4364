//! Go programs: probes are put on them while they run, with next to no rights, and taken off when they end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use wirespan_tests::agent::{Agent, Launch, binary, need_root};
use wirespan_tests::child::Program;
use wirespan_tests::kernel;
use wirespan_tests::recording;
use wirespan_tests::servers;
use wirespan_tests::temp::TempDir;

/// Probes on a Go program with an HTTP client.
const PROBES: usize = 2;

/// Probes are put on Go programs whoever starts them, also another test.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn probes_come_and_go_with_the_programs_that_they_are_put_on() {
    let _alone = alone();
    let agent = Agent::start();
    assert!(agent.child().stderr().contains("uprobe_multi on Go programs"), "{}", agent.child().stderr());
    let before = kernel::links(agent.pid());
    let one = servers::go();
    kernel::wait_for_links(agent.pid(), before + PROBES);
    // The probes are the file's, not the process's.
    let another = servers::go();
    let _ = Program::new("curl").args(["--silent", &another.url("/known")]).run().well();
    agent.request(wirespan_tests::span::Kind::Server, another.port, "/known");
    agent.fence();
    assert_eq!(kernel::links(agent.pid()), before + PROBES);
    let _ = one.child.stop();
    agent.fence();
    assert_eq!(kernel::links(agent.pid()), before + PROBES);
    let _ = another.child.stop();
    kernel::wait_for_links(agent.pid(), before);
    let held = kernel::held_by(agent.pid());
    agent.stop().ledger.balances();
    kernel::wait_gone(&held);
}

#[test]
fn programs_from_before_the_start_have_probes_when_the_agent_is_ready() {
    need_root();
    let _alone = alone();
    let server = servers::go();
    let called = servers::python();
    let files = TempDir::new("go");
    let file = files.path().join("session");
    let recorder = Program::new(binary()).arg("record").arg(&file).start();
    recorder.wait_err("ready:");
    let _ = Program::new("curl").args(["--silent", &server.url(&format!("/call/{}", called.port))]).run().well();
    let _ = recorder.stop().well();
    let count = |kind| recording::count(&file, kind, server.child.pid());
    assert_eq!((count(recording::GO_CALL), count(recording::GO_WRITER)), (1, 1));
}

#[test]
fn no_probe_is_put_on_anything_if_that_is_asked_for() {
    let _alone = alone();
    let agent = Launch::new().args(["--no-uprobes"]).start();
    let said = agent.child().stderr();
    assert!(said.contains("switched off (--no-uprobes)"), "{said}");
    let before = kernel::links(agent.pid());
    let server = servers::go();
    let _ = Program::new("curl").args(["--silent", &server.url("/unprobed")]).run().well();
    agent.request(wirespan_tests::span::Kind::Server, server.port, "/unprobed");
    assert_eq!(kernel::links(agent.pid()), before);
    agent.stop().ledger.balances();
}
