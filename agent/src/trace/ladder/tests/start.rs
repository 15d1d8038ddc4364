//! Programs that are asked much at once before anything is known of them.

use super::*;

/// As many threads as `requests` answer one each, all at the same moment and again and again, so that nothing can be compared.
fn at_the_same_moment(rounds: u64, requests: u32) -> World {
    let mut world = World::default();
    for round in 0..rounds {
        let at = S + round * 20 * MS;
        let open: Vec<_> = (1..=requests).map(|tid| world.request(tid, at)).collect();
        let calls = open.iter().rev().map(|&request| world.call(Some(request), request.tid, at + MS, "/a/1"));
        for (call, request) in calls.collect::<Vec<_>>().into_iter().zip(open.into_iter().rev()) {
            world.hear(call, request.tid, at + 5 * MS);
            world.answer(request, at + 6 * MS);
        }
    }
    world
}

#[test]
fn calls_that_were_made_before_it_was_proven_whose_a_thread_makes_are_linked_by_it_too() {
    let mut world = at_the_same_moment(4, 10);
    assert_eq!(world.score(), all_right(40));
    let is_by_thread =
        |(_, decision): &&(Node, Decision)| decision.parent.is_some_and(|evidence| evidence.tier == Method::Thread);
    assert_eq!(world.decided.iter().filter(is_by_thread).count(), 40);
    assert_eq!(at_the_same_moment(1, 10).score().wrong, 0, "what too few have done proves nothing");
}

/// Threads that take requests let those of an executor make the calls, which take whatever comes first; `seed` decides how long each
/// takes. So many requests come at the same moment, again and again.
fn executor(seed: u64, rounds: u64, requests: u32) -> Score {
    let mut state = seed * 2 + 1;
    let mut random = |most: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % most
    };
    let (mut world, mut all) = (World::default(), Score::default());
    for round in 0..=rounds {
        let at = S + round * S;
        let requests = if round == 0 { 1 } else { requests };
        let mut events: Vec<(u64, u32, u8)> = Vec::new();
        for who in 1..=requests {
            let took = at + u64::from(who) * 40 * US;
            let sent = took + 43 * MS + u64::from(who) * 60 * US + random(300) * US;
            let heard = sent + MS + random(2) * MS;
            events.extend([
                (took, who, 0),
                (sent, who, 1),
                (heard, who, 2),
                (heard + 200 * US + random(2_000) * US, who, 3),
            ]);
        }
        events.sort_unstable();
        let mut open: Map<u32, Request> = Map::new();
        let mut made: Map<u32, (Handle, u32)> = Map::new();
        let mut next = 0;
        for (at, who, step) in events {
            match step {
                0 => drop(open.insert(who, world.request(who, at))),
                1 => {
                    next += 1;
                    made.insert(who, (world.call(open.get(&who).copied(), 100 + next, at, "/a/1"), 100 + next));
                }
                2 => world.hear(made[&who].0, made[&who].1, at),
                _ => world.answer(open[&who], at),
            }
        }
        let Score { right, wrong, missing } = world.score();
        all = Score { right: all.right + right, wrong: all.wrong + wrong, missing: all.missing + missing };
    }
    all
}

#[test]
fn what_is_learnt_from_the_first_ones_among_many_does_not_confirm_itself() {
    for seed in 0..40 {
        let score = executor(seed, 12, 10);
        assert_eq!(score.wrong, 0, "with {seed}: {score:?}");
    }
}
