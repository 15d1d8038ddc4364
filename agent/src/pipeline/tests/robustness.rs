//! Whatever comes in, nothing panics, everything is accounted for, and a replay gives the same.

use proptest::prelude::*;
use wirespan_common::record::{Header, Segment, Socket, Task};

use super::super::*;
use super::world::{Call, World};

pub(super) fn replay(records: &[Vec<u8>]) -> Vec<Span> {
    let mut out = Output::default();
    let mut pipeline = Pipeline::new(Options::default(), Arc::new(Ledger::default()));
    records.iter().for_each(|record| pipeline.push(record, &mut out));
    pipeline.finish(&mut out);
    out.spans
}

#[test]
fn the_same_records_give_the_same_spans() {
    let mut world = World::new(Options::default());
    for number in 1..20 {
        let mut call = Call::new(number);
        call.time += number;
        call.open(&mut world).get(&mut world, "/a").get(&mut world, "/b");
        if number % 2 == 0 {
            call.close(&mut world);
        }
    }
    world.finish();
    assert_eq!(world.out.spans.len(), 19 * 6);
    assert_eq!(replay(&world.records), world.out.spans);
    assert_eq!(replay(&world.records), replay(&world.records));
}

#[test]
fn malformed_records_are_counted() {
    let mut world = World::new(Options::default());
    world.push(vec![0; 7]);
    world.push(vec![0xff; 400]);
    assert_eq!(world.ledger.records.lost() + world.ledger.records.delivered(), 1, "the second claims to be a fact");
}

/// A record of some kind with arbitrary content but a few plausible fields.
fn record() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        Just(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
        Just(b"\x16\x03\x01\x00\xff\x01".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    (1_u16..6, proptest::collection::vec(any::<u8>(), 184), 0_u64..4, 0_u64..100, any::<u64>(), text).prop_map(
        |(kind, mut bytes, cookie, offset, time, text)| {
            let is_segment = kind == kind::SEGMENT;
            let len =
                if is_segment { size_of::<Segment>() + text.len() } else { size_of::<Socket>().max(size_of::<Task>()) };
            bytes.truncate(if is_segment { size_of::<Segment>() } else { len });
            let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
            let header = Header { time_ns: time >> (time % 40), len: len as u32, kind, cpu: 0 };
            set(0, zerocopy::IntoBytes::as_bytes(&header));
            set(16, &cookie.to_ne_bytes());
            if is_segment {
                set(24, &offset.to_ne_bytes());
                let at = std::mem::offset_of!(Segment, len);
                set(at, &(text.len() as u32).to_ne_bytes());
                set(at + 4, &(text.len() as u32).to_ne_bytes());
                set(at + 8, &0_u32.to_ne_bytes());
                bytes.extend_from_slice(&text);
            } else if kind == kind::SOCKET {
                set(std::mem::offset_of!(Socket, reason), &((offset % 6) as u32).to_ne_bytes());
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_records_make_it_panic_and_all_are_accounted_for(records in proptest::collection::vec(record(), 0..60)) {
        let ledger = Arc::new(Ledger::default());
        let mut pipeline = Pipeline::new(Options { segment_ns: 1000, ..Options::default() }, Arc::clone(&ledger));
        let mut out = Output::default();
        for record in &records {
            ledger.records.observe(1);
            pipeline.push(record, &mut out);
        }
        pipeline.finish(&mut out);
        prop_assert_eq!(ledger.records.in_flight(), 0);
        prop_assert!(out.spans.iter().all(|span| span.start_unix_ns <= span.end_unix_ns));
    }

    #[test]
    fn arbitrary_bytes_do_not_make_it_panic(records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20)) {
        let _ = replay(&records);
    }
}
