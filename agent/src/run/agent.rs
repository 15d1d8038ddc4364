//! The agent's one loop: records from the source, facts put in before the records that need them, everything to the
//! sink, and what the sink wants copied back to the source.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wirespan::config::Selection;
use wirespan::flow::fact::{Fact, Host, Shedding};
use wirespan::flow::record::encode_fact;
use wirespan::flow::{Cookie, Nanos};
use wirespan::ledger::{Count, Ledger, Reason, Stage};
use wirespan::metrics::CoreState;
use wirespan::proc::describe::Lookup;
use wirespan::proc::scan::Running;
use wirespan::proc::sockets::Found;
use wirespan::proc::table::{Decision, Table};
use wirespan_common::mode::Order;
use wirespan_common::record::{self, Header, TaskId, kind};
use zerocopy::FromBytes;

use super::clock::Clock;
use super::source::{Counts, Source};
use crate::exit::Failure;

/// How often the core is told that time has passed: it ends waits and reports live connections on that.
const TICK_NS: u64 = 100_000_000;
/// How often the two clocks are compared: the time of day may be set, and is slewed all the time.
const CLOCK_CHECK_NS: u64 = 10_000_000_000;
/// The clocks may have moved apart so far before the core is told.
const CLOCK_SLACK_NS: u64 = 1_000_000;
/// How often the kernel's counters become a fact, if a record was lost since.
const COUNTS_FACT_NS: u64 = 1_000_000_000;

/// Programs that run already are looked at before it is said that the agent is ready, but for so long at most.
const SETTLE: Duration = Duration::from_secs(1);

/// After everything is detached, a program may still run on another CPU, for microseconds, and then hand in a record. It
/// is waited for in so many rounds,
const LAST_ROUNDS: usize = 50;
/// with this pause between them.
const LAST_PAUSE: Duration = Duration::from_millis(2);

/// Where records and facts go.
pub(crate) trait Sink {
    /// Takes a record.
    fn push(&mut self, record: &[u8]);

    /// Passes on what has been made of the records so far, and gives what is to be copied of connections from now on.
    fn flush(&mut self, steering: &mut Vec<(Cookie, Order)>);

    /// Gives the addresses of which it should be found out who has them.
    fn take_asks(&mut self, _asks: &mut Vec<IpAddr>) {}

    /// Gives the processes of which it is to be told from now on who makes and wakes which thread, or no longer.
    fn take_demands(&mut self, _demands: &mut Vec<(u32, bool)>) {}

    /// What is to be said besides the ledger when a report is asked for: lines, or nothing.
    fn report(&self) -> String {
        String::new()
    }

    /// What there is to say of the core beside the ledger.
    fn state(&self) -> CoreState {
        CoreState::default()
    }

    /// Why nothing can be passed on any more, if so.
    fn failure(&mut self) -> Option<Failure> {
        None
    }
}

/// A source, a sink, and what lies between.
pub(crate) struct Agent<S, K, L, C> {
    source: S,
    clock: C,
    ledger: Arc<Ledger>,
    intake: Intake<K, L>,
    steering: Vec<(Cookie, Order)>,
    demands: Vec<(u32, bool)>,
    counts: Counts,
    boot_to_unix_ns: i64,
    tick: Timer,
    clock_check: Timer,
    counts_fact: Timer,
    /// Records lost in the kernel, as the core was last told.
    told_lost: u64,
    /// All records that are older were read.
    read_until: Nanos,
}

/// What stands before the sink.
struct Intake<K, L> {
    sink: K,
    table: Table<L>,
    decisions: Vec<Decision>,
    /// Processes that were met, or ended, since the source was last told.
    news: Vec<News>,
    fact: Vec<u8>,
    /// Records since the start.
    total: u64,
}

/// What becomes of a process.
enum News {
    /// It has something to do with what is traced.
    Met(u32),
    /// It has ended, or runs another program.
    Parted(u32),
}

/// What was there when the agent started.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// Processes.
    pub running: Vec<Running>,
    /// Sockets.
    pub found: Found,
}

