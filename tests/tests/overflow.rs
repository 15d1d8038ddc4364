//! Buffers that overflow: the ledger knows it to the record. Alone in its file, because whatever else happens on the machine
//! meanwhile fills the same tiny buffers.

use std::time::Duration;

use rustix::process::Signal;
use wirespan_tests::agent::Launch;
use wirespan_tests::kernel::PinnedCounters;
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::span::{Kind, is};

/// How often a request is made until one is seen whole.
const TRIES: u32 = 20;
/// How long each is waited for: longer than a span waits for what its links depend on.
const TRY: Duration = Duration::from_secs(3);

#[test]
fn buffers_that_overflow_are_accounted_for_to_the_record() {
    let agent = Launch::new().args(["--buffer-kib", "4"]).start();
    let counters = PinnedCounters::of(agent.pid(), "COUNTERS");
    const ATTEMPTED: u32 = 0;
    const RING_FULL: u32 = 1;
    // Nobody empties the buffers now: a few records fill them.
    agent.child().signal(Signal::STOP);
    let mut wire = Wire::open();
    for number in 0..500 {
        wire.exchange(get(&format!("/overflow/{number}")), ok("lost"));
    }
    assert!(counters.sum(RING_FULL) >= 400, "the buffers did not overflow");
    agent.child().signal(Signal::CONT);
    // It goes on with what comes. Buffers as small as these lose records again and again, so it may take some tries.
    let server = (0..TRIES).find_map(|number| {
        let path = format!("/overflow/after/{number}");
        wire.exchange(get(&path), ok("seen"));
        agent.seen_within(TRY, |spans| {
            let mut servers = spans.iter().filter(|span| span.kind == Kind::Server && span.is_on(wire.port));
            servers.find(|span| span.path() == path).cloned()
        })
    });
    let server = server.expect("a request after the overflow is seen");
    server.expect([("http.response.status_code", is(200)), ("http.response.body.size", is(4))]);
    // The ledger adds up while it goes on.
    let now = agent.ledger();
    now.balances();
    assert!(now.records.losses["kernel, ring_full"] >= 400, "{now:?}");

    let stopped = agent.stop();
    let records = &stopped.ledger.records;
    stopped.ledger.balances();
    assert_eq!(records.in_flight, 0, "{records:?}");
    // The programs are detached: these numbers are the kernel's last word.
    assert_eq!(records.observed, counters.sum(ATTEMPTED), "{records:?}");
    assert_eq!(records.losses["kernel, ring_full"], counters.sum(RING_FULL), "{records:?}");
}
