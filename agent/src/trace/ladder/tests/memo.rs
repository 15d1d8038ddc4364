//! What is kept of requests says the same as to ask anew.

use super::super::memo::Memo;
use super::*;

/// A world with a request that did what such requests do, and its calls.
fn answered(world: &mut World) -> (Key, Vec<Key>) {
    let at = 200 * S;
    let request = world.request(1, at);
    let mut calls = Vec::new();
    for (number, path) in (0..).zip(["/a/1", "/b/1"]) {
        let call = world.call(Some(request), 1, at + number * 5 * MS + 100 * US, path);
        world.hear(call, 1, at + number * 5 * MS + 4 * MS);
        calls.push(call.key);
    }
    world.answer(request, at + 9 * MS + 100 * US);
    (request.handle.key, calls)
}

#[test]
fn a_memo_says_what_is_worked_out_anew() {
    let mut world = World::taught(20);
    let (request, calls) = answered(&mut world);
    let process = &world.ladder.processes[&TGID];
    let mut memo = Memo::new(process);
    for _ in 0..2 {
        for from in 0..=calls.len() {
            assert_eq!(memo.likelihood_from(request, from), process.likelihood_from(request, &calls, from), "{from}");
        }
        for (at, &call) in calls.iter().enumerate() {
            let since = |ready: Option<timeline::Ready>| ready.map(|ready| ready.since);
            let call = process.calls.get(call).expect("it is kept");
            let anew = process.ready_at(request, &calls[..at], call.operation, Some(call.made));
            assert_eq!(since(process.ready_for(request, at)), since(anew), "{at}");
        }
    }
}

#[test]
fn whether_it_is_plain_what_a_request_did_is_asked_anew_when_that_changes() {
    let mut world = World::taught(100);
    let (request, calls) = answered(&mut world);
    let process = world.ladder.processes.get_mut(&TGID).expect("it answers requests");
    assert!(process.is_plain(request));
    process.give(calls[1], None);
    assert!(!process.is_plain(request), "such requests make two calls");
    process.give(calls[1], Some(request));
    assert!(process.is_plain(request));
    process.heard(calls[0], Nanos(300 * S));
    assert!(!process.is_plain(request), "it did not wait for the answer");
}

#[test]
fn what_a_request_could_do_is_asked_anew_when_that_changes_and_by_when_it_is_asked_for() {
    let mut world = World::taught(20);
    let at = 200 * S;
    let request = world.request(1, at);
    let first = world.call(Some(request), 1, at + 100 * US, "/a/1");
    let ready = |world: &World, when| {
        let ready = world.ladder.processes[&TGID].ready(request.handle.key, ask("/b/1").operation, Nanos(when));
        ready.map(|ready| (ready.since.0, ready.is_due()))
    };
    assert_eq!(ready(&world, at - 1), None, "it was not there yet");
    assert_eq!(ready(&world, at + 4 * MS), Some((at, false)));
    world.hear(first, 1, at + 4 * MS);
    assert_eq!(ready(&world, at + 4 * MS), Some((at + 4 * MS, true)));
    assert_eq!(ready(&world, at + 3 * MS), Some((at, false)), "a call that was decided upon before the answer came");
    world.call(Some(request), 1, at + 5 * MS, "/b/1");
    assert_eq!(ready(&world, at + 6 * MS), Some((at + 4 * MS, false)));
}

#[test]
fn a_request_whose_head_came_in_parts_is_ready_as_what_it_is() {
    let mut world = World::taught(20);
    let at = 200 * S;
    let node = world.nodes.insert(());
    let handle = world.ladder.received(node, Cookie(1), task(1), Nanos(at)).expect("there is room");
    // Another one's call asks who is ready.
    let other = world.request(2, at);
    world.call(Some(other), 2, at + 100 * US, "/a/1");
    world.ladder.asked(handle, &ask("/work/1"));
    world.check();
}

#[test]
fn a_ladder_that_is_off_links_nothing() {
    let mut ladder = Ladder::new(false);
    let node = Slots::new().insert(());
    assert_eq!(ladder.received(node, Cookie(1), task(1), Nanos(S)), None);
    let (opened, free_since) = (None, None);
    let made = Made { node, socket: Cookie(9), task: task(1), sent: Nanos(S + MS), opened, free_since, destination: 9 };
    assert!(matches!(ladder.called(&made, &ask("/a")), Outcome::Decided(decision) if decision == Decision::default()));
}
