//! Tests of the table, through encoded records.

mod property;

use wirespan_common::record::{Header, TaskId, socket};

use super::super::build::{self, Building, LOCAL, REMOTE, close, open, report, seg};
use super::super::connection::MAX_HELD_BYTES;
use super::super::{At, Chunk, Direction, Facts, Role, Side, record::decode};
use super::*;

const MS: u64 = 1_000_000;

/// Writes down what it gets, and checks that each direction is a stream.
#[derive(Default)]
struct Log {
    events: Vec<String>,
    last: Option<Facts>,
    bytes: Vec<(u64, Direction, Vec<u8>)>,
    /// Leave `refreshed` out.
    quiet: bool,
}

#[derive(Debug, Default)]
struct Seen {
    pos: [u64; 2],
    time: [u64; 2],
    over: [bool; 2],
}

impl Consumer for Log {
    type State = Seen;

    fn chunk(&mut self, facts: &mut Facts, seen: &mut Seen, way: Direction, at: At, chunk: Chunk<'_>) {
        assert!(!seen.over[way as usize] && !chunk.is_empty());
        assert_eq!(at.pos, seen.pos[way as usize]);
        assert!(at.time.0 >= seen.time[way as usize]);
        seen.pos[way as usize] += chunk.len();
        seen.time[way as usize] = at.time.0;
        let text = match chunk {
            Chunk::Bytes(bytes) => {
                self.bytes.push((facts.cookie.0, way, bytes.to_vec()));
                String::from_utf8_lossy(bytes).into_owned()
            }
            Chunk::Gap(len) => format!("gap {len}"),
        };
        self.events.push(format!("{} {way:?} {}@{} {text}", facts.cookie.0, at.pos, at.time.0));
    }

    fn finished(&mut self, facts: &mut Facts, seen: &mut Seen, way: Direction, time: Nanos) {
        assert!(!std::mem::replace(&mut seen.over[way as usize], true));
        self.events.push(format!("{} {way:?} end@{}", facts.cookie.0, time.0));
    }

    fn refreshed(&mut self, facts: &mut Facts, _: &mut Seen, time: Nanos) {
        if !self.quiet {
            self.events.push(format!("{} refreshed@{}", facts.cookie.0, time.0));
        }
        self.last = Some(facts.clone());
    }

    fn void(&mut self, facts: &mut Facts, _: Seen) {
        self.events.push(format!("{} void", facts.cookie.0));
    }

    fn ended(&mut self, facts: &mut Facts, seen: Seen, ending: Ending, time: Nanos) {
        assert!(seen.pos[0] <= facts.sent && seen.pos[1] <= facts.received);
        self.events.push(format!("{} {ending:?}@{}", facts.cookie.0, time.0));
        self.last = Some(facts.clone());
    }
}

struct Run {
    flows: Flows<Log>,
    log: Log,
    ledger: Ledger,
}

impl Run {
    fn new(max_connections: usize) -> Self {
        Self {
            flows: Flows::new(max_connections),
            log: Log { quiet: true, ..Log::default() },
            ledger: Ledger::default(),
        }
    }

    fn push(&mut self, records: &[Vec<u8>]) -> &mut Self {
        for record in records {
            self.flows.push(&decode(record).unwrap(), &mut self.log, &self.ledger);
        }
        self
    }

    fn facts(&self) -> &Facts {
        self.log.last.as_ref().expect("nothing was refreshed or ended")
    }
}

fn run(records: &[Vec<u8>]) -> Run {
    let mut run = Run::new(100);
    run.push(records);
    run
}

#[track_caller]
fn check(records: &[Vec<u8>], expect: &[&str]) {
    assert_eq!(run(records).log.events, expect);
}

fn task(tgid: u32) -> TaskId {
    TaskId { tid: tgid + 1, tgid }
}

