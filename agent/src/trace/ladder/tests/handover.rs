//! Threads that set others to work.

use super::*;

/// A lock on which threads wait for work.
const QUEUE: u64 = 0x7000_1000;
/// A lock of the interpreter, on which everybody waits.
const INTERPRETER: u64 = 0x7000_2000;

impl World {
    fn demands(&mut self) -> Vec<(u32, bool)> {
        let mut demands = Vec::new();
        self.ladder.take_demands(&mut demands);
        demands
    }
}

/// So many requests at once, each with a thread that takes it, calls once itself, and sets a thread of the executor to work that
/// calls once. Those wait for the interpreter, which anybody may free, and for a connection, so that they call in any order.
fn crowd(world: &mut World, number: u64, size: u64, is_spread: bool) {
    let start = 1_000 * S + number * S;
    // Where they do not come at the same time, who calls is clear by when.
    let at = |who: u64, step: u64| start + step * 20 * MS + who * if is_spread { 2 * MS } else { 10 * US };
    let handler = |who: u64| 100 + who as u32;
    let worker = |who: u64| 200 + ((who * 5 + number) % size) as u32;
    let requests: Vec<_> = (0..size).map(|who| world.request(handler(who), at(who, 0))).collect();
    for who in 0..size {
        let call = world.call(Some(requests[who as usize]), handler(who), at(who, 0) + 50 * US, "/a/1");
        world.hear(call, handler(who), at(who, 1));
    }
    for who in 0..size {
        world.wake(handler(who), worker(who), QUEUE, at(who, 1) + 5 * US);
        world.wake(handler((who + 1 + number) % size), worker(who), INTERPRETER, at(who, 1) + 6 * US);
    }
    let mut order: Vec<u64> = (0..size).collect();
    if !is_spread {
        order.sort_by_key(|&who| (who * 3 + number * 5) % size);
    }
    for (place, &who) in order.iter().enumerate() {
        let sent = if is_spread { at(who, 1) + 50 * US } else { start + 40 * MS + place as u64 * 100 * US };
        let call = world.call(Some(requests[who as usize]), worker(who), sent, "/b/1");
        world.hear(call, worker(who), start + 200 * MS);
    }
    for who in 0..size {
        world.answer(requests[who as usize], start + 201 * MS + who * 10 * US);
    }
}

#[test]
fn whoever_sets_a_thread_to_work_is_believed_as_far_as_the_lock_has_proven() {
    let mut world = World::default();
    for number in 0..40 {
        crowd(&mut world, number, if number < 20 { 1 } else { 4 }, true);
        assert_eq!(world.score().wrong, 0);
    }
    let mut score = Score::default();
    for number in 40..60 {
        crowd(&mut world, number, 8, false);
        let more = world.score();
        score = Score {
            right: score.right + more.right,
            wrong: score.wrong + more.wrong,
            missing: score.missing + more.missing,
        };
    }
    assert!(score.wrong == 0 && score.right >= 310, "{score:?} of 320");
}

/// A process of which it is asked for, and how many crowds that took.
fn asked_for() -> (World, u64) {
    let mut world = World::default();
    let number = (0..40).find(|&number| {
        crowd(&mut world, number, 8, false);
        world.score();
        world.demands() == [(TGID, true)]
    });
    (world, number.expect("calls that are not sure"))
}

#[test]
fn it_is_no_longer_asked_for_of_a_process_that_does_nothing() {
    let (mut world, number) = asked_for();
    let last = 1_000 * S + number * S + 201 * MS;
    world.ladder.tick(Nanos(last + 9 * S));
    assert_eq!(world.demands(), []);
    world.ladder.tick(Nanos(last + 12 * S));
    assert_eq!(world.demands(), [(TGID, false)]);
}

#[test]
fn it_is_no_longer_asked_for_of_a_process_that_is_forgotten() {
    let (mut world, number) = asked_for();
    let later = 1_000 * S + number * S + IDLE_NS + S;
    for tgid in 1_000..1_000 + MAX_PROCESSES as u32 {
        let node = world.nodes.insert(());
        world.ladder.received(node, Cookie(u64::from(tgid)), TaskId { tid: tgid, tgid }, Nanos(later));
    }
    assert_eq!(world.demands(), [(TGID, false)]);
}

#[test]
fn it_is_asked_for_where_links_are_missing_and_given_up_where_it_costs_too_much() {
    let (mut world, number) = asked_for();
    let start = 1_000 * S + number * S + S;
    (0..=25_000).for_each(|wake| world.wake(100, 200, INTERPRETER, start + wake * 10 * US));
    assert_eq!(world.demands(), [(TGID, false)]);
    // It is not asked for again at once.
    (number + 1..number + 10).for_each(|number| {
        crowd(&mut world, number, 8, false);
        world.score();
    });
    assert_eq!(world.demands(), []);
}

#[test]
fn of_a_process_that_is_gone_nothing_is_asked_for() {
    let mut world = World::default();
    let mut waiting = Vec::new();
    for number in 0..40 {
        crowd(&mut world, number, 8, false);
        waiting.append(&mut world.calls);
    }
    world.ladder.parted(TGID);
    world.calls = waiting;
    world.score();
    assert_eq!(world.demands(), []);
}

#[test]
fn who_was_set_to_work_for_somebody_hardly_calls_for_nobody() {
    let mut world = World::default();
    for number in 0..60 {
        crowd(&mut world, number, if number < 20 { 1 } else { 4 }, true);
        world.score();
    }
    let at = 2_000 * S;
    let requests = [100, 101].map(|handler| world.request(handler, at));
    world.wake(100, 200, QUEUE, at + MS);
    let call = world.call(Some(requests[0]), 200, at + 2 * MS, "/b/1");
    let process = &world.ladder.processes[&TGID];
    let call = process.calls.get(call.key).expect("it is kept");
    let of_itself = process::Call { woken: Vec::new(), ..call.clone() };
    assert!(process.nobodys(call) < process.nobodys(&of_itself) - 1.0);
}
