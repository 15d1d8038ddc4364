//! Tests of the loop, with a source, a clock and processes of our own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use wirespan::config::Selection;
use wirespan::flow::fact::{Listener, Process, Socket};
use wirespan::flow::record::{Record, decode};
use wirespan_common::mode::Mode;
use wirespan_common::record::{COMM_BYTES, Endpoint, FILENAME_BYTES, Task, reason};
use zerocopy::IntoBytes;

use super::super::source::Receive;
use super::*;

const SECOND: u64 = 1_000_000_000;

/// Everything outside of the loop.
#[derive(Clone, Default)]
struct World {
    now: Rc<Cell<u64>>,
    boot_to_unix_ns: Rc<Cell<i64>>,
    counts: Rc<Cell<Counts>>,
    /// Rounds of records still to come; at the end, too.
    rounds: Rc<RefCell<VecDeque<Vec<Vec<u8>>>>>,
    /// What the source was told.
    told: Rc<RefCell<Vec<String>>>,
    /// What the sink wants.
    wanted: Rc<RefCell<Vec<(Cookie, Order)>>>,
    /// Of whom it wants to know who makes and wakes which thread.
    demanded: Rc<RefCell<Vec<(u32, bool)>>>,
    /// What the sink got.
    got: Rc<RefCell<Vec<String>>>,
}

impl World {
    fn agent(&self, except: &[&str]) -> (Agent<Self, Self, Self, Self>, Arc<Ledger>) {
        let except = except.iter().map(|text| text.parse().expect("a selector")).collect();
        let table = Table::new(self.clone(), Selection { only: Vec::new(), except });
        let ledger = Arc::<Ledger>::default();
        (Agent::new(self.clone(), self.clone(), table, self.clone(), Arc::clone(&ledger)), ledger)
    }

    /// One round with these records. What the sink got in it.
    fn step(&self, agent: &mut Agent<Self, Self, Self, Self>, records: &[Vec<u8>]) -> Vec<String> {
        self.rounds.borrow_mut().push_back(records.to_vec());
        agent.step();
        self.got.take()
    }
}

impl Source for World {
    fn wait(&mut self, _: Duration) {}

    fn poll(&mut self, receive: Receive<'_>) -> Nanos {
        let records = self.rounds.borrow_mut().pop_front().unwrap_or_default();
        records.iter().for_each(|record| receive(record));
        Nanos(self.now.get().saturating_sub(1))
    }

    fn finish(&mut self, receive: Receive<'_>) {
        self.told.borrow_mut().push("finish".to_owned());
        self.poll(receive);
    }

    fn steer(&mut self, cookie: Cookie, order: Order) {
        self.told.borrow_mut().push(format!("{} {:?}", cookie.0, order.mode));
    }

    fn select(&mut self, tgid: u32, taken: bool) {
        self.told.borrow_mut().push(format!("{tgid} {taken}"));
    }

    fn reconsider(&mut self) {
        self.told.borrow_mut().push("reconsider".to_owned());
    }

    fn meet(&mut self, tgid: u32) {
        self.told.borrow_mut().push(format!("{tgid} met"));
    }

    fn settle(&mut self, _: Duration) {}

    fn watch_threads(&mut self, tgid: u32, is_wanted: bool) {
        self.told.borrow_mut().push(format!("{tgid} threads {is_wanted}"));
    }

    fn part(&mut self, tgid: u32) {
        self.told.borrow_mut().push(format!("{tgid} parted"));
    }

    fn counts(&mut self) -> Counts {
        self.counts.get()
    }
}

impl Sink for World {
    fn push(&mut self, record: &[u8]) {
        let text = match decode(record) {
            Ok(Record::Segment { segment, .. }) => format!("{} segment", segment.header.time_ns),
            Ok(Record::Socket(socket)) => format!("{} socket", socket.header.time_ns),
            Ok(Record::Task(task)) => format!("{} task {}", task.header.time_ns, task.tgid),
            Ok(Record::Fact { time, fact }) => format!("{} {}", time.0, name(&fact)),
            Ok(other) => format!("{} touched", other.time().0),
            Err(_) => "malformed".to_owned(),
        };
        self.got.borrow_mut().push(text);
    }

