//! Which processes are traced.

use super::*;
use crate::flow::kubernetes::{Cluster, Pod};
use crate::proc::table::decide::SECOND_LOOK_NS;

/// The decisions that a second look leads to at processes that are what they are since then.
fn look_again(table: &mut Table<Machine>, since: u64) -> Vec<(u32, bool)> {
    let mut decisions = Vec::new();
    table.tick(Nanos(since + SECOND_LOOK_NS), &mut decisions);
    decisions.iter().map(|decision| (decision.tgid, decision.taken)).collect()
}

#[test]
fn excepted_programs_are_deselected_at_the_start_and_when_they_start() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &["exe:wrk"]);
    let mut decisions = Vec::new();
    table.begin(vec![running(1, 0, "/bin/sh"), running(2, 0, "/usr/bin/wrk")], &mut decisions);
    assert_eq!(decisions, [Decision { tgid: 2, taken: false }]);
    // A fork of it is not taken either, if it stays what it is; it executes something else and is.
    assert_eq!(observe(&mut table, &[fork(3, SECOND, 2, "wrk")]), []);
    assert!(table.introduce(3).expect("known").deselected, "the core knows at once");
    assert_eq!(look_again(&mut table, SECOND), [(3, false)]);
    assert_eq!(observe(&mut table, &[exec(2 * SECOND, 3, SECOND, "/bin/sh")]), [(3, true)]);
    // And the other way round.
    assert_eq!(observe(&mut table, &[fork(4, SECOND, 1, "sh"), exec(3 * SECOND, 4, SECOND, "/opt/wrk")]), []);
    assert!(table.introduce(4).expect("known").deselected);
    assert_eq!(look_again(&mut table, 3 * SECOND), [(4, false)]);
    // The kernel programs forgot it when it ran another program.
    assert_eq!(observe(&mut table, &[exec(4 * SECOND, 4, SECOND, "/opt/new/wrk")]), []);
    assert_eq!(look_again(&mut table, 4 * SECOND), [(4, false)]);
}

#[test]
fn who_runs_another_program_in_time_is_never_deselected() {
    let machine = Machine::default();
    let mut table = machine.table(&["exe:curl"], &[]);
    let last = SECOND + SECOND_LOOK_NS - 1;
    let began = [fork(2, SECOND, 1, "sh"), exec(SECOND, 2, SECOND, "/bin/env"), exec(last, 2, SECOND, "/bin/curl")];
    assert_eq!(observe(&mut table, &began), []);
    assert_eq!(look_again(&mut table, last), []);
}

/// The kernel programs may have been told just after the process had begun to run another program, of which nothing was read yet.
#[test]
fn a_number_is_free_again_when_its_process_ran_another_program_that_is_not_taken_and_ended() {
    let machine = Machine::default();
    let mut table = machine.table(&["exe:curl"], &[]);
    observe(&mut table, &[fork(4, SECOND, 1, "sh")]);
    assert_eq!(look_again(&mut table, SECOND), [(4, false)]);
    let late = SECOND + SECOND_LOOK_NS;
    assert_eq!(observe(&mut table, &[exec(late, 4, SECOND, "/bin/true"), exit(late + 1, 4, SECOND)]), []);
    assert_eq!(look_again(&mut table, late), [], "it has ended");
    assert_eq!(look_again(&mut table, late + EXIT_GRACE_NS), [(4, true)]);
}

#[test]
fn a_number_is_free_again_when_its_deselected_process_is_forgotten() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &["exe:wrk"]);
    observe(&mut table, &[exec(SECOND, 4, SECOND, "/opt/wrk")]);
    assert_eq!(look_again(&mut table, SECOND), [(4, false)]);
    observe(&mut table, &[exit(2 * SECOND, 4, SECOND)]);
    let mut decisions = Vec::new();
    table.tick(Nanos(60 * SECOND), &mut decisions);
    assert_eq!(decisions, [Decision { tgid: 4, taken: true }]);
}

