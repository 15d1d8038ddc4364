//! What an answer says about calls that were taken for another's.

use super::*;
use crate::trace::ladder::change::Change;

fn owner(world: &World, call: Handle) -> Option<Key> {
    world.ladder.processes[&TGID].calls.get(call.key).and_then(|call| call.owner)
}

/// Twelve requests, of which the first has made its second call and that is said to be the last one's.
fn with_a_call_far_away(world: &mut World) -> (Vec<Request>, Handle) {
    let at = 200 * S;
    let requests: Vec<Request> = (0..12).map(|n| world.request(1, at + n * MS)).collect();
    for (n, &request) in (0..).zip(&requests) {
        let call = world.call(Some(request), 1, at + 20 * MS + n * MS, "/a/1");
        world.hear(call, 1, at + 24 * MS + n * MS);
    }
    let call = world.call(Some(requests[0]), 1, at + 40 * MS, "/b/1");
    world.hear(call, 1, at + 44 * MS);
    let far = requests[11].handle.key;
    world.ladder.processes.get_mut(&TGID).expect("it answers requests").give(call.key, Some(far));
    (requests, call)
}

#[test]
fn an_answer_takes_back_its_call_from_who_is_far_behind() {
    let mut world = World::taught(100);
    let (requests, call) = with_a_call_far_away(&mut world);
    assert_eq!(owner(&world, call), Some(requests[11].handle.key));
    world.answer(requests[0], 200 * S + 44 * MS + 100 * US);
    assert_eq!(owner(&world, call), Some(requests[0].handle.key));
}

#[test]
fn an_answer_takes_back_the_call_that_its_request_lacks_however_long_ago_that_was_answered() {
    let mut world = World::taught(100);
    let (requests, call) = with_a_call_far_away(&mut world);
    // Its thread was held up.
    world.answer(requests[0], 200 * S + 60 * MS);
    assert_eq!(owner(&world, call), Some(requests[0].handle.key));
}

#[test]
fn among_many_calls_it_is_not_known_which_one_a_request_lacks() {
    let mut world = World::taught(100);
    let (requests, call) = with_a_call_far_away(&mut world);
    let first = requests[0].handle.key;
    let process = world.ladder.processes.get_mut(&TGID).expect("it answers requests");
    process.parents.get_mut(first).expect("it is open").answered = Some(Nanos(200 * S + 60 * MS));
    assert_eq!(process.lacking(first), [call.key]);
    for (n, &request) in (1..).zip(&requests[1..8]) {
        let call = world.call(Some(request), 1, 200 * S + 40 * MS + n * 10 * US, "/b/1");
        world.hear(call, 1, 200 * S + 45 * MS);
        world.ladder.processes.get_mut(&TGID).expect("it answers requests").give(call.key, Some(request.handle.key));
    }
    assert_eq!(world.ladder.processes[&TGID].lacking(first), []);
}

#[test]
fn an_answer_sorts_three_out_that_were_mixed_up() {
    let mut world = World::taught(100);
    let at = 200 * S;
    // The first was held up: the others made their calls before it. Each is given the call of the next one.
    let (one, two) = (world.request(1, at), world.request(1, at + MS));
    let second = world.call(Some(two), 1, at + 2 * MS, "/a/1");
    let three = world.request(1, at + 3 * MS);
    let third = world.call(Some(three), 1, at + 4 * MS, "/a/1");
    let first = world.call(Some(one), 1, at + 5 * MS, "/a/1");
    world.hear(first, 1, at + 9 * MS);
    let last = world.call(Some(one), 1, at + 9 * MS + 100 * US, "/b/1");
    world.hear(last, 1, at + 13 * MS);
    let process = world.ladder.processes.get_mut(&TGID).expect("it answers requests");
    for (call, request) in [(second, one), (third, two), (first, three), (last, three)] {
        process.give(call.key, Some(request.handle.key));
    }
    // The last one can't take the call of the first: that was made before it came.
    process.parents.get_mut(one.handle.key).expect("it is open").answered = Some(Nanos(at + 13 * MS + 100 * US));
    process.mend(one.handle.key);
    let owners = [first, last, second, third].map(|call| owner(&world, call));
    assert_eq!(owners, [one, one, two, three].map(|request| Some(request.handle.key)));
}

