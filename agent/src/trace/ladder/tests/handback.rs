//! Threads that wait for the answers that others take for them.

use super::*;

/// A lock that one handler waits on for what it has let others do.
const fn own(handler: u32) -> u64 {
    0x7000_0000 + handler as u64 * 64
}

/// A lock of the interpreter, on which everybody waits.
const INTERPRETER: u64 = 0x6000_0000;

/// Who else wakes those that wait.
#[derive(Clone, Copy, PartialEq)]
enum Wakes {
    /// Nobody: the helper that has the answer, by the lock of the handler.
    Own,
    /// Whoever frees the interpreter: helpers and handlers. Nobody waits for an answer.
    Interpreter,
    /// Another helper than the one that has the answer, by the lock of the handler.
    Others,
    /// As [`Self::Own`], but by the same lock another helper that frees the interpreter, too.
    OwnAndOthers,
}

/// The thread that takes all requests, where there is one.
const REACTOR: u32 = 1;

/// How crowds come and wait.
#[derive(Clone, Copy)]
struct Scene {
    wakes: Wakes,
    /// Those from which can be learnt come one after the other, so that it is clear by when calls are made whose they are.
    is_spread: bool,
    /// Handlers do not take the requests that they answer.
    has_reactor: bool,
}

const EASY: Scene = Scene { wakes: Wakes::Own, is_spread: true, has_reactor: false };

/// So many requests at once, each taken and answered by a thread that calls once itself and has a helper call once. Unless the
/// requests come one after the other (`is_spread`), helpers call in any order: when they do does not tell for whom.
fn crowd(world: &mut World, number: u64, size: u64, is_spread: bool, scene: Scene) {
    let Scene { wakes, has_reactor, .. } = scene;
    let start = 1_000 * S + number * S;
    let at = |who: u64, step: u64| start + step * 20 * MS + who * if is_spread { 2 * MS } else { 10 * US };
    let handler = |who: u64| 100 + who as u32;
    let helper = |who: u64| 200 + ((who * 5 + number) % size) as u32;
    let take = |who: u64| {
        let taker = if has_reactor { REACTOR } else { handler(who) };
        Request { tid: handler(who), ..world.request(taker, at(who, 0)) }
    };
    let requests: Vec<_> = (0..size).map(take).collect();
    for who in 0..size {
        let call = world.call(Some(requests[who as usize]), handler(who), at(who, 0) + 50 * US, "/a/1");
        world.hear(call, handler(who), at(who, 1));
        if wakes == Wakes::Interpreter {
            world.wake(handler(who), handler((who + 1) % size), INTERPRETER, at(who, 1) + 6 * US);
        }
    }
    let mut order: Vec<u64> = (0..size).collect();
    if !is_spread {
        order.sort_by_key(|&who| (who * 3 + number * 5) % size);
    }
    let mut calls = Vec::new();
    for (place, &who) in order.iter().enumerate() {
        let sent = if is_spread { at(who, 1) + 50 * US } else { start + 40 * MS + place as u64 * 100 * US };
        calls.push((who, world.call(Some(requests[who as usize]), helper(who), sent, "/b/1")));
    }
    for (who, call) in calls {
        let heard = start + 200 * MS + who * 10 * US;
        world.hear(call, helper(who), heard);
        let other = handler((who + 1 + number) % size);
        match wakes {
            Wakes::Own => world.wake(helper(who), handler(who), own(handler(who)), heard + US),
            Wakes::Others => world.wake(helper(who), other, own(other), heard + US),
            Wakes::Interpreter => world.wake(helper(who), other, INTERPRETER, heard + US),
            Wakes::OwnAndOthers => {
                world.wake(helper(who), handler(who), own(handler(who)), heard + US);
                world.wake(helper(who), other, own(other), heard + 2 * US);
            }
        }
    }
    for who in 0..size {
        world.answer(requests[who as usize], start + 201 * MS + who * 10 * US);
    }
}

