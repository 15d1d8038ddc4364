//! Anything at all through the HTTP/1 parser: bytes, gaps and ends of either side.
//!
//! The input is a sequence of steps: a byte that says what happens, two bytes of length, and as many bytes of payload
//! for the steps that have one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wirespan::flow::{At, Chunk, Ending, Nanos, Side};
use wirespan::proto::http1::{Http1, OPEN_REQUESTS};
use wirespan::proto::{Detail, Event, Parser};

/// Most events that one step may cause, beside those that its bytes and the open requests account for.
const EVENTS_PER_STEP: u64 = 4;

/// What came out so far.
#[derive(Default)]
struct Seen {
    began: u64,
    exchanges: u64,
    /// The number that the next exchange has at least.
    next: u64,
    asked: u64,
    answered: u64,
    events: u64,
}

/// How much of each side has passed, bytes.
#[derive(Default)]
struct Passed {
    client: u64,
    server: u64,
}

fuzz_target!(|input: &[u8]| {
    let Some((&joined, mut rest)) = input.split_first() else { return };
    let mut parser = Http1::new(joined & 1 == 1);
    let (mut seen, mut passed) = (Seen::default(), Passed::default());
    let (mut out, mut time) = (Vec::new(), 0);
    while let [what, low, high, after @ ..] = rest {
        time += 1;
        let len = usize::from(*low) | usize::from(*high) << 8;
        let (now, side) = (Nanos(time), if what & 1 == 0 { Side::Client } else { Side::Server });
        let pos = match side {
            Side::Client => &mut passed.client,
            Side::Server => &mut passed.server,
        };
        let at = At { time: now, pos: *pos };
        rest = after;
        match what >> 1 & 7 {
            0 => {
                *pos += len as u64;
                parser.push(side, at, Chunk::Gap(len as u64), &mut out);
            }
            1 => parser.finished(side, now, &mut out),
            2 if what & 0xf0 == 0xf0 => parser.ended(Ending::Closed, now, &mut out),
            _ => {
                let (payload, after) = rest.split_at(len.min(rest.len()));
                rest = after;
                *pos += payload.len() as u64;
                parser.push(side, at, Chunk::Bytes(payload), &mut out);
            }
        }
        seen.take(&mut out);
        seen.check(&passed, time);
    }
    parser.ended(Ending::ResetByRemote, Nanos(time + 1), &mut out);
    seen.take(&mut out);
    seen.check(&passed, time + 1);
});

impl Seen {
    fn take(&mut self, out: &mut Vec<Event>) {
        for event in out.drain(..) {
            self.events += 1;
            match event {
                Event::Began { number, .. } => {
                    assert_eq!(number, self.began);
                    self.began += 1;
                }
                Event::Exchange(exchange) => {
                    self.exchanges += 1;
                    assert!(exchange.number >= self.next && exchange.number < self.began, "out of order");
                    self.next = exchange.number + 1;
                    assert!(exchange.end >= exchange.began.time, "ends before it begins");
                    let Detail::Http(http) = exchange.detail;
                    self.asked += http.request_body;
                    self.answered += http.response_body;
                }
                Event::Asked { number, ask } => {
                    assert!(number < self.began && ask.operation != 0, "asked before it began, or nothing");
                }
                Event::Stray { .. } | Event::Tls(_) | Event::Oddity(_) => (),
            }
        }
    }

    fn check(&self, passed: &Passed, steps: u64) {
        assert!(self.exchanges <= self.began, "more exchanges than requests");
        assert!(self.began - self.next <= OPEN_REQUESTS as u64, "more open requests than are kept");
        assert!(self.asked <= passed.client && self.answered <= passed.server, "more body than bytes");
        let bytes = passed.client + passed.server;
        assert!(self.events <= (steps + 1) * EVENTS_PER_STEP + bytes, "{} events", self.events);
    }
}