#[test]
fn a_number_used_again_is_decided_anew() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &["exe:wrk"]);
    observe(&mut table, &[exec(SECOND, 4, SECOND, "/opt/wrk")]);
    assert_eq!(look_again(&mut table, SECOND), [(4, false)]);
    observe(&mut table, &[exit(2 * SECOND, 4, SECOND)]);
    assert_eq!(observe(&mut table, &[fork(4, 3 * SECOND, 1, "sh")]), [(4, true)]);
}

#[test]
fn with_only_everything_else_is_deselected() {
    let machine = Machine::default();
    let mut table = machine.table(&["exe:nginx"], &[]);
    let mut decisions = Vec::new();
    table.begin(vec![running(1, 0, "/bin/sh"), running(2, 0, "/usr/sbin/nginx")], &mut decisions);
    assert_eq!(decisions, [Decision { tgid: 1, taken: false }]);
}

#[test]
fn ports_alone_deselect_no_process() {
    let machine = Machine::default();
    let mut table = machine.table(&["port:80"], &[]);
    let mut decisions = Vec::new();
    table.begin(vec![running(1, 0, "/bin/sh")], &mut decisions);
    assert_eq!(decisions, []);
}

#[test]
fn another_selection_is_decided_for_everybody_who_lives() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &["exe:wrk"]);
    let mut decisions = Vec::new();
    table.begin(vec![running(1, 0, "/bin/sh"), running(2, 0, "/usr/bin/wrk")], &mut decisions);
    observe(&mut table, &[exec(SECOND, 3, SECOND, "/bin/sh"), exit(2 * SECOND, 3, SECOND)]);
    decisions.clear();
    table.select(Selection { only: Vec::new(), except: vec!["exe:sh".parse().expect("a selector")] }, &mut decisions);
    decisions.sort_unstable_by_key(|decision| decision.tgid);
    assert_eq!(decisions, [Decision { tgid: 1, taken: false }, Decision { tgid: 2, taken: true }], "3 has ended");
    decisions.clear();
    table.select(Selection::default(), &mut decisions);
    assert_eq!(decisions, [Decision { tgid: 1, taken: true }]);
}

#[test]
fn who_is_selected_anew_is_introduced_anew() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &["exe:wrk"]);
    machine.run(4, SECOND, "/opt/wrk");
    observe(&mut table, &[exec(SECOND, 4, SECOND, "/opt/wrk")]);
    assert!(table.introduce(4).expect("new").deselected);
    assert_eq!(table.introduce(4), None);
    table.select(Selection::default(), &mut Vec::new());
    assert!(!table.introduce(4).expect("the decision is another").deselected);
}

#[test]
fn owners_and_units_are_looked_at_and_looked_at_again() {
    let machine = Machine::default();
    let mut table = machine.table(&["user:33"], &[]);
    machine.run(1, 0, "/usr/sbin/nginx");
    machine.processes.borrow_mut().get_mut(&1).expect("it runs").uid = Some(0);
    let mut decisions = Vec::new();
    table.begin(vec![running(1, 0, "/usr/sbin/nginx")], &mut decisions);
    assert_eq!(decisions, [Decision { tgid: 1, taken: false }], "it is root's");
    // A worker is born as root's and becomes another's without executing anything.
    assert_eq!(observe(&mut table, &[fork(2, SECOND, 1, "nginx")]), []);
    assert!(table.introduce(2).expect("known").deselected);
    machine.run(2, SECOND, "/usr/sbin/nginx");
    decisions.clear();
    table.tick(Nanos(SECOND + SECOND_LOOK_NS - 1), &mut decisions);
    assert_eq!(decisions, []);
    table.tick(Nanos(SECOND + SECOND_LOOK_NS), &mut decisions);
    // Sockets of it may have been deselected one by one.
    assert_eq!(decisions, [Decision { tgid: 2, taken: true }]);
    assert!(!table.introduce(2).expect("told anew").deselected);
}

