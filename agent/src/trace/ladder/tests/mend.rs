//! What an answer says about calls that were taken for another's.

use super::*;

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