/// What becomes of crowds whose calls come in any order, after some from which can be learnt; and how many of their calls are linked by
/// threads.
fn learnt(scene: Scene) -> (Score, usize) {
    let mut world = World::default();
    for number in 0..60 {
        crowd(&mut world, number, if number < 20 { 1 } else { 4 }, scene.is_spread, scene);
        assert_eq!(world.score().wrong, 0, "in crowd {number}");
    }
    world.decided.clear();
    let mut score = Score::default();
    for number in 60..80 {
        crowd(&mut world, number, 8, false, scene);
        let more = world.score();
        score.right += more.right;
        score.wrong += more.wrong;
        score.missing += more.missing;
    }
    let by_thread =
        |(_, decision): &&(Node, Decision)| decision.parent.is_some_and(|evidence| evidence.tier == Method::Thread);
    (score, world.decided.iter().filter(by_thread).count())
}

#[test]
fn who_was_woken_by_the_one_that_took_an_answer_waited_for_it() {
    let (score, by_thread) = learnt(EASY);
    assert_eq!(score, all_right(320));
    assert!(by_thread >= 280, "{by_thread} of 320");
}

#[test]
fn a_lock_on_which_everybody_waits_says_nothing() {
    let (score, by_thread) = learnt(Scene { wakes: Wakes::Interpreter, ..EASY });
    assert_eq!((score.wrong, by_thread), (0, 160), "only those that handlers made themselves");
    assert!(score.missing > 0, "{score:?}");
}

#[test]
fn where_nothing_else_tells_whose_calls_are_it_shows_by_who_wakes_whether_a_lock_says_anything() {
    let (score, _) = learnt(Scene { is_spread: false, ..EASY });
    assert_eq!(score, all_right(320));
    let (score, by_thread) = learnt(Scene { wakes: Wakes::Interpreter, is_spread: false, ..EASY });
    assert_eq!((score.wrong, by_thread), (0, 160), "only those that handlers made themselves");
}

#[test]
fn who_goes_on_with_a_request_itself_hands_nothing_back() {
    for wakes in [Wakes::Own, Wakes::Interpreter] {
        let (score, _) = learnt(Scene { wakes, is_spread: false, has_reactor: true });
        assert_eq!(score.wrong, 0, "{score:?}");
    }
}

#[test]
fn who_is_told_more_answers_than_it_can_have_asked_for_is_told_nothing() {
    let (score, _) = learnt(Scene { wakes: Wakes::OwnAndOthers, ..EASY });
    assert_eq!(score.wrong, 0, "{score:?}");
}

#[test]
fn a_lock_that_has_proven_itself_is_not_believed_for_ever() {
    let mut world = World::default();
    for number in 0..60 {
        crowd(&mut world, number, if number < 20 { 1 } else { 4 }, true, EASY);
        world.score();
    }
    // Now who is woken says nothing any more; when calls are made does.
    let others = Scene { wakes: Wakes::Others, ..EASY };
    let wrong: Vec<usize> = (60..120)
        .map(|number| {
            crowd(&mut world, number, 4, true, others);
            world.score().wrong
        })
        .collect();
    // It shows in the next round of answers that is compared: 128 answers are 32 crowds.
    assert!(wrong[32..].iter().all(|&wrong| wrong == 0), "{wrong:?}");
}

#[test]
fn an_answer_that_was_handed_over_tells_before_the_request_is_answered() {
    let mut world = World::default();
    for number in 0..60 {
        crowd(&mut world, number, if number < 20 { 1 } else { 4 }, true, EASY);
        world.score();
    }
    // All at once, and none of them is answered when it has to be said whose the calls are.
    let start = 2_000 * S;
    let requests: Vec<_> = (0..4).map(|who| world.request(100 + who, start)).collect();
    for (who, &request) in requests.iter().enumerate() {
        let call = world.call(Some(request), 100 + who as u32, start + 50 * US, "/a/1");
        world.hear(call, 100 + who as u32, start + 20 * MS);
    }
    let calls: Vec<_> = [2, 0, 3, 1]
        .map(|who| (who, world.call(Some(requests[who]), 200 + who as u32, start + 40 * MS, "/b/1")))
        .into();
    for &(who, call) in &calls {
        world.hear(call, 200 + who as u32, start + 60 * MS);
        world.wake(200 + who as u32, 100 + who as u32, own(100 + who as u32), start + 60 * MS + US);
    }
    assert_eq!(world.score(), all_right(8));
}