#[test]
fn a_fork_is_where_its_parent_is_without_a_look() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &["container:c0ffeec0ffee"]);
    machine.run(1, 0, "/bin/sh");
    machine.processes.borrow_mut().get_mut(&1).expect("it runs").container_id = Some("c0ffeec0ffeec0ffee".to_owned());
    table.begin(vec![running(1, 0, "/bin/sh")], &mut Vec::new());
    let looks = machine.looks.get();
    assert_eq!(observe(&mut table, &[fork(2, SECOND, 1, "sh")]), []);
    assert_eq!(machine.looks.get(), looks);
}

/// A process of a pod runs.
fn run_in_pod(machine: &Machine, tgid: u32, uid: &str) {
    machine.run(tgid, SECOND, "/bin/app");
    let place = crate::flow::fact::Place { pod_uid: Some(uid.to_owned()), ..Default::default() };
    *machine.processes.borrow_mut().get_mut(&tgid).expect("it runs").place = place;
}

/// What is decided when a pod is told.
fn learn(table: &mut Table<Machine>, pod: &Pod) -> Vec<(u32, bool)> {
    let mut decisions = Vec::new();
    table.learn_pod(pod, &mut decisions);
    decisions.iter().map(|decision| (decision.tgid, decision.taken)).collect()
}

#[test]
fn a_pod_that_opts_out_is_not_traced_any_more_until_it_opts_in() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    table.learn_cluster(&Cluster::default(), &mut Vec::new());
    run_in_pod(&machine, 7, "quiet");
    run_in_pod(&machine, 8, "other");
    observe(&mut table, &[fork(7, SECOND, 1, "app"), fork(8, SECOND, 1, "app")]);
    assert_eq!(table.introduce(7).map(|process| process.deselected), Some(false));
    let pod = |uid: &str, opted_out| Pod { uid: uid.to_owned(), opted_out, ..Pod::default() };
    assert_eq!(learn(&mut table, &pod("other", false)), []);
    assert_eq!(learn(&mut table, &pod("quiet", true)), [(7, false)]);
    assert_eq!(table.introduce(7).map(|process| process.deselected), Some(true), "it is introduced again");
    run_in_pod(&machine, 9, "quiet");
    assert_eq!(observe(&mut table, &[fork(9, SECOND, 7, "app")]), []);
    assert_eq!(look_again(&mut table, SECOND), [(9, false)], "its children, too");
    let mut back = learn(&mut table, &pod("quiet", false));
    back.sort_unstable();
    assert_eq!(back, [(7, true), (9, true)]);
}

#[test]
fn pods_are_selected_by_what_the_cluster_says_of_them_once_it_does() {
    let machine = Machine::default();
    let mut table = machine.table(&["namespace:shop"], &["label:tier=db"]);
    table.learn_cluster(&Cluster::default(), &mut Vec::new());
    run_in_pod(&machine, 7, "web");
    run_in_pod(&machine, 8, "db");
    observe(&mut table, &[exec(SECOND, 7, SECOND, "/bin/app"), exec(SECOND, 8, SECOND, "/bin/app")]);
    let mut decisions = look_again(&mut table, SECOND);
    decisions.sort_unstable();
    assert_eq!(decisions, [(7, false), (8, false)], "nothing is known yet");
    let pod = |uid: &str, labels: Vec<(String, String)>| Pod {
        uid: uid.to_owned(),
        namespace: "shop".to_owned(),
        labels,
        ..Pod::default()
    };
    assert_eq!(learn(&mut table, &pod("web", Vec::new())), [(7, true)]);
    assert_eq!(learn(&mut table, &pod("db", vec![("tier".to_owned(), "db".to_owned())])), []);
    assert_eq!(learn(&mut table, &pod("db", Vec::new())), [(8, true)]);
}
