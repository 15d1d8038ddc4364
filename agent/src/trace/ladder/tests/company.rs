//! Links beside others of which it can't be told whose they are.

use super::*;
use crate::trace::ladder::align::SURE;

#[test]
fn a_link_beside_calls_that_are_unsure_is_doubted() {
    let mut world = World::taught(20);
    let at = 100 * S;
    let requests = [1, 2, 3, 4].map(|tid| world.request(tid, at + u64::from(tid) * US));
    let calls = [0, 1, 2, 3].map(|n| world.call(Some(requests[n]), 1, at + MS + n as u64 * US, "/a/1"));
    let [others @ .., last] = calls;
    let process = world.ladder.processes.get_mut(&TGID).expect("it answers requests");
    assert!((process.doubted(last.key, 0.98) - 0.98).abs() < 1e-9, "nothing was decided about the others");
    for other in others {
        process.decided(other.key, Decision::default());
    }
    let among_unsure = process.doubted(last.key, 0.97);
    assert!(among_unsure < SURE, "nobody knows whose the others are");
    let owner = process.calls.get(others[0].key).and_then(|call| call.owner);
    process.give(others[0].key, None);
    assert!(process.doubted(last.key, 0.97) < among_unsure, "and one of them is nobody's");
    process.give(others[0].key, owner);
    for other in others {
        process.calls.get_mut(other.key).expect("it is kept").strength = Some(0.99);
    }
    assert!((process.doubted(last.key, 0.98) - 0.98).abs() < 1e-9, "they are known");
}

#[test]
fn where_most_calls_were_unsure_no_link_is_sure_but_those_of_a_request_that_is_alone() {
    let mut world = World::taught(20);
    let at = 100 * S;
    let linked = |world: &mut World| {
        let score = world.score();
        assert_eq!(score.wrong, 0);
        score.right
    };
    let two = |world: &mut World, at: u64| {
        for (tid, at) in [(1, at), (2, at + 40 * MS)] {
            let request = world.request(tid, at);
            let call = world.call(Some(request), 1, at + 100 * US, "/a/1");
            world.hear(call, 1, at + 4 * MS);
        }
        linked(world)
    };
    assert_eq!(two(&mut world, at), 2);
    world.ladder.processes.get_mut(&TGID).expect("it answers requests").unsure = u128::MAX >> 63;
    assert_eq!(two(&mut world, at + S), 0, "65 of 128");
    let process = world.ladder.processes.get_mut(&TGID).expect("it answers requests");
    let open = process.open.clone();
    process.unsure = u128::MAX;
    for request in open {
        process.answered(request, 1, Some(Nanos(at + 2 * S)), Nanos(at + 2 * S));
    }
    let later = at + 20 * S;
    let alone = world.request(1, later);
    world.call(Some(alone), 1, later + 100 * US, "/a/1");
    assert_eq!(linked(&mut world), 1);
}

/// A request that makes three calls, one after the other, by another thread than the one that takes it and the answers.
fn three(world: &mut World, at: u64) -> (Request, Vec<Handle>) {
    let request = world.request(2, at);
    let calls = ["/a/1", "/b/1", "/c/1"].into_iter().zip(0..).map(|(path, step)| {
        let at = at + step * 5 * MS;
        let call = world.call(Some(request), 1, at + MS, path);
        world.hear(call, 2, at + 4 * MS);
        call
    });
    (request, calls.collect())
}

#[test]
fn an_exchange_casts_doubt_only_on_the_calls_that_it_moves() {
    let mut world = World::default();
    for number in 0..100 {
        let (request, _) = three(&mut world, S + number * S);
        world.answer(request, S + number * S + 15 * MS);
        world.score();
    }
    // The second comes just after the first, and its last call is answered much later.
    let at = 200 * S;
    let both = [at, at + 10 * US].map(|at| three(&mut world, at));
    for ((request, calls), end) in both.iter().zip([at + 15 * MS, at + 60 * MS]) {
        let process = world.ladder.processes.get_mut(&TGID).expect("it answers requests");
        calls.iter().for_each(|call| process.give(call.key, Some(request.handle.key)));
        process.calls.get_mut(calls[2].key).expect("it is kept").heard = Some(Nanos(end - MS));
        world.answer(*request, end);
    }
    let process = &world.ladder.processes[&TGID];
    let doubt = process.doubt(both[0].1[0].key).expect("it has an owner").after;
    assert!(doubt[0] > 4.0 * doubt[1], "the first two may be the other's, but not the third: {doubt:?}");
    assert!(doubt[1..].windows(2).all(|next| next[0] >= next[1]), "{doubt:?}");
}
