//! Threads that are idle until somebody has work for them.

use super::*;
use crate::trace::ladder::handover::Class;

/// How the threads are set to work that make the second call of each request, in an order that tells nothing where it is crowded.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// Each is woken by the lock on which only it sleeps, by the handler that has work for it.
    Own,
    /// Each is made for its work by the handler.
    Made,
    /// As [`Self::Own`], but by the handler of another request.
    Others,
    /// As [`Self::Own`], but it is another helper that finds the work, and wakes whoever is to do it.
    Cascade,
    /// Each is woken by the lock on which it sleeps whatever it waits for. Where it is crowded, whoever runs first takes what is first in
    /// the queue.
    Queue,
}

/// A lock of the interpreter, on which everybody waits.
const INTERPRETER: u64 = 0x6000_0000;

/// A lock on which one thread sleeps.
const fn own(tid: u32) -> u64 {
    0x7000_0000 + tid as u64 * 64
}

impl World {
    /// A thread makes another.
    fn make(&mut self, by: u32, made: u32, at: u64) {
        self.relate(kind::THREAD, by, made, 0, at);
    }

    /// How a thread is woken by a lock of its own.
    fn woken(&mut self, tid: u32) -> Class {
        self.ladder.processes.get_mut(&TGID).expect("it answers requests").class(tid, own(tid))
    }
}

/// So many requests at once, each taken by a thread that calls once itself and lets another thread call once.
fn crowd(world: &mut World, number: u64, size: u64, is_spread: bool, how: How) {
    let start = 1_000 * S + number * S;
    let at = |who: u64, step: u64| start + step * 20 * MS + who * if is_spread { 2 * MS } else { 10 * US };
    let handler = |who: u64| 100 + who as u32;
    let helper = |who: u64| match how {
        How::Made => 1_000 + (number * 16 + who) as u32,
        _ => 200 + ((who * 5 + number) % size) as u32,
    };
    let requests: Vec<_> = (0..size).map(|who| world.request(handler(who), at(who, 0))).collect();
    for who in 0..size {
        world.wake(handler((who + 1 + number) % size), handler(who), INTERPRETER, at(who, 0) + 20 * US);
        let call = world.call(Some(requests[who as usize]), handler(who), at(who, 0) + 50 * US, "/a/1");
        world.hear(call, handler(who), at(who, 1));
    }
    let set_to_work = |world: &mut World, who: u64| {
        let other = (who + 1 + number) % size;
        let woken_at = at(who, 1) + 5 * US;
        match how {
            How::Made => world.make(handler(who), helper(who), woken_at),
            How::Cascade if who > 0 => world.wake(helper(who - 1), helper(who), own(helper(who)), woken_at),
            How::Others => world.wake(handler(other), helper(who), own(helper(who)), woken_at),
            How::Queue if !is_spread => world.wake(handler(other), helper(who), own(helper(who)), woken_at),
            How::Own | How::Cascade | How::Queue => world.wake(handler(who), helper(who), own(helper(who)), woken_at),
        }
        if how != How::Queue {
            world.wake(handler(other), helper(who), INTERPRETER, woken_at + US);
        }
    };
    let mut calls = Vec::new();
    let mut work = |world: &mut World, who: u64, sent: u64| {
        calls.push((who, world.call(Some(requests[who as usize]), helper(who), sent, "/b/1")));
    };
    if is_spread {
        for who in 0..size {
            set_to_work(world, who);
            work(world, who, at(who, 1) + 50 * US);
        }
    } else {
        (0..size).for_each(|who| set_to_work(world, who));
        let mut order: Vec<u64> = (0..size).collect();
        order.sort_by_key(|&who| (who * 3 + number * 5) % size);
        for (place, &who) in order.iter().enumerate() {
            work(world, who, start + 40 * MS + place as u64 * 100 * US);
        }
    }
    for (who, call) in calls {
        world.hear(call, helper(who), start + 200 * MS);
    }
    for who in 0..size {
        world.answer(requests[who as usize], start + 201 * MS + who * 10 * US);
    }
}

/// A process of which it is known what it is worth who sets its threads to work.
fn taught(how: How) -> World {
    let mut world = World::default();
    for number in 0..80 {
        crowd(&mut world, number, if number < 20 { 1 } else { 4 }, true, how);
        assert_eq!(world.score().wrong, 0, "in crowd {number}");
    }
    world.decided.clear();
    world
}

/// What becomes of crowds whose calls come in any order, after some from which can be learnt; and how many of their calls are linked by
/// threads.
fn learnt(how: How) -> (Score, usize) {
    let mut world = taught(how);
    let mut all = Score::default();
    for number in 80..100 {
        crowd(&mut world, number, 8, false, how);
        let Score { right, wrong, missing } = world.score();
        all = Score { right: all.right + right, wrong: all.wrong + wrong, missing: all.missing + missing };
    }
    let by_thread =
        |(_, decision): &&(Node, Decision)| decision.parent.is_some_and(|evidence| evidence.tier == Method::Thread);
    (all, world.decided.iter().filter(by_thread).count())
}

#[test]
fn what_an_idle_thread_is_woken_or_made_for_is_what_it_does() {
    for how in [How::Own, How::Made] {
        let (score, _) = learnt(how);
        assert!(score.wrong == 0 && score.right >= 315, "{score:?} of 320");
    }
}

