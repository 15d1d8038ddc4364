//! A process that answers requests and makes calls, event by event; what is linked is compared with what was meant.

use super::*;

/// A ladder, and the truth about what it is told.
#[derive(Default)]
pub(super) struct World {
    pub(super) ladder: Ladder,
    pub(super) nodes: Slots<()>,
    pub(super) truth: Map<Node, Node>,
    pub(super) calls: Vec<(Node, Handle)>,
    pub(super) decided: Vec<(Node, Decision)>,
}

/// A request that is being answered.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) node: Node,
    pub(super) handle: Handle,
    pub(super) tid: u32,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Score {
    pub(super) right: usize,
    pub(super) wrong: usize,
    pub(super) missing: usize,
}

pub(super) fn ask(path: &str) -> Ask {
    let mut ask = Ask::default();
    ask.target("GET", path);
    ask
}

pub(super) fn with_id(path: &str, name: &str, value: &str) -> Ask {
    let mut ask = ask(path);
    ask.header(name.as_bytes(), value.as_bytes());
    ask
}

pub(super) const fn task(tid: u32) -> TaskId {
    TaskId { tid, tgid: TGID }
}

impl World {
    pub(super) fn request(&mut self, tid: u32, at: u64) -> Request {
        self.request_asking(tid, at, &ask("/work/1"))
    }

    pub(super) fn request_asking(&mut self, tid: u32, at: u64, ask: &Ask) -> Request {
        let node = self.nodes.insert(());
        let handle = self.ladder.received(node, Cookie(u64::from(tid)), task(tid), Nanos(at)).expect("there is room");
        self.ladder.asked(handle, ask);
        Request { node, handle, tid }
    }

    pub(super) fn call(&mut self, of: Option<Request>, tid: u32, at: u64, path: &str) -> Handle {
        self.call_asking(of, tid, at, &ask(path))
    }

    pub(super) fn call_asking(&mut self, of: Option<Request>, tid: u32, at: u64, ask: &Ask) -> Handle {
        let node = self.nodes.insert(());
        let made = Made {
            node,
            socket: Cookie(99),
            task: task(tid),
            sent: Nanos(at),
            opened: None,
            free_since: Some(Nanos(1)),
            destination: 9,
        };
        let Outcome::Open(handle) = self.ladder.called(&made, ask) else { panic!("the process answers requests") };
        if let Some(of) = of {
            self.truth.insert(node, of.node);
        }
        self.calls.push((node, handle));
        self.check();
        handle
    }

    pub(super) fn hear(&mut self, call: Handle, tid: u32, at: u64) {
        self.ladder.call_over(call, Nanos(at));
        self.ladder.heard(call, task(tid), Nanos(at));
        self.check();
    }

    /// No call is lost, nor anybody's twice: whoever it is said to belong to has it, in the order in which calls were made.
    pub(super) fn check_owners(&self) {
        let process = &self.ladder.processes[&TGID];
        for (_, call) in &self.calls {
            let Some(kept) = process.calls.get(call.key) else { continue };
            let all = process.open.iter().chain(&process.closed);
            let has_it = |key: &&Key| process.calls_of(**key).contains(&call.key);
            let is_full = kept.owner.is_some_and(|owner| process.calls_of(owner).len() >= process::MAX_FAN_OUT);
            let owners: Vec<Key> = all.filter(has_it).copied().collect();
            let expected = kept.owner.filter(|&owner| !is_full && process.parents.get(owner).is_some());
            assert!(is_full || owners == Vec::from_iter(expected), "{owners:?} have it, {expected:?} should");
        }
        for &key in process.open.iter().chain(&process.closed) {
            let made = |&key: &Key| process.calls.get(key).map(|call| call.made);
            assert!(process.calls_of(key).is_sorted_by_key(made), "what it did is in order");
        }
    }

    /// What is kept of the requests that matter now says the same as to ask anew.
    pub(super) fn check(&self) {
        let process = &self.ladder.processes[&TGID];
        for &key in process.open.iter().take(8).chain(process.closed.iter().rev().take(4)) {
            let request = &process.parents.get(key).expect("it is kept");
            for at in 0..=request.calls.len() {
                let call = request.calls.get(at).map(|&call| process.calls.get(call).expect("it is kept"));
                let (action, when) =
                    call.map_or((plan::ANSWER, request.answered), |call| (call.operation, Some(call.made)));
                let anew = process.ready_at(key, &request.calls[..at], action, when);
                assert_eq!(process.ready_for(key, at), anew, "before step {at}");
            }
            for action in [1, 2] {
                let at = process.last_used;
                let can_act = request.read <= at && request.calls.len() < process::MAX_FAN_OUT;
                let anew = process.ready_at(key, &request.calls, action, Some(at)).filter(|_| can_act);
                assert_eq!(process.ready(key, action, at), anew, "after all its calls");
            }
        }
    }

    /// A thread wakes another that sleeps on a futex.
    pub(super) fn wake(&mut self, by: u32, woken: u32, futex: u64, at: u64) {
        self.relate(kind::WAKE, by, woken, futex, at);
    }

    pub(super) fn relate(&mut self, kind: u16, by: u32, other_tid: u32, futex: u64, at: u64) {
        let header = Header { time_ns: at, len: size_of::<Relation>() as u32, kind, cpu: 0 };
        self.ladder.related(&Relation { header, task: task(by), other_tid, pad: 0, futex });
    }

    pub(super) fn answer(&mut self, request: Request, at: u64) {
        self.ladder.answered(request.handle, task(request.tid), Some(Nanos(at)), Nanos(at));
        self.check();
        self.check_owners();
    }

    /// A request that makes two calls, one after the other, while nothing else happens.
    pub(super) fn quiet(&mut self, tid: u32, at: u64) {
        let request = self.request(tid, at);
        for (number, path) in ["/a/1", "/b/1"].into_iter().enumerate() {
            let at = at + number as u64 * 5 * MS;
            let call = self.call(Some(request), tid, at + 100 * US, path);
            self.hear(call, tid, at + 4 * MS);
        }
        self.answer(request, at + 9 * MS + 100 * US);
        self.score();
    }

    /// Decides about all calls since the last time.
    pub(super) fn score(&mut self) -> Score {
        let mut score = Score::default();
        for (node, handle) in std::mem::take(&mut self.calls) {
            let decision = self.ladder.decide(handle);
            let parent = decision.parent.map(|evidence| evidence.parent);
            match (parent, self.truth.get(&node)) {
                (Some(parent), Some(&truth)) if parent == truth => score.right += 1,
                (Some(_), _) => score.wrong += 1,
                (None, None) => score.right += 1,
                (None, Some(_)) => score.missing += 1,
            }
            self.decided.push((node, decision));
        }
        score
    }

    pub(super) fn taught(requests: u64) -> Self {
        let mut world = Self::default();
        (0..requests).for_each(|number| world.quiet(1, 100 * S + number * S));
        world
    }
}

pub(super) const fn all_right(right: usize) -> Score {
    Score { right, wrong: 0, missing: 0 }
}
