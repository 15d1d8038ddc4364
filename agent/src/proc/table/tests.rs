//! Tests of the table of processes, without real processes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wirespan_common::record::{COMM_BYTES, FILENAME_BYTES, Header};

use super::*;

mod decide;

const SECOND: u64 = 1_000_000_000;

/// A `/proc` of our own.
#[derive(Clone, Default)]
struct Machine {
    processes: Rc<RefCell<HashMap<u32, Process>>>,
    looks: Rc<Cell<u32>>,
}

impl Lookup for Machine {
    fn look_up(&self, tgid: u32) -> Option<Process> {
        self.looks.set(self.looks.get() + 1);
        self.processes.borrow().get(&tgid).cloned()
    }
}

impl Machine {
    /// A process runs. Its start is shown as `/proc` shows it.
    fn run(&self, tgid: u32, start_ns: u64, executable: &str) {
        let process = Process {
            tgid,
            start_ns: start_ns / 10_000_000 * 10_000_000,
            name: file_name(executable).expect("a name").to_owned(),
            executable: Some(executable.to_owned()),
            uid: Some(33),
            container_id: Some("c0ffee".to_owned()),
            service_name: Some("shop".to_owned()),
            program: Box::new(crate::flow::fact::Program { language: Some("c".to_owned()), ..Default::default() }),
            ..Process::default()
        };
        self.processes.borrow_mut().insert(tgid, process);
    }

    fn end(&self, tgid: u32) {
        self.processes.borrow_mut().remove(&tgid);
    }

    fn table(&self, only: &[&str], except: &[&str]) -> Table<Self> {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a selector")).collect();
        Table::new(self.clone(), Selection { only: parse(only), except: parse(except) })
    }
}

fn record(kind: u16, time_ns: u64, tgid: u32, start_ns: u64) -> Task {
    Task {
        header: Header { time_ns, len: size_of::<Task>() as u32, kind, cpu: 0 },
        start_ns,
        tgid,
        parent_tgid: 0,
        exit_code: 0,
        pad: 0,
        comm: [0; COMM_BYTES],
        filename: [0; FILENAME_BYTES],
    }
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut padded = [0; N];
    padded[..text.len()].copy_from_slice(text.as_bytes());
    padded
}

fn fork(tgid: u32, start_ns: u64, parent_tgid: u32, comm: &str) -> Task {
    Task { parent_tgid, comm: padded(comm), ..record(kind::FORK, start_ns, tgid, start_ns) }
}

fn exec(time_ns: u64, tgid: u32, start_ns: u64, path: &str) -> Task {
    let name = file_name(path).expect("a name");
    Task { comm: padded(name), filename: padded(path), ..record(kind::EXEC, time_ns, tgid, start_ns) }
}

fn exit(time_ns: u64, tgid: u32, start_ns: u64) -> Task {
    record(kind::EXIT, time_ns, tgid, start_ns)
}

fn running(tgid: u32, start_ns: u64, executable: &str) -> Running {
    let comm = file_name(executable).expect("a name").to_owned();
    Running { tgid, parent: 0, start_ns, comm, executable: Some(executable.to_owned()) }
}

/// The decisions that these records lead to.
fn observe(table: &mut Table<Machine>, tasks: &[Task]) -> Vec<(u32, bool)> {
    let mut decisions = Vec::new();
    tasks.iter().for_each(|task| table.observe(task, &mut decisions));
    decisions.iter().map(|decision| (decision.tgid, decision.taken)).collect()
}

#[test]
fn a_process_is_introduced_once_and_again_after_exec() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    machine.run(7, SECOND, "/bin/sh");
    assert_eq!(table.introduce(7).expect("new").name, "sh");
    assert_eq!(table.introduce(7), None);
    machine.run(7, SECOND, "/usr/sbin/nginx");
    observe(&mut table, &[exec(2 * SECOND, 7, SECOND, "/usr/sbin/nginx")]);
    assert_eq!(table.introduce(7).expect("another program").name, "nginx");
    assert_eq!(table.introduce(7), None);
}

#[test]
fn no_process_has_the_number_zero() {
    let machine = Machine::default();
    assert_eq!(machine.table(&[], &[]).introduce(0), None);
    assert_eq!(machine.looks.get(), 0);
}

#[test]
fn the_exact_birth_is_told_where_it_is_known() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    let start = SECOND + 7_654_321;
    machine.run(7, start, "/bin/sh");
    observe(&mut table, &[fork(7, start, 1, "init")]);
    assert_eq!(table.introduce(7).expect("new").start_ns, start);
}