#[test]
fn what_is_recorded_again_begins_anew() {
    let again = |at, bytes, time| seg(1).anew().at(at, bytes).time(time).flags(segment::AGAIN);
    check(
        &[
            open(1).bytes(),
            seg(1).at(0, b"GET").time(10).flags(segment::TURN).bytes(),
            again(0, b"POST", 20).flags(segment::TURN).bytes(),
            again(4, b"ed", 30).bytes(),
            // A second time, it looks as if it never had been.
            seg(1).anew().at(0, b"PUT").time(40).flags(segment::TURN).bytes(),
            Socket { header: Header { time_ns: 50, ..close(1).header }, ..close(1) }.bytes(),
        ],
        &["1 In 0@10 GET", "1 void", "1 In 0@20 POST", "1 In 4@30 ed", "1 void", "1 In 0@40 PUT", "1 Closed@50"],
    );
}

#[test]
fn an_exchange_and_its_connection() {
    check(
        &[
            open(1).bytes(),
            seg(1).at(0, b"GET").time(10).flags(segment::TURN).bytes(),
            seg(1).out().at(0, b"200").time(20).peer(3, 10).flags(segment::TURN | segment::FIN).bytes(),
            seg(1).at(3, b"").time(30).peer(3, 20).flags(segment::FIN).bytes(),
            Socket { header: Header { time_ns: 40, ..close(1).header }, ..close(1) }.bytes(),
        ],
        &["1 In 0@10 GET", "1 Out 0@20 200", "1 Out end@20", "1 In end@30", "1 Closed@40"],
    );
}

#[test]
fn an_uncopied_body_ends_when_the_peer_says_so() {
    let request = seg(1).at(0, b"POST").uncopied(96, b"").time(10).bytes();
    check(
        &[request.clone(), seg(1).out().at(0, b"200").time(90).peer(5_000, 80).flags(segment::TURN).bytes()],
        &["1 In 0@10 POST", "1 In 4@10 gap 96", "1 In 100@80 gap 4900", "1 Out 0@90 200"],
    );
    let unknown = seg(1).out().at(0, b"200").time(90).peer(101, 0);
    check(
        &[request.clone(), unknown.bytes()],
        &["1 In 0@10 POST", "1 In 4@10 gap 96", "1 In 100@90 gap 1", "1 Out 0@90 200"],
    );
    let reached = Socket { received_offset: 300, received_ns: 40, sent_offset: 7, sent_ns: 50, ..report(1) };
    check(
        &[request, reached.bytes()],
        &["1 In 0@10 POST", "1 In 4@10 gap 96", "1 In 100@40 gap 200", "1 Out 0@50 gap 7"],
    );
}

#[test]
fn bytes_wait_for_others_until_time_a_turn_or_the_end() {
    let early = seg(1).at(3, b"def").time(MS).flags(segment::AHEAD).bytes();
    let forced = ["1 In 0@1000000 gap 3", "1 In 3@1000000 def"];

    let mut timed = run(&[early.clone(), build::tick(10_000 * MS)]);
    assert!(timed.log.events.is_empty());
    timed.push(&[build::tick(10_001 * MS)]);
    assert_eq!(timed.log.events, forced);
    assert_eq!((timed.ledger.counted(Count::Holes), timed.ledger.counted(Count::HoleBytes)), (1, 3));

    let answer = |peer| seg(1).out().at(0, b"x").time(2 * MS).peer(peer, MS).flags(segment::TURN).bytes();
    check(&[early.clone(), answer(6)], &[forced[0], forced[1], "1 Out 0@2000000 x"]);
    check(&[early.clone(), answer(0)], &["1 Out 0@2000000 x"]);
    check(&[early.clone(), close(1).bytes()], &[forced[0], forced[1], "1 Closed@0"]);
    check(&[early, seg(1).at(0, b"abc").time(3 * MS).bytes()], &["1 In 0@3000000 abc", "1 In 3@3000000 def"]);
}

#[test]
fn each_direction_waits_for_its_own_time() {
    let early = seg(1).at(3, b"def").time(MS).flags(segment::AHEAD);
    let other = seg(1).out().at(1, b"b").time(100 * MS).flags(segment::AHEAD);
    let mut run = run(&[early.bytes(), other.bytes(), build::tick(10_001 * MS)]);
    assert_eq!(run.log.events, ["1 In 0@1000000 gap 3", "1 In 3@1000000 def"]);
    run.push(&[build::tick(10_100 * MS)]);
    assert_eq!(run.log.events[2..], ["1 Out 0@100000000 gap 1", "1 Out 1@100000000 b"]);
}