impl<S: Source, K: Sink, L: Lookup, C: Clock> Agent<S, K, L, C> {
    /// Puts the parts together.
    pub(crate) fn new(source: S, sink: K, table: Table<L>, clock: C, ledger: Arc<Ledger>) -> Self {
        let now = clock.now();
        Self {
            source,
            boot_to_unix_ns: clock.boot_to_unix_ns(),
            clock,
            ledger,
            intake: Intake { sink, table, decisions: Vec::new(), news: Vec::new(), fact: Vec::new(), total: 0 },
            steering: Vec::new(),
            demands: Vec::new(),
            counts: Counts::default(),
            tick: Timer::new(now, TICK_NS),
            clock_check: Timer::new(now, CLOCK_CHECK_NS),
            counts_fact: Timer::new(now, COUNTS_FACT_NS),
            told_lost: 0,
            read_until: now,
        }
    }

    /// Tells the core of the machine, and of what was there before the probes.
    ///
    /// `since` is a time before the probes: no record is older.
    pub(crate) fn begin(&mut self, since: Nanos, host: Host, before: Before) {
        self.boot_to_unix_ns = host.boot_to_unix_ns;
        self.intake.fact(since, &Fact::Host(host));
        self.intake.table.begin(before.running, &mut self.intake.decisions);
        for listener in before.found.listeners {
            self.intake.introduce(since, listener.tgid);
            self.intake.fact(since, &Fact::Listener(listener));
        }
        for socket in before.found.sockets {
            self.intake.introduce(since, socket.tgid);
            self.intake.fact(since, &Fact::Socket(socket));
        }
        self.pass_on();
        self.source.settle(SETTLE);
    }

    /// Waits until there may be something for a round, at most so long.
    pub(crate) fn wait(&mut self, at_most: Duration) {
        self.source.wait(at_most);
    }

    /// One round.
    pub(crate) fn step(&mut self) {
        let now = self.clock.now();
        let intake = &mut self.intake;
        let until = self.source.poll(&mut |record| intake.take(record));
        self.read_until = until;
        if self.clock_check.is_due(now) {
            self.compare_clocks(until);
        }
        if self.tick.is_due(now) {
            self.intake.table.tick(until, &mut self.intake.decisions);
            self.intake.fact(until, &Fact::Tick);
            self.account();
        }
        if self.counts_fact.is_due(now) {
            self.tell_counts(until);
        }
        self.pass_on();
    }

    /// Something else is traced from now on.
    pub(crate) fn select(&mut self, selection: Selection) {
        // Nothing older than what was read last will come; what is younger is judged anew.
        self.intake.fact(self.read_until, &Fact::Selection(selection.clone()));
        self.intake.table.select(selection, &mut self.intake.decisions);
        self.pass_on();
        self.source.reconsider();
    }

    /// Something was found out about the cluster.
    pub(crate) fn tell(&mut self, fact: &Fact) {
        let Intake { table, decisions, .. } = &mut self.intake;
        match fact {
            Fact::Cluster(cluster) => table.learn_cluster(cluster, decisions),
            Fact::Pod(pod) => table.learn_pod(pod, decisions),
            Fact::PodGone { uid } => table.forget_pod(uid),
            _ => {}
        }
        self.intake.fact(self.read_until, fact);
    }

    /// From now on so much is left out; the kernel knows it when this returns.
    pub(crate) fn shed(&mut self, told: Shedding) {
        self.intake.fact(self.read_until, &Fact::Shedding(told));
        self.pass_on();
    }

    /// Detaches, and works on all that is left. Gives back the sink.
    pub(crate) fn finish(mut self) -> K {
        for _ in 0..LAST_ROUNDS {
            let intake = &mut self.intake;
            self.source.finish(&mut |record| intake.take(record));
            self.account();
            if self.intake.total + self.counts.ring_full >= self.counts.attempted {
                break;
            }
            thread::sleep(LAST_PAUSE);
        }
        self.tell_counts(self.clock.now());
        // Nothing is to be found out any more.
        self.intake.news.clear();
        self.pass_on();
        self.intake.sink
    }

    /// Brings the ledger up to date with the kernel's counters.
    pub(crate) fn account(&mut self) {
        let counts = self.source.counts();
        self.ledger.records.observe(counts.attempted.saturating_sub(self.counts.attempted));
        let lost = counts.ring_full.saturating_sub(self.counts.ring_full);
        self.ledger.records.lose(Stage::Kernel, Reason::RingFull, lost);
        self.ledger.set(Count::BadPackets, counts.bad_packets);
        self.ledger.set(Count::NoStorage, counts.no_storage);
        self.ledger.set(Count::CopyFailed, counts.copy_failed);
        self.ledger.set(Count::ShedRequests, counts.shed_requests);
        self.ledger.set(Count::MissedRuns, counts.missed_runs);
        self.ledger.set(Count::UnreadGoroutines, counts.unread_goroutines);
        self.counts = counts;
    }