#[test]
fn a_number_used_again_is_another_process() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    machine.run(7, SECOND, "/bin/one");
    observe(&mut table, &[fork(7, SECOND, 1, "init")]);
    assert_eq!(table.introduce(7).expect("new").name, "one");
    machine.run(7, 5 * SECOND, "/bin/two");
    observe(&mut table, &[exit(4 * SECOND, 7, SECOND), fork(7, 5 * SECOND, 1, "init")]);
    let second = table.introduce(7).expect("another process");
    assert_eq!((second.name.as_str(), second.start_ns), ("two", 5 * SECOND));
    // The end of the first does not make us forget the second.
    table.tick(Nanos(30 * SECOND), &mut Vec::new());
    assert_eq!((table.introduce(7), table.len()), (None, 1));
}

#[test]
fn what_proc_says_of_a_later_process_is_not_believed() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    observe(&mut table, &[fork(7, SECOND, 1, "first")]);
    machine.run(7, 5 * SECOND, "/bin/second");
    assert_eq!(table.introduce(7).expect("the first is known").name, "first");
}

#[test]
fn a_program_that_is_gone_before_we_look_has_its_name() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    machine.run(1, 0, "/bin/sh");
    table.begin(vec![running(1, 0, "/bin/sh")], &mut Vec::new());
    observe(
        &mut table,
        &[fork(7, SECOND, 1, "sh"), exec(SECOND, 7, SECOND, "/usr/bin/curl"), exit(SECOND + 20_000_000, 7, SECOND)],
    );
    let curl = table.introduce(7).expect("it is remembered");
    assert_eq!(curl.name, "curl");
    assert_eq!(curl.executable.as_deref(), Some("/usr/bin/curl"));
    // Its parent's container is its own; its parent's user and service need not be.
    assert_eq!((curl.container_id.as_deref(), curl.uid, curl.service_name), (Some("c0ffee"), None, None));
}

#[test]
fn a_fork_that_is_gone_before_we_look_is_as_its_parent() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    machine.run(1, 0, "/usr/sbin/apache2");
    table.begin(vec![running(1, 0, "/usr/sbin/apache2")], &mut Vec::new());
    observe(&mut table, &[fork(7, SECOND, 1, "apache2"), exit(2 * SECOND, 7, SECOND)]);
    let worker = table.introduce(7).expect("it is remembered");
    assert_eq!((worker.name.as_str(), worker.tgid, worker.start_ns), ("apache2", 7, SECOND));
    assert_eq!((worker.uid, worker.service_name.as_deref()), (Some(33), Some("shop")));
    assert_eq!((worker.parent, worker.program.language.as_deref()), (Some(1), Some("c")));
}

#[test]
fn a_program_is_looked_at_when_it_starts_and_remembered_when_it_is_gone() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    machine.run(7, SECOND, "/usr/bin/curl");
    observe(&mut table, &[fork(7, SECOND, 1, "sh"), exec(SECOND, 7, SECOND, "./curl")]);
    machine.end(7);
    let curl = table.introduce(7).expect("it is remembered");
    assert_eq!((curl.executable.as_deref(), curl.uid), (Some("/usr/bin/curl"), Some(33)));
}

#[test]
fn a_program_that_is_about_to_end_is_not_taken_for_a_kernel_thread() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    observe(&mut table, &[fork(7, SECOND, 1, "sh"), exec(SECOND, 7, SECOND, "/usr/bin/curl")]);
    machine.run(7, SECOND, "/usr/bin/curl");
    machine.processes.borrow_mut().get_mut(&7).expect("it runs").executable = None;
    assert_eq!(table.introduce(7).expect("known").executable.as_deref(), Some("/usr/bin/curl"));
}

#[test]
fn a_program_that_ended_before_its_exec_was_looked_at_is_known_by_the_record() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    machine.run(7, SECOND, "/usr/bin/curl");
    machine.processes.borrow_mut().get_mut(&7).expect("it runs").executable = None;
    observe(&mut table, &[fork(7, SECOND, 1, "sh"), exec(SECOND, 7, SECOND, "/usr/bin/curl")]);
    machine.end(7);
    assert_eq!(table.introduce(7).expect("known").executable.as_deref(), Some("/usr/bin/curl"));
}

