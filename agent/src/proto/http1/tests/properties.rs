//! What holds for any input.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{HEAD_BYTES, OPEN_BYTES, OPEN_REQUESTS};
use super::conversations::whole;
use super::{Step, Talk};
use crate::flow::Ending;
use crate::proto::{Detail, Event};

/// Pieces of messages, so that random input gets far into the parser.
const PIECES: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\n",
    b"HEAD /a HTTP/1.0\r\n",
    b"CONNECT h:1 HTTP/1.1\r\n",
    b"POST /p HTTP/1.1\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 204 None\r\n\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 99999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n",
    b"\n",
    b"abc",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"\xff\0\x16",
    b"H",
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        vec(prop::sample::select(PIECES), 1..6).prop_map(|pieces| pieces.concat()),
        (prop::sample::select(PIECES), 0..40_000usize).prop_map(|(piece, len)| [piece, &vec![b'x'; len]].concat()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let gap = prop_oneof![0..20u64, Just(5000), Just(u64::MAX / 1000)];
    let ending = prop::sample::select(vec![Ending::Closed, Ending::ResetByLocal, Ending::Forgotten]);
    prop_oneof![
        10 => bytes().prop_map(Step::C),
        10 => bytes().prop_map(Step::S),
        2 => gap.clone().prop_map(Step::CGap),
        2 => gap.prop_map(Step::SGap),
        1 => Just(Step::CFin),
        1 => Just(Step::SFin),
        1 => ending.prop_map(Step::End),
    ]
}

proptest! {
    #[test]
    fn nothing_panics_and_everything_is_bounded(joined in any::<bool>(), steps in vec(step(), 0..60)) {
        let mut talk = Talk::new(joined);
        for (time, step) in steps.iter().chain([&Step::End(Ending::Closed)]).enumerate() {
            talk.step(time as u64, step, &[]);
            // A vector's capacity may be twice its length.
            prop_assert!(talk.parser.kept() <= 4 * HEAD_BYTES + OPEN_BYTES + HEAD_BYTES);
        }
        let began: Vec<_> = talk.events.iter().filter_map(|event| match event {
            Event::Began { number, .. } => Some(*number),
            _ => None,
        }).collect();
        prop_assert!(began.iter().copied().eq(0..began.len() as u64));
        let exchanges = talk.exchanges();
        prop_assert!(exchanges.windows(2).all(|pair| pair[0].number < pair[1].number));
        prop_assert!(exchanges.iter().all(|exchange| exchange.number < began.len() as u64));
        let (mut asked, mut answered) = (0, 0);
        for exchange in exchanges {
            let Detail::Http(http) = &exchange.detail;
            asked += http.request_body;
            answered += http.response_body;
            prop_assert!(exchange.end >= exchange.began.time, "{exchange:?}");
            prop_assert!(exchange.response_began.is_none_or(|began| began <= exchange.end), "{exchange:?}");
        }
        prop_assert!(asked <= talk.client && answered <= talk.server);
    }

    #[test]
    fn pieces_of_any_size_give_the_same_exchanges(
        choice in any::<prop::sample::Index>(),
        cuts in vec(vec(0..120usize, 0..12), 8),
    ) {
        let conversations = whole();
        let (steps, _) = choice.get(&conversations);
        let (mut one, mut cut) = (Talk::new(false), Talk::new(false));
        for (time, step) in steps.iter().enumerate() {
            let mut cuts = cuts[time].clone();
            cuts.sort_unstable();
            one.step(time as u64, step, &[]);
            cut.step(time as u64, step, &cuts);
        }
        prop_assert_eq!(cut.exchanges(), one.exchanges());
    }

    #[test]
    fn requests_that_are_read_are_never_more_than_are_kept(n in 1..2 * OPEN_REQUESTS) {
        let mut talk = Talk::new(false);
        talk.step(0, &Step::C(b"GET / HTTP/1.1\r\n\r\n".repeat(n)), &[]);
        talk.step(1, &Step::End(Ending::Closed), &[]);
        prop_assert_eq!(talk.exchanges().len(), n.min(OPEN_REQUESTS));
    }
}
