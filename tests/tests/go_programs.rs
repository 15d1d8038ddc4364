//! Go programs: probes are put on them while they run, with next to no rights, and taken off when they end.

use std::fs;
use std::time::{Duration, Instant};

use wirespan_tests::PATIENCE;
use wirespan_tests::agent::{Agent, Launch, binary, need_root};
use wirespan_tests::child::Program;
use wirespan_tests::kernel;
use wirespan_tests::servers;
use wirespan_tests::temp::TempDir;

/// Probes on a Go program with an HTTP client.
const PROBES: usize = 2;

// Kinds of records, and where the first begins in a recording, bytes.
const CALL: u16 = 10;
const WRITER: u16 = 11;
const PREAMBLE: usize = 16;

/// Links that the agent holds.
fn links(agent: &Agent) -> usize {
    kernel::held_by(agent.pid()).iter().filter(|(what, _)| *what == "link").count()
}

#[track_caller]
fn wait_for_links(agent: &Agent, expect: usize) {
    let deadline = Instant::now() + PATIENCE;
    while links(agent) != expect {
        assert!(Instant::now() < deadline, "{} links instead of {expect}", links(agent));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn probes_come_and_go_with_the_programs_that_they_are_put_on() {
    let agent = Agent::start();
    assert!(agent.child().stderr().contains("uprobe_multi on Go programs"), "{}", agent.child().stderr());
    let before = links(&agent);
    let one = servers::go();
    wait_for_links(&agent, before + PROBES);
    // The probes are the file's, not the process's.
    let another = servers::go();
    let _ = Program::new("curl").args(["--silent", &another.url("/known")]).run().well();
    agent.request(wirespan_tests::span::Kind::Server, another.port, "/known");
    agent.fence();
    assert_eq!(links(&agent), before + PROBES);
    let _ = one.child.stop();
    agent.fence();
    assert_eq!(links(&agent), before + PROBES);
    let _ = another.child.stop();
    wait_for_links(&agent, before);
    let held = kernel::held_by(agent.pid());
    agent.stop().ledger.balances();
    kernel::wait_gone(&held);
}

#[test]
fn programs_from_before_the_start_have_probes_when_the_agent_is_ready() {
    need_root();
    let server = servers::go();
    let called = servers::python();
    let files = TempDir::new("go");
    let file = files.path().join("session");
    let recorder = Program::new(binary()).arg("record").arg(&file).start();
    recorder.wait_err("ready:");
    let _ = Program::new("curl").args(["--silent", &server.url(&format!("/call/{}", called.port))]).run().well();
    let _ = recorder.stop().well();
    let records = records(&fs::read(&file).expect("a recording"));
    let count =
        |wanted: u16| records.iter().filter(|(kind, pid)| *kind == wanted && *pid == server.child.pid()).count();
    assert_eq!((count(CALL), count(WRITER)), (1, 1));
}

#[test]
fn no_probe_is_put_on_anything_if_that_is_asked_for() {
    let agent = Launch::new().args(["--no-uprobes"]).start();
    let said = agent.child().stderr();
    assert!(said.contains("switched off (--no-uprobes)"), "{said}");
    let before = links(&agent);
    let server = servers::go();
    let _ = Program::new("curl").args(["--silent", &server.url("/unprobed")]).run().well();
    agent.request(wirespan_tests::span::Kind::Server, server.port, "/unprobed");
    assert_eq!(links(&agent), before);
    agent.stop().ledger.balances();
}

/// Kind and process of each record in a recording.
fn records(recording: &[u8]) -> Vec<(u16, u32)> {
    let number =
        |bytes: &[u8], at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes);
    let mut records = Vec::new();
    let mut rest = recording.get(PREAMBLE..).expect("a recording begins with a preamble");
    // A header: a time of eight bytes, the length, the kind. Of these kinds, the thread and the process follow.
    while let (Some(len), Some(kind)) = (number(rest, 8), number(rest, 12)) {
        records.push((kind as u16, number(rest, 20).unwrap_or(0)));
        rest = rest.get(len as usize..).expect("a whole record");
    }
    records
}
