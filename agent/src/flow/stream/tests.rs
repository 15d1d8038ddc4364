//! Tests of one direction.

use proptest::prelude::*;

use super::*;

const ROOM: usize = 64 * 1024;

/// Writes down what it gets, and checks that it is a stream.
#[derive(Default)]
struct Log {
    events: Vec<String>,
    bytes: Vec<u8>,
    /// Bytes with their offsets.
    runs: Vec<(u64, Vec<u8>)>,
    pos: u64,
    time: Nanos,
    over: bool,
    holes: u64,
}

impl Sink for Log {
    fn turned(&mut self) {
        self.events.push(format!("{} turn", self.pos));
    }

    fn chunk(&mut self, at: At, chunk: Chunk<'_>) {
        assert!(!self.over && !chunk.is_empty());
        assert_eq!(at.pos, self.pos, "chunks follow each other");
        assert!(at.time >= self.time, "time goes back");
        self.time = at.time;
        self.pos += chunk.len();
        let text = match chunk {
            Chunk::Bytes(bytes) => {
                self.bytes.extend_from_slice(bytes);
                self.runs.push((at.pos, bytes.to_vec()));
                String::from_utf8_lossy(bytes).into_owned()
            }
            Chunk::Gap(len) => format!("gap {len}"),
        };
        self.events.push(format!("{}@{} {text}", at.pos, at.time.0));
    }

    fn finished(&mut self, time: Nanos) {
        assert!(!self.over, "finished twice");
        self.over = true;
        self.events.push(format!("end@{}", time.0));
    }

    fn hole(&mut self, len: u64) {
        self.holes += len;
        self.events.push(format!("hole {len}"));
    }
}

fn piece(time: u64, offset: u64, head: &[u8]) -> Piece<'_> {
    Piece { time: Nanos(time), offset, len: head.len() as u64, head, tail: b"", ahead: false, fin: false, turn: false }
}

fn ahead(time: u64, offset: u64, head: &[u8]) -> Piece<'_> {
    Piece { ahead: true, ..piece(time, offset, head) }
}

#[test]
fn a_turn_is_told_before_its_first_byte_and_once() {
    let turn = |time, offset, head| Piece { turn: true, ..piece(time, offset, head) };
    let late = Piece { ahead: true, ..turn(2, 6, b"GET") };
    let log = run(&[turn(1, 3, b"a"), late, piece(3, 4, b"bc"), turn(4, 3, b"abcGETx")], |_, _| ());
    let turns: Vec<_> = log.events.iter().filter(|event| event.contains("turn")).collect();
    assert_eq!(turns, ["3 turn", "6 turn"]);
}

