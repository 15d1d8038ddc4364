//! What each tier of evidence says, and what bounds them all. A part that has more to show has a file of its own.

mod advance;
mod candidate;
mod company;
mod handback;
mod handover;
mod idle;
mod memo;
mod mend;
mod missed;
mod pool;
mod queue;
mod start;
mod worker;
mod world;

use std::collections::HashMap as Map;

use wirespan_common::record::{Header, Relation, TaskId, kind};

use self::pool::{Lost, with_a_full_pool};
use self::world::{Request, Score, World, all_right, ask, task, with_id};
use super::evidence::Decision;
use super::*;
use crate::slots::Slots;
use crate::trace::link::{CERTAIN, Method};

const TGID: u32 = 7;
const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

#[test]
fn a_process_that_answers_nobody_makes_calls_for_nobody() {
    let mut world = World::default();
    let node = world.nodes.insert(());
    let made = Made {
        node,
        socket: Cookie(99),
        task: task(1),
        sent: Nanos(5),
        opened: None,
        free_since: None,
        destination: 9,
    };
    assert!(
        matches!(world.ladder.called(&made, &ask("/a")), Outcome::Decided(decision) if decision == Decision::default())
    );
}

#[test]
fn the_calls_of_the_only_request_are_its_own() {
    let mut world = World::default();
    let request = world.request(1, S);
    let call = world.call(Some(request), 1, S + 100 * US, "/a/1");
    world.hear(call, 1, S + 3 * MS);
    world.answer(request, S + 4 * MS);
    assert_eq!(world.score(), all_right(1));
}

#[test]
fn what_is_called_while_nothing_is_answered_is_nobodys_also_while_something_is() {
    let mut world = World::taught(40);
    for number in 0..40 {
        world.call(None, 1, 200 * S + number * S, "/timer");
    }
    assert_eq!(world.score(), all_right(40));
    let request = world.request(1, 300 * S);
    let own = world.call(Some(request), 1, 300 * S + 100 * US, "/a/1");
    world.call(None, 1, 300 * S + 2 * MS, "/timer");
    world.hear(own, 1, 300 * S + 4 * MS);
    let own = world.call(Some(request), 1, 300 * S + 4 * MS + 100 * US, "/b/1");
    world.hear(own, 1, 300 * S + 6 * MS);
    world.answer(request, 300 * S + 6 * MS + 100 * US);
    assert_eq!(world.score(), all_right(3));
}

#[test]
fn an_id_that_is_passed_on_decides_whoever_is_likelier() {
    let mut world = World::taught(40);
    let at = 200 * S;
    let first = world.request_asking(1, at, &with_id("/work/1", "x-request-id", "one"));
    let second = world.request_asking(1, at + MS, &with_id("/work/1", "x-request-id", "two"));
    world.call_asking(Some(first), 1, at + MS + 100 * US, &with_id("/a/1", "X-Request-Id", "one"));
    world.call_asking(Some(second), 1, at + MS + 200 * US, &with_id("/a/1", "x-request-id", "two"));
    assert_eq!(world.score(), all_right(2));
    let (_, decision) = world.decided[world.decided.len() - 1];
    assert_eq!(decision.parent.map(|evidence| (evidence.tier, evidence.strength)), Some((Method::SameId, CERTAIN)));
}

#[test]
fn an_id_that_everybody_shares_decides_nothing() {
    let mut world = World::default();
    let all: Vec<Request> =
        (0..20).map(|at| world.request_asking(1, S + at, &with_id("/work/1", "x-request-id", "same"))).collect();
    for (at, request) in all.iter().enumerate() {
        world.call_asking(Some(*request), 1, S + MS + at as u64, &with_id("/a/1", "x-request-id", "same"));
    }
    assert_eq!(world.score().wrong, 0);
    assert!(world.decided.iter().all(|(_, decision)| decision.parent.is_none_or(|by| by.tier != Method::SameId)));
}

#[test]
fn a_call_after_the_answer_is_background_work() {
    let mut world = World::default();
    let request = world.request_asking(1, S, &with_id("/work/1", "x-request-id", "one"));
    world.answer(request, S + MS);
    world.call_asking(Some(request), 1, S + 2 * MS, &with_id("/log", "x-request-id", "one"));
    assert_eq!(world.score(), all_right(1));
    assert!(world.decided[0].1.is_background);
}

#[test]
fn a_thread_that_answers_one_request_at_a_time_makes_calls_for_it() {
    let mut world = World::default();
    for number in 0..40 {
        world.quiet(number % 4, S + u64::from(number) * S);
    }
    let at = 200 * S;
    let requests: Vec<Request> = (0..4).map(|tid| world.request(tid, at + u64::from(tid))).collect();
    for request in requests.iter().rev() {
        world.call(Some(*request), request.tid, at + 100 * US, "/new/1");
    }
    assert_eq!(world.score(), all_right(4));
    assert!(
        world
            .decided
            .iter()
            .rev()
            .take(4)
            .all(|(_, decision)| decision.parent.is_some_and(|by| by.tier == Method::Thread))
    );
}

