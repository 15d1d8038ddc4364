//! Connections that a thread opens before it takes the request for which it calls: for each client, say, that connects to it.

use super::*;

/// A request on a thread of its own, whose connection was opened so long before it came, and its call. When it was taken.
fn call_on_a_connection_opened_before(world: &mut World, tid: u32, taken: u64, before: u64) -> (Request, Handle) {
    let request = world.request(tid, taken);
    let node = world.nodes.insert(());
    let made = Made {
        node,
        socket: Cookie(1_000 + u64::from(tid)),
        task: task(tid),
        sent: Nanos(taken + 50 * US),
        opened: Some((Nanos(taken - before), task(tid))),
        free_since: None,
        destination: 9,
    };
    let Outcome::Open(call) = world.ladder.called(&made, &ask("/a/1")) else { panic!("the process answers requests") };
    world.truth.insert(node, request.node);
    world.calls.push((node, call));
    (request, call)
}

#[test]
fn a_connection_that_was_opened_in_advance_is_not_taken_for_the_only_request_of_then() {
    let mut world = World::default();
    let first = world.request(1, S);
    // When it is opened, the first request is all that the process has to do.
    let (second, call) = call_on_a_connection_opened_before(&mut world, 2, S + 200 * US, 100 * US);
    world.hear(call, 2, S + 3 * MS);
    for request in [second, first] {
        world.answer(request, S + 4 * MS);
    }
    assert_eq!(world.score(), Score { right: 0, wrong: 0, missing: 1 });
}

#[test]
fn where_each_thread_answers_one_request_the_first_call_on_a_connection_is_its_own() {
    let mut world = World::taught(40);
    let first = world.request(1, 200 * S);
    let (second, call) = call_on_a_connection_opened_before(&mut world, 2, 200 * S + 200 * US, 100 * US);
    world.hear(call, 2, 200 * S + 3 * MS);
    for request in [second, first] {
        world.answer(request, 200 * S + 4 * MS);
    }
    assert_eq!(world.score(), all_right(1));
}

#[test]
fn a_connection_that_an_event_loop_opens_for_one_request_is_not_the_next_ones() {
    let mut world = World::taught(40);
    let first = world.request(1, 200 * S);
    // It takes another request while the connection opens.
    let (second, call) = call_on_a_connection_opened_before(&mut world, 1, 200 * S + 200 * US, 100 * US);
    let (node, _) = world.calls[world.calls.len() - 1];
    world.truth.insert(node, first.node);
    world.hear(call, 1, 200 * S + 3 * MS);
    for request in [second, first] {
        world.answer(request, 200 * S + 4 * MS);
    }
    assert_eq!(world.score().wrong, 0);
}