    fn flush(&mut self, steering: &mut Vec<(Cookie, Order)>) {
        steering.append(&mut self.wanted.borrow_mut());
    }

    fn take_demands(&mut self, demands: &mut Vec<(u32, bool)>) {
        demands.append(&mut self.demanded.borrow_mut());
    }
}

impl Clock for World {
    fn now(&self) -> Nanos {
        Nanos(self.now.get())
    }

    fn boot_to_unix_ns(&self) -> i64 {
        self.boot_to_unix_ns.get()
    }
}

impl Lookup for World {
    fn look_up(&self, tgid: u32) -> Option<Process> {
        Some(Process {
            tgid,
            name: format!("p{tgid}"),
            executable: Some(format!("/bin/p{tgid}")),
            ..Process::default()
        })
    }
}

fn name(fact: &Fact) -> String {
    match fact {
        Fact::Host(_) => "host".to_owned(),
        Fact::Clock { boot_to_unix_ns } => format!("clock {boot_to_unix_ns}"),
        Fact::Process(process) => {
            format!("process {}{}", process.name, if process.deselected { " deselected" } else { "" })
        }
        Fact::Socket(_) => "old socket".to_owned(),
        Fact::Listener(_) => "listener".to_owned(),
        Fact::Selection(Selection { only, except }) => format!("selection {} {}", only.len(), except.len()),
        Fact::Kernel { attempted, ring_full } => format!("kernel {attempted} {ring_full}"),
        Fact::Cluster(_) => "cluster".to_owned(),
        Fact::Pod(pod) => format!("pod {}", pod.name),
        Fact::PodGone { uid } => format!("pod {uid} is gone"),
        Fact::Address(told) => format!("address {}", told.address),
        Fact::Shedding(told) => format!("sheds {}", told.parts),
        Fact::Tick => "tick".to_owned(),
    }
}

fn header<T>(kind: u16, time_ns: u64) -> Header {
    Header { time_ns, len: size_of::<T>() as u32, kind, cpu: 0 }
}

fn segment(time_ns: u64, sender: u32, reader: u32) -> Vec<u8> {
    let task = |tgid| TaskId { tid: tgid, tgid };
    let segment = record::Segment {
        header: header::<record::Segment>(kind::SEGMENT, time_ns),
        cookie: 1,
        offset: 0,
        peer_time_ns: 0,
        peer_offset: 0,
        local: Endpoint::default(),
        remote: Endpoint::default(),
        seq: 0,
        peer_next_seq: 0,
        len: 10,
        captured: 0,
        tail: 0,
        flags: 0,
        sender: task(sender),
        reader: task(reader),
    };
    segment.as_bytes().to_vec()
}

fn socket(time_ns: u64, opener: u32) -> Vec<u8> {
    let mut socket = record::Socket::read_from_bytes(&[0; size_of::<record::Socket>()]).expect("zeros are one");
    socket.header = header::<record::Socket>(kind::SOCKET, time_ns);
    socket.cookie = 1;
    socket.reason = reason::OPEN;
    socket.opener = TaskId { tid: opener, tgid: opener };
    socket.as_bytes().to_vec()
}

fn task(kind: u16, time_ns: u64, tgid: u32) -> Vec<u8> {
    let task = Task {
        header: header::<Task>(kind, time_ns),
        start_ns: 0,
        tgid,
        parent_tgid: 0,
        exit_code: 0,
        pad: 0,
        comm: [0; COMM_BYTES],
        filename: [0; FILENAME_BYTES],
    };
    task.as_bytes().to_vec()
}

#[test]
fn processes_are_introduced_before_the_record_that_mentions_them_with_its_time() {
    let world = World::default();
    let (mut agent, _) = world.agent(&[]);
    let got = world.step(&mut agent, &[segment(5, 7, 8), segment(6, 8, 7), socket(9, 10)]);
    assert_eq!(got, ["5 process p7", "5 process p8", "5 segment", "6 segment", "9 process p10", "9 socket"]);
}