#[test]
fn proofs_that_contradict_each_other_prove_nothing() {
    let mut world = World::default();
    (0..40).for_each(|number| world.quiet(number % 4, S + u64::from(number) * S));
    let at = 200 * S;
    let other = world.request_asking(2, at, &with_id("/work/1", "x-request-id", "one"));
    world.request(1, at + US);
    world.call_asking(Some(other), 1, at + 100 * US, &with_id("/a/1", "x-request-id", "one"));
    assert_eq!((world.score(), world.ladder.take_contradictions()), (Score { missing: 1, ..all_right(0) }, 1));
}

#[test]
fn two_requests_at_the_same_moment_are_not_mistaken_for_each_other() {
    for order in [[0, 1], [1, 0]] {
        let mut world = World::taught(40);
        let at = 200 * S;
        let both = [world.request(1, at), world.request(1, at)];
        for (nth, which) in order.into_iter().enumerate() {
            world.call(Some(both[which]), 1, at + 100 * US + nth as u64 * US, "/a/1");
        }
        let score = world.score();
        assert_eq!(score.wrong, 0, "{order:?}: {score:?}");
    }
}

#[test]
fn a_call_for_ten_requests_is_nobodys() {
    let mut world = World::default();
    let requests: Vec<Request> = (0..10).map(|number| world.request(1, S + number * US)).collect();
    world.call(None, 1, S + MS, "/batch");
    requests.iter().for_each(|request| world.answer(*request, S + 2 * MS));
    assert_eq!(world.score(), all_right(1));
}

#[test]
fn requests_that_overlap_are_told_apart_by_what_they_do_when() {
    let mut world = World::taught(60);
    let mut at = 200 * S;
    let mut all = Score::default();
    for _ in 0..50 {
        // The first waits for its answer while the second comes, calls and is answered.
        let first = world.request(1, at);
        let call = world.call(Some(first), 1, at + 100 * US, "/a/1");
        let second = world.request(1, at + 2 * MS);
        let other = world.call(Some(second), 1, at + 2 * MS + 100 * US, "/a/1");
        world.hear(other, 1, at + 5 * MS);
        let other = world.call(Some(second), 1, at + 5 * MS + 100 * US, "/b/1");
        world.hear(call, 1, at + 7 * MS);
        let call = world.call(Some(first), 1, at + 7 * MS + 100 * US, "/b/1");
        world.hear(call, 1, at + 9 * MS);
        world.answer(first, at + 9 * MS + 100 * US);
        world.hear(other, 1, at + 11 * MS);
        world.answer(second, at + 11 * MS + 100 * US);
        let Score { right, wrong, missing } = world.score();
        all = Score { right: all.right + right, wrong: all.wrong + wrong, missing: all.missing + missing };
        at += S;
    }
    assert_eq!(all, all_right(200));
}

#[test]
fn a_request_whose_thread_was_held_up_keeps_its_calls() {
    let mut world = World::taught(90);
    // Another one is there, and has made the call that it could have made instead.
    let at = 200 * S;
    let (held_up, other) = (world.request(1, at), world.request(1, at + US));
    let prompt = world.call(Some(other), 1, at + 100 * US, "/a/1");
    let late = world.call(Some(held_up), 1, at + MS, "/a/1");
    for (request, call, at) in [(other, prompt, at + 4 * MS), (held_up, late, at + 6 * MS)] {
        world.hear(call, 1, at);
        let call = world.call(Some(request), 1, at + 100 * US, "/b/1");
        world.hear(call, 1, at + MS);
        world.answer(request, at + MS + 100 * US);
    }
    let score = world.score();
    assert_eq!(score, all_right(4), "{score:?}");
}

#[test]
fn what_is_kept_is_bounded() {
    let mut world = World::default();
    for number in 0..MAX_PARENTS as u64 {
        world.request(1, S + number);
    }
    let node = world.nodes.insert(());
    assert_eq!(world.ladder.received(node, Cookie(1), task(1), Nanos(2 * S)), None);
    assert_eq!(world.ladder.take_evicted(), 1);
}

#[test]
fn a_call_that_too_many_could_have_made_is_nobodys_and_counted() {
    let mut world = World::taught(40);
    for number in 0..=512 {
        world.request(1, 200 * S + number);
    }
    world.call(None, 1, 200 * S + MS, "/a/1");
    assert_eq!((world.ladder.take_uncompared(), world.score()), (1, all_right(1)));
}

#[test]
fn what_comparing_costs_is_bounded() {
    let mut world = World::taught(40);
    // Everybody waits, and each call could be anybody's.
    let at = 200 * S;
    for number in 0..200 {
        world.request(1, at + number * US);
    }
    for number in 0..1_000 {
        world.call(None, 1, at + MS + number * US, "/a/1");
    }
    assert_eq!(world.score().wrong, 0);
    assert!(world.ladder.take_uncompared() > 0, "all was compared");
}
