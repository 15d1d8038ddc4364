//! Calls that wait for the connections of a pool that is always full.

use super::*;

/// A request of which something was not seen.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Lost {
    /// The answers to all requests: they come later.
    Answers,
    /// Its first call, which nothing shows.
    Call(usize),
    /// Its first call, but an answer came.
    CallWithAnswer(usize),
    /// That somebody took it.
    Taking(usize),
    /// All but its answer.
    Request(usize),
}

/// A process with one connection per kind of call: whoever waits longest gets it. Requests come faster than that. Something of one
/// of them may be `lost`.
pub(super) fn with_a_full_pool(world: &mut World, requests: usize, lost: Option<Lost>) -> Score {
    const GAP: u64 = 3 * MS;
    // The first call of each takes 4 ms and the second one 3, so that the second is waited for less than the first.
    let (mut first_free, mut second_free) = (0, 0);
    let mut events: Vec<(u64, usize, u8)> = Vec::new();
    for number in 0..requests {
        let came = 200 * S + number as u64 * GAP;
        let first = (came + 100 * US).max(first_free);
        first_free = first + 4 * MS + (number as u64 * 7 % 5) * 100 * US;
        let second = (first_free + 100 * US).max(second_free);
        second_free = second + 3 * MS + (number as u64 * 3 % 7) * 100 * US;
        let steps = [came, first, first_free, second, second_free, second_free + 100 * US];
        // Connections are taken after they were given back.
        events.extend((0..).zip(steps).map(|(step, at)| (at + u64::from(step % 2) * US, number, step)));
    }
    events.sort_unstable();
    let mut open: Map<usize, Request> = Map::new();
    let mut made: Map<(usize, u8), Handle> = Map::new();
    let mut missed = 0;
    for (at, number, step) in events {
        match step {
            1 | 2 if lost == Some(Lost::Call(number)) => {}
            1 if lost == Some(Lost::CallWithAnswer(number)) => missed = at,
            2 if lost == Some(Lost::CallWithAnswer(number)) => world.miss_call(missed, at),
            0 if lost == Some(Lost::Taking(number)) || lost == Some(Lost::Request(number)) => {
                missed = at;
                open.insert(number, world.untaken(at));
            }
            5 if lost == Some(Lost::Taking(number)) => world.miss_request(Some(open[&number]), missed, at),
            5 if lost == Some(Lost::Request(number)) => world.miss_request(None, missed, at),
            5 if lost == Some(Lost::Answers) => {}
            0 => drop(open.insert(number, world.request(1, at))),
            1 | 3 => {
                let path = if step == 1 { "/a/1" } else { "/b/1" };
                made.insert((number, step + 1), world.call(open.get(&number).copied(), 1, at, path));
            }
            2 | 4 => world.hear(made[&(number, step)], 1, at),
            _ => world.answer(open[&number], at),
        }
    }
    world.score()
}

#[test]
fn whoever_waits_longest_gets_the_connection_of_a_full_pool() {
    let mut world = World::taught(60);
    let Score { right, wrong, missing } = with_a_full_pool(&mut world, 60, None);
    assert!(wrong == 0 && right > missing * 9, "{right} right, {wrong} wrong, {missing} missing");
}

#[test]
fn where_callers_wait_calls_are_not_linked_before_their_requests_were_answered() {
    let mut world = World::taught(60);
    let early = with_a_full_pool(&mut world, 12, Some(Lost::Answers));
    assert!(early.wrong == 0 && early.right < 6, "{early:?}");
}
