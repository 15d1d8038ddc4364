//! Requests that are left out while the machine has no time for them.

use wirespan_common::mode::Mode;

use super::connections::mode;
use super::world::{Call, NGINX, World, text};
use crate::config::Options;
use crate::flow::fact::{Fact, Shedding};
use crate::ledger::{Count, Reason, Stage};
use crate::trace::span::Kind;

/// So many requests of a process within a second are very many.
const MANY: usize = 1_000;

/// All is left out that can be, or nothing.
fn tell(world: &mut World, is_all: bool, round: u32) {
    let parts = if is_all { Shedding::PARTS } else { 0 };
    world.fact(&Fact::Shedding(Shedding { parts, round }));
}

fn get(call: &mut Call, world: &mut World, times: usize) {
    (0..times).for_each(|_| _ = call.get(world, "/"));
}

fn shed(world: &World) -> u64 {
    world.ledger.records.dropped(Stage::Trace, Reason::Shed)
}

#[test]
fn of_very_many_requests_some_are_left_out_until_there_is_time_again() {
    let mut world = World::new(Options::default());
    let mut call = Call::new(1);
    call.open(&mut world);
    get(&mut call, &mut world, 2 * MANY);
    assert_eq!(mode(&world, call.server), Some(Mode::Quiet), "nothing is left out while nobody says so");

    tell(&mut world, true, 0);
    get(&mut call, &mut world, MANY - 1);
    assert_eq!(mode(&world, call.server), Some(Mode::Quiet), "these are not many");
    get(&mut call, &mut world, 1);
    assert_eq!((mode(&world, call.client), mode(&world, call.server)), (Some(Mode::Shed), Some(Mode::Shed)));
    // What was recorded before the kernel obeyed.
    get(&mut call, &mut world, 1);
    assert_eq!((world.requests(Kind::Server).len(), shed(&world)), (3 * MANY, 4));

    // What it counts only.
    call.sent = call.sent.map(|sent| sent + 100_000);
    tell(&mut world, true, 1);
    tell(&mut world, false, 1);
    assert_eq!((mode(&world, call.client), mode(&world, call.server)), (Some(Mode::Quiet), Some(Mode::Quiet)));
    call.get(&mut world, "/after");
    for kind in [Kind::Client, Kind::Server] {
        let spans = world.requests(kind);
        assert_eq!(spans.len(), 3 * MANY + 1);
        assert_eq!(text(spans[3 * MANY], "http.response.status_code").as_deref(), Some("Int(200)"));
        assert_eq!(text(spans[3 * MANY], "wirespan.resynchronised").as_deref(), Some("Bool(true)"));
    }
    assert_eq!(world.ledger.counted(Count::Holes), 0);
    call.close(&mut world);
    let connection = &world.connections("server")[0];
    assert_eq!(text(connection, "network.protocol.name").as_deref(), Some("http"));
}

#[test]
fn what_links_are_learnt_from_is_not_left_out() {
    let mut world = World::new(Options::default());
    tell(&mut world, true, 0);
    let (mut call, mut own) = (Call::new(1), Call::new(2));
    call.open(&mut world);
    (own.tgids, own.server, own.time) = ([NGINX, 0], 0, call.time);
    own.open(&mut world).get(&mut world, "/stock");
    call.time = own.time;
    get(&mut call, &mut world, 2 * MANY);
    assert_eq!(mode(&world, call.server), Some(Mode::Heads));
    assert_eq!(world.requests(Kind::Server).len(), 2 * MANY);
}

#[test]
fn no_call_is_linked_while_requests_of_its_process_are_left_out() {
    let mut world = World::new(Options::default());
    tell(&mut world, true, 0);
    let mut call = Call::new(1);
    call.open(&mut world);
    get(&mut call, &mut world, MANY);
    assert_eq!(mode(&world, call.server), Some(Mode::Shed));
    let mut own = Call::new(2);
    (own.tgids, own.server, own.time) = ([NGINX, 0], 0, call.time);
    own.open(&mut world).get(&mut world, "/stock");
    assert_eq!(world.ledger.counted(Count::UncomparedLinks), 1, "it may be for one that was left out");

    // It has something to be joined from now on: the next round reads everything.
    tell(&mut world, true, 1);
    assert_eq!(mode(&world, call.server), Some(Mode::Heads));
    call.time = own.time;
    call.get(&mut world, "/").close(&mut world);
    own.time = call.time;
    own.get(&mut world, "/stock");
    assert_eq!(world.ledger.counted(Count::UncomparedLinks), 1);
}
