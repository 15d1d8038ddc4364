//! Behaviours that need an agent of their own, or the end of one.

use std::time::Duration;

use rustix::process::Signal;
use wirespan_tests::agent::{Agent, Launch};
use wirespan_tests::curl;
use wirespan_tests::kernel::{self, Held, PinnedCounters};
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::servers;
use wirespan_tests::span::{Kind, is};

use crate::report::{Behaviour, Outcome};
use crate::scene::Scene;

/// How often a request is made until one is seen whole.
const TRIES: u32 = 20;
/// How long each is waited for.
const TRY: Duration = Duration::from_secs(2);

/// In the order in which they run.
pub(crate) const ALL: &[Behaviour<()>] = &[
    Behaviour { name: "buffers that overflow are accounted for to the record", shows: overflow },
    Behaviour { name: "killing the agent leaves nothing in the kernel", shows: killed },
];

/// Name of what [`orderly_end`] shows.
pub(crate) const AN_ORDERLY_END: &str = "an orderly end accounts for every record and leaves nothing in the kernel";

/// Set where nobody else is at work: then no record may be lost.
const ALONE: &str = "WIRESPAN_ALONE";

/// Ends the agent of a scene.
#[allow(clippy::boxed_local, reason = "the scene comes in a box")]
pub(crate) fn orderly_end(scene: Box<Scene>) -> Outcome {
    let held = held(&scene.agent);
    let Scene { agent, .. } = *scene;
    let stopped = agent.stop();
    kernel::wait_gone(&held);
    stopped.ledger.balances();
    let records = &stopped.ledger.records;
    assert_eq!(records.in_flight, 0, "{:?}", stopped.ledger);
    if std::env::var_os(ALONE).is_some() {
        assert_eq!(records.dropped, 0, "{:?}", stopped.ledger);
    }
    Outcome::HoldsBy(format!("{} of {} records lost; {}", records.dropped, records.observed, said(&held)))
}

fn killed(_: &()) -> Outcome {
    let nginx = servers::nginx(1);
    let agent = Agent::start();
    let held = held(&agent);
    agent.child().kill();
    kernel::wait_gone(&held);
    assert_eq!(curl::curl(&[&nginx.url("/unharmed")]).number("response_code"), 200);
    Outcome::HoldsBy(said(&held))
}

fn overflow(_: &()) -> Outcome {
    const ATTEMPTED: u32 = 0;
    const RING_FULL: u32 = 1;
    let agent = Launch::new().args(["--buffer-kib", "4"]).start();
    let counters = PinnedCounters::of(agent.pid(), "COUNTERS");
    // Nobody empties the buffers now: a few records fill them.
    agent.child().signal(Signal::STOP);
    let mut wire = Wire::open();
    for number in 0..500 {
        wire.exchange(get(&format!("/overflow/{number}")), ok("lost"));
    }
    assert!(counters.sum(RING_FULL) >= 400, "the buffers did not overflow");
    agent.child().signal(Signal::CONT);
    // Buffers as small as these lose records again and again, so it may take some tries.
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
    agent.ledger().balances();
    let stopped = agent.stop();
    stopped.ledger.balances();
    let records = &stopped.ledger.records;
    assert_eq!(records.in_flight, 0, "{records:?}");
    // The programs are detached: these numbers are the kernel's last word.
    assert_eq!(records.observed, counters.sum(ATTEMPTED), "{records:?}");
    assert_eq!(records.losses["kernel, ring_full"], counters.sum(RING_FULL), "{records:?}");
    Outcome::HoldsBy(format!("{} of {} records lost, all counted", records.dropped, records.observed))
}

/// What the agent holds, which must be something of each kind.
#[track_caller]
fn held(agent: &Agent) -> Held {
    let held = kernel::held_by(agent.pid());
    for what in ["prog", "map", "link"] {
        assert!(held.iter().any(|object| object.0 == what), "the agent holds no {what}: {held:?}");
    }
    held
}

fn said(held: &Held) -> String {
    let number = |what| held.iter().filter(|object| object.0 == what).count();
    format!("{} programs, {} maps, {} links gone", number("prog"), number("map"), number("link"))
}
