//! What holds for any records.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

/// One of two ends of a conversation, for the property below.
fn stream_of(cookie: u64, way: Direction, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n as u64 * 7 + cookie * 31 + way as u64 * 101) as u8).collect()
}

proptest! {
    /// Both directions of several connections at once, near the wrap of sequence numbers.
    #[test]
    fn streams_come_out_as_they_were_sent(
        cuts in proptest::collection::vec((1u64..4, any::<bool>(), 1usize..900, 0usize..300, 0usize..6), 1..80),
        base in (u32::MAX - 9_000)..=u32::MAX,
    ) {
        let mut ends = HashMap::new();
        let mut sent = Vec::new();
        for (n, &(cookie, out, len, overlap, delay)) in cuts.iter().enumerate() {
            let end: &mut usize = ends.entry((cookie, out)).or_default();
            let from = *end - overlap.min(*end);
            *end += len;
            sent.push((n + delay, cookie, out, from, *end));
        }
        sent.sort_by_key(|&(arrives, ..)| arrives);
        let mut run = Run::new(10);
        let mut have: HashMap<(u64, bool), Vec<bool>> = ends.iter().map(|(&key, &end)| (key, vec![false; end])).collect();
        for (time, &(_, cookie, out, from, to)) in sent.iter().enumerate() {
            let have = have.get_mut(&(cookie, out)).unwrap();
            let contiguous = have.iter().position(|have| !have).unwrap_or(have.len());
            have[from..to].fill(true);
            let payload = &stream_of(cookie, way(out), to)[from..];
            let mut piece = seg(cookie).at(from as u64, payload).base(base).time(time as u64);
            if out { piece = piece.out(); }
            if from > contiguous { piece = piece.flags(segment::AHEAD); }
            run.push(&[piece.bytes()]);
        }
        for (&(cookie, out), &end) in &ends {
            let got: Vec<u8> = run.log.bytes.iter().filter(|(c, w, _)| *c == cookie && *w == way(out)).flat_map(|(_, _, b)| b.clone()).collect();
            prop_assert_eq!(got, stream_of(cookie, way(out), end));
        }
        prop_assert_eq!(run.ledger.counted(Count::Holes), 0);
        run.flows.finish(Nanos(u64::MAX), &mut run.log, &run.ledger);
        let facts = run.facts();
        prop_assert!(facts.in_base.is_none_or(|b| b == base) && facts.out_base.is_none_or(|b| b == base));
    }

    /// Records that make no sense: no panic, streams stay streams, bounds hold, and the same again gives the same.
    #[test]
    fn nonsense_stays_within_bounds(
        steps in proptest::collection::vec(
            (0u8..9, 1u64..12, any::<u32>(), any::<u64>(), prop_oneof![0u64..3_000, any::<u64>()], 0usize..600), 0..120),
    ) {
        let play = || {
            let mut run = Run::new(4);
            for &(what, cookie, flags, big, offset, len) in &steps {
                let time = (big >> 40) * MS;
                let record = match what {
                    0 => Socket { flags, error: flags % 120, connect_ns: big % 3 * time, sent_offset: offset, header: Header { time_ns: time, ..open(1).header }, ..close(cookie) }.bytes(),
                    1 => Socket { flags, local_first_seq: flags, ..open(cookie) }.bytes(),
                    2 => Socket { flags, received_offset: offset, received_ns: big, ..report(cookie) }.bytes(),
                    3 => build::tick(time),
                    4 => build::fact(time, &Fact::Socket(build::old_socket(cookie))),
                    _ => {
                        let payload = vec![7; len];
                        let offset = offset.min(u64::MAX - 2_000);
                        seg(cookie).at(offset, &payload).uncopied(flags % 999, b"").time(time).flags(flags).peer(big, time).bytes()
                    }
                };
                run.push(&[record]);
                assert!(run.flows.len() <= 4);
                for slot in run.flows.slots.iter().flatten() {
                    assert!(slot.connection.held_bytes() <= MAX_HELD_BYTES);
                    assert_eq!(slot.hold_due.is_some(), slot.connection.held_since().is_some());
                }
                assert!(run.flows.timers.len() <= 2 * run.flows.len());
            }
            run.flows.finish(Nanos(0), &mut run.log, &run.ledger);
            assert!(run.flows.is_empty() && run.flows.timers.is_empty());
            let mut all = run.log.events.join("\n");
            write!(all, "{}", run.ledger).unwrap();
            all
        };
        prop_assert_eq!(play(), play());
    }
}

proptest! {
    /// Records with bytes changed: they are refused or taken, and never do harm.
    #[test]
    fn damaged_records_do_no_harm(
        changes in proptest::collection::vec((0usize..4, proptest::collection::vec((0usize..200, any::<u8>()), 0..6)), 0..60),
    ) {
        let whole = [
            seg(1).at(0, b"GET / HTTP/1.1").bytes(),
            open(1).bytes(),
            report(1).bytes(),
            build::fact(5, &Fact::Socket(build::old_socket(1))),
        ];
        let mut run = Run::new(4);
        for (which, bytes) in changes {
            let mut record = whole[which].clone();
            for (at, byte) in bytes {
                // The length and the kind stay: without them nothing gets past `decode`.
                if let Some(place) = record.get_mut(at).filter(|_| !(8..14).contains(&at)) {
                    *place = byte;
                }
            }
            if let Ok(record) = decode(&record) {
                run.flows.push(&record, &mut run.log, &run.ledger);
            }
            prop_assert!(run.flows.len() <= 4);
        }
    }
}

fn way(out: bool) -> Direction {
    if out { Direction::Out } else { Direction::In }
}
