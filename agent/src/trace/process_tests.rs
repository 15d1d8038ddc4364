//! What the process table knows, and when.

use wirespan_common::record::{COMM_BYTES, FILENAME_BYTES, Header};

use super::*;
use crate::trace::span::Value;

fn task(tgid: u32, start_ns: u64, parent_tgid: u32, comm: &str, filename: &str) -> Task {
    let mut task = Task {
        header: Header { time_ns: start_ns, len: 184, kind: 0, cpu: 0 },
        start_ns,
        tgid,
        parent_tgid,
        exit_code: 0,
        pad: 0,
        comm: [0; COMM_BYTES],
        filename: [0; FILENAME_BYTES],
    };
    task.comm[..comm.len()].copy_from_slice(comm.as_bytes());
    task.filename[..filename.len()].copy_from_slice(filename.as_bytes());
    task
}

fn process(tgid: u32, start_ns: u64, name: &str) -> Process {
    Process { tgid, start_ns, name: name.to_owned(), ..Process::default() }
}

fn table() -> Processes {
    let mut processes = Processes::default();
    processes.set_host("box");
    processes
}

fn text(resource: &Resource, key: &str) -> Option<String> {
    resource.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| match &attribute.value {
        Value::Str(text) => text.to_string(),
        other => format!("{other:?}"),
    })
}

#[test]
fn a_process_that_nobody_looked_at_has_the_name_it_was_started_by() {
    let mut processes = table();
    processes.forked(&task(7, 100, 1, "sh", ""));
    assert_eq!(processes.resource(7).service, "sh");
    processes.executed(&task(7, 100, 0, "curl", "/usr/bin/curl"));
    processes.exited(&task(7, 100, 0, "curl", ""));
    let resource = processes.resource(7);
    assert_eq!(resource.service, "curl");
    assert_eq!(text(&resource, "process.executable.path").as_deref(), Some("/usr/bin/curl"));
    assert_eq!(text(&resource, "host.name").as_deref(), Some("box"));
    assert_eq!(text(&resource, "process.pid").as_deref(), Some("Int(7)"));
}

#[test]
fn a_child_is_what_its_parent_is_until_it_becomes_another_program() {
    let mut processes = table();
    processes.learn(Process {
        container_id: Some("c1".to_owned()),
        service_name: Some("shop".to_owned()),
        ..process(1, 5, "nginx")
    });
    processes.forked(&task(2, 10, 1, "nginx", ""));
    let child = processes.resource(2);
    assert_eq!((child.service.as_str(), text(&child, "container.id").as_deref()), ("shop", Some("c1")));
    assert_eq!(text(&child, "process.parent_pid").as_deref(), Some("Int(1)"));
    processes.executed(&task(2, 10, 0, "cgi", "/srv/cgi"));
    let child = processes.resource(2);
    assert_eq!(text(&child, "process.executable.name").as_deref(), Some("cgi"));
    assert_eq!(text(&child, "container.id").as_deref(), Some("c1"));
}

#[test]
fn an_id_that_is_used_again_is_another_process() {
    let mut processes = table();
    let (old, new) = (CLOCK_TICK_NS, 3 * CLOCK_TICK_NS);
    processes.learn(process(7, old, "old"));
    processes.forked(&task(7, new, 1, "new", ""));
    assert_eq!(processes.resource(7).service, "new");
    processes.learn(process(7, old, "old"));
    processes.executed(&task(7, old, 0, "old", "/old"));
    processes.exited(&task(7, old, 0, "old", ""));
    assert_eq!(processes.resource(7).service, "new", "what is told late about the old one is ignored");
    assert!(processes.dead.is_empty());
    processes.learn(process(7, 5 * CLOCK_TICK_NS, "newest"));
    assert_eq!(processes.resource(7).service, "newest");
}

#[test]
fn user_space_knows_a_birth_less_exactly_than_the_kernel() {
    let mut processes = table();
    let birth = 7 * CLOCK_TICK_NS + 1234;
    processes.executed(&task(7, birth, 0, "node", "/usr/bin/node"));
    processes.learn(Process { service_name: Some("shop".to_owned()), ..process(7, 7 * CLOCK_TICK_NS, "node") });
    assert_eq!(processes.resource(7).service, "shop");
    processes.exited(&task(7, birth, 0, "node", ""));
    assert_eq!(processes.dead.len(), 1);

    processes.learn(process(8, 7 * CLOCK_TICK_NS, "sh"));
    processes.forked(&task(8, birth, 7, "node", ""));
    assert_eq!(processes.resource(8).service, "sh");
    processes.executed(&task(8, birth, 0, "curl", "/usr/bin/curl"));
    assert_eq!(processes.resource(8).service, "curl");
    assert_eq!(processes.born.len(), 2, "still the same two processes");
}

