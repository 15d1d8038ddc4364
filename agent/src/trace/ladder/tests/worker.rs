//! Requests that one thread takes and others answer, who make the calls.

use super::*;

/// The thread that takes all requests.
const REACTOR: u32 = 1;

/// Four requests at once, each answered by a thread of its own that makes two calls, in an order that tells nothing. Who answers
/// is not known before; `mixed` threads answer for each other.
fn round(world: &mut World, number: u64, mixed: bool) {
    let start = 100 * S + number * S;
    let requests: Vec<_> = (0..4).map(|_| world.request(REACTOR, start)).collect();
    // Who comes when, different each time.
    let turn = |who: usize, step: u64| (who as u64 * 7 + number * 3 + step * 5) % 4;
    for (step, path) in [(0, "/a/1"), (1, "/b/1")] {
        let mut order: Vec<usize> = (0..4).collect();
        order.sort_by_key(|&who| turn(who, step));
        let calls: Vec<_> = order
            .iter()
            .map(|&who| {
                let tid = 10 + who as u32;
                let at = start + MS + step * 5 * MS + turn(who, step) * 100 * US;
                (tid, world.call(Some(requests[who]), tid, at, path))
            })
            .collect();
        for (tid, call) in calls {
            world.hear(call, tid, start + 4 * MS + step * 5 * MS + u64::from(tid) * US);
        }
    }
    for (who, request) in requests.into_iter().enumerate() {
        let who = if mixed { (who + number as usize) % 4 } else { who };
        let (tid, at) = (10 + who as u32, start + 10 * MS + who as u64 * US);
        world.ladder.answered(request.handle, task(tid), Some(Nanos(at)), Nanos(at));
    }
}

fn by_thread((_, decision): &&(Node, Decision)) -> bool {
    decision.parent.is_some_and(|evidence| evidence.tier == Method::Thread)
}

#[test]
fn what_a_thread_called_since_its_last_answer_is_the_next_answers() {
    let mut world = World::default();
    for number in 0..20 {
        round(&mut world, number, false);
        assert_eq!(world.score().wrong, 0, "in round {number}");
    }
    world.decided.clear();
    for number in 20..30 {
        round(&mut world, number, false);
        assert_eq!(world.score(), all_right(8), "in round {number}");
    }
    assert_eq!(world.decided.iter().filter(by_thread).count(), 80);
}

#[test]
fn where_threads_answer_for_each_other_nothing_is_proven_by_it() {
    let mut world = World::default();
    // One that calls more now and then: what comes before an answer is not always the same.
    for number in 0..30 {
        let at = 100 * S + number * S + 20 * MS;
        round(&mut world, number, true);
        let request = world.request(REACTOR, at);
        let tid = 10 + ((number + 1) % 4) as u32;
        let call = world.call(Some(request), tid, at + MS, "/a/1");
        world.hear(call, tid, at + 2 * MS);
        world.ladder.answered(request.handle, task(14), Some(Nanos(at + 3 * MS)), Nanos(at + 3 * MS));
        world.score();
    }
    assert_eq!(world.decided.iter().filter(by_thread).count(), 0);
}

#[test]
fn an_event_loop_has_no_workers() {
    let mut world = World::default();
    for number in 0..60 {
        let start = 100 * S + number * S;
        let requests: Vec<_> = (0..4).map(|who| world.request(REACTOR, start + who * 100 * US)).collect();
        let calls: Vec<_> =
            requests.iter().map(|&request| world.call(Some(request), REACTOR, start + MS, "/a/1")).collect();
        calls.into_iter().for_each(|call| world.hear(call, REACTOR, start + 3 * MS));
        for (who, request) in requests.into_iter().enumerate() {
            world.answer(request, start + 4 * MS + who as u64 * 100 * US);
        }
        world.score();
    }
    assert_eq!(world.decided.iter().filter(by_thread).count(), 0);
}