#[test]
fn a_process_is_introduced_again_after_it_became_another_program() {
    let world = World::default();
    let (mut agent, _) = world.agent(&[]);
    let got = world.step(&mut agent, &[segment(5, 7, 0), task(kind::EXEC, 6, 7), segment(7, 7, 0)]);
    assert_eq!(got, ["5 process p7", "5 segment", "6 task 7", "7 process p7", "7 segment"]);
}

#[test]
fn what_is_no_record_is_passed_on_to_be_counted() {
    let world = World::default();
    let (mut agent, _) = world.agent(&[]);
    let got = world.step(&mut agent, &[vec![1, 2, 3], Vec::new(), segment(5, 7, 0)[..40].to_vec()]);
    assert_eq!(got, ["malformed"; 3]);
}

#[test]
fn what_was_there_before_comes_first_and_names_its_owners() {
    let world = World::default();
    world.now.set(50);
    let (mut agent, _) = world.agent(&[]);
    let (local, remote) = (Endpoint::default(), Endpoint::default());
    let mut before = Before::default();
    before.found.listeners.push(Listener { local, netns: 1, tgid: 7 });
    before.found.sockets.push(Socket { cookie: 1, local, remote, netns: 1, accepted: Some(true), tgid: 8 });
    before.found.sockets.push(Socket { cookie: 2, local, remote, netns: 1, accepted: Some(true), tgid: 0 });
    agent.begin(Nanos(40), Host::default(), before);
    assert_eq!(
        world.got.take(),
        ["40 host", "40 process p7", "40 listener", "40 process p8", "40 old socket", "40 old socket"]
    );
}

#[test]
fn ticks_come_with_time_and_never_ahead_of_records_that_may_still_come() {
    let world = World::default();
    let (mut agent, _) = world.agent(&[]);
    world.now.set(TICK_NS - 1);
    assert!(world.step(&mut agent, &[]).is_empty());
    world.now.set(TICK_NS);
    assert_eq!(world.step(&mut agent, &[]), [format!("{} tick", TICK_NS - 1)]);
    assert!(world.step(&mut agent, &[]).is_empty());
    world.now.set(2 * TICK_NS);
    assert_eq!(world.step(&mut agent, &[]), [format!("{} tick", 2 * TICK_NS - 1)]);
}

#[test]
fn the_core_is_told_when_the_time_of_day_was_set() {
    let world = World::default();
    world.boot_to_unix_ns.set(1_000);
    let (mut agent, _) = world.agent(&[]);
    world.now.set(CLOCK_CHECK_NS);
    world.boot_to_unix_ns.set(1_000 + 1_000_000);
    assert!(!world.step(&mut agent, &[]).iter().any(|got| got.contains("clock")), "drift within the slack");
    world.now.set(2 * CLOCK_CHECK_NS);
    world.boot_to_unix_ns.set(5_000_000);
    assert!(world.step(&mut agent, &[]).contains(&format!("{} clock 5000000", 2 * CLOCK_CHECK_NS - 1)));
    world.now.set(3 * CLOCK_CHECK_NS);
    assert!(!world.step(&mut agent, &[]).iter().any(|got| got.contains("clock")), "told already");
}

#[test]
fn the_ledger_follows_the_kernels_counters() {
    let world = World::default();
    let (mut agent, ledger) = world.agent(&[]);
    world.counts.set(Counts {
        attempted: 10,
        ring_full: 3,
        bad_packets: 1,
        no_storage: 2,
        copy_failed: 4,
        shed_requests: 0,
        missed_runs: 1,
        unread_goroutines: 0,
    });
    agent.account();
    world.counts.set(Counts {
        attempted: 15,
        ring_full: 4,
        bad_packets: 1,
        no_storage: 2,
        copy_failed: 5,
        shed_requests: 6,
        missed_runs: 2,
        unread_goroutines: 3,
    });
    agent.account();
    assert_eq!(ledger.records.observed(), 15);
    assert_eq!(ledger.records.dropped(Stage::Kernel, Reason::RingFull), 4);
    assert_eq!(ledger.counted(Count::BadPackets), 1);
    assert_eq!(ledger.counted(Count::NoStorage), 2);
    assert_eq!(ledger.counted(Count::CopyFailed), 5);
    assert_eq!(ledger.counted(Count::ShedRequests), 6);
    assert_eq!(ledger.counted(Count::MissedRuns), 2);
    assert_eq!(ledger.counted(Count::UnreadGoroutines), 3);
}