#[test]
fn what_is_plain_is_not_given_up_for_what_is_not() {
    let mut world = World::taught(100);
    let at = 200 * S;
    let requests = [world.request(1, at), world.request(1, at + MS)];
    let mut last = Vec::new();
    for (request, at) in requests.into_iter().zip([at, at + MS]) {
        let call = world.call(Some(request), 1, at + 100 * US, "/a/1");
        world.hear(call, 1, at + 4 * MS);
        last.push(world.call(Some(request), 1, at + 4 * MS + 100 * US, "/b/1"));
    }
    for (&call, at) in last.iter().zip([at + 8 * MS, at + 30 * MS]) {
        world.hear(call, 1, at);
    }
    world.answer(requests[0], at + 8 * MS + 100 * US);
    world.answer(requests[1], at + 30 * MS + 100 * US);
    let process = world.ladder.processes.get_mut(&TGID).expect("it answers requests");
    let change = Change::Exchange { key: last[0].key, with: last[1].key, count: 1, between: 0 };
    assert!(!process.keeps_plain(&change), "the first would be answered before its call");
    process.apply(change);
    let back = Change::Exchange { key: last[1].key, with: last[0].key, count: 1, between: 0 };
    assert!(process.keeps_plain(&back));
}

#[test]
fn what_was_decided_is_not_taken_by_an_answer() {
    let mut world = World::taught(100);
    let (requests, call) = with_a_call_far_away(&mut world);
    world.ladder.processes.get_mut(&TGID).expect("it answers requests").decided(call.key, Decision::default());
    world.answer(requests[0], 200 * S + 44 * MS + 100 * US);
    assert_eq!(owner(&world, call), Some(requests[11].handle.key), "its span was given away");
}

/// A request that makes two calls at the same time, or only the second of them.
fn at_once(world: &mut World, at: u64, has_first: bool) -> Key {
    let request = world.request(1, at);
    let first = has_first.then(|| world.call(Some(request), 1, at + 100 * US, "/a/1"));
    let second = world.call(Some(request), 1, at + 110 * US, "/b/1");
    if let Some(first) = first {
        world.hear(first, 1, at + 4 * MS);
    }
    world.hear(second, 1, at + 5 * MS);
    // By another thread: that nothing is proven by it.
    world.answer(Request { tid: 2, ..request }, at + 5 * MS + 100 * US);
    world.score();
    request.handle.key
}

#[test]
fn a_call_is_missed_where_others_make_it_at_the_same_time_as_another() {
    let mut world = World::default();
    // It was learnt from one that was not seen whole.
    at_once(&mut world, S, false);
    (0..1_000).for_each(|n| _ = at_once(&mut world, 100 * S + n * S, true));
    let whole = at_once(&mut world, 2_000 * S, true);
    let part = at_once(&mut world, 2_001 * S, false);
    let process = &world.ladder.processes[&TGID];
    assert!(process.is_plain(whole), "it is what all do");
    assert!(!process.is_plain(part));
}

#[test]
fn what_was_unsure_before_the_answer_makes_the_rest_of_its_request_unsure() {
    let mut world = World::taught(100);
    let (requests, call) = with_a_call_far_away(&mut world);
    world.answer(requests[0], 200 * S + 44 * MS + 100 * US);
    let process = world.ladder.processes.get_mut(&TGID).expect("it answers requests");
    let strength = |process: &Process| process.weigh(call.key).map(|(evidence, _)| evidence.strength);
    let before = strength(process).expect("it has an owner");
    let first = process.calls_of(requests[0].handle.key)[0];
    process.decided(first, Decision::default());
    assert_eq!(strength(process), Some(before), "decided after the answer");
    process.calls.get_mut(first).expect("it is kept").is_early = true;
    assert!(before > 0.85 && strength(process) < Some(0.84), "{before}");
}
