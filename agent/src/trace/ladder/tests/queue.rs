//! Queues in which each was given the place of another.

use super::*;
use crate::trace::ladder::order::Pair;

const AT: u64 = 200 * S;
const REQUESTS: usize = 8;

/// Requests that wait for the same connection and get it one after the other; who has which call was mistaken from the second on: the
/// first one has two, and the last one none so far.
fn mistaken(is_queue: bool) -> (World, Vec<Request>, Vec<Handle>) {
    let mut world = World::taught(100);
    let process = world.ladder.processes.get_mut(&TGID).expect("it answers requests");
    (0..400).for_each(|n| process.order.learn(queued(), is_queue || n % 2 == 0));
    let requests: Vec<Request> = (0..REQUESTS as u64).map(|n| world.request(1, AT + n * MS)).collect();
    let mut calls = Vec::new();
    for (n, &request) in (0..).zip(&requests) {
        let at = AT + 20 * MS + n * 4 * MS;
        calls.push(world.call(Some(request), 1, at, "/a/1"));
        world.hear(calls[n as usize], 1, at + 4 * MS - 10 * US);
    }
    let process = world.ladder.processes.get_mut(&TGID).expect("it answers requests");
    for (n, call) in calls.iter().enumerate() {
        process.give(call.key, Some(requests[n.saturating_sub(1)].handle.key));
    }
    (world, requests, calls)
}

fn queued() -> Pair {
    let acted = order::Acted { at: Nanos(50 * MS), is_handed: true };
    Pair::new(Nanos(MS), Nanos(41 * MS), acted)
}

fn owners(world: &World, calls: &[Handle]) -> Vec<Option<Key>> {
    let process = &world.ladder.processes[&TGID];
    calls.iter().map(|call| process.calls.get(call.key).and_then(|call| call.owner)).collect()
}

/// The first request makes its last call and is answered.
fn finish_first(world: &mut World, request: Request) {
    let at = AT + 60 * MS;
    let last = world.call(Some(request), 1, at, "/b/1");
    world.ladder.processes.get_mut(&TGID).expect("it answers requests").give(last.key, Some(request.handle.key));
    world.hear(last, 1, at + 4 * MS);
    world.answer(request, at + 4 * MS + 100 * US);
}

#[test]
fn who_has_a_call_too_many_gives_it_to_the_next_and_so_do_all_behind() {
    let (mut world, requests, calls) = mistaken(true);
    let before = owners(&world, &calls);
    assert_eq!(before[1], before[0]);
    finish_first(&mut world, requests[0]);
    let expected: Vec<_> = requests.iter().map(|request| Some(request.handle.key)).collect();
    assert_eq!(owners(&world, &calls), expected);
}

#[test]
fn where_no_order_is_kept_nobody_has_the_place_of_another() {
    let (mut world, requests, calls) = mistaken(false);
    finish_first(&mut world, requests[0]);
    assert_ne!(owners(&world, &calls)[REQUESTS - 1], Some(requests[REQUESTS - 1].handle.key));
}

#[test]
fn what_was_decided_or_proven_keeps_its_place() {
    let (mut world, requests, calls) = mistaken(true);
    world.ladder.processes.get_mut(&TGID).expect("it answers requests").decided(calls[4].key, Decision::default());
    finish_first(&mut world, requests[0]);
    assert_eq!(owners(&world, &calls)[4], Some(requests[3].handle.key), "its span was given away");
}
