//! What becomes of links where something was not seen.

use super::*;

impl World {
    /// A call of which only the answer is seen.
    pub(super) fn miss_call(&mut self, sent: u64, answered: u64) {
        self.miss_call_by(1, sent, answered);
    }

    fn miss_call_by(&mut self, tid: u32, sent: u64, answered: u64) -> Handle {
        let missed = MissedCall {
            task: task(tid),
            sent: Nanos(sent),
            opened: None,
            free_since: Some(Nanos(1)),
            destination: 9,
            answered: Nanos(answered),
        };
        self.ladder.missed_call(&missed).expect("the process answers requests")
    }

    fn operation(&self, call: Handle) -> u64 {
        self.ladder.processes[&TGID].calls.get(call.key).expect("it is kept").operation
    }

    /// A request that nobody is seen to take.
    pub(super) fn untaken(&mut self, at: u64) -> Request {
        let (node, other) = (self.nodes.insert(()), self.nodes.insert(()));
        // The handle is one of a process that is not followed.
        let elsewhere = TaskId { tid: 1, tgid: TGID + 1 };
        let handle = self.ladder.received(other, Cookie(1), elsewhere, Nanos(at)).expect("there is room");
        Request { node, handle, tid: 1 }
    }

    /// The answer of one that nobody is seen to take, or (`None`) that is not seen at all.
    pub(super) fn miss_request(&mut self, request: Option<Request>, came: u64, answered: u64) {
        let stand_in = self.nodes.insert(());
        let missed = MissedRequest {
            node: request.map(|request| request.node),
            socket: Cookie(1),
            task: task(1),
            operation: request.map_or(0, |_| ask("/work/1").operation),
            read: Nanos(came),
            answered: Nanos(answered),
        };
        self.ladder.missed_request(&missed, || stand_in);
    }
}

#[test]
fn a_call_that_was_lost_while_a_pool_is_full_makes_few_wrong_links() {
    let mut world = World::taught(60);
    let Score { right, wrong, missing } = with_a_full_pool(&mut world, 60, Some(Lost::Call(30)));
    // Each that waits is taken for the one before it until answers show that something is missing.
    assert!(wrong * 50 <= right + missing, "{right} right, {wrong} wrong, {missing} missing");
}

#[test]
fn what_was_lost_makes_no_wrong_links() {
    let mut world = World::taught(60);
    let at = 200 * S;
    // Of the first request neither its call nor its answer was seen, and another's call was.
    let _lost = world.request(1, at);
    let unseen = Request { node: world.nodes.insert(()), ..world.request(1, at + 50 * MS) };
    world.call(Some(unseen), 1, at + 400 * MS, "/b/1");
    assert_eq!(world.score().wrong, 0);
}

#[test]
fn a_call_that_only_its_answer_shows_takes_its_place_and_costs_few_links() {
    let mut world = World::taught(60);
    let Score { right, wrong, missing } = with_a_full_pool(&mut world, 60, Some(Lost::CallWithAnswer(30)));
    // What it asked is a guess, and those around it are doubted.
    assert!(wrong == 0 && right > missing, "{right} right, {wrong} wrong, {missing} missing");
}

#[test]
fn what_was_missed_is_taken_for_what_such_threads_call() {
    /// Takes and answers requests, and makes their first call; the other has their second call made.
    const HANDLERS: [u32; 2] = [100, 101];
    const HELPER: u32 = 200;
    let mut world = World::default();
    let mut known = None;
    for number in 0..60 {
        let at = 100 * S + number * S;
        let request = world.request(HANDLERS[0], at);
        let first = world.call(Some(request), HANDLERS[0], at + 100 * US, "/a/1");
        world.hear(first, HANDLERS[0], at + 4 * MS);
        let second = world.call(Some(request), HELPER, at + 4 * MS + 100 * US, "/b/1");
        world.hear(second, HELPER, at + 8 * MS);
        world.answer(request, at + 8 * MS + 100 * US);
        world.score();
        known = Some([first, second].map(|call| world.operation(call)));
    }
    let [own, helped] = known.expect("calls were made");
    // Two in turn: the second has just come when what the first one has done by a helper is missed, and so is what it does itself.
    let at = 200 * S;
    let request = world.request(HANDLERS[0], at);
    let first = world.call(Some(request), HANDLERS[0], at + 100 * US, "/a/1");
    world.hear(first, HANDLERS[0], at + 4 * MS);
    world.request(HANDLERS[1], at + 5 * MS);
    let by_helper = world.miss_call_by(HELPER, at + 5 * MS + 100 * US, at + 9 * MS);
    let by_handler = world.miss_call_by(HANDLERS[1], at + 5 * MS + 300 * US, at + 9 * MS);
    assert_eq!([world.operation(by_handler), world.operation(by_helper)], [own, helped]);
}

#[test]
fn a_request_that_nobody_was_seen_to_take_makes_no_wrong_links() {
    for lost in [Lost::Taking(30), Lost::Request(30)] {
        let mut world = World::taught(60);
        let Score { right, wrong, missing } = with_a_full_pool(&mut world, 60, Some(lost));
        assert!(wrong == 0 && right > missing * 4, "{right} right, {wrong} wrong, {missing} missing");
    }
}

#[test]
fn what_was_missed_is_not_kept_for_ever() {
    let mut world = World::taught(40);
    for number in 0..20 * 1_000 {
        world.miss_call(200 * S + number * MS, 200 * S + number * MS + 500 * US);
        world.miss_request(None, 200 * S + number * MS, 200 * S + number * MS + 600 * US);
    }
    let process = &world.ladder.processes[&TGID];
    assert!(
        process.calls.len() < 5_000 && process.parents.len() < 5_000,
        "{} {}",
        process.calls.len(),
        process.parents.len()
    );
}