#[test]
fn what_waits_is_bounded_per_connection() {
    let mut run = Run::new(10);
    let payload = [7; 4_000];
    for n in 0..100u64 {
        let piece = seg(1).at(10 + n * 5_000, &payload).flags(segment::AHEAD);
        let piece = if n % 2 == 0 { piece.out() } else { piece };
        run.push(&[piece.bytes()]);
        let slot = run.flows.slots[0].as_ref().unwrap();
        assert!(slot.connection.held_bytes() <= MAX_HELD_BYTES);
    }
    run.flows.finish(Nanos(1), &mut run.log, &run.ledger);
    let bytes: usize = run.log.bytes.iter().map(|(_, _, bytes)| bytes.len()).sum();
    assert_eq!(bytes, 100 * payload.len(), "all that was copied came out");
}

#[test]
fn payload_seen_at_the_listener_comes_first() {
    let base = u32::MAX - 1;
    let at_listener =
        |seq: u32, payload| seg(0).at(0, payload).seq(base.wrapping_add(seq)).time(5).flags(segment::LISTENER).bytes();
    let opened = Socket { remote_first_seq: base, local_first_seq: 9, ..open(1) }.bytes();
    let next = seg(1).at(4, b"ef").base(base).time(9).bytes();
    let expect = ["1 In 0@5 ab", "1 In 2@5 cd", "1 In 4@9 ef"];

    check(&[at_listener(2, b"cd"), at_listener(0, b"ab"), opened.clone(), next.clone()], &expect);
    check(&[at_listener(2, b"cd"), at_listener(0, b"ab"), next.clone()], &expect);
    check(&[opened.clone(), at_listener(0, b"ab"), at_listener(2, b"cd"), next.clone()], &expect);
    // The answer is all that is left: the request still comes before it.
    let answer = seg(1).out().at(0, b"x").base(9).time(8).peer(4, 5).flags(segment::TURN).bytes();
    check(&[opened.clone(), at_listener(0, b"abcd"), answer], &["1 In 0@5 abcd", "1 Out 0@8 x"]);
    // The same endpoints in another namespace.
    check(&[at_listener(1 << 20, b"zz"), opened.clone(), next], &["1 In 0@9 gap 4", "1 In 4@9 ef"]);

    // The other end of the same connection, on this machine: not its payload.
    let client = Socket { flags: socket::ACTIVE | socket::FROM_START, remote_first_seq: base, ..open(2) };
    check(&[at_listener(0, b"ab"), client.bytes(), opened], &["1 In 0@5 ab"]);

    let lost = run(&[at_listener(0, b"ab"), build::tick(3_000 * MS)]);
    assert_eq!(lost.ledger.counted(Count::OrphanSegments), 1);
}

#[test]
fn facts_come_from_all_records() {
    let client = Socket {
        flags: socket::ACTIVE | socket::ESTABLISHED | socket::FROM_START,
        connect_ns: 5,
        established_ns: 9,
        remote: build::v4(9, 80),
        local_first_seq: 100,
        remote_first_seq: 200,
        opener: task(1),
        ..open(1)
    };
    let mut run = run(&[client.bytes()]);
    let facts = run.facts();
    assert_eq!((facts.role, facts.task, facts.netns), (Some(Role::Client), task(1), 1));
    assert_eq!((facts.connecting, facts.established), (Some(Nanos(5)), Some(Nanos(9))));
    assert_eq!((facts.out_base, facts.in_base, facts.from_start), (Some(100), Some(200), true));
    assert_eq!((facts.remote, facts.dialled), (build::v4(9, 80), None));

    let ask = seg(1).out().at(0, b"abc").base(100).time(20).with(|s| {
        s.sender = task(2);
        s.reader = task(3);
    });
    let last = Socket {
        flags: socket::ACTIVE | socket::ESTABLISHED | socket::REMOTE_CLOSED_FIRST,
        remote: build::v4(9, 80),
        bytes_sent: 4,
        sent_offset: 3,
        received_offset: 1_000,
        srtt_us: 77,
        retransmits: 2,
        ..close(1)
    };
    run.push(&[ask.bytes(), last.bytes()]);
    let facts = run.facts();
    assert_eq!((facts.task, facts.remote, facts.dialled), (task(2), REMOTE, Some(build::v4(9, 80))));
    assert_eq!((facts.sent, facts.received, facts.srtt_us, facts.retransmits), (3, 1_000, 77, 2));
    assert_eq!((facts.closed_first, facts.last_seen), (Some(Side::Server), Nanos(20)));
}