    /// Where everything goes.
    pub(crate) fn sink(&mut self) -> &mut K {
        &mut self.intake.sink
    }

    fn tell_counts(&mut self, time: Nanos) {
        let Counts { attempted, ring_full, .. } = self.counts;
        if ring_full != self.told_lost {
            self.told_lost = ring_full;
            self.intake.fact(time, &Fact::Kernel { attempted, ring_full });
        }
    }

    fn compare_clocks(&mut self, time: Nanos) {
        let boot_to_unix_ns = self.clock.boot_to_unix_ns();
        if boot_to_unix_ns.abs_diff(self.boot_to_unix_ns) > CLOCK_SLACK_NS {
            self.boot_to_unix_ns = boot_to_unix_ns;
            self.intake.fact(time, &Fact::Clock { boot_to_unix_ns });
        }
    }

    /// What was made goes out, what was decided goes back.
    fn pass_on(&mut self) {
        self.intake.sink.flush(&mut self.steering);
        for (cookie, order) in self.steering.drain(..) {
            self.source.steer(cookie, order);
        }
        for Decision { tgid, taken } in self.intake.decisions.drain(..) {
            self.source.select(tgid, taken);
        }
        // Before it is said which processes are gone: of those nothing must be left.
        self.intake.sink.take_demands(&mut self.demands);
        for (tgid, is_wanted) in self.demands.drain(..) {
            self.source.watch_threads(tgid, is_wanted);
        }
        for news in self.intake.news.drain(..) {
            match news {
                News::Met(tgid) => self.source.meet(tgid),
                News::Parted(tgid) => self.source.part(tgid),
            }
        }
    }
}

impl<K: Sink, L: Lookup> Intake<K, L> {
    /// Passes a record on, behind the facts that it needs.
    fn take(&mut self, record: &[u8]) {
        self.total += 1;
        let (time, tasks) = self.look_at(record);
        for task in tasks {
            self.introduce(time, task.tgid);
        }
        self.sink.push(record);
    }

    /// When, and which tasks it mentions. What is no record is left to the core to count.
    fn look_at(&mut self, bytes: &[u8]) -> (Nanos, [TaskId; 3]) {
        let nobody = TaskId::default();
        let Ok((header, _)) = Header::read_from_prefix(bytes) else {
            return (Nanos(0), [nobody; 3]);
        };
        let tasks = match header.kind {
            kind::SEGMENT => record::Segment::read_from_prefix(bytes)
                .map_or([nobody; 3], |(segment, _)| [segment.sender, segment.reader, nobody]),
            kind::SOCKET => record::Socket::read_from_prefix(bytes)
                .map_or([nobody; 3], |(socket, _)| [socket.opener, socket.sender, socket.reader]),
            kind::FORK | kind::EXEC | kind::EXIT => {
                if let Ok((task, _)) = record::Task::read_from_prefix(bytes) {
                    self.table.observe(&task, &mut self.decisions);
                    if header.kind != kind::FORK {
                        self.news.push(News::Parted(task.tgid));
                    }
                }
                [nobody; 3]
            }
            _ => [nobody; 3],
        };
        (Nanos(header.time_ns), tasks)
    }

    fn introduce(&mut self, time: Nanos, tgid: u32) {
        if let Some(process) = self.table.introduce(tgid) {
            if !process.deselected && process.executable.is_some() {
                self.news.push(News::Met(tgid));
            }
            self.fact(time, &Fact::Process(process));
        }
    }

    fn fact(&mut self, time: Nanos, fact: &Fact) {
        self.fact.clear();
        encode_fact(time, fact, &mut self.fact);
        self.sink.push(&self.fact);
    }
}

/// Is due once per period.
struct Timer {
    next: Nanos,
    period_ns: u64,
}

impl Timer {
    fn new(now: Nanos, period_ns: u64) -> Self {
        Self { next: Nanos(now.0.saturating_add(period_ns)), period_ns }
    }

    fn is_due(&mut self, now: Nanos) -> bool {
        let due = now >= self.next;
        if due {
            self.next = Nanos(now.0.saturating_add(self.period_ns));
        }
        due
    }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