#[test]
fn the_core_is_told_of_losses_once() {
    let world = World::default();
    let (mut agent, _) = world.agent(&[]);
    world.counts.set(Counts { attempted: 10, ring_full: 3, ..Counts::default() });
    world.now.set(COUNTS_FACT_NS);
    assert!(world.step(&mut agent, &[]).contains(&format!("{} kernel 10 3", COUNTS_FACT_NS - 1)));
    world.now.set(2 * COUNTS_FACT_NS);
    assert!(!world.step(&mut agent, &[]).iter().any(|got| got.contains("kernel")));
}

#[test]
fn the_source_is_told_what_to_copy_and_whom_to_leave_out() {
    let world = World::default();
    let (mut agent, _) = world.agent(&["exe:p7"]);
    world.wanted.borrow_mut().push((Cookie(3), Mode::Opaque.into()));
    let got = world.step(&mut agent, &[task(kind::EXEC, 5, 7), segment(6, 7, 0)]);
    assert_eq!(got, ["5 task 7", "6 process p7 deselected", "6 segment"]);
    assert_eq!(world.told.take(), ["3 Opaque", "7 parted"], "it may run another program in a moment");
    world.now.set(SECOND);
    world.step(&mut agent, &[]);
    assert_eq!(world.told.take(), ["7 false"]);
}

#[test]
fn of_a_process_that_has_ended_no_threads_are_watched() {
    let world = World::default();
    let (mut agent, _) = world.agent(&[]);
    world.demanded.borrow_mut().extend([(7, true), (8, true)]);
    world.step(&mut agent, &[task(kind::EXIT, 5, 7)]);
    assert_eq!(world.told.take(), ["7 threads true", "8 threads true", "7 parted"], "the end comes last");
}

#[test]
fn another_selection_goes_to_the_core_and_to_the_source() {
    let world = World::default();
    let (mut agent, _) = world.agent(&["exe:p7"]);
    world.now.set(8);
    world.step(&mut agent, &[task(kind::EXEC, 5, 7), task(kind::EXEC, 5, 8), segment(6, 7, 8)]);
    world.told.take();
    agent.select(Selection { only: vec!["exe:p7".parse().expect("a selector")], except: Vec::new() });
    assert_eq!(world.got.take(), ["7 selection 1 0"]);
    let mut told = world.told.take();
    told.sort_unstable();
    assert_eq!(told, ["7 true", "8 false", "reconsider"]);
    // Both are introduced anew, before the next record of theirs.
    let got = world.step(&mut agent, &[segment(9, 7, 8)]);
    assert_eq!(got, ["9 process p7", "9 process p8 deselected", "9 segment"]);
}

#[test]
fn a_number_is_selected_again_when_its_process_is_long_gone() {
    let world = World::default();
    let (mut agent, _) = world.agent(&["exe:p7"]);
    world.step(&mut agent, &[task(kind::EXEC, 5, 7)]);
    world.now.set(SECOND);
    world.step(&mut agent, &[]);
    world.step(&mut agent, &[task(kind::EXIT, SECOND, 7)]);
    assert_eq!(world.told.take(), ["7 parted", "7 false", "7 parted"]);
    world.now.set(60 * SECOND);
    world.step(&mut agent, &[]);
    assert_eq!(world.told.take(), ["7 true"]);
}

#[test]
fn at_the_end_the_last_record_is_waited_for() {
    let world = World::default();
    let (agent, ledger) = world.agent(&[]);
    world.counts.set(Counts { attempted: 3, ring_full: 1, ..Counts::default() });
    *world.rounds.borrow_mut() =
        [vec![segment(5, 7, 0)], vec![], vec![segment(6, 7, 0)], vec![segment(7, 7, 0)]].into();
    agent.finish();
    assert_eq!(world.told.take(), ["finish"; 3]);
    assert_eq!(world.got.take(), ["5 process p7", "5 segment", "6 segment", "0 kernel 3 1"]);
    assert_eq!(ledger.records.observed(), 3);
}