#[test]
fn one_segment_of_a_socket_known_from_the_handshake_gives_both_bases() {
    let with_peer = |s: &mut Segment| {
        s.peer_next_seq = 75;
        s.peer_offset = 5;
    };
    let both = run(&[seg(1).at(3, b"abc").base(9).with(with_peer).bytes(), report(1).bytes()]);
    assert_eq!((both.facts().in_base, both.facts().out_base, both.facts().from_start), (Some(9), Some(70), true));
    let one = run(&[seg(1).at(3, b"abc").base(9).bytes(), report(1).bytes()]);
    assert_eq!((one.facts().in_base, one.facts().out_base, one.facts().from_start), (Some(9), None, false));
}

#[test]
fn a_server_is_who_reads_and_a_joined_stream_has_the_kernels_counts() {
    let joined = |s: &mut Segment| {
        s.flags = segment::PASSIVE;
        s.reader = task(5);
        s.sender = task(6);
        s.peer_next_seq = 70;
        s.peer_offset = 0;
    };
    let mut run = run(&[seg(1).at(0, b"abc").base(u32::MAX).with(joined).bytes()]);
    run.push(&[Socket { bytes_sent: 50, bytes_received: 60, ..report(1) }.bytes()]);
    let facts = run.facts();
    assert_eq!((facts.role, facts.task, facts.from_start), (Some(Role::Server), task(5), false));
    assert_eq!((facts.in_base, facts.out_base), (Some(u32::MAX), Some(70)));
    assert_eq!((facts.sent, facts.received), (50, 60));
    let sends = |s: &mut Segment| {
        s.sender = task(6);
        s.remote = build::v4(9, 9);
    };
    // Who listens stands in, who sends is better; where packets go does not change who asked.
    run.push(&[build::listen(88).bytes(), open(2).bytes(), seg(2).out().at(0, b"x").with(sends).bytes()]);
    run.push(&[report(2).bytes()]);
    assert_eq!((run.facts().task, run.facts().remote, run.facts().dialled), (task(6), REMOTE, None));
    // A socket that was torn down has lost its addresses.
    run.push(&[Socket { local: Endpoint::default(), remote: Endpoint::default(), ..close(2) }.bytes()]);
    assert_eq!((run.facts().local, run.facts().remote), (LOCAL, REMOTE));
}

#[test]
fn old_sockets_and_listeners_tell_who_serves() {
    let old = run(&[build::fact(3, &Fact::Socket(build::old_socket(1)))]);
    assert_eq!((old.facts().role, old.facts().task.tgid, old.facts().netns), (Some(Role::Server), 77, 1));

    let listened = run(&[build::listen(88).bytes(), report(1).bytes()]);
    assert_eq!((listened.facts().role, listened.facts().task.tgid), (Some(Role::Server), 88));

    let gone = Socket { reason: reason::UNLISTEN, ..build::listen(0) };
    let none = run(&[build::listen(88).bytes(), gone.bytes(), gone.bytes(), report(1).bytes()]);
    assert_eq!((none.facts().role, none.facts().task.tgid), (None, 0));
    assert_eq!((none.facts().local, none.facts().remote), (LOCAL, REMOTE));
}