fn run(pieces: &[Piece<'_>], then: impl FnOnce(&mut Stream, &mut Log)) -> Log {
    let (mut stream, mut log) = (Stream::default(), Log::default());
    for piece in pieces {
        let room = ROOM - stream.held_bytes();
        stream.push(piece, room, &mut log);
    }
    then(&mut stream, &mut log);
    assert_eq!(log.pos, stream.pos());
    log
}

#[track_caller]
fn check(pieces: &[Piece<'_>], then: impl FnOnce(&mut Stream, &mut Log), expect: &[&str]) {
    assert_eq!(run(pieces, then).events, expect);
}

#[test]
fn what_comes_in_order_goes_out_at_once() {
    check(&[piece(1, 0, b"ab"), piece(2, 2, b"c")], |_, _| {}, &["0@1 ab", "2@2 c"]);
}

#[test]
fn bytes_that_were_delivered_are_cut_off() {
    check(&[piece(1, 0, b"abc"), piece(2, 1, b"bcde"), piece(3, 0, b"abc")], |_, _| {}, &["0@1 abc", "3@2 de"]);
}

#[test]
fn the_middle_of_a_long_segment_is_a_gap() {
    let long = Piece { len: 10, tail: b"yz", ..piece(1, 0, b"ab") };
    check(&[long], |_, _| {}, &["0@1 ab", "2@1 gap 6", "8@1 yz"]);
    check(&[piece(0, 0, b"abc"), long], |_, _| {}, &["0@0 abc", "3@1 gap 5", "8@1 yz"]);
    check(&[piece(0, 0, b"abcdefghi"), long], |_, _| {}, &["0@0 abcdefghi", "9@1 z"]);
    check(&[Piece { len: 5, ..piece(1, 0, b"") }], |_, _| {}, &["0@1 gap 5"]);
}

#[test]
fn a_jump_is_a_gap_that_was_meant() {
    check(&[piece(1, 0, b"ab"), piece(2, 10, b"c")], |_, _| {}, &["0@1 ab", "2@2 gap 8", "10@2 c"]);
}

#[test]
fn what_overtook_others_waits_for_them() {
    let (early, late) = (ahead(1, 2, b"cd"), piece(5, 0, b"ab"));
    check(&[early], |_, _| {}, &[]);
    check(&[early, late], |_, _| {}, &["0@5 ab", "2@5 cd"]);
    check(&[early, ahead(2, 3, b"de"), early, late], |_, _| {}, &["0@5 ab", "2@5 cd", "4@5 e"]);
    check(&[early, piece(3, 0, b"a"), piece(4, 1, b"b")], |_, _| {}, &["0@3 a", "1@4 b", "2@4 cd"]);
}

#[test]
fn what_would_not_have_been_copied_is_not_waited_for() {
    let head = Piece { len: 9, turn: true, ..piece(1, 0, b"head") };
    let end = |time, offset| Piece { len: 3, tail: b"z", ..ahead(time, offset, b"") };
    // Everything that is copied of a message has come: what is missing of its body changes nothing.
    check(&[head, end(2, 20)], |_, _| {}, &["0 turn", "0@1 head", "4@1 gap 5", "9@2 gap 11", "20@2 gap 2", "22@2 z"]);
    // The head comes last: then the end of the body waits no longer than what came of its beginning.
    let body = Piece { len: 7, turn: true, ..ahead(1, 4, b"bo") };
    let late = piece(3, 0, b"head");
    check(
        &[body, end(2, 20), late],
        |_, _| {},
        &["0@3 head", "4 turn", "4@3 bo", "6@3 gap 5", "11@3 gap 9", "20@3 gap 2", "22@3 z"],
    );
    // Of this message nothing was left out yet, and what the next one lacks is its head.
    check(&[piece(1, 0, b"head"), end(2, 20)], |_, _| {}, &["0@1 head"]);
    let next = Piece { turn: true, ..end(3, 24) };
    check(&[head, next], |_, _| {}, &["0 turn", "0@1 head", "4@1 gap 5"]);
    let fin = Piece { fin: true, ..ahead(2, 20, b"") };
    check(&[piece(1, 0, b"head"), fin], |_, _| {}, &["0@1 head"]);
    check(&[head, fin], |_, _| {}, &["0 turn", "0@1 head", "4@1 gap 5", "9@2 gap 11", "end@2"]);
}

#[test]
fn a_hole_that_is_given_up_is_counted() {
    let late = ahead(9, 7, b"h");
    check(
        &[ahead(1, 2, b"cd"), late],
        Stream::give_up,
        &["hole 2", "0@1 gap 2", "2@1 cd", "hole 3", "4@9 gap 3", "7@9 h"],
    );
}

#[test]
fn what_the_kernel_left_out_is_no_hole_even_before_bytes_that_wait() {
    check(&[ahead(1, 2, b"cd"), piece(2, 6, b"g")], |_, _| {}, &["0@1 gap 2", "2@1 cd", "4@2 gap 2", "6@2 g"]);
}

#[test]
fn without_room_nothing_waits() {
    let (mut stream, mut log) = (Stream::default(), Log::default());
    stream.push(&ahead(1, 4, b"ef"), ROOM, &mut log);
    stream.push(&ahead(2, 8, b"ij"), ROOM, &mut log);
    stream.push(&ahead(3, 6, b"gh"), 0, &mut log);
    assert_eq!(log.events, ["hole 4", "0@1 gap 4", "4@1 ef", "6@3 gh", "8@3 ij"]);
    assert_eq!((stream.held_bytes(), stream.held_since()), (0, None));
}

#[test]
fn progress_that_others_report_is_a_gap() {
    let to = |offset, proven| move |stream: &mut Stream, log: &mut Log| stream.advance(offset, Nanos(7), proven, log);
    check(&[piece(1, 0, b"ab")], to(5, false), &["0@1 ab", "2@7 gap 3"]);
    check(&[piece(1, 0, b"ab")], to(2, true), &["0@1 ab"]);
    check(&[ahead(1, 2, b"cd")], to(5, false), &[]);
    check(&[ahead(1, 2, b"cd")], to(5, true), &["hole 2", "0@1 gap 2", "2@1 cd", "4@7 gap 1"]);
}

#[test]
fn the_end_comes_after_all_bytes_and_nothing_after_it() {
    let fin = Piece { fin: true, ..ahead(1, 2, b"cd") };
    check(&[fin], |_, _| {}, &[]);
    check(
        &[fin, piece(2, 0, b"ab"), piece(3, 4, b"e"), fin, ahead(4, 9, b"z")],
        Stream::give_up,
        &["0@2 ab", "2@2 cd", "end@2"],
    );
    check(
        &[Piece { fin: true, ..piece(1, 3, b"") }],
        |s, log| s.advance(9, Nanos(2), true, log),
        &["0@1 gap 3", "end@1"],
    );
    check(
        &[Piece { fin: true, ..ahead(1, u64::MAX, b"") }],
        Stream::give_up,
        &["hole 18446744073709551615", "0@1 gap 18446744073709551615", "end@1"],
    );
}

#[test]
fn after_the_end_nothing_waits() {
    let end = Piece { fin: true, ..piece(2, 0, b"ab") };
    check(
        &[ahead(1, 9, b"z"), end],
        |s, _| assert_eq!((s.held_bytes(), s.held_since()), (0, None)),
        &["0@2 ab", "end@2"],
    );
}

/// Byte of the test stream at an offset.
fn byte(offset: u64) -> u8 {
    (offset % 251) as u8
}

fn bytes(from: u64, len: u64) -> Vec<u8> {
    (from..from + len).map(byte).collect()
}

proptest! {
    /// The network may cut, repeat, overlap and reorder as it likes.
    #[test]
    fn every_byte_comes_out_once_and_in_order(
        cuts in proptest::collection::vec((1u64..1_500, 0u64..700, 0usize..12, any::<bool>()), 1..60),
    ) {
        let mut sent = Vec::new();
        let mut end = 0;
        for (n, &(len, overlap, delay, again)) in cuts.iter().enumerate() {
            let from = end - overlap.min(end);
            end += len;
            sent.push((n + delay, from, end));
            if again {
                sent.push((n + 2 * delay + 1, from, end));
            }
        }
        sent.sort_by_key(|&(arrives, ..)| arrives);
        let (mut stream, mut log) = (Stream::default(), Log::default());
        let mut have = vec![false; end as usize];
        for (time, &(_, from, to)) in sent.iter().enumerate() {
            let contiguous = have.iter().position(|have| !have).unwrap_or(have.len()) as u64;
            have[from as usize..to as usize].fill(true);
            let payload = bytes(from, to - from);
            let fin = to == end;
            stream.push(&Piece { ahead: from > contiguous, fin, ..piece(time as u64, from, &payload) }, usize::MAX, &mut log);
        }
        prop_assert_eq!(log.bytes, bytes(0, end));
        prop_assert_eq!((log.pos, log.over, log.holes), (end, true, 0));
        prop_assert_eq!((stream.held_bytes(), stream.held_since()), (0, None));
    }

    /// Whatever the records say: what comes out is a stream, and its bytes are at their place.
    #[test]
    fn bytes_are_never_out_of_place_and_memory_is_bounded(
        steps in proptest::collection::vec((0u64..4_000, 0u64..400, 0u64..400, 0u64..40, any::<bool>(), 0u8..8), 0..80),
    ) {
        let (mut stream, mut log) = (Stream::default(), Log::default());
        for (time, (offset, head, gap, tail, ahead, what)) in steps.into_iter().enumerate() {
            let time = Nanos(time as u64);
            match what {
                0 => stream.give_up(&mut log),
                1 => stream.advance(offset, time, ahead, &mut log),
                _ => {
                    let (first, last) = (bytes(offset, head), bytes(offset + head + gap, tail));
                    let piece = Piece {
                        time, offset, ahead, len: head + gap + tail, head: &first, tail: &last,
                        fin: what == 2 && offset > 3_900, turn: false,
                    };
                    let room = 2_000usize.saturating_sub(stream.held_bytes());
                    stream.push(&piece, room, &mut log);
                }
            }
            prop_assert!(stream.held_bytes() <= 2_000);
            prop_assert_eq!(stream.held_bytes() == 0, stream.held_since().is_none());
            prop_assert_eq!(log.pos, stream.pos());
        }
        for (pos, run) in log.runs {
            prop_assert_eq!(&run, &bytes(pos, run.len() as u64));
        }
    }
}
