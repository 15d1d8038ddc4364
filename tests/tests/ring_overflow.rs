//! A ring buffer that overflows: the ledger knows it to the record. Alone in its file, because whatever else happens on the
//! machine meanwhile fills the same tiny rings.

use rustix::process::Signal;
use wirespan_tests::agent::Launch;
use wirespan_tests::kernel::PinnedCounters;
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::span::{Kind, is};

#[test]
fn a_ring_that_overflows_is_accounted_for_to_the_record() {
    let agent = Launch::new().args(["--ring-kib", "4"]).start();
    let counters = PinnedCounters::of(agent.pid(), "COUNTERS");
    const ATTEMPTED: u32 = 0;
    const RING_FULL: u32 = 1;
    // Nobody empties the rings now: a few records fill them.
    agent.child().signal(Signal::STOP);
    let mut wire = Wire::open();
    for number in 0..500 {
        wire.exchange(get(&format!("/overflow/{number}")), ok("lost"));
    }
    assert!(counters.sum(RING_FULL) >= 400, "the rings did not overflow");
    agent.child().signal(Signal::CONT);
    // It goes on with what comes, and the ledger adds up while it does.
    agent.fence();
    let now = agent.ledger();
    now.balances();
    assert!(now.records.losses["kernel, ring_full"] >= 400, "{now:?}");
    wire.exchange(get("/overflow/after"), ok("seen"));
    let server = agent.request(Kind::Server, wire.port, "/overflow/after");
    server.expect([("http.response.status_code", is(200)), ("http.response.body.size", is(4))]);

    let stopped = agent.stop();
    let records = &stopped.ledger.records;
    stopped.ledger.balances();
    assert_eq!(records.in_flight, 0, "{records:?}");
    // The programs are detached: these numbers are the kernel's last word.
    assert_eq!(records.observed, counters.sum(ATTEMPTED), "{records:?}");
    assert_eq!(records.losses["kernel, ring_full"], counters.sum(RING_FULL), "{records:?}");
}
