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

/// Whether each has its own call after the first one was answered.
fn is_sorted_out(world: &mut World, requests: &[Request], calls: &[Handle]) -> bool {
    finish_first(world, requests[0]);
    let own: Vec<_> = requests.iter().map(|request| Some(request.handle.key)).collect();
    owners(world, calls) == own
}

#[test]
fn who_has_a_call_too_many_gives_it_to_the_next_and_so_do_all_behind() {
    let (mut world, requests, calls) = mistaken(true);
    let before = owners(&world, &calls);
    assert_eq!(before[1], before[0]);
    assert!(is_sorted_out(&mut world, &requests, &calls), "{:?}", owners(&world, &calls));
}

/// Whether each has what it had, after the first one was answered so much later than its last call and nothing else was tried.
fn is_left_as_it_was(is_queue: bool, answered_later: u64) -> bool {
    let (mut world, requests, calls) = mistaken(is_queue);
    let at = AT + 60 * MS;
    let last = world.call(Some(requests[0]), 1, at, "/b/1");
    world.hear(last, 1, at + 4 * MS);
    let first = requests[0].handle.key;
    let process = world.ladder.processes.get_mut(&TGID).expect("it answers requests");
    process.give(last.key, Some(first));
    let parent = process.parents.get_mut(first).expect("it is kept");
    parent.answered = Some(Nanos(at + 4 * MS + answered_later));
    parent.standing.changed();
    let before = owners(&world, &calls);
    world.ladder.processes.get_mut(&TGID).expect("it answers requests").realign(first);
    world.check_owners();
    owners(&world, &calls) == before
}

#[test]
fn where_no_order_is_kept_nobody_has_the_place_of_another() {
    assert!(!is_left_as_it_was(true, 100 * US));
    assert!(is_left_as_it_was(false, 100 * US));
}

#[test]
fn what_makes_nothing_plain_is_taken_back() {
    assert!(is_left_as_it_was(true, 50 * S), "no such request is answered so late");
}

#[test]
fn what_was_decided_or_proven_keeps_its_place() {
    for is_proven in [false, true] {
        let (mut world, requests, calls) = mistaken(true);
        let process = world.ladder.processes.get_mut(&TGID).expect("it answers requests");
        let (node, owner) = (requests[3].node, requests[3].handle.key);
        let evidence = evidence::Evidence { parent: node, tier: Method::SameId, strength: CERTAIN };
        if is_proven {
            process.prove(calls[4].key, owner, evidence);
        } else {
            process.decided(calls[4].key, Decision::default());
        }
        finish_first(&mut world, requests[0]);
        assert_eq!(owners(&world, &calls)[4], Some(owner), "proven: {is_proven}");
    }
}

#[test]
fn many_that_came_later_change_nothing_until_they_are_too_many_to_be_asked() {
    for (others, is_mended) in [(400, true), (600, false)] {
        let (mut world, requests, calls) = mistaken(true);
        (0..others).for_each(|n| _ = world.request(1, AT + 59 * MS + n * US));
        assert_eq!(is_sorted_out(&mut world, &requests, &calls), is_mended, "beside {others}");
    }
}

#[test]
fn where_something_was_not_seen_there_may_be_no_call_for_each_that_waited() {
    let (mut world, requests, calls) = mistaken(true);
    world.miss_call(AT + 50 * MS, AT + 55 * MS);
    assert!(!is_sorted_out(&mut world, &requests, &calls));
}
