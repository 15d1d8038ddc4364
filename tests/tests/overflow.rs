//! Buffers that overflow, or would: the ledger knows it to the record. Alone in its file, because whatever else happens on the
//! machine meanwhile fills the same tiny buffers; one after the other, for the same reason.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use wirespan_tests::agent::Launch;
use wirespan_tests::kernel::PinnedCounters;
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::span::{Kind, is};

/// One at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// How often a request is made until one is seen whole.
const TRIES: u32 = 20;
/// How long each is waited for: longer than a span waits for what its links depend on.
const TRY: Duration = Duration::from_secs(3);

#[test]
fn buffers_that_overflow_are_accounted_for_to_the_record() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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

#[test]
fn buffers_that_fill_before_the_agent_would_look_are_emptied_in_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    /// A request at both ends and its answer are about 3 KiB of records: the buffer of a CPU is full after six.
    const HEAD_BYTES: usize = 1 << 10;
    /// The agent looks each 20 ms if nothing calls it, since no turn brings much: most of the records would be lost.
    const PACE: Duration = Duration::from_millis(1);
    const REQUESTS: u32 = 400;
    let ourselves = format!("pid:{}", std::process::id());
    let agent = Launch::new().args(["--buffer-kib", "16", "--only", &ourselves]).start();
    let mut wire = Wire::open();
    let path = "/".repeat(HEAD_BYTES);
    let begun = Instant::now();
    for number in 0..REQUESTS {
        wire.exchange(get(&path), ok("seen"));
        thread::sleep((number * PACE).saturating_sub(begun.elapsed()));
    }
    let stopped = agent.stop();
    let records = &stopped.ledger.records;
    stopped.ledger.balances();
    assert!(records.observed >= 4 * i64::from(REQUESTS), "{records:?}");
    // A machine that is busy with others' work may wake the agent too late now and then.
    assert!(records.dropped * 5 <= records.observed, "{records:?}");
}