#[test]
fn who_is_woken_by_others_does_not_work_for_them() {
    let (score, by_thread) = learnt(How::Others);
    assert_eq!((score.wrong, by_thread), (0, 160), "only those that handlers made themselves: {score:?}");
    assert_eq!(learnt(How::Cascade).0.wrong, 0);
}

#[test]
fn of_those_that_race_for_what_is_in_a_queue_it_is_not_known_who_takes_what() {
    let (score, by_thread) = learnt(How::Queue);
    assert_eq!((score.wrong, by_thread), (0, 160), "only those that handlers made themselves: {score:?}");
}

#[test]
fn two_race_only_if_they_are_woken_at_about_the_same_time_for_different_work_and_neither_has_begun() {
    /// What becomes of a helper that is woken, and of another that is woken so much later, by another handler or the same.
    fn classes(later: u64, is_another: bool, has_begun: bool) -> [Class; 2] {
        let mut world = taught(How::Queue);
        let at = 2_000 * S;
        let requests = [100, 101].map(|tid| world.request(tid, at));
        world.wake(100, 200, own(200), at + MS);
        let first = world.ladder.processes[&TGID].threads[&200].woken[0].class;
        if has_begun {
            world.call(Some(requests[0]), 200, at + MS + 50 * US, "/b/1");
        }
        let by = if is_another { 101 } else { 100 };
        world.wake(by, 201, own(201), at + MS + later);
        let threads = &world.ladder.processes[&TGID].threads;
        [threads[&200].woken.first().map_or(first, |woken| woken.class), threads[&201].woken[0].class]
    }
    assert_eq!(classes(MS, true, false), [Class::Raced; 2]);
    assert_eq!(classes(MS, false, false), [Class::Own; 2], "for the same");
    assert_eq!(classes(MS, true, true), [Class::Own; 2], "the first has called");
    assert_eq!(classes(101 * MS, true, false), [Class::Own; 2], "the first runs by then");
}

#[test]
fn a_request_that_waits_for_its_calls_did_not_make_one_that_is_answered_after_it() {
    let mut world = taught(How::Own);
    // After those that are compared without whom the thread was woken by.
    (80..88).for_each(|number| crowd(&mut world, number, 4, true, How::Own));
    let at = 2_000 * S;
    let [first, second] = [100, 101].map(|tid| world.request(tid, at + u64::from(tid) * US));
    for request in [first, second] {
        let call = world.call(Some(request), request.tid, at + MS, "/a/1");
        world.hear(call, request.tid, at + 20 * MS);
    }
    // It is busy with the first one, but what it wakes the helper for is the second one's.
    world.wake(first.tid, 200, own(200), at + 20 * MS + 5 * US);
    let late = world.call(Some(second), 200, at + 20 * MS + 50 * US, "/b/1");
    world.answer(first, at + 30 * MS);
    world.hear(late, 200, at + 40 * MS);
    world.answer(second, at + 41 * MS);
    assert_eq!(world.score().wrong, 0);
}

#[test]
fn who_answers_a_request_in_the_end_was_not_idle() {
    const REACTOR: u32 = 1;
    let mut world = taught(How::Own);
    let at = 2_000 * S;
    let own_request = Request { tid: 50, ..world.request(REACTOR, at) };
    let others = world.request(51, at);
    let call = world.call(Some(own_request), 50, at + 50 * US, "/a/1");
    world.hear(call, 50, at + 20 * MS);
    let call = world.call(Some(others), 51, at + 50 * US, "/a/1");
    world.hear(call, 51, at + 20 * MS);
    // It waits for a connection, which the other one gives back before it lets another thread work.
    world.wake(51, 50, own(50), at + 20 * MS + 5 * US);
    world.wake(51, 200, own(200), at + 20 * MS + 10 * US);
    let call = world.call(Some(own_request), 50, at + 21 * MS, "/b/1");
    world.hear(call, 50, at + 30 * MS);
    let call = world.call(Some(others), 200, at + 22 * MS, "/b/1");
    world.hear(call, 200, at + 30 * MS);
    world.answer(others, at + 31 * MS);
    world.answer(own_request, at + 32 * MS);
    assert_eq!(world.score().wrong, 0);
}

#[test]
fn who_was_not_made_for_work_and_has_shown_nothing_may_be_busy_with_what_another_took() {
    const REACTOR: u32 = 1;
    let mut world = World::default();
    let request = Request { tid: 50, ..world.request(REACTOR, S) };
    world.wake(REACTOR, 50, own(50), S + US);
    let call = world.call(Some(request), 50, S + 50 * US, "/a/1");
    world.hear(call, 50, S + 5 * MS);
    assert_eq!(world.woken(50), Class::First, "it waits for a connection");
    let other = world.request(51, S + 6 * MS);
    world.make(51, 60, S + 7 * MS);
    let call = world.call(Some(other), 60, S + 8 * MS, "/b/1");
    world.hear(call, 60, S + 9 * MS);
    assert_eq!(world.woken(60), Class::Own, "it was made for work");
}

#[test]
fn it_shows_when_it_is_no_longer_so() {
    let mut world = taught(How::Own);
    let wrong: Vec<usize> = (80..140)
        .map(|number| {
            crowd(&mut world, number, 4, true, How::Others);
            world.score().wrong
        })
        .collect();
    // It shows in the next round of calls that are compared without it: 128 calls are 32 crowds.
    assert!(wrong[34..].iter().all(|&wrong| wrong == 0), "{wrong:?}");
}