#[test]
fn what_a_program_gave_up_since_it_was_first_looked_at_is_remembered() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    machine.run(7, SECOND, "/usr/bin/curl");
    let change = |change: fn(&mut Process)| change(machine.processes.borrow_mut().get_mut(&7).expect("it runs"));
    change(|curl| curl.program.arguments = vec!["curl".to_owned()]);
    observe(&mut table, &[fork(7, SECOND, 1, "sh"), exec(SECOND, 7, SECOND, "/usr/bin/curl")]);
    // Its memory goes while it is looked at again.
    change(|curl| (curl.program.arguments, curl.service_name, curl.uid) = (Vec::new(), None, Some(34)));
    let curl = table.introduce(7).expect("new");
    assert_eq!((curl.program.arguments.len(), curl.service_name.as_deref(), curl.uid), (1, Some("shop"), Some(34)));
}

#[test]
fn a_storm_of_programs_is_not_looked_at() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    for tgid in 1..=1000 {
        observe(&mut table, &[exec(SECOND, tgid, SECOND, "/bin/true")]);
    }
    assert_eq!(machine.looks.get(), EARLY_LOOKS_PER_SECOND);
    observe(&mut table, &[exec(2 * SECOND, 1, SECOND, "/bin/true")]);
    assert_eq!(machine.looks.get(), EARLY_LOOKS_PER_SECOND + 1);
}

#[test]
fn an_ended_process_is_forgotten_after_its_grace() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    observe(&mut table, &[fork(7, SECOND, 1, "sh"), exit(2 * SECOND, 7, SECOND), exit(2 * SECOND, 7, SECOND)]);
    table.tick(Nanos(2 * SECOND + EXIT_GRACE_NS - 1), &mut Vec::new());
    assert_eq!(table.len(), 1);
    table.tick(Nanos(2 * SECOND + EXIT_GRACE_NS), &mut Vec::new());
    assert!(table.is_empty());
    assert!(table.ended.is_empty());
}

#[test]
fn the_table_is_bounded() {
    let machine = Machine::default();
    let mut table = machine.table(&[], &[]);
    let limit = u32::try_from(MAX_PROCESSES).expect("it is small");
    for tgid in 1..=limit + 10 {
        table.observe(&fork(tgid, u64::from(tgid) * SECOND, 0, "x"), &mut Vec::new());
    }
    assert_eq!(table.len(), MAX_PROCESSES);
    machine.run(limit + 1, SECOND, "/bin/late");
    assert_eq!(table.introduce(limit + 1).expect("described without being kept").name, "late");
}

/// 5 000 programs a second for 20 seconds, each with a number that was used before: the table stays small, costs few looks,
/// and never takes one for another.
#[test]
fn a_storm_of_programs_with_numbers_used_again_confuses_nobody() {
    const PER_SECOND: u64 = 5_000;
    const NUMBERS: u64 = 4_000;
    let machine = Machine::default();
    let mut table = machine.table(&[], &["exe:odd"]);
    let mut decisions = Vec::new();
    let mut deselected = std::collections::HashSet::new();
    let mut checked = 0;
    for run in 0..20 * PER_SECOND {
        let now = SECOND + run * (SECOND / PER_SECOND);
        let tgid = 100 + (run % NUMBERS) as u32;
        let path = if run % 3 == 0 { "/bin/odd" } else { "/bin/even" };
        machine.run(tgid, now, path);
        for task in [fork(tgid, now, 1, "sh"), exec(now, tgid, now, path)] {
            table.observe(&task, &mut decisions);
        }
        if run % 7 == 0 {
            let process = table.introduce(tgid).expect("it is new");
            assert_eq!((process.start_ns, process.executable.as_deref()), (now, Some(path)));
            assert_eq!(process.deselected, run % 3 == 0);
            checked += 1;
        }
        table.observe(&exit(now + 1, tgid, now), &mut decisions);
        machine.end(tgid);
        if run % (PER_SECOND / 10) == 0 {
            table.tick(Nanos(now), &mut decisions);
        }
        for Decision { tgid, taken } in decisions.drain(..) {
            // Each is news: what the kernel was told is never told twice.
            assert!(if taken { deselected.remove(&tgid) } else { deselected.insert(tgid) });
        }
        assert!(table.len() as u64 <= NUMBERS + 1);
    }
    assert!(checked > 10_000);
    table.tick(Nanos(60 * SECOND), &mut decisions);
    decisions.drain(..).for_each(|decision| assert!(decision.taken && deselected.remove(&decision.tgid)));
    assert!(table.is_empty() && table.ended.is_empty() && deselected.is_empty());
}
