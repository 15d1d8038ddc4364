//! Who is asked whether a call is its own.

use super::*;

/// The requests that might have made a call for `/a/1` that a thread makes at a time, the likeliest first, with its connection free
/// since another.
fn asked(world: &World, tid: u32, at: u64, free_since: u64) -> Vec<Key> {
    let process = &world.ladder.processes[&TGID];
    // What the ladder makes of where it goes and what it asks.
    let operation = (ask("/a/1").operation ^ 9_u64.rotate_left(13)).max(1);
    let call = process.begin(operation, task(tid), Nanos(at), None, Some(Nanos(free_since)));
    process.candidates(&call).into_iter().map(|candidate| candidate.request).collect()
}

#[test]
fn where_a_call_is_what_the_thread_would_usually_do_then_nobody_else_is_asked() {
    let mut world = World::taught(100);
    let at = 200 * S;
    // Long ones, of which one thread has taken none.
    let others: Vec<_> = (2..40).map(|tid| world.request(tid, at)).collect();
    let request = world.request(1, at + 10 * MS);
    let key = request.handle.key;
    assert_eq!(asked(&world, 1, at + 10 * MS + 100 * US, at), [key]);
    assert_eq!(
        asked(&world, 1, at + 10 * MS + 100 * US, at + 10 * MS).len(),
        1 + others.len(),
        "one may have waited for it"
    );
    assert_eq!(asked(&world, 1, at + 15 * MS, at).len(), 1 + others.len(), "that is late");
    assert_eq!(asked(&world, 77, at + 10 * MS + 100 * US, at).len(), 1 + others.len(), "that thread has taken nothing");
}

#[test]
fn where_threads_do_what_others_took_all_are_asked() {
    let mut world = World::default();
    // One that goes on with what it took itself now and then, and otherwise with what another did.
    for number in 0..100 {
        let at = 100 * S + number * S;
        let (request, caller) = (world.request(1, at), if number % 2 == 0 { 1 } else { 2 });
        let call = world.call(Some(request), caller, at + 100 * US, "/a/1");
        world.hear(call, caller, at + 4 * MS);
        world.answer(request, at + 4 * MS + 100 * US);
        world.score();
    }
    let at = 300 * S;
    let both = [world.request(3, at), world.request(1, at)];
    assert_eq!(asked(&world, 1, at + 100 * US, at - MS).len(), both.len());
}

#[test]
fn nothing_is_compared_where_the_proof_comes_with_each_call() {
    let mut world = World::default();
    let mut exchange = |number: u64, tid: u32| {
        let at = number * 10 * MS;
        let id = format!("{number:032x}");
        let request = world.request_asking(tid, at, &with_id("/work/1", "x-request-id", &id));
        let call = world.call_asking(Some(request), tid, at + MS, &with_id("/a/1", "x-request-id", &id));
        world.hear(call, tid, at + 2 * MS);
        let key = request.handle.key;
        let is_beyond_compare = world.ladder.processes[&TGID].is_beyond_compare(key);
        world.answer(request, at + 3 * MS);
        (is_beyond_compare, world.score())
    };
    for number in 1..=127 {
        assert_eq!(exchange(number, 1), (false, Score { right: 1, ..Score::default() }), "{number}");
    }
    assert_eq!(exchange(128, 1), (true, Score { right: 1, ..Score::default() }));
    let unproven = world.request(1, 500 * S);
    world.call(Some(unproven), 2, 500 * S + MS, "/a/1");
    assert!(!world.ladder.processes[&TGID].is_beyond_compare(unproven.handle.key));
}