#[test]
fn a_service_always_has_a_name() {
    let mut processes = table();
    assert_eq!(processes.resource(99).service, "unknown_service");
    assert_eq!(text(&processes.resource(99), "host.name").as_deref(), Some("box"));
    assert_eq!(text(&processes.resource(99), "process.pid"), None);
    processes.learn(process(5, 1, ""));
    assert_eq!(processes.resource(5).service, "unknown_service");
}

#[test]
fn what_the_process_declares_comes_first() {
    let mut processes = table();
    let declared =
        [("host.name", "mine"), ("team", "blue"), ("service.name", "x"), ("telemetry.sdk.name", "y"), ("", "z")];
    processes.learn(Process {
        service_name: Some("shop".to_owned()),
        resource_attributes: declared.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..process(5, 1, "node")
    });
    let resource = processes.resource(5);
    assert_eq!(resource.service, "shop");
    assert_eq!(text(&resource, "service.name").as_deref(), Some("shop"));
    assert_eq!(text(&resource, "host.name").as_deref(), Some("mine"));
    assert_eq!(text(&resource, "team").as_deref(), Some("blue"));
    assert_eq!(text(&resource, "telemetry.sdk.name").as_deref(), Some("wirespan"));
    assert!(resource.attributes.iter().all(|attribute| !attribute.key.is_empty()));
}

#[test]
fn one_resource_serves_all_spans_of_a_process_until_more_is_known() {
    let mut processes = table();
    processes.learn(process(5, 1, "a"));
    let first = processes.resource(5);
    processes.learn(process(5, 1, "a"));
    assert!(Arc::ptr_eq(&first, &processes.resource(5)));
    processes.learn(Process { container_id: Some("c".to_owned()), ..process(5, 1, "a") });
    assert!(!Arc::ptr_eq(&first, &processes.resource(5)));
}

#[test]
fn the_selection_decides_about_programs_that_nobody_looked_at() {
    let except = Selection { except: vec!["exe:wrk".parse().expect("a selector")], ..Selection::default() };
    let mut processes = Processes::new(except);
    let before = processes.epoch();
    processes.executed(&task(7, 1, 0, "wrk", "/usr/bin/wrk"));
    assert!(processes.is_deselected(7) && processes.epoch() != before);
    processes.executed(&task(7, 1, 0, "curl", "/usr/bin/curl"));
    assert!(!processes.is_deselected(7));
    assert!(!processes.is_deselected(8));
    processes.learn(Process { deselected: true, ..process(8, 1, "x") });
    assert!(processes.is_deselected(8));
}

#[test]
fn a_child_is_selected_by_its_own_id_and_what_is_not_known_only_if_everything_is_wanted() {
    let only = |what: &str| Selection { only: vec![what.parse().expect("a selector")], ..Selection::default() };
    let mut processes = Processes::new(only("pid:8"));
    processes.learn(Process { deselected: true, executable: Some("/bin/sh".to_owned()), ..process(7, 1, "sh") });
    processes.forked(&task(8, 2, 7, "sh", ""));
    processes.forked(&task(9, 2, 7, "sh", ""));
    assert!(processes.is_wanted(8) && !processes.is_wanted(9) && !processes.is_wanted(10));
    assert!(!processes.is_deselected(10), "it may become known");
    assert!(table().is_wanted(10));
    let by_name = Processes::new(only("exe:sh"));
    assert!(!by_name.is_wanted(0));
}

#[test]
fn the_table_is_bounded_and_the_dead_go_first() {
    let mut processes = table();
    processes.learn(process(1, 1, "init"));
    for tgid in 2..=MAX_PROCESSES as u32 {
        processes.forked(&task(tgid, 2, 1, "", ""));
    }
    processes.exited(&task(500, 2, 0, "", ""));
    processes.forked(&task(1_000_000, 3, 1, "", ""));
    assert_eq!(processes.known.len(), MAX_PROCESSES);
    assert!(!processes.known.contains_key(&500) && processes.known.contains_key(&1));
    assert_eq!(processes.take_forgotten(), 0);
    processes.forked(&task(1_000_001, 3, 1_000_000, "", ""));
    assert!(!processes.known.contains_key(&1));
    assert_eq!(processes.take_forgotten(), 1);
}

#[test]
fn dead_processes_are_forgotten_in_time() {
    let mut processes = table();
    for tgid in 1..=5000 {
        processes.forked(&task(tgid, 2, 0, "x", ""));
        processes.exited(&task(tgid, 2, 0, "", ""));
    }
    assert_eq!(processes.known.len(), MAX_DEAD);
    assert!(processes.born.len() <= 2 * MAX_PROCESSES);
}