#[test]
fn the_last_words_say_how_it_ended() {
    let ends = |flags, error| {
        let mut run = run(&[Socket { flags, error, ..close(1) }.bytes()]);
        assert_eq!(run.log.events.len(), 1, "a connection that was never seen ends too");
        run.log.events.remove(0)
    };
    let never = socket::ACTIVE;
    assert_eq!(ends(never, 111), "1 Refused@0");
    assert_eq!(ends(never | socket::RESET_RECEIVED, 0), "1 Refused@0");
    assert_eq!(ends(never, 110), "1 TimedOut@0");
    assert_eq!(ends(never, 113), "1 Unreachable@0");
    assert_eq!(ends(never, 101), "1 Unreachable@0");
    assert_eq!(ends(never, 0), "1 Aborted@0");
    let once = socket::ACTIVE | socket::ESTABLISHED;
    assert_eq!(ends(once, 0), "1 Closed@0");
    assert_eq!(ends(once, 110), "1 TimedOut@0");
    assert_eq!(ends(once, 104), "1 ResetByRemote@0");
    assert_eq!(ends(once | socket::RESET_RECEIVED, 0), "1 ResetByRemote@0");
    assert_eq!(ends(once | socket::RESET_SENT, 0), "1 ResetByLocal@0");
}

#[test]
fn payload_on_a_syn_does_not_mean_that_it_was_answered() {
    let refused = Socket { error: 111, flags: socket::ACTIVE, ..close(1) }.bytes();
    let syn = seg(1).out().at(0, b"hi").flags(segment::SYN);
    check(&[syn.bytes(), refused], &["1 Out 0@0 hi", "1 Refused@0"]);
}

#[test]
fn who_closed_first_is_not_guessed_from_the_second_end() {
    let fin = |way: u32| seg(1).at(0, b"").flags(segment::FIN | way).bytes();
    let mut run = run(&[fin(segment::EGRESS), open(1).bytes(), fin(0), report(1).bytes()]);
    assert_eq!(run.facts().closed_first, None);
    run.push(&[open(2).bytes(), seg(2).at(0, b"").flags(segment::FIN).bytes(), report(2).bytes()]);
    assert_eq!(run.facts().closed_first, Some(Side::Client));
}

#[test]
fn a_straggler_does_not_bring_a_connection_back_but_a_new_connect_does() {
    let mut run = run(&[close(1).bytes(), seg(1).at(0, b"late").bytes(), report(1).bytes(), close(1).bytes()]);
    assert_eq!(run.log.events, ["1 Closed@0"]);
    assert_eq!((run.ledger.counted(Count::LateRecords), run.flows.len()), (3, 0));
    run.push(&[Socket { connect_ns: 5, error: 111, flags: socket::ACTIVE, ..close(1) }.bytes()]);
    assert_eq!(run.log.events, ["1 Closed@0", "1 Refused@0"]);
}

#[test]
fn the_connection_that_was_idle_longest_makes_room() {
    let mut run = Run::new(2);
    run.push(&[open(1).bytes(), open(2).bytes(), seg(1).at(0, b"x").bytes(), open(3).bytes()]);
    assert_eq!(run.log.events, ["1 In 0@0 x", "2 Forgotten@0"]);
    assert_eq!((run.ledger.counted(Count::EvictedConnections), run.flows.len()), (1, 2));
    run.push(&[close(9).bytes()]);
    assert_eq!(run.flows.len(), 2, "what ends at once needs no room");
    run.flows.finish(Nanos(7), &mut run.log, &run.ledger);
    assert_eq!(run.log.events[3..], ["1 Forgotten@7", "3 Forgotten@7"]);
    assert!(run.flows.is_empty() && run.flows.timers.is_empty());
}

#[test]
fn active_connections_are_refreshed_every_second_and_idle_ones_now_and_then() {
    let mut run = Run::new(10);
    run.log.quiet = false;
    run.push(&[open(1).bytes()]);
    for tick in 1..=150 {
        run.push(&[build::tick(tick * 100 * MS)]);
        if tick == 40 {
            run.push(&[seg(1).at(0, b"x").time(tick * 100 * MS).bytes()]);
        }
    }
    let refreshed: Vec<u64> = run
        .log
        .events
        .iter()
        .filter_map(|event| event.strip_prefix("1 refreshed@"))
        .map(|ns| ns.parse::<u64>().unwrap() / MS)
        .collect();
    assert_eq!(refreshed, [0, 1_000, 5_000, 15_000]);
}

#[test]
fn an_idle_connection_is_small() {
    let size = size_of::<Option<Slot<()>>>() + 2 * size_of::<(Nanos, u32, Timer)>() + 64;
    assert!(size <= 700, "{size} bytes");
}
